//! What holds between two turns, whatever happened, and what holds when all is over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::net::Conn;
use crate::proxy::Proxy;
use crate::proxy::doubted::Doubted;
use crate::proxy::exchange::{Response, State};
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId};
use crate::proxy::upstream::connection::Owner;
use crate::proxy::upstream::waiting::WaitQueue;
use crate::shared::{BackendCounter, BackendGauge, Counter, PoolId, Segment, WaitFor};

/// Checks what holds after each turn.
pub fn hold(proxy: &Proxy) {
    let is_there = |id: &ClientId| proxy.downstream.clients().contains(*id);
    assert!(proxy.turn.iter().all(is_there), "a ghost is ready");
    queues(proxy);
    connections(proxy);
    waiters(proxy);
    shares(proxy);
    let clients = proxy.downstream.clients().ids().filter_map(|id| proxy.downstream[id].conn());
    let backends = proxy.upstream.conns().ids().map(|id| &proxy.upstream[id].conn);
    let rings = clients.chain(backends).flat_map(|conn| [&conn.input, &conn.output]);
    assert_eq!(
        rings.filter(|ring| ring.is_attached()).count(),
        proxy.buffers.rings.taken(),
        "rings"
    );
    assert_eq!(proxy.heads.taken(), proxy.exchanges.len(), "heads");
}

/// Each exchange stands in its client's queue, and no committed one behind another.
fn queues(proxy: &Proxy) {
    let (mut queued, mut busy) = (0, 0);
    for client in proxy.downstream.clients().ids().map(|id| &proxy.downstream[id]) {
        let (mut next, mut last, mut count) = (client.first, None, 0);
        while let Some(id) = next {
            let exchange = &proxy.exchanges[id];
            assert!(count == 0 || !exchange.is_committed(), "{:?} out of turn", exchange.state());
            last = Some(id);
            count += 1;
            next = proxy.downstream.behind(id);
        }
        assert_eq!(last, client.last);
        assert_eq!(count, client.in_work);
        queued += count as usize;
        busy += usize::from(count > 0);
    }
    assert_eq!(queued, proxy.exchanges.len(), "an exchange without a client");
    assert_eq!(busy, proxy.downstream.busy());
    let background =
        proxy.downstream.clients().ids().filter(|id| proxy.downstream[*id].is_background());
    assert_eq!(background.count(), proxy.downstream.background(), "entries that are revalidated");
    assert!(proxy.downstream.background() <= proxy.settings.background);
}

/// A connection is idle, or carries exchanges of one client.
fn connections(proxy: &Proxy) {
    let mut carried = 0;
    for id in proxy.upstream.conns().ids() {
        let conn = &proxy.upstream[id];
        let mut next = conn.front;
        let mut load = 0;
        match conn.owner {
            Owner::Idle { .. } => assert_eq!((conn.front, conn.back), (None, None)),
            Owner::Bound(client, _) => {
                assert_eq!((conn.front, conn.back), (None, None));
                assert!(
                    conn.is_bound
                        && proxy
                            .upstream
                            .find_bound(proxy.downstream[client].bound, |listed| std::ptr::eq(
                                listed, conn
                            ))
                            .is_some()
                );
            }
            Owner::Client(_) => assert!(conn.front.is_some(), "a connection that nobody has"),
            Owner::Multiplexed => {
                assert!(conn.front.is_some(), "a multiplexed connection that nobody has");
                let listed = &proxy.upstream[conn.backend].multiplexed;
                assert_eq!(listed.iter().filter(|listed| **listed == id).count(), 1);
            }
            Owner::Held(exchange) => {
                assert_eq!((conn.front, conn.back), (None, None));
                assert_eq!(held_by(proxy, exchange), Some(id), "held for nobody");
            }
        }
        while let Some(exchange_id) = next {
            let exchange = &proxy.exchanges[exchange_id];
            let is_its_own = conn.owner == Owner::Client(exchange.client);
            assert!(is_its_own || conn.owner == Owner::Multiplexed && exchange.is_multiplexed);
            assert_eq!(exchange.conn, Some(id));
            next = proxy.upstream.behind(exchange_id);
            assert!(next.is_some() || conn.back == Some(exchange_id));
            (carried, load) = (carried + 1, load + 1);
        }
        assert_eq!(conn.load, load, "what stands on a connection");
    }
    let with_conn = proxy.exchanges.ids().filter(|id| proxy.exchanges[*id].conn.is_some());
    assert_eq!(carried, with_conn.count(), "an exchange on a connection that does not know it");
    for id in proxy.exchanges.ids() {
        let exchange = &proxy.exchanges[id];
        let held = held_by(proxy, id);
        assert!(held.is_none_or(|held| proxy.upstream[held].owner == Owner::Held(id)));
        let wanted = match exchange.state() {
            State::Connecting
            | State::Sending
            | State::Awaiting
            | State::Uploading
            | State::Tunneling => Some(true),
            State::Waiting => Some(false),
            State::Answered | State::Responding | State::Done => None,
        };
        assert!(wanted.is_none_or(|wanted| wanted == exchange.conn.is_some()));
        assert!(exchange.cache().fits(exchange.state()), "{:?}", exchange.cache());
    }
}

