//! What a handler sends to its own connection by way of the hub.
//!
//! It belongs into the output of the turn that this thread holds, in its place
//! among `c.send`, the reply and a close: by way of the connection's inbox it
//! would come behind replies that were given later. The hub has no way to that
//! output, which the handler's context has borrowed. So it waits here, and the
//! context takes it before its next word, the dispatcher behind the handler.
//!
//! Invariant: something waits only while the thread holds a turn.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use super::service::Named;
use super::sink::Sink;
use crate::net::ConnId;
use crate::protocol::CloseMode;

/// What waits, in its order.
enum Said {
    /// A push, as it goes over the wire.
    Push(Bytes),
    /// The wish to close, with a code.
    Close(Option<u16>),
}

thread_local! {
    /// The connection whose handler runs on this thread.
    static HELD: Cell<Option<Named>> = const { Cell::new(None) };
    /// Whether anything waits.
    static WAITS: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Vec<Said>> = const { RefCell::new(Vec::new()) };
}

/// This thread runs a handler of `conn`, until the result is dropped.
pub(super) fn hold(conn: Named) -> Held {
    HELD.set(Some(conn));
    Held(())
}

/// See [`hold`].
pub(super) struct Held(());

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(None);
    }
}

/// The connection whose handler runs on this thread, if any does, and how many
/// bytes wait for it here.
pub(super) fn held() -> Option<(ConnId, usize)> {
    Some((HELD.get()?.conn, if WAITS.get() { waiting() } else { 0 }))
}

/// The same, and what everybody calls it.
pub(super) fn named() -> Option<Named> {
    HELD.get()
}

fn waiting() -> usize {
    SAID.with_borrow(|said| {
        let bytes = |one: &Said| match one {
            Said::Push(bytes) => bytes.len(),
            Said::Close(_) => 0,
        };
        said.iter().map(bytes).sum()
    })
}

/// A push to that connection.
pub(super) fn push(bytes: Bytes) {
    say(Said::Push(bytes));
}

/// That connection is to close, behind the reply.
pub(super) fn close(code: Option<u16>) {
    say(Said::Close(code));
}

fn say(one: Said) {
    SAID.with_borrow_mut(|said| said.push(one));
    WAITS.set(true);
}

/// Puts what waits into the output of the turn.
#[inline]
pub(super) fn deliver(out: &mut dyn Sink) {
    if WAITS.get() {
        deliver_all(out);
    }
}

#[cold]
fn deliver_all(out: &mut dyn Sink) {
    WAITS.set(false);
    let said = SAID.with_borrow_mut(std::mem::take);
    for one in said {
        match one {
            Said::Push(bytes) => out.append(&bytes),
            Said::Close(code) => {
                if let Some(code) = code {
                    out.say_code(code);
                }
                out.close(CloseMode::Flush);
            }
        }
    }
}
