//! What must not grow, however often it happens.

use crate::harness::{Client, comm, resident, threads};
use crate::instance::{Instance, busy};

/// The only worker of `instance`.
fn worker(instance: &Instance) -> u32 {
    let status = instance.status();
    let pid = status["workers"][0]["pid"].as_u64().unwrap();
    u32::try_from(pid).unwrap()
}

#[test]
fn a_hundred_thousand_panics_cost_no_thread_and_no_memory() {
    const PANIC: u16 = 5;
    const AT_ONCE: usize = 1000;
    let _busy = busy();
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let worker = worker(&instance);
    let mut client = Client::connect(instance.address);
    let mut panic = |times: usize| {
        for _ in 0..times / AT_ONCE {
            client.send(&comm(PANIC, b"").repeat(AT_ONCE));
            for _ in 0..AT_ONCE {
                let (id, body) = client.comm();
                assert_eq!((id, &body[4..6]), (65_535, &500_u16.to_be_bytes()[..]));
            }
        }
    };
    panic(10_000);
    let (memory, crew) = (resident(worker), threads(worker).len());
    panic(90_000);
    assert_eq!(threads(worker).len(), crew);
    // The smallest allocation is of 32 bytes: one lost in four panics is more.
    let after = resident(worker);
    assert!(after <= memory + 90_000 * 8, "{memory}, then {after}");
    let panicked = &instance.status()["counters"]["messages_panicked"];
    assert_eq!(panicked, 100_000);
}

#[cfg(feature = "stress")]
#[test]
fn a_flood_of_connects_leaves_neither_descriptors_nor_memory_behind() {
    let _busy = busy();
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let worker = worker(&instance);
    let flood = |count: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(["stress", &instance.address.to_string(), "--quiet"])
            .args(["--connections", "1000", "--churn", "1", "--count", count])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        crate::harness::wait_until("the server has forgotten them", || {
            let counters = &instance.status()["counters"];
            counters["connections_live"] == 0 && counters["connections_quarantined"] == 0
        });
        let descriptors = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
        (descriptors.count(), resident(worker))
    };
    let (descriptors, memory) = flood("5000");
    assert_eq!(flood("50000").0, descriptors);
    // The pool is trimmed by an eighth a second.
    let what = format!("memory is near the {memory} bytes of before");
    crate::harness::wait_until(&what, || resident(worker) <= memory + memory / 20);
    let accepted = &instance.status()["counters"]["connections_accepted"];
    assert_eq!(accepted, 55_000);
}
