//! Formats in code, on a server: the codecs of the examples, by the exact bytes
//! of their specifications.

use std::borrow::Cow;

use purlin::client::Client;
use purlin::prelude::*;
use purlin::protocol::frame::{AnyFormat, Codec, Coded, Message, every_cut};
use purlin::protocol::{Refusal, Unsendable};
use purlin::scoreboard::Counter;
use purlin::{App, Server};

use crate::harness;

#[path = "../../examples/jt808/codec.rs"]
#[allow(dead_code, reason = "an example has more than one test of it uses")]
mod jt808;
#[path = "../../examples/resp/codec.rs"]
#[allow(dead_code, reason = "an example has more than one test of it uses")]
mod resp;

use jt808::Jt808;
use resp::Resp;

fn coded(codec: impl Codec) -> AnyFormat {
    Coded::new("tried", codec).into()
}

/// The examples of Redis' documentation.
#[test]
fn resp_is_cut_alike_in_any_pieces() {
    let stream =
        b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n*1\r\n$4\r\nPING\r\nPING\r\n:48293\r\n$-1\r\n\
        *0\r\n*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n$0\r\n\r\n";
    let heard = every_cut(&coded(Resp), stream);
    assert!(heard.refused.is_none());
    let ids: Vec<_> = heard.messages.iter().map(|one| one.id).collect();
    assert_eq!(ids, [0, 1, 1, 0, 0, 0, 0, 0].map(Some));
    assert_eq!(
        resp::arguments(&heard.messages[0].body),
        [&b"LLEN"[..], b"mylist"]
    );
    for (wrong, units) in [
        (&b"+OK\r\n*1\r\n$3\r\nGETxx"[..], 1),
        (b"+OK\r\n*x\r\n", 1),
        (b"\x00\x00\r\n", 0),
        (b"+O\rK\r\n", 0),
    ] {
        let heard = every_cut(&coded(Resp), wrong);
        assert_eq!(heard.messages.len(), units, "{wrong:?}");
        assert_eq!(heard.refused.unwrap().counter, Counter::Malformed);
    }
}

#[test]
fn resp_is_served_and_errors_are_its_own() {
    let app = App::<()>::new()
        .codec("resp", Resp)
        .on(1, |_, _: Bytes| Bytes::from_static(b"+PONG\r\n"))
        .on(2, |_, body: Bytes| {
            resp::bulk(resp::arguments(&body).get(1).copied())
        })
        .on(3, |_, _: Bytes| -> Result<(), Error> {
            Err(Error::new(404, "no\r\nkey"))
        });
    let server = Server::configured(app, &[("listener.0.frame", "resp")]).unwrap();
    let mut client = harness::Client::to(&server);
    client.send(b"*2\r\n$4\r\necho\r\n$2\r\nhi\r\nPING\r\nGET x\r\n+?\r\n");
    let expected = b"$2\r\nhi\r\n+PONG\r\n-ERR no  key\r\n-ERR ";
    assert_eq!(client.exactly(expected.len()), expected);
}

/// The escapes of the standard, 4.2.1, and a heartbeat that needs one.
#[test]
fn jt808_is_what_the_standard_shows() {
    let (plain, mut escaped) = ([0x30, 0x7e, 0x08, 0x7d, 0x55], Vec::new());
    jt808::escape(&plain, &mut escaped);
    assert_eq!(escaped, [0x30, 0x7d, 0x02, 0x08, 0x7d, 0x01, 0x55]);
    assert_eq!(jt808::unescape(&escaped).unwrap(), plain);
    let heartbeat = b"\x7e\x00\x02\x00\x00\x01\x38\x00\x13\x80\x00\x00\x7d\x02\xd6\x7e";
    let answer =
        b"\x7e\x80\x01\x00\x05\x01\x38\x00\x13\x80\x00\x00\x00\x00\x7d\x02\x00\x02\x00\x52\x7e";
    let heard = every_cut(&coded(Jt808), &[&heartbeat[..], answer, heartbeat].concat());
    assert!(heard.refused.is_none());
    let ids: Vec<_> = heard.messages.iter().map(|one| one.id).collect();
    assert_eq!(ids, [2, 0x8001, 2].map(Some));
    assert_eq!(*heard.messages[1].body, [0, 0, 0, 0x7e, 0, 2, 0]);
    for wrong in [&b"\x7e\x7e"[..], b"x", &heartbeat[..15]] {
        let whole = [heartbeat, wrong].concat();
        let heard = every_cut(&coded(Jt808), &whole);
        assert_eq!(heard.messages.len(), 1);
        assert_eq!(heard.refused.is_some(), wrong.len() < 15, "{wrong:02x?}");
    }
    let app = App::<()>::new()
        .codec("jt808", Jt808)
        .on(2, |_, message: Bytes| {
            let body = [&[0, 0], &message[..2], &[0, 2, 0]].concat();
            Reply::with(0x8001, body)
        });
    let server = Server::configured(app, &[("listener.0.frame", "jt808")]).unwrap();
    let mut client = harness::Client::to(&server);
    client.send(heartbeat);
    assert_eq!(client.exactly(answer.len()), answer);
    let mut bad = heartbeat.to_vec();
    bad[3] ^= 1;
    client.send(&bad);
    assert_eq!(client.rest(), b"");
    assert_eq!(server.read(Counter::Malformed), 1);
}

