//! Every interleaving of workers that admit at once, with a recycler that takes
//! away meanwhile. Run by `make loom`.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Two rows with buckets of two words.
#[derive(Debug)]
struct Memory {
    living: AtomicU64,
    none: AtomicU64,
    rows: [[AtomicU64; 2]; 2],
}

#[derive(Clone, Debug)]
struct View(Arc<Memory>, usize);

impl Tables for View {
    fn row(&self) -> usize {
        self.1
    }
    fn living(&self, group: usize) -> &AtomicU64 {
        if group == 0 {
            &self.0.living
        } else {
            &self.0.none
        }
    }
    fn bucket(&self, row: usize, _: Hash) -> &[AtomicU64] {
        &self.0.rows[row]
    }
}

fn memory() -> Arc<Memory> {
    let zero = || AtomicU64::new(0);
    Arc::new(Memory {
        living: zero(),
        none: zero(),
        rows: [[zero(), zero()], [zero(), zero()]],
    })
}

const ADDRESS: Hash = Hash::from_word(7 << 16);

/// Each worker begins to count while the other one may be admitting already.
#[test]
fn loom_two_workers_never_both_admit_the_last_one() {
    loom::model(|| {
        let memory = memory();
        let admit = |row| {
            let tables = View(Arc::clone(&memory), row);
            move || PerIp::new(tables, 1).admit(ADDRESS).is_ok()
        };
        let other = thread::spawn(admit(1));
        let admitted = admit(0)();
        assert!(!(other.join().unwrap() && admitted));
    });
}

/// The recycler frees the word that the reactor has found.
#[test]
fn loom_a_count_survives_the_recycler() {
    loom::model(|| {
        let memory = memory();
        let row = Arc::new(PerIp::new(View(memory, 0), 3));
        row.admit(ADDRESS).unwrap();
        let recycler = {
            let row = Arc::clone(&row);
            thread::spawn(move || row.leave(ADDRESS))
        };
        row.admit(ADDRESS).unwrap();
        recycler.join().unwrap();
        assert_eq!(row.sum(ADDRESS), 1);
        row.leave(ADDRESS);
        assert_eq!(row.sum(ADDRESS), 0);
    });
}
