//! What the service manager hears of the master: that it is ready, reloads,
//! stops, and that its loop lives. Part of that loop, and never waits: what the
//! manager has no room for is sent again later, and one that is gone is left
//! alone. Without a manager, all of it does nothing.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use crate::log;
use crate::sys::process::Pid;
use crate::sys::systemd::{NotifySocket, NotifyState, datagram};

/// Datagrams that wait for room; of more, the oldest are dropped.
const UNSENT_MAX: usize = 16;

/// How soon something is sent again that there was no room for.
const RETRY: Duration = Duration::from_millis(100);

/// Times that the last words are sent again, and how soon.
const LAST_TRIES: u32 = 20;
const LAST_RETRY: Duration = Duration::from_millis(5);

/// The line to the manager.
#[derive(Debug, Default)]
pub(in crate::master) struct Notifier {
    manager: Option<NotifySocket>,
    unsent: VecDeque<Vec<u8>>,
    /// When to say next that the loop lives, and how often.
    beat: Option<(Instant, Duration)>,
    /// The silence after which the manager ends the service.
    watchdog: Option<Duration>,
    is_stopping: bool,
    /// Whether the manager's absence was logged.
    is_missed: bool,
}

impl Notifier {
    /// `watchdog` is the silence after which the manager ends the service.
    pub(in crate::master) fn new(
        manager: Option<NotifySocket>,
        watchdog: Option<Duration>,
        now: Instant,
    ) -> Self {
        let watchdog = watchdog.filter(|_| manager.is_some());
        Self {
            manager,
            watchdog,
            beat: watchdog.map(|silence| (now, (silence / 2).max(Duration::from_millis(1)))),
            ..Self::default()
        }
    }

    /// Every worker serves, or serves on after a reload that was refused.
    pub(in crate::master) fn ready(&mut self, status: &str) {
        if self.is_stopping {
            return;
        }
        self.tell(&[
            NotifyState::Ready,
            NotifyState::MainPid(std::process::id()),
            NotifyState::Status(first_line(status)),
        ]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it, however it went.
    pub(in crate::master) fn reloading(&mut self) {
        if self.is_stopping {
            return;
        }
        // The manager compares it with the moment at which it asked.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("read the monotonic clock: {error}"),
        }
    }

    /// The master ends. The first reason stands.
    pub(in crate::master) fn stopping(&mut self, status: &str) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            let status = NotifyState::Status(first_line(status));
            self.tell(&[NotifyState::Stopping, status]);
        }
    }

    /// What the next program is to be told of the manager.
    pub(in crate::master) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let manager = self.manager.as_ref();
        manager.map_or(Vec::new(), |manager| manager.variables(self.watchdog))
    }

    /// Another process is the master now. Nothing else is told from here on: the
    /// manager would take it for that one's.
    pub(in crate::master) fn resign(&mut self, master: Pid) {
        if let Ok(pid) = u32::try_from(master.raw())
            && !self.is_stopping
        {
            self.tell(&[NotifyState::MainPid(pid)]);
        }
        self.is_stopping = true;
        self.beat = None;
    }

    /// One turn of the loop, which proves that it lives.
    pub(in crate::master) fn turn(&mut self, now: Instant) {
        self.send_on();
        let Some((at, every)) = &mut self.beat else {
            return;
        };
        if *at <= now {
            *at = now + *every;
            // Never queued: an old proof of life proves nothing.
            if self.unsent.is_empty() {
                let sent = self.send(&datagram(&[NotifyState::Watchdog]));
                self.note(sent);
            }
        }
    }

    /// When the next turn is due at the latest.
    pub(in crate::master) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let retry = (!self.unsent.is_empty()).then(|| now + RETRY);
        let beat = self.beat.map(|(at, _)| at);
        retry.into_iter().chain(beat).min()
    }

    /// Sends what the manager had no room for, if it takes that within a moment:
    /// the last thing before the master leaves or another one speaks.
    pub(in crate::master) fn close(&mut self) {
        for _ in 0..LAST_TRIES {
            self.send_on();
            if self.unsent.is_empty() {
                return;
            }
            std::thread::sleep(LAST_RETRY);
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.manager.is_none() {
            return;
        }
        if self.unsent.len() == UNSENT_MAX {
            self.unsent.pop_front();
        }
        self.unsent.push_back(datagram(states));
        self.send_on();
    }

    fn send_on(&mut self) {
        while let Some(datagram) = self.unsent.front() {
            let sent = self.send(datagram);
            if let Err(error) = &sent
                && error.kind() == io::ErrorKind::WouldBlock
            {
                return;
            }
            self.note(sent);
            self.unsent.pop_front();
        }
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.manager
            .as_ref()
            .map_or(Ok(()), |manager| manager.send(datagram))
    }

    /// A manager that is gone is worth one line, until it is back.
    fn note(&mut self, sent: io::Result<()>) {
        let was_missed = std::mem::replace(&mut self.is_missed, sent.is_err());
        if let Err(error) = sent
            && !was_missed
        {
            log::warn!("tell the service manager: {error}; going on without it");
        }
    }
}

