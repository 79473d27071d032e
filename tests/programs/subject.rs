//! The program that the tests of the master start: its workers say who they
//! are, log at will, and fail to start when a file tells them to.
//!
//! Over HTTP, `/file/PATH` is the file at `/PATH`, and `/api/v1/stream/` tells
//! the two parameters of its query. `/sum` tells the length of a body that may
//! come in parts, `/lines` is a stream, and `/many` one that no socket holds. `/held` keeps a thread until there is a
//! file `go` in the working directory, `/later` puts its answer off until then.
//!
//! Files in the working directory, looked at by each worker as it starts:
//! `data` and `started` hold the text of an error, `crash` the number of the
//! worker that is to exit at once; it writes when into `crashes`. A worker that
//! finds `hang` never starts.

use std::fs::{self, OpenOptions};
use std::io::Write;

use purlin::prelude::*;

/// Answers with the same bytes.
const ECHO: Id = 1;
/// Answers with the worker's pid and the name of the connection: two words.
const WHO: Id = 2;
/// Writes as many lines to the log as the body says; answers when done.
const LOG: Id = 3;
/// Sends to the connection that the body names; answers how many that reached.
const SEND: Id = 4;

/// Panics.
const PANIC: Id = 5;
/// Sleeps for as many milliseconds as the body says, on the event loop.
const BLOCK: Id = 6;
/// Never ends, on the event loop.
const SPIN: Id = 7;
/// Sleeps for as many milliseconds as the body says, on a business thread.
const SLEEP: Id = 8;
/// Writes the body to standard error.
const WRITE: Id = 9;
/// Asks for more memory than there is.
const ALLOCATE: Id = 10;
/// Closes the connection that the body names; answers how many those are.
const CLOSE: Id = 11;

fn sleep(millis: &str) -> Result<(), Error> {
    std::thread::sleep(Duration::from_millis(millis.parse()?));
    Ok(())
}

/// Waits until there is a file `go`.
fn wait_for_go() {
    while !fs::exists("go").unwrap_or(false) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn told(file: &str) -> Result<(), String> {
    fs::read_to_string(file).map_or(Ok(()), Err)
}

/// Ends the process where the file `crash` says so. The title tells which
/// worker this is.
fn crash() {
    let Ok(number) = fs::read_to_string("crash") else {
        return;
    };
    let title = fs::read_to_string("/proc/self/cmdline").unwrap_or_default();
    if !title.contains(&format!("worker {} ", number.trim())) {
        return;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let line = format!("{}\n", now.map_or(0, |now| now.as_millis()));
    let crashes = OpenOptions::new().create(true).append(true).open("crashes");
    let _counted = crashes.map(|mut file| file.write_all(line.as_bytes()));
    std::process::exit(3);
}

/// What a request for a stream says.
#[derive(Deserialize)]
struct Stream {
    streamname: String,
    edgename: String,
}

fn main() -> ExitCode {
    App::<()>::new()
        .data(|| {
            crash();
            while fs::exists("hang").unwrap_or(false) {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            }
            told("data")
        })
        .started(|_| told("started"))
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(WHO, |c, (): ()| {
            let conn = c.conn().word().to_be_bytes();
            let pid = u64::from(std::process::id()).to_be_bytes();
            Bytes::from([pid, conn].concat())
        })
        .on(LOG, |_, count: String| -> Result<String, Error> {
            for n in 0..count.parse::<u64>()? {
                log::info!("line {n} of {count}, here to be found whole");
            }
            Ok(count)
        })
        .on(SEND, |c, to: Bytes| {
            let to = <[u8; 8]>::try_from(&to[..]).map_or(0, u64::from_be_bytes);
            let reached = c.hub().conn(ConnId::from_word(to)).send(ECHO, "stranger");
            format!("{reached}")
        })
        .on(PANIC, |_, (): ()| -> String {
            std::panic::resume_unwind(Box::new("as asked"))
        })
        .on_inline(BLOCK, |_, millis: String| sleep(&millis).map(|()| millis))
        .on_inline(SPIN, |_, (): ()| -> String {
            loop {
                std::hint::spin_loop();
            }
        })
        .on(WRITE, |_, text: String| {
            let _written = std::io::stderr().write_all(text.as_bytes());
            text
        })
        .on(ALLOCATE, |_, (): ()| {
            std::hint::black_box(Vec::<u8>::with_capacity(1 << 60));
        })
        .on(CLOSE, |c, it: Bytes| {
            let it = <[u8; 8]>::try_from(&it[..]).map_or(0, u64::from_be_bytes);
            let closed = c.hub().conn(ConnId::from_word(it)).close("as asked");
            format!("{closed}")
        })
        .on(SLEEP, |_, millis: String| sleep(&millis).map(|()| millis))
        .web(
            Web::<()>::new()
                .get_inline("/quick", |_, (): ()| "quick")
                .get("/held", |_, (): ()| {
                    wait_for_go();
                    "held"
                })
                .get("/later", |c, (): ()| {
                    c.later(|replier| {
                        std::thread::spawn(move || {
                            wait_for_go();
                            replier.send("later");
                        });
                    })
                })
                .get("/lines", |_, (): ()| {
                    purlin::web::Stream::iter((0..200_000).map(|n| format!("line {n}\n")))
                })
                .get("/many", |_, (): ()| {
                    purlin::web::Stream::iter((0..3_000_000).map(|n| format!("line {n:09}\n")))
                })
                .post("/sum", |_, body: Spooled| body.len().to_string())
                .body_max(8 << 20)
                .get("/sleep/:millis", |c, (): ()| sleep(&c.param("millis")))
                .get("/file/*path", |c, (): ()| {
                    let path = format!("/{}", c.param("path"));
                    std::fs::File::open(path).map_err(Error::from)
                })
                .get("/api/v1/stream/", |c, (): ()| {
                    let stream: Stream = c.query()?;
                    Ok::<_, Error>(format!("{} at {}", stream.streamname, stream.edgename))
                }),
        )
        .main()
}
