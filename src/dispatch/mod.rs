//! Dispatch.
pub mod outlet;
