//! What must hold for every format, tried on all of them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helper functions too"
)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::{
    Answer, Budget, CloseMode, Cut, Dispatch, Error, Event, Lane, Media, Out, Route, Step, Then,
    Turn, Units, http,
};
use crate::scoreboard::Counter;

const PRESETS: [&str; 7] = [
    "comm", "zinx", "zinx-ltv", "rpc", "frame32", "len16", "len32",
];

fn layout(name: &str) -> Layout {
    Layout::preset(name).unwrap()
}

/// Records what it is asked; answers as the id says.
#[derive(Default)]
struct Handlers {
    calls: Vec<(Option<u32>, Bytes)>,
    opened: usize,
}

const LATER: u32 = 2;
const CLOSE: u32 = 3;
const POOLED: u32 = 4;
const FAIL: u32 = 5;
const HUGE: u32 = 6;

impl Dispatch for Handlers {
    fn inline(&self, route: Route) -> bool {
        route.id != Some(POOLED)
    }

    fn call(&mut self, route: Route, body: Units<'_>, out: &mut Out<'_>, answer: &mut Answer) {
        let body = body.to_bytes();
        self.calls.push((route.id, body.clone()));
        *answer = match route.id {
            Some(LATER) => Answer::Later(self.calls.len() as u64),
            Some(FAIL) => Answer::Error(Error::new(418, "teapot")),
            Some(HUGE) => Answer::Reply {
                id: None,
                body: Bytes::from(vec![0; 32 << 20]),
                media: Media::Bytes,
            },
            id => {
                out.close = (id == Some(CLOSE)).then_some(CloseMode::Flush);
                Answer::body(body)
            }
        };
    }

