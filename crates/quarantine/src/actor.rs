//! Who acts.

use model::{Permission, Role};
use serde::{Deserialize, Serialize};

use crate::QuarantineError;

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The login, as events show it.
    pub login: String,
    /// The role.
    pub role: Role,
}

impl Actor {
    /// Whether the role may; otherwise the error says what is missing.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), QuarantineError> {
        if self.role.may(permission) { Ok(()) } else { Err(QuarantineError::Forbidden(permission)) }
    }
}
