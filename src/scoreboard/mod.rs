//! What the shared words mean: a row of counters for each worker.
//!
//! Writers are the threads of one worker; readers are anybody. Counters only
//! grow; gauges rise and fall. All updates are relaxed: each word is a fact of
//! its own, and no word announces another. (The words of the accept mutex do:
//! see `net::accept_mutex`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::memory::SharedWords;

pub mod activity;
mod addresses;
mod board;
mod ledger;
mod metric;
pub mod series;
mod timings;

pub use addresses::{Addresses, BUCKET};
pub use board::{Descriptors, ReadOnly, Scoreboard};
pub use metric::{Group, Metric};
pub use timings::Timing;

use ledger::Ledger;
use series::{Series, Shape};
use timings::TIMINGS_WORDS;

macro_rules! counters {
    (@is_gauge) => { false };
    (@is_gauge gauge) => { true };
    (@label) => { None };
    (@label $label:ident $value:literal) => { Some((stringify!($label), $value)) };
    (@family $text:literal) => { $text };
    (@family $text:literal $family:literal) => { $family };
    ($(
        $(#[doc = $help:literal])+
        $name:ident = $text:literal $(($kind:ident))?
            $(as $family:literal $([$label:ident $value:literal])?)?,
    )+) => {
        /// Everything that a worker counts. One line here gives a counter its
        /// name, its help text, its shared word and its line in every report; what
        /// stands behind `as` is its metric where that has another name, or shares
        /// one with others and differs from them by a label.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Counter { $($(#[doc = $help])+ $name,)+ }

        impl Counter {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+).trim_ascii(),)+ }
            }

            /// What it is as a metric.
            #[must_use]
            pub const fn metric(self) -> Metric {
                match self { $(Self::$name => Metric {
                    family: counters!(@family $text $($family)?),
                    label: counters!(@label $($($label $value)?)?),
                },)+ }
            }

            /// The reason in the help of a counter of refused connections, for
            /// the line in the log.
            #[must_use]
            pub fn reason(self) -> &'static str {
                let help = self.help().trim_end_matches('.');
                help.split_once(" because ").map_or(help, |(_, reason)| reason)
            }

            /// Whether it says how many there are now: it falls as well, and
            /// ends with its worker.
            #[must_use]
            pub const fn is_gauge(self) -> bool {
                match self { $(Self::$name => counters!(@is_gauge $($kind)?),)+ }
            }
        }
    };
}

