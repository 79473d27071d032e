//! Requests over HTTP in a test: through the real protocol, without sockets.

use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::test::Test;
use crate::dispatch::service::{Dispatcher, Origin};
use crate::protocol::http::{Http1, Limits};
use crate::protocol::{Budget, CloseMode, Event, Lane, Out, Protocol, Splice, Step, Turn, Units};
use crate::sys::socket::Peer;

/// What a request of a [`Test`] may be: more than any test needs.
const LIMITS: Limits = Limits {
    line: 1 << 20,
    head: 1 << 20,
    fields: crate::protocol::http::FIELDS_MAX,
    body: 1 << 30,
    memory: 1 << 30,
};

/// The response to a request of a [`Test`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answered {
    /// 200 and so on.
    pub status: u16,
    /// Names, as sent, and values.
    pub fields: Vec<(String, String)>,
    /// The content; none for `HEAD`.
    pub body: Bytes,
}

impl Answered {
    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first field of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl<S: Default + Send + 'static> Test<S> {
    /// Sends a request and gives its response. Waits for one that was put off
    /// to another thread; of a stream that waits for other threads it gives
    /// what was sent before, and ends it. What the handler had run or closed by the
    /// hub has been, as behind a message.
    ///
    /// # Panics
    ///
    /// When the request is refused as no HTTP, or no response comes within a
    /// minute.
    pub fn http(&mut self, method: &str, target: &str, body: impl AsRef<[u8]>) -> Answered {
        self.http_with(method, target, &[], body)
    }

    /// As [`Self::http`], with fields.
    ///
    /// # Panics
    ///
    /// As [`Self::http`].
    pub fn http_with(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answered {
        self.request(Origin::default(), (method, target), fields, body.as_ref())
    }

    /// As [`Self::http_with`], to the listener of this name.
    ///
    /// # Panics
    ///
    /// As [`Self::http`], and when no listener has this name.
    pub fn http_to(
        &mut self,
        listener: &str,
        (method, target): (&str, &str),
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answered {
        let origin = self.origin(listener);
        self.request(origin, (method, target), fields, body.as_ref())
    }

    fn request(
        &mut self,
        origin: Origin,
        (method, target): (&str, &str),
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answered {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let names_host = |field: &(&str, &str)| field.0.eq_ignore_ascii_case("host");
        if !fields.iter().any(names_host) {
            head += "Host: test\r\n";
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), body].concat();
        response(&self.exchange(origin, request), method == "HEAD")
    }

    /// Everything that is written in answer to one whole request.
    fn exchange(&mut self, origin: Origin, request: Vec<u8>) -> Vec<u8> {
        let conn = self.name(0);
        let mut dispatcher = self.service(conn).dispatcher();
        dispatcher.take(conn.into(), Peer::Unix, origin, false);
        let protocol = Http1::new(LIMITS);
        let (mut cutter, mut server) = protocol.open();
        assert_eq!(cutter.cut(&request).units, request.len(), "one request");
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), &protocol),
            app: dispatch(&mut *dispatcher),
            budget: &mut Budget::unlimited(),
            room: usize::MAX,
        };
        let request = Bytes::from(request);
        let (_, mut step) = server.serve(Units::shared(&request), &mut turn);
        loop {
            step = match step {
                Step::AwaitReply => {
                    let (token, answer) = self.wait_any(conn);
                    server.event(Event::Reply(token, answer), &mut turn)
                }
                Step::AwaitWritable => server.event(Event::Writable, &mut turn),
                Step::Refuse(refusal) => {
                    let said = !turn.out.bytes.is_empty();
                    assert!(said, "the request is {}", refusal.detail);
                    break;
                }
                Step::Close(CloseMode::Abort) => panic!("the stream failed"),
                // A stream that waits has sent what it has.
                Step::AwaitEvent
                | Step::Next
                | Step::NotInline
                | Step::Close(_)
                | Step::Become(_) => break,
            }
        }
        let written = with_files(&turn.out);
        dispatcher.counted();
        dispatcher.vacate();
        self.settle();
        written
    }
}

/// What was written, with the files that belong there.
fn with_files(out: &Out<'_>) -> Vec<u8> {
    let mut written = Vec::new();
    let mut from = 0;
    let files = out.beside.as_ref().map_or(&[][..], |beside| &beside.files);
    for Splice { at, part } in files {
        written.extend_from_slice(&out.bytes[from..*at]);
        from = *at;
        let begin = written.len();
        let len = usize::try_from(part.len()).expect("a test's file fits into memory");
        written.resize(begin + len, 0);
        let read = part
            .file
            .read_exact_at(&mut written[begin..], part.range.start);
        read.expect("a file that is as long as the response says");
    }
    written.extend_from_slice(&out.bytes[from..]);
    written
}

fn dispatch(dispatcher: &mut dyn Dispatcher) -> &mut dyn crate::protocol::Dispatch {
    dispatcher
}

/// What is in whole chunks. A stream that waits has not sent the last one.
fn chunks(mut bytes: &[u8]) -> Bytes {
    let mut whole = Vec::new();
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(bytes) {
        let size = usize::try_from(size).expect("a chunk of our own");
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&bytes[line..line + size]);
        bytes = &bytes[line + size + 2..];
    }
    whole.into()
}

fn response(bytes: &[u8], is_head: bool) -> Answered {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let head = parsed.parse(bytes).expect("our own response");
    let httparse::Status::Complete(head) = head else {
        panic!("the response has no end: {}", bytes.escape_ascii());
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let field = |field: &httparse::Header<'_>| (field.name.to_owned(), text(field.value));
    let mut answered = Answered {
        status: parsed.code.unwrap_or(0),
        fields: parsed.headers.iter().map(field).collect(),
        body: Bytes::copy_from_slice(&bytes[head..]),
    };
    if answered.header("Transfer-Encoding").is_some() {
        answered.body = chunks(&bytes[head..]);
    }
    let length = answered.header("Content-Length").map(str::parse);
    let expected = if is_head { None } else { length };
    assert!(
        expected.is_none_or(|length| length == Ok(answered.body.len())),
        "the response has another length than it says"
    );
    answered
}
