//! One command line, already cut at its CRLF, as a [`Command`] (RFC 5321 4.1.1).
//!
//! What is wrong with a line is the reply to it, so parsing fails with a [`Reply`].

use model::{Address, BodyType, Reply, ReversePath};

/// The longest HELO or EHLO name kept, in bytes (RFC 5321 4.5.3.1.2).
const HELO_BYTES_MAX: usize = 255;

/// A command that a peer may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Helo { name: String },
    Ehlo { name: String },
    Mail(MailCommand),
    Rcpt(ForwardPath),
    Data,
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
}

/// The argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForwardPath {
    Mailbox(Address),
    /// `<Postmaster>` without a domain (RFC 5321 4.5.1).
    Postmaster,
}

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Result<Command, Reply> {
        let Some(text) = std::str::from_utf8(line).ok().filter(|t| !t.contains('\0')) else {
            return Err(Reply::permanent(501, (5, 2), "not valid UTF-8 text"));
        };
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_matches(' ');
        let bare = |command: Command| if argument.is_empty() { Ok(command) } else { Err(no_argument()) };
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => Ok(Command::Helo { name: helo_name(argument)? }),
            "EHLO" => Ok(Command::Ehlo { name: helo_name(argument)? }),
            "MAIL" => parse_mail(argument).map(Command::Mail),
            "RCPT" => parse_rcpt(argument).map(Command::Rcpt),
            "DATA" => bare(Command::Data),
            "RSET" => bare(Command::Rset),
            "QUIT" => bare(Command::Quit),
            "STARTTLS" => bare(Command::StartTls),
            "NOOP" => Ok(Command::Noop),
            "VRFY" => Ok(Command::Vrfy),
            "HELP" => Ok(Command::Help),
            "EXPN" | "AUTH" => Err(Reply::permanent(502, (5, 1), "command not implemented")),
            // RFC 2920 3.1: what a client sends after a DATA that it wrongly believes accepted.
            "." => Err(Reply::permanent(503, (5, 1), "no message is being received")),
            _ => Err(Reply::permanent(500, (5, 1), "command not recognised")),
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
    let reverse_path = match path {
        "" => ReversePath::Null,
        path => ReversePath::Address(parse_address(path, (1, 7))?),
    };
    let mut mail = MailCommand { reverse_path, ..MailCommand::default() };
    let (mut has_size, mut has_body) = (false, false);
    for parameter in parameters.split_ascii_whitespace() {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key.to_ascii_uppercase().as_str() {
            "SIZE" if !has_size => {
                has_size = true;
                mail.declared_size_bytes = Some(parse_size(value)?);
            }
            "BODY" if !has_body => {
                has_body = true;
                mail.body_type = parse_body(value)?;
            }
            "SIZE" | "BODY" => return Err(Reply::permanent(501, (5, 4), "a parameter is given twice")),
            // RFC 5321 4.1.1.11: 555 for a parameter that is not known.
            _ => return Err(Reply::permanent(555, (5, 4), "parameter not recognised")),
        }
    }
    Ok(mail)
}

fn parse_rcpt(argument: &str) -> Result<ForwardPath, Reply> {
    let (path, parameters) = split_path(argument, "TO:")?;
    if !parameters.trim().is_empty() {
        return Err(Reply::permanent(555, (5, 4), "parameter not recognised"));
    }
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    parse_address(path, (1, 3)).map(ForwardPath::Mailbox)
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
        _ => Err(Reply::permanent(501, (5, 4), "BODY is 7BIT or 8BITMIME")),
    }
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
    // RFC 6531 3.1: an address beyond ASCII needs SMTPUTF8, which is not offered.
    if !path.is_ascii() {
        return Err(Reply::permanent(553, (6, 7), "addresses beyond ASCII are not supported here"));
    }
    Address::parse(path).map_err(|_| Reply::permanent(501, enhanced, "the address is not valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> String {
        match Command::parse(line.as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(reply) => reply.to_string().chars().take(9).collect(),
        }
    }

    #[test]
    fn refuses() {
        for (line, expect) in [
            ("", "500 5.5.1"),
            ("BDAT 5 LAST", "500 5.5.1"),
            ("AUTH PLAIN", "502 5.5.1"),
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
            ("MAIL FROM:<a@b.c> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SMTPUTF8", "555 5.5.4"),
            ("MAIL FROM:<ü@b.c>", "553 5.6.7"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a@b.c> NOTIFY=NEVER", "555 5.5.4"),
            ("RCPT TO:<a@b@c.d>", "501 5.1.3"),
            ("RCPT TO:<a@b.c:25>", "501 5.1.3"),
            ("RCPT ü", "501 5.5.2"),
            ("NO\0OP", "501 5.5.2"),
        ] {
            assert_eq!(code(line), expect, "{line:?}");
        }
        assert_eq!(Command::parse(b"\xFF\xFE").unwrap_err().code(), 501);
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
        assert_eq!(Command::parse(b"RCPT TO:<PostMaster>"), Ok(Command::Rcpt(ForwardPath::Postmaster)));
        assert_eq!(Command::parse(b"EHLO a(b)\t<c>"), Ok(Command::Ehlo { name: "abc".into() }));
        assert_eq!(Command::parse(b"NOOP with text"), Ok(Command::Noop));
    }
}
