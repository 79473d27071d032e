//! What the program of one worker tells those of all, and what a worker tells its
//! own.

use bytes::Bytes;

use super::catch_panic::guard;
use super::core::Core;
use super::hub::Hub;
use super::news::Item;
use crate::bus::{Interest, Kind, Outgoing};

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
