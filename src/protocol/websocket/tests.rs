//! What must hold for every message, however it is framed and cut.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helper functions too"
)]

use bytes::Bytes;

use super::*;
use crate::protocol::{
    Answer, Budget, CloseMode, Dispatch, Event, Lane, Listening, Message, Out, Route, Step,
    Successors as _, Then, Turn, Units, http,
};
use crate::scoreboard::Counter;

const LIMITS: Limits = Limits { message: 300 };
const MASK: [u8; 4] = [0x11, 0x22, 0x83, 0x04];

/// A frame of a client, written from the RFC.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// Returns what it gets; closes, fails or waits when told to.
#[derive(Default)]
struct Echo {
    got: Vec<Message>,
}

impl Dispatch for Echo {
    fn inline(&self, _: Route) -> bool {
        true
    }

    fn call(&mut self, _: Route, _: Units<'_>, _: &mut Out<'_>, _: &mut Answer) {}

    fn opened(&mut self, _: &mut Out<'_>) {}

    fn messages_at(&self, path: &str) -> Option<Listening> {
        (path == "/echo").then_some(Listening {
            number: 7,
            inline: false,
        })
    }

    fn message(&mut self, number: u32, message: Message, out: &mut Out<'_>, answer: &mut Answer) {
        assert_eq!(number, 7);
        let media = match &message {
            Message::Text(_) => crate::protocol::Media::Text,
            Message::Binary(_) => crate::protocol::Media::Bytes,
        };
        let body = match message.clone() {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
        };
        self.got.push(message);
        *answer = match &body[..] {
            b"later" => Answer::Later(9),
            b"fail" => Answer::Error(crate::protocol::Error::new(500, "failed")),
            b"close" => {
                out.close = Some(CloseMode::Flush);
                Answer::media(body, media)
            }
            _ => Answer::media(body, media),
        };
    }

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl http::Requests for Echo {}

fn protocol() -> Arc<dyn Protocol> {
    Sockets::new(LIMITS, Origins::default()).raw("/echo", None)
}

/// What came of a stream: pongs, what was answered, how it ended.
#[derive(Debug, Default, Eq, PartialEq)]
struct Came {
    pongs: Vec<u8>,
    out: Vec<u8>,
    refused: Option<Counter>,
    step: Option<Step>,
    /// Bytes after which the cutter refused.
    at: usize,
}

/// Sends `stream` in pieces of `size` bytes through cutter and server.
fn play(stream: &[u8], size: usize) -> Came {
    play_on(&*protocol(), stream, size)
}

/// The same on connections of `protocol`.
fn play_on(protocol: &dyn Protocol, stream: &[u8], size: usize) -> Came {
    let (mut cutter, mut server) = protocol.open();
    let mut app = Echo::default();
    let (mut kept, mut came) = (Vec::new(), Came::default());
    for piece in stream.chunks(size) {
        kept.extend_from_slice(piece);
        came.at += piece.len();
        let cut = cutter.cut(&kept);
        came.pongs.extend(cut.reply.unwrap_or_default());
        let units = Bytes::from(kept.drain(..cut.units).collect::<Vec<_>>());
        let mut budget = Budget::unlimited();
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), protocol),
            app: &mut app,
            budget: &mut budget,
            room: usize::MAX,
        };
        let (done, step) = server.serve(Units::shared(&units), &mut turn);
        let step = match (step, cut.then) {
            (Step::Next, Then::Refuse(refusal)) => {
                assert_eq!(done, units.len());
                server.event(Event::Refused(refusal), &mut turn)
            }
            (step, _) => step,
        };
        came.out.extend_from_slice(&turn.out.bytes);
        assert!(
            turn.budget.messages() <= cut.messages,
            "one was counted twice"
        );
        match step {
            Step::Next => {}
            Step::Refuse(refusal) => {
                came.refused = Some(refusal.counter);
                came.out.extend_from_slice(refusal.answer);
                return came;
            }
            step @ (Step::NotInline
            | Step::AwaitReply
            | Step::AwaitWritable
            | Step::AwaitEvent
            | Step::Become(_)
            | Step::Close(_)) => {
                came.step = Some(step);
                return came;
            }
        }
    }
    came
}

