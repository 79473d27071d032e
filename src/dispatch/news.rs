//! What a worker hears that is for the program and for no connection: one job at a
//! time on the business pool, in the order in which it came.
//!
//! Invariant: while something waits, a job is on its way to the pool or runs.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use super::catch_panic::guard;
use super::core::Core;
use super::hub::Hub;
use crate::bus::{Interest, Kind, Outgoing};

/// Something for the program.
#[derive(Debug)]
pub(super) enum Item {
    /// Of [`Hub::tell`].
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
    fn put(&self, item: Item) -> bool {
        let mut inner = self.0.lock().expect("nothing under this lock panics");
        inner.waiting.push_back(item);
        !std::mem::replace(&mut inner.has_job, true)
    }

    fn next(&self) -> Option<Item> {
        let mut inner = self.0.lock().expect("nothing under this lock panics");
        let next = inner.waiting.pop_front();
        inner.has_job = next.is_some();
        next
    }
}

impl Hub {
    /// Runs what is registered under `topic`
    /// ([`App::on_tell`](crate::App::on_tell)) in every worker, this one included:
    /// once, in the order in which one caller tells it, on the business pool. Never
    /// waits. At most once: it is not told to a worker that dies meanwhile, or reads
    /// so slowly that `bus.backlog` is full, which its program hears of
    /// ([`App::missed`](crate::App::missed)). A body over 4 MiB stays in this worker.
    pub fn tell(&self, topic: &str, body: impl Into<Bytes>) {
        let body = body.into();
        let here = || self.hear_news(Item::Told(topic.to_owned(), body.clone()));
        let Some(bus) = self.bus() else {
            return here();
        };
        bus.saying(|| {
            bus.publish(&Outgoing {
                kind: Kind::Tell,
                to: Interest::Workers,
                topic,
                except: None,
                id: 0,
                form: 0,
                body: &body,
            });
            here();
        });
    }

    /// Has the pool run what is registered for it.
    pub(super) fn hear_news(&self, item: Item) {
        if self.news().put(item) {
            self.worker().has_news();
        }
    }
}

impl<S> Core<S> {
    /// Runs what waits. On the business pool.
    pub(super) fn run_news(&self) {
        while let Some(item) = self.hub.news().next() {
            let row = self.hub.row();
            match item {
                Item::Told(topic, body) => {
                    let registered = self.hooks.told.iter();
                    for (_, told) in registered.filter(|(known, _)| *known == topic) {
                        let what = || format!("what is told as `{topic}`");
                        guard(row, what, || told(&self.hub, &body));
                    }
                }
                Item::Missed => {
                    let rooms = self.hub.directory().rooms();
                    for missed in &self.hooks.missed {
                        guard(row, || "`missed`".to_owned(), || missed(&self.hub, &rooms));
                    }
                }
            }
        }
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
