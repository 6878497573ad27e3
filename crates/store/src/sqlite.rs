//! SQLite's one writer: a thread that owns the connection and does what it is handed, in order.
//!
//! Work is handed over as a closure that may run many statements: a batch of the group commit goes over once and comes
//! back once. A statement for which two threads have to be woken costs more than SQLite needs to run it, and on a busy
//! machine each of them waits for its turn at a processor. Rows of one statement are bound one after the other to a
//! statement that is prepared once, which SQLite does faster than it reads a text with thousands of parameters.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::checkpoint::Checkpoints;
use crate::{Row, StoreError, Value};

/// The page cache in KiB (negative, as SQLite wants it).
const CACHE: &str = "-16000";
const BUSY: Duration = Duration::from_secs(10);
const STATEMENTS_CACHED_MAX: usize = 512;
/// Longer than any transaction of ours lasts.
const TURN_WAIT: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the writer's thread. It ends when the last of these is gone.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Who holds it may be inside a transaction.
    turn: Arc<Mutex<()>>,
}

impl Writer {
    /// Opens the file, or creates it: WAL, `synchronous=FULL`.
    pub(crate) async fn open(path: &Path) -> Result<Writer, StoreError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (opened, answer) = oneshot::channel();
        let path = path.to_owned();
        let work = move || match open_connection(&path) {
            Ok((connection, checkpoints)) => {
                let _ = opened.send(Ok(()));
                serve(&connection, checkpoints, &inbox);
            }
            Err(error) => {
                let _ = opened.send(Err(failed("open the database", error)));
            }
        };
        std::thread::Builder::new().name("sqlite-writer".into()).spawn(work).map_err(|e| StoreError::from_io(&e))?;
        answer.await.map_err(|_| gone())??;
        Ok(Writer { jobs, turn: Arc::default() })
    }

    /// Runs `work` outside any transaction of others.
    pub(crate) async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.turn().await?;
        self.run(work).await
    }

    /// Begins a transaction: takes the turn now, and begins with its first statement, so that BEGIN costs no way of its own.
    pub(crate) async fn begin(&self) -> Result<Writing, StoreError> {
        Ok(Writing { writer: self.clone(), turn: Some(self.turn().await?), stage: Stage::Due })
    }

    async fn turn(&self) -> Result<OwnedMutexGuard<()>, StoreError> {
        // Whoever has the writer gives it back in moments, unless it waits for another process's lock.
        let turn = tokio::time::timeout(TURN_WAIT, self.turn.clone().lock_owned()).await;
        turn.map_err(|_| StoreError::Unavailable("the writer is taken".into()))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let job = move |connection: &Connection| {
            let _ = done.send(work(connection));
        };
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The writer inside a transaction. Given up without an end, or while a statement still runs, it is rolled back behind that
/// statement: jobs keep their order.
pub(crate) struct Writing {
    writer: Writer,
    turn: Option<OwnedMutexGuard<()>>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was run yet.
    Due,
    Open,
    Ended,
}

impl Writing {
    /// Runs `work` in the transaction.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let is_first = self.stage == Stage::Due;
        self.stage = Stage::Open;
        let work = move |connection: &Connection| {
            if is_first {
                // IMMEDIATE: a read transaction that upgrades later fails at once with SQLITE_BUSY_SNAPSHOT.
                plain(connection, "BEGIN IMMEDIATE")?;
            } else if connection.is_autocommit() {
                // It did not begin, or SQLite itself has rolled it back (a full disk, an I/O error): a statement by itself
                // would be committed at once.
                return Err(StoreError::Unavailable("the transaction has ended before its time".into()));
            }
            work(connection)
        };
        self.writer.run(work).await
    }

    /// Makes it durable; what fails is rolled back.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if self.stage == Stage::Open {
            self.run(commit).await?;
        }
        self.stage = Stage::Ended;
        Ok(())
    }

    /// As [`Writing::run`], and ends: `work` has committed if it gives `Ok`.
    pub(crate) async fn run_last<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.run(work).await?;
        self.stage = Stage::Ended;
        Ok(done)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.stage == Stage::Open {
            // Before the turn is given on. Without a thread there is no connection and no transaction.
            let _ = self.writer.jobs.send(Box::new(roll_back));
        }
        self.turn = None;
    }
}

/// Makes the transaction durable.
pub(crate) fn commit(connection: &Connection) -> Result<(), StoreError> {
    plain(connection, "COMMIT")
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = plain(connection, "ROLLBACK")
    {
        tracing::error!("a transaction that was given up cannot be rolled back: {error}");
    }
}

/// Does the jobs until the last sender is gone. A job that panics ends alone.
fn serve(connection: &Connection, mut checkpoints: Checkpoints, inbox: &mpsc::Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        // Its answer is dropped with it, which its caller is told; what it left open is rolled back with its transaction.
        if std::panic::catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
            tracing::error!("a job of the SQLite writer panicked");
        }
        checkpoints.tend(connection);
    }
}

fn open_connection(path: &Path) -> Result<(Connection, Checkpoints), rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let checkpoints = Checkpoints::beside(&connection, path)?;
    Ok((connection, checkpoints))
}

/// A statement without parameters and rows.
fn plain(connection: &Connection, text: &'static str) -> Result<(), StoreError> {
    let done = connection.prepare_cached(text).and_then(|mut statement| statement.execute([]));
    done.map(|_| ()).map_err(|e| failed(text, e))
}

