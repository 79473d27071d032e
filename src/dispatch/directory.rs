//! Who is in which room, and which user is which connection.
//!
//! One lock for both: a connection that ends leaves everything at once, and
//! nobody sees it half gone. Any thread.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::service::Named;
use crate::body::Id;
use crate::bus::{self, Interest};
use crate::net::ConnId;

/// What becomes of a message.
pub(super) type Hear = dyn Fn(Id, &Bytes) -> Heard + Send + Sync;

/// What a listener did with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// It took it, or did not want it.
    Taken,
    /// It has no room for it, and ends.
    Slow,
    /// It has ended.
    Gone,
}

/// A listener, as the directory knows it.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) token: u64,
    /// The connection that it listens for.
    pub(super) conn: ConnId,
    pub(super) hear: Arc<Hear>,
}

/// Rooms and users of one worker. Other workers see in the memory of the bus who
/// is there.
#[derive(Default)]
pub(super) struct Directory {
    inner: Mutex<Inner>,
    /// How many were accepted elsewhere: none, mostly, and then nobody is looked for.
    named: AtomicUsize,
    bus: Option<Arc<bus::Member>>,
    /// The last ticket, where there is no bus.
    ticket: AtomicU64,
}

#[derive(Default)]
struct Inner {
    rooms: HashMap<String, HashSet<ConnId>>,
    users: HashMap<String, HashSet<ConnId>>,
    /// Who hears what is sent to a room beside its members.
    ears: HashMap<String, Vec<Ear>>,
    /// Slots of those that were accepted in another worker, by their names.
    names: HashMap<ConnId, ConnId>,
    /// What each connection belongs to: the way back when it ends.
    members: HashMap<ConnId, Member>,
}

#[derive(Debug, Default)]
struct Member {
    rooms: HashSet<String>,
    user: Option<String>,
    /// Drawn when it became that user: who has the smaller one was there before.
    ticket: u64,
}

/// What a connection belongs to.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Memberships {
    pub(super) user: Option<String>,
    pub(super) ticket: u64,
    /// Sorted by name.
    pub(super) rooms: Vec<String>,
}

fn take_out(groups: &mut HashMap<String, HashSet<ConnId>>, name: &str, conn: ConnId) {
    if let Entry::Occupied(mut group) = groups.entry(name.to_owned()) {
        group.get_mut().remove(&conn);
        if group.get().is_empty() {
            group.remove();
        }
    }
}

/// Rooms in an order that does not change from one look to the next.
fn sorted(rooms: HashSet<String>) -> Vec<String> {
    let mut rooms: Vec<String> = rooms.into_iter().collect();
    rooms.sort_unstable();
    rooms
}

impl Inner {
    /// Who it was until now.
    fn unbind_if(&mut self, conn: ConnId, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let member = self.members.get_mut(&conn)?;
        let user = member.user.take_if(|user| is_wanted(user));
        if let Some(user) = &user {
            take_out(&mut self.users, user, conn);
        }
        self.strike_if_nothing(conn);
        user
    }

    /// Nothing is kept of who is in no room and nobody.
    fn strike_if_nothing(&mut self, conn: ConnId) {
        let is_nothing = |member: &Member| member.rooms.is_empty() && member.user.is_none();
        if self.members.get(&conn).is_some_and(is_nothing) {
            self.members.remove(&conn);
        }
    }
}

