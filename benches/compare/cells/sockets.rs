//! The cells over WebSocket: purlin beside uWebSockets.js, which is C++ under
//! JavaScript, and `ws`, which most servers in JavaScript use.

use super::{Cell, Contestant, IDLE, Maker, Method, closed, contestants};
use crate::figures::Figure::{Bytes, Rate, Threads};
use crate::frame::Layout;
use crate::load::{Says, Shape, Socket};
use crate::server::Spec;
use crate::specs::{INLINE, POOLED};

/// The packages of npm. The first has 115 MB.
const UWS: &str = "@trufflesuite/uws-js-unofficial";
const WS: &str = "ws";

/// Members of the room.
const MEMBERS: usize = 200;

/// All of them.
pub(super) fn all(make: &Maker<'_>) -> Vec<Cell> {
    for package in [UWS, WS] {
        if !make.programs.modules.join(package).exists() {
            eprintln!("compare: NO {package}, it is not installed (make bench-needs)");
        }
    }
    let mut cells = Vec::new();
    for (word, says) in [("text", Says::Text), ("binary", Says::Binary)] {
        for depth in [1, 16] {
            cells.push(make.echo(word, says, depth));
        }
    }
    cells.extend([make.by_id(), make.room(), make.sockets_memory()]);
    cells
}

impl Maker<'_> {
    /// Those in JavaScript, as far as they are there.
    fn others(&self, socket: Socket) -> Vec<(&'static str, Spec)> {
        let uws = self.programs.node("uws", UWS, socket);
        let ws = self.programs.node("ws", WS, socket);
        let uws = uws.map(|spec| ("uWebSockets.js", spec));
        uws.into_iter().chain(ws.map(|spec| ("ws", spec))).collect()
    }

    fn echo(&self, word: &str, says: Says, depth: usize) -> Cell {
        let at = |path| Socket { path, says };
        let mut servers = self.others(at("/echo"));
        servers.extend([
            (
                "purlin pooled",
                self.programs.socket(at("/pooled/echo"), &[]),
            ),
            (
                "purlin inline",
                self.programs.socket(at("/inline/echo"), &[]),
            ),
        ]);
        Cell {
            name: format!("ws-{word}-c100-d{depth}"),
            title: format!(
                "echo over WebSocket, {word} of 96 bytes, 100 connections, {depth} in flight on each"
            ),
            method: Method::Rounds,
            contestants: contestants(servers, closed(100, depth, 0)),
            figures: &[Rate],
        }
    }

    /// What the way to the functions by id costs: plain, in binary and in JSON.
    fn by_id(&self) -> Cell {
        let over = |says| self.programs.socket(Socket { path: "/ws", says }, &[]);
        let one = |name: &str, spec, over| Contestant {
            name: name.into(),
            spec,
            shape: closed(100, 1, 0),
            over,
        };
        let comm = Layout::Comm;
        Cell {
            name: "ws-ids-c100-d1".into(),
            title: "echo by id, `comm` over TCP and over WebSocket, and JSON, 100 connections"
                .into(),
            method: Method::Rounds,
            contestants: vec![
                one("pooled, TCP", self.programs.purlin(comm, POOLED, &[]), 0),
                one("pooled, frames", over(Says::Frame(comm, POOLED)), 0),
                one("pooled, JSON", over(Says::Json(POOLED)), 0),
                one("inline, TCP", self.programs.purlin(comm, INLINE, &[]), 3),
                one("inline, frames", over(Says::Frame(comm, INLINE)), 3),
                one("inline, JSON", over(Says::Json(INLINE)), 3),
            ],
            figures: &[Rate],
        }
    }

    fn room(&self) -> Cell {
        let raw = Socket {
            path: "/room",
            says: Says::Binary,
        };
        let frames = Socket {
            path: "/ws",
            says: Says::Frame(Layout::Comm, INLINE),
        };
        // All that a round says to one may wait for it.
        let mut servers = self.others(raw);
        servers.extend([
            ("purlin", self.programs.socket(raw, &[])),
            ("purlin, frames", self.programs.socket(frames, &[])),
            (
                "purlin, TCP",
                self.programs.purlin(Layout::Comm, INLINE, &[]),
            ),
        ]);
        Cell {
            name: "ws-room".into(),
            title: format!(
                "a room of {MEMBERS}, each of whom says 20 bytes to all; messages are those heard"
            ),
            method: Method::Rounds,
            contestants: contestants(servers, Shape::Room { members: MEMBERS }),
            figures: &[Rate],
        }
    }

    fn sockets_memory(&self) -> Cell {
        let at = |path, says| Socket { path, says };
        let keys = &self.idle();
        let mut servers = vec![(
            "purlin, TCP",
            self.programs.purlin(Layout::Comm, POOLED, keys),
        )];
        servers.extend([
            (
                "purlin, messages",
                self.programs.socket(at("/pooled/echo", Says::Binary), keys),
            ),
            (
                "purlin, frames",
                (self.programs).socket(at("/ws", Says::Frame(Layout::Comm, POOLED)), keys),
            ),
        ]);
        servers.extend(self.others(at("/echo", Says::Binary)));
        Cell {
            name: "ws-memory".into(),
            title: format!("{IDLE} idle WebSockets, after one message each"),
            method: Method::Memory,
            contestants: contestants(servers, closed(IDLE, 1, 0)),
            figures: &[Bytes, Threads],
        }
    }
}
