//! Commands from their text: by `imap-codec`, and by hand where it does not know an extension; `criteria` reads deep searches.

use std::borrow::Cow;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName};
use imap_codec::imap_types::status::StatusDataItemName;

use crate::criteria;

/// Elements of one command that is read by hand.
const TOKENS_MAX: usize = 1_000;

/// A command and the tag that its answer carries.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) tag: String,
    pub(crate) command: Command,
}

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    /// As the codec reads it.
    Plain(CommandBody<'static>),
    /// LIST with or without its extensions (RFC 5258, 6154, 5819).
    List(ListRequest),
    /// SEARCH RETURN (RFC 4731).
    Search { body: CommandBody<'static>, returns: Vec<SearchReturn> },
    /// CREATE with a use (RFC 6154 3).
    CreateAs { name: Vec<u8>, uses: Vec<String> },
}

/// What is asked of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListRequest {
    pub(crate) reference: Vec<u8>,
    pub(crate) patterns: Vec<Vec<u8>>,
    /// Only subscribed names.
    pub(crate) subscribed: bool,
    /// Only folders with a special use.
    pub(crate) special_use: bool,
    /// Also parents of what is selected.
    pub(crate) recursive: bool,
    pub(crate) return_subscribed: bool,
    pub(crate) return_status: Vec<StatusDataItemName>,
}

/// What SEARCH returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SearchReturn {
    Min,
    Max,
    All,
    Count,
}

/// Why a command was not understood: the tag, where there is one, and words for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misunderstood {
    pub(crate) tag: Option<String>,
    pub(crate) problem: &'static str,
}

/// Reads a command.
pub(crate) fn parse(text: &[u8]) -> Result<Request, Misunderstood> {
    let text = with_literals(text);
    let text: &[u8] = &text;
    let tag = tag_of(text).ok_or(Misunderstood { tag: None, problem: "a command begins with a tag" })?;
    let rest = &text[tag.len() + 1..];
    let wrong = |problem| Misunderstood { tag: Some(tag.clone()), problem };
    let command = if let Some(rest) = after_word(rest, b"LIST") {
        Command::List(list(rest).ok_or_else(|| wrong("the arguments of LIST were not understood"))?)
    } else if let Some((rest, uid)) = search_return(rest) {
        let (returns, rest) = search_options(rest).ok_or_else(|| wrong("the RETURN options were not understood"))?;
        let plain = [if uid { &b"UID SEARCH "[..] } else { b"SEARCH " }, rest].concat();
        let body = decode(&[b"x ", plain.as_slice()].concat()).or_else(|| criteria::search(&plain));
        Command::Search { body: body.ok_or_else(|| wrong("the search was not understood"))?, returns }
    } else if let Some((name, uses)) = after_word(rest, b"CREATE").and_then(create_as) {
        Command::CreateAs { name, uses }
    } else {
        let plain = decode(text).or_else(|| criteria::search(rest)).or_else(|| fetch_since_ever(text));
        Command::Plain(plain.ok_or_else(|| wrong("the command was not understood"))?)
    };
    Ok(Request { tag, command })
}

/// The tag of a text that begins with one.
pub(crate) fn tag_of(text: &[u8]) -> Option<String> {
    let end = memchr::memchr(b' ', text)?;
    let good = |b: &u8| b.is_ascii_graphic() && !b"(){%*\"\\+".contains(b);
    let tag = &text[..end];
    (!tag.is_empty() && tag.len() <= 255 && tag.iter().all(good)).then(|| String::from_utf8_lossy(tag).into_owned())
}

/// The same command with quoted strings beyond ASCII as literals. RFC 3501 9 allows only the latter, but scripts quote what
/// they search for and passwords as they are, and other servers take them.
fn with_literals(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let skipped = match first {
            b'"' => match quoted(after) {
                Some((value, behind)) if !value.is_ascii() => {
                    out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
                    out.extend_from_slice(&value);
                    rest = behind;
                    continue;
                }
                Some((_, behind)) => rest.len() - behind.len(),
                None => rest.len(),
            },
            b'{' => literal_bytes(after).map_or(1, |bytes| 1 + bytes.min(after.len())),
            _ => 1,
        };
        out.extend_from_slice(&rest[..skipped]);
        rest = &rest[skipped..];
    }
    Cow::Owned(out)
}

