//! Databases of tests: on PostgreSQL they come and go, and on both some are as an older binary left them.

use std::str::FromStr;

use model::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::db::Db;
use crate::{Database, StoreError, migrate};

/// Creates an empty PostgreSQL database `name` on the server of `url` and gives its URL.
///
/// # Errors
/// [`StoreError::Unsupported`] for a name that is not lower-case letters, digits and underscores;
/// [`StoreError::Unavailable`] when the server does not answer or the database exists.
pub async fn create_postgres_database(url: &str, name: &str) -> Result<String, StoreError> {
    administer(url, "CREATE DATABASE", name, "").await?;
    Ok(url_of(url, name))
}

/// As [`create_postgres_database`], with all tables and no rows: a copy of one that is made once for each server and schema,
/// which takes a fraction of the time that the migrations take.
///
/// # Errors
/// As [`create_postgres_database`].
pub async fn create_migrated_postgres_database(url: &str, name: &str) -> Result<String, StoreError> {
    let blank = format!("landfall_blank_{}", migrate::fingerprint());
    let template = format!(" TEMPLATE {blank}");
    if administer(url, "CREATE DATABASE", name, &template).await.is_err() {
        make_blank(url, &blank, &format!("{name}_blank")).await?;
        administer(url, "CREATE DATABASE", name, &template).await?;
    }
    Ok(url_of(url, name))
}

/// Drops a PostgreSQL database, ending what is connected to it.
///
/// # Errors
/// As [`create_postgres_database`].
pub async fn drop_postgres_database(url: &str, name: &str) -> Result<(), StoreError> {
    administer(url, "DROP DATABASE IF EXISTS", name, " WITH (FORCE)").await
}

/// Makes the tables that a binary of an older schema version made, in a database that is empty (or, on SQLite, not there yet).
///
/// # Errors
/// As [`Store::open`](crate::Store::open).
pub async fn make_older_database(database: &Database, version: i64) -> Result<(), StoreError> {
    let db = Db::open(database).await?;
    let made = migrate::up_to(&db, version, Timestamp::from_micros(0)).await;
    db.close().await;
    made
}

/// Nobody sees it before it is complete: it gets its name at the end. Who comes second finds it there.
async fn make_blank(url: &str, blank: &str, draft: &str) -> Result<(), StoreError> {
    let database = Database::Postgres { url: create_postgres_database(url, draft).await? };
    let db = Db::open(&database).await?;
    let migrated = migrate::run(&db, Timestamp::from_micros(0)).await;
    db.close().await;
    migrated?;
    if administer(url, "ALTER DATABASE", draft, &format!(" RENAME TO {blank}")).await.is_err() {
        drop_postgres_database(url, draft).await?;
    }
    Ok(())
}

fn url_of(server_url: &str, name: &str) -> String {
    let (base, query) = server_url.split_once('?').map_or((server_url, ""), |(base, query)| (base, query));
    let server = base.rsplit_once('/').map_or(base, |(server, _)| server);
    format!("{server}/{name}{}{query}", if query.is_empty() { "" } else { "?" })
}

async fn administer(url: &str, verb: &str, name: &str, options: &str) -> Result<(), StoreError> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(StoreError::Unsupported(format!("a database name of other than a-z, 0-9 and _: {name:?}")));
    }
    let server = PgConnectOptions::from_str(url).map_err(|e| StoreError::from_sql("connect", e))?;
    let mut connection = server.connect().await.map_err(|e| StoreError::from_sql("connect", e))?;
    let text = format!("{verb} {name}{options}");
    (&mut connection).execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map_err(|e| StoreError::from_sql(name, e))?;
    connection.close().await.map_err(|e| StoreError::from_sql(name, e))
}
