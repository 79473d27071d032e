//! Files as a client sees them, without sockets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use purlin::app::{Answered, Test};
use purlin::prelude::*;
use purlin::web::Files;

/// 31 years after the epoch.
const LONG_AGO: u64 = 1_000_000_000;

/// Writes a file that was last changed long ago.
fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    touch(&path, LONG_AGO);
}

fn touch(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_modified(time).unwrap();
}

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "index.html", "<h1>top</h1>");
    write(root, "small.txt", "0123456789");
    write(root, "empty.txt", "");
    write(root, "large.bin", vec![b'x'; 100_000]);
    write(root, "sub/index.html", "sub");
    write(root, "bare/a b.txt", "ab");
    write(root, "bare/<i>.txt", "i");
    write(root, "bare/.hidden", "h");
    write(root, "bare/deep/x", "x");
    write(root, ".secret", "s");
    write(root, ".well-known/acme", "token");
    write(root, "page.css", "p { color: red }\n".repeat(100));
    write(root, "script.js", "plain".repeat(200));
    write(root, "script.js.br", "BR");
    write(root, "script.js.gz", "GZ");
    write(root, "script.js.zst", "ZS");
    folder
}

fn serve(files: Files) -> Test<()> {
    App::new().web(Web::new().files("/", files)).test()
}

fn get(test: &mut Test<()>, path: &str, fields: &[(&str, &str)]) -> Answered {
    test.http_with("GET", path, fields, "")
}

#[test]
fn files_are_where_they_lie_and_nothing_else_is() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    for (path, status, text) in [
        ("/", 200, "<h1>top</h1>"),
        ("/?x=1", 200, "<h1>top</h1>"),
        ("/index.html", 200, "<h1>top</h1>"),
        ("/small.txt", 200, "0123456789"),
        ("/empty.txt", 200, ""),
        ("/sub/", 200, "sub"),
        ("/bare/a%20b.txt", 200, "ab"),
        ("/.well-known/acme", 200, "token"),
        ("/%73mall.txt", 200, "0123456789"),
        ("/sub", 301, ""),
        ("/bare/", 404, "there is nothing here\n"),
        ("/nowhere", 404, "there is nothing here\n"),
        ("/small.txt/", 404, "there is nothing here\n"),
        ("/small.txt/x", 404, "there is nothing here\n"),
        ("/.secret", 404, "there is nothing here\n"),
        ("/%2esecret", 404, "there is nothing here\n"),
        ("/bare/.hidden", 404, "there is nothing here\n"),
        ("//small.txt", 200, "0123456789"),
        ("/./small.txt", 200, "0123456789"),
        ("/bare%2fa", 404, "there is nothing here\n"),
        ("/sub/../small.txt", 200, "0123456789"),
        ("/bare/./a%20b.txt", 200, "ab"),
    ] {
        // The second time from the cache.
        for _ in 0..2 {
            let answered = get(&mut test, path, &[]);
            assert_eq!(
                (answered.status, &*answered.text()),
                (status, text),
                "{path}"
            );
        }
    }
    assert_eq!(get(&mut test, "/large.bin", &[]).body.len(), 100_000);
}

#[test]
fn a_folder_without_its_slash_is_somewhere_else_on_this_host() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    let to = |answered: Answered| answered.header("location").map(str::to_owned);
    assert_eq!(to(get(&mut test, "/sub?a=b", &[])).unwrap(), "/sub/?a=b");
    assert_eq!(to(get(&mut test, "/%73ub", &[])).unwrap(), "/sub/");
    for path in ["//sub", "///sub", "/.//sub", "/x/..//sub", "http://h//sub"] {
        assert_eq!(to(get(&mut test, path, &[])).unwrap(), "/sub/", "{path}");
    }
    for path in ["//example.com/%2e%2e", "/\\example.com", "//"] {
        assert_eq!(to(get(&mut test, path, &[])), None, "{path}");
    }
    let mut below = App::<()>::new()
        .web(Web::new().files("/a/", tree.path()))
        .test();
    assert_eq!(to(get(&mut below, "/a", &[])).unwrap(), "/a/");
    assert_eq!(get(&mut below, "/a/", &[]).status, 200);
    assert_eq!(get(&mut below, "/ab", &[]).status, 404);
}

