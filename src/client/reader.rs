//! The reader thread: reads frames, runs pushes, keeps the connection alive,
//! and connects again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Flushed, Link};
use super::shared::Shared;
use super::{Change, ClientError, Why};
use crate::sys::socket::{self, Ready, Wanted};

/// Bytes that one read takes at most.
const READ: usize = 64 << 10;
/// Longest wait without a heartbeat; any length will do.
const QUIET: Duration = Duration::from_secs(3_600);

/// Connects once, within the timeout.
pub(super) fn connect(shared: &Shared, timeout: Duration) -> Result<Arc<Link>, ClientError> {
    let address = || shared.address.clone();
    let late = || ClientError::ConnectTimeout(address(), timeout);
    let failed = |error: io::Error| {
        use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut, WouldBlock};
        if [ConnectionRefused, NotFound].contains(&error.kind()) {
            ClientError::Refused(address())
        } else if [TimedOut, WouldBlock].contains(&error.kind()) {
            // A Unix socket's full backlog shows at once, a TCP one's by silence.
            late()
        } else {
            ClientError::Connect(address(), error)
        }
    };
    let deadline = Instant::now() + timeout;
    let socket = socket::connect(&shared.address).map_err(failed)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ready = socket::wait(&socket, Wanted::Write, &shared.bell, left).map_err(failed)?;
        if shared.lock().closed {
            return Err(ClientError::Closed);
        }
        if ready.bell {
            // Rung for the connection before.
            shared.bell.hush();
        }
        if ready.socket {
            break;
        }
        if left.is_zero() {
            return Err(late());
        }
    }
    socket::connected(&socket).map_err(failed)?;
    socket::no_delay(&socket);
    Ok(Arc::new(Link::new(socket)))
}

/// Takes a new connection into use; `false` when the client was closed.
pub(super) fn adopt(shared: &Shared, link: &Arc<Link>) -> bool {
    {
        let mut state = shared.lock();
        if state.closed {
            return false;
        }
        state.link = Some(Arc::clone(link));
    }
    shared.tell(&Change::Connected);
    true
}

/// Closes the client with its thread, should that ever panic: nobody would read
/// the replies.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let link = {
            let mut state = self.0.lock();
            state.closed = true;
            state.link.clone()
        };
        if let Some(link) = link {
            self.0.end(&link, &Why::Closed);
        }
    }
}

/// The thread's whole life.
pub(super) fn run(shared: &Shared, mut link: Arc<Link>) {
    // Without reconnecting, calls go on to say that there is no connection.
    let closing = Closing(shared);
    loop {
        let why = read(shared, &link);
        shared.end(&link, &why);
        if let Some(first) = shared.take_end() {
            shared.tell(&Change::Disconnected(first));
        }
        match again(shared) {
            Some(next) => link = next,
            None => {
                std::mem::forget(closing);
                return;
            }
        }
    }
}

/// Tries until there is a connection; `None` when there shall be none.
fn again(shared: &Shared) -> Option<Arc<Link>> {
    let backoff = shared.reconnect?;
    for failures in 0.. {
        let wait = backoff.wait(failures);
        if shared.lock().closed {
            return None;
        }
        shared.tell(&Change::Retrying(wait));
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            if socket::wait(&shared.bell, Wanted::Read, &shared.bell, left)
                .is_ok_and(|one| one.bell)
            {
                shared.bell.hush();
            }
            if shared.lock().closed {
                return None;
            }
        }
        if let Ok(link) = connect(shared, shared.connect_timeout) {
            return adopt(shared, &link).then_some(link);
        }
    }
    None
}

/// Reads until the connection ends, and writes what the kernel had no room for.
fn read(shared: &Shared, link: &Arc<Link>) -> Why {
    let mut kept = Vec::new();
    let mut into = vec![0; READ];
    let mut beat = Instant::now();
    loop {
        let stuck = link.stuck_since();
        let (beats, gives_up) = (
            shared.heartbeat.map(|period| beat + period),
            stuck.map(|since| since + shared.call_timeout),
        );
        let ready = match wait(shared, link, [beats, gives_up]) {
            Ok(ready) => ready,
            Err(why) => return why,
        };
        if ready.bell {
            shared.bell.hush();
        }
        if shared.lock().closed {
            return Why::Closed;
        }
        let received = if ready.socket {
            socket::receive(&link.socket, &mut into)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        };
        match received {
            Ok(0) => return Why::Ended,
            Ok(count) => {
                kept.extend_from_slice(&into[..count]);
                if let Err(why) = frames(shared, &mut kept) {
                    return why;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Why::Broken(error.kind()),
        }
        if stuck.is_some()
            && let Flushed::Broken(why) = link.flush(true)
        {
            return why;
        }
        let now = Instant::now();
        if gives_up.is_some_and(|at| at <= now) && link.stuck_since() == stuck {
            return Why::Stuck;
        }
        if beats.is_some_and(|at| at <= now) {
            beat = now;
            if let Some(id) = shared.layout.heartbeat {
                // A failure ends the connection, which the next read sees; where
                // too much waits already, the peer is not waiting for this.
                let _seen_by_read = shared.write(id, b"", None, now);
            }
        }
    }
}

/// Waits until there is something to do, at most until the first of these times.
fn wait(shared: &Shared, link: &Link, until: [Option<Instant>; 2]) -> Result<Ready, Why> {
    let now = Instant::now();
    let left = until
        .into_iter()
        .flatten()
        .map(|at| at.saturating_duration_since(now))
        .fold(QUIET, Duration::min);
    let wanted = if link.stuck_since().is_some() {
        Wanted::Both
    } else {
        Wanted::Read
    };
    let ready = socket::wait(&link.socket, wanted, &shared.bell, left);
    ready.map_err(|error| Why::Broken(error.kind()))
}

/// Delivers what is whole, and keeps the rest.
fn frames(shared: &Shared, kept: &mut Vec<u8>) -> Result<(), Why> {
    let mut done = 0;
    loop {
        let frame = shared.layout.frame(&kept[done..]);
        let frame = frame.map_err(|refusal| Why::Unreadable(refusal.detail))?;
        let Some(frame) = frame else { break };
        frame
            .verify()
            .map_err(|refusal| Why::Unreadable(refusal.detail))?;
        shared.deliver(&frame);
        done += frame.total;
    }
    kept.drain(..done);
    Ok(())
}
