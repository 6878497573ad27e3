//! The two databases. This file alone has two arms.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Postgres, Row as _, Sqlite, Transaction, TypeInfo,
    ValueRef,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::sql::{self, Statement};
use crate::{Database, Row, Store, StoreError, Value};

const READERS_MAX: u32 = 6;
/// SQLite page caches in KiB (negative, as SQLite wants it). Readers share the system's page cache anyway.
const WRITER_CACHE: &str = "-16000";
const READER_CACHE: &str = "-2000";
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
const BUSY_MS: u64 = 10_000;
const ACQUIRE_MS: u64 = 10_000;
/// Rows per multi-row insert, tried in this order, so that few different texts reach the statement cache. More rows gain
/// little, and a prepared statement of thousands of parameters weighs hundreds of kilobytes.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];
/// SQLite takes at most 32,766 parameters, PostgreSQL 65,535.
const PARAMETERS_MAX: usize = 32_000;

pub(crate) enum Db {
    Sqlite { writer: Arc<Mutex<Writer>>, readers: SqlitePool },
    Postgres(PgPool),
}

/// SQLite's one writer. `open`: a transaction may have been left behind, by a dropped [`Tx`] or by a BEGIN or COMMIT whose
/// future was dropped, and must be rolled back first.
pub(crate) struct Writer {
    connection: SqliteConnection,
    open: bool,
}

pub(crate) enum Begun {
    Sqlite(OwnedMutexGuard<Writer>),
    Postgres(Box<Transaction<'static, Postgres>>),
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
            Db::Sqlite { writer, .. } => {
                let mut writer = writer.clone().lock_owned().await;
                if writer.open && raw_sqlite(&mut writer, "ROLLBACK").await.is_err() {
                    // Nothing was open after all: the COMMIT or BEGIN that was dropped had ended or failed.
                    tracing::debug!("a transaction that was left behind had ended already");
                }
                // Before the statement: whoever drops this future leaves it to SQLite whether the transaction begins.
                writer.open = true;
                // IMMEDIATE: a read transaction that upgrades later fails at once with SQLITE_BUSY_SNAPSHOT.
                raw_sqlite(&mut writer, "BEGIN IMMEDIATE").await?;
                Ok(Begun::Sqlite(writer))
            }
            Db::Postgres(pool) => {
                let tx = pool.begin().await.map_err(|e| StoreError::from_sql("begin", e))?;
                Ok(Begun::Postgres(Box::new(tx)))
            }
        }
    }

    /// Runs a whole script (migrations) in one transaction, then `after`.
    pub(crate) async fn run_script(&self, script: &'static str) -> Result<(), StoreError> {
        match self {
            Db::Sqlite { writer, .. } => {
                let script = script.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY");
                let mut writer = writer.lock().await;
                let text = format!("BEGIN IMMEDIATE;\n{script}\nCOMMIT;");
                let done = (&mut writer.connection).execute(sqlx::raw_sql(AssertSqlSafe(text))).await;
                done.map(|_| ()).map_err(|e| StoreError::from_sql("migration", e))
            }
            Db::Postgres(pool) => {
                let mut tx = pool.begin().await.map_err(|e| StoreError::from_sql("migration", e))?;
                (&mut *tx).execute(sqlx::raw_sql(script)).await.map_err(|e| StoreError::from_sql("migration", e))?;
                tx.commit().await.map_err(|e| StoreError::from_sql("migration", e))
            }
        }
    }

    /// The schema version, 0 on an empty database.
    pub(crate) async fn schema_version(&self) -> Result<i64, StoreError> {
        const TABLE: &str =
            "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, applied_at BIGINT NOT NULL);";
        self.run_script(TABLE).await?;
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

async fn open_sqlite(path: &Path) -> Result<Db, StoreError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::from_io(&e))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_millis(BUSY_MS))
        .statement_cache_capacity(512)
        .pragma("cache_size", WRITER_CACHE)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    let connection =
        SqliteConnection::connect_with(&options).await.map_err(|e| StoreError::from_sql("open the database", e))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(Duration::from_millis(ACQUIRE_MS))
        .connect_with(options.read_only(true).create_if_missing(false).pragma("cache_size", READER_CACHE))
        .await
        .map_err(|e| StoreError::from_sql("open the database", e))?;
    Ok(Db::Sqlite { writer: Arc::new(Mutex::new(Writer { connection, open: false })), readers })
}

