//! The purlin daemon: the services that are built in, served by the library
//! like anybody's own.

use purlin::prelude::*;

/// Answers with the same bytes.
const ECHO: Id = 1;
/// Answers with the time of day, as RFC 3339 text in UTC.
const TIME: Id = 2;

fn main() -> ExitCode {
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(TIME, |_, (): ()| jiff::Timestamp::now().to_string())
        .main()
}