/// The connection whose response an exchange holds while it is asked again.
fn held_by(proxy: &Proxy, id: ExchangeId) -> Option<BackendConnId> {
    match proxy.exchanges[id].doubted {
        Doubted::AskedAgain { held, .. } => held.map(|held| held.conn),
        Doubted::Not | Doubted::Held { .. } | Doubted::Unfounded => None,
    }
}

/// What others know of this worker by its row is true.
fn shares(proxy: &Proxy) {
    for slot in proxy.segment.pools().flat_map(|pool| proxy.segment.members(pool)) {
        let (row, backend) = (proxy.row.backend(slot), &proxy.upstream[slot]);
        let is_held = |id: &ExchangeId| proxy.exchanges[*id].choice == Some(slot);
        let holders = proxy.exchanges.ids().filter(is_held).count();
        assert_eq!(row.held() as usize, holders, "requests counted at {slot:?}");
        let cells = proxy.segment.backend(slot);
        assert!(u64::from(cells.load()) >= row.held());
        // One that finds itself may be lowered below what is there.
        let cap = cells.max_connections();
        assert!(cap == 0 || cells.load() <= cap, "{slot:?} is above its cap");
        assert_eq!(row.gauge(BackendGauge::Idle) as usize, backend.idle.len(), "{slot:?}");
    }
    assert_eq!(proxy.row.clients() as usize, proxy.clients());
    for pool in (0..proxy.upstream.pools().len()).map(PoolId) {
        let waits = proxy.segment.waits(proxy.worker, WaitFor::Pool(pool));
        assert_eq!(waits, !proxy.upstream[pool].queue.is_empty());
    }
}

/// Who waits in a queue stands in it once, and nobody else does.
fn waiters(proxy: &Proxy) {
    let stands = |id: &ExchangeId, queue: WaitQueue| {
        let exchange = proxy.exchanges.get(*id).expect("a queue of live exchanges");
        assert_eq!((exchange.wait_queue, exchange.state()), (queue, State::Waiting));
        assert_eq!(
            proxy.downstream[exchange.client].first,
            Some(*id),
            "only the first stands in a queue"
        );
    };
    let conns = proxy.upstream.queue_for_conn();
    conns.iter().for_each(|waiter| stands(&waiter.exchange, WaitQueue::Connection));
    let mut waiting = conns.len();
    if let Some(caching) = &proxy.buffers.caching {
        caching.waiters().iter().for_each(|id| stands(id, WaitQueue::Fetch));
        waiting += caching.waiters().len();
        for id in caching.followers().iter() {
            let answer = proxy.exchanges.get(*id).expect("a queue of live exchanges").answer;
            assert!(
                matches!(answer, Response::Stored(stored) if stored.delivery.follows()),
                "it follows"
            );
        }
        let follows = |id: &ExchangeId| matches!(proxy.exchanges[*id].answer, Response::Stored(stored) if stored.delivery.follows());
        let following = proxy.exchanges.ids().filter(follows).count();
        assert_eq!(following, caching.followers().len(), "who follows");
    }
    for (slot, waiter) in proxy.upstream.backlog().iter() {
        stands(&waiter.exchange, WaitQueue::Backlog(*slot));
        assert_eq!(proxy.exchanges[waiter.exchange].choice, Some(*slot));
        assert!(proxy.upstream.next_backlog_try().is_some(), "nobody would try again");
        waiting += 1;
    }
    for pool in proxy.upstream.pools() {
        let in_queue = pool.queue.iter().map(|waiting| &waiting.waiter.exchange);
        in_queue.for_each(|id| stands(id, WaitQueue::Pool));
        waiting += pool.queue.len();
    }
    let in_line = |id: &ExchangeId| proxy.exchanges[*id].wait_queue != WaitQueue::Nowhere;
    assert_eq!(proxy.exchanges.ids().filter(in_line).count(), waiting);
}

/// Checks what holds when there is no client and no backend connection.
pub fn is_over(proxy: &Proxy) {
    hold(proxy);
    assert!(proxy.downstream.clients().is_empty(), "clients are left\n{}", shown(proxy));
    assert_eq!(proxy.exchanges.len(), 0, "exchanges");
    assert_eq!(proxy.upstream.conns().len(), 0, "backend connections");
    assert_eq!(proxy.buffers.rings.taken(), 0, "rings");
    assert_eq!(proxy.buffers.pipes.taken(), 0, "pipes");
    assert_eq!(proxy.timers.next_deadline(), None, "a timer runs");
    assert_eq!(crate::sys::world::open_sockets(), 0, "open sockets");
    assert_eq!(proxy.upstream.backlog().iter().count(), 0, "who waits at a full queue");
    if let Some(cache) = &proxy.buffers.caching {
        assert_eq!(cache.waiters().len(), 0, "who waits for a fetch");
        assert_eq!(cache.followers().len(), 0, "who follows a fetch");
        let (held, taken) = cache.store().in_use();
        let copies = cache.store().copies();
        assert_eq!((cache.recordings(), held + copies), (0, taken), "recordings, pieces");
        assert_eq!(cache.store().pinned(), 0, "entries are pinned");
    }
}

