//! What the tests share: processes that try out what cannot be undone.
use super::process::{Ended, Forked, Pid, fork, status};
use super::{Signal, Signals};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStringExt;
use std::{env, fs, ptr};

/// Set in a process that runs one test alone.
const ALONE: &str = "HTTPLB_TEST_ALONE";
/// What is to be executed, and where it writes what it says.
struct Program {
    path: CString,
    arguments: Vec<CString>,
    output: CString,
}

/// Whether this process runs the test alone. If not, runs it in a process of its own, where it
/// must succeed.
///
/// A test that forks has to be alone: its children have what the tests beside it have open, so
/// that what those close would stay open for a while.
pub fn alone<T>(_test: T) -> bool {
    if env::var_os(ALONE).is_some() {
        // SAFETY: an alarm is for the process as a whole, and has no conditions.
        unsafe { libc::alarm(60) };
        return true;
    }
    let (_, name) = std::any::type_name::<T>().split_once("::").unwrap();
    let output = env::temp_dir().join(format!("httplb-{}-{name}", std::process::id()));
    let text = |text: &str| CString::new(text).unwrap();
    let program = Program {
        path: CString::new(env::current_exe().unwrap().into_os_string().into_vec()).unwrap(),
        arguments: ["httplb", "--exact", name, "--test-threads=1"].map(text).to_vec(),
        output: CString::new(output.clone().into_os_string().into_vec()).unwrap(),
    };
    let ended = run(&program);
    let said = fs::read_to_string(&output).unwrap_or_default();
    fs::remove_file(&output).unwrap();
    assert!(ended == Ended::Exited(0) && said.contains("1 passed"), "it {ended}:\n{said}");
    false
}

/// Executes a program in a new process that never has what this one has open, not even until it
/// executes: it shares the table of descriptors, and then gets one of its own with the first three.
fn run(program: &Program) -> Ended {
    let mut stack = vec![0_u128; 4096];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // The environment is ours, and one more line.
    let environment: Vec<CString> = env::vars_os()
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .chain([format!("{ALONE}=1").into_bytes()])
        .map(|line| CString::new(line).unwrap())
        .collect();
    let mut arguments = pointers(&program.arguments);
    let mut environment = pointers(&environment);
    let mut calls = Calls {
        path: program.path.as_ptr(),
        output: program.output.as_ptr(),
        arguments: arguments.as_mut_ptr(),
        environment: environment.as_mut_ptr(),
    };
    // SAFETY: the new process runs `become_program` on a stack of its own, aligned as it must be,
    // while this thread stands still until that executes or exits; so what it reads lives.
    let child = unsafe {
        let top = stack.as_mut_ptr_range().end.cast();
        libc::clone(become_program, top, flags, (&raw mut calls).cast())
    };
    wait(Pid::new(child).unwrap())
}

/// The pointers that the new process needs: it may not even allocate.
struct Calls {
    path: *const c_char,
    output: *const c_char,
    arguments: *mut *const c_char,
    environment: *mut *const c_char,
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

extern "C" fn become_program(calls: *mut c_void) -> c_int {
    let first = libc::STDERR_FILENO as c_uint + 1;
    // SAFETY: `run` passes its `Calls`, in which all texts end with a zero, and all lists with a
    // null. Of this process, nothing but its table of descriptors is changed.
    unsafe {
        let calls = &*calls.cast::<Calls>();
        let unshare = libc::CLOSE_RANGE_UNSHARE;
        if libc::syscall(libc::SYS_close_range, first, c_uint::MAX, unshare) != 0 {
            return 120;
        }
        let output = libc::open(calls.output, libc::O_WRONLY | libc::O_CREAT, 0o600);
        libc::dup2(output, libc::STDOUT_FILENO);
        libc::dup2(output, libc::STDERR_FILENO);
        libc::close(output);
        libc::execve(calls.path, calls.arguments, calls.environment);
    }
    121
}

/// Runs `act` in a child, and says how that ended: with what `act` returned, or killed after ten
/// seconds at most. For a test that is alone.
pub fn in_child(act: impl FnOnce() -> i32) -> Ended {
    assert!(env::var_os(ALONE).is_some());
    match fork().unwrap() {
        Forked::Parent(child) => wait(child),
        Forked::Child => {
            limit_life();
            let status = act();
            // SAFETY: it ends the process, and runs nothing of it any more.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Ends this process after ten seconds, or by a signal, whatever the thread that forked it blocked.
pub fn limit_life() {
    // SAFETY: an alarm is for the process as a whole, and has no conditions.
    unsafe { libc::alarm(10) };
    Signals::unblock();
}

/// Waits for a child.
pub fn wait(child: Pid) -> Ended {
    let mut number = 0;
    // SAFETY: the status is an int that lives here.
    let waited = unsafe { libc::waitpid(child.number(), &mut number, 0) };
    assert_eq!(waited, child.number());
    status(number)
}

#[test]
fn a_test_that_is_alone_has_nothing_open_but_what_it_opened() {
    let _other = fs::File::open("/dev/null").unwrap();
    if !alone(a_test_that_is_alone_has_nothing_open_but_what_it_opened) {
        return;
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert_eq!(open, 3 + 1 + 1, "its own, and the list of them");
}

#[test]
#[should_panic(expected = "it exited with status 101")]
fn a_test_that_fails_alone_fails() {
    assert!(!alone(a_test_that_fails_alone_fails), "as it should");
}

#[test]
fn a_child_returns_what_its_act_did() {
    if !alone(a_child_returns_what_its_act_did) {
        return;
    }
    assert_eq!(in_child(|| 7), Ended::Exited(7));
    let killed = in_child(|| {
        let sent = super::process::signal(Pid::own(), Signal::Term);
        i32::from(sent.is_err())
    });
    assert_eq!(killed, Ended::Killed(libc::SIGTERM));
}
