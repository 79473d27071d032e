//! The PROXY protocol on real sockets, from headers made by hand and from
//! haproxy.

use std::fs;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, address, comm, wait_for, wait_until};

/// Answers with the peer that the handler sees.
fn app() -> App<()> {
    let peer = |c: &mut Ctx<()>, (): ()| c.peer().to_string();
    App::<()>::new().on_inline(1, peer).on(2, peer)
}

const TRUST: [(&str, &str); 2] = [
    ("listener.0.proxy_protocol", "required"),
    ("listener.0.trusted", "127.0.0.0/8,::1"),
];

fn server(keys: &[(&str, &str)]) -> Server {
    let keys: Vec<_> = TRUST.iter().chain(keys).copied().collect();
    Server::configured(app(), &keys).unwrap()
}

/// A header of version 1 for a client at `source`.
fn line(source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let (ip, port) = (source.ip(), source.port());
    let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {ip} {ip} {port} 443\r\n").into_bytes()
}

/// A header of version 2: command and version, family and transport, the rest.
fn binary(what: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    [signature, &[what, family][..], &length, rest].concat()
}

/// Of version 2, with a TLV behind the addresses.
fn binary_for(source: [u8; 4], port: u16) -> Vec<u8> {
    let rest = [
        &source[..],
        &[10, 0, 0, 1],
        &port.to_be_bytes(),
        &[1, 187],
        &[4, 0, 1, 0],
    ];
    binary(0x21, 0x11, &rest.concat())
}

/// Who the handler takes the client for.
fn peer_of(client: &mut Client) -> String {
    String::from_utf8(client.call(2, b"").1).unwrap()
}

#[test]
fn handlers_see_the_client_that_the_header_names() {
    for trigger in ["level", "edge"] {
        let server = server(&[("worker.trigger", trigger)]);
        let own = |client: &Client| client.0.local_addr().unwrap().to_string();
        let v6 = [
            &[0x20, 1, 0x0d, 0xb8][..],
            &[0; 12],
            &[0; 16],
            &[0, 9, 1, 187],
        ]
        .concat();
        for (header, expected) in [
            (line("192.0.2.1:56324"), Some("192.0.2.1:56324")),
            (line("[2001:db8::1]:7"), Some("[2001:db8::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (binary_for([192, 0, 2, 9], 80), Some("192.0.2.9:80")),
            (binary(0x21, 0x21, &v6), Some("[2001:db8::]:9")),
            (binary(0x20, 0, &[]), None),
            (binary(0x21, 0, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), Some("unix")),
        ] {
            // With the first frame in one piece, and by itself.
            for together in [true, false] {
                let mut client = Client::to(&server);
                let expected = expected.map_or_else(|| own(&client), str::to_owned);
                if together {
                    client.send(&[&header[..], &comm(1, b"")].concat());
                    assert_eq!(client.comm(), (1, expected.clone().into_bytes()));
                } else {
                    client.send(&header);
                }
                assert_eq!(peer_of(&mut client), expected);
            }
        }
        let accepted = server.read(Counter::Accepted);
        assert_eq!(accepted, 16);
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for (header, expected) in [
        (line("192.0.2.1:1"), "192.0.2.1:1"),
        (binary_for([192, 0, 2, 1], 2), "192.0.2.1:2"),
    ] {
        let server = server(&[]);
        let mut client = Client::to(&server);
        for (n, byte) in (1..).zip([header, comm(1, b"")].concat()) {
            client.send(&[byte]);
            wait_for(&server, Counter::Reads, n);
        }
        assert_eq!(client.comm(), (1, expected.as_bytes().to_vec()));
    }
}

#[test]
fn what_comes_with_the_header_is_served_before_the_end() {
    for trigger in ["level", "edge"] {
        let server = server(&[("worker.trigger", trigger)]);
        let mut client = Client::to(&server);
        let many = comm(2, b"").repeat(1000);
        client.send(&[line("192.0.2.1:1"), many].concat());
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), comm(2, b"192.0.2.1:1").repeat(1000));
    }
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let server = server(&[]);
    for (n, bytes) in (1..).zip([
        comm(1, b"no header"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4\r\n".to_vec(),
        vec![b'P'; 2],
        binary(0x11, 0x11, &[0; 12]),
    ]) {
        let mut client = Client::to(&server);
        client.send(&bytes);
        client.until_closed();
        wait_for(&server, Counter::RefusedHeader, n);
    }
    for sent in [&b""[..], b"PROXY TCP4 1.2"] {
        let mut client = Client::to(&server);
        client.send(sent);
        client.finish();
        client.until_closed();
    }
    wait_for(&server, Counter::EndedBeforeHeader, 2);
    assert_eq!(server.read(Counter::Accepted), 0);
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let strangers = ("listener.0.trusted", "10.0.0.0/8");
    let required = server(&[strangers]);
    if let Some(mut client) = Client::try_connect(address(&required)) {
        client.until_closed();
    }
    wait_for(&required, Counter::RefusedUntrusted, 1);
    drop(required);
    // Beside a proxy, clients that come by themselves; what they claim is data.
    let mixed = server(&[strangers, ("listener.0.proxy_protocol", "mixed")]);
    let mut client = Client::to(&mixed);
    let own = client.0.local_addr().unwrap().to_string();
    assert_eq!(peer_of(&mut client), own);
    let mut liar = Client::to(&mixed);
    liar.send(&line("192.0.2.1:1"));
    liar.until_closed();
    assert_eq!(mixed.read(Counter::RefusedUntrusted), 0);
    let mixed = server(&[("listener.0.proxy_protocol", "mixed")]);
    let mut client = Client::to(&mixed);
    client.send(&line("192.0.2.1:1"));
    assert_eq!(peer_of(&mut client), "192.0.2.1:1");
}

#[test]
fn a_silent_proxy_is_closed_in_time_and_leaves_its_slot() {
    let server = server(&[
        ("heartbeat.proxy_header", "300ms"),
        ("worker.connections_max", "2"),
    ]);
    let since = Instant::now();
    let mut silent = [Client::to(&server), Client::to(&server)];
    silent[1].send(b"PROXY TC");
    let mut patient = Client::to(&server);
    patient.send(&line("192.0.2.1:1"));
    silent.iter_mut().for_each(|client| {
        client.until_closed();
    });
    assert!(since.elapsed() >= Duration::from_millis(290));
    assert!(since.elapsed() < Duration::from_secs(20));
    assert_eq!(peer_of(&mut patient), "192.0.2.1:1");
    assert_eq!(server.read(Counter::RefusedLate), 2);
    // A malformed header frees its slot as well.
    for _ in 0..5 {
        let mut client = Client::to(&server);
        client.send(b"nonsense");
        client.until_closed();
    }
    assert_eq!(peer_of(&mut patient), "192.0.2.1:1");
}

#[test]
fn lists_and_limits_hold_for_the_client_and_not_for_its_proxy() {
    let server = server(&[
        ("limits.connections_per_ip", "2"),
        ("listener.0.deny", "192.0.2.66,127.0.0.1"),
    ]);
    let admitted = |source: &str| {
        let mut client = Client::to(&server);
        client.send(&[line(source), comm(1, b"")].concat());
        let reply = client.exactly_or_closed(8 + source.len());
        reply.map(|_| client)
    };
    let mut held = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "[2001:db8::1]"] {
        for port in 1..=2 {
            held.push(admitted(&format!("{client}:{port}")).expect(client));
        }
        assert!(admitted(&format!("{client}:3")).is_none(), "{client}");
    }
    // The same /64 as before.
    assert!(admitted("[2001:db8::ffff]:4").is_none());
    assert!(admitted("192.0.2.66:5").is_none());
    assert_eq!(server.read(Counter::RefusedPerIp), 4);
    assert_eq!(server.read(Counter::RefusedDenied), 1);
    held.remove(0);
    wait_until("the place is free", || admitted("192.0.2.1:6").is_some());
}

#[test]
fn a_header_on_its_way_is_awaited_while_the_worker_drains() {
    let server = server(&[("worker.drain_idle", "60s")]);
    let to = address(&server);
    let mut client = Client::to(&server);
    client.send(b"PROXY TCP4 192.0.2.1 ");
    wait_until("it is in the lobby", || server.read(Counter::Reads) > 0);
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(60)));
    wait_until("the listener is closed", || TcpStream::connect(to).is_err());
    client.send(b"10.0.0.1 7 443\r\n");
    assert_eq!(peer_of(&mut client), "192.0.2.1:7");
    drop(client);
    assert_eq!(stopping.join().unwrap().unwrap().cut, 0);
}

