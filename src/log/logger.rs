//! One process's log: what it knows, and the way of one line.
//!
//! Invariant: the state is replaced as a whole and never changed in place, so a
//! line sees one process name, one pid and one set of places, however many
//! threads log while it is being replaced. Any thread may call anything here.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{self, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ::log::{Level, Metadata, Record};
use jiff::Timestamp;

use super::line::{self, Format, Speaker};
use super::sink::Sink;
use super::syslog::{self, Syslog};
use super::tap::tap;
use super::{Output, Settings};

thread_local! {
    /// Kept between lines, so that a line needs no memory of its own.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static THREAD_NAME: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Names the calling thread in the lines that it writes.
pub(super) fn name_thread(name: &str) {
    let _ending_thread = THREAD_NAME.try_with(|own| own.replace(Some(name.into())));
}

#[derive(Debug)]
pub(super) struct Logger {
    /// Whether the facade's macros come here.
    installed: AtomicBool,
    state: RwLock<Arc<State>>,
    stderr_trouble: Trouble,
    file_trouble: Trouble,
    syslog_trouble: Trouble,
    access_trouble: Trouble,
}

/// Everything a line needs; replaced as a whole.
#[derive(Clone, Debug)]
struct State {
    process: String,
    pid: u32,
    format: Format,
    stderr: Arc<Sink>,
    to_stderr: bool,
    /// Absolute: the daemon changes its working directory.
    path: Option<PathBuf>,
    file: Option<Arc<Sink>>,
    syslog: Option<Arc<Syslog>>,
    /// As `path` and `file`, of the access log.
    access_path: Option<PathBuf>,
    access_log: Option<Arc<Recorder>>,
}

/// Where recorded lines go.
#[derive(Debug)]
enum Recorder {
    Sink(Sink),
    Syslog(Arc<Syslog>),
}

impl Recorder {
    fn put(&self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Sink(sink) => sink.put(lines),
            Self::Syslog(syslog) => {
                let lines = lines.split(|byte| *byte == b'\n');
                let mut lines = lines.filter(|line| !line.is_empty());
                lines.try_for_each(|line| syslog.put(Level::Info, line))
            }
        }
    }
}

/// The place of `output` that is a descriptor; `None` for syslog.
fn sink(output: &Output) -> io::Result<Option<Sink>> {
    Ok(Some(match output {
        Output::File(path) => Sink::file(path)?,
        Output::StandardOutput => Sink::standard_output(),
        Output::StandardError => Sink::standard_error(),
        Output::Syslog => return Ok(None),
    }))
}

/// The same with an absolute path, and what is to be opened again.
fn whole(output: Option<&Output>) -> io::Result<(Option<Output>, Option<PathBuf>)> {
    Ok(match output {
        Some(Output::File(path)) => {
            let path = path::absolute(path)?;
            (Some(Output::File(path.clone())), Some(path))
        }
        other => (other.cloned(), None),
    })
}

impl Default for Logger {
    fn default() -> Self {
        Self {
            installed: AtomicBool::new(false),
            state: RwLock::new(Arc::new(State {
                process: "purlin".to_owned(),
                pid: std::process::id(),
                format: Format::Human,
                stderr: Arc::new(Sink::standard_error()),
                to_stderr: true,
                path: None,
                file: None,
                syslog: None,
                access_path: None,
                access_log: None,
            })),
            stderr_trouble: Trouble::default(),
            file_trouble: Trouble::default(),
            syslog_trouble: Trouble::default(),
            access_trouble: Trouble::default(),
        }
    }
}

impl Logger {
    /// Writes nowhere until it is configured.
    pub(super) fn silent() -> Self {
        let logger = Self::default();
        logger.change(|state| state.to_stderr = false);
        logger
    }

    pub(super) fn configure(&self, settings: &Settings) -> io::Result<()> {
        let (output, path) = whole(settings.file.as_ref())?;
        let file = output.as_ref().map(sink).transpose()?.flatten();
        let (access, access_path) = whole(settings.access_log.as_ref())?;
        let access_log = access.as_ref().map(sink).transpose()?;
        self.change(|state| {
            state.access_path = access_path;
            state.access_log = access_log.map(|sink| {
                let target = || settings.syslog.clone().unwrap_or_default();
                state.recorder(sink, target)
            });
            state.format = settings.format;
            state.to_stderr = settings.stderr;
            state.path = path;
            state.file = file.map(Arc::new);
            state.pid = std::process::id();
            state.syslog = settings.syslog.clone().map(|target| state.connect(target));
        });
        self.file_trouble.forget();
        self.syslog_trouble.forget();
        self.access_trouble.forget();
        Ok(())
    }

