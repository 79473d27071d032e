//! What can be wrong with a reply, counted by kind, the first few in words.

use std::fmt::Write;

/// Faults that are told in words.
const TOLD: usize = 5;

/// Bytes of a wrong body that are shown, from a multiple of as many.
const SHOWN: usize = 16;

/// One kind of fault; each is one thing to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A connection could not be made.
    Connect,
    /// A reply that is not the one that was owed.
    Wrong,
    /// An error frame instead of a reply.
    ErrorFrame,
    /// A reply whose status is none of the right ones.
    Status,
    /// Bytes that are no frame and no reply of HTTP, or a frame whose checksum is
    /// not that of its body.
    Unreadable,
    /// The connection ended before the reply.
    Lost,
    /// No reply in time.
    Timeout,
    /// A request that could not be sent at all.
    Unsent,
}

impl Kind {
    /// Each with its name in JSON and its words in a report.
    pub(super) const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Connect, "connect", "failed connects"),
        (Self::Wrong, "wrong", "wrong replies"),
        (Self::ErrorFrame, "error_frame", "error frames"),
        (Self::Status, "status", "unwanted statuses"),
        (Self::Unreadable, "unreadable", "unreadable replies"),
        (Self::Lost, "lost", "lost with their connection"),
        (Self::Timeout, "timeout", "timed out"),
        (Self::Unsent, "unsent", "never sent"),
    ];
}

/// A fault, and what was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) detail: String,
}

/// The faults of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    counts: [u64; Kind::ALL.len()],
    told: Vec<String>,
}

impl Faults {
    /// Takes note of a fault of `client`.
    pub(super) fn add(&mut self, client: u32, fault: &Fault) {
        self.counts[fault.kind as usize] += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("client {client}, {}", fault.detail));
        }
    }

    /// Takes note of `count` faults whose cause was told already.
    pub(super) fn add_untold(&mut self, kind: Kind, count: u64) {
        self.counts[kind as usize] += count;
    }

    /// Adds those of another thread.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self.counts.iter_mut().zip(other.counts) {
            *own += other;
        }
        let room = TOLD - self.told.len();
        self.told.extend(other.told.iter().take(room).cloned());
    }

    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The first few in words; some have several lines.
    pub(super) fn told(&self) -> &[String] {
        &self.told
    }
}

/// Where and how `found` differs from `expected`, as lines of hexadecimal.
pub(super) fn difference(expected: &[u8], found: &[u8]) -> String {
    let differs = expected.iter().zip(found).position(|(a, b)| a != b);
    let at = differs.unwrap_or(expected.len().min(found.len()));
    let from = at / SHOWN * SHOWN;
    let line = |bytes: &[u8]| {
        let mut line = String::new();
        for (n, byte) in (from..)
            .zip(bytes.get(from..).unwrap_or_default())
            .take(SHOWN)
        {
            // The byte in question stands in brackets.
            let (open, close) = if n == at { ('[', ']') } else { (' ', ' ') };
            let _infallible = write!(line, "{open}{byte:02x}{close}");
        }
        line.trim_end().to_owned()
    };
    let lengths = if expected.len() == found.len() {
        format!("{} bytes", found.len())
    } else {
        format!("{} bytes instead of {}", found.len(), expected.len())
    };
    format!(
        "{lengths}, differing from offset {at:#06x}\n    expected {from:#06x} {}\n    received {from:#06x} {}",
        line(expected),
        line(found)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_as_they_are_listed() {
        for (at, (kind, ..)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }

    #[test]
    fn all_are_counted_and_a_few_told() {
        let mut faults = Faults::default();
        let fault = |n: u32| Fault {
            kind: Kind::Wrong,
            detail: format!("request {n}"),
        };
        (0..4).for_each(|n| faults.add(n, &fault(n)));
        let mut all = faults.clone();
        all.merge(&faults);
        all.add_untold(Kind::Lost, 3);
        assert_eq!((all.count(Kind::Wrong), all.count(Kind::Lost)), (8, 3));
        assert_eq!(all.total(), 11);
        assert_eq!(all.told().len(), TOLD);
        assert_eq!(all.told()[0], "client 0, request 0");
    }

    #[test]
    fn the_first_different_byte_is_shown_among_its_neighbours() {
        let sent: Vec<u8> = (0..40).collect();
        let mut received = sent.clone();
        received[33] = 0xff;
        let text = difference(&sent, &received);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "40 bytes, differing from offset 0x0021");
        assert_eq!(
            lines[1],
            "    expected 0x0020  20 [21] 22  23  24  25  26  27"
        );
        assert_eq!(
            lines[2],
            "    received 0x0020  20 [ff] 22  23  24  25  26  27"
        );
        for (found, expected) in [
            (
                &sent[..39],
                "39 bytes instead of 40, differing from offset 0x0027",
            ),
            (&[], "0 bytes instead of 40, differing from offset 0x0000"),
        ] {
            let text = difference(&sent, found);
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
