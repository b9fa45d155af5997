//! What concerns this process as a whole, its children and its user.
use crate::sys::IoError;
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Resource, Rlimit, setrlimit};

mod children;
mod title;
mod user;

#[cfg(test)]
pub(super) use children::status;
pub use children::{
    Ended, Forked, Pid, die_with_parent, execute, exists, fork, is_child_of, kill, limit_life,
    reap, signal,
};
pub use title::set_command_line;
pub use user::{
    User, drop_privileges, give_up_capabilities, group_named, hide_memory, is_root,
    limit_capabilities, may_become, no_new_privileges, own_user,
};

/// The kernel takes so many bytes of a name, and a zero at the end.
const TITLE_BYTES: usize = 15;

/// Where /proc does not list what is open, so many numbers are tried.
const UNLISTED: u64 = 65536;

/// What this host is called. Without /proc nobody knows.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_plain = |one: &char| one.is_ascii_graphic() && *one != '/';
    let name: String = name.trim().chars().filter(is_plain).collect();
    if name.is_empty() { String::from("unknown") } else { name }
}

/// Asks that this process may have `wanted` descriptors open, and says how many it may have
/// now: perhaps fewer, as only root raises the hard limit; perhaps more, as no limit is lowered.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    let Some(limit) = descriptor_limit() else { return u64::MAX };
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.unwrap_or(u64::MAX) < wanted {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted.max(maximum)) };
        if wanted <= maximum || setrlimit(Resource::Nofile, raised).is_err() {
            let allowed = Rlimit { current: Some(wanted.min(maximum)), ..limit };
            // Should this fail too, then the limit stays, and the answer below says so.
            let _ = setrlimit(Resource::Nofile, allowed);
        }
    }
    descriptor_limit().and_then(|limit| limit.current).unwrap_or(u64::MAX)
}

/// How many descriptors this process may have. `None` where a seccomp profile refuses to tell, which
/// rustix does not expect.
fn descriptor_limit() -> Option<Rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours to be written, and lives until the call is over.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let known = |value| if value == libc::RLIM_INFINITY { None } else { Some(value) };
    (told == 0).then(|| Rlimit { current: known(limit.rlim_cur), maximum: known(limit.rlim_max) })
}

/// Lets the program that this process executes next have a descriptor too, under the same number.
/// Children that execute something before have it as well.
pub fn keep_over_exec(descriptor: BorrowedFd<'_>) -> Result<(), IoError> {
    Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// Takes the descriptor `number` that this process was started with: by the service manager, or
/// because the program before called `keep_over_exec`. The next program does not have it.
///
/// `None` if it is not open, was taken already, or is none that one is started with. Standard
/// input, output and error are not given away.
pub fn take_inherited(number: i32) -> Option<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: it is used only to ask whether it is open, which harms nobody if it is not. Nothing
    // else of this process runs that could close it meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // What came over an execution has no such flag, while all that is opened here has it.
    if fcntl_getfd(borrowed).ok()?.contains(FdFlags::CLOEXEC) {
        return None;
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and nobody here owns it: it was not opened by this program, and had it
    // been taken before, it had the flag that was set just now.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes all that this process was started with, or the program before has left, except what was
/// taken by `take_inherited`, the standard streams, and those that `is_named` knows by number.
pub fn close_inherited(is_named: impl Fn(i32) -> bool) {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        entries.filter_map(|entry| number(entry.ok()?)).collect::<Vec<i32>>()
    });
    let numbers = listed.unwrap_or_else(|_| {
        let limit = descriptor_limit().and_then(|limit| limit.current);
        let limit = limit.unwrap_or(UNLISTED).min(UNLISTED);
        (0..limit as i32).collect()
    });
    for number in numbers.into_iter().filter(|number| !is_named(*number)) {
        drop(take_inherited(number));
    }
}

/// How many processors this process may run on, at least one.
pub fn affinity_count() -> usize {
    let mut words = 16;
    // The kernel demands room for all processors that it could ever have.
    while words <= 1 << 16 {
        let mut mask = vec![0_u64; words];
        let size = size_of_val(mask.as_slice());
        // SAFETY: the mask is as many writable bytes as is told, and aligned as a `cpu_set_t`,
        // which is an array of words. 0 is this process.
        let asked = unsafe { libc::sched_getaffinity(0, size, mask.as_mut_ptr().cast()) };
        if asked == 0 {
            let count = mask.iter().map(|word| word.count_ones() as usize).sum();
            return usize::max(count, 1);
        }
        words *= 2;
    }
    1
}

