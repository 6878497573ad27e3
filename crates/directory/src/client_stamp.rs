//! Whether what a mail program logged in with still opens the mailbox: its session may live for days.

use model::MailboxId;
use store::values;

use crate::{ClientLogin, ClientScope, Directory, DirectoryError};

/// What a login rests on, to be compared with what it rests on later. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientStamp(Option<String>);

impl std::fmt::Debug for ClientStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientStamp(..)")
    }
}

impl Directory {
    /// What a login rests on now; `None` when it opens nothing any more: the account is switched off or has lost its
    /// mailbox, or the app password is revoked. Another stamp than at the login says that the account's own password was
    /// changed since.
    ///
    /// # Errors
    /// [`DirectoryError::Store`].
    pub async fn client_stamp(
        &self,
        login: &ClientLogin,
        scope: ClientScope,
    ) -> Result<Option<ClientStamp>, DirectoryError> {
        let app_password = login.app_password_id.map_or(0, |id| id.0);
        let known = values![login.account_id, app_password, self.id()];
        let Some(row) = self.store.query_one("app_password.client_stamp", &known).await? else { return Ok(None) };
        if row.flag("disabled")? || row.id::<MailboxId>("mailbox_id")? != login.mailbox_id {
            return Ok(None);
        }
        if login.app_password_id.is_none() {
            return Ok(Some(ClientStamp(row.opt_text("password_hash")?.map(str::to_owned))));
        }
        let opens = row.opt_text("scopes")?.is_some_and(|all| all.split(',').any(|one| one == scope.as_str()));
        Ok(opens.then_some(ClientStamp(None)))
    }
}
