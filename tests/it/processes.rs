//! The processes of the service: who is there, what each keeps, and what becomes of the others when
//! one of them dies.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Traffic, eventually, json, process, servers,
    traffic::mirror, until, until_none,
};
use crate::watched::{Tool, Watched};
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown, symlink},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

fn with_workers(workers: usize, backends: &[&Backend]) -> Program {
    Program::with(json!({ "workers": workers, "backend_servers": servers(backends) }))
}

fn status_of(pid: Pid, key: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.expect(key).split_whitespace().map(str::to_owned).collect()
}

/// The inodes of all sockets that listen for TCP over IPv4.
fn listening() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "0A").map(|row| format!("socket:[{}]", row[9])).collect()
}

#[test]
fn there_is_a_master_a_control_process_and_a_worker_in_each_seat() {
    let backend = Backend::named("a");
    let program = with_workers(3, &[&backend]);
    let mut names: Vec<String> =
        program.processes().into_iter().filter_map(process::name).collect();
    names.sort();
    assert_eq!(names, ["httplb", "httplb-control", "httplb-w0", "httplb-w1", "httplb-w2"]);
    assert!(program.stderr().contains(": 3 workers, listening on 127.0.0.1:"));
    assert!(program.stderr().contains(" KiB + 15 MiB; idle connections"), "{}", program.stderr());
}

#[test]
fn children_have_no_rights_that_they_do_not_need() {
    let backend = Backend::named("a");
    let program = with_workers(2, &[&backend]);
    for child in process::children(program.pid()) {
        assert_eq!(status_of(child, "NoNewPrivs"), ["1"]);
        assert_eq!(status_of(child, "Seccomp"), ["2"]);
        if getuid().is_root() {
            assert!(status_of(child, "Uid").iter().all(|uid| uid != "0"), "a child is root");
            assert!(status_of(child, "Gid").iter().all(|gid| gid != "0"), "a child is root's");
            assert!(status_of(child, "Groups").iter().all(|group| group != "0"));
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status_of(child, set), ["0000000000000000"], "{set}");
        }
        if getuid().is_root() {
            assert_eq!(status_of(child, "CapBnd"), ["0000000000000000"]);
        }
    }
}

#[test]
fn no_process_can_be_looked_into_by_another_of_the_same_user() {
    let backend = Backend::named("a");
    let program = with_workers(2, &[&backend]);
    let mut processes = process::children(program.pid());
    assert_eq!(processes.len(), 3);
    processes.push(program.pid());
    for pid in processes {
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        // What cannot be dumped is root's there, whoever's it is.
        assert_eq!(fs::metadata(format!("{folder}/mem")).unwrap().uid(), 0);
        let uid = &status_of(pid, "Uid")[0];
        if !getuid().is_root() || uid == "0" {
            continue;
        }
        // As the same user, without the rights of root.
        let ids = ["--reuid", uid, "--regid", uid, "--clear-groups"];
        let mut command = Command::new("setpriv");
        let read = command.args(ids).args(["cat", &format!("{folder}/environ")]).output().unwrap();
        assert!(!read.status.success(), "{read:?}");
    }
}

#[test]
fn workers_that_a_reload_starts_cannot_write_what_is_said_to_those_before() {
    let backend = Backend::named("a");
    let program = with_workers(2, &[&backend]);
    let rights = |pid: Pid| -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero()));
        let maps = maps.unwrap_or_default();
        let cells = maps.lines().filter(|line| line.contains("httplb-cells"));
        cells.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    program.signal(Signal::HUP);
    until("the new workers serve alone", || {
        let workers = program.workers();
        workers.len() == 2 && workers.iter().all(|worker| rights(*worker).len() == 5)
    });
    for worker in program.workers() {
        let rights = rights(worker);
        assert_eq!(rights.iter().filter(|one| *one == "r--s").count(), 2, "{rights:?}");
    }
}

