//! What a master and its worker tell each other, as datagrams; pure.

use std::time::Duration;

/// Longer texts of a worker are cut.
pub(super) const TEXT_MAX: usize = 4096;

/// From the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ToWorker {
    /// Drain, at most so long. A second one replaces the time.
    Drain(Option<Duration>),
    /// Log to the file that comes along from now on.
    Reopen,
    /// Hand connections over the line that comes along, to a worker of this
    /// generation, when draining.
    Successor(u64),
    /// Take connections over the line that comes along.
    Predecessor,
    /// Write the access log to the file that comes along from now on.
    ReopenAccess,
}

impl ToWorker {
    pub(super) fn datagram(self) -> Vec<u8> {
        match self {
            Self::Drain(None) => b"drain".to_vec(),
            Self::Drain(Some(limit)) => format!("drain {}", limit.as_millis()).into_bytes(),
            Self::Reopen => b"reopen".to_vec(),
            Self::Successor(generation) => format!("successor {generation}").into_bytes(),
            Self::Predecessor => b"predecessor".to_vec(),
            Self::ReopenAccess => b"reopen-access".to_vec(),
        }
    }

    /// `None` for what no master sends.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        match std::str::from_utf8(datagram).ok()? {
            "drain" => Some(Self::Drain(None)),
            "reopen" => Some(Self::Reopen),
            "predecessor" => Some(Self::Predecessor),
            "reopen-access" => Some(Self::ReopenAccess),
            text => {
                if let Some(generation) = text.strip_prefix("successor ") {
                    return Some(Self::Successor(generation.parse().ok()?));
                }
                let millis = text.strip_prefix("drain ")?.parse().ok()?;
                Some(Self::Drain(Some(Duration::from_millis(millis))))
            }
        }
    }
}

/// From a worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ToMaster {
    /// It serves.
    Ready,
    /// It ends because of this.
    Failed(String),
}

impl ToMaster {
    pub(super) fn datagram(&self) -> Vec<u8> {
        match self {
            Self::Ready => b"ready".to_vec(),
            Self::Failed(text) => {
                let mut datagram = format!("failed {text}").into_bytes();
                datagram.truncate(TEXT_MAX);
                datagram
            }
        }
    }

    /// `None` for what no worker sends.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        match datagram {
            b"ready" => Some(Self::Ready),
            _ => {
                let text = datagram.strip_prefix(b"failed ")?;
                Some(Self::Failed(String::from_utf8_lossy(text).into_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_arrives() {
        let second = Duration::from_secs(1);
        for message in [
            ToWorker::Drain(None),
            ToWorker::Drain(Some(second)),
            ToWorker::Drain(Some(Duration::ZERO)),
            ToWorker::Reopen,
            ToWorker::Successor(7),
            ToWorker::Predecessor,
            ToWorker::ReopenAccess,
        ] {
            assert_eq!(ToWorker::parse(&message.datagram()), Some(message));
        }
        for message in [ToMaster::Ready, ToMaster::Failed("no\ndisk".into())] {
            assert_eq!(ToMaster::parse(&message.datagram()), Some(message));
        }
    }

    #[test]
    fn nonsense_is_nothing_and_long_texts_are_cut() {
        for datagram in [&b"drain x"[..], b"", b"dance", b"successor", b"\xff"] {
            assert_eq!(ToWorker::parse(datagram), None);
            assert_eq!(ToMaster::parse(datagram), None);
        }
        let long = ToMaster::Failed("x".repeat(10_000)).datagram();
        assert_eq!(long.len(), TEXT_MAX);
    }
}
