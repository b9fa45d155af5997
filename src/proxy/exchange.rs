//! An exchange: one request with its response. What may become of it is in `state.rs`, and where it stands
//! with the cache meanwhile in `caching/state.rs`, with what goes together.
//!
//! Until it is *committed* (Responding, Uploading, Tunneling) everything can be repeated; from then on nothing
//! can. Only the first exchange in a client's queue commits.

mod renew;

use crate::config::Tolerance;
use crate::http::cache_fields::RequestCacheFields;
use crate::http::cache_status::CacheResult;
use crate::http::message::{Framing, Version};
use crate::http::method::Method;
use crate::http::reply;
use crate::http::request::Refusal;
use crate::http::response::Reading;
use crate::http::rewrite::{self, RequestSpans};
use crate::mem::buffer::Buffer;
use crate::policy::balance::TriedBackends;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;
use crate::policy::sticky::{StickyCookie, StickyTarget};
use crate::shared::{BackendId, PoolId};

pub use super::attempts::{Attempt, Attempts, Carrier, DispatchMode, Times};
use super::caching::state::{CacheFetch, CacheState, StoredAnswer};
use super::doubted::Doubted;
use super::downstream::ending::Closing;
use super::ids::{BackendConnId, ClientId, ExchangeId};
use super::relay::Relay;
pub use super::state::State;
use super::upstream::waiting::{WaitQueue, Waiter};

/// What is known of a request once its head was rewritten.
#[derive(Clone, Copy)]
pub struct Request {
    /// Where the parts that the log and the answer want lie in the rewritten head.
    pub spans: RequestSpans,
    /// Its method.
    pub method: Method,
    /// The client's version.
    pub version: Version,
    /// How its body is framed.
    pub framing: Framing,
    /// Whether the client lets the connection live on.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body, until it is passed on.
    pub expects_continue: bool,
    /// Whether the request's credentials are for the connection that it goes over.
    pub authorizes_connection: bool,
    /// Whether the request's identifier was made here, not by the client.
    pub id_made_here: bool,
    /// Whether the request is idempotent: by its method, or because it carries `Idempotency-Key`.
    pub idempotent: bool,
    /// Whether the request may run at the same time as others of its client.
    pub pipelinable: bool,
    /// Whether the client came by https, as far as that is to be believed.
    pub is_https: bool,
    /// A number that requests share which were read together from one connection.
    pub batch: u32,
}

impl Request {
    /// Whether the connection may be switched to another protocol.
    pub fn may_switch(&self) -> bool {
        !self.spans.upgrade.is_empty()
    }
}

/// The answer, as far as there is one.
#[derive(Clone, Copy)]
pub enum Response {
    /// No response yet.
    Pending,
    /// A backend's response; its head lies at the front of the connection's input ring.
    Backend(ReceivedHead),
    /// A response made here.
    Local(LocalReply),
    /// A response made here, with a body that the operator wrote: its head is written, and so many bytes behind
    /// that.
    Page(LocalReply, u64),
    /// A response made here to a request that no backend is asked about.
    Final(Final),
    /// The response of a cache entry, which is pinned.
    Stored(StoredAnswer),
}

impl Response {
    /// Whether a backend asks who the client is.
    pub fn is_challenge(&self) -> bool {
        matches!(self, Response::Backend(received) if received.head.status() == 401)
    }
}

/// What is needed of a backend's response head after it was validated.
#[derive(Clone, Copy)]
pub struct ReceivedHead {
    /// The head in the ring.
    pub head: Reading,
    /// Whether the backend lets its connection live on.
    pub keep_alive: bool,
}

/// The response to a request that is httplb's own to answer: RFC 9110 §7.6.2, or because a route says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// To OPTIONS: the methods.
    Methods,
    /// To TRACE: the request, which lies at the front of the exchange's head, before the identifier.
    Reflection,
    /// To what came by plain HTTP: the same URL, with https.
    Redirect {
        /// 301, 302, 307 or 308.
        status: u16,
    },
}

