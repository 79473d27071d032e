//! The heartbeat thread: whatever happens because time passed.
//!
//! It sleeps until the earliest deadline. Registering a later one does not wake
//! it, so a connection that is accepted and closed costs it nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::service::Service;
use crate::protocol::{CloseMode, Error, Event, Refusal};
use crate::scoreboard::Counter;
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::sync::{AtomicU64, Ordering, lock};
use crate::worker::connection::{Connection, Item};
use crate::worker::limits::timeouts::{self, Snapshot, TimeoutAction};
use crate::worker::queues::deadlines::Due;
use crate::worker::queues::letters::ToReactor;
use crate::worker::shared::{Job, Shared};

/// The loop of the heartbeat thread.
pub(crate) fn run(shared: &Arc<Shared>, service: &dyn Service) {
    let periods = service.periods();
    shared.heartbeat.jobs(&periods);
    while let Some(due) = shared.heartbeat.next() {
        shared.row.count(Counter::Deadlines);
        match due {
            Due::Silence(slot) => look_at(shared, slot),
            Due::Thaw(id) => shared.to_reactor.post(ToReactor::Thaw(id)),
            Due::Timer(id, token) => {
                shared.post(id, Item::from(Event::Timer(token)));
            }
            Due::Wake(id) => {
                shared.post(id, Item::Wake);
            }
            Due::Tick(job) => tick(shared, service, job, periods[job]),
        }
    }
}

/// Queues a periodic job, unless its last run is not over yet: a slow job must
/// not pile up behind itself.
fn tick(shared: &Shared, service: &dyn Service, job: usize, period: Duration) {
    let next = coarse_millis() + millis(period);
    let is_wanted = service.is_wanted(job);
    if shared.heartbeat.begin_tick(job, is_wanted, next) {
        shared.queue.push(Job::Tick(job));
    }
}

fn look_at(shared: &Arc<Shared>, slot: usize) {
    let Some((id, conn)) = shared.pool.at(slot) else {
        return;
    };
    let now = coarse_millis();
    let Some((at, action)) = timeouts::next(&snapshot(&conn, now), &shared.limits) else {
        return;
    };
    if at > now {
        return shared.heartbeat.watch(slot, at);
    }
    match action {
        TimeoutAction::Close(counter) => return close(shared, &conn, counter),
        TimeoutAction::Refuse(counter) if !refuse(shared, &conn, counter) => {
            return close(shared, &conn, Some(counter));
        }
        TimeoutAction::Unstall if is_stalled(shared, &conn, now) => {
            return shared.ask_end(id, CloseMode::Abort, Some(Counter::SendStalled));
        }
        TimeoutAction::GiveUp => give_up(shared, &conn, now),
        TimeoutAction::Ping => {
            conn.clocks.pinged.store(now, Ordering::Relaxed);
            if shared.post(id, Item::from(Event::Ping)) {
                shared.row.count(Counter::Pings);
            }
        }
        TimeoutAction::Refuse(_) | TimeoutAction::Unstall | TimeoutAction::Look => {}
    }
    if let Some((at, _)) = timeouts::next(&snapshot(&conn, now), &shared.limits) {
        shared.heartbeat.watch(slot, at.max(now + 1));
    }
}

/// Whether the peer is behind, with what it has taken from the kernel counted.
fn is_stalled(shared: &Shared, conn: &Connection, now: u64) -> bool {
    let until = conn.drained(0, shared.limits.send_rate);
    let limit = shared.limits.send_stall;
    until != 0 && limit.is_some_and(|limit| until.saturating_add(millis(limit)) <= now)
}

fn close(shared: &Shared, conn: &Connection, counter: Option<Counter>) {
    // Bytes that are stuck would hold an orderly close for ever.
    let mode = if conn.is_full(0) {
        CloseMode::Abort
    } else {
        CloseMode::Flush
    };
    shared.ask_end(conn.id, mode, counter);
}

/// A reply has been owed for too long: whoever waits for it gets an error.
fn give_up(shared: &Shared, conn: &Connection, now: u64) {
    // Its turn may be long in coming: not told twice.
    conn.clocks.owed.store(now, Ordering::Relaxed);
    let error = Error::new(504, "the reply did not come in time");
    if shared.post(conn.id, Item::from(Event::GiveUp(error))) {
        shared.row.count(Counter::RepliesOverdue);
        let counter = Counter::RepliesOverdue;
        shared.peer_curbed(conn, counter, format_args!("a reply was owed for too long"));
    }
}

/// Has the peer told that its message is late, in the connection's turn. False:
/// there is nothing to say, or no room for it.
fn refuse(shared: &Shared, conn: &Connection, counter: Counter) -> bool {
    let answer = conn.protocol().late();
    if answer.is_empty() || conn.unsent() > 0 {
        return false;
    }
    let refusal = Refusal {
        counter,
        detail: counter.reason().to_owned(),
        answer,
        about: Vec::new(),
    };
    shared.post(conn.id, Item::from(Event::Refused(refusal)))
}

/// What is known of a connection.
fn snapshot(conn: &Connection, now: u64) -> Snapshot {
    // A file that is on its way has the time of any other reply.
    let last_words = conn.unsent() > 0 && !conn.is_in_file();
    let closing = last_words && lock(&conn.outbound).flush_then_close;
    let (clocks, read) = (&conn.clocks, |word: &AtomicU64| {
        word.load(Ordering::Relaxed)
    });
    Snapshot {
        now,
        opened: conn.opened,
        heard: read(&conn.heard),
        beat: read(&clocks.beat),
        spoken: read(&clocks.spoken),
        served: read(&clocks.served),
        thawed: read(&clocks.thawed),
        pinged: read(&clocks.pinged),
        started: read(&clocks.started),
        arrived: u64::from(clocks.arrived.load(Ordering::Relaxed)),
        progress: read(&clocks.progress),
        keep_alive: conn.protocol().keep_alive().map(millis),
        closing,
        busy: conn.is_busy(),
        owed: match clocks.replies.load(Ordering::Relaxed) {
            0 => 0,
            _ => read(&clocks.owed).max(1),
        },
        finished: read(&clocks.finished),
    }
}
