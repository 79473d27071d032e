//! A process of the daemon is killed at each of the worst moments, again and
//! again: whatever it had in its hands, others go on, and nothing stays counted.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purlin::sys::fault::Spot;
use serde_json::Value;

use crate::daemon::{Daemon, alone, connect, counter, echo, wait_until};

const WORKERS: usize = 4;

/// Connections that one address may have.
const PER_IP: usize = 12;

/// Short connections in a row: the turn goes on after 64.
const BURST: usize = 80;

/// Connects, talks and leaves; an error is another's death.
fn visit(daemon: &Daemon) -> io::Result<()> {
    let mut stream = connect(&daemon.address)?;
    echo(&mut stream, 1)
}

/// Has the daemon do everything that it does until somebody has died.
fn provoke(daemon: &Daemon, spot: Spot) {
    wait_until(&format!("somebody dies at {spot:?}"), || {
        for _ in 0..BURST {
            let _killed_under_way = visit(daemon);
            if daemon.has_killed(spot) {
                break;
            }
        }
        if !daemon.has_killed(spot) {
            let master = i32::try_from(daemon.master.id()).unwrap();
            // While a reload goes on, another one only waits.
            kill(Pid::from_raw(master), Signal::SIGHUP).unwrap();
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until && !daemon.has_killed(spot) {
                let _killed_under_way = visit(daemon);
            }
        }
        daemon.has_killed(spot).then_some(())
    });
}

/// Waits until a client is served, by another master if it must be; gives how
/// many masters that took.
fn recover(daemon: &mut Daemon, spot: Spot) -> u64 {
    let mut masters = 0;
    wait_until(
        &format!("a client is served after a death at {spot:?}"),
        || {
            masters += u64::from(revive(daemon));
            visit(daemon).ok()
        },
    );
    masters
}

/// Starts another master if there is none.
fn revive(daemon: &mut Daemon) -> bool {
    let is_gone = daemon.master.try_wait().unwrap().is_some();
    if is_gone {
        daemon.start_again();
    }
    is_gone
}

/// Everybody serves, nobody is left over, and the turn has one owner. Gives how
/// many masters that took: the death of one may be seen a moment later.
fn settle(daemon: &mut Daemon, spot: Spot) -> u64 {
    let mut masters = 0;
    wait_until(&format!("all is well after a death at {spot:?}"), || {
        masters += u64::from(revive(daemon));
        let status = daemon.status()?;
        let workers = status["workers"].as_array()?;
        let owners = workers.iter().filter(|one| one["has_turn"] == true);
        let serving = daemon.workers(&status).len();
        let zero = |name| counter(&status, name) == 0;
        let well = (serving, workers.len(), owners.count()) == (WORKERS, WORKERS, 1)
            && status["starting"] == Value::Null
            && zero("connections_live")
            && zero("connections_quarantined");
        well.then_some(())
    });
    masters
}

/// The address has room for exactly as many as it may have.
fn count(daemon: &Daemon, spot: Spot) {
    let mut open = Vec::new();
    for n in 0..PER_IP {
        let mut stream = connect(&daemon.address).unwrap();
        let talked = echo(&mut stream, n);
        talked.unwrap_or_else(|error| {
            panic!("{n} of {PER_IP} after {spot:?}: {error}\n{}", daemon.log())
        });
        open.push(stream);
    }
    let status = daemon.settled_status();
    assert_eq!(
        counter(&status, "connections_live"),
        PER_IP as u64,
        "{spot:?}"
    );
    let one_more = connect(&daemon.address).and_then(|mut stream| echo(&mut stream, PER_IP));
    assert!(one_more.is_err(), "one too many was let in after {spot:?}");
}

#[test]
fn deaths_at_the_worst_moments_lock_nothing_and_leave_nothing_counted() {
    let _alone = alone();
    let rounds = std::env::var("KILL_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let mut daemon = Daemon::configured(&format!(
        "workers = {WORKERS}\nallow_root = true\nlimits.connections_per_ip = {PER_IP}\n"
    ));
    let (mut longest, mut masters) = (Duration::ZERO, 0);
    for round in 0..rounds {
        for &spot in Spot::ALL.iter().filter(|spot| !spot.is_between_workers()) {
            settle(&mut daemon, spot);
            // Not always the first visitor.
            daemon.kill_at(spot, 1 + round % 3);
            provoke(&daemon, spot);
            let died = Instant::now();
            let before = masters;
            masters += recover(&mut daemon, spot);
            // Another start is no hand-over, and has its own time.
            if masters == before {
                longest = longest.max(died.elapsed());
            }
            masters += settle(&mut daemon, spot);
            count(&daemon, spot);
        }
    }
    let deaths = rounds * Spot::ALL.len() as u64;
    println!(
        "{deaths} deaths, {masters} of a master; without these, longest until served {longest:?}"
    );
    assert!(
        masters >= rounds,
        "{masters} of {rounds} rounds hit a master"
    );
}
