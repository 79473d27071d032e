//! The same requests for files to nginx and to us: what differs stands in the
//! tables below, with the reason.
//!
//! Nginx serves as Debian ships it, with `if_modified_since before`, which is
//! what the RFC says, `gzip_static`, and redirects that are relative as ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use purlin::Server;
use purlin::prelude::*;
use purlin::web::Files;

use crate::harness::{PATIENCE, has, wait_until};

/// A request, and the fields of the answers that differ.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

const OLD: &str = "Sat, 08 Sep 2001 01:46:40 GMT";
const NEW: &str = "Mon, 10 Sep 2001 01:46:40 GMT";

const NO_LIST: &str = "RFC 9110, 15.5.5: who may not see a folder learns nothing of it";
const INSIDE: &str = "RFC 9110, 17.3: links do not lead out of the folder";
const HIDDEN: &str = "RFC 9110, 17.3: names with a dot are not served, but for RFC 8615's";
const SLASH: &str = "RFC 3986, 2.2: an escaped slash separates nothing";
const LOOKED_AT: &str = "RFC 9110, 8.3: names that say nothing are told by their content";
const OPTIONS: &str = "RFC 9110, 9.3.7: OPTIONS is answered with Allow";
const NOTHING: &str = "RFC 9110, 15.5.5: there is nothing, whatever the method";
const REPEATED: &str = "RFC 9110, 15.4.2: behind a 301, POST becomes GET";
const INVALID: &str = "RFC 9110, 14.1.1: an invalid range is ignored";
const JOINED: &str = "RFC 9110, 15.3.7.2: ranges that overlap are joined";
const HEAD_RANGE: &str = "RFC 9110, 14.2: ranges are for GET alone";
const TAG_FIRST: &str = "RFC 9110, 13.1.3: a date means nothing beside a tag";
const PACKED_RANGE: &str =
    "RFC 9110, 8.4 and 14.2: a sibling is a representation with ranges of its own";

