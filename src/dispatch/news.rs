//! What a worker hears that is for the program and for no connection: one job at a
//! time on the business pool, in the order in which it came.
//!
//! Invariant: while something waits, a job is on its way to the pool or runs.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

/// Something for the program.
#[derive(Debug)]
pub(super) enum Item {
    /// Of [`Hub::tell`](super::Hub::tell).
    Told(String, Bytes),
    /// Messages of another worker were lost.
    Missed,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct News(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Item>,
    /// A job is on its way, or runs.
    has_job: bool,
}

impl News {
    /// Whether a job must be posted for it.
    pub(super) fn put(&self, item: Item) -> bool {
        let mut inner = self.0.lock().expect("nothing under this lock panics");
        inner.waiting.push_back(item);
        !std::mem::replace(&mut inner.has_job, true)
    }

    pub(super) fn next(&self) -> Option<Item> {
        let mut inner = self.0.lock().expect("nothing under this lock panics");
        let next = inner.waiting.pop_front();
        inner.has_job = next.is_some();
        next
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_job_runs_all_that_waits() {
        let news = News::default();
        assert!(news.put(Item::Missed), "nobody comes for it yet");
        assert!(!news.put(Item::Told("a".into(), Bytes::new())));
        assert!(matches!(news.next(), Some(Item::Missed)));
        assert!(!news.put(Item::Missed), "the job has not seen the end");
        assert!(matches!(news.next(), Some(Item::Told(..))));
        assert!(matches!(news.next(), Some(Item::Missed)));
        assert!(news.next().is_none());
        assert!(news.put(Item::Missed));
    }
}
