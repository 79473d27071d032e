//! Behind the proxies whose configurations are shipped (`conf/proxy`), with
//! connections that are kept: no request fails while the server is reloaded.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::daemon::Daemon;
use crate::harness::{PATIENCE, has, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, request};

const NGINX: &str = include_str!("../../conf/proxy/nginx.conf");
const HAPROXY: &str = include_str!("../../conf/proxy/haproxy.cfg");

/// Ended when dropped.
struct Proxy {
    child: Child,
    socket: PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

impl Proxy {
    fn start(mut command: Command, socket: PathBuf) -> Self {
        let child = command.spawn().unwrap();
        let proxy = Self { child, socket };
        wait_until("the proxy serves", || proxy.ask() == Some(200));
        proxy
    }

    /// The status of one request; `None`: nobody is there.
    fn ask(&self) -> Option<u16> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = b"GET /status.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.get(9..12)?.parse().ok()
    }
}

fn nginx(at: &Path, server: &str) -> Proxy {
    let socket = at.join("front");
    let site = NGINX
        .replace("127.0.0.1:7000", server)
        .replace("listen 80", &format!("listen unix:{}", socket.display()));
    let at = at.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let whole = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{}}\nhttp {{ access_log off; {temporary}\n{site} }}\n"
    );
    let file = format!("{at}/nginx.conf");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-c", &file]);
    Proxy::start(command, socket)
}

fn haproxy(at: &Path, server: &str) -> Proxy {
    let socket = at.join("front");
    let whole = HAPROXY
        .replace("127.0.0.1:7000", server)
        .replace("bind :80", &format!("bind unix@{}", socket.display()));
    let file = at.join("haproxy.cfg");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command.args(["-db", "-q", "-f"]).arg(file);
    Proxy::start(command, socket)
}

/// Requests through `proxy`, one after the other, while the server is reloaded.
fn no_request_fails(proxy: impl FnOnce(&Path, &str) -> Proxy) {
    let instance = Instance::new("");
    let text = format!(
        "workers = 2\n[[listener]]\naddress = \"{}\"\nprotocol = \"http\"\n\
         trusted = [\"127.0.0.0/8\"]\n[http]\nclient_from = \"x-forwarded-for\"\n\
         [log]\nfile = \"log\"\n",
        instance.address
    );
    instance.write(&text);
    instance.must("start");
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), &instance.address.to_string());
    let reloaded = AtomicBool::new(false);
    let (mut asked, mut failed) = (0, Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                instance.must("reload");
            }
            reloaded.store(true, Ordering::SeqCst);
        });
        while asked < 1000 || !reloaded.load(Ordering::SeqCst) {
            match proxy.ask() {
                Some(200) => {}
                other => failed.push((asked, other)),
            }
            asked += 1;
        }
    });
    assert!(failed.is_empty(), "of {asked}: {failed:?}");
    drop(proxy);
    instance.must("stop");
}

/// A WebSocket of a page of `front.example:8080`, opened through `proxy`.
fn a_socket_is_opened(proxy: impl FnOnce(&Path, &str) -> Proxy) {
    let keys = [
        ("listener.0.protocol", "http"),
        ("listener.0.websocket", "/ws"),
    ];
    let daemon = Daemon::start(&keys);
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), &daemon.address().to_string());
    let mut stream = UnixStream::connect(&proxy.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let page = "Origin: http://front.example:8080\r\n";
    let asked = request("/ws", page).replace("x.example", "front.example:8080");
    stream.write_all(asked.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let said = br#"{"id":1,"seq":1,"body":"through"}"#;
    for opcode in [0x81, 0x89] {
        stream.write_all(&frame(opcode, said)).unwrap();
        let mut first = [0; 2];
        stream.read_exact(&mut first).unwrap();
        let mut payload = vec![0; usize::from(first[1])];
        stream.read_exact(&mut payload).unwrap();
        let text = String::from_utf8(payload).unwrap();
        match opcode {
            0x81 => assert_eq!(text, r#"{"id":1,"seq":1,"bytes":"dGhyb3VnaA=="}"#),
            _ => assert_eq!((first[0], text.as_bytes()), (0x8a, &said[..])),
        }
    }
}

#[test]
fn a_websocket_is_opened_through_nginx() {
    if has("nginx", "nginx-light") {
        a_socket_is_opened(nginx);
    }
}

#[test]
fn a_websocket_is_opened_through_haproxy() {
    if has("haproxy", "haproxy") {
        a_socket_is_opened(haproxy);
    }
}

#[test]
fn no_request_fails_behind_nginx_while_the_server_is_reloaded() {
    if has("nginx", "nginx-light") {
        no_request_fails(nginx);
    }
}

#[test]
fn no_request_fails_behind_haproxy_while_the_server_is_reloaded() {
    if has("haproxy", "haproxy") {
        no_request_fails(haproxy);
    }
}
