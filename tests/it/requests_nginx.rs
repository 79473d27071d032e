//! The same bytes to nginx, Apache and HAProxy, as Debian ships them, and to us:
//! targets of the table beside the function that reads them, then heads and bodies.
//! What differs has a reason, and the line of an RFC.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

use purlin::Server;
use purlin::prelude::*;

use crate::files_nginx::Nginx;
use crate::harness::{PATIENCE, has, wait_until};

#[path = "../../src/protocol/http/target/cases.rs"]
mod cases;

use cases::{CASES, Does};

const OWS: &str = "RFC 9110, 5.6.3: a tab around a value is nothing";
const NAME: &str = "RFC 3986, 3.2.2: a registered name may have empty labels";
const EMPTY_HOST: &str = "RFC 9112, 3.2: empty where the target has no authority";
const HOST: &str = "RFC 9112, 3.2: 400 for a field Host that is none";
const ONE_DIGIT: &str = "RFC 9112, 2.3: a version is a digit, a point, a digit";
const VERSION: &str = "RFC 9110, 15.6.6: 505 for a major version that is not served";
const ONE_SPACE: &str = "RFC 9112, 3: one space between the parts of a request line";
const TOKEN: &str = "RFC 9110, 9.1: a method is any token, small letters too";
const BARE_LF: &str = "RFC 9112, 2.2: CRLF ends a line; a bare LF is read in two ways";
const CONTROL: &str = "RFC 9110, 5.5: control characters in a value are invalid";
const FIELD_NAME: &str = "RFC 9112, 5.1: a field line has a token and a colon";
const NUMBER: &str = "RFC 9112, 6.3 and 9110, 8.6: any number is one, and this too long";
const LAST: &str = "RFC 9112, 6.3: 400 where chunked is not the last coding, once";
const CHUNK_SPACE: &str = "RFC 9112, 7.1: no space behind the size of a chunk";
const TRAILER: &str = "RFC 9110, 6.5.1: no field that frames a message as a trailer";
const EXPECT: &str = "RFC 9110, 10.1.1: 417 for what is not understood";
const LENGTH: &str = "RFC 9110, 15.5.12: 411 for a body without a length, over 1.0";

const REG_NAME: &str = "RFC 3986, 3.2.2 and 3.2.3: a name of any such characters, an empty port";
const ONE_HOST: &str = "RFC 9112, 3.2: 400 without exactly one field Host";
const ABSOLUTE: &str = "RFC 9112, 3.2.2: the authority of the target replaces Host";
const NO_TRACE: &str = "RFC 9110, 9.3.8: no TRACE where it could show credentials";
const FOLDED: &str = "RFC 9112, 2.2 and 5.2: 400 for a line that is folded, or indented";
const TWO_LENGTHS: &str = "RFC 9112, 6.3: repeated lengths are rejected, or made one";
const BOTH: &str = "RFC 9112, 6.1: a length beside chunked may be an attack";
const NO_CHUNKS: &str = "RFC 9112, 6.1: chunks over 1.0 are faulty framing";
const CODING: &str = "RFC 9112, 6.1: 501 for a coding that is not understood";

