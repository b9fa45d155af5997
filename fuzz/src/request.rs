//! Requests: accepted or refused as docs/HTTP.md says, and sent on as a head of the same meaning
//! that can be read in one way only.

use crate::naive::{self, Fields, values};
use crate::scan;
use httplb::http::forwarded::Forward;
use httplb::http::rewrite;
use httplb::http::upgrade;
use httplb::http::{HeadScan, Method, RequestHead, Scan, Version, message, request};
use httplb::mem::buffer::{Buffer, Span};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
/// More than any head here can become.
const ROOM: usize = 1 << 20;

thread_local! {
    static OUT: RefCell<Buffer> = RefCell::new(Buffer::new(vec![0; ROOM].leak()));
}

pub fn check(bytes: &[u8]) {
    let found = scan::check(HeadScan::request(), bytes, true, |head| request::parse(head).is_ok());
    check_head(bytes);
    match found {
        Scan::Whole(len) => check_head(&bytes[..len]),
        Scan::Partial => check_head(&[bytes, b"\r\n\r\n"].concat()),
        Scan::Malformed(_) => (),
    }
}

fn check_head(head: &[u8]) {
    let place = head.escape_ascii().to_string();
    let (parsed, naive) = (request::parse(head), Naive::read(head));
    let (parsed, naive) = match (parsed, naive) {
        (Ok(parsed), Some(naive)) => (parsed, naive),
        (Err(_), None) => return,
        (parsed, naive) => panic!("{parsed:?}, but naively {}: {place}", naive.is_some()),
    };
    assert_eq!(Naive::of(&parsed), naive.facts, "{place}");
    OUT.with_borrow_mut(|out| {
        for (trusted, client) in [
            (false, Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 7)))),
            (true, Some(IpAddr::from(Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0001)))),
            // By a Unix socket, which has no address to tell of.
            (true, None),
        ] {
            let upgrades = ["websocket".to_owned()];
            let new = Forward::new(IpAddr::from(Ipv4Addr::LOCALHOST), ID.as_bytes());
            let forward = Forward { trusted, client, upgrades: &upgrades, ..new };
            check_rewritten(&parsed, &naive, &forward, out, &place);
        }
    });
}

/// All that is said of a request, in words.
#[derive(Debug, PartialEq)]
struct StorabilityInput {
    method: String,
    target: String,
    authority: String,
    is_http10: bool,
    framing: String,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
    /// How often it is offered, as far as that goes on.
    websockets: usize,
    te_trailers: bool,
    max_forwards: Option<u64>,
    request_id: Option<String>,
    idempotency_key: bool,
}

struct Naive {
    facts: StorabilityInput,
    fields: Fields,
}

impl Naive {
    fn of(head: &RequestHead) -> StorabilityInput {
        StorabilityInput {
            method: naive::latin1(head.method_name),
            // Of an absolute form without a path, only the query stands in the head.
            target: match head.target {
                [b'?', ..] => format!("/{}", naive::latin1(head.target)),
                target => naive::latin1(target),
            },
            authority: naive::latin1(head.authority),
            is_http10: head.version == Version::Http10,
            framing: format!("{:?}", head.framing),
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            expect_other: head.expect_other,
            websockets: upgrade::offered(head, &["websocket".to_owned()]).count(),
            te_trailers: head.te_trailers,
            max_forwards: head.max_forwards,
            request_id: head.request_id.map(naive::latin1),
            idempotency_key: head.idempotency_key,
        }
    }

