//! C5: whatever an operator and a bad day can do to the daemon, twice a second, in
//! an order that the seed decides.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, signal};
use crate::load::{Failure, Load, Speech};
use crate::row::Row;
use crate::{Outcome, Scale};

const PACE: Duration = Duration::from_millis(500);

/// No request may wait so long.
const STUCK: Duration = Duration::from_secs(2);

const CONFIGURATION: &str = "workers = 4\nshutdown_timeout = \"4s\"";

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    Kill,
    Pause,
    Term,
    Reload,
    BadReload,
    Reopen,
    Upgrade,
    More,
    Fewer,
}

const EVENTS: [Event; 9] = [
    Event::Kill,
    Event::Pause,
    Event::Term,
    Event::Reload,
    Event::BadReload,
    Event::Reopen,
    Event::Upgrade,
    Event::More,
    Event::Fewer,
];

/// A worker that was killed, and the ports of the clients it had then.
struct Death {
    at: Instant,
    clients: HashSet<u16>,
}

/// The scenario.
pub(crate) fn soak(scale: &Scale) -> Outcome<Row> {
    let daemon = Daemon::start(CONFIGURATION)?;
    let time = Duration::from_secs(u64::try_from(scale.of(600, 20))?);
    let load = Load::start(daemon.address, Speech::Frames, 16, 16);
    let (mut random, mut deaths, mut count) = (scale.seed, Vec::new(), 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        let next = Instant::now() + PACE;
        let event = EVENTS[draw(&mut random, EVENTS.len())];
        happen(&daemon, event, &mut random, &mut deaths)?;
        count += 1;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    // The number of workers is the file's again.
    daemon.configure(CONFIGURATION)?;
    daemon.wait("a last reload", || Ok(daemon.ask("reload").is_ok()))?;
    let settled = daemon.settled(4);
    let zombies = daemon.zombies()?;
    let tally = load.stop();
    daemon.ask("stop")?;
    let orphans = daemon.processes().len();
    let judged = |one: &&Failure| !excused(one, &deaths);
    let lost: Vec<String> = tally
        .failures
        .iter()
        .filter(judged)
        .map(|one| {
            let at = (one.from - begun).as_secs_f64();
            format!("at {at:.3} s: {} after {:?}", one.reason, one.to - one.from)
        })
        .collect();
    let text = format!(
        "{} failed beside {} of killed workers, of {}; slowest {} ms; {zombies} zombies, \
         {orphans} orphans; {count} events, seed {}",
        lost.len(),
        tally.failures.len() - lost.len(),
        tally.served,
        tally.slowest.as_millis(),
        scale.seed
    );
    // A short run may share its machine: there a request that waits is a failure
    // only when its client gives up.
    let stuck = !scale.short && tally.slowest >= STUCK;
    let good = lost.is_empty() && zombies + orphans == 0 && !stuck;
    let mut reasons = lost;
    reasons.extend(settled.as_ref().err().map(ToString::to_string));
    Ok(Row::new(good && settled.is_ok(), text).reasons(reasons))
}

fn happen(daemon: &Daemon, event: Event, random: &mut u64, deaths: &mut Vec<Death>) -> Outcome<()> {
    let Ok((workers, _)) = daemon.serving() else {
        return Ok(()); // Between two masters.
    };
    let Some(&worker) = workers.get(draw(random, workers.len().max(1))) else {
        return Ok(());
    };
    let master = daemon.master()?;
    match event {
        Event::Kill => deaths.push(kill(worker)?),
        Event::Term => signal(worker, Signal::SIGTERM),
        Event::Pause => {
            signal(worker, Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(300));
            signal(worker, Signal::SIGCONT);
        }
        Event::Reload => signal(master, Signal::SIGHUP),
        Event::BadReload => {
            daemon.configure("no_such_key = 1")?;
            let _it_is_refused = daemon.ask("reload");
            daemon.configure(CONFIGURATION)?;
        }
        Event::Reopen => signal(master, Signal::SIGUSR1),
        Event::Upgrade => signal(master, Signal::SIGUSR2),
        Event::More if workers.len() < 6 => signal(master, Signal::SIGTTIN),
        Event::Fewer if workers.len() > 2 => signal(master, Signal::SIGTTOU),
        Event::More | Event::Fewer => {}
    }
    Ok(())
}

/// Kills a worker, and says whose connections went with it: it is stopped first,
/// so that they stay the same meanwhile.
fn kill(worker: i32) -> Outcome<Death> {
    signal(worker, Signal::SIGSTOP);
    let deadline = Instant::now() + STUCK;
    while !is_stopped(worker) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let clients = clients(worker);
    let at = Instant::now();
    signal(worker, Signal::SIGKILL);
    clients.map(|clients| Death { at, clients })
}

/// Whether no thread of it runs any more.
fn is_stopped(worker: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{worker}/task"));
    threads.into_iter().flatten().flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| stat.contains(") T "))
    })
}

/// The ports of the clients whose sockets the process has.
fn clients(worker: i32) -> Outcome<HashSet<u16>> {
    let all = fs::read_dir(format!("/proc/{worker}/fd"))?.flatten();
    let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: HashSet<String> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp")?;
    let port = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = columns.get(2)?.split_once(':')?;
        let has = sockets.contains(*columns.get(9)?);
        u16::from_str_radix(port, 16).ok().filter(|_| has)
    };
    Ok(table.lines().filter_map(port).collect())
}

/// Whether the request was on its way over a connection of a worker that was
/// killed meanwhile, or was the first after.
fn excused(failure: &Failure, deaths: &[Death]) -> bool {
    deaths.iter().any(|death| {
        let meanwhile = death.at <= failure.to && failure.from <= death.at + PACE;
        meanwhile
            && failure
                .port
                .is_some_and(|port| death.clients.contains(&port))
    })
}

/// A number below `end`; the generator is a 64-bit xorshift.
fn draw(state: &mut u64, end: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let end = u64::try_from(end).expect("a count fits");
    usize::try_from((*state >> 16) % end).expect("below a usize")
}
