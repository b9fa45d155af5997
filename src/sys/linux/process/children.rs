//! Processes that this one starts, and what becomes of them; the program that it becomes.
use crate::mem::time::Millis;
use crate::sys::IoError;
use crate::sys::linux::{Signal, last_error};
use std::ffi::{CStr, CString, c_char};
use std::{fmt, ptr};

/// The number of a process. It may be that of another one once the process was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(i32);

impl Pid {
    /// The process with this number. `None` for numbers that are those of no process: some stand
    /// for groups, or for all processes that there are.
    pub fn new(number: i32) -> Option<Pid> {
        (number > 0).then_some(Pid(number))
    }

    /// This process.
    pub fn own() -> Pid {
        // SAFETY: it has no conditions, and never fails.
        Pid(unsafe { libc::getpid() })
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Which of the two a process is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The one that forked, and the number of its new child.
    Parent(Pid),
    /// The new one: a copy.
    Child,
}

/// Makes a copy of this process. It must have one thread, as the copy has only that: what another
/// one was about to do will never be done there, and what it locked stays locked.
///
/// All descriptors are shared from then on. Beware that closing one that the other process has too
/// does not take it out of a poller.
///
/// `Exhausted` if there may be no more processes.
pub fn fork() -> Result<Forked, IoError> {
    // SAFETY: memory is copied, so each process has its own. Only locks of other threads could be
    // trouble, and whether there are any is up to our caller.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        number => Pid::new(number).map(Forked::Parent).ok_or_else(|| match last_error() {
            IoError::WouldBlock => IoError::Exhausted,
            error => error,
        }),
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal of this number, as it crashed or was killed.
    Killed(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(status) => write!(out, "exited with status {status}"),
            Ended::Killed(number) => write!(out, "was killed by signal {number}"),
        }
    }
}

/// The next child that has ended, if any. It is gone then, and its number is free. Never blocks.
///
/// All children are meant, also those that the standard library has started.
pub fn reap() -> Option<(Pid, Ended)> {
    let mut number = 0;
    // SAFETY: the status is an int that lives here. -1 is any child.
    let waited = unsafe { libc::waitpid(-1, &mut number, libc::WNOHANG) };
    // 0 says that none has ended, and an error that there is none.
    Pid::new(waited).map(|pid| (pid, status(number)))
}

/// What the status of a child means that has ended.
pub(in crate::sys::linux) fn status(number: libc::c_int) -> Ended {
    if libc::WIFSIGNALED(number) {
        Ended::Killed(libc::WTERMSIG(number))
    } else {
        Ended::Exited(libc::WEXITSTATUS(number))
    }
}

/// Sends a signal. `Denied` if the process is another user's. Fails also if there is none.
pub fn signal(process: Pid, signal: Signal) -> Result<(), IoError> {
    send(process, signal.number())
}

/// Ends a process at once, whatever it does: SIGKILL. Fails as `signal` does.
pub fn kill(process: Pid) -> Result<(), IoError> {
    send(process, libc::SIGKILL)
}

/// Whether there is such a process, also where /proc does not show it.
pub fn exists(process: Pid) -> bool {
    !matches!(send(process, 0), Err(IoError::Other(libc::ESRCH)))
}

fn send(process: Pid, number: libc::c_int) -> Result<(), IoError> {
    // SAFETY: it has no conditions as far as memory is concerned.
    let sent = unsafe { libc::kill(process.number(), number) };
    if sent == 0 { Ok(()) } else { Err(last_error()) }
}

/// Asks that this process be sent SIGTERM when `parent` ends, and says whether that still lives.
///
/// To be called after `drop_privileges`, as a change of the user undoes it.
pub fn die_with_parent(parent: Pid) -> bool {
    // SAFETY: the operation takes the number of a signal, and concerns no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong) };
    let _ = set; // Where a filter refuses it, the line to the parent still tells of its end.
    is_child_of(parent)
}

/// Ends this process at once when `parent` ends, or when its time is over, whatever it does then; and says
/// whether the parent still lives.
pub fn limit_life(parent: Pid, limit: Millis) -> bool {
    let seconds = u32::try_from(limit.0.div_ceil(1000)).unwrap_or(u32::MAX);
    // SAFETY: both take numbers, and concern no memory. Nobody here catches the signal.
    unsafe {
        // Where a filter refuses the one, there is the other.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        libc::alarm(seconds);
    }
    is_child_of(parent)
}

/// Whether `parent`, which has started this process, has not ended: else this is someone else's
/// child by now.
pub fn is_child_of(parent: Pid) -> bool {
    // SAFETY: it has no conditions, and never fails.
    unsafe { libc::getppid() == parent.number() }
}