counters! {
    /// Connections accepted.
    Accepted = "connections_accepted",
    /// Connections open now.
    Live = "connections_live" (gauge) as "connections",
    /// Connections closed, whoever asked.
    Closed = "connections_closed" as "connections_ended",
    /// Connections that ended in an error of the network.
    Broken = "connections_broken",
    /// Times that epoll said of a listener that somebody waits there.
    AcceptEvents = "accept_events",
    /// Times that `accept` found no connection waiting.
    AcceptsEmpty = "accepts_empty",
    /// Times that the accept mutex came to this worker.
    TurnsTaken = "accept_turns_taken",
    /// Times that this worker gave the accept mutex to another one.
    TurnsHandedOver = "accept_turns_handed_over",
    /// Times that the bell of the accept mutex woke this worker.
    TurnWakes = "accept_turn_wakes",
    /// Times that accepting paused because the connection pool was full.
    PoolFull = "accept_paused_pool_full" as "accept_paused" [reason "pool_full"],
    /// Times that accepting paused because descriptors ran out.
    OutOfDescriptors = "accept_paused_out_of_descriptors" as "accept_paused" [reason "out_of_descriptors"],
    /// Connections that the operating system could not register.
    AcceptFailed = "connections_refused" as "connections_refused" [reason "system"],
    /// Connections refused because the lists of the listener do not let their
    /// address in.
    RefusedDenied = "connections_refused_denied" as "connections_refused" [reason "denied"],
    /// Connections refused because their address had `connections_per_ip`
    /// already.
    RefusedPerIp = "connections_refused_per_ip" as "connections_refused" [reason "per_ip"],
    /// Connections refused because the table had no room to count their
    /// address.
    RefusedUncounted = "connections_refused_per_ip_table_full" as "connections_refused" [reason "per_ip_table_full"],
    /// Connections refused because their address opened more than
    /// `accept_rate_per_ip`.
    RefusedRate = "connections_refused_accept_rate_per_ip" as "connections_refused" [reason "accept_rate_per_ip"],
    /// Connections refused because they did not come from a trusted proxy.
    RefusedUntrusted = "connections_refused_proxy_untrusted" as "connections_refused" [reason "proxy_untrusted"],
    /// Connections refused because what came in place of a PROXY header is
    /// none.
    RefusedHeader = "connections_refused_proxy_malformed" as "connections_refused" [reason "proxy_malformed"],
    /// Connections refused because no whole PROXY header came in time.
    RefusedLate = "connections_refused_proxy_timeout" as "connections_refused" [reason "proxy_timeout"],
    /// Connections that their proxy ended before it had sent a whole header.
    EndedBeforeHeader = "connections_ended_before_proxy_header",
    /// Connections closed because no message came in time after the first byte
    /// was awaited.
    FirstMessageTimeout = "connections_closed_first_message_timeout" as "connections_closed" [reason "first_message_timeout"],
    /// Connections closed because nothing proved in time that the peer lives.
    HeartbeatTimeout = "connections_closed_heartbeat_timeout" as "connections_closed" [reason "heartbeat_timeout"],
    /// Connections closed because no message went either way for too long.
    IdleTimeout = "connections_closed_idle_timeout" as "connections_closed" [reason "idle_timeout"],
    /// Connections closed because a message arrived more slowly than
    /// `receive_rate`.
    ReceiveTooSlow = "connections_closed_receive_rate" as "connections_closed" [reason "receive_rate"],
    /// Connections closed because the peer took nothing of what waited for it.
    SendStalled = "connections_closed_send_stall" as "connections_closed" [reason "send_stall"],
    /// Connections closed in a full pool because they kept the server waiting
    /// for longest.
    MadeRoom = "connections_closed_make_room" as "connections_closed" [reason "make_room"],
    /// Connections closed because a frame claimed more than the limit.
    TooLong = "connections_closed_frame_too_long" as "connections_closed" [reason "frame_too_long"],
    /// Connections closed because a frame claimed less than its header, or a
    /// negative length.
    TooShort = "connections_closed_frame_too_short" as "connections_closed" [reason "frame_too_short"],
    /// Connections closed because a checksum was wrong.
    BadChecksum = "connections_closed_bad_checksum" as "connections_closed" [reason "bad_checksum"],
    /// Connections closed because the peer spoke HTTP to a frame port.
    SpokeHttp = "connections_closed_spoke_http" as "connections_closed" [reason "spoke_http"],
    /// Connections closed because the peer spoke TLS to a plain port.
    SpokeTls = "connections_closed_spoke_tls" as "connections_closed" [reason "spoke_tls"],
    /// Connections closed because the peer spoke HTTP/2.
    SpokeHttp2 = "connections_closed_spoke_http2" as "connections_closed" [reason "spoke_http2"],
    /// Connections closed because a request was no HTTP, or could be read in
    /// two ways.
    HttpBadRequest = "connections_closed_http_bad_request" as "connections_closed" [reason "http_bad_request"],
    /// Connections closed because the head of a request was over a limit.
    HttpHeadTooLong = "connections_closed_http_head_too_long" as "connections_closed" [reason "http_head_too_long"],
    /// Connections closed because the body of a request was over
    /// `http.body_max`.
    HttpBodyTooLong = "connections_closed_http_body_too_long" as "connections_closed" [reason "http_body_too_long"],
    /// Connections closed because of a version or a transfer coding that is not
    /// served.
    HttpUnsupported = "connections_closed_http_unsupported" as "connections_closed" [reason "http_unsupported"],
    /// Connections closed because a message had an id that no handler claimed.
    UnknownId = "connections_closed_unknown_id" as "connections_closed" [reason "unknown_id"],
    /// Connections closed by handlers or through the hub.
    ClosedByHandler = "connections_closed_by_handler" as "connections_closed" [reason "by_handler"],
    /// Connections closed because an operator wanted it.
    Kicked = "connections_closed_kicked" as "connections_closed" [reason "kicked"],
    /// Connections closed because their unsent pushes passed `outbound_max`.
    OutboundOverflow = "connections_closed_outbound_max" as "connections_closed" [reason "outbound_max"],
    /// Connections closed because the worker's buffers passed `buffered_max`.
    BufferedOverflow = "connections_closed_buffered_max" as "connections_closed" [reason "buffered_max"],
    /// Connections closed because they sent more messages than `flood` allows.
    Flooded = "connections_closed_flood" as "connections_closed" [reason "flood"],
    /// Messages dropped because there were more than `flood` allows.
    FloodDropped = "messages_dropped_flood" as "messages_dropped" [reason "flood"],
    /// Times that a connection was not read for a while because of `flood`.
    FloodDelayed = "reads_delayed_flood",
    /// Connections closed by an end-of-file in the middle of a message.
    Truncated = "connections_closed_truncated" as "connections_closed" [reason "truncated"],
    /// Connections closed because a file was shorter than announced, or could
    /// not be read.
    FileCut = "connections_closed_file_cut" as "connections_closed" [reason "file_cut"],
    /// Connections reset because the source of a streamed response failed or
    /// panicked.
    StreamsFailed = "connections_closed_stream_failed" as "connections_closed" [reason "stream_failed"],
    /// Messages that arrived whole and were let in.
    Received = "messages_received",
    /// Messages that business threads served, by a handler or by a rule.
    ServedByPool = "messages_served_by_pool",
    /// Messages that arrived whole and were not served, because their
    /// connection ended.
    Dropped = "messages_dropped" as "messages_dropped" [reason "connection_ended"],
    /// Connections that went on in another worker.
    HandedOver = "connections_handed_over",
    /// Connections that another worker had before.
    TakenOver = "connections_taken_over",
    /// Connections that another worker took no answer about, because it ended:
    /// they stayed for the next one.
    HandoverUndone = "connections_handover_undone",
    /// Connections not handed over because their state cannot go along, or
    /// could not be read.
    NotHandedState = "connections_not_handed_over_state" as "connections_not_handed_over" [reason "state"],
    /// Connections not handed over because a timer of theirs waited.
    NotHandedTimer = "connections_not_handed_over_timer" as "connections_not_handed_over" [reason "timer"],
    /// Connections not handed over because too much of a message or of their
    /// state was there.
    NotHandedSize = "connections_not_handed_over_size" as "connections_not_handed_over" [reason "size"],
    /// Connections not handed over because their listener is gone, or speaks
    /// something else now.
    NotHandedListener = "connections_not_handed_over_listener" as "connections_not_handed_over" [reason "listener"],
    /// Connections not handed over because the lists of the listener no longer
    /// let their address in.
    NotHandedDenied = "connections_not_handed_over_denied" as "connections_not_handed_over" [reason "denied"],
    /// Connections not handed over because the other worker had no room.
    NotHandedFull = "connections_not_handed_over_full" as "connections_not_handed_over" [reason "full"],
    /// Connections not handed over because they were busy for as long as the
    /// drain waited.
    NotHandedBusy = "connections_not_handed_over_busy" as "connections_not_handed_over" [reason "busy"],
    /// Messages that reached a handler.
    Handled = "messages_handled",
    /// Messages handled on the event loop.
    HandledInline = "messages_handled_inline",
    /// Messages with an id that no handler claimed.
    Unclaimed = "messages_unclaimed",
    /// Messages whose handler answered with an error.
    HandlerErrors = "messages_answered_error",
    /// Messages whose handler panicked.
    Panicked = "messages_panicked",
    /// Requests for a file that was open already.
    FilesCached = "files_cached",
    /// Requests for which the disk was asked for a file.
    FilesLookedUp = "files_looked_up",
    /// Times that a handler ran for longer than `slow_handler`.
    Slow = "handlers_slow",
    /// Times that the event loop of a worker did not go on for `watchdog`.
    Stuck = "reactor_stuck",
    /// Repliers of `later` that were dropped unsent.
    RepliersDropped = "repliers_dropped",
    /// Messages, replies or pushes addressed to a connection that is gone.
    Stale = "stale",
    /// Pushes queued for a connection.
    Pushed = "pushes",
    /// Pushes dropped because the receiver's unsent bytes passed
    /// `outbound_max`.
    PushesDropped = "pushes_dropped",
    /// Lines of the access log that the disk was too slow for.
    AccessLost = "access_log_lines_lost",
    /// Bytes received.
    BytesIn = "bytes_received" as "received_bytes",
    /// Bytes sent.
    BytesOut = "bytes_sent" as "sent_bytes",
    /// Bytes held now in partial frames, mailboxes and outbound queues.
    Buffered = "bytes_buffered" (gauge) as "buffered_bytes",
    /// System calls that read from connections.
    Reads = "reads",
    /// System calls that wrote to connections.
    Writes = "writes",
    /// Turns of the event loop.
    Loops = "reactor_loops",
    /// Milliseconds that the event loop was busy, in whole ticks of the coarse
    /// clock.
    LoopBusy = "reactor_busy_milliseconds" as "reactor_busy_seconds",
    /// Turns of the event loop that took over 10 ms, and not over 100 ms.
    LoopLate = "reactor_turns_10_to_100_ms" as "reactor_slow_turns" [over "0.01"],
    /// Turns of the event loop that took over 100 ms.
    LoopVeryLate = "reactor_turns_over_100_ms" as "reactor_slow_turns" [over "0.1"],
    /// Times that a sleeping business thread was woken.
    Wakes = "business_wakes",
    /// Times that the reactor yielded its core after handing work over.
    Yields = "reactor_yields",
    /// Connections whose turn a business thread took.
    Turns = "business_turns",
    /// Times that reading from a connection was paused.
    ReadPaused = "reads_paused",
    /// Times that reading from a connection was resumed.
    ReadResumed = "reads_resumed",
    /// Times that the sender asked to be told about room to write.
    WriteArmed = "writes_armed",
    /// Times that the sender stopped asking.
    WriteDisarmed = "writes_disarmed",
    /// Times that the sender was told of room and the kernel took nothing.
    WriteFutile = "writes_futile",
    /// Slots of the connection pool that exist.
    PoolSlots = "pool_slots" (gauge),
    /// Connections that the recycler closed.
    Recycled = "connections_recycled",
    /// Connections whose descriptor is not closed yet because somebody holds
    /// them.
    Quarantined = "connections_quarantined" (gauge),
    /// Heartbeats sent to silent peers.
    Pings = "heartbeats_sent",
    /// Deadlines that the heartbeat thread looked at.
    Deadlines = "deadlines_examined",
    /// Times that the master put the word of the accept mutex right.
    MutexRepaired = "accept_mutex_repaired",
    /// Connections closed because constant bytes of a frame were others.
    BadConstant = "connections_closed_bad_constant" as "connections_closed" [reason "bad_constant"],
    /// Connections closed because what came was no frame of its format.
    Malformed = "connections_closed_malformed_frame" as "connections_closed" [reason "malformed_frame"],
    /// Connections that ended with their worker: it died, or cut them at the end
    /// of a drain.
    EndedWithWorker = "connections_ended_with_worker",
    /// Replies that handlers have put off and not given yet.
    RepliesOwed = "replies_owed" (gauge),
    /// Replies that were put off and never given: their connection ended, they
    /// were owed for longer than `reply_max`, or the worker ended.
    RepliesAbandoned = "replies_abandoned",
    /// Times that a peer got an error because its reply was owed for longer than
    /// `reply_max`.
    RepliesOverdue = "replies_overdue",
    /// Connections closed because no further request came within
    /// `http.keep_alive`.
    KeepAliveTimeout = "connections_closed_keep_alive" as "connections_closed" [reason "keep_alive"],
    /// Connections closed because the lists of the listener do not let the client
    /// in whom a proxy named.
    HttpDenied = "connections_closed_http_denied" as "connections_closed" [reason "http_denied"],
    /// Connections of a worker that drains to which a file is sent.
    LeavingFiles = "draining_files" (gauge) as "draining_connections" [waits_for "files"],
    /// Connections of a worker that drains to which a response is streamed.
    LeavingStreams = "draining_streams" (gauge) as "draining_connections" [waits_for "streams"],
    /// Connections of a worker that drains of which a message arrives.
    LeavingUploads = "draining_uploads" (gauge) as "draining_connections" [waits_for "uploads"],
    /// Connections of a worker that drains which wait for an answer.
    LeavingReplies = "draining_replies" (gauge) as "draining_connections" [waits_for "replies"],
    /// Connections that became a WebSocket.
    WsOpened = "websockets_opened",
    /// Upgrades to WebSocket refused because the page is of another origin.
    WsOrigin = "websockets_refused_origin" as "websockets_refused" [reason "origin"],
    /// Connections closed because what came over WebSocket is against its rules.
    WsProtocol = "connections_closed_websocket_protocol" as "connections_closed" [reason "websocket_protocol"],
    /// Connections closed because a text over WebSocket was no UTF-8.
    WsText = "connections_closed_websocket_text" as "connections_closed" [reason "websocket_text"],
    /// Connections closed because a message over WebSocket was over
    /// `websocket.message_max`, or came in too many frames.
    WsTooLong = "connections_closed_websocket_too_long" as "connections_closed" [reason "websocket_too_long"],
    /// Messages to connections of other workers, or to their programs.
    BusPublished = "bus_published",
    /// Messages of other workers that were read.
    BusDelivered = "bus_delivered",
    /// Workers that were woken for a message.
    BusWoken = "bus_woken",
    /// Messages that a worker did not get, because it read too slowly and
    /// `bus.backlog` was full, or because they were too long. Once for each.
    BusLost = "bus_lost",
    /// Places in what a worker heard where messages are missing.
    BusGaps = "bus_gaps",
    /// Times that what another worker wrote was not understood, and left out.
    BusBroken = "bus_broken",
    /// Bytes that wait for workers which read slowly.
    BusBacklog = "bus_backlog" (gauge) as "bus_backlog_bytes",
    /// Connections closed because a compressed message over WebSocket could not be
    /// read.
    WsPacked = "connections_closed_websocket_compression" as "connections_closed" [reason "websocket_compression"],
    /// Messages that came compressed over WebSocket.
    WsInflated = "websocket_messages_inflated",
    /// Messages that were compressed to go out over WebSocket, a push to many once;
    /// those that stayed as they were because they got no shorter count.
    WsDeflated = "websocket_messages_deflated",
    /// Bytes of these before.
    WsDeflatedFrom = "websocket_bytes_before_deflate" as "websocket_deflate_input_bytes",
    /// Bytes of these as they went out.
    WsDeflatedTo = "websocket_bytes_after_deflate" as "websocket_deflate_output_bytes",
    /// Messages that were not served and went along with their connection to another
    /// worker, which received them once more.
    MessagesMoved = "messages_handed_over",
    /// Bytes of other workers that waited to be read when this one last looked.
    BusLag = "bus_lag" (gauge) as "bus_lag_bytes",
    /// Workers that a signal ended, and that were replaced if the server went on.
    RestartsSignal = "worker_restarts_signal" as "worker_restarts" [reason "signal"],
    /// Workers that ended by themselves with an error.
    RestartsExit = "worker_restarts_exit" as "worker_restarts" [reason "exit"],
    /// Reloads that were put in force.
    ReloadsDone = "reloads_succeeded" as "reloads" [result "success"],
    /// Reloads that changed nothing, because something was wrong.
    ReloadsFailed = "reloads_failed" as "reloads" [result "failure"],
    /// Connections of proxies closed because the client whom a request named had
    /// `connections_per_ip` already.
    HttpPerIp = "connections_closed_http_per_ip" as "connections_closed" [reason "http_per_ip"],
    /// Connections to Redis that nobody uses now.
    RedisIdle = "redis_connections_idle" (gauge) as "redis_connections" [state "idle"],
    /// Connections to Redis that are used or being made.
    RedisBusy = "redis_connections_busy" (gauge) as "redis_connections" [state "busy"],
    /// Connections to Redis that broke, or could not be made, and are not mended yet.
    RedisBroken = "redis_connections_broken" (gauge) as "redis_connections" [state "broken"],
    /// Commands that wait for a connection to Redis.
    RedisWaiting = "redis_waiting" (gauge),
    /// Time that workers spent on a core, as they last said, each every five
    /// seconds.
    WorkerCpu = "worker_cpu_milliseconds" as "worker_cpu_seconds",
    /// Descriptors that workers have open, as they last said.
    WorkerDescriptors = "worker_open_fds" (gauge),
    /// Descriptors that workers may have open.
    WorkerDescriptorsMax = "worker_max_fds" (gauge),
}

