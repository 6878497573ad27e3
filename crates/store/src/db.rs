//! The two databases. This file alone has two arms.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Postgres, Row as _, Sqlite, Transaction, TypeInfo,
    ValueRef,
};

use crate::seam::Step;
use crate::sql;
use crate::sqlite::{self, Writer, Writing};
use crate::{Database, Guarantee, Row, Store, StoreError, Value};

const READERS_MAX: u32 = 6;
/// The page cache of one of SQLite's readers in KiB (negative, as SQLite wants it). They share the system's page cache anyway.
const READER_CACHE: &str = "-2000";
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
/// A connection that was at work so recently is not asked first whether it lives: that would double the way of each read.
const TRUSTED_IDLE: Duration = Duration::from_millis(100);
const BUSY_MS: u64 = 10_000;
const ACQUIRE_MS: u64 = 10_000;
/// One process migrates at a time; the number means nothing else.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7266182513)";
/// What a line of a migration begins with that PostgreSQL takes for a comment.
const SQLITE_ONLY: &str = "--sqlite: ";
const SCHEMA_VERSION: &str = "SELECT MAX(version) AS version FROM schema_version";
/// A server that answers before its log is on disk would make 250 a lie: each connection insists. Stricter ones stay.
const SYNCHRONOUS_COMMIT: &str =
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
/// Rows per multi-row insert on PostgreSQL: so many at once, then what is left, so that few different texts reach the statement cache.
/// More rows gain little, and a prepared statement of thousands of parameters weighs hundreds of kilobytes.
const CHUNKS: [usize; 2] = [64, 16];
/// PostgreSQL takes at most 65,535 parameters.
const PARAMETERS_MAX: usize = 32_000;

pub(crate) enum Db {
    Sqlite { writer: Writer, readers: SqlitePool },
    Postgres(PgPool),
}

