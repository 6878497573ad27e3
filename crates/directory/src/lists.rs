//! Lists of people.

use model::{ListId, PersonId, Timestamp};
use store::values;

use crate::people::person;
use crate::{Directory, DirectoryError, Person};

const NAME_CHARS_MAX: usize = 200;
/// People per page, at most.
const PAGE_MAX: i64 = 200;

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

impl Directory {
    /// The list of that name, made if there is none.
    pub async fn put_list(&self, name: &str) -> Result<ListId, DirectoryError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(DirectoryError::invalid(
                "list",
                format!("a list has a name of 1 to {NAME_CHARS_MAX} characters"),
            ));
        }
        let mut tx = self.store.begin().await?;
        let id: ListId = self.store.next_id();
        tx.execute("list.put", &values![id, self.id(), name, self.store.now()]).await?;
        let row = tx.query_one("list.by_name", &values![self.id(), name]).await?;
        tx.commit().await?;
        Ok(row.ok_or(DirectoryError::NotFound("list"))?.id("id")?)
    }

    /// All lists with their sizes.
    pub async fn lists(&self) -> Result<Vec<List>, DirectoryError> {
        let rows = self.store.query("list.all", &values![self.id()]).await?;
        rows.iter()
            .map(|row| {
                Ok(List {
                    id: row.id("id")?,
                    name: row.text("name")?.to_owned(),
                    member_count: row.int("member_count")?,
                    suppressed_count: row.int("suppressed_count")?,
                    bounced_count: row.int("bounced_count")?,
                    complained_count: row.int("complained_count")?,
                    created_at: row.at("created_at")?,
                })
            })
            .collect()
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
