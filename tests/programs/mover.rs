//! The program that the tests of handing over start: its connections have a
//! state that goes along, a user and rooms.
//!
//! Files in the working directory: a line for each run of `opened`, `arrived` and `closed`,
//! and of a handler that works, goes into `hooks`, one for each run of a job that one
//! worker runs for all into `runs`; `slow_hand_over` and `slow_take_over`, looked at by each
//! worker as it starts, hold the milliseconds that one state takes, or `never`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use purlin::prelude::*;

/// Answers with the same bytes.
const ECHO: Id = 1;
/// Answers with the worker's pid and the name of the connection: two words.
const WHO: Id = 2;
/// Counts in the state; answers how often that was.
const SAY: Id = 10;
/// Enters the room that the body names.
const JOIN: Id = 11;
/// Binds the connection to the user that the body names.
const BIND: Id = 12;
/// Pushes to a room or to a user; answers how many that reached.
const ROOM: Id = 13;
const USER: Id = 14;
/// Sets a timer for a time that never comes.
const TIMER: Id = 15;
/// Keeps the connection busy for as many milliseconds as the body says.
const WORK: Id = 16;
/// As that, and pushes to the room `lobby` then.
const LATE: Id = 17;
/// Sets the timer `push`, which pushes, for so many milliseconds from now.
const NAMED: Id = 18;
/// Says something in the log, and fails at what is nobody's business.
const FAIL: Id = 19;
/// Pushes what cannot be said, for a reason that is nobody's business.
const FAIL_PUSH: Id = 20;
/// Pushes the body to the room `lobby`, but not to who says it.
const TELL: Id = 22;
/// Pushes the body to the connection whose name is its first line.
const NAME: Id = 23;
/// Binds the connection to the user that the body names, and no other.
const BIND_ONLY: Id = 24;
/// Answers who is in the room that the body names, a name a line, and how many it has.
const MEMBERS: Id = 25;
/// Answers how many are in the room that the body names.
const COUNT: Id = 26;
/// As LATE, and closes the others in the room `lobby` with a code.
const CLOSE: Id = 27;
/// What is pushed.
const PUSH: Id = 100;

const NEVER: u64 = u64::MAX;

static SLOW_HAND_OVER: AtomicU64 = AtomicU64::new(0);
static SLOW_TAKE_OVER: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Guest {
    said: u32,
}

impl Handover for Guest {
    const VERSION: u32 = 1;

    fn hand_over(&self) -> Option<Vec<u8>> {
        wait(&SLOW_HAND_OVER)?;
        Some(self.said.to_be_bytes().to_vec())
    }

    fn take_over(version: u32, bytes: &[u8]) -> Option<Self> {
        wait(&SLOW_TAKE_OVER)?;
        let said = <[u8; 4]>::try_from(bytes).ok().filter(|_| version == 1)?;
        let said = u32::from_be_bytes(said);
        Some(Self { said })
    }
}

fn wait(millis: &AtomicU64) -> Option<()> {
    match millis.load(Ordering::Relaxed) {
        0 => Some(()),
        NEVER => None,
        millis => {
            std::thread::sleep(Duration::from_millis(millis));
            Some(())
        }
    }
}

fn note(what: &str) {
    note_in("hooks", what);
}

/// Notes who has come; who is called `greeted` is told so, and `feared` makes it panic.
fn arrived(c: &mut Ctx<'_, Guest>) {
    let user = c.user().unwrap_or_default();
    note(&format!("arrived {user} {:?} {}\n", c.rooms(), c.said));
    match user.as_str() {
        "greeted" => c.send(PUSH, "arrived"),
        "feared" => panic!("nobody is to come in"),
        _ => {}
    }
}

fn note_in(file: &str, what: &str) {
    let file = OpenOptions::new().create(true).append(true).open(file);
    let _noted = file.map(|mut file| file.write_all(what.as_bytes()));
}

