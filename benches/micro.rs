//! What the parts of a message's way cost by themselves, in nanoseconds.
//!
//! `cargo bench --bench micro`. These find out where time goes; whether purlin
//! is fast is for `benches/compare` to say.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use purlin::net::Pool;
use purlin::protocol::frame::{Frames, Layout, encode};
use purlin::protocol::http::Requests;
use purlin::protocol::{
    Answer, Budget, Dispatch, Lane, Out, Protocol as _, Route, Step, Turn, Units,
};
use purlin::worker::Exchange;

/// Frames of one read.
const FRAMES: usize = 16;

/// Bytes of a body.
const BODY: [u8; 96] = [0x5a; 96];

const PRESETS: [&str; 7] = [
    "comm", "zinx", "zinx-ltv", "rpc", "frame32", "len16", "len32",
];

/// Handlers that answer with what they got.
struct Echo;

impl Dispatch for Echo {
    fn inline(&self, _: Route) -> bool {
        true
    }

    fn call(&mut self, _: Route, body: Units<'_>, _: &mut Out<'_>, answer: &mut Answer) {
        *answer = Answer::body(body.to_bytes());
    }

    fn opened(&mut self, _: &mut Out<'_>) {}

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl Requests for Echo {}

/// Sixteen frames: cut by the reactor, then decoded, echoed and encoded by
/// whoever serves them.
fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for preset in PRESETS {
        let layout = Layout::preset(preset).expect("a preset of the manual");
        let wire = frames(&layout);
        let protocol = Frames::new(layout);
        let (mut cutter, mut server) = protocol.open();
        group.bench_function(format!("cut/{preset}"), |bencher| {
            bencher.iter(|| cutter.cut(black_box(&wire)).units);
        });
        let mut replies = Vec::new();
        let mut echo = Echo;
        group.bench_function(format!("serve/{preset}"), |bencher| {
            bencher.iter(|| {
                let mut turn = Turn {
                    clients: &(),
                    lane: Lane::Inline,
                    out: Out::new(std::mem::take(&mut replies), &protocol),
                    app: &mut echo,
                    budget: &mut Budget::unlimited(),
                    room: usize::MAX,
                };
                let (done, step) = server.serve(Units::borrowed(black_box(&wire)), &mut turn);
                assert_eq!((done, step), (wire.len(), Step::Next));
                replies = turn.out.bytes;
            });
        });
        // An echo looks like its request.
        assert_eq!(replies, wire, "{preset}");
    }
    group.finish();
}

fn frames(layout: &Layout) -> Vec<u8> {
    let mut wire = Vec::new();
    for sequence in 1..=FRAMES {
        let sequence = u32::try_from(sequence).expect("sixteen");
        let id = layout.id.map(|_| 1);
        encode(layout, id, sequence, &BODY, &mut wire).expect("a small frame is legal");
    }
    wire
}

/// One chunk through a mailbox that nobody else touches.
fn mailbox(criterion: &mut Criterion) {
    let (mailbox, chunk) = (Exchange::default(), Bytes::from_static(&BODY));
    criterion.bench_function("mailbox/post and take", |bencher| {
        bencher.iter(|| {
            assert!(mailbox.post(chunk.clone()));
            mailbox.take()
        });
    });
}

/// A slot's way around: what accepting and closing cost beside system calls.
fn pool(criterion: &mut Criterion) {
    let pool = Pool::new(0, 1, 256, 4_096, || [0_u64; 32]);
    let mut group = criterion.benchmark_group("pool");
    group.bench_function("vacancy, place, evict, give back", |bencher| {
        bencher.iter(|| {
            let vacancy = pool.vacancy().expect("one is taken at a time");
            let id = vacancy.id();
            let tenant = pool.place(vacancy);
            assert!(pool.evict(id));
            let given = pool.give_back(id, tenant, |_| ());
            assert!(given.is_ok());
        });
    });
    let vacancy = pool.vacancy().expect("none is taken");
    let id = vacancy.id();
    let tenant = pool.place(vacancy);
    group.bench_function("find", |bencher| bencher.iter(|| pool.find(black_box(id))));
    group.finish();
    drop(tenant);
}

criterion_group!(micro, codec, mailbox, pool);
criterion_main!(micro);