#[test]
fn a_folder_is_somewhere_else_under_a_name_that_fields_can_have() {
    let tree = tree();
    for name in ["ä b", "a\"b", "中"] {
        write(&tree.path().join(name), "index.html", "in");
    }
    let mut test = serve(Files::new(tree.path()));
    for (path, expected) in [
        ("/ä%20b", "/%C3%A4%20b/"),
        ("/%C3%A4%20b?q=ä", "/%C3%A4%20b/?q=%C3%A4"),
        ("/a\"b", "/a%22b/"),
        ("/中", "/%E4%B8%AD/"),
    ] {
        let answered = get(&mut test, path, &[]);
        assert_eq!(answered.status, 301, "{path}");
        let to = answered.header("location").unwrap();
        assert_eq!(to, expected, "{path}");
        assert_eq!(get(&mut test, to, &[]).text(), "in", "{to}");
    }
}

#[test]
fn links_are_followed_inside_alone() {
    let tree = tree();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret", "s");
    let link = |to: &Path, name: &str| symlink(to, tree.path().join(name)).unwrap();
    link(Path::new("small.txt"), "inside");
    link(Path::new("../small.txt"), "sub/up");
    link(outside.path(), "folder");
    link(&outside.path().join("secret"), "file");
    link(Path::new("/etc/passwd"), "passwd");
    link(Path::new("../../../../etc/passwd"), "relative");
    link(Path::new("/proc/self/cwd"), "magic");
    let mut test = serve(Files::new(tree.path()).listing(true));
    for (path, status) in [
        ("/inside", 200),
        ("/sub/up", 200),
        ("/folder/secret", 404),
        ("/folder/", 404),
        ("/file", 404),
        ("/passwd", 404),
        ("/relative", 404),
        ("/magic/Cargo.toml", 404),
    ] {
        assert_eq!(get(&mut test, path, &[]).status, status, "{path}");
    }
}

#[test]
fn what_is_no_file_is_not_opened_for_long() {
    let tree = tree();
    let pipe = tree.path().join("pipe");
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&pipe, mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("socket")).unwrap();
    let mut test = serve(Files::new(tree.path()));
    for path in ["/pipe", "/socket"] {
        assert_eq!(get(&mut test, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn fields_say_what_the_file_is() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()).cache_control("max-age=60"));
    let answered = get(&mut test, "/small.txt", &[]);
    for (name, value) in [
        ("content-type", Some("text/plain; charset=utf-8")),
        ("content-length", Some("10")),
        ("etag", Some("\"a-3b9aca00.0\"")),
        ("last-modified", Some("Sun, 09 Sep 2001 01:46:40 GMT")),
        ("accept-ranges", Some("bytes")),
        ("cache-control", Some("max-age=60")),
        ("x-content-type-options", Some("nosniff")),
        ("vary", Some("Accept-Encoding")),
        ("content-encoding", None),
    ] {
        assert_eq!(answered.header(name), value, "{name}");
    }
    let head = test.http("HEAD", "/small.txt", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let fields = |answered: &Answered| {
        let mut fields = answered.fields.clone();
        fields.retain(|(name, _)| name != "Date");
        fields
    };
    assert_eq!(fields(&head), fields(&answered));
    assert_eq!(get(&mut test, "/large.bin", &[]).header("vary"), None);
}

#[test]
fn the_type_is_that_of_the_name_and_otherwise_of_the_content() {
    let tree = tree();
    let (text, other) = ("text/plain; charset=utf-8", "application/octet-stream");
    for name in ["README", "LICENSE.unknown", "script.ts", "letter"] {
        write(tree.path(), name, "Grüße\n".repeat(200));
    }
    write(tree.path(), "program", b"\x7fELF\0\0");
    write(tree.path(), "latin", b"gr\xfc\xdfe");
    let kind = |test: &mut Test<()>, path: &str| {
        let answered = get(test, path, &[]);
        answered.header("content-type").unwrap().to_owned()
    };
    let mut test = serve(Files::new(tree.path()));
    for (path, expected) in [
        ("/README", text),
        ("/LICENSE.unknown", text),
        ("/program", other),
        ("/latin", other),
        ("/script.ts", "video/mp2t"),
    ] {
        // The second time from the cache.
        for _ in 0..2 {
            assert_eq!(kind(&mut test, path), expected, "{path}");
        }
    }
    // What is text is packed.
    let packed = get(&mut test, "/README", &[("Accept-Encoding", "gzip")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("content-type"), Some(text));
    let files = Files::new(tree.path())
        .media_type("ts", "text/x-typescript")
        .default_type("application/x-thing");
    let mut test = serve(files);
    for (path, expected) in [
        ("/README", "application/x-thing"),
        ("/LICENSE.unknown", "application/x-thing"),
        ("/script.ts", "text/x-typescript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
    ] {
        assert_eq!(kind(&mut test, path), expected, "{path}");
    }
}

#[test]
#[should_panic(expected = "is none")]
fn a_media_type_with_a_line_break_stops_the_program() {
    let _files = Files::new("x").media_type("ts", "a/b\r\nc: d");
}

#[test]
fn other_methods_are_told_so() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    for (method, path, status) in [
        ("POST", "/small.txt", 405),
        ("DELETE", "/small.txt", 405),
        ("BREW", "/small.txt", 405),
        ("OPTIONS", "/small.txt", 204),
        ("OPTIONS", "/sub", 204),
        ("POST", "/sub", 405),
        ("DELETE", "/bare", 405),
        ("POST", "/nowhere", 404),
    ] {
        let answered = test.http(method, path, "");
        assert_eq!(answered.status, status, "{method} {path}");
        let allow = (status != 404).then_some("GET, HEAD, OPTIONS");
        assert_eq!(answered.header("allow"), allow, "{method} {path}");
    }
    assert_eq!(
        fs::read(tree.path().join("small.txt")).unwrap(),
        b"0123456789"
    );
}

#[test]
fn a_client_that_has_the_file_is_sent_nothing() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()).cache_control("max-age=60"));
    for path in ["/small.txt", "/large.bin"] {
        let first = get(&mut test, path, &[]);
        let etag = first.header("etag").unwrap();
        for fields in [
            &[("If-None-Match", etag)][..],
            &[("If-Modified-Since", "Sun, 09 Sep 2001 01:46:40 GMT")],
            &[("If-None-Match", etag), ("Range", "bytes=0-1")],
        ] {
            let answered = get(&mut test, path, fields);
            assert_eq!(
                (answered.status, answered.body.len()),
                (304, 0),
                "{fields:?}"
            );
            for name in ["etag", "last-modified", "cache-control", "vary"] {
                assert_eq!(answered.header(name), first.header(name), "{name}");
            }
            assert_eq!(answered.header("content-length"), None);
            assert_eq!(answered.header("content-type"), None);
        }
        let failed = get(&mut test, path, &[("If-Match", "\"x\"")]);
        assert_eq!(failed.status, 412);
    }
}

