//! A room of 200 whose members all publish: each says the next thing when it has
//! heard its last one, and everybody hears everything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use crate::peers::{Design, Peer, Running};
use crate::table::Table;
use crate::usage::of_family;
use crate::wire::{BODY, Wire};
use crate::{Outcome, Plan};

const MEMBERS: usize = 200;

const PEERS: [(Design, usize); 7] = [
    (Design::Purlin(Wire::Comm), 1),
    (Design::Purlin(Wire::Comm), 2),
    (Design::Purlin(Wire::SocketOfFrames), 1),
    (Design::Purlin(Wire::SocketOfFrames), 2),
    (Design::Uws, 1),
    (Design::Nchan, 1),
    (Design::Nchan, 2),
];

pub(crate) fn measure(plan: Plan) -> Outcome<String> {
    let peers = PEERS.map(|(design, workers)| Peer { design, workers });
    let (there, missing): (Vec<Peer>, Vec<Peer>) =
        peers.into_iter().partition(|peer| peer.is_there());
    let (mut table, mut losses) = (Table::default(), Table::default());
    for round in 0..plan.rounds {
        for peer in &there {
            let (figure, lost) = deliveries(*peer, plan.turn)?;
            eprintln!(
                "bus: round {round}, {}: {figure:.0}, lost {lost}",
                peer.name()
            );
            losses.add(&peer.name(), lost);
            table.add(&peer.name(), figure);
        }
    }
    let name = |(design, workers)| Peer { design, workers }.name();
    let ratios = [
        ("frames, two workers ÷ one (goal 0.85)", PEERS[1], PEERS[0]),
        ("WebSocket, two workers ÷ one", PEERS[3], PEERS[2]),
        ("frames ÷ uWebSockets.js (goal 1.2)", PEERS[0], PEERS[4]),
        ("WebSocket ÷ uWebSockets.js", PEERS[2], PEERS[4]),
        ("frames ÷ Nchan, one worker", PEERS[0], PEERS[5]),
        ("Nchan, two workers ÷ one", PEERS[6], PEERS[5]),
    ];
    let ratios = ratios.into_iter().filter_map(|(what, one, other)| {
        let ratio = table.over(&name(one), &name(other))?;
        Some(format!("- {what}: {ratio}\n"))
    });
    let ratios: String = ratios.collect();
    let missing: String = missing
        .iter()
        .map(|peer| format!("- not installed (`make needs`): {}\n", peer.name()))
        .collect();
    Ok(format!(
        "## A room of {MEMBERS}, each publishes {BODY} bytes\n\n{}\n{}\n{ratios}{missing}",
        table.text("deliveries a second of server CPU", 0),
        losses.text("lost, of a thousand", 2)
    ))
}

struct Member {
    stream: TcpStream,
    /// Bytes that have come.
    came: u64,
    /// Messages that it has said.
    said: u64,
}

/// Messages that came, for each second of the servers' CPU; and how many of a thousand
/// did not come.
fn deliveries(peer: Peer, turn: Duration) -> Outcome<(f64, f64)> {
    let server = Running::start(peer)?;
    let mut members = Vec::with_capacity(MEMBERS);
    for _ in 0..MEMBERS {
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        peer.wire().enter(&mut stream, "/ws")?;
        stream.set_nonblocking(true)?;
        members.push(Member {
            stream,
            came: 0,
            said: 0,
        });
    }
    // Whoever subscribes by being connected may not be there yet.
    std::thread::sleep(Duration::from_millis(300));
    talk(&mut members, peer.wire(), turn / 4)?;
    let (before, came) = (of_family(server.pid())?, bytes(&members));
    talk(&mut members, peer.wire(), turn)?;
    let used = of_family(server.pid())?.saturating_sub(before);
    let each = peer.wire().incoming(BODY) as u64;
    let messages = (bytes(&members) - came) / each;
    let said: u64 = members.iter().map(|member| member.said).sum();
    let lost = said * MEMBERS as u64 - bytes(&members) / each;
    if messages == 0 {
        return Err(format!("{} delivers nothing", peer.name()).into());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (figure, lost) = (
        messages as f64 / used.as_secs_f64(),
        1000.0 * lost as f64 / (said * MEMBERS as u64) as f64,
    );
    if lost > 0.0 && matches!(peer.design, Design::Purlin(_)) {
        return Err(format!("{} lost {lost} of a thousand", peer.name()).into());
    }
    Ok((figure, lost))
}

fn bytes(members: &[Member]) -> u64 {
    members.iter().map(|member| member.came).sum()
}

/// Lets them talk for a while, and then hear what there is still.
fn talk(members: &mut [Member], wire: Wire, time: Duration) -> Outcome<()> {
    let (say, each) = (wire.say(), wire.incoming(BODY) as u64);
    let until = Instant::now() + time;
    let mut missing = 0;
    for member in &mut *members {
        member.stream.write_all(&say)?;
        member.said += 1;
    }
    let mut piece = vec![0; 64 * 1024];
    let mut last = Instant::now();
    loop {
        let goes_on = Instant::now() < until;
        let said: u64 = members.iter().map(|member| member.said).sum();
        if !goes_on && members.iter().all(|member| member.came == said * each) {
            return Ok(());
        }
        // What does not come within a second never does.
        if !goes_on && last.elapsed() > Duration::from_secs(1) {
            return Ok(());
        }
        // What was lost is not waited for.
        if goes_on && last.elapsed() > Duration::from_millis(50) {
            missing = said * each - members.iter().map(|one| one.came).min().unwrap_or(0);
            last = Instant::now();
            for member in &mut *members {
                member.stream.write_all(&say)?;
                member.said += 1;
            }
        }
        let mut readable: Vec<PollFd<'_>> = members
            .iter()
            .map(|member| PollFd::new(member.stream.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut readable, PollTimeout::from(100_u8))?;
        let ready: Vec<bool> = readable.iter().map(|one| one.any() == Some(true)).collect();
        for (member, is_ready) in members.iter_mut().zip(ready) {
            if !is_ready {
                continue;
            }
            match member.stream.read(&mut piece) {
                Ok(0) => return Err("a member was closed".into()),
                Ok(read) => {
                    member.came += read as u64;
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            // A share of all that was said is its own: it goes on when about as much
            // has come as everybody has said.
            if goes_on && member.came + missing >= member.said * MEMBERS as u64 * each {
                member.stream.write_all(&say)?;
                member.said += 1;
            }
        }
    }
}
