//! Queues and room over two workers, without a backend.

use std::net::SocketAddr;

use super::arrival::{Arrival, Peer};
use super::sink::Sink;
use super::*;
use crate::config::Config;
use crate::mem::Append;
use crate::mem::free_list::FreeList;
use crate::mem::ring::Ring;
use crate::mem::slab::Id;
use crate::net::Conn;
use crate::proxy::ids::ExchangeTag;
use crate::shared::Layout;
use crate::sys::world::{self, Faults};
use crate::sys::{Socket, memory};

/// Two workers that share room for this many clients.
fn sides(clients: usize) -> [Downstream; 2] {
    world::reset(1, Faults::default());
    let config = Config::for_backends(&[([10, 0, 0, 1], 80).into()]);
    let layout = Layout::new(&config, 2);
    let segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    let limits = ClientLimits { clients, background: 1, exchanges: 8, pipeline: 3 };
    [0, 1].map(|worker| Downstream::new(limits, segment, worker))
}

fn client() -> Client {
    let address = SocketAddr::from(([10, 0, 0, 9], 80));
    let socket = Socket::connect(address).unwrap();
    Client::new(Conn::new(socket, true, true), Peer::Tcp(address), Arrival::plain(80))
}

/// The exchange of this number.
fn exchange(number: u32) -> ExchangeId {
    Id::<ExchangeTag>::unpack(1 << 32 | u64::from(number))
}

#[test]
fn exchanges_leave_their_clients_queue_in_the_order_in_which_they_came() {
    let [mut one, _] = sides(2);
    let (client, other) = (one.insert(client()), one.insert(client()));
    for number in [3, 1, 2] {
        one.push(client, exchange(number));
    }
    one.push(other, exchange(5));
    assert_eq!((one.busy(), one[client].in_work), (2, 3));
    assert!(one[client].queue_was_full && !one[other].queue_was_full);
    assert!(one.is_first(client, exchange(3)) && !one.is_first(client, exchange(1)));
    assert_eq!(one.behind(exchange(3)), Some(exchange(1)));
    let order: Vec<_> = std::iter::from_fn(|| one.pop(client)).collect();
    assert_eq!(order, [3, 1, 2].map(exchange));
    assert_eq!((one.busy(), one[client].in_work, one[client].first), (1, 0, None));
    one.push(client, exchange(1));
    assert_eq!((one.behind(exchange(1)), one.pop(client)), (None, Some(exchange(1))));
}

#[test]
fn room_that_is_given_back_is_told_to_a_worker_that_waits_for_it() {
    let [one, other] = sides(1);
    assert!(one.claim_room() && !other.claim_room() && !other.has_room());
    assert_eq!(other.wait_for_room().collect::<Vec<_>>(), [0], "it may have idle clients");
    assert_eq!(one.release_room(), Some(1));
    assert!(other.claim_room());
    // It looks by itself.
    assert_eq!(other.release_room(), None);
    assert_eq!(other.stop_waiting_for_room(), None);
    assert_eq!(other.stop_waiting_for_room(), None);
}

#[test]
fn who_stops_waiting_passes_on_that_there_is_room() {
    let [one, other] = sides(1);
    assert!(one.claim_room());
    one.wait_for_room().for_each(drop);
    other.wait_for_room().for_each(drop);
    assert!(one.release_room().is_some());
    assert_eq!(one.stop_waiting_for_room(), Some(1));
    assert!(other.claim_room());
    assert_eq!(other.stop_waiting_for_room(), None);
}

#[test]
fn what_stands_for_no_client_is_not_counted_as_one() {
    let [mut one, _] = sides(1);
    assert!(one.has_room_in_background());
    let nobody = one.insert(Client::background(Peer::Unix));
    assert_eq!((one.connected(), one.background(), one.has_room_in_background()), (0, 1, false));
    let somebody = one.insert(client());
    assert_eq!((one.connected(), one.clients().len()), (1, 2));
    one.remove(nobody);
    assert!(one.has_room_in_background());
    one.remove(somebody);
    assert!(one.clients().is_empty());
}

#[test]
fn nobody_takes_what_it_is_given_and_keeps_nothing() {
    let mut rings = FreeList::new(Vec::leak(vec![0; 64]), 32);
    let mut input = Ring::new(rings.take().unwrap());
    input.append(b"0123456789");
    let mut sink: Sink<&mut Conn> = Sink::Nobody;
    assert_eq!((sink.room(32), sink.is_flushed(), sink.takes_pipes()), (32, true, false));
    assert_eq!((sink.copy(&input, 4, 9, &mut rings), input.len()), (6, 10));
    assert_eq!((sink.pour(&mut input, 3, &mut rings), input.front()), (3, &b"3456789"[..]));
    assert_eq!((sink.pour(&mut input, 99, &mut rings), input.len()), (7, 0));
    input.append(b"abc");
    assert_eq!((sink.take_all(&mut input), input.len(), rings.taken()), (3, 0, 1));
}

#[test]
fn a_connection_is_given_rings_as_they_are_where_that_is_possible() {
    let [mut one, _] = sides(1);
    let mut rings = FreeList::new(Vec::leak(vec![0; 128]), 32);
    let client = one.insert(client());
    let mut input = Ring::new(rings.take().unwrap());
    input.append(b"0123456789");
    let mut sink = one[client].sink();
    assert_eq!((sink.copy(&input, 8, 9, &mut rings), sink.pour(&mut input, 4, &mut rings)), (2, 4));
    assert!(!sink.is_flushed() && sink.room(32) == 26);
    let conn = one[client].conn_mut().unwrap();
    assert_eq!(conn.output.front(), b"890123");
    conn.discard_output(&mut rings);
    let mut sink = one[client].sink();
    assert!(sink.is_flushed() && sink.room(32) == 32);
    assert_eq!((sink.take_all(&mut input), input.is_attached()), (6, false));
    let conn = one[client].conn_mut().unwrap();
    assert_eq!((conn.output.front(), rings.taken()), (&b"456789"[..], 1));
}
