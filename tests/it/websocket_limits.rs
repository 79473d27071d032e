//! WebSockets that keep the server waiting, flood it, or are gone without a word.

use std::time::{Duration, Instant};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, address, comm, serve_with, wait_for, wait_until};
use crate::websocket::{frame, next, open, request};

/// 1 echoes; 2 answers with much; 3 pushes much.
fn serve(keys: &[(&str, &str)]) -> Server {
    let much = Bytes::from(vec![b'm'; 20_000]);
    let pushed = much.clone();
    let app = App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, move |_, _: Bytes| much.clone())
        .on(3, move |c, (): ()| {
            c.hub().conn(c.conn()).send(9, pushed.clone());
        })
        .on(4, |c, (): ()| c.close())
        .web(Web::<()>::new().messages("/echo", |_, message: Message| message));
    let web = [
        ("listener.0.protocol", "auto"),
        ("listener.0.websocket", "/ws"),
    ];
    serve_with(app, &[&web, keys].concat())
}

/// The close frame with this code.
fn close(code: u16) -> (u8, Vec<u8>) {
    (0x88, code.to_be_bytes().to_vec())
}

#[test]
fn a_message_that_drips_is_cut_with_1008_and_one_that_flows_is_not() {
    let keys = [
        ("limits.receive_rate", "1KiB"),
        ("limits.receive_grace", "300ms"),
    ];
    let server = serve(&keys);
    for path in ["/ws", "/echo"] {
        let (mut drips, mut good) = (open(&server, path), open(&server, path));
        let whole = comm(1, &[7; 20_000]);
        let before = server.read(Counter::ReceiveTooSlow);
        // Within a header, or within the second fragment.
        let message = [frame(0x02, &comm(1, b"drips")[..9]), frame(0x80, b"drip")].concat();
        drips.send(&message[..if path == "/ws" { 3 } else { 18 }]);
        let mut slow = 0_u32;
        while server.read(Counter::ReceiveTooSlow) == before {
            good.send(&frame(0x82, &whole));
            assert_eq!(next(&mut good), (0x82, whole.clone()));
            slow += 1;
        }
        assert!(slow > 1, "cut at once");
        assert_eq!(next(&mut drips), close(1008));
        drips.until_closed();
    }
}

#[test]
fn who_never_reads_replies_or_pushes_is_bounded_and_then_cut() {
    let keys = [
        ("limits.send_stall", "500ms"),
        ("limits.outbound_max", "1MiB"),
    ];
    for id in [2, 3] {
        let server = serve(&keys);
        let mut client = open(&server, "/ws");
        let asks = frame(0x82, &comm(id, b"")).repeat(2000);
        client.send(&asks);
        let mut most = 0;
        wait_until("it is cut", || {
            most = most.max(server.read(Counter::Buffered));
            server.read(Counter::SendStalled) == 1
        });
        // As much as may wait, and what one turn says.
        assert!(most < 4 << 20, "{most} bytes");
        wait_for(&server, Counter::Live, 0);
        wait_for(&server, Counter::Buffered, 0);
        client.until_closed();
    }
}

/// Pings and pongs, and frames without content, are as dear as messages.
#[test]
fn a_flood_of_anything_is_cut_with_1008() {
    let keys = [("limits.flood", "{ window = \"60s\", count = 10 }")];
    for (flood, is_answered) in [
        (frame(0x82, &comm(1, b"x")), true),
        (frame(0x89, b"x"), true),
        (frame(0x8a, b"x"), false),
        (frame(0x81, br#"{"id":1}"#), true),
    ] {
        let server = serve(&keys);
        let mut client = open(&server, "/ws");
        // The upgrade is the first of ten.
        client.send(&flood.repeat(20));
        let mut answers = 0;
        let last = loop {
            match next(&mut client) {
                (0x88, code) => break (0x88, code),
                (0x82, frames) => answers += frames.len() / comm(1, b"x").len(),
                (_, _) => answers += 1,
            }
        };
        assert_eq!(last, close(1008));
        // Pongs go out before the guard looks.
        assert!(!is_answered || answers >= 9, "{answers}");
        assert_eq!(is_answered, answers > 0);
        assert_eq!(server.read(Counter::Flooded), 1);
        client.until_closed();
        wait_for(&server, Counter::Live, 0);
    }
}

#[test]
fn who_keeps_others_waiting_for_its_place_is_told_1013() {
    const PLACES: usize = 8;
    let keys = [
        ("worker.connections_max", "8"),
        ("limits.make_room", "50ms"),
    ];
    let server = serve(&keys);
    let mut slow: Vec<Client> = (0..PLACES).map(|_| open(&server, "/ws")).collect();
    let whole = frame(0x82, &comm(1, b"drips"));
    slow.iter_mut().for_each(|client| client.send(&whole[..5]));
    wait_for(&server, Counter::Buffered, 5 * PLACES as u64);
    for n in 0..3_u8 {
        // Open until all of them are, so that each needs a place.
        let mut honest = Client::connect(address(&server));
        assert_eq!(honest.call(1, &[n]), (1, vec![n]));
        std::mem::forget(honest);
    }
    wait_for(&server, Counter::MadeRoom, 3);
    let mut told = 0;
    for client in &mut slow {
        client.0.set_nonblocking(true).unwrap();
        let is_told = client.0.peek(&mut [0]).is_ok();
        client.0.set_nonblocking(false).unwrap();
        if is_told {
            assert_eq!(next(client), close(1013));
            client.until_closed();
            told += 1;
        } else {
            client.send(&whole[5..]);
            assert_eq!(next(client), (0x82, comm(1, b"drips")));
        }
    }
    assert_eq!(told, 3);
}

/// Its cable is cut, or it hangs: neither bytes nor their end come any more.
#[test]
fn who_does_not_answer_a_close_is_waited_for_no_longer_than_said() {
    let server = serve(&[("limits.linger", "500ms")]);
    for (last, code) in [
        (frame(0x82, &comm(4, b"")), 1000),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x88, b"\x03\xe8"), 1000),
    ] {
        let since = Instant::now();
        let mut client = open(&server, "/ws");
        client.send(&last);
        assert_eq!(next(&mut client), close(code));
        // It keeps its end open, and says nothing.
        wait_for(&server, Counter::Live, 0);
        wait_for(&server, Counter::Quarantined, 0);
        assert!(since.elapsed() < Duration::from_secs(30));
        client.until_closed();
    }
}

/// An end of file in the middle of anything is the end of the connection, once what
/// came before is answered.
#[test]
fn who_has_sent_its_last_byte_is_answered_and_closed() {
    let server = serve(&[]);
    let whole = frame(0x82, &comm(1, b"whole"));
    for cut in [0, 1, 3, 7, whole.len() - 1] {
        let mut client = Client::to(&server);
        client.send(request("/ws", "").as_bytes());
        client.send(&[&whole[..], &whole[..cut]].concat());
        client.finish();
        let came = client.until_closed();
        let behind = came.windows(4).position(|four| four == b"\r\n\r\n");
        let came = &came[behind.expect("a head") + 4..];
        let reply = comm(1, b"whole");
        let expected = [&[0x82, u8::try_from(reply.len()).unwrap()], &reply[..]].concat();
        assert_eq!(
            came.get(..expected.len()),
            Some(&expected[..]),
            "{cut}: {came:?}"
        );
        wait_for(&server, Counter::Live, 0);
    }
}