pub(crate) enum Begun {
    Sqlite(Writing),
    Postgres(Box<Transaction<'static, Postgres>>),
}

/// A statement of a batch.
pub(crate) enum Work {
    /// `INSERT … VALUES ($1, …)` for many rows.
    Insert { name: &'static str, rows: Vec<Vec<Value>> },
    /// A statement of its own. Guarded: it must touch a row.
    One { name: &'static str, row: Vec<Value>, is_guarded: bool },
    /// One statement for many rows. Guarded: it must touch as many.
    Each { name: &'static str, rows: Vec<Vec<Value>>, is_guarded: bool },
    /// Two statements for many rows, see [`Op::EachPair`](crate::Op::EachPair).
    Pairs { first: &'static str, second: &'static str, rows: Vec<Vec<Value>> },
}

impl Work {
    fn name(&self) -> &'static str {
        match self {
            Work::Insert { name, .. } | Work::One { name, .. } | Work::Each { name, .. } => name,
            Work::Pairs { second, .. } => second,
        }
    }

    /// Whether so many rows touched are enough.
    fn check(&self, touched: u64) -> Result<(), StoreError> {
        let conflict = |what: String| Err(StoreError::Conflict(what));
        match self {
            Work::One { name, is_guarded: true, .. } if touched == 0 => conflict(format!("{name} touched nothing")),
            Work::Each { name, is_guarded: true, rows } | Work::Pairs { second: name, rows, .. }
                if touched != rows.len() as u64 =>
            {
                conflict(format!("{name} touched {touched} of {}", rows.len()))
            }
            Work::Insert { .. } | Work::One { .. } | Work::Each { .. } | Work::Pairs { .. } => Ok(()),
        }
    }
}

impl Db {
    pub(crate) async fn open(database: &Database) -> Result<Db, StoreError> {
        match database {
            Database::Sqlite { path } => open_sqlite(path).await,
            Database::Postgres { url } => {
                let options = PgConnectOptions::from_str(url)
                    .map_err(|_| StoreError::Unavailable("the database URL is not valid".into()))?
                    .statement_cache_capacity(512)
                    .disable_statement_logging();
                let pool = PgPoolOptions::new()
                    .max_connections(POSTGRES_CONNECTIONS_MAX)
                    .acquire_timeout(Duration::from_millis(ACQUIRE_MS))
                    .test_before_acquire(false)
                    .before_acquire(|connection, meta| {
                        Box::pin(async move {
                            if meta.idle_for > TRUSTED_IDLE {
                                connection.ping().await?;
                            }
                            Ok(true)
                        })
                    })
                    .after_connect(|connection, _| {
                        Box::pin(async move { connection.execute(SYNCHRONOUS_COMMIT).await.map(|_| ()) })
                    })
                    .connect_with(options)
                    .await
                    .map_err(|e| StoreError::from_sql("connect", e))?;
                Ok(Db::Postgres(pool))
            }
        }
    }

    pub(crate) async fn query(&self, name: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let statement = sql::statement(name);
        let rows = match self {
            Db::Sqlite { readers, .. } => {
                bind_sqlite(statement.sqlite, values).fetch_all(readers).await.map(|rows| sqlite_rows(&rows))
            }
            Db::Postgres(pool) => {
                bind_postgres(statement.postgres, values).fetch_all(pool).await.map(|rows| postgres_rows(&rows))
            }
        };
        rows.map_err(|e| StoreError::from_sql(name, e))?
    }

    pub(crate) async fn begin(&self) -> Result<Begun, StoreError> {
        match self {
            Db::Sqlite { writer, .. } => writer.begin().await.map(Begun::Sqlite),
            Db::Postgres(pool) => {
                let tx = pool.begin().await.map_err(|e| StoreError::from_sql("begin", e))?;
                Ok(Begun::Postgres(Box::new(tx)))
            }
        }
    }

    /// Applies the script of a version and notes it, in one transaction, unless another process did so meanwhile. A process
    /// that dies here leaves all of it or nothing.
    pub(crate) async fn migrate(&self, version: i64, script: &'static str, at: i64) -> Result<(), StoreError> {
        let note = format!("INSERT INTO schema_version (version, applied_at) VALUES ({version}, {at});");
        let failed = |e| StoreError::from_sql("migration", e);
        match self {
            Db::Sqlite { writer, .. } => {
                let work = move |connection: &rusqlite::Connection| {
                    sqlite::in_transaction(connection, || {
                        let seen = sqlite::query(connection, "migration", SCHEMA_VERSION, &[])?;
                        if seen.first().map(|row| row.opt_int("version")).transpose()?.flatten().unwrap_or(0) >= version
                        {
                            return Ok(());
                        }
                        let script =
                            script.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY").replace(SQLITE_ONLY, "");
                        sqlite::script(connection, "migration", &format!("{script}\n{note}"))
                    })
                };
                writer.alone(work).await
            }
            Db::Postgres(pool) => {
                let mut tx = pool.begin().await.map_err(failed)?;
                (&mut *tx).execute(MIGRATION_LOCK).await.map_err(failed)?;
                let seen: Option<i64> = sqlx::query_scalar(SCHEMA_VERSION).fetch_one(&mut *tx).await.map_err(failed)?;
                if seen.unwrap_or(0) < version {
                    let text = AssertSqlSafe(format!("{script}\n{note}"));
                    (&mut *tx).execute(sqlx::raw_sql(text)).await.map_err(failed)?;
                }
                tx.commit().await.map_err(failed)
            }
        }
    }

    /// What the database promises about a commit, as it says itself.
    pub(crate) async fn guarantees(&self) -> Result<Vec<Guarantee>, StoreError> {
        let failed = |e| StoreError::from_sql("guarantees", e);
        let guarantee = |name, value: String, holds| Guarantee { name, value, holds };
        match self {
            Db::Sqlite { writer, .. } => {
                let ask = |connection: &rusqlite::Connection| {
                    let mut rows = sqlite::query(connection, "guarantees", "PRAGMA synchronous", &[])?;
                    rows.extend(sqlite::query(connection, "guarantees", "PRAGMA journal_mode", &[])?);
                    Ok(rows)
                };
                let rows = writer.alone(ask).await?;
                let [level, journal] = &rows[..] else {
                    return Err(StoreError::Unavailable("SQLite does not say how it writes".into()));
                };
                let (level, journal) = (level.int("synchronous")?, journal.text("journal_mode")?.to_owned());
                let is_wal = journal == "wal";
                // 2 is FULL: the log is fsynced at each commit; 1 (NORMAL) fsyncs at checkpoints only.
                Ok(vec![
                    guarantee("synchronous", level.to_string(), level >= 2),
                    guarantee("journal_mode", journal, is_wal),
                ])
            }
            Db::Postgres(pool) => {
                let mut all = Vec::new();
                for name in ["synchronous_commit", "fsync", "full_page_writes"] {
                    let query = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
                    let value: String = query.fetch_one(pool).await.map_err(failed)?;
                    let holds = value != "off";
                    all.push(guarantee(name, value, holds));
                }
                Ok(all)
            }
        }
    }

    /// Ends all connections to PostgreSQL and waits for it; SQLite's end with the last user.
    pub(crate) async fn close(&self) {
        if let Db::Postgres(pool) = self {
            pool.close().await;
        }
    }

    /// The schema version, 0 on an empty database.
    pub(crate) async fn schema_version(&self) -> Result<i64, StoreError> {
        const TABLE: &str =
            "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, applied_at BIGINT NOT NULL);";
        match self {
            Db::Sqlite { writer, .. } => {
                writer.alone(|connection| sqlite::script(connection, "migration", TABLE)).await?;
                Ok(())
            }
            // CREATE TABLE IF NOT EXISTS fails when two processes do it in the same moment.
            Db::Postgres(pool) => {
                async {
                    let mut tx = pool.begin().await?;
                    (&mut *tx).execute(MIGRATION_LOCK).await?;
                    (&mut *tx).execute(TABLE).await?;
                    tx.commit().await
                }
                .await
            }
        }
        .map_err(|e| StoreError::from_sql("migration", e))?;
        let rows = self.query("setting.schema_version", &[]).await?;
        rows.first().map_or(Ok(0), |row| row.int("version"))
    }

    pub(crate) async fn snapshot_into(&self, target: &Path) -> Result<(), StoreError> {
        match self {
            Db::Sqlite { readers, .. } => {
                let target =
                    target.to_str().ok_or_else(|| StoreError::Unsupported("a path that is not UTF-8".into()))?;
                let done = sqlx::query("VACUUM INTO $1").bind(target.to_owned()).execute(readers).await;
                done.map(|_| ()).map_err(|e| StoreError::from_sql("snapshot", e))
            }
            Db::Postgres(_) => Err(StoreError::Unsupported("use pg_dump for the rows of a PostgreSQL database".into())),
        }
    }

    pub(crate) async fn check_statements(&self) -> Vec<(String, String)> {
        let mut bad = Vec::new();
        for name in sql::names() {
            let statement = sql::statement(name);
            let prepared = match self {
                Db::Sqlite { readers, .. } => {
                    use sqlx::SqlSafeStr as _;
                    readers.prepare(statement.sqlite.into_sql_str()).await.map(|_| ())
                }
                Db::Postgres(pool) => {
                    use sqlx::SqlSafeStr as _;
                    pool.prepare(statement.postgres.into_sql_str()).await.map(|_| ())
                }
            };
            if let Err(error) = prepared {
                bad.push((name.to_owned(), error.to_string()));
            }
        }
        bad
    }
}

/// The schema version of what is in a database, which is only looked at: nothing is made in it, and nothing migrated. `None`
/// where nothing of ours is.
///
/// # Errors
/// When it cannot be looked at.
pub async fn schema_version_of(database: &Database) -> Result<Option<i64>, StoreError> {
    let failed = |e| StoreError::from_sql("look at the database", e);
    match database {
        Database::Sqlite { path } if !path.exists() => Ok(None),
        Database::Sqlite { path } => {
            const TABLES: &str = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'";
            // Not as a reader: only who may write takes away SQLite's own files beside the database when it goes.
            let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_millis(BUSY_MS));
            let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
            let tables: i64 = sqlx::query_scalar(TABLES).fetch_one(&mut connection).await.map_err(failed)?;
            let version = if tables > 0 {
                sqlx::query_scalar(SCHEMA_VERSION).fetch_one(&mut connection).await.map_err(failed)?
            } else {
                None
            };
            connection.close().await.map_err(failed)?;
            Ok(version)
        }
        Database::Postgres { url } => {
            const IS_THERE: &str = "SELECT to_regclass('schema_version') IS NOT NULL";
            let options = PgConnectOptions::from_str(url)
                .map_err(|_| StoreError::Unavailable("the database URL is not valid".into()))?;
            let connecting = options.disable_statement_logging();
            let connecting = tokio::time::timeout(Duration::from_millis(ACQUIRE_MS), connecting.connect()).await;
            let mut connection = connecting
                .map_err(|_| StoreError::Unavailable("the database does not answer".into()))?
                .map_err(|e| StoreError::from_sql("connect", e))?;
            let is_there: bool = sqlx::query_scalar(IS_THERE).fetch_one(&mut connection).await.map_err(failed)?;
            let version = if is_there {
                sqlx::query_scalar(SCHEMA_VERSION).fetch_one(&mut connection).await.map_err(failed)?
            } else {
                None
            };
            connection.close().await.map_err(failed)?;
            Ok(version)
        }
    }
}

async fn open_sqlite(path: &Path) -> Result<Db, StoreError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::from_io(&e))?;
    }
    let writer = Writer::open(path).await?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_millis(BUSY_MS))
        .statement_cache_capacity(512)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", READER_CACHE)
        .disable_statement_logging();
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(Duration::from_millis(ACQUIRE_MS))
        .test_before_acquire(false) // a file does not hang up, and asking first doubles the way of each read
        .connect_with(options)
        .await
        .map_err(|e| StoreError::from_sql("open the database", e))?;
    Ok(Db::Sqlite { writer, readers })
}

