//! CHUNKING (RFC 3030): a message in counted chunks.
//!
//! The bytes of a chunk are never looked at as commands, whatever is wrong with the chunk: a refused one is read to its
//! end and thrown away. One that is too large for that ends the session.

use model::Reply;

use super::session::{Session, Stage};
use crate::data::{Newlines, canonical_newlines, has_bare_newline};

/// A refused chunk is read to its end up to this size; past it the session closes.
const SWALLOWED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A chunk that is being read.
#[derive(Debug)]
pub(super) struct Chunk {
    size_bytes: u64,
    rest_bytes: u64,
    is_last: bool,
    /// The reply when it is over; `None`: it belongs to the message.
    refusal: Option<Reply>,
}

impl Chunk {
    /// Takes what belongs to the chunk and says how much that was.
    pub(super) fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> usize {
        let used_bytes = usize::try_from(self.rest_bytes).unwrap_or(usize::MAX).min(bytes.len());
        if self.refusal.is_none() {
            body.extend_from_slice(&bytes[..used_bytes]);
        }
        self.rest_bytes -= used_bytes as u64;
        used_bytes
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest_bytes == 0
    }
}

impl Session {
    /// RFC 3030 2.
    pub(super) fn bdat(&mut self, size_bytes: u64, is_last: bool) {
        let refusal = self.chunk_refusal(size_bytes);
        if let Some(reply) = &refusal
            && size_bytes > SWALLOWED_BYTES_MAX
        {
            return self.close_with(reply.clone());
        }
        self.stage = Stage::Chunk(Chunk { size_bytes, rest_bytes: size_bytes, is_last, refusal });
    }

    fn chunk_refusal(&self, size_bytes: u64) -> Option<Reply> {
        if let Some(refusal) = self.body_refusal() {
            return Some(refusal);
        }
        let whole_bytes = (self.chunks.len() as u64).checked_add(size_bytes);
        let fits = whole_bytes.is_some_and(|bytes| bytes <= self.config.body_bytes_max() as u64);
        (!fits).then(|| Reply::permanent(552, (3, 4), "message too big"))
    }

    pub(super) fn end_of_chunk(&mut self) {
        let Stage::Chunk(chunk) = std::mem::replace(&mut self.stage, Stage::Commands) else {
            unreachable!("a chunk ends in a chunk");
        };
        if let Some(refusal) = chunk.refusal {
            // The transaction is lost with one of its chunks: those that follow are out of place (503).
            let is_of_message = refusal.code() == 552;
            if is_of_message {
                self.reset();
            }
            return self.refuse(refusal);
        }
        self.has_chunks = true;
        if !chunk.is_last {
            return self.reply(Reply::ok(250, (0, 0), format!("{} octets received", chunk.size_bytes)));
        }
        let body = std::mem::take(&mut self.chunks);
        // RFC 3030 3: only BINARYMIME, which is not offered, may hold other newlines than CRLF.
        if !has_bare_newline(&body) {
            return self.end_of_message(Ok(body));
        }
        match self.config.newlines {
            Newlines::Normalise => {
                let body = canonical_newlines(&body).into_owned();
                self.end_of_message(Ok(body));
            }
            Newlines::Refuse => self.end_of_message(Err(super::transaction::bare_newline())),
        }
    }
}
