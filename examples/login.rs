//! Login with JSON, and what only those may do who are logged in.
//!
//! ```text
//! LOGIN {"user":"ann","pass":"secret"} -> {"uid":1}, or error 401
//! SAY   "hello"                        -> SAY "ann: hello" for all, or error 403
//! ```
//!
//! ```text
//! cargo run --release --example login
//! ```

use std::collections::HashMap;

use purlin::prelude::*;

const LOGIN: Id = 6;
const SAY: Id = 101;

/// The state of one connection.
#[derive(Default)]
struct Player {
    name: Option<String>,
    said: u32,
}

#[derive(Deserialize)]
struct Login {
    user: String,
    pass: String,
}

#[derive(Serialize)]
struct LoginOk {
    uid: u64,
}

/// The worker's data: who may log in. A real program would open a database.
struct Users(HashMap<&'static str, (u64, &'static str)>);

impl Users {
    fn open() -> Result<Self, std::io::Error> {
        Ok(Self(HashMap::from([
            ("ann", (1, "secret")),
            ("bob", (2, "hunter2")),
        ])))
    }

    fn check(&self, user: &str, pass: &str) -> Result<u64, Error> {
        match self.0.get(user) {
            Some((uid, known)) if *known == pass => Ok(*uid),
            Some(_) | None => Err(Error::new(401, "no such user, or another password")),
        }
    }
}

fn login(c: &mut Ctx<Player>, Json(m): Json<Login>) -> Result<Json<LoginOk>, Error> {
    let uid = c.data::<Users>().check(&m.user, &m.pass)?;
    c.bind(&m.user);
    c.name = Some(m.user);
    c.join("lobby");
    Ok(Json(LoginOk { uid }))
}

fn say(c: &mut Ctx<Player>, text: String) {
    c.said += 1;
    let name = c.name.as_deref().unwrap_or_default();
    c.hub().room("lobby").send(SAY, format!("{name}: {text}"));
}

fn main() -> ExitCode {
    App::<Player>::new()
        .data(Users::open)
        .on(LOGIN, login)
        .group(100..=199, |g| {
            g.wrap(|c, body, next| match c.name {
                Some(_) => next.run(c, body),
                None => Err(Error::new(403, "log in first")),
            })
            .on(SAY, say)
        })
        .closed(|c| log::info!("{} left after {} lines", c.conn(), c.said))
        .main()
}