/// A write transaction. See [`Store::begin`].
pub struct Tx {
    begun: Begun,
    store: Store,
}

impl Tx {
    pub(crate) fn new(begun: Begun, store: Store) -> Self {
        Tx { begun, store }
    }

    /// The store this transaction writes to (for ids and time; never start another transaction with it meanwhile).
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads all rows of a named statement inside this transaction.
    pub async fn query(&mut self, name: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.store.inner.seam.before(Step::Query)?;
        let statement = sql::statement(name);
        match &mut self.begun {
            Begun::Sqlite(writing) => {
                let values = values.to_vec();
                writing.run(move |connection| sqlite::query(connection, name, statement.sqlite, &values)).await
            }
            Begun::Postgres(tx) => {
                let rows = bind_postgres(statement.postgres, values).fetch_all(&mut ***tx).await;
                postgres_rows(&rows.map_err(|e| StoreError::from_sql(name, e))?)
            }
        }
    }

    /// Reads the first row of a named statement inside this transaction.
    pub async fn query_one(&mut self, name: &'static str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(name, values).await?.into_iter().next())
    }

    /// Runs a named statement; gives the number of rows touched.
    pub async fn execute(&mut self, name: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        self.store.noted(self.store.inner.seam.before(Step::Execute))?;
        let statement = sql::statement(name);
        let done = match &mut self.begun {
            Begun::Sqlite(writing) => {
                let values = values.to_vec();
                writing.run(move |connection| sqlite::execute(connection, name, statement.sqlite, &values)).await
            }
            Begun::Postgres(tx) => {
                let done = bind_postgres(statement.postgres, values).execute(&mut ***tx).await;
                done.map(|d| d.rows_affected()).map_err(|e| StoreError::from_sql(name, e))
            }
        };
        self.store.noted(done)
    }

