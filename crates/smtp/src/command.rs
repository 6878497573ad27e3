//! One command line, already cut at its CRLF, as a [`Command`] (RFC 5321 4.1.1).
//!
//! What is wrong with a line is the reply to it, so parsing fails with a [`CommandError`] that holds it.

use data_encoding::BASE64;
use model::{Address, BodyType, MailOptions, RcptOptions, Reply, ReversePath, decode_xtext};

/// The longest HELO or EHLO name kept, in bytes (RFC 5321 4.5.3.1.2).
const HELO_BYTES_MAX: usize = 255;
/// RFC 3461 5.4: an ENVID as given.
const ENVID_BYTES_MAX: usize = 100;
/// RFC 3461 5.4: an ORCPT as given.
const ORCPT_BYTES_MAX: usize = 500;

/// A command that a peer may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Helo {
        name: String,
    },
    Ehlo {
        name: String,
    },
    /// RFC 2033 4.1.
    Lhlo {
        name: String,
    },
    Mail(MailCommand),
    Rcpt(RcptCommand),
    Data,
    /// RFC 3030 2: so many bytes follow, whatever they are.
    Bdat {
        size_bytes: u64,
        is_last: bool,
    },
    /// RFC 4954 4. The initial response is decoded.
    Auth {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
    StartTls,
}

/// `MAIL FROM` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MailCommand {
    pub(crate) reverse_path: ReversePath,
    pub(crate) body_type: BodyType,
    pub(crate) declared_size_bytes: Option<u64>,
    pub(crate) options: MailOptions,
}

/// `RCPT TO` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RcptCommand {
    pub(crate) path: ForwardPath,
    /// Whether the path, as written, needs no SMTPUTF8.
    pub(crate) is_ascii: bool,
    pub(crate) options: RcptOptions,
}

/// The argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForwardPath {
    Mailbox(Address),
    /// `<Postmaster>` without a domain (RFC 5321 4.5.1).
    Postmaster,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// The reply to it.
    Refused(Reply),
    /// The reply to it. Bytes follow that are no commands, and nobody knows how many: the session must close.
    Fatal(Reply),
}

impl From<Reply> for CommandError {
    fn from(reply: Reply) -> Self {
        CommandError::Refused(reply)
    }
}

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Result<Command, CommandError> {
        let Some(text) = std::str::from_utf8(line).ok().filter(|t| !t.contains('\0')) else {
            let reply = Reply::permanent(501, (5, 2), "not valid UTF-8 text");
            // A chunk follows BDAT, however the rest of the line is spoilt.
            let is_bdat = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
            return Err(if is_bdat { CommandError::Fatal(reply) } else { CommandError::Refused(reply) });
        };
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_matches(' ');
        let bare = |command: Command| if argument.is_empty() { Ok(command) } else { Err(no_argument().into()) };
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => Ok(Command::Helo { name: helo_name(argument)? }),
            "EHLO" => Ok(Command::Ehlo { name: helo_name(argument)? }),
            "LHLO" => Ok(Command::Lhlo { name: helo_name(argument)? }),
            "MAIL" => Ok(Command::Mail(parse_mail(argument)?)),
            "RCPT" => Ok(Command::Rcpt(parse_rcpt(argument)?)),
            "DATA" => bare(Command::Data),
            "BDAT" => parse_bdat(argument).map_err(CommandError::Fatal),
            "AUTH" => Ok(parse_auth(argument)?),
            "RSET" => bare(Command::Rset),
            "QUIT" => bare(Command::Quit),
            "STARTTLS" => bare(Command::StartTls),
            "NOOP" => Ok(Command::Noop),
            "VRFY" => Ok(Command::Vrfy),
            "HELP" => Ok(Command::Help),
            "EXPN" => Err(Reply::permanent(502, (5, 1), "command not implemented").into()),
            // RFC 2920 3.1: what a client sends after a DATA that it wrongly believes accepted.
            "." => Err(Reply::permanent(503, (5, 1), "no message is being received").into()),
            verb => {
                let reply = Reply::permanent(500, (5, 1), "command not recognised");
                // `BDAT<TAB>5` and the like: what follows is a chunk to whoever sent it.
                Err(if verb.starts_with("BDAT") { CommandError::Fatal(reply) } else { reply.into() })
            }
        }
    }
}

