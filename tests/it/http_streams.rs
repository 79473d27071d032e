//! Streamed replies over HTTP: iterators, readers, channels, server-sent events.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;
use purlin::web::Unsent;

use crate::harness::{Client, address, has, wait_for, wait_until};
use crate::http_replies::{HTTP, MIB, get, head, length, open, text};

/// Counts those that are dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the handlers of a test share with it.
#[derive(Clone, Default)]
struct World {
    clients: Arc<Mutex<Vec<EventSender>>>,
    dropped: Arc<AtomicUsize>,
}

impl World {
    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    fn clients(&self) -> Vec<EventSender> {
        self.clients.lock().unwrap().clone()
    }

    /// Pieces of 100,000 bytes without an end.
    fn endless(&self) -> Stream {
        let dropped = Dropped(Arc::clone(&self.dropped));
        let piece = Bytes::from(vec![b'e'; 100_000]);
        Stream::iter(std::iter::from_fn(move || {
            let _kept = &dropped;
            Some(piece.clone())
        }))
    }
}

fn lines() -> impl Iterator<Item = String> + Send {
    (0..30_000).map(|n| format!("line {n}\n"))
}

fn app(world: &World, folder: &std::path::Path) -> App<()> {
    let (folder, files) = (folder.to_owned(), folder.to_owned());
    let (endless, events, often) = (world.clone(), world.clone(), world.clone());
    let subscribe = |world: &World, c: &mut Http<'_, ()>, beat| {
        let (sender, stream) = c.events_every(beat);
        if let Some(id) = c.last_event_id() {
            sender.send(format!("after {id}")).unwrap();
        }
        world.clients.lock().unwrap().push(sender);
        stream
    };
    let web = Web::<()>::new()
        .get("/words", |_, (): ()| "words")
        .get("/lines", |_, (): ()| Stream::iter(lines()))
        .get_inline("/inline", |_, (): ()| Stream::iter(lines()))
        .get("/read", move |_, (): ()| {
            open(&folder, "large").map(Stream::read)
        })
        .get("/file", move |_, (): ()| open(&files, "large"))
        .get("/endless", move |_, (): ()| endless.endless())
        .get("/panics", |_, (): ()| {
            Stream::iter((0..10).map(|n| {
                assert!(n < 3, "as the test wants");
                "good"
            }))
        })
        .get("/fails", |_, (): ()| {
            Stream::try_iter([Ok("good"), Err("as the test wants")])
        })
        .get("/later", |c, (): ()| {
            c.later(|replier| {
                thread::spawn(move || replier.send(Stream::iter(["a", "b"])));
            })
        })
        .get("/job", |c, (): ()| {
            let (sender, stream) = c.channel();
            thread::spawn(move || {
                for n in 0..20_000 {
                    let line = format!("step {n}\n");
                    while sender.send(&line) == Err(Unsent::Full) {
                        thread::yield_now();
                    }
                }
            });
            stream
        })
        .get("/slow-job", |c, (): ()| {
            let (sender, stream) = c.channel();
            thread::spawn(move || {
                for n in 0..100 {
                    sender.send(format!("{n}\n")).unwrap();
                    thread::park_timeout(Duration::from_millis(5));
                }
            });
            stream
        })
        .get("/events", move |c, (): ()| {
            subscribe(&events, c, Duration::from_secs(60))
        })
        .get("/often", move |c, (): ()| {
            subscribe(&often, c, Duration::from_millis(20))
        });
    App::new().web(web)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), text(MIB + 17)).unwrap();
    folder
}

fn serve(world: &World, keys: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let folder = folder();
    let keys = [&[HTTP], keys].concat();
    let server = Server::configured(app(world, folder.path()), &keys).unwrap();
    (server, folder)
}

/// The next chunk; empty at the end.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.exactly(1));
    }
    let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
    let size = usize::from_str_radix(size, 16).unwrap();
    let mut data = client.exactly(size + 2);
    assert!(data.ends_with(b"\r\n"));
    data.truncate(size);
    data
}

/// The content of the next response, however its length is told.
fn content(client: &mut Client) -> Vec<u8> {
    let head = head(client);
    if !head.contains("\r\nTransfer-Encoding: chunked\r\n") {
        return client.exactly(length(&head));
    }
    let mut content = Vec::new();
    loop {
        match chunk(client) {
            data if data.is_empty() => return content,
            data => content.extend(data),
        }
    }
}

fn all_lines() -> Vec<u8> {
    lines().collect::<String>().into_bytes()
}

fn steps() -> Vec<u8> {
    let steps = (0..20_000).map(|n| format!("step {n}\n"));
    steps.collect::<String>().into_bytes()
}

