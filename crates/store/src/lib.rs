//! Rows, bodies and events: what Landfall keeps, and the only crate that names a SQL driver or an object store.
//!
//! - [`Store`] reads by named statements and hands out write transactions ([`Tx`]).
//! - [`Store::commit`] is the group commit: bodies of all waiting sessions become one pack object (fsynced), their rows
//!   one transaction, and only then does each caller get its answer.
//! - Events are appended through [`Tx::append_events`], which moves the copy's place and last event in the same transaction.
//! - [`Bus`] only announces rows that exist; losing it loses latency, never truth.
//!
//! The SQL itself stands in `sql/<noun>.sql`, named and explained; see [`statements`].

mod bodies;
mod bus;
mod checkpoint;
mod commit;
mod databases;
mod db;
mod error;
mod faults;
mod health;
mod ledger;
mod migrate;
#[cfg(test)]
mod plans;
mod seam;
mod sql;
mod sqlite;
mod sweep;
mod value;

use std::path::PathBuf;
use std::sync::Arc;

use model::{Clock, IdSource, Timestamp};

pub use bodies::{BodyRef, PackInfo};
pub use bus::{Bus, Notice, Topic};
pub use commit::{Op, Submission};
pub use databases::{
    create_migrated_postgres_database, create_postgres_database, drop_postgres_database, make_older_database,
};
pub use db::{Tx, schema_version_of};
pub use error::{Severity, StoreError};
pub use faults::{Failing, Faults};
pub use health::{Health, Trouble};
pub use ledger::NewEvent;
pub use migrate::SCHEMA_VERSION;
pub use seam::Step;
pub use sql::names as statements;
pub use sweep::Swept;
pub use value::{Row, Value};

/// Which database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLite file (created when missing): WAL, `synchronous=FULL`, one writer, pooled readers.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// PostgreSQL by URL: `postgres://user@host:port/database` or with `?host=/socket/dir`.
    Postgres {
        /// The URL; may hold a password, never logged.
        url: String,
    },
}

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The database.
    pub database: Database,
    /// The folder of the local object store.
    pub objects_dir: PathBuf,
    /// This process's number among those that share the database, 0..=1023.
    pub node: u16,
}

/// One setting of the database on which "committed means on disk" rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// The database's name for it.
    pub name: &'static str,
    /// What it is set to.
    pub value: String,
    /// Whether that keeps the promise.
    pub holds: bool,
}

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: db::Db,
    bodies: bodies::Bodies,
    ids: IdSource,
    clock: Arc<dyn Clock>,
    bus: Bus,
    commits: commit::Queue,
    health: Health,
    seam: seam::Seam,
}

impl Store {
    /// Opens (and, on an empty database, creates) the store. Refuses a schema version it does not know.
    ///
    /// # Errors
    /// [`StoreError::Schema`] for an unknown schema version; [`StoreError::Unavailable`] when the database or the
    /// folder cannot be opened.
    pub async fn open(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Store, StoreError> {
        Store::open_on(config, clock, seam::Seam::default()).await
    }

    /// As [`Store::open`], with faults that a test has planned.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(config: StoreConfig, clock: Arc<dyn Clock>, faults: Faults) -> Result<Store, StoreError> {
        Store::open_on(config, clock, seam::Seam { faults: Some(faults) }).await
    }

    async fn open_on(config: StoreConfig, clock: Arc<dyn Clock>, seam: seam::Seam) -> Result<Store, StoreError> {
        let db = db::Db::open(&config.database).await?;
        migrate::run(&db, clock.now()).await?;
        for Guarantee { name, value, holds } in db.guarantees().await? {
            if !holds {
                tracing::warn!("{name} is {value}: a power cut may lose mail that was acknowledged");
            }
        }
        let bodies = bodies::Bodies::open(&config.objects_dir)?;
        let (commits, committer) = commit::queue();
        let bus = Bus::new(seam.faults.clone());
        let mut dirs = vec![config.objects_dir];
        if let Database::Sqlite { path } = &config.database {
            dirs.extend(path.parent().map(std::path::Path::to_owned));
        }
        let health = Health::new(dirs);
        let ids = IdSource::new(config.node);
        let store = Store { inner: Arc::new(Inner { db, bodies, ids, clock, bus, commits, health, seam }) };
        committer.start(Arc::downgrade(&store.inner));
        health::watch(Arc::downgrade(&store.inner));
        Ok(store)
    }