#[test]
fn ranges_are_sent_from_memory_and_from_the_disk() {
    let tree = tree();
    write(tree.path(), "disk.txt", "0123456789".repeat(10_000));
    let mut test = serve(Files::new(tree.path()));
    for (path, len) in [("/small.txt", 10), ("/disk.txt", 100_000)] {
        for (range, status, place, text) in [
            ("bytes=2-4", 206, format!("bytes 2-4/{len}"), "234"),
            (
                "bytes=-3",
                206,
                format!("bytes {}-{}/{len}", len - 3, len - 1),
                "789",
            ),
            ("bytes=0-0", 206, format!("bytes 0-0/{len}"), "0"),
            ("bytes=200000-", 416, format!("bytes */{len}"), ""),
        ] {
            let answered = get(&mut test, path, &[("Range", range)]);
            assert_eq!(answered.status, status, "{path} {range}");
            assert_eq!(
                answered.header("content-range"),
                Some(&*place),
                "{path} {range}"
            );
            if status == 206 {
                assert_eq!(answered.text(), text, "{path} {range}");
                assert_eq!(
                    answered.header("content-type"),
                    Some("text/plain; charset=utf-8")
                );
            }
        }
        let head = test.http_with("HEAD", path, &[("Range", "bytes=2-4")], "");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), Some(&*len.to_string()));
    }
}

#[test]
fn an_empty_file_is_sent_to_who_asks_from_its_first_byte() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    for (range, status) in [
        ("bytes=0-", 200),
        ("bytes=0-99", 200),
        ("bytes=-5", 200),
        ("bytes=1-", 416),
    ] {
        let answered = get(&mut test, "/empty.txt", &[("Range", range)]);
        assert_eq!(answered.status, status, "{range}");
        let place = (status == 416).then_some("bytes */0");
        assert_eq!(answered.header("content-range"), place, "{range}");
        let length = (status == 200).then_some("0");
        assert!(length.is_none_or(|zero| answered.header("content-length") == Some(zero)));
    }
}