impl Final {
    /// Its status.
    pub fn status(self) -> u16 {
        match self {
            Final::Methods | Final::Reflection => 200,
            Final::Redirect { status } => status,
        }
    }
}

/// An answer that httplb makes: httplb(8) lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// Its status.
    pub status: u16,
    /// For `Proxy-Status`.
    pub error: &'static str,
    /// For the log and the metrics.
    pub reason: Reason,
    /// Whether the client's connection closes behind it.
    pub close: bool,
}

impl LocalReply {
    /// To a request that is not taken.
    pub fn refusing(refusal: Refusal) -> LocalReply {
        LocalReply {
            status: refusal.status(),
            error: refusal.error(),
            reason: refusal.into(),
            close: refusal.closes(),
        }
    }

    /// What becomes of a failure that is not repeated.
    pub fn from_failure(failure: Failure) -> LocalReply {
        LocalReply {
            status: failure.status(),
            error: failure.error(),
            reason: failure.reason(),
            close: false,
        }
    }
}

/// One request with its response.
pub struct Exchange {
    /// The client that sent the request.
    pub client: ClientId,
    /// Changed by `enter` alone.
    state: State,
    /// The pool that the request goes to; the first one while `is_routed` is false.
    pub pool: PoolId,
    /// Whether a pool was found for the request: not if its head was refused, or httplb answers it.
    pub is_routed: bool,
    /// Which of the names that the pool's place has had is the one that the request came under.
    pub naming: u32,
    /// The route that led to `pool`.
    pub route: Option<usize>,
    /// What the pool would have to tolerate for the request not to end in an error of ours.
    pub hint: Option<Tolerance>,
    /// The backend that the request's cookie names.
    pub sticky_target: StickyTarget,
    /// In a pool with sticky clients, once the backend has answered: whether that is the cookie's backend.
    pub sticky: Option<StickyCookie>,
    /// The backend that was picked for this attempt, with a claim on one of its places.
    pub choice: Option<BackendId>,
    /// The backend that was picked last, for the log.
    pub last_backend: Option<BackendId>,
    /// The connection to the backend `choice`.
    pub conn: Option<BackendConnId>,
    /// The rewritten head of the request, kept until Done: to send, to send again, to log.
    pub head: Buffer,
    /// What `head` says, as far as it matters later.
    pub request: Request,
    /// The request's body.
    pub upload: Relay,
    /// The response's body.
    pub download: Relay,
    /// The response, as far as there is one.
    pub answer: Response,
    /// Whether a response was doubted to be the one to this request.
    pub doubted: Doubted,
    /// What the cache has to do with the exchange; changed by `enter_cache` alone.
    cache: CacheState,
    /// What the cache did for the request, for the log and the metrics.
    pub cached: Option<CacheResult>,
    /// The backends that failed for this request.
    pub tried: TriedBackends,
    /// How the backends failed, for the log.
    pub attempts: Attempts,
    /// Attempts that count against `retries`.
    pub tries: u32,
    /// How the request may be dispatched.
    pub dispatch_mode: DispatchMode,
    /// Whether the request goes over a new connection, because a reused one was stale.
    pub wants_new: bool,
    /// The turn of the event loop in which the exchange, waiting for the next turn, took none of the
    /// connections whose last response had ended in that turn. It waits so once.
    pub waited_in_turn: Option<u64>,
    /// The queue that a Waiting exchange stands in.
    pub wait_queue: WaitQueue,
    /// Whether a byte of the request may have left for the backend in this attempt.
    pub sent: bool,
    /// What the connection of this attempt had been used for before.
    pub carrier: Carrier,
    /// Whether the connection carried, or was to carry, requests of several clients.
    pub is_multiplexed: bool,
    /// Whether something moved since the exchange's timer was set.
    pub progress: bool,
    /// Interim responses that came.
    pub interims: u8,
    /// Why the response did not come to its end, for the log.
    pub broken: Option<Reason>,
    /// How the client's connection ends behind this response; changed in `downstream/close.rs` alone.
    pub closing: Closing,
    /// The status that was sent to the client, 0 before commit.
    pub status: u16,
    /// Bytes received from the client.
    pub bytes_in: u64,
    /// Bytes sent to the client.
    pub bytes_out: u64,
    /// When the request came, was sent, was answered and so on.
    pub times: Times,
}

