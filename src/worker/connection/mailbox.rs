//! What waits for one connection's turn, and whose turn it is.
//!
//! ```text
//!            post                begin               finish: nothing left
//!   Idle ----------> Queued ---------------> Running ----------------> Idle
//!                      ^                      |  |  |
//!                      |  requeue (budget)    |  |  | finish: more came
//!                      +----------------------+  |  +--> (Running goes on)
//!                      |                         |
//!                      +-- AwaitReply / AwaitWritable <+
//!              the reply came      the sender made room
//!
//! `AwaitEvent` is as `AwaitReply`, for any event. What a wait lets through is
//! one table: [`Urgency::runs_in`].
//! ```
//!
//! Invariant: only the one who moved the state to `Running` serves, so messages
//! of one connection run one at a time, in order. A mailbox that was swapped
//! out looks empty; that is why `Running` decides and not emptiness. Whoever
//! moves the state to `Queued` puts the connection into the run queue, exactly
//! once: every method that does so returns `true` in [`FollowUp::schedule`].
//!
//! The lock is a leaf: nothing else is locked and no system call is made under
//! it. The byte count and the pause flag live under it too, so that a pause by
//! the reactor and a resume by a business thread cannot miss each other.

use super::items::Items;
use crate::sys::sync::{Mutex, MutexGuard, lock};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing waits, nobody serves.
    Idle,
    /// In the run queue.
    Queued,
    /// Somebody serves.
    Running,
    /// Nothing runs before the reply that is owed.
    AwaitReply,
    /// Nothing runs before the sender has made room.
    AwaitWritable,
    /// No message runs before an event, whatever it is.
    AwaitEvent,
    /// Closed or about to be: only the end may still run.
    Closing,
}

/// What a turn waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// A reply that is owed. It may have come already.
    Reply,
    /// Room to write into, which the sender makes. The caller must look at the
    /// unsent bytes *after* it began to wait, and call [`Mailbox::room_made`]
    /// itself if there is room: the sender may have looked at the state before.
    Writable,
    /// Any event.
    Event,
}

impl From<Wait> for State {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Reply => Self::AwaitReply,
            Wait::Writable => Self::AwaitWritable,
            Wait::Event => Self::AwaitEvent,
        }
    }
}

/// What an item need not wait for. Each need not wait for what those before it
/// need not.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Urgency {
    /// A message of the peer, and what must stand behind its messages.
    InOrder,
    /// Messages may wait for it.
    Event,
    /// Everything but a close may wait for it.
    Reply,
    /// Waits for nothing, and goes before whatever waits.
    Close,
}

impl Urgency {
    /// Whether it runs in `state` although a turn neither runs nor is due.
    fn runs_in(self, state: State) -> bool {
        match state {
            State::Idle => true,
            State::AwaitEvent => self >= Self::Event,
            State::AwaitReply => self >= Self::Reply,
            State::AwaitWritable => self >= Self::Close,
            State::Queued | State::Running | State::Closing => false,
        }
    }
}

/// What the caller has to do after it touched a mailbox.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub(crate) struct FollowUp {
    /// Put the connection into the run queue.
    pub(crate) schedule: bool,
    /// Tell the reactor to read again.
    pub(crate) resume: bool,
}

/// What a connection does that can go to another worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resting {
    /// Nothing.
    Idle,
    /// Waits for room to write into.
    AwaitWritable,
    /// As [`AwaitWritable`](Self::AwaitWritable), and is not read before there is
    /// some.
    Paused,
    /// Closes when everything is sent.
    Closing,
}

/// What became of a chunk that the reactor posted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Posted {
    /// It waits; schedule if set; stop reading if `pause`.
    Waits { schedule: bool, pause: bool },
    /// Nobody will serve this connection any more.
    Refused,
}

/// The mailbox. `T` is an item; its owner says how many bytes it holds.
#[derive(Debug)]
pub(crate) struct Mailbox<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    items: Items<T>,
    /// Bytes of the items that wait, and of those that run and are not done.
    bytes: usize,
    state: State,
    /// Why the reactor does not read.
    paused: Option<Pause>,
    ended: bool,
}

/// What the reactor waits for before it reads again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// Few enough bytes wait.
    Room,
    /// None does: what follows them depends on what becomes of them.
    Drained,
}

impl FollowUp {
    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            schedule: self.schedule || other.schedule,
            resume: self.resume || other.resume,
        }
    }
}

