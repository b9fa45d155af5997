//! Gives up all system calls that a process has no use for: seccomp(2).
//!
//! Whoever takes over a process by a mistake in it finds that it can neither execute, nor fork,
//! nor make code of what it has written, nor send signals, nor speak by anything but TCP, and by Unix
//! sockets where backends may be at some.
use super::last_error;
use super::process::Pid;
use super::statement;
use crate::sys::IoError;
use libc::{c_int, c_long};

/// What a confined process is for, and so what it may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It proxies, and keeps a cache of files.
    Worker,
    /// It checks backends, answers operators, and removes files from the cache.
    Control,
    /// It has names looked up by children.
    Names,
    /// It is one of these.
    Lookup,
    /// It speaks to the registry.
    Registry,
}

/// By what a confined process may speak to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// By TCP.
    Tcp,
    /// By Unix sockets as well, as far as their files let it.
    TcpAndUnix,
}

/// Calls of every role.
const EVERYBODY: &[c_long] = &[
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_readv,
    libc::SYS_sendmsg,
    libc::SYS_clock_gettime,
    libc::SYS_epoll_ctl,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    // Into an entry; of control: into a file that is thrown away, to see whether the disk is full.
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_fadvise64,
    libc::SYS_recvmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    // Files: the configuration, /proc, the cache, the log.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_unlinkat,
    // What the allocator, the standard library and the end of a process need.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_nanosleep,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What a worker calls beside: splicing, and a cache that is written.
const WORKER: &[c_long] = &[
    libc::SYS_splice,
    libc::SYS_sendfile,
    libc::SYS_pipe2,
    libc::SYS_pwritev,
    libc::SYS_linkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
];

/// What the C library's resolver calls, with all that it loads: files of the host, name servers, local
/// services.
const LOOKUP: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_sendmmsg,
    libc::SYS_ioctl,
    libc::SYS_gettimeofday,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_fstatfs,
    libc::SYS_sysinfo,
    libc::SYS_epoll_create1,
];

/// What it calls beside who starts such processes, limits and ends them, and keeps what they have found.
const NAMES: &[c_long] = &[
    libc::SYS_clone,
    libc::SYS_wait4,
    libc::SYS_kill,
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_socketpair,
    libc::SYS_setitimer,
    libc::SYS_ftruncate,
];

/// Calls that have other names on younger processors.
#[cfg(target_arch = "x86_64")]
mod old {
    use libc::c_long;

    pub const EVERYBODY: &[c_long] = &[libc::SYS_open, libc::SYS_unlink];
    pub const WORKER: &[c_long] = &[libc::SYS_rename, libc::SYS_mkdir];
    pub const LOOKUP: &[c_long] = &[
        libc::SYS_poll,
        libc::SYS_access,
        libc::SYS_stat,
        libc::SYS_readlink,
        libc::SYS_epoll_wait,
    ];
    pub const NAMES: &[c_long] = &[libc::SYS_alarm];
    /// AUDIT_ARCH_X86_64 of linux/audit.h.
    pub const ARCHITECTURE: u32 = 0xc000_003e;
}

#[cfg(target_arch = "aarch64")]
mod old {
    use libc::c_long;

    pub const EVERYBODY: &[c_long] = &[];
    pub const WORKER: &[c_long] = &[];
    pub const LOOKUP: &[c_long] = &[];
    pub const NAMES: &[c_long] = &[];
    /// AUDIT_ARCH_AARCH64 of linux/audit.h.
    pub const ARCHITECTURE: u32 = 0xc000_00b7;
}

#[cfg(any(target_endian = "big", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("give the number of this architecture, its old calls, and where the words lie");

/// What an argument must be: one of `values`, as far as the bits of `mask` say.
struct ArgumentCheck<'a> {
    argument: u32,
    mask: c_int,
    values: &'a [c_int],
}

const ALL_BITS: c_int = !0;
/// The bits of a socket's type that are no flags.
const SOCKET_TYPE: c_int = 0xf;
/// The commands of fcntl(2) that neither lock nor have signals sent.
const FCNTL_COMMANDS: &[c_int] = &[
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETPIPE_SZ,
    libc::F_SETPIPE_SZ,
];

