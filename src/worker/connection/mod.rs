//! One connection, as all threads of a worker share it.
//!
//! | part | who |
//! |---|---|
//! | `fd`, `id`, `accepted_from`, `protocol`, `origin`, `opened` | set by the reactor before anybody else can find the connection, cleared by the recycler when nobody can: read freely |
//! | `became` | grows by who holds the turn: read freely |
//! | `heard`, `clocks`, `queued`, `in_file`, `dead`, `counted`, `counts_requests`, `close_reason` | atomic words, anyone |
//! | `is_opened` | an atomic word: set by who holds the turn, or before anybody finds it |
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

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;

use crate::dispatch::CloseReason;
use crate::dispatch::service::{Named, Origin};
use crate::net::ConnId;
use crate::net::per_ip::Hash;
use crate::protocol::{CloseMode, Event, Protocol};
use crate::sys::clock::coarse_millis;
use crate::sys::socket::{self, Peer};
use crate::sys::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
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
    /// A reply that was put off, or that it does not come; a refusal; a task.
    Large(Box<Event>),
    /// A handler somewhere wants the connection closed.
    /// With a code, where its protocol has such.
    Close(CloseMode, Option<u16>),
    /// An operator wants it closed: what is to run in its turn first.
    Kicked(Box<dyn Any + Send>),
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
            event @ (Event::Reply(..) | Event::GiveUp(_) | Event::Refused(_) | Event::Run(_)) => {
                Self::Large(Box::new(event))
            }
        }
    }
}

impl Item {
    /// What it need not wait for. A refusal or a task stands behind the messages
    /// before it, as they do.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Self::Units(_) => Urgency::InOrder,
            Self::Large(event) if matches!(**event, Event::Reply(..) | Event::GiveUp(_)) => {
                Urgency::Reply
            }
            Self::Large(_) => Urgency::InOrder,
            Self::Opened
            | Self::Eof
            | Self::Draining
            | Self::GoAway
            | Self::Ping
            | Self::Timer(_)
            | Self::Writable
            | Self::Wake => Urgency::Event,
            Self::Close(..) | Self::Kicked(_) | Self::Ended => Urgency::Close,
        }
    }
}

