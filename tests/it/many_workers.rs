//! What a program says and asks of all workers: lists, one connection a user, jobs
//! that one worker runs for all.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use purlin::dispatch::{Group, Page};
use purlin::prelude::*;
use purlin::{Counter, Server};

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, signal};

const TWO: &[(&str, &str)] = &[("workers", "2")];

fn groups(page: &Page<Group>) -> String {
    let all = page.all.iter();
    let all = all.map(|one| format!("{} {}", one.name, one.count));
    all.collect::<Vec<_>>().join(", ")
}

/// Joins a room, binds to a user, lists both and members.
fn lists() -> App<()> {
    App::<()>::new()
        .on(1, |c, room: String| c.join(&room))
        .on(2, |c, user: String| c.bind(&user))
        .on(3, |c, after: String| {
            let after = Some(&after[..]).filter(|after| !after.is_empty());
            groups(&c.hub().rooms(after, 2))
        })
        .on(4, |c, (): ()| groups(&c.hub().users(None, 100)))
        .on(5, |c, room: String| {
            let page = c.hub().room(&room).members(None, 100);
            assert!(page.is_complete && !page.has_more);
            let mut users: Vec<_> = page.all.into_iter().filter_map(|one| one.user).collect();
            users.sort_unstable();
            users.join(" ")
        })
}

#[test]
fn rooms_users_and_members_of_all_workers_are_listed_a_page_at_a_time() {
    let mut test = lists().test_with(TWO);
    for (n, user) in ["ann", "bob", "cid", "ann"].iter().enumerate() {
        let conn = test.connect_in(n % 2);
        test.send(conn, 2, *user);
        test.send(conn, 1, "all");
        test.send(conn, 1, format!("only {}", n % 3));
    }
    let asks = test.connect_in(1);
    let mut ask = |id, body: &str| {
        let body = test.call(asks, id, body.to_owned()).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert_eq!(ask(3, ""), "all 4, only 0 2");
    assert_eq!(ask(3, "only 0"), "only 1 1, only 2 1");
    assert_eq!(ask(3, "only 2"), "");
    assert_eq!(ask(4, ""), "ann 2, bob 1, cid 1");
    assert_eq!(ask(5, "all"), "ann ann bob cid");
    assert_eq!(ask(5, "only 0"), "ann ann");
    assert_eq!(ask(5, "nowhere"), "");
}

#[test]
fn members_come_in_pages_and_without_who_is_left_out() {
    let app = App::<()>::new()
        .on(1, |c, room: String| c.join(&room))
        .on(2, |c, (): ()| {
            let (mut after, mut names, mut pages) = (None, BTreeSet::new(), 0);
            loop {
                let room = c.hub().room("all").except(c.conn());
                let page = room.members(after, 7);
                assert!(page.is_complete && page.all.len() <= 7);
                pages += 1;
                after = page.all.last().map(|one| one.conn);
                names.extend(page.all.iter().map(|one| one.conn));
                if !page.has_more {
                    assert!(!names.contains(&c.conn()));
                    return format!("{} in {pages}", names.len());
                }
            }
        });
    let mut test = app.test_with(&[("workers", "3")]);
    let all: Vec<_> = (0..20).map(|n| test.connect_in(n % 3)).collect();
    for conn in &all {
        test.send(*conn, 1, "all");
    }
    assert_eq!(test.call(all[0], 2, ()).unwrap(), "19 in 3");
}

/// By real threads, of which the loop waits for nobody.
#[test]
fn an_event_loop_lists_its_own_and_says_that_it_is_not_all() {
    let list = |c: &mut Ctx<'_, ()>| {
        let page = c.hub().all().members(None, 100);
        format!("{} {}", page.all.len(), page.is_complete)
    };
    let app = App::<()>::new()
        .on(1, move |c, (): ()| list(c))
        .on_inline(2, move |c, (): ()| list(c))
        .on(3, |c, (): ()| c.conn().to_string());
    let keys = [("workers", "2"), ("listener.0.frame", "comm")];
    let server = Server::configured(app, &keys).unwrap();
    let mut clients: Vec<Client> = Vec::new();
    let mut rows = BTreeSet::new();
    while rows.len() < 2 {
        let mut client = Client::to(&server);
        let name = String::from_utf8(client.call(3, b"").1).unwrap();
        rows.insert(name.split('.').next().unwrap().to_owned());
        clients.push(client);
        assert!(clients.len() < 5000, "one worker accepts everybody");
    }
    let all = clients.len();
    let (_, whole) = clients[0].call(1, b"");
    assert_eq!(whole, format!("{all} true").into_bytes());
    // What comes while a turn is not over is the pool's as well, which waits.
    wait_until("an event loop was asked", || {
        let (_, part) = clients[0].call(2, b"");
        let part = String::from_utf8(part).unwrap();
        let (count, complete) = part.split_once(' ').unwrap();
        let count: usize = count.parse().unwrap();
        let is_part = count >= 1 && count < all;
        assert_eq!(complete == "false", is_part, "{part}");
        is_part
    });
}