    /// Runs a named statement for each row, as [`Op::Each`](crate::Op::Each) does.
    pub async fn execute_each(&mut self, name: &'static str, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        self.run_all(vec![Work::Each { name, rows, is_guarded: false }]).await
    }

    /// Runs a named statement that must touch at least one row.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it touched none: somebody else was first, or the row is gone.
    pub async fn execute_guarded(&mut self, name: &'static str, values: &[Value]) -> Result<(), StoreError> {
        match self.execute(name, values).await? {
            0 => Err(StoreError::Conflict(format!("{name} touched nothing"))),
            _ => Ok(()),
        }
    }

    /// Runs `INSERT … VALUES ($1, …)` for many rows, in few statements. Every row has as many values as the tuple.
    pub async fn insert_many(&mut self, name: &'static str, rows: &[Vec<Value>]) -> Result<u64, StoreError> {
        match &mut self.begun {
            Begun::Sqlite(writing) => {
                let (store, work) = (self.store.clone(), Work::Insert { name, rows: rows.to_vec() });
                writing.run(move |connection| sqlite_work(&store, connection, &work)).await
            }
            Begun::Postgres(_) => self.postgres_insert(name, rows).await,
        }
    }

    /// Runs the statements of a batch in order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a guarded one touched too little; nothing after it is run.
    pub(crate) async fn run_all(&mut self, batch: Vec<Work>) -> Result<(), StoreError> {
        if let Begun::Sqlite(writing) = &mut self.begun {
            let store = self.store.clone();
            let run = move |connection: &rusqlite::Connection| {
                batch.iter().try_for_each(|work| work.check(sqlite_work(&store, connection, work)?))
            };
            return writing.run(run).await;
        }
        for work in &batch {
            let touched = match work {
                Work::Insert { name, rows } => self.postgres_insert(name, rows).await?,
                Work::One { name, row, .. } => self.execute(name, row).await?,
                Work::Each { name, rows, .. } => self.execute(name, &[json_rows(rows)]).await?,
                Work::Pairs { first, second, rows } => {
                    let rows = [json_rows(rows)];
                    self.execute(first, &rows).await?;
                    self.execute(second, &rows).await?
                }
            };
            work.check(touched)?;
        }
        Ok(())
    }

