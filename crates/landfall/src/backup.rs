//! `landfall backup | restore | verify` for SQLite and the local object store.
//!
//! A backup is a folder: `landfall.db` (rows as they were at one instant), `objects/` (every pack that those rows name)
//! and `MANIFEST.json` (schema version, sizes, SHA-256 of each file). Rows first, then the packs they name: packs only
//! grow, and nothing removes one while the lock file stands, so that what the rows name is there as it was at that instant.
//! It is written beside its target, synced, and renamed at the end: a backup that was cut off does not look like one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{BodyRef, Database, SCHEMA_VERSION, Store, StoreConfig};

use crate::config::Config;
use crate::error::CliError;
use crate::server;

const MANIFEST: &str = "MANIFEST.json";
const DATABASE: &str = "landfall.db";
const OBJECTS: &str = "objects";
/// While this file stands in the data directory, no pack is removed or rewritten.
const LOCK: &str = "backup.lock";
const MESSAGES_PER_PAGE: i64 = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    schema_version: i64,
    made_at: String,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    path: String,
    size_bytes: u64,
    sha256: String,
}

/// Writes a backup of a data directory, whether a server runs on it or not, into `target` (which must not exist).
pub async fn backup(config: &Config, target: &Path) -> Result<(), CliError> {
    let Database::Sqlite { path: database } = &config.database else {
        return Err(CliError::Input(
            "backup is for SQLite; for PostgreSQL use pg_dump and copy the objects afterwards".into(),
        ));
    };
    if !database.exists() {
        return Err(CliError::Input(format!("{} holds no data: nothing to back up", config.data_dir.display())));
    }
    if target.exists() {
        return Err(CliError::Input(format!("{} exists already: name a new folder", target.display())));
    }
    let store = server::open_existing(config).await?;
    let _lock = Lock::take(&config.data_dir)?;
    let partial = partial_of(target);
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(CliError::failed(
                &format!("remove {}, left by a backup that was cut off", partial.display()),
                &error,
            ));
        }
        _ => {}
    }
    fs::create_dir_all(partial.join(OBJECTS)).map_err(|e| CliError::failed("make the backup folder", &e))?;
    store.snapshot_into(&partial.join(DATABASE)).await?;
    let snapshot = open(&partial.join(DATABASE), &config.objects_dir).await?;
    let packs = copy_packs(&snapshot, &config.objects_dir, &partial.join(OBJECTS)).await?;
    drop(snapshot);
    remove_sidecars(&partial.join(DATABASE));
    write_manifest(&partial)?;
    sync_below(&partial)
        .and_then(|()| give_name(&partial, target))
        .map_err(|e| CliError::failed("finish the backup", &e))?;
    println!("Backed up to {}: rows and {packs} packs", target.display());
    Ok(())
}

/// Where a backup is until it is whole: the whole name with `.partial` behind it, so that no other folder is meant.
fn partial_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Puts a verified backup into a data directory that is new or empty.
pub async fn restore(config: &Config, source: &Path) -> Result<(), CliError> {
    let Database::Sqlite { path: database } = &config.database else {
        return Err(CliError::Input("restore is for SQLite and the local object store".into()));
    };
    for dir in [&config.data_dir, &config.objects_dir] {
        if let Some(found) =
            first_found(dir).map_err(|e| CliError::failed(&format!("look into {}", dir.display()), &e))?
        {
            return Err(CliError::Input(format!(
                "{} is not empty ({found} is there): restore into a new folder",
                dir.display()
            )));
        }
    }
    check_manifest(source)?;
    copy_tree(&source.join(OBJECTS), &config.objects_dir)
        .and_then(|()| sync_below(&config.objects_dir))
        .map_err(|e| CliError::failed("copy the objects", &e))?;
    server::make_data_dir(&config.data_dir)?;
    // The database last and by rename: a restore that was cut off leaves a directory without data.
    let partial = database.with_extension("partial");
    copy_file(&source.join(DATABASE), &partial)
        .and_then(|()| sync(&partial))
        .map_err(|e| CliError::failed("copy the rows", &e))?;
    give_name(&partial, database).map_err(|e| CliError::failed("finish the restore", &e))?;
    println!("Restored {} from {}", config.data_dir.display(), source.display());
    Ok(())
}

