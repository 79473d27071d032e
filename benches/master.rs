//! How long the master takes: to start, to reload, to stop, and from the death
//! of the worker that accepts to the next reply.
//!
//! ```text
//! cargo bench --bench master
//! ```
//!
//! Prints the median and the longest of each, on the built daemon with four
//! workers and the accept mutex. It fails when something does not work, never
//! because it was slow: machines differ.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const ROUNDS: usize = 30;

/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(20);

/// A heartbeat of the `comm` preset, which is answered with itself.
const PING: [u8; 8] = [0, 8, 0, 0, 0, 0, 0, 0];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let address = TcpListener::bind("127.0.0.79:0")?.local_addr()?;
    let conf =
        format!("workers = 4\n[[listener]]\naddress = \"{address}\"\n[log]\nfile = \"log\"\n");
    fs::write(folder.path().join("conf"), conf)?;
    let daemon = Daemon {
        folder: folder.path(),
        address,
    };
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        starts.push(timed(|| daemon.ask("start"))?);
        stops.push(timed(|| daemon.ask("stop"))?);
    }
    daemon.ask("start")?;
    let reloads = (0..ROUNDS).map(|_| timed(|| daemon.ask("reload")));
    let reloads = reloads.collect::<Outcome<Vec<_>>>()?;
    let deaths = (0..ROUNDS).map(|_| daemon.kill_the_holder());
    let deaths = deaths.collect::<Outcome<Vec<_>>>()?;
    daemon.ask("stop")?;
    let rows = [
        ("start to all ready", starts),
        ("stop to gone", stops),
        ("reload to all ready", reloads),
        ("killed holder to reply", deaths),
    ];
    let mut table = String::new();
    for (name, mut times) in rows {
        times.sort();
        let millis = |at: usize| times[at].as_secs_f64() * 1e3;
        let (median, longest) = (millis(ROUNDS / 2), millis(ROUNDS - 1));
        table += &format!("{name:24} median {median:7.1} ms, longest {longest:7.1} ms\n");
    }
    io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome<Vec<u8>>) -> Outcome<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// The daemon in a directory of its own.
struct Daemon<'a> {
    folder: &'a Path,
    address: SocketAddr,
}

impl Daemon<'_> {
    fn ask(&self, command: &str) -> Outcome<Vec<u8>> {
        let mut purlin = Command::new(env!("CARGO_BIN_EXE_purlin"));
        purlin.arg(command).args(["-c", "conf"]);
        if command == "status" {
            purlin.arg("--json");
        }
        let output = purlin.current_dir(self.folder).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("purlin {command}: {text}").into());
        }
        Ok(output.stdout)
    }

    /// The worker that accepts, once it and all others have served so long that
    /// they would be replaced at once.
    fn holder(&self) -> Outcome<i32> {
        loop {
            let status: Value = serde_json::from_slice(&self.ask("status")?)?;
            let workers = status["workers"].as_array().ok_or("no workers")?;
            let settled = |one: &Value| one["state"] == "serving" && one["for"].as_u64() >= Some(1);
            let holder = workers.iter().find(|one| one["has_turn"] == true);
            let pid = holder.and_then(|one| one["pid"].as_i64());
            if let Some(pid) = pid.filter(|_| workers.iter().all(settled)) {
                return Ok(i32::try_from(pid)?);
            }
            thread::sleep(LOOK);
        }
    }

    fn kill_the_holder(&self) -> Outcome<Duration> {
        let holder = self.holder()?;
        let begun = Instant::now();
        kill(Pid::from_raw(holder), Signal::SIGKILL)?;
        let mut client = TcpStream::connect(self.address)?;
        client.set_read_timeout(Some(Duration::from_secs(30)))?;
        client.write_all(&PING)?;
        let mut reply = [0; PING.len()];
        client.read_exact(&mut reply)?;
        Ok(begun.elapsed())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Stopped already, unless something failed.
        let _not_running = self.ask("stop");
    }
}
