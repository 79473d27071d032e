//! Files over HTTP as real clients see them: a server with a `root`, asked by
//! curl, by Python and by those who want out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;
use purlin::web::Files;

use crate::daemon::Daemon;
use crate::harness::{Client, address, has, skip, wait_until};

const MIB: usize = 1 << 20;

/// Bytes by which every place in a file can be told from every other one.
fn content(len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64)
        .flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes());
    words.take(len).collect()
}

/// A folder `www` to serve, beside a file that must stay a secret.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let www = folder.path().join("www");
    fs::create_dir_all(www.join("sub")).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    fs::write(www.join("index.html"), "<h1>home</h1>").unwrap();
    fs::write(www.join("small.bin"), content(1024)).unwrap();
    fs::write(www.join("large.bin"), content(5 * MIB + 3)).unwrap();
    fs::write(www.join("sub/page.css"), "p { color: red }\n".repeat(200)).unwrap();
    folder
}

/// Serves the tree with the listener's `root`.
fn serve(tree: &Path) -> Server {
    let root = tree.join("www");
    let keys = [
        ("listener.0.protocol", "http"),
        ("listener.0.root", root.to_str().unwrap()),
    ];
    Server::configured(App::<()>::new(), &keys).unwrap()
}

/// Runs curl; gives what it wrote to standard output.
fn curl(server: &Server, path: &str, arguments: &[&str]) -> Vec<u8> {
    let url = format!("http://{}{path}", address(server));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path} {arguments:?}: {errors}");
    output.stdout
}

#[test]
fn curl_gets_files_parts_and_the_rest() {
    if !has("curl", "curl") {
        return;
    }
    let tree = tree();
    let server = serve(tree.path());
    let large = content(5 * MIB + 3);
    assert_eq!(curl(&server, "/", &[]), b"<h1>home</h1>");
    assert_eq!(curl(&server, "/small.bin", &[]), content(1024));
    assert_eq!(curl(&server, "/large.bin", &[]), large);
    assert_eq!(
        curl(&server, "/large.bin", &["-r", "1000000-2000000"]),
        large[1_000_000..=2_000_000]
    );
    assert_eq!(
        curl(&server, "/large.bin", &["-r", "-7"]),
        large[large.len() - 7..]
    );
    let head = curl(&server, "/large.bin", &["--head"]);
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 5242883\r\n"), "{head}");
    assert!(head.contains("Accept-Ranges: bytes\r\n"), "{head}");
    // A download that was broken off goes on where it stopped.
    let part = tree.path().join("part");
    fs::write(&part, &large[..777_777]).unwrap();
    let part_name = part.to_str().unwrap();
    curl(&server, "/large.bin", &["-C", "-", "-o", part_name]);
    assert!(fs::read(&part).unwrap() == large);
}

#[test]
fn curl_is_told_that_it_has_the_file() {
    if !has("curl", "curl") {
        return;
    }
    let tree = tree();
    let server = serve(tree.path());
    let (etags, copy) = (tree.path().join("etags"), tree.path().join("copy"));
    let (etags, copy) = (etags.to_str().unwrap(), copy.to_str().unwrap());
    let get = || {
        let arguments = [
            "--etag-save",
            etags,
            "--etag-compare",
            etags,
            "-o",
            copy,
            "-w",
            "%{http_code}",
        ];
        String::from_utf8(curl(&server, "/small.bin", &arguments)).unwrap()
    };
    fs::write(etags, "").unwrap();
    assert_eq!(get(), "200");
    assert_eq!(get(), "304");
    let since = ["-z", "small", "-w", "%{http_code}", "-o", "/dev/null"];
    let dated = tree.path().join("www/small.bin");
    let since = [&["-z", dated.to_str().unwrap()], &since[2..]].concat();
    assert_eq!(curl(&server, "/small.bin", &since), b"304");
    let packed = curl(&server, "/sub/page.css", &["--compressed", "-D", "-"]);
    let packed = String::from_utf8(packed).unwrap();
    assert!(packed.contains("Content-Encoding: gzip\r\n"), "{packed}");
    assert!(packed.ends_with(&"p { color: red }\n".repeat(200)));
}

