//! What the simulated kernel promises beyond what it has in common with the real one.
use super::world::{self, End, Faults, Peer, Server};
use super::{Listener, LogFile, Pipe, Poller, Signal, Signals, Socket, Waker};
use super::{clock, log, memory, process, random};
use crate::config::Endpoint;
use crate::mem::time::{Micros, Millis};
use crate::sys::IoError;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> Server {
    world::listen(address("10.0.0.1:80"))
}

fn listener() -> Listener {
    Listener::bind(address("[::]:8080"), 16).unwrap()
}

/// A connection that the program has accepted.
fn accepted(listener: &Listener) -> (Peer, Socket) {
    let client = world::connect(address("127.0.0.1:8080"));
    (client, listener.accept().unwrap().0)
}

fn wait(poller: &mut Poller, timeout: u64) -> usize {
    poller.wait(Some(Millis(timeout))).unwrap();
    poller.events().len()
}

#[test]
fn a_client_speaks_with_the_program() {
    world::reset(1, Faults::default());
    let listener = listener();
    let (client, socket) = accepted(&listener);
    assert_eq!(client.send(b"hello"), 5);
    let mut room = [0; 10];
    assert_eq!(socket.receive([&mut room, &mut []]), Ok(5));
    assert_eq!(&room[..5], b"hello");
    assert_eq!(socket.send([b"good ", b"bye"]), Ok(8));
    assert_eq!(client.unread(), 8);
    assert_eq!(client.receive_at_most(4), b"good");
    assert_eq!(client.receive(), b" bye");
    assert_eq!(client.seen_end(), End::Open);
    drop(socket);
    assert_eq!(client.seen_end(), End::Fin);
    assert_eq!(client.receive(), b"");
}

#[test]
fn the_program_learns_the_address_of_a_client() {
    world::reset(1, Faults::default());
    let listener = listener();
    let _client = world::connect_from(address("198.51.100.7:1234"), address("127.0.0.1:8080"));
    assert_eq!(listener.accept().unwrap().1, Some(address("198.51.100.7:1234")));
}

#[test]
fn the_program_speaks_with_a_server() {
    world::reset(1, Faults::default());
    let server = server();
    let mut poller = Poller::new().unwrap();
    let socket = Socket::connect(server.address()).unwrap();
    poller.watch_socket(&socket, 7).unwrap();
    assert_eq!(socket.send([b"early", &[]]), Err(IoError::WouldBlock));
    assert_eq!(wait(&mut poller, 1000), 1);
    let event = poller.events()[0];
    assert!(event.token == 7 && event.writable && !event.readable && !event.failed);
    assert_eq!(socket.send([b"hello", &[]]), Ok(5));
    let peer = server.accept().unwrap();
    assert!(server.accept().is_none());
    assert_eq!(peer.receive(), b"hello");
    socket.reset();
    assert_eq!(peer.seen_end(), End::Reset);
    assert_eq!(peer.send(b"hello?"), 0);
}

