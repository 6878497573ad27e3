//! Message bodies: original bytes, many to an object ("pack"), read back by range.
//!
//! A pack is the bodies one after the other, nothing else: a body is `(pack, offset, length)` and its SHA-256 stands in
//! its row. No object_store type leaves this file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};

use crate::error::io_kinds;
use crate::{Row, StoreError};

/// A page: less might fit where a mail does not.
const PROBE_BYTES: usize = 4_096;

/// Where a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyRef {
    /// The pack object.
    pub pack_id: i64,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the body, lower-case hex.
    pub sha256: String,
}

impl BodyRef {
    /// From the columns `pack_id, body_offset, body_bytes, body_sha256`.
    ///
    /// # Errors
    /// [`StoreError::Column`] when a column is missing or negative.
    pub fn from_row(row: &Row) -> Result<Self, StoreError> {
        let unsigned = |column: &str| {
            u64::try_from(row.int(column)?)
                .map_err(|_| StoreError::Column { column: column.into(), problem: "negative".into() })
        };
        Ok(BodyRef {
            pack_id: row.int("pack_id")?,
            offset: unsigned("body_offset")?,
            bytes: unsigned("body_bytes")?,
            sha256: row.text("body_sha256")?.to_owned(),
        })
    }
}

/// A pack as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// Its id, which names the object.
    pub id: i64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// How many bodies.
    pub body_count: usize,
}

pub(crate) struct Bodies {
    objects: Arc<dyn ObjectStore>,
    dir: PathBuf,
}

impl Bodies {
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::from_io(&e))?;
        let local = LocalFileSystem::new_with_prefix(dir).map_err(|e| StoreError::from_io(&e))?.with_fsync(true);
        Ok(Bodies { objects: Arc::new(local), dir: dir.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the bodies as one object, durable when this returns.
    pub(crate) async fn put(&self, pack_id: i64, bodies: &[Bytes]) -> Result<(PackInfo, Vec<BodyRef>), StoreError> {
        let mut offset = 0;
        let mut refs = Vec::with_capacity(bodies.len());
        for body in bodies {
            let bytes = body.len() as u64;
            refs.push(BodyRef { pack_id, offset, bytes, sha256: sha256_hex(body) });
            offset += bytes;
        }
        let payload = PutPayload::from_iter(bodies.iter().cloned());
        self.objects.put(&object_path(pack_id), payload).await.map_err(|e| StoreError::from_io(&e))?;
        Ok((PackInfo { id: pack_id, size_bytes: offset, body_count: bodies.len() }, refs))
    }

    /// Reads a body and compares it with its hash: what is damaged is never handed on.
    pub(crate) async fn get(&self, body: &BodyRef) -> Result<Bytes, StoreError> {
        let got = self.get_part(body, 0..body.bytes).await?;
        if body.bytes > 0 && sha256_hex(&got) != body.sha256 {
            let problem = "the bytes are not those that were stored".into();
            return Err(StoreError::Body { pack_id: body.pack_id, problem });
        }
        Ok(got)
    }

    /// Some bytes of a body. Their hash is of the whole, so that nothing is compared here.
    pub(crate) async fn get_part(&self, body: &BodyRef, part: Range<u64>) -> Result<Bytes, StoreError> {
        let part = part.start.min(body.bytes)..part.end.min(body.bytes);
        if part.is_empty() {
            return Ok(Bytes::new());
        }
        let damaged = |problem: &str| StoreError::Body { pack_id: body.pack_id, problem: problem.into() };
        let place = |at: u64| body.offset.checked_add(at).ok_or_else(|| damaged("its row names no place in a file"));
        let range = place(part.start)?..place(part.end)?;
        let got = self.objects.get_range(&object_path(body.pack_id), range).await.map_err(|e| match e {
            object_store::Error::NotFound { .. } => damaged("the object is missing"),
            // Without an I/O error it is the range that is not there: the object ends before it.
            other if io_kinds(&other).next().is_none() => damaged(&format!("the object is torn: {other}")),
            other => StoreError::from_io(&other),
        })?;
        if got.len() as u64 != part.end - part.start {
            return Err(damaged("the object is shorter than its row says"));
        }
        Ok(got)
    }

    /// Takes away a pack that no row names, if it is there.
    pub(crate) async fn forget(&self, pack_id: i64) {
        match self.objects.delete(&object_path(pack_id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!("pack {pack_id}, which no row names, stays: {error}"),
        }
    }

    /// Writes a small object as mail is written, and takes it away again.
    pub(crate) async fn probe(&self, id: i64) -> Result<(), StoreError> {
        let path = ObjectPath::from(format!("probe/{id}"));
        let cannot = |e: object_store::Error| StoreError::from_io(&e);
        self.objects.put(&path, PutPayload::from_static(&[0; PROBE_BYTES])).await.map_err(cannot)?;
        self.objects.delete(&path).await.map_err(cannot)
    }
}

/// `packs/<two digits>/<id>.pack`: spread over folders, so that none grows to millions of names.
fn object_path(pack_id: i64) -> ObjectPath {
    ObjectPath::from(format!("packs/{:02}/{pack_id}.pack", (pack_id >> 21) % 100))
}

pub(crate) fn sha256_hex(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}
