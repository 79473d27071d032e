//! Rooms: join one, say something, everybody else in it hears it.
//!
//! ```text
//! JOIN  "lobby"        -> how many are in it now
//! SAY   "hello"        -> HEARD "name: hello" for everybody else in the room
//! NAME  "ann"          -> from now on ann
//! ```
//!
//! ```text
//! cargo run --release --example rooms -- --set listener.0.protocol=auto
//! ```
//!
//! It has a worker for each core, and the rooms are those of all.
//! Clients of frames and browsers, which find a page at http://127.0.0.1:7000, are
//! in the same rooms: the page speaks JSON over a WebSocket, by `/purlin.js`.

use purlin::prelude::*;

const NAME: Id = 1;
const JOIN: Id = 2;
const SAY: Id = 3;
const HEARD: Id = 4;

/// What a browser shows.
const PAGE: &str = include_str!("rooms.html");

/// The state of one connection.
#[derive(Default)]
struct Guest {
    name: String,
    room: Option<String>,
}

fn join(c: &mut Ctx<Guest>, room: String) -> String {
    if let Some(old) = c.room.take() {
        c.leave(&old);
    }
    c.join(&room);
    let count = c.hub().room(&room).count();
    c.room = Some(room);
    count.to_string()
}

fn say(c: &mut Ctx<Guest>, text: String) -> Result<(), Error> {
    let room = c
        .room
        .as_deref()
        .ok_or_else(|| Error::new(409, "join a room first"))?;
    let line = format!("{}: {text}", c.name);
    c.hub().room(room).except(c.conn()).send(HEARD, line);
    Ok(())
}

fn main() -> ExitCode {
    let web = Web::new()
        .websocket("/ws", |_| ())
        .get("/", |_, (): ()| Html(PAGE));
    App::<Guest>::new()
        .opened(|c| c.name = format!("guest {}", c.conn()))
        .on(NAME, |c, name: String| c.name = name)
        .on(JOIN, join)
        .on(SAY, say)
        .web(web)
        .main()
}
