//! The reader thread: reads frames, runs pushes, keeps the connection alive,
//! and connects again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::{Link, Shared};
use super::{Change, ClientError, Why};
use crate::sys::socket;

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
        if socket::writable(&socket, left).map_err(failed)? {
            break;
        }
        if left.is_zero() {
            return Err(late());
        }
    }
    socket::connected(&socket).map_err(failed)?;
    socket::no_delay(&socket);
    Ok(Arc::new(Link {
        socket,
        writing: std::sync::Mutex::new(()),
    }))
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
    (shared.change)(&Change::Connected);
    true
}

/// Closes the client with its thread, a panic in a push included: nobody would
/// read the replies.
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
        (shared.change)(&Change::Retrying(wait));
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            // The bell stays rung once the client is closed.
            let _closed = socket::either_readable(&shared.bell, &shared.bell, left);
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

/// Reads until the connection ends.
fn read(shared: &Shared, link: &Arc<Link>) -> Why {
    let mut kept = Vec::new();
    let mut into = vec![0; READ];
    let mut beat = Instant::now();
    loop {
        if shared.lock().closed {
            return Why::Closed;
        }
        let period = shared.heartbeat.unwrap_or(QUIET);
        let left = (beat + period).saturating_duration_since(Instant::now());
        if let Err(error) = socket::either_readable(&link.socket, &shared.bell, left) {
            return Why::Broken(error.kind());
        }
        match socket::receive(&link.socket, &mut into) {
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
        if beat.elapsed() >= period {
            beat = Instant::now();
            if let (Some(id), true) = (shared.layout.heartbeat, shared.heartbeat.is_some()) {
                // A failure ends the connection, which the next read sees.
                let _seen_by_read = shared.write(id, b"", None, beat + shared.call_timeout);
            }
        }
    }
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