    /// Runs the statements of a batch in order and makes them durable. The flag of an error says whether the commit had begun:
    /// then nobody knows whether it came to pass.
    pub(crate) async fn run_and_commit(mut self, batch: Vec<Work>) -> Result<(), (bool, StoreError)> {
        if matches!(self.begun, Begun::Postgres(_)) {
            self.run_all(batch).await.map_err(|error| (false, error))?;
            return self.commit().await.map_err(|error| (true, error));
        }
        let Begun::Sqlite(writing) = self.begun else { unreachable!("the other arm has returned") };
        let (store, is_committing) = (self.store, Arc::new(AtomicBool::new(false)));
        let reached = is_committing.clone();
        let run = move |connection: &rusqlite::Connection| {
            batch.iter().try_for_each(|work| work.check(sqlite_work(&store, connection, work)?))?;
            reached.store(true, Ordering::Relaxed);
            store.noted(store.inner.seam.before(Step::Commit))?;
            store.noted(sqlite::commit(connection).and_then(|()| store.inner.seam.after(Step::Commit)))
        };
        writing.run_last(run).await.map_err(|error| (is_committing.load(Ordering::Relaxed), error))
    }

    async fn postgres_insert(&mut self, name: &'static str, rows: &[Vec<Value>]) -> Result<u64, StoreError> {
        let Some(columns) = rows.first().map(Vec::len) else { return Ok(0) };
        let mut rest = rows;
        let mut touched = 0;
        while !rest.is_empty() {
            let fits = |n: &&usize| **n <= rest.len() && **n * columns <= PARAMETERS_MAX;
            // Always at least one, so that the loop ends.
            let left = rest.len().min(PARAMETERS_MAX / columns.max(1)).max(1);
            let take = *CHUNKS.iter().find(fits).unwrap_or(&left);
            let (now, later) = rest.split_at(take);
            touched += self.postgres_insert_chunk(name, columns, now).await?;
            rest = later;
        }
        Ok(touched)
    }

