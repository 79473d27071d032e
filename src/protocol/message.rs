//! A message without an id. Plain data.

use bytes::Bytes;

/// A message of a WebSocket, for peers with a protocol of their own:
/// [`Web::messages`](crate::web::Web::messages).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Anything.
    Binary(Bytes),
}