    /// Makes the facade's macros write here; a second call does nothing.
    pub(super) fn install(&'static self) -> io::Result<()> {
        if !self.installed.load(Ordering::Acquire) {
            ::log::set_logger(self)
                .map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
            self.installed.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn forked(&self, process: &str) {
        self.change(|state| {
            process.clone_into(&mut state.process);
            state.pid = std::process::id();
            state.stderr = Arc::new(Sink::standard_error());
            let target = state.syslog.as_ref().map(|old| old.target().clone());
            state.syslog = target.map(|target| state.connect(target));
            if let Some(Recorder::Syslog(old)) = state.access_log.as_deref() {
                let target = old.target().clone();
                state.access_log = Some(state.recorder(None, || target));
            }
        });
    }

    pub(super) fn keep_standard_error(&self) -> io::Result<()> {
        let state = self.state();
        let stderr = state.stderr.kept()?;
        let access_log = match state.access_log.as_deref() {
            Some(Recorder::Sink(sink)) => sink.kept()?,
            Some(Recorder::Syslog(_)) | None => None,
        };
        self.change(|state| {
            if let Some(stderr) = stderr {
                state.stderr = Arc::new(stderr);
            }
            if let Some(access_log) = access_log {
                state.access_log = Some(Arc::new(Recorder::Sink(access_log)));
            }
        });
        Ok(())
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        let state = self.state();
        let open = |path: &Option<PathBuf>| path.as_deref().map(Sink::file).transpose();
        let (file, access_log) = (open(&state.path)?, open(&state.access_path)?);
        self.change(|state| {
            state.file = file.map(Arc::new).or(state.file.take());
            let access_log = access_log.map(|sink| Arc::new(Recorder::Sink(sink)));
            state.access_log = access_log.or(state.access_log.take());
        });
        self.file_trouble.forget();
        self.access_trouble.forget();
        Ok(())
    }

    pub(super) fn open_access_log(&self, output: &Output) -> io::Result<()> {
        let (output, access_path) = whole(Some(output))?;
        let access_log = output.as_ref().map(sink).transpose()?;
        self.change(|state| {
            state.access_path = access_path;
            state.access_log = access_log.map(|sink| state.recorder(sink, Default::default));
        });
        self.access_trouble.forget();
        Ok(())
    }

    /// Writes whole lines to the access log; tells whether they are there.
    pub(super) fn put_access(&self, lines: &[u8]) -> bool {
        let state = self.state();
        let Some(access_log) = &state.access_log else {
            return false;
        };
        let written = access_log.put(lines);
        let is_there = written.is_ok();
        self.access_trouble.note(written, "access log", &state);
        is_there
    }

    pub(super) fn access_descriptor(&self) -> io::Result<Option<OwnedFd>> {
        let state = self.state();
        match state.access_log.as_deref() {
            Some(Recorder::Sink(sink)) => sink.as_fd().try_clone_to_owned().map(Some),
            // Each process has a connection of its own.
            Some(Recorder::Syslog(_)) | None => Ok(None),
        }
    }

    pub(super) fn adopt_access_log(&self, file: OwnedFd) {
        let sink = Recorder::Sink(Sink::adopted(file));
        self.change(|state| state.access_log = Some(Arc::new(sink)));
        self.access_trouble.forget();
    }

    pub(super) fn file_descriptor(&self) -> io::Result<Option<OwnedFd>> {
        let state = self.state();
        let file = state.file.as_ref();
        file.map(|file| file.as_fd().try_clone_to_owned())
            .transpose()
    }

    pub(super) fn adopt(&self, file: OwnedFd) {
        self.change(|state| state.file = Some(Arc::new(Sink::adopted(file))));
        self.file_trouble.forget();
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> tests::Lost {
        tests::Lost {
            stderr: self.stderr_trouble.lines(),
            file: self.file_trouble.lines(),
            syslog: self.syslog_trouble.lines(),
        }
    }

    // A state is valid whenever the lock is free, so a panic elsewhere has
    // spoilt nothing: the log goes on.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut state));
    }

    fn put(&self, record: &Record<'_>) {
        let state = self.state();
        // Taken, not borrowed: a `Display` in the message may log itself.
        let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
        if let Some(tap) = tap().filter(|tap| tap.takes(record.level())) {
            state.render(&mut line, record);
            tap.put(&line);
        }
        if state.to_stderr || state.file.is_some() {
            state.render(&mut line, record);
            if state.to_stderr {
                let written = state.stderr.put(&line);
                self.stderr_trouble.note(written, "stderr", &state);
            }
            if let Some(file) = &state.file {
                let written = file.put(&line);
                self.file_trouble.note(written, "log file", &state);
            }
        }
        if let Some(syslog) = &state.syslog {
            state.speak(|speaker| {
                line::render_plain(&mut line, syslog::TEXT_MAX, speaker, record);
            });
            let sent = syslog.put(record.level(), &line);
            self.syslog_trouble.note(sent, "syslog", &state);
        }
        let _ending_thread = BUFFER.try_with(|buffer| buffer.set(line));
    }
}

impl ::log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.put(record);
        }
    }

    fn flush(&self) {
        // Every line was written when its macro returned.
    }
}

