//! purlin, as it is measured: echo on the business pool (1), echo on the event
//! loop (2), and a handler that blocks for a millisecond (3). Who joins the room
//! (4) hears what is said to it (5), as a push (6). Over HTTP a greeting, on the
//! pool and on the event loop.

use std::thread;

use purlin::prelude::*;

fn main() -> ExitCode {
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, |_, body: Bytes| body)
        .on(3, |_, body: Bytes| {
            thread::sleep(Duration::from_millis(1));
            body
        })
        .on_inline(4, |c, (): ()| c.join("room"))
        .on_inline(5, |c, body: Bytes| {
            c.hub().room("room").send(6, body);
        })
        .web(
            Web::new()
                .get("/pooled", |_, (): ()| "Hello, World!")
                .get_inline("/inline", |_, (): ()| "Hello, World!"),
        )
        .main()
}
