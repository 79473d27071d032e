//! What a master and its worker tell each other, as text; pure.

use std::time::Duration;

use ::log::LevelFilter;

use crate::master::cycle::SocketName;
use crate::net::{ConnId, UserName, Words};

/// From the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::master) enum ToWorker {
    /// The server stops: serve who waits, refuse everybody else.
    Refuse,
    /// Drain, at most so long. A second one replaces the time.
    Drain(Option<Duration>),
    /// Others serve: drain for as long as something makes progress. Who goes on
    /// talking may do so for this long.
    Retire(Duration),
    /// Log to the file that comes along from now on.
    Reopen,
    /// Hand connections over the line that comes along, to a worker of this
    /// generation, when draining.
    Successor(u64),
    /// Take connections over the line that comes along.
    Predecessor,
    /// Write the access log to the file that comes along from now on.
    ReopenAccess,
    /// Log at this level from now on.
    LogLevel(LevelFilter),
    /// Write the connections into the file that comes along.
    List,
    /// Close this connection, whose peer is told something.
    Kick(ConnId, Option<Words>),
    /// Close the connections of this user, whose peers are told something.
    KickUser(UserName, Option<Words>),
    /// Look at the accept mutex: it may be yours.
    CheckAcceptMutex,
    /// Accept as well from the socket that comes along, which has this name.
    Adopt(SocketName),
}

impl ToWorker {
    /// Bytes of the longest: with a name, its length, and words.
    pub(in crate::master) const DATAGRAM_MAX: usize = 32 + UserName::MAX + Words::MAX;

    pub(in crate::master) fn datagram(self) -> Vec<u8> {
        match self {
            Self::Refuse => b"refuse".to_vec(),
            Self::Drain(None) => b"drain".to_vec(),
            Self::Drain(Some(limit)) => format!("drain {}", limit.as_millis()).into_bytes(),
            Self::Retire(talk) => format!("retire {}", talk.as_millis()).into_bytes(),
            Self::Reopen => b"reopen".to_vec(),
            Self::Successor(generation) => format!("successor {generation}").into_bytes(),
            Self::Predecessor => b"predecessor".to_vec(),
            Self::ReopenAccess => b"reopen-access".to_vec(),
            Self::LogLevel(level) => format!("level {level}").into_bytes(),
            Self::List => b"list".to_vec(),
            Self::Kick(id, None) => format!("kick {id}").into_bytes(),
            Self::Kick(id, Some(say)) => format!("kick {id} {say}").into_bytes(),
            // A name may have any characters: its length says where it ends.
            Self::KickUser(user, say) => {
                let (len, say) = (user.as_str().len(), say.as_ref().map_or("", Words::as_str));
                format!("kick-user {len} {user}{say}").into_bytes()
            }
            Self::CheckAcceptMutex => b"check-accept-mutex".to_vec(),
            Self::Adopt((number, n)) => format!("adopt {number}.{n}").into_bytes(),
        }
    }

    /// `None` for what no master sends.
    pub(in crate::master) fn parse(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        match text.split_once(' ') {
            None => match text {
                "refuse" => Some(Self::Refuse),
                "drain" => Some(Self::Drain(None)),
                "reopen" => Some(Self::Reopen),
                "reopen-access" => Some(Self::ReopenAccess),
                "predecessor" => Some(Self::Predecessor),
                "list" => Some(Self::List),
                "check-accept-mutex" => Some(Self::CheckAcceptMutex),
                _ => None,
            },
            Some(("successor", generation)) => generation.parse().ok().map(Self::Successor),
            Some(("drain", millis)) => {
                let limit = Duration::from_millis(millis.parse().ok()?);
                Some(Self::Drain(Some(limit)))
            }
            Some(("retire", millis)) => {
                let talk = Duration::from_millis(millis.parse().ok()?);
                Some(Self::Retire(talk))
            }
            Some(("level", level)) => level.parse().ok().map(Self::LogLevel),
            Some(("kick", rest)) => {
                let (id, say) = rest.split_once(' ').unwrap_or((rest, ""));
                Some(Self::Kick(id.parse().ok()?, words(say)?))
            }
            Some(("kick-user", rest)) => {
                let (len, rest) = rest.split_once(' ')?;
                let (user, say) = rest.split_at_checked(len.parse().ok()?)?;
                Some(Self::KickUser(user.parse().ok()?, words(say)?))
            }
            Some(("adopt", name)) => {
                let (number, n) = name.split_once('.')?;
                Some(Self::Adopt((number.parse().ok()?, n.parse().ok()?)))
            }
            Some(_) => None,
        }
    }
}