async fn raw_sqlite(writer: &mut Writer, text: &'static str) -> Result<(), StoreError> {
    let done = sqlx::query(text).execute(&mut writer.connection).await;
    if done.is_ok() && text != "BEGIN IMMEDIATE" {
        writer.open = false;
    }
    done.map(|_| ()).map_err(|e| StoreError::from_sql(text, e))
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
        let statement = sql::statement(name);
        let rows = match &mut self.begun {
            Begun::Sqlite(writer) => bind_sqlite(statement.sqlite, values)
                .fetch_all(&mut writer.connection)
                .await
                .map(|rows| sqlite_rows(&rows)),
            Begun::Postgres(tx) => {
                bind_postgres(statement.postgres, values).fetch_all(&mut ***tx).await.map(|rows| postgres_rows(&rows))
            }
        };
        rows.map_err(|e| StoreError::from_sql(name, e))?
    }

    /// Reads the first row of a named statement inside this transaction.
    pub async fn query_one(&mut self, name: &'static str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(name, values).await?.into_iter().next())
    }

    /// Runs a named statement; gives the number of rows touched.
    pub async fn execute(&mut self, name: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        let Statement { sqlite, postgres } = sql::statement(name);
        let done = match &mut self.begun {
            Begun::Sqlite(writer) => {
                bind_sqlite(sqlite, values).execute(&mut writer.connection).await.map(|d| d.rows_affected())
            }
            Begun::Postgres(tx) => bind_postgres(postgres, values).execute(&mut ***tx).await.map(|d| d.rows_affected()),
        };
        done.map_err(|e| StoreError::from_sql(name, e))
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
        let Some(columns) = rows.first().map(Vec::len) else { return Ok(0) };
        let mut rest = rows;
        let mut touched = 0;
        while !rest.is_empty() {
            let fits = |n: &&usize| **n <= rest.len() && **n * columns <= PARAMETERS_MAX;
            let take = *CHUNKS.iter().find(fits).unwrap_or(&1);
            let (now, later) = rest.split_at(take);
            touched += self.insert_chunk(name, columns, now).await?;
            rest = later;
        }
        Ok(touched)
    }

    async fn insert_chunk(
        &mut self,
        name: &'static str,
        columns: usize,
        rows: &[Vec<Value>],
    ) -> Result<u64, StoreError> {
        let Statement { sqlite, postgres } = sql::statement(name);
        let values = rows.iter().flatten();
        let done = match &mut self.begun {
            Begun::Sqlite(writer) => {
                let text = sql::repeat_values(sqlite, columns, rows.len());
                let query = values.fold(sqlx::query(AssertSqlSafe(text)), bind_one_sqlite);
                query.execute(&mut writer.connection).await.map(|d| d.rows_affected())
            }
            Begun::Postgres(tx) => {
                let text = sql::repeat_values(postgres, columns, rows.len());
                let query = values.fold(sqlx::query(AssertSqlSafe(text)), bind_one_postgres);
                query.execute(&mut ***tx).await.map(|d| d.rows_affected())
            }
        };
        done.map_err(|e| StoreError::from_sql(name, e))
    }

    /// Makes it durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.begun {
            Begun::Sqlite(mut writer) => raw_sqlite(&mut writer, "COMMIT").await,
            Begun::Postgres(tx) => tx.commit().await.map_err(|e| StoreError::from_sql("commit", e)),
        }
    }

    /// Gives it up. (Dropping does the same.)
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self.begun {
            Begun::Sqlite(mut writer) => raw_sqlite(&mut writer, "ROLLBACK").await,
            Begun::Postgres(tx) => tx.rollback().await.map_err(|e| StoreError::from_sql("rollback", e)),
        }
    }
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
    }
}

fn bind_one_postgres<'q>(query: PostgresQuery<'q>, value: &Value) -> PostgresQuery<'q> {
    match value {
        Value::Int(i) => query.bind(*i),
        Value::NullInt => query.bind(None::<i64>),
        Value::Real(r) => query.bind(*r),
        Value::Text(t) => query.bind(t.clone()),
        Value::NullText => query.bind(None::<String>),
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
        other => {
            return Err(StoreError::Column {
                column: name.into(),
                problem: format!("type {other}: cast it in the SQL"),
            });
        }
    }
    .map_err(fail)
}

impl Db {
    /// One statement in its own transaction, for the store's own housekeeping before a [`Store`] exists.
    pub(crate) async fn execute_alone(&self, name: &str, values: &[Value]) -> Result<(), StoreError> {
        let statement = sql::statement(name);
        let done = match self {
            Db::Sqlite { writer, .. } => {
                let mut writer = writer.lock().await;
                bind_sqlite(statement.sqlite, values).execute(&mut writer.connection).await.map(|_| ())
            }
            Db::Postgres(pool) => bind_postgres(statement.postgres, values).execute(pool).await.map(|_| ()),
        };
        done.map_err(|e| StoreError::from_sql(name, e))
    }
}

/// Creates an empty PostgreSQL database `name` on the server of `url` and gives its URL.
///
/// # Errors
/// [`StoreError::Unsupported`] for a name that is not lower-case letters, digits and underscores;
/// [`StoreError::Unavailable`] when the server does not answer or the database exists.
pub async fn create_postgres_database(url: &str, name: &str) -> Result<String, StoreError> {
    administer(url, name, "CREATE DATABASE").await?;
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let server = base.rsplit_once('/').map_or(base, |(server, _)| server);
    Ok(format!("{server}/{name}{}{query}", if query.is_empty() { "" } else { "?" }))
}

/// Drops a PostgreSQL database, ending what is connected to it.
///
/// # Errors
/// As [`create_postgres_database`].
pub async fn drop_postgres_database(url: &str, name: &str) -> Result<(), StoreError> {
    administer(url, name, "DROP DATABASE IF EXISTS").await
}

async fn administer(url: &str, name: &str, verb: &str) -> Result<(), StoreError> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(StoreError::Unsupported(format!("a database name of other than a-z, 0-9 and _: {name:?}")));
    }
    let options = PgConnectOptions::from_str(url).map_err(|e| StoreError::from_sql("connect", e))?;
    let mut connection = options.connect().await.map_err(|e| StoreError::from_sql("connect", e))?;
    let force = if verb.starts_with("DROP") { " WITH (FORCE)" } else { "" };
    let text = format!("{verb} {name}{force}");
    (&mut connection).execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map_err(|e| StoreError::from_sql(name, e))?;
    connection.close().await.map_err(|e| StoreError::from_sql(name, e))
}
