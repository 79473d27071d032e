//! Time limits: which expires first for a connection, and what to do then. Pure:
//! the times come in.
//!
//! | what | clock starts |
//! |---|---|
//! | first message | accept, or until when an unfinished one has arrived at the rate |
//! | heartbeat | the last whole message or heartbeat; stands still while the server makes the peer wait |
//! | keep-alive | the same, in its place where the protocol has one |
//! | idle | the last message in either direction; stands still likewise |
//! | owed reply | the reply was put off, or one was given; or the peer's end-of-file |
//! | receive rate | first byte of the unfinished message, or the end of a pause |
//! | send stall | until when the peer took what was sent at the rate |
//! | linger | the same, once the connection is to be closed |

use std::time::Duration;

use super::Limits;
use crate::config::Proof;
use crate::scoreboard::Counter;
use crate::sys::clock::millis;

/// How soon a connection that is busy is looked at again.
const BUSY: u64 = 500;

/// One connection, at one moment. Times as in `clocks`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) now: u64,
    pub(crate) opened: u64,
    pub(crate) heard: u64,
    pub(crate) beat: u64,
    pub(crate) spoken: u64,
    pub(crate) served: u64,
    pub(crate) thawed: u64,
    pub(crate) pinged: u64,
    pub(crate) started: u64,
    pub(crate) arrived: u64,
    pub(crate) progress: u64,
    /// Milliseconds that it may be silent between two messages, where its
    /// protocol says so.
    pub(crate) keep_alive: Option<u64>,
    /// It closes when everything is sent.
    pub(crate) closing: bool,
    /// The server owes it something, or does not read it.
    pub(crate) busy: bool,
    /// Since when it waits for a reply that was put off; 0: for none.
    pub(crate) owed: u64,
    /// Its end-of-file came; 0: not yet.
    pub(crate) finished: u64,
}

/// What to do when the time has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TimeoutAction {
    /// Close it, counted under this name.
    Close(Option<Counter>),
    /// Tell the peer that its message did not come in time, and close it,
    /// counted under this name.
    Refuse(Counter),
    /// Close it unless the peer has taken enough of what the kernel holds.
    Unstall,
    /// Answer what was put off with an error.
    GiveUp,
    /// Send it a heartbeat.
    Ping,
    /// Look again.
    Look,
}

/// What is due first, and when. `None`: nothing will ever be.
pub(crate) fn next(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    if snapshot.closing {
        let at = snapshot.progress.saturating_add(millis(limits.linger));
        return Some((at, TimeoutAction::Close(None)));
    }
    let stall = limits.send_stall.filter(|_| snapshot.progress != 0);
    let stall = stall.map(|limit| {
        (
            snapshot.progress.saturating_add(millis(limit)),
            TimeoutAction::Unstall,
        )
    });
    if snapshot.busy {
        let look = (snapshot.now.saturating_add(BUSY), TimeoutAction::Look);
        let due = [stall, reply(snapshot, limits), Some(look)];
        return due.into_iter().flatten().min_by_key(|due| due.0);
    }
    let due = [
        stall,
        first_message(snapshot, limits),
        silence(snapshot, limits),
        ping(snapshot, limits),
        idle(snapshot, limits),
        receive(snapshot, limits),
    ];
    due.into_iter().flatten().min_by_key(|due| due.0)
}

fn close(since: u64, limit: Option<Duration>, counter: Counter) -> Option<(u64, TimeoutAction)> {
    let at = since.saturating_add(millis(limit?));
    Some((at, TimeoutAction::Close(Some(counter))))
}

/// A reply that was put off is owed no longer than this. Who has sent its
/// end-of-file can prove nothing any more, so its other limits go on.
fn reply(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    let at = |since: u64, limit: Duration| since.saturating_add(millis(limit));
    let since = (snapshot.owed != 0).then_some(snapshot.owed)?;
    let overdue = limits.reply_max.map(|limit| at(since, limit));
    let half_closed = (snapshot.finished != 0).then(|| since.max(snapshot.finished));
    let others = [limits.silence, limits.idle].into_iter().flatten().min();
    let silent = half_closed
        .zip(others)
        .map(|(since, limit)| at(since, limit));
    let due = overdue.into_iter().chain(silent).min()?;
    Some((due, TimeoutAction::GiveUp))
}

