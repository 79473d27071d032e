//! The connection pool: slots that are named, lent out, and used again.
//!
//! ```text
//!            vacancy           place            evict            give_back
//!   free ------------> Vacancy -------> findable ------> quarantine --------> free
//!                      (reactor)        by its name     while anyone holds it
//! ```
//!
//! Invariant: a name finds its own tenant or nothing. A tenant is used again
//! only when nobody holds it (`Arc::get_mut` succeeds), so whoever still works
//! for an old connection can never touch a new one; a slot's next tenant has
//! the next name. No time is involved: the ancestors waited 150 s instead.
//!
//! Any thread may find; the reactor settles and evicts; the recycler gives
//! back.

use std::sync::{Arc, OnceLock};

use super::ConnId;
use crate::sys::sync::{AtomicUsize, Mutex, Ordering, lock};

/// Slots that are allocated together.
const CHUNK: usize = 256;

type Slot<T> = Mutex<Option<(ConnId, Arc<T>)>>;

/// Made when the first of its slots is used.
type Chunk<T> = OnceLock<Box<[Slot<T>]>>;

/// At most `max` tenants of type `T`, each under a [`ConnId`] of its own, and for
/// a while as many again that move in from elsewhere.
pub struct Pool<T> {
    max: usize,
    /// Slots that there are.
    slots: usize,
    make: fn() -> T,
    first: ConnId,
    chunks: Box<[Chunk<T>]>,
    free: Mutex<Free<T>>,
    made: AtomicUsize,
}

/// Slots nobody lives in, the most recently left on top: its memory is warm.
struct Free<T> {
    vacancies: Vec<Vacancy<T>>,
    /// Slots from here on were never used.
    fresh: usize,
}

/// A slot to move into. Nobody can find it yet.
pub struct Vacancy<T> {
    id: ConnId,
    tenant: Option<Arc<T>>,
}

impl<T> Vacancy<T> {
    /// The name that the tenant will have.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The tenant, to be prepared.
    ///
    /// # Panics
    ///
    /// Never: the pool fills the vacancy, and nobody else can hold it.
    pub fn tenant(&mut self) -> &mut T {
        self.tenant
            .as_mut()
            .and_then(Arc::get_mut)
            .expect("a vacancy is held by nobody else")
    }
}

impl<T> Pool<T> {
    /// A pool whose names carry `row` and `epoch`, with `initial` tenants made
    /// at once and up to `max` as they are needed.
    ///
    /// # Panics
    ///
    /// When `max` is over [`ConnId::SLOTS`]: later slots would have no name.
    #[must_use]
    pub fn new(row: u8, epoch: u16, initial: usize, max: usize, make: fn() -> T) -> Self {
        assert!(
            max <= ConnId::SLOTS,
            "{max} connections cannot be told apart"
        );
        let slots = (2 * max).min(ConnId::SLOTS);
        let chunks = (0..slots.div_ceil(CHUNK)).map(|_| OnceLock::new());
        let pool = Self {
            max,
            slots,
            make,
            first: ConnId::first(row, epoch, 0),
            chunks: chunks.collect(),
            free: Mutex::new(Free {
                vacancies: Vec::new(),
                fresh: 0,
            }),
            made: AtomicUsize::new(0),
        };
        let ahead: Vec<_> = (0..initial.min(max))
            .map_while(|_| pool.vacancy())
            .collect();
        for vacancy in ahead {
            pool.return_vacancy(vacancy);
        }
        pool
    }

    /// A slot to move into, or `None` when `max` or more are taken.
    pub fn vacancy(&self) -> Option<Vacancy<T>> {
        self.vacancy_below(self.max)
    }

    /// A slot for a tenant that moves in from another pool, whose slot there is
    /// then free: `None` when `max` are taken twice.
    pub fn vacancy_for_mover(&self) -> Option<Vacancy<T>> {
        self.vacancy_below(self.slots)
    }

