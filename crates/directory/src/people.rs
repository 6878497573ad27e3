//! People, and the recipients that mail is accepted for.

use std::collections::BTreeMap;

use model::{Address, FolderId, MailboxId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Row, Tx, Value, values};

use crate::connectors::CONNECTOR_ATTRIBUTE;
use crate::{Directory, DirectoryError};

/// People per page, at most.
const PAGE_MAX: i64 = 200;
/// Values of one facet.
pub(crate) const FACET_VALUES_MAX: i64 = 200;
/// The folders every mailbox starts with: name and role (RFC 6154 special uses; the inbox is INBOX by RFC 9051).
pub(crate) const FOLDERS: [(&str, &str); 6] = [
    ("Inbox", "inbox"),
    ("Junk", "junk"),
    ("Drafts", "drafts"),
    ("Sent", "sent"),
    ("Archive", "archive"),
    ("Trash", "trash"),
];

/// A person with an address and a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Its id.
    pub id: PersonId,
    /// The primary address, lower case.
    pub address: String,
    /// Full name.
    pub name: String,
    /// Department, or empty.
    pub department: String,
    /// City, or empty.
    pub city: String,
    /// Language (BCP 47), or empty.
    pub language: String,
    /// Further attributes by name.
    pub attributes: BTreeMap<String, String>,
    /// Whether outsiders using this name are looked at (impersonation).
    pub protected: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A person to make, or to bring up to date by its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPerson {
    /// The primary address.
    pub address: Address,
    /// Full name.
    pub name: String,
    /// Department.
    pub department: String,
    /// City.
    pub city: String,
    /// Language.
    pub language: String,
    /// Further attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Whom to list.
#[derive(Debug, Clone, Default)]
pub struct PeopleFilter {
    /// Start of the name or the address, any case; empty for all.
    pub starts_with: String,
    /// Of this department; empty for all.
    pub department: String,
    /// In this city; empty for all.
    pub city: String,
    /// Of this language; empty for all.
    pub language: String,
    /// The last id of the page before.
    pub after: Option<PersonId>,
    /// How many, 1..=200.
    pub limit: i64,
}

/// How many people a filter lets through, and by what they can be told apart further.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeopleFacets {
    /// All.
    pub people_count: i64,
    /// By department, the largest first.
    pub departments: Vec<(String, i64)>,
    /// By city.
    pub cities: Vec<(String, i64)>,
    /// By language.
    pub languages: Vec<(String, i64)>,
}

impl PeopleFilter {
    /// The values $2 to $6 of the statements that filter people; $1 is the organisation.
    pub(crate) fn values(&self) -> Vec<Value> {
        let from = self.starts_with.to_lowercase();
        // The end of the range of texts that start with `from`: no LIKE on what a person typed.
        let to = format!("{from}\u{10FFFF}");
        values![from, to, self.department.as_str(), self.city.as_str(), self.language.as_str()].to_vec()
    }
}

/// Who receives mail for an address, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The person.
    pub person_id: PersonId,
    /// The primary address.
    pub address: String,
    /// Department: the group that policies can be scoped by.
    pub department: String,
    /// The mailbox.
    pub mailbox_id: MailboxId,
    /// Its inbox.
    pub inbox_id: FolderId,
    /// Its Junk folder.
    pub junk_id: FolderId,
    /// The connector to the system that keeps the mailbox; `None`: it is embedded, in our own store.
    pub connector: Option<String>,
}

