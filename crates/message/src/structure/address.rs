//! Address lists (RFC 5322 3.4) as ENVELOPE shows them (RFC 3501 7.4.2): raw, groups marked, source routes apart.

use super::unfold;

/// Addresses kept of one field.
const ADDRESSES_MAX: usize = 1_000;
/// Bytes read of one field.
const FIELD_BYTES_MAX: usize = 128 * 1024;

/// One entry of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressItem {
    /// A mailbox.
    Mailbox {
        /// Display name, or the comment behind the address; encoded words as they stand.
        name: Option<Vec<u8>>,
        /// Source route (obsolete), without its colon.
        route: Option<Vec<u8>>,
        /// Local part.
        local: Vec<u8>,
        /// Domain; `None` for an address without one.
        domain: Option<Vec<u8>>,
    },
    /// A group begins; its mailboxes follow.
    GroupStart(Vec<u8>),
    /// The group ends.
    GroupEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// An atom, or a run of bytes that are nothing else.
    Text(Vec<u8>),
    Quoted(Vec<u8>),
    Comment(Vec<u8>),
    Special(u8),
    Blank,
}

/// The entries of an address field's value.
pub fn addresses(value: &[u8]) -> Vec<AddressItem> {
    let value = unfold(&value[..value.len().min(FIELD_BYTES_MAX)]);
    let mut items = Vec::new();
    let mut phrase: Vec<Token> = Vec::new();
    let mut in_group = false;
    let mut in_angle = false;
    for token in tokens(&value) {
        if items.len() >= ADDRESSES_MAX {
            break;
        }
        match token {
            Token::Special(b'<') => {
                in_angle = true;
                phrase.push(token);
            }
            Token::Special(b'>') => {
                in_angle = false;
                phrase.push(token);
            }
            Token::Special(b':') if !in_angle && !in_group => {
                items.push(AddressItem::GroupStart(words(&phrase)));
                in_group = true;
                phrase.clear();
            }
            Token::Special(b',') if !in_angle => items.extend(mailbox(&std::mem::take(&mut phrase))),
            Token::Special(b';') if !in_angle => {
                items.extend(mailbox(&std::mem::take(&mut phrase)));
                if std::mem::take(&mut in_group) {
                    items.push(AddressItem::GroupEnd);
                }
            }
            other => phrase.push(other),
        }
    }
    items.extend(mailbox(&phrase));
    if in_group {
        items.push(AddressItem::GroupEnd);
    }
    items
}

fn mailbox(tokens: &[Token]) -> Option<AddressItem> {
    if tokens.iter().all(|t| matches!(t, Token::Blank | Token::Comment(_))) {
        return None;
    }
    let open = tokens.iter().position(|t| *t == Token::Special(b'<'));
    let Some(open) = open else {
        let comment = tokens.iter().rev().find_map(|t| if let Token::Comment(c) = t { Some(c.clone()) } else { None });
        let (local, domain) = addr_spec(tokens);
        return Some(AddressItem::Mailbox { name: comment, route: None, local, domain });
    };
    let end = tokens[open..].iter().position(|t| *t == Token::Special(b'>')).map_or(tokens.len(), |i| open + i);
    let mut inner = &tokens[open + 1..end];
    let mut route = None;
    if inner.first() == Some(&Token::Special(b'@'))
        && let Some(colon) = inner.iter().position(|t| *t == Token::Special(b':'))
    {
        route = Some(joined(&inner[..colon]));
        inner = &inner[colon + 1..];
    }
    let name = words(&tokens[..open]);
    let (local, domain) = addr_spec(inner);
    Some(AddressItem::Mailbox { name: (!name.is_empty()).then_some(name), route, local, domain })
}

/// Local part and domain, split at the last `@` outside quotes.
fn addr_spec(tokens: &[Token]) -> (Vec<u8>, Option<Vec<u8>>) {
    match tokens.iter().rposition(|t| *t == Token::Special(b'@')) {
        Some(at) => (joined(&tokens[..at]), Some(joined(&tokens[at + 1..]))),
        None => (joined(tokens), None),
    }
}

/// Tokens without the blanks and comments between them.
fn joined(tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text) | Token::Quoted(text) => out.extend_from_slice(text),
            Token::Special(byte) => out.push(*byte),
            Token::Comment(_) | Token::Blank => {}
        }
    }
    out
}

/// A phrase: words with single blanks between them where blanks were.
fn words(tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut blank = false;
    for token in tokens {
        match token {
            Token::Blank | Token::Comment(_) => blank = !out.is_empty(),
            Token::Text(text) | Token::Quoted(text) => {
                if std::mem::take(&mut blank) {
                    out.push(b' ');
                }
                out.extend_from_slice(text);
            }
            Token::Special(byte) => {
                if std::mem::take(&mut blank) {
                    out.push(b' ');
                }
                out.push(*byte);
            }
        }
    }
    out
}

fn tokens(value: &[u8]) -> Vec<Token> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let byte = value[at];
        match byte {
            b' ' | b'\t' => {
                if all.last() != Some(&Token::Blank) {
                    all.push(Token::Blank);
                }
                at += 1;
            }
            b'"' => {
                let (text, next) = quoted(value, at + 1);
                all.push(Token::Quoted(text));
                at = next;
            }
            b'(' => {
                let (text, next) = comment(value, at + 1);
                all.push(Token::Comment(text));
                at = next;
            }
            b'[' => {
                let end = memchr::memchr(b']', &value[at..]).map_or(value.len(), |i| at + i + 1);
                all.push(Token::Text(value[at..end].to_vec()));
                at = end;
            }
            b'<' | b'>' | b'@' | b',' | b':' | b';' => {
                all.push(Token::Special(byte));
                at += 1;
            }
            _ => {
                let is_end = |b: &u8| b" \t\"([<>@,:;".contains(b);
                let end = value[at..].iter().position(is_end).map_or(value.len(), |i| at + i.max(1));
                all.push(Token::Text(value[at..end].to_vec()));
                at = end;
            }
        }
    }
    all
}

fn quoted(value: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    while at < value.len() {
        match value[at] {
            b'"' => return (text, at + 1),
            b'\\' if at + 1 < value.len() => {
                text.push(value[at + 1]);
                at += 2;
            }
            byte => {
                text.push(byte);
                at += 1;
            }
        }
    }
    (text, at)
}

fn comment(value: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    let mut depth = 1_usize;
    while at < value.len() {
        match value[at] {
            b'\\' if at + 1 < value.len() => {
                text.push(value[at + 1]);
                at += 2;
                continue;
            }
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (text.trim_ascii().to_vec(), at + 1);
        }
        text.push(value[at]);
        at += 1;
    }
    (text.trim_ascii().to_vec(), at)
}