fn first_message(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    let limit = millis(limits.first_message.filter(|_| snapshot.heard == 0)?);
    let counter = Counter::FirstMessageTimeout;
    // Long, and steady: it will be whole.
    let since = snapshot.opened.max(flowed(snapshot, limits));
    let action = match snapshot.started {
        0 => TimeoutAction::Close(Some(counter)),
        _ => TimeoutAction::Refuse(counter),
    };
    Some((since.saturating_add(limit), action))
}

/// Time that the bytes of an unfinished message buy: slower than the rate, and
/// it runs out.
fn bought(snapshot: &Snapshot, limits: &Limits) -> u64 {
    let rate = limits.receive_rate as u64;
    let arrived = snapshot.arrived.saturating_mul(1000);
    arrived.checked_div(rate).unwrap_or(0)
}

/// Since when nothing has proved life.
fn silent_since(snapshot: &Snapshot, limits: &Limits) -> u64 {
    let proof = match limits.proof {
        Proof::Any => snapshot
            .heard
            .max(snapshot.served)
            .max(flowed(snapshot, limits)),
        Proof::Ping => snapshot.beat,
    };
    proof.max(snapshot.opened).max(snapshot.thawed)
}

fn silence(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    let since = silent_since(snapshot, limits);
    match snapshot.keep_alive.filter(|_| snapshot.heard != 0) {
        Some(limit) => {
            let action = TimeoutAction::Close(Some(Counter::KeepAliveTimeout));
            Some((since.saturating_add(limit), action))
        }
        None => close(since, limits.silence, Counter::HeartbeatTimeout),
    }
}

fn ping(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    let since = silent_since(snapshot, limits).max(snapshot.pinged);
    Some((
        since.saturating_add(millis(limits.ping?)),
        TimeoutAction::Ping,
    ))
}

fn idle(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    let spoken = snapshot.spoken.max(flowed(snapshot, limits));
    let since = spoken.max(snapshot.opened).max(snapshot.thawed);
    close(since, limits.idle, Counter::IdleTimeout)
}

/// Until when an unfinished message has arrived at the rate; 0: there is none.
fn flowed(snapshot: &Snapshot, limits: &Limits) -> u64 {
    if snapshot.started == 0 {
        return 0;
    }
    snapshot.started.saturating_add(bought(snapshot, limits))
}

