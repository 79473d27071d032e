//! Players: who may log in, who is here, and what they write to each other.

use std::collections::HashMap;
use std::fs;
use std::io::Write;

use purlin::dispatch::Settings;
use purlin::prelude::*;

use crate::{HALL, KICKED, LOOK, Lobby, OFFLINE, ONLINE, TOLD, counts};

/// Let a player log in
#[derive(clap::Args)]
pub(crate) struct Add {
    /// Of letters and digits
    user: String,
    /// What the player logs in with
    #[arg(long)]
    secret: String,
}

/// The command `adduser`: workers read the file at the next reload.
pub(crate) fn add(args: Add, settings: &Settings) -> Result<(), String> {
    let Add { user, secret } = args;
    // It is the name of a file, too.
    if user.is_empty() || !user.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("{user:?} is not of letters and digits"));
    }
    let path = &settings.get::<Lobby>().players;
    let file = fs::File::options().append(true).create(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{user} {secret}"));
    written.map_err(|error| format!("write {}: {error}", path.display()))
}

/// The secrets of all players. A real program keeps hashes of them.
pub(crate) struct Players(HashMap<String, String>);

impl Players {
    /// As the file has them when the worker starts; none before the first `adduser`.
    pub(crate) fn read(settings: &Settings) -> Result<Self, String> {
        let path = &settings.get::<Lobby>().players;
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| format!("read {}: {error}", path.display()))?,
        };
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let owned = pairs.map(|(user, secret)| (user.into(), secret.into()));
        Ok(Self(owned.collect()))
    }

    pub(crate) fn has(&self, user: &str) -> bool {
        self.0.contains_key(user)
    }

    pub(crate) fn know(&self, user: &str, secret: &str) -> bool {
        self.0.get(user).is_some_and(|known| known == secret)
    }
}

#[derive(Deserialize)]
pub(crate) struct Login {
    user: String,
    secret: String,
}

pub(crate) fn login(c: &mut Ctx<()>, Json(m): Json<Login>) -> Result<String, Error> {
    if c.user().is_some() {
        return Err(Error::new(409, "you are logged in"));
    }
    if !c.data::<Players>().know(&m.user, &m.secret) {
        return Err(Error::new(401, "no such player, or another secret"));
    }
    let is_new = !is_here(c.hub(), &m.user);
    c.bind_only(&m.user, KICKED, "you have logged in elsewhere");
    c.join(HALL);
    if is_new {
        c.hub().room(HALL).except(c.conn()).send(ONLINE, m.user);
    }
    counts::count(c.hub(), "logins");
    Ok(c.settings::<Lobby>().motd.clone())
}

pub(crate) fn is_here(hub: &Hub, user: &str) -> bool {
    hub.user(user).count() > 0
}

/// Who a player is: behind the guard there is a name.
pub(crate) fn name(c: &Ctx<()>) -> String {
    c.user().unwrap_or_default()
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Letter {
    /// To whom; for who gets it, from whom.
    with: String,
    text: String,
}

pub(crate) fn tell(
    c: &mut Ctx<()>,
    Json(Letter { with, text }): Json<Letter>,
) -> Result<(), Error> {
    let (to, with) = (c.hub().user(&with), name(c));
    match to.send(TOLD, Json(Letter { with, text })) {
        0 => Err(Error::new(404, "no such player is here")),
        _ => Ok(()),
    }
}

/// A connection has ended, whose player may be here by another one.
pub(crate) fn left(c: &mut Ctx<()>) {
    if let Some(user) = c.user().filter(|user| !is_here(c.hub(), user)) {
        c.hub().room(HALL).send(OFFLINE, user);
    }
}

/// Who comes and goes, for a page.
pub(crate) fn events(c: &mut Http<()>, (): ()) -> Stream {
    c.events_of(&[HALL], |id, text| {
        let kind = match id {
            ONLINE => "online",
            OFFLINE => "offline",
            LOOK => "look",
            _ => "notice",
        };
        Some(Event::new(String::from_utf8_lossy(text)).named(kind))
    })
}
