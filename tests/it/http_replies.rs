//! Replies over HTTP that are no bytes in memory: files and parts of files, on
//! the wire as real clients see them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use purlin::Server;
use purlin::body::Answer;
use purlin::prelude::*;
use purlin::protocol::http::{Content, Piece};
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, PATIENCE, has, resident, wait_for, wait_until};
use crate::instance::subject;

pub(crate) const HTTP: (&str, &str) = ("listener.0.protocol", "http");

pub(crate) const MIB: usize = 1 << 20;

/// Bytes by which every place in a file can be told from every other one.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64)
        .flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes());
    words.take(len).collect()
}

/// A folder with `small`, `large` and `huge` in it, and what is in them.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, len) in [("empty", 0), ("small", 1000), ("large", 3 * MIB + 17)] {
        std::fs::write(folder.path().join(name), text(len)).unwrap();
    }
    folder
}

pub(crate) fn open(folder: &Path, name: &str) -> Result<File, Error> {
    File::open(folder.join(name)).map_err(|error| Error::new(404, error.to_string()))
}

/// `/file/NAME` is a file, `/ranges/NAME` two parts of it between words.
fn app(folder: &Path) -> App<()> {
    let (whole, inline, parts) = (folder.to_owned(), folder.to_owned(), folder.to_owned());
    let web = Web::<()>::new()
        .get("/file/:name", move |c, (): ()| {
            open(&whole, &c.param("name"))
        })
        .get_inline("/inline/:name", move |c, (): ()| {
            open(&inline, &c.param("name"))
        })
        .get("/ranges/:name", move |c, (): ()| {
            let file = Arc::new(open(&parts, &c.param("name"))?);
            let part = |range| Piece::File {
                file: Arc::clone(&file),
                range,
            };
            let word = |text: &'static str| Piece::Bytes(Bytes::from(text));
            let pieces = vec![
                word("one "),
                part(5..105),
                word(" two "),
                part(300..1000),
                part(7..7),
                word(" end"),
            ];
            Ok::<_, Error>(Answer::Content(Box::new(Content::Pieces(pieces))))
        })
        .get("/words", |_, (): ()| "words");
    App::new().web(web)
}

fn ranges() -> Vec<u8> {
    let text = text(1000);
    [b"one ", &text[5..105], b" two ", &text[300..1000], b" end"].concat()
}

pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Reads a response's head.
pub(crate) fn head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let mut lines = lower.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    length.unwrap().parse().unwrap()
}

/// The next response's content, read in small pieces.
fn content(client: &mut Client) -> Vec<u8> {
    let head = head(client);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut left = length(&head);
    let mut content = Vec::with_capacity(left);
    while left > 0 {
        let part = client.exactly(left.min(9973));
        left -= part.len();
        content.extend(part);
    }
    content
}

