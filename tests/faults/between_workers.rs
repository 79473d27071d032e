//! A worker is killed, or stopped for a moment, at each of the worst moments of what
//! workers say to each other's connections and of handing them over: those that live
//! hear everything once and in its order, and nobody else is held up.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purlin::sys::fault::Spot;

use crate::daemon::{Daemon, alone, connect, counter, wait_until};

const WORKERS: usize = 3;
const MEMBERS: usize = 9;

/// Ids of the mover.
const JOIN: u16 = 11;
const TELL: u16 = 22;
const COUNT: u16 = 26;
const PUSH: u16 = 100;

/// A connection, and what it has heard: of each who speaks numbers that rise.
struct Member {
    stream: TcpStream,
    /// What it is called as a speaker.
    own: u64,
    bytes: Vec<u8>,
    last: HashMap<u64, u64>,
    heard: BTreeSet<u64>,
    replies: Vec<String>,
}

impl Member {
    fn send(&mut self, id: u16, body: &str) -> io::Result<()> {
        let length = u16::try_from(8 + body.len()).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(id.to_be_bytes());
        frame.extend(
            if body.is_empty() {
                0
            } else {
                crc32fast::hash(body.as_bytes())
            }
            .to_be_bytes(),
        );
        frame.extend(body.as_bytes());
        self.stream.write_all(&frame)
    }

    /// Takes what has come within `time`; an error: it is gone.
    fn take(&mut self, time: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(time))?;
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.bytes.extend(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(length) = self.bytes.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if self.bytes.len() < length {
                break;
            }
            let frame: Vec<u8> = self.bytes.drain(..length).collect();
            let text = String::from_utf8(frame[8..].to_vec()).unwrap();
            if frame[2..4] == PUSH.to_be_bytes() {
                let (speaker, number) = text.split_once(' ').unwrap();
                let (speaker, number) = (speaker.parse().unwrap(), number.parse().unwrap());
                let last = self.last.insert(speaker, number);
                assert!(last < Some(number), "{number} behind {last:?} of {speaker}");
                self.heard.insert(number);
            } else {
                self.replies.push(text);
            }
        }
        Ok(())
    }

    fn call(&mut self, id: u16, body: &str) -> io::Result<String> {
        self.send(id, body)?;
        let until = Instant::now() + crate::daemon::PATIENCE;
        while self.replies.is_empty() && Instant::now() < until {
            self.take(Duration::from_millis(100))?;
        }
        Ok(self.replies.remove(0))
    }

    fn joined(daemon: &Daemon, own: u64) -> io::Result<Self> {
        let mut member = Self {
            stream: connect(&daemon.address)?,
            own,
            bytes: Vec::new(),
            last: HashMap::new(),
            heard: BTreeSet::new(),
            replies: Vec::new(),
        };
        member.call(JOIN, "lobby")?;
        Ok(member)
    }
}

/// Has the last number and says the next ones.
struct Room {
    members: Vec<Member>,
    /// How many there have been.
    had: u64,
    said: u64,
}

impl Room {
    /// Somebody says the next number. Who is gone is left out.
    fn say(&mut self) {
        if self.members.is_empty() {
            return;
        }
        self.said += 1;
        let at = usize::try_from(self.said).unwrap() % self.members.len();
        let text = self.text(at);
        // Who dies with it may have said it or not.
        let said = self.members[at].call(TELL, &text);
        if said.is_err() {
            self.members.remove(at);
        }
    }

    fn text(&self, speaker: usize) -> String {
        format!("{} {}", self.members[speaker].own, self.said)
    }

    /// Who was lost with a worker is missing from now on.
    fn look(&mut self) {
        let moment = Duration::from_millis(1);
        self.members.retain_mut(|one| one.take(moment).is_ok());
    }

    fn fill(&mut self, daemon: &Daemon) {
        while self.members.len() < MEMBERS {
            self.had += 1;
            let joined = Member::joined(daemon, self.had);
            self.members.extend(joined.ok());
        }
    }

    /// All that live hear what is said now, and are all that are counted.
    fn all_hear(&mut self, what: &str) {
        wait_until(&format!("exactly who lives is counted {what}"), || {
            self.look();
            let alive = self.members.len();
            let count = self.members[0].call(COUNT, "lobby");
            (count.ok()? == alive.to_string()).then_some(())
        });
        self.said += 1;
        let text = self.text(0);
        let alive = self.members.len();
        let reached = self.members[0].call(TELL, &text).unwrap();
        assert_eq!(reached, (alive - 1).to_string(), "{what}");
        for member in &mut self.members[1..] {
            wait_until(&format!("{text} is heard {what}"), || {
                member.take(Duration::from_millis(10)).unwrap();
                member.heard.contains(&self.said).then_some(())
            });
        }
    }
}

