//! The WebSocket of the load, written once more: what a client sends has a mask,
//! what it gets has none, and every message is one frame of less than 64 KiB.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{BODY, PROBE};
use crate::Failure;
use crate::frame::Layout;

/// What is sent over a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    /// Where it is opened.
    pub(crate) path: &'static str,
    pub(crate) says: Says,
}

/// The messages, of which each is answered by one like it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Text,
    Binary,
    /// A frame of this layout and id.
    Frame(Layout, u32),
    /// An object with this id.
    Json(u32),
}

/// Any mask is as good as another one.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// Appends what a client sends.
pub(super) fn masked(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    head(first, 0x80, payload.len(), out);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
}

/// Appends what a server sends.
pub(super) fn bare(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    head(first, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

fn head(first: u8, mask: u8, len: usize, out: &mut Vec<u8>) {
    out.push(first);
    match u8::try_from(len) {
        Ok(len @ 0..126) => out.push(mask | len),
        _ => {
            out.push(mask | 126);
            let len = u16::try_from(len).expect("messages of this bench are short");
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

fn body(connection: usize, turn: usize) -> Vec<u8> {
    let name = format!("{connection}/{turn}.");
    name.bytes().cycle().take(BODY).collect()
}

impl Socket {
    /// The message of `connection` in its `turn`: its first byte and its payload. It
    /// is like no other connection's and no other turn's, and as long.
    pub(super) fn message(&self, connection: usize, turn: usize) -> (u8, Vec<u8>) {
        let body = body(connection, turn);
        match self.says {
            Says::Text => (0x81, body),
            Says::Binary => (0x82, body),
            Says::Frame(layout, id) => {
                let mut frame = Vec::new();
                layout.encode(id, 1, &body, &mut frame);
                (0x82, frame)
            }
            Says::Json(id) => {
                let body = String::from_utf8(body).expect("digits");
                let text = format!("{{\"id\":{id},\"seq\":1,\"body\":\"{body}\"}}");
                (0x81, text.into_bytes())
            }
        }
    }

    /// What answers that message: itself, but for an object, in which the echo of any
    /// bytes is in base64.
    pub(super) fn answer(&self, connection: usize, turn: usize) -> (u8, Vec<u8>) {
        let (first, payload) = self.message(connection, turn);
        let Says::Json(id) = self.says else {
            return (first, payload);
        };
        let body = BASE64_STANDARD.encode(body(connection, turn));
        let text = format!("{{\"id\":{id},\"seq\":1,\"bytes\":\"{body}\"}}");
        (first, text.into_bytes())
    }

    /// Opens one on a connection that is new.
    ///
    /// # Errors
    ///
    /// The server does not agree.
    pub(crate) fn open(&self, stream: &TcpStream) -> Result<(), Failure> {
        stream.set_read_timeout(Some(PROBE))?;
        let mut stream = stream;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path
        );
        stream.write_all(request.as_bytes())?;
        // Byte by byte: what follows is not of the head.
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let accepts = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let is_accepted = head.windows(accepts.len()).any(|part| part == accepts);
        if head.starts_with(b"HTTP/1.1 101 ") && is_accepted {
            return Ok(());
        }
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        Err(format!("no WebSocket at {}: {}", self.path, line.escape_ascii()).into())
    }
}
