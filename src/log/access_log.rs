//! Lines that are many and may be lost, such as those of an access log:
//! collected in memory, written by a thread of their own, a batch at a time.
//!
//! Whoever records a line waits for no disk: it is appended under a lock that
//! nobody holds over a system call. When the disk is slower than the lines
//! come, those that find no room are lost and counted. A line is in the file
//! after 100 ms at most, and before the process ends if it calls [`flush`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long lines are collected before they are written.
const PACE: Duration = Duration::from_millis(100);

/// Bytes that are written before that.
const BATCH: usize = 128 * 1024;

/// Bytes that wait at most.
const ROOM: usize = 4 * 1024 * 1024;

/// What waits, and who writes it.
struct AccessLog {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Who counts the lines that are lost.
    on_loss: Mutex<Option<OnLoss>>,
}

type OnLoss = Box<dyn Fn(u64) + Send>;

struct Waiting {
    lines: Vec<u8>,
    count: u64,
    /// There is a thread that writes.
    begun: bool,
    /// A batch is on its way to the file.
    writing: bool,
    /// Somebody waits until all is written.
    hurry: bool,
}

static ACCESS_LOG: AccessLog = AccessLog {
    waiting: Mutex::new(Waiting {
        lines: Vec::new(),
        count: 0,
        begun: false,
        writing: false,
        hurry: false,
    }),
    changed: Condvar::new(),
    on_loss: Mutex::new(None),
};

impl AccessLog {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Lines are whole whenever the lock is free.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, lines: u64) {
        let on_loss = self.on_loss.lock();
        if let Some(on_loss) = &*on_loss.unwrap_or_else(PoisonError::into_inner) {
            on_loss(lines);
        }
    }

    /// The loop of the writing thread.
    fn write(&self) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.lock();
            waiting.writing = false;
            self.changed.notify_all();
            while waiting.lines.is_empty() {
                waiting = (self.changed.wait(waiting)).unwrap_or_else(PoisonError::into_inner);
            }
            let until = Instant::now() + PACE;
            while waiting.lines.len() < BATCH && !waiting.hurry {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiting = (self.changed.wait_timeout(waiting, left))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut waiting.lines);
            let count = std::mem::take(&mut waiting.count);
            waiting.writing = true;
            drop(waiting);
            if !super::put_access(&batch) {
                self.lost(count);
            }
            if batch.capacity() > 2 * BATCH {
                batch = Vec::new();
            }
        }
    }
}

/// Has `on_loss` told of lines at the moment when they are lost: how many, on
/// whichever thread finds that. Of several servers in a process the last is.
pub fn on_loss(on_loss: impl Fn(u64) + Send + 'static) {
    let mut place = (ACCESS_LOG.on_loss.lock()).unwrap_or_else(PoisonError::into_inner);
    *place = Some(Box::new(on_loss));
}

/// Records a whole line.
pub fn record(line: &[u8]) {
    let access_log = &ACCESS_LOG;
    let mut waiting = access_log.lock();
    waiting.begun = waiting.begun || begin();
    if !waiting.begun || waiting.lines.len() + line.len() > ROOM {
        drop(waiting);
        access_log.lost(1);
    } else {
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        let len = waiting.lines.len();
        drop(waiting);
        // The first of a batch, and the one that fills it.
        if len == line.len() || (len >= BATCH && len - line.len() < BATCH) {
            access_log.changed.notify_all();
        }
    }
}

/// Starts the thread that writes: with the first line, so behind every fork.
fn begin() -> bool {
    let writer = thread::Builder::new().name("access-log".into());
    writer.spawn(|| ACCESS_LOG.write()).is_ok()
}

/// Waits until every line is written that was recorded before, at most for
/// `patience`: the disk may hang.
pub fn flush(patience: Duration) {
    let until = Instant::now() + patience;
    let mut waiting = ACCESS_LOG.lock();
    while waiting.writing || !waiting.lines.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        waiting.hurry = true;
        ACCESS_LOG.changed.notify_all();
        waiting = (ACCESS_LOG.changed.wait_timeout(waiting, left))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    waiting.hurry = false;
}
