//! A connection's turn: run what waits, write it once, and say what is next.
//!
//! Used by business threads for everything and by the reactor for handlers
//! that do not block. Whoever calls has moved the mailbox to `Running`.

pub(super) mod guests;
pub(super) mod lend;
pub(super) mod write;

use std::sync::Arc;

use self::guests::Guests;
use super::connection::items::Items;
use super::connection::mailbox::{FollowUp, Urgency, Wait};
use super::connection::outbound::Outbound;
use super::connection::parts::Parts;
use super::connection::{Connection, Item};
use super::queues::letters::ToRecycler;
use super::shared::Shared;
use crate::dispatch::{CloseReason, sample};
use crate::protocol::{
    Beside, Budget, CloseMode, Event, Lane, Out, Refusal, Server, Step, Successor, Turn, Units,
};
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::socket;
use crate::sys::sync::{Ordering, lock};

/// What a business thread may do: as many messages and as much time as
/// configured.
pub(crate) fn budget(shared: &Shared) -> Budget {
    budget_of(shared, shared.limits.turn_messages)
}

/// What the reactor may do: handlers that do not block are limited by time
/// alone.
pub(crate) fn inline_budget(shared: &Shared) -> Budget {
    budget_of(shared, usize::MAX)
}

fn budget_of(shared: &Shared, messages: usize) -> Budget {
    let time = u64::try_from(shared.limits.turn_time.as_millis()).unwrap_or(u64::MAX);
    let now = coarse_millis();
    sample::tick(now);
    Budget::new(messages, now.saturating_add(time), coarse_millis)
}

/// What a turn came to.
pub(crate) struct TurnRun {
    /// Bytes of units that are done and were counted in the mailbox.
    pub(crate) done: usize,
    /// What could not run.
    pub(crate) left: Items<Item>,
    pub(crate) why: StopReason,
    /// What goes with the bytes of the buffer.
    pub(crate) beside: Option<Box<Beside>>,
}

impl TurnRun {
    /// Writes what the turn has to say.
    pub(crate) fn write(&mut self, shared: &Shared, conn: &Connection, buffer: &mut Vec<u8>) {
        let beside = self.beside.take();
        if !buffer.is_empty() || beside.is_some() {
            let outbound = &mut lock(&conn.outbound);
            write_turn(shared, conn, outbound, (buffer, beside), &self.why);
        }
    }
}

/// Why a turn stopped.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum StopReason {
    /// Nothing is left.
    Done,
    /// The budget is used, or enough bytes wait to be written, or what is left
    /// must run on the pool.
    Over,
    /// A reply is owed, and order matches replies to requests.
    AwaitReply,
    /// There is more to write than may wait to be sent.
    AwaitWritable,
    /// Messages wait for an event.
    AwaitEvent,
    /// The connection speaks something else from now on.
    Become(Successor),
    Close(CloseMode),
    Refuse(Refusal),
    /// The end was among the items.
    Ended,
}

impl StopReason {
    /// What `step` means when `rest` tells whether bytes of the unit are left.
    pub(crate) fn from_step(step: Step, rest: bool) -> Self {
        match step {
            Step::Next if rest => Self::Over,
            Step::Next => Self::Done,
            Step::NotInline => Self::Over,
            Step::AwaitReply => Self::AwaitReply,
            Step::AwaitWritable => Self::AwaitWritable,
            Step::AwaitEvent => Self::AwaitEvent,
            Step::Become(successor) => Self::Become(successor),
            Step::Close(mode) => Self::Close(mode),
            Step::Refuse(refusal) => Self::Refuse(refusal),
        }
    }
}

/// Writes what a turn has to say that stopped because of `why`. `buffer` is empty
/// afterwards.
pub(crate) fn write_turn(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    (buffer, beside): (&mut Vec<u8>, Option<Box<Beside>>),
    why: &StopReason,
) {
    match why {
        // No push goes out behind a good-bye.
        StopReason::Close(_) | StopReason::Refuse(_) => {
            write::append_last_pushes(shared, conn, outbound);
        }
        StopReason::Done
        | StopReason::Over
        | StopReason::AwaitReply
        | StopReason::AwaitWritable
        | StopReason::AwaitEvent
        | StopReason::Become(_)
        | StopReason::Ended => write::take_pushes(shared, conn, outbound),
    }
    if *why == StopReason::Close(CloseMode::Abort) {
        write::abandon(outbound, buffer, beside);
    } else if let Some(beside) = beside {
        write::reply_beside(shared, conn, outbound, buffer, *beside);
    } else {
        write::reply(shared, conn, outbound, buffer);
    }
}

