//! From the death of the worker that accepts to the next reply.
//!
//! ```text
//! cargo bench --bench deaths
//! cargo bench --bench deaths --features failpoints -- 50
//! ```
//!
//! Kills the holder of the accept mutex 200 times, or as often as told, and
//! prints p50, p90, p99 and the longest time until a new connection is
//! answered: where the dead are replaced at once, where each worker has 500
//! idle connections, and, with `failpoints`, where no fork succeeds until seven
//! of eight are dead. Beside it a thread sleeps a millisecond at a time:
//! samples in which it was late itself are the machine's, and left out of the
//! second line.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purlin::sys::fault::{LEN, Point};
use purlin::sys::process::raise_descriptor_limit;
use serde_json::Value;

/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(10);

/// Between two deaths: no slot is forked ten times in five seconds, not even if
/// the turn comes back to the same one.
const PACE: Duration = Duration::from_millis(600);

/// A tick that comes so late is the machine's fault.
const LATE: Duration = Duration::from_millis(3);

/// Idle connections of each worker, in one of the rows.
const IDLE: usize = 500;

/// A heartbeat of the `comm` preset, which is answered with itself.
const PING: [u8; 8] = [0, 8, 0, 0, 0, 0, 0, 0];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let told = std::env::args().find_map(|argument| argument.parse().ok());
    let deaths = told.unwrap_or(200);
    raise_descriptor_limit(8 * IDLE as u64)?;
    let ticker = Ticker::start();
    let mut rows = Vec::new();
    let daemon = Daemon::start(4)?;
    rows.push(("replaced at once", daemon.kill_and_replace(deaths, 0)?));
    let name = "the same, 500 idle connections each";
    rows.push((name, daemon.kill_and_replace(deaths, 4 * IDLE)?));
    drop(daemon);
    if cfg!(feature = "failpoints") {
        let daemon = Daemon::start(8)?;
        rows.push(("replacement held back", daemon.kill_and_hold(deaths)?));
    }
    let late = ticker.stop();
    for (name, samples) in &rows {
        let is_clean = |sample: &&Sample| !late.iter().any(|tick| sample.overlaps(*tick));
        let clean: Vec<Sample> = samples.iter().filter(is_clean).copied().collect();
        print(name, samples)?;
        print("  where the ticker was in time", &clean)?;
    }
    Ok(())
}

/// From a death to a reply.
#[derive(Clone, Copy)]
struct Sample {
    from: Instant,
    to: Instant,
}

impl Sample {
    fn overlaps(&self, (from, to): (Instant, Instant)) -> bool {
        self.from < to && from < self.to
    }
}

fn print(name: &str, samples: &[Sample]) -> io::Result<()> {
    let mut times: Vec<Duration> = samples.iter().map(|one| one.to - one.from).collect();
    times.sort();
    let millis = |percent: usize| {
        let at = (times.len() * percent).div_ceil(100).max(1) - 1;
        times
            .get(at)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    let (p50, p90, p99, longest) = (millis(50), millis(90), millis(99), millis(100));
    writeln!(
        io::stdout(),
        "{name:36} n {:4}  p50 {p50:6.2}  p90 {p90:6.2}  p99 {p99:6.2}  max {longest:6.2} ms",
        times.len()
    )
}

/// A thread that wants to run every millisecond.
struct Ticker {
    over: Arc<AtomicBool>,
    late: Arc<Mutex<Vec<(Instant, Instant)>>>,
    thread: JoinHandle<()>,
}

impl Ticker {
    fn start() -> Self {
        let (over, late) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let (ends, noted) = (Arc::clone(&over), Arc::clone(&late));
        let thread = thread::spawn(move || {
            let mut before = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                let now = Instant::now();
                if now - before > LATE {
                    noted.lock().expect("only pushed to").push((before, now));
                }
                before = now;
            }
        });
        Self { over, late, thread }
    }

    /// When it was late.
    fn stop(self) -> Vec<(Instant, Instant)> {
        self.over.store(true, Ordering::Relaxed);
        let _it_cannot_panic = self.thread.join();
        std::mem::take(&mut self.late.lock().expect("only pushed to"))
    }
}

/// The daemon in the foreground, in a directory of its own.
struct Daemon {
    folder: tempfile::TempDir,
    faults: fs::File,
    address: SocketAddr,
    workers: usize,
    master: Child,
}

