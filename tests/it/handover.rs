//! Connections over a reload: they go on in the new workers, with all that they
//! had, and their clients notice nothing. With `PURLIN_TEST_FULL` in the
//! environment, as many of them and as often as the goals say.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, either, wait_until};
use crate::http::{ask as ask_web, response};
use crate::instance::{Instance, Over, busy, signal};
use crate::per_ip::{fill, try_connect};

/// What the mover pushes.
const PUSH: u16 = 100;

/// So many clients of the mover, each in the room `lobby` and a user of its own,
/// and asked for `greeting` once.
fn guests(instance: &Instance, count: usize) -> Vec<Client> {
    let guest = |n: usize| {
        let mut client = Client::connect(instance.address);
        let name = format!("guest {n}");
        assert_eq!(client.call(11, b"lobby").1, b"lobby");
        assert_eq!(client.call(12, name.as_bytes()).1, name.as_bytes());
        client
    };
    (0..count).map(guest).collect()
}

/// Reloads, and waits until only the new workers are there.
pub(crate) fn reload(instance: &Instance, workers: usize) {
    instance.must("reload");
    wait_until("the old ones have left", || instance.serves_with(workers));
}

/// How often the hook ran.
fn hooks(instance: &Instance, name: &str) -> usize {
    let hooks = fs::read_to_string(instance.path("hooks")).unwrap_or_default();
    hooks.lines().filter(|line| *line == name).count()
}

/// What `arrived` saw each time: the user, the rooms, the state.
fn arrivals(instance: &Instance) -> Vec<String> {
    let hooks = fs::read_to_string(instance.path("hooks")).unwrap_or_default();
    let arrived = |line: &str| line.strip_prefix("arrived ").map(str::to_owned);
    hooks.lines().filter_map(arrived).collect()
}

/// Reloads again and again under idle clients in the room `lobby`.
fn over_reloads(top: &str, count: usize, reloads: usize) {
    let instance = Instance::mover(top);
    instance.must("start");
    let mut clients = guests(&instance, count);
    for n in 0..reloads {
        reload(&instance, 2);
        for client in &mut clients {
            assert_eq!(say(client), u32::try_from(n + 1).ok());
        }
    }
    // Once a move, and with all that they had.
    let mut arrivals = arrivals(&instance);
    arrivals.sort_unstable();
    let mut expected: Vec<String> = (0..reloads)
        .flat_map(|said| (0..count).map(move |n| format!("guest {n} [\"lobby\"] {said}")))
        .collect();
    expected.sort_unstable();
    assert!(arrivals == expected, "{} arrivals", arrivals.len());
    assert_eq!(instance.counter("connections_closed"), 0);
    assert_eq!(instance.counter("connections_live"), count as u64);
    let moved = (count * reloads) as u64;
    assert_eq!(instance.counter("connections_handed_over"), moved);
    assert_eq!(instance.counter("connections_taken_over"), moved);
    assert_eq!(hooks(&instance, "opened"), count);
    assert_eq!(hooks(&instance, "closed"), 0);
    let workers = everybody_is_reached(&mut clients);
    // The other ways of accepting promise nothing about who gets whom.
    assert!(workers > 1 || top.contains("accept"), "one worker has all");
    drop(clients);
    wait_until("all have left", || hooks(&instance, "closed") == count);
}

#[test]
fn idle_connections_go_on_over_reloads_with_all_that_they_had() {
    let (count, reloads) = either((300, 5), (1000, 20));
    over_reloads("workers = 2", count, reloads);
}

#[test]
fn idle_connections_go_on_however_they_were_accepted_and_are_read() {
    for mode in ["exclusive", "reuseport"] {
        let top = format!("workers = 2\naccept = \"{mode}\"\nworker.trigger = \"edge\"");
        over_reloads(&top, 60, 2);
    }
}

#[test]
fn idle_connections_go_on_over_upgrades_with_all_that_they_had() {
    let (count, upgrades) = either((200, 3), (1000, 5));
    let instance = Instance::mover(&format!("workers = 2\nlimits.connections_per_ip = {count}"));
    instance.must("start");
    let mut clients = guests(&instance, count);
    for n in 0..upgrades {
        instance.upgraded();
        for client in &mut clients {
            assert_eq!(say(client), u32::try_from(n + 1).ok());
        }
        assert!(try_connect(instance.address).is_none(), "one more got in");
    }
    assert_eq!(instance.counter("connections_closed"), 0);
    assert_eq!(instance.counter("connections_live"), count as u64);
    let moved = (count * upgrades) as u64;
    assert_eq!(instance.counter("connections_handed_over"), moved);
    assert_eq!(hooks(&instance, "opened"), count);
    assert_eq!(hooks(&instance, "closed"), 0);
    assert!(
        everybody_is_reached(&mut clients) > 1,
        "one worker has them all"
    );
}

