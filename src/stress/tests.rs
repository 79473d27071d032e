//! The tool against servers that are right, and servers that are not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fault::Kind;
use super::faulty::{Act, Faulty};
use super::load::Load;
use super::options::tests::load;
use super::progress::Progress;
use super::report::Report;
use super::{StressError, engine};
use crate::protocol::frame::PRESETS;

fn run(load: &Load) -> Report {
    engine::run(load, None, &Progress::new(load, true), true).unwrap()
}

/// Runs a load on a server that does `act` to frames.
fn against(preset: &str, args: &str, act: impl FnMut(u64) -> Act + Send + 'static) -> Report {
    let server = Faulty::start(preset, act);
    run(&load(&format!("{} --preset {preset} {args}", server.address)).unwrap())
}

/// Does `act` to one frame and echoes all others.
fn once(at: u64, act: Act) -> impl FnMut(u64) -> Act {
    move |n| if n == at { act } else { Act::Echo }
}

fn kinds(report: &Report) -> Vec<(Kind, u64)> {
    let count = |(kind, ..): &(Kind, &str, &str)| (*kind, report.stats.faults.count(*kind));
    let all = Kind::ALL.iter().map(count);
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_right_server_is_right_in_every_preset_and_every_request_is_counted() {
    for preset in PRESETS {
        for size in [0, 1, 300, 20_000] {
            let args = format!("--connections 4 --depth 3 --count 400 --size {size} --threads 2");
            let report = against(preset, &args, |_| Act::Echo);
            assert_eq!(
                report.complaint(&load("").unwrap()),
                None,
                "{preset} {size}"
            );
            assert_eq!((report.stats.requests, report.stats.replies), (400, 400));
            assert_eq!(report.stats.connections, 4);
            assert_eq!(report.stats.sent_bytes, report.stats.received_bytes);
            assert!(report.stats.latency.len() == 400 && report.max_ms() > 0.0);
        }
    }
}

#[test]
fn one_wrong_byte_anywhere_in_a_frame_is_one_error() {
    // Not the length, which makes the stream unreadable, nor the checksum.
    for (preset, bytes, kind) in [
        ("len32", 4..68, Kind::Wrong),
        ("frame32", 4..68, Kind::Wrong),
        ("zinx", 0..4, Kind::Wrong),
        ("zinx", 8..72, Kind::Wrong),
        ("zinx-ltv", 4..72, Kind::Wrong),
        ("comm", 2..4, Kind::Wrong),
        ("comm", 4..72, Kind::Unreadable),
        ("rpc", 4..12, Kind::Wrong),
        ("rpc", 12..80, Kind::Unreadable),
    ] {
        for byte in bytes.step_by(5) {
            let args = "--connections 1 --count 5 --size 64";
            let report = against(preset, args, once(2, Act::Flip(byte)));
            let found = kinds(&report);
            // A changed sequence answers nothing that was asked, and so the
            // request itself is lost as well.
            let lost = found.iter().filter(|(kind, _)| *kind == Kind::Lost).count();
            assert_eq!(found[0], (kind, 1), "{preset} byte {byte}");
            assert_eq!(found.len() - lost, 1, "{preset} byte {byte}: {found:?}");
            assert_eq!(report.stats.replies, 4);
            assert!(!report.is_good());
        }
    }
}

#[test]
fn a_wrong_byte_is_shown_with_its_offset() {
    let report = against(
        "len32",
        "--connections 1 --count 5",
        once(2, Act::Flip(4 + 0x21)),
    );
    let complaint = report.complaint(&load("").unwrap()).unwrap();
    let expected = "client 0, request 2: body of 128 bytes, differing from offset 0x0021";
    assert!(complaint.contains(expected), "{complaint}");
    assert!(complaint.contains("received 0x0020"), "{complaint}");
}

#[test]
fn replies_that_are_swapped_are_wrong_unless_they_say_what_they_answer() {
    for (preset, wrong) in [("comm", 1), ("zinx", 1), ("len16", 1), ("rpc", 0)] {
        for size in [1, 8, 200] {
            let args = format!("--connections 1 --depth 4 --count 40 --size {size}");
            let report = against(preset, &args, once(8, Act::Swap));
            let found = report.stats.faults.count(Kind::Wrong);
            assert_eq!(found, wrong, "{preset} {size}: {:?}", kinds(&report));
            assert_eq!(report.is_good(), wrong == 0);
        }
    }
}

#[test]
fn a_reply_that_was_meant_for_another_connection_is_wrong() {
    for preset in PRESETS {
        let args = "--connections 2 --count 20 --size 8";
        let report = against(preset, args, once(9, Act::Elses));
        assert_eq!(report.stats.faults.count(Kind::Wrong), 1, "{preset}");
        assert!(report.stats.replies >= 18, "{preset}: {:?}", kinds(&report));
    }
}

#[test]
fn a_reply_too_many_is_wrong_and_a_missing_one_times_out() {
    let report = against(
        "comm",
        "--connections 1 --depth 1 --count 9",
        once(3, Act::Twice),
    );
    assert_eq!(
        report.stats.faults.count(Kind::Wrong),
        1,
        "{:?}",
        kinds(&report)
    );
    for preset in ["comm", "rpc"] {
        let args = "--connections 1 --count 9 --timeout 0.2";
        let report = against(preset, args, once(8, Act::Swallow));
        assert_eq!(kinds(&report), [(Kind::Timeout, 1)], "{preset}");
        assert_eq!(report.stats.replies, 8);
    }
    // The next reply is taken for the missing one, and is wrong.
    let report = against(
        "comm",
        "--connections 1 --depth 2 --count 9",
        once(3, Act::Swallow),
    );
    assert_eq!(
        report.stats.faults.count(Kind::Wrong),
        1,
        "{:?}",
        kinds(&report)
    );
}

#[test]
fn a_closed_connection_is_told_and_replaced() {
    let args = "--connections 2 --depth 3 --count 300";
    let report = against("comm", args, once(100, Act::Close));
    assert_eq!(report.stats.connections, 3);
    let lost = report.stats.faults.count(Kind::Lost);
    assert!((1..=3).contains(&lost), "{:?}", kinds(&report));
    assert_eq!(report.stats.replies, 300 - lost);
    let told = &report.stats.faults.told()[0];
    assert!(told.contains("before its reply"), "{told}");
}

#[test]
fn a_server_that_always_closes_ends_the_run_and_names_the_preset() {
    let load_of = |address: &str| {
        let args = format!("{address} --connections 3 --count 100000 --timeout 0.3");
        load(&args).unwrap()
    };
    let server = Faulty::start("comm", |_| Act::Close);
    let load = load_of(&server.address);
    let report = run(&load);
    let found = kinds(&report);
    assert_eq!(found.last().unwrap().0, Kind::Unsent, "{found:?}");
    assert_eq!(
        report.stats.faults.total(),
        100_000,
        "every request is accounted for"
    );
    assert!(report.stats.gave_up);
    assert!(
        report
            .complaint(&load)
            .unwrap()
            .contains("does the listener speak `comm`?")
    );
}

#[test]
fn clients_that_sent_nothing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("s").display());
    // It never accepts, and its backlog has room for one or two.
    let _listener = crate::sys::socket::listen(&address.parse().unwrap(), 0, false).unwrap();
    let load = load(&format!(
        "{address} --connections 9 --count 18 --timeout 0.1"
    ))
    .unwrap();
    let report = run(&load);
    let silent = report.stats.silent;
    assert!((6..9).contains(&silent), "{silent}");
    assert!(report.stats.faults.count(Kind::Unsent) >= 2 * silent);
    let complaint = report.complaint(&load).unwrap();
    let expected = format!("\n{silent} of 9 clients sent nothing\n");
    assert!(complaint.contains(&expected), "{complaint}");
}

