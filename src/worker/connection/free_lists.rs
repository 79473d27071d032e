//! Things that wait to be used again, by the protocol that they are made for.

use std::fmt;
use std::sync::Arc;

use crate::protocol::Protocol;

/// Protocols that have a list: a listener has one or two.
const KINDS: usize = 16;

/// One list for each protocol; `ROOM` things fit without an allocation.
pub(crate) struct FreeLists<T, const ROOM: usize>(Vec<(Arc<dyn Protocol>, Vec<T>)>);

impl<T, const ROOM: usize> Default for FreeLists<T, ROOM> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const ROOM: usize> FreeLists<T, ROOM> {
    /// The list of `protocol`; `None`: there are too many kinds.
    pub(crate) fn of(&mut self, protocol: &Arc<dyn Protocol>) -> Option<&mut Vec<T>> {
        let mut found = self.0.iter().position(|(of, _)| Arc::ptr_eq(of, protocol));
        if found.is_none() && self.0.len() < KINDS {
            found = Some(self.0.len());
            self.0
                .push((Arc::clone(protocol), Vec::with_capacity(ROOM)));
        }
        found.map(|at| &mut self.0[at].1)
    }
}

impl<T, const ROOM: usize> fmt::Debug for FreeLists<T, ROOM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.0.iter().map(|(_, list)| list.len());
        f.debug_list().entries(lengths).finish()
    }
}
