//! What is done with which target: the RFCs, nginx, and this server.
//!
//! nginx is Debian's, with its defaults; it tells a path that it normalised by
//! `$uri`. A path of ours is told with the escapes that must stay.

use super::{Target, in_uri, read, spelled, unescaped};

/// What a server does with a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    /// Looks for this path, with this query.
    Path(&'static str, &'static str),
    /// Answers so.
    Status(u16),
}
use Does::{Path, Status};

/// Method, target, the RFC's line, nginx, and this server.
type Case = (&'static str, &'static str, &'static str, Does, Does);

const ORIGIN: &str = "9112, 3.2.1: a path that begins with a slash, and a query";
const ABSOLUTE: &str = "9112, 3.2.2: a server must accept it";
const SCHEMES: &str = "9110, 4.2: of an http server, http and https";
const NO_USER: &str = "9110, 4.2.4: no user in a target";
const HOSTED: &str = "9110, 4.2.1: an empty host is invalid";
const NO_FORM: &str = "9112, 3.2: none of the four forms, 400";
const NO_FRAGMENT: &str = "9112, 3.2: no form has a fragment";
const STAR: &str = "9112, 3.2.4: for OPTIONS alone";
const TUNNEL: &str = "9112, 3.2.3: host and port, for CONNECT alone";
const DOTS: &str = "3986, 5.2.4 and 6.2.2.3: dot segments are removed";
const ABOVE: &str = "3986, 5.4.2: an abnormal reference; 9112, 3: refuse what is odd";
const UNRESERVED: &str = "3986, 6.2.2.2: escapes of unreserved characters are undone";
const RESERVED: &str = "3986, 2.2: an escaped slash separates nothing";
const ONCE: &str = "3986, 2.4: escapes are undone once";
const ESCAPE: &str = "3986, 2.1: a percent sign and two hex digits";
const EMPTY: &str = "3986, 3.3: empty segments are allowed; merged as nginx does";
const NO_NUL: &str = "3986, 7.3: a NUL ends names elsewhere";

const CASES: &[Case] = &[
    ("GET", "/", ORIGIN, Path("/", ""), Path("/", "")),
    (
        "GET",
        "/a.txt",
        ORIGIN,
        Path("/a.txt", ""),
        Path("/a.txt", ""),
    ),
    (
        "GET",
        "/a?b=c",
        ORIGIN,
        Path("/a", "b=c"),
        Path("/a", "b=c"),
    ),
    ("GET", "/a?", ORIGIN, Path("/a", ""), Path("/a", "")),
    (
        "GET",
        "/?a?b/../c%zz",
        ORIGIN,
        Path("/", "a?b/../c%zz"),
        Path("/", "a?b/../c%zz"),
    ),
    (
        "GET",
        "/a?u=http://x//y",
        ORIGIN,
        Path("/a", "u=http://x//y"),
        Path("/a", "u=http://x//y"),
    ),
    ("GET", "/a:b", ORIGIN, Path("/a:b", ""), Path("/a:b", "")),
    ("GET", "/ä", ORIGIN, Path("/ä", ""), Path("/ä", "")),
    ("GET", "a.txt", NO_FORM, Status(400), Status(400)),
    ("GET", "?a", NO_FORM, Status(400), Status(400)),
    ("GET", "h:80", NO_FORM, Status(400), Status(400)),
    // Where is a server that begins with two slashes?
    ("GET", "//h/a", EMPTY, Path("/h/a", ""), Path("/h/a", "")),
    (
        "GET",
        "//a.txt",
        EMPTY,
        Path("/a.txt", ""),
        Path("/a.txt", ""),
    ),
    ("GET", "///", EMPTY, Path("/", ""), Path("/", "")),
    (
        "GET",
        "/a//b///c/",
        EMPTY,
        Path("/a/b/c/", ""),
        Path("/a/b/c/", ""),
    ),
    ("GET", "/a//../b", EMPTY, Path("/b", ""), Path("/b", "")),
    ("GET", "/.//a", EMPTY, Path("/a", ""), Path("/a", "")),
    ("GET", "/a/..//b", EMPTY, Path("/b", ""), Path("/b", "")),
    ("GET", "/./a", DOTS, Path("/a", ""), Path("/a", "")),
    ("GET", "/a/./b", DOTS, Path("/a/b", ""), Path("/a/b", "")),
    ("GET", "/a/.", DOTS, Path("/a/", ""), Path("/a/", "")),
    ("GET", "/.", DOTS, Path("/", ""), Path("/", "")),
    ("GET", "/d/../a", DOTS, Path("/a", ""), Path("/a", "")),
    ("GET", "/a/b/..", DOTS, Path("/a/", ""), Path("/a/", "")),
    ("GET", "/a/..", DOTS, Path("/", ""), Path("/", "")),
    ("GET", "/a/b/../../c", DOTS, Path("/c", ""), Path("/c", "")),
    ("GET", "/%2e/a", DOTS, Path("/a", ""), Path("/a", "")),
    ("GET", "/b/%2E%2e/a", DOTS, Path("/a", ""), Path("/a", "")),
    ("GET", "/b/.%2E/a", DOTS, Path("/a", ""), Path("/a", "")),
    ("GET", "/...", ORIGIN, Path("/...", ""), Path("/...", "")),
    (
        "GET",
        "/..a/.b/c.",
        ORIGIN,
        Path("/..a/.b/c.", ""),
        Path("/..a/.b/c.", ""),
    ),
    ("GET", "/..", ABOVE, Status(400), Status(400)),
    ("GET", "/../a", ABOVE, Status(400), Status(400)),
    ("GET", "/a/../../b", ABOVE, Status(400), Status(400)),
    ("GET", "/%2e%2e/a", ABOVE, Status(400), Status(400)),
    ("GET", "/./../a", ABOVE, Status(400), Status(400)),
    ("GET", "//..//a", ABOVE, Status(400), Status(400)),
    (
        "GET",
        "/%65cho",
        UNRESERVED,
        Path("/echo", ""),
        Path("/echo", ""),
    ),
    (
        "GET",
        "/%7Ea%2D%5F%2Eb",
        UNRESERVED,
        Path("/~a-_.b", ""),
        Path("/~a-_.b", ""),
    ),
    (
        "GET",
        "/a%20b",
        UNRESERVED,
        Path("/a b", ""),
        Path("/a b", ""),
    ),
    ("GET", "/%c3%a4", UNRESERVED, Path("/ä", ""), Path("/ä", "")),
    (
        "GET",
        "/a%3fb%23c",
        UNRESERVED,
        Path("/a?b#c", ""),
        Path("/a?b#c", ""),
    ),
    (
        "GET",
        "/a%3Ab%5cc",
        UNRESERVED,
        Path("/a:b\\c", ""),
        Path("/a:b\\c", ""),
    ),
    ("GET", "/%25", ONCE, Path("/%", ""), Path("/%25", "")),
    (
        "GET",
        "/%252e%252e/a",
        ONCE,
        Path("/%2e%2e/a", ""),
        Path("/%252e%252e/a", ""),
    ),
    (
        "GET",
        "/a%2Fb",
        RESERVED,
        Path("/a/b", ""),
        Path("/a%2Fb", ""),
    ),
    (
        "GET",
        "/a%2fb",
        RESERVED,
        Path("/a/b", ""),
        Path("/a%2Fb", ""),
    ),
    (
        "GET",
        "/a/..%2fb",
        RESERVED,
        Path("/b", ""),
        Path("/a/..%2Fb", ""),
    ),
    (
        "GET",
        "/a%0ab",
        UNRESERVED,
        Path("/a\nb", ""),
        Path("/a%0Ab", ""),
    ),
    ("GET", "/%", ESCAPE, Status(400), Status(400)),
    ("GET", "/a%2", ESCAPE, Status(400), Status(400)),
    ("GET", "/a%zz", ESCAPE, Status(400), Status(400)),
    ("GET", "/a%+1", ESCAPE, Status(400), Status(400)),
    ("GET", "/a%2/b", ESCAPE, Status(400), Status(400)),
    ("GET", "/a%00b", NO_NUL, Status(400), Status(400)),
    ("GET", "/a#f", NO_FRAGMENT, Path("/a", ""), Status(400)),
    ("GET", "/a?b#f", NO_FRAGMENT, Path("/a", "b"), Status(400)),
    ("GET", "/#", NO_FRAGMENT, Path("/", ""), Status(400)),
    (
        "GET",
        "http://h/a?b",
        ABSOLUTE,
        Path("/a", "b"),
        Path("/a", "b"),
    ),
    (
        "GET",
        "HTTPS://H:443/a",
        ABSOLUTE,
        Path("/a", ""),
        Path("/a", ""),
    ),
    ("GET", "http://h", ABSOLUTE, Path("/", ""), Path("/", "")),
    (
        "GET",
        "http://h?x=1",
        ABSOLUTE,
        Path("/", "x=1"),
        Path("/", "x=1"),
    ),
    (
        "GET",
        "http://[::1]:80/a",
        ABSOLUTE,
        Path("/a", ""),
        Path("/a", ""),
    ),
    (
        "GET",
        "http://h//a/./b",
        ABSOLUTE,
        Path("/a/b", ""),
        Path("/a/b", ""),
    ),
    ("GET", "http://h/../a", ABOVE, Status(400), Status(400)),
    ("GET", "http://h#f", NO_FRAGMENT, Status(400), Status(400)),
    (
        "GET",
        "http://h/a#f",
        NO_FRAGMENT,
        Path("/a", ""),
        Status(400),
    ),
    (
        "GET",
        "http://h#@i/a",
        NO_FRAGMENT,
        Status(400),
        Status(400),
    ),
    ("GET", "*://h/dir/x", SCHEMES, Status(400), Status(400)),
    ("GET", "x:y://h/dir/x", SCHEMES, Status(400), Status(400)),
    ("GET", "://h/dir/x", SCHEMES, Status(400), Status(400)),
    (
        "GET",
        "ftp://h/dir/x",
        SCHEMES,
        Path("/dir/x", ""),
        Status(400),
    ),
    (
        "GET",
        "httpx://h/dir/x",
        SCHEMES,
        Path("/dir/x", ""),
        Status(400),
    ),
    ("GET", "http:/h/dir/x", NO_FORM, Status(400), Status(400)),
    ("GET", "http:h/dir/x", NO_FORM, Status(400), Status(400)),
    ("GET", "http:///dir/x", HOSTED, Status(400), Status(400)),
    ("GET", "http://", HOSTED, Status(400), Status(400)),
    ("GET", "http://:80/dir/x", HOSTED, Status(400), Status(400)),
    ("GET", "http://u@h/dir/x", NO_USER, Status(400), Status(400)),
    (
        "GET",
        "http://u:w@h/dir/x",
        NO_USER,
        Status(400),
        Status(400),
    ),
    (
        "GET",
        "http://h:x/dir/x",
        ABSOLUTE,
        Status(400),
        Status(400),
    ),
    (
        "GET",
        "http://h\\i/dir/x",
        ABSOLUTE,
        Status(400),
        Status(400),
    ),
    (
        "GET",
        "http://[::1/dir/x",
        ABSOLUTE,
        Status(400),
        Status(400),
    ),
    ("OPTIONS", "*", STAR, Status(200), Path("*", "")),
    ("GET", "*", STAR, Status(400), Status(400)),
    ("OPTIONS", "**", STAR, Status(400), Status(400)),
    ("OPTIONS", "*?a", STAR, Status(400), Status(400)),
    ("OPTIONS", "/", ORIGIN, Path("/", ""), Path("/", "")),
    ("CONNECT", "h:443", TUNNEL, Status(405), Path("", "")),
    ("CONNECT", "[::1]:443", TUNNEL, Status(405), Path("", "")),
    ("CONNECT", "h", TUNNEL, Status(405), Status(400)),
    ("CONNECT", "/a", TUNNEL, Status(405), Status(400)),
    ("CONNECT", "http://h/", TUNNEL, Status(405), Status(400)),
];

fn done<'a>(
    method: &str,
    target: &'a str,
    merge: bool,
    room: &'a mut String,
) -> Option<(&'a str, &'a str)> {
    let found = read(method, target, merge, room).ok();
    found.map(|Target { path, query }| (path, query))
}