    fn read(head: &[u8]) -> Option<Naive> {
        let message = naive::message(head.strip_prefix(b"\r\n").unwrap_or(head))?;
        let fields = message.fields;
        let words: Vec<&str> = message.first.split(' ').collect();
        let [method, target, version] = words[..] else { return None };
        let minor = version.strip_prefix("HTTP/1.")?;
        let version_is_right = minor.len() == 1 && minor.chars().all(|c| c.is_ascii_digit());
        let is_http10 = minor == "0";
        let may_stand = |c: char| c.is_ascii_graphic() && c != '#';
        let target_is_right = !target.is_empty() && target.chars().all(may_stand);
        let method_is_right = naive::is_token(method) && method != "CONNECT";
        if !(version_is_right && target_is_right && method_is_right) || fields.len() > 100 {
            return None;
        }
        if naive::members(&fields, "connection").len() > 64 {
            return None;
        }

        let (target, named) = naive_target(method, target)?;
        let authority = match (&values(&fields, "host")[..], named) {
            ([""], None) => String::new(),
            ([host], named) if naive::is_authority(host) => named.unwrap_or(host.to_string()),
            ([], named) if is_http10 => named.unwrap_or_default(),
            _ => return None,
        };
        let framing = naive::framing(&fields, is_http10)?;
        let mut expectations = values(&fields, "expect");
        expectations.retain(|one| says_something(one));
        let all_known = expectations.iter().all(|one| one.eq_ignore_ascii_case("100-continue"));
        let says = |name, wanted| naive::members(&fields, name).iter().any(|one| one == wanted);
        let may_switch = method == "GET"
            && !is_http10
            && ["None", "Length(0)"].contains(&&framing[..])
            && says("connection", "upgrade");
        let facts = StorabilityInput {
            websockets: if may_switch {
                let offers = naive::members(&fields, "upgrade");
                offers.iter().filter(|one| *one == "websocket").count().min(16)
            } else {
                0
            },
            te_trailers: !is_http10 && says("te", "trailers"),
            max_forwards: match (method, &values(&fields, "max-forwards")[..]) {
                ("TRACE" | "OPTIONS", [hops]) => Some(number(hops)?),
                ("TRACE" | "OPTIONS", [_, _, ..]) => return None,
                _ => None,
            },
            method: method.to_owned(),
            target,
            authority,
            is_http10,
            framing,
            keep_alive: naive::keep_alive(&fields, is_http10),
            expect_continue: !expectations.is_empty() && all_known && !is_http10,
            expect_other: !all_known && !is_http10,
            request_id: match &values(&fields, "x-request-id")[..] {
                [id] if is_request_id(id) => Some(id.to_string()),
                _ => None,
            },
            idempotency_key: !values(&fields, "idempotency-key").is_empty(),
        };
        Some(Naive { facts, fields })
    }

    /// The fields that a backend must see, in their order.
    fn sent_on(&self, forward: &Forward) -> Fields {
        let facts = &self.facts;
        let nominated = naive::members(&self.fields, "connection");
        let goes_on = |(name, value): &&(String, String)| {
            if name.replace('_', "-").starts_with("x-forwarded-") {
                return forward.trusted && !name.contains('_') && name != "x-forwarded-for";
            }
            let is_ours = naive::is_framing(name) || naive::is_read_as(name, "x-request-id");
            match &name[..] {
                "host" | "forwarded" => false,
                "expect" => !facts.is_http10 && says_something(value),
                "max-forwards" if facts.max_forwards.is_some() => false,
                "trailer" if facts.framing != "Chunked" => false,
                _ => !is_ours && !naive::is_hop_by_hop(name) && !nominated.contains(name),
            }
        };
        let mut fields = vec![("host".to_owned(), facts.authority.clone())];
        fields.extend(self.fields.iter().filter(goes_on).cloned());
        let kept = |name: &str| !values(&fields, name).is_empty();
        let (proto_is_kept, host_is_kept) = (kept("x-forwarded-proto"), kept("x-forwarded-host"));
        let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        if let Some(length) = facts.framing.strip_prefix("Length(") {
            add("content-length", length.trim_end_matches(')'));
        } else if facts.framing == "Chunked" {
            add("transfer-encoding", "chunked");
        }
        if let Some(hops) = facts.max_forwards {
            add("max-forwards", &hops.saturating_sub(1).to_string());
        }
        let mut passed = Vec::new();
        if forward.trusted {
            passed = values(&self.fields, "x-forwarded-for");
            passed.retain(|value| !value.is_empty());
        }
        let client = forward.client.map(|client| client.to_string());
        passed.extend(client.as_deref());
        if !passed.is_empty() {
            add("x-forwarded-for", &passed.join(", "));
        }
        if !proto_is_kept {
            add("x-forwarded-proto", "http");
        }
        if !host_is_kept && !facts.authority.is_empty() {
            add("x-forwarded-host", &facts.authority);
        }
        add("x-request-id", ID);
        match (facts.websockets > 0, facts.te_trailers) {
            (true, true) => add("connection", "upgrade, TE"),
            (true, false) => add("connection", "upgrade"),
            (false, true) => add("connection", "TE"),
            (false, false) => (),
        }
        if facts.websockets > 0 {
            add("upgrade", &vec!["websocket"; facts.websockets].join(", "));
        }
        if facts.te_trailers {
            add("te", "trailers");
        }
        fields
    }
}

