//! The reader thread: connects, reads frames, keeps the connection alive, and
//! connects again. It runs none of the user's functions and waits for nobody but
//! the server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::{Connected, connect};
use super::link::{Flushed, Link};
use super::shared::{Delivered, Shared};
use super::{Change, ClientError, Why};
use crate::protocol::frame::Message;
use crate::protocol::websocket::client::{self, End, Masks};
use crate::sys::socket::{self, Ready, Wanted};

/// Bytes that one read takes at most.
const READ: usize = 64 << 10;
/// Longest wait for nothing in particular; any length will do.
const QUIET: Duration = Duration::from_secs(3_600);
/// How long a server may take for what it was sent before its user closed.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Ends what depends on the reader, however that ends: nobody would read the
/// replies.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let link = {
                let mut state = self.0.lock();
                state.closed = true;
                state.link.clone()
            };
            if let Some(link) = link {
                self.0.end(&link, &Why::Closed);
            }
        }
        self.0.report(Err(ClientError::Closed));
        self.0.queue.end();
    }
}

/// The thread's whole life.
pub(super) fn run(shared: &Shared) {
    let _ending = Ending(shared);
    let first_by = Instant::now() + shared.timing.connect_timeout;
    let mut failures = 0;
    loop {
        let is_first = shared.lock().first.is_some();
        let left = first_by.saturating_duration_since(Instant::now());
        let timeout = if is_first {
            left
        } else {
            shared.timing.connect_timeout
        };
        let failure = match connect(shared, timeout) {
            Ok(Connected { link, early }) => {
                let (failure, proved) = live(shared, &link, early);
                if proved {
                    failures = 0;
                }
                failure
            }
            Err(error) => error,
        };
        if !again(shared, failure, failures, first_by) {
            return;
        }
        failures = failures.saturating_add(1);
    }
}

/// Waits for the next attempt; `false` when there shall be none.
fn again(shared: &Shared, failure: ClientError, failures: u32, first_by: Instant) -> bool {
    let is_first = shared.lock().first.is_some();
    let wait = shared
        .timing
        .reconnect
        .map(|backoff| backoff.wait(failures));
    let until = wait.map(|wait| (wait, Instant::now() + wait));
    let Some((wait, until)) =
        until.filter(|(_, until)| !is_first || (*until < first_by && may_pass(&failure)))
    else {
        shared.report(Err(failure));
        return false;
    };
    if shared.lock().closed {
        return false;
    }
    shared.tell(Change::Retrying(wait));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if !shared.rest(left) {
            return false;
        }
    }
}

/// Whether the first connection may come about all the same: what the server
/// has answered to its greeting, it will answer again.
fn may_pass(failure: &ClientError) -> bool {
    use ClientError::{BadReply, Body, Closed, Remote, Settings, Unsendable};
    let stays = matches!(
        failure,
        BadReply(_) | Body(_) | Closed | Remote(_) | Settings(_) | Unsendable(_)
    );
    !stays
}

/// One connection from its beginning to its end: what to tell who waits for the
/// first one, and whether it has proved itself.
///
/// A server that accepts and then turns us away has not let us in: only a reply,
/// or time, proves that it does. The time is the longest pause of the back-off:
/// who ends each connection after that is not asked more often for it.
fn live(shared: &Shared, link: &Arc<Link>, early: Vec<u8>) -> (ClientError, bool) {
    let since = Instant::now();
    if !shared.adopt(link) {
        return (ClientError::Closed, false);
    }
    let mut reading = Reading::new(shared, link);
    let why = match reading.take(&early) {
        Ok(()) => reading.run(),
        Err(why) => why,
    };
    if matches!(why, Why::Closed) {
        reading.leave();
    }
    shared.end(link, &why);
    let (was_open, refused) = shared.after_greeting();
    let why = shared.take_end().unwrap_or(why);
    shared.tell(Change::Disconnected(why.clone()));
    let lasted = |backoff: super::Backoff| since.elapsed() >= backoff.max;
    let proved = reading.answered || shared.timing.reconnect.is_some_and(lasted);
    let failure = refused.unwrap_or(ClientError::Lost(why));
    (failure, was_open && proved)
}

