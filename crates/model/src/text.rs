//! Text from a mail on its way into SQL.

use serde::{Deserialize, Serialize};

/// Text that both databases accept: valid UTF-8 without NUL, bounded in length.
///
/// PostgreSQL refuses NUL and invalid UTF-8 where SQLite takes them. Whatever comes from a mail enters SQL only
/// through this type, which replaces both by U+FFFD and says so in [`SqlText::had_defect`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SqlText {
    text: String,
    defect: bool,
}

impl SqlText {
    /// The most that one value keeps, in bytes; the rest is cut (and marked as a defect).
    pub const BYTES_MAX: usize = 8 * 1024;

    /// The most that a column with an index keeps: PostgreSQL refuses index rows over about 2,700 bytes, and no line of a
    /// mail may be longer than 998 octets (RFC 5322 2.1.1).
    pub const INDEXED_BYTES_MAX: usize = 998;

    /// For a column with an index: as [`SqlText::new`], with the smaller bound.
    pub fn indexed(text: &str) -> Self {
        let mut end = text.len().min(Self::INDEXED_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        SqlText::new(&text[..end]).marked(end < text.len())
    }

    /// From raw bytes.
    pub fn from_bytes(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let defect = matches!(text, std::borrow::Cow::Owned(_));
        SqlText::new(&text).marked(defect)
    }

    /// From text that may hold NUL.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(Self::BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let defect = end < text.len() || text.contains('\0');
        SqlText { text: text[..end].replace('\0', "\u{FFFD}"), defect }
    }

    fn marked(mut self, defect: bool) -> Self {
        self.defect |= defect;
        self
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The cleaned text in lower case, for columns that are searched.
    pub fn to_lower(&self) -> String {
        self.text.to_lowercase()
    }

    /// Whether anything was replaced or cut.
    pub fn had_defect(&self) -> bool {
        self.defect
    }
}

impl From<&str> for SqlText {
    fn from(text: &str) -> Self {
        SqlText::new(text)
    }
}

impl std::fmt::Display for SqlText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_a_database_would_refuse() {
        let check = |raw: &[u8], text: &str, defect: bool| {
            let got = SqlText::from_bytes(raw);
            assert_eq!((got.as_str(), got.had_defect()), (text, defect));
        };
        check(b"plain", "plain", false);
        check(b"a\0b", "a\u{FFFD}b", true);
        check(b"a\xFFb", "a\u{FFFD}b", true);
        let long = SqlText::indexed(&"ü".repeat(900));
        assert_eq!((long.as_str().len(), long.had_defect()), (SqlText::INDEXED_BYTES_MAX, true));
        assert_eq!(SqlText::new(&"ü".repeat(SqlText::BYTES_MAX)).as_str().len(), SqlText::BYTES_MAX);
    }
}