#[test]
fn files_and_parts_of_files_come_as_they_are() {
    let folder = folder();
    let server = Server::configured(app(folder.path()), &[HTTP]).unwrap();
    let mut client = Client::to(&server);
    for (target, expected) in [
        ("/file/large", text(3 * MIB + 17)),
        ("/file/small", text(1000)),
        ("/file/empty", Vec::new()),
        ("/inline/large", text(3 * MIB + 17)),
        ("/inline/small", text(1000)),
        ("/ranges/large", ranges()),
        ("/ranges/small", ranges()),
    ] {
        client.send(get(target).as_bytes());
        assert!(content(&mut client) == expected, "{target}");
        client.send(get(target).replace("GET", "HEAD").as_bytes());
        assert_eq!(length(&head(&mut client)), expected.len(), "{target}");
    }
    assert_eq!(server.read(Counter::Accepted), 1);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn files_in_a_pipeline_come_in_order_to_a_slow_reader() {
    let folder = folder();
    let server = Server::configured(app(folder.path()), &[HTTP]).unwrap();
    let large = text(3 * MIB + 17);
    let targets = [
        ("/words", b"words".to_vec()),
        ("/file/large", large.clone()),
        ("/words", b"words".to_vec()),
        ("/ranges/large", ranges()),
        ("/file/small", text(1000)),
        ("/inline/small", text(1000)),
        ("/file/large", large),
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
}

#[test]
fn what_is_asked_behind_a_file_waits_until_it_is_out() {
    let folder = folder();
    let sparse = File::create(folder.path().join("sparse")).unwrap();
    let len = 64 * MIB;
    sparse.set_len(len as u64).unwrap();
    // The file may be as long as it wants: it is not in memory.
    let keys = [
        HTTP,
        ("limits.buffered_max", "1MiB"),
        ("limits.outbound_max", "64KiB"),
    ];
    let server = Server::configured(app(folder.path()), &keys).unwrap();
    let mut client = Client::to(&server);
    let requests = get("/file/sparse") + &get("/words").repeat(1000);
    client.send(requests.as_bytes());
    assert_eq!(length(&head(&mut client)), len);
    client.exactly(len - 16 * MIB);
    assert_eq!(server.read(Counter::Handled), 1);
    assert!(server.read(Counter::Buffered) <= requests.len() as u64);
    client.exactly(16 * MIB);
    for _ in 0..1000 {
        assert_eq!(content(&mut client), b"words");
    }
    assert_eq!(server.read(Counter::BufferedOverflow), 0);
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_its_connection() {
    let folder = folder();
    let path = folder.path().join("cut");
    for (target, left) in [("/file/cut", 1), ("/ranges/cut", 500)] {
        std::fs::write(&path, vec![b'c'; 64 * MIB]).unwrap();
        let server = Server::configured(app(folder.path()), &[HTTP]).unwrap();
        if left == 500 {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(500)
                .unwrap();
        }
        let mut client = Client::to(&server);
        client.send((get(target) + &get("/words")).as_bytes());
        let head = head(&mut client);
        client.exactly(4);
        if left == 1 {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(1)
                .unwrap();
        }
        let came = client.until_closed();
        assert!(came.len() + 4 < length(&head), "{target}: {}", came.len());
        assert!(!came.ends_with(b"words"), "{target}");
        wait_for(&server, Counter::FileCut, 1);
        wait_for(&server, Counter::Recycled, 1);
        assert_eq!(server.read(Counter::Buffered), 0);
    }
}

#[test]
fn who_does_not_read_a_file_is_cut_and_who_reads_slowly_is_not() {
    let folder = folder();
    let sparse = File::create(folder.path().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let keys = [
        HTTP,
        ("limits.send_stall", "400ms"),
        ("limits.linger", "100ms"),
    ];
    let server = Server::configured(app(folder.path()), &keys).unwrap();
    let mut slow = Client::to(&server);
    slow.send(b"GET /file/sparse HTTP/1.0\r\n\r\n");
    let mut never = Client::to(&server);
    never.send(get("/file/sparse").as_bytes());
    wait_until("the one that never reads is cut", || {
        slow.exactly(MIB);
        server.read(Counter::SendStalled) == 1
    });
    slow.exactly(8 * MIB);
    assert_eq!(server.read(Counter::Live), 1);
    never.until_closed();
    drop(slow);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Recycled, 2);
}

#[test]
fn curl_and_python_get_whole_files() {
    if !has("curl", "curl") || !has("python3", "python3") {
        return;
    }
    let folder = folder();
    let server = Server::configured(app(folder.path()), &[HTTP]).unwrap();
    let base = format!("http://{}", crate::harness::address(&server));
    let run = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        output.stdout
    };
    let url = format!("{base}/file/large");
    for version in ["-0", "--http1.1"] {
        let came = run("curl", &["-sS", "-m", "60", version, &url, &url]);
        assert!(came == text(3 * MIB + 17).repeat(2), "{version}");
    }
    let script = "import http.client, sys\n\
                  c = http.client.HTTPConnection(sys.argv[1], timeout=60)\n\
                  for target in ['/file/large', '/ranges/large', '/file/small']:\n\
                  \x20   c.request('GET', target)\n\
                  \x20   sys.stdout.buffer.write(c.getresponse().read())\n";
    let came = run("python3", &["-c", script, &base["http://".len()..]]);
    assert!(came == [text(3 * MIB + 17), ranges(), text(1000)].concat());
}

/// Twenty downloads deep in a file of 4 GiB take the memory of twenty in one
/// that is a thousandth of it.
#[test]
fn the_memory_of_downloads_does_not_depend_on_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let daemon = Daemon::program(&subject(), &[HTTP]);
    let mut peaks = [0_u64; 2];
    for (peak, len) in peaks.iter_mut().zip([4 * MIB as u64, 4 << 30]) {
        let mut file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        file.seek(SeekFrom::Start(len - 3)).unwrap();
        file.write_all(b"end").unwrap();
        let request = get(&format!("/file{}", path.display()));
        let mut clients: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Client::connect(daemon.address());
                client.0.set_read_timeout(Some(PATIENCE)).unwrap();
                client.send(request.as_bytes());
                assert_eq!(length(&head(&mut client)) as u64, len);
                client
            })
            .collect();
        let mut buffer = vec![0; 256 * 1024];
        let depth = usize::try_from(len.min(16 * MIB as u64)).unwrap() / buffer.len();
        for _ in 0..depth {
            for client in &mut clients {
                client.0.read_exact(&mut buffer).unwrap();
            }
            *peak = (*peak).max(resident(daemon.worker()));
        }
    }
    let [small, large] = peaks;
    assert!(
        large < small + small / 10 + MIB as u64,
        "{large} bytes instead of {small}"
    );
    daemon.stop();
}