fn no_argument() -> Reply {
    Reply::permanent(501, (5, 4), "this command takes no argument")
}

/// The name goes into a Received field later, so only what a domain or an address literal may hold is kept.
fn helo_name(argument: &str) -> Result<String, Reply> {
    if argument.is_empty() {
        return Err(Reply::permanent(501, (5, 4), "a host name is required"));
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ".-_:[]".contains(*c);
    Ok(argument.chars().filter(allowed).take(HELO_BYTES_MAX).collect())
}

fn parse_mail(argument: &str) -> Result<MailCommand, Reply> {
    let (path, parameters) = split_path(argument, "FROM:")?;
    let mut mail = MailCommand::default();
    let mut seen = Vec::new();
    for parameter in parameters.split_ascii_whitespace() {
        let (key, value) = once(parameter, &mut seen)?;
        match key.as_str() {
            "SIZE" => mail.declared_size_bytes = Some(parse_size(value)?),
            "BODY" => mail.body_type = parse_body(value)?,
            "SMTPUTF8" => mail.options.smtp_utf8 = without_value(value)?,
            "REQUIRETLS" => mail.options.require_tls = without_value(value)?,
            "RET" => mail.options.ret = parse_ret(value)?,
            "ENVID" => mail.options.envid = parse_envid(value)?,
            // RFC 4954 5: who it was handed in by elsewhere. Nobody is believed, so it is checked and forgotten.
            "AUTH" if value == "<>" || decode_xtext(value).is_some_and(|text| !text.is_empty()) => {}
            "AUTH" => return Err(Reply::permanent(501, (5, 4), "AUTH is <> or xtext")),
            // RFC 5321 4.1.1.11: 555 for a parameter that is not known.
            _ => return Err(Reply::permanent(555, (5, 4), "parameter not recognised")),
        }
    }
    // RFC 6531 3.4: an address beyond ASCII has to be announced.
    if !path.is_ascii() && !mail.options.smtp_utf8 {
        return Err(needs_smtp_utf8());
    }
    mail.reverse_path = match path {
        "" => ReversePath::Null,
        path => ReversePath::Address(parse_address(path, (1, 7))?),
    };
    Ok(mail)
}

fn parse_rcpt(argument: &str) -> Result<RcptCommand, Reply> {
    let (path, parameters) = split_path(argument, "TO:")?;
    let mut options = RcptOptions::default();
    let mut seen = Vec::new();
    for parameter in parameters.split_ascii_whitespace() {
        let (key, value) = once(parameter, &mut seen)?;
        match key.as_str() {
            "NOTIFY" => options.notify = parse_notify(value)?,
            "ORCPT" => options.orcpt = parse_orcpt(value)?,
            _ => return Err(Reply::permanent(555, (5, 4), "parameter not recognised")),
        }
    }
    let is_ascii = path.is_ascii();
    let path = match path.eq_ignore_ascii_case("postmaster") {
        true => ForwardPath::Postmaster,
        false => ForwardPath::Mailbox(parse_address(path, (1, 3))?),
    };
    Ok(RcptCommand { path, is_ascii, options })
}

/// A parameter's key in upper case and its value; each key comes once.
fn once<'a>(parameter: &'a str, seen: &mut Vec<String>) -> Result<(String, &'a str), Reply> {
    let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let key = key.to_ascii_uppercase();
    if seen.contains(&key) {
        return Err(Reply::permanent(501, (5, 4), "a parameter is given twice"));
    }
    seen.push(key.clone());
    Ok((key, value))
}

