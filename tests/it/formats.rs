//! Frame formats of fields: those of real protocols, by the exact bytes of their
//! specifications, and what a server makes of them.

use std::borrow::Cow;

use purlin::config::{Config, Framing};
use purlin::prelude::*;
use purlin::protocol::Unsendable;
use purlin::protocol::frame::{AnyFormat, Message, every_cut};
use purlin::scoreboard::Counter;
use purlin::{App, Server};

use crate::harness::Client;

const EXAMPLES: &str = include_str!("../../examples/formats.toml");

/// The formats of the examples, in their order.
fn examples() -> Vec<AnyFormat> {
    let file = Some(("formats.toml".as_ref(), EXAMPLES.as_bytes()));
    let config = Config::parse(file, [], &[]).unwrap();
    let listeners = config.listener.iter();
    let formats = listeners.map(|listener| match &listener.frame {
        Framing::Custom(layout) => layout.format().unwrap(),
        Framing::Named(name) => panic!("{name}"),
    });
    formats.collect()
}

fn format(text: &str) -> Result<AnyFormat, String> {
    let keys = [("listener.0.frame".to_owned(), text.to_owned())];
    let config = Config::parse(None, [], &keys).map_err(|error| error.to_string())?;
    match &config.listener[0].frame {
        Framing::Custom(layout) => layout.format().map_err(|error| error.to_string()),
        Framing::Named(name) => Ok(AnyFormat::preset(name).unwrap()),
    }
}

/// Reads one whole frame.
fn read<'a>(format: &AnyFormat, frame: &'a [u8]) -> Message<'a> {
    let (total, message) = format.read(frame).unwrap().unwrap();
    assert_eq!(total, frame.len());
    message
}

/// The frame that answers `request` so.
fn answer(format: &AnyFormat, request: &Message<'_>, id: Option<u32>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let message = Message {
        id: id.or(request.id),
        body: Cow::Borrowed(body),
        ..*request
    };
    format.write(&message, &mut out).unwrap();
    out
}

/// The frame that says this to somebody who has not asked.
fn push(format: &AnyFormat, id: u32, body: &[u8]) -> Vec<u8> {
    let message = Message {
        id: Some(id),
        ..Message::default()
    };
    answer(format, &message, None, body)
}

#[test]
fn real_protocols_are_layouts() {
    let formats = examples();
    let [modbus, mqtt, mysql, diameter, dubbo, ..] = &formats[..] else {
        panic!("five and netty's")
    };
    let asked = b"\x15\x01\x00\x00\x00\x06\xff\x03\x00\x04\x00\x01";
    let request = read(modbus, asked);
    assert_eq!((request.id, request.sequence), (Some(3), 0x1501));
    assert_eq!(*request.body, [0, 4, 0, 1]);
    let reply = b"\x15\x01\x00\x00\x00\x05\xff\x03\x02\x00\x05";
    assert_eq!(answer(modbus, &request, None, &[2, 0, 5]), reply);
    let unit_9 = b"\x00\x07\x00\x00\x00\x03\x09\x04\x00";
    assert_eq!(answer(modbus, &read(modbus, unit_9), None, &[0]), unit_9);
    assert_eq!(push(modbus, 1, &[]), b"\x00\x00\x00\x00\x00\x02\xff\x01");

    let ping = read(mqtt, b"\xc0\x00");
    assert_eq!(ping.id, Some(12));
    assert_eq!(answer(mqtt, &ping, Some(13), &[]), b"\xd0\x00");
    assert_eq!(push(mqtt, 3, &[7; 321])[..3], [0x30, 0xc1, 2]);
    assert_eq!(read(mqtt, b"\x82\x01x").id, Some(8), "flags are not the id");
    assert_eq!(read(mqtt, &push(mqtt, 3, &[7; 16_384])).body.len(), 16_384);

    let ping = read(mysql, b"\x01\x00\x00\x00\x0e");
    assert_eq!(ping.id, Some(0x0e));
    let ok = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00";
    assert_eq!(answer(mysql, &ping, Some(0), &ok[5..]), ok);

    let ids = b"\x00\x00\x00\x04\x11\x22\x33\x44\x55\x66\x77\x88";
    let watchdog = [&b"\x01\x00\x00\x14\xc0\x00\x01\x18"[..], ids].concat();
    let code = b"\x00\x00\x01\x0c\x40\x00\x00\x0c\x00\x00\x07\xd1";
    let request = read(diameter, &watchdog);
    assert_eq!(request.id, Some(280));
    let well = [&b"\x01\x00\x00\x20\x40\x00\x01\x18"[..], ids, code].concat();
    assert_eq!(answer(diameter, &request, None, code), well);
    assert_eq!(push(diameter, 280, &[])[4], 0x80, "a request");

    let id = b"\x00\x00\x00\x00\x00\x00\x00\x2a";
    let call = [&b"\xda\xbb\xc2\x00"[..], id, b"\x00\x00\x00\x02hi"].concat();
    let result = [&b"\xda\xbb\x02\x14"[..], id, b"\x00\x00\x00\x03yes"].concat();
    assert_eq!(answer(dubbo, &read(dubbo, &call), None, b"yes"), result);

    for (format, frame) in formats[..5]
        .iter()
        .zip([&asked[..], b"\xc0\x00", ok, &well, &call])
    {
        let heard = every_cut(format, &[frame, frame].concat());
        assert_eq!(heard.messages.len(), 2);
        assert!(heard.refused.is_none(), "{heard:?}");
    }
}

