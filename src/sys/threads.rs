//! What the kernel tells about the threads of another process: for a report
//! about one that hangs.
//!
//! The files of `/proc` are read one by one while the process may run: each line
//! was true at some moment, not all of them at the same one.

use std::fmt;
use std::fs;
use std::io;

use super::process::Pid;

/// One thread, as it was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Thread {
    /// Its number; that of the first thread is the process's.
    pub id: i32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it is doing, in the letter of `ps`.
    pub state: char,
    /// The function of the kernel in which it waits; `None`: in none, or this
    /// process may not know.
    pub waits_in: Option<String>,
    /// The number of the system call that it is in, likewise.
    pub call: Option<i64>,
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, name, state, ..
        } = self;
        write!(f, "{name} ({id}), state {state}")?;
        match &self.waits_in {
            Some(function) => write!(f, ", wchan {function}")?,
            None => f.write_str(", wchan -")?,
        }
        match self.call {
            Some(call) => write!(f, ", system call {call}"),
            None => Ok(()),
        }
    }
}

/// The threads of `pid`, the first one first, at most so many: a process may
/// have as many as it likes. Those that end meanwhile are left out.
///
/// # Errors
///
/// `NotFound` when the process is gone.
pub fn of(pid: Pid, most: usize) -> io::Result<Vec<Thread>> {
    let mut ids: Vec<i32> = fs::read_dir(format!("/proc/{pid}/task"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids.truncate(most);
    Ok(ids.into_iter().filter_map(|id| look(pid, id)).collect())
}

/// The name of one thread of `pid`; `None` when it is gone.
#[must_use]
pub fn name(pid: Pid, id: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Which process debugs `pid`, if one does.
#[must_use]
pub fn tracer(pid: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    Pid::new(line.trim().parse().ok()?)
}

/// The calling thread's number.
#[must_use]
pub fn own_id() -> i32 {
    nix::unistd::gettid().as_raw()
}

fn look(pid: Pid, id: i32) -> Option<Thread> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{id}/{file}")).ok();
    let stat = read("stat")?;
    let waits_in = read("wchan").filter(|function| !function.is_empty() && function != "0");
    let call = read("syscall").and_then(|line| line.split(' ').next()?.trim().parse().ok());
    Some(Thread {
        id,
        name: name(pid, id)?,
        // The name may hold anything, brackets as well.
        state: stat.rsplit_once(") ")?.1.chars().next()?,
        waits_in,
        call: call.filter(|call| *call >= 0),
    })
}

/// The calling thread runs when others have nothing to do, more or less.
pub fn lower_priority() {
    const NICE: i32 = 10;
    let Ok(thread) = libc::id_t::try_from(own_id()) else {
        return;
    };
    // SAFETY: it takes numbers and touches no memory. Of a thread, Linux takes the id
    // as that of a process. What comes of it is not asked: it only runs sooner.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_named_with_its_state() {
        let (end, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("a) thread (".into())
            .spawn(move || {
                tell.send(own_id()).unwrap();
                let _until_it_is_over = wait.recv();
            })
            .unwrap();
        let id = told.recv().unwrap();
        let found = loop {
            let threads = of(Pid::own(), usize::MAX).unwrap();
            let found = threads.into_iter().find(|thread| thread.id == id).unwrap();
            if found.state == 'S' {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.name, "a) thread (");
        assert!(found.to_string().contains(", state S, wchan "));
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_has_no_threads_and_nobody_debugs_this_one() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        child.wait().unwrap();
        assert_eq!(of(pid, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(tracer(pid), None);
        assert_eq!(tracer(Pid::own()), None);
    }

    #[test]
    fn a_debugger_is_known() {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("sleep");
        command.arg("60");
        let ask = || {
            // SAFETY: the call touches no memory, and may be made between fork
            // and exec: it is one system call.
            let asked = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            if asked == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        };
        // SAFETY: `ask` is one system call; it allocates nothing, takes no lock.
        unsafe { command.pre_exec(ask) };
        let mut child = command.spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(tracer(pid), Pid::new(own_id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_is_not_known_is_shown_as_such() {
        let thread = Thread {
            id: 7,
            name: "business-1".into(),
            state: 'R',
            waits_in: None,
            call: None,
        };
        assert_eq!(thread.to_string(), "business-1 (7), state R, wchan -");
    }
}
