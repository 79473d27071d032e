//! What is due first of all that a connection can be closed for because time
//! passed. Pure: the times come in.
//!
//! | what | clock starts |
//! |---|---|
//! | first message | accept, or until when an unfinished one has arrived at the rate |
//! | heartbeat | the last whole message or heartbeat; stands still while the server makes the peer wait |
//! | idle | the last message in either direction; stands still likewise |
//! | receive rate | first byte of the unfinished message, or the end of a pause |
//! | send stall | the kernel's buffer for the peer moved |
//! | linger | the same, once the connection is to be closed |

use std::time::Duration;

use super::{Limits, Proof};
use crate::scoreboard::Counter;
use crate::sys::clock::millis;

/// How soon a connection that is busy is looked at again.
const BUSY: u64 = 500;

/// One connection, at one moment. Times as in `pulse`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
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
    /// It closes when everything is sent.
    pub(crate) closing: bool,
    /// The server owes it something, or does not read it.
    pub(crate) busy: bool,
}

/// What to do when the time has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deed {
    /// Close it, counted under this name.
    Close(Option<Counter>),
    /// Tell the peer that its message did not come in time, and close it, counted
    /// under this name.
    Refuse(Counter),
    /// Close it unless the peer has taken some of what the kernel holds.
    Unstall,
    /// Send it a heartbeat.
    Ping,
    /// Look again.
    Look,
}

/// What is due first, and when. `None`: nothing will ever be.
pub(crate) fn next(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    if signs.closing {
        let at = signs.progress.saturating_add(millis(limits.linger));
        return Some((at, Deed::Close(None)));
    }
    let stall = limits.send_stall.filter(|_| signs.progress != 0);
    let stall = stall.map(|limit| (signs.progress.saturating_add(millis(limit)), Deed::Unstall));
    if signs.busy {
        let look = (signs.now.saturating_add(BUSY), Deed::Look);
        return stall.into_iter().chain([look]).min_by_key(|due| due.0);
    }
    let due = [
        stall,
        first_message(signs, limits),
        silence(signs, limits),
        ping(signs, limits),
        idle(signs, limits),
        receive(signs, limits),
    ];
    due.into_iter().flatten().min_by_key(|due| due.0)
}

fn close(since: u64, limit: Option<Duration>, counter: Counter) -> Option<(u64, Deed)> {
    let at = since.saturating_add(millis(limit?));
    Some((at, Deed::Close(Some(counter))))
}

fn first_message(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    let limit = millis(limits.first_message.filter(|_| signs.heard == 0)?);
    let counter = Counter::FirstMessageTimeout;
    // Long, and steady: it will be whole.
    let since = signs.opened.max(flowed(signs, limits));
    let deed = match signs.started {
        0 => Deed::Close(Some(counter)),
        _ => Deed::Refuse(counter),
    };
    Some((since.saturating_add(limit), deed))
}

/// Time that the bytes of an unfinished message buy: slower than the rate, and
/// it runs out.
fn bought(signs: &Signs, limits: &Limits) -> u64 {
    let rate = limits.receive_rate as u64;
    let arrived = signs.arrived.saturating_mul(1000);
    arrived.checked_div(rate).unwrap_or(0)
}

/// Since when nothing has proved life.
fn silent_since(signs: &Signs, limits: &Limits) -> u64 {
    let proof = match limits.proof {
        Proof::Any => signs.heard.max(signs.served).max(flowed(signs, limits)),
        Proof::Heartbeat => signs.beat,
    };
    proof.max(signs.opened).max(signs.thawed)
}

fn silence(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    let since = silent_since(signs, limits);
    close(since, limits.silence, Counter::HeartbeatTimeout)
}

fn ping(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    let since = silent_since(signs, limits).max(signs.pinged);
    Some((since.saturating_add(millis(limits.ping?)), Deed::Ping))
}

fn idle(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    let spoken = signs.spoken.max(flowed(signs, limits));
    let since = spoken.max(signs.opened).max(signs.thawed);
    close(since, limits.idle, Counter::IdleTimeout)
}