/// A connection that is read.
struct Reading<'a> {
    shared: &'a Shared,
    link: &'a Arc<Link>,
    /// What frames come in, if not by themselves.
    messages: Option<Messages>,
    /// The beginning of a frame.
    kept: Vec<u8>,
    into: Vec<u8>,
    /// When something arrived, or the reader held on.
    heard: Instant,
    /// When the last heartbeat was due.
    beat: Instant,
    /// When the first heartbeat went out since something arrived.
    asked: Option<Instant>,
    /// Heartbeats of ours that were not answered.
    unanswered: u32,
    /// The server has answered something, and not with an error.
    answered: bool,
}

/// The messages of a WebSocket.
#[derive(Debug, Default)]
struct Messages {
    reading: client::Reading,
    masks: Masks,
    /// The beginning of what can only be read whole.
    kept: Vec<u8>,
}

impl<'a> Reading<'a> {
    fn new(shared: &'a Shared, link: &'a Arc<Link>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            link,
            messages: shared.server.url.as_ref().map(|_| Messages::default()),
            kept: Vec::new(),
            into: vec![0; READ],
            heard: now,
            beat: now,
            asked: None,
            unanswered: 0,
            answered: false,
        }
    }

    /// Reads until the connection ends, and writes what the kernel had no room
    /// for.
    fn run(&mut self) -> Why {
        loop {
            // While too much waits for the user's functions, nothing is read.
            let reads = !self.shared.queue.is_full();
            let stuck = self.link.stuck_since();
            let ready = match self.wait(reads, stuck) {
                Ok(ready) => ready,
                Err(why) => return why,
            };
            if ready.bell {
                self.shared.bell.hush();
            }
            if self.shared.lock().closed {
                return Why::Closed;
            }
            if !reads {
                self.listen_anew();
            } else if ready.socket
                && let Err(why) = self.receive()
            {
                return why;
            }
            if stuck.is_some()
                && let Flushed::Broken(why) = self.link.flush(true)
            {
                return why;
            }
            if let Some(why) = self.expired(stuck) {
                return why;
            }
            self.beat();
        }
    }

    /// The user has closed: what was taken from him goes out, then our end, and what the
    /// server says until its own is for nobody. Else the kernel would meet that with a
    /// reset, which takes away from the server what it has not read.
    fn leave(&mut self) {
        let until = Instant::now() + LEAVE_WITHIN;
        let mut is_out = false;
        loop {
            let wanted = match self.link.flush(true) {
                Flushed::Gone if is_out => Wanted::Read,
                Flushed::Gone => {
                    is_out = true;
                    socket::finish(&self.link.socket);
                    Wanted::Read
                }
                Flushed::Stuck => Wanted::Both,
                Flushed::Broken(_) => return,
            };
            let left = until.saturating_duration_since(Instant::now());
            let bell = &*self.shared.bell;
            let Ok(ready) = socket::wait(&self.link.socket, wanted, bell, left) else {
                return;
            };
            if ready.bell {
                self.shared.bell.hush();
            }
            if left.is_zero() || (ready.socket && self.is_over()) {
                return;
            }
        }
    }

    /// Drops what has come; whether nothing more will.
    fn is_over(&mut self) -> bool {
        match socket::receive(&self.link.socket, &mut self.into) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Waits until there is something to do, or it is time for something.
    fn wait(&self, reads: bool, stuck: Option<Instant>) -> Result<Ready, Why> {
        let now = Instant::now();
        let times = [self.gives_up(stuck), self.silent(stuck).map(|at| at.0)];
        let left = times
            .into_iter()
            .chain([self.beats()])
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .fold(QUIET, Duration::min);
        let bell = &*self.shared.bell;
        let ready = match (reads, stuck.is_some()) {
            (true, false) => socket::wait(&self.link.socket, Wanted::Read, bell, left),
            (true, true) => socket::wait(&self.link.socket, Wanted::Both, bell, left),
            (false, true) => socket::wait(&self.link.socket, Wanted::Write, bell, left),
            (false, false) => socket::wait(bell, Wanted::Read, bell, left),
        };
        ready.map_err(|error| Why::Broken(error.kind()))
    }

    /// When the server has taken nothing for too long.
    fn gives_up(&self, stuck: Option<Instant>) -> Option<Instant> {
        Some(stuck? + self.shared.timing.call_timeout)
    }

    /// When the next heartbeat is due.
    fn beats(&self) -> Option<Instant> {
        self.shared.format.heartbeat()?;
        Some(self.beat + self.shared.timing.heartbeat?)
    }

    /// When the server has been silent for too long, and how long that is. Of a
    /// server that takes nothing, how much it takes tells.
    fn silent(&self, stuck: Option<Instant>) -> Option<(Instant, Duration)> {
        if stuck.is_some() {
            return None;
        }
        let timing = &self.shared.timing;
        let asked = self.asked.map(|at| (at, timing.call_timeout));
        let unasked = timing.silence.map(|limit| (self.heard, limit));
        let ends = [asked, unasked].into_iter().flatten();
        ends.map(|(since, limit)| (since + limit, limit)).min()
    }

    fn expired(&self, stuck: Option<Instant>) -> Option<Why> {
        let now = Instant::now();
        if self.gives_up(stuck).is_some_and(|at| at <= now) && self.link.stuck_since() == stuck {
            return Some(Why::Stuck);
        }
        let (at, limit) = self.silent(stuck)?;
        (at <= now).then_some(Why::Silent(limit))
    }

    /// Asks for a sign of life, when it is time.
    fn beat(&mut self) {
        let now = Instant::now();
        let (Some(id), Some(at)) = (self.shared.format.heartbeat(), self.beats()) else {
            return;
        };
        if at > now {
            return;
        }
        self.beat = now;
        // A failure ends the connection, which the next read sees; where too
        // much waits already, the peer is not waiting for this.
        if self.shared.write_to(self.link, id, b"", None, now).is_ok() {
            self.asked.get_or_insert(now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    /// The server's silence begins now, if it is silent.
    fn listen_anew(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
    }

    fn receive(&mut self) -> Result<(), Why> {
        match socket::receive(&self.link.socket, &mut self.into) {
            Ok(0) => Err(Why::Ended),
            Ok(count) => {
                self.listen_anew();
                let into = std::mem::take(&mut self.into);
                let taken = self.take(&into[..count]);
                self.into = into;
                taken
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Why::Broken(error.kind())),
        }
    }

    /// Takes what has come: frames, or what they come in.
    fn take(&mut self, came: &[u8]) -> Result<(), Why> {
        let Some(messages) = &mut self.messages else {
            self.kept.extend_from_slice(came);
            return self.frames();
        };
        messages.kept.extend_from_slice(came);
        let Messages {
            reading,
            masks,
            kept,
        } = messages;
        let mut answers = Vec::new();
        let read = reading.read(kept, masks, &mut self.kept, &mut answers);
        if let Ok(done) = read {
            kept.drain(..done);
        }
        if !answers.is_empty() {
            self.link.push_plain(&answers);
            match self.link.flush(true) {
                Flushed::Gone | Flushed::Stuck => {}
                Flushed::Broken(why) => return Err(why),
            }
        }
        // What came before the end is for whoever waits for it.
        self.frames()?;
        match read {
            Ok(_) => Ok(()),
            Err(End::Closed(code)) => Err(Why::SocketClosed(code)),
            Err(End::Wrong(what)) => Err(Why::Unreadable(what.into())),
        }
    }

    /// Delivers what is whole, and keeps the rest.
    fn frames(&mut self) -> Result<(), Why> {
        let mut kept = std::mem::take(&mut self.kept);
        let mut done = 0;
        loop {
            let frame = self.shared.format.read(&kept[done..]);
            let frame = frame.map_err(|refusal| Why::Unreadable(refusal.detail))?;
            let Some((total, message)) = frame else {
                break;
            };
            self.deliver(&message);
            done += total;
        }
        kept.drain(..done);
        self.kept = kept;
        Ok(())
    }

    fn deliver(&mut self, frame: &Message<'_>) {
        match self.shared.deliver(frame) {
            Delivered::Reply => self.answered = true,
            Delivered::Error => {}
            Delivered::Unasked => {
                if frame.id.is_some() && frame.id == self.shared.format.heartbeat() {
                    self.heartbeat(frame);
                } else {
                    self.shared.push(frame);
                }
            }
        }
    }

    /// A heartbeat that arrives while one of ours is unanswered is its answer;
    /// any other is the server's, which wants the same back, unless a function
    /// is there to do it. An answer must not be answered, or the two would never
    /// end.
    fn heartbeat(&mut self, frame: &Message<'_>) {
        if self.unanswered > 0 {
            self.unanswered -= 1;
            self.answered = true;
            return;
        }
        let id = frame.id.unwrap_or(0);
        if self.shared.callbacks.pushes.contains_key(&id) {
            self.shared.push(frame);
            return;
        }
        // As in `beat`.
        let now = Instant::now();
        let _seen_by_read = self.shared.write_to(self.link, id, &frame.body, None, now);
    }
}