#[test]
fn many_ranges_come_in_parts() {
    let tree = tree();
    write(tree.path(), "disk.txt", "0123456789".repeat(10_000));
    let mut test = serve(Files::new(tree.path()));
    for path in ["/small.txt", "/disk.txt"] {
        let answered = get(&mut test, path, &[("Range", "bytes=7-8, 0-1, 1-2")]);
        assert_eq!(answered.status, 206);
        assert_eq!(answered.header("content-range"), None);
        let kind = answered.header("content-type").unwrap();
        let boundary = kind
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let len = if path == "/small.txt" { 10 } else { 100_000 };
        let part = |range: &str, text: &str| {
            format!(
                "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Range: bytes {range}/{len}\r\n\r\n{text}\r\n"
            )
        };
        let parts = part("7-8", "78") + &part("0-2", "012");
        // Some clients know a boundary by the line break before it.
        let expected = format!("\r\n{parts}--{boundary}--\r\n");
        assert_eq!(answered.text(), expected);
        let length = expected.len().to_string();
        assert_eq!(answered.header("content-length"), Some(&*length));
    }
}

#[test]
fn pieces_of_another_file_are_not_mixed() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    let etag = get(&mut test, "/small.txt", &[]);
    let etag = etag.header("etag").unwrap();
    for (if_range, status) in [
        (etag, 206),
        ("\"other\"", 200),
        ("Sun, 09 Sep 2001 01:46:40 GMT", 206),
        ("Sun, 09 Sep 2001 01:46:41 GMT", 200),
    ] {
        let fields = [("Range", "bytes=1-2"), ("If-Range", if_range)];
        assert_eq!(
            get(&mut test, "/small.txt", &fields).status,
            status,
            "{if_range}"
        );
    }
    // Then what is asked for may lie behind the end.
    let fields = [("Range", "bytes=50-"), ("If-Range", "\"other\"")];
    assert_eq!(get(&mut test, "/small.txt", &fields).status, 200);
}

#[test]
fn what_lies_packed_beside_the_file_is_sent() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    let plain = "plain".repeat(200);
    for (accepted, coding, text) in [
        ("br, gzip, zstd", Some("br"), "BR"),
        ("gzip, zstd", Some("zstd"), "ZS"),
        ("gzip", Some("gzip"), "GZ"),
        ("gzip;q=1, br;q=0.5", Some("gzip"), "GZ"),
        ("identity", None, &*plain),
        ("deflate", None, &*plain),
        ("br;q=0", None, &*plain),
    ] {
        let answered = get(&mut test, "/script.js", &[("Accept-Encoding", accepted)]);
        assert_eq!(answered.header("content-encoding"), coding, "{accepted}");
        assert_eq!(answered.text(), text, "{accepted}");
        let kind = "text/javascript; charset=utf-8";
        assert_eq!(answered.header("content-type"), Some(kind));
        assert_eq!(answered.header("vary"), Some("Accept-Encoding"));
    }
    let fields = [("Accept-Encoding", "br"), ("Range", "bytes=1-")];
    assert_eq!(get(&mut test, "/script.js", &fields).text(), "R");
    // One that was made of what the file was before.
    touch(&tree.path().join("script.js.br"), LONG_AGO - 1);
    let mut test = serve(Files::new(tree.path()));
    let answered = get(&mut test, "/script.js", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!(answered.text(), "GZ");
}

#[test]
fn a_sibling_with_whole_seconds_is_as_new_as_its_file() {
    let tree = tree();
    // As `brotli -k` and `pigz -k` leave them.
    let fraction = |name: &str, nanos: u32| {
        let file = fs::File::options().write(true).open(tree.path().join(name));
        let time = SystemTime::UNIX_EPOCH + Duration::new(LONG_AGO, nanos);
        file.unwrap().set_modified(time).unwrap();
    };
    fraction("script.js", 987_654_321);
    fraction("script.js.br", 0);
    let get_packed = || {
        let mut test = serve(Files::new(tree.path()));
        get(&mut test, "/script.js", &[("Accept-Encoding", "br")])
    };
    assert_eq!(get_packed().text(), "BR");
    touch(&tree.path().join("script.js.br"), LONG_AGO - 1);
    assert_eq!(get_packed().header("content-encoding"), None);
}

