use super::*;
use crate::config::{Endpoint, UnixPath};
use crate::mem::time::Millis;
use crate::sys::linux::process::{Ended, User, drop_privileges, execute, fork};
use crate::sys::linux::process::{no_new_privileges, signal};
use crate::sys::linux::testing::{alone, in_child};
use crate::sys::linux::{Listener, LogFile, Pipe, Poller, Signal, Socket, Waker};
use crate::sys::linux::{clock, memory, random};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

/// Those that keep to what they were started with.
const ROLES: [Role; 3] = [Role::Worker, Role::Control, Role::Registry];
/// Those by which names are looked up.
const RESOLVERS: [Role; 2] = [Role::Names, Role::Lookup];

/// Runs `act` in a thread of its own: to the kernel a thread is what a process is, and one that is
/// confined leaves the others as they are.
fn apart(act: impl FnOnce() + Send) {
    thread::scope(|scope| {
        if let Err(panic) = scope.spawn(act).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn enter(role: Role) {
    no_new_privileges().unwrap();
    confine(role, Peers::Tcp).unwrap();
}

fn confined(role: Role, act: impl FnOnce() + Send) {
    apart(|| {
        enter(role);
        act();
    });
}

/// Calls the kernel with arguments that make sense to no call, and says whether it is forbidden.
fn is_forbidden(number: c_long) -> bool {
    const NONSENSE: c_long = -1;
    // SAFETY: no call is harmed by arguments that are no address, number or flag. Those that have
    // none to be wrong are not called by this.
    let returned = unsafe {
        libc::syscall(number, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE)
    };
    returned == -1 && last_error() == IoError::Denied
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
    fs::create_dir(&path).unwrap();
    path
}

fn denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn who_may_get_new_privileges_cannot_be_confined_but_by_root() {
    if !alone(who_may_get_new_privileges_cannot_be_confined_but_by_root) {
        return;
    }
    let nobody = User { name: "nobody".into(), uid: 65534, gid: 65534 };
    let ended = in_child(|| {
        // Without the rights of root already, this fails, and nothing is different.
        let _ = drop_privileges(&nobody);
        i32::from(confine(Role::Worker, Peers::Tcp) != Err(IoError::Denied))
    });
    assert_eq!(ended, Ended::Exited(0));
}

#[test]
fn every_call_is_allowed_that_is_listed_and_no_other() {
    let code = [libc::SYS_mmap, libc::SYS_mprotect];
    for role in ROLES.into_iter().chain(RESOLVERS) {
        confined(role, || {
            assert!(is_forbidden(libc::SYS_setuid), "else what follows could do harm");
            let ends = [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn];
            // What lies between is the kernel's own: uretprobe ends whoever calls it by hand.
            for number in (0..335).chain(424..600).filter(|number| !ends.contains(number)) {
                let listed = EVERYBODY.contains(&number) || old::EVERYBODY.contains(&number);
                let of_role = calls_of(role).iter().any(|calls| calls.contains(&number));
                let loads = RESOLVERS.contains(&role) && code.contains(&number);
                let allowed = listed || of_role || loads;
                assert_eq!(is_forbidden(number), !allowed, "call {number} of a {role:?}");
            }
        });
    }
}

#[test]
fn a_confined_process_cannot_become_or_start_another() {
    for role in ROLES {
        confined(role, || {
            assert_eq!(execute(c"/bin/true", &[], &[]), IoError::Denied);
            assert_eq!(fork(), Err(IoError::Denied));
            assert!(denied(std::process::Command::new("/bin/true").status()));
            assert!(denied(thread::Builder::new().spawn(|| ())));
            assert_eq!(signal(Pid::own(), Signal::Usr1), Err(IoError::Denied));
            assert_eq!(confine(role, Peers::Tcp), Err(IoError::Denied));
        });
    }
}

#[test]
fn a_confined_lookup_looks_names_up_and_starts_nothing() {
    use crate::sys::linux::resolver::{AddressFamily, addresses, service_records};
    let folder = folder("lookup");
    let listener =
        Listener::bind(UnixPath::parse(folder.join("a").to_str().unwrap()).unwrap(), 16).unwrap();
    confined(Role::Lookup, || {
        let local = addresses("localhost", AddressFamily::Ipv4);
        assert_eq!(local, Ok(vec![[127, 0, 0, 1].into()]));
        // Whatever comes of them: names of this kind are nobody's (RFC 6761).
        let _ = addresses("httplb.invalid.", AddressFamily::Ipv6);
        let _ = service_records("_http._tcp.httplb.invalid.", &mut [0; 512]);
        assert!(UnixStream::connect(folder.join("a")).is_ok(), "services of the host");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(udp.local_addr().unwrap()).unwrap();
        assert_eq!(udp.send(b"question").unwrap(), 8);
        assert_eq!(fork(), Err(IoError::Denied));
        assert_eq!(execute(c"/bin/true", &[], &[]), IoError::Denied);
        assert_eq!(signal(Pid::own(), Signal::Usr1), Err(IoError::Denied));
        assert_eq!(confine(Role::Lookup, Peers::Tcp), Err(IoError::Denied));
        assert!(denied(fs::remove_dir(folder.join("a"))), "no folders");
    });
    drop(listener);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_confined_parent_of_lookups_starts_confines_and_ends_them() {
    if !alone(a_confined_parent_of_lookups_starts_confines_and_ends_them) {
        return;
    }
    use crate::sys::linux::Channel;
    use crate::sys::linux::process::{Forked, kill, limit_life, reap};
    let ended = in_child(|| {
        enter(Role::Names);
        let (line, of_child) = Channel::pair().unwrap();
        let parent = Pid::own();
        let Ok(Forked::Parent(child)) = fork().inspect(|forked| {
            if *forked == Forked::Child {
                let lives = limit_life(parent, Millis(60_000));
                let confined = confine(Role::Lookup, Peers::Tcp).is_ok();
                let is_alone = fork() == Err(IoError::Denied);
                let told = of_child.send(&format!("{lives} {confined} {is_alone}"), None);
                let _ = told; // Who is not told fails below.
                loop {
                    thread::sleep(std::time::Duration::from_secs(1));
                }
            }
        }) else {
            return 1;
        };
        let told = std::iter::repeat_with(|| line.receive()).flatten().next();
        let is_right = told.is_some_and(|message| message.text == "true true true");
        let killed = kill(child).is_ok();
        let ended = std::iter::repeat_with(reap).flatten().next();
        let is_ended = ended == Some((child, Ended::Killed(libc::SIGKILL)));
        let no_program = execute(c"/bin/true", &[], &[]) == IoError::Denied;
        i32::from(!(is_right && killed && is_ended && no_program)) * 2
    });
    assert_eq!(ended, Ended::Exited(0));
}

#[test]
fn a_confined_process_makes_no_code() {
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
    for role in ROLES {
        confined(role, || {
            let page = memory::reserve(4096).unwrap();
            let start = page.as_mut_ptr().cast();
            let all = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
            // SAFETY: nothing is mapped over anything, and the page stays as it is.
            unsafe {
                let mapped = mmap_anonymous(std::ptr::null_mut(), 4096, all, MapFlags::PRIVATE);
                assert_eq!(mapped.err(), Some(rustix::io::Errno::PERM));
                let code = MprotectFlags::READ | MprotectFlags::EXEC;
                assert_eq!(mprotect(start, 4096, code), Err(rustix::io::Errno::PERM));
                let data = MprotectFlags::READ | MprotectFlags::WRITE;
                assert_eq!(mprotect(start, 4096, data), Ok(()));
            }
        });
    }
}

#[test]
fn a_confined_process_speaks_tcp_alone() {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    for role in ROLES {
        let tcp = Listener::bind(([127, 0, 0, 1], 0), 1).unwrap();
        confined(role, || {
            for (family, kind, allowed) in [
                (AddressFamily::INET, SocketType::STREAM, true),
                (AddressFamily::INET6, SocketType::STREAM, true),
                (AddressFamily::INET, SocketType::DGRAM, false),
                (AddressFamily::INET, SocketType::RAW, false),
                (AddressFamily::UNIX, SocketType::STREAM, false),
                (AddressFamily::NETLINK, SocketType::DGRAM, false),
            ] {
                let refused = socket(family, kind, None).err() == Some(rustix::io::Errno::PERM);
                assert_eq!(refused, !allowed, "{family:?} {kind:?}");
            }
            let address = tcp.address();
            assert_eq!(Listener::bind(address, 1).err(), Some(IoError::Denied));
            let own = Socket::connect(address).unwrap();
            let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            assert_eq!(bind(&own, &any), Err(rustix::io::Errno::PERM));
            assert_eq!(sockopt::set_ip_ttl(&own, 7), Err(rustix::io::Errno::PERM));
            assert_eq!(sockopt::set_tcp_cork(&own, true), Ok(()));
        });
    }
}

#[test]
fn a_confined_process_may_speak_by_unix_sockets_where_backends_are_at_some() {
    use rustix::net::{AddressFamily, SocketType, socket};
    let folder = folder("peers");
    let path = UnixPath::parse(folder.join("app").to_str().unwrap()).unwrap();
    let listener = Listener::bind(path, 16).unwrap();
    for role in ROLES {
        apart(|| {
            no_new_privileges().unwrap();
            confine(role, Peers::TcpAndUnix).unwrap();
            let near = Socket::connect(path).unwrap();
            near.send([b"hello", &[]]).unwrap();
            let (far, _) = listener.accept().unwrap();
            assert_eq!(far.receive([&mut [0; 9], &mut []]), Ok(5));
            assert!(Listener::file(&path).is_ok());
            for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
                let refused = socket(AddressFamily::UNIX, kind, None).err();
                assert_eq!(refused, Some(rustix::io::Errno::PERM));
            }
        });
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_confined_process_cannot_have_signals_sent() {
    for role in ROLES {
        let waker = Waker::new().unwrap();
        confined(role, || {
            use rustix::fd::{AsFd, AsRawFd};
            let number = waker.as_fd().as_raw_fd();
            // SAFETY: these take numbers, and the descriptor is open.
            let [owner, lease] = unsafe {
                [
                    libc::fcntl(number, libc::F_SETOWN, Pid::own().number()),
                    libc::fcntl(number, libc::F_SETLEASE, libc::F_UNLCK),
                ]
            };
            assert_eq!((owner, lease), (-1, -1));
            assert_eq!(last_error(), IoError::Denied);
            assert!(waker.try_clone().is_ok());
        });
    }
}

#[test]
fn a_confined_process_ends_as_any_other() {
    if !alone(a_confined_process_ends_as_any_other) {
        return;
    }
    for role in ROLES {
        let ended = in_child(|| {
            enter(role);
            std::process::exit(7)
        });
        assert_eq!(ended, Ended::Exited(7));
        let ended = in_child(|| {
            enter(role);
            std::process::abort()
        });
        assert_eq!(ended, Ended::Killed(libc::SIGABRT));
        // SAFETY: it has no conditions.
        let parent = unsafe { libc::getppid() };
        let ended = in_child(|| {
            enter(role);
            // SAFETY: it concerns no memory.
            let sent = unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, libc::SIGTERM) };
            i32::from(sent != -1)
        });
        assert_eq!(ended, Ended::Exited(0));
    }
}

/// What every role does: clients, backends, time, memory, the log.
fn serve(poller: &mut Poller, listener: &Listener, waker: &Waker, log: &Path) -> (Socket, Socket) {
    let near = Socket::connect(listener.address()).unwrap();
    poller.watch_socket(&near, 1).unwrap();
    poller.watch_listener(listener, 2).unwrap();
    poller.watch_waker(waker, 3).unwrap();
    waker.wake();
    poller.wait(Some(Millis(1000))).unwrap();
    waker.clear();
    near.send([b"GET ", b"/"]).unwrap();
    let far = loop {
        poller.wait(Some(Millis(1000))).unwrap();
        if let Ok((far, peer)) = listener.accept() {
            assert_eq!(near.local_address().ok(), peer);
            break far;
        }
    };
    assert_eq!(near.peer_address().map(Endpoint::Tcp), Ok(listener.address()));
    let (mut first, mut second) = ([0; 3], [0; 9]);
    assert_eq!(far.receive([&mut first, &mut second]), Ok(5));
    assert_eq!(far.receive([&mut first, &mut []]), Err(IoError::WouldBlock));
    poller.unwatch_listener(listener).unwrap();
    assert!(clock::now() <= clock::now() && clock::wall().0 > 0);
    random::fill(&mut [0; 100]);
    memory::give_back(memory::reserve(100_000).unwrap());
    let mut much = vec![0_u8; 1 << 20];
    much.resize(1 << 24, 1);
    assert_eq!(LogFile::open(log).unwrap().write(b"a line\n"), Ok(7));
    LogFile::stdout().unwrap().write(b"").unwrap();
    assert_eq!(fs::read_to_string(log).unwrap(), "a line\n");
    thread::sleep(std::time::Duration::from_millis(1));
    (near, far)
}

/// What a cache does with an entry: writes it where it has no name, gives it one, sends it, and
/// removes it.
fn keep_entry(folder: &Path, client: &Socket) {
    let mode = Mode::from_raw_mode(0o700);
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, mode).unwrap();
    rustix::fs::mkdirat(&root, "ab", mode).unwrap();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let entry = match rustix::fs::openat(&root, "ab", flags | OFlags::TMPFILE, mode) {
        Ok(nameless) => {
            let name = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&nameless));
            let follow = AtFlags::SYMLINK_FOLLOW;
            rustix::fs::linkat(CWD, name, &root, "ab/new", follow).unwrap();
            nameless
        }
        // Some file systems have no files without a name.
        Err(error) => {
            assert_eq!(error, rustix::io::Errno::OPNOTSUPP);
            rustix::fs::openat(&root, "ab/new", flags | OFlags::CREATE, mode).unwrap()
        }
    };
    let reserved = rustix::fs::fallocate(&entry, FallocateFlags::KEEP_SIZE, 0, 4096);
    assert!(matches!(reserved, Ok(()) | Err(rustix::io::Errno::OPNOTSUPP)));
    rustix::io::write(&entry, b"head, body").unwrap();
    rustix::fs::ftruncate(&entry, 6).unwrap();
    assert_eq!(rustix::fs::fstat(&entry).unwrap().st_size, 6);
    rustix::fs::renameat(&root, "ab/new", &root, "ab/entry").unwrap();
    assert_eq!(rustix::io::pread(&entry, &mut [0; 9], 0), Ok(6));
    assert_eq!(rustix::fs::sendfile(client, &entry, Some(&mut 0), 6), Ok(6));
    rustix::fs::unlinkat(&root, "ab/entry", AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(&root, "ab", AtFlags::REMOVEDIR).unwrap();
}

#[test]
fn a_confined_worker_proxies_and_keeps_a_cache() {
    let folder = folder("worker");
    let listener = Listener::bind(([127, 0, 0, 1], 0), 16).unwrap();
    apart(|| {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        enter(Role::Worker);
        let (near, far) = serve(&mut poller, &listener, &waker, &folder.join("log"));
        let mut pipe = Pipe::open(65536).unwrap();
        near.send([b"body", &[]]).unwrap();
        poller.watch_socket(&far, 5).unwrap();
        poller.wait(Some(Millis(1000))).unwrap();
        assert_eq!(pipe.fill(&far, 100), Ok(4));
        assert_eq!(pipe.drain(&far), Ok(4));
        near.shutdown_write().unwrap();
        keep_entry(&folder, &far);
        fs::create_dir(folder.join("cd")).unwrap();
        fs::write(folder.join("cd/one"), "text").unwrap();
        fs::rename(folder.join("cd/one"), folder.join("cd/two")).unwrap();
        assert_eq!(fs::read_dir(folder.join("cd")).unwrap().count(), 1);
        assert_eq!(fs::metadata(folder.join("cd/two")).unwrap().len(), 4);
        fs::remove_file(folder.join("cd/two")).unwrap();
        far.reset();
    });
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_confined_control_answers_operators_and_removes_files() {
    let folder = folder("control");
    let listener = Listener::bind(([127, 0, 0, 1], 0), 16).unwrap();
    let operators =
        Listener::bind(UnixPath::parse(folder.join("admin").to_str().unwrap()).unwrap(), 16)
            .unwrap();
    let mut operator = UnixStream::connect(folder.join("admin")).unwrap();
    fs::write(folder.join("entry"), "text").unwrap();
    apart(|| {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        enter(Role::Control);
        drop(serve(&mut poller, &listener, &waker, &folder.join("log")));
        poller.watch_listener(&operators, 4).unwrap();
        let (socket, _) = operators.accept().unwrap();
        operator.write_all(b"purge").unwrap();
        assert_eq!(socket.receive([&mut [0; 9], &mut []]), Ok(5));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        assert_eq!(fs::metadata(folder.join("entry")).unwrap().len(), 4);
        fs::remove_file(folder.join("entry")).unwrap();
        socket.send([b"done", &[]]).unwrap();
        assert!(denied(fs::rename(folder.join("log"), folder.join("other"))));
        assert!(denied(fs::create_dir(folder.join("other"))));
        assert_eq!(Pipe::open(65536).err(), Some(IoError::Unsupported));
        assert_eq!(Waker::new().err(), Some(IoError::Denied));
        assert!(denied(UnixStream::connect(folder.join("admin"))));
    });
    let mut text = String::new();
    operator.read_to_string(&mut text).unwrap();
    assert_eq!(text, "done");
    fs::remove_dir_all(folder).unwrap();
}
