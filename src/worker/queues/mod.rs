//! What threads of a worker give each other to do: letters, turns, deadlines.

pub(super) mod deadlines;
pub(super) mod letters;
pub(super) mod run_queue;
pub(super) mod timers;
