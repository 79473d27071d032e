//! One connection, as all threads of a worker share it.
//!
//! | part | who |
//! |---|---|
//! | `fd`, `id`, `peer`, `protocol`, `unknown_id`, `opened` | set by the reactor before anybody else can find the connection, cleared by the recycler when nobody can: read freely |
//! | `became` | grows by the reactor, which holds the turn then: read freely |
//! | `heard`, `clocks`, `queued`, `in_file`, `dead`, `counted` | atomic words, anyone |
//! | `mailbox` | a leaf lock, never held over a system call |
//! | `turn` | locked only by who moved the mailbox to `Running`: never contended |
//! | `outbound` | may be locked under `turn`; held over its own write; the reactor only tries |

mod became;
pub(super) mod clocks;
pub(super) mod free_lists;
pub(super) mod inbox;
pub(super) mod items;
pub(super) mod mailbox;
pub(super) mod outbound;
pub(super) mod parts;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;

use crate::dispatch::service::UnknownId;
use crate::net::ConnId;
use crate::net::per_ip::Hash;
use crate::protocol::{CloseMode, Event, Protocol};
use crate::sys::clock::coarse_millis;
use crate::sys::socket::{self, Peer};
use crate::sys::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use became::Became;
use clocks::Clocks;
use inbox::Inbox;
use mailbox::{Mailbox, Urgency};
use outbound::Outbound;
use parts::Parts;

/// What waits in a mailbox. What every connection has is stored in place, so
/// that opening and ending one allocates nothing; rare and large events are
/// not.
pub(crate) enum Item {
    /// Whole messages.
    Units(Bytes),
    Opened,
    Eof,
    Draining,
    GoAway,
    Ping,
    Timer(u64),
    /// Goes before everything when enough is sent.
    Writable,
    Wake,
    /// A reply that was put off, or a refusal.
    Large(Box<Event>),
    /// A handler somewhere wants the connection closed.
    Close(CloseMode),
    /// The connection is over; the last item.
    Ended,
}

impl From<Event> for Item {
    fn from(event: Event) -> Self {
        match event {
            Event::Opened => Self::Opened,
            Event::Eof => Self::Eof,
            Event::Draining => Self::Draining,
            Event::GoAway => Self::GoAway,
            Event::Ping => Self::Ping,
            Event::Timer(token) => Self::Timer(token),
            Event::Writable => Self::Writable,
            Event::Wake => Self::Wake,
            event @ (Event::Reply(..) | Event::Refused(_)) => Self::Large(Box::new(event)),
        }
    }
}

impl Item {
    /// What it need not wait for. A refusal stands behind the messages before
    /// it, as they do.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Self::Units(_) => Urgency::InOrder,
            Self::Large(event) if matches!(**event, Event::Reply(..)) => Urgency::Reply,
            Self::Large(_) => Urgency::InOrder,
            Self::Opened
            | Self::Eof
            | Self::Draining
            | Self::GoAway
            | Self::Ping
            | Self::Timer(_)
            | Self::Writable
            | Self::Wake => Urgency::Event,
            Self::Close(_) | Self::Ended => Urgency::Close,
        }
    }
}

/// See the module's table for who may touch what.
pub(crate) struct Connection {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) id: ConnId,
    pub(crate) peer: Peer,
    /// What it is counted under; 0: it is not.
    counted: AtomicU64,
    pub(crate) protocol: Option<Arc<dyn Protocol>>,
    /// What the peer turned out to speak, where `protocol` left that open.
    became: Became,
    pub(crate) unknown_id: UnknownId,
    /// When it was accepted, in milliseconds of the coarse clock.
    pub(crate) opened: u64,
    /// When the peer's last whole message arrived; 0: none yet.
    pub(crate) heard: AtomicU64,
    pub(crate) clocks: Clocks,
    /// Bytes that wait to be sent, those of the inbox included: counted before they
    /// are put, so that at 0 nothing waits.
    pub(crate) queued: AtomicUsize,
    /// A file is among what waits to be sent; its bytes are not in `queued`,
    /// because they are not in memory. Changed under the lock of `outbound`.
    pub(crate) in_file: AtomicBool,
    /// The reactor has decided: nothing may be written any more.
    dead: AtomicBool,
    /// The peer has sent its last byte: closing needs no lingering.
    pub(crate) peer_done: AtomicBool,
    pub(crate) mailbox: Mailbox<Item>,
    pub(crate) inbox: Inbox,
    /// What must be remembered between two turns, if anything must.
    pub(crate) turn: Mutex<Option<Box<Parts>>>,
    pub(crate) outbound: Mutex<Outbound>,
}

