//! The thread that writes: all that waits goes into one transaction.
//!
//! A commit costs the same for one row as for hundreds; with `synchronous = full` it
//! is a wait for the disk. While one is made the next group gathers.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use rusqlite::Connection;

use super::{Error, Options, connection};

/// Name of the thread.
const NAME: &str = "sqlite";

/// Between two attempts to cut the log.
const CUT_AGAIN: Duration = Duration::from_millis(100);

/// A write on its way.
pub(super) type Job = Box<dyn FnOnce(Result<&Connection, Error>) -> (Outcome, Answer) + Send>;

/// Tells who wrote what became of it; an error is that of the group.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What a write did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Done,
    Failed,
}

/// A write as the thread takes it.
pub(super) fn job<T: Send + 'static>(
    f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    then: impl FnOnce(Result<T, Error>) + Send + 'static,
) -> Job {
    Box::new(move |connection| {
        let result = connection.and_then(|connection| {
            catch_unwind(AssertUnwindSafe(|| f(connection)))
                .map_err(|_| Error::Panicked)
                .and_then(|result| result.map_err(Error::from))
        });
        let outcome = if result.is_ok() {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        let answer = move |group: Result<(), Error>| {
            let result = result.and_then(|value| group.map(|()| value));
            if catch_unwind(AssertUnwindSafe(|| then(result))).is_err() {
                log::error!("what was to be done with the result of a write panicked");
            }
        };
        (outcome, Box::new(answer))
    })
}

pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        path: &Path,
        options: Options,
    ) -> Result<Self, Error> {
        let (give, jobs) = unbounded();
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let writing = Writing {
            connection,
            jobs,
            options,
            log: log.into(),
            cut_at: Instant::now(),
        };
        let thread = thread::Builder::new().name(NAME.into());
        let thread = thread.spawn(move || writing.run()).map_err(Error::Folder)?;
        Ok(Self {
            jobs: Some(give),
            thread: Some(thread),
        })
    }

    /// Whether this is the thread that writes.
    pub(super) fn is_here(&self) -> bool {
        let writes = self.thread.as_ref().map(|thread| thread.thread().id());
        writes == Some(thread::current().id())
    }

    pub(super) fn submit(&self, job: Job) {
        let refused = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|refused| refused.into_inner()),
            None => Some(job),
        };
        if let Some(job) = refused {
            let (_, answer) = job(Err(Error::Closed));
            answer(Ok(()));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread ends when nothing is left to take.
        self.jobs = None;
        let own = thread::current().id();
        let others = self
            .thread
            .take()
            .filter(|thread| thread.thread().id() != own);
        if let Some(Err(_)) = others.map(JoinHandle::join) {
            log::error!("the thread that writes to the database panicked");
        }
    }
}

/// What the thread has.
struct Writing {
    connection: Connection,
    jobs: Receiver<Job>,
    options: Options,
    /// The write-ahead log's file.
    log: PathBuf,
    /// When it is tried next to cut that.
    cut_at: Instant,
}

impl Writing {
    fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let others = self.options.group.saturating_sub(1);
            let mut group = vec![first];
            group.extend(self.jobs.try_iter().take(others));
            self.commit(group);
        }
        // Others write on: nobody is waited for under their lock.
        let _patient_else = self.connection.busy_timeout(Duration::ZERO);
        let _bounded_all_the_same = self.checkpoint();
    }

    /// Writes a group, and answers each.
    fn commit(&mut self, group: Vec<Job>) {
        let begun = self.make_room().and_then(|()| {
            // Deferred, the first write would find what was read out of date, which no
            // waiting mends.
            Ok(self
                .connection
                .prepare_cached("begin immediate")?
                .execute([])?)
        });
        if let Err(error) = begun {
            for job in group {
                let (_, answer) = job(Err(error.again()));
                answer(Ok(()));
            }
            return;
        }
        let mut answers = Vec::with_capacity(group.len());
        let mut result = Ok(());
        for job in group {
            let written = self.savepoint(job);
            result = result.and(written.1);
            answers.push(written.0);
        }
        let result = result.and_then(|()| {
            let mut commit = self.connection.prepare_cached("commit")?;
            commit.execute([])?;
            Ok(())
        });
        if result.is_err() && !self.connection.is_autocommit() {
            let rolled_back = self.connection.execute_batch("rollback");
            if let Err(error) = rolled_back {
                log::error!("roll back what cannot be committed: {error}");
            }
        }
        for answer in answers {
            answer(result.as_ref().copied().map_err(Error::again));
        }
    }

    /// Runs one write, of which nothing is kept if it fails. The error is one of the
    /// whole group.
    fn savepoint(&self, job: Job) -> (Answer, Result<(), Error>) {
        let run = |sql| -> Result<(), Error> {
            self.connection.prepare_cached(sql)?.execute([])?;
            Ok(())
        };
        if self.connection.is_autocommit() {
            // One before has ended the transaction.
            return (job(Err(Error::Ended)).1, Err(Error::Ended));
        }
        if let Err(error) = run("savepoint one") {
            let again = error.again();
            return (job(Err(error)).1, Err(again));
        }
        let (outcome, answer) = job(Ok(&self.connection));
        if self.connection.is_autocommit() {
            return (answer, Err(Error::Ended));
        }
        let undone = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed => run("rollback to one"),
        };
        (answer, undone.and_then(|()| run("release one")))
    }

    /// Cuts the log where it is long. SQLite does so by itself when nobody reads for
    /// a moment, and never where somebody always does.
    fn make_room(&mut self) -> Result<(), Error> {
        let len = fs::metadata(&self.log).map_or(0, |file| file.len());
        let max = self.options.log_max;
        let is_full = len >= max.saturating_mul(2);
        let now = Instant::now();
        if len < max || (!is_full && now < self.cut_at) {
            return Ok(());
        }
        self.cut_at = now + CUT_AGAIN;
        // Only who cannot write waits for those who read.
        if !is_full {
            self.connection.busy_timeout(Duration::ZERO)?;
        }
        let is_cut = self.checkpoint();
        connection::be_patient(&mut self.connection)?;
        if is_full && !is_cut? {
            return Err(Error::LogFull);
        }
        Ok(())
    }

    /// Copies the log into the file and empties it. False: somebody reads from it.
    fn checkpoint(&self) -> Result<bool, Error> {
        let mut cut = self
            .connection
            .prepare_cached("pragma wal_checkpoint(truncate)")?;
        let is_busy: i64 = cut.query_row([], |row| row.get(0))?;
        Ok(is_busy == 0)
    }
}
