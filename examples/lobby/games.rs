//! Games of two: who wants to play is paired with whoever waits, in any worker.
//!
//! Nobody decides for somebody else: a player is given away in its own turn alone,
//! of which there is one at a time, whatever the workers do meanwhile.
//!
//! ```text
//! bob plays      joins WAITING, and tells all workers SEEK bob
//! ann's turn     she waits: goes from WAITING to PROMISED, and tells PAIR ann bob
//! bob's turn     he waits: both leave that, and are in the room of the game
//!                he does not: ann's timer puts her back
//! ```
//!
//! Of two who wait it is always the one with the lesser name who goes first, so that
//! they do not promise themselves to each other.

use purlin::prelude::*;

use crate::{LEFT, MOVED, PAIRED, counts, players};

pub(crate) const SEEK: &str = "seek";
pub(crate) const PAIR: &str = "pair";
pub(crate) const UNPAIRED: &str = "unpaired";

const WAITING: &str = "waiting";
const PROMISED: &str = "promised";
/// Before the names of both connections.
const GAME: &str = "game/";

/// How long a promise holds.
const PROMISE: Duration = Duration::from_secs(2);

pub(crate) fn play(c: &mut Ctx<()>, (): ()) -> Result<&'static str, Error> {
    if opponent(c).is_some() || is_in(c, WAITING) || is_in(c, PROMISED) {
        return Err(Error::new(409, "you wait or play already"));
    }
    wait(c);
    Ok("wait")
}

fn is_in(c: &Ctx<()>, room: &str) -> bool {
    c.rooms().iter().any(|one| one == room)
}

/// The game that a player is in, and who else is.
fn opponent(c: &Ctx<()>) -> Option<(String, ConnId)> {
    let game = c.rooms().into_iter().find(|room| room.starts_with(GAME))?;
    let (a, b) = pair_of(&game[GAME.len()..])?;
    let other = if a == c.conn() { b } else { a };
    Some((game, other))
}

fn pair_of(text: &str) -> Option<(ConnId, ConnId)> {
    let (a, b) = text.split_once(' ')?;
    Some((a.parse().ok()?, b.parse().ok()?))
}

fn wait(c: &mut Ctx<()>) {
    c.join(WAITING);
    c.hub().tell(SEEK, c.conn().to_string());
}

/// Somebody waits: whoever waits in this worker hears of it.
pub(crate) fn seek(hub: &Hub, text: &Bytes) {
    if let Ok(seeker) = String::from_utf8_lossy(text).parse() {
        let others = hub.room(WAITING).except(seeker);
        others.run(move |c: &mut Ctx<()>| promise(c, seeker));
    }
}

/// Waits, and has not been promised in vain and paired late.
fn is_free(c: &Ctx<()>) -> bool {
    is_in(c, WAITING) && opponent(c).is_none()
}

fn promise(c: &mut Ctx<()>, seeker: ConnId) {
    if !is_free(c) {
        return;
    }
    if c.conn() > seeker {
        return c.hub().tell(SEEK, c.conn().to_string());
    }
    c.leave(WAITING);
    c.join(PROMISED);
    c.timer(UNPAIRED, PROMISE);
    let name = players::name(c);
    c.hub().tell(PAIR, format!("{} {seeker}/{name}", c.conn()));
}

/// Nothing came of a promise: the other one has left, or has been promised another.
pub(crate) fn unpaired(c: &mut Ctx<()>) {
    if is_in(c, PROMISED) {
        c.leave(PROMISED);
        wait(c);
    }
}

/// Somebody is promised to a player, who is in this worker or in another.
pub(crate) fn pair(hub: &Hub, text: &Bytes) {
    let text = String::from_utf8_lossy(text);
    if let Some((pair, name)) = text.split_once('/')
        && let Some((host, guest)) = pair_of(pair)
    {
        let name = name.to_owned();
        let guest = hub.conn(guest);
        guest.run(move |c: &mut Ctx<()>| accept(c, host, name));
    }
}

fn accept(c: &mut Ctx<()>, host: ConnId, name: String) {
    let game = format!("{GAME}{host} {}", c.conn());
    let other = c.hub().conn(host);
    if !is_free(c) || other.join(&game) == 0 {
        return;
    }
    other.leave(PROMISED);
    other.send(PAIRED, players::name(c));
    c.leave(WAITING);
    c.join(&game);
    c.send(PAIRED, name);
    counts::count(c.hub(), "games");
}

/// Not to the room: another worker may not know yet that its player is in it, and
/// the name of a connection is reached at once.
pub(crate) fn make_move(c: &mut Ctx<()>, text: String) -> Result<(), Error> {
    let (_, other) = opponent(c).ok_or_else(|| Error::new(409, "you are in no game"))?;
    c.hub().conn(other).send(MOVED, text);
    Ok(())
}

/// Ends the game, or the wish for one. Within `closed` as well.
pub(crate) fn quit(c: &mut Ctx<()>) {
    if let Some((game, other)) = opponent(c) {
        let other = c.hub().conn(other);
        other.leave(&game);
        other.send(LEFT, "");
        c.leave(&game);
    }
    c.leave(WAITING);
    c.leave(PROMISED);
}
