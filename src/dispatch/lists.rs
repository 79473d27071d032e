//! Lists of who and what there is, over all workers, a page at a time.
//!
//! Each worker gives the first of its own that come behind where the page begins, as
//! many as the page may have. So the first of all of these together are the page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hub::Hub;
use super::target::{Target, Who};
use crate::bus::{self, Message};
use crate::net::ConnId;

/// Names and connections on a page at most.
const PAGE: usize = 10_000;

/// Bytes of an answer, after which the rest is left to the next page.
const ANSWER: usize = 2 * 1024 * 1024;

/// A part of a list over all workers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// What there is, sorted, nothing twice.
    pub all: Vec<T>,
    /// Whether there is more behind the last one.
    pub has_more: bool,
    /// Whether all workers have said what they have. If not, one did not answer within
    /// a second, or the calling thread may not wait for it.
    pub is_complete: bool,
}

/// A connection on a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub conn: ConnId,
    /// Whom it is bound to.
    pub user: Option<String>,
}

/// A room or a user on a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// How many connections are in that room, streams that listen to it included, or
    /// are this user; at least one.
    pub count: usize,
}

/// What one worker asks another.
#[derive(Deserialize, Serialize)]
enum Question {
    /// Those of a target, behind a name.
    Members(Whose, Option<u64>, usize),
    Rooms(Option<String>, usize),
    Users(Option<String>, usize),
}

#[derive(Deserialize, Serialize)]
enum Whose {
    Conn(u64),
    User(String),
    Room(String),
    All,
}

/// What it gets: some of its list, sorted, and whether there is more.
#[derive(Deserialize, Serialize)]
struct Part<K: Ord, V> {
    of: BTreeMap<K, V>,
    has_more: bool,
}

impl<K: Ord + Clone, V> Part<K, V> {
    /// The first `max` of those behind `after`.
    fn first(of: impl Iterator<Item = (K, V)>, after: Option<&K>, max: usize) -> Self {
        let mut all: Vec<(K, V)> = of.filter(|(key, _)| Some(key) > after).collect();
        let has_more = all.len() > max;
        if has_more {
            all.select_nth_unstable_by(max, |one, other| one.0.cmp(&other.0));
            all.truncate(max);
        }
        Self {
            of: all.into_iter().collect(),
            has_more,
        }
    }

    /// Everything behind this key is on the next page.
    fn cut_behind(&mut self, last: &K) {
        while self.of.last_key_value().is_some_and(|(key, _)| key > last) {
            self.of.pop_last();
            self.has_more = true;
        }
    }

    /// No more than so many bytes, but one of them at least: who asks goes on behind it.
    fn bounded(mut self, mut room: usize, bytes: impl Fn(&K, &V) -> usize) -> Self {
        let mut fits = |(key, value): (&K, &V)| {
            let bytes = bytes(key, value);
            room = room.saturating_sub(bytes);
            room > 0
        };
        let fitting = self.of.iter().take_while(|one| fits(*one)).count().max(1);
        while self.of.len() > fitting {
            self.of.pop_last();
            self.has_more = true;
        }
        self
    }

    /// Takes another worker's in.
    fn merge(&mut self, other: Self, add: impl Fn(&mut V, V)) {
        let ends: Vec<K> = [&*self, &other]
            .into_iter()
            .filter(|one| one.has_more)
            .filter_map(|one| one.of.last_key_value().map(|(key, _)| key.clone()))
            .collect();
        for (key, value) in other.of {
            match self.of.get_mut(&key) {
                Some(mine) => add(mine, value),
                None => _ = self.of.insert(key, value),
            }
        }
        self.has_more |= other.has_more;
        // What one has behind its end is not known, and so is no other's.
        ends.iter().for_each(|end| self.cut_behind(end));
    }

    /// What all workers have; `own` is this one's.
    fn everywhere(
        own: Self,
        (hub, question): (&Hub, &Question),
        add: impl Fn(&mut V, V),
    ) -> (Self, bool)
    where
        K: for<'a> Deserialize<'a>,
        V: for<'a> Deserialize<'a>,
    {
        let question = serde_json::to_vec(question).unwrap_or_default();
        let answers = hub.ask_others(&question);
        let (mut all, mut is_complete) = (own, answers.is_complete);
        for body in answers.bodies {
            match serde_json::from_slice(&body) {
                Ok(part) => all.merge(part, &add),
                // Of another release, perhaps.
                Err(_) => is_complete = false,
            }
        }
        (all, is_complete)
    }