    async fn postgres_insert_chunk(
        &mut self,
        name: &'static str,
        columns: usize,
        rows: &[Vec<Value>],
    ) -> Result<u64, StoreError> {
        self.store.noted(self.store.inner.seam.before(Step::Execute))?;
        let Begun::Postgres(tx) = &mut self.begun else { unreachable!("called for PostgreSQL") };
        let text = sql::repeat_values(sql::statement(name).postgres, columns, rows.len());
        let query = rows.iter().flatten().fold(sqlx::query(AssertSqlSafe(text)), bind_one_postgres);
        let done = query.execute(&mut ***tx).await.map(|d| d.rows_affected());
        self.store.noted(done.map_err(|e| StoreError::from_sql(name, e)))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// After a transient error nobody knows whether it came to pass: the connection may have died before the answer.
    pub async fn commit(self) -> Result<(), StoreError> {
        let store = self.store;
        store.noted(store.inner.seam.before(Step::Commit))?;
        let done = match self.begun {
            Begun::Sqlite(writing) => writing.commit().await,
            Begun::Postgres(tx) => tx.commit().await.map_err(|e| StoreError::from_sql("commit", e)),
        };
        store.noted(done.and_then(|()| store.inner.seam.after(Step::Commit)))
    }

    /// Gives it up. (Dropping does the same.)
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self.begun {
            // Dropping it is enough: whoever comes next waits behind the roll-back.
            Begun::Sqlite(_) => Ok(()),
            Begun::Postgres(tx) => tx.rollback().await.map_err(|e| StoreError::from_sql("rollback", e)),
        }
    }
}

/// Runs one statement of a batch on the writer's thread.
fn sqlite_work(store: &Store, connection: &rusqlite::Connection, work: &Work) -> Result<u64, StoreError> {
    store.noted(store.inner.seam.before(Step::Execute))?;
    let name = work.name();
    let text = sql::statement(name).sqlite;
    store.noted(match work {
        Work::Insert { rows, .. } => sqlite::execute_each(connection, name, text, rows),
        Work::One { row, .. } => sqlite::execute(connection, name, text, row),
        // A text that reads no JSON is meant for one row.
        Work::Each { rows, .. } if !text.contains("json_each($1)") => {
            sqlite::execute_each(connection, name, text, rows)
        }
        Work::Each { rows, .. } => sqlite::execute(connection, name, text, &[json_rows(rows)]),
        Work::Pairs { first, rows, .. } => {
            sqlite::execute_pairs(connection, (first, sql::statement(first).sqlite), (name, text), rows)
        }
    })
}

/// Rows as the one parameter of a statement that takes many.
fn json_rows(rows: &[Vec<Value>]) -> Value {
    let row = |row: &Vec<Value>| serde_json::Value::Array(row.iter().cloned().map(Value::into_json).collect());
    Value::from(serde_json::Value::Array(rows.iter().map(row).collect()))
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;
type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

fn bind_sqlite<'q>(text: &'static str, values: &[Value]) -> SqliteQuery<'q> {
    values.iter().fold(sqlx::query(text), bind_one_sqlite)
}

fn bind_postgres<'q>(text: &'static str, values: &[Value]) -> PostgresQuery<'q> {
    values.iter().fold(sqlx::query(text), bind_one_postgres)
}

