//! How members speak: frames of `comm`, or messages over WebSocket.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Bytes of what is published.
pub(crate) const BODY: usize = 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wire {
    Comm,
    /// Binary messages that are frames of `comm`.
    SocketOfFrames,
    /// Messages that are the body alone.
    Socket,
}

/// Ids of the room's server.
pub(crate) const JOIN: u16 = 1;
pub(crate) const SAY: u16 = 2;
pub(crate) const PUSH: u16 = 3;

impl Wire {
    /// Makes a member of a fresh connection.
    pub(crate) fn enter(self, stream: &mut TcpStream, path: &str) -> io::Result<()> {
        if self != Self::Comm {
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(io::Error::other(
                    String::from_utf8_lossy(&head).into_owned(),
                ));
            }
        }
        match self {
            Self::Comm | Self::SocketOfFrames => {
                stream.write_all(&self.message(JOIN, b""))?;
                let mut reply = vec![0; self.incoming(0)];
                stream.read_exact(&mut reply)
            }
            Self::Socket => Ok(()),
        }
    }

    /// What a member writes to publish.
    pub(crate) fn say(self) -> Vec<u8> {
        self.message(SAY, &[b'x'; BODY])
    }

    fn message(self, id: u16, body: &[u8]) -> Vec<u8> {
        let payload = match self {
            Self::Comm => return frame(id, body),
            Self::SocketOfFrames => frame(id, body),
            Self::Socket => body.to_vec(),
        };
        let len = u8::try_from(payload.len()).expect("a short message");
        // A mask of zeroes: what is masked is what it was.
        let mut message = vec![0x82, 0x80 | len, 0, 0, 0, 0];
        message.extend(payload);
        message
    }

    /// Bytes of a message with a body of so many, as it comes.
    pub(crate) const fn incoming(self, body: usize) -> usize {
        match self {
            Self::Comm => 8 + body,
            Self::SocketOfFrames => 2 + 8 + body,
            Self::Socket => 2 + body,
        }
    }
}

fn frame(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + body.len()).expect("a short body");
    let sum = if body.is_empty() {
        0
    } else {
        crc32fast::hash(body)
    };
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(id.to_be_bytes());
    frame.extend(sum.to_be_bytes());
    frame.extend(body);
    frame
}