#[test]
fn streams_files_and_bytes_come_in_the_order_in_which_they_were_asked_for() {
    let (server, _folder) = serve(&World::default(), &[("limits.outbound_high", "8KiB")]);
    let targets = [
        ("/words", b"words".to_vec()),
        ("/lines", all_lines()),
        ("/file", text(MIB + 17)),
        ("/job", steps()),
        ("/inline", all_lines()),
        ("/words", b"words".to_vec()),
        ("/later", b"ab".to_vec()),
        ("/read", text(MIB + 17)),
        ("/file", text(MIB + 17)),
        ("/words", b"words".to_vec()),
    ];
    let requests: String = targets.iter().map(|(target, _)| get(target)).collect();
    let mut client = Client::to(&server);
    for _ in 0..2 {
        client.send(requests.as_bytes());
        for (target, expected) in &targets {
            assert!(content(&mut client) == *expected, "{target}");
        }
    }
    assert_eq!(server.read(Counter::Accepted), 1);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn a_stream_gives_no_more_than_its_reader_has_room_for_and_ends_with_it() {
    let world = World::default();
    let keys = [
        ("limits.outbound_high", "64KiB"),
        ("limits.send_stall", "0s"),
    ];
    let (server, _folder) = serve(&world, &keys);
    let mut client = Client::to(&server);
    client.send((get("/endless") + &get("/words")).as_bytes());
    head(&mut client);
    for _ in 0..50 {
        client.exactly(100_000);
        let buffered = server.read(Counter::Buffered);
        assert!(buffered <= 65 * 1024, "{buffered} bytes wait");
    }
    wait_until("nobody reads", || server.read(Counter::Buffered) > 1024);
    assert_eq!((world.dropped(), server.read(Counter::Handled)), (0, 1));
    drop(client);
    wait_until("the source is dropped", || world.dropped() == 1);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn who_never_reads_a_stream_is_cut() {
    let world = World::default();
    let (server, _folder) = serve(&world, &[("limits.send_stall", "300ms")]);
    let mut client = Client::to(&server);
    client.send(get("/endless").as_bytes());
    wait_for(&server, Counter::SendStalled, 1);
    wait_until("the source is dropped", || world.dropped() == 1);
    client.until_closed();
}

#[test]
fn a_stream_that_fails_is_reset_so_that_nobody_takes_a_part_for_the_whole() {
    let (server, _folder) = serve(&World::default(), &[]);
    for (n, target) in (1..).zip(["/panics", "/fails"]) {
        let mut client = Client::to(&server);
        client.send((get(target) + &get("/words")).as_bytes());
        let said = String::from_utf8(client.until_closed()).unwrap();
        assert!(
            !said.contains("\r\n0\r\n") && !said.contains("words"),
            "{said}"
        );
        wait_for(&server, Counter::StreamsFailed, n);
    }
    assert_eq!(server.read(Counter::Panicked), 1);
    let mut client = Client::to(&server);
    client.send(get("/words").as_bytes());
    assert_eq!(content(&mut client), b"words");
}

#[test]
fn a_hundred_clients_hear_every_event_and_a_slow_one_costs_no_more_than_its_share() {
    const EVENTS: usize = 20_000;
    let world = World::default();
    let (server, _folder) = serve(&world, &[("limits.send_stall", "0s")]);
    let subscribe = || {
        let mut client = Client::to(&server);
        client.send(get("/events").as_bytes());
        let head = head(&mut client);
        assert!(
            head.contains("Content-Type: text/event-stream\r\n"),
            "{head}"
        );
        client
    };
    let mut slow = subscribe();
    let mut clients: Vec<Client> = (0..100).map(|_| subscribe()).collect();
    wait_until("all are known", || world.clients().len() == 101);
    let data = "d".repeat(1000);
    let mut senders = world.clients();
    // The first to come is the slow one; for him it matters not to wait.
    let slow_sender = senders.remove(0);
    let mut refused = 0;
    for n in 0..EVENTS {
        refused += usize::from(slow_sender.send(&*data) == Err(Unsent::Full));
        if n % 1000 == 0 {
            for sender in &senders {
                let event = Event::new(&data).id(&n.to_string());
                assert_eq!(sender.send(event), Ok(()));
            }
            for client in &mut clients {
                let came = String::from_utf8(chunk(client)).unwrap();
                assert_eq!(came, format!("id: {n}\ndata: {data}\n\n"));
            }
        }
    }
    assert!(refused > 0, "the slow one was served without a limit");
    let buffered = server.read(Counter::Buffered);
    assert!(buffered <= 65 * 1024, "{buffered} bytes wait");
    // What was taken arrives, and then the end.
    drop((senders, slow_sender));
    world.clients.lock().unwrap().clear();
    let mut came = 0;
    loop {
        match chunk(&mut slow).len() {
            0 => break,
            len => came += len,
        }
    }
    let event = "data: \n\n".len() + data.len();
    assert_eq!(came, (EVENTS - refused) * event);
    for client in &mut clients {
        assert_eq!(chunk(client), b"");
        client.send(get("/words").as_bytes());
        assert_eq!(content(client), b"words", "the connection goes on");
    }
}

#[test]
fn a_sender_is_told_that_its_client_is_gone() {
    let world = World::default();
    let (server, _folder) = serve(&world, &[]);
    // One says so, the other is reset.
    for how in ["closed", "half-closed"] {
        let mut client = Client::to(&server);
        client.send(get("/events").as_bytes());
        head(&mut client);
        wait_until("it is known", || world.clients().len() == 1);
        let sender = world.clients.lock().unwrap().remove(0);
        assert!(!sender.is_gone());
        match how {
            "closed" => drop(client),
            _ => {
                client.finish();
                assert_eq!(client.until_closed(), b"", "no last chunk");
            }
        }
        wait_until(how, || sender.is_gone());
        assert_eq!(sender.send("x"), Err(Unsent::Gone), "{how}");
    }
    wait_for(&server, Counter::Live, 0);
}

#[test]
fn a_silent_stream_of_events_gives_signs_of_life() {
    let world = World::default();
    let (server, _folder) = serve(&world, &[]);
    let mut client = Client::to(&server);
    client.send(b"GET /often HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 41\r\n\r\n");
    head(&mut client);
    assert_eq!(chunk(&mut client), b"data: after 41\n\n");
    for n in 0..3 {
        assert_eq!(chunk(&mut client), b":\n\n", "{n}");
    }
    world.clients()[0].send("x").unwrap();
    while chunk(&mut client) != b"data: x\n\n" {}
    assert_eq!(chunk(&mut client), b":\n\n");
}

#[test]
fn a_stop_ends_streams_of_events_in_good_order() {
    let world = World::default();
    let (server, _folder) = serve(&world, &[("worker.drain_idle", "50ms")]);
    let mut client = Client::to(&server);
    client.send((get("/events") + &get("/words")).as_bytes());
    head(&mut client);
    wait_until("it is known", || world.clients().len() == 1);
    world.clients()[0].send("last").unwrap();
    let stopped = server.stop(Duration::from_secs(60)).unwrap();
    assert_eq!(stopped.cut, 0);
    let said = String::from_utf8(client.until_closed()).unwrap();
    assert!(
        said.contains("data: last\n\n\r\n0\r\n\r\nHTTP/1.1 200"),
        "{said}"
    );
    assert!(
        said.contains("Connection: close") && said.ends_with("words"),
        "{said}"
    );
    assert!(world.clients()[0].is_gone());
}

#[test]
fn a_stop_waits_for_the_end_of_a_stream_that_has_one() {
    let (server, _folder) = serve(&World::default(), &[("worker.drain_idle", "50ms")]);
    let mut client = Client::to(&server);
    client.send(get("/slow-job").as_bytes());
    head(&mut client);
    assert_eq!(chunk(&mut client), b"0\n");
    let stopped = server.stop(Duration::from_secs(60)).unwrap();
    assert_eq!(stopped.cut, 0);
    let said = String::from_utf8(client.until_closed()).unwrap();
    assert!(said.ends_with("99\n\r\n0\r\n\r\n"), "{said}");
}

#[test]
fn curl_and_python_read_streams() {
    if !has("curl", "curl") || !has("python3", "python3") {
        return;
    }
    let world = World::default();
    let (server, _folder) = serve(&world, &[]);
    let base = format!("http://{}", address(&server));
    let run = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        output.stdout
    };
    let url = format!("{base}/lines");
    for version in ["-0", "--http1.1"] {
        let came = run("curl", &["-sSN", "-m", "60", version, &url, &url]);
        assert!(came == all_lines().repeat(2), "{version}");
    }
    run("curl", &["-sS", "-m", "60", "-I", &url]);
    let script = "import http.client, sys\n\
                  c = http.client.HTTPConnection(sys.argv[1], timeout=60)\n\
                  for target in ['/lines', '/words', '/read', '/job']:\n\
                  \x20   c.request('GET', target)\n\
                  \x20   sys.stdout.buffer.write(c.getresponse().read())\n";
    let came = run("python3", &["-c", script, &base["http://".len()..]]);
    let words = b"words".to_vec();
    assert!(came == [all_lines(), words, text(MIB + 17), steps()].concat());
}

/// A browser's half: `curl -N` prints each event as it comes.
#[test]
fn events_arrive_when_they_are_sent() {
    if !has("curl", "curl") {
        return;
    }
    let world = World::default();
    let (server, _folder) = serve(&world, &[]);
    let url = format!("http://{}/events", address(&server));
    let mut curl = std::process::Command::new("curl")
        .args(["-sSN", "-m", "60", &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = curl.stdout.take().unwrap();
    wait_until("it is known", || world.clients().len() == 1);
    let sender = world.clients.lock().unwrap().remove(0);
    for n in 0..10 {
        let event = format!("data: event {n}\n\n");
        sender.send(format!("event {n}")).unwrap();
        let mut came = vec![0; event.len()];
        out.read_exact(&mut came).unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), event);
    }
    drop(sender);
    assert!(curl.wait().unwrap().success(), "the stream has an end");
}
