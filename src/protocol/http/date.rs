//! The time of day as HTTP writes it. The time comes in; nothing here asks a
//! clock.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

/// Bytes of such a date.
const LEN: usize = 29;

thread_local! {
    /// What this thread wrote last: one date is good for a second.
    static LAST: Cell<(u64, [u8; LEN])> = const { Cell::new((u64::MAX, [0; LEN])) };
}

/// Seconds since 1970 as `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(seconds: u64) -> [u8; LEN] {
    let (last, date) = LAST.get();
    if last == seconds {
        return date;
    }
    // Years of more than four digits cannot be written.
    let seconds = seconds.min(253_402_300_799);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let text = httpdate::fmt_http_date(time);
    let date = text
        .as_bytes()
        .try_into()
        .expect("such dates have one length");
    LAST.set((seconds, date));
    date
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_rfc() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(seconds), text.as_bytes());
        }
    }
}
