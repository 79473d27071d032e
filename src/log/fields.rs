//! The fields of a line: those of the facade's key-value interface, and what is
//! known of the work that the thread does. Pure but for the latter.
//!
//! Invariant: however many and long they are, a line has room for its text: they
//! take [`MAX`] bytes at most, and what does not fit is left out and counted.

use std::fmt::{self, Display, Write as _};
use std::sync::OnceLock;

use ::log::Record;
use ::log::kv::{Error, Key, Value, VisitSource, VisitValue};

use super::line::{Format, escaped};

/// Bytes of all fields of a line.
const MAX: usize = 1024;

/// Bytes of one name or value; a longer one is cut, with a mark.
const VALUE_MAX: usize = 256;

/// Says names and values of what the calling thread is working on.
type Context = fn(&mut dyn FnMut(&str, &dyn Display));

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// From now on every line has the fields that `context` says, but for those that
/// it has itself. The first one stays.
pub fn set_context(context: Context) {
    let _known = CONTEXT.set(context);
}

/// The fields of one line, encoded.
pub(super) struct Fields {
    format: Format,
    bytes: Vec<u8>,
    names: Vec<String>,
    left_out: usize,
}

impl Fields {
    /// All fields of `record`, as they stand in the line; empty without any.
    pub(super) fn of(record: &Record<'_>, format: Format) -> Vec<u8> {
        let mut fields = Self {
            format,
            bytes: Vec::new(),
            names: Vec::new(),
            left_out: 0,
        };
        // An error is one of a value that cannot be told; the others are there.
        let _unreadable = record.key_values().visit(&mut fields);
        if let Some(context) = CONTEXT.get() {
            context(&mut |name, value| fields.add(name, &Told::Text(value.to_string())));
        }
        fields.finish()
    }

    fn add(&mut self, name: &str, value: &Told) {
        if self.names.iter().any(|known| known == name) {
            return;
        }
        self.names.push(name.to_owned());
        let mut field = Vec::new();
        match self.format {
            Format::Human => {
                field.push(b' ');
                bare(&mut field, name);
                field.push(b'=');
                match value {
                    Told::Plain(text) => field.extend_from_slice(text.as_bytes()),
                    Told::Text(text) => bare(&mut field, text),
                }
            }
            Format::Json => {
                field.extend_from_slice(if self.bytes.is_empty() { b"" } else { b"," });
                quoted(&mut field, self.format, name);
                field.push(b':');
                match value {
                    Told::Plain(text) => field.extend_from_slice(text.as_bytes()),
                    Told::Text(text) => quoted(&mut field, self.format, text),
                }
            }
        }
        if self.bytes.len() + field.len() > MAX {
            self.left_out += 1;
        } else {
            self.bytes.append(&mut field);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            // There is room for a number behind the limit, too.
            let text = match self.format {
                Format::Human => format!(" fields_left_out={left_out}"),
                Format::Json => format!(",\"fields_left_out\":{left_out}"),
            };
            self.bytes.extend_from_slice(text.as_bytes());
        }
        if self.format == Format::Json && !self.bytes.is_empty() {
            let fields = std::mem::take(&mut self.bytes);
            self.bytes.extend_from_slice(b",\"fields\":{");
            self.bytes.extend(fields);
            self.bytes.push(b'}');
        }
        self.bytes
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut told = Teller(Told::Text(String::new()));
        if value.visit(&mut told).is_err() {
            // A `Display` that fails: what it wrote is worth keeping, the rest of
            // the fields as well.
            told.0 = Told::Text("?".to_owned());
        }
        self.add(key.as_str(), &told.0);
        Ok(())
    }
}

/// A value, as it is written.
enum Told {
    /// The same in every format: a number, a truth.
    Plain(String),
    Text(String),
}

struct Teller(Told);

impl VisitValue<'_> for Teller {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        let mut text = Short(String::new());
        // A `Display` may fail; a value that is too long does, which is told by `…`.
        let _cut = write!(text, "{value}");
        self.0 = Told::Text(text.0);
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = Told::Plain("null".to_owned());
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = Told::Plain(value.to_string());
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = Told::Plain(value.to_string());
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        // JSON has no word for what is no number.
        self.0 = match value.is_finite() {
            true => Told::Plain(value.to_string()),
            false => Told::Text(value.to_string()),
        };
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = Told::Plain(value.to_string());
        Ok(())
    }
}

/// As much of a text as a field may have: memory does not follow the value.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = VALUE_MAX.saturating_sub(self.0.len());
        let kept = piece.floor_char_boundary(room);
        self.0.push_str(&piece[..kept]);
        if kept < piece.len() {
            self.0.push('…');
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// For eyes: quoted where it could be taken for more than one word.
fn bare(field: &mut Vec<u8>, text: &str) {
    let is_word = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=');
    if !text.is_empty() && text.chars().all(is_word) {
        text.chars().for_each(|c| escaped(field, Format::Human, c));
    } else {
        quoted(field, Format::Human, text);
    }
}

fn quoted(field: &mut Vec<u8>, format: Format, text: &str) {
    field.push(b'"');
    for c in text.chars() {
        if format == Format::Human && matches!(c, '"' | '\\') {
            field.push(b'\\');
        }
        escaped(field, format, c);
    }
    field.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(format: Format, pairs: &[(&str, Value<'_>)]) -> String {
        let record = Record::builder().key_values(&pairs).build();
        String::from_utf8(Fields::of(&record, format)).unwrap()
    }

    #[test]
    fn numbers_stay_numbers_and_words_need_no_quotes() {
        let pairs = [
            ("user", Value::from("ann")),
            ("said", Value::from("a \"b\"\n= c")),
            ("n", Value::from(-7)),
            ("ok", Value::from(true)),
            ("share", Value::from(0.5)),
            ("none", Value::from("")),
        ];
        assert_eq!(
            fields(Format::Human, &pairs),
            r#" user=ann said="a \"b\"\n= c" n=-7 ok=true share=0.5 none="""#
        );
        let json = fields(Format::Json, &pairs);
        let json: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", json.strip_prefix(',').unwrap())).unwrap();
        let expected = serde_json::json!({
            "user": "ann", "said": "a \"b\"\n= c", "n": -7, "ok": true, "share": 0.5, "none": "",
        });
        assert_eq!(json["fields"], expected);
        assert_eq!(fields(Format::Json, &[]), "");
    }

    #[test]
    fn fields_are_bounded_and_leave_room_for_the_text() {
        let long = "é".repeat(10_000);
        for format in [Format::Human, Format::Json] {
            let one = fields(format, &[("a", Value::from(&*long))]);
            assert!(one.len() < 300 && one.contains('…'), "{one}");
            let names: Vec<String> = (0..1000).map(|n| format!("name{n}")).collect();
            let pairs = names.iter().map(|name| (&**name, Value::from(&*long)));
            let many = fields(format, &pairs.collect::<Vec<_>>());
            assert!(many.len() < MAX + 50, "{}", many.len());
            assert!(many.contains("fields_left_out"), "{many}");
        }
    }

    #[test]
    fn a_name_is_said_once() {
        let pairs = [("a", Value::from(1)), ("a", Value::from(2))];
        assert_eq!(fields(Format::Human, &pairs), " a=1");
    }
}
