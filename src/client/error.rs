//! Why something did not work: one variant for each decision of the caller.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::body::{Error, Id};
use crate::protocol::Unsendable;

/// What went wrong with a client's request.
#[derive(Debug)]
pub enum ClientError {
    /// The builder was given something wrong: correct the program.
    Settings(String),
    /// The name in this address has no address: correct it, or try later, when
    /// the network is there.
    Unresolved(String, io::Error),
    /// Nobody listens at this address: start the server, or try later.
    Refused(String),
    /// The connection was not made in time.
    ConnectTimeout(String, Duration),
    /// The connection could not be made for another reason.
    Connect(String, io::Error),
    /// There is no connection now, or its greeting has not ended yet. Nothing was
    /// sent: try again later.
    Disconnected,
    /// The connection ended before the reply came. The server may have acted
    /// on the request or not; it is not sent again.
    Lost(Why),
    /// No reply in time. The server may have acted on the request or not.
    TimedOut(Id, Duration),
    /// The server takes no more bytes: too much waits to be sent, and there was
    /// no room in time. Nothing was sent: send less, or later.
    Full,
    /// The client was closed. Nothing was sent.
    Closed,
    /// The format cannot carry this message. Nothing was sent.
    Unsendable(Unsendable),
    /// The body to be sent is itself a failure. Nothing was sent.
    Body(Error),
    /// The server answered with an error.
    Remote(Error),
    /// The server answered with a body that is not of the expected type.
    BadReply(Error),
}

/// Why a connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// The server sent its last byte.
    Ended,
    /// The connection broke, as when the server dies.
    Broken(io::ErrorKind),
    /// What arrived is no frame of this format.
    Unreadable(String),
    /// The server closed the WebSocket, with this code if it said one.
    SocketClosed(Option<u16>),
    /// A reply was late; taken for the next one, it would be a wrong answer.
    Late(Id),
    /// The server has taken no byte of what waits for a whole call's time.
    Stuck,
    /// Nothing has come from the server for so long, though something was due:
    /// the answer to a heartbeat, or whatever [`Builder::silence`] waits for. It
    /// hangs, or its machine or the network is gone.
    ///
    /// [`Builder::silence`]: super::Builder::silence
    Silent(Duration),
    /// The greeting failed, with these words.
    Greeting(String),
    /// The client was closed.
    Closed,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(text) => f.write_str(text),
            Self::Unresolved(address, error) => write!(f, "look up {address}: {error}"),
            Self::Refused(address) => write!(f, "connect to {address}: nobody listens there"),
            Self::ConnectTimeout(address, after) => {
                write!(f, "connect to {address}: no answer in {after:?}")
            }
            Self::Connect(address, error) => write!(f, "connect to {address}: {error}"),
            Self::Disconnected => f.write_str("not connected; nothing was sent"),
            Self::Lost(why) => write!(f, "the connection is lost: {why}"),
            Self::TimedOut(id, after) => write!(f, "no reply to message {id} in {after:?}"),
            Self::Full => f.write_str("the server takes no more bytes; nothing was sent"),
            Self::Closed => f.write_str("the client is closed"),
            Self::Unsendable(error) => error.fmt(f),
            Self::Body(error) => write!(f, "make the body: {error}"),
            Self::Remote(error) => error.fmt(f),
            Self::BadReply(error) => write!(f, "read the reply: {error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Connect(_, error) | Self::Unresolved(_, error) = self {
            Some(error)
        } else {
            None
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the server ended the connection"),
            Self::Broken(kind) => write!(f, "the connection broke: {kind}"),
            Self::Unreadable(text) => write!(f, "the server sent no frame: {text}"),
            Self::SocketClosed(None) => f.write_str("the server closed the WebSocket"),
            Self::SocketClosed(Some(code)) => {
                write!(f, "the server closed the WebSocket with {code}")
            }
            Self::Late(id) => write!(f, "closed, as the reply to message {id} was late"),
            Self::Stuck => f.write_str("closed, as the server took no more bytes"),
            Self::Silent(limit) => write!(f, "nothing came from the server for {limit:?}"),
            Self::Greeting(why) => write!(f, "the greeting failed: {why}"),
            Self::Closed => f.write_str("the client was closed"),
        }
    }
}