#[test]
fn who_binds_himself_alone_ends_his_others_in_whatever_worker() {
    let app = App::<()>::new()
        .on(1, |c, user: String| {
            c.bind_only(&user, 9, "elsewhere").to_string()
        })
        .on(2, |c, user: String| c.bind(&user))
        .on(3, |c, user: String| c.hub().user(&user).count().to_string());
    let mut test = app.test_with(TWO);
    let conns: Vec<_> = (0..4).map(|n| test.connect_in(n % 2)).collect();
    test.send(conns[0], 2, "ann");
    test.send(conns[1], 2, "ann");
    test.send(conns[3], 2, "bob");
    assert_eq!(test.call(conns[2], 1, "ann").unwrap(), "2");
    for conn in &conns[..2] {
        assert_eq!(test.received(*conn), [(9, Bytes::from("elsewhere"))]);
        assert!(!test.is_open(*conn));
    }
    assert!(test.is_open(conns[2]) && test.is_open(conns[3]));
    assert_eq!(test.call(conns[3], 3, "ann").unwrap(), "1");
    // Who is bound afterwards may stay beside it.
    let late = test.connect_in(1);
    test.send(late, 2, "ann");
    assert_eq!(test.call(conns[3], 3, "ann").unwrap(), "2");
    assert_eq!(test.call(conns[2], 1, "ann").unwrap(), "1", "and he again");
    assert!(!test.is_open(late));
}

/// Many of one user come at once, through two workers: one is left, and it is one
/// that was told by nobody that it is not.
#[test]
fn of_many_who_come_at_once_one_is_left() {
    let app = App::<()>::new()
        .on(1, |c, user: String| {
            c.bind_only(&user, 9, "elsewhere").to_string()
        })
        .on(2, |c, (): ()| c.hub().user("ann").count().to_string());
    let keys = [("workers", "2"), ("listener.0.frame", "comm")];
    let server = Server::configured(app, &keys).unwrap();
    let mut asks = Client::to(&server);
    for round in 0..10 {
        let mut clients: Vec<Client> = (0..20).map(|_| Client::to(&server)).collect();
        for client in &mut clients {
            client.send(&comm(1, b"ann"));
        }
        // A reply, or before it what another one has said: all are accepted by then.
        let first: Vec<u16> = clients.iter_mut().map(|one| one.comm().0).collect();
        wait_until("one is left", || {
            server.read(Counter::Live) == 2 && asks.call(2, b"").1 == b"1"
        });
        let (mut left, mut told) = (0, 0);
        for (client, id) in clients.iter_mut().zip(first) {
            if id == 9 {
                told += 1;
                continue;
            }
            assert_eq!(id, 1);
            client.0.set_nonblocking(true).unwrap();
            let mut byte = [0];
            match client.0.peek(&mut byte) {
                Ok(0) => panic!("closed without a word"),
                Ok(_) => told += 1,
                Err(_) => left += 1,
            }
        }
        assert_eq!((left, told), (1, 19), "in round {round}");
        drop(clients);
        wait_until("it has left", || asks.call(2, b"").1 == b"0");
    }
}