/// The name of something in a folder that is to be filled; its configuration may stand there before.
fn first_found(dir: &Path) -> std::io::Result<Option<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "landfall.toml" {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Checks a backup folder or a data directory: files against the manifest (a backup), every body against its hash, and
/// every copy's place and last event against the fold of its events; and judges every message again from its stored facts.
pub async fn verify(config: &Config) -> Result<(), CliError> {
    let dir = &config.data_dir;
    if dir.extension().is_some_and(|e| e == "partial") {
        return Err(CliError::Input(format!("{} is a backup that was cut off: make a new one", dir.display())));
    }
    let is_backup = dir.join(MANIFEST).exists();
    if is_backup {
        check_manifest(dir)?;
    } else if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        // Opening it would make an empty one, and that is always in order.
        return Err(CliError::Input(format!("{} holds no data and no backup: nothing to verify", dir.display())));
    }
    // A backup is looked at through a copy of its rows, so that looking changes nothing in it.
    let scratch = Scratch::new()?;
    let store = if is_backup {
        let copy = scratch.path.join(DATABASE);
        fs::copy(dir.join(DATABASE), &copy).map_err(|e| CliError::failed("copy the rows", &e))?;
        let found = store::schema_version_of(&Database::Sqlite { path: copy.clone() }).await?.unwrap_or(0);
        if found < SCHEMA_VERSION {
            println!(
                "The backup has schema version {found}: a copy of its rows is brought to {SCHEMA_VERSION} and looked at"
            );
        }
        open(&copy, &dir.join(OBJECTS)).await?
    } else {
        server::open_existing(config).await?
    };
    let bodies = verify_bodies(&store).await?;
    let copies = verify_copies(&store).await?;
    let verdicts = crate::replay::verify_verdicts(&store).await?;
    println!("Verified {}: {bodies} bodies and {copies} copies are as their rows and events say", dir.display());
    println!("Replayed {verdicts} verdicts from their stored facts: all the same");
    Ok(())
}

