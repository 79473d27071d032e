//! The lobby's own counters. Each worker counts what happens in all of them, since it
//! started: what one counts it tells the others.

use std::collections::BTreeMap;
use std::sync::Mutex;

use purlin::prelude::*;

pub(crate) const TOPIC: &str = "counted";

const WHOLE: &str = "nothing panics while it holds the counts";

#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().expect(WHOLE).clone()
    }
}

pub(crate) fn count(hub: &Hub, what: &'static str) {
    hub.tell(TOPIC, what);
}

/// Somebody has counted, here or elsewhere.
pub(crate) fn counted(hub: &Hub, what: &Bytes) {
    let what = String::from_utf8_lossy(what).into_owned();
    let mut counts = hub.data::<Counts>().0.lock().expect(WHOLE);
    *counts.entry(what).or_default() += 1;
}