    fn vacancy_below(&self, max: usize) -> Option<Vacancy<T>> {
        let mut vacancy = {
            let mut free = lock(&self.free);
            if free.fresh - free.vacancies.len() >= max {
                return None;
            }
            match free.vacancies.pop() {
                Some(vacancy) => vacancy,
                None => {
                    let id = ConnId::first(self.first.row(), self.first.epoch(), free.fresh);
                    free.fresh += 1;
                    Vacancy { id, tenant: None }
                }
            }
        };
        if vacancy.tenant.is_none() {
            vacancy.tenant = Some(Arc::new((self.make)()));
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        Some(vacancy)
    }

    /// Takes back a vacancy that was not used.
    pub fn return_vacancy(&self, vacancy: Vacancy<T>) {
        lock(&self.free).vacancies.push(vacancy);
    }

    /// From now on the tenant is found under the vacancy's name.
    ///
    /// # Panics
    ///
    /// When somebody lives in the slot: two vacancies for one slot.
    pub fn place(&self, mut vacancy: Vacancy<T>) -> Arc<T> {
        let tenant = vacancy.tenant.take().expect("the pool fills every vacancy");
        let previous =
            lock(self.slot(vacancy.id.slot())).replace((vacancy.id, Arc::clone(&tenant)));
        assert!(
            previous.is_none(),
            "slot {} was let twice",
            vacancy.id.slot()
        );
        tenant
    }

    fn slot(&self, index: usize) -> &Slot<T> {
        let chunk = self.chunks[index / CHUNK]
            .get_or_init(|| (0..CHUNK).map(|_| Mutex::new(None)).collect());
        &chunk[index % CHUNK]
    }

    /// The tenant named `id`, unless it was evicted.
    #[must_use]
    pub fn find(&self, id: ConnId) -> Option<Arc<T>> {
        if (id.row(), id.epoch()) != (self.first.row(), self.first.epoch()) {
            return None;
        }
        let (name, tenant) = self.at(id.slot())?;
        (name == id).then_some(tenant)
    }

    /// Whoever lives in this slot.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(ConnId, Arc<T>)> {
        let chunk = self.chunks.get(index / CHUNK)?.get()?;
        lock(&chunk[index % CHUNK]).clone()
    }

    /// From now on nobody finds `id`. False: nobody could before.
    pub fn evict(&self, id: ConnId) -> bool {
        let mut slot = lock(self.slot(id.slot()));
        let lives = slot.as_ref().is_some_and(|(name, _)| *name == id);
        if lives {
            *slot = None;
        }
        lives
    }

    /// Makes the slot of the evicted `id` free, after `clean` has run on its
    /// tenant.
    ///
    /// # Errors
    ///
    /// The tenant, while somebody else still holds it: try again later.
    pub fn give_back(
        &self,
        id: ConnId,
        mut tenant: Arc<T>,
        clean: impl FnOnce(&mut T),
    ) -> Result<(), Arc<T>> {
        let Some(alone) = Arc::get_mut(&mut tenant) else {
            return Err(tenant);
        };
        clean(alone);
        self.return_vacancy(Vacancy {
            id: id.next(),
            tenant: Some(tenant),
        });
        Ok(())
    }

    /// Frees the memory of up to `count` tenants whose slots are free, the
    /// longest unused first. Their slots and names remain.
    pub fn trim(&self, count: usize) {
        let idle: Vec<Arc<T>> = lock(&self.free)
            .vacancies
            .iter_mut()
            .filter_map(|vacancy| vacancy.tenant.take())
            .take(count)
            .collect();
        self.made.fetch_sub(idle.len(), Ordering::Relaxed);
        // `idle` is dropped here, outside of the lock.
    }

    /// Frees the memory of every tenant that nobody else holds; nobody is found
    /// any more. Tenants may hold what holds the pool: this breaks the circle.
    pub fn clear(&self) {
        for slot in self.chunks.iter().filter_map(OnceLock::get).flatten() {
            let tenant = lock(slot).take();
            drop(tenant);
        }
        self.trim(usize::MAX);
    }

