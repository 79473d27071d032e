//! Clients that keep the server waiting, and those whom they must not harm.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket, sockopt};
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, address, comm, has, serve_with, wait_for, wait_until};
use crate::http::ask;

/// 1 echoes; 2 answers with much.
fn app() -> App<()> {
    let much = Bytes::from(vec![b'm'; 20_000]);
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, move |_, _: Bytes| much.clone())
}

#[test]
fn a_message_that_drips_is_cut_and_one_that_flows_is_not() {
    let keys = [
        ("limits.receive_rate", "1KiB"),
        ("limits.receive_grace", "300ms"),
    ];
    let server = serve_with(app(), &keys);
    let mut client = Client::to(&server);
    client.call(1, b"whole");
    client.send(&comm(1, b"drips")[..3]);
    let mut slow = 0_u32;
    while server.read(Counter::ReceiveTooSlow) == 0 {
        // Whole messages all the time: slow is a message, not a connection.
        let mut good = Client::to(&server);
        assert_eq!(good.call(1, &[7; 20_000]).1.len(), 20_000);
        slow += 1;
    }
    assert!(slow > 1, "cut at once");
    client.until_closed();
}

#[test]
fn who_never_reads_is_bounded_and_then_cut() {
    let keys = [("limits.send_stall", "500ms")];
    let server = serve_with(app(), &keys);
    let mut client = Client::to(&server);
    client.send(&comm(2, b"").repeat(2000));
    wait_for(&server, Counter::SendStalled, 1);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Buffered, 0);
    client.until_closed();
}

/// Never nothing, and too little: each is held to the same pace.
#[test]
fn who_takes_less_than_the_rate_is_cut_and_who_takes_more_is_not() {
    const WANTED: usize = 400;
    for (rate, is_cut) in [("8MiB", true), ("1KiB", false)] {
        let keys = [
            ("limits.send_rate", rate),
            ("limits.send_stall", "500ms"),
            ("limits.outbound_high", "64KiB"),
        ];
        let server = serve_with(app(), &keys);
        let mut client = narrow(address(&server)).unwrap();
        client.set_nonblocking(false).unwrap();
        client.write_all(&comm(2, b"").repeat(WANTED)).unwrap();
        let (mut taken, mut sip) = (0, [0; 8192]);
        // 400 KiB a second at most.
        while taken < WANTED * 20_008
            && let Ok(some @ 1..) = client.read(&mut sip)
        {
            taken += some;
            thread::sleep(Duration::from_millis(20));
            if !is_cut && taken > 500_000 {
                // It has had more time than the stall; the rest comes quickly.
                while taken < WANTED * 20_008 {
                    taken += client.read(&mut sip).unwrap();
                }
            }
        }
        assert_eq!(taken < WANTED * 20_008, is_cut, "{taken} at {rate}");
        assert_eq!(
            server.read(Counter::SendStalled),
            u64::from(is_cut),
            "{rate}"
        );
    }
}

/// A client with little room for what it does not read.
fn narrow(to: SocketAddr) -> Option<TcpStream> {
    let SocketAddr::V4(to) = to else { return None };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None).ok()?;
    nix::sys::socket::setsockopt(&fd.as_fd(), sockopt::RcvBuf, &4096).ok()?;
    let _under_way = nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to));
    Some(TcpStream::from(fd))
}