#[test]
fn messages_are_the_same_however_they_are_framed_and_cut() {
    let long = vec![b'x'; 200];
    let streams: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = vec![
        (frame(0x81, b"hello"), b"\x81\x05hello".into(), vec![]),
        (
            [frame(0x02, b"ab"), frame(0x89, b"p"), frame(0x80, b"cd")].concat(),
            b"\x82\x04abcd".into(),
            b"\x8a\x01p".into(),
        ),
        (
            [frame(0x01, b"\xc3"), frame(0x00, b""), frame(0x80, b"\xa4")].concat(),
            b"\x81\x02\xc3\xa4".into(),
            vec![],
        ),
        (
            [
                frame(0x82, &long),
                frame(0x8a, b"unasked"),
                frame(0x89, b""),
            ]
            .concat(),
            [b"\x82\x7e\x00\xc8", &long[..]].concat(),
            b"\x8a\x00".into(),
        ),
        (
            [frame(0x81, b""), frame(0x81, b"b")].concat(),
            b"\x81\x00\x81\x01b".into(),
            vec![],
        ),
    ];
    for (stream, out, pongs) in streams {
        for size in 1..=stream.len() {
            let came = play(&stream, size);
            assert_eq!((&came.out, &came.pongs), (&out, &pongs), "by {size}");
            assert_eq!((came.refused, came.step), (None, None));
        }
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_code_behind_what_was_right() {
    let good = frame(0x81, b"ok");
    for (bad, counter, code) in [
        (frame(0x80, b""), Counter::WsProtocol, 1002_u16),
        (
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            Counter::WsProtocol,
            1002,
        ),
        (frame(0xc1, b""), Counter::WsProtocol, 1002),
        (vec![0x81, 0x01, b'a'], Counter::WsProtocol, 1002),
        (frame(0x88, b"\x03"), Counter::WsProtocol, 1002),
        (frame(0x88, b"\x03\xed"), Counter::WsProtocol, 1002),
        (frame(0x81, b"a\xff"), Counter::WsText, 1007),
        (
            [frame(0x01, b"a\xc3"), frame(0x80, b"a")].concat(),
            Counter::WsText,
            1007,
        ),
        (frame(0x81, b"a\xc3"), Counter::WsText, 1007),
        (frame(0x82, &[0; 301]), Counter::WsTooLong, 1009),
        (
            [frame(0x02, &[0; 200]), frame(0x80, &[0; 101])].concat(),
            Counter::WsTooLong,
            1009,
        ),
    ] {
        let stream = [&good[..], &bad].concat();
        for size in 1..=stream.len() {
            let came = play(&stream, size);
            let close = [&b"\x88\x02"[..], &code.to_be_bytes()].concat();
            assert_eq!(came.out, [b"\x81\x02ok", &close[..]].concat(), "{bad:?}");
            assert_eq!(came.refused, Some(counter), "{bad:?}");
        }
    }
}

#[test]
fn a_text_is_refused_before_its_frame_is_whole() {
    let stream = frame(0x81, b"ab\xff and so on");
    let came = play(&stream, 1);
    assert_eq!((came.refused, came.at), (Some(Counter::WsText), 9));
    let fragment = [frame(0x01, b"\xf4"), frame(0x00, b"\x90 and")].concat();
    assert_eq!(play(&fragment, 1).at, frame(0x01, b"\xf4").len() + 7);
}

#[test]
fn a_message_has_only_so_many_frames() {
    let (mut cutter, _) = protocol().open();
    let mut stream = frame(0x02, b"");
    for _ in 1..limits::FRAMES_MAX {
        stream.extend(frame(0x00, b""));
    }
    assert!(matches!(cutter.cut(&stream).then, Then::Read));
    stream.extend(frame(0x00, b""));
    let Then::Refuse(refusal) = cutter.cut(&stream).then else {
        panic!("one too many")
    };
    assert_eq!(refusal.counter, Counter::WsTooLong);
}

#[test]
fn a_close_is_echoed_and_what_follows_it_means_nothing() {
    for (payload, echo) in [
        (&b""[..], &b"\x88\x00"[..]),
        (b"\x03\xe8bye", b"\x88\x02\x03\xe8"),
        (b"\x0f\xa1", b"\x88\x02\x0f\xa1"),
    ] {
        let parts = [
            frame(0x81, b"a"),
            frame(0x88, payload),
            frame(0x81, b"b"),
            vec![0xff],
        ];
        let stream = parts.concat();
        for size in 1..=stream.len() {
            let came = play(&stream, size);
            assert_eq!(came.out, [b"\x81\x01a", echo].concat());
            assert_eq!(came.step, Some(Step::Close(CloseMode::Flush)));
        }
    }
}

#[test]
fn a_handler_ends_its_connection_with_a_code_and_so_does_its_error() {
    for (text, out) in [
        (&b"close"[..], &b"\x81\x05close\x88\x02\x03\xe8"[..]),
        (b"fail", b"\x88\x02\x03\xf3"),
    ] {
        let came = play(&[frame(0x81, text), frame(0x81, b"no more")].concat(), 100);
        assert_eq!(came.out, out);
        assert_eq!(came.step, Some(Step::Close(CloseMode::Flush)));
    }
}

#[test]
fn the_ends_of_a_connection_have_their_codes_behind_what_is_owed() {
    let protocol = protocol();
    for (event, code) in [(Event::GoAway, &b"\x88\x02\x03\xe9"[..]), (Event::Eof, b"")] {
        let mut server = protocol.server();
        let (mut app, mut budget) = (Echo::default(), Budget::unlimited());
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), &*protocol),
            app: &mut app,
            budget: &mut budget,
            room: usize::MAX,
        };
        let later = frame(0x81, b"later");
        let served = server.serve(Units::borrowed(&later), &mut turn);
        assert_eq!(served, (later.len(), Step::AwaitReply));
        assert_eq!((server.owes(), server.snapshot()), (1, None));
        assert_eq!(server.event(event, &mut turn), Step::AwaitReply);
        let reply = Answer::body(Bytes::from_static(b"!"));
        let step = server.event(Event::Reply(9, reply), &mut turn);
        assert_eq!(step, Step::Close(CloseMode::Flush));
        assert_eq!(turn.out.bytes, [b"\x82\x01!", code].concat());
    }
}

