//! `purlin stress --http` on this server, on nginx, and on servers that break
//! their connections in every way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use purlin::prelude::*;
use purlin::{App, Server};

use crate::harness::{has, wait_until};
use crate::stress::text;
use crate::stress::with_the_tool::{assert_good, json, stress};

/// What is asked over HTTP: a page, an echo, a stream of chunks, a refusal.
fn web() -> Server {
    let web = Web::<()>::new()
        .get_inline("/page", |_, (): ()| "page")
        .post("/echo", |_, body: Bytes| body)
        .get("/chunks", |_, (): ()| Stream::iter(["one", "two", "three"]))
        .get("/none", |_, (): ()| Err::<(), _>(Error::new(404, "none")));
    let keys = [("listener.0.protocol", "http")];
    Server::configured(App::new().web(web), &keys).unwrap()
}

fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.addresses()[0])
}

#[test]
fn http_is_loaded_in_every_way_that_frames_are() {
    let server = web();
    for (path, args, connections) in [
        ("/page", "--count 2000 -c 20 -t 2", 20),
        ("/page", "--count 2000 -c 20 --depth 16", 20),
        ("/page", "--count 2000 -c 20 --churn 5 --depth 3", 400),
        ("/page", "--count 500 -c 20 -H Connection:close", 500),
        ("/page", "--count 500 -c 20 --rate 5000/s", 20),
        ("/page", "--count 500 -c 20 --method HEAD --depth 4", 20),
        ("/echo", "--count 500 -c 20 --body hello --depth 4", 20),
        ("/chunks", "--count 500 -c 20 --depth 4", 20),
        ("/none", "--count 500 -c 20 --depth 4 --status 404", 20),
    ] {
        let output = stress(url(&server, path), &format!("{args} --json"));
        assert_good(&output);
        let report = json(&output);
        assert_eq!(
            report["replies"], report["settings"]["count"],
            "{path} {args}"
        );
        assert_eq!(report["connections_opened"], connections, "{path} {args}");
    }
}

#[test]
fn bytes_and_statuses_are_counted_exactly() {
    let server = web();
    let output = stress(url(&server, "/echo"), "-n 100 -c 4 --body hello --json");
    assert_good(&output);
    let report = json(&output);
    assert_eq!(report["settings"]["method"], "POST");
    assert_eq!(report["settings"]["url"], url(&server, "/echo"));
    assert_eq!(report["statuses"]["200"], 100);
    let host = server.addresses()[0].to_string();
    let request = format!("POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(report["sent_bytes"], 100 * request.len());
    let output = stress(url(&server, "/none"), "-n 100 -c 4");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for line in [
        "  total        0 of 100 replies\n",
        "  errors       100 unwanted statuses\n",
        "  connections  4\n",
        "  statuses     404: 100\n",
    ] {
        assert!(told.contains(line), "{line:?} is missing in:\n{told}");
    }
    let told = text(&output.stderr);
    for part in ["request 0: status 404", "hint: name the statuses"] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

#[test]
fn http_over_a_unix_socket_and_a_page_of_curves() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("s").display());
    let web = Web::<()>::new().get("/page", |_, (): ()| "page");
    let keys = [
        ("listener.0.protocol", "http"),
        ("listener.0.address", &*address),
    ];
    let _server = Server::configured(App::new().web(web), &keys).unwrap();
    let page = folder.path().join("page.html");
    let args = format!("--http /page -n 500 -c 5 --plot {}", page.display());
    assert_good(&stress(&address, &args));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("GET http://localhost/page"));
    let output = stress(&address, "--http /page --table -c 1 --seconds 0.05");
    assert_good(&output);
    assert!(text(&output.stdout).contains("depth"));
}

