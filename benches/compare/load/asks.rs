//! What a server is asked: frames or messages of which each is different, or one
//! request over HTTP again and again.

use std::net::TcpStream;
use std::sync::Arc;

use super::socket::{Socket, bare, masked};
use super::{BODY, SLOW};
use crate::Failure;
use crate::frame::Layout;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asks {
    /// Echoes.
    Frames {
        /// What they look like.
        layout: Layout,
        /// Message id of the echo.
        id: u32,
    },
    /// A resource.
    Http(Arc<Get>),
    /// Echoes over a WebSocket.
    Socket(Socket),
}

/// A request over HTTP, and what has to come back.
#[derive(Debug)]
pub(crate) struct Get {
    /// For messages.
    pub(crate) path: String,
    /// Its head; it has no body.
    pub(crate) request: String,
    /// Status of the reply.
    pub(crate) status: u16,
    /// Body of the reply.
    pub(crate) body: Vec<u8>,
}

impl Get {
    /// A request for `path` as load tools write it, with `fields` more.
    pub(crate) fn asks(path: &str, fields: &str, status: u16, body: Vec<u8>) -> Asks {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n");
        Asks::Http(Arc::new(Self {
            path: path.into(),
            request,
            status,
            body,
        }))
    }
}

impl Asks {
    /// Whatever has to be said on a new connection before anything is asked.
    ///
    /// # Errors
    ///
    /// The server does not agree.
    pub(super) fn begin(&self, stream: &TcpStream) -> Result<(), Failure> {
        match self {
            Self::Frames { .. } | Self::Http(_) => Ok(()),
            Self::Socket(socket) => socket.open(stream),
        }
    }

    /// Appends the request of `connection` in its `turn`. A frame is like no
    /// other connection's and no other turn's.
    pub(crate) fn request(&self, connection: usize, turn: usize, out: &mut Vec<u8>) {
        match self {
            Self::Frames { layout, id } => {
                let name = format!("{connection}/{turn}.");
                let body: Vec<u8> = name.bytes().cycle().take(BODY).collect();
                let sequence = u32::try_from(turn + 1).expect("a ring is short");
                layout.encode(*id, sequence, &body, out);
            }
            Self::Http(get) => out.extend_from_slice(get.request.as_bytes()),
            Self::Socket(socket) => {
                let (first, payload) = socket.message(connection, turn);
                masked(first, &payload, out);
            }
        }
    }

    /// Appends the reply to that request, where it can be known.
    pub(super) fn reply(&self, connection: usize, turn: usize, out: &mut Vec<u8>) {
        match self {
            Self::Frames { .. } => self.request(connection, turn, out),
            Self::Http(_) => {}
            Self::Socket(socket) => {
                let (first, payload) = socket.answer(connection, turn);
                bare(first, &payload, out);
            }
        }
    }

    /// The same of a handler that blocks for a millisecond, where there is one.
    pub(crate) fn slow(&self) -> Self {
        match self {
            Self::Frames { layout, .. } => Self::Frames {
                layout: *layout,
                id: SLOW,
            },
            Self::Http(get) => Self::Http(Arc::clone(get)),
            Self::Socket(socket) => Self::Socket(*socket),
        }
    }
}