fn without_value(value: &str) -> Result<bool, Reply> {
    match value {
        "" => Ok(true),
        _ => Err(Reply::permanent(501, (5, 4), "this parameter takes no value")),
    }
}

/// RFC 1870 3: up to 20 digits. More than fits is a size that no limit allows.
fn parse_size(value: &str) -> Result<u64, Reply> {
    if value.is_empty() || value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Reply::permanent(501, (5, 4), "SIZE needs a number of bytes"));
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 2.
fn parse_body(value: &str) -> Result<BodyType, Reply> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        // RFC 3030 3: BINARYMIME is not offered, since nobody behind us could take it unchanged.
        _ => Err(Reply::permanent(501, (5, 4), "BODY is 7BIT or 8BITMIME")),
    }
}

/// RFC 3461 4.3.
fn parse_ret(value: &str) -> Result<String, Reply> {
    let value = value.to_ascii_uppercase();
    match value.as_str() {
        "FULL" | "HDRS" => Ok(value),
        _ => Err(Reply::permanent(501, (5, 4), "RET is FULL or HDRS")),
    }
}

/// RFC 3461 4.4: what it stands for is printable ASCII.
fn parse_envid(value: &str) -> Result<String, Reply> {
    let printable = |text: Vec<u8>| !text.is_empty() && text.iter().all(|b| (b' '..=b'~').contains(b));
    match value.len() <= ENVID_BYTES_MAX && decode_xtext(value).is_some_and(printable) {
        true => Ok(value.to_owned()),
        false => Err(Reply::permanent(501, (5, 4), "ENVID is xtext of at most 100 characters")),
    }
}

/// RFC 3461 4.1: NEVER stands alone.
fn parse_notify(value: &str) -> Result<String, Reply> {
    let value = value.to_ascii_uppercase();
    let words: Vec<&str> = value.split(',').collect();
    let is_known = |word: &&str| matches!(*word, "SUCCESS" | "FAILURE" | "DELAY");
    let is_once = |at: usize| !words[..at].contains(&words[at]);
    match value == "NEVER" || (words.iter().all(is_known) && (0..words.len()).all(is_once)) {
        true => Ok(value),
        false => Err(Reply::permanent(501, (5, 4), "NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")),
    }
}

/// RFC 3461 4.2, and RFC 6533 3 for `utf-8`: a type, `;`, and an address as xtext.
fn parse_orcpt(value: &str) -> Result<String, Reply> {
    let is_right = value.len() <= ORCPT_BYTES_MAX
        && value.split_once(';').is_some_and(|(kind, text)| {
            let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let is_utf8 = kind.eq_ignore_ascii_case("utf-8") && !text.chars().any(char::is_control);
            is_atom && !text.is_empty() && (is_utf8 || decode_xtext(text).is_some())
        });
    match is_right {
        true => Ok(value.to_owned()),
        false => Err(Reply::permanent(501, (5, 4), "ORCPT is a type, a semicolon and xtext")),
    }
}

/// RFC 3030 2. What follows the line is not known when its form is not.
fn parse_bdat(argument: &str) -> Result<Command, Reply> {
    let mut words = argument.split_ascii_whitespace();
    let size = words.next().filter(|size| size.len() <= 20 && size.bytes().all(|b| b.is_ascii_digit()));
    let is_last = match (words.next(), words.next()) {
        (None, _) => Some(false),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Some(true),
        (Some(_), _) => None,
    };
    let (Some(size), Some(is_last)) = (size, is_last) else {
        return Err(Reply::permanent(501, (5, 4), "the form is BDAT size, or BDAT size LAST"));
    };
    match size.parse() {
        Ok(size_bytes) => Ok(Command::Bdat { size_bytes, is_last }),
        Err(_) => Err(Reply::permanent(552, (3, 4), "message too big")),
    }
}

