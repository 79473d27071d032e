//! The master process: starts the workers, supervises them, and nothing else.
//!
//! One thread, never blocked, never in touch with a client. What happens to
//! the workers is decided in [`supervisor`], without I/O.

pub mod control;
pub mod pid_file;
pub mod supervisor;
