//! What a line of the log says by itself while a handler runs: which connection,
//! whose it is, and which request. Each thread's own.
//!
//! Running a handler costs a few words of memory; everything else is looked up when
//! a line is written.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use super::hub::{Hub, WeakHub};
use super::own_turn;
use super::service::Named;

thread_local! {
    /// The connection that is worked for, if that is not whose turn is held: of
    /// requests over HTTP, and of errors that are reported.
    static CONN: Cell<Option<Named>> = const { Cell::new(None) };
    static HUB: RefCell<Option<WeakHub>> = const { RefCell::new(None) };
    /// Which hub that is, for a comparison without more. The weak one keeps any
    /// other from the same address.
    static HUB_ADDRESS: Cell<usize> = const { Cell::new(0) };
    /// The name of the request that is served; empty: it has none yet.
    static REQUEST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lines of this thread are about a connection of this hub from now on.
#[inline]
pub(super) fn remember(hub: &Hub) {
    if HUB_ADDRESS.get() != hub.address() {
        HUB_ADDRESS.set(hub.address());
        HUB.set(Some(hub.downgrade()));
    }
}

/// Lines of this thread are about `conn`, until the result is dropped.
pub(super) fn enter(conn: Named, hub: &Hub) -> Entered {
    remember(hub);
    Entered(CONN.replace(Some(conn)))
}

/// See [`enter`]: what was said before.
pub(super) struct Entered(Option<Named>);

impl Drop for Entered {
    fn drop(&mut self) {
        if CONN.replace(self.0).is_some() && self.0.is_none() {
            name_request("");
        }
    }
}

/// The request that is served has this name.
pub fn name_request(request: &str) {
    REQUEST.with_borrow_mut(|name| {
        if name != request {
            name.clear();
            name.push_str(request);
        }
    });
}

/// Says the fields of the calling thread's line: name and value of each.
pub fn log_fields(say: &mut dyn FnMut(&str, &dyn Display)) {
    let own = CONN.get().or_else(own_turn::named);
    let Some(conn) = own else {
        return;
    };
    say("conn", &conn.name);
    let hub = HUB.with_borrow(|hub| hub.as_ref()?.upgrade());
    let memberships = hub.map(|hub| hub.directory().memberships(conn.conn));
    if let Some(user) = memberships.and_then(|of| of.user) {
        say("user", &user);
    }
    REQUEST.with_borrow(|request| {
        if !request.is_empty() {
            say("request", request);
        }
    });
}
