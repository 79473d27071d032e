//! Connections that change what they speak, more than once.

use std::sync::Arc;

use purlin::config::Config;
use purlin::protocol::Protocol;
use purlin::protocol::auto::Auto;
use purlin::protocol::frame::{Frames, Layout};
use purlin::protocol::http::{Http1, Limits};
use purlin::scoreboard::{Counter, Scoreboard};
use purlin::sys::socket::Address;
use purlin::worker;

use crate::accept_mutex::{Mode, begin};
use crate::harness::{Client, wait_until};

/// Frames, or what is frames or HTTP: whoever speaks HTTP changes twice.
fn twice() -> Arc<dyn Protocol> {
    let frames =
        |name: &str| -> Arc<dyn Protocol> { Arc::new(Frames::new(Layout::preset(name).unwrap())) };
    let http = Http1::new(Limits {
        line: 1000,
        head: 4000,
        fields: 20,
        body: 4000,
        memory: 4000,
    });
    let second = Auto::new(frames("rpc"), Arc::new(http));
    Arc::new(Auto::new(frames("comm"), Arc::new(second)))
}

#[test]
fn what_a_connection_speaks_may_change_twice() {
    let key = ("listener.0.address".into(), "127.0.0.1:0".into());
    let config = Config::load(None, std::iter::empty(), &[key]).unwrap();
    let protocols = purlin::listener::protocols(&config, purlin::listener::Codecs::NONE).unwrap();
    let mut listeners = worker::bind(&config, protocols).unwrap();
    listeners[0].protocol = twice();
    let Address::Tcp(at) = listeners[0].address else {
        panic!("TCP")
    };
    let board = Scoreboard::new(1).unwrap();
    let limits = worker::Limits::from(&config);
    let mut server = begin(Mode::Exclusive, &board, 0, listeners, limits);
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    // Slots are used again by the other kind, and nothing is left in them.
    for step in [request.len(), 1, 3] {
        let mut web = Client::connect(at);
        let mut frames = Client::connect(at);
        for _ in 0..2 {
            for part in request.chunks(step) {
                web.send(part);
            }
            let status = b"HTTP/1.1 404 ";
            assert_eq!(web.exactly(status.len()), status);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.extend(web.exactly(1));
            }
            let head = String::from_utf8(head).unwrap();
            let length = head.split_once("Content-Length: ").unwrap().1;
            web.exactly(length.split_once('\r').unwrap().0.parse().unwrap());
            assert_eq!(frames.call(1, b"once"), (1, b"once".to_vec()));
        }
    }
    wait_until("all are gone", || board.row(0).read(Counter::Live) == 0);
    assert_eq!(board.row(0).read(Counter::Accepted), 6);
    server.drain();
}
