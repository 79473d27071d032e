//! Registration, login and devices: users in a database, sessions in a cookie.
//!
//! ```text
//! cargo run --release --features full --example login-web -- run --set listener.0.protocol=http
//! ```
//!
//! Then open the address that it logs. With Redis, by configuration alone: `--set
//! session.store=redis --set redis.url=redis://127.0.0.1:6379`.

use purlin::prelude::*;
use purlin::sqlite::{Connection, Database, OptionalExtension};

const MIGRATIONS: &[&str] = &["create table users (name text primary key, password text not null)"];

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

/// Letters and digits: names stand in texts and logs.
fn check(name: &str) -> Result<(), Error> {
    let is_name = (1..=40).contains(&name.len()) && name.chars().all(char::is_alphanumeric);
    is_name
        .then_some(())
        .ok_or_else(|| Error::new(400, "a name has letters and digits, at most 40"))
}

fn register(c: &mut Http<'_, ()>, Json(m): Json<Login>) -> Result<Later, Error> {
    check(&m.name)?;
    let database = c.data::<Database>().clone();
    c.hash_password(&m.password, move |hash| {
        let insert = "insert into users (name, password) values (?1, ?2)";
        match database.write(move |t| t.execute(insert, [m.name, hash])) {
            Ok(_) => Ok(()),
            Err(error) if error.is_constraint() => Err(Error::new(409, "the name is taken")),
            Err(error) => Err(error.into()),
        }
    })
}

fn login(c: &mut Http<'_, ()>, Json(m): Json<Login>) -> Result<Later, Error> {
    check(&m.name)?;
    let database = c.data::<Database>().clone();
    let select = "select password from users where name = ?1";
    let stored = |r: &Connection| r.query_row(select, [&m.name], |row| row.get(0)).optional();
    let stored: Option<String> = database.read(stored)?;
    let name = m.name.clone();
    c.log_in(&m.name, &m.password, stored, move |hash| {
        let update = "update users set password = ?2 where name = ?1";
        database.write_then(move |t| t.execute(update, [name, hash]), |_| {});
    })
}

/// Who is there; behind `need_login` somebody is.
fn me(c: &mut Http<'_, ()>, (): ()) -> Result<Json<Option<String>>, Error> {
    Ok(Json(c.session().user()?))
}

fn main() -> ExitCode {
    let web = Web::<()>::new()
        .sessions()
        .get_inline("/", |_, (): ()| Html(include_str!("page.html")))
        .post("/register", register)
        .post("/login", login)
        .post("/logout", |c, (): ()| c.session().end())
        .post("/logout_all", |c, (): ()| c.session().end_all())
        .group("/my", |g| {
            g.need_login()
                .get("/name", me)
                .get("/devices", |c, (): ()| c.session().others().map(Json))
                .get("/note/:name", |c, (): ()| {
                    let name = c.param("name").into_owned();
                    c.session().get::<String>(&name).map(Json)
                })
                .put("/note/:name", |c, text: String| {
                    let name = c.param("name").into_owned();
                    c.session().set(&name, &text)
                })
        })
        .websocket("/ws", |c| match c.session().user()? {
            Some(_) => Ok(()),
            None => Err(Error::new(401, "log in first")),
        });
    App::<()>::new()
        .database("users.db", MIGRATIONS)
        .on(1, |c, (): ()| c.user().unwrap_or_default())
        .on(2, |c, token: String| {
            let user = c.enter_session(&token)?;
            user.ok_or_else(|| Error::new(401, "no such session"))
        })
        .web(web)
        .main()
}
