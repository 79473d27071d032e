//! The load that `purlin stress` cannot make: a room of `bench-purlin`. One of
//! its members says something, and nothing more before everybody has heard it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;
use crate::frame::Layout;
use crate::load::BODY;
use crate::load::ring::same;
use crate::specs::INLINE;

/// Message ids of `bench-purlin`: joins the room, says to it, is heard in it.
const JOIN: u32 = 4;
const SAY: u32 = 5;
const HEARD: u32 = 6;

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says `count` things to a room of `members`.
///
/// # Errors
///
/// Somebody did not hear it, or heard something else.
pub(crate) fn run(address: SocketAddr, members: usize, count: u64) -> Result<(), Failure> {
    let mut room = (0..members)
        .map(|_| join(address))
        .collect::<Result<Vec<_>, Failure>>()?;
    for turn in 0..count {
        let body: Vec<u8> = turn.to_be_bytes().into_iter().cycle().take(BODY).collect();
        room[0].write_all(&frame(SAY, &body))?;
        for (index, member) in room.iter_mut().enumerate() {
            hear(member, &frame(HEARD, &body))
                .map_err(|error| format!("member {index}, push {turn}: {error}"))?;
        }
    }
    Ok(())
}

/// A connection that is in the room: joining has no reply, so that of the echo
/// behind it is awaited.
fn join(address: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let echo = frame(INLINE, b"joined");
    stream.write_all(&[frame(JOIN, b""), echo.clone()].concat())?;
    hear(&mut stream, &echo)?;
    Ok(stream)
}

fn hear(stream: &mut TcpStream, expected: &[u8]) -> Result<(), Failure> {
    let mut came = vec![0; expected.len()];
    stream.read_exact(&mut came)?;
    same(&came, expected)
}

fn frame(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Layout::Comm.encode(id, 0, body, &mut bytes);
    bytes
}
