//! purlin, as it is measured: echo on the business pool (1), echo on the event
//! loop (2), and a handler that blocks for a millisecond (3). Who joins the room
//! (4) hears what is said to it (5), as a push (6). Over HTTP a greeting, and over
//! WebSocket an echo, on the pool and on the event loop; and the room again, which
//! who says "join" enters, and where 20 bytes are said to all.

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
            Web::<()>::new()
                .get("/pooled", |_, (): ()| "Hello, World!")
                .get_inline("/inline", |_, (): ()| "Hello, World!")
                .messages("/pooled/echo", |_, message: Message| message)
                .messages_inline("/inline/echo", |_, message: Message| message)
                .messages_inline("/room", |c, message: Message| match message {
                    Message::Binary(said) if said.len() == 20 => {
                        c.hub().room("room").send(0, said);
                        None
                    }
                    Message::Binary(join) if join.len() == 4 => {
                        c.join("room");
                        Some(Message::Binary(join))
                    }
                    echo @ (Message::Text(_) | Message::Binary(_)) => Some(echo),
                }),
        )
        .main()
}
