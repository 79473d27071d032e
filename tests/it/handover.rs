//! Connections over a reload: they go on in the new workers, with all that they
//! had, and their clients notice nothing.

use std::collections::HashMap;
use std::fs;

use crate::harness::{Client, comm, wait_until};
use crate::instance::Instance;

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
fn reload(instance: &Instance, workers: usize) {
    instance.must("reload");
    wait_until("the old ones have left", || instance.serves_with(workers));
}

/// How often the hook ran.
fn hooks(instance: &Instance, name: &str) -> usize {
    let hooks = fs::read_to_string(instance.path("hooks")).unwrap_or_default();
    hooks.lines().filter(|line| *line == name).count()
}

#[test]
fn idle_connections_go_on_over_reloads_with_all_that_they_had() {
    let (count, reloads) = (300, 5);
    let instance = Instance::mover("workers = 2");
    instance.must("start");
    let mut clients = guests(&instance, count);
    for n in 0..reloads {
        reload(&instance, 2);
        for client in &mut clients {
            let said = (n + 1).to_string();
            assert_eq!(client.call(10, b""), (10, said.into_bytes()));
        }
    }
    assert_eq!(instance.counter("connections_closed"), 0);
    assert_eq!(instance.counter("connections_live"), count as u64);
    let moved = (count * reloads) as u64;
    assert_eq!(instance.counter("connections_handed_over"), moved);
    assert_eq!(instance.counter("connections_taken_over"), moved);
    assert_eq!(hooks(&instance, "opened"), count);
    assert_eq!(hooks(&instance, "closed"), 0);
    everybody_is_reached(&mut clients);
    drop(clients);
    wait_until("all have left", || hooks(&instance, "closed") == count);
}

/// Rooms and users reach everybody of their worker.
fn everybody_is_reached(clients: &mut [Client]) {
    let mut workers: HashMap<u32, Vec<usize>> = HashMap::new();
    for (n, client) in clients.iter_mut().enumerate() {
        workers.entry(client.who().0).or_default().push(n);
    }
    assert!(workers.len() > 1, "one worker has them all");
    for members in workers.values() {
        let (first, reached) = (members[0], members.len());
        ask(clients, first, (13, "lobby"), members, reached);
        for &n in members {
            ask(clients, first, (14, &format!("guest {n}")), &[n], 1);
        }
    }
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