    /// Tenants that exist, living or waiting for a new connection.
    #[must_use]
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Everybody who can be found now.
    #[must_use]
    pub fn everybody(&self) -> Vec<(ConnId, Arc<T>)> {
        let chunks = self.chunks.iter().filter_map(OnceLock::get);
        chunks
            .flatten()
            .filter_map(|slot| lock(slot).clone())
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU64;

    fn small(initial: usize, max: usize) -> Pool<AtomicU64> {
        Pool::new(3, 9, initial, max, || AtomicU64::new(0))
    }

    #[test]
    fn it_grows_to_its_maximum_and_no_further() {
        let pool = small(2, 5);
        assert_eq!(pool.made(), 2);
        let taken: Vec<_> = std::iter::from_fn(|| pool.vacancy()).collect();
        assert_eq!(taken.len(), 5);
        assert_eq!(pool.made(), 5);
        taken
            .into_iter()
            .for_each(|vacancy| pool.return_vacancy(vacancy));
        pool.trim(3);
        assert_eq!(pool.made(), 2);
        assert_eq!(std::iter::from_fn(|| pool.vacancy()).count(), 5);
    }

    #[test]
    fn a_slot_is_not_free_while_anybody_holds_its_tenant() {
        let pool = small(0, 1);
        let vacancy = pool.vacancy().unwrap();
        let id = vacancy.id();
        let holder = pool.place(vacancy);
        let found = pool.find(id).unwrap();
        assert!(pool.evict(id));
        assert!(!pool.evict(id));
        assert!(pool.find(id).is_none());
        let found = pool.give_back(id, found, |_| {}).unwrap_err();
        assert!(pool.vacancy().is_none());
        drop(holder);
        pool.give_back(id, found, |_| {}).unwrap();
        assert_eq!(pool.vacancy().unwrap().id(), id.next());
    }

    #[test]
    fn names_of_other_workers_find_nobody() {
        let pool = small(0, 1);
        let vacancy = pool.vacancy().unwrap();
        let id = vacancy.id();
        pool.place(vacancy);
        assert!(pool.find(id).is_some());
        assert!(
            pool.find(ConnId::first(id.row(), id.epoch() + 1, id.slot()))
                .is_none()
        );
        assert!(
            pool.find(ConnId::first(id.row() + 1, id.epoch(), id.slot()))
                .is_none()
        );
        assert!(
            pool.find(ConnId::first(id.row(), id.epoch(), ConnId::SLOTS - 1))
                .is_none()
        );
    }

    /// A million random steps of connects, closes, late lookups and slow
    /// holders: a name finds its own tenant or nobody.
    #[test]
    fn a_stale_name_never_finds_a_stranger() {
        let seed = [7; 32];
        let mut random = proptest::test_runner::TestRng::from_seed(
            proptest::test_runner::RngAlgorithm::ChaCha,
            &seed,
        );
        let pool = small(4, 16);
        let mut living: Vec<ConnId> = Vec::new();
        let mut held: Vec<(ConnId, Arc<AtomicU64>)> = Vec::new();
        let mut leaving: Vec<(ConnId, Arc<AtomicU64>)> = Vec::new();
        let mut names: HashMap<ConnId, u64> = HashMap::new();
        let mut old: Vec<ConnId> = Vec::new();
        let mut serial = 0;
        for _ in 0..1_000_000 {
            let dice = random.next_u32();
            let pick = dice as usize / 8;
            match dice % 8 {
                0 | 1 => {
                    if let Some(mut vacancy) = pool.vacancy() {
                        serial += 1;
                        *vacancy.tenant().get_mut() = serial;
                        assert!(names.insert(vacancy.id(), serial).is_none(), "a name twice");
                        living.push(vacancy.id());
                        pool.place(vacancy);
                    } else {
                        assert_eq!(living.len() + leaving.len(), 16, "a slot was lost");
                    }
                }
                2 if !living.is_empty() => {
                    let id = living.swap_remove(pick % living.len());
                    let tenant = pool.find(id).unwrap();
                    assert!(pool.evict(id));
                    leaving.push((id, tenant));
                    old.push(id);
                }
                3 if !leaving.is_empty() => {
                    let (id, tenant) = leaving.swap_remove(pick % leaving.len());
                    let is_held = held.iter().any(|(name, _)| *name == id);
                    match pool.give_back(id, tenant, |_| {}) {
                        Ok(()) => assert!(!is_held, "reused while held"),
                        Err(tenant) => {
                            assert!(is_held);
                            leaving.push((id, tenant));
                        }
                    }
                }
                4 if !living.is_empty() && held.len() < 8 => {
                    let id = living[pick % living.len()];
                    held.push((id, pool.find(id).unwrap()));
                }
                5 if !held.is_empty() => {
                    let (id, tenant) = held.swap_remove(pick % held.len());
                    assert_eq!(tenant.load(Ordering::Relaxed), names[&id]);
                }
                6 if !old.is_empty() => {
                    assert!(pool.find(old[pick % old.len()]).is_none());
                }
                _ if !living.is_empty() => {
                    let id = living[pick % living.len()];
                    assert_eq!(pool.find(id).unwrap().load(Ordering::Relaxed), names[&id]);
                }
                _ => {}
            }
        }
    }
}