/// How many bytes a literal takes, from behind its brace to its end.
pub(crate) fn literal_bytes(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b'}', text)?;
    let bytes: usize = std::str::from_utf8(&text[..end]).ok()?.trim_end_matches('+').parse().ok()?;
    text[end + 1..].starts_with(b"\r\n").then_some((end + 3).saturating_add(bytes))
}

pub(crate) fn decode(text: &[u8]) -> Option<CommandBody<'static>> {
    match CommandCodec::default().decode(text) {
        Ok(([], command)) => Some(command.body.into_static()),
        Ok(_) | Err(_) => None,
    }
}

/// A FETCH with `(CHANGEDSINCE 0)`: by the grammar of RFC 7162 7 the number is 1 or more, and mail programs that know none yet
/// say 0. All numbers are above it, so that it is a FETCH of MODSEQ.
fn fetch_since_ever(text: &[u8]) -> Option<CommandBody<'static>> {
    const SINCE: &[u8] = b" (CHANGEDSINCE 0)\r\n";
    let (head, tail) = text.split_at_checked(text.len().checked_sub(SINCE.len())?)?;
    let plain = decode(&[tail.eq_ignore_ascii_case(SINCE).then_some(head)?, b"\r\n"].concat())?;
    let CommandBody::Fetch { sequence_set, macro_or_item_names, uid, modifiers } = plain else { return None };
    let mut names = match macro_or_item_names {
        MacroOrMessageDataItemNames::Macro(short) => short.expand().into_iter().map(IntoStatic::into_static).collect(),
        MacroOrMessageDataItemNames::MessageDataItemNames(names) => names,
    };
    names.push(MessageDataItemName::ModSeq);
    let macro_or_item_names = MacroOrMessageDataItemNames::MessageDataItemNames(names);
    Some(CommandBody::Fetch { sequence_set, macro_or_item_names, uid, modifiers })
}

pub(crate) fn after_word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(rest)?.strip_prefix(b" ")
}

fn search_return(text: &[u8]) -> Option<(&[u8], bool)> {
    let (text, uid) = after_word(text, b"UID").map_or((text, false), |rest| (rest, true));
    Some((after_word(after_word(text, b"SEARCH")?, b"RETURN")?, uid))
}

fn search_options(text: &[u8]) -> Option<(Vec<SearchReturn>, &[u8])> {
    let inner = text.strip_prefix(b"(")?;
    let end = memchr::memchr(b')', inner)?;
    let mut returns = Vec::new();
    for word in inner[..end].split(|b| *b == b' ').filter(|w| !w.is_empty()) {
        returns.push(match word.to_ascii_uppercase().as_slice() {
            b"MIN" => SearchReturn::Min,
            b"MAX" => SearchReturn::Max,
            b"ALL" => SearchReturn::All,
            b"COUNT" => SearchReturn::Count,
            _ => return None,
        });
    }
    if returns.is_empty() {
        returns.push(SearchReturn::All);
    }
    Some((returns, inner[end + 1..].strip_prefix(b" ")?))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Text(Vec<u8>),
}

/// Elements of a command up to its line's end: atoms, quoted strings, literals and parentheses.
fn tokens(mut text: &[u8]) -> Option<Vec<Token>> {
    let mut all = Vec::new();
    loop {
        if all.len() > TOKENS_MAX {
            return None;
        }
        let (first, rest) = text.split_first()?;
        match first {
            b'\r' => return (rest == b"\n").then_some(all),
            b' ' => text = rest,
            b'(' => {
                all.push(Token::Open);
                text = rest;
            }
            b')' => {
                all.push(Token::Close);
                text = rest;
            }
            b'"' => {
                let (value, after) = quoted(rest)?;
                all.push(Token::Text(value));
                text = after;
            }
            b'{' => {
                let end = memchr::memchr(b'}', rest)?;
                let bytes: usize = std::str::from_utf8(&rest[..end]).ok()?.trim_end_matches('+').parse().ok()?;
                let data = rest[end + 1..].strip_prefix(b"\r\n")?;
                let (value, after) = data.split_at_checked(bytes)?;
                all.push(Token::Text(value.to_vec()));
                text = after;
            }
            _ => {
                let end = text.iter().position(|b| b" ()\"{\r\n".contains(b))?;
                if end == 0 {
                    return None;
                }
                all.push(Token::Text(text[..end].to_vec()));
                text = &text[end..];
            }
        }
    }
}

