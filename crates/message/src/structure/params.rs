//! A structured value with parameters (RFC 2045 5.1), raw: nothing is decoded but quotes and comments.

use super::unfold;

/// Parameters kept of one value.
const PARAMETERS_MAX: usize = 64;
/// Bytes read of one value.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// A value and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// What stands before the first semicolon.
    pub value: Vec<u8>,
    /// (name in lower case, value), in their order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parameters {
    /// The first parameter of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| value.as_slice())
    }
}

/// Reads a Content-Type, Content-Disposition or Content-Language value.
pub fn parameters(value: &[u8]) -> Parameters {
    let value = unfold(&value[..value.len().min(VALUE_BYTES_MAX)]);
    let mut pieces = pieces(&value).into_iter();
    let mut found = Parameters { value: text_of(&pieces.next().unwrap_or_default()), parameters: Vec::new() };
    // Without its semicolon a parameter must not become part of the value.
    let end = found.value.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(found.value.len());
    if found.value.contains(&b'/') && !found.value[..end].is_empty() {
        found.value.truncate(end);
    }
    for piece in pieces.take(PARAMETERS_MAX) {
        let Some(equals) = piece.iter().position(|(b, quoted)| *b == b'=' && !quoted) else { continue };
        let name = text_of(&piece[..equals]).to_ascii_lowercase();
        if !name.is_empty() {
            found.parameters.push((name, text_of(&piece[equals + 1..])));
        }
    }
    found
}

type Marked = Vec<(u8, bool)>;

/// Cut at semicolons outside quotes and comments; comments are gone, quotes are marks.
fn pieces(value: &[u8]) -> Vec<Marked> {
    let mut all = vec![Marked::new()];
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for &byte in value {
        let piece = all.last_mut().expect("there is always one");
        if std::mem::take(&mut escaped) {
            if depth == 0 {
                piece.push((byte, true));
            }
            continue;
        }
        match byte {
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted && depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            b';' if !quoted => all.push(Marked::new()),
            _ => piece.push((byte, quoted)),
        }
    }
    all
}

/// Without blanks around it, unless they were quoted.
fn text_of(piece: &[(u8, bool)]) -> Vec<u8> {
    let is_blank = |(b, quoted): &(u8, bool)| b.is_ascii_whitespace() && !quoted;
    let start = piece.iter().position(|b| !is_blank(b)).unwrap_or(piece.len());
    let end = piece.iter().rposition(|b| !is_blank(b)).map_or(start, |i| i + 1);
    piece[start..end].iter().map(|(b, _)| *b).collect()
}