/// The target as it goes on, and the authority that it names.
fn naive_target(method: &str, target: &str) -> Option<(String, Option<String>)> {
    if target.starts_with('/') || target == "*" && method == "OPTIONS" {
        return Some((target.to_owned(), None));
    }
    let (scheme, rest) = target.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path {
        "" if method == "OPTIONS" => "*".to_owned(),
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let is_right = ["http", "https"].contains(&&scheme[..]) && naive::is_authority(authority);
    is_right.then(|| (path, Some(authority.to_owned())))
}

fn says_something(list: &str) -> bool {
    list.split(',').any(|member| !naive::trim(member).is_empty())
}

/// The largest that there is for one that is larger.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    let significant = digits.trim_start_matches('0');
    is_number.then(|| match significant {
        "" => 0,
        _ => significant.parse().unwrap_or(u64::MAX),
    })
}

fn is_request_id(id: &str) -> bool {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "._:/+=-".contains(c);
    (1..=128).contains(&id.len()) && id.chars().all(may_stand)
}

fn check_rewritten(
    head: &RequestHead,
    naive: &Naive,
    forward: &Forward,
    out: &mut Buffer,
    place: &str,
) {
    out.clear();
    let Some(spans) = rewrite::request(head, forward, out) else {
        panic!("not written: {place}");
    };
    let written = out.as_slice().to_vec();
    let facts = &naive.facts;
    let allowed: &naive::Allowed = match (facts.websockets > 0, facts.te_trailers) {
        (false, false) => &[],
        (true, false) => naive::SWITCH,
        (false, true) => &[("connection", "TE"), ("te", "trailers")],
        (true, true) => &[("connection", "upgrade, TE"), ("upgrade", "*"), ("te", "trailers")],
    };
    let message = naive::assert_clean(&written, allowed, place);
    let wanted = format!("{} {} HTTP/1.1", facts.method, facts.target);
    assert_eq!(message.first, wanted, "{place}");
    assert_eq!(message.fields, naive.sent_on(forward), "{place}");

    let at = |span: Span| naive::latin1(&written[span.range()]);
    assert_eq!(at(spans.method), facts.method, "{place}");
    assert_eq!(at(spans.target), facts.target, "{place}");
    assert_eq!(at(spans.host), facts.authority, "{place}");
    assert_eq!(at(spans.id), ID, "{place}");
    let agents = values(&message.fields, "user-agent");
    let agent = agents.into_iter().find(|agent| !agent.is_empty()).unwrap_or_default();
    assert_eq!(at(spans.user_agent), agent, "{place}");

    if message.fields.len() > message::MAX_FIELDS {
        return;
    }
    let again = request::parse(&written).unwrap_or_else(|error| panic!("{error:?}: {place}"));
    assert_eq!(Method::from_name(head.method_name), again.method);
    let wanted = StorabilityInput {
        method: facts.method.clone(),
        target: facts.target.clone(),
        authority: facts.authority.clone(),
        is_http10: false,
        framing: facts.framing.clone(),
        keep_alive: true,
        expect_continue: facts.expect_continue,
        expect_other: facts.expect_other,
        websockets: facts.websockets,
        te_trailers: facts.te_trailers,
        max_forwards: facts.max_forwards.map(|hops| hops.saturating_sub(1)),
        request_id: Some(ID.to_owned()),
        idempotency_key: !values(&message.fields, "idempotency-key").is_empty(),
    };
    assert_eq!(Naive::of(&again), wanted, "{place}");
    if !forward.trusted && facts.max_forwards.unwrap_or(0) == 0 {
        out.clear();
        let spans_again = rewrite::request(&again, forward, out);
        assert!(out.as_slice() == written, "another head when sent on again: {place}");
        assert_eq!(spans_again, Some(spans), "{place}");
    }
}
