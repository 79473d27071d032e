//! One line of the access log for each answer. Pure: the times come in.
//!
//! ```text
//! combined  PEER - - [day/Mon/year:time +0000] "GET /a HTTP/1.1" 200 5 "referrer" "agent" SECONDS ID
//! json      {"time":…,"peer":…,"method":…,"path":…,"protocol":…,"status":…,"bytes":…,…}
//! ```
//!
//! Whatever a peer sent stays within its field: what could end it, or the line,
//! or steer a terminal, is escaped; what is long is cut.

use std::cell::Cell;
use std::fmt::{self, Display, Write};
use std::net::IpAddr;
use std::time::Duration;

use super::head::{self, Head};
use super::scan::is_token;

/// How a line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessFormat {
    /// As Apache and nginx write it, with the time taken and the id behind.
    Combined,
    /// One object a line.
    Json,
}

/// Bytes of a path or a field that a line shows.
const SHOWN: usize = 1024;

/// What a line shows of a request, as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// `GET`.
    pub method: &'a [u8],
    /// `/a%20b?c=d`; empty: it could not be read.
    pub target: &'a [u8],
    /// `HTTP/1.1`; empty: likewise.
    pub protocol: &'a [u8],
    /// The page that led there.
    pub referrer: Option<&'a [u8]>,
    /// Who asks.
    pub agent: Option<&'a [u8]>,
}

/// Those of version 1.
const PROTOCOLS: [&[u8]; 10] = [
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/1.2",
    b"HTTP/1.3",
    b"HTTP/1.4",
    b"HTTP/1.5",
    b"HTTP/1.6",
    b"HTTP/1.7",
    b"HTTP/1.8",
    b"HTTP/1.9",
];

impl<'a> Shown<'a> {
    pub(super) fn of(head: &Head<'a>) -> Self {
        Self {
            method: head.method.as_bytes(),
            target: head.target.as_bytes(),
            protocol: PROTOCOLS.get(usize::from(head.minor)).unwrap_or(&&b""[..]),
            referrer: head.fields.find("referer"),
            agent: head.fields.find("user-agent"),
        }
    }

    /// Of the beginning of a head, whatever is wrong with it. `None`: its first
    /// line does not begin as that of a request.
    pub(super) fn of_part(bytes: &'a [u8]) -> Option<Self> {
        let mut line = bytes;
        while let Some(behind) = line.strip_prefix(b"\r\n") {
            line = behind;
        }
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        let line = line[..end].trim_ascii_end();
        let method = memchr::memchr(b' ', line)?;
        let (method, rest) = (&line[..method], &line[method + 1..]);
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return None;
        }
        let last = memchr::memrchr(b' ', rest).filter(|at| rest[at + 1..].starts_with(b"HTTP/"));
        let (target, protocol) = match last {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &b""[..]),
        };
        Some(Self {
            method,
            target,
            protocol,
            referrer: head::field_of_part(bytes, "referer"),
            agent: head::field_of_part(bytes, "user-agent"),
        })
    }
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// What was asked; `None`: what came could not be read.
    pub shown: Option<Shown<'a>>,
    /// Whom a proxy asked for; `None`: the peer asked for itself.
    pub client: Option<IpAddr>,
    /// What it was answered with.
    pub status: u16,
    /// Bytes of the content that follows the answer's head.
    pub bytes: u64,
    /// From the first look at the request to the answer.
    pub taken: Duration,
    /// The request's name.
    pub id: &'a str,
}