    /// The next id.
    pub fn next_id<I: From<i64>>(&self) -> I {
        self.inner.ids.next(&*self.inner.clock)
    }

    /// The instant now, by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The store's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock.clone()
    }

    /// The bus.
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Reads all rows of a named statement outside a transaction.
    pub async fn query(&self, statement: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.inner.seam.before(Step::Query)?;
        self.inner.db.query(statement, values).await
    }

    /// Reads the first row of a named statement, if any.
    pub async fn query_one(&self, statement: &'static str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// Starts a write transaction. On SQLite there is one writer: hold it briefly, never across a wait on the outside
    /// world, and never start a second one in the same task. Dropped without [`Tx::commit`], it rolls back.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.noted(self.inner.seam.before(Step::Begin))?;
        Ok(Tx::new(self.noted(self.inner.db.begin().await)?, self.clone()))
    }

    /// Tells the latch of a write that failed.
    fn noted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.inspect_err(|error| self.inner.health.failed(error))
    }

    /// Whether writing works now.
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// What "committed means on disk" rests on, as the database says itself.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn guarantees(&self) -> Result<Vec<Guarantee>, StoreError> {
        self.inner.db.guarantees().await
    }

    /// Runs one statement in a transaction of its own; gives the number of rows touched.
    pub async fn execute(&self, statement: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let touched = tx.execute(statement, values).await?;
        tx.commit().await?;
        Ok(touched)
    }

    /// The group commit: stores the body and the rows of `submission` durably, or nothing of it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a row exists already or a guarded statement touched nothing; any other error means
    /// that nothing was stored and the caller may try again.
    pub async fn commit(&self, submission: Submission) -> Result<(), StoreError> {
        self.inner.commits.submit(submission).await
    }

    /// Writes bodies, durable when this returns.
    async fn put(&self, bodies: &[bytes::Bytes]) -> Result<(PackInfo, Vec<BodyRef>), StoreError> {
        self.inner.health.check_space()?;
        self.noted(self.inner.seam.before(Step::Put))?;
        let put = self.noted(self.inner.bodies.put(self.next_id(), bodies).await)?;
        self.noted(self.inner.seam.after(Step::Put))?;
        Ok(put)
    }

    /// Writes a small object as bodies are written, and takes it away.
    async fn probe_objects(&self) -> Result<(), StoreError> {
        self.inner.seam.before(Step::Put)?;
        self.inner.bodies.probe(self.next_id()).await
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`StoreError::Body`] when it is missing, torn or not what was stored.
    pub async fn body(&self, body: &BodyRef) -> Result<bytes::Bytes, StoreError> {
        self.inner.seam.before(Step::Get)?;
        self.inner.bodies.get(body).await
    }

    /// Reads some bytes of a body, as far as it has them. Nothing is compared with its hash, which is of the whole.
    pub async fn body_part(&self, body: &BodyRef, part: std::ops::Range<u64>) -> Result<bytes::Bytes, StoreError> {
        self.inner.seam.before(Step::Get)?;
        self.inner.bodies.get_part(body, part).await
    }

    /// Whether a body is there and is what was stored.
    ///
    /// # Errors
    /// When nobody can tell now.
    pub async fn verify_body(&self, body: &BodyRef) -> Result<bool, StoreError> {
        match self.body(body).await {
            Ok(_) => Ok(true),
            Err(StoreError::Body { pack_id, problem }) => {
                tracing::error!("a body in pack {pack_id}: {problem}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the database answers and the store can write: the truth behind `/readyz`.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.query("setting.ping", &[]).await?;
        match self.health().trouble() {
            None => Ok(()),
            Some(Trouble::Full) => Err(StoreError::Full("nothing can be written now".into())),
            Some(Trouble::Unavailable) => Err(StoreError::Unavailable("nothing can be written now".into())),
        }
    }

    /// The folder of the local object store.
    pub fn objects_dir(&self) -> &std::path::Path {
        self.inner.bodies.dir()
    }

    /// Writes a consistent copy of the SQLite database into `target` (a new file), while the server runs.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] on PostgreSQL, whose own tools do this.
    pub async fn snapshot_into(&self, target: &std::path::Path) -> Result<(), StoreError> {
        self.inner.db.snapshot_into(target).await
    }

    /// Prepares every named statement on this database; gives those that fail with the database's words.
    pub async fn check_statements(&self) -> Vec<(String, String)> {
        self.inner.db.check_statements().await
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("objects_dir", &self.inner.bodies.dir()).finish_non_exhaustive()
    }
}
