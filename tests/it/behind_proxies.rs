//! Behind the proxies whose configurations are shipped (`conf/proxy`), with
//! connections that are kept: no request fails while the server is reloaded.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::daemon::Daemon;
use crate::harness::{PATIENCE, either, has, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, request};

const NGINX: &str = include_str!("../../conf/proxy/nginx.conf");
const HAPROXY: &str = include_str!("../../conf/proxy/haproxy.cfg");
const APACHE: &str = include_str!("../../conf/proxy/apache.conf");
const CADDY: &str = include_str!("../../conf/proxy/Caddyfile");

/// Ended when dropped.
struct Proxy {
    child: Child,
    front: Front,
}

/// Where a proxy listens.
enum Front {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Front {
    /// An address that is free: some proxies listen at no path.
    fn tcp() -> Self {
        let free = TcpListener::bind("127.0.0.79:0").unwrap();
        Self::Tcp(free.local_addr().unwrap())
    }

    /// Everything that is answered to these bytes; `None`: nobody is there.
    fn ask(&self, request: &[u8]) -> Option<String> {
        let mut answer = String::new();
        match self {
            Self::Unix(path) => {
                let mut stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).ok()?;
                stream.write_all(request).ok()?;
                stream.read_to_string(&mut answer).ok()?;
            }
            Self::Tcp(address) => {
                let mut stream = TcpStream::connect(address).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).ok()?;
                stream.write_all(request).ok()?;
                stream.read_to_string(&mut answer).ok()?;
            }
        }
        Some(answer)
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

impl Proxy {
    fn start(mut command: Command, front: Front) -> Self {
        let child = command.spawn().unwrap();
        let proxy = Self { child, front };
        wait_until("the proxy serves", || proxy.ask() == Some(200));
        proxy
    }

    /// The status of one request; `None`: nobody is there.
    fn ask(&self) -> Option<u16> {
        let request = b"GET /status.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        self.front.ask(request)?.get(9..12)?.parse().ok()
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
    Proxy::start(command, Front::Unix(socket))
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
    Proxy::start(command, Front::Unix(socket))
}

fn apache(at: &Path, server: &str) -> Proxy {
    let front = Front::tcp();
    let site = APACHE
        .replace("127.0.0.1:7000", server)
        .replace("*:80", &front.to_string())
        .replace("ProxyPreserveHost", "ServerName h\nProxyPreserveHost");
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let folder = at.display();
    let whole = format!(
        "ServerRoot {folder}\nServerName h\nPidFile {folder}/pid\nErrorLog {folder}/error.log\n\
         Listen {front}\n{modules}{site}"
    );
    let file = at.join("apache.conf");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    // One process, which ends as one.
    command.args(["-X", "-f"]).arg(file);
    Proxy::start(command, front)
}

fn caddy(at: &Path, server: &str) -> Proxy {
    let front = Front::tcp();
    let Front::Tcp(address) = &front else {
        unreachable!("it is one");
    };
    let (ip, port) = (address.ip(), address.port());
    let site = CADDY
        .replace("127.0.0.1:7000", server)
        .replace(":80 {", &format!(":{port} {{\n\tbind {ip}"));
    let options = "{\n\tadmin off\n\tauto_https off\n}\n";
    let file = at.join("Caddyfile");
    fs::write(&file, format!("{options}{site}")).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(file).env("HOME", at);
    command.stderr(fs::File::create(at.join("log")).unwrap());
    Proxy::start(command, front)
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
    let (requests, reloads) = either((1000, 4), (10_000, 10));
    let (mut asked, mut failed) = (0, Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..reloads {
                instance.must("reload");
            }
            reloaded.store(true, Ordering::SeqCst);
        });
        while asked < requests || !reloaded.load(Ordering::SeqCst) {
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
fn a_socket_is_opened(proxy: impl Fn(&Path, &str) -> Proxy) {
    for protocol in ["http", "auto"] {
        a_socket_is_opened_on(protocol, &proxy);
    }
}

fn a_socket_is_opened_on(protocol: &str, proxy: impl FnOnce(&Path, &str) -> Proxy) {
    let keys = [
        ("listener.0.protocol", protocol),
        ("listener.0.websocket", "/ws"),
    ];
    let daemon = Daemon::start(&keys);
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), &daemon.address().to_string());
    let Front::Unix(socket) = &proxy.front else {
        panic!("nginx and HAProxy listen at a path");
    };
    let mut stream = UnixStream::connect(socket).unwrap();
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

#[test]
fn no_request_fails_behind_apache_while_the_server_is_reloaded() {
    if has("apache2", "apache2-bin") {
        no_request_fails(apache);
    }
}

#[test]
fn no_request_fails_behind_caddy_while_the_server_is_reloaded() {
    if has("caddy", "caddy") {
        no_request_fails(caddy);
    }
}
