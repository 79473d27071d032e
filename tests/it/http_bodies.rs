//! Bodies of requests: long ones, slow ones, unwanted ones.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, PATIENCE, crc32, wait_for, wait_until};
use crate::http::{HTTP, response};

const MIB: usize = 1 << 20;

/// What an upload says about itself.
fn sum(mut body: impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    Ok(format!("{} {:08x}", bytes.len(), crc32(&bytes)))
}

fn routes() -> Web<()> {
    Web::<()>::new()
        .post("/echo", |_, body: Bytes| body)
        .post("/length", |_, body: Bytes| body.len().to_string())
        .body_max(8 * MIB)
        .post("/small", |_, body: Bytes| body)
        .body_max(10)
        .post("/sum", |_, body: Spooled| {
            let kept = if body.file().is_some() {
                "file"
            } else {
                "memory"
            };
            Ok::<_, Error>(format!("{kept} {}", sum(body)?))
        })
        .body_max(8 * MIB)
        .post_pieces(
            "/pieces",
            |c| match c.header("x-who") {
                Some(_) => Ok(Vec::new()),
                None => Err(Error::new(401, "who are you?")),
            },
            |all, piece| {
                if piece.contains(&b'!') {
                    return Err(Error::new(422, "no shouting"));
                }
                all.extend_from_slice(piece);
                Ok(())
            },
            |c, all| {
                c.status(201);
                sum(&all[..])
            },
        )
        .body_max(8 * MIB)
        .post("/form", |c, body: Spooled| {
            let (mut form, mut said) = (c.multipart(body)?, String::new());
            while let Some(mut part) = form.next_part()? {
                let mut bytes = Vec::new();
                part.copy_to(&mut bytes)?;
                let name = part.file_name().or(part.name()).unwrap();
                said += &format!("{name} {};", sum(&bytes[..])?);
            }
            Ok::<_, Error>(said)
        })
        .body_max(8 * MIB)
        .post("/trailers", |c, _: Spooled| trailers(c))
        .body_max(8 * MIB)
        .post_pieces(
            "/pieces/trailers",
            |_| Ok(()),
            |(), _| Ok(()),
            |c, ()| trailers(c),
        )
        .body_max(8 * MIB)
        .get_inline("/", |_, (): ()| "here")
}

/// What came behind the body.
fn trailers(c: &Http<'_, ()>) -> String {
    let all: Vec<_> = c.trailers().map(|(name, _)| name).collect();
    format!("{all:?} {:?}", c.trailer("x-sum"))
}

fn server(keys: &[(&str, &str)]) -> Server {
    let keys = [HTTP, keys].concat();
    Server::configured(App::new().web(routes()), &keys).unwrap()
}

fn post(target: &str, fields: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n").into_bytes()
}

/// Sends a body that may be more than the server takes; what it said.
fn upload(client: &mut Client, target: &str, fields: &str, body: &[u8]) -> (String, String) {
    let length = format!("Content-Length: {}", body.len());
    client.send(&post(target, &format!("{length}{fields}")));
    client.send(body);
    let (head, said) = response(client);
    (head, String::from_utf8(said).unwrap())
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(100_003) {
        write!(bytes, "{:x}\r\n", chunk.len()).unwrap();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nX-Sum: behind\r\nCookie: not here\r\n\r\n");
    bytes
}

/// Bytes that do not repeat, and none of which shouts.
fn text(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| b'a' + u8::try_from(n * n / 7 % 26).unwrap())
        .collect()
}