#[test]
fn heartbeats_are_control_frames_that_stand_alone() {
    let (cutter, _) = protocol().open();
    let units = [
        frame(0x89, b"a"),
        frame(0x81, b"text"),
        frame(0x01, b"x"),
        frame(0x89, b""),
        frame(0x80, b"y"),
        frame(0x8a, b""),
    ];
    assert_eq!(cutter.heartbeats(&units.concat()), 2);
    let two: usize = units[..2].iter().map(Vec::len).sum();
    assert_eq!(cutter.first(&units.concat(), 2), two);
}

#[test]
fn a_push_goes_out_as_what_it_is() {
    let mut out = Vec::new();
    for (media, body) in [
        (crate::protocol::Media::Text, &b"hi"[..]),
        (crate::protocol::Media::Bytes, b"\xff"),
    ] {
        protocol()
            .push(Push { id: 3, body, media }, &mut out)
            .unwrap();
    }
    assert_eq!(out, b"\x81\x02hi\x82\x01\xff");
}

/// Compresses with a window of `window` bits everything from one byte on.
fn packing(window: u8) -> Arc<dyn Protocol> {
    let sockets = Sockets::new(LIMITS, Origins::default()).compressed(1);
    sockets.raw("/echo", Some(window))
}

fn packed(payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    deflate::pack(15, payload, &mut packed);
    packed
}