/// Rooms and users reach everybody of their worker; gives how many workers there
/// are.
fn everybody_is_reached(clients: &mut [Client]) -> usize {
    let mut workers: HashMap<u32, Vec<usize>> = HashMap::new();
    for (n, client) in clients.iter_mut().enumerate() {
        workers.entry(client.who().0).or_default().push(n);
    }
    let all: Vec<usize> = (0..clients.len()).collect();
    for members in workers.values() {
        let first = members[0];
        ask(clients, first, (13, "lobby"), &all, all.len());
        for &n in &all {
            ask(clients, first, (14, &format!("guest {n}")), &[n], 1);
        }
    }
    workers.len()
}

/// Has `from` push to a room or a user, and sees it arrive with `members`.
fn ask(
    clients: &mut [Client],
    from: usize,
    (id, name): (u16, &str),
    members: &[usize],
    reached: usize,
) {
    clients[from].send(&comm(id, name.as_bytes()));
    let push = (PUSH, name.as_bytes().to_vec());
    let mut own = vec![(id, reached.to_string().into_bytes())];
    for &n in members {
        if n == from {
            own.push(push.clone());
        } else {
            assert_eq!(clients[n].comm(), push, "{name}");
        }
    }
    // The push and the answer come in any order.
    for _ in 0..own.len() {
        let came = clients[from].comm();
        let at = own.iter().position(|one| *one == came);
        own.remove(at.unwrap_or_else(|| panic!("{came:?} came, and not {own:?}")));
    }
}

/// How often the state was counted in, by now; `None`: the server closed.
fn say(client: &mut Client) -> Option<u32> {
    client.0.write_all(&comm(10, b"")).ok()?;
    let mut header = [0; 8];
    client.0.read_exact(&mut header).ok()?;
    let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
    let body = client.exactly_or_closed(length - 8)?;
    Some(String::from_utf8(body).unwrap().parse().unwrap())
}

#[test]
fn clients_that_ask_without_end_see_no_reload_fail() {
    let _busy = busy();
    let reloads = either(15, 100);
    let instance = Instance::mover("workers = 2");
    instance.must("start");
    let (over, kept, short) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..16 {
            let (instance, over, kept) = (&instance, &over, &kept);
            scope.spawn(move || {
                let mut client = Client::connect(instance.address);
                for said in 1.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    // Half of them on the event loop.
                    if n % 2 == 0 {
                        assert_eq!(client.call(1, b"kept"), (1, b"kept".to_vec()));
                    } else {
                        assert_eq!(say(&mut client), Some(said));
                    }
                    kept.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    instance.echo();
                    short.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _when_done_or_panicking = Over(&over);
        for _ in 0..reloads {
            instance.must("reload");
            std::thread::park_timeout(Duration::from_millis(300));
        }
    });
    println!("{kept:?} requests kept alive, {short:?} short connections");
    assert_eq!(instance.status()["generation"], reloads + 1);
    assert!(instance.counter("connections_handed_over") >= 16);
}

#[test]
fn a_message_that_has_begun_is_whole_in_the_next_generation() {
    for cut in [1, 7, 8, 9, 5000] {
        let instance = Instance::started("workers = 2");
        let request = comm(1, &[b'x'; 20_000]);
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(instance.address)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            // The first bytes of half of them are yet to be told from HTTP.
            if n % 2 == 0 {
                client.call(1, b"GET / HTTP/1.1");
            }
            client.send(&request[..cut]);
        }
        wait_until("the beginnings have arrived", || {
            instance.counter("bytes_buffered") == 4 * cut as u64
        });
        reload(&instance, 2);
        assert_eq!(instance.counter("bytes_buffered"), 4 * cut as u64);
        for client in &mut clients {
            client.send(&request[cut..]);
            assert_eq!(client.exactly(request.len()), request, "cut at {cut}");
        }
        assert_eq!(instance.counter("connections_handed_over"), 4);
    }
}