    fn page<T>(mut self, max: usize, is_complete: bool, item: impl Fn((K, V)) -> T) -> Page<T> {
        while self.of.len() > max {
            self.of.pop_last();
            self.has_more = true;
        }
        Page {
            all: self.of.into_iter().map(item).collect(),
            has_more: self.has_more,
            is_complete,
        }
    }
}

type Members = Part<u64, Option<String>>;
type Groups = Part<String, usize>;

fn members_of(target: &Target<'_>, after: Option<u64>, max: usize) -> Members {
    let (hub, worker) = (target.hub, target.hub.worker());
    let mut slots = target.names();
    slots.retain(|slot| worker.knows(*slot) || hub.arrivals().has(*slot));
    let named = slots
        .iter()
        .map(|slot| (worker.name_of(*slot).word(), *slot));
    let part = Part::first(named, after.as_ref(), max);
    let slots: Vec<ConnId> = part.of.values().copied().collect();
    let users = hub.directory().users_of(&slots);
    let of = part.of.into_keys().zip(users).collect();
    let has_more = part.has_more;
    Part { of, has_more }
}

fn groups_of(all: Vec<(String, usize)>, after: Option<&String>, max: usize) -> Groups {
    Part::first(all.into_iter(), after, max)
}

/// Bytes of a name as JSON has it, and of what stands beside it.
fn written(name: &str) -> usize {
    let bytes = name.bytes().map(|byte| match byte {
        0..b' ' => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    });
    64 + bytes.sum::<usize>()
}

fn group((name, count): (String, usize)) -> Group {
    Group { name, count }
}

impl Target<'_> {
    /// Who they are, in all workers, each with its user: the first `max` (1 to 10,000)
    /// of those behind `after`, or from the beginning. Streams that listen to a room
    /// ([`Http::events_of`](crate::web::Http::events_of)) are counted by
    /// [`count`](Self::count), and not listed.
    ///
    /// Asks the other workers and waits for their answers, for a second at most: for
    /// handlers on the business pool, and for threads of the program's own. On the
    /// event loop (`run = "inline"`) it waits for nobody, and gives those of its own
    /// worker as [incomplete](Page::is_complete). Who comes or goes meanwhile may be
    /// on it or not; a connection that changes its worker is on it once.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, name: String| { c.bind(&name); c.join("lobby"); })
    ///     .on(2, |c, (): ()| {
    ///         let members = c.hub().room("lobby").members(None, 100);
    ///         let names: Vec<_> = members.all.into_iter().filter_map(|one| one.user).collect();
    ///         names.join(" and ")
    ///     });
    /// let mut test = app.test();
    /// let (ann, bob) = (test.connect(), test.connect());
    /// test.send(ann, 1, "ann");
    /// test.send(bob, 1, "bob");
    /// assert_eq!(test.call(ann, 2, ()).unwrap(), "ann and bob");
    /// ```
    #[must_use]
    pub fn members(self, after: Option<ConnId>, max: usize) -> Page<Member> {
        let (after, max) = (after.map(ConnId::word), max.clamp(1, PAGE));
        let own = members_of(&self, after, max);
        let whose = match self.who {
            Who::Conn(conn) => Whose::Conn(conn.word()),
            Who::User(name) | Who::Older(name, _) => Whose::User(name.to_owned()),
            Who::Room(name) => Whose::Room(name.to_owned()),
            Who::All => Whose::All,
        };
        // One more, for who is left out.
        let question = Question::Members(whose, after, max + 1);
        let merge = |mine: &mut Option<String>, other| *mine = mine.take().or(other);
        let (mut all, is_complete) = Part::everywhere(own, (self.hub, &question), merge);
        if let Some(except) = self.except {
            all.of.remove(&except.word());
        }
        all.page(max, is_complete, |(word, user)| Member {
            conn: ConnId::from_word(word),
            user,
        })
    }
}

impl Hub {
    /// The rooms that there are in any worker, by name, each with how many are there:
    /// the first `max` (1 to 10,000) of those behind `after`, or from the beginning.
    /// Waits as [`Target::members`] does. A connection that changes its worker at this
    /// very moment may be counted twice.
    #[must_use]
    pub fn rooms(&self, after: Option<&str>, max: usize) -> Page<Group> {
        let (after, max) = (after.map(str::to_owned), max.clamp(1, PAGE));
        let own = groups_of(self.directory().room_sizes(), after.as_ref(), max);
        self.groups(own, &Question::Rooms(after, max), max)
    }