#[test]
fn a_ticket_goes_along_with_its_connection() {
    let instance = Instance::mover("workers = 2\n");
    instance.must("start");
    let mut before = Client::connect(instance.address);
    assert_eq!(before.call(24, b"ann").1, b"0");
    let mut beside = Client::connect(instance.address);
    beside.call(12, b"ann");
    instance.must("reload");
    wait_until("the old ones have left", || instance.serves_with(2));
    let mut after = Client::connect(instance.address);
    assert_eq!(after.call(24, b"ann").1, b"2");
    for client in [&mut before, &mut beside] {
        assert_eq!(client.comm(), (100, b"another one".to_vec()));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(after.call(14, b"ann").1, b"ann".to_vec(), "pushed before");
    assert_eq!(after.comm().1, b"1");
}

#[test]
fn a_job_for_all_runs_once_a_period_wherever_a_worker_is_free() {
    static RUNS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let app = App::<()>::new().every_once("tidy", Duration::from_secs(8), |_, fence| {
        RUNS.lock().unwrap().push(fence);
    });
    let mut test = app.test_with(&[("workers", "3")]);
    test.advance(Duration::from_secs(7));
    assert!(RUNS.lock().unwrap().is_empty());
    for run in 1..=10 {
        test.advance(Duration::from_secs(8));
        assert_eq!(RUNS.lock().unwrap().len(), run);
    }
    let runs = RUNS.lock().unwrap();
    assert!(runs.is_sorted() && runs.windows(2).all(|two| two[0] < two[1]));
}

/// Numbers rise, and no two runs have the same; workers are killed, stopped and
/// replaced meanwhile.
#[test]
fn a_job_for_all_outlives_any_worker() {
    let instance = Instance::mover("workers = 3\n");
    instance.must("start");
    let runs = || {
        let text = std::fs::read_to_string(instance.path("runs")).unwrap_or_default();
        let words = text.lines().map(|line| line.split_once(' ').unwrap());
        let number = |word: &str| word.parse::<u64>().unwrap();
        let all: Vec<_> = words
            .map(|(fence, pid)| (number(fence), number(pid)))
            .collect();
        all
    };
    let more = |what: &str| {
        let before = runs().len();
        wait_until(what, || runs().len() > before + 3);
    };
    more("it runs");
    instance.settle();
    let last = |runs: &[(u64, u64)]| u32::try_from(runs.last().unwrap().1).unwrap();
    signal(last(&runs()), Signal::SIGKILL);
    more("it runs after a death");
    let stopped = last(&runs());
    signal(stopped, Signal::SIGSTOP);
    more("it runs beside a worker that is stopped");
    signal(stopped, Signal::SIGCONT);
    instance.must("reload");
    more("it runs after a reload");
    let began = Instant::now();
    let before = runs().len();
    std::thread::sleep(Duration::from_secs(2));
    let (count, time) = (runs().len() - before, began.elapsed());
    let most = usize::try_from(time.as_millis() / 100).unwrap() + 1;
    assert!(count <= most, "{count} runs in {time:?}");
    let runs = runs();
    let fences: BTreeSet<u64> = runs.iter().map(|(fence, _)| *fence).collect();
    assert_eq!(fences.len(), runs.len(), "a number was given twice");
}

/// A slow run is not overtaken: its worker holds the job for as long as it lives.
#[test]
fn a_job_for_all_is_never_beside_itself() {
    static AT_ONCE: AtomicU64 = AtomicU64::new(0);
    static MOST: AtomicU64 = AtomicU64::new(0);
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let app = App::<()>::new().every_once("slow", Duration::from_millis(40), |_, _| {
        MOST.fetch_max(AT_ONCE.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        AT_ONCE.fetch_sub(1, Ordering::SeqCst);
        RUNS.fetch_add(1, Ordering::SeqCst);
    });
    let server = Server::configured(app, &[("workers", "3")]).unwrap();
    wait_until("it has run", || RUNS.load(Ordering::SeqCst) >= 8);
    drop(server);
    assert_eq!(MOST.load(Ordering::SeqCst), 0, "beside itself");
}

#[test]
fn a_program_of_one_worker_refuses_more() {
    let app = || App::<()>::new().single_worker();
    let error = Server::configured(app(), &[("workers", "3")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--set workers=3: workers is 3, must be 1 or auto: the program keeps what it knows in one \
         worker (App::single_worker)"
    );
    for workers in ["1", "auto"] {
        let server = Server::configured(app(), &[("workers", workers)]).unwrap();
        assert_eq!(server.read(Counter::Live), 0);
    }
    let instance = Instance::owing("");
    instance.must("start");
    assert_eq!(instance.workers().len(), 1, "auto is one");
    let (code, text) = instance.refused(&["workers", "2"]);
    assert_eq!(code, 64);
    assert!(text.contains("App::single_worker"), "{text}");
    assert_eq!(instance.refused(&["workers", "+1"]).0, 64);
}
