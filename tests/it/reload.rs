//! Reloading: what is good takes over without a lost request, what is bad
//! changes nothing and is told with its place.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, Over, busy, under_load};
use crate::mutated::{self, Dice};

#[test]
fn a_good_reload_changes_what_it_says_and_a_bad_one_nothing() {
    let instance = Instance::started("workers = 2");
    instance.configure("workers = 3");
    instance.must("reload");
    wait_until("three serve", || instance.serves_with(3));
    assert_eq!(instance.status()["generation"], 2);
    let before = instance.workers();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let foreign = format!("workers = 3\n[[listener]]\naddress = \"{taken}\"");
    for (top, code, expected) in [
        ("workers = 0", 78, "conf:1:11: workers is 0"),
        ("wrokers = 1", 78, "conf:1:1: unknown key"),
        ("workers = ", 78, "conf:1:"),
        (
            "accept = \"exclusive\"",
            78,
            "conf:1:10: accept is \"mutex\"",
        ),
        ("control_socket = \"other\"", 69, "/other"),
        (&foreign, 69, "in use"),
    ] {
        // Held until the reload has failed.
        let _holder = (code == 69).then(|| TcpListener::bind(taken));
        instance.configure(top);
        let (found, text) = instance.refused(&["reload"]);
        assert_eq!(found, code, "{top}: {text}");
        assert!(text.contains(expected), "{top}: {text}");
        assert!(code != 78 || text.contains('^'), "{text}");
        instance.configure("");
        assert_eq!(instance.workers(), before, "{top}");
        instance.echo();
    }
    assert_eq!(instance.status()["generation"], 2);
}

#[test]
fn reloads_under_load_fail_no_new_connection_in_any_accept_mode() {
    for mode in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::started(&format!("workers = 2\naccept = \"{mode}\""));
        let served = under_load(&instance, || {
            for _ in 0..3 {
                instance.must("reload");
                wait_until("the old ones left", || instance.serves_with(2));
            }
        });
        assert!(served > 0);
        assert_eq!(instance.status()["generation"], 4);
    }
}

#[test]
fn a_request_that_was_received_is_answered_over_a_reload() {
    let instance = Instance::started("workers = 2\nhandover = false");
    let request = comm(1, b"last").repeat(10);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(instance.address)).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    instance.must("reload");
    for client in &mut clients {
        assert_eq!(client.rest(), request);
    }
}

/// Asks for an echo; `None` when the connection ended before the answer came.
fn ask(client: &Client, body: &[u8]) -> Option<()> {
    let request = comm(1, body);
    let mut reply = vec![0; request.len()];
    let mut socket = &client.0;
    let sent = socket.write_all(&request);
    sent.and_then(|()| socket.read_exact(&mut reply)).ok()?;
    assert_eq!(reply, request);
    Some(())
}

#[test]
fn thirty_reloads_lose_no_new_connection_and_no_request_that_was_received() {
    let _busy = busy();
    let instance = Instance::started("workers = 2");
    let (over, kept, ended) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let short = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(instance.address);
                while !over.load(Ordering::Relaxed) {
                    if ask(&client, b"kept").is_some() {
                        kept.fetch_add(1, Ordering::Relaxed);
                    } else {
                        ended.fetch_add(1, Ordering::Relaxed);
                        client = Client::connect(instance.address);
                    }
                }
            });
        }
        let _when_done_or_panicking = Over(&over);
        under_load(&instance, || (0..30).for_each(|_| instance.must("reload")))
    });
    let (kept, ended) = (kept.into_inner(), ended.into_inner());
    println!("30 reloads: {short} short connections, {kept} requests kept alive, {ended} ended");
    assert_eq!(instance.status()["generation"], 31);
    // What the server handled, its clients have the answer to.
    assert_eq!(instance.counter("messages_handled"), short + kept);
}

#[test]
fn a_reload_to_more_workers_than_there_is_room_for_says_so() {
    let instance = Instance::started("workers = 1");
    instance.configure("workers = 16");
    let (code, text) = instance.refused(&["reload"]);
    assert_eq!(code, 75, "{text}");
    for part in ["16 workers wanted", "room for 15", "stop and start"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(instance.serves_with(1));
    instance.configure("workers = 15");
    instance.must("reload");
    wait_until("fifteen serve", || instance.serves_with(15));
}

#[test]
fn three_hundred_mutated_files_are_taken_or_refused_with_their_place_and_all_are_served() {
    let _busy = busy();
    let instance = Instance::new("");
    let good = mutated::good(instance.address);
    instance.write(&good);
    instance.must("start");
    let holder = TcpListener::bind("127.0.0.78:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let mut dice = Dice(3);
    let mut good_ones = 0;
    let served = under_load(&instance, || {
        for _ in 0..300 {
            instance.write(&mutated::mutated(instance.address, &mut dice, &taken));
            let (tested, reloaded) = (instance.ask(&["-t"]), instance.ask(&["reload"]));
            good_ones += usize::from(mutated::verdict(&tested, &reloaded, &taken).unwrap());
        }
    });
    println!("{good_ones} of 300 files taken, {served} connections served meanwhile");
    assert!((10..=290).contains(&good_ones), "{good_ones}");
    instance.write(&good);
    instance.must("reload");
}
