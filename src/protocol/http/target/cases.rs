//! What is done with which target: the RFCs, nginx, and this server.
//!
//! nginx is Debian's, with its defaults; it tells a path that it normalised by
//! `$uri`. A path of ours is told with the escapes that must stay. Plain data: the
//! tests beside it and those that ask nginx read it.

/// What a server does with a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Does {
    /// Looks for this path, with this query.
    Path(&'static str, &'static str),
    /// Answers so.
    Status(u16),
}
use Does::{Path, Status};

/// Method, target, the RFC's line, nginx, and this server.
pub(crate) type Case = (&'static str, &'static str, &'static str, Does, Does);

const ORIGIN: &str = "9112, 3.2.1: a path that begins with a slash, and a query";
const ABSOLUTE: &str = "9112, 3.2.2: a server must accept it";
pub(crate) const SCHEMES: &str = "9110, 4.2: of an http server, http and https";
const NO_USER: &str = "9110, 4.2.4: no user in a target";
const HOSTED: &str = "9110, 4.2.1: an empty host is invalid";
const NO_FORM: &str = "9112, 3.2: none of the four forms, 400";
pub(crate) const NO_FRAGMENT: &str = "9112, 3.2: no form has a fragment";
const STAR: &str = "9112, 3.2.4: for OPTIONS alone";
const TUNNEL: &str = "9112, 3.2.3: host and port, for CONNECT alone";
const DOTS: &str = "3986, 5.2.4 and 6.2.2.3: dot segments are removed";
const ABOVE: &str = "3986, 5.4.2: an abnormal reference; 9112, 3: refuse what is odd";
const UNRESERVED: &str = "3986, 6.2.2.2: escapes of unreserved characters are undone";
pub(crate) const RESERVED: &str = "3986, 2.2: an escaped slash separates nothing";
pub(crate) const ONCE: &str = "3986, 2.4: escapes are undone once";
const ESCAPE: &str = "3986, 2.1: a percent sign and two hex digits";
const EMPTY: &str = "3986, 3.3: empty segments are allowed; merged as nginx does";
const NO_NUL: &str = "3986, 7.3: a NUL ends names elsewhere";

pub(crate) const CASES: &[Case] = &[
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
    ("OPTIONS", "*", STAR, Status(400), Path("*", "")),
    ("GET", "*", STAR, Status(400), Status(400)),
    ("OPTIONS", "**", STAR, Status(400), Status(400)),
    ("OPTIONS", "*?a", STAR, Status(400), Status(400)),
    ("OPTIONS", "/", ORIGIN, Path("/", ""), Path("/", "")),
    ("CONNECT", "h:443", TUNNEL, Status(400), Path("", "")),
    ("CONNECT", "[::1]:443", TUNNEL, Status(400), Path("", "")),
    ("CONNECT", "h", TUNNEL, Status(400), Status(400)),
    ("CONNECT", "/a", TUNNEL, Status(405), Status(400)),
    ("CONNECT", "http://h/", TUNNEL, Status(405), Status(400)),
];
