//! Connections as operators see them: what `purlin connections` shows.

use std::fmt::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::net::ConnId;

/// Characters of a user's name that a line has room for.
const USER_SHOWN: usize = 20;

/// Characters that it has room for of the names of rooms.
const ROOMS_SHOWN: usize = 40;

/// The connections of one worker.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Listed {
    /// At most a thousand of them.
    pub live: Vec<Live>,
    /// How many there are.
    pub total: usize,
}

/// One connection, as an operator sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Live {
    /// Its name, as a word.
    pub id: u64,
    /// The client, or nobody: a Unix socket has no address.
    pub peer: Option<SocketAddr>,
    /// The address that it connected to.
    pub local: String,
    /// Milliseconds since it was accepted.
    pub age: u64,
    /// Milliseconds since its last whole message came, or since it was accepted.
    pub idle: u64,
    /// Bytes received and bytes that the peer has acknowledged, where the kernel
    /// counts them: not on Unix sockets.
    pub bytes: Option<(u64, u64)>,
    /// Bytes that wait here to be sent.
    pub queued: usize,
    /// Whom the program has bound it to.
    pub user: Option<String>,
    /// Where it has joined: the first [`Self::ROOMS_MAX`], sorted.
    pub rooms: Vec<String>,
}

impl Live {
    /// Rooms that are listed of one connection.
    pub const ROOMS_MAX: usize = 8;

    /// Characters of a room's name that are listed.
    pub const ROOM_MAX: usize = 64;

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let id = ConnId::from_word(self.id).to_string();
        let peer = self.peer.map_or("unix".into(), |peer| peer.to_string());
        let bytes = |count: fn(&(u64, u64)) -> u64| {
            self.bytes
                .as_ref()
                .map_or("-".into(), |both| short(count(both)))
        };
        let mut line = String::new();
        let _never_fails = write!(
            line,
            "{id:<17} {peer:<23} {:<21} {:>6} {:>6} {:>6} {:>6} {:>6}  {}",
            self.local,
            time(self.age),
            time(self.idle),
            bytes(|both| both.0),
            bytes(|both| both.1),
            short(self.queued as u64),
            cut(self.user.as_deref().unwrap_or("-"), USER_SHOWN),
        );
        if !self.rooms.is_empty() {
            line += "  ";
            line += &cut(&self.rooms.join(" "), ROOMS_SHOWN);
        }
        line
    }

    /// The same for programs.
    #[must_use]
    pub fn object(&self, worker: usize) -> Value {
        json!({
            "id": ConnId::from_word(self.id).to_string(),
            "worker": worker,
            "peer": self.peer,
            "local": self.local,
            "age_ms": self.age,
            "idle_ms": self.idle,
            "bytes_received": self.bytes.map(|both| both.0),
            "bytes_acknowledged": self.bytes.map(|both| both.1),
            "bytes_queued": self.queued,
            "user": self.user,
            "rooms": self.rooms,
        })
    }
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// At most five characters.
fn short(bytes: u64) -> String {
    match bytes {
        0..10_000 => bytes.to_string(),
        10_000..10_240_000 => format!("{}K", bytes >> 10),
        10_240_000..10_485_760_000 => format!("{}M", bytes >> 20),
        _ => format!("{}G", bytes >> 30),
    }
}

fn time(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..600 => format!("{seconds}s"),
        seconds @ 600..36_000 => format!("{}m", seconds / 60),
        seconds @ 36_000..864_000 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
