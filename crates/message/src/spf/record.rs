//! SPF records: text to terms (RFC 7208 4.5, 5, 6 and 12), and the macro language (section 7).
//!
//! A record is read as a whole before anything of it is evaluated: a syntax error anywhere is `permerror` (4.6).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A record or a text that does not follow the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError;

/// What a matching mechanism means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A network prefix for each family; the client's family says which one is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroText),
    A(Option<MacroText>, Prefix),
    Mx(Option<MacroText>, Prefix),
    Ptr(Option<MacroText>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroText),
}

/// A parsed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<(Qualifier, Mechanism)>,
    pub(super) redirect: Option<MacroText>,
    pub(super) explanation: Option<MacroText>,
}

/// RFC 7208 4.5: the version is `v=spf1`, and a blank or the end follows.
pub(super) fn is_spf(text: &str) -> bool {
    const VERSION: &str = "v=spf1";
    text.get(..VERSION.len()).is_some_and(|head| head.eq_ignore_ascii_case(VERSION))
        && text[VERSION.len()..].chars().next().is_none_or(|c| c == ' ')
}

impl Record {
    /// Reads a record that [`is_spf`].
    pub(super) fn parse(text: &str) -> Result<Record, SyntaxError> {
        let mut record = Record { directives: Vec::new(), redirect: None, explanation: None };
        // RFC 7208 4.6.1: terms are divided by one or more blanks, and by nothing else.
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            if !term.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(SyntaxError);
            }
            match modifier(term) {
                Some((name, value)) => record.modifier(name, value)?,
                None => record.directives.push(directive(term)?),
            }
        }
        Ok(record)
    }

    fn modifier(&mut self, name: &str, value: &str) -> Result<(), SyntaxError> {
        let slot = match name.to_ascii_lowercase().as_str() {
            "redirect" => &mut self.redirect,
            "exp" => &mut self.explanation,
            // RFC 7208 6: unknown modifiers are ignored, as long as they follow the grammar.
            _ => return MacroText::parse(value, Scope::Domain).map(drop),
        };
        // RFC 7208 6: each at most once.
        if slot.is_some() {
            return Err(SyntaxError);
        }
        *slot = Some(MacroText::domain_spec(value)?);
        Ok(())
    }
}

/// `name=value`, when that is what a term is.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    is_name.then_some((name, value))
}

fn directive(term: &str) -> Result<(Qualifier, Mechanism), SyntaxError> {
    let (qualifier, rest) = match term.as_bytes() {
        [b'+', ..] => (Qualifier::Pass, &term[1..]),
        [b'-', ..] => (Qualifier::Fail, &term[1..]),
        [b'~', ..] => (Qualifier::SoftFail, &term[1..]),
        [b'?', ..] => (Qualifier::Neutral, &term[1..]),
        _ => (Qualifier::Pass, term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, tail) = rest.split_at(end);
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if tail.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(MacroText::domain_spec(value(tail)?)?),
        "exists" => Mechanism::Exists(MacroText::domain_spec(value(tail)?)?),
        "a" => {
            let (domain, prefix) = domain_and_prefix(tail)?;
            Mechanism::A(domain, prefix)
        }
        "mx" => {
            let (domain, prefix) = domain_and_prefix(tail)?;
            Mechanism::Mx(domain, prefix)
        }
        "ptr" if tail.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(MacroText::domain_spec(value(tail)?)?)),
        "ip4" => {
            let (address, bits) = network(value(tail)?, 32)?;
            Mechanism::Ip4(address.parse().map_err(|_| SyntaxError)?, bits)
        }
        "ip6" => {
            let (address, bits) = network(value(tail)?, 128)?;
            Mechanism::Ip6(address.parse().map_err(|_| SyntaxError)?, bits)
        }
        _ => return Err(SyntaxError),
    };
    Ok((qualifier, mechanism))
}

fn value(tail: &str) -> Result<&str, SyntaxError> {
    tail.strip_prefix(':').filter(|value| !value.is_empty()).ok_or(SyntaxError)
}

fn network(value: &str, bits_max: u8) -> Result<(&str, u8), SyntaxError> {
    match value.split_once('/') {
        Some((address, bits)) => Ok((address, prefix_length(bits, bits_max)?)),
        None => Ok((value, bits_max)),
    }
}

/// RFC 7208 12: no leading zeros, and not more than the family has.
fn prefix_length(digits: &str, bits_max: u8) -> Result<u8, SyntaxError> {
    let plain = digits == "0" || !digits.starts_with('0');
    if !plain || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SyntaxError);
    }
    digits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(SyntaxError)
}