#[test]
fn a_worker_stores_in_its_folder_although_it_has_no_other_files() {
    let backend = Backend::always(Answer::text("stored").with("Cache-Control", "max-age=60"));
    let folder = std::env::temp_dir().join(format!("httplb-confined-{}", std::process::id()));
    let program = Program::operated(json!({
        "workers": 1,
        "backend_servers": servers(&[&backend]),
        "cache": {"dir": folder},
    }));
    assert_eq!(program.get("/a").text(), "stored");
    until("it is stored", || {
        let response = program.get("/a");
        response.field("Cache-Status").is_some_and(|status| status.contains("hit"))
    });
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn each_worker_has_its_own_listening_socket_and_nobody_else_s() {
    let backend = Backend::named("a");
    let program = with_workers(3, &[&backend]);
    let listening = listening();
    let of = |pid: Pid| -> BTreeSet<String> {
        process::open_files(pid).into_iter().filter(|file| listening.contains(file)).collect()
    };
    assert_eq!(of(program.pid()).len(), 3);
    assert_eq!(of(program.control()).len(), 0);
    let all: BTreeSet<String> = program
        .workers()
        .into_iter()
        .flat_map(|worker| {
            let own = of(worker);
            assert_eq!(own.len(), 1);
            own
        })
        .collect();
    assert_eq!(all.len(), 3);
    for child in process::children(program.pid()) {
        let files = process::open_files(child);
        assert!(!files.iter().any(|file| file.contains("memfd")), "{files:?}");
    }
}

/// What the filter of our own unit does, and that of many a container.
const FILTERED: Tool = Tool {
    name: "strace",
    package: "strace",
    report_option: "--output=",
    options: &["-D", "-f", "--trace=capset,seccomp", "--inject=capset,seccomp:error=EPERM"],
};

#[test]
fn it_serves_where_rights_may_not_be_given_up() {
    let backend = Backend::named("a");
    let mut program = Watched::start(&FILTERED, &[&backend], json!({}));
    let mut client = Client::connect(program.address);
    assert_eq!(client.get("/").text(), "a");
    drop(client);
    assert!(program.report("+++ exited").contains("(INJECTED)"));
}

#[test]
fn each_process_keeps_what_it_needs_and_nothing_else() {
    let backend = Backend::named("a");
    let config = json!({
        "workers": 2,
        "listen": ["127.0.0.1:0", "127.0.0.1:0"],
        "status_listen": "127.0.0.1:0",
        "backend_servers": servers(&[&backend]),
    });
    // Whatever this test was started with is none of its business.
    let script = r#"for file in /proc/$$/fd/*; do
        number=${file##*/}; [ "$number" -le 2 ] || eval "exec $number>&-"
    done; exec "$@""#;
    let program = Program::by(config, |_| {
        let mut command = crate::common::program::plain("bash");
        command.args(["-c", script, "bash"]).arg(crate::common::program::binary());
        command
    });
    let count = |pid: Pid, what: &str| {
        process::open_files(pid).iter().filter(|file| file.starts_with(what)).count()
    };
    // What differs from what is wanted; a process that has just begun may still have more.
    let differs = || {
        let (master, control) = (program.pid(), program.control());
        // The cells of the generation; the rotations, the history and the diary of all.
        let mut all = vec![(master, 4), (control, 0)];
        // Listening sockets, the status page's, and the lines to three children; or to the master.
        let mut wanted = vec![(master, "socket:", 4 + 1 + 3), (control, "socket:", 1 + 1)];
        for worker in program.workers() {
            wanted.push((worker, "socket:", 2 + 1));
            // Its doorbell, the other worker's, and that of the control process.
            wanted.push((worker, "anon_inode:[eventfd]", 3));
            all.push((worker, 0));
        }
        for &(pid, cells) in &all {
            wanted.push((pid, "anon_inode:[eventpoll]", 1));
            wanted.push((pid, "anon_inode:[signalfd]", 1));
            wanted.push((pid, "/memfd:", cells));
            // Standard input and output; standard error is a pipe.
            wanted.push((pid, "/dev/null", 2));
            wanted.push((pid, "pipe:", 1));
        }
        let counts =
            wanted.into_iter().map(|(pid, what, wanted)| (pid, what, count(pid, what), wanted));
        let mut differs: Vec<_> = counts
            .filter(|(_, _, found, wanted)| found != wanted)
            .map(|(pid, what, found, wanted)| format!("{pid:?}: {found} of {what}, not {wanted}"))
            .collect();
        for (pid, _) in all {
            let known = ["socket:", "anon_inode:", "/memfd:httplb-cells", "/dev/null", "pipe:"];
            let files = process::open_files(pid).into_iter();
            differs.extend(files.filter(|file| !known.iter().any(|known| file.starts_with(known))));
            let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero())).unwrap();
            let mut rights = maps.lines().filter_map(|line| line.split_whitespace().nth(1));
            assert!(!rights.any(|rights| rights.contains("wx")), "{maps}");
        }
        differs
    };
    until_none("what differs", differs);
    program.reload();
    until("the old ones have ended", || program.processes().len() == 4);
    until_none("what differs after a reload", differs);
}

