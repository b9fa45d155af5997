//! A filter of system calls: what a process will never need it gives up, so that whoever takes it
//! over cannot have it either. seccomp(2).
use crate::sys::IoError;
use libc::{c_long, sock_filter, sock_fprog};

/// What a process is for, and so which calls it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Carries traffic, and reads and writes the cache.
    Worker,
    /// Checks backends, answers operators, and keeps the cache in its size.
    Control,
}

/// Both roles. None can start a program or a process, gain rights, or look into another process.
const COMMON: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_fcntl,
    libc::SYS_ppoll,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    // Files: the log, and the cache's entries. Their names are relative to a folder opened before.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_unlinkat,
    // Memory, as the allocator asks for it; the arguments of mmap and mprotect are looked at below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    // To end, and to end with a message.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

const WORKER: &[c_long] = &[
    libc::SYS_splice,
    libc::SYS_sendfile,
    libc::SYS_pipe2,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
];

const CONTROL: &[c_long] = &[
    libc::SYS_getdents64,
    libc::SYS_preadv2,
    libc::SYS_fadvise64,
    libc::SYS_clock_nanosleep,
    libc::SYS_ftruncate,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
];

/// Older names of calls, which only this processor has.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_rename];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Which numbers are meant: `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

// `struct seccomp_data`: what a filter can look at, and where.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The lower half of the third argument: the protection, in mmap and in mprotect.
const PROTECTION_AT: u32 = 16 + 2 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Gives up all system calls that `role` does not make, for good: from now on they fail with
/// `Denied`. A call that was forgotten here shows as an error, where a kill would cost clients their
/// connections. No mapping can be made executable any more.
///
/// Fails where the kernel has no seccomp.
pub fn confine(role: Role) -> Result<(), IoError> {
    // SAFETY: this changes nothing but that no program run from here gains rights, which a filter
    // without privileges requires.
    let gave_up = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(gave_up, 0, "it can always be given up");
    let mut filter = filter(role);
    let program = sock_fprog {
        len: u16::try_from(filter.len()).expect("a filter has a few hundred instructions"),
        filter: filter.as_mut_ptr(),
    };
    // Without this flag, older kernels slow all of the process down against attacks from code that
    // runs in it; there is none.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the program points to as many instructions as it says, which live until the call ends.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if done == 0 { Ok(()) } else { Err(super::last_error()) }
}

/// The calls of a role in a row, the frequent ones first. The kernel remembers which are allowed
/// whatever their arguments, and does not run the filter for these (since Linux 5.11).
fn filter(role: Role) -> Vec<sock_filter> {
    let own = match role {
        Role::Worker => WORKER,
        Role::Control => CONTROL,
    };
    let mut filter = vec![
        instruction(LOAD, ARCHITECTURE_AT, 0, 0),
        instruction(IS, ARCHITECTURE, 1, 0),
        instruction(RETURN, REFUSE, 0, 0),
        instruction(LOAD, NUMBER_AT, 0, 0),
    ];
    for call in COMMON.iter().chain(own).chain(OLD) {
        filter.push(instruction(IS, number(*call), 0, 1));
        filter.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    }
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        filter.push(instruction(IS, number(call), 0, 4));
        filter.push(instruction(LOAD, PROTECTION_AT, 0, 0));
        filter.push(instruction(HAS, libc::PROT_EXEC as u32, 1, 0));
        filter.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        filter.push(instruction(RETURN, REFUSE, 0, 0));
    }
    filter.push(instruction(RETURN, REFUSE, 0, 0));
    filter
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("numbers of system calls are small")
}

/// One instruction; a jump skips `yes` or `no` instructions.
fn instruction(code: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: yes, jf: no, k }
}

#[cfg(test)]
mod tests {
    use super::{Role, confine};
    use std::ptr;

    /// Runs `trial` in a child process that is confined, and gives what it returned.
    ///
    /// Tests run in threads, so the child may do nothing that takes a lock, as a panic would. To
    /// allocate is fine: the C library sees to its own locks when it forks.
    fn confined(role: Role, trial: fn() -> i32) -> i32 {
        // SAFETY: the child calls only what is said above, and ends by _exit.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                libc::alarm(20);
                let status = if confine(role).is_ok() { trial() } else { 99 };
                libc::_exit(status);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFEXITED(status), "ended by signal {}", libc::WTERMSIG(status));
            libc::WEXITSTATUS(status)
        }
    }

    fn errno() -> i32 {
        // SAFETY: the location is this thread's own.
        unsafe { *libc::__errno_location() }
    }

    /// 0 if the call is refused by the filter.
    fn refused(result: libc::c_long) -> i32 {
        if result == -1 && errno() == libc::EPERM { 0 } else { 1 }
    }

    #[test]
    fn no_program_and_no_process_can_be_started() {
        for role in [Role::Worker, Role::Control] {
            // SAFETY: these calls are refused; were they not, the child would end by itself.
            let execute = || unsafe {
                let path = c"/bin/true".as_ptr();
                let nothing: [*const libc::c_char; 2] = [path, ptr::null()];
                refused(libc::execve(path, nothing.as_ptr(), nothing[1..].as_ptr()).into())
            };
            assert_eq!(confined(role, execute), 0);
            // SAFETY: as above.
            let fork =
                || unsafe { refused(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0)) };
            assert_eq!(confined(role, fork), 0);
            // SAFETY: as above.
            let gain = || unsafe { refused(libc::syscall(libc::SYS_setuid, 0)) };
            assert_eq!(confined(role, gain), 0);
            // SAFETY: as above; signal 0 is none.
            let kill = || unsafe { refused(libc::syscall(libc::SYS_kill, libc::getppid(), 0)) };
            assert_eq!(confined(role, kill), 0);
        }
    }

    #[test]
    fn memory_can_be_mapped_but_never_be_made_executable() {
        let map = |protection| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping is nobody else's.
            unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) }
        };
        assert_eq!(
            confined(Role::Worker, || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let plain = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: a new mapping is nobody else's, and is not used.
                unsafe {
                    let page = libc::mmap(ptr::null_mut(), 4096, plain, flags, -1, 0);
                    if page == libc::MAP_FAILED {
                        return 2;
                    }
                    let made = libc::mprotect(page, 4096, plain | libc::PROT_EXEC);
                    refused(made.into())
                }
            }),
            0
        );
        assert_ne!(map(libc::PROT_READ), libc::MAP_FAILED, "this process is not confined");
        assert_eq!(
            confined(Role::Control, || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let wanted = libc::PROT_READ | libc::PROT_EXEC;
                // SAFETY: as above.
                let page = unsafe { libc::mmap(ptr::null_mut(), 4096, wanted, flags, -1, 0) };
                i32::from(page != libc::MAP_FAILED || errno() != libc::EPERM)
            }),
            0
        );
    }

    #[test]
    fn what_a_role_needs_goes_on() {
        assert_eq!(
            confined(Role::Worker, || {
                let mut ends = [0; 2];
                // SAFETY: the array has room for two descriptors.
                unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }
            }),
            0
        );
        assert_eq!(
            confined(Role::Control, || {
                let mut ends = [0; 2];
                // SAFETY: the array has room for two descriptors.
                refused(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }.into())
            }),
            0,
            "the control process moves no bodies"
        );
    }
}