/// Serves one connection after the other with what `replies` say: each is
/// sent behind a whole request, and the last one ends the connection.
fn scripted(connections: Vec<Vec<Vec<u8>>>) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.77:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        for replies in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in replies {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                stream.write_all(&reply).unwrap();
            }
            // What was pipelined behind is read: closing would reset otherwise.
            stream.shutdown(Shutdown::Write).unwrap();
            let _client_gone = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    (address, served)
}

#[test]
fn a_connection_that_says_that_it_ends_is_no_error() {
    let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let old = b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec();
    for depth in [1, 4] {
        let (address, served) = scripted(vec![
            vec![good.clone(), last.clone()],
            vec![old.clone()],
            vec![good.clone(); 3],
        ]);
        let args = format!("-n 6 -c 1 --depth {depth} --json");
        let output = stress(format!("http://{address}/"), &args);
        assert_good(&output);
        let report = json(&output);
        assert_eq!(
            (&report["requests"], &report["replies"]),
            (&6.into(), &6.into())
        );
        assert_eq!(report["connections_opened"], 3);
        served.join().unwrap();
    }
}

#[test]
fn replies_that_are_none_are_told_with_their_reason() {
    let cases: [(&[u8], &str, &str); 6] = [
        (b"SSH-2.0-x\r\n", "1 unreadable", "no reply of HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "1 unreadable",
            "no number",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Le",
            "1 lost",
            "in the middle of a head",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "1 lost",
            "behind 3 bytes",
        ),
        (b"", "1 lost", "closed the connection before its reply"),
        (
            b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "1 wrong",
            "27 bytes that nobody asked for",
        ),
    ];
    for (reply, counted, told) in cases {
        let (address, served) = scripted(vec![vec![reply.to_vec()]]);
        let output = stress(format!("http://{address}/"), "-n 1 -c 1");
        served.join().unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let report = text(&output.stdout);
        assert!(
            report.contains(&format!("errors       {counted}")),
            "{report}"
        );
        let complaint = text(&output.stderr);
        assert!(complaint.contains(told), "{complaint}");
    }
}

/// A server with another mind: it ends connections now and then, asks for
/// nothing of it, and serves over IPv6.
#[test]
fn nginx_is_loaded_without_an_error() {
    if !has("nginx", "nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let reserved = TcpListener::bind("[::1]:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let file = folder.path().join("conf");
    std::fs::write(folder.path().join("page"), "x".repeat(100_000)).unwrap();
    let conf = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/log;\n\
         events {{ worker_connections 1000; }}\n\
         http {{ access_log off; keepalive_requests 50; client_body_temp_path {at}/body;\n\
         proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;\n\
         uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         server {{ listen {address}; root {at}; gzip on; gzip_types *; gzip_http_version 1.0;\n\
         location /ok {{ return 200 ok; }} location /none {{ return 204; }} }} }}\n"
    );
    std::fs::write(&file, conf).unwrap();
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    let child = Command::new("nginx")
        .env("PATH", path)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut nginx = Ends(child);
    wait_until("nginx listens", || {
        assert!(nginx.0.try_wait().unwrap().is_none(), "nginx has ended");
        TcpStream::connect(address).is_ok()
    });
    for (path, args) in [
        ("/ok", "-c 20 -n 3000 --depth 1"),
        ("/ok", "-c 20 -n 3000 --depth 16"),
        ("/ok", "-c 20 -n 500 --churn 1"),
        ("/ok", "-c 20 -n 500 -X HEAD --rate 5000/s"),
        ("/none", "-c 20 -n 500"),
        ("/page", "-c 20 -n 500 --depth 2"),
        ("/page", "-c 20 -n 500 -H Accept-Encoding:gzip"),
        ("/missing", "-c 20 -n 500 --status 404"),
    ] {
        let output = stress(format!("http://{address}{path}"), &format!("{args} --json"));
        assert_good(&output);
        let report = json(&output);
        assert_eq!(
            report["replies"], report["settings"]["count"],
            "{path} {args}"
        );
    }
}

/// Ended when dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}