impl Connection {
    /// A connection for a slot nobody lives in.
    pub(crate) fn vacant() -> Self {
        Self {
            fd: None,
            id: ConnId::first(0, 0, 0),
            peer: Peer::Unix,
            counted: AtomicU64::new(0),
            protocol: None,
            became: Became::nothing(),
            unknown_id: UnknownId::default(),
            opened: 0,
            heard: AtomicU64::new(0),
            clocks: Clocks::new(),
            queued: AtomicUsize::new(0),
            in_file: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            peer_done: AtomicBool::new(false),
            mailbox: Mailbox::new(),
            inbox: Inbox::new(),
            turn: Mutex::new(None),
            outbound: Mutex::new(Outbound::default()),
        }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("a connection that can be found has its socket")
            .as_fd()
    }

    /// What the peer speaks.
    pub(crate) fn protocol(&self) -> &Arc<dyn Protocol> {
        self.became
            .last()
            .or(self.protocol.as_ref())
            .expect("a connection that can be found speaks something")
    }

    /// Speaks `protocol` from now on; it may have become something before.
    pub(crate) fn turn_into(&self, protocol: &Arc<dyn Protocol>) {
        self.became.push(Arc::clone(protocol));
    }

    /// Is counted under `address` from now on.
    pub(crate) fn count(&mut self, address: Option<Hash>) {
        self.counted
            .store(address.map_or(0, Hash::word), Ordering::Relaxed);
    }

    /// What it was counted under, for the first who asks: the count is his to
    /// take back.
    pub(crate) fn uncount(&self) -> Option<Hash> {
        let word = self.counted.swap(0, Ordering::Relaxed);
        (word != 0).then(|| Hash::from_word(word))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// So many messages more are left to business threads.
    pub(crate) fn owe(&self, messages: usize) {
        if let Ok(count @ 1..) = u32::try_from(messages) {
            self.clocks.unserved.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A business thread has served so many messages.
    pub(crate) fn served(&self, messages: usize) {
        if let Ok(count @ 1..) = u32::try_from(messages) {
            self.clocks.unserved.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Messages that nobody has served. For whoever knows that no message
    /// comes any more: before that it may be below 0, see [`Clocks::unserved`].
    pub(crate) fn owed(&self) -> u32 {
        self.clocks.unserved.load(Ordering::Relaxed)
    }

    /// Nothing more will be served.
    pub(crate) fn served_all(&self) {
        self.clocks.unserved.store(0, Ordering::Relaxed);
    }

    /// When its last whole message came, or when it was accepted.
    pub(crate) fn last_heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed).max(self.opened)
    }

    /// From now on every holder drops what it wanted to write.
    pub(crate) fn bury(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    /// Whether a file is on its way. Nothing is read or served behind it.
    pub(crate) fn is_in_file(&self) -> bool {
        self.in_file.load(Ordering::SeqCst)
    }

    /// Whether too much waits to be sent: more than `mark` bytes, or a file.
    pub(crate) fn is_full(&self, mark: usize) -> bool {
        self.unsent() > mark || self.is_in_file()
    }

    /// Whether the peer has taken nothing of what the kernel holds for it. If
    /// it has, that is noted.
    pub(crate) fn is_stuck(&self) -> bool {
        let held = socket::unacknowledged(self.socket());
        let drained = self.clocks.has_drained(held);
        if drained {
            self.clocks.progressed(coarse_millis(), held);
        }
        !drained
    }

    /// Forgets everything.
    pub(crate) fn clean(&mut self) {
        self.fd = None;
        self.protocol = None;
        self.became = Became::nothing();
        self.heard.store(0, Ordering::Relaxed);
        self.clocks = Clocks::new();
        self.queued.store(0, Ordering::Relaxed);
        self.in_file.store(false, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
        self.peer_done.store(false, Ordering::Relaxed);
        self.mailbox.reset();
        self.inbox = Inbox::new();
        self.outbound = Mutex::new(Outbound::default());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} of {})", self.id, self.peer)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Refusal};
    use crate::scoreboard::Counter;

    #[test]
    fn a_reply_overtakes_messages_and_a_refusal_does_not() {
        let refusal = Refusal {
            counter: Counter::Truncated,
            detail: String::new(),
            answer: b"",
            about: Vec::new(),
        };
        for (item, urgency) in [
            (Item::Units(Bytes::new()), Urgency::InOrder),
            (Item::from(Event::Refused(refusal)), Urgency::InOrder),
            (Item::from(Event::Eof), Urgency::Event),
            (Item::from(Event::Wake), Urgency::Event),
            (Item::from(Event::Reply(1, Answer::None)), Urgency::Reply),
            (Item::Close(CloseMode::Flush), Urgency::Close),
            (Item::Ended, Urgency::Close),
        ] {
            assert_eq!(item.urgency(), urgency);
        }
    }
}
