//! The login of transcripts: PLAIN and LOGIN, where `right` is everybody's password.

use std::pin::Pin;

use model::{AccountId, PersonId, Reply, SubmissionLogin};

use crate::server::{LoginExchange, LoginStep};

/// A login that believes the password `right`.
#[derive(Debug, Default)]
pub(crate) struct ScriptedLogin {
    is_plain: bool,
    name: Option<Vec<u8>>,
}

impl ScriptedLogin {
    pub(crate) fn new(mechanism: &str) -> Self {
        ScriptedLogin { is_plain: mechanism == "PLAIN", name: None }
    }

    pub(crate) fn take(&mut self, response: Option<&[u8]>) -> LoginStep {
        let Some(response) = response else {
            let prompt: &[u8] = if self.is_plain { b"" } else { b"Username:" };
            return LoginStep::Challenge(prompt.to_vec());
        };
        let parts: Vec<&[u8]> = response.split(|&b| b == 0).collect();
        let (name, password) = match (self.is_plain, &parts[..], &self.name) {
            (true, [_, name, password], _) => (name.to_vec(), *password),
            (false, _, Some(name)) => (name.clone(), response),
            (false, _, None) => {
                self.name = Some(response.to_vec());
                return LoginStep::Challenge(b"Password:".to_vec());
            }
            (true, ..) => return LoginStep::Refused(Reply::permanent(501, (5, 2), "malformed")),
        };
        if password != b"right" {
            return LoginStep::Refused(Reply::permanent(535, (7, 8), "wrong"));
        }
        LoginStep::Done(SubmissionLogin {
            account_id: AccountId(1),
            person_id: PersonId(1),
            address: String::from_utf8_lossy(&name).into_owned(),
            may_send_as_others: false,
        })
    }
}

impl LoginExchange for ScriptedLogin {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = LoginStep> + Send + 'a>> {
        Box::pin(async move { self.take(response) })
    }
}