impl<T> Inner<T> {
    fn queue(&mut self) -> FollowUp {
        self.state = State::Queued;
        FollowUp {
            schedule: true,
            resume: false,
        }
    }

    fn queue_if(&mut self, state: State) -> FollowUp {
        if self.state == state {
            self.queue()
        } else {
            FollowUp::default()
        }
    }

    fn put_back(&mut self, left: Items<T>) {
        // After the end nothing of the peer's is served any more.
        if !self.ended {
            self.items.put_front(left);
        }
    }

    fn consumed(&mut self, bytes: usize, high: usize) -> FollowUp {
        self.bytes -= bytes;
        let mark = match self.paused {
            Some(Pause::Room) => high / 2,
            Some(Pause::Drained) | None => 0,
        };
        let resume = self.paused.is_some()
            && self.bytes <= mark
            && !matches!(self.state, State::AwaitWritable | State::Closing);
        if resume {
            self.paused = None;
        }
        FollowUp {
            schedule: false,
            resume,
        }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner {
            items: Items::default(),
            bytes: 0,
            state: State::Idle,
            paused: None,
            ended: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        lock(&self.0)
    }

    /// Posts whole messages; for the reactor. Over `high` bytes, or while the
    /// peer does not read its replies, it must stop reading.
    pub(crate) fn post_units(&self, item: T, bytes: usize, high: usize) -> Posted {
        let mut inner = self.lock();
        if inner.ended || inner.state == State::Closing {
            return Posted::Refused;
        }
        inner.items.push_back(item);
        inner.bytes += bytes;
        let schedule = inner.queue_if(State::Idle).schedule;
        let pause = inner.bytes > high || inner.state == State::AwaitWritable;
        if pause {
            inner.paused.get_or_insert(Pause::Room);
        }
        Posted::Waits { schedule, pause }
    }

    /// Posts something that is not from the peer's stream: behind what waits,
    /// or in front if it is what everything waits for, or a close.
    /// `None`: nobody will serve this connection any more.
    pub(crate) fn post(&self, item: T, urgency: Urgency) -> Option<FollowUp> {
        let mut inner = self.lock();
        if inner.ended || inner.state == State::Closing {
            return None;
        }
        let runs = urgency.runs_in(inner.state);
        if runs || urgency == Urgency::Close {
            inner.items.push_front(item);
        } else {
            inner.items.push_back(item);
        }
        Some(if runs {
            inner.queue()
        } else {
            FollowUp::default()
        })
    }

    /// Posts the end, the last item ever. What waited is given back to be
    /// dropped outside of the lock; what runs now comes before the end.
    ///
    /// # Panics
    ///
    /// When the end was posted before: a connection ends once.
    pub(crate) fn end(&self, item: T) -> (Items<T>, FollowUp) {
        let mut inner = self.lock();
        assert!(!inner.ended, "a connection ends once");
        inner.ended = true;
        let dropped = std::mem::take(&mut inner.items);
        inner.items.push_back(item);
        let after = match inner.state {
            State::Queued | State::Running => FollowUp::default(),
            State::Idle
            | State::AwaitReply
            | State::AwaitWritable
            | State::AwaitEvent
            | State::Closing => inner.queue(),
        };
        (dropped, after)
    }

    /// Takes the turn at once if nothing waits and nobody serves.
    pub(crate) fn begin_inline(&self) -> bool {
        let mut inner = self.lock();
        let free = inner.state == State::Idle && inner.items.is_empty();
        if free {
            inner.state = State::Running;
        }
        free
    }

    /// As [`Self::begin_inline`], before [`Self::end`]: also if the end is all
    /// that may still run.
    pub(crate) fn begin_last(&self) -> bool {
        let mut inner = self.lock();
        let may = matches!(inner.state, State::Idle | State::Closing);
        let free = may && inner.items.is_empty();
        if free {
            inner.state = State::Running;
        }
        free
    }

    /// As [`Self::begin_inline`], to give the connection to another worker: also
    /// if the turn waits for room, or only the end may still run. What waits must
    /// be able to go along.
    pub(crate) fn begin_move(&self, goes_along: impl Fn(&T) -> bool) -> Option<Resting> {
        let mut inner = self.lock();
        let resting = match (inner.state, inner.paused) {
            (State::Idle, None) => Resting::Idle,
            (State::AwaitWritable, None) => Resting::AwaitWritable,
            (State::AwaitWritable, Some(Pause::Room)) => Resting::Paused,
            (State::Closing, None) => Resting::Closing,
            (State::Queued | State::Running | State::AwaitReply | State::AwaitEvent, _)
            | (State::Idle | State::AwaitWritable | State::Closing, Some(_)) => return None,
        };
        let stays = inner.ended || !inner.items.iter().all(goes_along);
        (!stays).then(|| {
            inner.state = State::Running;
            resting
        })
    }

    /// Takes the turn that the run queue gave, and what waits.
    ///
    /// # Panics
    ///
    /// When the connection was not queued: it was in the run queue twice.
    pub(crate) fn begin(&self) -> Items<T> {
        let mut inner = self.lock();
        assert_eq!(inner.state, State::Queued, "a connection has one turn");
        inner.state = State::Running;
        std::mem::take(&mut inner.items)
    }

    /// Everything taken is done, `done` bytes of it. Gives what came meanwhile,
    /// or ends the turn if nothing did.
    pub(crate) fn finish(&self, done: usize, high: usize) -> (Option<Items<T>>, FollowUp) {
        let mut inner = self.lock();
        let after = inner.consumed(done, high);
        if inner.items.is_empty() {
            inner.state = State::Idle;
            return (None, after);
        }
        (Some(std::mem::take(&mut inner.items)), after)
    }

    /// The budget is used: what is left goes to the front, the connection to
    /// the tail of the run queue.
    pub(crate) fn requeue(&self, done: usize, high: usize, left: Items<T>) -> FollowUp {
        let mut inner = self.lock();
        let resume = inner.consumed(done, high).resume;
        inner.put_back(left);
        if inner.items.is_empty() {
            inner.state = State::Idle;
            return FollowUp {
                schedule: false,
                resume,
            };
        }
        FollowUp {
            resume,
            ..inner.queue()
        }
    }

    /// The turn waits. What need not wait, by its `urgency`, may have come
    /// already.
    pub(crate) fn wait(
        &self,
        wait: Wait,
        done: usize,
        high: usize,
        left: Items<T>,
        urgency: impl Fn(&T) -> Urgency,
    ) -> FollowUp {
        let mut inner = self.lock();
        let state = State::from(wait);
        inner.state = state;
        let resume = inner.consumed(done, high).resume;
        // It may be among what is left: events run behind older messages.
        inner.put_back(left);
        let runs = |item: &T| urgency(item).runs_in(state);
        let Some(item) = inner.items.remove_first(runs) else {
            return FollowUp {
                schedule: false,
                resume,
            };
        };
        inner.items.push_front(item);
        FollowUp {
            resume,
            ..inner.queue()
        }
    }

    /// The reactor reads no more until all bytes that wait are served. False: none
    /// does, and nobody serves.
    pub(crate) fn hold(&self) -> bool {
        let mut inner = self.lock();
        let holds = inner.bytes > 0 || matches!(inner.state, State::Queued | State::Running);
        if holds {
            inner.paused = Some(Pause::Drained);
        }
        holds
    }

    /// Bytes that an inline turn read and could not serve wait from now on.
    pub(crate) fn adopt(&self, bytes: usize) {
        self.lock().bytes += bytes;
    }

    /// There is room again: the turn goes on if it waited for that.
    pub(crate) fn room_made(&self, high: usize) -> FollowUp {
        let mut inner = self.lock();
        if inner.state != State::AwaitWritable {
            return FollowUp::default();
        }
        let waits = !inner.items.is_empty();
        inner.state = State::Idle;
        let resume = inner.consumed(0, high).resume;
        if !waits {
            return FollowUp {
                schedule: false,
                resume,
            };
        }
        FollowUp {
            resume,
            ..inner.queue()
        }
    }

    /// Nothing will be served any more but the end. What waits is given back to
    /// be dropped; if the end has come already, it is scheduled.
    pub(crate) fn close(&self) -> (Items<T>, FollowUp) {
        let mut inner = self.lock();
        if inner.ended {
            return (Items::default(), inner.queue());
        }
        inner.state = State::Closing;
        (std::mem::take(&mut inner.items), FollowUp::default())
    }

    /// Looks at what waits, under the lock.
    pub(crate) fn waiting<R>(&self, look: impl FnOnce(&Items<T>) -> R) -> R {
        look(&self.lock().items)
    }

    /// Whether the peer has reason to be silent: we owe it something, or do
    /// not read what it sends.
    pub(crate) fn is_busy(&self) -> bool {
        let inner = self.lock();
        inner.paused.is_some() || inner.state != State::Idle
    }

    /// What the turn waits for.
    pub(crate) fn awaits(&self) -> Option<Wait> {
        match self.lock().state {
            State::AwaitReply => Some(Wait::Reply),
            State::AwaitWritable => Some(Wait::Writable),
            State::AwaitEvent => Some(Wait::Event),
            State::Idle | State::Queued | State::Running | State::Closing => None,
        }
    }

    /// Whether the turn waits for the peer to take its replies.
    pub(crate) fn awaits_room(&self) -> bool {
        self.awaits() == Some(Wait::Writable)
    }

    /// Bytes of messages that wait or run.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Forgets the connection; nobody else holds it.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const HIGH: usize = 100;
    const SCHEDULE: FollowUp = FollowUp {
        schedule: true,
        resume: false,
    };
    const NOTHING: FollowUp = FollowUp {
        schedule: false,
        resume: false,
    };

    fn all(mut items: Items<u32>) -> Vec<u32> {
        std::iter::from_fn(|| items.pop_front()).collect()
    }

    fn items(of: &[u32]) -> Items<u32> {
        let mut items = Items::default();
        of.iter().for_each(|&item| items.push_back(item));
        items
    }

    fn in_order(_: &u32) -> Urgency {
        Urgency::InOrder
    }

    /// Of a mailbox in which 9 is what a turn may wait for.
    fn nine(item: u32, urgency: Urgency) -> Urgency {
        if item == 9 { urgency } else { Urgency::InOrder }
    }

    /// A mailbox whose turn runs and has taken 1.
    fn running() -> Mailbox<u32> {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.post(1, Urgency::InOrder), Some(SCHEDULE));
        assert_eq!(all(mailbox.begin()), [1]);
        mailbox
    }