fn started(_: &Hub) {
    for (name, millis) in [
        ("slow_hand_over", &SLOW_HAND_OVER),
        ("slow_take_over", &SLOW_TAKE_OVER),
    ] {
        let said = fs::read_to_string(name).unwrap_or_default();
        let said = match said.trim() {
            "never" => NEVER,
            millis => millis.parse().unwrap_or(0),
        };
        millis.store(said, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    App::<Guest>::new()
        .handover()
        .started(started)
        .missed(|_, rooms| note(&format!("missed in {rooms:?}\n")))
        .every_once("once", Duration::from_millis(100), |_, fence| {
            note_in("runs", &format!("{fence} {}\n", std::process::id()));
        })
        .opened(|_| note("opened\n"))
        .arrived(arrived)
        .closed(|_| note("closed\n"))
        .timer("push", |c| {
            let user = c.user().unwrap_or_default();
            c.send(PUSH, user);
        })
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(WHO, |c, (): ()| {
            let conn = c.conn().word().to_be_bytes();
            let pid = u64::from(std::process::id()).to_be_bytes();
            Bytes::from([pid, conn].concat())
        })
        .on(SAY, |c, (): ()| {
            c.said += 1;
            c.said.to_string()
        })
        .on(JOIN, |c, room: String| {
            c.join(&room);
            room
        })
        .on(BIND, |c, user: String| {
            c.bind(&user);
            user
        })
        .on(ROOM, |c, room: String| {
            c.hub().room(&room).send(PUSH, room.clone()).to_string()
        })
        .on(TELL, |c, text: String| {
            let others = c.hub().room("lobby").except(c.conn());
            others.send(PUSH, text).to_string()
        })
        .on(NAME, |c, text: String| {
            let (name, text) = text.split_once('\n').unwrap_or_default();
            let name = name.parse().expect("the name of a connection");
            c.hub().conn(name).send(PUSH, text.to_owned()).to_string()
        })
        .on(BIND_ONLY, |c, user: String| {
            c.bind_only(&user, PUSH, "another one").to_string()
        })
        .on(MEMBERS, |c, room: String| {
            let page = c.hub().room(&room).members(None, 1000);
            assert!(page.is_complete && !page.has_more);
            let names = page.all.iter().map(|one| one.conn.to_string());
            names.collect::<Vec<_>>().join("\n")
        })
        .on(COUNT, |c, room: String| {
            c.hub().room(&room).count().to_string()
        })
        .on(USER, |c, user: String| {
            c.hub().user(&user).send(PUSH, user.clone()).to_string()
        })
        .on(TIMER, |c, (): ()| {
            c.after(Duration::from_secs(100_000), |_| {});
            "set"
        })
        .on(NAMED, |c, millis: String| -> Result<String, Error> {
            c.timer("push", Duration::from_millis(millis.parse()?));
            Ok(millis)
        })
        .on(FAIL, |_, (): ()| -> Result<Vec<u8>, Error> {
            log::warn!(n = 7, what = "a b"; "about to fail");
            Ok(fs::read("/nonexistent/secret")?)
        })
        .on(FAIL_PUSH, |c, (): ()| {
            c.send(
                PUSH,
                Err::<(), _>(Error::internal("no room in /srv/secret")),
            );
        })
        .web(Web::new().messages("/fail", |_, _: Message| {
            Err::<(), _>(Error::internal("no key in /srv/secret"))
        }))
        .on(WORK, |_, millis: String| -> Result<String, Error> {
            note("working\n");
            std::thread::sleep(Duration::from_millis(millis.parse()?));
            Ok(millis)
        })
        .on(LATE, |c, millis: String| -> Result<String, Error> {
            note("working\n");
            std::thread::sleep(Duration::from_millis(millis.parse()?));
            let reached = c.hub().room("lobby").except(c.conn()).send(PUSH, "lobby");
            Ok(reached.to_string())
        })
        .on(CLOSE, |c, millis: String| -> Result<String, Error> {
            note("working\n");
            std::thread::sleep(Duration::from_millis(millis.parse()?));
            let others = c.hub().room("lobby").except(c.conn());
            Ok(others.close_with(4001, "as asked").to_string())
        })
        .main()
}