impl State {
    fn render(&self, line: &mut Vec<u8>, record: &Record<'_>) {
        let now = Timestamp::now();
        self.speak(|speaker| line::render(line, self.format, now, speaker, record));
    }

    fn speak(&self, say: impl FnOnce(Speaker<'_>)) {
        let current = std::thread::current();
        // A copy, not a borrow: while the message is formatted it may log
        // itself, rename its thread, or panic.
        let own = THREAD_NAME.try_with(|name| name.borrow().clone());
        let own = own.unwrap_or_default();
        say(Speaker {
            process: &self.process,
            thread: own.as_deref().or(current.name()).unwrap_or("thread"),
            pid: self.pid,
        });
    }

    /// What records to `sink`, or to the syslog that `target` gives.
    fn recorder(
        &self,
        sink: Option<Sink>,
        target: impl FnOnce() -> syslog::Target,
    ) -> Arc<Recorder> {
        let syslog = || Recorder::Syslog(self.connect(target()));
        Arc::new(sink.map_or_else(syslog, Recorder::Sink))
    }

    fn connect(&self, target: syslog::Target) -> Arc<Syslog> {
        let program = std::env::current_exe().unwrap_or_default();
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        // What the kernel appends when the binary was replaced.
        let program = program.trim_end_matches(" (deleted)");
        Arc::new(Syslog::new(target, program, self.pid))
    }
}

/// What one place refused.
#[derive(Debug, Default)]
struct Trouble {
    lines: AtomicU64,
    told: AtomicBool,
}

impl Trouble {
    fn note(&self, written: io::Result<()>, place: &str, state: &State) {
        let Err(error) = written else {
            return;
        };
        // Relaxed: a count and a flag of their own, they guard nothing.
        self.lines.fetch_add(1, Ordering::Relaxed);
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut line = Vec::new();
        state.render(
            &mut line,
            &Record::builder()
                .level(Level::Error)
                .target(module_path!())
                .args(format_args!(
                    "{place}: {error}; its lines are lost meanwhile"
                ))
                .build(),
        );
        let _nobody_left_to_tell = state.stderr.put(&line);
    }

    /// Begins anew after an operator changed something: trouble is told again.
    fn forget(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    #[cfg(test)]
    fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    /// Lines that could not be written, for each place.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub(in crate::log) struct Lost {
        pub(super) stderr: u64,
        pub(super) file: u64,
        pub(super) syslog: u64,
    }

    fn logger(settings: Settings) -> Logger {
        let logger = Logger::default();
        logger.configure(&settings).unwrap();
        logger
    }

    fn to_file(path: &Path) -> Logger {
        logger(Settings {
            file: Some(path.into()),
            stderr: false,
            ..Settings::default()
        })
    }

    fn say(logger: &Logger, text: &str) {
        logger.put(
            &Record::builder()
                .level(Level::Info)
                .args(format_args!("{text}"))
                .build(),
        );
    }

