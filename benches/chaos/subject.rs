//! The server in the place of the daemon where a handler has to misbehave: this very
//! program, when it is asked to.

use std::process::ExitCode;

use purlin::prelude::*;

/// The environment in which this program is the server.
pub(crate) const ASKED: &str = "PURLIN_CHAOS_SUBJECT";

/// Answers with the same bytes.
const ECHO: Id = 1;

/// Answers with the worker's pid.
pub(crate) const WHO: u16 = 2;

/// Never ends, on the event loop.
pub(crate) const SPIN: u16 = 3;

/// The server.
pub(crate) fn main() -> ExitCode {
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(WHO.into(), |_, (): ()| {
            Bytes::from(std::process::id().to_be_bytes().to_vec())
        })
        .on_inline(SPIN.into(), |_, (): ()| -> String {
            loop {
                std::hint::spin_loop();
            }
        })
        .main()
}
