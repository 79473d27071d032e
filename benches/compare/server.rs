//! The servers that are compared: how each is started, found and ended.
//!
//! A server lives as long as its [`Server`]: it
//! is told to terminate when that is dropped, also when the bench fails, and
//! killed when it does not.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::Failure;
use crate::cores::{Cores, Place, process_tree};
use crate::load::{Asks, Target, probe};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// How long a server may take to end by itself, and then by force. Under a tool
/// that still has to write what it counted it takes seconds.
const STOP: Duration = Duration::from_secs(20);

/// Between two questions whether a server answers.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Program.
    pub(crate) program: PathBuf,
    /// Arguments. `{port}` becomes a free port, see [`Port::Given`], `{files}`
    /// the beginning of file names that nobody else has.
    pub(crate) arguments: Vec<String>,
    /// What it is asked.
    pub(crate) asks: Asks,
    /// Files that it needs, by the end of their names: what stands behind
    /// `{files}` in the arguments.
    pub(crate) files: Vec<(&'static str, String)>,
    /// How its port is learned.
    pub(crate) port: Port,
    /// Where it runs.
    pub(crate) place: Place,
}

/// How a port is learned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// A line on stderr names the address behind these words.
    Announced(&'static str),
    /// The bench finds a free port and passes it in the arguments.
    Given,
}

/// A server that answers.
pub(crate) struct Server {
    process: Process,
    /// Where it listens, and what it is asked.
    pub(crate) target: Target,
    /// All its processes. Not those that trace it.
    pub(crate) processes: Vec<Pid>,
    /// Removed behind its end.
    _files: OwnFiles,
}

/// Files that live as long as this.
struct OwnFiles(Vec<PathBuf>);

impl OwnFiles {
    fn write(&mut self, name: String, text: &str) -> Result<(), Failure> {
        let path = PathBuf::from(name);
        std::fs::write(&path, text)
            .map_err(|error| format!("write {}: {error}", path.display()))?;
        self.0.push(path);
        Ok(())
    }
}

impl Drop for OwnFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // In a temporary folder: nothing depends on it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Server {
    /// Starts `spec` on its core and returns when it answers.
    ///
    /// With a `wrapper`, that program is started with the server's command
    /// line behind its own arguments, and the server is its only child.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not answer; it says what the server
    /// said.
    pub(crate) fn start(spec: &Spec, wrapper: &[String], cores: Cores) -> Result<Self, Failure> {
        let given = free_port()?;
        let files = own_files();
        let program = spec.program.display().to_string();
        let server = [&program].into_iter().chain(&spec.arguments);
        let port = given.port().to_string();
        let filled = |text: &str| text.replace("{port}", &port).replace("{files}", &files);
        let line: Vec<String> = wrapper
            .iter()
            .chain(server)
            .map(|word| filled(word))
            .collect();
        let mut own = OwnFiles(Vec::new());
        for (end, text) in &spec.files {
            own.write(format!("{files}{end}"), &filled(text))?;
        }
        // A child inherits the core of the thread that starts it.
        cores.enter_server(spec.place)?;
        let started = Process::start(&line, !wrapper.is_empty());
        cores.enter_client()?;
        let mut process = started?;
        let target = match process.wait_ready(spec, given) {
            Ok(target) => target,
            Err(error) => {
                let said = process.said.join("\n  ");
                return Err(format!("{}: {error}\n  {said}", line.join(" ")).into());
            }
        };
        let processes = process_tree(process.leader());
        cores.hold_server(spec.place, &processes)?;
        Ok(Self {
            process,
            target,
            processes,
            _files: own,
        })
    }

    /// Ends it, and what wraps it; returns when they are gone.
    pub(crate) fn stop(self) {
        drop(self.process);
    }
}

/// What the threads that watch a process tell.
enum Sign {
    /// A line of its stderr.
    Line(String),
    /// It ended; its pid stays taken until it is waited for.
    Ended,
}