/// Runs `items` until they are done or something stops the turn. What is to be
/// written stands in `buffer` afterwards.
pub(crate) fn run(
    shared: &Shared,
    conn: &Connection,
    parts: &mut Parts,
    mut items: Items<Item>,
    budget: &mut Budget,
    buffer: &mut Vec<u8>,
) -> TurnRun {
    let (mut done, before) = (0, budget.messages());
    let mut why = StopReason::Done;
    let clients = Guests { shared, conn };
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &clients,
        out: Out::new(std::mem::take(buffer), &**conn.protocol()),
        app: &mut *parts.app,
        budget: &mut *budget,
        room: shared.limits.outbound_high.saturating_sub(conn.unsent()),
    };
    let (mut spoke, mut has_opened) = (false, false);
    while let Some(item) = items.pop_front() {
        let by_itself = matches!(item, Item::Ping | Item::Units(_));
        let opens = matches!(item, Item::Opened);
        let (is_reply, before) = (item.urgency() == Urgency::Reply, turn.out.pending());
        why = if let Item::Units(units) = &item {
            let (served, step) = parts.server.serve(Units::shared(units), &mut turn);
            done += served;
            let rest = served < units.len();
            if rest {
                items.push_front(Item::Units(units.slice(served..)));
            }
            StopReason::from_step(step, rest)
        } else {
            let why = tell(shared, &mut *parts.server, item, &mut turn);
            turn.spend();
            why
        };
        spoke |= !by_itself && turn.out.pending() > before;
        has_opened |= opens;
        if is_reply {
            conn.clocks.thaw(coarse_millis());
        }
        if why != StopReason::Done {
            break;
        }
        if !items.is_empty() && turn.is_over() {
            why = StopReason::Over;
            break;
        }
    }
    if why == StopReason::AwaitWritable {
        items.push_front(Item::Writable);
    }
    *buffer = turn.out.bytes;
    let beside = turn.out.beside;
    clients.leave_if_answered(&*parts.server, &why);
    served(shared, conn, done, budget.messages() - before);
    if spoke {
        conn.clocks.spoken.store(coarse_millis(), Ordering::Relaxed);
    }
    has_opened &= parts.app.has_opened();
    has_opened.then(|| conn.opened_it());
    parts.app.counted();
    TurnRun {
        done,
        left: items,
        why,
        beside,
    }
}

/// Takes note of the messages that a turn served, and of the bytes that are
/// done.
fn served(shared: &Shared, conn: &Connection, bytes: usize, messages: usize) {
    conn.served(messages);
    shared.row.add(Counter::ServedByPool, messages as u64);
    if bytes > 0 {
        conn.clocks.served(coarse_millis());
    }
}

/// Passes on what is no message.
fn tell(shared: &Shared, server: &mut dyn Server, item: Item, turn: &mut Turn<'_>) -> StopReason {
    let event = match item {
        Item::Opened => Event::Opened,
        Item::Eof => Event::Eof,
        Item::Draining => Event::Draining,
        Item::GoAway => Event::GoAway,
        Item::Ping => Event::Ping,
        Item::Timer(token) => Event::Timer(token),
        Item::Writable => Event::Writable,
        Item::Wake => Event::Wake,
        Item::Large(large) => {
            if matches!(*large, Event::GiveUp(_)) {
                abandon(shared, server);
            }
            *large
        }
        Item::Close(mode, code) => {
            turn.out.code = turn.out.code.or(code);
            if mode != CloseMode::Abort {
                server.farewell(turn);
            }
            return StopReason::Close(mode);
        }
        Item::Kicked(task) => {
            shared.row.count(Counter::Kicked);
            // Whatever is owed: what an operator wants does not wait for it.
            let _step = server.event(Event::Run(task), turn);
            server.farewell(turn);
            return StopReason::Close(CloseMode::Flush);
        }
        Item::Ended => return StopReason::Ended,
        // The caller serves them.
        Item::Units(_) => return StopReason::Done,
    };
    StopReason::from_step(server.event(event, turn), false)
}

/// How a turn ended. The caller carries it out: what `FollowUp` says, then a
/// close, which the reactor decides, behind the return of the connection's
/// parts.
#[derive(Default)]
#[must_use]
pub(crate) struct TurnEnd {
    /// The turn goes on with these.
    pub(crate) more: Option<Items<Item>>,
    pub(crate) after: FollowUp,
    pub(crate) close: Option<CloseMode>,
}

impl From<FollowUp> for TurnEnd {
    fn from(after: FollowUp) -> Self {
        Self {
            after,
            ..Self::default()
        }
    }
}

