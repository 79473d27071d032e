//! A lobby: players log in, meet in rooms, write to each other, and are paired for
//! games, in as many workers as there are cores.
//!
//! ```text
//! LOGIN   {"user", "secret"}  -> the message of the day, or error 401
//! TELL    {"with", "text"}    -> TOLD {"with", "text"} for that player, or error 404
//! IS_HERE "bob"               -> true or false
//! ROOMS                       -> {"chess": 2, …}: how many are in each
//! JOIN    "chess"             -> how many are in it; ENTERED {"room", "user"} for the others
//! SAY     {"room", "text"}    -> SAID {"room", "user", "text"} for all in it
//! LEAVE   "chess"
//! MEMBERS "chess"             -> ["ann", "bob"]: who is in it
//! PLAY                        -> "wait", then PAIRED "bob"
//! MOVE    "e4"                -> MOVED "e4" for the other player
//! QUIT                        -> LEFT for the other player
//! ```
//!
//! All hear ONLINE and OFFLINE "bob", NOTICE "…", and LOOK when something of it was lost
//! on its way between workers; KICKED "why" is the last that somebody hears. Over HTTP the same port has `/events` (who comes and goes, as
//! server-sent events), `/pictures/USER` and, for browsers, `/ws`.
//!
//! ```text
//! cargo run --example lobby -- -c examples/lobby/lobby.toml adduser ann --secret 1234
//! cargo run --example lobby -- -c examples/lobby/lobby.toml
//! curl -T face.png -H "X-Secret: 1234" http://127.0.0.1:7000/pictures/ann
//! curl http://127.0.0.1:7001/counts
//! ```
//!
//! A connection has no state of its own here. Who a player is and where, is a user and
//! rooms of the hub, which all workers see, and which go along over a reload. What
//! two workers could decide at the same time says in its file how it is decided.

mod admin;
mod counts;
mod games;
mod pictures;
mod players;
mod rooms;

use std::convert::Infallible;
use std::path::PathBuf;

use purlin::Within;
use purlin::prelude::*;

const LOGIN: Id = 1;
const KICKED: Id = 2;
const ONLINE: Id = 3;
const OFFLINE: Id = 4;
const NOTICE: Id = 5;
const LOOK: Id = 6;
const TELL: Id = 10;
const TOLD: Id = 11;
const IS_HERE: Id = 12;
const ROOMS: Id = 20;
const JOIN: Id = 21;
const ENTERED: Id = 22;
const SAY: Id = 23;
const SAID: Id = 24;
const LEAVE: Id = 25;
const MEMBERS: Id = 26;
const PLAY: Id = 30;
const PAIRED: Id = 31;
const MOVE: Id = 32;
const MOVED: Id = 33;
const QUIT: Id = 34;
const LEFT: Id = 35;

/// The room of all players.
const HALL: &str = "hall";

/// What `[lobby]` says.
#[derive(Deserialize, Serialize)]
#[serde(default)]
struct Lobby {
    /// What who logs in reads.
    motd: String,
    /// The rooms that there are.
    rooms: Vec<String>,
    /// How many players have room in one.
    room_max: Within<2, 1000>,
    /// The file of players, each with a secret.
    players: PathBuf,
    /// The folder of pictures.
    pictures: PathBuf,
}

impl Default for Lobby {
    fn default() -> Self {
        Self {
            motd: "welcome".into(),
            rooms: vec!["chess".into(), "go".into()],
            room_max: Within::new(100),
            players: "players".into(),
            pictures: "pictures".into(),
        }
    }
}

fn main() -> ExitCode {
    let web = pictures::web().websocket("/ws", |_| ());
    App::<()>::new()
        .version(env!("CARGO_PKG_VERSION"))
        .about("A place where players meet")
        .settings::<Lobby>("lobby")
        .flag("--motd <TEXT>", "lobby.motd", "What who logs in reads")
        .command("adduser", players::add)
        .data_with(players::Players::read)
        .data(|| Ok::<_, Infallible>(counts::Counts::default()))
        .on_tell(counts::TOPIC, counts::counted)
        .on(LOGIN, players::login)
        .group(TELL..=LEFT, |g| {
            g.need(403, "log in first", |c| c.user().is_some())
                .on(TELL, players::tell)
                .on(IS_HERE, |c, user: String| {
                    Json(players::is_here(c.hub(), &user))
                })
                .on(ROOMS, |c, (): ()| Json(rooms::list(c.hub())))
                .on(JOIN, rooms::join)
                .on(SAY, rooms::say)
                .on(LEAVE, |c, room: String| c.leave(&rooms::key(&room)))
                .on(MEMBERS, rooms::members)
                .on(PLAY, games::play)
                .on(MOVE, games::make_move)
                .on(QUIT, |c, (): ()| games::quit(c))
        })
        .on_tell(games::SEEK, games::seek)
        .on_tell(games::PAIR, games::pair)
        .missed(|hub, _| _ = hub.room(HALL).send(LOOK, ""))
        .timer(games::UNPAIRED, games::unpaired)
        .web(web.get("/events", players::events))
        .listener("admin", |l| l.web(admin::web()))
        .kicked(|c, why| c.send(KICKED, why.to_owned()))
        .closed(|c| {
            games::quit(c);
            players::left(c);
        })
        .main()
}
