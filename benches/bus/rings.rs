//! The rings alone: one publishes, three read, each in a thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use purlin::bus::{Bus, Deed, Interest, Kind, Member, Outgoing, Shape, Whom};
use purlin::scoreboard::Scoreboard;

use crate::table::Table;
use crate::usage::own_thread;
use crate::{Outcome, Plan};

const READERS: u8 = 3;
/// Messages, after which the publisher sees to it that it is not too far ahead.
const BURST: u64 = 256;

const BODY: [u8; 128] = [7; 128];
const ROOM: Interest<'_> = Interest::Room("room");

pub(crate) fn measure(plan: Plan) -> Outcome<String> {
    let mut table = Table::default();
    for _ in 0..plan.rounds {
        let (publisher, readers) = round(plan.messages)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = |time: Duration| time.as_nanos() as f64 / plan.messages as f64;
        table.add("publisher", each(publisher));
        table.add("three readers together", each(readers));
    }
    let text = table.text("ns of CPU a message", 0);
    Ok(format!(
        "## 128 bytes to three workers\n\nThreads of one process, without connections; the goal \
         is 100 ns each.\n\n{text}"
    ))
}

/// CPU of the publisher, and of all readers.
fn round(messages: u64) -> Outcome<(Duration, Duration)> {
    let rows = usize::from(READERS) + 1;
    let bus = Bus::new(Shape {
        rows,
        ring: 1 << 16,
        names: 1 << 10,
    })?;
    let board = Scoreboard::new(rows)?;
    let member = |row: u8| Member::new(&bus, row, 0, board.row(row.into()), 1 << 26);
    let (publisher, readers) = (member(0), (1..=READERS).map(member));
    let readers: Vec<Member> = readers.collect();
    let heard = AtomicU64::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = readers
            .iter()
            .map(|reader| {
                reader.enter(ROOM);
                let heard = &heard;
                scope.spawn(move || {
                    let mut count = 0;
                    let mut deliver = |message: purlin::bus::Message| {
                        count += u64::from(message.body.len() == BODY.len());
                    };
                    reader.run(&mut deliver, &|| {});
                    heard.fetch_add(count, Ordering::SeqCst);
                    own_thread()
                })
            })
            .collect();
        let before = own_thread()?;
        for message in 0..messages {
            publisher.saying(|| publisher.publish(&OUT));
            // As in a server that keeps up: the rings have room.
            while message % BURST == 0
                && bus_delivered(&board) + 2 * BURST < message * u64::from(READERS)
            {
                thread::sleep(Duration::from_micros(20));
            }
        }
        // What did not fit waits here, and nobody else writes it.
        while publisher.read_now(&mut |_| {}) {
            thread::yield_now();
        }
        let published = own_thread()?.saturating_sub(before);
        let all = messages * u64::from(READERS);
        while bus_delivered(&board) < all {
            publisher.read_now(&mut |_| {});
            thread::yield_now();
        }
        readers.iter().for_each(Member::end);
        let mut read = Duration::ZERO;
        for one in threads {
            read += one.join().map_err(|_| "a reader panicked")??;
        }
        if heard.load(Ordering::SeqCst) != all {
            return Err("messages were lost or doubled".into());
        }
        Ok((published, read))
    })
}

const OUT: Outgoing<'_> = Outgoing {
    kind: Kind::Do(Deed::Send, Whom::Room),
    to: ROOM,
    topic: "",
    except: None,
    id: 1,
    form: 0,
    body: &BODY,
};

fn bus_delivered(board: &Scoreboard) -> u64 {
    let rows = (1..=usize::from(READERS)).map(|row| board.row(row));
    rows.map(|row| row.read(purlin::Counter::BusDelivered))
        .sum()
}