#[test]
fn one_port_for_frames_and_requests_goes_on_with_both() {
    let instance = Instance::new("workers = 2");
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    instance.write(&text.replace("[log]", "protocol = \"auto\"\n[log]"));
    instance.must("start");
    let connect = || Client::connect(instance.address);
    let (mut web, mut frames, mut silent, mut undecided) =
        (connect(), connect(), connect(), connect());
    undecided.send(b"GE");
    wait_until("it has arrived", || instance.counter("bytes_received") == 2);
    for n in 0..4 {
        let (head, _) = ask_web(&mut web, "GET", "/nowhere");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        assert!(!head.to_lowercase().contains("connection: close"), "{head}");
        // A request that has begun goes along, too.
        web.send(b"GET /x HTTP/1.1\r\nH");
        assert_eq!(frames.call(1, b"GET / x"), (1, b"GET / x".to_vec()));
        wait_until("it has arrived", || {
            instance.counter("bytes_buffered") == 20
        });
        reload(&instance, 2);
        web.send(b"ost: x\r\n\r\n");
        assert!(response(&mut web).0.starts_with("HTTP/1.1 404 "), "{n}");
    }
    assert_eq!(silent.call(1, b"at last"), (1, b"at last".to_vec()));
    undecided.send(b"T /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(response(&mut undecided).0.starts_with("HTTP/1.1 404 "));
    assert_eq!(instance.counter("connections_handed_over"), 16);
    assert_eq!(instance.counter("connections_closed"), 0);
}

#[test]
fn deadlines_go_on_where_they_were() {
    let instance = Instance::started("workers = 1\nheartbeat.timeout = \"5s\"");
    let mut client = Client::connect(instance.address);
    client.call(1, b"alive");
    let spoke = Instant::now();
    std::thread::park_timeout(Duration::from_secs(3));
    instance.must("reload");
    let reloaded = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(spoke.elapsed() >= Duration::from_millis(4900));
    assert!(reloaded.elapsed() < Duration::from_millis(4500));
    assert_eq!(instance.counter("connections_handed_over"), 1);
    assert_eq!(instance.counter("connections_closed_heartbeat_timeout"), 1);
}

#[test]
fn each_address_is_counted_once_over_reloads() {
    const LIMIT: usize = 20;
    let instance = Instance::started("workers = 2\nlimits.connections_per_ip = 20");
    let mut clients = fill(instance.address, LIMIT);
    assert_eq!(clients.len(), LIMIT);
    for _ in 0..3 {
        reload(&instance, 2);
        assert!(try_connect(instance.address).is_none(), "one more got in");
        clients.truncate(LIMIT - 5);
        wait_until("the places are free", || {
            clients.extend(try_connect(instance.address));
            clients.len() == LIMIT
        });
        assert!(try_connect(instance.address).is_none(), "one more got in");
    }
    drop(clients);
    wait_until("all have left", || {
        instance.counter("connections_live") == 0
    });
    assert_eq!(fill(instance.address, LIMIT).len(), LIMIT);
}

/// Kills a worker of generation `generation` in the middle of a handover that
/// `slow` drags out; gives how many of `count` clients lost their connection.
fn killed_in_the_middle(slow: &str, generation: u64, count: usize) -> usize {
    let limit = count + 5;
    let instance = Instance::mover(&format!("workers = 2\nlimits.connections_per_ip = {limit}"));
    fs::write(instance.path(slow), "4").unwrap();
    instance.must("start");
    let mut clients = guests(&instance, count);
    instance.settle();
    instance.must("reload");
    wait_until("some have moved", || {
        instance.counter("connections_taken_over") >= 40
    });
    let status = instance.status();
    let victim = status["workers"].as_array().unwrap().iter();
    let mut victim = victim.filter(|one| one["generation"] == generation);
    let victim = victim.next().expect("it moves for a second");
    signal(
        u32::try_from(victim["pid"].as_u64().unwrap()).unwrap(),
        Signal::SIGKILL,
    );
    wait_until("two workers serve", || instance.serves_with(2));
    let alive: Vec<bool> = clients.iter_mut().map(|one| say(one) == Some(1)).collect();
    let mut alive = alive.into_iter();
    clients.retain(|_| alive.next().unwrap());
    let left = clients.len();
    wait_until("nobody else is left", || {
        instance.counter("connections_live") == left as u64
    });
    // Each of them counts once, and nobody else does.
    clients.extend(fill(instance.address, limit));
    assert_eq!(clients.len(), limit);
    count - left
}

#[test]
fn a_new_worker_that_is_killed_costs_what_it_had_taken_over() {
    let _busy = busy();
    let lost = killed_in_the_middle("slow_take_over", 2, 400);
    assert!((1..400).contains(&lost), "{lost}");
}

#[test]
fn an_old_worker_that_is_killed_costs_what_it_still_had() {
    let _busy = busy();
    let lost = killed_in_the_middle("slow_hand_over", 1, 400);
    assert!((1..400).contains(&lost), "{lost}");
}

#[test]
fn without_handover_connections_end_as_ever() {
    let instance = Instance::mover("workers = 2\nhandover = false");
    instance.must("start");
    let mut clients = guests(&instance, 10);
    instance.must("reload");
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    drop(clients);
    wait_until("the old ones have left", || instance.serves_with(2));
    assert_eq!(instance.counter("connections_handed_over"), 0);
    assert_eq!(hooks(&instance, "closed"), 10);
}

/// Why a connection stays, what to do with it before, and what to change in the
/// configuration.
type Case = (&'static str, fn(&Instance, &mut Client), [&'static str; 2]);

