//! What a protocol asks of the program, message by message.

use std::any::Any;

use bytes::Bytes;

use super::http::Requests;
use super::{Answer, Out, Units};

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

    /// Does what somebody else wanted done in this connection's turn.
    fn run(&mut self, task: Box<dyn Any + Send>, out: &mut Out<'_>) {
        let _never_asked = (task, out);
    }
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