/// Names this process for top(1), `ps -o comm` and the kernel's log: the first 15 bytes of `title`.
pub fn set_title(title: &str) {
    let mut name = [0_u8; TITLE_BYTES + 1];
    let len = title.len().min(TITLE_BYTES);
    name[..len].copy_from_slice(&title.as_bytes()[..len]);
    // SAFETY: the name is 16 bytes that end with a zero, and the kernel makes a copy.
    let set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    let _ = set; // Where a filter refuses it, it goes by another name.
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::memory;
    use crate::sys::linux::testing::{alone, in_child};
    use rustix::fd::{AsFd, AsRawFd, IntoRawFd};
    use std::ffi::CString;

    /// Something open, under a number that others are far from.
    fn something_at_least_at(number: i32) -> OwnedFd {
        rustix::io::fcntl_dupfd_cloexec(memory::keep(b"text").unwrap(), number).unwrap()
    }

    #[test]
    fn of_what_is_inherited_only_what_has_a_name_stays_open() {
        if !alone(of_what_is_inherited_only_what_has_a_name_stays_open) {
            return;
        }
        let [left, named, own] = [100, 101, 102].map(something_at_least_at);
        keep_over_exec(left.as_fd()).unwrap();
        keep_over_exec(named.as_fd()).unwrap();
        let left = left.into_raw_fd();
        close_inherited(|number| number == named.as_raw_fd());
        // SAFETY: it is used only to ask whether it is open.
        assert!(fcntl_getfd(unsafe { BorrowedFd::borrow_raw(left) }).is_err());
        assert!(fcntl_getfd(&named).is_ok() && fcntl_getfd(&own).is_ok());
    }

    #[test]
    fn the_limit_is_never_lowered() {
        let before = raise_descriptor_limit(0);
        assert!(before > 0);
        assert_eq!(raise_descriptor_limit(1), before);
    }

    #[test]
    fn the_answer_is_what_is_allowed_now() {
        let allowed = raise_descriptor_limit(256);
        assert!(allowed >= 256);
        assert_eq!(raise_descriptor_limit(0), allowed);
    }

    #[test]
    fn the_next_program_has_what_is_kept_and_nothing_else() {
        if !alone(the_next_program_has_what_is_kept_and_nothing_else) {
            return;
        }
        let descriptor = something_at_least_at(800);
        let text = format!("test -e /proc/self/fd/{}", descriptor.as_raw_fd());
        let args = ["sh", "-c", &text].map(|text| CString::new(text).unwrap());
        let run = |keep: bool| {
            in_child(|| {
                if keep && keep_over_exec(descriptor.as_fd()).is_err() {
                    return 100;
                }
                execute(c"/bin/sh", &args, &[]);
                101
            })
        };
        assert_eq!((run(true), run(false)), (Ended::Exited(0), Ended::Exited(1)));
    }

    #[test]
    fn what_was_inherited_is_taken_once() {
        let descriptor = something_at_least_at(810);
        assert!(take_inherited(descriptor.as_raw_fd()).is_none(), "it was opened here");
        keep_over_exec(descriptor.as_fd()).unwrap();
        let number = descriptor.into_raw_fd();
        let taken = take_inherited(number).unwrap();
        assert_eq!(memory::recall(taken.as_fd()).unwrap(), b"text");
        assert!(take_inherited(number).is_none());
        drop(taken);
        for number in [number, 1, 0, -1, i32::MIN, i32::MAX] {
            assert!(take_inherited(number).is_none());
        }
    }

    #[test]
    fn there_is_a_processor_to_run_on() {
        let count = affinity_count();
        assert!(count >= 1);
        assert!(count <= std::fs::read_to_string("/proc/stat").unwrap().matches("cpu").count());
    }

    #[test]
    fn a_title_is_cut_to_what_the_kernel_takes() {
        for (title, seen) in
            [("httplb-w0", "httplb-w0\n"), ("a name too long", "a name too long\n")]
        {
            set_title(title);
            assert_eq!(std::fs::read_to_string("/proc/thread-self/comm").unwrap(), seen);
        }
        set_title("a name much too long");
        assert_eq!(std::fs::read_to_string("/proc/thread-self/comm").unwrap(), "a name much too\n");
    }
}