/// What Apache answers, and HAProxy with a fixed answer, where one of them does
/// not answer as we do, and why. To all others of [`REQUESTS`] both do.
#[rustfmt::skip]
const OTHERS: &[(&str, u16, u16, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: h:\r\n\r\n", 400, 200, REG_NAME),
    ("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400, 200, NAME),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, 200, EMPTY_HOST),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, 200, EMPTY_HOST),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, 200, REG_NAME),
    ("GET / HTTP/1.1\r\nHost: a;b\r\n\r\n", 400, 200, REG_NAME),
    ("GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n", 400, 200, REG_NAME),
    ("GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: h:-1\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: h:80:80\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: ::1]\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: <h>\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a|b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: ä\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\n\r\n", 400, 200, ONE_HOST),
    ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, 200, HOST),
    ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, 200, ONE_HOST),
    ("GET http://h/ HTTP/1.1\r\n\r\n", 400, 200, ONE_HOST),
    ("GET http://h/ HTTP/1.1\r\nHost: i\r\n\r\n", 200, 400, ABSOLUTE),
    ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", 400, 200, VERSION),
    ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 200, 200, VERSION),
    ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 200, 200, VERSION),
    ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, ONE_SPACE),
    ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, NO_TRACE),
    ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, BARE_LF),
    ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, ONE_SPACE),
    ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, ONE_SPACE),
    ("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, ONE_SPACE),
    ("GET / HTTP/1.1\nHost: h\n\n", 400, 200, BARE_LF),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\n\r\n", 400, 200, BARE_LF),
    ("GET / HTTP/1.1\r\nHost: h\r\n X: a\r\n\r\n", 400, 200, FOLDED),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 200, 200, FOLDED),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", 200, 200, FOLDED),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400, 200, CONTROL),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n", 400, 200, CONTROL),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", 400, 200, CONTROL),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", 400, 200, TWO_LENGTHS),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello", 400, 400, NUMBER),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, 200, TWO_LENGTHS),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 200, BOTH),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 200, 200, BOTH),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400, 200, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 200, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 200, 422, CODING),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 200, 422, CODING),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 200, NO_CHUNKS),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 ;x\r\nhello\r\n0\r\n\r\n", 200, 200, CHUNK_SPACE),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 200, 200, CHUNK_SPACE),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400, 200, BARE_LF),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", 200, 200, TRAILER),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413, 400, NUMBER),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello", 417, 200, EXPECT),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello", 417, 200, EXPECT),
    ("POST / HTTP/1.0\r\n\r\n", 200, 200, LENGTH),
];

/// What is sent, what nginx and we answer, and why if that differs.
#[rustfmt::skip]
const REQUESTS: &[(&str, u16, u16, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost:h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost:\t h \t\r\n\r\n", 400, 200, OWS),
    ("GET / HTTP/1.1\r\nHost: H.EXAMPLE\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h:80\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h:\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: a_b\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400, 200, NAME),
    ("GET / HTTP/1.1\r\nHost: .h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, 200, EMPTY_HOST),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, 200, EMPTY_HOST),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: a;b\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: h:-1\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: h:80:80\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: ::1]\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: []\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: <h>\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: a|b\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\nHost: ä\r\n\r\n", 200, 400, HOST),
    ("GET / HTTP/1.1\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.0\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400, 400, ""),
    ("GET http://h/ HTTP/1.1\r\n\r\n", 400, 400, ""),
    ("GET http://h/ HTTP/1.1\r\nHost: i\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.9\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.10\r\nHost: h\r\n\r\n", 200, 400, ONE_DIGIT),
    ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", 400, 505, VERSION),
    ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, 505, ""),
    ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505, 505, ""),
    ("GET / HTTP/11.1\r\nHost: h\r\n\r\n", 505, 400, ONE_DIGIT),
    ("GET / HTTP/1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / http/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 200, 400, ONE_SPACE),
    ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 200, 400, ONE_SPACE),
    ("GET / HTTPS/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1x\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("get / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, TOKEN),
    ("Get / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, TOKEN),
    ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("G/T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, 405, ""),
    ("PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("A-B / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("A_B / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("M1 / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, TOKEN),
    ("!#$ / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 200, TOKEN),
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 400, BARE_LF),
    (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 400, ONE_SPACE),
    ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\nHost: h\n\n", 200, 400, BARE_LF),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\n\r\n", 200, 400, BARE_LF),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX:a\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX:\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\tb\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\n X: a\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n", 200, 400, CONTROL),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", 200, 400, CONTROL),
    ("GET / HTTP/1.1\r\nHost: h\r\nX: ä\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", 200, 400, FIELD_NAME),
    ("GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX@Y: a\r\n\r\n", 200, 400, FIELD_NAME),
    ("GET / HTTP/1.1\r\nHost: h\r\nX(Y: a\r\n\r\n", 200, 400, FIELD_NAME),
    ("GET / HTTP/1.1\r\nHost: h\r\n!#$%: a\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX_Y: a\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nX.Y: a\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:5\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:05\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:5 \r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\t5\r\n\r\nhello", 400, 200, OWS),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5,\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5 5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: five\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello", 400, 413, NUMBER),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n", 501, 200, OWS),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, 501, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked gzip\r\n\r\n0\r\n\r\n", 501, 400, LAST),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 501, 501, ""),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n05\r\nhello\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 ;x\r\nhello\r\n0\r\n\r\n", 200, 400, CHUNK_SPACE),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 200, 400, CHUNK_SPACE),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5x\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\ng\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 200, 400, BARE_LF),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", 200, 400, TRAILER),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX\r\n\r\n", 200, 400, FIELD_NAME),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400, 400, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect:\r\nContent-Length: 5\r\n\r\nhello", 200, 200, ""),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello", 200, 417, EXPECT),
    ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello", 200, 417, EXPECT),
    ("POST / HTTP/1.0\r\n\r\n", 200, 411, LENGTH),
    ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
    ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 200, 200, ""),
    ("OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 200, ""),
];