/// A status is one line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    struct Manager {
        socket: UnixDatagram,
        folder: tempfile::TempDir,
    }

    impl Manager {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, folder }
        }

        fn notifier(&self, watchdog: Option<Duration>, now: Instant) -> Notifier {
            let path = self.folder.path().join("notify");
            let socket = NotifySocket::new(path.as_os_str()).unwrap();
            Notifier::new(Some(socket), watchdog, now)
        }

        /// The first line of each datagram that arrived.
        fn heard(&self) -> Vec<String> {
            let mut bytes = [0; 4096];
            let datagrams = std::iter::from_fn(|| self.socket.recv(&mut bytes).ok().map(|_| bytes));
            let first = |bytes: [u8; 4096]| {
                let end = bytes.iter().position(|byte| b"\n\0".contains(byte));
                String::from_utf8(bytes[..end.unwrap()].to_vec()).unwrap()
            };
            datagrams.map(first).collect()
        }
    }

    #[test]
    fn nothing_is_ready_any_more_once_it_stops() {
        let (manager, now) = (Manager::new(), Instant::now());
        let mut notifier = manager.notifier(None, now);
        notifier.ready("serves");
        notifier.reloading();
        notifier.stopping("stop");
        notifier.stopping("stop again");
        notifier.ready("serves");
        notifier.reloading();
        let expected = ["READY=1", "RELOADING=1", "STOPPING=1"];
        assert_eq!(manager.heard(), expected);
        assert_eq!(notifier.next_deadline(now), None);
    }

    #[test]
    fn the_loop_proves_its_life_twice_in_the_time_allowed() {
        let (manager, start) = (Manager::new(), Instant::now());
        let mut notifier = manager.notifier(Some(Duration::from_secs(10)), start);
        let mut heard = Vec::new();
        for second in 0..=15 {
            let now = start + Duration::from_secs(second);
            notifier.turn(now);
            assert!(notifier.next_deadline(now).unwrap() > now);
            if !manager.heard().is_empty() {
                heard.push(second);
            }
        }
        assert_eq!(heard, [0, 5, 10, 15]);
    }

    #[test]
    fn a_manager_that_does_not_read_hears_the_latest_later() {
        let (manager, now) = (Manager::new(), Instant::now());
        let mut notifier = manager.notifier(Some(Duration::from_secs(10)), now);
        while notifier.unsent.len() < UNSENT_MAX {
            notifier.reloading();
        }
        notifier.ready("serves");
        assert_eq!(notifier.unsent.len(), UNSENT_MAX);
        notifier.turn(now);
        assert_eq!(notifier.next_deadline(now), Some(now + RETRY));
        while !notifier.unsent.is_empty() {
            manager.heard();
            notifier.turn(now);
        }
        assert_eq!(manager.heard().last().unwrap(), "READY=1");
    }

    #[test]
    fn a_manager_that_is_gone_or_never_was_is_no_trouble() {
        let (manager, now) = (Manager::new(), Instant::now());
        let mut orphan = manager.notifier(Some(Duration::from_secs(10)), now);
        drop(manager);
        for notifier in [&mut orphan, &mut Notifier::new(None, None, now)] {
            notifier.ready("serves");
            notifier.turn(now);
            assert!(notifier.unsent.is_empty());
        }
        assert!(orphan.is_missed);
    }

    #[test]
    fn after_resigning_nothing_is_told_and_the_next_program_knows_where() {
        let (manager, now) = (Manager::new(), Instant::now());
        let silence = Duration::from_secs(20);
        let mut notifier = manager.notifier(Some(silence), now);
        let variables = notifier.variables();
        assert_eq!(variables[0].0, "NOTIFY_SOCKET");
        assert_eq!(variables[1], ("WATCHDOG_USEC", "20000000".into()));
        notifier.resign(Pid::new(77).unwrap());
        notifier.ready("generation 2 serves");
        notifier.stopping("draining");
        notifier.turn(now + silence);
        assert_eq!(manager.heard(), ["MAINPID=77"]);
        assert_eq!(Notifier::default().variables(), []);
    }

    #[test]
    fn the_last_words_wait_a_moment_for_room_and_no_longer() {
        let (manager, now) = (Manager::new(), Instant::now());
        let mut notifier = manager.notifier(None, now);
        while notifier.unsent.is_empty() {
            notifier.ready("again");
        }
        notifier.close();
        assert!(!notifier.unsent.is_empty(), "nobody reads");
        manager.heard();
        notifier.close();
        assert!(notifier.unsent.is_empty());
        assert!(!manager.heard().is_empty());
    }
}