#[test]
fn auto_is_a_worker_for_each_processor_that_it_may_run_on() {
    let backend = Backend::named("a");
    let config = json!({ "workers": "auto", "backend_servers": servers(&[&backend]) });
    let program = Program::by(config.clone(), |_| {
        let mut command = crate::common::program::plain("taskset");
        command.args(["-c", "0"]).arg(crate::common::program::binary());
        command
    });
    assert_eq!(program.workers().len(), 1);
    assert!(program.stderr().contains(": 1 worker, listening on "));
}

/// What a worker must not change it cannot: the cells with addresses, weights, registrations.
#[test]
fn settings_are_mapped_read_only_in_workers_and_writable_in_the_others() {
    let backend = Backend::named("a");
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]), "workers": 2 }));
    let shown = |pid| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
        let cells = maps.lines().filter(|line| line.contains("httplb-cells"));
        let rights = cells.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned);
        rights.collect::<Vec<_>>()
    };
    for worker in program.workers() {
        let rights = shown(worker);
        let wanted = ["r--s", "rw-s", "rw-s", "r--s", "rw-s"];
        assert_eq!(rights, wanted, "settings, live cells, rotations, history, diary");
    }
    assert_eq!(shown(program.control()), ["rw-s"; 4], "cells, rotations, history, diary");
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_worker_that_is_killed_is_back_and_the_others_go_on() {
    let backend = Backend::named("a");
    let program = with_workers(2, &[&backend]);
    let mut clients: Vec<Client> = (0..32).map(|_| program.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "a");
    }
    let (killed, other) = (program.worker(0), program.worker(1));
    process::kill(killed);
    let goes_on = |client: &mut Client| {
        client.ask("/");
        client.receive("GET").is_ok_and(|response| response.text() == "a")
    };
    let survivors = clients.iter_mut().filter_map(|client| goes_on(client).then_some(())).count();
    assert!((1..32).contains(&survivors), "{survivors} of 32 connections are left");
    until("another worker", || program.workers().len() == 2 && program.worker(0) != killed);
    assert_eq!(program.worker(1), other);
    for _ in 0..32 {
        assert_eq!(program.get("/").text(), "a");
    }
    program.wait_for_message("httplb: worker 0 (pid ");
    assert!(program.stderr().contains("was killed by signal 9; another takes its place"));
}