    fn opened(&mut self, _: &mut Out<'_>) {
        self.opened += 1;
    }

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl http::Requests for Handlers {}

fn frames(layout: &Layout, bodies: &[(u32, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (n, (id, body)) in (1..).zip(bodies) {
        encode(layout, Some(*id), n, body, &mut wire).unwrap();
    }
    wire
}

/// What a cutter makes of a stream that comes in `parts`: the whole messages,
/// and the refusal, if any.
fn cut(layout: &Layout, parts: &[&[u8]]) -> (Vec<u8>, Option<Counter>) {
    let (mut cutter, _) = Frames::new(layout.clone()).open();
    let (mut kept, mut whole) = (Vec::new(), Vec::new());
    for part in parts {
        kept.extend_from_slice(part);
        let Cut {
            units,
            messages,
            then,
            ..
        } = cutter.cut(&kept);
        assert_eq!(cutter.first(&kept, messages), units);
        whole.extend(kept.drain(..units));
        if let Then::Refuse(refusal) = then {
            return (whole, Some(refusal.counter));
        }
    }
    (whole, None)
}

/// Serves `wire` in one turn; gives what was written, how far it came, why it
/// stopped.
fn serve_on(
    layout: &Layout,
    lane: Lane,
    wire: &[u8],
    events: Vec<Event>,
) -> (Vec<u8>, usize, Vec<Step>, Handlers) {
    let protocol = Frames::new(layout.clone());
    let (_, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let (done, step) = server.serve(Units::borrowed(wire), &mut turn);
    let mut steps = vec![step];
    for event in events {
        steps.push(server.event(event, &mut turn));
    }
    let bytes = turn.out.bytes;
    (bytes, done, steps, handlers)
}

#[test]
fn three_messages_survive_every_cut() {
    for name in PRESETS {
        let layout = layout(name);
        let bodies: [(u32, &[u8]); 3] = [(1, b"one"), (1, b""), (1, b"GET three")];
        let wire = frames(&layout, &bodies);
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let parts = [&wire[..first], &wire[first..second], &wire[second..]];
                assert_eq!(
                    cut(&layout, &parts),
                    (wire.clone(), None),
                    "{name} {first} {second}"
                );
            }
        }
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(
            cut(&layout, &single),
            (wire.clone(), None),
            "{name}, byte by byte"
        );
        let (_, done, _, handlers) = serve_on(&layout, Lane::Pool, &wire, vec![]);
        assert_eq!(done, wire.len());
        let got: Vec<&[u8]> = handlers.calls.iter().map(|(_, body)| &**body).collect();
        assert_eq!(got, bodies.map(|(_, body)| body), "{name}");
        let id = layout.id.map(|_| 1);
        assert!(handlers.calls.iter().all(|(got, _)| *got == id), "{name}");
    }
}

/// The bytes of each format, written out by hand.
#[test]
fn formats_are_what_their_clients_speak() {
    let cases: [(&str, &[u8]); 7] = [
        ("comm", b"\x00\x0a\x01\x02\xd8\x93\x2a\xachi"),
        ("zinx", b"\x00\x00\x01\x02\x00\x00\x00\x02hi"),
        ("zinx-ltv", b"\x02\x00\x00\x00\x02\x01\x00\x00hi"),
        (
            "rpc",
            b"\x00\x00\x00\x02\x00\x00\x01\x02\x00\x00\x00\x07\xd8\x93\x2a\xachi",
        ),
        ("frame32", b"\x00\x00\x00\x06hi"),
        ("len16", b"\x00\x02hi"),
        ("len32", b"\x00\x00\x00\x02hi"),
    ];
    for (name, bytes) in cases {
        let mut wire = Vec::new();
        encode(&layout(name), Some(0x102), 7, b"hi", &mut wire).unwrap();
        assert_eq!(wire, bytes, "{name}");
        assert_eq!(layout(name).check(), Ok(()), "{name}");
    }
}

#[test]
fn what_cannot_be_a_frame_is_refused_with_its_claim() {
    let negative = Layout {
        length: Length {
            adjust: -9,
            ..layout("comm").length
        },
        ..layout("comm")
    };
    let wide = Field {
        offset: 0,
        bytes: 8,
        endian: Endian::Big,
    };
    let wide = Layout {
        length: Length {
            field: wide,
            counts: Counts::Body,
            adjust: 0,
        },
        header: 8,
        ..layout("len32")
    };
    let cases = [
        (layout("comm"), &b"\x71\x49"[..], Counter::TooLong, "29001"),
        (layout("comm"), b"\x00\x07", Counter::TooShort, "7"),
        (layout("comm"), b"\x00\x00", Counter::TooShort, "0"),
        (negative, b"\x00\x08", Counter::TooShort, "8"),
        (
            layout("zinx"),
            b"\0\0\0\x01\x00\x10\x00\x01",
            Counter::TooLong,
            "1048577",
        ),
        (
            layout("rpc"),
            b"\xff\xff\xff\xff",
            Counter::TooLong,
            "4294967295",
        ),
        (
            layout("frame32"),
            b"\x00\x00\x00\x03",
            Counter::TooShort,
            "3",
        ),
        (
            wide,
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            Counter::TooLong,
            "18446744073709551615",
        ),
    ];
    for (layout, bytes, counter, claim) in cases {
        let refusal = layout.measure(bytes).unwrap_err();
        assert_eq!(refusal.counter, counter, "{refusal:?}");
        assert!(refusal.detail.contains(claim), "{refusal:?}");
    }
    assert!(
        layout("comm").measure(b"\x71\x48").is_ok(),
        "29,000 is legal"
    );
}

#[test]
fn foreign_protocols_are_recognised_before_any_preset_sees_them() {
    for name in PRESETS {
        for (bytes, counter) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Counter::SpokeHttp),
            (b"PRI * HTTP/2.0\r\n\r\n", Counter::SpokeHttp),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", Counter::SpokeTls),
        ] {
            for at in 0..bytes.len() {
                let parts = [&bytes[..at], &bytes[at..]];
                assert_eq!(
                    cut(&layout(name), &parts),
                    (vec![], Some(counter)),
                    "{name} {at}"
                );
            }
        }
    }
}