impl Exchange {
    /// The state that was entered last.
    pub fn state(&self) -> State {
        self.state
    }

    /// The only place where a state changes.
    pub fn enter(&mut self, next: State) {
        assert!(self.state.may_become(next), "{:?} may not become {next:?}", self.state);
        assert!(self.cache.fits(next), "{:?} may not be {next:?}", self.cache);
        self.state = next;
        self.progress = true;
        if next == State::Waiting {
            self.doubted = self.doubted.when_starting_over();
        }
    }

    /// What a queue keeps of this exchange while it waits; `id` is its own.
    pub fn waiter(&self, id: ExchangeId) -> Waiter {
        Waiter { exchange: id, client: self.client }
    }

    /// What the cache has to do with the exchange.
    pub fn cache(&self) -> &CacheState {
        &self.cache
    }

    /// The only place where the state with the cache changes. It must fit the next `State` that is entered.
    pub fn enter_cache(&mut self, next: CacheState) {
        self.cache.enter(next);
    }

    /// What the cache wants of the response, while the request goes to a backend.
    pub fn fetch(&mut self) -> Option<&mut CacheFetch> {
        self.cache.fetch()
    }

    /// Whether the client may have seen a byte of the response.
    pub fn is_committed(&self) -> bool {
        self.state.is_committed()
    }

    /// Why the request did not get a backend's response, or not a whole one.
    pub fn reason(&self) -> Option<Reason> {
        match (self.broken, &self.answer) {
            (Some(reason), _) => Some(reason),
            (None, Response::Local(answer) | Response::Page(answer, _)) => Some(answer.reason),
            (
                None,
                Response::Pending | Response::Backend(_) | Response::Final(_) | Response::Stored(_),
            ) => None,
        }
    }

    /// The status for the log: 499, which nobody is sent, of a request that got no answer, or whose
    /// client left before it had all of it. A tunnel is over when either side leaves.
    pub fn logged_status(&self) -> u16 {
        match (self.status, self.broken) {
            (0, _) => 499,
            (101, _) => 101,
            (_, Some(Reason::ClientAbort)) => 499,
            (status, _) => status,
        }
    }

    /// Whether the client holds the body back until the backend asks for it by a 100.
    pub fn waits_for_leave(&self) -> bool {
        let nothing_came = !self.upload.is_done() && self.upload.payload() == 0;
        nothing_came && self.request.expects_continue
    }

    /// Whether the request gets the backend's address as `Host`: a client of HTTP/1.0 named no host.
    pub fn lacks_host(&self) -> bool {
        self.request.version == Version::Http10 && self.request.spans.host.is_empty()
    }

    /// Whether the rest of the body goes to the backend though that has answered already: the backend lets the
    /// connection live on, and the client does not hold the body back.
    pub fn may_upload_on(&self) -> bool {
        let lives_on = matches!(self.answer, Response::Backend(received) if received.keep_alive);
        lives_on && !self.waits_for_leave()
    }

    /// What the request asks of a cache.
    pub fn cache_fields(&self) -> RequestCacheFields<'_> {
        let fields = rewrite::written_fields(self.head.as_slice());
        RequestCacheFields::new(fields, &self.head[self.request.spans.host])
    }

    /// The request identifier that goes both ways.
    pub fn id(&self) -> &[u8] {
        &self.head[self.request.spans.id]
    }

    /// No reply that httplb makes of `answer` is longer, in bytes.
    pub fn final_len_bound(&self, answer: Final) -> usize {
        let (host, target) = (self.request.spans.host, self.request.spans.target);
        match answer {
            Final::Methods | Final::Reflection => reply::MAX_LEN + self.head.len(),
            Final::Redirect { .. } => {
                reply::redirect_len_bound(&self.head[host], &self.head[target])
            }
        }
    }
}