/// Runs a script of many statements.
pub(crate) fn script(connection: &Connection, name: &str, text: &str) -> Result<(), StoreError> {
    connection.execute_batch(text).map_err(|e| failed(name, e))
}

/// Runs `work` in a transaction of its own.
pub(crate) fn in_transaction(
    connection: &Connection,
    work: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    plain(connection, "BEGIN IMMEDIATE")?;
    let done = work().and_then(|()| commit(connection));
    if done.is_err() {
        roll_back(connection);
    }
    done
}

/// Runs a statement; gives the number of rows touched.
pub(crate) fn execute(connection: &Connection, name: &str, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
    let mut statement = Prepared::new(connection, name, sql)?;
    statement.execute(name, values)
}

/// Runs a statement once for each row; gives the number of rows touched.
pub(crate) fn execute_each(
    connection: &Connection,
    name: &str,
    sql: &str,
    rows: &[Vec<Value>],
) -> Result<u64, StoreError> {
    let mut statement = Prepared::new(connection, name, sql)?;
    let mut touched = 0;
    for row in rows {
        touched += statement.execute(name, row)?;
    }
    Ok(touched)
}

/// Runs two statements for each row, the second right behind the first; gives the number of rows that the second touched.
pub(crate) fn execute_pairs(
    connection: &Connection,
    (first_name, first): (&str, &str),
    (second_name, second): (&str, &str),
    rows: &[Vec<Value>],
) -> Result<u64, StoreError> {
    let mut first = Prepared::new(connection, first_name, first)?;
    let mut second = Prepared::new(connection, second_name, second)?;
    let mut touched = 0;
    for row in rows {
        first.execute(first_name, row)?;
        touched += second.execute(second_name, row)?;
    }
    Ok(touched)
}

/// Reads all rows of a statement.
pub(crate) fn query(connection: &Connection, name: &str, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut prepared = Prepared::new(connection, name, sql)?;
    prepared.bind(name, values)?;
    let statement = &mut prepared.statement;
    let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|e| failed(name, e))? {
        let value = |i: usize| row.get_ref(i).map_err(|e| failed(name, e)).and_then(|raw| value_of(raw, &columns[i]));
        let values = (0..columns.len()).map(value).collect::<Result<_, _>>()?;
        found.push(Row { columns: columns.clone(), values });
    }
    Ok(found)
}

/// A statement and which value each of its parameters takes.
struct Prepared<'c> {
    statement: CachedStatement<'c>,
    order: Vec<usize>,
}

impl<'c> Prepared<'c> {
    fn new(connection: &'c Connection, name: &str, sql: &str) -> Result<Prepared<'c>, StoreError> {
        let statement = connection.prepare_cached(sql).map_err(|e| failed(name, e))?;
        // `$2` is a name to SQLite, which counts parameters in the order in which they first appear.
        let number = |i: usize| {
            let name = statement.parameter_name(i).and_then(|name| name.strip_prefix('$'));
            name.and_then(|number| number.parse::<usize>().ok()).unwrap_or(i) - 1
        };
        let order = (1..=statement.parameter_count()).map(number).collect();
        Ok(Prepared { statement, order })
    }

    fn bind(&mut self, name: &str, values: &[Value]) -> Result<(), StoreError> {
        for (i, at) in self.order.iter().enumerate() {
            let value = values.get(*at).ok_or_else(|| StoreError::Statement {
                statement: name.into(),
                problem: format!("it has a parameter ${} and got {} values", at + 1, values.len()),
            })?;
            self.statement.raw_bind_parameter(i + 1, value).map_err(|e| failed(name, e))?;
        }
        Ok(())
    }

    fn execute(&mut self, name: &str, values: &[Value]) -> Result<u64, StoreError> {
        self.bind(name, values)?;
        if self.statement.column_count() == 0 {
            return self.statement.raw_execute().map(|touched| touched as u64).map_err(|e| failed(name, e));
        }
        // RETURNING: each row that it gives was touched.
        let mut rows = self.statement.raw_query();
        let mut touched = 0;
        while rows.next().map_err(|e| failed(name, e))?.is_some() {
            touched += 1;
        }
        Ok(touched)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Int(i) => ValueRef::Integer(*i),
            Value::Real(r) => ValueRef::Real(*r),
            Value::Text(t) => ValueRef::Text(t.as_bytes()),
            Value::NullInt | Value::NullText => ValueRef::Null,
            Value::Bytes(b) => ValueRef::Blob(b),
        }))
    }
}

fn value_of(raw: ValueRef<'_>, column: &str) -> Result<Value, StoreError> {
    let wrong = |problem: String| StoreError::Column { column: column.into(), problem };
    match raw {
        ValueRef::Null => Ok(Value::NullInt),
        ValueRef::Integer(i) => Ok(Value::Int(i)),
        ValueRef::Real(r) => Ok(Value::Real(r)),
        ValueRef::Text(t) => String::from_utf8(t.to_vec()).map(Value::Text).map_err(|e| wrong(e.to_string())),
        ValueRef::Blob(b) => Ok(Value::Bytes(Bytes::copy_from_slice(b))),
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the SQLite writer has ended".into())
}

pub(crate) fn failed(statement: &str, error: rusqlite::Error) -> StoreError {
    let problem = error.to_string();
    match error.sqlite_error() {
        Some(code) => StoreError::from_sqlite(statement, code.extended_code, problem),
        None => StoreError::Statement { statement: statement.into(), problem },
    }
}
