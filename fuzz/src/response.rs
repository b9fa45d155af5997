//! Responses: accepted or refused as docs/HTTP.md says, and sent on as a head of the same meaning
//! that can be read in one way only, whichever framing the client is to get.

use crate::naive::{self, Fields, values};
use crate::scan;
use httplb::http::body::{self, Body};
use httplb::http::response::{self, ResponseHead};
use httplb::http::rewrite::{self, Answering, ResponseFraming};
use httplb::http::{HeadScan, Method, Scan, Version};

const ID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

pub fn check(bytes: &[u8]) {
    let accepts = |head: &[u8]| response::parse(head).is_ok();
    let found = scan::check(HeadScan::response(), bytes, false, accepts);
    check_head(bytes);
    match found {
        Scan::Whole(len) => check_head(&bytes[..len]),
        Scan::Partial => check_head(&[bytes, b"\r\n\r\n"].concat()),
        Scan::Malformed(_) => (),
    }
}

fn check_head(head: &[u8]) {
    let place = head.escape_ascii().to_string();
    let (parsed, naive) = match (response::parse(head), Naive::read(head)) {
        (Ok(parsed), Some(naive)) => (parsed, naive),
        (Err(_), None) => return,
        (parsed, naive) => panic!("{parsed:?}, but naively {}: {place}", naive.is_some()),
    };
    assert_eq!(Naive::of(&parsed), naive.facts, "{place}");
    check_body(&parsed, &place);
    for framing in [ResponseFraming::AsIs, ResponseFraming::Chunked, ResponseFraming::Close] {
        for (close, keep_alive_10, id) in [(false, false, ID), (true, false, ""), (false, true, ID)]
        {
            let answering =
                Answering { close, keep_alive_10, ..Answering::new(id.as_bytes(), framing) };
            check_rewritten(head, &parsed, &naive, &answering, &place);
        }
    }
    if parsed.status < 200 && parsed.status != 101 {
        let mut out = Vec::new();
        rewrite::interim(&parsed, None, &mut out);
        let message = naive::assert_clean(&out, &[], &place);
        assert_eq!(message.first, naive.first_line(), "{place}");
        assert_eq!(message.fields, naive.copied(ResponseFraming::AsIs), "{place}");
    }
}

/// All that is said of a response, in words.
#[derive(Debug, PartialEq)]
struct StorabilityInput {
    status: u16,
    is_http10: bool,
    reason: String,
    framing: String,
    keep_alive: bool,
    keep_alive_timeout_secs: Option<u32>,
    has_date: bool,
    request_id: Option<String>,
    switches_to: Option<String>,
}

struct Naive {
    facts: StorabilityInput,
    fields: Fields,
}

impl Naive {
    fn of(head: &ResponseHead) -> StorabilityInput {
        StorabilityInput {
            status: head.status,
            is_http10: head.version == Version::Http10,
            reason: naive::latin1(head.reason),
            framing: format!("{:?}", head.framing),
            keep_alive: head.keep_alive,
            keep_alive_timeout_secs: head.keep_alive_timeout_secs,
            has_date: head.has_date,
            request_id: head.request_id.map(naive::latin1),
            switches_to: head.switches_to.map(naive::latin1),
        }
    }

    fn read(head: &[u8]) -> Option<Naive> {
        let message = naive::message(head)?;
        let fields = message.fields;
        if fields.len() > 1000 || naive::members(&fields, "connection").len() > 64 {
            return None;
        }
        let line: Vec<&str> = message.first.splitn(3, ' ').collect();
        let (version, status, reason) = match line[..] {
            [version, status] => (version, status, ""),
            [version, status, reason] => (version, status, reason),
            _ => return None,
        };
        let minor = version.strip_prefix("HTTP/1.")?;
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let is_right = minor.len() == 1 && status.len() == 3 && is_number(minor);
        if !is_right || !is_number(status) {
            return None;
        }
        let status = status.parse().ok().filter(|status| (100..=999).contains(status))?;
        let is_http10 = minor == "0";
        let upgrade = values(&fields, "upgrade");
        let is_upgrade = naive::members(&fields, "connection").iter().any(|one| one == "upgrade");
        let facts = StorabilityInput {
            status,
            is_http10,
            reason: reason.to_owned(),
            framing: naive::framing(&fields, is_http10)?,
            keep_alive: naive::keep_alive(&fields, is_http10),
            keep_alive_timeout_secs: values(&fields, "keep-alive").last().and_then(|v| timeout(v)),
            has_date: !values(&fields, "date").is_empty()
                && !naive::members(&fields, "connection").iter().any(|one| one == "date"),
            request_id: match &values(&fields, "x-request-id")[..] {
                [] => None,
                [id] => Some(id.to_string()),
                _ => Some(String::new()),
            },
            switches_to: match &upgrade[..] {
                [protocol] if status == 101 && !is_http10 && is_upgrade => {
                    Some(protocol.to_string())
                }
                _ => None,
            },
        };
        Some(Naive { facts, fields })
    }

    fn first_line(&self) -> String {
        format!("HTTP/1.1 {} {}", self.facts.status, self.facts.reason)
    }

    fn is_never_framed(&self) -> bool {
        self.facts.status < 200 || self.facts.status == 204
    }

    /// The protocol as it goes on.
    fn switched_to(&self) -> Option<String> {
        let protocol = self.facts.switches_to.clone()?;
        let is_websocket = protocol.eq_ignore_ascii_case("websocket");
        Some(if is_websocket { "websocket".to_owned() } else { protocol })
    }