impl Directory {
    pub(super) fn new(bus: Option<Arc<bus::Member>>) -> Self {
        Self {
            inner: Mutex::default(),
            named: AtomicUsize::new(0),
            bus,
            ticket: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing under this lock panics")
    }

    /// Other workers hear of it before the lock is free again.
    fn entered(&self, name: Interest<'_>) {
        if let Some(bus) = &self.bus {
            bus.enter(name);
        }
    }

    fn left(&self, name: Interest<'_>) {
        if let Some(bus) = &self.bus {
            bus.leave(name);
        }
    }

    /// A connection that was accepted elsewhere is reached under its name here.
    pub(super) fn name(&self, conn: Named) {
        let mut inner = self.lock();
        if conn.has_moved() && inner.names.insert(conn.name, conn.conn).is_none() {
            self.entered(Interest::Conn(conn.name));
            self.entered(Interest::Accepted(conn.name.row(), conn.name.epoch()));
            self.named.store(inner.names.len(), Ordering::Release);
        }
    }

    /// And is no more.
    pub(super) fn unname(&self, conn: Named) {
        let mut inner = self.lock();
        if inner.names.get(&conn.name) == Some(&conn.conn) {
            inner.names.remove(&conn.name);
            self.left(Interest::Conn(conn.name));
            self.left(Interest::Accepted(conn.name.row(), conn.name.epoch()));
            self.named.store(inner.names.len(), Ordering::Release);
        }
    }

    /// Where a name is found in this worker, if it is here at all.
    pub(super) fn slot_of(&self, name: ConnId) -> ConnId {
        if self.named.load(Ordering::Acquire) == 0 {
            return name;
        }
        self.lock().names.get(&name).copied().unwrap_or(name)
    }

    /// False: it is in that room.
    pub(super) fn join(&self, conn: ConnId, room: &str) -> bool {
        let mut inner = self.lock();
        let is_new = inner.rooms.entry(room.to_owned()).or_default().insert(conn);
        if is_new {
            self.entered(Interest::Room(room));
            let member = inner.members.entry(conn).or_default();
            member.rooms.insert(room.to_owned());
        }
        is_new
    }

    pub(super) fn leave(&self, conn: ConnId, room: &str) {
        let mut inner = self.lock();
        let member = inner.members.get_mut(&conn);
        if member.is_some_and(|member| member.rooms.remove(room)) {
            take_out(&mut inner.rooms, room, conn);
            self.left(Interest::Room(room));
        }
        inner.strike_if_nothing(conn);
    }

    /// From now on `conn` is (also) `user`, and nobody else, with a ticket that is
    /// younger than any other. False: it was before.
    pub(super) fn bind(&self, conn: ConnId, user: &str) -> bool {
        self.bind_as(conn, user, || self.draw()).0
    }

    /// As [`Self::bind`]; gives the ticket.
    pub(super) fn bind_only(&self, conn: ConnId, user: &str) -> u64 {
        self.bind_as(conn, user, || self.draw()).1
    }

    /// As [`Self::bind`], of one that drew its ticket elsewhere. Whoever draws one from
    /// now on is younger, also where the two have counted by themselves.
    pub(super) fn rebind(&self, conn: ConnId, user: &str, ticket: u64) {
        match &self.bus {
            Some(bus) => bus.has_ticket(ticket),
            None => _ = self.ticket.fetch_max(ticket, Ordering::SeqCst),
        }
        self.bind_as(conn, user, || ticket);
    }

    fn draw(&self) -> u64 {
        let alone = || self.ticket.fetch_add(1, Ordering::SeqCst) + 1;
        self.bus.as_ref().map_or_else(alone, |bus| bus.ticket())
    }

    /// Whether it is new, and the ticket. That is drawn when this worker can be reached
    /// for the user: whoever draws a younger one, in any worker, finds this connection.
    /// And within the lock: nobody sees the connection without it.
    fn bind_as(&self, conn: ConnId, user: &str, ticket: impl FnOnce() -> u64) -> (bool, u64) {
        let inner = &mut *self.lock();
        let member = inner.members.entry(conn).or_default();
        let before = member.user.replace(user.to_owned());
        let is_new = before.as_deref() != Some(user);
        if is_new {
            self.entered(Interest::User(user));
            inner.users.entry(user.to_owned()).or_default().insert(conn);
        }
        member.ticket = ticket();
        let ticket = member.ticket;
        if let Some(before) = before.filter(|_| is_new) {
            take_out(&mut inner.users, &before, conn);
            self.left(Interest::User(&before));
        }
        (is_new, ticket)
    }

    /// The connection has ended: takes it out of everything, and gives what
    /// that was, as [`Self::memberships`].
    pub(super) fn forget(&self, conn: ConnId) -> Memberships {
        let mut inner = self.lock();
        let Some(member) = inner.members.remove(&conn) else {
            return Memberships::default();
        };
        let Member {
            user,
            ticket,
            rooms,
        } = member;
        for room in &rooms {
            take_out(&mut inner.rooms, room, conn);
            self.left(Interest::Room(room));
        }
        if let Some(user) = &user {
            take_out(&mut inner.users, user, conn);
            self.left(Interest::User(user));
        }
        Memberships {
            user,
            ticket,
            rooms: sorted(rooms),
        }
    }

    /// The connection is no user any more.
    pub(super) fn unbind(&self, conn: ConnId) {
        self.unbind_if(conn, |_| true);
    }

    /// As [`Self::unbind`], unless it is somebody else by now.
    pub(super) fn unbind_from(&self, conn: ConnId, user: &str) {
        self.unbind_if(conn, |bound| bound == user);
    }

    fn unbind_if(&self, conn: ConnId, is_wanted: impl Fn(&str) -> bool) {
        let mut inner = self.lock();
        if let Some(user) = inner.unbind_if(conn, is_wanted) {
            self.left(Interest::User(&user));
        }
    }

    /// The user that `conn` is bound to, and its rooms.
    pub(super) fn memberships(&self, conn: ConnId) -> Memberships {
        let inner = self.lock();
        let member = inner.members.get(&conn);
        member.map_or_else(Memberships::default, |member| Memberships {
            user: member.user.clone(),
            ticket: member.ticket,
            rooms: sorted(member.rooms.clone()),
        })
    }

    /// As [`Self::memberships`], with the first `most` rooms by name alone.
    pub(super) fn outline(&self, conn: ConnId, most: usize) -> (Option<String>, Vec<String>) {
        let inner = self.lock();
        let Some(member) = inner.members.get(&conn) else {
            return (None, Vec::new());
        };
        let mut rooms: Vec<&String> = member.rooms.iter().collect();
        if rooms.len() > most {
            rooms.select_nth_unstable(most);
            rooms.truncate(most);
        }
        rooms.sort_unstable();
        (member.user.clone(), rooms.into_iter().cloned().collect())
    }

    /// Connections of `user` whose tickets are older than this one.
    pub(super) fn older(&self, user: &str, ticket: u64) -> Vec<ConnId> {
        let inner = self.lock();
        let bound = inner.users.get(user).into_iter().flatten().copied();
        let is_older = |conn: &ConnId| inner.members[conn].ticket < ticket;
        bound.filter(is_older).collect()
    }

    /// Members of a room, and who listens there.
    pub(super) fn room(&self, name: &str) -> (Vec<ConnId>, Vec<Ear>) {
        let inner = self.lock();
        let members = inner.rooms.get(name).into_iter().flatten().copied();
        let ears = inner.ears.get(name).cloned();
        (members.collect(), ears.unwrap_or_default())
    }

    /// All rooms with members or listeners, sorted by name.
    pub(super) fn rooms(&self) -> Vec<String> {
        let inner = self.lock();
        let all: HashSet<&String> = inner.rooms.keys().chain(inner.ears.keys()).collect();
        sorted(all.into_iter().cloned().collect())
    }

    /// The users of connections, as far as they have one.
    pub(super) fn users_of(&self, conns: &[ConnId]) -> Vec<Option<String>> {
        let inner = self.lock();
        let user = |conn: &ConnId| inner.members.get(conn)?.user.clone();
        conns.iter().map(user).collect()
    }

    /// Names of rooms, and how many are there each, listeners included; unsorted.
    pub(super) fn room_sizes(&self) -> Vec<(String, usize)> {
        let inner = self.lock();
        let ears = |room: &String| inner.ears.get(room).map_or(0, Vec::len);
        let members = inner.rooms.iter();
        let mut all: Vec<(String, usize)> = members
            .map(|(room, conns)| (room.clone(), conns.len() + ears(room)))
            .collect();
        let only_heard = inner.ears.iter();
        let only_heard = only_heard.filter(|(room, _)| !inner.rooms.contains_key(*room));
        all.extend(only_heard.map(|(room, ears)| (room.clone(), ears.len())));
        all
    }

    /// Names of users, and how many connections each has; unsorted.
    pub(super) fn user_sizes(&self) -> Vec<(String, usize)> {
        let inner = self.lock();
        let users = inner.users.iter();
        users
            .map(|(user, conns)| (user.clone(), conns.len()))
            .collect()
    }

    pub(super) fn listen(&self, room: &str, ear: Ear) {
        let mut inner = self.lock();
        inner.ears.entry(room.to_owned()).or_default().push(ear);
        self.entered(Interest::Room(room));
    }

    /// Nobody listens under this token any more. Gives back who did: to drop it
    /// under the lock might come back here.
    pub(super) fn deafen(&self, room: &str, token: u64) -> Option<Ear> {
        let mut inner = self.lock();
        let ears = inner.ears.get_mut(room)?;
        let at = ears.iter().position(|ear| ear.token == token)?;
        let ear = ears.swap_remove(at);
        if ears.is_empty() {
            inner.ears.remove(room);
        }
        self.left(Interest::Room(room));
        Some(ear)
    }

    pub(super) fn user(&self, name: &str) -> Vec<ConnId> {
        self.lock()
            .users
            .get(name)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::Heard;
    use super::*;
    use crate::bus::{Bus, Deed, Kind, Outgoing, Shape, Whom};
    use crate::scoreboard::Scoreboard;

    fn conn(slot: usize) -> ConnId {
        ConnId::first(0, 0, slot)
    }

    #[test]
    fn who_ends_leaves_every_room_and_user_and_nothing_stays() {
        let directory = Directory::default();
        for slot in 0..2 {
            directory.join(conn(slot), "a");
            directory.join(conn(slot), "b");
            directory.bind(conn(slot), "ann");
        }
        directory.leave(conn(0), "b");
        assert_eq!(directory.room("b").0, [conn(1)]);
        assert_eq!(directory.user("ann").len(), 2);
        directory.forget(conn(1));
        assert_eq!(directory.room("a").0, [conn(0)]);
        assert_eq!(directory.user("ann"), [conn(0)]);
        directory.forget(conn(0));
        directory.forget(conn(0));
        let inner = directory.lock();
        assert!(inner.rooms.is_empty() && inner.users.is_empty() && inner.members.is_empty());
    }

    #[test]
    fn who_listens_is_forgotten_with_his_token() {
        let directory = Directory::default();
        let tokens = |room| {
            let (_, ears) = directory.room(room);
            ears.iter().map(|ear| ear.token).collect::<Vec<_>>()
        };
        for token in 0..3 {
            let hear = Arc::new(|_, _: &_| Heard::Taken);
            let conn = conn(0);
            directory.listen("a", Ear { token, conn, hear });
        }
        assert!(directory.deafen("a", 0).is_some());
        assert!(directory.deafen("a", 0).is_none());
        assert!(directory.deafen("b", 1).is_none());
        assert_eq!(tokens("a"), [2, 1]);
        assert!(directory.deafen("a", 1).is_some() && directory.deafen("a", 2).is_some());
        assert!(directory.lock().ears.is_empty());
    }

    #[test]
    fn a_connection_is_one_user_at_a_time() {
        let directory = Directory::default();
        directory.bind(conn(0), "ann");
        directory.bind(conn(0), "bob");
        assert!(directory.user("ann").is_empty());
        assert_eq!(directory.user("bob"), [conn(0)]);
        directory.bind(conn(0), "bob");
        assert_eq!(directory.user("bob"), [conn(0)]);
        directory.unbind(conn(0));
        directory.unbind(conn(0));
        assert!(directory.user("bob").is_empty());
        assert_eq!(directory.memberships(conn(0)), Memberships::default());
    }

    #[test]
    fn who_bound_himself_last_is_the_youngest() {
        let directory = Directory::default();
        directory.bind(conn(0), "ann");
        directory.rebind(conn(1), "ann", 1_000_000);
        let ticket = directory.bind_only(conn(2), "ann");
        let mut older = directory.older("ann", ticket);
        older.sort_unstable();
        assert_eq!(older, [conn(0), conn(1)]);
        // Once more, and it is the youngest.
        directory.bind(conn(0), "ann");
        assert_eq!(directory.older("ann", ticket), [conn(1)]);
        assert!(directory.older("bob", u64::MAX).is_empty());
    }

    /// Of two who log in at the same time in two workers one would not find the other,
    /// if tickets were drawn before.
    #[test]
    fn who_draws_a_ticket_is_found_by_who_draws_the_next_one() {
        const NAMES: usize = 64;
        let (rows, ring) = (2, 1 << 12);
        let (bus, board) = (
            Bus::new(Shape {
                rows,
                ring,
                names: NAMES,
            })
            .unwrap(),
            Scoreboard::new(rows).unwrap(),
        );
        let [here, elsewhere] = [0_u8, 1].map(|row| {
            let counted = board.row(row.into());
            bus::Member::new(&bus, row, 0, counted, 1 << 12)
        });
        let reached = |user| {
            let sent = elsewhere.publish(&Outgoing {
                kind: Kind::Do(Deed::Supplant, Whom::User),
                to: Interest::User(user),
                topic: "",
                except: None,
                id: 1,
                form: 0,
                body: b"",
            });
            sent.reached
        };
        let directory = Directory::new(Some(Arc::new(here)));
        assert_eq!(reached("ann"), 0);
        directory.bind_as(conn(0), "ann", || {
            assert_eq!(reached("ann"), 1);
            1
        });
    }

    #[test]
    fn an_outline_has_the_first_rooms() {
        let directory = Directory::default();
        assert_eq!(directory.outline(conn(0), 2), (None, Vec::new()));
        for room in ["c", "a", "d", "b"] {
            directory.join(conn(0), room);
        }
        directory.bind(conn(0), "ann");
        let ann = || Some("ann".to_owned());
        assert_eq!(
            directory.outline(conn(0), 2),
            (ann(), ["a", "b"].map(str::to_owned).into())
        );
        assert_eq!(directory.outline(conn(0), 8).1.len(), 4);
    }

    #[test]
    fn nothing_is_kept_of_who_left_everything() {
        let directory = Directory::default();
        assert!(directory.join(conn(0), "a") && !directory.join(conn(0), "a"));
        assert!(directory.bind(conn(0), "ann") && !directory.bind(conn(0), "ann"));
        directory.unbind_from(conn(0), "bob");
        assert_eq!(directory.user("ann"), [conn(0)]);
        directory.unbind_from(conn(0), "ann");
        assert!(directory.user("ann").is_empty());
        assert!(!directory.lock().members.is_empty());
        directory.leave(conn(0), "a");
        assert!(directory.lock().members.is_empty());
    }

    #[test]
    fn who_ends_takes_along_what_it_belonged_to() {
        let directory = Directory::default();
        directory.join(conn(0), "b");
        directory.join(conn(0), "a");
        directory.bind(conn(0), "ann");
        let was = Memberships {
            user: Some("ann".to_owned()),
            ticket: 1,
            rooms: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(directory.memberships(conn(0)), was);
        assert_eq!(directory.forget(conn(0)), was);
        assert_eq!(directory.forget(conn(0)), Memberships::default());
    }
}