/// Becomes another program: what is at `path`, called with `arguments`, of which the first is its
/// name, and with `environment`, of which each is "NAME=value". Returns only if that fails.
///
/// The process, its children, its user and its blocked signals stay; of the descriptors those that
/// were kept by `keep_over_exec`.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> IoError {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the path is a text that ends with a zero, and so are those of the two lists, which
    // end with a null. All of them live until the end of this function.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_error()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::testing::{alone, in_child, limit_life, wait};
    use rustix::fd::OwnedFd;

    /// A child that does nothing until it is killed.
    fn idle_child() -> Pid {
        match fork().unwrap() {
            Forked::Parent(child) => child,
            Forked::Child => idle(),
        }
    }

    fn idle() -> ! {
        limit_life();
        loop {
            // SAFETY: it has no conditions.
            unsafe { libc::pause() };
        }
    }

    #[test]
    fn only_numbers_of_single_processes_are_taken() {
        assert_eq!([-1, 0, i32::MIN].map(Pid::new), [None; 3]);
        assert_eq!(Pid::new(12).unwrap().to_string(), "12");
        assert_eq!(Pid::own().number().unsigned_abs(), std::process::id());
    }

    #[test]
    fn children_that_have_ended_are_reaped_one_by_one() {
        if !alone(children_that_have_ended_are_reaped_one_by_one) {
            return;
        }
        // In a child, as the tests have other children.
        let ended = in_child(|| {
            if reap().is_some() {
                return 1;
            }
            let Ok(Forked::Parent(first)) = fork().inspect(|forked| {
                if *forked == Forked::Child {
                    // SAFETY: it ends the process, and runs nothing of it any more.
                    unsafe { libc::_exit(42) }
                }
            }) else {
                return 2;
            };
            let second = idle_child();
            let reaped = || std::iter::repeat_with(reap).flatten().next();
            if reaped() != Some((first, Ended::Exited(42))) || reap().is_some() {
                return 3;
            }
            if kill(second).is_err() || reaped() != Some((second, Ended::Killed(9))) {
                return 4;
            }
            if reap().is_none() && kill(second).is_err() { 0 } else { 5 }
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn a_signal_comes_to_the_process_that_is_meant() {
        if !alone(a_signal_comes_to_the_process_that_is_meant) {
            return;
        }
        let child = idle_child();
        signal(child, Signal::Usr2).unwrap();
        assert_eq!(wait(child), Ended::Killed(libc::SIGUSR2));
        assert_eq!(signal(child, Signal::Usr2), Err(IoError::Other(libc::ESRCH)));
    }

    #[test]
    fn how_a_process_ended_can_be_told() {
        assert_eq!(Ended::Exited(1).to_string(), "exited with status 1");
        assert_eq!(Ended::Killed(9).to_string(), "was killed by signal 9");
    }

    /// Whether the other end is closed within five seconds.
    fn comes_to_an_end(pipe: &OwnedFd) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let mut asked = [PollFd::new(pipe, PollFlags::IN)];
        poll(&mut asked, Some(&limit)).unwrap() == 1
    }

    #[test]
    fn a_process_ends_with_its_parent() {
        if !alone(a_process_ends_with_its_parent) {
            return;
        }
        let (end, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ended = in_child(|| {
            let parent = Pid::own();
            match fork() {
                Ok(Forked::Parent(_)) => {
                    // It has asked for its end, and the pipe ends with it.
                    let heard = rustix::io::read(&told, &mut [0; 1]);
                    i32::from(heard != Ok(1))
                }
                Ok(Forked::Child) => {
                    limit_life();
                    let lives = die_with_parent(parent);
                    if !lives || rustix::io::write(&tell, b"!").is_err() {
                        return 1;
                    }
                    idle()
                }
                Err(_) => 2,
            }
        });
        assert_eq!(ended, Ended::Exited(0));
        drop(held);
        assert!(comes_to_an_end(&end));
    }

    #[test]
    fn a_parent_that_has_ended_already_is_noticed() {
        if !alone(a_parent_that_has_ended_already_is_noticed) {
            return;
        }
        let other = Pid::own();
        let ended = in_child(|| {
            let Ok(Forked::Child) = fork() else { return 0 };
            i32::from(die_with_parent(other))
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn the_next_program_gets_its_arguments_and_environment() {
        if !alone(the_next_program_gets_its_arguments_and_environment) {
            return;
        }
        let args = ["sh", "-c", "exit $((CODE + $0))", "2"].map(|text| CString::new(text).unwrap());
        let environment = [CString::new("CODE=40").unwrap()];
        let ended = in_child(|| {
            execute(c"/bin/sh", &args, &environment);
            1
        });
        assert_eq!(ended, Ended::Exited(42));
    }

    #[test]
    fn a_program_that_does_not_exist_leaves_all_as_it_was() {
        assert_eq!(execute(c"/nonexistent", &[], &[]), IoError::NotFound);
    }
}
