//! SQLite for programs: one file, written by a thread of each worker in groups, read
//! beside it by any thread.
//!
//! ```text
//! business threads -- write --> queue --> sqlite thread: BEGIN IMMEDIATE, up to 256
//!        |                                of them, COMMIT, then the answers
//!        +----------- read ---> a connection of the reader's own
//! ```
//!
//! Invariants:
//! - A database is opened in the process that uses it, after the fork, never before.
//! - Who is answered is durable: the answer follows the commit of the group.
//! - All writers of a file are as patient: each asks for the lock every millisecond,
//!   five seconds long. SQLite's own waits grow to 100 ms and starve whoever waits long.
//!
//! ```
//! use purlin::prelude::*;
//! use purlin::sqlite::{Database, params};
//!
//! const MIGRATIONS: &[&str] = &["create table notes (id integer primary key, text text not null)"];
//!
//! let app = App::<()>::new()
//!     .database("notes.db", MIGRATIONS)
//!     .on(1, |c, text: String| {
//!         c.data::<Database>().write(move |t| {
//!             t.prepare_cached("insert into notes (text) values (?1)")?.execute(params![text])?;
//!             Ok(t.last_insert_rowid().to_string())
//!         })
//!     });
//! # let folder = tempfile::tempdir().unwrap();
//! # let mut test = app.test_with(&[("data_folder", folder.path().to_str().unwrap())]);
//! # let ann = test.connect();
//! # assert_eq!(test.call(ann, 1, "hello").unwrap(), "1");
//! ```

mod connection;
mod error;
mod writer;

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

pub use self::error::Error;
use self::writer::Writer;

/// The crate that this stands on, for what is not passed on here.
pub use rusqlite;

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Synchronous {
    /// When the kernel gets to it: a power failure may take the last commits, the death
    /// of a process takes none.
    #[default]
    Normal,
    /// Before it is answered.
    Full,
}

/// How a database is opened: see [`Database::open_with`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// When a commit is on the disk.
    pub synchronous: Synchronous,
    /// Bytes from which the write-ahead log is cut. At twice as many, which takes a
    /// reader that stays, nothing is written before it has left.
    pub log_max: u64,
    /// How long a read may take before it is interrupted: what it sees cannot be
    /// cleared from the log. Any step of a query looks, nothing else does.
    pub read_max: Duration,
    /// Writes that one commit may take together; 1: each is a transaction of its own.
    pub group: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Normal,
            log_max: 64 << 20,
            read_max: Duration::from_secs(10),
            group: 256,
        }
    }
}

/// A database in a file. Cheap to clone, usable from any thread of the process that
/// opened it. When the last is dropped, what was given to write is written.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    writer: Writer,
    /// Connections of readers that are not reading.
    readers: Mutex<Vec<Connection>>,
    path: Box<Path>,
    options: Options,
}

impl Database {
    /// Opens the file at `path`, which is made with its folder where it is not there,
    /// and brings it up to date: `migrations` that its `user_version` does not count yet
    /// run in order, by one process, and all of them or none.
    ///
    /// # Errors
    ///
    /// [`Error`]: the file cannot be opened, a migration fails, or a newer program has
    /// migrated it further.
    pub fn open(path: impl AsRef<Path>, migrations: &[&str]) -> Result<Self, Error> {
        Self::open_with(path, migrations, Options::default())
    }

    /// As [`Self::open`], otherwise than by default.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        migrations: &[&str],
        options: Options,
    ) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::Folder)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::Folder)?;
        }
        // For its owner alone: SQLite gives the files beside it the same rights.
        let made = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path);
        made.map_err(Error::Folder)?;
        let mut connection = connection::writer(&path, options)?;
        connection::migrate(&mut connection, migrations)?;
        let writer = Writer::start(connection, &path, options)?;
        Ok(Self(Arc::new(Inner {
            writer,
            readers: Mutex::default(),
            path: path.into(),
            options,
        })))
    }

    /// Runs `f` in a transaction, which others may share, and returns when that is
    /// committed: blocks, so not on the event loop. Where `f` fails or panics, nothing of
    /// it is kept. `f` runs on the writer's thread; the longer it takes, the longer every
    /// other writer of the file waits.
    ///
    /// # Errors
    ///
    /// [`Error`]: what `f` returned, or why nothing was committed; [`Error::Within`] in a
    /// function of another write, which this one would wait for.
    pub fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        if self.0.writer.is_here() {
            return Err(Error::Within);
        }
        let (tell, told) = crossbeam::channel::bounded(1);
        self.write_then(f, move |result| {
            let _waited_for = tell.send(result);
        });
        told.recv().unwrap_or(Err(Error::Closed))
    }

    /// As [`Self::write`], for who does not wait: `then` gets the result on the writer's
    /// thread. With [`Ctx::later`](crate::dispatch::Ctx::later) no business thread is
    /// held, and more writes share a commit.
    ///
    /// ```
    /// use purlin::prelude::*;
    /// use purlin::sqlite::Database;
    ///
    /// let app = App::<()>::new()
    ///     .database("seen.db", &["create table seen (name text)"])
    ///     .on(1, |c, name: String| {
    ///         let database = c.data::<Database>().clone();
    ///         c.later(move |replier| {
    ///             let insert = "insert into seen (name) values (?1)";
    ///             database.write_then(move |t| t.execute(insert, [name]), |rows| {
    ///                 replier.send(rows.map(|rows| rows.to_string()).map_err(Error::from));
    ///             });
    ///         })
    ///     });
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let mut test = app.test_with(&[("data_folder", folder.path().to_str().unwrap())]);
    /// # let ann = test.connect();
    /// # assert_eq!(test.call(ann, 1, "ann").unwrap(), "1");
    /// ```
    pub fn write_then<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) {
        self.0.writer.submit(writer::job(f, then));
    }

    /// Runs `f` on a connection of its own, which cannot write; it sees every write that
    /// was answered before. Blocks no writer.
    ///
    /// # Errors
    ///
    /// [`Error`]: what `f` returned, or that it took longer than [`Options::read_max`].
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let idle = self.readers().pop();
        let mut connection = idle.map_or_else(|| connection::reader(&self.0.path), Ok)?;
        let until = Instant::now() + self.0.options.read_max;
        connection.progress_handler(1000, Some(move || Instant::now() > until))?;
        let result = f(&connection);
        // A transaction that `f` left open would keep the log from being cleared.
        if connection.is_autocommit() {
            self.readers().push(connection);
        }
        Ok(result?)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        let readers = self.0.readers.lock();
        readers.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.0.path.display())
    }
}
