//! What waits for mailbox systems, and whose mailboxes they keep, as the rows say it.

use model::{MailboxId, OrganisationId, Timestamp};
use store::{Store, StoreError, values};

/// Mailboxes read at a time, and how often, when one is looked for.
const PAGE: i64 = 200;
const PAGES_MAX: usize = 20;

/// Copies that wait for a mailbox system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: i64,
    /// Of them, paused.
    pub held_count: i64,
    /// When the oldest was taken on.
    pub oldest_at: Option<Timestamp>,
    /// The earliest next try.
    pub next_try_at: Option<Timestamp>,
    /// What was said last of one of them, or empty.
    pub last_reply: String,
}

/// What waits, by connector. Connectors for which nothing waits are left out.
///
/// # Errors
/// The store's.
pub async fn waiting(store: &Store, organisation_id: OrganisationId) -> Result<Vec<(String, Waiting)>, StoreError> {
    let rows = store.query("connector.waiting", &values![organisation_id]).await?;
    rows.iter()
        .map(|row| {
            let waiting = Waiting {
                count: row.int("n")?,
                held_count: row.int("held_count")?,
                oldest_at: row.opt_at("oldest_at")?,
                next_try_at: row.opt_at("next_try_at")?,
                last_reply: row.text("last_reply")?.to_owned(),
            };
            Ok((row.text("connector")?.to_owned(), waiting))
        })
        .collect()
}

/// What waits for one address: how many copies, and since when.
///
/// # Errors
/// The store's.
pub async fn waiting_for(
    store: &Store,
    organisation_id: OrganisationId,
    connector: &str,
    address: &str,
) -> Result<(i64, Option<Timestamp>), StoreError> {
    let row = store.query_one("connector.waiting_for", &values![organisation_id, connector, address]).await?;
    match row {
        Some(row) => Ok((row.int("n")?, row.opt_at("oldest_at")?)),
        None => Ok((0, None)),
    }
}

/// How many mailboxes say themselves which connector (or the word for our own store) keeps them.
///
/// # Errors
/// The store's.
pub async fn chosen_mailboxes(
    store: &Store,
    organisation_id: OrganisationId,
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = store.query("connector.chosen", &values![organisation_id]).await?;
    rows.iter().map(|row| Ok((row.text("connector")?.to_owned(), row.int("n")?))).collect()
}

/// The address of a mailbox that this connector keeps, by which its system can be asked: one that mail waits for, or any.
/// `is_kept` tells by what the mailbox says itself and its address. Looks at so many mailboxes and no further.
///
/// # Errors
/// The store's.
pub async fn mailbox_to_ask(
    store: &Store,
    organisation_id: OrganisationId,
    connector: &str,
    is_kept: impl Fn(&str, &str) -> bool,
) -> Result<Option<String>, StoreError> {
    if let Some(row) = store.query_one("connector.waiting_address", &values![organisation_id, connector]).await? {
        return Ok(Some(row.text("address")?.to_owned()));
    }
    let mut after = MailboxId(0);
    for _ in 0..PAGES_MAX {
        let rows = store.query("connector.mailboxes", &values![organisation_id, connector, after, PAGE]).await?;
        for row in &rows {
            if is_kept(row.text("connector")?, row.text("address")?) {
                return Ok(Some(row.text("address")?.to_owned()));
            }
        }
        match rows.last() {
            Some(last) => after = last.id("id")?,
            None => break,
        }
    }
    Ok(None)
}
