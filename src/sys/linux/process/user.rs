//! Whose rights this process has.
use crate::sys::IoError;
use crate::sys::linux::last_error;
use std::ptr;

/// Where the users of the machine stand: passwd(5).
const USERS: &str = "/etc/passwd";

/// `_LINUX_CAPABILITY_VERSION_3`, which has two words of 32 for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
}

impl User {
    /// The user of this name, if there is one in /etc/passwd.
    pub fn named(name: &str) -> Option<User> {
        User::find(&std::fs::read_to_string(USERS).ok()?, name)
    }

    fn find(users: &str, name: &str) -> Option<User> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != name {
                return None;
            }
            let mut numbers = fields.skip(1).map(|field| field.parse().ok());
            Some(User { name: name.to_owned(), uid: numbers.next()??, gid: numbers.next()?? })
        })
    }
}

/// Where the groups of the machine stand: group(5).
const GROUPS: &str = "/etc/group";

/// The number of the group of this name, if there is one in /etc/group.
pub fn group_named(name: &str) -> Option<u32> {
    find_group(&std::fs::read_to_string(GROUPS).ok()?, name)
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    })
}

/// The user with whose rights this process acts, as /etc/passwd calls it; `user 998` if it does not.
pub fn own_user() -> String {
    // SAFETY: it has no conditions, and never fails.
    let uid = unsafe { libc::geteuid() };
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    name_of(&users, uid).unwrap_or_else(|| format!("user {uid}"))
}

fn name_of(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// This process may do whatever root may, unless something else forbids it.
pub fn is_root() -> bool {
    // SAFETY: it has no conditions, and never fails.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this process, which is root, may become `user`: it has the capabilities for it, as it has
/// not in a container that drops them, and the user exists where it runs. What cannot be found out is
/// taken for given.
pub fn may_become(user: &User) -> bool {
    const SETGID_AND_SETUID: u32 = 1 << 6 | 1 << 7;
    let has_both =
        effective_capabilities().is_none_or(|own| own & SETGID_AND_SETUID == SETGID_AND_SETUID);
    has_both
        && std::fs::read_to_string("/proc/self/uid_map")
            .map_or(true, |map| is_mapped(&map, user.uid))
}

/// The lower half of the capabilities that are in effect: capabilities(7).
fn effective_capabilities() -> Option<u32> {
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: the header is a version and a process, here this one, and there is room for the two
    // times three words that this version tells. The kernel keeps none of the pointers.
    let asked = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    (asked == 0).then_some(sets[0])
}

/// Whether a user is in the map of a user namespace: user_namespaces(7).
fn is_mapped(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match [(); 3].map(|()| numbers.next()) {
            [Some(Ok(first)), Some(Ok(_)), Some(Ok(count))] => {
                (first..first.saturating_add(count)).contains(&u64::from(user))
            }
            _ => false,
        }
    })
}

