//! What a protocol asks of the program, message by message.

use std::any::Any;

use bytes::Bytes;

use super::http::Requests;
use super::{Answer, Message, Out, Units};

/// The handlers of one connection, with its state; what they are asked of
/// requests is HTTP's own. Implemented by `dispatch`.
pub trait Dispatch: Requests {
    /// Whether the handler of `route` may run on the event loop.
    fn inline(&self, route: Route) -> bool;

    /// Runs the handler of `route` and puts what it answered into `answer`.
    /// Never panics: a panic is caught, counted and answered with an error.
    fn call(&mut self, route: Route, body: Units<'_>, out: &mut Out<'_>, answer: &mut Answer);

    /// Runs what the user wants done at the start of a connection.
    fn opened(&mut self, out: &mut Out<'_>);

    /// The body of the message that announces the worker's end, as the program
    /// wants it.
    fn going_away(&mut self, out: &mut Out<'_>) -> Bytes {
        let _has_no_words = out;
        Bytes::new()
    }

    /// Runs a timer of this connection.
    fn timer(&mut self, token: u64, out: &mut Out<'_>);

    /// The function that gets the messages without ids of the connections that come
    /// to `path`, if there is one.
    fn messages_at(&self, path: &str) -> Option<Listening> {
        let _nobody = path;
        None
    }

    /// Gives it one, and puts what it answered into `answer`. As [`Self::call`].
    fn message(&mut self, number: u32, message: Message, out: &mut Out<'_>, answer: &mut Answer) {
        let _never_asked = (number, message, out, answer);
    }

    /// Does what somebody else wanted done in this connection's turn.
    fn run(&mut self, task: Box<dyn Any + Send>, out: &mut Out<'_>) {
        let _never_asked = (task, out);
    }
}

/// A function that gets messages without ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listening {
    /// Its place among the routes of the program.
    pub number: u32,
    /// It may run on the event loop.
    pub inline: bool,
}

/// Which handler a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Message id; `None` where the protocol has none.
    pub id: Option<u32>,
    /// Whether the protocol calls this id its heartbeat: answered with the same
    /// message unless the user registered a handler for it.
    pub heartbeat: bool,
}
