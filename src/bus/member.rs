//! A worker's place on the bus.

use std::cell::Cell;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use super::interest::Names;
use super::message::{Message, Outgoing};
use super::publisher::{Published, Publisher, wanted};
use super::reader::{Read, Reader, Seen};
use super::shape::Of;
use super::shared::{Bus, Rows};
use super::{Interest, Kind, Origin};
use crate::scoreboard::{Counter, Row};
use crate::sys::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock};

/// How long readers may read nothing before nobody waits for them any more.
const STILL: Duration = Duration::from_millis(50);

/// A worker's place on the bus, for all of its threads.
///
/// Locks, in the order in which they are taken: the gate, the reader, the layer
/// above, names, publisher.
pub struct Member {
    bus: Bus,
    row: usize,
    epoch: u16,
    counted: Row,
    /// Held by whoever says something, here and there; taken by whoever lets a
    /// connection go, so that nothing is half said then.
    gate: RwLock<()>,
    reader: Mutex<Reader>,
    names: Mutex<Names>,
    publisher: Mutex<Publisher>,
    /// Bytes in the backlogs, as the publisher has them.
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Nothing was read of what waits for a while.
    stands_still: AtomicBool,
    ends: AtomicBool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// To how many connections of other workers it is on its way, by their tables.
    pub reached: usize,
    /// Its name; its sequence is 0 where no other worker wanted it.
    pub origin: Origin,
}

/// How many there are elsewhere.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Elsewhere {
    /// As far as the tables know.
    pub count: u64,
    /// Whether they know all of them.
    pub is_exact: bool,
}

/// A worker, among all that the server has had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Worker {
    /// Its row.
    pub row: u8,
    /// Which worker of that row.
    pub epoch: u16,
}

/// In 25 bits, and never 0.
const fn life_word(row: usize, epoch: u16) -> u64 {
    1 << 24 | (row as u64) << 16 | epoch as u64
}

thread_local! {
    /// Whether this thread says something already.
    static SAYS: Cell<bool> = const { Cell::new(false) };

    /// Whom this thread is to wake when its turn is over; `None`: it has no turns, and
    /// wakes at once.
    static DEFERRED: Cell<Option<Rows>> = const { Cell::new(None) };
}

struct Unsay;

impl Drop for Unsay {
    fn drop(&mut self) {
        SAYS.set(false);
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member(row {})", self.row)
    }
}

impl Member {
    /// The worker of `row` comes onto the bus, in the place of a dead one, which
    /// was buried. `backlog` bytes may wait for readers that are slow.
    #[must_use]
    pub fn new(bus: &Bus, row: u8, epoch: u16, counted: Row, backlog: usize) -> Self {
        let row = usize::from(row);
        bus.clear(row);
        let reader = Reader::new(bus, row);
        let publisher = Publisher::new(bus, row, epoch, backlog);
        bus.bear(row, epoch);
        Self {
            bus: bus.clone(),
            row,
            epoch,
            counted,
            gate: RwLock::new(()),
            reader: Mutex::new(reader),
            names: Mutex::new(Names::default()),
            publisher: Mutex::new(publisher),
            waiting: AtomicUsize::new(0),
            waiting_max: backlog,
            stands_still: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        }
    }

    /// A connection is reached under this name from now on. Messages of who hears
    /// of that afterwards reach it. The name is a connection's, a user's or a
    /// room's.
    pub fn enter(&self, name: Interest<'_>) {
        self.change(name, Names::enter);
    }

    /// A connection is reached under this name no more.
    pub fn leave(&self, name: Interest<'_>) {
        self.change(name, Names::leave);
    }

