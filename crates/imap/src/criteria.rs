//! Search keys that nest deeper than the codec takes: a program that looks for any of ten names says OR nine times, each inside
//! the one before. The nesting is read here, each key by itself by the codec.

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::Vec1;
use imap_codec::imap_types::search::SearchKey;

use crate::command::{after_word, decode, literal_bytes, quoted};

/// Keys inside keys.
const DEPTH_MAX: usize = 100;

/// `[UID] SEARCH …` from behind its tag to the line's end.
pub(crate) fn search(text: &[u8]) -> Option<CommandBody<'static>> {
    let (text, uid) = after_word(text, b"UID").map_or((text, false), |rest| (rest, true));
    let text = after_word(text, b"SEARCH")?.strip_suffix(b"\r\n")?;
    let mut reader = Reader { rest: text };
    let charset = match after_word(text, b"CHARSET") {
        Some(rest) => {
            reader.rest = rest;
            let name = reader.argument()?;
            reader.blank()?;
            match decode(&[b"x SEARCH CHARSET ", name, b" ALL\r\n"].concat())? {
                CommandBody::Search { charset, .. } => charset,
                _ => None,
            }
        }
        None => None,
    };
    let criteria = reader.keys(DEPTH_MAX)?;
    reader.rest.is_empty().then_some(CommandBody::Search { charset, criteria, uid })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn blank(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(b" ")?;
        Some(())
    }

    /// One atom, quoted string or literal, as it stands.
    fn argument(&mut self) -> Option<&'a [u8]> {
        let text = self.rest;
        let length = match text.first()? {
            b'"' => text.len() - quoted(&text[1..])?.1.len(),
            b'{' => 1 + literal_bytes(&text[1..])?,
            _ => text.iter().position(|b| b" ()\"\r\n".contains(b)).unwrap_or(text.len()),
        };
        let (argument, rest) = text.split_at_checked(length).filter(|(argument, _)| !argument.is_empty())?;
        self.rest = rest;
        Some(argument)
    }

    fn keys(&mut self, depth: usize) -> Option<Vec1<SearchKey<'static>>> {
        let mut keys = vec![self.key(depth)?];
        while self.rest.starts_with(b" ") {
            self.blank()?;
            keys.push(self.key(depth)?);
        }
        Vec1::try_from(keys).ok()
    }

    fn key(&mut self, depth: usize) -> Option<SearchKey<'static>> {
        let depth = depth.checked_sub(1)?;
        if let Some(rest) = self.rest.strip_prefix(b"(") {
            self.rest = rest;
            let keys = self.keys(depth)?;
            self.rest = self.rest.strip_prefix(b")")?;
            return Some(SearchKey::And(keys));
        }
        let start = self.rest;
        let word = self.argument()?.to_ascii_uppercase();
        match word.as_slice() {
            b"NOT" => {
                self.blank()?;
                return Some(SearchKey::Not(Box::new(self.key(depth)?)));
            }
            b"OR" => {
                self.blank()?;
                let one = self.key(depth)?;
                self.blank()?;
                return Some(SearchKey::Or(Box::new(one), Box::new(self.key(depth)?)));
            }
            _ => {}
        }
        for _ in 0..self.argument_count(&word) {
            self.blank()?;
            self.argument()?;
        }
        let key = &start[..start.len() - self.rest.len()];
        match decode(&[b"x SEARCH ", key, b"\r\n"].concat())? {
            CommandBody::Search { criteria, .. } => criteria.into_inner().into_iter().next(),
            _ => None,
        }
    }

    /// What stands behind a key's word (RFC 3501 6.4.4, RFC 5032, RFC 7162 3.1.5).
    fn argument_count(&self, word: &[u8]) -> usize {
        match word {
            b"BCC" | b"BEFORE" | b"BODY" | b"CC" | b"FROM" | b"KEYWORD" | b"ON" | b"SINCE" | b"SUBJECT" | b"TEXT"
            | b"TO" | b"UNKEYWORD" | b"LARGER" | b"SENTBEFORE" | b"SENTON" | b"SENTSINCE" | b"SMALLER" | b"UID"
            | b"OLDER" | b"YOUNGER" => 1,
            b"HEADER" => 2,
            b"MODSEQ" if self.rest.starts_with(b" \"") => 3,
            b"MODSEQ" => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_codec_reads_and_deeper() {
        for text in [
            "SEARCH ALL",
            "uid search 1:5,7 NOT DELETED",
            "SEARCH CHARSET UTF-8 OR FROM \"a \\\"b\" (SUBJECT {3}\r\na)b SINCE 1-Jan-2020)",
            "SEARCH CHARSET \"utf-8\" HEADER X-Y \"\" MODSEQ 5",
            "SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338 UID 3:*",
            "SEARCH KEYWORD $x OR (NOT (SEEN) LARGER 5) YOUNGER 60",
        ] {
            let text = format!("{text}\r\n");
            let expect = decode(&[b"x ", text.as_bytes()].concat());
            assert!(expect.is_some(), "{text}");
            assert_eq!(search(text.as_bytes()), expect, "{text}");
        }
        let deep = |depth: usize| search(format!("SEARCH {}SEEN\r\n", "OR FROM a ".repeat(depth)).as_bytes());
        assert!(decode(b"x SEARCH OR FROM a OR FROM b OR FROM c OR FROM d OR FROM e OR FROM f OR FROM g OR FROM h OR FROM i SEEN\r\n").is_none());
        assert!(deep(99).is_some() && deep(100).is_none());
        for wrong in [
            "SEARCH",
            "SEARCH ",
            "SEARCH OR SEEN",
            "SEARCH (SEEN",
            "SEARCH SEEN)",
            "SEARCH FROM",
            "SEARCH XX",
            "SEARCH NOT",
            "SEARCH SEEN  SEEN",
            "SEARCH TEXT {9}\r\nx",
        ] {
            assert_eq!(search(format!("{wrong}\r\n").as_bytes()), None, "{wrong}");
        }
    }
}
