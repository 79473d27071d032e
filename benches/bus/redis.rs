//! The same message between processes by Redis, which is what people use for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::table::Table;
use crate::usage::of_family;
use crate::{Outcome, Plan};

const SERVER: &str = "/usr/bin/redis-server";

/// Messages that are written at once: more would only wait in the kernel.
const BATCH: usize = 16;

pub(crate) fn measure(plan: Plan) -> Outcome<String> {
    const HEAD: &str = "## The same by Redis\n\n";
    if !Path::new(SERVER).exists() {
        return Ok(format!(
            "{HEAD}skipped: there is no redis-server (`make needs`)\n"
        ));
    }
    let mut table = Table::default();
    for _ in 0..plan.rounds {
        let time = round(plan.messages.min(100_000))?;
        table.add("redis-server", time);
    }
    let text = table.text("ns of CPU a message", 0);
    Ok(format!(
        "{HEAD}PUBLISH of 128 bytes, {BATCH} in a write, to three subscribers; the CPU of the \
         clients comes on top.\n\n{text}"
    ))
}

/// CPU of the server for a message, in nanoseconds.
fn round(messages: u64) -> Outcome<f64> {
    let messages = messages - messages % BATCH as u64;
    let server = Server::start()?;
    let payload = "x".repeat(128);
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        let mut one = server.connect()?;
        one.write_all(b"SUBSCRIBE room\r\n")?;
        let mut confirmed = [0; 64];
        if one.read(&mut confirmed)? == 0 {
            return Err("redis-server closed a subscriber".into());
        }
        subscribers.push(one);
    }
    let mut publisher = server.connect()?;
    let before = of_family(server.child.id())?;
    // `*3 message room <payload>`, as it comes to each.
    let pushed = format!("*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$128\r\n{payload}\r\n").len() as u64;
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut one| thread::spawn(move || drain(&mut one, pushed * messages)))
        .collect();
    let command = format!("PUBLISH room {payload}\r\n").repeat(BATCH);
    let mut left = messages / BATCH as u64;
    let mut answers = [0; 4 * BATCH];
    while left > 0 {
        publisher.write_all(command.as_bytes())?;
        // `:3\r\n` for each.
        publisher.read_exact(&mut answers)?;
        left -= 1;
    }
    for one in readers {
        one.join().map_err(|_| "a subscriber panicked")??;
    }
    let used = of_family(server.child.id())?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let each = used.as_nanos() as f64 / messages as f64;
    Ok(each)
}

fn drain(stream: &mut TcpStream, bytes: u64) -> std::io::Result<()> {
    let mut left = bytes;
    let mut piece = [0; 16 * 1024];
    while left > 0 {
        let read = stream.read(&mut piece)? as u64;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left -= read.min(left);
    }
    Ok(())
}

struct Server {
    child: Child,
    port: u16,
    /// Where it would write.
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(SERVER)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while server.connect().is_err() {
            if Instant::now() > until {
                return Err("redis-server does not listen".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