#[test]
fn a_header_needs_somebody_to_trust() {
    let keys = [("listener.0.proxy_protocol", "required")];
    let error = Server::configured(app(), &keys).unwrap_err().to_string();
    assert!(error.contains("listener.0.trusted"), "{error}");
}

/// Ended when dropped.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// haproxy of the system; installed if that may be. `None`, and says so, if not.
fn haproxy(config: &str, folder: &std::path::Path) -> Option<Haproxy> {
    let is_there = || {
        let version = Command::new("haproxy").arg("-v").output();
        version.is_ok_and(|output| output.status.success())
    };
    if !is_there() && nix::unistd::geteuid().is_root() {
        let _may_fail = Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends", "haproxy"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    if !is_there() {
        eprintln!("SKIPPED: haproxy is not installed, and cannot be");
        return None;
    }
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let child = Command::new("haproxy")
        .args(["-db", "-q", "-f"])
        .arg(&file)
        .spawn()
        .unwrap();
    Some(Haproxy(child))
}

#[test]
fn haproxy_introduces_its_clients_in_both_versions() {
    let server = server(&[]);
    let to = address(&server);
    let front = || {
        let free = TcpListener::bind("127.0.0.78:0").unwrap();
        free.local_addr().unwrap()
    };
    let (one, two) = (front(), front());
    let config = format!(
        "defaults\n mode tcp\n timeout connect 9s\n timeout client 60s\n timeout server 60s\n\
         listen one\n bind {one}\n server s {to} send-proxy\n\
         listen two\n bind {two}\n server s {to} send-proxy-v2\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let Some(_running) = haproxy(&config, folder.path()) else {
        return;
    };
    for front in [one, two] {
        wait_until("haproxy listens", || TcpStream::connect(front).is_ok());
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(front)).collect();
        for client in &mut clients {
            let own = client.0.local_addr().unwrap().to_string();
            assert_eq!(peer_of(client), own, "{front}");
        }
    }
    assert_eq!(server.read(Counter::RefusedHeader), 0);
}
