//! What is configured, with the default of each key.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::mem::time::Millis;

use super::address::TrustedProxy;
use super::endpoint::{Endpoint, UnixPath};
use super::named::{NameTimes, NamedServer};
use super::registry::Registry;
use super::statuses::Statuses;
use super::tolerance::Tolerances;

/// Everything that is configured, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Client addresses, at least one, none twice.
    pub listen: Vec<Listen>,
    /// Worker processes.
    pub workers: Workers,
    /// Client connections over all workers, 1 to 1,000,000; more wait in the listen backlog.
    pub max_connections: usize,
    /// Fields of a request's head, 10 to 1000; a response's may have ten times as many.
    pub max_fields: usize,
    /// Bytes of one ring buffer: a power of two, 4 KiB to 1 MiB.
    pub buffer_size: usize,
    /// Requests of one client connection in work at once, 1 to 32.
    pub pipeline: usize,
    /// Requests of one client connection, the last of which closes it, up to 1,000,000; 0 is no limit.
    pub client_requests: usize,
    /// Peers whose `X-Forwarded-*` fields are kept and extended.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Which fields tell a backend of the client.
    pub forward: ForwardFields,
    /// Verification of the echoed `X-Request-ID`.
    pub request_id: RequestId,
    /// The name that `Via` is given, if one is added.
    pub via: Option<String>,
    /// Where one line a request goes.
    pub access_log: AccessLog,
    /// Fields of requests that are logged too, in lower case, at most 16.
    pub access_log_headers: Vec<String>,
    /// Bodies of errors that httplb makes, one for a status.
    pub error_pages: Vec<ErrorPageFile>,
    /// The address of the read-only status page.
    pub status_listen: Option<SocketAddr>,
    /// Where operators may ask and command.
    pub admin: Admin,
    /// The cache on disk.
    pub cache: Option<Cache>,
    /// Where backends of many instances are known.
    pub registry: Option<Registry>,
    /// How long each kind of waiting may last.
    pub timeouts: Timeouts,
    /// When names are looked up again, and what becomes of addresses that are named no more.
    pub names: NameTimes,
    /// `pools[0]` is "default"; the others follow in the file's order.
    pub pools: Vec<Pool>,
    /// The first that matches names the pool; pool "default" if none does.
    pub routes: Vec<Route>,
    /// The request header whose value names the pool, before `routes`.
    pub pool_header: Option<String>,
}

/// One address on which clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `:80` in the file is `[::]:80`, which takes IPv4 as well. Port 0 lets the kernel choose.
    pub address: Endpoint,
    /// Each connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Clients speak TLS with what stands before it, which cannot say so.
    pub https: bool,
    /// This host may come to have the address later.
    pub freebind: bool,
    /// Who may connect, where it is a Unix socket with a file.
    pub access: SocketAccess,
}

/// Who may connect to a Unix socket: who may write to its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// The permissions of the file.
    pub mode: u32,
    /// The name of its group; without it that of the user as whom httplb serves.
    pub group: Option<String>,
}

impl Default for SocketAccess {
    /// Owner and group.
    fn default() -> SocketAccess {
        SocketAccess { mode: 0o660, group: None }
    }
}

/// Which fields tell a backend of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the fields")]
pub struct ForwardFields {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    pub x_forwarded: bool,
    pub forwarded: bool,
    pub x_real_ip: bool,
    pub x_forwarded_port: bool,
}

impl ForwardFields {
    /// What nobody has to ask for.
    pub const USUAL: ForwardFields = ForwardFields {
        x_forwarded: true,
        forwarded: false,
        x_real_ip: false,
        x_forwarded_port: false,
    };

    /// Each field, with its name in the file.
    pub fn named(&mut self) -> [(&'static str, &mut bool); 4] {
        [
            ("x-forwarded", &mut self.x_forwarded),
            ("forwarded", &mut self.forwarded),
            ("x-real-ip", &mut self.x_real_ip),
            ("x-forwarded-port", &mut self.x_forwarded_port),
        ]
    }
}

/// How many worker processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as there are CPUs to run them.
    Auto,
    /// So many, 1 to 256.
    Count(u16),
}

/// When a response must carry the `X-Request-ID` of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// From a backend that has shown that it echoes.
    Auto,
    /// Always.
    Require,
    /// Never.
    Off,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To the end of this file.
    Path(PathBuf),
}