#[test]
fn text_is_packed_for_those_who_take_it() {
    use std::io::Read;
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    let plain = get(&mut test, "/page.css", &[]);
    assert_eq!(plain.header("content-encoding"), None);
    let fields = [("Accept-Encoding", "gzip, br")];
    for _ in 0..2 {
        let packed = get(&mut test, "/page.css", &fields);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.header("accept-ranges"), None);
        let etag = packed.header("etag").unwrap();
        assert!(
            etag.starts_with("W/\"") && etag.ends_with("-gz\""),
            "{etag}"
        );
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&packed.body[..]);
        reader.read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.body);
        let again = [fields[0], ("If-None-Match", etag)];
        assert_eq!(get(&mut test, "/page.css", &again).status, 304);
    }
    // Who wants to know alone is told what is known.
    let head = test.http_with("HEAD", "/page.css", &fields, "");
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    // A part is a part of the file itself.
    let part = get(&mut test, "/page.css", &[fields[0], ("Range", "bytes=0-0")]);
    assert_eq!((part.status, &*part.text()), (206, "p"));
    assert_eq!(part.header("content-encoding"), None);
    for path in ["/small.txt", "/large.bin"] {
        let answered = get(&mut test, path, &fields);
        assert_eq!(answered.header("content-encoding"), None, "{path}");
    }
    let mut test = serve(Files::new(tree.path()).pack_max(0));
    let answered = get(&mut test, "/page.css", &fields);
    assert_eq!(answered.header("content-encoding"), None);
}

#[test]
fn nothing_is_packed_for_who_wants_to_know_alone() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    let fields = [("Accept-Encoding", "gzip")];
    let head = test.http_with("HEAD", "/page.css", &fields, "");
    assert_eq!((head.status, head.header("content-encoding")), (200, None));
    assert_eq!(head.header("content-length"), Some("1700"));
    assert_eq!(head.header("vary"), Some("Accept-Encoding"));
    // What lies packed beside the file costs nothing.
    let head = test.http_with("HEAD", "/script.js", &fields, "");
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    assert_eq!(head.header("content-length"), Some("2"));
}

#[test]
fn a_folder_is_shown_if_that_is_wanted() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()).listing(true));
    let page = get(&mut test, "/bare/", &[]);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.header("content-security-policy").is_some());
    let text = page.text();
    for part in [
        "./deep/",
        "./a%20b.txt",
        "./%3Ci%3E.txt",
        "&lt;i&gt;.txt",
        "<h1>/bare/</h1>",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("hidden"));
    assert_eq!(get(&mut test, "/", &[]).text(), "<h1>top</h1>");
    assert_eq!(test.http("HEAD", "/bare/", "").status, 200);
    assert_eq!(test.http("POST", "/bare/", "").status, 405);
}

/// Where the links of a page at `path` lead.
fn links(path: &str, page: &str) -> Vec<String> {
    let links = page.split("href=\"").skip(1);
    let links = links.map(|rest| rest.split('"').next().unwrap());
    let mut found: Vec<String> = links
        .map(|link| match link.strip_prefix("../") {
            Some(rest) => {
                let above = path.trim_end_matches('/').rsplit_once('/').unwrap().0;
                format!("{above}/{rest}")
            }
            None => format!("{path}{}", link.strip_prefix("./").unwrap()),
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    use std::os::unix::ffi::OsStrExt;
    let tree = tree();
    let odd = tree.path().join("odd");
    for name in [
        "a\\b",
        "..\\x",
        "c:d",
        "e%2ff",
        "%",
        "g?h#i",
        "j\nk",
        " ",
        "l;m",
        "n&o",
        "-",
        "~",
        "back\\slash/in",
        "no-index/deep/in",
        "中/ä",
        "+",
    ] {
        write(&odd, name, "in");
    }
    let raw = std::ffi::OsStr::from_bytes(b"raw\xff\xfe");
    fs::write(odd.join(raw), "in").unwrap();
    fs::create_dir(odd.join("empty")).unwrap();
    // An index that is a folder, or a link that leads nowhere, is none.
    fs::create_dir_all(odd.join("folder/index.html")).unwrap();
    fs::create_dir(odd.join("dangling")).unwrap();
    symlink("gone", odd.join("dangling/index.html")).unwrap();
    symlink("gone", odd.join("gone-link")).unwrap();
    symlink(tree.path().join("small.txt"), odd.join("absolute")).unwrap();
    let files = Files::new(&odd).listing(true);
    let mut test = App::new().web(Web::<()>::new().files("/odd", files)).test();
    let (mut next, mut seen) = (vec!["/odd/".to_owned()], Vec::new());
    while let Some(path) = next.pop() {
        let answered = get(&mut test, &path, &[]);
        assert_eq!(answered.status, 200, "{path}");
        if path.ends_with('/') {
            let links = links(&path, &answered.text());
            next.extend(links.into_iter().filter(|link| !seen.contains(link)));
        } else {
            assert_eq!(answered.text(), "in", "{path}");
        }
        seen.push(path);
    }
    seen.sort();
    seen.dedup();
    for path in [
        "/odd/a%5Cb",
        "/odd/raw%FF%FE",
        "/odd/back%5Cslash/in",
        "/odd/dangling/",
    ] {
        assert!(seen.iter().any(|seen| seen == path), "{path}: {seen:?}");
    }
    // `..\\x` begins with a dot; nothing is above the top.
    for path in ["/odd/..%5Cx", "/", "/odd/gone-link", "/odd/absolute"] {
        assert!(seen.iter().all(|seen| seen != path), "{path}: {seen:?}");
    }
}

#[test]
fn the_page_of_a_folder_heeds_conditions() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()).listing(true));
    let date = "Sun, 09 Sep 2001 01:46:40 GMT";
    for (name, value, status) in [
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"a\"", 200),
        ("If-Match", "*", 200),
        ("If-Match", "\"a\"", 412),
        ("If-Modified-Since", date, 200),
        ("If-Unmodified-Since", date, 200),
    ] {
        let answered = get(&mut test, "/bare/", &[(name, value)]);
        assert_eq!(answered.status, status, "{name}: {value}");
        assert_eq!(answered.body.is_empty(), status == 304, "{name}: {value}");
    }
}