    fn change(&self, name: Interest<'_>, change: fn(&mut Names, super::interest::Table<'_>, u64)) {
        let Some(hash) = name.hash(self.bus.key()) else {
            return;
        };
        let mut names = lock(&self.names);
        change(&mut names, self.bus.table(self.row), hash);
        let overflowed = self.bus.of(self.row, Of::Overflowed);
        overflowed.store(names.overflowed(), Ordering::Release);
        crate::sys::sync::fence(Ordering::SeqCst);
    }

    /// One session more.
    pub fn session_came(&self) {
        let everybody = self.bus.of(self.row, Of::Everybody);
        everybody.fetch_add(1, Ordering::SeqCst);
    }

    /// One session less.
    pub fn session_went(&self) {
        let everybody = self.bus.of(self.row, Of::Everybody);
        everybody.fetch_sub(1, Ordering::SeqCst);
    }

    /// A number that rises with each that any worker draws.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.bus.ticket()
    }

    /// A connection comes with a ticket that was drawn before: by workers of another
    /// program, perhaps, which counted by themselves.
    pub fn has_ticket(&self, ticket: u64) {
        self.bus.has_ticket(ticket);
    }

    /// Bytes of a message that finds room for a reader who keeps up, however small the
    /// rings are.
    #[must_use]
    pub const fn spare(&self) -> usize {
        self.waiting_max / 2
    }

    pub(super) const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Row and epoch of this worker.
    pub(super) fn life_word(&self) -> u64 {
        life_word(self.row, self.epoch)
    }

    /// Whether the worker lives that a word is of.
    pub(super) fn lives(&self, word: u64) -> bool {
        let row = usize::try_from(word >> 16 & 0xFF).unwrap_or(usize::MAX);
        row < self.bus.rows() && self.bus.life(row) == (word & 0xFFFF) + 1
    }

    /// All other workers that live now.
    #[must_use]
    pub fn others_now(&self) -> Vec<Worker> {
        let worker = |row: usize| {
            let epoch = self.bus.life(row).checked_sub(1)?;
            Some(Worker {
                row: u8::try_from(row).ok()?,
                epoch: u16::try_from(epoch).ok()?,
            })
        };
        self.others().filter_map(worker).collect()
    }

    /// Whether it lives still.
    #[must_use]
    pub fn is_alive(&self, worker: Worker) -> bool {
        self.lives(life_word(worker.row.into(), worker.epoch))
    }

    /// Changes whenever a connection enters a worker that another one is about to let
    /// go.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.bus.moves().load(Ordering::SeqCst)
    }

    /// A connection has entered here that another worker is about to let go.
    pub fn moved(&self) {
        self.bus.moved();
    }

    /// Whether no other worker lives.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.others().is_empty()
    }

    fn others(&self) -> Rows {
        let mut own = Rows::default();
        own.add(self.row);
        self.bus.living().without(own)
    }

    /// How many there are under a name in all other workers.
    #[must_use]
    pub fn elsewhere(&self, name: Interest<'_>) -> Elsewhere {
        let hash = name.hash(self.bus.key());
        let others = self.others();
        let mut elsewhere = Elsewhere {
            count: 0,
            is_exact: true,
        };
        for row in others {
            // A broken neighbour says any number.
            let there = wanted(&self.bus, row, name, hash).unwrap_or(0);
            elsewhere.count = elsewhere.count.saturating_add(there);
            elsewhere.is_exact &=
                hash.is_none() || self.bus.of(row, Of::Overflowed).load(Ordering::Acquire) == 0;
        }
        elsewhere
    }

    /// Runs `say`, during which no connection leaves this worker for another one:
    /// what it says here and there reaches each connection once.
    pub fn saying<R>(&self, say: impl FnOnce() -> R) -> R {
        if SAYS.replace(true) {
            return say();
        }
        let _unsay = Unsay;
        let _gate = self.gate.read().expect("nothing under this lock panics");
        say()
    }

    /// Says something to the others. Never waits for them. Within [`Self::saying`].
    pub fn publish(&self, out: &Outgoing<'_>) -> Sent {
        if self.is_alone() {
            return Sent::default();
        }
        let mut publisher = lock(&self.publisher);
        let published = publisher.publish(&self.bus, out);
        self.note_waiting(&publisher);
        drop(publisher);
        self.after(&published);
        Sent {
            reached: usize::try_from(published.reached).unwrap_or(usize::MAX),
            origin: Origin {
                row: u8::try_from(self.row).unwrap_or(u8::MAX),
                epoch: self.epoch,
                sequence: published.sequence,
            },
        }
    }

    fn after(&self, published: &Published) {
        self.counted
            .add(Counter::BusPublished, u64::from(published.sequence > 0));
        if published.lost > 0 {
            self.counted.add(Counter::BusLost, published.lost);
        }
        self.wake(published.written);
    }

    fn wake(&self, rows: Rows) {
        if let Some(before) = DEFERRED.get() {
            return DEFERRED.set(Some(before.with(rows)));
        }
        self.wake_now(rows);
    }

    /// The calling thread says many things in each turn of `run`, and then calls
    /// [`Self::turn_over`]: nobody is woken for each.
    pub fn with_turns<R>(&self, run: impl FnOnce() -> R) -> R {
        DEFERRED.set(Some(Rows::default()));
        let ran = run();
        self.turn_over();
        DEFERRED.set(None);
        ran
    }

    /// Wakes whom something was said to in this turn.
    pub fn turn_over(&self) {
        let rows = DEFERRED.get().unwrap_or_default();
        if !rows.is_empty() {
            DEFERRED.set(Some(Rows::default()));
            self.wake_now(rows);
        }
    }

    fn wake_now(&self, rows: Rows) {
        let woken = rows.filter(|row| self.bus.wake(*row)).count();
        if woken > 0 {
            self.counted.add(Counter::BusWoken, woken as u64);
        }
    }

    fn note_waiting(&self, publisher: &Publisher) {
        let now = publisher.waiting();
        let before = self.waiting.swap(now, Ordering::Relaxed);
        if now > before {
            self.counted.add(Counter::BusBacklog, (now - before) as u64);
        } else if now < before {
            let less = (before - now) as u64;
            self.counted.subtract(Counter::BusBacklog, less);
        }
    }

    fn is_strained(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.waiting_max / 2
    }

    /// Holds a thread that may publish back while more than half of the backlog
    /// waits for readers that catch up. Readers that stand still hold nobody up: all
    /// threads together wait for them once, 50 ms.
    pub fn let_catch_up(&self) {
        let mut since = Instant::now();
        let mut before = self.waiting.load(Ordering::Relaxed);
        while self.is_strained()
            && !self.stands_still.load(Ordering::Relaxed)
            && !self.ends.load(Ordering::Relaxed)
        {
            std::thread::sleep(Duration::from_millis(1));
            let now = self.waiting.load(Ordering::Relaxed);
            if now < before {
                since = Instant::now();
            } else if since.elapsed() >= STILL {
                self.stands_still.store(true, Ordering::Relaxed);
            }
            before = now;
        }
    }

    /// Gives `deliver` what others say, until [`Self::end`], and calls `heard` behind
    /// some of it, without any lock. The loop of the `bus` thread.
    pub fn run(&self, deliver: &mut dyn FnMut(Message), heard: &dyn Fn()) {
        while !self.ends.load(Ordering::SeqCst) {
            let has_read = self.read_some(deliver);
            heard();
            if has_read || self.flush() {
                continue;
            }
            // Of many messages in a row one wakes, and the others find it awake.
            std::thread::yield_now();
            if self.has_work() {
                continue;
            }
            let sleep = self.bus.sleep(self.row);
            sleep.announce();
            if !self.has_work() {
                self.bus.wait(self.row);
            }
            sleep.stay();
        }
    }

    /// Room for what waits counts as well: the reader that made it may have rung
    /// before this one slept.
    fn has_work(&self) -> bool {
        self.ends.load(Ordering::SeqCst) || lock(&self.reader).is_behind(&self.bus) || self.flush()
    }

    /// Gives `deliver` what there is, and writes what waits; whether there was any. For
    /// who has no thread that [runs](Self::run).
    pub fn read_now(&self, deliver: &mut dyn FnMut(Message)) -> bool {
        let has_read = self.read_some(deliver);
        self.flush() || has_read
    }

    fn read_some(&self, deliver: &mut dyn FnMut(Message)) -> bool {
        let seen = lock(&self.reader).read(&self.bus, &mut |message| self.hand(message, deliver));
        self.count(seen);
        seen.pieces > 0 || seen.broken > 0
    }

    fn hand(&self, message: Message, deliver: &mut dyn FnMut(Message)) {
        if message.kind == Kind::Gap {
            self.counted.count(Counter::BusGaps);
        }
        deliver(message);
    }

    fn count(&self, seen: Seen) {
        self.counted.set(Counter::BusLag, seen.waited * 8);
        if seen.messages > 0 {
            self.counted.add(Counter::BusDelivered, seen.messages);
        }
        if seen.broken > 0 {
            self.counted.add(Counter::BusBroken, seen.broken);
            ::log::error!(
                "read the bus: {} rings hold what no worker writes; given up to where they are",
                seen.broken
            );
        }
    }

    /// Writes what waits for room; whether anything was written.
    fn flush(&self) -> bool {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut publisher = lock(&self.publisher);
        let written = publisher.flush_all(&self.bus);
        self.note_waiting(&publisher);
        drop(publisher);
        if !written.is_empty() {
            self.stands_still.store(false, Ordering::Relaxed);
        }
        self.wake(written);
        !written.is_empty()
    }

    /// Has [`Self::run`] return.
    pub fn end(&self) {
        self.ends.store(true, Ordering::SeqCst);
        self.bus.wake(self.row);
    }

    /// Runs `let_go`, before which everything was delivered that was said to
    /// connections of this worker, and during which nothing more is; it gets how
    /// far every worker was read, this one included.
    pub fn letting_go<R>(
        &self,
        deliver: &mut dyn FnMut(Message),
        let_go: impl FnOnce(&[Read]) -> R,
    ) -> R {
        // What is dropped meanwhile may be the program's, and say something.
        let says = SAYS.replace(true);
        let _unsay = (!says).then_some(Unsay);
        let _gate = self.gate.write().expect("nothing under this lock panics");
        let mut reader = lock(&self.reader);
        let seen = reader.read_all(&self.bus, &mut |message| self.hand(message, deliver));
        self.count(seen);
        let mut read: Vec<Read> = reader.read_up_to().collect();
        let sequence = lock(&self.publisher).sequence();
        if let Ok(row) = u8::try_from(self.row) {
            let epoch = self.epoch;
            read.push(Read {
                row,
                epoch,
                sequence,
            });
        }
        let_go(&read)
    }

    /// Connections come here from a worker that has said no more than is before this
    /// mark: what they say here is heard behind that, by everybody. `deliver` gets
    /// what is heard here. Then `enter` has them, during which nothing is said.
    pub fn taking_over<R>(
        &self,
        from: Option<Read>,
        deliver: &mut dyn FnMut(Message),
        enter: impl FnOnce() -> R,
    ) -> R {
        let says = SAYS.replace(true);
        let _unsay = (!says).then_some(Unsay);
        let _gate = self.gate.write().expect("nothing under this lock panics");
        let mut reader = lock(&self.reader);
        let seen = reader.read_all(&self.bus, &mut |message| self.hand(message, deliver));
        drop(reader);
        self.count(seen);
        if let Some(from) = from {
            let _heard_by_all = self.publish(&Outgoing {
                kind: Kind::Behind,
                to: Interest::Workers,
                topic: "",
                except: None,
                id: 0,
                form: 0,
                body: &from.bytes(),
            });
        }
        enter()
    }

    /// Whether nothing up to these marks can come here any more.
    #[must_use]
    pub fn is_past(&self, marks: &[Read]) -> bool {
        let reader = lock(&self.reader);
        marks.iter().all(|mark| reader.is_past(&self.bus, *mark))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::{Deed, Shape, Whom};
    use super::*;
    use crate::net::ConnId;
    use crate::scoreboard::Scoreboard;

    const SHAPE: Shape = Shape {
        rows: 4,
        ring: 1 << 11,
        names: 64,
    };

    const BACKLOG: usize = 64 * 1024;

    struct Host {
        bus: Bus,
        board: Scoreboard,
    }

    impl Host {
        fn new() -> Self {
            Self {
                bus: Bus::new(SHAPE).expect("memory"),
                board: Scoreboard::new(4).expect("memory"),
            }
        }

        fn member(&self, row: u8, epoch: u16) -> Member {
            let counted = self.board.row(usize::from(row));
            Member::new(&self.bus, row, epoch, counted, BACKLOG)
        }

        fn read(&self, row: usize, counter: Counter) -> u64 {
            self.board.row(row).read(counter)
        }
    }

    fn push<'a>(to: Interest<'a>, body: &'a [u8]) -> Outgoing<'a> {
        let whom = match to {
            Interest::Conn(_) => Whom::Conn,
            Interest::User(_) => Whom::User,
            Interest::Room(_) => Whom::Room,
            Interest::Everybody | Interest::Workers | Interest::Row(_) | Interest::Accepted(..) => {
                Whom::All
            }
        };
        Outgoing {
            kind: Kind::Do(Deed::Send, whom),
            to,
            topic: "",
            except: None,
            id: 1,
            form: 0,
            body,
        }
    }

    /// Everything that there is for this member.
    fn heard(member: &Member) -> Vec<(Kind, Vec<u8>)> {
        let mut heard = Vec::new();
        while member.read_some(&mut |message| heard.push((message.kind, message.body.to_vec()))) {}
        heard
    }

    fn bodies(member: &Member) -> Vec<Vec<u8>> {
        heard(member).into_iter().map(|(_, body)| body).collect()
    }

    const ROOM: Interest<'_> = Interest::Room("a");

    #[test]
    fn who_is_interested_hears_it_and_nobody_else() {
        let host = Host::new();
        let [one, two, three] = [0, 1, 2].map(|row| host.member(row, 7));
        assert_eq!(one.publish(&push(ROOM, b"nobody")).origin.sequence, 0);
        two.enter(ROOM);
        two.enter(ROOM);
        let sent = one.publish(&push(ROOM, b"x"));
        assert_eq!((sent.reached, sent.origin.sequence), (2, 1));
        assert_eq!(
            one.elsewhere(ROOM),
            Elsewhere {
                count: 2,
                is_exact: true
            }
        );
        assert_eq!(
            (bodies(&two), bodies(&three)),
            (vec![b"x".to_vec()], vec![])
        );
        two.leave(ROOM);
        two.leave(ROOM);
        assert_eq!(one.publish(&push(ROOM, b"left")).origin.sequence, 0);
        two.session_came();
        assert_eq!(one.publish(&push(Interest::Everybody, b"all")).reached, 1);
        assert_eq!(
            one.publish(&push(Interest::Workers, b"tell"))
                .origin
                .sequence,
            3
        );
        assert_eq!(bodies(&two), [b"all".to_vec(), b"tell".to_vec()]);
        assert_eq!(bodies(&three), [b"tell".to_vec()]);
    }

    #[test]
    fn a_connection_is_found_by_its_name_where_it_is_and_where_it_moved() {
        let host = Host::new();
        let [one, two, three] = [0, 1, 2].map(|row| host.member(row, 7));
        let conn = Interest::Conn(ConnId::first(1, 7, 3));
        assert_eq!(one.publish(&push(conn, b"there")).reached, 1);
        let older = Interest::Conn(ConnId::first(1, 6, 3));
        assert_eq!(one.publish(&push(older, b"dead")).origin.sequence, 0);
        three.enter(older);
        assert_eq!(one.publish(&push(older, b"moved")).reached, 1);
        assert_eq!(
            (bodies(&two), bodies(&three)),
            (vec![b"there".to_vec()], vec![b"moved".to_vec()])
        );
    }

    #[test]
    fn a_message_longer_than_the_ring_comes_whole() {
        let host = Host::new();
        let (one, two) = (host.member(0, 0), host.member(1, 0));
        two.enter(ROOM);
        let long: Vec<u8> = (0..60_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(one.publish(&push(ROOM, &long)).reached, 1);
        assert!(host.read(0, Counter::BusBacklog) > 0);
        assert!(bodies(&two).is_empty(), "it is not whole yet");
        while one.flush() {
            for body in bodies(&two) {
                assert_eq!(body, long);
            }
        }
        assert_eq!(host.read(1, Counter::BusDelivered), 1);
        assert_eq!(host.read(0, Counter::BusBacklog), 0);
    }

    #[test]
    fn what_a_stopped_reader_misses_is_counted_and_announced_where_it_is_missing() {
        let host = Host::new();
        let (one, two) = (host.member(0, 0), host.member(1, 0));
        two.enter(ROOM);
        let mut reached = 0;
        for n in 0..1000_u64 {
            let mut body = vec![0; 200];
            body[..8].copy_from_slice(&n.to_le_bytes());
            reached += one.publish(&push(ROOM, &body)).reached;
        }
        let lost = host.read(0, Counter::BusLost);
        assert!(lost > 0 && one.is_strained());
        assert_eq!(reached as u64 + lost, 1000);
        // It stands still: who says more waits for it once.
        let began = Instant::now();
        (0..100).for_each(|_| one.let_catch_up());
        assert!(began.elapsed() < 20 * STILL, "each waits for it");
        let mut all = heard(&two);
        while one.flush() {
            all.extend(heard(&two));
        }
        assert!(!one.is_strained());
        assert!(!one.stands_still.load(Ordering::Relaxed), "it goes on");
        let number = |body: &[u8]| u64::from_le_bytes(*body.first_chunk().unwrap());
        let kept: Vec<u64> = all
            .iter()
            .filter(|(kind, _)| *kind != Kind::Gap)
            .map(|(_, body)| number(body))
            .collect();
        assert_eq!(kept, (0..reached as u64).collect::<Vec<_>>());
        assert_eq!(all.last().unwrap().0, Kind::Gap, "behind what came");
        assert_eq!(host.read(1, Counter::BusGaps), 1);
        one.publish(&push(ROOM, &9999_u64.to_le_bytes()));
        assert_eq!(number(&bodies(&two)[0]), 9999);
    }

    #[test]
    fn the_next_worker_of_a_row_hears_nothing_that_was_for_the_one_before() {
        let host = Host::new();
        let one = host.member(0, 0);
        {
            let two = host.member(1, 0);
            two.enter(ROOM);
            for _ in 0..200 {
                one.publish(&push(ROOM, &[0; 200]));
            }
            assert!(host.read(0, Counter::BusBacklog) > 0);
        }
        host.bus.bury(1);
        assert!(one.is_alone());
        assert_eq!(one.elsewhere(ROOM).count, 0);
        let two = host.member(1, 1);
        assert_eq!(one.elsewhere(ROOM).count, 0);
        two.enter(ROOM);
        one.publish(&push(ROOM, b"new"));
        assert_eq!(bodies(&two), [b"new".to_vec()]);
        assert_eq!(host.read(0, Counter::BusBacklog), 0);
        two.publish(&push(Interest::Workers, b"back"));
        assert_eq!(bodies(&one), [b"back".to_vec()]);
    }

    #[test]
    fn what_a_dead_worker_said_is_heard_to_its_end_and_half_a_message_is_not() {
        let host = Host::new();
        let one = host.member(0, 0);
        one.enter(ROOM);
        let two = host.member(1, 0);
        two.publish(&push(ROOM, b"last words"));
        // As it dies between the pieces of the next one.
        let ring = host.bus.ring(1, 0);
        let part = super::super::ring::Part {
            is_first: true,
            is_last: false,
            epoch: 0,
        };
        ring.publish(ring.put(ring.end(), part, &[0; 100]));
        drop(two);
        host.bus.bury(1);
        let two = host.member(1, 1);
        two.publish(&push(ROOM, b"another"));
        assert_eq!(bodies(&one), [b"last words".to_vec(), b"another".to_vec()]);
    }

    #[test]
    fn nonsense_of_a_neighbour_costs_what_was_there_and_no_more() {
        let host = Host::new();
        let (one, two) = (host.member(0, 0), host.member(1, 0));
        one.enter(ROOM);
        let ring = host.bus.ring(1, 0);
        ring.publish(ring.end() + 5000);
        assert_eq!(bodies(&one), [b""; 0]);
        ring.publish(ring.end() - 5000);
        assert_eq!(bodies(&one), [b""; 0]);
        assert_eq!(host.read(0, Counter::BusBroken), 2);
        two.publish(&push(ROOM, b"sane"));
        assert_eq!(bodies(&one), [b"sane".to_vec()]);
    }

    #[test]
    fn who_sleeps_is_woken_and_hears_all_of_it_in_order() {
        let host = Host::new();
        let (one, two, three) = (host.member(0, 0), host.member(1, 0), host.member(2, 0));
        two.enter(ROOM);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| two.run(&mut |message| tell.send(message).unwrap(), &|| ()));
            for sender in [&one, &three] {
                scope.spawn(|| {
                    for n in 0..20_000_u64 {
                        while sender.is_strained() {
                            sender.flush();
                            thread::yield_now();
                        }
                        sender.publish(&push(ROOM, &n.to_le_bytes()));
                        if n % 1000 == 0 {
                            thread::yield_now();
                        }
                    }
                    while sender.waiting.load(Ordering::Relaxed) > 0 {
                        sender.flush();
                        thread::yield_now();
                    }
                });
            }
            let mut next = [0_u64; 4];
            for _ in 0..40_000 {
                let message = told
                    .recv_timeout(std::time::Duration::from_secs(60))
                    .unwrap();
                let row = usize::from(message.origin.row);
                assert_eq!(
                    u64::from_le_bytes(*message.body.first_chunk().unwrap()),
                    next[row]
                );
                next[row] += 1;
            }
            two.end();
        });
        assert_eq!(host.read(1, Counter::BusDelivered), 40_000);
        assert_eq!(
            host.read(0, Counter::BusLost) + host.read(2, Counter::BusLost),
            0
        );
    }

    #[test]
    fn who_lets_go_has_heard_everything_and_says_up_to_where() {
        let host = Host::new();
        let (one, two, three) = (host.member(0, 5), host.member(1, 6), host.member(2, 7));
        two.enter(ROOM);
        one.publish(&push(ROOM, b"a"));
        one.publish(&push(ROOM, b"b"));
        two.publish(&push(Interest::Workers, b"c"));
        let mut heard = Vec::new();
        let marks = two.letting_go(&mut |message| heard.push(message.body), <[Read]>::to_vec);
        assert_eq!(heard, ["a", "b"]);
        let mark = |row, epoch, sequence| Read {
            row,
            epoch,
            sequence,
        };
        assert_eq!(marks, [mark(0, 5, 2), mark(1, 6, 1)]);
        // The third has not read what the second said, and the first did not say
        // it anything, but has said all of it.
        assert!(!three.is_past(&marks));
        assert_eq!(bodies(&three), [b"c".to_vec()]);
        assert!(three.is_past(&marks));
        assert!(!three.is_past(&[mark(0, 5, 3)]), "not said yet");
        assert!(three.is_past(&[mark(0, 4, 3)]), "of a dead one");
    }

    /// A connection says something in one worker, moves, and goes on in another.
    #[test]
    fn who_moves_is_heard_in_the_order_in_which_he_speaks() {
        let host = Host::new();
        // The second is read before the third.
        let (one, two, three) = (host.member(0, 0), host.member(1, 0), host.member(2, 0));
        one.enter(ROOM);
        three.publish(&push(ROOM, b"before"));
        let marks = three.letting_go(&mut |_| {}, <[Read]>::to_vec);
        let own = marks.into_iter().find(|mark| mark.row == 2);
        two.taking_over(own, &mut |_| {}, || ());
        two.publish(&push(ROOM, b"after"));
        assert_eq!(bodies(&one), [b"before".to_vec(), b"after".to_vec()]);
        // What it waits for is of a worker that died meanwhile.
        let never = Read {
            row: 2,
            epoch: 0,
            sequence: 1000,
        };
        two.taking_over(Some(never), &mut |_| {}, || ());
        two.publish(&push(ROOM, b"at last"));
        assert_eq!(bodies(&one), [b""; 0]);
        assert!(
            !lock(&one.reader).is_behind(&host.bus),
            "it would never sleep"
        );
        host.bus.bury(2);
        assert_eq!(bodies(&one), [b"at last".to_vec()]);
    }

    #[test]
    fn tickets_rise_behind_those_that_others_bring() {
        let host = Host::new();
        let [one, two] = [0, 1].map(|row| host.member(row, 0));
        assert!(one.ticket() < two.ticket());
        one.has_ticket(1_000_000);
        one.has_ticket(7);
        assert_eq!(two.ticket(), 1_000_001);
    }

    #[test]
    fn the_name_of_a_worker_is_borne_as_long_as_somebody_has_its_connections() {
        let host = Host::new();
        let one = host.member(0, 0);
        let name = Interest::Accepted(2, 65_535);
        assert!(!host.bus.is_borne(2, 65_535));
        one.enter(name);
        one.enter(name);
        one.leave(name);
        assert!(host.bus.is_borne(2, 65_535));
        assert!(!host.bus.is_borne(2, 0) && !host.bus.is_borne(1, 65_535));
        one.leave(name);
        assert!(!host.bus.is_borne(2, 65_535));
        one.enter(name);
        host.bus.bury(0);
        assert!(!host.bus.is_borne(2, 65_535), "who is dead bears nothing");
    }

    /// Two write as fast as they can to two that read, what goes into a ring in one piece
    /// and what does not; for a minute in the long form.
    #[test]
    fn what_is_written_to_full_rings_is_what_is_read() {
        let is_long = std::env::var_os("PURLIN_TEST_FULL").is_some();
        let until = Instant::now() + Duration::from_secs(if is_long { 60 } else { 1 });
        let host = Host::new();
        // So much that nothing is lost.
        let member = |row: u8| {
            let counted = host.board.row(row.into());
            Member::new(&host.bus, row, 65_535, counted, 1 << 20)
        };
        let members: Vec<Member> = (0..4).map(member).collect();
        members[2..].iter().for_each(|one| one.enter(ROOM));
        let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
        let write = |member: &Member, mut seed: u32| {
            let mut written = 0_u32;
            while Instant::now() < until {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let len = if seed.is_multiple_of(64) {
                    20_000
                } else {
                    seed >> 24
                };
                let mut body = vec![seed.to_le_bytes()[0]; usize::try_from(len).unwrap()];
                body.extend_from_slice(&written.to_le_bytes());
                body.extend_from_slice(&sum(&body));
                member.saying(|| member.publish(&push(ROOM, &body)));
                written += 1;
                member.let_catch_up();
                member.read_now(&mut |_| {});
            }
            while member.waiting.load(Ordering::Relaxed) > 0 {
                member.read_now(&mut |_| {});
                thread::yield_now();
            }
            written
        };
        let read = |member: &Member| {
            let mut next = [0_u32; 2];
            let mut deliver = |message: Message| {
                let (rest, ends) = message.body.split_last_chunk::<4>().expect("a sum");
                assert_eq!(*ends, sum(rest));
                let number = rest.last_chunk::<4>().expect("a number");
                let next = &mut next[usize::from(message.origin.row)];
                assert_eq!(u32::from_le_bytes(*number), *next);
                *next += 1;
            };
            member.run(&mut deliver, &|| {});
            member.read_now(&mut deliver);
            next
        };
        thread::scope(|scope| {
            let readers: Vec<_> = members[2..]
                .iter()
                .map(|one| scope.spawn(|| read(one)))
                .collect();
            let writers = [(0, 1), (1, 2)].map(|(row, seed)| {
                let member = &members[row];
                scope.spawn(move || write(member, seed))
            });
            let written = writers.map(|one| one.join().unwrap());
            let is_read = |row: usize| !lock(&members[row].reader).is_behind(&host.bus);
            let has_died = || readers.iter().any(thread::ScopedJoinHandle::is_finished);
            while !(has_died() || is_read(2) && is_read(3)) {
                thread::yield_now();
            }
            members[2..].iter().for_each(Member::end);
            for one in readers {
                assert_eq!(one.join().unwrap(), written);
            }
            assert!(written.iter().all(|count| *count > 100), "{written:?}");
        });
        assert_eq!(
            host.read(0, Counter::BusLost) + host.read(1, Counter::BusLost),
            0
        );
        assert_eq!(host.read(2, Counter::BusLag), 0);
    }

    #[test]
    fn who_takes_turns_wakes_behind_each() {
        let host = Host::new();
        let [one, two] = [0, 1].map(|row| host.member(row, 0));
        two.enter(ROOM);
        let woken = || host.read(0, Counter::BusWoken);
        let sleep = || host.bus.sleep(1).announce();
        one.with_turns(|| {
            sleep();
            one.publish(&push(ROOM, b"a"));
            one.publish(&push(ROOM, b"b"));
            assert_eq!(woken(), 0);
            one.turn_over();
            assert_eq!(woken(), 1);
            one.turn_over();
            sleep();
            one.publish(&push(ROOM, b"c"));
            assert_eq!(woken(), 1);
        });
        assert_eq!(woken(), 2, "its last turn is over");
        sleep();
        one.publish(&push(ROOM, b"d"));
        assert_eq!(woken(), 3, "it has no turns any more");
        assert_eq!(bodies(&two).len(), 4);
    }

    #[test]
    fn what_is_said_within_what_is_said_waits_for_nobody() {
        let host = Host::new();
        let one = host.member(0, 0);
        assert_eq!(one.saying(|| one.saying(|| 7)), 7);
        assert!(one.gate.try_write().is_ok());
    }
}
