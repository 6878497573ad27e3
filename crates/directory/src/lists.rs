//! Lists of people.

use model::{ListId, PersonId, Timestamp};
use store::{Row, StoreError, Tx, values};

use crate::people::person;
use crate::{Directory, DirectoryError, PeopleFilter, Person};

const NAME_CHARS_MAX: usize = 200;
/// People per page, at most.
const PAGE_MAX: i64 = 200;
/// Lists of an organisation.
pub const LISTS_MAX: i64 = 1_000;

/// A list of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its id.
    pub id: ListId,
    /// Its name.
    pub name: String,
    /// How many people are on it.
    pub member_count: i64,
    /// How many of them are left out of campaigns (they unsubscribed, bounced, complained, or asked).
    pub suppressed_count: i64,
    /// Of those: because mail to them came back.
    pub bounced_count: i64,
    /// Of those: because they complained.
    pub complained_count: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What filling a list did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The list.
    pub list_id: ListId,
    /// There was none of that name.
    pub is_new: bool,
    /// People who were not on it before.
    pub added_count: i64,
}

impl Directory {
    /// The list of that name, made if there is none.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] for a name that none can have, and for one more list than [`LISTS_MAX`].
    pub async fn put_list(&self, name: &str) -> Result<ListId, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let (list_id, _) = self.put_list_in(&mut tx, name).await?;
        tx.commit().await?;
        Ok(list_id)
    }

    /// Gives whether it is new, too.
    async fn put_list_in(&self, tx: &mut Tx, name: &str) -> Result<(ListId, bool), DirectoryError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(DirectoryError::invalid(
                "list",
                format!("a list has a name of 1 to {NAME_CHARS_MAX} characters"),
            ));
        }
        let known = values![self.id(), name];
        if let Some(row) = tx.query_one("list.by_name", &known).await? {
            return Ok((row.id("id")?, false));
        }
        let count = tx.query_one("list.count", &values![self.id()]).await?;
        if count.map_or(Ok(0), |row| row.int("n"))? >= LISTS_MAX {
            return Err(DirectoryError::invalid(
                "list",
                format!("there are {LISTS_MAX} lists, more than can be looked at"),
            ));
        }
        let id: ListId = self.store.next_id();
        let is_new = tx.execute("list.put", &values![id, self.id(), name, self.store.now()]).await? > 0;
        let row = tx.query_one("list.by_name", &known).await?;
        Ok((row.ok_or(DirectoryError::NotFound("list"))?.id("id")?, is_new))
    }

    /// Puts people on the list of that name, which is made if there is none: those named, and everybody whom `matching` lets
    /// through. Those on it already stay. All or nothing.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the first person who does not exist; otherwise as [`Directory::put_list`].
    pub async fn fill_list(
        &self,
        name: &str,
        people: &[PersonId],
        matching: Option<&PeopleFilter>,
    ) -> Result<Filled, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let ids = serde_json::Value::from(people.iter().map(|person| person.0).collect::<Vec<_>>());
        let known = tx.query("person.known_ids", &values![self.id(), &ids]).await?;
        let known = known.iter().map(|row| row.id("id")).collect::<Result<std::collections::HashSet<PersonId>, _>>()?;
        if let Some(at) = people.iter().position(|person| !known.contains(person)) {
            return Err(DirectoryError::invalid("person_ids", format!("number {} of these is no person", at + 1)));
        }
        let (list_id, is_new) = self.put_list_in(&mut tx, name).await?;
        let mut added_count = tx.execute("list.add_ids", &values![list_id, self.id(), &ids]).await?;
        if let Some(matching) = matching {
            let of = [values![self.id()].to_vec(), matching.values(), values![list_id].to_vec()].concat();
            added_count += tx.execute("list.add_matching", &of).await?;
        }
        tx.commit().await?;
        Ok(Filled { list_id, is_new, added_count: i64::try_from(added_count).unwrap_or(i64::MAX) })
    }

    /// All lists with their sizes, by name; at most [`LISTS_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn lists(&self) -> Result<Vec<List>, DirectoryError> {
        let rows = self.store.query("list.all", &values![self.id(), LISTS_MAX]).await?;
        Ok(rows.iter().map(list).collect::<Result<_, _>>()?)
    }

    /// One list.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, list_id: ListId) -> Result<Option<List>, DirectoryError> {
        let row = self.store.query_one("list.one", &values![self.id(), list_id]).await?;
        Ok(row.as_ref().map(list).transpose()?)
    }

    /// Takes a person off a list; gives whether they were on it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] for a list that is not there.
    pub async fn remove_from_list(&self, list_id: ListId, person: PersonId) -> Result<bool, DirectoryError> {
        self.list(list_id).await?.ok_or(DirectoryError::NotFound("list"))?;
        Ok(self.store.execute("list.remove", &values![list_id, person]).await? > 0)
    }

    /// The people on a list in the order of their ids, after `after`.
    pub async fn list_members(
        &self,
        list: ListId,
        after: Option<PersonId>,
        limit: i64,
    ) -> Result<Vec<Person>, DirectoryError> {
        let after = after.map_or(0, |id| id.0);
        let values = values![self.id(), list, after, limit.clamp(1, PAGE_MAX)];
        self.store.query("list.members_page", &values).await?.iter().map(person).collect()
    }

    /// Puts people on a list; those on it already stay.
    pub async fn add_to_list(&self, list: ListId, people: &[PersonId]) -> Result<(), DirectoryError> {
        let mut tx = self.store.begin().await?;
        let rows: Vec<_> = people.iter().map(|p| values![list, *p].to_vec()).collect();
        tx.insert_many("list.add", &rows).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn list(row: &Row) -> Result<List, StoreError> {
    Ok(List {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        member_count: row.int("member_count")?,
        suppressed_count: row.int("suppressed_count")?,
        bounced_count: row.int("bounced_count")?,
        complained_count: row.int("complained_count")?,
        created_at: row.at("created_at")?,
    })
}
