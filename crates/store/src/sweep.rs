//! What a process that died has left in the folder of bodies: half-written objects, whole packs whose rows were never
//! committed, and probes. Nobody reads any of it; it only takes space.
//!
//! Three things keep what is needed. Nothing is taken away before it is a day old, by the file's time and by the time in
//! its id: no commit lasts that long. Nothing that a row names, and nothing that is not named as we name things. And packs
//! without rows are few, since a process that dies leaves those that it was writing: when there are many, the rows are
//! missing rather than the packs too many (another database, a restore of an older one), and all of them stay.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use model::MessageId;

use crate::{Inner, Store, StoreError, values};

/// Younger than this, nothing is touched. A commit waits 40 seconds for its turn at most, and a peer for its reply 5 minutes.
const AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// More packs without rows than this in one pass are no leftovers.
const UNNAMED_MAX: usize = 100;
/// Packs that are looked up by one statement.
const LOOK_UP_MAX: usize = 500;
/// Between two of the hundred folders, so that a large store is walked through in a quarter of an hour.
const FOLDER_PAUSE: Duration = Duration::from_secs(10);
/// Between two passes.
const PASS_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Half-written objects and probes that were taken away.
    pub staged_count: usize,
    /// Packs without rows that were taken away.
    pub pack_count: usize,
    /// The space of both.
    pub freed_bytes: u64,
    /// Packs without rows that stay, since there are more of them than a death can leave.
    pub suspicious_count: usize,
}

/// A file that may be a leftover.
struct Found {
    path: PathBuf,
    bytes: u64,
    /// The pack that it is, when it is a whole one.
    pack_id: Option<i64>,
}

/// A pass under way.
#[derive(Default)]
struct Pass {
    swept: Swept,
    unnamed: Vec<Found>,
}

impl Store {
    /// Takes away what processes that died have left. May run beside everything else, and in several processes.
    ///
    /// # Errors
    /// When the folder or the rows cannot be read; what was taken away by then was a leftover.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut pass = Pass::default();
        for folder in self.body_folders().await? {
            pass.look(self, &folder).await?;
        }
        pass.finish().await
    }

    /// Sweeps now and from time to time, slowly, until the last clone of this store is gone.
    pub fn start_sweeping(&self) {
        let inner = std::sync::Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                match slow_pass(&inner).await {
                    None => return,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => tracing::warn!("leftovers among the bodies cannot be looked for: {error}"),
                }
                tokio::time::sleep(PASS_PAUSE).await;
            }
        });
    }

    /// The folders of packs, and that of probes.
    async fn body_folders(&self) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.objects_dir().to_owned();
        blocking(move || {
            let mut folders = vec![dir.join("probe")];
            for entry in entries(&dir.join("packs"))? {
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
            Ok(folders)
        })
        .await
    }

    /// Which of these packs a row names.
    async fn named_packs(&self, ids: &[i64]) -> Result<HashSet<i64>, StoreError> {
        let mut named = HashSet::new();
        for some in ids.chunks(LOOK_UP_MAX) {
            let rows = self.query("pack.named", &values![serde_json::Value::from(some.to_vec())]).await?;
            for row in &rows {
                named.insert(row.int("id")?);
            }
        }
        Ok(named)
    }
}

/// One pass with pauses; `None` when the store is gone.
async fn slow_pass(inner: &Weak<Inner>) -> Option<Result<Swept, StoreError>> {
    let store = || inner.upgrade().map(|inner| Store { inner });
    let folders = match store()?.body_folders().await {
        Ok(folders) => folders,
        Err(error) => return Some(Err(error)),
    };
    let mut pass = Pass::default();
    for folder in folders {
        if let Err(error) = pass.look(&store()?, &folder).await {
            return Some(Err(error));
        }
        tokio::time::sleep(FOLDER_PAUSE).await;
    }
    Some(pass.finish().await)
}

impl Pass {
    async fn look(&mut self, store: &Store, folder: &Path) -> Result<(), StoreError> {
        let (folder, before) = (folder.to_owned(), store.now().as_micros());
        let found = blocking(move || old_files(&folder, before)).await?;
        let ids: Vec<i64> = found.iter().filter_map(|found| found.pack_id).collect();
        let named = store.named_packs(&ids).await?;
        for found in found {
            match found.pack_id {
                Some(id) if named.contains(&id) => {}
                Some(_) => self.unnamed.push(found),
                None => {
                    self.swept.staged_count += 1;
                    self.swept.freed_bytes += remove(found).await?;
                }
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Swept, StoreError> {
        if self.unnamed.len() > UNNAMED_MAX {
            self.swept.suspicious_count = self.unnamed.len();
            tracing::error!(
                "{} packs are named by no row and stay: is this the right database, or an older state of it?",
                self.unnamed.len()
            );
            return Ok(self.swept);
        }
        for found in self.unnamed {
            self.swept.pack_count += 1;
            self.swept.freed_bytes += remove(found).await?;
        }
        if self.swept != Swept::default() {
            let Swept { staged_count, pack_count, freed_bytes, .. } = self.swept;
            tracing::info!("{staged_count} half-written objects and {pack_count} packs without rows were taken away");
            tracing::debug!(freed_bytes, "freed {freed_bytes} bytes");
        }
        Ok(self.swept)
    }
}

/// The files of a folder that are old enough and named as ours. A folder that is not there is empty.
fn old_files(folder: &Path, now_micros: i64) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let Some((id, is_pack)) = parse_name(&entry.file_name()) else { continue };
        let Ok(about) = entry.metadata() else { continue }; // it was renamed or taken away meanwhile
        let is_old_file =
            about.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= AGE_MIN));
        let age_micros = now_micros.saturating_sub(MessageId(id).made_at().as_micros());
        let is_old_id = u128::try_from(age_micros).is_ok_and(|age| age >= AGE_MIN.as_micros());
        if about.is_file() && is_old_file && is_old_id {
            found.push(Found { path: entry.path(), bytes: about.len(), pack_id: is_pack.then_some(id) });
        }
    }
    Ok(found)
}

/// `<id>.pack` is a pack; `<id>.pack#<n>`, `<id>` and `<id>#<n>` are what was on its way, or a probe. Anything else is not ours.
fn parse_name(name: &OsStr) -> Option<(i64, bool)> {
    let name = name.to_str()?;
    let (base, is_staged) = match name.split_once('#') {
        Some((base, suffix)) if !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit()) => (base, true),
        Some(_) => return None,
        None => (name, false),
    };
    let (digits, is_pack) = base.strip_suffix(".pack").map_or((base, false), |digits| (digits, true));
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let id = digits.parse().ok().filter(|_| is_number)?;
    Some((id, is_pack && !is_staged))
}

fn entries(folder: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Gives the space that it took.
async fn remove(found: Found) -> Result<u64, StoreError> {
    blocking(move || match std::fs::remove_file(&found.path) {
        Ok(()) => Ok(found.bytes),
        // Another process sweeps too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| StoreError::from_io(&error)),
        Err(_) => Err(StoreError::Unavailable("looking for leftovers did not finish".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_ours() {
        for (name, expected) in [
            ("123.pack", Some((123, true))),
            ("123.pack#1", Some((123, false))),
            ("123", Some((123, false))),
            ("123#12", Some((123, false))),
            ("123.pack#", None),
            ("123.pack#x", None),
            ("123.pack~", None),
            ("-1.pack", None),
            ("+1.pack", None),
            (".pack", None),
            ("README", None),
            ("99999999999999999999.pack", None),
        ] {
            assert_eq!(parse_name(OsStr::new(name)), expected, "{name}");
        }
    }
}
