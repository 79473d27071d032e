//! Notes in a database: written in groups, read beside that, by however many workers.
//!
//! ```text
//! cargo run --release --features sqlite --example notes -- run --set listener.0.protocol=http
//! curl -d 'buy milk' 127.0.0.1:7000/notes; curl 127.0.0.1:7000/notes
//! ```
//!
//! They lie in `data/notes.db`. A reply to `POST` is given when the note is there for
//! good; nobody's death takes it away again.

use purlin::prelude::*;
use purlin::sqlite::Database;

/// To change a table, add to the end; what is there has been run somewhere.
const MIGRATIONS: &[&str] = &[
    "create table notes (id integer primary key autoincrement, text text not null)",
    "alter table notes add column at integer not null default 0",
];

#[derive(Serialize)]
struct Note {
    id: i64,
    text: String,
}

/// The newest, at most.
const SHOWN: i64 = 100_000;

fn main() -> ExitCode {
    let web = Web::<()>::new()
        .post("/notes", |c, text: String| {
            let database = c.data::<Database>().clone();
            // No business thread waits for the disk, and who comes meanwhile shares the
            // next commit.
            c.later(move |replier| {
                let insert = move |t: &purlin::sqlite::Connection| {
                    let insert = "insert into notes (text, at) values (?1, unixepoch())";
                    t.prepare_cached(insert)?.execute([text])?;
                    Ok(t.last_insert_rowid())
                };
                database.write_then(insert, |id| {
                    replier.send(id.map(Json).map_err(Error::from));
                });
            })
        })
        .get("/notes", |c, (): ()| {
            c.data::<Database>().read(|r| {
                let select = "select id, text from notes order by id desc limit ?1";
                let mut select = r.prepare_cached(select)?;
                let notes = select.query_map([SHOWN], |row| {
                    Ok(Note {
                        id: row.get(0)?,
                        text: row.get(1)?,
                    })
                })?;
                notes.collect::<Result<Vec<_>, _>>().map(Json)
            })
        });
    App::<()>::new()
        .database("notes.db", MIGRATIONS)
        .web(web)
        .main()
}
