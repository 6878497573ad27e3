//! Message bodies: original bytes, many to an object ("pack"), read back by range.
//!
//! A pack is the bodies one after the other, nothing else: a body is `(pack, offset, length)` and its SHA-256 stands in
//! its row. Batches are appended to the pack that this process has open, until it is large: making, naming and syncing a
//! file for each batch costs more than writing it. No object_store type leaves this file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::error::io_kinds;
use crate::{Row, StoreError};

/// A pack that has so much is not appended to any more.
const PACK_BYTES_MAX: u64 = 16 * 1024 * 1024;
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

/// What a batch has added to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// Its id, which names the object.
    pub id: i64,
    /// Where the batch begins.
    pub start_bytes: u64,
    /// Size of the pack in bytes, with the batch.
    pub size_bytes: u64,
    /// How many bodies the batch has.
    pub body_count: usize,
}

pub(crate) struct Bodies {
    objects: Arc<dyn ObjectStore>,
    dir: PathBuf,
    /// The pack that is appended to.
    open: Mutex<Option<OpenPack>>,
}

struct OpenPack {
    id: i64,
    path: PathBuf,
    size_bytes: u64,
    /// Whether a row is known to say how far it reaches. Only then is it appended to: a pack that no row names is a leftover,
    /// which may be taken away.
    is_named: bool,
}

impl Bodies {
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::from_io(&e))?;
        let local = LocalFileSystem::new_with_prefix(dir).map_err(|e| StoreError::from_io(&e))?.with_fsync(true);
        Ok(Bodies { objects: Arc::new(local), dir: dir.to_owned(), open: Mutex::new(None) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends the bodies to the open pack, or to a new one named `new_id`; durable when this returns.
    pub(crate) async fn put(&self, new_id: i64, bodies: &[Bytes]) -> Result<(PackInfo, Vec<BodyRef>), StoreError> {
        let mut slot = self.open.lock().await;
        let open = slot.take().filter(|pack| pack.is_named && pack.size_bytes < PACK_BYTES_MAX);
        let (dir, bodies) = (self.dir.clone(), bodies.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let pack = open.map_or_else(|| OpenPack::create(&dir, new_id), Ok)?;
            pack.append(&bodies)
        })
        .await
        .map_err(|e| StoreError::Unavailable(format!("writing bodies ended badly: {e}")))?;
        // A pack that could not be written to is not open any more: the next batch begins another.
        let (pack, added) = written.map_err(|e| StoreError::from_io(&e))?;
        *slot = Some(pack);
        Ok(added)
    }

    /// The rows of a batch are committed.
    pub(crate) async fn named(&self, info: &PackInfo) {
        if let Some(pack) = self.open.lock().await.as_mut().filter(|pack| pack.id == info.id) {
            pack.is_named = true;
        }
    }

    /// Gives back the space of a batch that no row names.
    pub(crate) async fn forget(&self, info: &PackInfo) {
        let mut slot = self.open.lock().await;
        let Some(pack) = slot.take_if(|pack| pack.id == info.id && pack.size_bytes == info.size_bytes) else { return };
        let start_bytes = info.start_bytes;
        let done = tokio::task::spawn_blocking(move || pack.cut(start_bytes)).await;
        match done {
            Ok(Ok(pack)) => *slot = pack,
            Ok(Err(error)) => tracing::warn!("the end of pack {}, which no row names, stays: {error}", info.id),
            Err(error) => tracing::warn!("cutting pack {} ended badly: {error}", info.id),
        }
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

    /// Writes a small object as mail is written, and takes it away again.
    pub(crate) async fn probe(&self, id: i64) -> Result<(), StoreError> {
        let path = ObjectPath::from(format!("probe/{id}"));
        let cannot = |e: object_store::Error| StoreError::from_io(&e);
        self.objects.put(&path, PutPayload::from_static(&[0; PROBE_BYTES])).await.map_err(cannot)?;
        self.objects.delete(&path).await.map_err(cannot)
    }
}

impl OpenPack {
    /// An empty pack whose name is durable.
    fn create(dir: &Path, id: i64) -> io::Result<OpenPack> {
        let path = dir.join(object_path(id).as_ref());
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder)?;
        File::options().write(true).create_new(true).open(&path)?;
        let mut above = folder.ancestors().take_while(|above| above.starts_with(dir));
        if let Err(error) = above.try_for_each(|named| File::open(named)?.sync_all()) {
            let _ = std::fs::remove_file(&path); // nothing is in it: the sweep takes it if this does not
            return Err(error);
        }
        Ok(OpenPack { id, path, size_bytes: 0, is_named: false })
    }

    /// Writes the bodies one after the other, and waits until the disk has them. What fails leaves nothing of them: a full
    /// disk must not fill with what nobody names.
    fn append(mut self, bodies: &[Bytes]) -> io::Result<(OpenPack, (PackInfo, Vec<BodyRef>))> {
        let start_bytes = self.size_bytes;
        let mut refs = Vec::with_capacity(bodies.len());
        let mut whole = Vec::with_capacity(bodies.iter().map(Bytes::len).sum());
        for body in bodies {
            let (offset, bytes) = (start_bytes + whole.len() as u64, body.len() as u64);
            refs.push(BodyRef { pack_id: self.id, offset, bytes, sha256: sha256_hex(body) });
            whole.extend_from_slice(body);
        }
        if let Err(error) = self.write(&whole) {
            let id = self.id;
            if let Err(cut) = self.cut(start_bytes) {
                tracing::warn!("the end of pack {id}, which no row names, stays: {cut}");
            }
            return Err(error);
        }
        (self.size_bytes, self.is_named) = (start_bytes + whole.len() as u64, false);
        let info = PackInfo { id: self.id, start_bytes, size_bytes: self.size_bytes, body_count: bodies.len() };
        Ok((self, (info, refs)))
    }

    /// The file is opened anew: whatever became of it meanwhile is noticed here, and not when a body is read.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(bytes, self.size_bytes)?;
        file.sync_data()
    }

    /// Takes away what begins at `start_bytes`; the whole pack if that is all.
    fn cut(mut self, start_bytes: u64) -> io::Result<Option<OpenPack>> {
        if start_bytes == 0 {
            std::fs::remove_file(&self.path)?;
            return Ok(None);
        }
        File::options().write(true).open(&self.path)?.set_len(start_bytes)?;
        (self.size_bytes, self.is_named) = (start_bytes, true);
        Ok(Some(self))
    }
}

