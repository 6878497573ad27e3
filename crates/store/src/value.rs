//! The one pair of types that rows and parameters have on both databases.

use std::sync::Arc;

use bytes::Bytes;
use model::{SqlText, Timestamp};

use crate::StoreError;

/// A parameter or a column. NULL knows its type, since PostgreSQL wants to know it too.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// BIGINT
    Int(i64),
    /// A NULL BIGINT.
    NullInt,
    /// DOUBLE PRECISION
    Real(f64),
    /// TEXT. Text from a mail enters through [`SqlText`].
    Text(String),
    /// A NULL TEXT.
    NullText,
    /// BYTEA, a BLOB: what is no text.
    Bytes(Bytes),
}

impl Value {
    /// As an element of a JSON parameter.
    pub(crate) fn into_json(self) -> serde_json::Value {
        match self {
            Value::Int(i) => i.into(),
            Value::Real(r) => r.into(),
            Value::Text(t) => t.into(),
            Value::NullInt | Value::NullText => serde_json::Value::Null,
            Value::Bytes(_) => panic!("bytes have no place in JSON: insert them one by one"),
        }
    }
}

/// PostgreSQL refuses NUL in text. What comes from a mail was marked by [`SqlText`] before; what people type is not.
fn text(text: String) -> Value {
    Value::Text(if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text })
}

macro_rules! value_from {
    ($($from:ty => |$v:ident| $to:expr),+ $(,)?) => {$(
        impl From<$from> for Value { fn from($v: $from) -> Value { $to } }
    )+};
}
value_from! {
    i64 => |v| Value::Int(v),
    u32 => |v| Value::Int(i64::from(v)),
    bool => |v| Value::Int(i64::from(v)),
    f64 => |v| Value::Real(v),
    Timestamp => |v| Value::Int(v.as_micros()),
    &str => |v| text(v.to_owned()),
    String => |v| text(v),
    &String => |v| text(v.clone()),
    &SqlText => |v| Value::Text(v.as_str().to_owned()),
    SqlText => |v| Value::Text(v.as_str().to_owned()),
    Option<i64> => |v| v.map_or(Value::NullInt, Value::Int),
    Option<Timestamp> => |v| v.map_or(Value::NullInt, |t| Value::Int(t.as_micros())),
    Option<String> => |v| v.map_or(Value::NullText, text),
    Option<&str> => |v| v.map_or(Value::NullText, |t| text(t.to_owned())),
    Bytes => |v| Value::Bytes(v),
    &serde_json::Value => |v| Value::Text(v.to_string()),
    serde_json::Value => |v| Value::Text(v.to_string()),
}

macro_rules! value_from_id {
    ($($id:ident),+ $(,)?) => {$(
        impl From<model::$id> for Value { fn from(id: model::$id) -> Value { Value::Int(id.0) } }
        impl From<Option<model::$id>> for Value {
            fn from(id: Option<model::$id>) -> Value { id.map_or(Value::NullInt, |id| Value::Int(id.0)) }
        }
    )+};
}
value_from_id!(
    AccountId,
    AppPasswordId,
    AuditId,
    BacktestId,
    CampaignId,
    ChangeId,
    CopyId,
    DeliveryId,
    EventId,
    FeedId,
    FolderId,
    HitId,
    IncidentId,
    JobId,
    LinkId,
    ListEntryId,
    ListId,
    MailItemId,
    MailboxId,
    MessageId,
    OrganisationId,
    PersonId,
    PolicyId,
    QuarantineItemId,
    RuleSetId,
    SessionId,
    TokenId,
    UpdateId,
);

/// `values![a, b, c]`: a slice of [`Value`] from anything that converts.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::Value::from($value)),*] };
}

/// One row of an answer; columns are read by name.
#[derive(Debug, Clone)]
pub struct Row {
    pub(crate) columns: Arc<[String]>,
    pub(crate) values: Vec<Value>,
}

impl Row {
    fn value(&self, column: &str) -> Result<&Value, StoreError> {
        match self.columns.iter().position(|c| c == column) {
            Some(i) => Ok(&self.values[i]),
            None => Err(StoreError::Column { column: column.into(), problem: "not in the answer".into() }),
        }
    }

    fn wrong(column: &str, wanted: &str, value: &Value) -> StoreError {
        let found = match value {
            Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
            other => format!("{other:?}"),
        };
        StoreError::Column { column: column.into(), problem: format!("wanted {wanted}, found {found}") }
    }

    /// A BIGINT.
    pub fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| Self::wrong(column, "a number", &Value::NullInt))
    }

    /// A BIGINT or NULL.
    pub fn opt_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            Value::Int(i) => Ok(Some(*i)),
            Value::NullInt | Value::NullText => Ok(None),
            other @ (Value::Real(_) | Value::Text(_) | Value::Bytes(_)) => Err(Self::wrong(column, "a number", other)),
        }
    }

    /// A DOUBLE PRECISION (an integer counts as one).
    pub fn real(&self, column: &str) -> Result<f64, StoreError> {
        match self.value(column)? {
            Value::Real(r) => Ok(*r),
            Value::Int(i) => Ok(*i as f64),
            other @ (Value::NullInt | Value::NullText | Value::Text(_) | Value::Bytes(_)) => {
                Err(Self::wrong(column, "a number", other))
            }
        }
    }

    /// TEXT.
    pub fn text(&self, column: &str) -> Result<&str, StoreError> {
        self.opt_text(column)?.ok_or_else(|| Self::wrong(column, "text", &Value::NullText))
    }

    /// TEXT or NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<&str>, StoreError> {
        match self.value(column)? {
            Value::Text(t) => Ok(Some(t)),
            Value::NullInt | Value::NullText => Ok(None),
            other @ (Value::Int(_) | Value::Real(_) | Value::Bytes(_)) => Err(Self::wrong(column, "text", other)),
        }
    }

    /// Bytes.
    pub fn bytes(&self, column: &str) -> Result<Bytes, StoreError> {
        match self.value(column)? {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            other => Err(Self::wrong(column, "bytes", other)),
        }
    }

    /// A boolean stored as 0 or 1.
    pub fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// An instant.
    pub fn at(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_micros)
    }

    /// An instant or NULL.
    pub fn opt_at(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    /// An id.
    pub fn id<I: From<i64>>(&self, column: &str) -> Result<I, StoreError> {
        self.int(column).map(I::from)
    }

    /// An id or NULL.
    pub fn opt_id<I: From<i64>>(&self, column: &str) -> Result<Option<I>, StoreError> {
        Ok(self.opt_int(column)?.map(I::from))
    }

    /// A structure stored as JSON in TEXT.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(self.text(column)?)
            .map_err(|e| StoreError::Column { column: column.into(), problem: e.to_string() })
    }

    /// A structure stored as JSON in TEXT, or NULL.
    pub fn opt_json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.opt_text(column)?
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| StoreError::Column { column: column.into(), problem: e.to_string() })
    }
}
