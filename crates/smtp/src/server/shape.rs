//! The shape of a body, as far as a listener minds it: the size of its header section and the length of its lines.

use memchr::{memchr_iter, memmem};
use model::Reply;

use super::config::ServerConfig;

/// What is wrong with a body's shape.
pub(super) fn refusal(config: &ServerConfig, body: &[u8]) -> Option<Reply> {
    if config.header_bytes_max > 0 && has_longer_header(body, config.header_bytes_max) {
        return Some(Reply::permanent(552, (3, 4), "the header section is too big"));
    }
    if config.body_line_bytes_max > 0 && has_longer_line(body, config.body_line_bytes_max) {
        return Some(Reply::permanent(550, (6, 0), "a line of the message is too long"));
    }
    None
}

/// A body without an empty line is all header section.
fn has_longer_header(body: &[u8], bytes_max: usize) -> bool {
    if body.len() <= bytes_max || body.starts_with(b"\r\n") {
        return false;
    }
    let window = &body[..body.len().min(bytes_max.saturating_add(4))];
    memmem::find(window, b"\r\n\r\n").is_none()
}

fn has_longer_line(body: &[u8], text_bytes_max: usize) -> bool {
    let mut start = 0;
    for newline in memchr_iter(b'\n', body) {
        if (newline - start).saturating_sub(1) > text_bytes_max {
            return true;
        }
        start = newline + 1;
    }
    body.len() - start > text_bytes_max
}
