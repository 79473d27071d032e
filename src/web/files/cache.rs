//! Files that were asked for lately, opened: bounded in number and in memory.
//! Shared by the threads of a worker; nothing under its lock blocks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::coding::Coding;
use super::variant::Variant;

/// How long an entry is believed before somebody looks whether the file is still
/// the same, in milliseconds.
const FRESH: u64 = 1000;

/// How long an entry that nobody asks for keeps its descriptor, in milliseconds.
/// A deleted file keeps its place on the disk as long.
const UNUSED: u64 = 60_000;

/// How often to look for those, in milliseconds.
const SWEEP: u64 = 5000;

/// Longer paths are opened each time, so that the keys are bounded, too.
const KEY_MAX: usize = 512;

/// What is at one path.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) plain: Arc<Variant>,
    /// Packed by whoever made the files.
    pub(super) packed: Vec<(Coding, Arc<Variant>)>,
    /// When it was last known to be true, in coarse milliseconds.
    checked: u64,
    used: AtomicU64,
    /// Bytes that the table has counted for it.
    counted: AtomicUsize,
}

impl Entry {
    pub(super) fn new(plain: Arc<Variant>, packed: Vec<(Coding, Arc<Variant>)>, now: u64) -> Self {
        Self {
            plain,
            packed,
            checked: now,
            used: AtomicU64::new(now),
            counted: AtomicUsize::new(0),
        }
    }

    /// The variant in this coding, if somebody made one.
    pub(super) fn packed_as(&self, coding: Coding) -> Option<&Arc<Variant>> {
        let mut packed = self.packed.iter();
        let found = packed.find(|(found, _)| *found == coding);
        found.map(|(_, variant)| variant)
    }

    /// Descriptors that it holds, and one for itself: an entry without any costs
    /// memory.
    fn weight(&self) -> usize {
        1 + self.packed.len()
    }

    fn held(&self) -> usize {
        let packed = self.packed.iter().map(|(_, variant)| variant.held());
        self.plain.held() + packed.sum::<usize>()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    /// Descriptors, at most.
    pub(super) files_max: usize,
    /// Bytes of content in memory, at most.
    pub(super) bytes_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Box<[u8]>, Arc<Entry>>,
    weight: usize,
    bytes: usize,
    swept: u64,
}

impl Cache {
    pub(super) fn new(files_max: usize, bytes_max: usize) -> Self {
        Self {
            files_max,
            bytes_max,
            table: Mutex::default(),
        }
    }

    /// What is surely still at `path`, its escapes undone: other spellings of it
    /// must not cost another look, and another entry.
    pub(super) fn fresh(&self, path: &[u8], now: u64) -> Option<Arc<Entry>> {
        let table = self.table();
        let entry = table.entries.get(path)?;
        if now.saturating_sub(entry.checked) >= FRESH {
            return None;
        }
        entry.used.store(now, Ordering::Relaxed);
        Some(Arc::clone(entry))
    }

    /// What was at `path` when somebody looked last.
    pub(super) fn known(&self, path: &[u8]) -> Option<Arc<Entry>> {
        self.table().entries.get(path).cloned()
    }

    /// Keeps what was found at `path`; `None`: nothing.
    pub(super) fn keep(&self, path: &[u8], found: Option<&Arc<Entry>>, now: u64) {
        let mut table = self.table();
        let _closed = table.forget(path);
        if let Some(entry) = found.filter(|_| path.len() <= KEY_MAX) {
            table.count(entry);
            table.weight += entry.weight();
            table.entries.insert(path.into(), Arc::clone(entry));
        }
        let old = table.sweep(now);
        let over = table.bound(self.files_max, self.bytes_max);
        drop(table);
        // Closed here, where nobody waits for the lock.
        drop((old, over));
    }

    /// The content of `entry` has grown.
    pub(super) fn grew(&self, path: &[u8], entry: &Arc<Entry>) {
        let mut table = self.table();
        let is_here = table
            .entries
            .get(path)
            .is_some_and(|here| Arc::ptr_eq(here, entry));
        if is_here {
            table.count(entry);
        }
        let over = table.bound(self.files_max, self.bytes_max);
        drop(table);
        drop(over);
    }

    /// A panic under the lock leaves a table that is whole: every change of it is
    /// one call.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&mut self, entry: &Entry) {
        let held = entry.held();
        let before = entry.counted.swap(held, Ordering::Relaxed);
        self.bytes = self.bytes + held - before;
    }

    fn forget(&mut self, path: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(path)?;
        self.weight -= entry.weight();
        self.bytes -= entry.counted.swap(0, Ordering::Relaxed);
        Some(entry)
    }

    /// Takes out what nobody has asked for lately.
    fn sweep(&mut self, now: u64) -> Vec<Arc<Entry>> {
        if now.saturating_sub(self.swept) < SWEEP {
            return Vec::new();
        }
        self.swept = now;
        self.forget_used_before(now.saturating_sub(UNUSED))
    }