#[test]
fn what_a_killed_worker_held_is_given_back() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let config = json!({
        "backend_servers": [backend.server_with(json!({ "max_connections": 1 }))],
        "max_connections": 2,
        "timeouts": { "queue": "20s" },
    });
    let program = Program::with(config);
    let _held = program.client_at(&backend, "/hold");
    let _idle = program.client();
    process::kill(program.worker(0));
    gate.open();
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn when_workers_keep_dying_it_gives_up_with_status_1() {
    let backend = Backend::named("a");
    let mut program = with_workers(2, &[&backend]);
    let mut killed = None;
    for _ in 0..5 {
        let next = eventually("a worker to kill", || {
            program.workers().into_iter().find(|worker| Some(*worker) != killed)
        });
        process::kill(next);
        killed = Some(next);
        until("it is gone", || !process::lives(next));
    }
    let status = program.wait_for_exit();
    assert_eq!(status.code(), Some(1), "{status}");
    assert!(program.stderr().contains("5 workers died within 10 s; stopping"));
}

#[test]
fn the_control_process_is_back_however_often_it_dies() {
    let backend = Backend::named("a");
    let mut program = with_workers(1, &[&backend]);
    for _ in 0..3 {
        let before = program.control();
        process::kill(before);
        until("another control process", || program.control() != before);
    }
    assert_eq!(program.get("/").text(), "a");
    assert!(program.is_running());
}

#[test]
fn when_the_master_is_killed_running_requests_are_finished_and_nothing_is_left() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |_| Answer::text("done"));
    let program = with_workers(2, &[&backend]);
    let mut client = program.client_at(&backend, "/");
    let processes = program.processes();
    assert_eq!(processes.len(), 4);
    process::kill(program.pid());
    until("nobody listens", || TcpListener::bind(program.address).is_ok());
    gate.open();
    client.expect_last("done");
    drop(client);
    until("all have ended", || !processes.iter().copied().any(process::lives));
}

#[test]
fn when_the_master_is_killed_another_service_may_have_its_addresses_at_once() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |_| Answer::text("done"));
    let program = Program::operated(json!({ "backend_servers": servers(&[&backend]) }));
    let mut client = program.client_at(&backend, "/");
    let worker = program.worker(0);
    process::kill(program.pid());
    let mut config = program.config.clone();
    config["listen"] = json!([program.address.to_string()]);
    config["status_listen"] = json!(program.status_address().to_string());
    until("nobody listens", || {
        TcpListener::bind(program.address).is_ok()
            && TcpListener::bind(program.status_address()).is_ok()
    });
    let _another = Program::with(config);
    assert!(process::lives(worker));
    gate.open();
    assert_eq!(client.response().text(), "done");
}

#[test]
fn processes_that_are_killed_one_after_the_other_are_always_back() {
    let backend = mirror();
    let program = with_workers(2, &[&backend]);
    // Five workers would be too many.
    for seat in [0, 1, 1, 0] {
        process::kill(program.worker(seat));
        process::kill(program.control());
        until("all are back", || process::children(program.pid()).len() == 3);
    }
    let traffic = Traffic::at(program.address, 4);
    traffic.wait_for(100);
    traffic.end();
}

#[test]
fn a_stop_at_any_moment_of_the_start_leaves_nothing_behind() {
    let backend = Backend::named("a");
    for round in 0..20 {
        let address = backend.address.to_string();
        let mut child = Command::new(crate::common::program::binary())
            .args(["-l", "127.0.0.1:0", "-w", "3", "-b", &address])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(round));
        let pid = Pid::from_child(&child);
        let children = process::children(pid);
        kill_process(pid, Signal::TERM).unwrap();
        let status = eventually("it ends", || child.try_wait().unwrap());
        // It may not yet have been there to hear the signal.
        assert!(status.success() || status.code().is_none(), "{status}");
        until("its children have ended", || !children.iter().copied().any(process::lives));
    }
}

#[test]
fn an_address_that_others_have_is_not_shared_with_them() {
    let backend = Backend::named("a");
    let program = with_workers(2, &[&backend]);
    let address = program.address.to_string();
    let output = Command::new(crate::common::program::binary())
        .args(["-l", &address, "-b", &backend.address.to_string()])
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "httplb: listen {address}: the address is in use (stop the other program, or choose another)\n"
    );
    // Before it may stand that there are few descriptors.
    assert!(errors.ends_with(&expected), "{errors}");
}

