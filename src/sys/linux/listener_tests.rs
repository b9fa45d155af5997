use super::{Listener, Socket};
use crate::config::Endpoint;
use crate::sys::{Binding, IoError};
use rustix::fd::OwnedFd;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Connects, and sends something lest the connection be held back.
fn clients(address: Endpoint, count: usize) -> Vec<Socket> {
    let clients: Vec<Socket> = (0..count).map(|_| Socket::connect(address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(10));
    assert!(clients.iter().all(|client| client.send([b"!", &[]]) == Ok(1)));
    std::thread::sleep(Duration::from_millis(10));
    clients
}

fn accepted(listener: &Listener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn who_binds_alone_finds_out_who_listens_already() {
    let first = Listener::bind(any(), 16).unwrap();
    assert!(first.is_shared());
    assert_eq!(Listener::bind(first.address(), 16).err(), Some(IoError::InUse));
    let second = Listener::bind_shared(first.address(), 16).unwrap();
    assert_eq!(second.address(), first.address());
    drop(first);
    assert_eq!(Listener::bind(second.address(), 16).err(), Some(IoError::InUse));
    let address = second.address();
    drop(second);
    assert!(Listener::bind(address, 16).is_ok());
}

#[test]
fn an_address_that_this_host_does_not_have_is_bound_freely_or_not_at_all() {
    for text in ["192.0.2.10:0", "[2001:db8::10]:0"] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(Listener::bind(address, 16).err(), Some(IoError::NotLocal));
        let free = |endpoint: Endpoint| Binding { freebind: true, ..endpoint.into() };
        let first = Listener::bind(free(address.into()), 16).unwrap();
        let own = SocketAddr::new(address.ip(), first.address().port().unwrap());
        assert_eq!(first.address(), own.into());
        let again = free(first.address());
        assert_eq!(Listener::bind(again, 16).err(), Some(IoError::InUse));
        assert!(Listener::bind_shared(again, 16).is_ok());
    }
}

#[test]
fn nobody_shares_with_one_who_does_not() {
    let other = TcpListener::bind(any()).unwrap();
    let address = other.local_addr().unwrap();
    assert_eq!(Listener::bind(address, 16).err(), Some(IoError::InUse));
    assert_eq!(Listener::bind_shared(address, 16).err(), Some(IoError::InUse));
}

#[test]
fn all_addresses_are_shared_as_one_is() {
    let first = Listener::bind("[::]:0".parse::<Endpoint>().unwrap(), 128).unwrap();
    let port = first.address().port().unwrap();
    let one = Endpoint::from(([127, 0, 0, 1], port));
    assert_eq!(Listener::bind(one, 16).err(), Some(IoError::InUse));
    let second = Listener::bind_shared(first.address(), 128).unwrap();
    let _clients = clients(one, 40);
    let counts = [&first, &second].map(accepted);
    assert!(counts.iter().sum::<usize>() == 40 && !counts.contains(&0), "{counts:?}");
}

#[test]
fn connections_come_only_to_those_over_whom_they_are_spread() {
    let mut listeners = vec![Listener::bind(any(), 128).unwrap()];
    let address = listeners[0].address();
    listeners.extend([(); 3].map(|()| Listener::bind_shared(address, 128).unwrap()));
    for count in [2, 1, 4, 3] {
        listeners[1].spread_over(count as u32).unwrap();
        let _clients = clients(address, 100);
        let counts: Vec<usize> = listeners.iter().map(accepted).collect();
        assert!(counts[..count].iter().all(|some| *some > 100 / 4 / count), "{counts:?}");
        assert!(counts[count..].iter().all(|none| *none == 0), "{counts:?}");
    }
}

#[test]
fn with_too_few_listeners_no_connection_is_lost() {
    let listener = Listener::bind(any(), 128).unwrap();
    listener.spread_over(7).unwrap();
    let _clients = clients(listener.address(), 20);
    assert_eq!(accepted(&listener), 20);
}

#[test]
fn a_listener_from_a_descriptor_serves_as_one_of_our_own() {
    let other = TcpListener::bind(any()).unwrap();
    let address = other.local_addr().unwrap();
    let listener = Listener::from_fd(other.into()).unwrap();
    assert!(listener.address() == address.into() && !listener.is_shared());
    assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
    assert!(listener.spread_over(1).is_err());
    let silent = Socket::connect(address).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
    silent.send([b"!", &[]]).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    assert!(listener.accept().is_ok());
    assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn only_a_listener_is_made_a_listener() {
    let pair = std::os::unix::net::UnixStream::pair().unwrap();
    let no_listener = Socket::connect(any()).err();
    assert!(no_listener.is_none() || no_listener == Some(IoError::Refused));
    let udp = UdpSocket::bind(any()).unwrap();
    let stream = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let file = std::fs::File::open("/dev/null").unwrap();
    let path = std::env::temp_dir().join(format!("httplb-from-fd-{}", std::process::id()));
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let nameless = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    );
    let others: [OwnedFd; 6] = [
        datagrams.into(),
        nameless.unwrap(),
        pair.0.into(),
        udp.into(),
        stream.unwrap(),
        file.into(),
    ];
    assert!(others.map(|other| Listener::from_fd(other).is_ok()) == [false; 6]);
}

#[test]
fn a_clone_takes_from_the_same_queue() {
    let listener = Listener::bind(any(), 16).unwrap();
    let clone = listener.try_clone().unwrap();
    let _clients = clients(listener.address(), 2);
    assert!(listener.accept().is_ok() && clone.accept().is_ok());
    let address = listener.address();
    drop(listener);
    assert_eq!(clone.address(), address);
    let _clients = clients(address, 1);
    assert!(clone.accept().is_ok());
}