/// Words of one row, in whole cache lines: two workers never write to one.
///
/// The counters come first, then the two words of the accept mutex, then what
/// is known of the handlers' times.
const ROW_WORDS: usize = (TIMINGS + TIMINGS_WORDS).next_multiple_of(LINE_WORDS);
const ASLEEP: usize = Counter::ALL.len();
const LIFE: usize = ASLEEP + 1;
const TIMINGS: usize = LIFE + 1;

/// Words of a cache line.
const LINE_WORDS: usize = 8;

/// One worker's row: cheap to clone, safe from any thread.
#[derive(Clone, Debug)]
pub struct Row {
    words: Arc<SharedWords>,
    /// Of the whole scoreboard; `None`: this row is alone.
    ledger: Option<Ledger>,
    start: usize,
    /// Rows of the whole scoreboard; 0: this one is alone.
    rows: usize,
    /// Where the activities begin.
    activities: usize,
    addresses: Option<Addresses>,
    /// What is counted by name, if anything.
    series: Option<Series>,
}

impl Row {
    /// A row in memory of its own, in which addresses cannot be counted.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::new`].
    pub fn alone() -> std::io::Result<Self> {
        Ok(Self {
            words: Arc::new(SharedWords::new(ROW_WORDS + activity::ACTIVITIES_WORDS)?),
            ledger: None,
            start: 0,
            rows: 0,
            activities: ROW_WORDS,
            addresses: None,
            series: None,
        })
    }