impl Daemon {
    fn start(workers: usize) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.79:0")?.local_addr()?;
        let path = |name: &str| folder.path().join(name);
        let conf = format!(
            "workers = {workers}\nallow_root = true\nheartbeat.first_message = \"1h\"\n\
             heartbeat.timeout = \"1h\"\n[[listener]]\naddress = \"{address}\"\n"
        );
        fs::write(path("conf"), conf)?;
        fs::write(path("faults"), [0; LEN * 8])?;
        let faults = fs::File::options().write(true).open(path("faults"))?;
        let master = purlin(folder.path(), "run")
            .env("PURLIN_FAILPOINTS", path("faults"))
            .stderr(fs::File::create(path("log"))?)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            folder,
            faults,
            address,
            workers,
            master,
        })
    }

    /// Kills a holder whenever all workers serve, `idle` connections among
    /// them.
    fn kill_and_replace(&self, deaths: usize, idle: usize) -> Outcome<Vec<Sample>> {
        let mut open: Vec<TcpStream> = Vec::new();
        let mut samples = Vec::new();
        while samples.len() < deaths {
            let begun = Instant::now();
            let holder = self.holder(self.workers, Duration::ZERO)?;
            open.retain(is_open);
            while open.len() < idle {
                open.push(self.client()?);
            }
            // The turn went round with them.
            let holder = if idle > 0 {
                self.holder(self.workers, Duration::ZERO)?
            } else {
                holder
            };
            samples.push(self.kill(holder)?);
            thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
        Ok(samples)
    }

    /// Kills one holder after the other while no fork succeeds, until one is
    /// left.
    fn kill_and_hold(&self, deaths: usize) -> Outcome<Vec<Sample>> {
        let mut samples = Vec::new();
        while samples.len() < deaths {
            self.holder(self.workers, Duration::from_secs(1))?;
            self.fail_forks(1_000_000)?;
            for left in (2..=self.workers).rev() {
                samples.push(self.kill(self.holder(left, Duration::ZERO)?)?);
            }
            self.fail_forks(0)?;
        }
        samples.truncate(deaths);
        Ok(samples)
    }

    fn fail_forks(&self, chance: u64) -> io::Result<()> {
        let at = 8 * Point::Fork as u64;
        self.faults.write_all_at(&chance.to_le_bytes(), at)
    }

    /// The worker that accepts, once so many serve for so long.
    fn holder(&self, workers: usize, time: Duration) -> Outcome<i32> {
        loop {
            if let Some(pid) = self.look(workers, time) {
                return Ok(i32::try_from(pid)?);
            }
            thread::sleep(LOOK);
        }
    }

    fn look(&self, workers: usize, time: Duration) -> Option<i64> {
        let output = purlin(self.folder.path(), "status").arg("--json").output();
        let status: Value = serde_json::from_slice(&output.ok()?.stdout).ok()?;
        let old = |one: &&Value| one["for"].as_u64() >= Some(time.as_secs());
        let serves = |one: &&Value| one["state"] == "serving";
        let all = status["workers"].as_array()?.iter();
        let serving: Vec<&Value> = all.filter(serves).filter(old).collect();
        let holder = serving.iter().find(|one| one["has_turn"] == true)?;
        (serving.len() == workers).then(|| holder["pid"].as_i64())?
    }

    fn client(&self) -> io::Result<TcpStream> {
        let mut client = TcpStream::connect(self.address)?;
        client.set_read_timeout(Some(Duration::from_secs(30)))?;
        client.write_all(&PING)?;
        client.read_exact(&mut [0; PING.len()])?;
        Ok(client)
    }

    fn kill(&self, holder: i32) -> Outcome<Sample> {
        let from = Instant::now();
        kill(Pid::from_raw(holder), Signal::SIGKILL)?;
        self.client()?;
        let to = Instant::now();
        Ok(Sample { from, to })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = purlin(self.folder.path(), "stop").output();
        let _reaped = self.master.wait();
    }
}

fn purlin(folder: &Path, command: &str) -> Command {
    let mut purlin = Command::new(env!("CARGO_BIN_EXE_purlin"));
    purlin.arg(command).args(["-c", "conf"]).current_dir(folder);
    purlin
}

/// Whether the server has not closed it.
fn is_open(client: &TcpStream) -> bool {
    let _stays_open = client.set_nonblocking(true);
    let closed = client.peek(&mut [0]).map_err(|error| error.kind());
    closed == Err(io::ErrorKind::WouldBlock)
}
