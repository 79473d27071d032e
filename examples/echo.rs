//! Echo, twice: on the business pool (1) and on the event loop (2).
//!
//! ```text
//! cargo run --release --example echo
//! ```

use purlin::prelude::*;

fn main() -> ExitCode {
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, |_, body: Bytes| body)
        .main()
}