#[test]
fn the_examples_of_netty_are_layouts() {
    let hello = b"HELLO, WORLD";
    let heads: [&[u8]; 7] = [
        b"\x00\x0c",
        b"\x00\x0c",
        b"\x00\x0e",
        b"\xca\xfe\x00\x00\x0c",
        b"\x00\x00\x0c\xca\xfe",
        b"\xca\x00\x0c\xfe",
        b"\xca\x00\x10\xfe",
    ];
    for (format, head) in examples()[5..].iter().zip(heads) {
        let frame = [head, hello].concat();
        let heard = every_cut(format, &frame.repeat(3));
        let bodies: Vec<_> = heard.messages.iter().map(|one| &*one.body).collect();
        assert_eq!(bodies, [hello; 3], "{head:02x?}");
        assert_eq!(push(format, 0, hello), frame);
    }
}

/// What netty writes for its fifth example: the length does not count two bytes
/// that the body begins with.
#[test]
fn a_positive_adjust_is_bytes_that_the_length_does_not_count() {
    let format = format("{ length = { offset = 0, bytes = 3, adjust = 2 } }").unwrap();
    let frame = b"\x00\x00\x0c\xca\xfeHELLO, WORLD";
    let heard = every_cut(&format, frame);
    assert_eq!(*heard.messages[0].body, frame[3..]);
    let short = Message {
        body: Cow::Borrowed(b"x"),
        ..Message::default()
    };
    let refused = format.write(&short, &mut Vec::new());
    assert_eq!(refused, Err(Unsendable::TooShort { len: 1, min: 2 }));
    assert_eq!(push(&format, 0, b"xy"), b"\x00\x00\x00xy");
}