/// Checks that no exchange stands in a pool's queue while there is a place for it. Those that have
/// tried some backends are left out: what is free may be for them alone; and where one of them comes first,
/// it may be for none but those behind it, whose turn comes with the next tick.
pub fn wait_with_cause(workers: Vec<&mut Proxy>) {
    let mut waiting: BTreeMap<usize, Vec<(bool, bool, String)>> = BTreeMap::new();
    for proxy in workers {
        for pool in (0..proxy.upstream.pools().len()).map(PoolId) {
            let Some(first) = proxy.upstream[pool].next_waiter(proxy.turn.now) else { continue };
            let tried = &proxy.exchanges[first.exchange].tried;
            let is_free = proxy.upstream.has_place(pool, tried, &mut proxy.turn);
            let shown = format!("{first:?}\n{}", shown(proxy));
            waiting.entry(pool.0).or_default().push((is_free, tried.is_empty(), shown));
        }
    }
    for first in waiting.values().filter(|all| all.iter().all(|(_, is_new, _)| *is_new)).flatten() {
        assert!(!first.0, "waits in vain: {}", first.2);
    }
}

/// Checks what holds when no worker has anything.
pub fn is_unclaimed(segment: Segment) {
    assert_eq!(segment.clients(), 0, "clients");
    assert_eq!(segment.next_waiting(0, WaitFor::Client), None, "a listener waits");
    for pool in segment.pools() {
        assert_eq!(segment.next_waiting(0, WaitFor::Pool(pool)), None, "a worker waits");
        for slot in segment.members(pool) {
            assert_eq!(segment.backend(slot).load(), 0, "requests at {slot:?}");
        }
    }
}

/// Checks that each request that was taken in, by whichever worker, was counted once when it was
/// over.
pub fn is_counted(segment: Segment) {
    let taken_in = segment.total(Counter::Requests);
    assert_eq!(segment.request_duration().count(), taken_in, "requests that were counted");
}

/// Requests that were sent behind those of other clients.
pub fn shared(segment: Segment) -> u64 {
    let slots = segment.pools().flat_map(|pool| segment.members(pool));
    slots.map(|slot| segment.backend_total(slot, BackendCounter::Shared)).sum()
}

/// Checks that each request that was taken in is in the log once, and those that got no answer, or
/// not all of it, with the reason. Such a path as `/7` is asked for once in a world.
pub fn is_logged(segment: Segment, log: &[u8]) {
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() as u64, segment.total(Counter::Requests), "requests that were logged");
    let mut seen = BTreeSet::new();
    for line in lines {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        let target = line["target"].as_str().unwrap_or_default().to_owned();
        let is_of_one = target.get(1..).is_some_and(|rest| rest.parse::<usize>().is_ok());
        assert!(!is_of_one || seen.insert(target), "twice in the log: {line}");
        assert!(line["status"] != 499 || line["reason"].is_string(), "no reason: {line}");
    }
}

/// Where everything stands, for whoever reads a trace.
pub fn shown(proxy: &Proxy) -> String {
    let mut text = String::new();
    for id in proxy.downstream.clients().ids() {
        let client = &proxy.downstream[id];
        text += &format!(
            "client {id:?} {:?}: {}",
            client.ending.phase(),
            client.conn().map_or("nobody".into(), conn_shown)
        );
        let mut next = client.first;
        while let Some(id) = next {
            let exchange = &proxy.exchanges[id];
            let uploaded = (exchange.upload.payload(), exchange.upload.is_done());
            text += &format!(
                "\n  {id:?} {:?} {:?} choice {:?} line {:?} upload {uploaded:?} sent {}",
                exchange.state(),
                exchange.dispatch_mode,
                exchange.choice,
                exchange.wait_queue,
                exchange.sent,
            );
            if let Some(conn) = exchange.conn {
                text += &format!(" on {conn:?} {}", conn_shown(&proxy.upstream[conn].conn));
            }
            next = proxy.downstream.behind(id);
        }
        text += "\n";
    }
    text
}

fn conn_shown(conn: &Conn) -> String {
    format!(
        "in {} out {} readable {} writable {} {:?}",
        conn.input.len(),
        conn.output.len(),
        conn.readable,
        conn.writable,
        conn.end
    )
}