fn bind_one_sqlite<'q>(query: SqliteQuery<'q>, value: &Value) -> SqliteQuery<'q> {
    match value {
        Value::Int(i) => query.bind(*i),
        Value::NullInt => query.bind(None::<i64>),
        Value::Real(r) => query.bind(*r),
        Value::Text(t) => query.bind(t.clone()),
        Value::NullText => query.bind(None::<String>),
        Value::Bytes(b) => query.bind(b.to_vec()),
    }
}

fn bind_one_postgres<'q>(query: PostgresQuery<'q>, value: &Value) -> PostgresQuery<'q> {
    match value {
        Value::Int(i) => query.bind(*i),
        Value::NullInt => query.bind(None::<i64>),
        Value::Real(r) => query.bind(*r),
        Value::Text(t) => query.bind(t.clone()),
        Value::NullText => query.bind(None::<String>),
        Value::Bytes(b) => query.bind(b.to_vec()),
    }
}

fn column_names<C: Column>(columns: &[C]) -> Arc<[String]> {
    columns.iter().map(|c| c.name().to_owned()).collect()
}

fn sqlite_rows(rows: &[SqliteRow]) -> Result<Vec<Row>, StoreError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns = column_names(first.columns());
    rows.iter()
        .map(|row| {
            let values = (0..columns.len()).map(|i| sqlite_value(row, i, &columns[i])).collect::<Result<_, _>>()?;
            Ok(Row { columns: columns.clone(), values })
        })
        .collect()
}

fn sqlite_value(row: &SqliteRow, i: usize, name: &str) -> Result<Value, StoreError> {
    let fail = |e: sqlx::Error| StoreError::Column { column: name.into(), problem: e.to_string() };
    let raw = row.try_get_raw(i).map_err(fail)?;
    if raw.is_null() {
        return Ok(Value::NullInt);
    }
    match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(i).map(Value::Int),
        "REAL" => row.try_get_unchecked::<f64, _>(i).map(Value::Real),
        "BLOB" => row.try_get_unchecked::<Vec<u8>, _>(i).map(|bytes| Value::Bytes(bytes.into())),
        _ => row.try_get_unchecked::<String, _>(i).map(Value::Text),
    }
    .map_err(fail)
}

fn postgres_rows(rows: &[PgRow]) -> Result<Vec<Row>, StoreError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns = column_names(first.columns());
    rows.iter()
        .map(|row| {
            let values = (0..columns.len()).map(|i| postgres_value(row, i, &columns[i])).collect::<Result<_, _>>()?;
            Ok(Row { columns: columns.clone(), values })
        })
        .collect()
}

fn postgres_value(row: &PgRow, i: usize, name: &str) -> Result<Value, StoreError> {
    let fail = |e: sqlx::Error| StoreError::Column { column: name.into(), problem: e.to_string() };
    let raw = row.try_get_raw(i).map_err(fail)?;
    if raw.is_null() {
        return Ok(Value::NullInt);
    }
    match raw.type_info().name() {
        "INT8" => row.try_get::<i64, _>(i).map(Value::Int),
        "INT4" => row.try_get::<i32, _>(i).map(|v| Value::Int(i64::from(v))),
        "BOOL" => row.try_get::<bool, _>(i).map(|v| Value::Int(i64::from(v))),
        "FLOAT8" => row.try_get::<f64, _>(i).map(Value::Real),
        "TEXT" | "VARCHAR" | "NAME" => row.try_get::<String, _>(i).map(Value::Text),
        "BYTEA" => row.try_get::<Vec<u8>, _>(i).map(|bytes| Value::Bytes(bytes.into())),
        other => {
            return Err(StoreError::Column {
                column: name.into(),
                problem: format!("type {other}: cast it in the SQL"),
            });
        }
    }
    .map_err(fail)
}