async fn verify_bodies(store: &Store) -> Result<u64, CliError> {
    let (mut after, mut count) = (0i64, 0u64);
    loop {
        let rows = store.query("message.bodies", &store::values![after, MESSAGES_PER_PAGE]).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = last.int("id")?;
        for row in &rows {
            let body = BodyRef::from_row(row)?;
            match store.body(&body).await {
                Ok(_) => count += 1,
                Err(damage @ store::StoreError::Body { .. }) => {
                    let id = row.int("id")?;
                    return Err(CliError::Failed(format!("message {id}: its body is not what was stored: {damage}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn verify_copies(store: &Store) -> Result<u64, CliError> {
    let (mut after, mut count) = (0i64, 0u64);
    loop {
        let rows = store.query("copy.ids", &store::values![after, MESSAGES_PER_PAGE]).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = last.int("id")?;
        let mut tx = store.begin().await?;
        for row in &rows {
            let id = row.id("id")?;
            if tx.whereabouts(id).await? != tx.fold_of(id).await? {
                return Err(CliError::Failed(format!("copy {id}: its place is not what its events say")));
            }
            count += 1;
        }
        tx.rollback().await?;
    }
}

async fn open(database: &Path, objects: &Path) -> Result<Store, CliError> {
    let database = Database::Sqlite { path: database.to_owned() };
    let config = StoreConfig { database, objects_dir: objects.to_owned(), node: 1023 };
    Ok(Store::open(config, Arc::new(SystemClock)).await?)
}

/// Copies each pack that the snapshot's rows name.
async fn copy_packs(snapshot: &Store, from: &Path, to: &Path) -> Result<u64, CliError> {
    let named: std::collections::HashSet<String> = snapshot
        .query("pack.all", &[])
        .await?
        .iter()
        .map(|row| Ok(format!("{}.pack", row.int("id")?)))
        .collect::<Result<_, store::StoreError>>()?;
    let mut copied = 0;
    for file in files_below(from).map_err(|e| CliError::failed("list the objects", &e))? {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if !named.contains(name) {
            continue;
        }
        let target = to.join(file.strip_prefix(from).unwrap_or(&file));
        copy_file(&file, &target).map_err(|e| CliError::failed("copy a pack", &e))?;
        copied += 1;
    }
    if copied != named.len() as u64 {
        let missing = named.len() as u64 - copied;
        return Err(CliError::Failed(format!("{missing} packs that rows name are missing in {}", from.display())));
    }
    Ok(copied)
}

fn write_manifest(dir: &Path) -> Result<(), CliError> {
    let cannot = |e: &dyn std::fmt::Display| CliError::failed("write the manifest", e);
    let mut files = Vec::new();
    for file in files_below(dir).map_err(|e| cannot(&e))? {
        let path = file.strip_prefix(dir).unwrap_or(&file).to_string_lossy().into_owned();
        let (size_bytes, sha256) = hash(&file).map_err(|e| cannot(&e))?;
        files.push(ManifestFile { path, size_bytes, sha256 });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest =
        Manifest { format: 1, schema_version: SCHEMA_VERSION, made_at: SystemClock.now().to_rfc3339(), files };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| cannot(&e))?;
    fs::write(dir.join(MANIFEST), text).map_err(|e| cannot(&e))
}

fn check_manifest(dir: &Path) -> Result<(), CliError> {
    let file = dir.join(MANIFEST);
    let raw = fs::read(&file).map_err(|e| CliError::Input(format!("{} is not a backup: {e}", dir.display())))?;
    let manifest: Manifest =
        serde_json::from_slice(&raw).map_err(|e| CliError::Input(format!("{}: {e}", file.display())))?;
    if manifest.format != 1 || manifest.schema_version > SCHEMA_VERSION {
        return Err(CliError::Input(format!(
            "{} was made by a newer Landfall (schema {}): use that one",
            dir.display(),
            manifest.schema_version
        )));
    }
    for entry in &manifest.files {
        let found = hash(&dir.join(&entry.path)).map_err(|e| CliError::Failed(format!("{}: {e}", entry.path)))?;
        if found != (entry.size_bytes, entry.sha256.clone()) {
            return Err(CliError::Failed(format!("{} is not what was backed up", entry.path)));
        }
    }
    Ok(())
}

fn hash(file: &Path) -> std::io::Result<(u64, String)> {
    let mut reader = fs::File::open(file)?;
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0u8; 64 * 1024]);
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, data_encoding::HEXLOWER.encode(&hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

fn files_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(|_| ())
}

/// To the disk: what a file holds, or which names a folder has.
fn sync(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn sync_below(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_below(&entry.path())? } else { sync(&entry.path())? }
    }
    sync(dir)
}

/// What is whole and synced gets its name, and keeps it through a power cut.
fn give_name(partial: &Path, name: &Path) -> std::io::Result<()> {
    fs::rename(partial, name)?;
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new(".")))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for file in files_below(from)? {
        copy_file(&file, &to.join(file.strip_prefix(from).unwrap_or(&file)))?;
    }
    Ok(())
}

/// SQLite's own companions of a database that was just looked at.
fn remove_sidecars(database: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(PathBuf::from(name));
    }
}

struct Lock(PathBuf);

impl Lock {
    fn take(dir: &Path) -> Result<Lock, CliError> {
        let path = dir.join(LOCK);
        let made = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        made.map_err(|e| {
            CliError::Failed(format!(
                "{}: {e}; another backup is running, or one was cut off: remove the file",
                path.display()
            ))
        })?;
        Ok(Lock(path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Scratch, CliError> {
        let path = std::env::temp_dir().join(format!("landfall-verify-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| CliError::failed("make a scratch folder", &e))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