/// Method and target, fields, deviations. `{etag}` and `{date}` in a field are
/// those that the server itself says of the target.
const REQUESTS: &[Row] = &[
    // Files and folders.
    ("GET /", &[], &[]),
    ("GET /index.html", &[], &[]),
    ("GET /small.txt", &[], &[]),
    ("GET /small.txt?a=b", &[], &[]),
    ("GET /empty.txt", &[], &[]),
    ("GET /large.bin", &[], &[]),
    ("GET /sub/", &[], &[]),
    ("GET /sub", &[], &[]),
    ("GET /sub?a=b", &[], &[]),
    ("GET /bare", &[], &[]),
    ("GET /bare/", &[], &[("Status", NO_LIST)]),
    ("GET /nowhere", &[], &[]),
    ("GET /nowhere/", &[], &[]),
    ("GET /small.txt/", &[], &[]),
    ("GET /small.txt/x", &[], &[]),
    ("GET /pipe", &[], &[]),
    ("GET /link.txt", &[], &[]),
    ("GET /link-out.txt", &[], &[("Status", INSIDE)]),
    ("GET /link-nowhere", &[], &[]),
    ("HEAD /", &[], &[]),
    ("HEAD /small.txt", &[], &[]),
    ("HEAD /empty.txt", &[], &[]),
    ("HEAD /large.bin", &[], &[]),
    ("HEAD /sub", &[], &[]),
    ("HEAD /nowhere", &[], &[]),
    // Odd names.
    ("GET /%73mall.txt", &[], &[]),
    ("GET /a%20b.txt", &[], &[]),
    ("GET /%C3%A4.txt", &[], &[]),
    ("GET /ä.txt", &[], &[]),
    ("GET /ö", &[], &[]),
    ("GET /%C3%B6", &[], &[]),
    ("GET /back%5Cslash.txt", &[], &[]),
    ("GET /question%3F.txt", &[], &[]),
    ("GET /hash%23.txt", &[], &[]),
    ("GET /percent%25.txt", &[], &[]),
    ("GET /line%0A.txt", &[], &[]),
    ("GET /raw%FF.txt", &[], &[]),
    ("GET /c:d.txt", &[], &[]),
    ("GET /+.txt", &[], &[]),
    ("GET /~.txt", &[], &[]),
    ("GET /sub%2Findex.html", &[], &[("Status", SLASH)]),
    ("GET /.secret", &[], &[("Status", HIDDEN)]),
    ("GET /sub/.secret", &[], &[("Status", HIDDEN)]),
    ("GET /.well-known/acme.txt", &[], &[]), // Other methods.
    ("POST /small.txt", &[], &[]),
    ("PUT /small.txt", &[], &[]),
    ("DELETE /small.txt", &[], &[]),
    ("OPTIONS /small.txt", &[], &[("Status", OPTIONS)]),
    ("POST /nowhere", &[], &[]),
    ("DELETE /nowhere", &[], &[("Status", NOTHING)]),
    ("POST /sub", &[], &[("Status", REPEATED)]),
    ("DELETE /sub", &[], &[]),
    ("OPTIONS /sub", &[], &[("Status", OPTIONS)]),
    // Ranges.
    ("GET /small.txt", &[("Range", "bytes=0-0")], &[]),
    ("GET /small.txt", &[("Range", "bytes=2-4")], &[]),
    ("GET /small.txt", &[("Range", "BYTES=2-4")], &[]),
    ("GET /small.txt", &[("Range", "bytes=5-")], &[]),
    ("GET /small.txt", &[("Range", "bytes=-3")], &[]),
    ("GET /small.txt", &[("Range", "bytes=-99")], &[]),
    ("GET /small.txt", &[("Range", "bytes=-0")], &[]),
    ("GET /small.txt", &[("Range", "bytes=3-99")], &[]),
    ("GET /small.txt", &[("Range", "bytes=10-")], &[]),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-1")],
        &[("Status", INVALID)],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=x")],
        &[("Status", INVALID)],
    ),
    ("GET /small.txt", &[("Range", "lines=1-2")], &[]),
    ("GET /small.txt", &[("Range", "bytes=0-1,4-5")], &[]),
    ("GET /small.txt", &[("Range", "bytes=4-5, 0-1 ,-1")], &[]),
    ("GET /small.txt", &[("Range", "bytes=0-1,50-")], &[]),
    ("GET /small.txt", &[("Range", "bytes=50-,60-")], &[]),
    (
        "GET /small.txt",
        &[("Range", "bytes=0-4,2-7")],
        &[("Status", JOINED)],
    ),
    ("GET /large.bin", &[("Range", "bytes=99990-")], &[]),
    ("GET /large.bin", &[("Range", "bytes=0-9,99990-")], &[]),
    ("GET /empty.txt", &[("Range", "bytes=0-")], &[]),
    ("GET /empty.txt", &[("Range", "bytes=0-9")], &[]),
    ("GET /empty.txt", &[("Range", "bytes=-5")], &[]),
    ("GET /empty.txt", &[("Range", "bytes=1-")], &[]),
    (
        "HEAD /small.txt",
        &[("Range", "bytes=2-4")],
        &[("Status", HEAD_RANGE)],
    ),
    ("GET /nowhere", &[("Range", "bytes=2-4")], &[]),
    // Conditions.
    ("GET /small.txt", &[("If-None-Match", "{etag}")], &[]),
    ("HEAD /small.txt", &[("If-None-Match", "{etag}")], &[]),
    ("GET /small.txt", &[("If-None-Match", "W/{etag}")], &[]),
    ("GET /small.txt", &[("If-None-Match", "\"x\", {etag}")], &[]),
    ("GET /small.txt", &[("If-None-Match", "\"x\"")], &[]),
    ("GET /small.txt", &[("If-None-Match", "*")], &[]),
    ("GET /nowhere", &[("If-None-Match", "*")], &[]),
    ("GET /small.txt", &[("If-Modified-Since", "{date}")], &[]),
    ("GET /small.txt", &[("If-Modified-Since", NEW)], &[]),
    ("GET /small.txt", &[("If-Modified-Since", OLD)], &[]),
    ("GET /small.txt", &[("If-Modified-Since", "yesterday")], &[]),
    (
        "GET /small.txt",
        &[("If-None-Match", "\"x\""), ("If-Modified-Since", "{date}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("If-None-Match", "{etag}"), ("If-Modified-Since", OLD)],
        &[("Status", TAG_FIRST)],
    ),
    ("GET /small.txt", &[("If-Match", "{etag}")], &[]),
    ("GET /small.txt", &[("If-Match", "*")], &[]),
    ("GET /small.txt", &[("If-Match", "\"x\"")], &[]),
    ("GET /small.txt", &[("If-Match", "W/{etag}")], &[]),
    ("GET /small.txt", &[("If-Unmodified-Since", "{date}")], &[]),
    ("GET /small.txt", &[("If-Unmodified-Since", OLD)], &[]),
    (
        "GET /small.txt",
        &[("If-Match", "{etag}"), ("If-None-Match", "{etag}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-Range", "{etag}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-Range", "\"x\"")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-Range", "W/{etag}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-Range", "{date}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-Range", OLD)],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=50-"), ("If-Range", "\"x\"")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=2-4"), ("If-None-Match", "{etag}")],
        &[],
    ),
    (
        "GET /small.txt",
        &[("Range", "bytes=50-"), ("If-Match", "\"x\"")],
        &[],
    ),
    // What lies packed beside the file.
    ("GET /page.css", &[], &[]),
    (
        "GET /page.css",
        &[("Accept-Encoding", "gzip")],
        &[("Accept-Ranges", PACKED_RANGE)],
    ),
    (
        "HEAD /page.css",
        &[("Accept-Encoding", "gzip")],
        &[("Accept-Ranges", PACKED_RANGE)],
    ),
    ("GET /page.css", &[("Accept-Encoding", "gzip;q=0")], &[]),
    ("GET /page.css", &[("Accept-Encoding", "identity")], &[]),
    ("GET /page.css", &[("Accept-Encoding", "br")], &[]),
    (
        "GET /page.css",
        &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")],
        &[("Status", PACKED_RANGE)],
    ),
    // What names and contents say.
    ("GET /README", &[], &[("Content-Type", LOOKED_AT)]),
    ("GET /program", &[], &[]),
];

/// Extensions whose media type is another one than nginx's, and why.
const TYPES: &[(&str, &str)] = &[
    ("bmp", "RFC 7903: image/bmp"),
    (
        "js",
        "RFC 9239: text/javascript, which newer ones say as well",
    ),
];

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    write_at(&folder.join(name), content.as_ref());
}

