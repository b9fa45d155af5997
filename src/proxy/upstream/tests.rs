//! Places and queues over two workers, without a client.

use super::pick::{Need, Pick};
use super::waiting::Waiter;
use super::*;
use crate::mem::free_list::FreeList;
use crate::mem::slab::Id;
use crate::mem::time::Micros;
use crate::policy::balance::TriedBackends;
use crate::policy::sticky::StickyTarget;
use crate::proxy::ids::{ClientId, ClientTag, ExchangeTag};
use crate::shared::{Layout, WaitFor};
use crate::sys::memory;

const POOL: PoolId = PoolId(0);

/// A worker's side of the backends, and its turn.
struct Side {
    upstream: Upstream,
    turn: Turn,
}

/// Two workers that share backends, each of which may have so many requests at once.
fn sides(backends: u8, max_connections: u32) -> [Side; 2] {
    let addresses: Vec<_> = (1..=backends).map(|last| ([10, 0, 0, last], 80).into()).collect();
    let mut config = Config::for_backends(&addresses);
    for backend in &mut config.pools[0].backends {
        backend.max_connections = max_connections;
    }
    let layout = Layout::new(&config, 2);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(&config);
    let wakers = Wakers::new(2).unwrap();
    [0, 1].map(|worker| {
        let limits = Limits { conns: 4, exchanges: 8, queue: Millis(1000) };
        let wakers = wakers.try_clone().unwrap();
        let key = Key::new(*b"0123456789abcdef");
        let upstream = Upstream::new(&config, limits, key, segment, worker, wakers);
        let mut side = Side { upstream, turn: Turn::new(Micros(1_000_000), 8) };
        side.upstream.refresh_names(&mut side.turn);
        side
    })
}

impl Side {
    fn pick(&mut self, number: u32) -> Pick {
        let mut need = Need {
            exchange: waiter(number).exchange,
            pool: POOL,
            naming: self.upstream[POOL].naming,
            tried: &TriedBackends::default(),
            sticky: &mut StickyTarget::None,
        };
        self.upstream.pick(&mut need, &mut self.turn)
    }

    fn claim(&mut self, number: u32) -> BackendId {
        match self.pick(number) {
            Pick::Claimed(slot) => slot,
            pick => panic!("{pick:?}"),
        }
    }

    /// Who was woken.
    fn woken(&mut self) -> Vec<ClientId> {
        self.turn.begin_driving();
        std::iter::from_fn(|| self.turn.next_ready()).collect()
    }
}

/// The exchange and the client of this number.
fn waiter(number: u32) -> Waiter {
    let packed = 1 << 32 | u64::from(number);
    Waiter { exchange: Id::<ExchangeTag>::unpack(packed), client: Id::<ClientTag>::unpack(packed) }
}

#[test]
fn turns_are_taken_over_all_workers() {
    let [mut one, mut other] = sides(3, 0);
    let mut picked: Vec<usize> =
        (0..6).map(|n| if n % 2 == 0 { &mut one } else { &mut other }.claim(n).0).collect();
    picked[..3].sort_unstable();
    picked[3..].sort_unstable();
    assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_place_that_is_given_back_goes_to_who_has_waited_in_whichever_worker() {
    let [mut one, mut other] = sides(1, 1);
    let slot = one.claim(0);
    assert_eq!(other.pick(1), Pick::Full);
    other.upstream.enqueue_for_pool(POOL, waiter(1), &other.turn);
    assert_eq!(other.pick(1), Pick::Full);
    one.upstream.release(POOL, slot, &mut one.turn);
    assert!(one.woken().is_empty() && other.woken().is_empty());
    // Nobody goes ahead of it: neither in the other worker nor in its own.
    assert_eq!(one.pick(2), Pick::WaitForWorkers);
    assert_eq!(other.pick(3), Pick::Wait);
    // Its worker was woken, and gives it its turn.
    other.upstream.clear_waker();
    other.upstream.give_turns(&mut other.turn);
    assert_eq!(other.woken(), [waiter(1).client]);
    assert_eq!(other.claim(1), slot);
    other.upstream.dequeue_for_pool(POOL, waiter(1), &mut other.turn);
    assert_eq!(one.pick(2), Pick::Full);
}

#[test]
fn who_leaves_the_queue_passes_the_turn_on() {
    let [mut one, mut other] = sides(1, 1);
    let slot = one.claim(0);
    other.upstream.enqueue_for_pool(POOL, waiter(1), &other.turn);
    other.upstream.enqueue_for_pool(POOL, waiter(2), &other.turn);
    one.upstream.enqueue_for_pool(POOL, waiter(3), &one.turn);
    other.upstream.dequeue_for_pool(POOL, waiter(1), &mut other.turn);
    assert_eq!(other.woken(), [waiter(2).client]);
    one.upstream.release(POOL, slot, &mut one.turn);
    other.upstream.dequeue_for_pool(POOL, waiter(2), &mut other.turn);
    let segment = one.upstream.segment;
    assert!(!segment.waits(1, WaitFor::Pool(POOL)) && segment.waits(0, WaitFor::Pool(POOL)));
    one.upstream.give_turns(&mut one.turn);
    assert_eq!(one.woken(), [waiter(3).client]);
    assert_eq!(one.claim(3), slot);
}

#[test]
fn who_waits_for_a_connection_is_woken_in_its_turn() {
    let [mut one, _] = sides(1, 0);
    one.upstream.conn_was_freed(&mut one.turn);
    assert!(one.woken().is_empty() && one.upstream.is_next_for_conn(waiter(1).exchange));
    one.upstream.enqueue_for_conn(waiter(1));
    one.upstream.enqueue_for_conn(waiter(2));
    assert!(!one.upstream.is_next_for_conn(waiter(2).exchange));
    one.upstream.conn_was_freed(&mut one.turn);
    assert_eq!(one.woken(), [waiter(1).client]);
    one.upstream.dequeue_for_conn(waiter(1), &mut one.turn);
    assert_eq!(one.woken(), [waiter(2).client]);
}

#[test]
fn exchanges_on_a_connection_are_taken_off_wherever_they_stand() {
    crate::sys::world::reset(1, crate::sys::world::Faults::default());
    let [mut one, _] = sides(1, 0);
    let poller = crate::sys::Poller::new().unwrap();
    let numbers = [0, 1, 2, 3].map(|number| waiter(number).exchange);
    for (taken, left) in [(0, [1, 2, 3]), (1, [0, 2, 3]), (2, [0, 1, 3]), (3, [0, 1, 2])] {
        let conn = one.upstream.open(BackendId(0), waiter(0), None, &poller).unwrap();
        (1..4).for_each(|number| one.upstream.share(conn, numbers[number]));
        one.upstream.take_off(conn, numbers[taken]);
        assert_eq!(one.upstream.behind(numbers[taken]), None);
        let order: Vec<_> = std::iter::from_fn(|| one.upstream.pop(conn)).collect();
        assert_eq!(order, left.map(|number| numbers[number]));
        assert_eq!((one.upstream[conn].front, one.upstream[conn].back), (None, None));
        one.upstream.share(conn, numbers[0]);
        assert_eq!(one.upstream.pop(conn), Some(numbers[0]));
        let mut rings = FreeList::new(Vec::leak(vec![0; 4096]), 1024);
        one.upstream.remove_conn(conn, &mut rings, &mut one.turn);
    }
}