    /// How often each text is there; a torn line would be a text of its own.
    fn texts(files: &[&Path]) -> HashMap<String, u64> {
        let all = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts_of(&all.collect::<String>())
    }

    fn texts_of(lines: &str) -> HashMap<String, u64> {
        let mut texts = HashMap::new();
        for line in lines.lines() {
            let (_, text) = line.split_once(": ").expect("a whole line");
            *texts.entry(text.to_owned()).or_default() += 1;
        }
        texts
    }

    const LINES: u64 = 10_000;
    const WRITERS: u64 = 8;

    /// Texts of many lengths, so that a torn line cannot look like another.
    fn say_many(logger: &Logger, writer: u64, said: &AtomicU64) {
        for n in 0..LINES {
            let filling = "x".repeat(usize::try_from(n % 200).unwrap());
            say(logger, &format!("writer {writer} line {n} {filling}."));
            said.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn assert_each_once(texts: &HashMap<String, u64>) {
        for (text, times) in texts {
            let whole = text.starts_with("writer ") && text.ends_with('.');
            assert!(whole && *times == 1, "{times} times: {text}");
        }
    }

    fn assert_all_there_once(texts: &HashMap<String, u64>) {
        assert_each_once(texts);
        assert_eq!(u64::try_from(texts.len()).unwrap(), WRITERS * LINES);
    }

    #[test]
    fn lines_of_many_threads_are_whole_and_counted_across_reopens() {
        let folder = tempfile::tempdir().unwrap();
        let [now, before, first] = ["now", "before", "first"].map(|name| folder.path().join(name));
        let (logger, said) = (to_file(&now), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (logger, said) = (&logger, &said);
            for writer in 0..WRITERS {
                scope.spawn(move || say_many(logger, writer, said));
            }
            for (moved, lines) in [(&first, LINES), (&before, 5 * LINES)] {
                while said.load(Ordering::Relaxed) < lines {
                    std::thread::yield_now();
                }
                fs::rename(&now, moved).unwrap();
                logger.reopen().unwrap();
            }
        });
        assert_all_there_once(&texts(&[&now, &before, &first]));
        assert_eq!(logger.lost(), Lost::default());
    }

    const WRITER: &str = "PURLIN_TEST_WRITER";
    const FILE: &str = "PURLIN_TEST_LOG_FILE";

    /// Processes that log at the same time, to `file` or else to `stderr`.
    fn start_writers(file: Option<&Path>, stderr: &File) -> Vec<Child> {
        let start = |writer: u64| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--ignored", "--nocapture", "--exact"]);
            command.arg("log::logger::tests::one_of_many_processes");
            command.env(WRITER, writer.to_string());
            command.envs(file.map(|file| (FILE, file)));
            command.stdout(Stdio::piped());
            command.stderr(stderr.try_clone().unwrap());
            command.spawn().unwrap()
        };
        (0..WRITERS).map(start).collect()
    }

    /// Waits for the writers; how many lines they could not write.
    fn lost_by(writers: Vec<Child>) -> u64 {
        let lost = |writer: Child| {
            let output = writer.wait_with_output().unwrap();
            assert!(output.status.success());
            let said = String::from_utf8(output.stdout).unwrap();
            let lost = said.split_once("lost ").unwrap().1;
            lost.split_once(" lines").unwrap().0.parse::<u64>().unwrap()
        };
        writers.into_iter().map(lost).sum()
    }

    #[test]
    #[ignore = "one of the processes that the two tests below start"]
    fn one_of_many_processes() {
        let Ok(writer) = std::env::var(WRITER) else {
            return;
        };
        let file = std::env::var_os(FILE).map(PathBuf::from);
        let logger = logger(Settings {
            stderr: file.is_none(),
            file: file.map(Into::into),
            ..Settings::default()
        });
        say_many(&logger, writer.parse().unwrap(), &AtomicU64::new(0));
        let Lost { stderr, file, .. } = logger.lost();
        println!("lost {} lines", stderr + file);
    }

    #[test]
    fn lines_of_many_processes_are_whole_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let no_stderr = File::create("/dev/null").unwrap();
        assert_eq!(lost_by(start_writers(Some(&path), &no_stderr)), 0);
        assert_all_there_once(&texts(&[&path]));
    }

