//! How many workers `"auto"` is: one for each CPU that this process may use. A container is often
//! allowed the time of two CPUs on a machine of sixty-four, which its affinity does not tell.

use std::path::Path;

use crate::config::Workers;
use crate::sys::process;

/// What `workers` allows at most.
const MOST: usize = 256;
/// Where the tree of control groups is mounted: version 2, the same beside version 1, and
/// version 1's controller of CPU time under its two usual names.
pub const UNIFIED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const LEGACY: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];

/// CPU time that a group may use: so many microseconds in each period of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quota {
    time: u64,
    period: u64,
}

impl Quota {
    /// The CPUs that it takes to use it up.
    fn cpus(self) -> usize {
        usize::try_from(self.time.div_ceil(self.period)).unwrap_or(MOST).max(1)
    }
}

/// How many worker processes there are to be.
pub fn workers(configured: Workers) -> usize {
    match configured {
        Workers::Count(count) => usize::from(count),
        Workers::Auto => {
            // What is no file, or cannot be read, limits nothing.
            let quota = quota(|path| std::fs::read_to_string(path).ok());
            limited(process::affinity_count(), quota)
        }
    }
}

fn limited(affinity: usize, quota: Option<Quota>) -> usize {
    affinity.min(quota.map_or(MOST, Quota::cpus)).clamp(1, MOST)
}

/// The smallest of the quotas that hold for this process: its group's, and those of all above it.
fn quota(read: impl Fn(&Path) -> Option<String>) -> Option<Quota> {
    let groups = read("/proc/self/cgroup".as_ref())?;
    let unified = own_group(&groups, |id, _| id == "0").into_iter().flat_map(|group| {
        upwards(UNIFIED, group).filter_map(|folder| {
            let text = read(format!("{folder}/cpu.max").as_ref())?;
            let (time, period) = text.trim_end().split_once(' ')?;
            parse(time, period)
        })
    });
    let is_cpu = |controllers: &str| controllers.split(',').any(|name| name == "cpu");
    let legacy = own_group(&groups, |_, controllers| is_cpu(controllers));
    let legacy = legacy.into_iter().flat_map(|group| {
        upwards(LEGACY, group).filter_map(|folder| {
            let time = read(format!("{folder}/cpu.cfs_quota_us").as_ref())?;
            let period = read(format!("{folder}/cpu.cfs_period_us").as_ref())?;
            parse(&time, &period)
        })
    });
    unified.chain(legacy).min_by_key(|quota| quota.cpus())
}

/// A quota; none where the time is `max` or -1, which is without limit.
fn parse(time: &str, period: &str) -> Option<Quota> {
    let (time, period) = (time.trim().parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then_some(Quota { time, period })
}

/// The path of the group in the hierarchy whose number and controllers fit: a line is
/// `4:cpu,cpuacct:/path`, or, in version 2, `0::/path`.
pub fn own_group(groups: &str, fits: impl Fn(&str, &str) -> bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        fits(id, controllers).then_some(path)
    })
}

/// The folders of a group and of all above it, up to the root of the tree, at each of two mounts.
///
/// In a container the path may be that of the machine's tree, of which only the container's part
/// is mounted, as the root: so the root is looked at in any case.
pub fn upwards(mounts: [&str; 2], group: &str) -> impl Iterator<Item = String> {
    let group = group.trim_matches('/');
    let ends = group.match_indices('/').map(|(at, _)| at).chain([group.len()]);
    let paths = ends.map(|end| format!("/{}", &group[..end])).chain([String::new()]);
    paths.flat_map(move |path| mounts.map(|mount| format!("{mount}{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_of(files: &[(&str, &str)]) -> Option<Quota> {
        quota(|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| text.to_string())
        })
    }

    fn cpus_of(files: &[(&str, &str)]) -> Option<usize> {
        quota_of(files).map(Quota::cpus)
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_cpus() {
        for (text, cpus) in [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)] {
            let files = [("/proc/self/cgroup", "0::/a\n"), ("/sys/fs/cgroup/a/cpu.max", text)];
            assert_eq!(cpus_of(&files), Some(cpus), "{text}");
        }
    }

    #[test]
    fn max_is_no_limit_and_neither_is_what_is_malformed() {
        for text in ["max 100000\n", "", "100000", "-1 100000", "1 0", "a b"] {
            let files = [("/proc/self/cgroup", "0::/a\n"), ("/sys/fs/cgroup/a/cpu.max", text)];
            assert_eq!(quota_of(&files), None, "{text:?}");
        }
    }

    #[test]
    fn the_smallest_quota_of_the_group_and_all_above_it_counts() {
        let files = [
            ("/proc/self/cgroup", "0::/system.slice/httplb.service\n"),
            ("/sys/fs/cgroup/system.slice/httplb.service/cpu.max", "800000 100000\n"),
            ("/sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n"),
        ];
        assert_eq!(cpus_of(&files), Some(3));
        let files = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "500000 100000")];
        assert_eq!(cpus_of(&files), Some(5));
    }

    #[test]
    fn in_a_container_with_the_machines_paths_the_root_is_the_containers() {
        let files = [
            ("/proc/self/cgroup", "0::/docker/0123\n"),
            ("/sys/fs/cgroup/cpu.max", "100000 100000\n"),
        ];
        assert_eq!(cpus_of(&files), Some(1));
    }

    #[test]
    fn the_first_version_of_control_groups_is_understood() {
        let cgroup = "9:name=systemd:/\n4:cpu,cpuacct:/docker/0123\n2:cpuset:/docker\n0::/\n";
        let files = [
            ("/proc/self/cgroup", cgroup),
            ("/sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(cpus_of(&files), Some(3));
    }

    #[test]
    fn without_a_quota_the_affinity_decides_within_what_is_allowed() {
        assert_eq!(quota_of(&[]), None);
        assert_eq!(limited(8, None), 8);
        assert_eq!(limited(1000, None), 256);
        assert_eq!(limited(0, None), 1);
        assert_eq!(limited(8, Some(Quota { time: 350_000, period: 100_000 })), 4);
        assert_eq!(limited(2, Some(Quota { time: 350_000, period: 100_000 })), 2);
    }

    #[test]
    fn a_count_is_what_it_says() {
        assert_eq!(workers(Workers::Count(7)), 7);
    }
}