    fn offers_upgrade(&self) -> bool {
        self.facts.status == 426 && !values(&self.fields, "upgrade").is_empty()
    }

    /// The fields that are copied when the body goes on in this way.
    fn copied(&self, framing: ResponseFraming) -> Fields {
        let nominated = naive::members(&self.fields, "connection");
        let as_is = framing == ResponseFraming::AsIs || self.is_never_framed();
        let goes_on = |(name, _): &&(String, String)| match &name[..] {
            "x-request-id" => true,
            "content-length" => as_is && !self.is_never_framed(),
            "upgrade" if self.facts.status == 426 => true,
            "trailer" if !as_is && framing != ResponseFraming::Chunked => false,
            _ => {
                !naive::is_framing(name) && !naive::is_hop_by_hop(name) && !nominated.contains(name)
            }
        };
        self.fields.iter().filter(goes_on).cloned().collect()
    }

    /// The fields that the client must see, in their order.
    fn sent_on(&self, answering: &Answering) -> Fields {
        let mut fields = self.copied(answering.framing);
        let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        match answering.framing {
            _ if self.is_never_framed() => (),
            ResponseFraming::Chunked => add("transfer-encoding", "chunked"),
            ResponseFraming::AsIs | ResponseFraming::Close => (),
        }
        if self.facts.request_id.is_none() && !answering.id.is_empty() {
            add("x-request-id", ID);
        }
        let mut options = Vec::new();
        if self.facts.switches_to.is_none() {
            if answering.close || answering.framing == ResponseFraming::Close {
                options.push("close");
            } else if answering.keep_alive_10 {
                options.push("keep-alive");
            }
        }
        if self.facts.switches_to.is_some() || self.offers_upgrade() {
            options.push("upgrade");
        }
        if !options.is_empty() {
            add("connection", &options.join(", "));
        }
        if let Some(protocol) = self.switched_to() {
            add("upgrade", &protocol);
        }
        fields
    }
}

fn timeout(value: &str) -> Option<u32> {
    let parameters = value.split(',').map(naive::trim);
    let is_timeout = |parameter: &str| parameter.to_ascii_lowercase().starts_with("timeout=");
    let seconds = &parameters.into_iter().find(|parameter| is_timeout(parameter))?[8..];
    let is_number = !seconds.is_empty() && seconds.chars().all(|c| c.is_ascii_digit());
    if is_number { seconds.parse().ok() } else { None }
}

/// RFC 9112 §6.3, of what can be left when the framing is not doubtful.
fn check_body(head: &ResponseHead, place: &str) {
    let found = |method| match body::of_response(method, head) {
        Body::Empty => "None".to_owned(),
        Body::Length(length) => format!("Length({length})"),
        Body::Chunked(_) => "Chunked".to_owned(),
        Body::UntilClose => "until close".to_owned(),
    };
    assert_eq!(found(Method::Head), "None", "{place}");
    let wanted = match (head.status, format!("{:?}", head.framing)) {
        (100..=199 | 204 | 304, _) => "None".to_owned(),
        (_, framing) if framing == "None" => "until close".to_owned(),
        (_, framing) => framing,
    };
    assert_eq!(found(Method::Get), wanted, "{place}");
}

fn check_rewritten(
    came: &[u8],
    head: &ResponseHead,
    naive: &Naive,
    answering: &Answering,
    place: &str,
) {
    let mut out = Vec::new();
    rewrite::response(head, answering, &mut out);
    assert!(out.len() <= rewrite::response_len_bound(came.len()), "too long: {place}");
    let facts = &naive.facts;
    let allowed: &naive::Allowed = match facts.status {
        101 if facts.switches_to.is_some() => &[("connection", "upgrade"), ("upgrade", "*")],
        426 if naive.offers_upgrade() => &[
            ("upgrade", "*"),
            ("connection", "upgrade"),
            ("connection", "close, upgrade"),
            ("connection", "keep-alive, upgrade"),
        ],
        _ => naive::FATE,
    };
    let message = naive::assert_clean(&out, allowed, place);
    assert_eq!(message.first, naive.first_line(), "{place}");
    assert_eq!(message.fields, naive.sent_on(answering), "{place}");

    let again = response::parse(&out).unwrap_or_else(|error| panic!("{error:?}: {place}"));
    let closes = answering.close || answering.framing == ResponseFraming::Close;
    let wanted = StorabilityInput {
        status: facts.status,
        is_http10: false,
        reason: facts.reason.clone(),
        framing: match answering.framing {
            _ if naive.is_never_framed() => "None".to_owned(),
            ResponseFraming::AsIs if facts.framing == "Chunked" => "None".to_owned(),
            ResponseFraming::AsIs => facts.framing.clone(),
            ResponseFraming::Close => "None".to_owned(),
            framing => format!("{framing:?}"),
        },
        keep_alive: facts.switches_to.is_some() || !closes,
        keep_alive_timeout_secs: None,
        has_date: facts.has_date,
        request_id: match (&facts.request_id, answering.id) {
            (None, b"") => None,
            (None, id) => Some(naive::latin1(id)),
            (Some(id), _) => Some(id.clone()),
        },
        switches_to: naive.switched_to(),
    };
    assert_eq!(Naive::of(&again), wanted, "{place}");

    let mut twice = Vec::new();
    rewrite::response(&again, answering, &mut twice);
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&twice), sorted(&out), "another head when sent on again: {place}");
}