#[test]
fn a_log_is_opened_anew_in_a_folder_that_only_root_may_enter() {
    use std::os::unix::fs::PermissionsExt;
    let backend = Backend::named("a");
    let folder = std::env::temp_dir().join(format!("httplb-closed-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let log = folder.join("access.log");
    let program = Program::with(json!({
        "workers": 2,
        "access_log": log,
        "backend_servers": servers(&[&backend]),
    }));
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    program.get("/before");
    until("a line", || lines(&log).contains("/before"));
    let old = folder.join("old.log");
    fs::rename(&log, &old).unwrap();
    program.signal(Signal::USR1);
    until("the new log", || log.exists());
    // Each worker opens it when the signal reaches it.
    until("all write to the new log alone", || {
        let count = |path: &std::path::Path| lines(path).lines().count();
        let (before, total) = (count(&old), count(&old) + count(&log));
        (0..20).for_each(|_| drop(program.get("/after")));
        until("all lines", || count(&old) + count(&log) == total + 20);
        count(&old) == before
    });
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn root_follows_no_link_of_others_to_the_log_the_cache_or_the_socket() {
    let folder = std::env::temp_dir().join(format!("httplb-links-{}", std::process::id()));
    let (system, theirs) = (folder.join("system"), folder.join("theirs"));
    fs::create_dir_all(system.join("folder")).unwrap();
    fs::create_dir_all(&theirs).unwrap();
    fs::write(system.join("file"), "precious").unwrap();
    symlink(system.join("file"), theirs.join("link")).unwrap();
    symlink(system.join("folder"), theirs.join("folder")).unwrap();
    fs::hard_link(system.join("file"), theirs.join("name")).unwrap();
    let others = 65534;
    assert!(getuid().is_root(), "links of others are for root to beware of: run this as root");
    chown(&theirs, Some(others), Some(others)).unwrap();
    let backend = Backend::named("a");
    let run = |more: serde_json::Value| {
        let mut config =
            json!({ "listen": ["127.0.0.1:0"], "backend_servers": servers(&[&backend]) });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(folder.join("servers.conf"), config.to_string()).unwrap();
        let mut command = crate::common::program::plain(crate::common::program::binary());
        command.arg("-c").arg(folder.join("servers.conf")).output().unwrap()
    };
    for config in [
        json!({ "access_log": theirs.join("link") }),
        json!({ "access_log": theirs.join("name") }),
        json!({ "access_log": theirs.join("folder/log") }),
        json!({ "admin": { "socket": theirs.join("folder/socket") } }),
        json!({ "admin": { "socket": theirs.join("link") } }),
    ] {
        let output = run(config.clone());
        assert!(!output.status.success(), "{config}: {output:?}");
    }
    let program = Program::with(json!({
        "backend_servers": servers(&[&backend]),
        "cache": { "dir": theirs.join("folder") },
    }));
    assert_eq!(program.get("/").text(), "a");
    program.wait_for_message("responses are not stored");
    for path in [system.join("file"), system.join("folder"), system.clone()] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{path:?}");
    }
    assert_eq!(fs::read_dir(&system).unwrap().count(), 2);
    assert_eq!(fs::read_dir(system.join("folder")).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_list_of_processes_tells_the_role_and_the_service_of_each() {
    let backend = Backend::named("a");
    let program = Program::with(json!({"workers": 2, "backend_servers": servers(&[&backend])}));
    let file = program.folder.join("servers.conf");
    let shown = |pid: Pid| {
        let bytes = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap();
        String::from_utf8(bytes).unwrap().trim_end_matches('\0').replace('\0', " ")
    };
    for (pid, role) in [
        (program.worker(0), "worker 0"),
        (program.worker(1), "worker 1"),
        (program.control(), "control"),
    ] {
        let expected = format!("httplb: {role} -c {}", file.display());
        until(&format!("{role} is shown"), || shown(pid) == expected);
    }
    assert!(shown(program.pid()).ends_with(&format!(" -c {}", file.display())));
}