/// Until when an unfinished message has arrived at the rate; 0: there is none.
fn flowed(signs: &Signs, limits: &Limits) -> u64 {
    if signs.started == 0 {
        return 0;
    }
    signs.started.saturating_add(bought(signs, limits))
}

fn receive(signs: &Signs, limits: &Limits) -> Option<(u64, Deed)> {
    if signs.started == 0 || limits.receive_rate == 0 {
        return None;
    }
    let since = signs.started.max(signs.thawed);
    let at = since.saturating_add(bought(signs, limits));
    let at = at.saturating_add(millis(limits.receive_grace));
    Some((at, Deed::Refuse(Counter::ReceiveTooSlow)))
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
            linger: Duration::from_millis(5),
            ..Limits::from(&Config::default())
        }
    }

    fn closed(at: u64, counter: Counter) -> Option<(u64, Deed)> {
        Some((at, Deed::Close(Some(counter))))
    }

    fn refused(at: u64, counter: Counter) -> Option<(u64, Deed)> {
        Some((at, Deed::Refuse(counter)))
    }

    /// Accepted at 100, now 1000.
    const NEW: Signs = Signs {
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
        closing: false,
        busy: false,
    };

    const HEARD: Signs = Signs { heard: 200, ..NEW };

    #[test]
    fn the_first_that_is_due_is_what_happens() {
        let pings = Limits {
            proof: Proof::Heartbeat,
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
        let stalled = Some((330, Deed::Unstall));
        let look = Some((1500, Deed::Look));
        #[rustfmt::skip]
        let cases = [
            ("no message yet", limits(), NEW, closed(110, Counter::FirstMessageTimeout)),
            ("a first one drips", limits(), Signs { started: 101, ..NEW }, refused(111, Counter::FirstMessageTimeout)),
            ("a first one flows", limits(), Signs { started: 101, arrived: 2, ..NEW }, refused(131, Counter::FirstMessageTimeout)),
            ("spoke", limits(), HEARD, silent(260)),
            ("is long and flows", limits(), Signs { started: 210, arrived: 79, ..HEARD }, refused(1020, Counter::ReceiveTooSlow)),
            ("was served later", limits(), Signs { served: 220, ..HEARD }, silent(280)),
            ("was paused", limits(), Signs { thawed: 300, ..HEARD }, silent(360)),
            ("is busy", limits(), Signs { busy: true, ..HEARD }, look),
            ("is busy and stuck", limits(), Signs { busy: true, progress: 300, ..HEARD }, stalled),
            ("data is no ping", pings, Signs { served: 300, ..HEARD }, silent(160)),
            ("a ping is", pings, Signs { beat: 250, ..HEARD }, silent(310)),
            ("is asked", server, HEARD, Some((225, Deed::Ping))),
            ("was asked", server, Signs { pinged: 225, ..HEARD }, Some((250, Deed::Ping))),
            ("was asked twice", server, Signs { pinged: 250, ..HEARD }, silent(260)),
            ("pings are idle", idle, Signs { spoken: 180, ..HEARD }, closed(230, Counter::IdleTimeout)),
            ("a push is not", idle, Signs { spoken: 290, ..HEARD }, silent(260)),
            ("one byte", limits(), Signs { started: 200, arrived: 1, ..HEARD }, refused(230, Counter::ReceiveTooSlow)),
            ("in time", limits(), Signs { started: 200, arrived: 9, ..HEARD }, refused(310, Counter::ReceiveTooSlow)),
            ("a pause is no slowness", limits(), Signs { started: 200, arrived: 1, thawed: 210, ..HEARD }, refused(240, Counter::ReceiveTooSlow)),
            ("stuck", limits(), Signs { progress: 210, ..HEARD }, Some((240, Deed::Unstall))),
            ("closing", limits(), Signs { closing: true, progress: 210, ..HEARD }, Some((215, Deed::Close(None)))),
            ("all off", off, Signs { started: 200, progress: 210, ..NEW }, None),
        ];
        for (name, limits, signs, expected) in cases {
            assert_eq!(next(&signs, &limits), expected, "{name}");
        }
    }
}