#[test]
fn the_first_index_that_is_there_is_served() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()).index(&["none", "a b.txt", "index.html"]));
    assert_eq!(get(&mut test, "/bare/", &[]).text(), "ab");
    assert_eq!(get(&mut test, "/sub/", &[]).text(), "sub");
}

#[test]
fn routes_come_before_files_and_otherwise_behind_them() {
    let tree = tree();
    let web = Web::<()>::new()
        .get("/small.txt", |_, (): ()| "the route")
        .files("/", tree.path())
        .files("/sub", Files::new(tree.path().join("bare")))
        .otherwise(|c, (): ()| format!("otherwise {}", c.path()));
    let mut test = App::new().web(web).test();
    for (path, text) in [
        ("/small.txt", "the route"),
        ("/empty.txt", ""),
        ("/sub/deep/x", "x"),
        ("/sub/index.html", "otherwise /sub/index.html"),
        ("/subway", "otherwise /subway"),
        ("/nowhere", "otherwise /nowhere"),
    ] {
        assert_eq!(get(&mut test, path, &[]).text(), text, "{path}");
    }
}

#[test]
fn middleware_is_around_files() {
    let tree = tree();
    let web = Web::<()>::new()
        .files("/", tree.path())
        .otherwise(|_, (): ()| "otherwise")
        .wrap(|c, body, next| {
            if c.header("authorization").is_none() {
                return Err(Error::new(401, "who are you?"));
            }
            c.set_header("x-seen", "1");
            next.run(c, body)
        });
    let mut test = App::new().web(web).test();
    assert_eq!(get(&mut test, "/small.txt", &[]).status, 401);
    let me = [("Authorization", "me")];
    let answered = get(&mut test, "/small.txt", &me);
    assert_eq!((answered.status, &*answered.text()), (200, "0123456789"));
    assert_eq!(answered.header("x-seen"), Some("1"));
    assert_eq!(get(&mut test, "/nowhere", &me).text(), "otherwise");
}

#[test]
fn a_file_that_was_replaced_is_seen_within_two_seconds() {
    let tree = tree();
    let mut test = serve(Files::new(tree.path()));
    for path in ["small.txt", "large.bin"] {
        let old = get(&mut test, &format!("/{path}"), &[]);
        write(tree.path(), "new", "new");
        fs::rename(tree.path().join("new"), tree.path().join(path)).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answered = get(&mut test, &format!("/{path}"), &[]);
            if answered.text() == "new" {
                assert_ne!(answered.header("etag"), old.header("etag"));
                break;
            }
            // Until then it is the old one, and whole.
            assert_eq!(answered.header("etag"), old.header("etag"));
            assert_eq!(answered.body, old.body);
            assert!(std::time::Instant::now() < until, "{path}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

#[test]
#[should_panic(expected = "has two folders of files")]
fn two_folders_at_one_path_stop_the_program() {
    let _web = Web::<()>::new().files("/a", "x").files("/a/", "y");
}

#[test]
#[should_panic(expected = "cannot be sent")]
fn a_field_with_a_line_break_stops_the_program() {
    let _files = Files::new("x").cache_control("a\r\nb: c");
}
