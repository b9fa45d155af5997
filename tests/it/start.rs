//! The start where something is odd or lacking: what the starter left, what the kernel or a container
//! refuses, and what the operator is told.

use crate::common::{Backend, Program, json, process, servers, until};
use rustix::process::{Pid, Signal, getuid};
use std::{fs, process::Command};

fn status_of(pid: Pid, key: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.expect(key).split_whitespace().map(str::to_owned).collect()
}

/// Starts the program as some parents do: all signals ignored and blocked, and a file left open.
const CARELESS: &str = r#"
import os, signal, sys
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
left = os.open("/etc/passwd", os.O_RDONLY)
os.set_inheritable(left, True)
os.dup2(left, 50)
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn it_hears_signals_and_keeps_nothing_open_whatever_its_starter_left() {
    let backend = Backend::named("a");
    let folder = std::env::temp_dir().join(format!("httplb-notified-{}", std::process::id()));
    let manager = std::os::unix::net::UnixDatagram::bind(&folder).unwrap();
    let config = json!({ "workers": 2, "backend_servers": servers(&[&backend]) });
    let mut program = Program::by(config, |_| {
        let mut command = crate::common::program::plain("python3");
        command.env("NOTIFY_SOCKET", &folder);
        command.args(["-c", CARELESS]).arg(crate::common::program::binary());
        command
    });
    let sockets = |pid: Pid| {
        process::open_files(pid).iter().filter(|file| file.starts_with("socket:")).count()
    };
    let check = || {
        for pid in program.processes() {
            let files = process::open_files(pid);
            assert!(!files.iter().any(|file| file == "/etc/passwd"), "{files:?}");
            // Only PIPE and XFSZ, and only what is read: HUP INT QUIT USR1 USR2 TERM CHLD.
            let mask =
                |key| u64::from_str_radix(&status_of(pid, key)[0], 16).unwrap() & 0x7fff_ffff;
            assert_eq!((mask("SigIgn"), mask("SigBlk")), (0x0100_1000, 0x14a07));
        }
        // The line to the master; a worker's listener. None has that to the service manager.
        assert_eq!(sockets(program.control()), 1);
        assert!(program.workers().into_iter().all(|worker| sockets(worker) == 2));
    };
    check();
    program.reload();
    until("the old ones have ended", || program.processes().len() == 4);
    check();
    let killed = program.worker(0);
    process::kill(killed);
    until("another worker", || program.workers().len() == 2 && program.worker(0) != killed);
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    drop(manager);
    fs::remove_file(folder).unwrap();
}

#[test]
fn it_serves_where_calls_are_refused_that_it_can_do_without() {
    let backend = Backend::named("a");
    let config = json!({ "backend_servers": servers(&[&backend]) });
    let refused = [("prctl", "EPERM"), ("getrandom", "ENOSYS"), ("seccomp", "ENOSYS")];
    let program = Program::by(config, |_| crate::common::refusal::refusing(&refused));
    assert_eq!(program.get("/").text(), "a");
    assert!(
        program.stderr().contains("(a seccomp profile or this kernel refuses it: allow seccomp")
    );
}

#[test]
fn root_that_may_not_become_another_user_serves_without_capabilities() {
    if !getuid().is_root() {
        return;
    }
    let backend = Backend::named("a");
    let config = json!({ "backend_servers": servers(&[&backend]) });
    let program = Program::by(config, |_| {
        let mut command = crate::common::program::plain("setpriv");
        command
            .args(["--bounding-set", "-setuid,-setgid,-chown"])
            .arg(crate::common::program::binary());
        command
    });
    assert_eq!(program.get("/").text(), "a");
    assert!(program.stderr().contains("give it CAP_SETUID and CAP_SETGID"));
    for child in process::children(program.pid()) {
        assert_eq!(status_of(child, "CapEff"), ["0000000000000000"]);
    }
}

#[test]
fn what_a_start_lacks_is_told_by_what_was_tried() {
    let backend = Backend::named("a").address.to_string();
    let fails = |mut command: Command, remedy: &str| {
        command.args(["-l", "127.0.0.1:0", "-b", &backend]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(remedy), "{errors}");
    };
    let mut command = crate::common::program::plain("bash");
    command.args(["-c", "ulimit -f 1; exec \"$@\"", "bash"]).arg(crate::common::program::binary());
    fails(command, "shared memory counts as a file: raise ulimit -f");
    let refused = |call, error| crate::common::refusal::refusing(&[(call, error)]);
    fails(refused("eventfd2", "ENOSYS"), "allow epoll_create1, eventfd2");
    fails(refused("memfd_create", "EPERM"), "allow memfd_create");
    fails(refused("bind", "EPERM"), "allow socket, bind and listen");
    let folder = std::env::temp_dir().join(format!("httplb-lacking-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = json!({ "admin": { "socket": folder.join("missing/admin.sock") } });
    fs::write(folder.join("servers.conf"), config.to_string()).unwrap();
    let mut command = crate::common::program::plain(crate::common::program::binary());
    command.arg(folder.join("servers.conf"));
    fails(command, "its directory is missing: make it");
    fs::remove_dir_all(folder).unwrap();
}
