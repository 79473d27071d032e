//! A handler that blocks for a second, beside one that does not.
//!
//! While a client waits for 1, others get their echo from 2 at once: handlers
//! run on a pool of threads, one connection at a time each.
//!
//! ```text
//! cargo run --release --example blocking
//! ```

use std::thread;

use purlin::prelude::*;

const SLOW: Id = 1;
const ECHO: Id = 2;

fn main() -> ExitCode {
    App::<()>::new()
        .on(SLOW, |_, body: Bytes| {
            thread::sleep(Duration::from_secs(1));
            body
        })
        .on(ECHO, |_, body: Bytes| body)
        .main()
}
