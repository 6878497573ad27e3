//! A fresh store on each database, for tests that must hold on both.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use model::{TestClock, Timestamp};
use store::{Database, Faults, Store, StoreConfig};
use tempfile::TempDir;

/// Where the test server is: set by `scripts/postgres.sh start`, which `make test` runs.
const POSTGRES_VARIABLE: &str = "LANDFALL_TEST_POSTGRES";
/// 2026-01-05T09:00:00Z, a Monday.
const START_MICROS: i64 = 1_767_603_600_000_000;

/// A fresh store with a clock that moves when told. Clones are the same store.
#[derive(Clone)]
pub struct TestStore {
    /// The store.
    pub store: Store,
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// `sqlite` or `postgres`, for messages.
    pub name: &'static str,
    /// The configuration it was opened with, for opening it a second time.
    pub config: StoreConfig,
    /// Holds the files.
    pub dir: Arc<TempDir>,
    /// Makes its steps fail when told.
    pub faults: Faults,
}

impl TestStore {
    /// Where the store keeps a pack.
    pub fn pack_path(&self, id: i64) -> PathBuf {
        self.config.objects_dir.join(format!("packs/{:02}/{id}.pack", (id >> 21) % 100))
    }

    /// The same data after a restart: another store, with no faults.
    ///
    /// # Panics
    /// When the data cannot be opened any more.
    pub async fn restarted(self) -> TestStore {
        let TestStore { store, clock, name, config, dir, .. } = self;
        drop(store);
        let faults = Faults::new();
        let store =
            Store::open_with(config.clone(), clock.clone(), faults.clone()).await.expect("the store opens again");
        TestStore { store, clock, name, config, dir, faults }
    }
}

/// Runs `test` on a fresh SQLite store, then on a fresh PostgreSQL store.
///
/// # Panics
/// When the test does, or when no PostgreSQL server is named in `LANDFALL_TEST_POSTGRES`: a test that silently left one
/// database out would be a test that cannot fail.
pub async fn on_both<F, Fut>(test: F)
where
    F: Fn(TestStore) -> Fut,
    Fut: Future<Output = ()>,
{
    run(&test, sqlite().await).await;
    let (fresh, database) = postgres().await;
    run(&test, fresh).await;
    database.drop().await;
}

/// A database of the test server.
pub(crate) struct PostgresDatabase {
    server: String,
    name: String,
}

impl PostgresDatabase {
    pub(crate) async fn drop(self) {
        store::drop_postgres_database(&self.server, &self.name).await.expect("the test server drops the database");
    }
}

/// A fresh PostgreSQL store, and its database, to be dropped at the end.
pub(crate) async fn postgres() -> (TestStore, PostgresDatabase) {
    let server = std::env::var(POSTGRES_VARIABLE)
        .expect("LANDFALL_TEST_POSTGRES is not set: eval \"$(scripts/postgres.sh start)\", or use make test");
    let name = database_name();
    let url =
        store::create_migrated_postgres_database(&server, &name).await.expect("the test server creates a database");
    (open("postgres", Database::Postgres { url }).await, PostgresDatabase { server, name })
}

/// Holds the files until the test is over, whatever part of the store it took.
async fn run<F, Fut>(test: &F, fresh: TestStore)
where
    F: Fn(TestStore) -> Fut,
    Fut: Future<Output = ()>,
{
    let _files = fresh.dir.clone();
    test(fresh).await;
}

/// A fresh SQLite store alone, for tests where the database does not matter.
pub async fn sqlite() -> TestStore {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let path = dir.path().join("landfall.db");
    open_in("sqlite", Database::Sqlite { path }, dir).await
}

async fn open(name: &'static str, database: Database) -> TestStore {
    open_in(name, database, Arc::new(tempfile::tempdir().expect("a temporary directory"))).await
}

async fn open_in(name: &'static str, database: Database, dir: Arc<TempDir>) -> TestStore {
    let clock = Arc::new(TestClock::at(Timestamp::from_micros(START_MICROS)));
    let config = StoreConfig { database, objects_dir: dir.path().join("objects"), node: 1 };
    let faults = Faults::new();
    let store = Store::open_with(config.clone(), clock.clone(), faults.clone()).await.expect("a fresh store opens");
    TestStore { store, clock, name, config, dir, faults }
}

/// Unique among test processes and among the tests of one process.
fn database_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("landfall_{}_{:016x}", std::process::id(), RandomState::new().hash_one(std::thread::current().id()))
}
