//! Files inside zip archives, unpacked in memory within a budget.
//!
//! Only zip is opened. An archive of another kind, an encrypted entry, or one over a limit is reported as unscannable:
//! what was not seen is never called clean.

use std::io::{Cursor, Read};

use model::{AttachmentFact, FileKind};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::Limits;
use crate::decode::short_text;
use crate::files::{extension, is_encrypted_document, kind_of};

/// Fills the attachments of one message.
#[derive(Debug)]
pub(crate) struct Files<'l> {
    limits: &'l Limits,
    pub(crate) facts: Vec<AttachmentFact>,
    /// Bytes that archives may still unpack.
    budget_bytes: u64,
}

impl<'l> Files<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Files { limits, facts: Vec::new(), budget_bytes: limits.archive_bytes_max }
    }

    /// Adds a file and, when it is a zip archive, the files inside it.
    pub(crate) fn add(&mut self, name: String, declared_type: String, bytes: &[u8], closed: bool) {
        self.add_at(name, declared_type, bytes, closed, None, 0);
    }

    fn add_at(
        &mut self,
        name: String,
        declared: String,
        bytes: &[u8],
        closed: bool,
        inside: Option<String>,
        depth: usize,
    ) {
        if self.facts.len() >= self.limits.attachments_max {
            if let Some(last) = self.facts.last_mut() {
                last.unscannable = true; // what followed was not seen
            }
            return;
        }
        let extension = extension(&name);
        let kind = kind_of(bytes, &extension);
        let at = self.facts.len();
        self.facts.push(AttachmentFact {
            name: name.clone(),
            extension,
            declared_type: declared,
            kind,
            sha256: data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)),
            size_bytes: bytes.len() as u64,
            inside,
            unscannable: closed || is_encrypted_document(bytes),
        });
        if kind == FileKind::Archive {
            let seen =
                bytes.starts_with(b"PK") && depth < self.limits.archive_depth_max && self.open(&name, bytes, depth);
            self.facts[at].unscannable |= !seen;
        }
    }

    /// Whether every file of the archive was seen.
    fn open(&mut self, name: &str, bytes: &[u8], depth: usize) -> bool {
        let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return false };
        let mut complete = archive.len() <= self.limits.archive_entries_max;
        for index in 0..archive.len().min(self.limits.archive_entries_max) {
            let Ok(entry) = archive.by_index_raw(index) else {
                complete = false;
                continue;
            };
            if entry.is_dir() {
                continue;
            }
            let entry_name =
                entry.name().map(|text| short_text(&text, self.limits.short_text_chars_max)).unwrap_or_default();
            let (packed_bytes, declared_bytes, encrypted) = (entry.compressed_size(), entry.size(), entry.encrypted());
            drop(entry);
            let unpacked = if encrypted { None } else { self.unpack(&mut archive, index, packed_bytes) };
            match unpacked {
                Some(unpacked) => {
                    self.add_at(entry_name, String::new(), &unpacked, false, Some(name.to_owned()), depth + 1);
                }
                None => {
                    complete = false;
                    self.add_unseen(entry_name, declared_bytes, name);
                }
            }
        }
        complete
    }

    /// The bytes of an entry, unless they break a limit or the archive is broken. Never trusts the declared size.
    fn unpack(&mut self, archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, packed_bytes: u64) -> Option<Vec<u8>> {
        let by_ratio =
            packed_bytes.saturating_mul(self.limits.archive_ratio_max).max(self.limits.archive_ratio_floor_bytes);
        let allowed = by_ratio.min(self.budget_bytes);
        let mut entry = archive.by_index(index).ok()?;
        let mut out = Vec::new();
        let result = entry.by_ref().take(allowed + 1).read_to_end(&mut out);
        self.budget_bytes = self.budget_bytes.saturating_sub(out.len() as u64);
        (result.is_ok() && out.len() as u64 <= allowed).then_some(out)
    }

    fn add_unseen(&mut self, name: String, declared_bytes: u64, inside: &str) {
        if self.facts.len() >= self.limits.attachments_max {
            return;
        }
        let extension = extension(&name);
        self.facts.push(AttachmentFact {
            kind: kind_of(b"", &extension),
            name,
            extension,
            declared_type: String::new(),
            sha256: String::new(),
            size_bytes: declared_bytes,
            inside: Some(inside.to_owned()),
            unscannable: true,
        });
    }
}
