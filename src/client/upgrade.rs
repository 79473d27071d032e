//! Opening a WebSocket over a connection that is there. Runs on the reader thread.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::shared::Shared;
use crate::protocol::websocket::client::{Handshake, SocketUrl};
use crate::sys::socket::{self, Wanted};

/// Bytes of one read.
const READ: usize = 4096;

/// Asks for `url`, and reads the answer; gives what came behind it, and `None` when
/// the client was closed meanwhile.
///
/// # Errors
///
/// The server opens none, or not in time, or the connection broke.
pub(super) fn open(
    shared: &Shared,
    socket: &OwnedFd,
    url: &SocketUrl,
    deadline: Instant,
) -> io::Result<Option<Vec<u8>>> {
    let handshake = Handshake::new(url);
    let (mut sent, mut came) = (0, Vec::new());
    loop {
        let is_sent = sent == handshake.request.len();
        let wanted = if is_sent { Wanted::Read } else { Wanted::Write };
        let left = deadline.saturating_duration_since(Instant::now());
        let ready = socket::wait(socket, wanted, &shared.bell, left)?;
        if ready.bell {
            shared.bell.hush();
        }
        if shared.lock().closed {
            return Ok(None);
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !ready.socket {
            continue;
        }
        if !is_sent {
            sent += socket::send(socket, &handshake.request[sent..])?;
            continue;
        }
        let mut piece = [0; READ];
        let count = socket::receive(socket, &mut piece)?;
        if count == 0 {
            let what = "the server ended the connection in place of an answer";
            return Err(io::Error::other(what));
        }
        came.extend_from_slice(&piece[..count]);
        if let Some(len) = handshake.read(&came).map_err(io::Error::other)? {
            return Ok(Some(came.split_off(len)));
        }
    }
}
