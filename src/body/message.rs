//! Messages without ids as replies.

use super::reply::IntoReply;
use super::{Answer, Media};
use crate::protocol::Message;

/// Over WebSocket the same kind of message; elsewhere its content.
impl IntoReply for Message {
    fn into_reply(self) -> Answer {
        match self {
            Self::Text(text) => Answer::media(text.into(), Media::Text),
            Self::Binary(bytes) => Answer::body(bytes),
        }
    }
}
