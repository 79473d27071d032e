//! Rooms: which there are, who is in them, and what is said there. The hub counts
//! and reaches the members of all workers.

use std::collections::BTreeMap;

use purlin::prelude::*;

use crate::{ENTERED, Lobby, MEMBER, SAID, players};

pub(crate) const ROLL: &str = "roll";

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

/// Answers how many there are, and has each of them say who it is.
pub(crate) fn members(c: &mut Ctx<()>, room: String) -> Json<usize> {
    tell_members(c.hub(), &room, c.conn());
    Json(c.hub().room(&key(&room)).count())
}

/// Has the members of a room, of whatever worker, tell `asker` that they are in it.
fn tell_members(hub: &Hub, room: &str, asker: ConnId) {
    hub.tell(ROLL, format!("{asker} {room}"));
}

/// Somebody wants to know who is in a room: the members of this worker say so.
pub(crate) fn roll(hub: &Hub, text: &Bytes) {
    let text = String::from_utf8_lossy(text);
    if let Some((asker, room)) = text.split_once(' ')
        && let Ok(asker) = asker.parse()
    {
        let (all, room) = (key(room), room.to_owned());
        hub.room(&all).run(move |c: &mut Ctx<()>| {
            let user = players::name(c);
            let asker = c.hub().conn(asker);
            asker.send(MEMBER, Json(Inside { room, user }));
        });
    }
}