#[test]
fn a_server_may_refuse() {
    world::reset(1, Faults::default());
    let server = server();
    server.refuse(true);
    let mut poller = Poller::new().unwrap();
    let socket = Socket::connect(server.address()).unwrap();
    poller.watch_socket(&socket, 7).unwrap();
    assert_eq!(wait(&mut poller, 0), 1);
    assert!(poller.events()[0].failed);
    assert_eq!(socket.send([b"hello", &[]]), Err(IoError::Refused));
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_minutes() {
    world::reset(1, Faults::default());
    let server = server();
    server.ignore(true);
    let mut poller = Poller::new().unwrap();
    let socket = Socket::connect(server.address()).unwrap();
    poller.watch_socket(&socket, 7).unwrap();
    assert_eq!(wait(&mut poller, 126_000), 0);
    assert_eq!(wait(&mut poller, 126_000), 1);
    assert_eq!(socket.receive([&mut [0; 9], &mut []]), Err(IoError::TimedOut));
}

#[test]
fn time_passes_only_when_nothing_happens() {
    world::reset(1, Faults::default());
    let (begin, wall) = (clock::now(), clock::wall());
    let mut poller = Poller::new().unwrap();
    let listener = listener();
    poller.watch_listener(&listener, 1).unwrap();
    let _client = world::connect(listener.address());
    assert_eq!(wait(&mut poller, 1000), 1);
    assert_eq!(clock::now(), begin);
    listener.accept().unwrap();
    assert_eq!(wait(&mut poller, 1000), 0);
    world::advance(Millis(500));
    assert_eq!(clock::now() - begin, Micros(1_500_000));
    assert_eq!(clock::wall() - wall, Micros(1_500_000));
}

#[test]
#[should_panic(expected = "it waits for ever")]
fn to_wait_for_ever_for_nothing_is_a_failed_test() {
    world::reset(1, Faults::default());
    let _ = Poller::new().unwrap().wait(None);
}

#[test]
fn descriptors_may_run_out() {
    world::reset(1, Faults { descriptors: 3, ..Faults::default() });
    assert_eq!(process::raise_descriptor_limit(100), 3);
    let listener = listener();
    let first = accepted(&listener);
    assert_eq!(Pipe::open(4096).err(), Some(IoError::Exhausted));
    let second = Socket::connect(address("10.0.0.1:80")).unwrap();
    let client = world::connect(listener.address());
    assert_eq!(listener.accept().err(), Some(IoError::Exhausted));
    assert_eq!(Socket::connect(address("10.0.0.1:80")).err(), Some(IoError::Exhausted));
    assert_eq!((world::open_sockets(), world::open_descriptors()), (2, 3));
    drop(first);
    assert_eq!(world::open_sockets(), 1);
    assert!(listener.accept().is_ok());
    drop((second, client, listener));
    assert_eq!((world::open_sockets(), world::open_descriptors()), (0, 0));
}

#[test]
fn pipes_may_run_out_and_be_small() {
    world::reset(1, Faults { pipes: 1, pipe_capacity: 8192, ..Faults::default() });
    let pipe = Pipe::open(256 * 1024).unwrap();
    assert_eq!((pipe.capacity(), pipe.len()), (8192, 0));
    assert_eq!(Pipe::open(4096).err(), Some(IoError::Exhausted));
    drop(pipe);
    assert_eq!((world::open_pipes(), world::open_descriptors()), (0, 0));
    assert!(Pipe::open(4096).is_ok());
}

#[test]
fn a_listener_that_is_closed_resets_those_who_wait() {
    for defers_accept in [false, true] {
        world::reset(1, Faults { defers_accept, ..Faults::default() });
        let listener = listener();
        let client = world::connect(listener.address());
        assert!(world::is_listening(address("127.0.0.1:8080")));
        drop(listener);
        assert!(!world::is_listening(address("127.0.0.1:8080")));
        assert_eq!(client.seen_end(), End::Reset);
    }
}

#[test]
fn listeners_that_share_an_address_take_some_connections_each() {
    world::reset(1, Faults::default());
    let first = listener();
    assert_eq!(Listener::bind(first.address(), 16).err(), Some(IoError::InUse));
    let listeners = [(); 2].map(|()| Listener::bind_shared(first.address(), 16).unwrap());
    let [second, third] = &listeners;
    let accepted = |listener: &Listener| std::iter::from_fn(|| listener.accept().ok()).count();
    for count in 1..=3 {
        first.spread_over(count).unwrap();
        let _clients = [(); 100].map(|()| world::connect(address("127.0.0.1:8080")));
        let counts = [&first, second, third].map(accepted);
        assert_eq!(counts.iter().sum::<usize>(), 100);
        assert_eq!(counts.iter().filter(|some| **some > 20).count(), count as usize);
    }
    drop(first);
    assert_eq!(Listener::bind(second.address(), 16).err(), Some(IoError::InUse));
}

#[test]
fn a_listener_is_open_as_long_as_a_clone_of_it_is() {
    world::reset(1, Faults::default());
    let listener = listener();
    let clone = listener.try_clone().unwrap();
    let _client = world::connect(listener.address());
    drop(listener);
    assert!(clone.accept().is_ok());
    drop(clone);
    assert!(!world::is_listening(address("127.0.0.1:8080")));
}

#[test]
fn a_client_speaks_with_the_program_by_a_path() {
    world::reset(1, Faults { defers_accept: true, ..Faults::default() });
    let path: Endpoint = "unix:/run/admin.sock".parse().unwrap();
    let listener = Listener::bind(path, 16).unwrap();
    assert_eq!(Listener::bind(path, 16).err(), Some(IoError::InUse));
    let mut poller = Poller::new().unwrap();
    poller.watch_listener(&listener, 1).unwrap();
    assert_eq!(wait(&mut poller, 0), 0);
    let client = world::connect(path);
    assert_eq!(wait(&mut poller, 0), 1);
    poller.unwatch_listener(&listener).unwrap();
    let (socket, peer) = listener.accept().unwrap();
    assert_eq!(peer, None);
    assert_eq!(socket.send([b"yes", &[]]), Ok(3));
    assert!(client.receive() == b"yes" && socket.peer_address().is_err());
    drop(listener);
    assert!(Listener::bind(path, 16).is_ok());
}

#[test]
fn a_unix_server_can_be_connected_to_at_once_or_not_at_all() {
    world::reset(1, Faults { backlog: 0, slow_connects: true, ..Faults::default() });
    let path: Endpoint = "unix:/run/app.sock".parse().unwrap();
    let refused = || Socket::connect(path).err();
    assert_eq!(refused(), Some(IoError::NotFound));
    let server = world::listen(path);
    let socket = Socket::connect(path).unwrap();
    assert_eq!(socket.send([b"hello", &[]]), Ok(5));
    assert_eq!(refused(), Some(IoError::WouldBlock), "nobody has accepted the first");
    assert_eq!(server.accept().unwrap().receive(), b"hello");
    assert_eq!(refused(), None);
    for (changes, error) in [
        (Server::deny as fn(&Server, bool), IoError::Denied),
        (Server::refuse, IoError::Refused),
        (Server::ignore, IoError::WouldBlock),
    ] {
        changes(&server, true);
        assert_eq!(refused(), Some(error));
    }
    server.ignore(false);
    world::remove_file("/run/app.sock");
    assert_eq!(refused(), Some(IoError::NotFound));
    drop(server);
    let abstract_name: Endpoint = "unix:@app".parse().unwrap();
    assert_eq!(Socket::connect(abstract_name).err(), Some(IoError::Refused));
    drop(world::listen(path));
    assert_eq!(refused(), Some(IoError::Refused), "its file is left");
}

#[test]
fn a_silent_client_may_be_accepted_a_second_late() {
    world::reset(1, Faults { defers_accept: true, ..Faults::default() });
    let listener = listener();
    let mut poller = Poller::new().unwrap();
    poller.watch_listener(&listener, 1).unwrap();
    let _client = world::connect(listener.address());
    assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
    assert_eq!(world::open_sockets(), 0);
    assert_eq!(wait(&mut poller, 999), 0);
    assert_eq!(wait(&mut poller, 2), 1);
    assert!(listener.accept().is_ok());
}

#[test]
fn a_reset_may_erase_what_a_client_has_not_read() {
    for reset_erases in [false, true] {
        world::reset(1, Faults { reset_erases, ..Faults::default() });
        let listener = listener();
        let (client, socket) = accepted(&listener);
        client.send(b"too much");
        socket.send([b"413", &[]]).unwrap();
        drop(socket);
        assert_eq!(client.seen_end(), End::Reset);
        assert_eq!(client.receive() == b"413", !reset_erases);
    }
}

#[test]
fn signals_are_read_once() {
    world::reset(1, Faults::default());
    let signals = Signals::block_and_open().unwrap();
    let mut poller = Poller::new().unwrap();
    poller.watch_signals(&signals, 9).unwrap();
    assert_eq!(wait(&mut poller, 0), 0);
    world::signal(Signal::Hup);
    world::signal(Signal::Term);
    world::signal(Signal::Hup);
    assert_eq!(wait(&mut poller, 0), 1);
    assert!(poller.events()[0].token == 9 && poller.events()[0].readable);
    assert_eq!(signals.next(), Some(Signal::Hup));
    assert_eq!(signals.next(), Some(Signal::Term));
    assert_eq!(signals.next(), None);
    assert_eq!(wait(&mut poller, 0), 0);
}

#[test]
fn a_doorbell_rings_in_every_poller_until_it_is_silenced() {
    world::reset(1, Faults::default());
    let waker = Waker::new().unwrap();
    let clone = waker.try_clone().unwrap();
    let mut pollers = [Poller::new().unwrap(), Poller::new().unwrap()];
    pollers[0].watch_waker(&waker, 5).unwrap();
    pollers[1].watch_waker(&clone, 6).unwrap();
    assert_eq!(pollers.each_mut().map(|poller| wait(poller, 0)), [0, 0]);
    clone.wake();
    waker.wake();
    drop(clone);
    for _ in 0..2 {
        assert_eq!(pollers.each_mut().map(|poller| wait(poller, 0)), [1, 1]);
        assert!(pollers[1].events()[0].token == 6 && pollers[1].events()[0].readable);
    }
    waker.clear();
    assert_eq!(pollers.each_mut().map(|poller| wait(poller, 0)), [0, 0]);
    drop(waker);
    assert_eq!(world::open_descriptors(), 2);
}

#[test]
fn shared_cells_are_zero_and_stay() {
    let cells = memory::share(3).unwrap().cells();
    assert_eq!(cells.len(), 3);
    assert!(cells.iter().all(|cell| cell.swap(7, Relaxed) == 0));
    assert!(cells.iter().all(|cell| cell.load(Relaxed) == 7));
}

#[test]
fn a_log_takes_what_there_is_room_for() {
    world::reset(1, Faults { log_room: 6, ..Faults::default() });
    let log = LogFile::stdout().unwrap();
    assert_eq!(log.write(b"one\n"), Ok(4));
    assert_eq!(log.write(b"two\n"), Ok(2));
    assert_eq!(log.write(b"o\n"), Err(IoError::WouldBlock));
    assert_eq!(world::take_log("/dev/stdout"), b"one\ntw");
    assert_eq!(log.write(b"o\n"), Ok(2));
    assert_eq!(world::take_log("/dev/stdout"), b"o\n");
}

#[test]
fn messages_can_be_read() {
    world::reset(1, Faults::default());
    log::write(log::Level::Notice, format_args!("ready after {} s", 1));
    assert_eq!(world::messages(), [(log::Level::Notice, "ready after 1 s".to_owned())]);
}

#[test]
fn random_bytes_follow_from_the_seed() {
    let mut rows = [[0; 20]; 3];
    for (row, seed) in rows.iter_mut().zip([1, 1, 2]) {
        world::reset(seed, Faults::default());
        random::fill(row);
    }
    assert_eq!(rows[0], rows[1]);
    assert_ne!(rows[0], rows[2]);
}

#[test]
fn memory_given_back_is_not_what_it_was() {
    let memory = memory::reserve(100).unwrap();
    assert!(memory.iter().all(|byte| *byte == 0));
    memory::give_back(&mut memory[10..]);
    assert!(memory[..10].iter().all(|byte| *byte == 0) && memory[10] != 0);
}

#[test]
fn what_outlives_its_world_counts_no_more() {
    world::reset(1, Faults::default());
    let listener = listener();
    let (client, socket) = accepted(&listener);
    world::reset(2, Faults::default());
    drop((listener, client, socket));
    assert_eq!((world::open_sockets(), world::open_descriptors()), (0, 0));
}

/// Echoes as the program would: all that edges say, and nothing on trust. It reads until a read
/// falls short of its room, and writes until a write is cut short.
struct Echo {
    socket: Socket,
    held: Vec<u8>,
    readable: bool,
    writable: bool,
    closed: bool,
    ended: bool,
}

impl Echo {
    fn run(&mut self) {
        loop {
            let (held, readable) = (self.held.len(), self.readable);
            if self.readable && !self.ended && self.held.len() < 3000 {
                self.read();
            }
            if self.writable && !self.held.is_empty() {
                self.write();
            }
            if (held, readable) == (self.held.len(), self.readable) {
                return;
            }
        }
    }

    fn read(&mut self) {
        let mut room = [0; 1000];
        let (first, second) = room.split_at_mut(300);
        match self.socket.receive([first, second]) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.held.extend(&room[..count]);
                self.readable = count == 1000 || self.closed;
            }
            Err(IoError::WouldBlock) => self.readable = false,
            Err(error) => panic!("{error}"),
        }
    }

    fn write(&mut self) {
        match self.socket.send([&self.held, &[]]) {
            Ok(count) => {
                self.writable = count == self.held.len();
                self.held.drain(..count);
            }
            Err(IoError::WouldBlock) => self.writable = false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn who_follows_the_edges_loses_nothing_whatever_the_world_does() {
    for seed in 0..500 {
        world::reset(seed, Faults { buffer: 2000, ..Faults::harmless() });
        let server = server();
        let mut poller = Poller::new().unwrap();
        let socket = Socket::connect(server.address()).unwrap();
        poller.watch_socket(&socket, 1).unwrap();
        let (readable, writable, closed, ended) = (false, false, false, false);
        let mut echo = Echo { socket, held: Vec::new(), readable, writable, closed, ended };
        let sent: Vec<u8> = (0..20_000_u32).map(|number| (number % 251) as u8).collect();
        let (mut count, mut received, mut peer) = (0, Vec::new(), None);
        while received.len() < sent.len() {
            poller.wait(Some(Millis(1000))).unwrap();
            for event in poller.events() {
                echo.readable |= event.readable;
                echo.writable |= event.writable;
                echo.closed |= event.closed;
            }
            echo.run();
            peer = peer.or_else(|| server.accept());
            let Some(peer) = &peer else { continue };
            let before = (count, received.len());
            count += peer.send(&sent[count..]);
            received.extend(peer.receive());
            let idle = poller.events().is_empty() && before == (count, received.len());
            assert!(!idle, "seed {seed}: nothing moves after {before:?}");
            if count == sent.len() {
                peer.shutdown_write();
            }
        }
        assert!(received == sent, "seed {seed}: other bytes came");
    }
}

#[test]
fn the_same_seed_makes_the_same_world() {
    let course = || {
        world::reset(77, Faults::harmless());
        let listener = listener();
        let (client, socket) = accepted_late(&listener);
        client.send(&[1; 3000]);
        let mut counts = Vec::new();
        let mut poller = Poller::new().unwrap();
        poller.watch_socket(&socket, 1).unwrap();
        while wait(&mut poller, 10) > 0 || counts.len() < 5 {
            counts.push(socket.receive([&mut [0; 5000], &mut []]));
        }
        (counts, world::calls())
    };
    assert_eq!(course(), course());
}

/// Like `accepted`, in a world where listeners hold connections back.
fn accepted_late(listener: &Listener) -> (Peer, Socket) {
    let client = world::connect(listener.address());
    world::advance(Millis(1000));
    (client, listener.accept().unwrap().0)
}
