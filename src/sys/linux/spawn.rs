//! Starts another program.
use crate::sys::IoError;
use crate::sys::linux::process::Pid;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{io, mem::MaybeUninit, ptr};

/// Starts the program at `path` in a process group of its own, which has its number, with this
/// environment alone. Its standard error is `errors`, its other standard streams lead nowhere; it
/// has `kept` under the same number. If this process ends, it is killed.
pub fn spawn(
    path: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    errors: OwnedFd,
    kept: BorrowedFd<'_>,
) -> Result<Pid, IoError> {
    let kept = rustix::fd::AsRawFd::as_raw_fd(&kept);
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(environment);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).process_group(0);
    // SAFETY: the function runs in the new process, where it makes system calls and nothing else.
    // It allocates nothing.
    unsafe { command.pre_exec(move || prepare(kept)) };
    let child = command
        .spawn()
        .map_err(|error| Errno::from_io_error(&error).map_or(IoError::Exhausted, IoError::from))?;
    Ok(Pid::new(child.id() as i32).expect("the number of a process"))
}

/// Kills a program that `spawn` has started, and whatever it has started itself.
pub fn kill_group(leader: Pid) {
    // SAFETY: it has no conditions as far as memory is concerned. It fails if none is left.
    unsafe { libc::kill(-leader.number(), libc::SIGKILL) };
}

/// What is done in the new process before it is another program.
fn prepare(kept: i32) -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initializes the set that it is given. The set is read then, and null
    // says that the old one is not wanted.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
    // SAFETY: the option takes a number.
    let dies_with = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let _ = dies_with; // Where a filter refuses it, its own time is up soon enough.
    // SAFETY: the operation takes a number. The descriptor is open: the parent has borrowed it.
    let passed_on = unsafe { libc::fcntl(kept, libc::F_SETFD, 0) };
    if passed_on < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::spawn;
    use crate::sys::IoError;
    use crate::sys::linux::memory::{recall, scratch};
    use crate::sys::linux::process::Pid;
    use rustix::fd::{AsFd, AsRawFd};
    use rustix::process::{Pid as Number, WaitOptions, waitpid};

    fn wait(pid: Pid) -> i32 {
        let number = Number::from_raw(pid.number());
        let (_, status) = waitpid(number, WaitOptions::empty()).unwrap().unwrap();
        status.exit_status().expect("no signal")
    }

    fn run(script: &str) -> (i32, String, String) {
        let (errors, kept) = (scratch().unwrap(), scratch().unwrap());
        let script = script.replace("KEPT", &kept.as_raw_fd().to_string());
        let environment = [("PATH".into(), "/usr/bin:/bin".into()), ("A".into(), "b".into())];
        let shell = "/bin/sh".as_ref();
        let copy = errors.try_clone().unwrap();
        let pid = spawn(shell, ["-c", &script], environment, copy, kept.as_fd()).unwrap();
        let status = wait(pid);
        let [errors, kept] =
            [errors, kept].map(|file| String::from_utf8(recall(file.as_fd()).unwrap()).unwrap());
        (status, errors, kept)
    }

    #[test]
    fn a_program_has_its_streams_its_environment_and_what_is_kept() {
        assert_eq!(run("echo error >&2; exit 7"), (7, "error\n".into(), String::new()));
        assert_eq!(run("echo $A >/proc/self/fd/KEPT"), (0, String::new(), "b\n".into()));
        assert_eq!(run("cat; echo nothing; env >&2").0, 0);
        assert!(!run("env >&2").1.contains("CARGO"));
    }

    #[test]
    fn a_program_is_not_deaf_to_signals_and_leads_its_group() {
        let script = r#"while read -r name mask; do
                [ "$name" = SigBlk: ] && echo "$mask" >&2
            done </proc/$$/status
            read -r _ _ _ _ group _ </proc/$$/stat
            [ "$group" = $$ ] && echo leads >&2"#;
        let (_, errors, _) = run(script);
        assert_eq!(errors, "0000000000000000\nleads\n");
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        for path in ["/nonexistent", "/etc/passwd"] {
            let nothing: [&str; 0] = [];
            let kept = scratch().unwrap();
            let spawned = spawn(path.as_ref(), nothing, [], scratch().unwrap(), kept.as_fd());
            assert!(matches!(spawned, Err(IoError::Denied | IoError::NotFound)));
        }
    }
}
