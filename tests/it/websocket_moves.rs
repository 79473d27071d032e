//! What a WebSocket is told while its worker drains.

use std::fs;

use crate::handover::reload;
use crate::harness::{Client, comm, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, head, next, request};

/// The program of `tests/programs/mover.rs` over WebSocket, with one worker.
fn mover() -> Instance {
    let instance = Instance::mover("workers = 1");
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\n[log]";
    instance.write(&text.replace("[log]", keys));
    instance
}

/// A WebSocket in the room `lobby` that has said something once.
fn guest(instance: &Instance) -> Client {
    let mut client = Client::connect(instance.address);
    client.send(request("/ws", "").as_bytes());
    assert!(head(&mut client).0.contains(" 101 "));
    for (id, body, reply) in [(11, "lobby", "lobby"), (10, "", "1")] {
        client.send(&frame(0x82, &comm(id, body.as_bytes())));
        assert_eq!(next(&mut client), (0x82, comm(id, reply.as_bytes())));
    }
    client
}

fn works(instance: &Instance) -> bool {
    let hooks = fs::read_to_string(instance.path("hooks")).unwrap_or_default();
    hooks.contains("working")
}

#[test]
fn a_close_on_the_way_arrives_with_its_code() {
    let instance = mover();
    fs::write(instance.path("slow_take_over"), "400").unwrap();
    instance.must("start");
    let mut guests: Vec<Client> = (0..5).map(|_| guest(&instance)).collect();
    // Closes the others when they are on their way, and is busy until then.
    guests[0].send(&frame(0x82, &comm(27, b"800")));
    wait_until("it works", || works(&instance));
    instance.must("reload");
    // How many it reached: those who move may be counted twice for a moment.
    let (first, reply) = next(&mut guests[0]);
    assert_eq!((first, &reply[2..4]), (0x82, &[0, 27][..]));
    for client in &mut guests[1..] {
        assert_eq!(next(client), (0x88, b"\x0f\xa1".to_vec()));
        client.send(&frame(0x88, b"\x0f\xa1"));
        assert_eq!(client.until_closed(), b"");
    }
    wait_until("the old ones have left", || instance.serves_with(1));
    assert_eq!(instance.counter("connections_handed_over"), 5);
    assert_eq!(instance.counter("stale"), 0);
}

#[test]
fn who_moves_is_told_nothing_and_who_cannot_is_told_1001() {
    let instance = mover();
    instance.must("start");
    let mut clients = [guest(&instance), guest(&instance)];
    reload(&instance, 1);
    for client in &mut clients {
        client.send(&frame(0x82, &comm(10, b"")));
        assert_eq!(next(client), (0x82, comm(10, b"2")));
    }
    // From now on no state goes along.
    fs::write(instance.path("slow_hand_over"), "never").unwrap();
    reload(&instance, 1);
    for client in &mut clients {
        client.send(&frame(0x82, &comm(10, b"")));
        assert_eq!(next(client), (0x82, comm(10, b"3")));
    }
    std::thread::scope(|scope| {
        let reloads = scope.spawn(|| instance.must("reload"));
        for client in &mut clients {
            assert_eq!(next(client), (0x88, b"\x03\xe9".to_vec()));
            client.send(&frame(0x88, b"\x03\xe9"));
            assert_eq!(client.until_closed(), b"");
        }
        reloads.join().unwrap();
    });
    assert_eq!(instance.counter("connections_handed_over"), 4);
}
