//! An exchange, made new in its place: for a request that was just taken in.

use super::{Exchange, Request};
use crate::mem::buffer::Buffer;
use crate::policy::balance::TriedBackends;
use crate::proxy::attempts::{Attempts, Carrier, DispatchMode, Times};
use crate::proxy::caching::state::CacheState;
use crate::proxy::doubted::Doubted;
use crate::proxy::downstream::ending::Closing;
use crate::proxy::exchange::{Response, StickyTarget};
use crate::proxy::ids::ClientId;
use crate::proxy::relay::Relay;
use crate::proxy::state::State;
use crate::proxy::upstream::waiting::WaitQueue;
use crate::shared::PoolId;

impl Exchange {
    /// A request that was just taken in, for this pool.
    pub fn new(client: ClientId, pool: Option<PoolId>, head: Buffer, request: Request) -> Exchange {
        Exchange {
            client,
            state: State::Waiting,
            pool: pool.unwrap_or(PoolId(0)),
            is_routed: pool.is_some(),
            naming: 0,
            route: None,
            hint: None,
            sticky_target: StickyTarget::None,
            sticky: None,
            choice: None,
            last_backend: None,
            conn: None,
            head,
            request,
            upload: Relay::nothing(),
            download: Relay::nothing(),
            answer: Response::Pending,
            doubted: Doubted::Not,
            cache: CacheState::Disabled,
            cached: None,
            tried: TriedBackends::default(),
            attempts: Attempts::default(),
            tries: 0,
            dispatch_mode: DispatchMode::Speculative,
            wants_new: false,
            waited_in_turn: None,
            wait_queue: WaitQueue::Nowhere,
            sent: false,
            carrier: Carrier::New,
            is_multiplexed: false,
            progress: true,
            interims: 0,
            broken: None,
            closing: Closing::No,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            times: Times::default(),
        }
    }

    /// Makes a new exchange of one that is over. Each field is named, so that none keeps its old value.
    pub fn renew(&mut self, of: ClientId, pool_of: Option<PoolId>, in_head: Buffer, asks: Request) {
        let Exchange {
            client,
            state,
            pool,
            is_routed,
            naming,
            route,
            hint,
            sticky_target,
            sticky,
            choice,
            last_backend,
            conn,
            head,
            request,
            upload,
            download,
            answer,
            doubted,
            cache,
            cached,
            tried,
            attempts,
            tries,
            dispatch_mode,
            wants_new,
            waited_in_turn,
            wait_queue,
            sent,
            carrier,
            is_multiplexed,
            progress,
            interims,
            broken,
            closing,
            status,
            bytes_in,
            bytes_out,
            times,
        } = self;
        (*client, *head, *request) = (of, in_head, asks);
        (*state, *cache) = (State::Waiting, CacheState::Disabled);
        (*pool, *is_routed) = (pool_of.unwrap_or(PoolId(0)), pool_of.is_some());
        (*naming, *route, *hint) = (0, None, None);
        (*sticky_target, *sticky) = (StickyTarget::None, None);
        (*choice, *last_backend, *conn) = (None, None, None);
        *upload = Relay::nothing();
        *download = Relay::nothing();
        (*answer, *doubted, *cached) = (Response::Pending, Doubted::Not, None);
        *tried = TriedBackends::default();
        attempts.clear();
        *tries = 0;
        (*dispatch_mode, *wants_new) = (DispatchMode::Speculative, false);
        (*waited_in_turn, *wait_queue) = (None, WaitQueue::Nowhere);
        (*sent, *carrier, *is_multiplexed) = (false, Carrier::New, false);
        (*progress, *interims) = (true, 0);
        (*broken, *closing, *status) = (None, Closing::No, 0);
        (*bytes_in, *bytes_out) = (0, 0);
        *times = Times::default();
    }
}