/// Status and content of the answer to these bytes, behind which nothing comes.
fn answer(socket: &Path, request: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    // Who is refused may be reset behind the answer.
    let _end = stream.read_to_end(&mut said);
    read(&said)
}

/// As [`answer`], over TCP: Apache listens nowhere else.
fn answer_at(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).ok()?;
    // It may have refused the first bytes, and closed.
    let _end = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _end = stream.read_to_end(&mut said);
    Some(read(&said).0)
}

/// Status and content of what was said.
fn read(said: &[u8]) -> (u16, String) {
    let said = String::from_utf8_lossy(said).into_owned();
    let said = said.replacen("HTTP/1.1 100 Continue\r\n\r\n", "", 1);
    let status = said.get(9..12).and_then(|status| status.parse().ok());
    let (_, content) = said.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or(0), content.to_owned())
}

/// Says which path and which query it was asked for.
fn server(folder: &Path) -> Server {
    let web = Web::<()>::new().otherwise(|c, _: Bytes| match c.method() {
        "HEAD" => String::new(),
        _ => format!("{} {}\n", c.path(), c.query_text()),
    });
    let address = format!("unix:{}", folder.join("purlin.sock").display());
    let keys = [
        ("listener.0.protocol", "http"),
        ("listener.0.address", &*address),
    ];
    Server::configured(App::new().web(web), &keys).unwrap()
}