#[test]
fn only_the_first_bytes_of_a_connection_are_judged() {
    let layout = layout("len16");
    let mut wire = frames(&layout, &[(0, b"x")]);
    // "GE" as a length: 18,245 bytes of body.
    wire.extend(b"GET ");
    wire.extend(vec![b'.'; 18_245 - 2]);
    assert_eq!(cut(&layout, &[&wire]), (wire.clone(), None));
}

/// The frames of a stream, byte by byte and with nothing clever.
fn slow_cut(layout: &Layout, bytes: &[u8]) -> (usize, bool) {
    let mut whole = 0;
    loop {
        let rest = &bytes[whole..];
        let field = layout.length.field;
        if rest.len() < field.offset + field.bytes {
            return (whole, false);
        }
        let mut digits = rest[field.offset..field.offset + field.bytes].to_vec();
        if field.endian == Endian::Little {
            digits.reverse();
        }
        let claimed = digits
            .iter()
            .fold(0_i128, |n, digit| n * 256 + i128::from(*digit));
        let total = claimed
            + match layout.length.counts {
                Counts::All => 0,
                Counts::Body => layout.header as i128,
            };
        if total > layout.max as i128 || total < layout.header as i128 {
            return (whole, true);
        }
        let total = usize::try_from(total).unwrap();
        if rest.len() < total {
            return (whole, false);
        }
        whole += total;
    }
}

proptest! {
    #[test]
    fn random_streams_in_random_pieces_cut_as_the_slow_reference(
        preset in 0..PRESETS.len(),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..30),
        cuts in prop::collection::vec(0..400_usize, 0..12),
    ) {
        let layout = layout(PRESETS[preset]);
        let mut wire = frames(&layout, &[(1, b"first")]);
        for body in &bodies {
            encode(&layout, Some(1), 1, body, &mut wire).unwrap();
        }
        wire.extend(noise);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        let (units, bad) = slow_cut(&layout, &wire);
        let (whole, refused) = cut(&layout, &parts);
        prop_assert_eq!(whole, &wire[..units]);
        prop_assert_eq!(refused.is_some(), bad);
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), preset in 0..7_usize) {
        let layout = layout(PRESETS[preset]);
        let (whole, _) = cut(&layout, &[&noise]);
        let (_, done, _, _) = serve_on(&layout, Lane::Pool, &whole, vec![]);
        prop_assert!(done <= whole.len());
    }
}

#[test]
fn a_wrong_checksum_ends_behind_the_good_messages() {
    for name in ["comm", "rpc"] {
        let layout = layout(name);
        let good = frames(&layout, &[(1, b"good")]);
        let mut wire = good.clone();
        wire.extend(frames(&layout, &[(1, b"bad!")]));
        *wire.last_mut().unwrap() ^= 1;
        wire.extend(&good);
        let (out, _, steps, handlers) = serve_on(&layout, Lane::Pool, &wire, vec![]);
        assert_eq!(out, good, "{name}");
        assert_eq!(handlers.calls.len(), 1, "{name}");
        let [Step::Refuse(refusal)] = &steps[..] else {
            panic!("{name}: {steps:?}")
        };
        assert_eq!(refusal.counter, Counter::BadChecksum);
    }
}

#[test]
fn an_error_is_a_frame_where_the_format_has_one_and_the_end_elsewhere() {
    for name in ["comm", "zinx", "zinx-ltv", "rpc"] {
        let layout = layout(name);
        let wire = frames(&layout, &[(FAIL, b"?")]);
        let (out, _, steps, _) = serve_on(&layout, Lane::Pool, &wire, vec![]);
        let frame = layout.frame(&out).unwrap().unwrap();
        assert_eq!(frame.id, layout.error_id, "{name}");
        let expected = ErrorBody {
            request: FAIL,
            code: 418,
            text: "teapot",
        };
        assert_eq!(ErrorBody::read(frame.body), Some(expected), "{name}");
        assert_eq!(
            frame.sequence,
            u32::from(layout.sequence.is_some()),
            "{name}"
        );
        assert_eq!(steps, [Step::Next], "{name}");
    }
    let (_, mut server) = Frames::new(layout("len16")).open();
    let protocol = Frames::new(layout("len16"));
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let error = Answer::Error(Error::new(500, ""));
    assert_eq!(
        server.event(Event::Reply(9, error), &mut turn),
        Step::Next,
        "nobody asked"
    );
}