/// Confines this process, which must have called `no_new_privileges`, to the calls of `role`, for
/// good: all others fail with EPERM, so as `Denied`. What is opened once, such as pollers,
/// wakers and listeners, must be open by then.
///
/// Fails where the kernel has no such filters.
pub fn confine(role: Role, peers: Peers) -> Result<(), IoError> {
    let mut program = program(role, peers, Pid::own());
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // Without it, kernels before 5.16 slow the whole process down, lest code that it runs for
    // others guess its secrets. We run none.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program points to as many instructions as it says. They live until the end of
    // this function, and the kernel makes a copy.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// The filter of a role, for the process `own`.
fn program(role: Role, peers: Peers, own: Pid) -> Vec<libc::sock_filter> {
    // What another architecture calls has other numbers, and is refused altogether.
    let mut program = vec![load(ARCHITECTURE_AT), equal(old::ARCHITECTURE, 1, 0), refuse()];
    program.push(load(NUMBER_AT));
    for number in [EVERYBODY, old::EVERYBODY].iter().chain(calls_of(role)).copied().flatten() {
        allow(&mut program, *number, &[]);
    }
    match role {
        Role::Worker | Role::Control | Role::Registry => allow_streams(&mut program, peers),
        Role::Names | Role::Lookup => allow_resolving(&mut program),
    }
    allow(&mut program, libc::SYS_fcntl, &[all_bits(1, FCNTL_COMMANDS)]);
    // So a process can abort, and send a signal to no other.
    allow(&mut program, libc::SYS_tgkill, &[all_bits(0, &[own.number()])]);
    program.push(refuse());
    program
}

/// The calls of a role beside those of everybody.
fn calls_of(role: Role) -> &'static [&'static [c_long]] {
    match role {
        Role::Worker => &[WORKER, old::WORKER],
        Role::Control | Role::Registry => &[],
        Role::Names => &[LOOKUP, old::LOOKUP, NAMES, old::NAMES],
        Role::Lookup => &[LOOKUP, old::LOOKUP],
    }
}

fn all_bits(argument: u32, values: &[c_int]) -> ArgumentCheck<'_> {
    ArgumentCheck { argument, mask: ALL_BITS, values }
}

/// The modules of the resolver are code that is loaded when they are wanted. It speaks to name servers, to
/// local services and, to sort what it finds, to the kernel.
fn allow_resolving(program: &mut Vec<libc::sock_filter>) {
    allow(program, libc::SYS_mmap, &[]);
    allow(program, libc::SYS_mprotect, &[]);
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];
    allow(program, libc::SYS_socket, &[all_bits(0, &families)]);
    let levels = [libc::SOL_SOCKET, libc::IPPROTO_TCP, libc::IPPROTO_IP, libc::IPPROTO_IPV6];
    allow(program, libc::SYS_setsockopt, &[all_bits(1, &levels)]);
}

/// No code is made, and nobody is spoken to but by streams.
fn allow_streams(program: &mut Vec<libc::sock_filter>, peers: Peers) {
    let not_executable = [ArgumentCheck { argument: 2, mask: libc::PROT_EXEC, values: &[0] }];
    allow(program, libc::SYS_mmap, &not_executable);
    allow(program, libc::SYS_mprotect, &not_executable);
    let families: &[c_int] = match peers {
        Peers::Tcp => &[libc::AF_INET, libc::AF_INET6],
        Peers::TcpAndUnix => &[libc::AF_INET, libc::AF_INET6, libc::AF_UNIX],
    };
    let streams = [
        all_bits(0, families),
        ArgumentCheck { argument: 1, mask: SOCKET_TYPE, values: &[libc::SOCK_STREAM] },
    ];
    allow(program, libc::SYS_socket, &streams);
    let levels = [all_bits(1, &[libc::SOL_SOCKET, libc::IPPROTO_TCP])];
    allow(program, libc::SYS_setsockopt, &levels);
}

/// Allows the call `number`, if its arguments meet all the conditions. Expects the number in the
/// accumulator, and leaves it there for the next.
fn allow(program: &mut Vec<libc::sock_filter>, number: c_long, conditions: &[ArgumentCheck<'_>]) {
    let mut then = Vec::new();
    for condition in conditions {
        then.push(load(ARGUMENTS_AT + ARGUMENT_BYTES * condition.argument));
        then.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, condition.mask as u32));
        for (index, value) in condition.values.iter().enumerate() {
            // Past the other values, and the refusal behind them.
            let past = (condition.values.len() - index) as u8;
            then.push(equal(*value as u32, past, 0));
        }
        then.push(refuse());
    }
    then.push(answer(libc::SECCOMP_RET_ALLOW));
    program.push(equal(number as u32, 0, then.len() as u8));
    program.append(&mut then);
}

/// Where things lie in `seccomp_data`, of which the accumulator takes four bytes: of an argument
/// those that matter, as the kernel takes all of these arguments for an int, or a few bits of them.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

fn load(from: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, from)
}

/// Skips as many instructions as is said, if the accumulator equals `value`, and if not.
fn equal(value: u32, if_so: u8, if_not: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    libc::sock_filter { jt: if_so, jf: if_not, ..statement(code, value) }
}

fn refuse() -> libc::sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32)
}

fn answer(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