#[test]
fn trailers_are_written_and_checked() {
    for (trailer, expected) in [
        (
            r#"{ checksum = "crc32" }"#,
            &b"\x00\x02hi\xd8\x93\x2a\xac"[..],
        ),
        (
            r#"{ checksum = "crc32", endian = "little", hex = "0d 0a" }"#,
            b"\x00\x02hi\xac\x2a\x93\xd8\r\n",
        ),
        (
            r#"{ checksum = "sum8", covers = "all" }"#,
            b"\x00\x02hi\xd3",
        ),
        (r#"{ checksum = "xor8" }"#, b"\x00\x02hi\x01"),
        (r#"{ hex = "03" }"#, b"\x00\x02hi\x03"),
    ] {
        let text = format!("{{ length = {{ offset = 0, bytes = 2 }}, trailer = {trailer} }}");
        let format = format(&text).unwrap();
        assert_eq!(push(&format, 0, b"hi"), expected, "{trailer}");
        let heard = every_cut(&format, &expected.repeat(2));
        assert_eq!(heard.messages.len(), 2);
        let constant = trailer.contains("hex");
        let mut bad = expected.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        let refusal = format.read(&bad).unwrap_err();
        let expected = if constant {
            Counter::BadConstant
        } else {
            Counter::BadChecksum
        };
        assert_eq!(refusal.counter, expected, "{trailer}");
    }
    let counted = "{ length = { offset = 0, bytes = 1, adjust = -1 }, trailer = { hex = \"03\" } }";
    assert_eq!(push(&format(counted).unwrap(), 0, b"hi"), b"\x03hi\x03");
    let all =
        "{ length = { offset = 0, bytes = 1, counts = \"all\" }, trailer = { hex = \"03\" } }";
    assert_eq!(push(&format(all).unwrap(), 0, b"hi"), b"\x04hi\x03");
}

#[test]
fn the_end_may_be_a_delimiter_or_a_fixed_place_or_a_varint() {
    let bodies = |text: &str, stream: &[u8]| {
        let heard = every_cut(&format(text).unwrap(), stream);
        assert!(heard.refused.is_none(), "{text}: {:?}", heard.refused);
        let bodies = heard.messages.into_iter();
        bodies.map(|one| one.body.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        bodies("line", b"GET a\r\nb\n\n\r\nrest"),
        [&b"GET a"[..], b"b", b"", b""]
    );
    let dollars = bodies("{ delimiter = \"$_$\" }", b"a$_b$_$$$_$$_$half$_");
    assert_eq!(
        dollars,
        [&b"a$_b"[..], b"$", b""].map(|body: &[u8]| body.to_vec())
    );
    assert_eq!(bodies("{ fixed = 3 }", b"abcdefg"), [b"abc", b"def"]);
    let varint = [
        b"\x00\x02hi\xac\x02".to_vec(),
        vec![b'x'; 300],
        b"\x05part".to_vec(),
    ]
    .concat();
    assert_eq!(
        bodies("varint", &varint)[1..],
        [b"hi".to_vec(), vec![b'x'; 300]]
    );
    let write = |text: &str, body: &'static [u8]| {
        let message = Message {
            body: Cow::Borrowed(body),
            ..Message::default()
        };
        format(text).unwrap().write(&message, &mut Vec::new())
    };
    let delimited = Err(Unsendable::Body("has the delimiter in it"));
    assert_eq!(write("line", b"two\nlines"), delimited);
    assert_eq!(write("{ delimiter = \"$_$\" }", b"a$_"), delimited);
    assert!(
        write("line", b"ends\r").is_err() && write("{ delimiter = \"\\n\" }", b"ends\r").is_ok()
    );
    assert_eq!(
        write("{ fixed = 3 }", b"ab"),
        Err(Unsendable::TooShort { len: 2, min: 3 })
    );
    assert_eq!(
        write("{ fixed = 3 }", b"abcd"),
        Err(Unsendable::TooLong { len: 4, max: 3 })
    );
}

#[test]
fn what_no_frame_can_be_is_refused_alike_in_any_pieces() {
    let magic = "{ length = { offset = 4, bytes = 2 }, constants = { offset = 0, hex = \"cafe\" }, \
                 max = \"9B\" }";
    let behind = "{ length = { offset = 0, bytes = 2 }, constants = { offset = 2, hex = \"cafe\" }, \
                  max = \"9B\" }";
    let version = "{ fixed = 2, constants = { offset = 0, hex = \"40\", mask = \"f0\" } }";
    let text = "{ delimiter = \"\\n\", constants = { offset = 0, hex = \"3e20\" }, max = \"9B\" }";
    for (text, bad, units, counter) in [
        (
            magic,
            &b"\xca\xfe\0\0\0\x01x\xca\xff"[..],
            1,
            Counter::BadConstant,
        ),
        (magic, b"\xca\xfe\0\0\xff\xff", 0, Counter::TooLong),
        (magic, b"\xcb\xfe\0\0\xff\xff", 0, Counter::BadConstant),
        (behind, b"\xff\xff\xff", 0, Counter::TooLong),
        (behind, b"\0\x01\xff", 0, Counter::BadConstant),
        (version, b"\x4f_\x5f_", 1, Counter::BadConstant),
        (text, b"> a\n>\n", 1, Counter::BadConstant),
        (text, b"> a\n\n", 1, Counter::BadConstant),
        (text, b"> 1234567\n", 0, Counter::TooLong),
        (
            "{ delimiter = \"\\n\", id = { offset = 0, bytes = 2 } }",
            b"ab\na\nab",
            1,
            Counter::TooShort,
        ),
        (
            "{ length = { offset = 0, varint = true, bytes = 2 } }",
            b"\x00\xff\xff\xff",
            1,
            Counter::Malformed,
        ),
        (
            "{ length = { offset = 0, varint = true }, max = \"9B\" }",
            b"\x7f",
            0,
            Counter::TooLong,
        ),
    ] {
        let heard = every_cut(&format(text).unwrap(), bad);
        assert_eq!(heard.messages.len(), units, "{text}");
        assert_eq!(heard.refused.unwrap().counter, counter, "{text}");
    }
}

#[test]
fn a_layout_that_cannot_work_is_refused_in_words() {
    for (text, expected) in [
        ("{ }", "one of `length`, `delimiter` and `fixed`"),
        (
            "{ fixed = 3, delimiter = \"x\" }",
            "one of `length`, `delimiter` and `fixed`",
        ),
        ("{ length = { offset = 0 } }", "length.bytes is missing"),
        ("{ fixed = 3, crlf = true }", "crlf needs a delimiter"),
        (
            "{ fixed = 3, trailer = { } }",
            "neither `checksum` nor `hex`",
        ),
        ("{ delimiter = \"\" }", "delimiter has 0 bytes"),
        (
            "{ delimiter = \"\\n\", trailer = { hex = \"00\" } }",
            "a trailer needs a length",
        ),
        (
            "{ fixed = 3, constants = { offset = 0, hex = \"0\" } }",
            "written in hex",
        ),
        (
            "{ fixed = 3, constants = { offset = 0, hex = \"\" } }",
            "constants.0 has 0 bytes",
        ),
        (
            "{ fixed = 3, constants = { offset = 0, hex = \"01\", mask = \"0101\" } }",
            "equally many",
        ),
        (
            "{ fixed = 3, echo = { offset = 0, bytes = 2, push = \"01\" } }",
            "echo.0 has 2 bytes and 1 in `push`",
        ),
        (
            "{ fixed = 3, echo = { offset = 0, bytes = 1, mask = \"0101\" } }",
            "echo.0 has 1 bytes and 2 in `mask`",
        ),
        (
            "{ fixed = 3, echo = { offset = 0, bytes = 2, add = 1 } }",
            "echo.0.add needs a whole byte",
        ),
        (
            "{ fixed = 30, echo = { offset = 0, bytes = 17 } }",
            "at most 16 fit",
        ),
        (
            "{ fixed = 3, id = { offset = 0, bytes = 9, mask = 1 } }",
            "id.bytes is 9",
        ),
        (
            "{ fixed = 3, id = { offset = 0, bytes = 1, mask = 0x0100 } }",
            "id.mask is 0x100",
        ),
        (
            "{ fixed = 3, id = { offset = 0, bytes = 1, mask = 5 } }",
            "one run of bits",
        ),
        (
            "{ fixed = 3, id = { offset = 0, bytes = 1 }, echo = { offset = 0, bytes = 1 } }",
            "echo.0 and id overlap",
        ),
        (
            "{ fixed = 3, id = { offset = 2, bytes = 2 } }",
            "fixed is 3 bytes, must be from 4",
        ),
        (
            "{ length = { offset = 1, varint = true }, id = { offset = 2, bytes = 1 } }",
            "behind what stands before the varint",
        ),
        (
            "{ length = { offset = 0, varint = true, counts = \"all\" } }",
            "it counts the body",
        ),
        (
            "{ length = { offset = 0, varint = true, bytes = 6 } }",
            "from 1 to 5 of a varint",
        ),
        (
            "{ length = { offset = 0, varint = true, bytes = 4 }, max = \"4B\" }",
            "must be over the 4 around a body",
        ),
        (
            "{ length = { offset = 0, bytes = 1 }, trailer = { hex = \"00\" }, max = \"258B\" }",
            "cannot express",
        ),
        (
            "{ fixed = 3, id = { offset = 0, bytes = 1 }, heartbeat = 0 }",
            "heartbeat has a body of 0 bytes",
        ),
    ] {
        let error = format(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let two = "{ fixed = 2, id = { offset = 0, bytes = 1, mask = 0xf0 }, \
               constants = [{ offset = 0, hex = \"02\", mask = \"0f\" }] }";
    assert_eq!(
        push(&format(two).unwrap(), 3, b"!"),
        b"\x32!",
        "two in one byte"
    );
}

fn serve(frame: &str) -> Server {
    let app = App::<()>::new()
        .opened(|c| c.send(7, "hello"))
        .on(3, |_, body: Bytes| body)
        .otherwise(|_, body: Bytes| body);
    Server::configured(app, &[("listener.0.frame", frame)]).unwrap()
}

#[test]
fn constants_and_echoes_are_kept_on_the_wire() {
    let server = serve(
        "{ length = { offset = 6, bytes = 2 }, id = { offset = 4, bytes = 1 }, \
         constants = { offset = 0, hex = \"cafe01\" }, \
         echo = [{ offset = 3, bytes = 1, push = \"80\" }, { offset = 5, bytes = 1 }] }",
    );
    let mut client = Client::to(&server);
    assert_eq!(client.exactly(13), b"\xca\xfe\x01\x80\x07\x00\x00\x05hello");
    let asked = b"\xca\xfe\x01\x21\x03\x22\x00\x02hi";
    client.send(asked);
    assert_eq!(client.exactly(asked.len()), asked);
    client.send(&[&asked[..], b"\xca\xfe\x02"].concat());
    assert_eq!(client.rest(), asked);
    assert_eq!(server.read(Counter::BadConstant), 1);
}

#[test]
fn lines_are_served_however_they_begin() {
    let server = serve("line");
    let mut client = Client::to(&server);
    assert_eq!(client.exactly(6), b"hello\n");
    client.send(b"GET / HTTP/1.1\r\nPOST x\n");
    assert_eq!(client.exactly(22), b"GET / HTTP/1.1\nPOST x\n");
    client.send(&[b'x'; 64 << 10]);
    assert_eq!(client.rest(), b"");
    assert_eq!(server.read(Counter::TooLong), 1);
}