#[test]
fn targets_are_read_as_the_table_says() {
    for (method, target, why, _, ours) in CASES {
        let mut room = String::from("left over");
        let found = done(method, target, true, &mut room);
        match ours {
            Path(path, query) => assert_eq!(found, Some((*path, *query)), "{target}: {why}"),
            Status(status) => assert_eq!((found, *status), (None, 400), "{target}: {why}"),
        }
    }
}

#[test]
fn where_nginx_does_something_else_a_line_of_an_rfc_says_why() {
    for (method, target, why, nginx, ours) in CASES {
        let (rfc, _) = why.split_once(", ").expect("a number");
        assert!(
            rfc.len() == 4 && rfc.bytes().all(|b| b.is_ascii_digit()),
            "{why}"
        );
        // What has a path of its own is answered by the server.
        let is_alike = nginx == ours || matches!((method, ours), (&"OPTIONS" | &"CONNECT", _));
        let reasons = [RESERVED, ONCE, NO_FRAGMENT, SCHEMES];
        let escaped = matches!(ours, Path(path, _) if path.contains('%'));
        assert!(
            is_alike || escaped || reasons.contains(why),
            "{target}: {why}"
        );
    }
}

#[test]
fn a_path_is_normal_already_and_a_redirect_to_it_stays() {
    for (method, target, ..) in CASES {
        for merge in [true, false] {
            let mut room = String::new();
            let Some((path, _)) = done(method, target, merge, &mut room) else {
                continue;
            };
            if !path.starts_with('/') {
                continue;
            }
            let there = in_uri(path).into_owned();
            assert!(
                !there.starts_with("//") && !there.starts_with("/\\"),
                "{there}"
            );
            let is_uri = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte);
            assert!(there.bytes().all(is_uri), "{there}");
            let mut again = String::new();
            let (path_again, _) = done("GET", &there, merge, &mut again).expect(&there);
            assert_eq!(path_again, path, "{target}");
            assert_eq!(spelled(&there), path, "{target}");
        }
    }
}

#[test]
fn slashes_stay_where_they_are_not_merged() {
    for (target, path) in [
        ("/a//b", "/a//b"),
        ("/a//", "/a//"),
        ("/a//../b", "/a/b"),
        ("/a/b/..//c", "/a//c"),
        // What begins with two would be the name of a host.
        ("//a", "/a"),
        ("/.//a", "/a"),
        ("/a/..//b", "/b"),
        ("//", "/"),
    ] {
        let mut room = String::new();
        let found = done("GET", target, false, &mut room);
        assert_eq!(found, Some((path, "")), "{target}");
    }
}

#[test]
fn what_is_left_escaped_is_undone_once() {
    for (path, bytes) in [
        ("/a b/ä", Some("/a b/ä".as_bytes())),
        ("/%252e", Some(b"/%2e")),
        ("/a%0A%FFb", Some(b"/a\n\xffb")),
        ("/a%2Fb", None),
        ("/..%2F..", None),
    ] {
        assert_eq!(unescaped(path).as_deref(), bytes, "{path}");
    }
    let mut room = String::new();
    let found = done("GET", "/%ff%C3%28%80", true, &mut room);
    assert_eq!(found, Some(("/%FF%C3(%80", "")));
}