/// How long each kind of waiting may last; each from 1 ms to a week, if nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Between the signal for a graceful stop and the end of listening; 0: none.
    pub withdraw: Millis,
    /// From a request's first byte, or the accept, to its whole head.
    pub header: Millis,
    /// No progress in reading a body from the client, or in writing to it.
    pub client: Millis,
    /// A client connection without a request.
    pub idle: Millis,
    /// Silence of a backend whose client has ended its side; of a tunnel of which one side has ended.
    pub fin: Millis,
    /// The age from which on a client connection closes with its next answer; 0 is none.
    pub client_age: Millis,
    /// How long a TCP connection is silent before the kernel looks for its peer; 0 is for ever.
    pub keepalive: Millis,
    /// Connecting to a backend.
    pub connect: Millis,
    /// No byte from the backend: before the first, or between two.
    pub response: Millis,
    /// An unused backend connection.
    pub backend_idle: Millis,
    /// A silent upgraded connection.
    pub tunnel: Millis,
    /// Waiting for a backend below its cap.
    pub queue: Millis,
    /// A graceful stop.
    pub drain: Millis,
    /// What workers that were replaced in a reload still have in work.
    pub retire: Millis,
}

/// The most that `retries` may be.
pub const MOST_RETRIES: u64 = 10;

/// A named set of backends and the rules for choosing among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// 1 to 64 of letters, digits, `.`, `_` and `-`, the first of them no `.`.
    pub name: String,
    /// 0 to 1024 with the names, no address twice.
    pub backends: Vec<Backend>,
    /// Names that bring further backends, none twice.
    pub names: Vec<NamedServer>,
    /// Which backend is next.
    pub balance: Balance,
    /// Failures in a row, within `fail_timeout`, that take a backend out; 1 to 100.
    pub max_fails: u32,
    /// The window for `max_fails`, and how long a backend stays out.
    pub fail_timeout: Millis,
    /// Statuses of answers that count as failures.
    pub fail_status: Option<Statuses>,
    /// Deviations from the rules that are put up with.
    pub tolerate: Tolerances,
    /// Further backends tried for one request, 0 to 10.
    pub retries: u32,
    /// Bytes of the largest request body; 0 is no limit.
    pub max_body: u64,
    /// The cookie that keeps a client at its backend.
    pub sticky: Option<Sticky>,
    /// Active health checks.
    pub health_check: Option<HealthCheck>,
    /// The protocols to which a connection may be switched, each a name or `NAME/VERSION`; never h2c.
    pub upgrades: Vec<String>,
    /// How long the share of a backend that came back grows to its weight; zero is at once.
    pub slow_start: Millis,
    /// Whether requests of several clients share connections to its backends.
    pub multiplex: Multiplex,
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: Endpoint,
    /// Its share, 1 to 256.
    pub weight: u32,
    /// Requests at once over all workers; 0 is no cap, [`AUTO_CAP`](super::AUTO_CAP) one that finds itself.
    pub max_connections: u32,
    /// Takes requests only while no primary is up.
    pub backup: bool,
}

/// Whether requests of several clients share a connection to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplex {
    /// None do.
    Off,
    /// Those whose responses tell by their `X-Request-ID` whose they are.
    Verified,
}

/// Which backend is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn, by weight.
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastConnections,
}

impl Balance {
    /// All there are.
    pub const ALL: [Balance; 2] = [Balance::RoundRobin, Balance::LeastConnections];

    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
        }
    }
}

/// The cookie that keeps a client at its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// A token (RFC 6265 §4.1.1).
    pub cookie: String,
    /// Whole seconds, at least one; without it the cookie lasts as long as the browser's session.
    pub max_age: Option<Millis>,
}

/// Active health checks of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The target of the `GET`; without it a TCP connect is the whole check.
    pub path: Option<String>,
    /// From one check of a backend to the next.
    pub interval: Millis,
    /// How long one check may take.
    pub timeout: Millis,
    /// Successes in a row that bring a backend back, 1 to 100.
    pub rise: u32,
    /// Failures in a row that take one out, 1 to 100.
    pub fall: u32,
    /// The statuses that are healthy.
    pub status: Statuses,
    /// The `Host` of the check; without it the backend's address.
    pub host: Option<String>,
}

/// Sends the requests that meet all its conditions to a pool, or to https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In lower case, without port; `*.` at the front stands for one label or more.
    pub host: Option<String>,
    /// A prefix that ends at a segment border.
    pub path: Option<String>,
    /// Names and exact values.
    pub headers: Vec<(String, String)>,
    /// What becomes of a request that meets them.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// To a pool: its index in [`Config::pools`].
    Pool(usize),
    /// Back to the client, which is to come again by https. A request that came so is not meant.
    Https {
        /// That of the answer: 301, 302, 307 or 308.
        status: u16,
    },
}

/// The body of an error that httplb makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPageFile {
    /// That of the answer.
    pub status: u16,
    /// The file that it is read from, when the configuration is.
    pub path: PathBuf,
    /// What the file said then.
    pub html: String,
}