/// What a peer is told; `None`: no master says that.
fn words(text: &str) -> Option<Option<Words>> {
    match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

/// From a worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::master) enum ToMaster {
    /// It serves.
    Ready,
    /// The connections stand in the file.
    Listed,
    /// Whether there was such a connection, which is closed then.
    Kicked(ConnId, bool),
    /// How many connections of the user it has closed.
    KickedUser(UserName, usize),
    /// It ends because of this.
    Failed(String),
}

impl ToMaster {
    pub(in crate::master) fn letter(&self) -> Vec<u8> {
        match self {
            Self::Ready => b"ready".to_vec(),
            Self::Listed => b"listed".to_vec(),
            Self::Kicked(id, true) => format!("kicked {id}").into_bytes(),
            Self::Kicked(id, false) => format!("unknown {id}").into_bytes(),
            Self::KickedUser(user, count) => format!("kicked-user {count} {user}").into_bytes(),
            Self::Failed(text) => format!("failed {text}").into_bytes(),
        }
    }

    /// `None` for what no worker sends.
    pub(in crate::master) fn parse(letter: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(letter);
        match text.split_once(' ') {
            None => match &*text {
                "ready" => Some(Self::Ready),
                "listed" => Some(Self::Listed),
                _ => None,
            },
            Some(("kicked", id)) => Some(Self::Kicked(id.parse().ok()?, true)),
            Some(("unknown", id)) => Some(Self::Kicked(id.parse().ok()?, false)),
            Some(("kicked-user", rest)) => {
                let (count, user) = rest.split_once(' ')?;
                Some(Self::KickedUser(user.parse().ok()?, count.parse().ok()?))
            }
            Some(("failed", text)) => Some(Self::Failed(text.to_owned())),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_arrives() {
        let second = Duration::from_secs(1);
        let id = ConnId::first(1, 2, 3);
        let user: UserName = "ann the 2nd\n".parse().unwrap();
        let (say, longest) = ("go home, ann".parse().ok(), "u".repeat(128));
        for message in [
            ToWorker::Refuse,
            ToWorker::Drain(None),
            ToWorker::Drain(Some(second)),
            ToWorker::Drain(Some(Duration::ZERO)),
            ToWorker::Retire(second),
            ToWorker::Reopen,
            ToWorker::Successor(7),
            ToWorker::Predecessor,
            ToWorker::ReopenAccess,
            ToWorker::LogLevel(LevelFilter::Off),
            ToWorker::List,
            ToWorker::Kick(id, None),
            ToWorker::Kick(id, say),
            ToWorker::KickUser(user, None),
            ToWorker::KickUser(user, say),
            ToWorker::KickUser(longest.parse().unwrap(), longest[..123].parse().ok()),
            ToWorker::CheckAcceptMutex,
            ToWorker::Adopt((12, 3)),
        ] {
            let datagram = message.datagram();
            assert!(datagram.len() <= ToWorker::DATAGRAM_MAX, "{message:?}");
            assert_eq!(ToWorker::parse(&datagram), Some(message));
        }
        for message in [
            ToMaster::Ready,
            ToMaster::Listed,
            ToMaster::Kicked(id, true),
            ToMaster::Kicked(id, false),
            ToMaster::KickedUser(user, 3),
            ToMaster::Failed("no\ndisk".into()),
        ] {
            assert_eq!(ToMaster::parse(&message.letter()), Some(message));
        }
    }

    #[test]
    fn nonsense_is_nothing() {
        for letter in [
            &b"drain x"[..],
            b"",
            b"dance",
            b"successor",
            b"\xff",
            b"kick 1",
            b"kick 1.2.3.0 a\nb",
            b"kick-user ",
            b"kick-user 9 ann",
            b"kick-user 0 ann",
            b"kicked-user 1",
            b"kicked-user x ann",
            b"level x",
        ] {
            assert_eq!(ToWorker::parse(letter), None);
            assert_eq!(ToMaster::parse(letter), None);
        }
    }
}