pub(crate) fn quoted(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    loop {
        let (first, rest) = text.split_first()?;
        match first {
            b'"' => return Some((value, rest)),
            b'\r' | b'\n' => return None,
            b'\\' => {
                let (escaped, rest) = rest.split_first()?;
                if !b"\"\\".contains(escaped) {
                    return None;
                }
                value.push(*escaped);
                text = rest;
            }
            byte => {
                value.push(*byte);
                text = rest;
            }
        }
    }
}

struct Reader {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Reader {
    fn text(&mut self) -> Option<Vec<u8>> {
        match self.tokens.next()? {
            Token::Text(text) => Some(text),
            Token::Open | Token::Close => None,
        }
    }

    /// A parenthesised list of words, in capitals; a word may have a list of its own behind it.
    fn words(&mut self) -> Option<Vec<(String, Vec<String>)>> {
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        (self.tokens.next()? == Token::Open).then_some(())?;
        loop {
            match self.tokens.next()? {
                Token::Close => return Some(all),
                Token::Text(text) => all.push((String::from_utf8(text).ok()?.to_ascii_uppercase(), Vec::new())),
                Token::Open => loop {
                    match self.tokens.next()? {
                        Token::Close => break,
                        Token::Open => return None,
                        Token::Text(text) => {
                            all.last_mut()?.1.push(String::from_utf8(text).ok()?.to_ascii_uppercase());
                        }
                    }
                },
            }
        }
    }
}

fn list(text: &[u8]) -> Option<ListRequest> {
    let mut reader = Reader { tokens: tokens(text)?.into_iter().peekable() };
    let mut request = ListRequest::default();
    if reader.tokens.peek() == Some(&Token::Open) {
        for (word, _) in reader.words()? {
            match word.as_str() {
                "SUBSCRIBED" => (request.subscribed, request.return_subscribed) = (true, true),
                "SPECIAL-USE" => request.special_use = true,
                "RECURSIVEMATCH" => request.recursive = true,
                "REMOTE" => {}
                _ => return None,
            }
        }
        // RFC 5258 3: it is nothing by itself.
        if request.recursive && !request.subscribed && !request.special_use {
            return None;
        }
    }
    request.reference = reader.text()?;
    if reader.tokens.peek() == Some(&Token::Open) {
        reader.tokens.next();
        loop {
            match reader.tokens.next()? {
                Token::Close => break,
                Token::Open => return None,
                Token::Text(text) => request.patterns.push(text),
            }
        }
    } else {
        request.patterns.push(reader.text()?);
    }
    if reader.tokens.peek().is_some() {
        reader.text()?.eq_ignore_ascii_case(b"RETURN").then_some(())?;
        for (word, inner) in reader.words()? {
            match word.as_str() {
                "SUBSCRIBED" => request.return_subscribed = true,
                // Both are always given.
                "CHILDREN" | "SPECIAL-USE" => {}
                "STATUS" => request.return_status = inner.iter().map(|i| status_item(i)).collect::<Option<_>>()?,
                _ => return None,
            }
        }
    }
    (reader.tokens.next().is_none() && !request.patterns.is_empty()).then_some(request)
}

fn status_item(word: &str) -> Option<StatusDataItemName> {
    Some(match word {
        "MESSAGES" => StatusDataItemName::Messages,
        "RECENT" => StatusDataItemName::Recent,
        "UIDNEXT" => StatusDataItemName::UidNext,
        "UIDVALIDITY" => StatusDataItemName::UidValidity,
        "UNSEEN" => StatusDataItemName::Unseen,
        "DELETED" => StatusDataItemName::Deleted,
        "SIZE" => StatusDataItemName::Size,
        "HIGHESTMODSEQ" => StatusDataItemName::HighestModSeq,
        _ => return None,
    })
}

/// `CREATE name (USE (\Drafts …))`; `None` for a plain CREATE.
fn create_as(text: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut reader = Reader { tokens: tokens(text)?.into_iter().peekable() };
    let name = reader.text()?;
    let words = reader.words()?;
    let [(word, uses)] = words.as_slice() else { return None };
    (word == "USE" && reader.tokens.next().is_none()).then(|| (name, uses.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Option<ListRequest> {
        match parse(format!("a {text}\r\n").as_bytes()) {
            Ok(Request { command: Command::List(list), .. }) => Some(list),
            Ok(_) | Err(_) => None,
        }
    }

    #[test]
    fn listings() {
        let plain = listing("LIST \"\" %").unwrap();
        assert_eq!((plain.reference.as_slice(), plain.patterns), (&b""[..], vec![b"%".to_vec()]));
        let all = listing(
            "list (SUBSCRIBED RECURSIVEMATCH) \"\" (\"*\" {3}\r\na b) RETURN (CHILDREN STATUS (MESSAGES SIZE))",
        );
        let all = all.unwrap();
        assert_eq!(all.patterns, [b"*".to_vec(), b"a b".to_vec()]);
        assert!(all.subscribed && all.recursive && all.return_status.len() == 2);
        for wrong in
            ["LIST", "LIST \"\"", "LIST \"\" () x", "LIST (X) \"\" *", "LIST (RECURSIVEMATCH) \"\" *", "LIST \"\" \"a"]
        {
            assert_eq!(listing(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn commands_the_codec_does_not_know() {
        let parsed = parse(b"a UID SEARCH RETURN (MIN COUNT) UNSEEN\r\n").unwrap();
        let Command::Search { body: CommandBody::Search { uid, .. }, returns } = parsed.command else { panic!() };
        assert_eq!((uid, returns), (true, vec![SearchReturn::Min, SearchReturn::Count]));
        let parsed = parse(b"a CREATE \"My Drafts\" (USE (\\Drafts))\r\n").unwrap();
        assert!(matches!(parsed.command, Command::CreateAs { uses, .. } if uses == ["\\DRAFTS"]));
        assert!(matches!(parse(b"a CREATE x\r\n").unwrap().command, Command::Plain(CommandBody::Create { .. })));
    }

    #[test]
    fn changes_since_ever_are_taken() {
        for said in ["a FETCH 1:* (FLAGS) (CHANGEDSINCE 0)\r\n", "a UID fetch 1:* fast (changedsince 0)\r\n"] {
            let Command::Plain(CommandBody::Fetch { macro_or_item_names, modifiers, .. }) =
                parse(said.as_bytes()).unwrap().command
            else {
                panic!("{said}")
            };
            let MacroOrMessageDataItemNames::MessageDataItemNames(names) = macro_or_item_names else {
                panic!("{said}")
            };
            assert!(
                names.contains(&MessageDataItemName::ModSeq) && names.contains(&MessageDataItemName::Flags),
                "{said}"
            );
            assert!(modifiers.is_empty(), "{said}");
        }
        for wrong in ["a NOOP (CHANGEDSINCE 0)\r\n", "a FETCH (CHANGEDSINCE 0)\r\n", "(CHANGEDSINCE 0)\r\n"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quoted_strings_beyond_ascii_are_taken() {
        let taken = |text: &str| String::from_utf8(with_literals(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(taken("a LOGIN x \"p\u{e4}\\\"\" y\r\n"), "a LOGIN x {4}\r\np\u{e4}\" y\r\n");
        // What is in a literal is no string, and what is no string stays.
        for same in
            ["a X {6}\r\n\"\u{e4}\" \"\u{e4}\r\n", "a X \"b\" \u{e4}\r\n", "a X {2+}\r\n\u{e4}\r\n", "a {x} \u{e4} {9}"]
        {
            assert_eq!(taken(same), same);
        }
        let parsed = parse("a SEARCH CHARSET UTF-8 SUBJECT \"gr\u{fc}\u{df}e\"\r\n".as_bytes()).unwrap();
        assert!(matches!(parsed.command, Command::Plain(CommandBody::Search { .. })));
    }

    #[test]
    fn what_is_misunderstood_names_its_tag() {
        let tag = |text: &[u8]| parse(text).map(|_| ()).map_err(|m| m.tag);
        assert_eq!(tag(b"a FROBNICATE\r\n"), Err(Some("a".into())));
        assert_eq!(tag(b"a NOOP x\r\n"), Err(Some("a".into())));
        assert_eq!(tag(b"* NOOP\r\n"), Err(None));
        assert_eq!(tag(b"\r\n"), Err(None));
        assert_eq!(tag(b"a NOOP\r\n"), Ok(()));
        assert_eq!(tag(b"a APPEND x {0}\r\n\r\n"), Ok(()));
        assert_eq!(tag(b"a FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE)]<0.5>)\r\n"), Ok(()));
    }
}
