//! The bytes of one log line. Pure: time, names and text come in as arguments.
//!
//! ```text
//! 2026-03-01T10:15:42.137Z warn worker-2/reactor 41873: accept on 0.0.0.0:7000: out of descriptors
//! {"time":"…","level":"warn","process":"worker-2","thread":"reactor","pid":41873,"target":"…","text":"…"}
//! ```
//!
//! Fields (`info!(user = "ann"; "left")`) stand behind the text as ` user=ann`, and
//! in JSON as `"fields":{"user":"ann"}` before it.
//!
//! Invariant: whatever a message contains, it becomes one line, at most
//! [`MAX`] bytes with its newline, valid UTF-8, and valid JSON where asked for.
//! What has no glyph is escaped, so that a peer's bytes can neither start a
//! line of their own nor steer a terminal. Memory does not follow the message:
//! what does not fit is counted, not kept.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::str::FromStr;

use ::log::{Level, Record};
use jiff::Timestamp;

use super::fields::Fields;

/// Bytes of a line, newline included. A pipe takes that many in one piece
/// (`PIPE_BUF`), so lines of several processes never mix.
pub(super) const MAX: usize = 4096;

/// Kept free for `… (N bytes cut)`.
const MARK_MAX: usize = 48;

/// Bytes of a name in front of the text; a longer one is cut silently.
const NAME_MAX: usize = 64;

/// How lines look on stderr and in the file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For eyes: time, level, process and thread, pid, text.
    #[default]
    Human,
    /// For machines: one JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is no log format; expected human or json")),
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) process: &'a str,
    pub(super) thread: &'a str,
    pub(super) pid: u32,
}