#[test]
fn a_reply_that_no_frame_can_carry_becomes_an_error() {
    let layout = layout("comm");
    let wire = frames(&layout, &[(HUGE, b"")]);
    let (out, _, _, _) = serve_on(&layout, Lane::Pool, &wire, vec![]);
    let frame = layout.frame(&out).unwrap().unwrap();
    let error = ErrorBody::read(frame.body).unwrap();
    assert_eq!((error.request, error.code), (HUGE, 500));
    assert!(error.text.contains("33554432"), "{}", error.text);
}

#[test]
fn without_a_sequence_a_reply_that_comes_later_stops_the_turn() {
    let layout = layout("comm");
    let one = frames(&layout, &[(LATER, b"")]).len();
    let wire = frames(&layout, &[(LATER, b""), (1, b"next")]);
    let answer = Answer::body(Bytes::from_static(b"now"));
    let (out, done, steps, _) = serve_on(&layout, Lane::Pool, &wire, vec![Event::Reply(1, answer)]);
    assert_eq!(
        (done, &steps[..]),
        (one, &[Step::AwaitReply, Step::Next][..])
    );
    assert_eq!(out, frames(&layout, &[(LATER, b"now")]));
}

#[test]
fn with_a_sequence_replies_overtake_and_the_end_waits_for_them() {
    let layout = layout("rpc");
    let wire = frames(&layout, &[(LATER, b""), (LATER, b""), (1, b"quick")]);
    let reply = |body: &'static [u8]| Answer::body(Bytes::from_static(body));
    let events = vec![
        Event::Eof,
        Event::Reply(2, reply(b"second")),
        Event::Reply(7, reply(b"nobody")),
        Event::Reply(1, reply(b"first")),
    ];
    let (out, _, steps, _) = serve_on(&layout, Lane::Pool, &wire, events);
    let end = Step::Close(CloseMode::Flush);
    assert_eq!(steps, [Step::Next, Step::Next, Step::Next, Step::Next, end]);
    let mut sequences = Vec::new();
    let mut rest = &out[..];
    while let Some(frame) = layout.frame(rest).unwrap() {
        sequences.push((frame.sequence, frame.body));
        rest = &rest[frame.total..];
    }
    assert_eq!(
        sequences,
        [(3, &b"quick"[..]), (2, b"second"), (1, b"first")]
    );
}

#[test]
fn a_close_comes_behind_its_reply_and_before_the_next_message() {
    let layout = layout("comm");
    let wire = frames(&layout, &[(CLOSE, b"bye"), (1, b"never")]);
    let (out, _, steps, handlers) = serve_on(&layout, Lane::Pool, &wire, vec![]);
    assert_eq!(out, frames(&layout, &[(CLOSE, b"bye")]));
    assert_eq!(steps, [Step::Close(CloseMode::Flush)]);
    assert_eq!(handlers.calls.len(), 1);
}

#[test]
fn on_the_event_loop_a_turn_stops_before_what_may_block() {
    let layout = layout("comm");
    let wire = frames(&layout, &[(1, b"a"), (POOLED, b"b"), (1, b"c")]);
    let (_, done, steps, handlers) = serve_on(&layout, Lane::Inline, &wire, vec![]);
    assert_eq!(done, frames(&layout, &[(1, b"a")]).len());
    assert_eq!(steps, [Step::NotInline]);
    assert_eq!(handlers.calls.len(), 1);
}