/// What http.client and requests make of it; parts are read by Python's own
/// parser of mail.
const PYTHON: &str = r#"
import email, http.client, sys
host, port = sys.argv[1].rsplit(":", 1)
whole = open(sys.argv[2], "rb").read()
c = http.client.HTTPConnection(host, int(port), timeout=60)
def get(path, **fields):
    c.request("GET", path, headers={k.replace("_", "-"): v for k, v in fields.items()})
    r = c.getresponse()
    return r, r.read()
r, body = get("/large.bin")
assert r.status == 200 and body == whole
etag, date = r.headers["ETag"], r.headers["Last-Modified"]
r, body = get("/large.bin", If_None_Match=etag)
assert r.status == 304 and body == b"" and r.headers["ETag"] == etag, r.status
r, body = get("/large.bin", Range="bytes=10-19", If_Range=etag)
assert r.status == 206 and body == whole[10:20], r.status
assert r.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
r, body = get("/large.bin", Range="bytes=10-19", If_Range='"other"')
assert r.status == 200 and body == whole, r.status
r, body = get("/large.bin", Range=f"bytes={len(whole)}-")
assert r.status == 416 and r.headers["Content-Range"] == f"bytes */{len(whole)}", r.status
r, body = get("/large.bin", If_Match='"other"')
assert r.status == 412, r.status
asked = [(0, 9), (4000000, 5000000), (300000, 300000)]
r, body = get("/large.bin", Range="bytes=" + ", ".join(f"{a}-{b}" for a, b in asked))
assert r.status == 206 and int(r.headers["Content-Length"]) == len(body)
head = b"Content-Type: " + r.headers["Content-Type"].encode() + b"\r\n\r\n"
parts = email.message_from_bytes(head + body).get_payload()
assert [p["Content-Range"] for p in parts] == [f"bytes {a}-{b}/{len(whole)}" for a, b in asked]
# The parser of mail changes ends of lines in binary parts: their bytes are cut by hand.
boundary = r.headers["Content-Type"].split("boundary=")[1].encode()
cut = [p.split(b"\r\n\r\n", 1)[1] for p in body.split(b"\r\n--" + boundary)[1:-1]]
assert cut == [whole[a:b + 1] for a, b in asked]
assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
r, body = get("/sub")
assert r.status == 301 and r.headers["Location"] == "/sub/", r.status
c.request("HEAD", "/large.bin")
r = c.getresponse()
assert r.status == 200 and r.read() == b"" and r.headers["Content-Length"] == str(len(whole))
c.request("DELETE", "/large.bin")
r = c.getresponse()
assert r.status == 405 and r.headers["Allow"] == "GET, HEAD, OPTIONS"
r.read()
try:
    import requests
except ImportError:
    print("no requests")
else:
    r = requests.get(f"http://{host}:{port}/sub/page.css", timeout=60)
    assert r.headers["Content-Encoding"] == "gzip" and r.text == "p { color: red }\n" * 200
    assert requests.get(f"http://{host}:{port}/sub/../../secret", timeout=60).status_code == 404
"#;

/// Where CI puts modules that Python has not.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python");

#[test]
fn python_reads_every_kind_of_answer() {
    if !has("python3", "python3") {
        return;
    }
    let tree = tree();
    let server = serve(tree.path());
    let output = Command::new("python3")
        .args(["-c", PYTHON, &address(&server).to_string()])
        .arg(tree.path().join("www/large.bin"))
        .env("PYTHONPATH", MODULES)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    if output.stdout.starts_with(b"no requests") {
        skip(&format!(
            "no requests: python3 -m pip install --target {MODULES} requests"
        ));
    }
}

/// The status of a request that is sent as it stands.
fn status(client: &mut Client, target: &str) -> (u16, Vec<u8>) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
    let content = client.exactly(length.map_or(0, |length| length.parse().unwrap()));
    (head[9..12].parse().unwrap(), content)
}

