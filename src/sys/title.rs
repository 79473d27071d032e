//! The process title: what `ps` shows instead of the command line.
//!
//! The kernel reports the memory that the arguments were put into at exec.
//! Writing a title there is the only way that needs no privilege. The
//! environment lies right behind; it is moved elsewhere first, which makes
//! room for a few thousand bytes where `purlin run` alone would leave ten.
//!
//! [`init`] comes first thing in `main`. From then on `std::env::args` reads
//! titles instead of arguments: parse the command line before [`set`].

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::io;
use std::ptr;
use std::slice;
use std::sync::{Mutex, OnceLock};

use super::process::thread_count;

/// Where titles go; empty when `/proc` did not tell.
#[derive(Debug)]
struct Area {
    start: *mut u8,
    len: usize,
}

// SAFETY: the area belongs to the process for its whole life, to no thread.
unsafe impl Send for Area {}

static AREA: OnceLock<Mutex<Area>> = OnceLock::new();

/// Finds the room for titles and moves the environment out of it.
///
/// Without it, or after an error, [`set`] does nothing. Calling it again does
/// nothing.
///
/// # Errors
///
/// When `/proc` is not mounted: titles are cosmetic, go on without.
///
/// # Panics
///
/// When a second thread exists: it could be reading the environment.
pub fn init() -> io::Result<()> {
    if AREA.get().is_some() {
        return Ok(());
    }
    assert_eq!(thread_count()?, 1, "titles come before threads");
    let _first = AREA.set(Mutex::new(claim()?));
    Ok(())
}

/// Shows `title` in `ps`, `top` and `/proc`; cut where the room ends. NUL bytes
/// end it early. Any thread may call it.
pub fn set(title: &str) {
    let Some(area) = AREA.get() else { return };
    let Ok(area) = area.lock() else { return };
    if area.len == 0 {
        return;
    }
    // SAFETY: `claim` found `len` writable bytes that nothing else refers to as
    // data any more, and the lock makes this the only writer.
    let room = unsafe { slice::from_raw_parts_mut(area.start, area.len) };
    // The last byte stays NUL: the kernel reads up to the first one.
    let len = title.len().min(room.len() - 1);
    room[..len].copy_from_slice(&title.as_bytes()[..len]);
    room[len..].fill(0);
}

/// The memory of the arguments, and of the environment if it follows.
fn claim() -> io::Result<Area> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let [arg_start, arg_end, env_start, env_end] =
        bounds(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let end = if env_start == arg_end && move_environment() {
        env_end
    } else {
        arg_end
    };
    Ok(Area {
        start: ptr::with_exposed_provenance_mut(arg_start),
        len: end.saturating_sub(arg_start),
    })
}

/// Fields 48 to 51 of `/proc/PID/stat`, see proc(5). The second field, the
/// command, may hold spaces and brackets; nothing behind it does.
fn bounds(stat: &str) -> Option<[usize; 4]> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(48 - 3);
    let mut next = || fields.next()?.parse::<usize>().ok();
    let found = [next()?, next()?, next()?, next()?];
    // Zeroes are what a process without the right to know is shown.
    (found[0] != 0 && found.is_sorted()).then_some(found)
}

/// Copies the environment to the heap, for the life of the process.
fn move_environment() -> bool {
    unsafe extern "C" {
        static mut environ: *const *const c_char;
    }
    // SAFETY: no other thread exists (asserted by `init`), so nobody changes it.
    let old = unsafe { environ };
    if old.is_null() {
        return false;
    }
    let mut moved: Vec<*const c_char> = Vec::new();
    for index in 0.. {
        // SAFETY: the array ends with a null pointer, and the loop at it.
        let entry = unsafe { *old.add(index) };
        if entry.is_null() {
            break;
        }
        // SAFETY: every entry before the null pointer is a C string.
        let text: CString = unsafe { CStr::from_ptr(entry) }.to_owned();
        moved.push(text.into_raw());
    }
    moved.push(ptr::null());
    // Leaked: `getenv` hands out pointers into it whose end nobody knows.
    // SAFETY: as for the read above; the new array is never freed.
    unsafe { environ = moved.leak().as_ptr() };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_bounds_are_found_behind_any_command_name() {
        let before: String = (0..45).map(|n| format!("{n} ")).collect();
        let stat = format!("12 (a) b (c)) {before}100 120 120 900 0\n");
        assert_eq!(bounds(&stat), Some([100, 120, 120, 900]));
        for broken in ["", "12 (a) R 1", "12 no bracket"] {
            assert_eq!(bounds(broken), None, "{broken}");
        }
        let hidden = format!("12 (a) {before}0 0 0 0 0\n");
        assert_eq!(bounds(&hidden), None);
    }

    /// In a process of its own: titles are for the whole process, for ever.
    #[test]
    fn titles_longer_and_shorter_than_the_arguments_are_shown() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "sys::title::tests::titled"])
            .env_clear()
            .env("PURLIN_TEST_ALONE", "survives")
            .env("TITLE_ROOM", "x".repeat(200))
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    #[ignore = "run by `titles_longer_and_shorter_than_the_arguments_are_shown`"]
    fn titled() {
        if std::env::var_os("PURLIN_TEST_ALONE").is_none() {
            return;
        }
        set("before init this does nothing");
        // Not `init`: the test runner has a second thread, which only waits.
        AREA.set(Mutex::new(claim().unwrap())).unwrap();
        let room = AREA.get().unwrap().lock().unwrap().len - 1;
        assert!(room > 200);
        let long = "purlin: ".repeat(room / 8 + 1);
        for (title, shown) in [
            ("purlin: master", "purlin: master"),
            (&long[..200], &long[..200]),
            (&long, &long[..room]),
            ("short", "short"),
        ] {
            set(title);
            let found = fs::read("/proc/self/cmdline").unwrap();
            let found = String::from_utf8(found).unwrap();
            assert_eq!(found.trim_end_matches('\0'), shown);
        }
        assert_eq!(std::env::var("PURLIN_TEST_ALONE").unwrap(), "survives");
        assert_eq!(std::env::vars_os().count(), 2);
    }
}
