//! The start where something is odd or lacking: what the starter left, what the kernel or a container
//! refuses, and what the operator is told.

use crate::common::{Answer, Backend, Program, Value, json, process, servers, until};
use rustix::process::{Pid, Signal, getuid};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::{fs, path::Path, process::Command};

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

/// The program in a mount namespace of its own, which `prepare`, lines of a shell, changes. `None`, and
/// it is said loudly, where there can be none.
fn with_mounts(prepare: &str) -> Option<Command> {
    let mut command = crate::common::program::plain("unshare");
    command.arg("--mount");
    let is_possible = getuid().is_root()
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|it| it.success());
    if !is_possible {
        eprintln!("SKIPPED: no mount namespace can be had here (only root may); run this as root");
        return None;
    }
    command.args(["bash", "-ec", &format!("{prepare}; exec \"$@\""), "bash"]);
    command.arg(crate::common::program::binary());
    Some(command)
}

#[test]
fn it_serves_stores_and_reloads_without_proc() {
    let Some(command) = with_mounts("umask 077; mount -t tmpfs none /proc") else { return };
    let backend = Backend::always(Answer::text("a").with("Cache-Control", "max-age=60"));
    let shelf = crate::common::stored::Shelf::new();
    let config = json!({
        "backend_servers": servers(&[&backend]), "cache": { "dir": shelf.path() },
    });
    let program = Program::operated_by(config, command);
    let mode = fs::metadata(program.admin_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "whatever the umask");
    assert_eq!(program.get("/").text(), "a");
    until("a stored answer", || {
        program.get("/").field("Cache-Status").is_some_and(|status| status.contains("hit"))
    });
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    assert_eq!(program.get("/").text(), "a");
    assert_eq!(program.look("/v1/pools")["pools"][0]["name"], "default");
}

#[test]
fn without_a_user_for_them_the_processes_stay_root_and_have_no_capabilities() {
    let users = std::env::temp_dir().join(format!("httplb-users-{}", std::process::id()));
    let prepare = format!("mount --bind {} /etc/passwd", users.display());
    let Some(command) = with_mounts(&prepare) else { return };
    fs::write(&users, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let backend = Backend::named("a");
    let config = json!({ "backend_servers": servers(&[&backend]) });
    let program = Program::operated_by(config, command);
    fs::remove_file(users).unwrap();
    assert_eq!(program.get("/").text(), "a");
    assert_eq!(program.ask("GET /v1/status", "").status, 200);
    assert!(program.stderr().contains("add one: useradd"), "{}", program.stderr());
    for child in process::children(program.pid()) {
        assert_eq!(status_of(child, "Uid"), ["0"; 4]);
        assert_eq!(status_of(child, "CapEff"), ["0000000000000000"]);
    }
}

/// Starts the program with this configuration where it cannot, and returns what it says.
fn refusal(mut command: Command, folder: &Path, config: Value) -> String {
    let file = folder.join("servers.conf");
    fs::write(&file, config.to_string()).unwrap();
    let output = command.arg("-c").arg(file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    errors
}

#[test]
fn a_link_that_another_user_may_have_put_is_named_with_what_to_do() {
    if !getuid().is_root() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("httplb-linked-{}", std::process::id()));
    let theirs = folder.join("theirs");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(folder.join("precious"), "precious").unwrap();
    chown(&theirs, Some(65534), Some(65534)).unwrap();
    symlink(folder.join("precious"), theirs.join("link")).unwrap();
    fs::hard_link(folder.join("precious"), theirs.join("name")).unwrap();
    let backends = json!([{ "ip": "127.0.0.1", "port": 9 }]);
    for (key, config) in [
        ("access_log", json!({ "access_log": theirs.join("link") })),
        ("access_log", json!({ "access_log": theirs.join("name") })),
        ("admin.socket", json!({ "admin": { "socket": theirs.join("link") } })),
    ] {
        let mut config = config;
        config["listen"] = json!(["127.0.0.1:0"]);
        config["backend_servers"] = backends.clone();
        let errors = refusal(
            crate::common::program::plain(crate::common::program::binary()),
            &folder,
            config,
        );
        let line = errors.lines().find(|line| line.contains(key)).unwrap_or_default();
        assert!(
            line.contains("remove it, or choose a directory that only root may write"),
            "{errors}"
        );
    }
    assert_eq!(fs::read(folder.join("precious")).unwrap(), b"precious");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn too_little_address_space_is_said_to_be_that() {
    let folder = std::env::temp_dir().join(format!("httplb-narrow-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("servers.conf");
    let config = json!({
        "max_connections": 8_000,
        "buffer_size": "64KiB",
        "listen": ["127.0.0.1:0"],
        "workers": 1,
        "backend_servers": [{ "ip": "127.0.0.1", "port": 9 }],
    });
    fs::write(&file, config.to_string()).unwrap();
    // The line that says what to do, if the start is refused with one.
    let said = |kilobytes: u32| {
        let mut command = crate::common::program::plain("bash");
        let narrow = format!("ulimit -v {kilobytes}; exec timeout 20 \"$@\"");
        command.args(["-c", &narrow, "bash"]).arg(crate::common::program::binary());
        let output = command.arg("-c").arg(&file).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let remedy = "raise what memory it may have: ulimit -v, LimitAS and MemoryMax";
        let said = errors.lines().find(|line| line.contains(remedy)).map(str::to_owned);
        said.filter(|_| output.status.code() == Some(1))
    };
    // A worker has too little, then the master: how little that is depends on the size of the program.
    let of_worker = said(400_000).expect("a worker's message");
    let of_master = (6_000..30_000).step_by(100).find_map(said).expect("the master's message");
    for said in [of_worker, of_master] {
        assert!(!said.contains("LimitNOFILE"), "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
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