/// RFC 4954 4: `=` is an initial response of no bytes.
fn parse_auth(argument: &str) -> Result<Command, Reply> {
    let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
    if mechanism.is_empty() {
        return Err(Reply::permanent(501, (5, 4), "name a mechanism"));
    }
    let initial = match initial.trim_matches(' ') {
        "" => None,
        "=" => Some(Vec::new()),
        text => Some(decode_response(text.as_bytes())?),
    };
    Ok(Command::Auth { mechanism: mechanism.to_owned(), initial })
}

/// A response of a login exchange.
pub(crate) fn decode_response(line: &[u8]) -> Result<Vec<u8>, Reply> {
    BASE64.decode(line).map_err(|_| Reply::permanent(501, (5, 2), "the response is not base64"))
}

/// `FROM:<path> parameters` as path (without brackets and source route) and parameters.
fn split_path<'a>(argument: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Reply> {
    let syntax = || Reply::permanent(501, (5, 2), "the form is FROM:<address> or TO:<address>");
    let head = argument.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword));
    head.ok_or_else(syntax)?;
    // A blank after the colon is not in the grammar and is sent all the same.
    let inner = argument[keyword.len()..].trim_start_matches(' ').strip_prefix('<').ok_or_else(syntax)?;
    let end = closing_bracket(inner).ok_or_else(syntax)?;
    let (path, parameters) = (&inner[..end], &inner[end + 1..]);
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(syntax());
    }
    // RFC 5321 4.1.1.3 and appendix C: a source route is taken and ignored.
    let path = match path.starts_with('@') {
        true => path.split_once(':').ok_or_else(syntax)?.1,
        false => path,
    };
    Ok((path, parameters))
}

/// Where the path ends: the first `>` outside a quoted string.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn parse_address(path: &str, enhanced: (u16, u16)) -> Result<Address, Reply> {
    Address::parse(path).map_err(|_| Reply::permanent(501, enhanced, "the address is not valid"))
}

