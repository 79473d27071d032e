//! Debian's nginx, under the same events in the same run: what it costs elsewhere.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Outcome;
use crate::daemon::signal;
use crate::load::{Load, Speech, Tally, connect};

const NGINX: &str = "/usr/sbin/nginx";

/// nginx in the foreground, in a directory of its own; ends with the value.
struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    master: Child,
}

impl Nginx {
    fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.80:0")?.local_addr()?;
        configure(folder.path(), address, 4, "")?;
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