/// `[":" domain-spec] ["/" v4] ["//" v6]`.
fn domain_and_prefix(tail: &str) -> Result<(Option<MacroText>, Prefix), SyntaxError> {
    let mut prefix = Prefix { v4: 32, v6: 128 };
    let mut rest = tail;
    // A slash may stand in a domain-spec as well: only what is digits to the end is a prefix.
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some((before, bits)) = rest.rsplit_once("//").filter(|(_, bits)| digits(bits)) {
        prefix.v6 = prefix_length(bits, 128)?;
        rest = before;
    }
    if let Some((before, bits)) = rest.rsplit_once('/').filter(|(_, bits)| digits(bits)) {
        prefix.v4 = prefix_length(bits, 32)?;
        rest = before;
    }
    let domain = match rest {
        "" => None,
        rest => Some(MacroText::domain_spec(value(rest)?)?),
    };
    Ok((domain, prefix))
}

/// A text with macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacroText(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Macro(Macro),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    letter: char,
    is_escaped: bool,
    parts_max: Option<usize>,
    is_reversed: bool,
    delimiters: String,
}

/// Where a text stands: `c`, `r` and `t` and blanks are for explanations only (RFC 7208 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Domain,
    Explanation,
}

/// What macros stand for.
pub(super) trait Expand {
    /// The value of a letter: lower case, one of `s l o d i p h c r t v`.
    fn letter(&self, letter: char) -> String;
}

impl MacroText {
    pub(super) fn parse(text: &str, scope: Scope) -> Result<MacroText, SyntaxError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some('%') => literal.push('%'),
                    Some('_') => literal.push(' '),
                    Some('-') => literal.push_str("%20"),
                    Some('{') => {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                        // The brace that ends it must have been there.
                        let ended = text.len() - chars.as_str().len();
                        if text.as_bytes().get(ended - 1) != Some(&b'}') {
                            return Err(SyntaxError);
                        }
                        pieces.push(Piece::Macro(Macro::parse(&inside, scope)?));
                    }
                    _ => return Err(SyntaxError),
                },
                ' ' if scope == Scope::Explanation => literal.push(c),
                c if c.is_ascii_graphic() => literal.push(c),
                _ => return Err(SyntaxError),
            }
        }
        pieces.push(Piece::Literal(literal));
        Ok(MacroText(pieces))
    }

    /// RFC 7208 7.1: a domain-spec ends with a macro or with a dot and a top label.
    pub(super) fn domain_spec(text: &str) -> Result<MacroText, SyntaxError> {
        let parsed = MacroText::parse(text, Scope::Domain)?;
        let is_whole = match parsed.0.as_slice() {
            [.., Piece::Macro(_), Piece::Literal(end)] if end.is_empty() => true,
            [.., Piece::Literal(end)] => {
                let end = end.strip_suffix('.').unwrap_or(end);
                end.rsplit_once('.').is_some_and(|(_, label)| is_top_label(label))
            }
            _ => false,
        };
        if is_whole { Ok(parsed) } else { Err(SyntaxError) }
    }

    /// Whether the letter `p` occurs, which costs questions.
    pub(super) fn names_client(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Macro(Macro { letter: 'p', .. })))
    }

    pub(super) fn expand(&self, values: &impl Expand) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Macro(one) => out.push_str(&one.expand(values)),
            }
        }
        out
    }
}

fn is_top_label(label: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && label.bytes().any(|b| !b.is_ascii_digit())
        && ends(label.chars().next())
        && ends(label.chars().last())
}

impl Macro {
    fn parse(inside: &str, scope: Scope) -> Result<Macro, SyntaxError> {
        let mut chars = inside.chars();
        let letter = chars.next().ok_or(SyntaxError)?;
        let lower = letter.to_ascii_lowercase();
        let known = "slodiphv".contains(lower) || (scope == Scope::Explanation && "crt".contains(lower));
        if !known {
            return Err(SyntaxError);
        }
        let rest = chars.as_str();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = rest.split_at(digits);
        let parts_max = match number {
            "" => None,
            // RFC 7208 7.3: the number must not be zero. One that is too large for us is as good as all.
            number if number.bytes().all(|b| b == b'0') => return Err(SyntaxError),
            number => Some(number.parse().unwrap_or(usize::MAX)),
        };
        let reversed = rest.strip_prefix(['r', 'R']);
        let delimiters = reversed.unwrap_or(rest);
        if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return Err(SyntaxError);
        }
        Ok(Macro {
            letter: lower,
            is_escaped: letter.is_ascii_uppercase(),
            parts_max,
            is_reversed: reversed.is_some(),
            delimiters: if delimiters.is_empty() { ".".into() } else { delimiters.into() },
        })
    }

    fn expand(&self, values: &impl Expand) -> String {
        let value = values.letter(self.letter);
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let left = self.parts_max.map_or(0, |max| parts.len().saturating_sub(max));
        let joined = parts[left..].join(".");
        if !self.is_escaped {
            return joined;
        }
        // RFC 7208 7.3: an upper-case letter asks for URL escapes (RFC 3986 unreserved characters stay).
        let escape = |b: u8| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        joined.bytes().map(escape).collect()
    }
}
