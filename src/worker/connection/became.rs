//! The protocols that a connection has turned into, one after the other.
//!
//! A turn, a push and a time limit borrow what the connection speaks from any
//! thread and without a lock, also while the reactor sets the next one.
//!
//! Invariant: what was set stays where it is until nobody can find the
//! connection any more, so who has borrowed it may go on with it.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::protocol::Protocol;

/// A list that only grows; nearly always empty.
#[derive(Default)]
pub(super) struct Became(OnceLock<Box<Link>>);

// Every idle connection has one.
const _: () = assert!(size_of::<Became>() <= 16);

struct Link {
    protocol: Arc<dyn Protocol>,
    /// Whose the connection is from here on; `None`: whose it was.
    client: Option<IpAddr>,
    next: Became,
}

impl Became {
    /// Nothing yet.
    pub(super) const fn nothing() -> Self {
        Self(OnceLock::new())
    }

    /// What it speaks now; `None`: it never changed.
    pub(super) fn last(&self) -> Option<&Arc<dyn Protocol>> {
        let mut last = self.0.get()?;
        while let Some(next) = last.next.0.get() {
            last = next;
        }
        Some(&last.protocol)
    }

    /// Whose it became; `None`: nobody else's than at first.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let links = std::iter::successors(self.0.get(), |link| link.next.0.get());
        links.filter_map(|link| link.client).last()
    }

    /// It speaks `protocol` from now on, with `client`, if that is somebody else.
    pub(super) fn push(&self, protocol: Arc<dyn Protocol>, client: Option<IpAddr>) {
        let next = Self::nothing();
        let mut new = Box::new(Link {
            protocol,
            client,
            next,
        });
        let mut end = self;
        while let Err(refused) = end.0.set(new) {
            new = refused;
            let first = end.0.get().expect("it refused because it is set");
            end = &first.next;
        }
    }
}

impl fmt::Debug for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = std::iter::successors(self.0.get(), |link| link.next.0.get())
            .map(|link| link.protocol.name());
        f.debug_list().entries(names).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::protocol::frame::{Frames, Layout};

    fn protocols() -> Vec<Arc<dyn Protocol>> {
        let presets = ["comm", "rpc", "len32"];
        let frames = presets.map(|name| Frames::new(Layout::preset(name).expect("a preset")));
        frames.map(|frames| Arc::new(frames) as _).into()
    }

    #[test]
    fn the_last_one_counts_and_the_ones_before_stay() {
        let became = Became::nothing();
        assert!(became.last().is_none());
        let protocols = protocols();
        let mut borrowed = Vec::new();
        for protocol in &protocols {
            became.push(Arc::clone(protocol), None);
            let last = became.last().unwrap();
            assert!(Arc::ptr_eq(last, protocol));
            borrowed.push(last);
        }
        for (borrowed, protocol) in borrowed.iter().zip(&protocols) {
            assert!(Arc::ptr_eq(borrowed, protocol));
            assert_eq!(Arc::strong_count(protocol), 2);
        }
        drop(became);
        assert!(protocols.iter().all(|one| Arc::strong_count(one) == 1));
    }

    #[test]
    fn the_last_client_that_was_named_is_whose_it_is() {
        let (became, protocols) = (Became::nothing(), protocols());
        let client = "203.0.113.7".parse().ok();
        let mut seen = Vec::new();
        for (protocol, named) in protocols.iter().zip([None, client, None]) {
            became.push(Arc::clone(protocol), named);
            seen.push(became.client());
        }
        assert_eq!(seen, [None, client, client]);
    }

    #[test]
    fn whoever_looks_meanwhile_sees_them_in_their_order() {
        let (became, protocols) = (Became::nothing(), protocols());
        let place = |seen: Option<&Arc<dyn Protocol>>| {
            seen.map(|seen| protocols.iter().position(|one| Arc::ptr_eq(one, seen)))
        };
        thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut before = None;
                while before != Some(Some(protocols.len() - 1)) {
                    let now = place(became.last());
                    assert!(now >= before, "{now:?} behind {before:?}");
                    before = now;
                }
            });
            for protocol in &protocols {
                thread::yield_now();
                became.push(Arc::clone(protocol), None);
            }
            looks.join().unwrap();
        });
    }
}