impl Access<'_> {
    /// Appends the line, with its end. `seconds` is the time since 1970.
    pub fn write(
        &self,
        format: AccessFormat,
        peer: &dyn Display,
        seconds: u64,
        line: &mut Vec<u8>,
    ) {
        // Writing to memory cannot fail.
        let _written = match format {
            AccessFormat::Combined => self.combined(peer, seconds, &mut Line(line)),
            AccessFormat::Json => self.json(peer, seconds, &mut Line(line)),
        };
    }

    fn referrer(&self) -> Option<&[u8]> {
        self.shown.and_then(|shown| shown.referrer)
    }

    fn agent(&self) -> Option<&[u8]> {
        self.shown.and_then(|shown| shown.agent)
    }

    fn combined(&self, peer: &dyn Display, seconds: u64, line: &mut Line<'_>) -> fmt::Result {
        write!(line, "{peer} - - [")?;
        line.0.extend_from_slice(&clf_date(seconds));
        line.0.extend_from_slice(b" +0000] \"");
        if let Some(shown) = &self.shown {
            line.escape(shown.method, Escape::Hex);
            for word in [shown.target, shown.protocol] {
                if !word.is_empty() {
                    line.0.push(b' ');
                    line.escape(word, Escape::Hex);
                }
            }
        } else {
            line.0.push(b'-');
        }
        line.0.extend_from_slice(b"\" ");
        line.number(self.status.into());
        line.0.push(b' ');
        line.number(self.bytes);
        line.0.extend_from_slice(b" \"");
        line.escape(self.referrer().unwrap_or(b"-"), Escape::Hex);
        line.0.extend_from_slice(b"\" \"");
        line.escape(self.agent().unwrap_or(b"-"), Escape::Hex);
        line.0.extend_from_slice(b"\" ");
        line.seconds(self.taken);
        line.0.push(b' ');
        let id = if self.id.is_empty() { "-" } else { self.id };
        line.0.extend_from_slice(id.as_bytes());
        line.0.push(b'\n');
        Ok(())
    }

    fn json(&self, peer: &dyn Display, seconds: u64, line: &mut Line<'_>) -> fmt::Result {
        line.0.extend_from_slice(b"{\"time\":\"");
        line.0.extend_from_slice(&iso_date(seconds));
        write!(line, "Z\",\"peer\":\"{peer}\"")?;
        if let Some(shown) = &self.shown {
            line.text("method", shown.method);
            for (key, word) in [("path", shown.target), ("protocol", shown.protocol)] {
                if !word.is_empty() {
                    line.text(key, word);
                }
            }
        }
        line.0.extend_from_slice(b",\"status\":");
        line.number(self.status.into());
        line.0.extend_from_slice(b",\"bytes\":");
        line.number(self.bytes);
        line.0.extend_from_slice(b",\"seconds\":");
        line.seconds(self.taken);
        for (key, value) in [("referrer", self.referrer()), ("agent", self.agent())] {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        line.text("id", self.id.as_bytes());
        line.0.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// A line that grows.
struct Line<'a>(&'a mut Vec<u8>);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Escape {
    /// `\xHH`, as nginx does it.
    Hex,
    /// UTF-8 as it is, and `\u00HH` for what would steer a terminal; what is no
    /// UTF-8 is shown as if it were Latin-1.
    Json,
}

/// Without `core::fmt`, which was a third of what a line costs.
impl Line<'_> {
    fn number(&mut self, number: u64) {
        let mut room = [0; 20];
        let digits = decimal(number, &mut room);
        self.0.extend_from_slice(digits);
    }

    /// With six digits behind the point.
    fn seconds(&mut self, time: Duration) {
        self.number(time.as_secs());
        let mut room = [b'0'; 20];
        decimal(time.subsec_micros().into(), &mut room);
        self.0.push(b'.');
        self.0.extend_from_slice(&room[14..]);
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":\"");
        self.escape(value, Escape::Json);
        self.0.push(b'"');
    }

    fn escape(&mut self, value: &[u8], how: Escape) {
        let mut shown = &value[..value.len().min(SHOWN)];
        if how == Escape::Json && shown.len() < value.len() {
            shown = whole_characters(shown);
        }
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        // Most need nothing, and are copied in one piece.
        let mut rest = shown;
        while !rest.is_empty() {
            let plain = rest.iter().position(|byte| !is_plain(byte));
            let (plain, odd) = rest.split_at(plain.unwrap_or(rest.len()));
            self.0.extend_from_slice(plain);
            let Some((byte, behind)) = odd.split_first() else {
                break;
            };
            rest = match letter(odd).filter(|_| how == Escape::Json) {
                Some(letter) => {
                    self.0.extend_from_slice(&odd[..letter]);
                    &odd[letter..]
                }
                None => {
                    self.escape_one(*byte, how);
                    behind
                }
            };
        }
        if shown.len() < value.len() {
            self.0.extend_from_slice(b"...");
        }
    }

    fn escape_one(&mut self, byte: u8, how: Escape) {
        let start: &[u8] = match how {
            Escape::Hex => b"\\x",
            Escape::Json => b"\\u00",
        };
        self.0.extend_from_slice(start);
        let digit = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
        self.0.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Bytes of the letter beyond ASCII that `bytes` begin with, if it is one that
/// can be shown.
fn letter(bytes: &[u8]) -> Option<usize> {
    let start = &bytes[..bytes.len().min(4)];
    let first = start.utf8_chunks().next()?.valid().chars().next()?;
    (!first.is_ascii() && !first.is_control()).then(|| first.len_utf8())
}

/// Without the beginning of a character at the end of `bytes`.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let begins = |byte: &u8| !matches!(byte, 0x80..=0xbf);
    let last = bytes.iter().rposition(begins).unwrap_or(0);
    match std::str::from_utf8(&bytes[last..]) {
        Err(error) if error.error_len().is_none() => &bytes[..last],
        _ => bytes,
    }
}