/// Where operators may ask and command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket. It has a file, and so permissions.
    pub socket: Option<UnixPath>,
    /// A TCP address as well; then there is a token.
    pub listen: Option<SocketAddr>,
    /// The file that holds the token for `listen`.
    pub token_file: Option<PathBuf>,
}

/// The cache on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// An absolute path.
    pub dir: PathBuf,
    /// Bytes of all entries together.
    pub max_size: u64,
    /// Bytes of the largest entry.
    pub max_object: u64,
    /// The lifetime of a 200 that states none.
    pub default_ttl: Millis,
}

/// Fields that a request's head may have where nothing else is said.
pub const DEFAULT_MAX_FIELDS: usize = 100;

/// Bytes that a head may have, however large a ring is.
pub const MAX_HEAD_LIMIT: usize = 64 * 1024;

impl Config {
    /// Bytes that the head of a request or a response may have: a ring less 1 KiB, so that the
    /// rewritten head fits as well, and at most 64 KiB.
    pub fn head_limit(&self) -> usize {
        (self.buffer_size - 1024).min(MAX_HEAD_LIMIT)
    }

    /// The names that bring backends, each with the place of its pool. A name's place among them is
    /// what processes call it by.
    pub fn named(&self) -> impl Iterator<Item = (usize, &NamedServer)> {
        let pools = self.pools.iter().enumerate();
        pools.flat_map(|(place, pool)| pool.names.iter().map(move |named| (place, named)))
    }

    /// The defaults with these backends, for tests and examples.
    #[cfg(any(test, feature = "internals"))]
    pub fn for_backends(addresses: &[SocketAddr]) -> Config {
        let mut config = Config::default();
        config.pools[0].backends = addresses.iter().map(|address| Backend::at(*address)).collect();
        config
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![Listen::on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9000)))],
            workers: Workers::Auto,
            max_connections: 8192,
            max_fields: DEFAULT_MAX_FIELDS,
            buffer_size: 32 * 1024,
            pipeline: 8,
            client_requests: 0,
            trusted_proxies: Vec::new(),
            forward: ForwardFields::USUAL,
            request_id: RequestId::Auto,
            via: None,
            access_log: AccessLog::Off,
            access_log_headers: Vec::new(),
            error_pages: Vec::new(),
            status_listen: None,
            admin: Admin::default(),
            cache: None,
            registry: None,
            timeouts: Timeouts::default(),
            names: NameTimes::default(),
            pools: vec![Pool::named("default")],
            routes: Vec::new(),
            pool_header: None,
        }
    }
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            path: Some(String::from("/")),
            interval: Millis::from_secs(5),
            timeout: Millis::from_secs(2),
            rise: 2,
            fall: 3,
            status: Statuses::only(200),
            host: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            withdraw: Millis(0),
            header: Millis::from_secs(10),
            client: Millis::from_secs(30),
            idle: Millis::from_secs(60),
            fin: Millis::from_secs(10),
            client_age: Millis(0),
            keepalive: Millis::from_secs(60),
            connect: Millis::from_secs(2),
            response: Millis::from_secs(60),
            backend_idle: Millis::from_secs(4),
            tunnel: Millis::from_secs(3600),
            queue: Millis::from_secs(1),
            drain: Millis::from_secs(30),
            retire: Millis::from_secs(3600),
        }
    }
}

impl Listen {
    /// Plain HTTP on this address.
    pub fn on(address: impl Into<Endpoint>) -> Listen {
        Listen {
            address: address.into(),
            proxy_protocol: false,
            https: false,
            freebind: false,
            access: SocketAccess::default(),
        }
    }
}

impl Pool {
    /// A pool without backends and with the default of each key.
    pub fn named(name: &str) -> Pool {
        Pool {
            name: name.to_owned(),
            backends: Vec::new(),
            names: Vec::new(),
            balance: Balance::RoundRobin,
            max_fails: 3,
            fail_timeout: Millis::from_secs(10),
            fail_status: None,
            tolerate: Tolerances::default(),
            retries: 2,
            max_body: 0,
            sticky: None,
            health_check: None,
            upgrades: vec![String::from("websocket")],
            slow_start: Millis(0),
            multiplex: Multiplex::Off,
        }
    }
}

impl Sticky {
    /// How long a client keeps it, in seconds.
    pub fn max_age_secs(&self) -> Option<u64> {
        self.max_age.map(|age| age.0 / 1000)
    }

    /// A cookie of this name that lasts as long as the browser's session.
    pub fn named(cookie: &str) -> Sticky {
        Sticky { cookie: cookie.to_owned(), max_age: None }
    }
}

impl Backend {
    /// A primary of weight 1 without a cap.
    pub fn at(address: impl Into<Endpoint>) -> Backend {
        Backend { address: address.into(), weight: 1, max_connections: 0, backup: false }
    }
}
