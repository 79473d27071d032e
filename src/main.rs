//! The purlin daemon.
fn main() {}