#[test]
fn what_cannot_go_along_ends_as_ever_and_is_counted_with_its_reason() {
    let nothing = ["", ""];
    let cases: [Case; 6] = [
        ("timer", |_, client| drop(client.call(15, b"")), nothing),
        (
            "denied",
            |_, _| {},
            ["[log]", "deny = [\"127.0.0.0/8\"]\n[log]"],
        ),
        ("listener", |_, _| {}, ["[log]", "frame = \"zinx\"\n[log]"]),
        ("listener", |_, _| {}, ["127.0.0.77:", "127.0.0.78:"]),
        (
            "state",
            |instance, _| never(instance, "slow_take_over"),
            nothing,
        ),
        ("state", |_, _| {}, nothing),
    ];
    for (n, (reason, before, [from, to])) in cases.into_iter().enumerate() {
        let instance = Instance::mover("workers = 1");
        if n == 5 {
            never(&instance, "slow_hand_over");
        }
        instance.must("start");
        let mut clients = guests(&instance, 10);
        (clients.iter_mut()).for_each(|client| before(&instance, client));
        let text = fs::read_to_string(instance.path("conf")).unwrap();
        instance.write(&text.replacen(from, to, 1));
        instance.must("reload");
        for client in &mut clients {
            assert_eq!(client.rest(), b"", "{reason} {n}");
        }
        drop(clients);
        wait_until("the old ones have left", || instance.serves_with(1));
        let counter = format!("connections_not_handed_over_{reason}");
        assert_eq!(instance.counter(&counter), 10, "{n}");
        assert_eq!(instance.counter("connections_handed_over"), 0, "{n}");
        assert_eq!(hooks(&instance, "closed"), 10, "{n}");
    }
}

/// From now on, no state of a new worker goes along.
fn never(instance: &Instance, file: &str) {
    fs::write(instance.path(file), "never").unwrap();
}

#[test]
fn a_full_worker_takes_what_fits_and_the_rest_ends_as_ever() {
    let instance = Instance::mover("workers = 1");
    instance.must("start");
    let mut clients = guests(&instance, 10);
    instance.configure("workers = 1\nworker.connections_max = 4");
    reload(&instance, 1);
    let alive = clients.iter_mut().filter_map(say).count();
    // For a while as many again as are let in.
    assert_eq!(alive, 8);
    assert_eq!(instance.counter("connections_handed_over"), 8);
    assert_eq!(instance.counter("connections_not_handed_over_full"), 2);
    assert_eq!(instance.counter("connections_live"), 8);
    let line = "2 (connections_not_handed_over_full)";
    assert!(instance.log().contains(line), "{}", instance.log());
    // Nobody is let in before fewer are there.
    let mut late = Client::connect(instance.address);
    late.send(&comm(1, b"late"));
    assert_eq!(instance.counter("connections_live"), 8);
    clients.drain(..).for_each(drop);
    assert_eq!(late.comm(), (1, b"late".to_vec()));
}

