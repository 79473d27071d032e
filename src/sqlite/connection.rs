//! How a connection to a file is made, and how the file gets its tables.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Error, Options, Synchronous};

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts. Constant: with SQLite's own, which grow, four processes that
/// write without a pause left one of them waiting for 4.5 s.
const PAUSE: Duration = Duration::from_millis(1);

/// One that writes.
pub(super) fn writer(path: &Path, options: Options) -> Result<Connection, Error> {
    let mut connection = Connection::open(path)?;
    be_patient(&mut connection)?;
    // No busy handler is asked here: whoever else opens the file for the first time
    // holds the lock for a moment.
    patiently(|| connection.pragma_update(None, "journal_mode", "wal"))?;
    let synchronous = match options.synchronous {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let limit = i64::try_from(options.log_max).unwrap_or(i64::MAX);
    connection.pragma_update(None, "journal_size_limit", limit)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// One that reads.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    be_patient(&mut connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Has it wait for locks.
pub(super) fn be_patient(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut since = Instant::now();
    connection.busy_handler(Some(move |nth| {
        if nth == 0 {
            since = Instant::now();
        }
        let goes_on = since.elapsed() < PATIENCE;
        if goes_on {
            thread::sleep(PAUSE);
        }
        goes_on
    }))
}

/// Brings the file up to date, in one transaction.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Error> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if usize::try_from(version).ok() == Some(migrations.len()) {
        return Ok(());
    }
    // Whoever else migrates is waited for, however long that takes, and has done it then.
    while let Err(error) = connection.execute_batch("begin immediate; rollback") {
        if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) {
            return Err(error.into());
        }
        log::info!("another worker brings the database up to date: waiting for it");
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(missing) = migrations.get(done..) else {
        return Err(Error::Newer {
            file: done,
            program: migrations.len(),
        });
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    if !missing.is_empty() {
        let version = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version)?;
    }
    Ok(transaction.commit()?)
}

fn patiently(attempt: impl Fn() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let result = attempt();
        let code = result
            .as_ref()
            .err()
            .and_then(|error| error.sqlite_error_code());
        if code != Some(ErrorCode::DatabaseBusy) || Instant::now() > until {
            return result;
        }
        thread::sleep(PAUSE);
    }
}
