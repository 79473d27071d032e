//! All that the master reads from those whom it does not trust, for fuzz targets:
//! see `trust.md`. Nothing here may panic, block, or take long.

use super::event_loop::connections;
use super::upgrade::inheritance::is_inheritance;
use super::workers;

/// Reads what a worker has written into its ring of letters; gives how many were
/// letters of a worker of ours.
///
/// # Errors
///
/// There is no memory for a ring.
pub fn letters(ring: &[u64]) -> std::io::Result<usize> {
    workers::letters(ring)
}

/// Reads a worker's list of connections; tells whether it was one.
#[must_use]
pub fn list(text: &[u8]) -> bool {
    connections::parse(text).is_ok()
}

/// Reads the papers of an upgrade; tells whether an old master could have written
/// them.
#[must_use]
pub fn papers(text: &str) -> bool {
    is_inheritance(text)
}