/// See the module's table for who may touch what.
pub(crate) struct Connection {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) id: ConnId,
    pub(crate) accepted_from: Peer,
    /// What it was called where it was accepted, as a word; [`u64::MAX`]: here.
    name: u64,
    /// What it is counted under; 0: it is not.
    counted: AtomicU64,
    pub(crate) protocol: Option<Arc<dyn Protocol>>,
    /// What the peer turned out to speak, where `protocol` left that open.
    became: Became,
    pub(crate) origin: Origin,
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
    /// It is counted for the client of a request, not for its own.
    counts_requests: AtomicBool,
    /// `opened` has run to its end, or there is none: `closed` is owed to it.
    /// Those that are no sessions have neither.
    is_opened: AtomicBool,
    /// Why it ends, as a word of [`CloseReason`]; 0: nobody has said so yet.
    close_reason: AtomicU32,
    /// Other workers count it as a session.
    pub(crate) is_session: AtomicBool,
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
            accepted_from: Peer::Unix,
            name: u64::MAX,
            counted: AtomicU64::new(0),
            protocol: None,
            became: Became::nothing(),
            origin: Origin::default(),
            opened: 0,
            heard: AtomicU64::new(0),
            clocks: Clocks::new(),
            queued: AtomicUsize::new(0),
            in_file: AtomicBool::new(false),
            counts_requests: AtomicBool::new(false),
            is_opened: AtomicBool::new(false),
            close_reason: AtomicU32::new(0),
            is_session: AtomicBool::new(false),
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

    /// Speaks `protocol` from now on; it may have become something before. `client`:
    /// whose it is by that, if somebody else's.
    pub(crate) fn turn_into(&self, protocol: &Arc<dyn Protocol>, client: Option<IpAddr>) {
        self.became.push(Arc::clone(protocol), client);
        if client.is_some() {
            self.counts_requests.store(false, Ordering::Relaxed);
        }
    }

    /// The other end, or the client that it has become a proxy's word for; then the
    /// port is 0.
    pub(crate) fn peer(&self) -> Peer {
        let client = self.became.client();
        client.map_or(self.accepted_from, |client| {
            Peer::Tcp(SocketAddr::new(client, 0))
        })
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

    /// Whether it is counted under `address`.
    pub(crate) fn is_counted(&self, address: Hash) -> bool {
        self.counted.load(Ordering::Relaxed) == address.word()
    }

    /// A request is counted under `address`, until it is answered.
    pub(crate) fn count_request(&self, address: Hash) {
        self.counted.store(address.word(), Ordering::Relaxed);
        self.counts_requests.store(true, Ordering::Relaxed);
    }

    /// Whether a request is counted.
    pub(crate) fn counts_request(&self) -> bool {
        self.counts_requests.load(Ordering::Relaxed)
    }

    /// What its request was counted under, if one is. For its turns.
    pub(crate) fn uncount_request(&self) -> Option<Hash> {
        let counts = self.counts_request();
        counts.then(|| self.counts_requests.store(false, Ordering::Relaxed));
        counts.then(|| self.uncount()).flatten()
    }

    /// `opened` has run to its end, or there is none: `closed` will run.
    pub(crate) fn opened_it(&self) {
        self.is_opened.store(true, Ordering::Relaxed);
    }

    /// Whether `closed` is to run when it ends.
    pub(crate) fn is_opened(&self) -> bool {
        self.is_opened.load(Ordering::Relaxed)
    }

    /// It ends because of `reason`, unless there was one before: what comes
    /// behind the first is its consequence.
    pub(crate) fn ends_by(&self, reason: CloseReason) {
        let (none, relaxed) = (0, Ordering::Relaxed);
        let _first_stands =
            (self.close_reason).compare_exchange(none, reason.word(), relaxed, relaxed);
    }

    /// Why it ended.
    pub(crate) fn close_reason(&self) -> CloseReason {
        let word = self.close_reason.load(Ordering::Relaxed);
        CloseReason::from_word(word).unwrap_or(CloseReason::ServerError)
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

    /// Whether the server owes this peer something, so that it is the peer who
    /// waits. The one notion of it in the worker: heartbeat, idle and first message
    /// stand still meanwhile, a drain does not count it as silent, no other worker
    /// is asked to take it (but where all that is owed is unsent), and it makes room
    /// for nobody.
    ///
    /// | situation | owed |
    /// |---|---|
    /// | nothing of it waits or runs, and it is read | no |
    /// | the start of a message is there | no: the rest is the peer's to send |
    /// | a message, `opened` or a timer is queued, or its handler runs | yes |
    /// | a reply was put off; the next message waits (`comm`, HTTP) | yes, for `reply_max` |
    /// | a reply was put off; messages go on (`rpc`) | yes, for `reply_max` |
    /// | a stream's source has nothing now | yes |
    /// | unsent bytes below `outbound_high` | no: they are the peer's to take |
    /// | unsent bytes above it, a file, more of a stream | yes, for `send_stall` |
    /// | it is not read: too much waits, or the flood guard delays it | yes |
    /// | any of these, and the peer has sent its end-of-file | yes; see `limits::timeouts` |
    ///
    /// What a peer does not take is the peer's own affair: `send_stall` and
    /// `make_room` judge it, owed or not.
    pub(crate) fn is_busy(&self) -> bool {
        self.clocks.replies.load(Ordering::Relaxed) > 0
            || self.clocks.delayed.load(Ordering::Relaxed)
            || self.mailbox.is_busy()
    }

    /// When its last whole message came, or when it was accepted.
    pub(crate) fn last_heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed).max(self.opened)
    }

    /// From now on every holder drops what it wanted to write.
    pub(crate) fn bury(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Its slot, and what everybody calls it.
    pub(crate) fn named(&self) -> Named {
        let conn = self.id;
        let name = match self.name {
            u64::MAX => conn,
            name => ConnId::from_word(name),
        };
        Named { conn, name }
    }

    /// It came from another worker, where it was called so.
    pub(crate) const fn keep_name(&mut self, name: ConnId) {
        self.name = name.word();
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

    /// Takes note of what the peer has taken of what was sent to it, `sent` bytes
    /// of it just now; gives until when it did so at `rate`. 0: nothing waits.
    pub(crate) fn drained(&self, sent: usize, rate: usize) -> u64 {
        let held = socket::unacknowledged(self.socket());
        self.clocks.drained(sent, held, rate, coarse_millis());
        self.clocks.progress.load(Ordering::Relaxed)
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
        self.counts_requests.store(false, Ordering::Relaxed);
        self.is_opened.store(false, Ordering::Relaxed);
        self.close_reason.store(0, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
        self.is_session.store(false, Ordering::Relaxed);
        self.name = u64::MAX;
        self.peer_done.store(false, Ordering::Relaxed);
        self.mailbox.reset();
        self.inbox = Inbox::new();
        self.outbound = Mutex::new(Outbound::default());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} of {})", self.id, self.peer())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Refusal};
    use crate::scoreboard::Counter;

    #[test]
    fn a_connection_is_busy_while_the_server_owes_it_something() {
        type Does = fn(&Connection);
        let post = |conn: &Connection| {
            let item = Item::Units(Bytes::from_static(b"abc"));
            let _waits = conn.mailbox.post_units(item, 3, 100);
        };
        let wait = |conn: &Connection, wait| {
            assert!(conn.mailbox.begin_inline());
            let nothing = items::Items::default();
            let _awaited = conn.mailbox.wait(wait, 0, 100, nothing, Item::urgency);
        };
        #[rustfmt::skip]
        let cases: [(&str, Does, bool); 10] = [
            ("nothing waits", |_| {}, false),
            ("a message has begun", |conn| conn.clocks.started.store(1, Ordering::Relaxed), false),
            ("bytes are unsent", |conn| conn.queued.store(9, Ordering::Relaxed), false),
            ("it has finished", |conn| conn.clocks.finished.store(1, Ordering::Relaxed), false),
            ("a handler runs", |conn| assert!(conn.mailbox.begin_inline()), true),
            ("a reply is owed, others go on", |conn| conn.clocks.replies.store(1, Ordering::Relaxed), true),
            ("it is delayed", |conn| conn.clocks.delayed.store(true, Ordering::Relaxed), true),
            ("a message waits", |_| {}, true),
            ("a reply is owed, others wait", |_| {}, true),
            ("a stream waits", |_| {}, true),
        ];
        for (name, does, expected) in cases {
            let conn = Connection::vacant();
            does(&conn);
            match name {
                "a message waits" => post(&conn),
                "a reply is owed, others wait" => wait(&conn, mailbox::Wait::Reply),
                "a stream waits" => wait(&conn, mailbox::Wait::Event),
                _ => {}
            }
            assert_eq!(conn.is_busy(), expected, "{name}");
        }
    }

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
            (Item::from(Event::Run(Box::new(()))), Urgency::InOrder),
            (Item::from(Event::Eof), Urgency::Event),
            (Item::from(Event::Wake), Urgency::Event),
            (Item::from(Event::Reply(1, Answer::None)), Urgency::Reply),
            (Item::Close(CloseMode::Flush, None), Urgency::Close),
            (Item::Kicked(Box::new(())), Urgency::Close),
            (Item::Ended, Urgency::Close),
        ] {
            assert_eq!(item.urgency(), urgency);
        }
    }
}