#[test]
fn a_turn_that_is_over_stops_behind_a_message() {
    let layout = layout("comm");
    let wire = frames(&layout, &[(1, b"a"), (1, b"b")]);
    let protocol = Frames::new(layout.clone());
    let (_, mut server) = protocol.open();
    for (room, max) in [(0, usize::MAX), (usize::MAX, 1)] {
        let mut handlers = Handlers::default();
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), &protocol),
            app: &mut handlers,
            budget: &mut Budget::new(max, u64::MAX, || 0),
            room,
        };
        let (done, step) = server.serve(Units::borrowed(&wire), &mut turn);
        assert_eq!((done, step), (wire.len() / 2, Step::Next));
    }
}

#[test]
fn a_layout_that_cannot_work_is_refused_in_words() {
    let comm = layout("comm");
    let field = |offset, bytes| Field {
        offset,
        bytes,
        endian: Endian::Big,
    };
    let length = |bytes| Length {
        field: field(0, bytes),
        ..comm.length
    };
    let cases = [
        (
            Layout {
                length: length(5),
                ..comm.clone()
            },
            "length.bytes is 5",
        ),
        (
            Layout {
                id: Some(field(1, 2)),
                ..comm.clone()
            },
            "id and length overlap",
        ),
        (
            Layout {
                crc: Some(field(4, 2)),
                ..comm.clone()
            },
            "crc.bytes is 2",
        ),
        (
            Layout {
                header: 6,
                ..comm.clone()
            },
            "crc ends at byte 8",
        ),
        (
            Layout {
                max: 8,
                ..comm.clone()
            },
            "max is 8 bytes",
        ),
        (
            Layout {
                max: 70_000,
                ..comm.clone()
            },
            "cannot express",
        ),
        (
            Layout {
                error_id: Some(70_000),
                ..comm.clone()
            },
            "error_id does not fit",
        ),
        (
            Layout {
                heartbeat: Some(1),
                ..layout("len16")
            },
            "heartbeat does not fit",
        ),
        (
            Layout {
                header: 300,
                max: 400,
                ..comm.clone()
            },
            "header is 300 bytes",
        ),
    ];
    for (layout, expected) in cases {
        let error = layout.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Beyond the bounds a claim near 2^64 passed for part of a frame, or for one.
#[test]
fn no_layout_may_be_so_large_that_the_largest_claims_fit() {
    let wide = |max: usize, adjust: i64| {
        let field = Field {
            offset: 0,
            bytes: 8,
            endian: Endian::Big,
        };
        let length = Length {
            field,
            counts: Counts::Body,
            adjust,
        };
        Layout {
            length,
            header: 8,
            max,
            ..layout("len32")
        }
    };
    for (max, adjust, expected) in [
        (usize::MAX, 0, "below 4 GiB"),
        (1 << 32, 0, "below 4 GiB"),
        (1 << 20, 8 - i64::MAX, "within 2 GiB of 0"),
        (1 << 20, -(1 << 31) - 1, "within 2 GiB of 0"),
    ] {
        let error = wide(max, adjust).check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let largest = wide((1 << 32) - 1, -(1 << 31));
    assert_eq!(largest.check(), Ok(()));
    let refusal = largest.frame(&[0xff; 8]).unwrap_err();
    assert_eq!(refusal.counter, Counter::TooLong);
}

#[test]
fn equal_layouts_have_equal_wires_and_others_do_not() {
    let wires: std::collections::HashSet<_> = PRESETS
        .iter()
        .map(|name| Frames::new(layout(name)).wire())
        .collect();
    assert_eq!(wires.len(), PRESETS.len());
    assert_eq!(
        Frames::new(layout("comm")).wire(),
        Frames::new(layout("comm")).wire()
    );
}

#[test]
fn error_texts_are_cut_at_a_character() {
    let body = ErrorBody {
        request: 1,
        code: 2,
        text: "aé",
    }
    .write(8);
    assert_eq!(ErrorBody::read(&body).unwrap().text, "a");
    assert_eq!(ErrorBody::read(b"short"), None);
}

/// A layout of two bytes, id and length: its frames fit into foreign tokens.
fn tiny() -> Layout {
    let field = |offset, bytes| Field {
        offset,
        bytes,
        endian: Endian::Big,
    };
    let layout = Layout {
        length: Length {
            field: field(1, 1),
            counts: Counts::Body,
            adjust: 0,
        },
        id: Some(field(0, 1)),
        header: 2,
        max: 257,
        ..layout("len16")
    };
    assert_eq!(layout.check(), Ok(()));
    layout
}

#[test]
fn a_frame_that_ends_within_a_token_is_a_frame_however_it_comes() {
    let wire = b"\x16\x03\x01\x02\x00\x01\x00";
    let single: Vec<&[u8]> = wire.chunks(1).collect();
    let expected = cut(&tiny(), &single);
    assert_eq!(expected, (wire.to_vec(), None));
    for at in 0..=wire.len() {
        assert_eq!(cut(&tiny(), &[&wire[..at], &wire[at..]]), expected, "{at}");
    }
}

proptest! {
    /// Whatever a stream begins with, and on whatever layout, it is cut in the
    /// same places in one piece and byte by byte.
    #[test]
    fn any_stream_is_cut_alike_in_one_piece_and_byte_by_byte(
        preset in 0..8_usize,
        token in 0..6_usize,
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let layout = PRESETS.get(preset).map_or_else(tiny, |name| layout(name));
        let tokens: [&[u8]; 6] =
            [b"", b"GET ", b"PRI * HTTP/2", b"\x16\x03\x01\x00\x05\x01\x00", b"\x16\x03", b"POS"];
        let wire = [tokens[token], &noise].concat();
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        prop_assert_eq!(cut(&layout, &[&wire]), cut(&layout, &single));
    }
}

#[test]
fn a_close_waits_for_the_reply_that_its_own_handler_put_off() {
    struct CloseLater;
    impl Dispatch for CloseLater {
        fn inline(&self, _: Route) -> bool {
            true
        }
        fn call(&mut self, _: Route, _: Units<'_>, out: &mut Out<'_>, answer: &mut Answer) {
            out.close = Some(CloseMode::Flush);
            *answer = Answer::Later(1);
        }
        fn opened(&mut self, _: &mut Out<'_>) {}
        fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
    }
    impl http::Requests for CloseLater {}
    for (name, waits) in [("comm", Step::AwaitReply), ("rpc", Step::Next)] {
        let layout = layout(name);
        let protocol = Frames::new(layout.clone());
        let (_, mut server) = protocol.open();
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), &protocol),
            app: &mut CloseLater,
            budget: &mut Budget::unlimited(),
            room: usize::MAX,
        };
        let wire = frames(&layout, &[(1, b"?")]);
        assert_eq!(
            server.serve(Units::borrowed(&wire), &mut turn),
            (wire.len(), waits),
            "{name}"
        );
        assert_eq!(turn.out.close, None, "{name}");
        let reply = Event::Reply(1, Answer::body(Bytes::from_static(b"bye")));
        assert_eq!(
            server.event(reply, &mut turn),
            Step::Close(CloseMode::Flush),
            "{name}"
        );
        assert_eq!(turn.out.bytes, frames(&layout, &[(1, b"bye")]), "{name}");
    }
}

#[test]
fn after_an_end_of_file_messages_are_still_served_while_replies_are_owed() {
    let layout = layout("rpc");
    let protocol = Frames::new(layout.clone());
    let (_, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let first = frames(&layout, &[(LATER, b"")]);
    server.serve(Units::borrowed(&first), &mut turn);
    assert_eq!(server.event(Event::GoAway, &mut turn), Step::Next);
    let second = frames(&layout, &[(1, b"still")]);
    server.serve(Units::borrowed(&second), &mut turn);
    assert_eq!(turn.out.bytes, second);
}