/// Ends the slow clients when the test is over, failed or not.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Four times as many slow clients as there is room for: header drip, body
/// drip, never read.
#[test]
fn slow_clients_cannot_lock_out_an_honest_one() {
    let keys = [
        ("worker.connections_max", "256"),
        ("limits.make_room", "50ms"),
        // Whoever does not fit into it, the kernel turns away unseen.
        ("listener.0.backlog", "4096"),
    ];
    let server = serve_with(app(), &keys);
    let to = address(&server);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let frame = comm(1, &[b'b'; 20_000]);
            let greedy = comm(2, b"").repeat(200);
            let begin = |n: usize| (narrow(to), n, 0);
            let mut slow: Vec<_> = (0..1024).map(begin).collect();
            while !over.load(Ordering::Relaxed) {
                for (stream, n, at) in &mut slow {
                    let bytes = match *n % 8 {
                        0..4 => &frame[(*at).min(7)..=(*at).min(7)],
                        4..7 if *at == 0 => &frame[..9],
                        4..7 => &frame[9..10],
                        _ => &greedy[..],
                    };
                    let sent = stream.as_mut().map(|stream| stream.write(bytes));
                    match sent {
                        Some(Ok(_)) => *at = (*at + 1).min(6),
                        Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        // Cut, and back again at once.
                        Some(Err(_)) | None => (*stream, *at) = (narrow(to), 0),
                    }
                }
                thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        let _over = Over(&over);
        wait_until("the pool is full", || server.read(Counter::PoolFull) > 0);
        for n in 0..20_u8 {
            let mut honest = Client::to(&server);
            assert_eq!(honest.call(1, &[n]), (1, vec![n]));
        }
    });
    assert!(server.read(Counter::MadeRoom) > 0);
    wait_for(&server, Counter::Live, 0);
}

/// As above, over HTTP.
#[test]
fn slow_http_clients_cannot_lock_out_an_honest_one() {
    let keys = [
        ("listener.0.protocol", "http"),
        ("worker.connections_max", "256"),
        ("limits.make_room", "50ms"),
        ("listener.0.backlog", "4096"),
    ];
    let much = Bytes::from(vec![b'm'; 20_000]);
    let web = Web::<()>::new()
        .get("/", |_, (): ()| "here")
        .get_inline("/much", move |_, (): ()| much.clone())
        .post("/", |_, body: Spooled| body.len().to_string());
    let server = serve_with(App::new().web(web), &keys);
    let to = address(&server);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(9000));
            let post = |len| format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
            let (short, long) = (post(1000), post(1_000_000));
            let greedy = "GET /much HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
            let mut slow: Vec<_> = (0..1024).map(|n| (narrow(to), n, 0)).collect();
            while !over.load(Ordering::Relaxed) {
                for (stream, n, at) in &mut slow {
                    let bytes = match *n % 8 {
                        0..4 => &head.as_bytes()[*at..=*at],
                        4..7 if *at > 0 => b"b",
                        4 => short.as_bytes(),
                        5 | 6 => long.as_bytes(),
                        _ => greedy.as_bytes(),
                    };
                    let sent = stream.as_mut().map(|stream| stream.write(bytes));
                    match sent {
                        Some(Ok(_)) => *at = (*at + 1).min(head.len() - 1),
                        Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Some(Err(_)) | None => (*stream, *at) = (narrow(to), 0),
                    }
                }
                thread::park_timeout(std::time::Duration::from_millis(50));
            }
        });
        let _over = Over(&over);
        wait_until("the pool is full", || server.read(Counter::PoolFull) > 0);
        for _ in 0..20 {
            let mut honest = Client::to(&server);
            assert_eq!(ask(&mut honest, "GET", "/").1, b"here");
        }
    });
    assert!(server.read(Counter::MadeRoom) > 0);
    wait_for(&server, Counter::Live, 0);
}

/// The tool that is made for this finds nobody locked out.
#[test]
fn slowhttptest_reports_the_service_available() {
    if !has("slowhttptest", "slowhttptest") {
        return;
    }
    let keys = [
        ("listener.0.protocol", "http"),
        ("worker.connections_max", "256"),
        ("listener.0.backlog", "4096"),
    ];
    let web = Web::<()>::new()
        .get("/", |_, (): ()| "here".repeat(5000))
        .post("/", |_, body: Spooled| body.len().to_string());
    let server = serve_with(App::new().web(web), &keys);
    let url = format!("http://{}/", address(&server));
    for attack in ["-H", "-B", "-X"] {
        let run = std::process::Command::new("slowhttptest")
            .args([
                attack, "-c", "400", "-r", "200", "-i", "2", "-l", "6", "-p", "5", "-u",
            ])
            .arg(&url)
            .output()
            .expect("slowhttptest");
        let said = String::from_utf8_lossy(&run.stdout);
        let last = said.rfind("service available").expect("a report");
        assert!(said[last..].contains("YES"), "{attack}: {said}");
    }
}