fn receive(snapshot: &Snapshot, limits: &Limits) -> Option<(u64, TimeoutAction)> {
    if snapshot.started == 0 || limits.receive_rate == 0 {
        return None;
    }
    let since = snapshot.started.max(snapshot.thawed);
    let at = since.saturating_add(bought(snapshot, limits));
    let at = at.saturating_add(millis(limits.receive_grace));
    Some((at, TimeoutAction::Refuse(Counter::ReceiveTooSlow)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits() -> Limits {
        Limits {
            silence: Some(Duration::from_millis(60)),
            first_message: Some(Duration::from_millis(10)),
            idle: None,
            receive_rate: 100,
            receive_grace: Duration::from_millis(20),
            send_stall: Some(Duration::from_millis(30)),
            reply_max: Some(Duration::from_millis(900)),
            linger: Duration::from_millis(5),
            ..Limits::from(&Config::default())
        }
    }

    fn closed(at: u64, counter: Counter) -> Option<(u64, TimeoutAction)> {
        Some((at, TimeoutAction::Close(Some(counter))))
    }

    fn refused(at: u64, counter: Counter) -> Option<(u64, TimeoutAction)> {
        Some((at, TimeoutAction::Refuse(counter)))
    }

    /// Accepted at 100, now 1000.
    const NEW: Snapshot = Snapshot {
        now: 1000,
        opened: 100,
        heard: 0,
        beat: 0,
        spoken: 0,
        served: 0,
        thawed: 0,
        pinged: 0,
        started: 0,
        arrived: 0,
        progress: 0,
        keep_alive: None,
        closing: false,
        busy: false,
        owed: 0,
        finished: 0,
    };

    const HEARD: Snapshot = Snapshot { heard: 200, ..NEW };

    #[test]
    fn the_first_that_is_due_is_what_happens() {
        let pings = Limits {
            proof: Proof::Ping,
            ..limits()
        };
        let server = Limits {
            ping: Some(Duration::from_millis(25)),
            ..limits()
        };
        let idle = Limits {
            idle: Some(Duration::from_millis(50)),
            ..limits()
        };
        let off = Limits {
            silence: None,
            first_message: None,
            receive_rate: 0,
            send_stall: None,
            ..limits()
        };
        let silent = |at| closed(at, Counter::HeartbeatTimeout);
        let stalled = Some((330, TimeoutAction::Unstall));
        let look = Some((1500, TimeoutAction::Look));
        #[rustfmt::skip]
        let cases = [
            ("no message yet", limits(), NEW, closed(110, Counter::FirstMessageTimeout)),
            ("a first one drips", limits(), Snapshot { started: 101, ..NEW }, refused(111, Counter::FirstMessageTimeout)),
            ("a first one flows", limits(), Snapshot { started: 101, arrived: 2, ..NEW }, refused(131, Counter::FirstMessageTimeout)),
            ("spoke", limits(), HEARD, silent(260)),
            ("is kept alive", limits(), Snapshot { keep_alive: Some(75), ..HEARD }, closed(275, Counter::KeepAliveTimeout)),
            ("is kept alive, heartbeats off", off, Snapshot { keep_alive: Some(75), ..HEARD }, closed(275, Counter::KeepAliveTimeout)),
            ("is kept alive and never spoke", limits(), Snapshot { keep_alive: Some(5), ..NEW }, closed(110, Counter::FirstMessageTimeout)),
            ("is long and flows", limits(), Snapshot { started: 210, arrived: 79, ..HEARD }, refused(1020, Counter::ReceiveTooSlow)),
            ("was served later", limits(), Snapshot { served: 220, ..HEARD }, silent(280)),
            ("was paused", limits(), Snapshot { thawed: 300, ..HEARD }, silent(360)),
            ("is busy", limits(), Snapshot { busy: true, ..HEARD }, look),
            ("is busy and stuck", limits(), Snapshot { busy: true, progress: 300, ..HEARD }, stalled),
            ("waits for a reply", limits(), Snapshot { busy: true, owed: 300, ..HEARD }, Some((1200, TimeoutAction::GiveUp))),
            ("waits since now", limits(), Snapshot { busy: true, owed: 990, ..HEARD }, look),
            ("waits, half-closed", limits(), Snapshot { busy: true, owed: 300, finished: 970, ..HEARD }, Some((1030, TimeoutAction::GiveUp))),
            ("half-closed before it waits", limits(), Snapshot { busy: true, owed: 980, finished: 970, ..HEARD }, Some((1040, TimeoutAction::GiveUp))),
            ("runs, half-closed", limits(), Snapshot { busy: true, finished: 970, ..HEARD }, look),
            ("data is no ping", pings, Snapshot { served: 300, ..HEARD }, silent(160)),
            ("a ping is", pings, Snapshot { beat: 250, ..HEARD }, silent(310)),
            ("is asked", server, HEARD, Some((225, TimeoutAction::Ping))),
            ("was asked", server, Snapshot { pinged: 225, ..HEARD }, Some((250, TimeoutAction::Ping))),
            ("was asked twice", server, Snapshot { pinged: 250, ..HEARD }, silent(260)),
            ("pings are idle", idle, Snapshot { spoken: 180, ..HEARD }, closed(230, Counter::IdleTimeout)),
            ("a push is not", idle, Snapshot { spoken: 290, ..HEARD }, silent(260)),
            ("one byte", limits(), Snapshot { started: 200, arrived: 1, ..HEARD }, refused(230, Counter::ReceiveTooSlow)),
            ("in time", limits(), Snapshot { started: 200, arrived: 9, ..HEARD }, refused(310, Counter::ReceiveTooSlow)),
            ("a pause is no slowness", limits(), Snapshot { started: 200, arrived: 1, thawed: 210, ..HEARD }, refused(240, Counter::ReceiveTooSlow)),
            ("stuck", limits(), Snapshot { progress: 210, ..HEARD }, Some((240, TimeoutAction::Unstall))),
            ("closing", limits(), Snapshot { closing: true, progress: 210, ..HEARD }, Some((215, TimeoutAction::Close(None)))),
            ("all off", off, Snapshot { started: 200, progress: 210, ..NEW }, None),
        ];
        for (name, limits, snapshot, expected) in cases {
            assert_eq!(next(&snapshot, &limits), expected, "{name}");
        }
    }
}
