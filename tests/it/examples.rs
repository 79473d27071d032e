//! The examples that people copy, with two workers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::harness::{Client, comm};
use crate::instance::Instance;

const TOP: &str = "workers = 2\naccept = \"reuseport\"\n";

fn ask(client: &mut Client, id: u16, body: &str) -> String {
    String::from_utf8(client.call(id, body.as_bytes()).1).unwrap()
}

#[test]
fn a_room_of_the_example_is_in_both_workers() {
    const NAME: u16 = 1;
    const JOIN: u16 = 2;
    const SAY: u16 = 3;
    const HEARD: u16 = 4;
    const GUESTS: usize = 12;
    let instance = Instance::example("rooms", TOP);
    instance.must("start");
    let mut guests: Vec<Client> = (0..GUESTS)
        .map(|_| Client::connect(instance.address))
        .collect();
    for (n, guest) in guests.iter_mut().enumerate() {
        assert_eq!(ask(guest, JOIN, "lobby"), (n + 1).to_string());
    }
    let status = instance.status();
    let workers = status["workers"].as_array().unwrap();
    let live: Vec<u64> = workers
        .iter()
        .map(|one| one["live"].as_u64().unwrap())
        .collect();
    assert!(live.iter().all(|live| *live > 0), "{live:?}");
    // Nobody has the name of another one, in whatever worker.
    let mut names = BTreeSet::new();
    for n in 0..GUESTS {
        guests[n].send(&comm(SAY, b"hello"));
        let mut heard = BTreeSet::new();
        for (m, guest) in guests.iter_mut().enumerate() {
            if m != n {
                let (id, line) = guest.comm();
                assert_eq!(id, HEARD);
                heard.insert(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(heard.len(), 1, "{heard:?}");
        names.extend(heard);
    }
    assert_eq!(names.len(), GUESTS, "{names:?}");
    guests[0].send(&comm(NAME, b"ann"));
    guests[0].send(&comm(SAY, b"bye"));
    for guest in &mut guests[1..] {
        assert_eq!(guest.comm(), (HEARD, b"ann: bye".to_vec()));
    }
}

#[test]
fn a_page_of_events_hears_what_is_said_in_either_worker() {
    let instance = Instance::example("events", TOP);
    instance.write(&format!(
        "{TOP}user = \"root\"\nallow_root = true\n[[listener]]\naddress = \"{}\"\n\
         protocol = \"auto\"\n",
        instance.address
    ));
    instance.must("start");
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(instance.address).unwrap();
        write!(stream, "{head}").unwrap();
        BufReader::new(stream)
    };
    let mut pages: Vec<_> = (0..4)
        .map(|_| ask("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .collect();
    for page in &mut pages {
        let mut line = String::new();
        while page.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
    }
    for n in 0..6 {
        let text = format!("word {n}");
        let mut said = ask(&format!(
            "POST /say HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        for page in &mut pages {
            let mut line = String::new();
            while !line.contains(&text) {
                line.clear();
                assert!(page.read_line(&mut line).unwrap() > 0);
                assert!(!line.contains("word") || line.contains(&text), "{line}");
            }
        }
    }
}