#[test]
fn compressed_messages_are_the_same_however_they_are_framed_and_cut() {
    let text = "sage und schreibe ".repeat(10);
    let one = packed(text.as_bytes());
    let (a, b) = one.split_at(7);
    let answer = [&[0xc1, u8::try_from(one.len()).unwrap()], &one[..]].concat();
    let bomb = packed(&[b'x'; 300]);
    let bombed = [&[0xc2, u8::try_from(bomb.len()).unwrap()], &bomb[..]].concat();
    for (stream, out, pongs) in [
        (frame(0xc1, &one), answer.clone(), vec![]),
        (
            [
                frame(0x41, a),
                frame(0x89, b"?"),
                frame(0x00, b""),
                frame(0x80, b),
            ]
            .concat(),
            answer.clone(),
            b"\x8a\x01?".to_vec(),
        ),
        // Those that are not may stand between them.
        (
            [
                frame(0x81, b"plain"),
                frame(0xc1, &one),
                frame(0x82, b"\xff"),
            ]
            .concat(),
            [b"\x81\x05plain", &answer[..], b"\x82\x01\xff"].concat(),
            vec![],
        ),
        (frame(0xc2, &bomb), bombed, vec![]),
    ] {
        for size in 1..=stream.len() {
            let came = play_on(&*packing(15), &stream, size);
            assert_eq!((&came.out, &came.pongs), (&out, &pongs), "by {size}");
            assert_eq!((came.refused, came.step), (None, None));
        }
    }
}

#[test]
fn what_is_compressed_wrongly_is_refused_with_its_code() {
    let text = packed("ü".repeat(100).as_bytes());
    for (bad, counter, code) in [
        (
            frame(0xc1, &text[..text.len() - 1]),
            Counter::WsPacked,
            1007_u16,
        ),
        (frame(0xc2, b"\xff\xff"), Counter::WsPacked, 1007),
        (frame(0xc1, &packed(b"a\xff")), Counter::WsText, 1007),
        (frame(0xc2, &packed(&[0; 301])), Counter::WsTooLong, 1009),
        (
            frame(0xc2, &packed(&vec![0; 1 << 20])),
            Counter::WsTooLong,
            1009,
        ),
        // The mark belongs to the first frame of a message, and is the only one.
        (
            [frame(0x42, b""), frame(0xc0, b"")].concat(),
            Counter::WsProtocol,
            1002,
        ),
        (frame(0xc9, b""), Counter::WsProtocol, 1002),
        (frame(0xe1, b""), Counter::WsProtocol, 1002),
        (frame(0xa1, b""), Counter::WsProtocol, 1002),
    ] {
        let stream = [&frame(0x81, b"")[..], &bad].concat();
        for size in 1..=stream.len().min(60) {
            let came = play_on(&*packing(15), &stream, size);
            let close = [&b"\x88\x02"[..], &code.to_be_bytes()].concat();
            assert_eq!(came.out, [b"\x81\x00", &close[..]].concat(), "{bad:?}");
            assert_eq!(came.refused, Some(counter), "{bad:?}");
        }
    }
}

#[test]
fn a_push_is_compressed_when_that_was_agreed_on_and_is_worth_it() {
    let sockets = Sockets::new(LIMITS, Origins::default()).compressed(100);
    for (window, len, first) in [
        (Some(15), 100, 0xc1),
        (Some(9), 100, 0xc1),
        (Some(15), 99, 0x81),
        (None, 100, 0x81),
    ] {
        let (media, body) = (crate::protocol::Media::Text, vec![b'a'; len]);
        let push = Push {
            id: 0,
            body: &body,
            media,
        };
        let mut out = Vec::new();
        sockets.raw("/", window).push(push, &mut out).unwrap();
        assert_eq!(out[0], first, "{window:?} {len}");
    }
    // Once it is off, those who agreed on it before are sent nothing compressed.
    let off = Sockets::new(LIMITS, Origins::default());
    let push = Push {
        id: 0,
        body: &[b'a'; 200],
        media: crate::protocol::Media::Text,
    };
    let mut out = Vec::new();
    off.raw("/", Some(15)).push(push, &mut out).unwrap();
    assert_eq!(out[0], 0x81);
}
