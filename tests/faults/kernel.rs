//! One system call in a hundred, chosen by chance, returns an error that its
//! manual page names as passing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use purlin::sys::fault::Point;

use crate::daemon::{Daemon, alone, connect, counter, echo, wait_until};

/// One call in a hundred, in parts per million.
const ONE_PER_CENT: u64 = 10_000;

/// Messages of one connection.
const MESSAGES: usize = 20;

/// Clients at a time.
const CLIENTS: usize = 4;

/// Everything that workers and master call while they serve.
const SERVING: [Point; 5] = [
    Point::Accept,
    Point::Wait,
    Point::Register,
    Point::Receive,
    Point::Send,
];

/// What clients met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    answered: u64,
    broken: u64,
}

/// Connects, talks, leaves, again and again for `time`.
fn load(address: &str, time: Duration) -> Met {
    let over = AtomicBool::new(false);
    let client = || {
        let mut met = Met::default();
        while !over.load(Ordering::Relaxed) {
            let talked = connect(address).and_then(|mut stream| {
                (0..MESSAGES).try_for_each(|number| {
                    echo(&mut stream, number)?;
                    met.answered += 1;
                    Ok(())
                })
            });
            met.broken += u64::from(talked.is_err());
        }
        met
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        let each = clients.into_iter().map(|client| client.join().unwrap());
        each.fold(Met::default(), |sum, met| Met {
            answered: sum.answered + met.answered,
            broken: sum.broken + met.broken,
        })
    })
}

/// CPU a reply, in nanoseconds, and what clients met.
fn cost(daemon: &Daemon, time: Duration) -> (f64, Met) {
    let before = daemon.cpu();
    let met = load(&daemon.address, time);
    let used = daemon.cpu() - before;
    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    let answered = met.answered as f64;
    (used.as_secs_f64() * 1e9 / answered, met)
}

#[test]
fn faults_of_the_kernel_cost_connections_and_nothing_else() {
    let seconds = std::env::var("FAULT_SECONDS").map_or(10, |text| text.parse().unwrap());
    let _alone = alone();
    let daemon = Daemon::start();
    let before = daemon.workers(&daemon.settled_status());
    let (quiet, calm) = cost(&daemon, Duration::from_secs(3));
    assert_eq!(calm.broken, 0);

    daemon.fail(&SERVING, ONE_PER_CENT);
    let (faulty, met) = cost(&daemon, Duration::from_secs(seconds));
    println!("CPU a reply: {quiet:.0} ns, with faults {faulty:.0} ns; {calm:?}, {met:?}");
    assert!(met.broken > 0, "no fault was met: nothing was tested");
    assert!(faulty < 1.5 * quiet, "{faulty:.0} ns against {quiet:.0} ns");

    // Nobody asks for anything: whoever spins because of an error shows now.
    let idle = daemon.cpu();
    thread::sleep(Duration::from_secs(2));
    let spent = daemon.cpu() - idle;
    assert!(spent < Duration::from_millis(500), "idle, used {spent:?}");

    daemon.fail(&SERVING, 0);
    let healed = Instant::now();
    let mut last = Met::default();
    wait_until("a hundred connections in a row are served", || {
        (0..100).try_for_each(|number| {
            let talked = connect(&daemon.address).and_then(|mut at| echo(&mut at, number));
            last.answered += u64::from(talked.is_ok());
            last.broken += u64::from(talked.is_err());
            talked.ok()
        })
    });
    println!(
        "served without a failure {:?} after the faults",
        healed.elapsed()
    );

    // Nobody died, and every connection and message is accounted for.
    let gone = wait_until("everybody is gone", || {
        let status = daemon.status()?;
        let zero = |name| counter(&status, name) == 0;
        (zero("connections_live") && zero("connections_quarantined")).then_some(status)
    });
    assert_eq!(daemon.workers(&gone), before, "{}", daemon.log());
    let count = |name| counter(&gone, name);
    assert_eq!(count("connections_accepted"), count("connections_closed"));
    assert_eq!(count("connections_closed"), count("connections_recycled"));
    assert_eq!(count("bytes_buffered"), 0);
    // A connection that broke had at most one message on its way.
    let answered = calm.answered + met.answered + last.answered;
    let handled = count("messages_handled");
    let all = answered..=answered + met.broken + last.broken;
    assert!(all.contains(&handled), "{handled} handled, {all:?} sent");
}

/// `fork` fails every second time while workers are killed: each is replaced in
/// the end, and the master lives.
#[test]
fn a_fork_that_fails_is_tried_again() {
    let daemon = Daemon::start();
    daemon.fail(&[Point::Fork], 500_000);
    for turn in 0..6 {
        // Those that served less than a second are replaced with hesitation.
        thread::sleep(Duration::from_millis(1100));
        let before = daemon.workers(&daemon.settled_status());
        let victim = before[turn % 2];
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(victim).unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        wait_until("the worker is replaced", || {
            let now = daemon.workers(&daemon.status()?);
            (now.len() == 2 && !now.contains(&victim)).then_some(())
        });
    }
    daemon.fail(&[Point::Fork], 0);
    let talk = connect(&daemon.address).and_then(|mut stream| echo(&mut stream, 1));
    talk.unwrap();
    let log = daemon.log();
    assert!(log.contains("fork"), "no fork has failed: {log}");
}