    /// As [`Self::alone`], with these series.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::new`].
    pub fn alone_with(shape: Arc<Shape>) -> std::io::Result<Self> {
        let series = Series {
            words: Arc::new(SharedWords::new(shape.words())?),
            start: 0,
            shape,
        };
        Ok(Self {
            series: Some(series),
            ..Self::alone()?
        })
    }

    /// Where connections are counted by address, if anywhere.
    #[must_use]
    pub fn addresses(&self) -> Option<&Addresses> {
        self.addresses.as_ref()
    }

    fn word(&self, counter: Counter) -> &AtomicU64 {
        &self.words[self.start + counter as usize]
    }

    fn places(&self) -> &[AtomicU64] {
        &self.words[self.start + TIMINGS..][..TIMINGS_WORDS]
    }

    /// Whether the event loop waits.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.words[self.start + ASLEEP].load(Ordering::Relaxed) != 0
    }

    /// Adds `n`.
    pub fn add(&self, counter: Counter, n: u64) {
        if n > 0 {
            self.word(counter).fetch_add(n, Ordering::Relaxed);
        }
    }

    /// As [`Self::add`], for a counter to which no other thread ever adds: an
    /// atomic addition costs as much as a small lock, this one nothing.
    pub fn add_alone(&self, counter: Counter, n: u64) {
        let word = self.word(counter);
        // Another worker may have written there: whatever it is, we go on.
        let sum = word.load(Ordering::Relaxed).wrapping_add(n);
        word.store(sum, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Messages that came and were not served yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let done = [
            Counter::HandledInline,
            Counter::ServedByPool,
            Counter::Dropped,
            Counter::MessagesMoved,
        ];
        let done = done.into_iter().map(|counter| self.read(counter));
        let done = done.fold(0, u64::saturating_add);
        self.read(Counter::Received).saturating_sub(done)
    }

    /// Takes `n` away from a gauge.
    pub fn subtract(&self, counter: Counter, n: u64) {
        if n > 0 {
            self.word(counter).fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, counter: Counter, value: u64) {
        self.word(counter).store(value, Ordering::Relaxed);
    }

    /// The event loop is about to wait, or is over: nobody judges it any more.
    pub fn fall_asleep(&self) {
        self.words[self.start + ASLEEP].store(1, Ordering::Release);
    }

    /// The event loop has waited. Released behind the count: whoever sees the
    /// loop awake sees that it is in a new turn.
    pub fn wake_up(&self) {
        self.add_alone(Counter::Loops, 1);
        self.words[self.start + ASLEEP].store(0, Ordering::Release);
    }

    /// The value now.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.word(counter).load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_explained() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        assert!(
            Counter::ALL
                .iter()
                .all(|counter| counter.help().ends_with('.'))
        );
    }

    #[test]
    fn counters_have_words_of_their_own() {
        let row = Row::alone().unwrap();
        for (n, &counter) in (1..).zip(Counter::ALL) {
            row.add(counter, n);
        }
        for (n, &counter) in (1..).zip(Counter::ALL) {
            assert_eq!(row.read(counter), n, "{}", counter.name());
        }
        row.subtract(Counter::Live, 1);
        assert_eq!(row.read(Counter::Live), 1);
    }
}
