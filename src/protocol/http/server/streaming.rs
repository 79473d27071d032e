//! What is owed to a client: an answer that comes later, or the rest of a
//! response whose source is asked bit by bit.

use super::HttpServer;
use crate::protocol::http::access::Shown;
use crate::protocol::http::encode::{Asked, Written};
use crate::protocol::http::head::{self, Head};
use crate::protocol::http::response::Response;
use crate::protocol::http::source::Fill;
use crate::protocol::http::stream_writer::StreamWriter;
use crate::protocol::{Answer, CloseMode, Lane, Step, Successor, Turn};

/// What is owed to a client.
#[derive(Debug)]
pub(super) enum Owed {
    /// An answer that comes later.
    Answer {
        token: u64,
        asked: Asked,
        /// The request's head, if answers are recorded.
        head: Option<Box<[u8]>>,
        response: Response,
    },
    /// The rest of a response.
    Rest(StreamWriter),
}

impl HttpServer {
    /// Writes a response; tells how to go on if not with the next request.
    pub(super) fn respond(
        &mut self,
        head: Option<&Head<'_>>,
        asked: Asked,
        response: Response,
        turn: &mut Turn<'_>,
    ) -> Option<Step> {
        match self.answer(|| head.map(Shown::of), asked, response, turn) {
            Written::Becomes(successor) => {
                let client = asked.client;
                Some(Step::Become(Successor {
                    client,
                    ..successor
                }))
            }
            Written::Whole { keeps: false } if !asked.keeps && !self.leaves => {
                self.responded(Some(CloseMode::Done), turn)
            }
            Written::Whole { keeps } => self.responded((!keeps).then_some(CloseMode::Flush), turn),
            Written::Head(rest) => {
                self.owed = Some(Box::new(Owed::Rest(rest)));
                self.stream(turn)
            }
        }
    }

    /// A response is out, and nothing is owed.
    fn responded(&mut self, close: Option<CloseMode>, turn: &mut Turn<'_>) -> Option<Step> {
        if let Some(then) = self.then.take() {
            return Some(self.last(then, turn));
        }
        close.map(|mode| self.end(Step::Close(mode), turn))
    }

    /// Writes more of the response that is under way, as much as there is room
    /// for; tells how to go on if not with the next request.
    pub(super) fn stream(&mut self, turn: &mut Turn<'_>) -> Option<Step> {
        let Some(Owed::Rest(rest)) = self.owed.as_deref_mut() else {
            return Some(self.wait());
        };
        // A source may block; and what little room is left makes small chunks.
        if turn.lane == Lane::Inline || turn.out.pending() > turn.room / 2 {
            return Some(Step::AwaitWritable);
        }
        loop {
            match rest.go_on(turn) {
                Fill::More => {
                    turn.spend();
                    if turn.is_over() {
                        return Some(Step::AwaitWritable);
                    }
                }
                Fill::Wait => return Some(Step::AwaitEvent),
                Fill::End => break,
                Fill::Failed(_) => {
                    self.deaf = true;
                    self.fail_stream(turn);
                    return Some(Step::Close(CloseMode::Abort));
                }
            }
        }
        let close = (!rest.keeps).then_some(CloseMode::Flush);
        Self::note_end(rest, turn);
        self.owed = None;
        self.responded(close, turn)
    }

    /// The source has failed.
    fn fail_stream(&mut self, turn: &mut Turn<'_>) {
        let Some(Owed::Rest(mut rest)) = self.owed.take().map(|owed| *owed) else {
            return;
        };
        Self::note_end(&mut rest, turn);
    }