    #[test]
    fn only_the_first_post_schedules() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.post(1, Urgency::InOrder), Some(SCHEDULE));
        assert_eq!(mailbox.post(2, Urgency::InOrder), Some(NOTHING));
        assert!(!mailbox.begin_inline());
        assert_eq!(all(mailbox.begin()), [1, 2]);
        assert_eq!(
            mailbox.post(3, Urgency::InOrder),
            Some(NOTHING),
            "a swapped-out mailbox looks empty"
        );
        assert!(!mailbox.begin_inline());
        assert_eq!(all(mailbox.finish(0, HIGH).0.unwrap()), [3]);
        assert!(mailbox.finish(0, HIGH).0.is_none());
        assert!(mailbox.begin_inline());
    }

    #[test]
    fn who_rests_can_go_and_goes_on_where_it_rested() {
        let none = |_: &u32| false;
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.begin_move(none), Some(Resting::Idle));
        assert_eq!(mailbox.begin_move(none), None, "it is on its way");
        let waits = mailbox.wait(Wait::Writable, 0, HIGH, items(&[]), in_order);
        assert_eq!(waits, NOTHING);
        assert_eq!(mailbox.post(7, Urgency::Event), Some(NOTHING));
        assert_eq!(mailbox.begin_move(none), None, "something waits");
        let moved = mailbox.begin_move(|item| *item == 7);
        assert_eq!(moved, Some(Resting::AwaitWritable));
        let waits = mailbox.wait(Wait::Writable, 0, HIGH, items(&[]), in_order);
        assert_eq!(waits, NOTHING);
        assert_eq!(mailbox.room_made(HIGH), SCHEDULE);
        assert_eq!(all(mailbox.begin()), [7]);
        assert_eq!(mailbox.begin_move(none), None, "it runs");
        let _nothing_waits = mailbox.close();
        assert_eq!(mailbox.begin_move(none), Some(Resting::Closing));
        let _nothing_waits = mailbox.close();
        assert_eq!(mailbox.post(8, Urgency::Event), None);
    }

    #[test]
    fn who_is_not_read_for_want_of_room_goes_with_what_waits() {
        let any = |_: &u32| true;
        let mailbox = running();
        let waits = mailbox.wait(Wait::Writable, 0, HIGH, items(&[2]), in_order);
        assert_eq!(waits, NOTHING);
        let pauses = Posted::Waits {
            schedule: false,
            pause: true,
        };
        assert_eq!(mailbox.post_units(3, 1, HIGH), pauses);
        assert_eq!(mailbox.begin_move(any), Some(Resting::Paused));
        let waiting: Vec<u32> = mailbox.waiting(|items| items.iter().copied().collect());
        assert_eq!(waiting, [2, 3]);
        // It stays after all.
        let waits = mailbox.wait(Wait::Writable, 0, HIGH, items(&[]), in_order);
        assert_eq!(waits, NOTHING);
        let goes_on = FollowUp {
            schedule: true,
            resume: true,
        };
        assert_eq!(mailbox.room_made(HIGH), goes_on);
        assert_eq!(all(mailbox.begin()), [2, 3]);
        // What follows depends on what becomes of what waits.
        assert!(mailbox.hold());
        let waits = mailbox.wait(Wait::Writable, 0, HIGH, items(&[4]), in_order);
        assert_eq!(waits, NOTHING);
        assert_eq!(mailbox.begin_move(any), None);
    }

    #[test]
    fn what_is_left_comes_before_what_came_meanwhile() {
        let mailbox = running();
        assert_eq!(mailbox.post(4, Urgency::InOrder), Some(NOTHING));
        assert_eq!(mailbox.requeue(0, HIGH, items(&[2, 3])), SCHEDULE);
        assert_eq!(all(mailbox.begin()), [2, 3, 4]);
    }

    #[test]
    fn a_reply_goes_first_whether_it_comes_before_or_after_the_wait() {
        let urgency = |item: &u32| nine(*item, Urgency::Reply);
        let before = running();
        assert_eq!(before.post(5, Urgency::InOrder), Some(NOTHING));
        assert_eq!(before.post(9, Urgency::Reply), Some(NOTHING));
        assert_eq!(
            before.wait(Wait::Reply, 0, HIGH, items(&[4]), urgency),
            SCHEDULE
        );
        assert_eq!(all(before.begin()), [9, 4, 5]);

        let after = running();
        assert_eq!(
            after.wait(Wait::Reply, 0, HIGH, items(&[4]), urgency),
            NOTHING
        );
        assert_eq!(
            after.post(5, Urgency::InOrder),
            Some(NOTHING),
            "messages wait for the reply"
        );
        assert_eq!(after.post(9, Urgency::Reply), Some(SCHEDULE));
        assert_eq!(all(after.begin()), [9, 4, 5]);
    }

    #[test]
    fn an_event_goes_before_messages_that_wait_for_it_whenever_it_comes() {
        let urgency = |item: &u32| nine(*item / 10, Urgency::Event);
        let taken = running();
        let left = items(&[4, 91]);
        assert_eq!(taken.wait(Wait::Event, 0, HIGH, left, urgency), SCHEDULE);
        assert_eq!(
            all(taken.begin()),
            [91, 4],
            "it was taken with the messages"
        );

        let meanwhile = running();
        assert_eq!(meanwhile.post(92, Urgency::Event), Some(NOTHING));
        assert_eq!(
            meanwhile.wait(Wait::Event, 0, HIGH, items(&[4]), urgency),
            SCHEDULE
        );
        assert_eq!(all(meanwhile.begin()), [92, 4]);

        let after = running();
        assert_eq!(
            after.wait(Wait::Event, 0, HIGH, items(&[4]), urgency),
            NOTHING
        );
        assert_eq!(
            after.post_units(5, 1, HIGH),
            Posted::Waits {
                schedule: false,
                pause: false
            }
        );
        assert!(after.is_busy());
        assert_eq!(after.post(93, Urgency::Event), Some(SCHEDULE));
        assert_eq!(after.post(94, Urgency::Event), Some(NOTHING));
        assert_eq!(all(after.begin()), [93, 4, 5, 94]);
    }

    /// What an item is let through by, when it comes before the wait and when it
    /// comes after.
    #[test]
    fn who_waits_lets_through_what_is_urgent_enough_and_nothing_else() {
        const ALL: [Urgency; 4] = [
            Urgency::InOrder,
            Urgency::Event,
            Urgency::Reply,
            Urgency::Close,
        ];
        for (wait, first) in [
            (Wait::Event, Urgency::Event),
            (Wait::Reply, Urgency::Reply),
            (Wait::Writable, Urgency::Close),
        ] {
            for urgency in ALL {
                let (passes, what) = (urgency >= first, format!("{urgency:?} in {wait:?}"));
                let expected = if passes { SCHEDULE } else { NOTHING };
                let of = |item: &u32| nine(*item, urgency);

                let before = running();
                assert_eq!(before.post(9, urgency), Some(NOTHING), "{what}");
                let after = before.wait(wait, 0, HIGH, items(&[4]), of);
                assert_eq!(after, expected, "{what}");

                let after = running();
                assert_eq!(after.wait(wait, 0, HIGH, items(&[4]), of), NOTHING);
                assert_eq!(after.post(9, urgency), Some(expected), "{what}");
                if passes {
                    assert_eq!(all(before.begin()), [9, 4], "{what}");
                    assert_eq!(all(after.begin()), [9, 4], "{what}");
                }
            }
        }
    }

    #[test]
    fn reading_pauses_over_the_mark_and_resumes_at_half_of_it() {
        let mailbox = Mailbox::new();
        let waits = |schedule, pause| Posted::Waits { schedule, pause };
        assert_eq!(mailbox.post_units(1, 100, HIGH), waits(true, false));
        assert_eq!(mailbox.post_units(2, 1, HIGH), waits(false, true));
        all(mailbox.begin());
        assert!(!mailbox.finish(50, HIGH).1.resume);
        assert_eq!(mailbox.post(3, Urgency::InOrder), Some(SCHEDULE));
        all(mailbox.begin());
        assert!(mailbox.finish(1, HIGH).1.resume);
        assert_eq!(mailbox.post(3, Urgency::InOrder), Some(SCHEDULE));
        all(mailbox.begin());
        assert!(!mailbox.finish(50, HIGH).1.resume, "once is enough");
    }

    #[test]
    fn a_mailbox_without_room_runs_nothing_but_a_close() {
        let mailbox = running();
        assert_eq!(
            mailbox.wait(Wait::Writable, 0, HIGH, items(&[2]), in_order),
            NOTHING
        );
        assert_eq!(
            mailbox.post_units(3, 1, HIGH),
            Posted::Waits {
                schedule: false,
                pause: true
            }
        );
        assert_eq!(
            mailbox.room_made(HIGH),
            FollowUp {
                schedule: true,
                resume: true
            }
        );
        assert_eq!(mailbox.room_made(HIGH), NOTHING);
        assert_eq!(all(mailbox.begin()), [2, 3]);
        assert_eq!(
            mailbox.wait(Wait::Writable, 1, HIGH, items(&[]), in_order),
            NOTHING
        );
        assert_eq!(mailbox.post(7, Urgency::Close), Some(SCHEDULE));
        assert_eq!(all(mailbox.begin()), [7]);
    }

    #[test]
    fn nothing_comes_behind_the_end() {
        let running = running();
        assert_eq!(running.post(2, Urgency::InOrder), Some(NOTHING));
        let (dropped, after) = running.end(99);
        assert_eq!((all(dropped), after), (vec![2], NOTHING));
        assert_eq!(running.post(3, Urgency::InOrder), None);
        assert_eq!(running.post_units(3, 1, HIGH), Posted::Refused);
        assert_eq!(running.requeue(0, HIGH, items(&[5])), SCHEDULE);
        assert_eq!(
            all(running.begin()),
            [99],
            "what was left is not served any more"
        );
    }

    #[test]
    fn the_last_turn_is_taken_where_only_the_end_may_still_run() {
        let idle = Mailbox::new();
        assert!(idle.begin_last());
        assert!(!idle.begin_last(), "it has begun");
        assert_eq!(idle.end(99).1, NOTHING, "whoever took the turn sees to it");
        assert_eq!(idle.requeue(0, HIGH, Items::default()), SCHEDULE);
        assert_eq!(all(idle.begin()), [99], "or leaves it to others");

        let closing = running();
        assert!(!closing.begin_last(), "another turn runs");
        let (_, after) = closing.close();
        assert_eq!(after, NOTHING);
        assert!(closing.begin_last());
        assert_eq!(closing.end(99).1, NOTHING);

        let queued = Mailbox::new();
        assert_eq!(queued.post(1, Urgency::InOrder), Some(SCHEDULE));
        assert!(!queued.begin_last());
    }

    #[test]
    fn a_closing_mailbox_runs_the_end_alone() {
        let mailbox = running();
        assert_eq!(mailbox.post(2, Urgency::InOrder), Some(NOTHING));
        let (dropped, after) = mailbox.close();
        assert_eq!((all(dropped), after), (vec![2], NOTHING));
        assert_eq!(mailbox.post(3, Urgency::InOrder), None);
        assert_eq!(mailbox.post(3, Urgency::Close), None);
        assert_eq!(mailbox.end(99).1, SCHEDULE);
        assert_eq!(all(mailbox.begin()), [99]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sys::sync::{AtomicUsize, Ordering};
    use crate::worker::queues::run_queue::RunQueue;
    use loom::sync::Arc;
    use loom::thread;

    const HIGH: usize = 4;

    /// Of a mailbox in which 12 is what a turn may wait for.
    fn twelve(item: u32, urgency: Urgency) -> Urgency {
        if item == 12 {
            urgency
        } else {
            Urgency::InOrder
        }
    }

    fn serve(mailbox: &Mailbox<u32>, mut then: impl FnMut(u32)) {
        let mut items = mailbox.begin();
        loop {
            let mut done = 0;
            while let Some(item) = items.pop_front() {
                then(item);
                done += usize::from(item < 10);
            }
            match mailbox.finish(done, HIGH).0 {
                None => return,
                Some(more) => items = more,
            }
        }
    }

    /// Two posters, two pool threads: everything is served once, never by two
    /// at a time.
    #[test]
    fn loom_one_turn_at_a_time() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            let queue = Arc::new(RunQueue::<()>::new());
            let serving = Arc::new(AtomicUsize::new(0));
            let served = Arc::new(AtomicUsize::new(0));
            let pool = {
                let (mailbox, queue) = (Arc::clone(&mailbox), Arc::clone(&queue));
                let (serving, served) = (Arc::clone(&serving), Arc::clone(&served));
                thread::spawn(move || {
                    while queue.pop().is_some() {
                        assert_eq!(serving.fetch_add(1, Ordering::SeqCst), 0);
                        serve(&mailbox, |_| {
                            served.fetch_add(1, Ordering::SeqCst);
                        });
                        serving.fetch_sub(1, Ordering::SeqCst);
                        if served.load(Ordering::SeqCst) == 2 {
                            return;
                        }
                    }
                })
            };
            let poster = {
                let (mailbox, queue) = (Arc::clone(&mailbox), Arc::clone(&queue));
                thread::spawn(move || {
                    if mailbox.post(10, Urgency::InOrder).unwrap().schedule {
                        queue.push(());
                    }
                })
            };
            if mailbox.post(11, Urgency::InOrder).unwrap().schedule {
                queue.push(());
            }
            poster.join().unwrap();
            pool.join().unwrap();
            assert_eq!(served.load(Ordering::SeqCst), 2);
        });
    }

    /// The reactor's inline turn against a post from elsewhere: the item is
    /// served by the one or the other, exactly once.
    #[test]
    fn loom_inline_against_the_pool() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            let poster = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(10, Urgency::InOrder).unwrap().schedule)
            };
            let mut scheduled = 0;
            if mailbox.begin_inline() {
                scheduled += usize::from(mailbox.requeue(0, HIGH, Items::default()).schedule);
            }
            scheduled += usize::from(poster.join().unwrap());
            assert_eq!(scheduled, 1, "scheduled by exactly one of them");
            let mut served = 0;
            serve(&mailbox, |_| served += 1);
            assert_eq!(served, 1);
        });
    }

    /// A pause by the reactor against consumption by the pool: reading resumes.
    #[test]
    fn loom_a_resume_is_not_lost() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            assert_eq!(
                mailbox.post_units(1, 1, HIGH),
                Posted::Waits {
                    schedule: true,
                    pause: false
                }
            );
            let pool = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    let mut resumed = false;
                    let mut done = 0;
                    let mut items = mailbox.begin();
                    loop {
                        while let Some(item) = items.pop_front() {
                            done += usize::try_from(item).unwrap();
                        }
                        let (more, after) = mailbox.finish(std::mem::take(&mut done), HIGH);
                        resumed |= after.resume;
                        match more {
                            None => return resumed,
                            Some(more) => items = more,
                        }
                    }
                })
            };
            // Five bytes more: over the mark if the pool has not served one.
            let Posted::Waits { schedule, pause } = mailbox.post_units(5, 5, HIGH) else {
                panic!("open")
            };
            assert!(pause, "five are over the mark alone");
            let mut resumed = pool.join().unwrap();
            if schedule {
                let mut items = mailbox.begin();
                let mut done = 0;
                while let Some(item) = items.pop_front() {
                    done += usize::try_from(item).unwrap();
                }
                resumed |= mailbox.finish(done, HIGH).1.resume;
            }
            assert!(resumed, "paused for ever");
        });
    }

    /// A turn that stops for want of room against the sender that makes it: the
    /// turn goes on, once.
    #[test]
    fn loom_room_is_not_lost() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            let unsent = Arc::new(AtomicUsize::new(8));
            assert!(mailbox.post(10, Urgency::InOrder).unwrap().schedule);
            drop(mailbox.begin());
            let sender = {
                let (mailbox, unsent) = (Arc::clone(&mailbox), Arc::clone(&unsent));
                thread::spawn(move || {
                    unsent.store(0, Ordering::SeqCst);
                    mailbox.room_made(HIGH).schedule
                })
            };
            let mut left = Items::default();
            left.push_back(11);
            let mut scheduled = usize::from(
                mailbox
                    .wait(Wait::Writable, 0, HIGH, left, |_| Urgency::InOrder)
                    .schedule,
            );
            if unsent.load(Ordering::SeqCst) == 0 {
                scheduled += usize::from(mailbox.room_made(HIGH).schedule);
            }
            scheduled += usize::from(sender.join().unwrap());
            assert_eq!(scheduled, 1);
        });
    }

    /// A reply that was put off against the turn that begins to wait for it.
    #[test]
    fn loom_a_reply_is_not_lost() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            assert!(mailbox.post(10, Urgency::InOrder).unwrap().schedule);
            drop(mailbox.begin());
            let replier = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(12, Urgency::Reply).unwrap().schedule)
            };
            let mut left = Items::default();
            left.push_back(11);
            let mine = mailbox
                .wait(Wait::Reply, 0, HIGH, left, |item| {
                    twelve(*item, Urgency::Reply)
                })
                .schedule;
            let theirs = replier.join().unwrap();
            assert_eq!(u8::from(mine) + u8::from(theirs), 1);
            let mut order = Vec::new();
            serve(&mailbox, |item| order.push(item));
            assert_eq!(order, [12, 11]);
        });
    }

    /// A wake against the turn that begins to wait for it.
    #[test]
    fn loom_an_event_is_not_lost() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            assert!(mailbox.post(10, Urgency::InOrder).unwrap().schedule);
            drop(mailbox.begin());
            let waker = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(12, Urgency::Event).unwrap().schedule)
            };
            let mut left = Items::default();
            left.push_back(11);
            let mine = mailbox
                .wait(Wait::Event, 0, HIGH, left, |item| {
                    twelve(*item, Urgency::Event)
                })
                .schedule;
            let theirs = waker.join().unwrap();
            assert_eq!(u8::from(mine) + u8::from(theirs), 1);
            let mut order = Vec::new();
            serve(&mailbox, |item| order.push(item));
            assert_eq!(order, [12, 11]);
        });
    }

    /// The reactor, which would end the connection alone, against a post:
    /// either it takes the last turn and the post comes to nobody, or the pool
    /// has both.
    #[test]
    fn loom_the_last_turn_is_one() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            let poster = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    mailbox
                        .post(10, Urgency::InOrder)
                        .is_some_and(|after| after.schedule)
                })
            };
            let mine = mailbox.begin_last();
            let (_, after) = mailbox.end(99);
            let posted = poster.join().unwrap();
            assert_eq!(u8::from(mine) + u8::from(after.schedule || posted), 1);
            assert_eq!(mailbox.post(11, Urgency::InOrder), None);
        });
    }

    /// The end against a running turn and a late post: it runs last, once.
    #[test]
    fn loom_the_end_comes_last() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u32>::new());
            assert!(mailbox.post(10, Urgency::InOrder).unwrap().schedule);
            let reactor = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.end(99).1.schedule)
            };
            let mut order = Vec::new();
            serve(&mailbox, |item| order.push(item));
            if reactor.join().unwrap() {
                serve(&mailbox, |item| order.push(item));
            }
            assert!(order == [10, 99] || order == [99], "{order:?}");
            assert_eq!(mailbox.post(11, Urgency::InOrder), None);
        });
    }
}