impl Directory {
    /// Makes people, or brings those with the same address up to date; each new one gets a mailbox. One transaction.
    /// Gives how many were new.
    pub async fn put_people(&self, people: &[NewPerson]) -> Result<usize, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let made = self.put_people_in(&mut tx, people).await?.len();
        tx.commit().await?;
        self.forget_recipients();
        Ok(made)
    }

    /// As [`Directory::put_people`], inside a transaction; gives the ids of the new ones. The caller calls
    /// `forget_recipients` after the commit.
    pub(crate) async fn put_people_in(
        &self,
        tx: &mut Tx,
        people: &[NewPerson],
    ) -> Result<Vec<PersonId>, DirectoryError> {
        let addresses = serde_json::Value::from(people.iter().map(|p| p.address.key()).collect::<Vec<_>>());
        let known: std::collections::HashSet<String> = tx
            .query("person.known_addresses", &values![self.id(), &addresses])
            .await?
            .iter()
            .map(|row| row.text("address").map(str::to_owned))
            .collect::<Result<_, _>>()?;
        let now = self.store.now();
        let mut rows = Vec::with_capacity(people.len());
        let (mut mailboxes, mut folders, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for person in people {
            let id: PersonId = self.store.next_id();
            let key = person.address.key();
            rows.push(self.person_row(id, person, now));
            if known.contains(&key) {
                continue;
            }
            made.push(id);
            let mailbox: MailboxId = self.store.next_id();
            mailboxes.push(values![mailbox, self.id(), id, key, now].to_vec());
            for (name, role) in FOLDERS {
                let folder: FolderId = self.store.next_id();
                let validity = now.as_micros() / 1_000_000;
                folders.push(values![folder, mailbox, name, role, 1i64, validity].to_vec());
            }
        }
        tx.insert_many("person.put", &rows).await?;
        tx.insert_many("person.insert_mailbox", &mailboxes).await?;
        tx.insert_many("person.insert_folder", &folders).await?;
        for person in people {
            if let Some(connector) = person.attributes.get(CONNECTOR_ATTRIBUTE) {
                self.check_connector(CONNECTOR_ATTRIBUTE, connector)?;
                tx.execute("person.set_connector", &values![self.id(), person.address.key(), connector.as_str()])
                    .await?;
            }
        }
        Ok(made)
    }

    fn person_row(&self, id: PersonId, person: &NewPerson, now: Timestamp) -> Vec<Value> {
        values![
            id,
            self.id(),
            person.address.key(),
            person.name.as_str(),
            person.department.as_str(),
            person.city.as_str(),
            person.language.as_str(),
            serde_json::json!(person.attributes),
            person.name.to_lowercase(),
            now,
            now
        ]
        .to_vec()
    }

    /// People in the order of their ids.
    pub async fn people(&self, filter: &PeopleFilter) -> Result<Vec<Person>, DirectoryError> {
        let limit = filter.limit.clamp(1, PAGE_MAX);
        let after = filter.after.map_or(0, |id| id.0);
        let page = [values![self.id()].to_vec(), filter.values(), values![after, limit].to_vec()].concat();
        let rows = self.store.query("person.page", &page).await?;
        rows.iter().map(person).collect()
    }

    /// How many people a filter lets through, by department, city and language; the [`FACET_VALUES_MAX`] largest of each.
    ///
    /// # Errors
    /// The store's.
    pub async fn people_facets(&self, filter: &PeopleFilter) -> Result<PeopleFacets, DirectoryError> {
        let of = [values![self.id()].to_vec(), filter.values(), values![FACET_VALUES_MAX].to_vec()].concat();
        let mut facets = PeopleFacets::default();
        let counted = self.store.query_one("person.count_matching", &of[..6]).await?;
        facets.people_count = counted.map_or(Ok(0), |row| row.int("n"))?;
        let groups = [
            ("department", &mut facets.departments),
            ("city", &mut facets.cities),
            ("language", &mut facets.languages),
        ];
        for (column, values) in groups {
            let of = [of.clone(), values![column].to_vec()].concat();
            for row in self.store.query("person.facet", &of).await? {
                values.push((row.text("value")?.to_owned(), row.int("n")?));
            }
        }
        Ok(facets)
    }

    /// How many people there are.
    pub async fn people_count(&self) -> Result<i64, DirectoryError> {
        let row = self.store.query_one("person.count", &values![self.id()]).await?;
        Ok(row.map_or(Ok(0), |row| row.int("people"))?)
    }

    /// One person.
    pub async fn person(&self, id: PersonId) -> Result<Option<Person>, DirectoryError> {
        let row = self.store.query_one("person.by_id", &values![self.id(), id]).await?;
        row.as_ref().map(person).transpose()
    }

    /// The person with that primary address.
    pub async fn person_by_address(&self, address: &str) -> Result<Option<Person>, DirectoryError> {
        let row = self.store.query_one("person.by_address", &values![self.id(), address.to_lowercase()]).await?;
        row.as_ref().map(person).transpose()
    }

    /// Marks a person as one whose name outsiders must not use.
    pub async fn protect(&self, id: PersonId, protected: bool) -> Result<(), DirectoryError> {
        match self.store.execute("person.protect", &values![self.id(), id, protected]).await? {
            0 => Err(DirectoryError::NotFound("person")),
            _ => Ok(()),
        }
    }

    /// Lets a further address (such as `postmaster`) reach a person.
    pub async fn put_alias(&self, address: &Address, person_id: PersonId) -> Result<(), DirectoryError> {
        self.store.execute("person.put_alias", &values![self.id(), address.key(), person_id]).await?;
        self.forget_recipients();
        Ok(())
    }

    /// Who receives mail for `address` (primary address or alias; what follows a `+` in the local part is a detail of
    /// the same mailbox). From memory when it was looked up just now.
    pub async fn recipient(&self, address: &Address) -> Result<Option<Recipient>, DirectoryError> {
        let key = address.key();
        if let Some(known) = self.remembered(&key) {
            return Ok(known);
        }
        let looked_up_at = self.store.now();
        let mut found = self.look_up(&key).await?;
        if found.is_none()
            && let Some((local, domain)) = key.rsplit_once('@')
            && let Some((base, _)) = local.split_once('+')
        {
            found = self.look_up(&format!("{base}@{domain}")).await?;
        }
        self.remember(key, found.clone(), looked_up_at);
        Ok(found)
    }

    async fn look_up(&self, key: &str) -> Result<Option<Recipient>, DirectoryError> {
        let row = self.store.query_one("person.recipient", &values![self.id(), key]).await?;
        let Some(row) = row else { return Ok(None) };
        let address = row.text("address")?.to_owned();
        let connector = self.connector_of(row.text("connector")?, &address).map(str::to_owned);
        Ok(Some(Recipient {
            connector,
            person_id: row.id("person_id")?,
            address,
            department: row.text("department")?.to_owned(),
            mailbox_id: row.id("mailbox_id")?,
            inbox_id: row.id("inbox_id")?,
            junk_id: row.id("junk_id")?,
        }))
    }
}

pub(crate) fn person(row: &Row) -> Result<Person, DirectoryError> {
    Ok(Person {
        id: row.id("id")?,
        address: row.text("address")?.to_owned(),
        name: row.text("name")?.to_owned(),
        department: row.text("department")?.to_owned(),
        city: row.text("city")?.to_owned(),
        language: row.text("language")?.to_owned(),
        attributes: row.json("attributes")?,
        protected: row.flag("protected")?,
        created_at: row.at("created_at")?,
    })
}