    /// Takes out those that were used longest ago until the rest fits: a quarter
    /// at a time, so that not every new file pays for a look at all.
    fn bound(&mut self, files_max: usize, bytes_max: usize) -> Vec<Arc<Entry>> {
        let mut out = Vec::new();
        while !self.entries.is_empty() && (self.weight > files_max || self.bytes > bytes_max) {
            let used = |entry: &Arc<Entry>| entry.used.load(Ordering::Relaxed);
            let mut times: Vec<u64> = self.entries.values().map(used).collect();
            let quarter = times.len() / 4;
            let (_, &mut limit, _) = times.select_nth_unstable(quarter);
            out.extend(self.forget_used_before(limit + 1));
        }
        out
    }

    fn forget_used_before(&mut self, time: u64) -> Vec<Arc<Entry>> {
        let old = self.entries.iter();
        let old = old.filter(|(_, entry)| entry.used.load(Ordering::Relaxed) < time);
        let paths: Vec<Box<[u8]>> = old.map(|(path, _)| path.clone()).collect();
        paths.iter().filter_map(|path| self.forget(path)).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::media::Kind;
    use super::super::variant::{Manner, State};
    use super::*;
    use std::io::Write;

    fn entry(len: usize, now: u64) -> Arc<Entry> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![b'x'; len]).expect("room");
        let state = State::of(&file.metadata().expect("an open file"), 0);
        let text = Kind::of_content(b"text");
        let plain = Variant::open(file, state, None, manner(&text)).expect("its content");
        Arc::new(Entry::new(Arc::new(plain), Vec::new(), now))
    }

    fn manner(kind: &Kind) -> Manner<'_> {
        Manner {
            kind,
            cache_control: None,
            varies: true,
            now: 0,
        }
    }

    fn held(cache: &Cache) -> (usize, usize, usize) {
        let table = cache.table();
        (table.entries.len(), table.weight, table.bytes)
    }

    #[test]
    fn an_entry_is_believed_for_a_second() {
        let cache = Cache::new(10, 1 << 20);
        cache.keep(b"a", Some(&entry(5, 1000)), 1000);
        assert!(cache.fresh(b"a", 1999).is_some());
        assert!(cache.fresh(b"a", 2000).is_none());
        assert!(cache.known(b"a").is_some());
        cache.keep(b"a", None, 2000);
        assert!(cache.known(b"a").is_none());
        assert_eq!(held(&cache), (0, 0, 0));
    }

    #[test]
    fn files_and_bytes_are_bounded_and_the_oldest_goes_first() {
        let cache = Cache::new(8, 1 << 20);
        for n in 0..100_u64 {
            cache.keep(n.to_string().as_bytes(), Some(&entry(10, n)), n);
            let (entries, weight, bytes) = held(&cache);
            assert!(weight <= 8 && entries == weight && bytes == entries * 10);
            assert!(
                cache.known(n.to_string().as_bytes()).is_some(),
                "the newest stays"
            );
        }
        let cache = Cache::new(1000, 50);
        for n in 0..100_u64 {
            cache.keep(n.to_string().as_bytes(), Some(&entry(10, n)), n);
            assert!(held(&cache).2 <= 50);
        }
    }

    #[test]
    fn what_nobody_asks_for_is_closed() {
        let cache = Cache::new(10, 1 << 20);
        cache.keep(b"old", Some(&entry(5, 0)), 0);
        cache.keep(b"used", Some(&entry(5, 0)), 0);
        assert!(cache.fresh(b"used", 500).is_some());
        cache.keep(b"new", Some(&entry(5, UNUSED + 400)), UNUSED + 400);
        assert!(cache.known(b"old").is_none() && cache.known(b"used").is_some());
        assert_eq!(held(&cache), (2, 2, 10));
    }

    #[test]
    fn a_file_that_was_packed_counts_more() {
        let cache = Cache::new(10, 1 << 20);
        let entry = entry(5000, 0);
        cache.keep(b"a", Some(&entry), 0);
        let packed = entry.plain.packed(manner(&entry.plain.kind)).unwrap().len;
        cache.grew(b"a", &entry);
        assert_eq!(held(&cache).2, 5000 + usize::try_from(packed).unwrap());
        // The same again, and one that is no longer here: nothing changes.
        cache.grew(b"a", &entry);
        cache.grew(b"b", &entry);
        cache.keep(b"a", Some(&entry), 0);
        assert_eq!(held(&cache).2, 5000 + usize::try_from(packed).unwrap());
        cache.keep(b"a", None, 0);
        assert_eq!(held(&cache), (0, 0, 0));
    }

    #[test]
    fn a_path_that_is_too_long_is_not_kept() {
        let cache = Cache::new(10, 1 << 20);
        let long = [b'a'; KEY_MAX + 1];
        cache.keep(&long, Some(&entry(5, 0)), 0);
        assert_eq!(held(&cache), (0, 0, 0));
    }
}
