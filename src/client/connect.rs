//! One attempt to connect: the addresses of the server, one after the other,
//! until one of them lets us in; over it, where that is wanted, a WebSocket.
//!
//! Each gets an equal share of the time that is left, so that one behind which
//! everything is dropped does not cost the others their turn.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::ClientError;
use super::address::{self, Target};
use super::link::Link;
use super::shared::Shared;
use super::upgrade;
use crate::sys::socket::{self, Address, Wanted};

/// What is sent has to be acknowledged by the server's machine within a call's
/// time; yet one or two lost packets must not end a connection.
const LOSS_MIN: Duration = Duration::from_secs(5);

/// Connects within the timeout. Runs on the reader thread.
///
/// Of several failures the most telling is given: that somebody is there and
/// refuses, then that nobody answered, then whatever came last.
pub(super) fn connect(shared: &Shared, timeout: Duration) -> Result<Connected, ClientError> {
    let deadline = Instant::now() + timeout;
    let addresses = addresses(shared, deadline, timeout)?;
    let socket = any(shared, &addresses, deadline, timeout)?;
    socket::no_delay(&socket);
    socket::bound_loss(&socket, shared.timing.call_timeout.max(LOSS_MIN));
    let early = match &shared.server.url {
        None => None,
        Some(url) => match upgrade::open(shared, &socket, url, deadline) {
            Ok(Some(early)) => Some(early),
            Ok(None) => return Err(ClientError::Closed),
            Err(error) => return Err(failed(shared, error, timeout)),
        },
    };
    let link = Arc::new(Link::new(socket, early.is_some()));
    let early = early.unwrap_or_default();
    Ok(Connected { link, early })
}

/// A connection, and what the server has said on it already.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) link: Arc<Link>,
    pub(super) early: Vec<u8>,
}

/// The first of these that lets us in.
fn any(
    shared: &Shared,
    addresses: &[Address],
    deadline: Instant,
    timeout: Duration,
) -> Result<OwnedFd, ClientError> {
    let mut failure = ClientError::Closed;
    let mut telling = 0;
    for (n, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let shares = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
        let error = match attempt(shared, address, Instant::now() + left / shares) {
            Ok(Some(socket)) => return Ok(socket),
            Ok(None) => return Err(ClientError::Closed),
            Err(error) => failed(shared, error, timeout),
        };
        let rank = if matches!(error, ClientError::Refused(_)) {
            3
        } else if matches!(error, ClientError::ConnectTimeout(..)) {
            2
        } else {
            1
        };
        if rank >= telling {
            (telling, failure) = (rank, error);
        }
    }
    Err(failure)
}

fn failed(shared: &Shared, error: io::Error, timeout: Duration) -> ClientError {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut, WouldBlock};
    let target = shared.server.to_string();
    if [ConnectionRefused, NotFound].contains(&error.kind()) {
        ClientError::Refused(target)
    } else if [TimedOut, WouldBlock].contains(&error.kind()) {
        // A Unix socket's full backlog shows at once, a TCP one's by silence.
        ClientError::ConnectTimeout(target, timeout)
    } else {
        ClientError::Connect(target, error)
    }
}

/// The addresses to try. A name is looked up each time: what it stands for may
/// have changed since the last connection.
fn addresses(
    shared: &Shared,
    deadline: Instant,
    timeout: Duration,
) -> Result<Vec<Address>, ClientError> {
    let (host, port) = match &shared.server.at {
        Target::At(address) => return Ok(vec![address.clone()]),
        Target::Name { host, port } => (host.clone(), *port),
    };
    let unresolved = |error| ClientError::Unresolved(shared.server.to_string(), error);
    let (tell, told) = mpsc::channel();
    let bell = Arc::clone(&shared.bell);
    // The system's resolver cannot be interrupted: here, closing and the deadline
    // are heard while it works. One that comes too late ends by itself.
    let lookup = move || {
        let _gave_up = tell.send(address::resolve(&host, port));
        drop(tell);
        bell.ring();
    };
    let thread = thread::Builder::new().name("client-resolve".into());
    thread.spawn(lookup).map_err(unresolved)?;
    loop {
        match told.try_recv() {
            Ok(found) => return found.map_err(unresolved),
            Err(mpsc::TryRecvError::Disconnected) => {
                return Err(unresolved(io::ErrorKind::Other.into()));
            }
            Err(mpsc::TryRecvError::Empty) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let target = shared.server.to_string();
            return Err(ClientError::ConnectTimeout(target, timeout));
        }
        if !shared.rest(left) {
            return Err(ClientError::Closed);
        }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::client::callbacks::Callbacks;
    use crate::client::shared::Timing;
    use crate::protocol::frame::Layout;
    use crate::sys::eventfd::Bell;

    fn shared() -> Shared {
        let timing = Timing {
            connect_timeout: Duration::ZERO,
            call_timeout: Duration::ZERO,
            heartbeat: None,
            silence: None,
            reconnect: None,
        };
        let server = "a.name:1".parse().expect("a name");
        let bell = Bell::new().expect("a bell");
        Shared::new(
            Layout::default().into(),
            server,
            timing,
            Callbacks::default(),
            bell,
        )
    }

    fn listen(backlog: u16) -> (OwnedFd, Address) {
        let any_port = "127.0.0.76:0".parse().expect("an address");
        let listener = socket::listen(&any_port, backlog, false).expect("a listener");
        let address = socket::local_address(&listener).expect("a socket");
        (listener, address)
    }

    /// Fills the backlog until nobody is let in any more.
    fn fill(shared: &Shared, address: &Address) -> Vec<OwnedFd> {
        let soon = || Instant::now() + Duration::from_millis(300);
        std::iter::from_fn(|| attempt(shared, address, soon()).ok().flatten()).collect()
    }

    #[test]
    fn an_address_that_refuses_or_is_silent_costs_the_next_one_nothing() {
        let shared = shared();
        let (closed, refuses) = listen(1);
        drop(closed);
        let (_full, silent) = listen(1);
        let _inside = fill(&shared, &silent);
        let (_listens, good) = listen(8);
        let timeout = Duration::from_secs(3);
        let any = |addresses: &[&Address]| {
            let addresses: Vec<Address> = addresses.iter().copied().cloned().collect();
            any(&shared, &addresses, Instant::now() + timeout, timeout)
        };
        for addresses in [
            &[&good][..],
            &[&refuses, &good],
            &[&silent, &good],
            &[&silent, &refuses, &good],
        ] {
            let connected = any(addresses);
            assert!(connected.is_ok(), "{addresses:?}: {connected:?}");
        }
        // That somebody refuses says more than that nobody answers.
        for addresses in [&[&refuses, &silent][..], &[&silent, &refuses]] {
            let failed = any(addresses);
            assert!(
                matches!(failed, Err(ClientError::Refused(_))),
                "{addresses:?}: {failed:?}"
            );
        }
        let late = any(&[&silent]);
        assert!(
            matches!(late, Err(ClientError::ConnectTimeout(..))),
            "{late:?}"
        );
    }
}