#[test]
fn a_client_speaks_what_its_server_speaks() {
    let app = || {
        App::<()>::new()
            .codec("resp", Resp)
            .on(1, |_, _: Bytes| Bytes::from_static(b"PING\r\n"))
            .on(3, |_, body: Bytes| body)
            .otherwise(|_, body: Bytes| body)
    };
    let numbered = "{ length = { offset = 1, varint = true }, id = { offset = 0, bytes = 1, \
                    mask = 0xf0 }, sequence = { offset = 0, bytes = 1, mask = 0x0f } }";
    for text in ["line", numbered, "rpc"] {
        let server = Server::configured(app(), &[("listener.0.frame", text)]).unwrap();
        let client = Client::builder(server.addresses()[0].to_string()).layout_toml(text);
        let client = client.connect().unwrap();
        // More calls than four bits can number.
        for n in 0..40 {
            let reply: String = client.call(3, format!("call {n}")).unwrap();
            assert_eq!(reply, format!("call {n}"), "{text}");
        }
    }
    let server = Server::configured(app(), &[("listener.0.frame", "resp")]).unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).codec(Resp);
    let reply: String = client.connect().unwrap().call(1, "PING\r\n").unwrap();
    assert_eq!(reply, "PING\r\n");
}

/// One byte of length; 13 is more than it can bear.
struct Touchy;

impl Codec for Touchy {
    fn cut(&self, bytes: &[u8], _: &mut usize) -> Result<Option<usize>, Refusal> {
        assert_ne!(bytes.first(), Some(&13), "a codec with a fault");
        Ok(bytes.first().map(|&length| usize::from(length)))
    }

    fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let body = Cow::Borrowed(&frame[1..]);
        Ok(Message {
            body,
            ..Message::default()
        })
    }

    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        out.push(u8::try_from(message.body.len() + 1).expect("a short body"));
        out.extend_from_slice(&message.body);
        Ok(())
    }
}

#[test]
fn a_codec_that_panics_costs_one_connection() {
    let app = App::<()>::new()
        .codec("touchy", Touchy)
        .otherwise(|_, body: Bytes| body);
    let server = Server::configured(app, &[("listener.0.frame", "touchy")]).unwrap();
    let mut other = harness::Client::to(&server);
    for bad in [&b"\x0d"[..], b"\x00"] {
        let mut client = harness::Client::to(&server);
        client.send(&[b"\x03hi", bad].concat());
        assert_eq!(client.rest(), b"\x03hi", "{bad:?}");
    }
    assert_eq!(server.read(Counter::Malformed), 2);
    other.send(b"\x03hi");
    assert_eq!(other.exactly(3), b"\x03hi");
}

#[test]
fn a_name_that_is_none_is_refused_with_those_that_are() {
    let app = App::<()>::new().codec("resp", Resp);
    let error = Server::configured(app, &[("listener.0.frame", "rsep")]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("listener.0.frame is \"rsep\", must be one of comm, "),
        "{error}"
    );
    assert!(error.contains(", resp, or a table of fields"), "{error}");
}
