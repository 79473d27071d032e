//! What an old master and its new one tell each other, as datagrams of JSON:
//! the two may be of different versions, which skip what they do not know. Pure
//! but for the sending.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::log;
use crate::sys::channel::{Channel, Received};

/// Bytes of sums in one word, and in all: what the line has room for beside others.
const SUMS_AT_ONCE: usize = 12 << 10;
const SUMS_MAX: usize = 72 << 10;

/// What was counted by name, as the words that say it.
pub(in crate::master) fn sums(counted: &[(String, u64)]) -> impl Iterator<Item = ToNewMaster> {
    // As JSON, with a number of up to twenty digits.
    let room = |name: &str| name.len() + 32;
    let mut parts: Vec<Vec<(String, u64)>> = Vec::new();
    let (mut all, mut left) = (0, 0);
    for one in counted {
        let len = room(&one.0);
        all += len;
        if all > SUMS_MAX {
            let count = counted.len();
            log::warn!("upgrade: {count} sums by name are too many: some begin anew");
            break;
        }
        if parts.is_empty() || len > left {
            parts.push(Vec::new());
            left = SUMS_AT_ONCE;
        }
        left = left.saturating_sub(len);
        parts.last_mut().expect("one was pushed").push(one.clone());
    }
    parts.into_iter().map(ToNewMaster::Sums)
}

/// Longer texts are cut.
const TEXT_MAX: usize = 4096;

/// Room for the longest word: a hundred counters with their names.
const WORD_MAX: usize = 64 << 10;

/// From the old master.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::master) enum ToNewMaster {
    /// A part of what was counted by name, before [`Self::TakeOver`] or
    /// [`Self::Left`], which then mean it as well.
    Sums(Vec<(String, u64)>),
    /// Rule. What was counted so far, for those who do not share the memory.
    TakeOver(Vec<(String, u64)>),
    /// The service manager was told who rules; it listens to nobody else.
    Named,
    /// End: the upgrade is rolled back.
    End,
    /// Wake the worker of this row: the accept mutex may be its own.
    Wake { row: usize },
    /// So many generations drain at the old master and at those before it, with their
    /// workers in these rows.
    Drains {
        generations: usize,
        rows: Vec<usize>,
    },
    /// All of the old master's workers are gone. What was counted in all.
    Left(Vec<(String, u64)>),
}

/// From the new master.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::master) enum ToOldMaster {
    /// It has begun, and listens.
    Listens,
    /// All workers are ready.
    Ready,
    /// This one rules.
    TookOver,
    /// It ends because of this.
    Failed(String),
    /// Wake the worker of this row: the accept mutex may be its own.
    Wake { row: usize },
    /// Yet another master is started: where its workers are not, others may be.
    Replaced,
    /// It is ending: have left within so many milliseconds.
    Hurry(u64),
    /// A line to a worker of this generation comes along, for one of the old
    /// master's workers: which of them, from 0.
    Successor { number: usize, generation: u64 },
}

impl ToOldMaster {
    /// Cut at a sane length.
    pub(in crate::master) fn failed(text: &str) -> Self {
        Self::Failed(text.chars().take(TEXT_MAX).collect())
    }

    pub(in crate::master) fn hurry(left: Duration) -> Self {
        Self::Hurry(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Says `word`. The line has room for all that is ever said on it; one that is
/// closed is noticed by whoever listens.
pub(in crate::master) fn tell(line: &Channel, word: &impl Serialize) {
    give(line, word, None);
}

/// As [`tell`], with an end of another line.
pub(in crate::master) fn give(line: &Channel, word: &impl Serialize, end: Option<&Channel>) {
    let datagram = serde_json::to_vec(word).expect("strings and numbers become JSON");
    let end = end.map(AsFd::as_fd);
    if let Err(error) = line.send(&datagram, end.as_slice())
        && error.kind() != io::ErrorKind::BrokenPipe
        && error.kind() != io::ErrorKind::ConnectionReset
    {
        log::warn!("tell the other master: {error}");
    }
}

/// What was heard.
pub(in crate::master) enum Heard<T> {
    Word(T),
    /// With an end of another line.
    Line(T, Channel),
    Nothing,
    /// The other end is closed.
    Silence,
}

/// The next word. What it does not know it skips.
pub(in crate::master) fn hear<T: DeserializeOwned>(line: &Channel) -> Heard<T> {
    let mut datagram = vec![0; WORD_MAX];
    loop {
        match line.receive(&mut datagram) {
            Ok(Received::Datagram(len, mut ends)) => match serde_json::from_slice(&datagram[..len])
            {
                Ok(word) => {
                    return match ends.pop() {
                        Some(end) => Heard::Line(word, end.into()),
                        None => Heard::Word(word),
                    };
                }
                Err(error) => log::warn!("the other master said something unknown: {error}"),
            },
            Ok(Received::Nothing) => return Heard::Nothing,
            Ok(Received::Undelivered(_)) => {
                log::error!("hear the other master: no descriptor is free; raise `ulimit -n`");
                return Heard::Silence;
            }
            Ok(Received::Closed) | Err(_) => return Heard::Silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_the_unknown_is_skipped() {
        let (old_master, new_master) = Channel::pair().unwrap();
        let counted = vec![("messages_handled".to_owned(), u64::MAX)];
        let words = [
            ToNewMaster::TakeOver(counted.clone()),
            ToNewMaster::Named,
            ToNewMaster::Wake { row: 3 },
            ToNewMaster::End,
            ToNewMaster::Drains {
                generations: 2,
                rows: vec![0, 254],
            },
            ToNewMaster::Left(counted),
        ];
        for word in &words {
            tell(&old_master, &"dance");
            tell(&old_master, word);
        }
        for word in words {
            let Heard::Word::<ToNewMaster>(heard) = hear(&new_master) else {
                panic!("{word:?} was not heard");
            };
            assert_eq!(heard, word);
        }
        assert!(matches!(hear::<ToNewMaster>(&new_master), Heard::Nothing));
        drop(old_master);
        assert!(matches!(hear::<ToNewMaster>(&new_master), Heard::Silence));
        tell(&new_master, &ToOldMaster::Ready);
    }

    #[test]
    fn long_texts_are_cut_and_still_words() {
        let (old_master, new_master) = Channel::pair().unwrap();
        tell(&new_master, &ToOldMaster::failed(&"ü".repeat(10_000)));
        let Heard::Word(ToOldMaster::Failed(text)) = hear(&old_master) else {
            panic!("nothing was heard");
        };
        assert_eq!(text.chars().count(), TEXT_MAX);
    }
}