/// RFC 6531 3.4.
pub(crate) fn needs_smtp_utf8() -> Reply {
    Reply::permanent(553, (6, 7), "an address beyond ASCII needs SMTPUTF8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> String {
        match Command::parse(line.as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(CommandError::Refused(reply)) => reply.to_string().chars().take(9).collect(),
            Err(CommandError::Fatal(reply)) => format!("{} and the end", &reply.to_string()[..9]),
        }
    }

    #[test]
    fn refuses() {
        for (line, expect) in [
            ("", "500 5.5.1"),
            ("BDAT", "501 5.5.4 and the end"),
            ("BDAT x", "501 5.5.4 and the end"),
            ("BDAT -1", "501 5.5.4 and the end"),
            ("BDAT 5 FIRST", "501 5.5.4 and the end"),
            ("BDAT 5 LAST LAST", "501 5.5.4 and the end"),
            ("BDAT 18446744073709551616", "552 5.3.4 and the end"),
            ("BDAT\0 5", "501 5.5.2 and the end"),
            ("BDAT\t5", "500 5.5.1 and the end"),
            ("bdat,5 LAST", "500 5.5.1 and the end"),
            ("AUTH", "501 5.5.4"),
            ("AUTH PLAIN !", "501 5.5.2"),
            ("EHLO", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("MAIL", "501 5.5.2"),
            ("MAIL FROM", "501 5.5.2"),
            ("MAIL FROM:a@b.c", "501 5.5.2"),
            ("MAIL FROM:<a@b.c", "501 5.5.2"),
            ("MAIL FROM:<a@b.c>SIZE=1", "501 5.5.2"),
            ("MAIL FROM:<a b@c.d>", "501 5.1.7"),
            ("MAIL FROM:<a@b.c> SIZE=x", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SIZE=1 size=2", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> BODY=9BIT", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> RET=SOME", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> ENVID=a=b", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> ENVID=+0A", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> AUTH=", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> HOLDFOR=5", "555 5.5.4"),
            ("MAIL FROM:<ü@b.c>", "553 5.6.7"),
            ("MAIL FROM:<a@bü.c>", "553 5.6.7"),
            ("MAIL FROM:<a@xn--a.c>", "501 5.1.7"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a@b.c> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b.c> NOTIFY=DELAY,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b.c> NOTIFY=", "501 5.5.4"),
            ("RCPT TO:<a@b.c> ORCPT=a@b.c", "501 5.5.4"),
            ("RCPT TO:<a@b.c> ORCPT=rfc822;a+2", "501 5.5.4"),
            ("RCPT TO:<a@b.c> SIZE=1", "555 5.5.4"),
            ("RCPT TO:<a@b@c.d>", "501 5.1.3"),
            ("RCPT TO:<a@b.c:25>", "501 5.1.3"),
            ("RCPT ü", "501 5.5.2"),
            ("NO\0OP", "501 5.5.2"),
        ] {
            assert_eq!(code(line), expect, "{line:?}");
        }
        assert!(matches!(Command::parse(b"\xFF\xFE"), Err(CommandError::Refused(reply)) if reply.code() == 501));
    }

    #[test]
    fn takes() {
        let mail = |line: &str| match Command::parse(line.as_bytes()) {
            Ok(Command::Mail(mail)) => mail,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(mail("mail from:<>"), MailCommand::default());
        let got = mail("MAIL FROM: <\"a> b\"@x.de> SIZE=99999999999999999999 BODY=8bitmime");
        assert_eq!(got.reverse_path.to_string(), "\"a> b\"@x.de");
        assert_eq!((got.declared_size_bytes, got.body_type), (Some(u64::MAX), BodyType::EightBitMime));
        assert_eq!(mail("MAIL FROM:<@a.b,@c.d:u@e.f>").reverse_path.to_string(), "u@e.f");
        let got = mail("MAIL FROM:<ü@bücher.example> SMTPUTF8 REQUIRETLS ret=hdrs ENVID=QQ+2B1 AUTH=<> BODY=8BITMIME");
        let options = MailOptions { smtp_utf8: true, require_tls: true, ret: "HDRS".into(), envid: "QQ+2B1".into() };
        assert_eq!((got.options, got.body_type), (options, BodyType::EightBitMime));
        assert_eq!(got.reverse_path.to_string(), "ü@xn--bcher-kva.example");
        let rcpt = |line: &str| match Command::parse(line.as_bytes()) {
            Ok(Command::Rcpt(rcpt)) => rcpt,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(rcpt("RCPT TO:<PostMaster>").path, ForwardPath::Postmaster);
        let options = rcpt("RCPT TO:<a@b.c> NOTIFY=success,DELAY ORCPT=rfc822;A+2Bx@b.c").options;
        assert_eq!((options.notify.as_str(), options.orcpt.as_str()), ("SUCCESS,DELAY", "rfc822;A+2Bx@b.c"));
        assert_eq!(rcpt("RCPT TO:<a@b.c> NOTIFY=NEVER").options.notify, "NEVER");
        assert_eq!(Command::parse(b"EHLO a(b)\t<c>"), Ok(Command::Ehlo { name: "abc".into() }));
        assert_eq!(Command::parse(b"NOOP with text"), Ok(Command::Noop));
        assert_eq!(Command::parse(b"bdat 0 last"), Ok(Command::Bdat { size_bytes: 0, is_last: true }));
        let auth = |mechanism: &str, initial: Option<&[u8]>| {
            Ok(Command::Auth { mechanism: mechanism.into(), initial: initial.map(<[u8]>::to_vec) })
        };
        assert_eq!(Command::parse(b"AUTH PLAIN AGEAYg=="), auth("PLAIN", Some(b"\0a\0b")));
        assert_eq!(Command::parse(b"AUTH plain ="), auth("plain", Some(b"")));
        assert_eq!(Command::parse(b"AUTH LOGIN"), auth("LOGIN", None));
    }
}