/// The digits of `number`, at the end of `room`; what is before them stays.
fn decimal(mut number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + u8::try_from(number % 10).expect("below ten");
        number /= 10;
        if number == 0 {
            return &room[at..];
        }
    }
}

thread_local! {
    /// What this thread wrote last: one time is good for a second.
    static CLF: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
    static ISO: Cell<(u64, [u8; 19])> = const { Cell::new((u64::MAX, [0; 19])) };
}

/// `06/Nov/1994:08:49:37`, in UTC.
fn clf_date(seconds: u64) -> [u8; 20] {
    let (last, date) = CLF.get();
    if last == seconds {
        return date;
    }
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let http = super::http_date(seconds);
    let mut date = [0; 20];
    date[..2].copy_from_slice(&http[5..7]);
    date[3..6].copy_from_slice(&http[8..11]);
    date[7..11].copy_from_slice(&http[12..16]);
    date[12..].copy_from_slice(&http[17..25]);
    (date[2], date[6], date[11]) = (b'/', b'/', b':');
    CLF.set((seconds, date));
    date
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// `1994-11-06T08:49:37`, in UTC.
fn iso_date(seconds: u64) -> [u8; 19] {
    let (last, date) = ISO.get();
    if last == seconds {
        return date;
    }
    let http = super::http_date(seconds);
    let month = MONTHS.iter().position(|name| name[..] == http[8..11]);
    let month = u8::try_from(month.map_or(0, |month| month + 1)).unwrap_or(0);
    let mut date = [b'-'; 19];
    date[..4].copy_from_slice(&http[12..16]);
    date[5..7].copy_from_slice(&[b'0' + month / 10, b'0' + month % 10]);
    date[8..10].copy_from_slice(&http[5..7]);
    date[10] = b'T';
    date[11..].copy_from_slice(&http[17..25]);
    ISO.set((seconds, date));
    date
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECONDS: u64 = 784_111_777;

    fn line(format: AccessFormat, request: &str, id: &str) -> String {
        let mut room = head::Room::new();
        let read = head::read(request.as_bytes(), true, &mut room);
        let access = Access {
            shown: read.ok().map(|(head, _)| Shown::of(&head)),
            client: None,
            status: 200,
            bytes: 5,
            taken: Duration::from_micros(1_000_042),
            id,
        };
        let mut line = Vec::new();
        access.write(format, &"192.0.2.1", SECONDS, &mut line);
        String::from_utf8(line).expect("odd bytes are escaped")
    }

    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [0, 7, 10, 99, 100, 4096, u64::MAX] {
            let mut line = Vec::new();
            Line(&mut line).number(number);
            assert_eq!(line, number.to_string().as_bytes());
            let mut line = Vec::new();
            let time = Duration::from_micros(number);
            Line(&mut line).seconds(time);
            let (whole, micros) = (time.as_secs(), time.subsec_micros());
            assert_eq!(line, format!("{whole}.{micros:06}").as_bytes());
        }
    }

    #[test]
    fn a_combined_line_is_what_tools_expect_and_two_facts_more() {
        let request = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nReferer: http://x/\r\nUser-Agent: curl/8 \"x\" \\\r\n\r\n";
        assert_eq!(
            line(AccessFormat::Combined, request, "id-1"),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 \
             \"http://x/\" \"curl/8 \\x22x\\x22 \\x5C\" 1.000042 id-1\n"
        );
        assert_eq!(
            line(AccessFormat::Combined, "", ""),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"-\" 200 5 \"-\" \"-\" 1.000042 -\n"
        );
    }

    #[test]
    fn a_json_line_has_the_same_facts_by_name() {
        let request = "GET /a?b=c HTTP/1.0\r\nUser-Agent: a\tb \"\u{e9}\r\n\r\n";
        let json: serde_json::Value =
            serde_json::from_str(&line(AccessFormat::Json, request, "id-1")).unwrap();
        let expected = serde_json::json!({
            "time": "1994-11-06T08:49:37Z", "peer": "192.0.2.1", "method": "GET",
            "path": "/a?b=c", "protocol": "HTTP/1.0", "status": 200, "bytes": 5,
            "seconds": 1.000042, "agent": "a\tb \"\u{e9}", "id": "id-1",
        });
        assert_eq!(json, expected);
        let unread = line(AccessFormat::Json, "", "");
        assert!(
            serde_json::from_str::<serde_json::Value>(&unread).is_ok(),
            "{unread}"
        );
    }

    #[test]
    fn a_long_path_is_cut_and_says_so() {
        let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5000));
        let line = line(AccessFormat::Combined, &request, "i");
        assert!(
            line.len() < 1200 && line.contains("aaa... HTTP/1.1"),
            "{line}"
        );
    }
}