/// Ends a turn, or gives the items with which it goes on. The replies have been
/// written.
pub(crate) fn finish(
    shared: &Arc<Shared>,
    conn: &Arc<Connection>,
    parts: &mut Parts,
    ran: TurnRun,
) -> TurnEnd {
    let TurnRun {
        done, left, why, ..
    } = ran;
    let high = shared.limits.mailbox_high;
    // Who waits for room waits for as much as `look_for_room` does.
    let parts_of_room = if why == StopReason::AwaitWritable {
        2
    } else {
        1
    };
    let mark = shared.limits.outbound_high / parts_of_room;
    match why {
        StopReason::Ended => {
            end(shared, conn, parts);
            TurnEnd::default()
        }
        StopReason::Close(mode) => {
            conn.ends_by(CloseReason::Program);
            close(shared, conn, parts, mode)
        }
        StopReason::Refuse(refusal) => refuse(shared, conn, parts, &refusal),
        StopReason::Become(successor) => {
            consumed(shared, done);
            become_other(conn, parts, successor);
            let mut left = left;
            left.push_front(Item::Opened);
            conn.mailbox.requeue(done, high, left).into()
        }
        StopReason::AwaitReply => wait(shared, conn, Wait::Reply, done, left).into(),
        StopReason::AwaitEvent => wait(shared, conn, Wait::Event, done, left).into(),
        StopReason::Done | StopReason::Over | StopReason::AwaitWritable if conn.is_full(mark) => {
            let after = wait(shared, conn, Wait::Writable, done, left);
            after.and(write::look_for_room(shared, conn)).into()
        }
        StopReason::Over | StopReason::AwaitWritable => {
            consumed(shared, done);
            conn.mailbox.requeue(done, high, left).into()
        }
        StopReason::Done => {
            consumed(shared, done);
            let (more, after) = conn.mailbox.finish(done, high);
            TurnEnd {
                more,
                ..after.into()
            }
        }
    }
}

/// The connection speaks something else from now on, which what is written behind
/// its last answer is of. Nobody reads it meanwhile.
fn become_other(conn: &Connection, parts: &mut Parts, successor: Successor) {
    let Successor {
        protocol,
        recorded,
        client,
    } = successor;
    conn.turn_into(&protocol, client);
    parts.server = protocol.server();
    if let Some(answer) = recorded {
        let sent = lock(&conn.outbound).sent();
        parts.server.record_end(&answer, sent);
    }
    parts.app.upgrade(conn.peer());
}

/// The turn waits; `done` bytes are done, and these items are `left`.
fn wait(
    shared: &Shared,
    conn: &Connection,
    wait: Wait,
    done: usize,
    left: Items<Item>,
) -> FollowUp {
    consumed(shared, done);
    let high = shared.limits.mailbox_high;
    conn.mailbox.wait(wait, done, high, left, Item::urgency)
}

fn consumed(shared: &Shared, bytes: usize) {
    shared.unbuffered(bytes);
}

/// The peer broke a rule: say so, tell it, close.
fn refuse(shared: &Shared, conn: &Connection, parts: &mut Parts, refusal: &Refusal) -> TurnEnd {
    conn.ends_by(CloseReason::of(refusal.counter));
    shared.row.count(refusal.counter);
    let name = conn.named().name;
    shared.peer_fault(name, conn.peer(), refusal.counter, &refusal.detail);
    {
        let outbound = &mut lock(&conn.outbound);
        write::append_last_pushes(shared, conn, outbound);
        write::reply(shared, conn, outbound, &mut refusal.answer.to_vec());
    }
    close(shared, conn, parts, CloseMode::Flush)
}

/// Nothing of this connection is served any more; the reactor ends it, once
/// everything is sent if `mode` says so.
fn close(shared: &Shared, conn: &Connection, parts: &mut Parts, mode: CloseMode) -> TurnEnd {
    let (dropped, after) = conn.mailbox.close();
    drop(dropped);
    if mode == CloseMode::Done && !parts.server.records_end() {
        // It has said its last, so that it may go back to the free list.
        parts.server.reset();
    }
    let mut outbound = lock(&conn.outbound);
    if mode != CloseMode::Abort {
        // What was sent before goes out before.
        write::take_last_pushes(shared, conn, &mut outbound);
    }
    if mode == CloseMode::Abort || outbound.is_empty() {
        return TurnEnd {
            close: Some(mode),
            ..after.into()
        };
    }
    outbound.flush_then_close = true;
    let held = socket::unacknowledged(conn.socket());
    conn.clocks.progressed(coarse_millis(), held);
    drop(outbound);
    shared.watch_flush(conn.id);
    after.into()
}

/// The last turn: nothing can be written any more; the user says good-bye, and
/// the recycler takes over.
fn end(shared: &Shared, conn: &Arc<Connection>, parts: &mut Parts) {
    let (sent, unsent) = {
        let mut outbound = lock(&conn.outbound);
        // The connection is dead: they are counted as such.
        write::take_last_pushes(shared, conn, &mut outbound);
        (outbound.sent(), outbound.clear())
    };
    abandon(shared, &*parts.server);
    parts.server.over(sent, &mut *parts.app);
    if conn.is_opened() {
        parts.app.leave(conn.close_reason());
    } else {
        parts.app.vacate();
    }
    parts.server.reset();
    shared.unqueued(conn, unsent);
    write_off(shared, conn);
    shared.to_recycler.post(ToRecycler::Left(Arc::clone(conn)));
}

/// What the server owes is never given.
fn abandon(shared: &Shared, server: &dyn Server) {
    (shared.row).add(Counter::RepliesAbandoned, server.owes() as u64);
}

/// What was received of a connection that is over and not served is not.
pub(crate) fn write_off(shared: &Shared, conn: &Connection) {
    consumed(shared, conn.mailbox.bytes());
    shared.row.add(Counter::Dropped, conn.owed().into());
    conn.served_all();
}