#[test]
fn a_long_body_is_in_a_file_without_a_name_when_its_handler_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&[("http.body_folder", folder.path().to_str().unwrap())]);
    let mut client = Client::to(&server);
    for len in [0, 100, 64 * 1024, 64 * 1024 + 1, 5 * MIB] {
        let body = text(len);
        // What arrives in one piece is no longer in memory than otherwise.
        let kept = |said: &str| said.split_once(' ').unwrap().1.to_owned();
        let expected = sum(&body[..]).unwrap();
        let (head, said) = upload(&mut client, "/sum", "", &body);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(kept(&said), expected);
        client.send(&post("/sum", "Transfer-Encoding: chunked"));
        client.send(&chunked(&body));
        let said = String::from_utf8(response(&mut client).1).unwrap();
        assert_eq!(kept(&said), expected);
        // One byte over the limit is in memory if it came with the same read.
        if len != 64 * 1024 + 1 {
            assert_eq!(said.starts_with("file"), len > MIB, "{len}: {said}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(server.read(Counter::Accepted), 1);
    drop(client);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn trailers_reach_handlers_however_the_body_came() {
    let server = server(&[]);
    let mut client = Client::to(&server);
    for len in [0, 100, 2 * MIB] {
        let body = text(len);
        for target in ["/trailers", "/pieces/trailers"] {
            client.send(&post(target, "Transfer-Encoding: chunked"));
            client.send(&chunked(&body));
            let (_, said) = response(&mut client);
            assert_eq!(said, b"[\"X-Sum\"] Some(\"behind\")", "{target} {len}");
        }
        // Without any, there are none, also behind a request that had some.
        let (_, said) = upload(&mut client, "/trailers", "", &body);
        assert_eq!(said, "[] None");
    }
}

#[test]
fn the_parts_of_a_form_are_read_wherever_it_is_kept() {
    let server = server(&[]);
    let mut client = Client::to(&server);
    let fields = "\r\nContent-Type: multipart/form-data; boundary=----b";
    for len in [0, 1000, 3 * MIB] {
        let file = text(len);
        let (before, behind) = (
            "------b\r\nContent-Disposition: form-data; name=\"who\"\r\n\r\nann\r\n------b\r\n\
             Content-Disposition: form-data; name=\"f\"; filename=\"a b.txt\"\r\n\r\n",
            "\r\n------b--\r\n",
        );
        let body = [before.as_bytes(), &file, behind.as_bytes()].concat();
        let (_, said) = upload(&mut client, "/form", fields, &body);
        let expected = [sum(&b"ann"[..]), sum(&file[..])].map(Result::unwrap);
        assert_eq!(
            said,
            format!("who {};a b.txt {};", expected[0], expected[1])
        );
        let (head, _) = upload(&mut client, "/form", fields, &body[..before.len() + len]);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    let (head, _) = upload(&mut client, "/form", "", b"a=b");
    assert!(head.starts_with("HTTP/1.1 415 "), "{head}");
}

#[test]
fn trailers_have_the_limits_of_a_head() {
    let keys = [("http.head_max", "1KiB"), ("http.fields_max", "4")];
    let server = server(&keys);
    for (trailers, status) in [
        ("A: b\r\n".repeat(4), "200"),
        ("A: b\r\n".repeat(5), "431"),
        (format!("A: {}\r\n", "b".repeat(1000)), "200"),
        (format!("A: {}\r\n", "b".repeat(1100)), "431"),
        ("Content-Length: 3\r\n".to_owned(), "400"),
        (" folded: x\r\n".to_owned(), "400"),
    ] {
        let mut client = Client::to(&server);
        client.send(&post("/trailers", "Transfer-Encoding: chunked"));
        client.send(format!("0\r\n{trailers}\r\n").as_bytes());
        let (head, _) = response(&mut client);
        assert_eq!(&head[9..12], status, "{trailers}");
    }
}

#[test]
fn handlers_that_know_no_files_get_what_may_be_in_memory() {
    let server = server(&[]);
    let mut client = Client::to(&server);
    let body = text(MIB);
    assert_eq!(upload(&mut client, "/echo", "", &body).1.as_bytes(), body);
    // Whole in a few reads or spooled: over the operator's number it is refused
    // with a word, and the connection goes on.
    let (head, said) = upload(&mut client, "/length", "", &text(3 * MIB));
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert!(
        said.contains("http.body_max allows up to 1048576 bytes"),
        "{said}"
    );
    assert_eq!(upload(&mut client, "/length", "", b"abc").1, "3");
    let (head, _) = upload(&mut client, "/small", "", b"0123456789a");
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(
        upload(&mut client, "/small", "", b"0123456789").1,
        "0123456789"
    );
}

#[test]
fn pieces_reach_their_handler_in_order() {
    let server = server(&[]);
    let mut client = Client::to(&server);
    for len in [0, 1, 64 * 1024, 4 * MIB] {
        let body = text(len);
        let (head, said) = upload(&mut client, "/pieces", "\r\nX-Who: me", &body);
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        assert_eq!(said, sum(&body[..]).unwrap());
        client.send(&post("/pieces", "X-Who: me\r\nTransfer-Encoding: chunked"));
        client.send(&chunked(&body));
        assert_eq!(response(&mut client).1, sum(&body[..]).unwrap().as_bytes());
    }
}

/// Before the body comes: whoever waits for our word gets the refusal instead.
#[test]
fn what_nobody_wants_is_refused_before_it_is_sent() {
    let server = server(&[]);
    for (target, fields, status) in [
        ("/pieces", "Content-Length: 4000000", 401),
        ("/pieces", "Transfer-Encoding: chunked", 401),
        ("/pieces", "X-Who: me\r\nContent-Length: 9000000", 413),
        ("/sum", "Content-Length: 9000000", 413),
        ("/echo", "Content-Length: 9000000", 413),
        ("/small", "Content-Length: 11", 413),
        ("/nowhere", "Content-Length: 10", 404),
        ("/", "Content-Length: 10", 405),
    ] {
        let mut client = Client::to(&server);
        client.send(&post(target, &format!("{fields}\r\nExpect: 100-continue")));
        let said = String::from_utf8(client.until_closed()).unwrap();
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target} {fields}: {said}"
        );
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
    let mut client = Client::to(&server);
    for target in ["/small", "/echo", "/sum", "/pieces"] {
        client.send(&post(
            target,
            "X-Who: me\r\nContent-Length: 3\r\nExpect: 100-continue",
        ));
        assert!(response(&mut client).0.starts_with("HTTP/1.1 100 "));
        client.send(b"abc");
        assert!(
            response(&mut client).0.starts_with("HTTP/1.1 20"),
            "{target}"
        );
    }
}

/// A client that sends on reads the refusal all the same: nothing is reset.
#[test]
fn a_client_that_is_refused_while_it_sends_sees_why() {
    let server = server(&[]);
    let shout = [&text(300_000)[..], b"!", &text(2 * MIB)].concat();
    for (target, fields, body, status) in [
        ("/pieces", "", &text(3 * MIB), 401),
        ("/pieces", "\r\nX-Who: me", &shout, 422),
        ("/echo", "", &text(3 * MIB), 413),
        ("/nowhere", "", &text(3 * MIB), 404),
    ] {
        let mut client = Client::to(&server);
        let (head, _) = upload(&mut client, target, fields, body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn expectations_and_methods_that_nobody_knows_are_named_and_closed() {
    let server = server(&[]);
    for (request, status) in [
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: a pony\r\n\r\n",
            417,
        ),
        ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (
            "BREW /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n",
            501,
        ),
    ] {
        let before = server.read(Counter::HttpUnsupported);
        let mut client = Client::to(&server);
        client.send(request.as_bytes());
        let said = String::from_utf8(client.until_closed()).unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        wait_for(&server, Counter::HttpUnsupported, before + 1);
    }
}

#[test]
fn a_slow_head_and_a_slow_body_are_told_and_closed() {
    let keys = [
        ("heartbeat.first_message", "300ms"),
        ("limits.receive_rate", "1KiB"),
        ("limits.receive_grace", "300ms"),
    ];
    let server = server(&keys);
    let whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let large = post("/sum", "Content-Length: 1000000");
    for (begin, counter) in [
        ("GET / HTT", Counter::FirstMessageTimeout),
        (&format!("{whole}GET / HTT"), Counter::ReceiveTooSlow),
        (
            // The head is a first message: it may be answered before the body.
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
            Counter::ReceiveTooSlow,
        ),
        (
            &format!("{}ab", large.escape_ascii()).replace("\\r\\n", "\r\n"),
            Counter::ReceiveTooSlow,
        ),
    ] {
        let before = server.read(counter);
        let mut client = Client::to(&server);
        client.send(begin.as_bytes());
        if begin.starts_with(whole) {
            assert_eq!(response(&mut client).1, b"here");
        }
        let said = String::from_utf8(client.rest()).unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{begin:?}: {said}");
        wait_for(&server, counter, before + 1);
    }
    // Who has not said a word is not told that he is late.
    let mut silent = Client::to(&server);
    assert_eq!(silent.until_closed(), b"");
}

/// Far longer than any of the limits, but steady.
#[test]
fn a_steady_upload_is_never_cut() {
    let keys = [
        ("heartbeat.first_message", "700ms"),
        ("heartbeat.timeout", "1s"),
        ("limits.receive_rate", "256B"),
        ("limits.receive_grace", "700ms"),
    ];
    let server = server(&keys);
    thread::scope(|scope| {
        // Kept until it is whole; passed on as it comes.
        for len in [40_000, 200_000] {
            let server = &server;
            scope.spawn(move || {
                let body = text(len);
                let mut client = Client::to(server);
                client.send(&post("/sum", &format!("Content-Length: {len}")));
                let began = Instant::now();
                for part in body.chunks(len / 50) {
                    client.send(part);
                    // As a slow link does it, not to wait for anything.
                    thread::park_timeout(Duration::from_millis(50));
                }
                assert!(began.elapsed() > Duration::from_secs(2));
                let (head, said) = response(&mut client);
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                assert!(said.ends_with(sum(&body[..]).unwrap().as_bytes()));
            });
        }
    });
}

/// Who never shows up again leaves nothing behind.
#[test]
fn a_client_that_leaves_within_its_body_drops_what_was_made_of_it() {
    struct Part(Arc<AtomicUsize>);
    impl Drop for Part {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            if std::thread::panicking() {
                return;
            }
            panic!("as the test wants");
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let web = Web::<()>::new()
        .post_pieces(
            "/",
            move |_| Ok(Part(Arc::clone(&count))),
            |_, _| Ok(()),
            |_, _| (),
        )
        .get("/", |_, (): ()| "here");
    let server = Server::configured(App::new().web(web), HTTP).unwrap();
    let mut client = Client::to(&server);
    client.send(&post("/", "Content-Length: 500000"));
    client.send(&text(1000));
    wait_until("a turn has begun", || server.read(Counter::Turns) > 0);
    drop(client);
    wait_until("the part is dropped", || {
        dropped.load(Ordering::SeqCst) == 1
    });
    wait_for(&server, Counter::Truncated, 1);
    wait_for(&server, Counter::Recycled, 1);
    let mut client = Client::to(&server);
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response(&mut client).1, b"here");
}

/// A handler that is slower than its client slows it down.
#[test]
fn what_a_handler_has_not_taken_waits_with_its_client() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let web = Web::<()>::new()
        .post_pieces(
            "/",
            |_| Ok(0),
            move |sum, piece: &[u8]| {
                if *sum == 0 {
                    gate.lock().unwrap().recv_timeout(PATIENCE)?;
                }
                *sum += piece.len();
                Ok(())
            },
            |_, sum| sum.to_string(),
        )
        .body_max(64 * MIB);
    let server = Server::configured(App::new().web(web), HTTP).unwrap();
    let mut client = Client::to(&server);
    let len = 32 * MIB;
    client.send(&post("/", &format!("Content-Length: {len}")));
    thread::scope(|scope| {
        let mut sender = Client(client.0.try_clone().unwrap());
        scope.spawn(move || sender.send(&vec![b'a'; len]));
        wait_for(&server, Counter::ReadPaused, 1);
        let taken = server.read(Counter::BytesIn);
        assert!(taken < 2 * MIB as u64, "{taken}");
        assert!(server.read(Counter::Buffered) < MIB as u64);
        go.send(()).unwrap();
        assert_eq!(response(&mut client).1, len.to_string().as_bytes());
    });
}

#[test]
fn a_folder_that_is_missing_is_answered_507_and_short_bodies_go_on() {
    let server = server(&[("http.body_folder", "/nowhere/at/all")]);
    let mut client = Client::to(&server);
    assert_eq!(upload(&mut client, "/echo", "", b"abc").1, "abc");
    let (head, _) = upload(&mut client, "/sum", "", &text(3 * MIB));
    assert!(head.starts_with("HTTP/1.1 507 "), "{head}");
}

/// A stop waits for an upload that is on its way.
#[test]
fn an_upload_is_drained() {
    let server = server(&[("worker.drain_idle", "500ms")]);
    let mut client = Client::to(&server);
    let body = text(400_000);
    client.send(&post("/sum", &format!("Content-Length: {}", body.len())));
    client.send(&body[..100_000]);
    wait_for(&server, Counter::Handled, 0);
    wait_until("the first part is taken", || {
        server.read(Counter::BytesIn) > 100_000
    });
    let uploads = thread::spawn(move || {
        for part in body[100_000..].chunks(10_000) {
            client.send(part);
            thread::park_timeout(Duration::from_millis(30));
        }
        let (head, _) = response(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
    });
    assert_eq!(server.stop(Duration::from_secs(30)).unwrap().cut, 0);
    uploads.join().unwrap();
}