#[test]
fn no_path_leads_out() {
    let tree = tree();
    let www = tree.path().join("www");
    symlink("../secret", www.join("link")).unwrap();
    symlink(tree.path(), www.join("up")).unwrap();
    symlink("sub/page.css", www.join("good")).unwrap();
    let server = serve(tree.path());
    let mut client = Client::to(&server);
    for target in [
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/sub/%2e%2e%2f..%2fsecret",
        "/%252e%252e/secret",
        "/..%5csecret",
        "/..\\secret",
        "//secret",
        "/sub/../secret",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/link",
        "/up/secret",
        "/up/www/small.bin",
    ] {
        let (status, content) = status(&mut client, target);
        assert_eq!(status, 404, "{target}");
        assert_ne!(content, b"secret", "{target}");
    }
    // What can be no path ends its connection as well.
    for target in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "///../secret",
        "/sub//../../secret",
        "/small.bin%00.html",
        "http://x/../secret",
        "/..",
        "/../",
        "..",
    ] {
        let (status, content) = status(&mut Client::to(&server), target);
        assert_eq!(status, 400, "{target}");
        assert_ne!(content, b"secret", "{target}");
    }
    assert_eq!(status(&mut client, "/./sub/../small.bin").0, 200);
    assert_eq!(status(&mut client, "/good").0, 200);
}

/// A name that is a file at one moment and a link out of the folder at the next
/// one gives the file or nothing.
#[test]
fn no_race_leads_out() {
    let tree = tree();
    let www = tree.path().join("www");
    fs::write(www.join("inside"), "inside").unwrap();
    let web = Web::<()>::new().files("/", Files::new(&www).open_max(0));
    let keys = [("listener.0.protocol", "http")];
    let server = Server::configured(App::new().web(web), &keys).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (name, next) = (www.join("name"), www.join("next"));
            while !over.load(Ordering::Relaxed) {
                fs::hard_link(www.join("inside"), &next).unwrap();
                fs::rename(&next, &name).unwrap();
                symlink("../secret", &next).unwrap();
                fs::rename(&next, &name).unwrap();
                // Renaming one name of a file to another one of it does nothing.
                fs::remove_file(&name).unwrap();
            }
        });
        let mut client = Client::to(&server);
        let mut seen = [0, 0];
        wait_until("both were seen", || {
            for _ in 0..200 {
                match status(&mut client, "/name") {
                    (200, content) => {
                        assert_eq!(content, b"inside");
                        seen[0] += 1;
                    }
                    (status, _) => {
                        assert_eq!(status, 404);
                        seen[1] += 1;
                    }
                }
            }
            seen.iter().all(|count| *count > 20)
        });
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_file_that_is_asked_for_often_is_opened_once_a_second() {
    let tree = tree();
    let server = serve(tree.path());
    let mut client = Client::to(&server);
    let began = std::time::Instant::now();
    for path in ["/small.bin", "/large.bin"] {
        for _ in 0..50 {
            assert_eq!(status(&mut client, path).0, 200);
        }
    }
    let (cached, looked) = (
        server.read(Counter::FilesCached),
        server.read(Counter::FilesLookedUp),
    );
    assert_eq!(cached + looked, 100);
    assert!(looked <= 2 + 2 * began.elapsed().as_secs() + 2, "{looked}");
    // Most on the event loop, without a turn of the pool: all that the disk need
    // not be asked for, and that did not meet the sender of a large one.
    wait_until("the last is counted", || {
        server.read(Counter::HandledInline) >= cached / 2
    });
}

#[test]
fn every_spelling_of_a_path_is_one_file_to_the_cache() {
    let tree = tree();
    let server = serve(tree.path());
    let mut client = Client::to(&server);
    let began = std::time::Instant::now();
    // Each bit says whether one letter is escaped.
    let name = "small.bin";
    for bits in 0..1 << name.len() {
        let letters = name.char_indices().map(|(n, c)| match bits >> n & 1 {
            0 => c.to_string(),
            _ => format!("%{:02x}", u32::from(c)),
        });
        let path = format!("/{}", letters.collect::<String>());
        assert_eq!(status(&mut client, &path).0, 200, "{path}");
    }
    let looked = server.read(Counter::FilesLookedUp);
    assert!(looked <= 2 + 2 * began.elapsed().as_secs(), "{looked}");
}

