//! The operator's terminal: its size, single keys, and leaving it as it was.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Columns and rows; `None` when `terminal` is none, or does not say.
#[must_use]
pub fn size(terminal: impl AsFd) -> Option<(usize, usize)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the request writes one `winsize`, to which the pointer is valid.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    let known = result == 0 && size.ws_col > 0 && size.ws_row > 0;
    known.then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// A terminal that gives every key at once and shows none; Ctrl-C and Ctrl-Z are
/// keys as well. Dropping it makes it what it was.
pub struct Keys {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Keys {
    /// # Errors
    ///
    /// `ENOTTY` when `terminal` is none: there will be no keys.
    pub fn of(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the call fills in the `termios` that the pointer is valid for.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: filled in by the call above, which has succeeded.
        let before = unsafe { before.assume_init() };
        let mut keys = before;
        keys.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG);
        let this = Self { terminal, before };
        this.set(&keys)?;
        Ok(this)
    }

    fn set(&self, to: &libc::termios) -> io::Result<()> {
        // SAFETY: the call only reads the `termios` behind the pointer.
        let result = unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, to) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let before = self.before;
        let _gone_with_its_window = self.set(&before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_terminal_has_neither_size_nor_keys() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(size(&file), None);
        let error = Keys::of(&file).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