#[test]
fn what_arrived_says_comes_before_what_was_partly_received() {
    let instance = Instance::mover("workers = 1");
    instance.must("start");
    let mut client = guests(&instance, 1).remove(0);
    assert_eq!(client.call(12, b"greeted").1, b"greeted");
    let says = comm(10, b"");
    client.send(&says[..3]);
    reload(&instance, 1);
    assert_eq!(client.comm(), (PUSH, b"arrived".to_vec()));
    client.send(&says[3..]);
    assert_eq!(client.comm(), (10, b"1".to_vec()));
    // Who came in here has not come from elsewhere.
    let _new = guests(&instance, 3);
    assert_eq!(arrivals(&instance), ["greeted [\"lobby\"] 0"]);
}

#[test]
fn who_arrives_in_a_panic_is_closed_and_served_nothing() {
    let instance = Instance::mover("workers = 1");
    instance.must("start");
    let mut clients = guests(&instance, 2);
    assert_eq!(clients[0].call(12, b"feared").1, b"feared");
    let says = comm(10, b"");
    clients[0].send(&says[..3]);
    reload(&instance, 1);
    assert_eq!(clients[0].rest(), b"");
    wait_until("it was closed", || hooks(&instance, "closed") == 1);
    assert_eq!(say(&mut clients[1]), Some(1));
    assert_eq!(instance.counter("messages_panicked"), 1);
}

#[test]
fn who_is_busy_moves_when_the_reply_was_given() {
    let instance = Instance::mover("workers = 1");
    instance.must("start");
    let mut client = guests(&instance, 1).remove(0);
    let before = client.who().0;
    client.send(&comm(16, b"1500"));
    wait_until("it works", || hooks(&instance, "working") == 1);
    instance.must("reload");
    assert_eq!(client.comm(), (16, b"1500".to_vec()));
    wait_until("the old ones have left", || instance.serves_with(1));
    assert_ne!(client.who().0, before);
    assert_eq!(say(&mut client), Some(1));
    assert_eq!(instance.counter("connections_handed_over"), 1);
}

#[test]
fn a_push_on_the_way_arrives_behind_the_connection() {
    let instance = Instance::mover("workers = 1");
    fs::write(instance.path("slow_take_over"), "400").unwrap();
    instance.must("start");
    let mut clients = guests(&instance, 5);
    // Pushes when the others are on their way, and is busy until then.
    clients[0].send(&comm(17, b"800"));
    wait_until("it works", || hooks(&instance, "working") == 1);
    instance.must("reload");
    for client in &mut clients[1..] {
        assert_eq!(client.comm(), (PUSH, b"lobby".to_vec()));
    }
    wait_until("the old ones have left", || instance.serves_with(1));
    assert_eq!(instance.counter("connections_handed_over"), 5);
    assert_eq!(instance.counter("stale"), 0);
}

#[test]
fn a_worker_that_is_one_too_many_gives_its_connections_to_the_others() {
    let instance = Instance::mover("workers = 3");
    instance.must("start");
    let mut clients = guests(&instance, 60);
    for left in [2, 1] {
        signal(instance.master().unwrap(), Signal::SIGTTOU);
        wait_until("one has left", || instance.serves_with(left));
    }
    for client in &mut clients {
        assert_eq!(say(client), Some(1));
    }
    assert_eq!(instance.counter("connections_closed"), 0);
}

#[test]
fn a_named_timer_goes_along_over_a_reload_and_runs_once() {
    timers_go_along(|instance| instance.must("reload"));
}

#[test]
fn a_named_timer_goes_along_over_an_upgrade_and_runs_once() {
    timers_go_along(Instance::upgraded);
}

fn timers_go_along(over: impl Fn(&Instance)) {
    let instance = Instance::mover("workers = 1");
    instance.must("start");
    let mut clients = guests(&instance, 3);
    for (n, client) in clients.iter_mut().enumerate() {
        let user = format!("user {n}").into_bytes();
        assert_eq!(client.call(12, &user).1, user);
        // The first is due on the way or behind it, the second never.
        let millis = ["200", "100000000", "1500"][n].as_bytes();
        assert_eq!(client.call(18, millis).1, millis);
    }
    over(&instance);
    for n in [0, 2] {
        let user = format!("user {n}").into_bytes();
        assert_eq!(clients[n].comm(), (100, user));
    }
    wait_until("the old ones have left", || instance.serves_with(1));
    let counter = |name: &str| instance.counter(&format!("connections_{name}"));
    assert_eq!(
        (counter("handed_over"), counter("not_handed_over_timer")),
        (3, 0)
    );
    for client in &mut clients {
        assert_eq!(client.call(1, b"and no push").1, b"and no push");
    }
}