/// Becomes `user` for good, with the user's own group and no others: the rights of root are gone.
/// `Denied` if this process is not root.
///
/// If it fails, some rights may be gone already: the process should end.
pub fn drop_privileges(user: &User) -> Result<(), IoError> {
    // The user last: without the rights of root, the groups could not be changed.
    // SAFETY: no groups are to be read, so null is as good as any.
    succeeds(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: it has no conditions as far as memory is concerned.
    succeeds(unsafe { libc::setresgid(user.gid, user.gid, user.gid) })?;
    // SAFETY: as above.
    succeeds(unsafe { libc::setresuid(user.uid, user.uid, user.uid) })
}

/// Lets neither this process nor its children ever get more rights than it has, whatever they
/// execute. Fails only where a filter forbids the call.
pub fn no_new_privileges() -> Result<(), IoError> {
    let (yes, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the operation concerns no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// Lets no other process of the same user look into this one's memory, or change it: neither by
/// /proc/PID/mem nor by ptrace(2). Nothing is dumped either when it crashes. Whoever has the rights of
/// root may still do so.
///
/// A change of the user, or to another program, undoes it.
pub fn hide_memory() {
    // SAFETY: the operation takes a number, and concerns no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong) };
    let _ = set; // Where a filter refuses it, others of the same user may look.
}

/// Lets neither this process nor its children ever have a capability that they do not have now: none
/// comes back by a file that is executed. Where that may not be said, which takes the rights of root, it
/// has no effect.
pub fn limit_capabilities() {
    let unused: libc::c_ulong = 0;
    // Each that the kernel knows, and it knows them without gaps.
    for capability in 0..64 as libc::c_ulong {
        // SAFETY: the operation takes a number, and concerns no memory.
        let dropped =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, unused, unused, unused) };
        if dropped != 0 {
            return;
        }
    }
}

/// Gives up all capabilities for good, such as the one for ports below 1024 that the service manager
/// may have given to a user who is not root: capabilities(7).
///
/// Fails only where a filter forbids the call, as that of a service manager or a container may.
pub fn give_up_capabilities() -> Result<(), IoError> {
    let (all, unused) = (libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0 as libc::c_ulong);
    // Those that a program executed next would have. They go with the others, unless that is forbidden.
    // SAFETY: the operation concerns no memory.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, all, unused, unused, unused) };
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: the header is a version and a process, here this one, and the data of this version is
    // two times three words. The kernel reads both, and they live until the end of this function.
    let given = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if given == 0 { Ok(()) } else { Err(last_error()) }
}

fn succeeds(returned: libc::c_int) -> Result<(), IoError> {
    if returned == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::process::Ended;
    use crate::sys::linux::testing::{alone, in_child};

    const SOME: &str = "root:x:0:0:root:/root:/bin/bash\n\
                        # a comment\n\
                        broken\n\
                        broken:x\n\
                        wrong:x:many:7::/:\n\
                        httplb:x:993:991:a load balancer:/:/usr/sbin/nologin\n\
                        httplb:x:1:1::/:\n";

    #[test]
    fn a_group_is_found_by_its_name() {
        let some = "root:x:0:\nbroken\nwww-data:x:33:httplb,nginx\n";
        assert_eq!(find_group(some, "www-data"), Some(33));
        assert_eq!(find_group(some, "httplb"), None);
        assert_eq!(group_named("root"), Some(0));
    }

    #[test]
    fn a_user_is_called_by_its_name_or_else_its_number() {
        assert_eq!(name_of(SOME, 993).as_deref(), Some("httplb"));
        assert_eq!(name_of(SOME, 0).as_deref(), Some("root"));
        assert_eq!(name_of(SOME, 7), None);
        if is_root() {
            assert_eq!(own_user(), "root");
        }
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let user = User::find(SOME, "httplb");
        assert_eq!(user, Some(User { name: "httplb".into(), uid: 993, gid: 991 }));
        for name in ["http", "httplb:x", "wrong", "broken", "nobody", "", "# a comment"] {
            assert_eq!(User::find(SOME, name), None, "{name}");
        }
    }

    #[test]
    fn root_is_a_user_of_every_machine() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::named("no such user"), None);
    }

    #[test]
    fn a_user_that_is_not_in_this_namespace_cannot_be_become() {
        let whole = "         0          0 4294967295\n";
        assert!(is_mapped(whole, 0) && is_mapped(whole, 65534));
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        assert!(is_mapped(rootless, 0) && is_mapped(rootless, 65536));
        assert!(!is_mapped(rootless, 65537) && !is_mapped("", 0) && !is_mapped("x y z", 0));
    }

    #[test]
    fn privileges_are_dropped_for_good() {
        if !alone(privileges_are_dropped_for_good) {
            return;
        }
        let user = User { name: "nobody".into(), uid: 65534, gid: 65534 };
        let ended = in_child(|| {
            if !is_root() {
                return i32::from(drop_privileges(&user) != Err(IoError::Denied));
            }
            if drop_privileges(&user).is_err() {
                return 2;
            }
            // SAFETY: these have no conditions, but for the number of groups, which is asked
            // without a place to write any.
            let (users, groups) =
                unsafe { ([libc::getuid(), libc::geteuid()], [libc::getgid(), libc::getegid()]) };
            // SAFETY: as above.
            let (more, back) = unsafe { (libc::getgroups(0, ptr::null_mut()), libc::setuid(0)) };
            i32::from(is_root() || (users, groups, more, back) != ([65534; 2], [65534; 2], 0, -1))
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn capabilities_are_given_up_for_good() {
        if !alone(capabilities_are_given_up_for_good) {
            return;
        }
        let ended = in_child(|| {
            if give_up_capabilities().is_err() {
                return 4;
            }
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let none = "\t0000000000000000\n";
            let sets = ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"];
            let any_left = sets.iter().any(|set| !status.contains(&format!("{set}{none}")));
            i32::from(any_left)
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn the_limit_of_capabilities_is_none_if_root_says_so() {
        if !alone(the_limit_of_capabilities_is_none_if_root_says_so) {
            return;
        }
        let ended = in_child(|| {
            limit_capabilities();
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            i32::from(is_root() && !status.contains("CapBnd:\t0000000000000000\n"))
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn hidden_memory_is_seen_by_oneself_alone() {
        if !alone(hidden_memory_is_seen_by_oneself_alone) {
            return;
        }
        let ended = in_child(|| {
            hide_memory();
            // SAFETY: the operation concerns no memory.
            let is_dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
            let still = ["/proc/self/fd", "/proc/self/status"].map(std::fs::metadata);
            i32::from(is_dumpable != 0 || still.iter().any(Result::is_err))
        });
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn new_privileges_are_refused_for_good() {
        if !alone(new_privileges_are_refused_for_good) {
            return;
        }
        let ended = in_child(|| {
            if no_new_privileges().and_then(|()| no_new_privileges()).is_err() {
                return 2;
            }
            // SAFETY: it concerns no memory.
            1 - unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }
        });
        assert_eq!(ended, Ended::Exited(0));
    }
}
