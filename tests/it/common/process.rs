//! What the kernel tells of processes, by their numbers.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

fn file(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()))
}

/// The fields of /proc/PID/stat behind the name; none if there is no such process.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = fs::read_to_string(file(pid, "stat")).ok()?;
    let after_name = stat.rsplit(") ").next()?;
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

/// Its name; none if there is no such process.
pub fn name(pid: Pid) -> Option<String> {
    Some(fs::read_to_string(file(pid, "comm")).ok()?.trim_end().to_owned())
}

/// Whether it is there and has not ended.
pub fn lives(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Its children that live, by number.
pub fn children(parent: Pid) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    let parent = parent.as_raw_nonzero().to_string();
    let is_child =
        |pid: &Pid| stat(*pid).is_some_and(|fields| fields[1] == parent && fields[0] != "Z");
    let mut children: Vec<Pid> = numbers.filter(is_child).collect();
    children.sort_by_key(|pid| pid.as_raw_nonzero());
    children
}

/// Its resident memory now, in bytes.
pub fn memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(file(pid, "status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// The CPU time that it has used so far, to a hundredth of a second.
pub fn cpu_time(pid: Pid) -> Duration {
    let fields = stat(pid).expect("a process");
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// What its descriptors lead to.
pub fn open_files(pid: Pid) -> Vec<String> {
    let folder = fs::read_dir(file(pid, "fd")).expect("its descriptors");
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    let targets = folder.filter_map(|entry| target(entry.ok()?));
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// How many descriptors it has open.
pub fn descriptor_count(pid: Pid) -> usize {
    fs::read_dir(file(pid, "fd")).expect("its descriptors").count()
}

/// Which of these processes has the connection of a client to `server`, both at IPv4 addresses.
pub fn holder(processes: &[Pid], client: SocketAddr, server: SocketAddr) -> Option<Pid> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let (own, other) = (format!(":{:04X}", server.port()), format!(":{:04X}", client.port()));
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&own) && fields.get(2)?.ends_with(&other);
        is_it.then(|| format!("socket:[{}]", fields[9]))
    })?;
    let has_it = |pid: &Pid| {
        let descriptors = fs::read_dir(file(*pid, "fd")).ok();
        let mut links = descriptors.into_iter().flatten().flatten();
        links.any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == &*inode))
    };
    processes.iter().copied().find(has_it)
}

/// How many connections that are open these processes have, IPv4 ones, at `own` port or to `other`.
pub fn connection_count(processes: &[Pid], own: Option<u16>, other: Option<u16>) -> usize {
    let inodes = sockets("01", own, other);
    let files = processes.iter().flat_map(|pid| open_files(*pid));
    files.filter(|file| inodes.contains(file)).count()
}

/// Whether one of these processes, those of them that live, accepts clients at an IPv4 `port`.
pub fn any_listens(processes: &[Pid], port: u16) -> bool {
    let inodes = sockets("0A", Some(port), None);
    let links = |pid: &Pid| fs::read_dir(file(*pid, "fd")).into_iter().flatten().flatten();
    processes.iter().flat_map(links).any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| inodes.iter().any(|it| to.as_os_str() == &**it))
    })
}

/// The TCP sockets by IPv4 in a state, at `own` port or to `other`, as descriptors name them.
fn sockets(state: &str, own: Option<u16>, other: Option<u16>) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_at = |place: &str, port: Option<u16>| {
        port.is_none_or(|port| place.ends_with(&format!(":{port:04X}")))
    };
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == state && is_at(fields[1], own) && is_at(fields[2], other))
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect()
}

/// Ends a process of the program at once, if it is there.
pub fn kill(pid: Pid) {
    // The number may be that of another one by now.
    if name(pid).is_some_and(|name| name.starts_with("httplb")) {
        let _ = kill_process(pid, Signal::KILL); // it may have ended
    }
}
