//! The clocks of a connection that changes its worker: read where it leaves,
//! written into its record, set where it arrives. On the reactors.
//!
//! All workers read the machine's clock, so a time means the same in each.

use crate::sys::sync::{AtomicU64, Ordering};
use crate::worker::connection::Connection;
use crate::worker::limits::flood::Meter;

/// Words of the clocks in a record.
pub(super) const WORDS: usize = 10;

/// The times by which the connection is judged; what each means is said where
/// it stands in the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct MovedClocks {
    heard: u64,
    beat: u64,
    spoken: u64,
    served: u64,
    thawed: u64,
    pinged: u64,
    started: u64,
    opened: u64,
    /// What the flood guard has seen.
    pub(super) meter: Meter,
}

impl MovedClocks {
    /// Those of `conn`, which nobody serves.
    pub(super) fn snapshot(conn: &Connection, meter: Meter) -> Self {
        let clocks = &conn.clocks;
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Self {
            heard: read(&conn.heard),
            beat: read(&clocks.beat),
            spoken: read(&clocks.spoken),
            served: read(&clocks.served),
            thawed: read(&clocks.thawed),
            pinged: read(&clocks.pinged),
            started: read(&clocks.started),
            opened: conn.opened,
            meter,
        }
    }

    /// Sets those of `conn`, of whose unfinished message `arrived` bytes are
    /// there. The meter is the reactor's, which takes it by itself.
    pub(super) fn restore(&self, conn: &mut Connection, arrived: usize) {
        let clocks = &conn.clocks;
        let set = |word: &AtomicU64, time| word.store(time, Ordering::Relaxed);
        set(&conn.heard, self.heard);
        set(&clocks.beat, self.beat);
        set(&clocks.spoken, self.spoken);
        set(&clocks.served, self.served);
        set(&clocks.thawed, self.thawed);
        set(&clocks.pinged, self.pinged);
        set(&clocks.started, self.started);
        clocks.arrived(arrived);
        conn.opened = self.opened;
    }

    /// Whether a message was seen to its end: the next bytes are not the first.
    pub(super) const fn has_begun(&self) -> bool {
        self.heard != 0
    }

    /// The order is that of the record.
    pub(super) const fn words(&self) -> [u64; WORDS] {
        let [at, used] = self.meter.words();
        [
            self.heard,
            self.beat,
            self.spoken,
            self.served,
            self.thawed,
            self.pinged,
            self.started,
            self.opened,
            at,
            used,
        ]
    }

    /// The clocks of which these are the words.
    pub(super) const fn of(words: [u64; WORDS]) -> Self {
        let [
            heard,
            beat,
            spoken,
            served,
            thawed,
            pinged,
            started,
            opened,
            at,
            used,
        ] = words;
        Self {
            heard,
            beat,
            spoken,
            served,
            thawed,
            pinged,
            started,
            opened,
            meter: Meter::of([at, used]),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_judged_by_the_same_times_in_its_new_worker() {
        let words = std::array::from_fn(|n| n as u64 + 1);
        let sent = MovedClocks::of(words);
        assert_eq!(sent.words(), words);
        let mut conn = Connection::vacant();
        sent.restore(&mut conn, 5);
        assert_eq!(MovedClocks::snapshot(&conn, sent.meter), sent);
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (heard, started) = (read(&conn.heard), read(&conn.clocks.started));
        assert_eq!((heard, started, conn.opened), (1, 7, 8));
        assert_eq!(conn.clocks.arrived.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn who_said_nothing_yet_has_not_begun() {
        assert!(!MovedClocks::default().has_begun());
        let heard = MovedClocks {
            heard: 1,
            ..MovedClocks::default()
        };
        assert!(heard.has_begun());
    }
}
