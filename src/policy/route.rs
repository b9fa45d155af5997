//! Which pool a request is for, or whether it is to come again by https.
//!
//! The value of the field that names a pool goes before the routes; the first route whose
//! conditions all hold goes before the pool "default".
//!
//! All is compared as it came, byte by byte: percent-encodings are not decoded, dot segments and
//! double slashes stay. What a backend makes of a path is its own affair, so routes choose servers and
//! protect nothing. Only of the host the case, the port and a dot at the end do not count, nor how
//! an IPv6 address is written. An absolute-form target names the host in place of `Host`.

use std::net::Ipv6Addr;

use crate::config::{self, RouteTarget};
use crate::http::request::RequestHead;

/// The rules by which requests find their pools.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    routes: Vec<config::Route>,
    pool_header: Option<String>,
}

/// The pool of a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The field `pool_header` names this pool.
    Named(usize),
    /// The field `pool_header` is there and names no pool; or it is there more than once.
    Unknown,
    /// This route is the first that matches, and leads to this pool.
    Routed {
        /// Its place in the list.
        route: usize,
        /// An index, as in the configuration.
        pool: usize,
    },
    /// This route is the first that matches, and leads to https.
    Redirected {
        /// Its place in the list.
        route: usize,
        /// The status of the answer.
        status: u16,
    },
    /// No route matches: the pool "default", which is the first.
    Default,
}

impl Choice {
    /// The place of the route that leads to the pool, if one does.
    pub const fn route(self) -> Option<usize> {
        match self {
            Choice::Routed { route, .. } | Choice::Redirected { route, .. } => Some(route),
            Choice::Named(_) | Choice::Default | Choice::Unknown => None,
        }
    }

    /// The pool, if there is one.
    pub const fn pool(self) -> Option<usize> {
        match self {
            Choice::Named(pool) | Choice::Routed { pool, .. } => Some(pool),
            Choice::Default => Some(0),
            Choice::Unknown | Choice::Redirected { .. } => None,
        }
    }
}

/// A condition of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its host.
    Host,
    /// Its path.
    Path,
    /// The header at this place of its list.
    Header(usize),
    /// It leads to https, by which the request has come.
    Plain,
}

impl Routing {
    /// The rules that are configured.
    pub fn new(config: &config::Config) -> Routing {
        Routing { routes: config.routes.clone(), pool_header: config.pool_header.clone() }
    }

    /// The routes in their order.
    pub fn routes(&self) -> &[config::Route] {
        &self.routes
    }

    /// Whether the pool of a request may depend on more than its URL.
    pub fn looks_at_fields(&self) -> bool {
        self.pool_header.is_some() || self.routes.iter().any(|route| !route.headers.is_empty())
    }

    /// The name of the field that names a pool.
    pub fn pool_header(&self) -> Option<&str> {
        self.pool_header.as_deref()
    }

    /// The pool that the request is for; `find` gives the pool of a name, `is_https` says whether it has come
    /// by https.
    pub fn choose(
        &self,
        head: &RequestHead,
        is_https: impl Fn() -> bool,
        find: impl FnOnce(&[u8]) -> Option<usize>,
    ) -> Choice {
        if let Some(name) = &self.pool_header {
            match single(head, name) {
                FieldMatch::Absent => (),
                FieldMatch::Once(value) => {
                    return find(value).map_or(Choice::Unknown, Choice::Named);
                }
                FieldMatch::Several => return Choice::Unknown,
            }
        }
        let matching = |route: &config::Route| mismatch(route, head, &is_https).is_none();
        let Some(route) = self.routes.iter().position(matching) else { return Choice::Default };
        match self.routes[route].target {
            RouteTarget::Pool(pool) => Choice::Routed { route, pool },
            RouteTarget::Https { status } => Choice::Redirected { route, status },
        }
    }
}

/// The first condition of `route` that the request does not meet; none if it matches.
pub fn mismatch(
    route: &config::Route,
    head: &RequestHead,
    is_https: impl Fn() -> bool,
) -> Option<Condition> {
    if route.host.as_ref().is_some_and(|wanted| !is_host(wanted, head.authority)) {
        return Some(Condition::Host);
    }
    if route.path.as_ref().is_some_and(|prefix| !is_below(prefix.as_bytes(), path_of(head))) {
        return Some(Condition::Path);
    }
    let fails = |(name, wanted): &(String, String)| match single(head, name) {
        FieldMatch::Once(value) => value != wanted.as_bytes(),
        FieldMatch::Absent | FieldMatch::Several => true,
    };
    if let Some(header) = route.headers.iter().position(fails) {
        return Some(Condition::Header(header));
    }
    match route.target {
        RouteTarget::Pool(_) => None,
        RouteTarget::Https { .. } => is_https().then_some(Condition::Plain),
    }
}

/// What a request says under a name.
enum FieldMatch<'a> {
    Absent,
    Once(&'a [u8]),
    /// Two lines or more are one value, with a comma in it (RFC 9110 §5.3), which is never exactly
    /// the one that is wanted.
    Several,
}

/// The value of the field `name`; of `Host` what goes on as `Host`.
fn single<'a>(head: &RequestHead<'a>, name: &str) -> FieldMatch<'a> {
    if name.eq_ignore_ascii_case("host") {
        return FieldMatch::Once(head.authority);
    }
    let mut fields = head.fields.iter().filter(|field| field.is(name));
    match (fields.next(), fields.next()) {
        (None, _) => FieldMatch::Absent,
        (Some(field), None) => FieldMatch::Once(field.value),
        (Some(_), Some(_)) => FieldMatch::Several,
    }
}

/// Whether `authority`, a host with or without a port, is `wanted`: a name in lower case, an
/// address in brackets, or `*.` and what one label or more stand before.
fn is_host(wanted: &str, authority: &[u8]) -> bool {
    if let Some(literal) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', literal).unwrap_or(literal.len());
        let address = ipv6(&literal[..end]);
        let wanted = wanted.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        return address.is_some() && address == wanted.and_then(|text| ipv6(text.as_bytes()));
    }
    let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
    let host = &authority[..end];
    // The root of all names, which browsers pass on if somebody writes it.
    let host = host.strip_suffix(b".").unwrap_or(host);
    match wanted.strip_prefix('*') {
        Some(suffix) => {
            let start = host.len().saturating_sub(suffix.len());
            start > 0 && host[start..].eq_ignore_ascii_case(suffix.as_bytes())
        }
        None => host.eq_ignore_ascii_case(wanted.as_bytes()),
    }
}

fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The target without its query. `*`, for the server as a whole, is no path and below none.
fn path_of<'a>(head: &RequestHead<'a>) -> &'a [u8] {
    let end = memchr::memchr(b'?', head.target).unwrap_or(head.target.len());
    // An absolute-form target may have a query and no path: a slash is meant.
    if end == 0 { b"/" } else { &head.target[..end] }
}

/// Whether `path` begins with `prefix`, and that ends where a segment does.
fn is_below(prefix: &[u8], path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/")
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