/// Writes a file that was last changed long ago, in a whole second.
fn write_at(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(time).unwrap();
}

fn tree() -> tempfile::TempDir {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "outside", "outside");
    let www = folder.path().join("www");
    for (name, content) in [
        ("index.html", "<h1>top</h1>"),
        ("small.txt", "0123456789"),
        ("empty.txt", ""),
        ("sub/index.html", "sub"),
        ("sub/.secret", "secret"),
        ("bare/a.txt", "a"),
        ("ö/index.html", "in"),
        (".secret", "secret"),
        (".well-known/acme.txt", "token"),
        ("page.css", "p { color: red }"),
        ("page.css.gz", "GZ"),
        ("README", "Read this.\n"),
        ("program", "\u{7f}ELF\0\0"),
    ] {
        write(&www, name, content);
    }
    for name in [
        "a b.txt",
        "ä.txt",
        "back\\slash.txt",
        "question?.txt",
        "hash#.txt",
        "percent%.txt",
        "line\n.txt",
        "c:d.txt",
        "+.txt",
        "~.txt",
    ] {
        write(&www, name, "odd");
    }
    let raw = std::ffi::OsStr::from_bytes(b"raw\xff.txt");
    write_at(&www.join(raw), b"odd");
    write(
        &www,
        "large.bin",
        (0..100_000_u32)
            .map(|n| n.to_le_bytes()[0])
            .collect::<Vec<_>>(),
    );
    nix::unistd::mkfifo(&www.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("small.txt", www.join("link.txt")).unwrap();
    symlink("../outside", www.join("link-out.txt")).unwrap();
    symlink("nowhere", www.join("link-nowhere")).unwrap();
    folder
}