struct Process {
    child: Child,
    wrapped: bool,
    signs: Receiver<Sign>,
    /// The first lines of its stderr.
    said: Vec<String>,
    ended: bool,
}

impl Process {
    /// Lines that are kept for an error message.
    const KEPT: usize = 20;

    fn start(line: &[String], wrapped: bool) -> Result<Self, Failure> {
        let (program, arguments) = line.split_first().expect("a program has a name");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {program}: {error}"))?;
        let (tell, signs) = mpsc::channel();
        let stderr = child.stderr.take().expect("stderr is piped");
        let process = Self {
            signs,
            wrapped,
            said: Vec::new(),
            ended: false,
            child,
        };
        watch(stderr, process.pid(), &tell);
        Ok(process)
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).expect("pids are below 2^22");
        Pid::from_raw(pid)
    }

    /// The process that signals are for: a tracer would not pass them on.
    fn leader(&self) -> Pid {
        let own = self.pid();
        if !self.wrapped {
            return own;
        }
        process_tree(own).get(1).copied().unwrap_or(own)
    }

    /// Waits until it answers at `given`, or where it says.
    fn wait_ready(&mut self, spec: &Spec, given: SocketAddr) -> Result<Target, Failure> {
        let deadline = Instant::now() + START;
        let mut address = match spec.port {
            Port::Given => Some(given),
            Port::Announced(_) => None,
        };
        loop {
            let line = self.listen(Instant::now() + ASK_AGAIN);
            if let (None, Some(line), Port::Announced(words)) = (address, line, spec.port) {
                address = announced(&line, words);
            }
            if self.ended {
                return Err("ended before it answered".into());
            }
            let answer = match address {
                None => Err("did not say where it listens".into()),
                Some(address) => {
                    let target = Target {
                        address,
                        asks: spec.asks.clone(),
                    };
                    probe(&target).map(|()| target)
                }
            };
            match answer {
                Ok(target) => return Ok(target),
                Err(error) if Instant::now() >= deadline => {
                    return Err(format!("no answer within {START:?}: {error}").into());
                }
                Err(_) => {}
            }
        }
    }

    /// The next line of its log, or `None` when it ends or `deadline` passes.
    fn listen(&mut self, deadline: Instant) -> Option<String> {
        let limit = deadline.saturating_duration_since(Instant::now());
        match self.signs.recv_timeout(limit) {
            Ok(Sign::Line(line)) => {
                if self.said.len() < Self::KEPT {
                    self.said.push(line.clone());
                }
                Some(line)
            }
            Ok(Sign::Ended) | Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                None
            }
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.ended && Instant::now() < deadline {
            self.listen(deadline);
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever is gone already needs no signal, so errors are no news.
        let _ = kill(self.leader(), Signal::SIGTERM);
        if !self.ends_within(STOP) {
            for process in process_tree(self.pid()) {
                let _ = kill(process, Signal::SIGKILL);
            }
            self.ends_within(STOP);
        }
        if self.ended {
            let _ = self.child.wait();
        }
    }
}

/// Starts the threads that read the log and see the end of a process.
fn watch(stderr: ChildStderr, process: Pid, tell: &Sender<Sign>) {
    let lines = tell.clone();
    thread::spawn(move || {
        // Read to the end even when nobody listens: a full pipe would stop
        // the server.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = lines.send(Sign::Line(line));
        }
    });
    let end = tell.clone();
    thread::spawn(move || {
        // The pid is left unreaped, so no other process can have it yet.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(process), flags) {}
        let _ = end.send(Sign::Ended);
    });
}

/// The address behind `words` in `line`.
fn announced(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    let address = rest.split_whitespace().next()?;
    address.trim_end_matches([',', ';', '.', '"']).parse().ok()
}

/// The beginning of a path that no other start has.
fn own_files() -> String {
    static STARTS: AtomicUsize = AtomicUsize::new(0);
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    let name = format!("purlin-compare-{}-{start}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

/// A port of 127.0.0.1 that nobody listens on, for the moment.
fn free_port() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