fn start() -> (Daemon, Room) {
    let daemon = Daemon::mover(&format!(
        "workers = {WORKERS}\naccept = \"reuseport\"\nallow_root = true\nuser = \"root\"\n"
    ));
    let mut room = Room {
        members: Vec::new(),
        had: 0,
        said: 0,
    };
    room.fill(&daemon);
    (daemon, room)
}

fn reload(daemon: &Daemon) {
    let master = i32::try_from(daemon.master.id()).unwrap();
    kill(Pid::from_raw(master), Signal::SIGHUP).unwrap();
}

fn all_serve(daemon: &Daemon) {
    wait_until("all workers serve, and nobody else", || {
        let status = daemon.status()?;
        let all = status["workers"].as_array()?.len();
        let serving = daemon.workers(&status).len();
        ((serving, all) == (WORKERS, WORKERS) && status["starting"].is_null()).then_some(())
    });
}

/// Says something, and reloads, until somebody has come to `spot`.
fn provoke(daemon: &Daemon, room: &mut Room, spot: Spot) {
    reload(daemon);
    let mut since = Instant::now();
    wait_until(&format!("somebody comes to {spot:?}"), || {
        room.say();
        room.look();
        if since.elapsed() > Duration::from_secs(2) && !daemon.has_killed(spot) {
            room.fill(daemon);
            reload(daemon);
            since = Instant::now();
        }
        daemon.has_killed(spot).then_some(())
    });
}

#[test]
fn a_death_between_workers_costs_its_own_connections_alone() {
    let _alone = alone();
    let rounds = std::env::var("KILL_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let (daemon, mut room) = start();
    for round in 0..rounds {
        for &spot in Spot::ALL.iter().filter(|spot| spot.is_between_workers()) {
            daemon.kill_at(spot, 1 + round % 3);
            provoke(&daemon, &mut room, spot);
            for _ in 0..10 {
                room.say();
            }
            all_serve(&daemon);
            room.look();
            if room.members.len() < 2 {
                room.fill(&daemon);
            }
            room.all_hear(&format!("after a death at {spot:?}"));
            room.fill(&daemon);
        }
    }
    let status = daemon.settled_status();
    assert_eq!(counter(&status, "bus_broken"), 0);
    let spots = Spot::ALL.iter().filter(|spot| spot.is_between_workers());
    println!("{} deaths between workers", rounds * spots.count() as u64);
}

/// Nobody is lost by that: each of them hears every number.
#[test]
fn who_is_stopped_between_workers_loses_nobody_and_holds_nobody_up() {
    let _alone = alone();
    let (daemon, mut room) = start();
    for &spot in Spot::ALL.iter().filter(|spot| spot.is_between_workers()) {
        daemon.stop_at(spot, 2);
        reload(&daemon);
        let pid = wait_until(&format!("somebody is stopped at {spot:?}"), || {
            // One after the other, without an answer: its worker may be the one.
            room.said += 1;
            let at = usize::try_from(room.said).unwrap() % room.members.len();
            let text = room.text(at);
            room.members[at].send(TELL, &text).unwrap();
            let is_stopped = |pid: &u64| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            };
            let stopped = children(&daemon).into_iter().find(is_stopped);
            if stopped.is_none() && room.said % 200 == 0 {
                reload(&daemon);
            }
            thread::sleep(Duration::from_millis(5));
            stopped
        });
        thread::sleep(Duration::from_millis(200));
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGCONT).unwrap();
        all_serve(&daemon);
        let before = room.said;
        for member in &mut room.members {
            wait_until(&format!("all is heard after a stop at {spot:?}"), || {
                member.take(Duration::from_millis(20)).unwrap();
                let own = member.replies.len() as u64;
                // It hears all but what it said itself.
                (member.heard.len() as u64 + own == before).then_some(())
            });
        }
        assert_eq!(room.members.len(), MEMBERS);
    }
    let status = daemon.settled_status();
    assert_eq!(
        counter(&status, "bus_broken") + counter(&status, "bus_lost"),
        0
    );
}

/// The workers, those that leave and those that come included.
fn children(daemon: &Daemon) -> Vec<u64> {
    let master = daemon.master.id();
    let list = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
    let list = list.unwrap_or_default();
    list.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}