/// A running nginx, ended when dropped.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Nginx {
    fn start(folder: &Path) -> Self {
        Self::serving(folder, &format!("root {}/www;", folder.display()))
    }

    /// With these lines about its one server.
    pub(crate) fn serving(folder: &Path, lines: &str) -> Self {
        let at = folder.display();
        let socket = folder.join("nginx.sock");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{}}\n\
             http {{ access_log off; {temporary}\n\
             include /etc/nginx/mime.types; default_type application/octet-stream;\n\
             charset utf-8; charset_types text/plain text/css;\n\
             if_modified_since before; absolute_redirect off; gzip_static on;\n\
             server {{ listen unix:{at}/nginx.sock; {lines} }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .spawn()
            .unwrap();
        let nginx = Self { child, socket };
        wait_until("nginx listens", || {
            UnixStream::connect(&nginx.socket).is_ok()
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// What matters of an answer: its status, some fields, the content.
fn ask(socket: &Path, request: &str, fields: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if request.starts_with('P') {
        head += "Content-Length: 0\r\n";
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let content = String::from_utf8_lossy(&answer[end + 4..]).into_owned();
    digest(&head, content)
}

/// Without what each server says in its own way: the texts of errors, tags,
/// boundaries.
fn digest(head: &str, content: String) -> BTreeMap<String, String> {
    let status = &head[9..12];
    let is_sent = status.starts_with('2');
    let mut found = BTreeMap::from([("Status".to_owned(), status.to_owned())]);
    // A 206 has said it already.
    let is_part = status == "206";
    let mut content = if is_sent { content } else { String::new() };
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        let value = match name {
            "ETag" if value.starts_with("W/") => "weak".to_owned(),
            "ETag" => "strong".to_owned(),
            "Content-Type" | "Content-Length" if !is_sent => continue,
            "Accept-Ranges" if is_part => continue,
            "Content-Type" => match value.split_once("boundary=") {
                Some((kind, boundary)) => {
                    content = content.replace(boundary, "BOUNDARY");
                    kind.to_owned()
                }
                None => value.to_ascii_lowercase(),
            },
            "Content-Length" | "Content-Range" | "Content-Encoding" | "Accept-Ranges"
            | "Last-Modified" | "Location" => value.to_owned(),
            _ => continue,
        };
        found.insert(name.to_owned(), value);
    }
    if found
        .get("Content-Type")
        .is_some_and(|kind| kind.starts_with("multipart"))
    {
        found.remove("Content-Length");
    }
    found.insert("Content".to_owned(), content);
    found
}

#[test]
fn files_are_answered_as_by_nginx_but_for_these() {
    if !has("nginx", "nginx") {
        return;
    }
    let tree = tree();
    let nginx = Nginx::start(tree.path());
    let (root, ours) = (tree.path().join("www"), tree.path().join("ours.sock"));
    let keys = [
        ("listener.0.protocol", "http"),
        ("listener.0.root", root.to_str().unwrap()),
        ("listener.0.address", &*format!("unix:{}", ours.display())),
    ];
    let _server = Server::configured(App::<()>::new(), &keys).unwrap();
    let mut wrong = Vec::new();
    for (request, fields, deviations) in REQUESTS {
        let answer = |socket: &Path| {
            let (_, target) = request.split_once(' ').unwrap();
            let (etag, date) = validators(socket, target);
            let fill = |value: &str| value.replace("{etag}", &etag).replace("{date}", &date);
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, fill(value)))
                .collect();
            ask(socket, request, &fields)
        };
        let (ours, theirs) = (answer(&ours), answer(&nginx.socket));
        let names = ours.keys().chain(theirs.keys());
        let mut differs: Vec<&str> = names
            .filter(|name| ours.get(*name) != theirs.get(*name))
            .map(String::as_str)
            .collect();
        differs.sort_unstable();
        differs.dedup();
        // Where the status differs, all else does as well.
        if differs.contains(&"Status") {
            differs = vec!["Status"];
        }
        let excused: Vec<&str> = deviations.iter().map(|(field, _)| *field).collect();
        if differs != excused {
            wrong.push(format!(
                "{request} {fields:?}: {differs:?}\n  ours  {ours:?}\n  nginx {theirs:?}"
            ));
        }
        assert!(deviations.iter().all(|(_, reason)| !reason.is_empty()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tag and date that the server gives a target.
fn validators(socket: &Path, target: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("HEAD {target} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().to_owned()
    };
    (field("ETag: "), field("Last-Modified: "))
}

#[test]
fn media_types_are_those_of_nginx_but_for_these() {
    if !has("nginx", "nginx") {
        return;
    }
    let table = fs::read_to_string("/etc/nginx/mime.types").unwrap();
    let tree = tempfile::tempdir().unwrap();
    let mut test = App::<()>::new()
        .web(Web::new().files("/", Files::new(tree.path())))
        .test();
    let mut wrong = Vec::new();
    for row in table
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
    {
        let mut words = row.split_whitespace();
        let theirs = words.next().unwrap();
        for extension in words {
            fs::write(tree.path().join(format!("a.{extension}")), "x").unwrap();
            let answered = test.http("GET", &format!("/a.{extension}"), "");
            let ours = answered.header("content-type").unwrap();
            let ours = ours.split(';').next().unwrap();
            let is_excused = TYPES.iter().any(|(other, _)| *other == extension);
            if ours != theirs && !is_excused {
                wrong.push(format!("{extension}: {ours}, nginx says {theirs}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(TYPES.iter().all(|(_, reason)| !reason.is_empty()));
}
