//! The terminal of a person: termios(3), console_codes(4).
use super::{last_error, translate};
use crate::sys::IoError;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use std::io::{IsTerminal, Write};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// Another screen, so that what stood on this one is there again afterwards; no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// Plain letters, the cursor, the screen as it was.
const LEAVE: &[u8] = b"\x1b[m\x1b[?25h\x1b[?1049l";

/// How the terminal was before, for whoever restores it.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();

/// Standard input and output, as a screen of its own and keys that come at once. Dropping it restores
/// the terminal; so does a panic.
pub struct Terminal {
    _private: (),
}

impl Terminal {
    /// Whether standard input and output are one.
    pub fn is_there() -> bool {
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Takes the terminal, which has to be there.
    pub fn open() -> Result<Terminal, IoError> {
        let found = settings()?;
        let _ = BEFORE.set(found);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
        let terminal = Terminal { _private: () };
        terminal.take(found)?;
        Ok(terminal)
    }

    fn take(&self, found: libc::termios) -> Result<(), IoError> {
        let mut raw = found;
        // SAFETY: it changes the structure alone.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        // Without keys there is no read (see below): a shell that finds these settings while this process is
        // stopped would take an empty one for the end of its input, and end.
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        set(&raw)?;
        self.write(ENTER)
    }

    /// Takes it again if a shell has had it meanwhile, while this process was stopped, and says whether
    /// that was so.
    pub fn retake(&self) -> Result<bool, IoError> {
        let found = settings()?;
        let is_ours = found.c_lflag & libc::ICANON == 0;
        if !is_ours {
            self.take(found)?;
        }
        Ok(!is_ours)
    }

    /// Columns and lines, if they are known.
    pub fn size(&self) -> Option<(usize, usize)> {
        let mut size = MaybeUninit::<libc::winsize>::zeroed();
        let output = rustix::stdio::stdout();
        // SAFETY: the kernel fills in a structure of this size.
        let asked = unsafe { libc::ioctl(output.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
        // SAFETY: it is all numbers, and was zero before.
        let size = unsafe { size.assume_init() };
        let is_known = asked == 0 && size.ws_col > 0 && size.ws_row > 0;
        is_known.then_some((size.ws_col.into(), size.ws_row.into()))
    }

    /// The keys that were pressed, as the terminal encodes them; none if there are none. `Reset`: the
    /// terminal is gone.
    pub fn read(&self, room: &mut [u8]) -> Result<usize, IoError> {
        let input = rustix::stdio::stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap_or(0) == 0 {
            return Ok(0);
        }
        match rustix::io::read(input, room) {
            Ok(0) => Err(IoError::Reset),
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(0),
            Err(rustix::io::Errno::IO) => Err(IoError::Reset),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of it.
    pub fn write(&self, bytes: &[u8]) -> Result<(), IoError> {
        let mut output = std::io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| translate(&error))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
}

fn settings() -> Result<libc::termios, IoError> {
    let mut found = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: there is room for what is told.
    let asked = unsafe { libc::tcgetattr(rustix::stdio::stdin().as_raw_fd(), found.as_mut_ptr()) };
    if asked != 0 {
        return Err(IoError::Unsupported);
    }
    // SAFETY: it was filled in just now.
    Ok(unsafe { found.assume_init() })
}

fn set(settings: &libc::termios) -> Result<(), IoError> {
    // SAFETY: the settings are whole.
    let done =
        unsafe { libc::tcsetattr(rustix::stdio::stdin().as_raw_fd(), libc::TCSAFLUSH, settings) };
    if done == 0 { Ok(()) } else { Err(last_error()) }
}

/// Where the terminal is gone there is nothing left to restore.
fn restore() {
    if let Some(before) = BEFORE.get() {
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(LEAVE).and_then(|()| output.flush());
        let _ = set(before);
    }
}
