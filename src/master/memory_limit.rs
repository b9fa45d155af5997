//! How much memory there is for this process: that of the machine, or less by its control groups.

use std::path::Path;

use super::cpus::{UNIFIED, own_group, upwards};

/// Where version 1's controller of memory is mounted.
const LEGACY: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"];

/// What memory is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOwner {
    /// What the kernel has.
    Machine,
    /// What a control group may have.
    Group,
}

/// Bytes that there are, and whose. None where nothing tells.
pub fn memory_limit() -> Option<(u64, MemoryOwner)> {
    limit(|path| std::fs::read_to_string(path).ok())
}

fn limit(read: impl Fn(&Path) -> Option<String>) -> Option<(u64, MemoryOwner)> {
    let machine = read("/proc/meminfo".as_ref()).and_then(|text| total(&text));
    let machine = machine.map(|bytes| (bytes, MemoryOwner::Machine));
    let groups = read("/proc/self/cgroup".as_ref()).unwrap_or_default();
    let number = |path: String| read(path.as_ref())?.trim().parse().ok();
    let unified = own_group(&groups, |id, _| id == "0").into_iter().flat_map(|group| {
        upwards(UNIFIED, group).filter_map(|folder| number(format!("{folder}/memory.max")))
    });
    let is_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
    let legacy = own_group(&groups, |_, controllers| is_memory(controllers));
    let legacy = legacy.into_iter().flat_map(|group| {
        upwards(LEGACY, group)
            .filter_map(|folder| number(format!("{folder}/memory.limit_in_bytes")))
    });
    let group = unified.chain(legacy).min().map(|bytes: u64| (bytes, MemoryOwner::Group));
    machine.into_iter().chain(group).min_by_key(|(bytes, _)| *bytes)
}

/// `MemTotal: 16384 kB` in bytes: proc(5).
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(files: &[(&str, &str)]) -> Option<(u64, MemoryOwner)> {
        limit(|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| text.to_string())
        })
    }

    #[test]
    fn the_least_of_machine_and_groups_counts() {
        let machine = ("/proc/meminfo", "MemTotal:         1024 kB\nMemFree: 1 kB\n");
        assert_eq!(limit_of(&[machine]), Some((1 << 20, MemoryOwner::Machine)));
        let group = ("/proc/self/cgroup", "0::/a/b\n");
        for (inner, outer, expected) in [
            ("max\n", "max\n", (1 << 20, MemoryOwner::Machine)),
            ("4096\n", "max\n", (4096, MemoryOwner::Group)),
            ("8192\n", "4096\n", (4096, MemoryOwner::Group)),
        ] {
            let inner = ("/sys/fs/cgroup/a/b/memory.max", inner);
            let outer = ("/sys/fs/cgroup/a/memory.max", outer);
            assert_eq!(limit_of(&[machine, group, inner, outer]), Some(expected));
        }
        let legacy = ("/proc/self/cgroup", "5:memory:/docker/1\n0::/\n");
        let file = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "65536\n");
        assert_eq!(limit_of(&[legacy, file]), Some((65536, MemoryOwner::Group)));
        assert_eq!(limit_of(&[]), None);
    }
}
