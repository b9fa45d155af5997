//! Whose rights this process has.
use crate::sys::IoError;
use crate::sys::linux::last_error;
use std::ptr;

/// Where the users of the machine stand: passwd(5).
const USERS: &str = "/etc/passwd";

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

/// This process may do whatever root may, unless something else forbids it.
pub fn is_root() -> bool {
    // SAFETY: it has no conditions, and never fails.
    unsafe { libc::geteuid() == 0 }
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
/// execute.
pub fn no_new_privileges() {
    let (yes, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the operation concerns no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) };
    assert_eq!(set, 0, "PR_SET_NO_NEW_PRIVS fails only for other arguments");
}

/// Lets no other process of the same user look into this one's memory, or change it: neither by
/// /proc/PID/mem nor by ptrace(2). Nothing is dumped either when it crashes. Whoever has the rights of
/// root may still do so.
///
/// A change of the user, or to another program, undoes it.
pub fn hide_memory() {
    // SAFETY: the operation takes a number, and concerns no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong) };
    assert_eq!(set, 0, "PR_SET_DUMPABLE fails only for other arguments");
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
    /// `_LINUX_CAPABILITY_VERSION_3`, which has two words of 32 for each set.
    const VERSION: u32 = 0x2008_0522;
    let (all, unused) = (libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0 as libc::c_ulong);
    // Those that a program executed next would have. They go with the others, unless that is forbidden.
    // SAFETY: the operation concerns no memory.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, all, unused, unused, unused) };
    let header: [u32; 2] = [VERSION, 0];
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
            no_new_privileges();
            no_new_privileges();
            // SAFETY: it concerns no memory.
            1 - unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }
        });
        assert_eq!(ended, Ended::Exited(0));
    }
}
