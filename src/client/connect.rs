//! One attempt to connect.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ClientError;
use super::link::Link;
use super::shared::Shared;
use crate::sys::socket::{self, Address, Wanted};

/// Connects within the timeout. Runs on the reader thread.
pub(super) fn connect(shared: &Shared, timeout: Duration) -> Result<Arc<Link>, ClientError> {
    let deadline = Instant::now() + timeout;
    let socket = attempt(shared, &shared.target, deadline);
    let socket = socket.map_err(|error| failed(shared, error, timeout))?;
    let socket = socket.ok_or(ClientError::Closed)?;
    socket::no_delay(&socket);
    Ok(Arc::new(Link::new(socket)))
}

fn failed(shared: &Shared, error: io::Error, timeout: Duration) -> ClientError {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut, WouldBlock};
    let target = shared.target.to_string();
    if [ConnectionRefused, NotFound].contains(&error.kind()) {
        ClientError::Refused(target)
    } else if [TimedOut, WouldBlock].contains(&error.kind()) {
        // A Unix socket's full backlog shows at once, a TCP one's by silence.
        ClientError::ConnectTimeout(target, timeout)
    } else {
        ClientError::Connect(target, error)
    }
}

/// Connects to one address; `None` when the client was closed meanwhile.
fn attempt(shared: &Shared, address: &Address, deadline: Instant) -> io::Result<Option<OwnedFd>> {
    let socket = socket::connect(address)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ready = socket::wait(&socket, Wanted::Write, &shared.bell, left)?;
        if ready.bell {
            // Rung for the connection before, or to close.
            shared.bell.hush();
        }
        if shared.lock().closed {
            return Ok(None);
        }
        if ready.socket {
            break;
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    socket::connected(&socket)?;
    // A port of this machine where nobody listens may be the very one that the
    // kernel chose for us: TCP then connects a socket with itself.
    if socket::local_address(&socket).is_ok_and(|own| own == *address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(Some(socket))
}