    /// The reader may be slow, so lines may be lost; none of them silently.
    #[test]
    fn lines_of_many_processes_through_one_pipe_are_whole_and_counted() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writers = start_writers(None, &File::from(OwnedFd::from(writer)));
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        let lost = lost_by(writers);
        let mut texts = texts_of(&all);
        texts.retain(|text, _| lost == 0 || text.starts_with("writer "));
        assert_each_once(&texts);
        let written = u64::try_from(texts.len()).unwrap();
        assert_eq!(written + lost, WRITERS * LINES);
    }

    #[test]
    fn a_failed_reopen_keeps_the_old_file_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("logs");
        fs::create_dir(&inside).unwrap();
        let logger = to_file(&inside.join("log"));
        let aside = folder.path().join("aside");
        fs::rename(&inside, &aside).unwrap();

        let said = logger.reopen().unwrap_err().to_string();
        assert!(said.contains("logs/log: No such file"), "{said}");
        say(&logger, "still here");
        assert_eq!(texts(&[&aside.join("log")])["still here"], 1);
    }

    #[test]
    fn a_worker_writes_to_the_file_that_its_master_opened() {
        let folder = tempfile::tempdir().unwrap();
        let [path, moved] = ["log", "moved"].map(|name| folder.path().join(name));
        let (master, worker) = (to_file(&path), to_file(&path));
        fs::rename(&path, &moved).unwrap();
        master.reopen().unwrap();
        worker.adopt(master.file_descriptor().unwrap().unwrap());
        say(&worker, "new file");
        assert_eq!(texts(&[&path])["new file"], 1);
        assert!(texts(&[&moved]).is_empty());
    }

    #[test]
    fn a_line_says_process_thread_and_pid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = to_file(&path);
        logger.forked("worker-2");
        let pid = std::process::id();
        std::thread::scope(|scope| {
            let from = |name: &str| std::thread::Builder::new().name(name.to_owned());
            let built = from("business-1").spawn_scoped(scope, || say(&logger, "a"));
            built.unwrap().join().unwrap();
            let named = from("x").spawn_scoped(scope, || {
                name_thread("reactor");
                say(&logger, "b");
                say(&logger, "c");
            });
            named.unwrap().join().unwrap();
        });
        let lines = fs::read_to_string(path).unwrap();
        for said in ["business-1", "reactor", "reactor"]
            .iter()
            .zip(["a", "b", "c"])
        {
            let expected = format!(" info worker-2/{} {pid}: {}\n", said.0, said.1);
            assert!(lines.contains(&expected), "{lines}");
        }
    }

    #[test]
    fn a_message_that_logs_while_it_is_formatted_makes_two_whole_lines() {
        struct Nested<'a>(&'a Logger);
        impl std::fmt::Display for Nested<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                say(self.0, "inner");
                f.write_str("outer")
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = to_file(&path);
        say(&logger, &Nested(&logger).to_string());
        name_thread("reactor");
        logger.put(
            &Record::builder()
                .args(format_args!("{}", Nested(&logger)))
                .build(),
        );
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines.matches("/reactor ").count(), 2, "{lines}");
        let texts = texts(&[&path]);
        assert_eq!((texts["inner"], texts["outer"]), (2, 2));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("syslog");
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let logger = logger(Settings {
            file: Some("/dev/full".into()),
            stderr: false,
            syslog: Some(format!("unix:{}", path.display()).parse().unwrap()),
            ..Settings::default()
        });
        let stderr = folder.path().join("stderr");
        logger.change(|state| state.stderr = Arc::new(Sink::file(&stderr).unwrap()));
        (0..3).for_each(|_| say(&logger, "text"));
        let mut datagram = [0; 512];
        for _ in 0..3 {
            let len = daemon.recv(&mut datagram).unwrap();
            assert!(datagram[..len].ends_with(b": text"));
        }
        drop(daemon);
        say(&logger, "text");
        say(&logger, "text");
        let expected = Lost {
            stderr: 0,
            file: 5,
            syslog: 2,
        };
        assert_eq!(logger.lost(), expected);
        let told = fs::read_to_string(stderr).unwrap();
        assert_eq!(told.matches("log file: No space left").count(), 1, "{told}");
        assert_eq!(
            told.matches("syslog: Connection refused").count(),
            1,
            "{told}"
        );
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}
