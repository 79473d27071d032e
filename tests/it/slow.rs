//! Clients that keep the server waiting, and those whom they must not harm.

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, comm, wait_for};

/// 1 echoes; 2 answers with much.
fn app() -> App<()> {
    let much = Bytes::from(vec![b'm'; 20_000]);
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, move |_, _: Bytes| much.clone())
}

#[test]
fn a_message_that_drips_is_cut_and_one_that_flows_is_not() {
    let keys = [
        ("limits.receive_rate", "1KiB"),
        ("limits.receive_grace", "300ms"),
    ];
    let server = Server::configured(app(), &keys).unwrap();
    let mut client = Client::to(&server);
    client.call(1, b"whole");
    client.send(&comm(1, b"drips")[..3]);
    let mut slow = 0_u32;
    while server.read(Counter::ReceiveTooSlow) == 0 {
        // Whole messages all the time: slow is a message, not a connection.
        let mut good = Client::to(&server);
        assert_eq!(good.call(1, &[7; 20_000]).1.len(), 20_000);
        slow += 1;
    }
    assert!(slow > 1, "cut at once");
    client.until_closed();
}

#[test]
fn who_never_reads_is_bounded_and_then_cut() {
    let keys = [("limits.send_stall", "500ms")];
    let server = Server::configured(app(), &keys).unwrap();
    let mut client = Client::to(&server);
    client.send(&comm(2, b"").repeat(2000));
    wait_for(&server, Counter::SendStalled, 1);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Buffered, 0);
    client.until_closed();
}