    /// The worker will end soon, and with it the connection.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) -> Step {
        self.leaves = true;
        match self.owed.as_deref_mut() {
            Some(Owed::Rest(rest)) if rest.waits => {
                rest.leave();
                self.stream(turn).unwrap_or(Step::Next)
            }
            Some(_) | None => self.wait(),
        }
    }

    /// The peer has sent its last byte. Who waits for a source with nothing to
    /// say can be told from who is gone by nothing else.
    pub(super) fn eof(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.is_waiting()
            && let Some(Owed::Rest(mut rest)) = self.owed.take().map(|owed| *owed)
        {
            Self::note_end(&mut rest, turn);
        }
        self.end(Step::Close(CloseMode::Flush), turn)
    }

    /// The answer that was put off is there.
    pub(super) fn reply(&mut self, token: u64, answer: Answer, turn: &mut Turn<'_>) -> Step {
        let is_for = |owed: &mut Box<Owed>| matches!(**owed, Owed::Answer { token: own, .. } if own == token);
        let Some(Owed::Answer {
            mut asked,
            head,
            mut response,
            ..
        }) = self.owed.take_if(is_for).map(|owed| *owed)
        else {
            return self.wait();
        };
        // What was decided while the client waited.
        asked.keeps &= !self.leaves && !self.deaf;
        // An answer cannot be put off twice: that is an empty one.
        let _done = response.take(answer);
        let mut room = head::Room::new();
        let head = head
            .as_deref()
            .and_then(|head| self.read(head, &mut room).ok());
        let head = head.as_ref().map(|(head, _)| head);
        self.respond(head, asked, response, turn)
            .unwrap_or(Step::Next)
    }

    /// How to go on: with the next request, or behind what is owed.
    pub(super) fn wait(&self) -> Step {
        match self.owed.as_deref() {
            None => Step::Next,
            Some(Owed::Answer { .. }) => Step::AwaitReply,
            Some(Owed::Rest(rest)) if rest.waits => Step::AwaitEvent,
            Some(Owed::Rest(_)) => Step::AwaitWritable,
        }
    }

    /// Whether the source of the response under way has nothing now.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.owed.as_deref(), Some(Owed::Rest(rest)) if rest.waits)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::http::chunks::{self, ChunkScan};
    use crate::protocol::http::{
        ChunkBuf, Content, Http1, Limits, Request, Requests, Served, Source, Stream,
    };
    use crate::protocol::{Answer, Budget, Dispatch, Event, Out, Protocol, Route, Units};

    const LIMITS: Limits = Limits {
        line: 100,
        head: 1000,
        fields: 10,
        body: 1 << 20,
        memory: 1 << 20,
    };

    /// Gives its parts one by one, and then what is last.
    struct Parts {
        parts: Vec<Vec<u8>>,
        last: Fill,
        /// Waits once before each part.
        waits: bool,
        waited: bool,
        dropped: Arc<AtomicBool>,
    }

    impl Source for Parts {
        fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill {
            assert!(room.left() > 0);
            if self.waits && !std::mem::replace(&mut self.waited, true) {
                return Fill::Wait;
            }
            let Some(part) = self.parts.first_mut() else {
                return self.last.clone();
            };
            let put = room.put(part);
            part.drain(..put);
            if part.is_empty() {
                self.parts.remove(0);
                self.waited = false;
            }
            Fill::More
        }

        fn trailers(&mut self) -> Vec<(String, String)> {
            let fields = [
                ("X-Sum", "7"),
                ("Content-Length", "1"),
                ("a b", "c"),
                ("d", "e\r\nf: g"),
            ];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            fields.into()
        }

        fn leave(&mut self) {
            self.parts.clear();
            self.waits = false;
        }
    }

    impl Drop for Parts {
        fn drop(&mut self) {
            self.dropped.store(true, Ordering::SeqCst);
        }
    }

    /// `/words` says so; any other path streams, once.
    struct Handlers(Option<Parts>);

    impl Dispatch for Handlers {
        fn inline(&self, _: Route) -> bool {
            true
        }

        fn call(&mut self, _: Route, _: Units<'_>, _: &mut Out<'_>, _: &mut Answer) {}

        fn opened(&mut self, _: &mut Out<'_>) {}

        fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
    }

    impl Requests for Handlers {
        fn request(&mut self, _: Lane, request: &Request<'_>, response: &mut Response) -> Served {
            response.take(match self.0.take() {
                Some(parts) if request.head.target == "/stream" => {
                    Answer::Content(Box::new(Content::Stream(Stream::new(parts))))
                }
                other => {
                    self.0 = other;
                    Answer::body(Bytes::from_static(b"words"))
                }
            })
        }
    }

    /// What a connection said, and what it did.
    #[derive(Debug, Default)]
    struct Came {
        said: Vec<u8>,
        steps: Vec<Step>,
        /// Most bytes that one call wrote.
        most: usize,
        dropped: bool,
    }

    impl Came {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.said).into_owned()
        }

        /// The content of the first response.
        fn content(&self) -> &[u8] {
            let end = self.said.windows(4).position(|four| four == b"\r\n\r\n");
            &self.said[end.unwrap_or(0) + 4..]
        }
    }

    fn parts(parts: &[&[u8]], last: Fill) -> Parts {
        Parts {
            parts: parts.iter().map(|part| part.to_vec()).collect(),
            last,
            waits: false,
            waited: false,
            dropped: Arc::default(),
        }
    }

    /// Serves `requests` until there is nothing to do, answering each wait with
    /// the next of `events`.
    fn serve(requests: &str, parts: Parts, room: usize, lane: Lane, events: Vec<Event>) -> Came {
        let protocol = Http1::new(LIMITS);
        let (_, mut server) = protocol.open();
        let dropped = Arc::clone(&parts.dropped);
        let mut handlers = Handlers(Some(parts));
        let mut events = events.into_iter();
        let (mut came, mut done) = (Came::default(), 0);
        let mut event = None;
        loop {
            let mut turn = Turn {
                clients: &(),
                lane: if came.steps.is_empty() {
                    lane
                } else {
                    Lane::Pool
                },
                out: Out::new(Vec::new(), &protocol),
                app: &mut handlers,
                budget: &mut Budget::unlimited(),
                room,
            };
            let step = match event.take() {
                Some(event) => server.event(event, &mut turn),
                None => {
                    let units = Units::borrowed(&requests.as_bytes()[done..]);
                    let (served, step) = server.serve(units, &mut turn);
                    done += served;
                    step
                }
            };
            let wrote = std::mem::take(&mut turn.out.bytes);
            came.most = came.most.max(wrote.len());
            came.said.extend(wrote);
            let is_over = done == requests.len() || matches!(step, Step::Close(_));
            event = match step {
                Step::AwaitWritable => Some(Event::Writable),
                Step::AwaitEvent => events.next(),
                Step::Next
                | Step::NotInline
                | Step::AwaitReply
                | Step::Close(_)
                | Step::Become(_)
                | Step::Refuse(_) => None,
            };
            let goes_on = event.is_some() || (step == Step::Next && !is_over);
            came.steps.push(step);
            if !goes_on {
                break;
            }
        }
        came.dropped = dropped.load(Ordering::SeqCst);
        came
    }

    const GET: &str = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    const WORDS: &str = "GET /words HTTP/1.1\r\nHost: x\r\n\r\n";

    proptest! {
        /// Our own reader of chunks gets back what the source gave, and no call
        /// writes more than there is room for, beside the head and the last
        /// words.
        #[test]
        fn chunks_are_read_as_they_were_given(
            parts_given in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..3000),
                0..6,
            ),
            room in 1..5000_usize,
        ) {
            let all: Vec<&[u8]> = parts_given.iter().map(|part| &part[..]).collect();
            let came = serve(GET, parts(&all, Fill::End), room, Lane::Pool, Vec::new());
            let (mut scan, mut got) = (ChunkScan::default(), Vec::new());
            let room_of_body = chunks::ChunkLimits::new(usize::MAX, &LIMITS);
            let end = scan.scan(came.content(), room_of_body, |piece| {
                if let chunks::Piece::Data(data) = piece {
                    got.extend_from_slice(data);
                }
            });
            let whole = chunks::Scanned::End(came.content().len());
            prop_assert_eq!(end.unwrap_or(chunks::Scanned::Part), whole);
            prop_assert_eq!(got, parts_given.concat());
            prop_assert!(came.most <= room + 300, "{} bytes", came.most);
            prop_assert!(came.dropped);
        }
    }

    #[test]
    fn a_response_of_unknown_length_says_how_it_ends() {
        for (request, field, ends) in [
            (
                GET,
                Some("Transfer-Encoding: chunked"),
                "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
            ),
            (
                "GET /stream HTTP/1.0\r\n\r\n",
                Some("Connection: close"),
                "\r\n\r\nabc",
            ),
            (
                "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                Some("Connection: close"),
                "\r\n\r\nabc",
            ),
            (
                "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n",
                Some("Transfer-Encoding: chunked"),
                "\r\n\r\n",
            ),
        ] {
            let came = serve(
                request,
                parts(&[b"abc"], Fill::End),
                100,
                Lane::Pool,
                Vec::new(),
            );
            let text = came.text();
            assert!(field.is_none_or(|field| text.contains(field)), "{text}");
            assert!(text.ends_with(ends), "{text}");
            assert!(!text.contains("Content-Length"), "{text}");
            assert!(came.dropped);
            let closes = came.steps.last() == Some(&Step::Close(CloseMode::Flush));
            assert_eq!(closes, text.contains("Connection: close"), "{text}");
        }
    }

    #[test]
    fn what_is_asked_behind_a_stream_is_answered_behind_it() {
        let mut source = parts(&[b"one", b"two"], Fill::End);
        source.waits = true;
        let requests = format!("{WORDS}{GET}{WORDS}");
        let wakes = || std::iter::repeat_with(|| Event::Wake).take(3).collect();
        let came = serve(&requests, source, 10_000, Lane::Pool, wakes());
        let text = came.text();
        let places = [
            "words",
            "3\r\none",
            "3\r\ntwo",
            "\r\n0\r\n",
            "X-Sum: 7\r\n\r\nHTTP",
        ];
        let found: Vec<_> = places.iter().map(|place| text.find(place)).collect();
        assert!(found.is_sorted() && found[0].is_some(), "{found:?} {text}");
        assert!(text.ends_with("words"));
        assert!(came.steps.contains(&Step::AwaitEvent));
    }

    #[test]
    fn a_source_is_never_asked_on_the_event_loop() {
        let came = serve(
            GET,
            parts(&[b"abc"], Fill::End),
            100,
            Lane::Inline,
            Vec::new(),
        );
        assert_eq!(came.steps[0], Step::AwaitWritable);
        assert!(came.text().contains("abc"));
    }

    #[test]
    fn a_source_that_fails_resets_the_connection() {
        let failed = Fill::Failed("broken".to_owned());
        let requests = format!("{GET}{WORDS}");
        let came = serve(
            &requests,
            parts(&[b"abc"], failed),
            100,
            Lane::Pool,
            Vec::new(),
        );
        assert_eq!(came.steps.last(), Some(&Step::Close(CloseMode::Abort)));
        assert!(came.dropped);
        let text = came.text();
        assert!(
            !text.contains("\r\n0\r\n") && !text.contains("words"),
            "{text}"
        );
    }

    #[test]
    fn a_waiting_source_ends_with_its_peer_and_with_its_worker() {
        for (event, is_whole) in [(Event::Eof, false), (Event::Draining, true)] {
            let mut source = parts(&[b"abc"], Fill::End);
            source.waits = true;
            let name = format!("{event:?}");
            let came = serve(GET, source, 1000, Lane::Pool, vec![event]);
            assert_eq!(came.steps[0], Step::AwaitEvent, "{name}");
            let closes = came.steps.last() == Some(&Step::Close(CloseMode::Flush));
            assert_eq!(closes, !is_whole, "{name}");
            assert!(came.dropped, "{name}");
            let text = came.text();
            assert_eq!(text.contains("\r\n0\r\n"), is_whole, "{name}: {text}");
        }
    }

    #[test]
    fn a_source_whose_drop_panics_harms_nobody() {
        struct Bad;
        impl Source for Bad {
            fn fill(&mut self, _: &mut ChunkBuf<'_>) -> Fill {
                Fill::End
            }
        }
        impl Drop for Bad {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("as the test wants"));
            }
        }
        drop(Stream::new(Bad));
    }
}