#[test]
fn requests_are_answered_as_by_nginx_or_for_a_reason() {
    if !has("nginx", "nginx-light") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::serving(
        folder.path(),
        "location / { return 200 \"$uri $args\\n\"; }",
    );
    let server = server(folder.path());
    let ours = folder.path().join("purlin.sock");
    let mut wrong = Vec::new();
    for (method, target, why, by_nginx, by_us) in CASES {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        for (who, socket, does) in [("nginx", &nginx.socket, by_nginx), ("purlin", &ours, by_us)] {
            let (status, content) = answer(socket, request.as_bytes());
            let is_right = match does {
                Does::Path("*", _) => status == 200,
                Does::Path("", _) => status == 405,
                Does::Path(path, query) => status == 200 && content == format!("{path} {query}\n"),
                Does::Status(expected) => status == *expected,
            };
            if !is_right {
                wrong.push(format!(
                    "{who}: {method} {target}: {status} {content:?} ({why})"
                ));
            }
        }
    }
    for (request, by_nginx, by_us, why) in REQUESTS {
        assert_eq!(by_nginx != by_us, why.starts_with("RFC "), "{request:?}");
        for (who, socket, expected) in
            [("nginx", &nginx.socket, by_nginx), ("purlin", &ours, by_us)]
        {
            let (status, _) = answer(socket, request.as_bytes());
            if status != *expected {
                wrong.push(format!(
                    "{who}: {request:?}: {status}, not {expected} ({why})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    server.stop(PATIENCE).unwrap();
}

/// Ended when dropped.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// A request that each of them answers.
const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Apache that answers 200 to whatever it takes for a request. Its one process is
/// ended as one.
fn apache(folder: &Path) -> (Other, SocketAddr) {
    let free = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let at = folder.display();
    let modules = ["mpm_event", "authz_core", "rewrite"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let text = format!(
        "ServerRoot {at}\nServerName h\nPidFile {at}/pid\nErrorLog {at}/log\n\
         Listen {address}\n{modules}TraceEnable off\n\
         RewriteEngine on\nRewriteRule ^ - [R=200,L]\n"
    );
    fs::write(folder.join("apache.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    command.args(["-X", "-f"]).arg(folder.join("apache.conf"));
    let apache = Other(command.spawn().unwrap());
    wait_until("Apache serves", || answer_at(address, PLAIN) == Some(200));
    (apache, address)
}

/// HAProxy that answers 200 to whatever it takes for a request.
fn haproxy(folder: &Path) -> Other {
    let text = format!(
        "defaults\n  mode http\n  timeout client 60s\n  timeout connect 60s\n  \
         timeout server 60s\nfrontend f\n  bind unix@{}\n  \
         http-request return status 200\n",
        folder.join("haproxy.sock").display()
    );
    fs::write(folder.join("haproxy.cfg"), text).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command
        .args(["-db", "-q", "-f"])
        .arg(folder.join("haproxy.cfg"));
    let haproxy = Other(command.spawn().unwrap());
    let socket = folder.join("haproxy.sock");
    wait_until("HAProxy serves", || {
        UnixStream::connect(&socket).is_ok() && answer(&socket, PLAIN).0 == 200
    });
    haproxy
}

/// What we answer to a request, and the others where that differs.
fn by_others(request: &str, by_us: u16) -> (u16, u16, &'static str) {
    let found = OTHERS.iter().find(|(other, ..)| *other == request);
    found.map_or((by_us, by_us, ""), |(_, apache, haproxy, why)| {
        (*apache, *haproxy, *why)
    })
}

#[test]
fn each_deviation_from_apache_and_haproxy_is_of_a_request_and_has_a_reason() {
    for (request, apache, haproxy, why) in OTHERS {
        let own = REQUESTS.iter().find(|(other, ..)| other == request);
        let (_, _, by_us, _) = own.unwrap_or_else(|| panic!("{request:?}"));
        assert!(apache != by_us || haproxy != by_us, "{request:?}");
        assert!(why.starts_with("RFC "), "{request:?}");
    }
}

#[test]
fn requests_are_answered_as_by_apache_or_for_a_reason() {
    if !has("apache2", "apache2-bin") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_apache, address) = apache(folder.path());
    let mut wrong = Vec::new();
    for (request, _, by_us, _) in REQUESTS {
        let (expected, _, why) = by_others(request, *by_us);
        let status = answer_at(address, request.as_bytes()).unwrap_or(0);
        if status != expected {
            wrong.push(format!("{request:?}: {status}, not {expected} ({why})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn requests_are_answered_as_by_haproxy_or_for_a_reason() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _haproxy = haproxy(folder.path());
    let socket = folder.path().join("haproxy.sock");
    let mut wrong = Vec::new();
    for (request, _, by_us, _) in REQUESTS {
        let (_, expected, why) = by_others(request, *by_us);
        let (status, _) = answer(&socket, request.as_bytes());
        if status != expected {
            wrong.push(format!("{request:?}: {status}, not {expected} ({why})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