    /// The users that have connections to any worker, as [`Self::rooms`].
    #[must_use]
    pub fn users(&self, after: Option<&str>, max: usize) -> Page<Group> {
        let (after, max) = (after.map(str::to_owned), max.clamp(1, PAGE));
        let own = groups_of(self.directory().user_sizes(), after.as_ref(), max);
        self.groups(own, &Question::Users(after, max), max)
    }

    fn groups(&self, own: Groups, question: &Question, max: usize) -> Page<Group> {
        let add = |mine: &mut usize, other| *mine += other;
        let (all, is_complete) = Part::everywhere(own, (self, question), add);
        all.page(max, is_complete, group)
    }

    /// Answers a question of another worker. On the `bus` thread.
    pub(super) fn hear_question(&self, message: &Message) {
        // What cannot be read is of another release, or of a broken neighbour: it
        // gets no answer, and its page is incomplete.
        let Ok(question) = serde_json::from_slice(&message.body) else {
            return;
        };
        let (directory, room) = (self.directory(), self.bus().map_or(0, bus::Member::spare));
        let room = room.min(ANSWER);
        let groups = |all, after: Option<String>, max: usize| {
            let part = groups_of(all, after.as_ref(), max.min(PAGE));
            serde_json::to_vec(&part.bounded(room, |name, _| written(name)))
        };
        let answer = match question {
            Question::Members(whose, after, max) => {
                let who = match &whose {
                    Whose::Conn(word) => Who::Conn(ConnId::from_word(*word)),
                    Whose::User(name) => Who::User(name),
                    Whose::Room(name) => Who::Room(name),
                    Whose::All => Who::All,
                };
                let target = Target {
                    hub: self,
                    who,
                    except: None,
                };
                let part = members_of(&target, after, max.min(PAGE + 1));
                let bytes = |user: &Option<String>| written(user.as_deref().unwrap_or_default());
                serde_json::to_vec(&part.bounded(room, |_, user| bytes(user)))
            }
            Question::Rooms(after, max) => groups(directory.room_sizes(), after, max),
            Question::Users(after, max) => groups(directory.user_sizes(), after, max),
        };
        if let Ok(answer) = answer {
            self.answer(message, &answer);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn part(keys: &[u32], has_more: bool) -> Part<u32, usize> {
        let of = keys.iter().map(|key| (*key, 1)).collect();
        Part { of, has_more }
    }

    fn merged(parts: [(&[u32], bool); 3]) -> (Vec<(u32, usize)>, bool) {
        let mut all = part(&[], false);
        for (keys, has_more) in parts {
            all.merge(part(keys, has_more), |mine, other| *mine += other);
        }
        (all.of.into_iter().collect(), all.has_more)
    }

    #[test]
    fn a_page_ends_where_one_worker_has_said_no_more() {
        let all = merged([(&[1, 2, 9], false), (&[2, 3], false), (&[], false)]);
        assert_eq!(all, (vec![(1, 1), (2, 2), (3, 1), (9, 1)], false));
        // What the second has between 3 and 9 is not known.
        let all = merged([(&[1, 9], false), (&[2, 3], true), (&[2, 4], true)]);
        assert_eq!(all, (vec![(1, 1), (2, 2), (3, 1)], true));
    }

    #[test]
    fn the_first_of_many_are_those_behind_the_last_page() {
        let of = |after, max| {
            let all = [5, 3, 1, 4, 2].map(|key| (key, ()));
            let part = Part::first(all.into_iter(), after, max);
            (part.of.into_keys().collect::<Vec<_>>(), part.has_more)
        };
        assert_eq!(of(None, 2), (vec![1, 2], true));
        assert_eq!(of(Some(&2), 2), (vec![3, 4], true));
        assert_eq!(of(Some(&4), 2), (vec![5], false));
        assert_eq!(of(None, 5), (vec![1, 2, 3, 4, 5], false));
    }

    #[test]
    fn an_answer_is_cut_where_it_becomes_too_large() {
        for (fill, least) in [("0", 6000), ("\u{1}", 1000)] {
            let names = (0..10_000).map(|n| (format!("{n:05}{}", fill.repeat(250)), 1));
            let part = groups_of(names.collect(), None, PAGE);
            let part = part.bounded(ANSWER, |name, _| written(name));
            assert!(part.has_more && part.of.len() > least, "{}", part.of.len());
            assert!(serde_json::to_vec(&part).unwrap().len() <= ANSWER);
        }
        let names = vec![("a".repeat(5000), 1), ("b".to_owned(), 1)];
        let part = groups_of(names, None, PAGE).bounded(1000, |name, _| written(name));
        assert!(part.has_more && part.of.len() == 1, "who asks gets on");
    }
}