/// `packs/<two digits>/<id>.pack`: spread over folders, so that none grows to millions of names.
fn object_path(pack_id: i64) -> ObjectPath {
    ObjectPath::from(format!("packs/{:02}/{pack_id}.pack", (pack_id >> 21) % 100))
}

pub(crate) fn sha256_hex(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &'static str) -> Vec<Bytes> {
        vec![Bytes::from_static(text.as_bytes()), Bytes::from_static(b"end")]
    }

    fn file_of(dir: &Path, id: i64) -> PathBuf {
        dir.join(object_path(id).as_ref())
    }

    #[tokio::test]
    async fn only_a_pack_that_a_row_names_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::open(dir.path()).unwrap();
        let (first, _) = bodies.put(1, &batch("one")).await.unwrap();
        assert_eq!((first.id, first.start_bytes, first.size_bytes), (1, 0, 6));
        let (second, places) = bodies.put(2, &batch("two")).await.unwrap();
        assert_eq!((second.id, places[1].offset), (2, 3), "nobody has said that the first is named");
        bodies.named(&second).await;
        let (third, places) = bodies.put(3, &batch("three")).await.unwrap();
        assert_eq!((third.id, third.start_bytes, places[0].offset), (2, 6, 6));
        assert_eq!(bodies.get(&places[0]).await.unwrap(), "three");
    }

    #[tokio::test]
    async fn what_no_row_names_gives_its_space_back() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::open(dir.path()).unwrap();
        let (only, _) = bodies.put(1, &batch("one")).await.unwrap();
        bodies.forget(&only).await;
        assert!(!file_of(dir.path(), 1).exists());
        let (kept, _) = bodies.put(2, &batch("two")).await.unwrap();
        bodies.named(&kept).await;
        let (refused, _) = bodies.put(3, &batch("three")).await.unwrap();
        bodies.forget(&refused).await;
        assert_eq!(std::fs::metadata(file_of(dir.path(), 2)).unwrap().len(), kept.size_bytes);
        assert_eq!(bodies.put(4, &batch("four")).await.unwrap().0.start_bytes, kept.size_bytes, "it is open still");
    }

    #[tokio::test]
    async fn a_pack_that_takes_nothing_more_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::open(dir.path()).unwrap();
        let (kept, _) = bodies.put(1, &batch("one")).await.unwrap();
        bodies.named(&kept).await;
        std::fs::remove_file(file_of(dir.path(), 1)).unwrap();
        std::os::unix::fs::symlink("/dev/full", file_of(dir.path(), 1)).unwrap();
        assert!(matches!(bodies.put(2, &batch("two")).await, Err(StoreError::Full(_))));
        let (next, _) = bodies.put(3, &batch("three")).await.unwrap();
        bodies.named(&next).await;
        std::fs::remove_file(file_of(dir.path(), 3)).unwrap();
        assert!(matches!(bodies.put(4, &batch("four")).await, Err(StoreError::Unavailable(_))), "its file is gone");
        assert_eq!(bodies.put(5, &batch("five")).await.unwrap().0.id, 5);
    }
}
