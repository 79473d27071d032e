//! Debian's nginx, under the same events in the same run: what it costs elsewhere.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Outcome;
use crate::daemon::{children, signal};
use crate::load::{Failure, Load, Speech, Tally, connect};
use crate::wakes::{Fate, come};

const NGINX: &str = "/usr/sbin/nginx";

/// nginx in the foreground, in a directory of its own; ends with the value.
struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    master: Child,
}

impl Nginx {
    fn start() -> Outcome<Self> {
        Self::with(4, "")
    }

    /// With so many workers, and this in its block of events.
    fn with(workers: usize, events: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.80:0")?.local_addr()?;
        configure(folder.path(), address, workers, "")?;
        let text = fs::read_to_string(folder.path().join("conf"))?;
        let text = text.replace("events {}", &format!("events {{{events}}}"));
        fs::write(folder.path().join("conf"), text)?;
        let mut nginx = Command::new(NGINX);
        nginx.arg("-p").arg(folder.path());
        nginx.args(["-e", "error.log", "-c", "conf"]);
        let master = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let nginx = Self {
            folder,
            address,
            master,
        };
        for _ in 0..500 {
            if connect(address).is_ok() {
                return Ok(nginx);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("nginx does not listen".into())
    }

    /// Calls of `accept4` by all workers, divided by those that had a connection.
    fn counting(&self, work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<f64>> {
        let table = self.folder.path().join("calls");
        let mut strace = Command::new("strace");
        strace.args(["-c", "-e", "trace=accept4", "-o"]).arg(&table);
        for pid in children(i32::try_from(self.master.id())?)? {
            strace.arg("-p").arg(pid.to_string());
        }
        strace.stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut strace) = strace.spawn() else {
            return Ok(None);
        };
        thread::sleep(Duration::from_millis(500));
        let worked = work();
        signal(i32::try_from(strace.id())?, Signal::SIGINT);
        strace.wait()?;
        worked?;
        let table = fs::read_to_string(&table).unwrap_or_default();
        let line = table.lines().find(|line| line.ends_with(" accept4"));
        let columns: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        let number = |n: usize| columns.get(n).and_then(|text| text.parse::<f64>().ok());
        let calls = number(3);
        Ok(calls.map(|calls| calls / (calls - number(4).unwrap_or(0.0))))
    }

    fn reload(&self) -> Outcome<()> {
        signal(i32::try_from(self.master.id())?, Signal::SIGHUP);
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.master.id()) {
            signal(pid, Signal::SIGTERM);
        }
        let _reaped = self.master.wait();
    }
}

fn configure(folder: &Path, address: SocketAddr, workers: usize, how: &str) -> Outcome<()> {
    let text = format!(
        "daemon off; pid pid; worker_processes {workers};\nevents {{}}\nhttp {{ access_log off; \
         keepalive_requests 100000000; client_body_temp_path t; proxy_temp_path t; \
         fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n\
         server {{ listen {address} {how}; return 200 $request_uri; }} }}\n"
    );
    Ok(fs::write(folder.join("conf"), text)?)
}

/// Reloads under load, with so many workers one after the other; `None` where
/// there is no nginx.
pub(crate) fn reloads(
    count: usize,
    pause: Duration,
    workers: &[usize],
    how: &str,
) -> Outcome<Option<Tally>> {
    if !Path::new(NGINX).exists() {
        return Ok(None);
    }
    let nginx = Nginx::start()?;
    let load = Load::start(nginx.address, Speech::Http, 16, 16);
    for workers in workers.iter().cycle().take(count) {
        configure(nginx.folder.path(), nginx.address, *workers, how)?;
        nginx.reload()?;
        thread::sleep(pause);
    }
    Ok(Some(load.stop()))
}

/// What becomes of a reload to one more address, which is somebody else's.
pub(crate) fn taken_port(taken: &str) -> Outcome<String> {
    if !Path::new(NGINX).exists() {
        return Ok(beside(None));
    }
    let nginx = Nginx::start()?;
    let how = format!("; listen {taken}");
    configure(nginx.folder.path(), nginx.address, 4, &how)?;
    let mut reload = Command::new(NGINX);
    reload.arg("-p").arg(nginx.folder.path());
    reload.args(["-e", "error.log", "-c", "conf", "-s", "reload"]);
    let code = reload.output()?.status.code().unwrap_or(-1);
    let text = format!("nginx, a port in use: reload exits with {code}");
    for _ in 0..500 {
        let log = fs::read_to_string(nginx.folder.path().join("error.log"))?;
        if log.contains("still could not bind") {
            return Ok(text + ", not applied");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(text)
}

/// Stops under load, which nginx calls graceful.
pub(crate) fn stops(count: usize) -> Outcome<String> {
    if !Path::new(NGINX).exists() {
        return Ok(beside(None));
    }
    let (mut lost, mut served) = (0, 0);
    for _ in 0..count {
        let mut nginx = Nginx::start()?;
        let load = Load::start(nginx.address, Speech::Http, 16, 16);
        thread::sleep(Duration::from_millis(300));
        let at = Instant::now();
        signal(i32::try_from(nginx.master.id())?, Signal::SIGQUIT);
        nginx.master.wait()?;
        let tally = load.stop();
        let received = |one: &&Failure| one.sent.is_some_and(|sent| sent < at);
        lost += tally.failures.iter().filter(received).count();
        served += tally.served;
    }
    Ok(format!(
        "nginx, HTTP, QUIT: {lost} of {served} unanswered in {count} stops"
    ))
}

/// Calls of `accept4` for each connection, where `strace` can count them: nginx
/// makes one for each event of a listener.
pub(crate) fn wakes(time: Duration) -> Outcome<String> {
    if !Path::new(NGINX).exists() {
        return Ok(beside(None));
    }
    let mut parts = Vec::new();
    for how in ["on", "off"] {
        let nginx = Nginx::with(8, &format!("accept_mutex {how};"))?;
        let counted = nginx.counting(|| come(nginx.address, Speech::Http, Fate::Closed, time))?;
        let counted = counted.map_or("not counted".to_owned(), |ratio| format!("{ratio:.3}"));
        parts.push(format!("{how}: {counted}"));
    }
    Ok(format!(
        "nginx, accept4 calls an accept, accept_mutex {}",
        parts.join(", ")
    ))
}

/// What a row says of nginx.
pub(crate) fn beside(tally: Option<&Tally>) -> String {
    tally.map_or_else(
        || "no nginx: apt-get install nginx-light".to_owned(),
        |tally| {
            let (failed, served) = (tally.failures.len(), tally.served);
            format!("nginx, HTTP: {failed} failed of {served}")
        },
    )
}
