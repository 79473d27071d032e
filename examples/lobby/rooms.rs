//! Rooms: which there are, who is in them, and what is said there. The hub counts
//! and reaches the members of all workers.

use std::collections::{BTreeMap, BTreeSet};

use purlin::prelude::*;

use crate::{ENTERED, Lobby, SAID, players};

/// More than there are in any room, of which `room_max` is 1000 at most.
const MOST: usize = 10_000;

/// What the hub calls a room: no name of a room is one of the lobby's own.
pub(crate) fn key(room: &str) -> String {
    format!("room/{room}")
}

/// How many players are in each.
pub(crate) fn list(hub: &Hub) -> BTreeMap<String, usize> {
    let rooms = hub.settings::<Lobby>().rooms.iter();
    rooms
        .map(|room| (room.clone(), hub.room(&key(room)).count()))
        .collect()
}

#[derive(Serialize)]
struct Inside {
    room: String,
    user: String,
}

pub(crate) fn join(c: &mut Ctx<()>, room: String) -> Result<Json<usize>, Error> {
    let lobby = c.settings::<Lobby>();
    if !lobby.rooms.contains(&room) {
        return Err(Error::new(404, format!("there is no room {room}")));
    }
    let all = key(&room);
    // Of two workers both may give the last place away: a limit, and no lock.
    if c.hub().room(&all).count() as u64 >= lobby.room_max.get().unsigned_abs() {
        return Err(Error::new(409, format!("{room} is full")));
    }
    c.join(&all);
    let user = players::name(c);
    let others = c.hub().room(&all).except(c.conn());
    others.send(ENTERED, Json(Inside { room, user }));
    Ok(Json(c.hub().room(&all).count()))
}

#[derive(Deserialize)]
pub(crate) struct Say {
    room: String,
    text: String,
}

#[derive(Serialize)]
struct Said {
    room: String,
    user: String,
    text: String,
}

pub(crate) fn say(c: &mut Ctx<()>, Json(Say { room, text }): Json<Say>) -> Result<(), Error> {
    let all = key(&room);
    if !c.rooms().contains(&all) {
        return Err(Error::new(403, format!("you are not in {room}")));
    }
    let user = players::name(c);
    c.hub()
        .room(&all)
        .send(SAID, Json(Said { room, user, text }));
    Ok(())
}

/// Who is in a room, sorted.
pub(crate) fn members(c: &mut Ctx<()>, room: String) -> Json<BTreeSet<String>> {
    let members = c.hub().room(&key(&room)).members(None, MOST);
    let users = members.all.into_iter().filter_map(|one| one.user);
    Json(users.collect())
}