#[test]
fn nobody_there_is_an_error_of_its_own() {
    let free = std::net::TcpListener::bind("127.0.0.79:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let load = load(&format!("{address} --threads 3")).unwrap();
    let error = engine::run(&load, None, &Progress::new(&load, true), false).unwrap_err();
    assert!(matches!(error, StressError::Connect(..)), "{error}");
    assert!(error.to_string().contains("purlin run"), "{error}");
}

#[test]
fn short_connections_are_counted_alike_on_both_sides() {
    for (churn, connections) in [(1, 600), (4, 150), (7, 90)] {
        let server = Faulty::start("comm", |_| Act::Echo);
        let args = format!(
            "{} --connections 10 --count 600 --churn {churn}",
            server.address
        );
        let report = run(&load(&args).unwrap());
        assert!(report.is_good(), "{:?}", report.stats.faults);
        assert_eq!(report.stats.replies, 600);
        assert_eq!(report.stats.connections, connections);
        assert_eq!(server.accepted.load(Ordering::Relaxed), connections);
    }
}

#[test]
fn an_open_loop_sends_what_its_schedule_says() {
    let args = "--connections 7 --rate 2000/s --seconds 0.5 --threads 2";
    let report = against("comm", args, |_| Act::Echo);
    assert!(report.is_good(), "{:?}", report.stats.faults);
    assert_eq!(report.stats.requests, 1000);
    // The last request is due 0.5 ms before the end.
    assert!(
        report.duration >= Duration::from_micros(499_500),
        "{:?}",
        report.duration
    );
}

#[test]
fn a_ramp_spreads_the_connections() {
    for pace in ["", "--rate 1000/s"] {
        let args = format!("--connections 5 --count 200 --ramp 0.2 {pace}");
        let report = against("comm", &args, |_| Act::Echo);
        assert!(report.is_good(), "{pace}: {:?}", report.stats.faults);
        assert_eq!(report.stats.connections, 5);
    }
}

/// A server that stalls once. Whoever would have asked meanwhile waits for the
/// rest of the stall, and is counted: 200 requests at 1,000/s and 200 ms. These
/// are lower bounds, which a slow machine only exceeds.
#[test]
fn an_open_loop_charges_a_stall_to_everybody_who_would_have_asked() {
    let stall = Duration::from_millis(200);
    let args = "--connections 10 --rate 1000/s --count 1500";
    let report = against("comm", args, once(300, Act::Stall(stall)));
    assert!(report.is_good(), "{:?}", report.stats.faults);
    let latency = &report.stats.latency;
    let slower = |millis: u64| {
        let from = millis * 1_000_000;
        latency.count_between(from, latency.high())
    };
    // Due within the first 200 - x ms of the stall, less the one under way and
    // the millisecond in which it began.
    for millis in [20, 50, 100, 150, 190] {
        let due = 200 - millis;
        assert!(
            slower(millis) >= due - 3,
            "{millis} ms: {} of {due}",
            slower(millis)
        );
    }
    assert!(report.max_ms() >= 199.0, "{}", report.max_ms());
    // 1 % of 1,500 requests are 15, and so the 99th percentile lies 15 ms below
    // the longest; the 95th 75 ms.
    assert!(
        report.latency_ms(0.99) >= 182.0,
        "{}",
        report.latency_ms(0.99)
    );
    assert!(
        report.latency_ms(0.95) >= 122.0,
        "{}",
        report.latency_ms(0.95)
    );
}

/// The same stall seen by a closed loop, which does not ask meanwhile: only
/// those under way notice. It is why the open loop exists.
#[test]
fn a_closed_loop_sees_a_stall_once_for_each_connection() {
    let stall = Duration::from_millis(500);
    let args = "--connections 10 --count 1500";
    let report = against("comm", args, once(300, Act::Stall(stall)));
    let latency = &report.stats.latency;
    let stalled = latency.count_between(450_000_000, latency.high());
    assert!((1..=10).contains(&stalled), "{stalled}");
}