/// Replaces what is in `line` by `record` as one line, newline included.
pub(super) fn render(
    line: &mut Vec<u8>,
    format: Format,
    time: Timestamp,
    speaker: Speaker<'_>,
    record: &Record<'_>,
) {
    line.clear();
    line.reserve(MAX);
    let level = level_name(record.level());
    put(line, format_args!("{}", Lead(format, time, level)));
    match format {
        Format::Human => {
            name(line, format, speaker.process);
            line.push(b'/');
            name(line, format, speaker.thread);
            put(line, format_args!(" {}: ", speaker.pid));
            let fields = Fields::of(record, format);
            text(line, format, MAX - 1 - fields.len(), record.args());
            line.extend_from_slice(&fields);
        }
        Format::Json => {
            name(line, format, speaker.process);
            line.extend_from_slice(br#"","thread":""#);
            name(line, format, speaker.thread);
            put(line, format_args!(r#"","pid":{},"target":""#, speaker.pid));
            name(line, format, record.target());
            line.push(b'"');
            line.extend_from_slice(&Fields::of(record, format));
            line.extend_from_slice(br#","text":""#);
            text(line, format, MAX - 3, record.args());
            line.extend_from_slice(br#""}"#);
        }
    }
    line.push(b'\n');
}

/// Replaces what is in `line` by what syslog is told: the text and who says
/// it, without newline; syslog's own header has the time, the level and the pid.
pub(super) fn render_plain(
    line: &mut Vec<u8>,
    max: usize,
    speaker: Speaker<'_>,
    record: &Record<'_>,
) {
    line.clear();
    name(line, Format::Human, speaker.process);
    line.push(b'/');
    name(line, Format::Human, speaker.thread);
    line.extend_from_slice(b": ");
    let fields = Fields::of(record, Format::Human);
    text(
        line,
        Format::Human,
        max.saturating_sub(fields.len()),
        record.args(),
    );
    line.extend_from_slice(&fields);
}

/// What precedes the names.
struct Lead(Format, Timestamp, &'static str);

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(format, time, level) = self;
        match format {
            Format::Human => write!(f, "{time:.3} {level} "),
            Format::Json => {
                write!(f, r#"{{"time":"{time:.3}","level":"{level}","process":""#)
            }
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn put(line: &mut Vec<u8>, arguments: fmt::Arguments<'_>) {
    line.write_fmt(arguments)
        .expect("memory takes every write, and our own fields format without error");
}

fn name(line: &mut Vec<u8>, format: Format, name: &str) {
    let cut = name.floor_char_boundary(NAME_MAX);
    name[..cut].chars().for_each(|c| escaped(line, format, c));
}

/// Appends `arguments`; the line may grow to `room` bytes by that.
fn text(line: &mut Vec<u8>, format: Format, room: usize, arguments: &fmt::Arguments<'_>) {
    let kept = line.len();
    let mut text = Text {
        line,
        format,
        room,
        seen: 0,
        safe: Safe { len: kept, seen: 0 },
        full: false,
    };
    // A `Display` that fails has written a part; that part is worth keeping.
    let _fails_in_the_callers_display = text.write_fmt(*arguments);
    text.finish();
}

/// Escapes, counts and cuts while the message is being formatted.
struct Text<'a> {
    line: &'a mut Vec<u8>,
    format: Format,
    room: usize,
    /// Bytes of the message so far, written or not.
    seen: usize,
    safe: Safe,
    full: bool,
}

/// The last place where a cut leaves room for the mark.
#[derive(Clone, Copy)]
struct Safe {
    len: usize,
    seen: usize,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.full {
            self.seen += piece.len();
        } else if self.line.len() + piece.len() + MARK_MAX <= self.room && is_plain(piece) {
            self.line.extend_from_slice(piece.as_bytes());
            self.seen += piece.len();
            self.remember();
        } else {
            piece.chars().for_each(|c| self.character(c));
        }
        Ok(())
    }
}

impl Text<'_> {
    fn character(&mut self, c: char) {
        self.seen += c.len_utf8();
        if self.full {
            return;
        }
        escaped(self.line, self.format, c);
        self.full = self.line.len() > self.room;
        self.remember();
    }

    fn remember(&mut self) {
        if self.line.len() + MARK_MAX <= self.room {
            self.safe = Safe {
                len: self.line.len(),
                seen: self.seen,
            };
        }
    }

    fn finish(self) {
        if self.full {
            self.line.truncate(self.safe.len);
            let lost = self.seen - self.safe.seen;
            put(self.line, format_args!("… ({lost} bytes cut)"));
        }
    }
}

/// Whether `piece` looks the same in every format.
fn is_plain(piece: &str) -> bool {
    piece
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

pub(super) fn escaped(line: &mut Vec<u8>, format: Format, c: char) {
    match format {
        Format::Human if is_invisible(c) => put(line, format_args!("{}", c.escape_default())),
        // JSON allows these as they are, but its readers use terminals too.
        // All of them are below U+10000, so one escape of four digits is enough.
        Format::Json if is_invisible(c) && c > '~' => {
            put(line, format_args!("\\u{:04x}", u32::from(c)));
        }
        Format::Json => {
            let opening = line.len();
            serde_json::to_writer(&mut *line, &c).expect("memory takes every write");
            line.remove(opening);
            line.pop();
        }
        Format::Human => {
            line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Control characters, the line separators of Unicode, and the marks that make
/// a terminal show text in another order than it has.
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEAKER: Speaker<'static> = Speaker {
        process: "worker-2",
        thread: "reactor",
        pid: 41873,
    };

    fn line(format: Format, message: &str) -> String {
        let time = "2026-03-01T10:15:42.137999Z".parse().unwrap();
        let mut line = Vec::new();
        render(
            &mut line,
            format,
            time,
            SPEAKER,
            &Record::builder()
                .level(Level::Warn)
                .target("purlin::net")
                .args(format_args!("{message}"))
                .build(),
        );
        String::from_utf8(line).unwrap()
    }

    fn json(message: &str) -> serde_json::Value {
        serde_json::from_str(&line(Format::Json, message)).unwrap()
    }

    #[test]
    fn a_human_line_has_time_level_process_thread_and_pid() {
        assert_eq!(
            line(Format::Human, "accept on 0.0.0.0:7000: out of descriptors"),
            "2026-03-01T10:15:42.137Z warn worker-2/reactor 41873: \
             accept on 0.0.0.0:7000: out of descriptors\n"
        );
    }

    #[test]
    fn a_json_line_has_the_same_facts_by_name() {
        assert_eq!(
            json("text"),
            serde_json::json!({
                "time": "2026-03-01T10:15:42.137Z",
                "level": "warn",
                "process": "worker-2",
                "thread": "reactor",
                "pid": 41873,
                "target": "purlin::net",
                "text": "text",
            })
        );
    }

    #[test]
    fn no_message_makes_a_second_line_or_steers_a_terminal() {
        for (message, shown) in [
            ("a\nb", r"a\nb"),
            ("a\r\nb", r"a\r\nb"),
            ("a\tb", r"a\tb"),
            ("\x1b[31mred", r"\u{1b}[31mred"),
            ("\0\x7f\u{9b}", r"\u{0}\u{7f}\u{9b}"),
            ("a\u{2028}b\u{202e}c", r"a\u{2028}b\u{202e}c"),
            ("grün, \"双\" \\ 🦀", "grün, \"双\" \\ 🦀"),
        ] {
            let human = line(Format::Human, message);
            assert!(human.ends_with(&format!(" 41873: {shown}\n")), "{human}");
        }
    }

    #[test]
    fn json_gives_every_character_back_and_shows_none_that_is_invisible() {
        for c in ('\0'..='\u{2100}').chain(['🦀', '\u{10ffff}']) {
            let message = format!("<{c}>");
            assert_eq!(json(&message)["text"], message, "{c:?}");
            let line = line(Format::Json, &message);
            let body = line.strip_suffix('\n').unwrap();
            assert!(!body.chars().any(is_invisible), "{c:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_and_says_how_many_bytes_are_lost() {
        for (piece, rows) in [
            ("a", 3900..4200),
            ("é", 1950..2100),
            ("🦀", 980..1050),
            ("\n", 1900..2100),
        ] {
            for rows in rows {
                let message = piece.repeat(rows);
                let whole = line(Format::Human, &message);
                assert!(whole.len() <= MAX, "{piece:?} {rows}: {}", whole.len());
                let (_, text) = whole.split_once(" 41873: ").unwrap();
                let text = text.strip_suffix('\n').unwrap();
                let shown = piece.replace('\n', r"\n");
                match text.split_once("… (") {
                    None => assert_eq!(text, shown.repeat(rows)),
                    Some((kept, mark)) => {
                        let lost: usize =
                            mark.strip_suffix(" bytes cut)").unwrap().parse().unwrap();
                        let kept_pieces = kept.len() / shown.len();
                        assert_eq!(kept, shown.repeat(kept_pieces));
                        assert_eq!(lost, (rows - kept_pieces) * piece.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_is_cut_only_when_it_has_to_be() {
        let header = line(Format::Human, "").len();
        let fits = "a".repeat(MAX - header);
        assert_eq!(line(Format::Human, &fits).len(), MAX);
        assert!(!line(Format::Human, &fits).contains("cut"));
        assert!(line(Format::Human, &(fits + "a")).contains(" bytes cut)\n"));
    }

    #[test]
    fn a_long_json_line_is_still_json() {
        for piece in ["a", "🦀", "\n", "\"", "\u{1}"] {
            for rows in [600, 680, 1000, 2000, 3990, 100_000] {
                let message = piece.repeat(rows);
                assert!(line(Format::Json, &message).len() <= MAX);
                let text = json(&message)["text"].as_str().unwrap().to_owned();
                assert!(
                    text == message || text.ends_with(" bytes cut)"),
                    "{piece:?} {rows}"
                );
            }
        }
    }

    #[test]
    fn names_are_escaped_and_cut_too() {
        let mut line = Vec::new();
        render(
            &mut line,
            Format::Json,
            Timestamp::UNIX_EPOCH,
            Speaker {
                process: "a\n\"",
                thread: &"é".repeat(5000),
                pid: 1,
            },
            &Record::builder().target(&"t".repeat(5000)).build(),
        );
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["process"], "a\n\"");
        assert_eq!(value["thread"], "é".repeat(NAME_MAX / 2));
        assert_eq!(value["target"], "t".repeat(NAME_MAX));
    }

    #[test]
    fn formats_are_read_from_their_names() {
        assert_eq!("human".parse(), Ok(Format::Human));
        assert_eq!("json".parse(), Ok(Format::Json));
        let refusal = "xml".parse::<Format>().unwrap_err();
        assert_eq!(refusal, "`xml` is no log format; expected human or json");
    }
}