#[test]
fn a_pipe_does_not_stop_the_server() {
    let tree = tree();
    let pipe = tree.path().join("www/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = serve(tree.path());
    let mut client = Client::to(&server);
    for _ in 0..20 {
        assert_eq!(status(&mut client, "/pipe").0, 404);
    }
    assert_eq!(status(&mut client, "/").0, 200);
}

#[test]
fn the_daemon_shows_what_runs() {
    let daemon = Daemon::start(&[("listener.0.protocol", "auto"), ("workers", "2")]);
    let mut client = Client::connect(daemon.address());
    let (code, page) = status(&mut client, "/");
    assert_eq!(code, 200);
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("purlin is running"));
    // Nothing is fetched from anywhere else.
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "//cdn"] {
        assert!(!page.contains(outside), "{outside}");
    }
    wait_until("both workers have begun", || {
        let (code, figures) = status(&mut client, "/status.json");
        assert_eq!(code, 200);
        let figures: serde_json::Value = serde_json::from_slice(&figures).unwrap();
        assert_eq!(figures["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(figures["connections"], 1);
        figures["workers"] == 2
    });
    assert_eq!(status(&mut client, "/echo").0, 405);
    assert_eq!(status(&mut client, "/nowhere").0, 404);
    client.send(b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
    assert!(client.rest().ends_with(b"\r\n\r\nhello"));
    let mut frames = Client::connect(daemon.address());
    assert_eq!(frames.call(1, b"both"), (1, b"both".to_vec()));
}

#[test]
fn the_configuration_says_what_files_are() {
    let tree = tree();
    let root = tree.path().join("www");
    fs::write(root.join("a.ts"), "text").unwrap();
    fs::write(root.join("README"), "text").unwrap();
    let kind = |keys: &[(&str, &str)], path: &str| {
        let keys = [
            &[
                ("listener.0.protocol", "http"),
                ("listener.0.root", root.to_str().unwrap()),
            ],
            keys,
        ];
        let server = Server::configured(App::<()>::new(), &keys.concat()).unwrap();
        let mut client = Client::to(&server);
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        let answer = String::from_utf8(client.rest()).unwrap();
        let mut lines = answer.lines();
        let kind = lines.find_map(|line| line.strip_prefix("Content-Type: "));
        kind.unwrap().to_owned()
    };
    let types = (
        "http.types",
        r#"{ ts = "text/x-ts", md = "text/markdown" }"#,
    );
    let default = ("http.default_type", "application/x-other");
    for (keys, path, expected) in [
        (&[][..], "/a.ts", "video/mp2t"),
        (&[], "/README", "text/plain; charset=utf-8"),
        (&[types], "/a.ts", "text/x-ts; charset=utf-8"),
        (&[types], "/README", "text/plain; charset=utf-8"),
        (&[default], "/a.ts", "video/mp2t"),
        (&[default], "/README", "application/x-other"),
    ] {
        assert_eq!(kind(keys, path), expected, "{path} with {keys:?}");
    }
}

#[test]
fn a_root_takes_the_place_of_the_page() {
    let tree = tree();
    let root = tree.path().join("www");
    // A worker that is not root itself must be able to go in.
    fs::set_permissions(tree.path(), mode(0o755)).unwrap();
    let daemon = Daemon::start(&[
        ("listener.0.protocol", "http"),
        ("listener.0.root", root.to_str().unwrap()),
        ("listener.0.max_age", "60s"),
    ]);
    let mut client = Client::connect(daemon.address());
    assert_eq!(status(&mut client, "/"), (200, b"<h1>home</h1>".to_vec()));
    for path in ["/status.json", "/echo", "/nowhere", "/sub/"] {
        assert_eq!(status(&mut client, path).0, 404, "{path}");
    }
    client.send(b"GET /small.bin HTTP/1.0\r\n\r\n");
    let answer = client.rest();
    let field = b"\r\nCache-Control: public, max-age=60\r\n";
    assert!(answer.windows(field.len()).any(|part| part == field));
}

/// Serves the tree, with a log that can be read meanwhile.
fn serve_logged(tree: &Path, launch: impl FnOnce(&[(&str, &str)]) -> Daemon) -> Daemon {
    // A worker that is not root itself must be able to go in.
    fs::set_permissions(tree, mode(0o755)).unwrap();
    let (root, log) = (tree.join("www"), tree.join("log"));
    launch(&[
        ("listener.0.protocol", "http"),
        ("listener.0.root", root.to_str().unwrap()),
        ("listener.0.listing", "true"),
        ("log.file", log.to_str().unwrap()),
    ])
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

/// Lines of the log that say this.
fn logged(tree: &Path, text: &str) -> Vec<String> {
    let log = fs::read_to_string(tree.join("log")).unwrap();
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_file_that_may_not_be_read_is_named_in_the_log() {
    let tree = tree();
    let www = tree.path().join("www");
    fs::remove_file(www.join("index.html")).unwrap();
    fs::create_dir(www.join("shut")).unwrap();
    for name in ["locked.txt", "shut/index.html", "sub/page.css.gz"] {
        fs::write(www.join(name), "locked").unwrap();
        fs::set_permissions(www.join(name), mode(0)).unwrap();
    }
    let daemon = serve_logged(tree.path(), Daemon::start);
    let mut client = Client::connect(daemon.address());
    let began = std::time::Instant::now();
    for _ in 0..300 {
        assert_eq!(status(&mut client, "/locked.txt").0, 403);
    }
    let path = www.join("locked.txt");
    let text = format!("read {} as user ", path.display());
    let lines = logged(tree.path(), &text);
    let most = 10 * (1 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1);
    assert!(!lines.is_empty() && lines.len() <= most, "{lines:?}");
    for part in [" and group ", "EACCES", "answered 403"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    // By whichever way it is met.
    for (target, code, name, outcome) in [
        ("/shut/", 403, "shut/index.html", "answered 403"),
        (
            "/sub/page.css",
            200,
            "sub/page.css.gz",
            "another form of it is sent",
        ),
        ("/", 200, "shut/index.html", "left out of its folder's list"),
    ] {
        wait_until("the log says so", || {
            let (status, content) = status(&mut client, target);
            assert_eq!(status, code, "{target}");
            // What is refused has no link.
            assert!(target != "/" || !String::from_utf8(content).unwrap().contains("shut"));
            let lines = logged(
                tree.path(),
                &format!("{} as user ", www.join(name).display()),
            );
            lines.iter().any(|line| line.contains(outcome))
        });
    }
    fs::rename(&www, tree.path().join("moved")).unwrap();
    wait_until("the folder is missed", || {
        status(&mut client, "/large.bin").0 == 404
    });
    wait_until("the log says so", || {
        assert_eq!(status(&mut client, "/nowhere").0, 404);
        !logged(
            tree.path(),
            "ENOENT: No such file or directory; nothing is served",
        )
        .is_empty()
    });
}

/// Runs a program under a filter of system calls, as old container engines have:
/// `openat2` fails with the error that is asked for.
const FILTERED: &str = r#"
import ctypes, os, struct, sys
error = int(sys.argv[1])
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7fff0000)]
code = b"".join(struct.pack("HBBI", *line) for line in lines)
code = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HP", len(lines), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn files_are_served_where_openat2_is_missing() {
    if !has("python3", "python3") {
        return;
    }
    for (name, code) in [("ENOSYS", libc::ENOSYS), ("EPERM", libc::EPERM)] {
        let tree = tree();
        symlink("sub/page.css", tree.path().join("www/link")).unwrap();
        symlink("../secret", tree.path().join("www/out")).unwrap();
        let daemon = serve_logged(tree.path(), |keys| {
            let mut python = Command::new("python3");
            python.args(["-c", FILTERED, &code.to_string()]);
            Daemon::by(python, keys)
        });
        let mut client = Client::connect(daemon.address());
        for (target, expected) in [
            ("/small.bin", 200),
            ("/sub/page.css", 200),
            ("/", 200),
            ("/sub/", 200),
            ("/link", 404),
            ("/out", 404),
            ("/nowhere", 404),
        ] {
            assert_eq!(status(&mut client, target).0, expected, "{target}");
        }
        let lines = logged(tree.path(), "by openat2: ");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(name), "{}", lines[0]);
    }
}
