//! Heads read and written anew byte by byte and line by line: what the readers and writers of this
//! module do by words of bytes and by runs of lines must come to the same.

use super::fields::{
    ConnectionOptions, Field, Fields, NameSet, is_hop_by_hop, list_members, trim_blanks,
};
use super::forwarded::Forward;
use super::framing::{FramingFields, decimal};
use super::message::{Framing, Single, Version};
use super::method::Method;
use super::names::is_read_as;
use super::request::{Refusal, RequestHead};
use super::response::{BadResponse, ResponseHead};
use super::rewrite::{Answering, ResponseFraming};
use super::{auth, cookie};
use std::net::Ipv6Addr;

// Reading.

fn run(bytes: &[u8], may_stand: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !may_stand(byte)).unwrap_or(bytes.len())
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn read_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (name, rest) = bytes.split_at(run(bytes, is_token_byte));
    let rest = rest.strip_prefix(b":").filter(|_| !name.is_empty())?;
    let (value, rest) =
        rest.split_at(run(rest, |byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)));
    let rest = rest.strip_prefix(b"\r\n")?;
    let line = &bytes[..bytes.len() - rest.len()];
    Some(Field { name, value: trim_blanks(value), line })
}

/// The fields up to the empty line, and their lines; `None` in place of those where there are too many.
fn read_fields(bytes: &[u8], most: usize) -> Option<(Vec<Field<'_>>, Option<&[u8]>)> {
    let (mut fields, mut rest) = (Vec::new(), bytes);
    while rest != b"\r\n" {
        if fields.len() > most {
            return Some((fields, None));
        }
        let field = read_field(rest)?;
        rest = &rest[field.line.len()..];
        fields.push(field);
    }
    let lines = (fields.len() <= most).then(|| &bytes[..bytes.len() - 2]);
    Some((fields, lines))
}

/// What is said more than once, in whatever words, by all the fields of a name.
fn values<'a>(fields: &[Field<'a>], name: &'static str) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.is(name)).map(|field| field.value).collect()
}

fn single<'a>(fields: &[Field<'a>], name: &'static str) -> Single<'a> {
    let mut single = Single::default();
    values(fields, name).into_iter().for_each(|value| single.add(value));
    single
}

fn framing_of(fields: &[Field]) -> FramingFields {
    let mut framing = FramingFields::default();
    values(fields, "content-length").iter().for_each(|value| framing.add_length(value));
    values(fields, "transfer-encoding").iter().for_each(|value| framing.add_coding(value));
    framing
}

fn options_of(fields: &[Field]) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    for option in values(fields, "connection").into_iter().flat_map(list_members) {
        options.count += 1;
        match &option.to_ascii_lowercase()[..] {
            b"close" => options.close = true,
            b"keep-alive" => options.keep_alive = true,
            b"upgrade" => options.upgrade = true,
            _ => options.others += 1,
        }
    }
    options
}

fn is_authority(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let host_end = text.rfind(']').unwrap_or(0);
    let (host, port) = match text[host_end..].split_once(':') {
        Some((rest, port)) => (&text[..host_end + rest.len()], port),
        None => (text, ""),
    };
    let port_is_right = port.len() <= 5
        && port.chars().all(|digit| digit.is_ascii_digit())
        && (port.is_empty() || port.parse::<u32>().is_ok_and(|port| port <= 65535));
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let host_is_right = match host.strip_prefix('[').map(|literal| literal.strip_suffix(']')) {
        Some(None) => false,
        Some(Some(literal)) => match literal.strip_prefix(['v', 'V']) {
            None => literal.parse::<Ipv6Addr>().is_ok(),
            Some(future) => future.split_once('.').is_some_and(|(version, address)| {
                let is_version = version.bytes().all(|digit| digit.is_ascii_hexdigit());
                let is_address = address.bytes().all(|byte| may_stand(byte) || byte == b':');
                !version.is_empty() && !address.is_empty() && is_version && is_address
            }),
        },
        None => host.split('%').enumerate().all(|(index, part)| {
            let escaped = if index == 0 { 0 } else { 2 };
            part.len() >= escaped
                && part.bytes().take(escaped).all(|digit| digit.is_ascii_hexdigit())
                && part.bytes().all(may_stand)
        }),
    };
    host_is_right && port_is_right && !host.is_empty()
}

/// Method, target and version, and what follows their line.
#[allow(clippy::type_complexity)]
fn read_request_line(
    head: &[u8],
    may_stand: fn(u8) -> bool,
) -> Result<(&[u8], &[u8], Version, &[u8]), Refusal> {
    let word = |bytes: &'_ [u8], may_stand: fn(u8) -> bool| match run(bytes, may_stand) {
        0 => Err(Refusal::Malformed),
        len if bytes.get(len) == Some(&b' ') => Ok(len),
        _ => Err(Refusal::Malformed),
    };
    let method_len = word(head, is_token_byte)?;
    let (method, rest) = (&head[..method_len], &head[method_len + 1..]);
    let target_len = word(rest, may_stand)?;
    let (target, rest) = (&rest[..target_len], &rest[target_len + 1..]);
    let rest = rest.strip_prefix(b"HTTP/").ok_or(Refusal::Malformed)?;
    let version = match rest {
        [b'1', b'.', b'0', b'\r', b'\n', ..] => Version::Http10,
        [b'1', b'.', b'1'..=b'9', b'\r', b'\n', ..] => Version::Http11,
        [b'2'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n', ..] => return Err(Refusal::Version),
        _ => return Err(Refusal::Malformed),
    };
    Ok((method, target, version, &rest[5..]))
}

/// The authority of an absolute target; and path and query.
fn read_target(method: Method, target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    if target[0] == b'/' || (target == b"*" && method == Method::Options) {
        return Ok((None, target));
    }
    let scheme_len = run(target, |byte| byte != b':') + 3;
    let scheme = target.get(..scheme_len).ok_or(Refusal::Malformed)?.to_ascii_lowercase();
    if scheme != b"http://" && scheme != b"https://" {
        return Err(Refusal::Malformed);
    }
    let rest = &target[scheme_len..];
    let (authority, path) = rest.split_at(run(rest, |byte| byte != b'/' && byte != b'?'));
    match path {
        _ if !is_authority(authority) => Err(Refusal::Host),
        [] if method == Method::Options => Ok((Some(authority), b"*")),
        [] => Ok((Some(authority), b"/")),
        _ => Ok((Some(authority), path)),
    }
}

fn read_request(
    head: &[u8],
    most_fields: usize,
    may_stand: fn(u8) -> bool,
) -> Result<RequestHead<'_>, Refusal> {
    let follows_empty_line = head.starts_with(b"\r\n");
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (method_name, target, version, rest) = read_request_line(head, may_stand)?;
    let method = Method::from_name(method_name);
    if method == Method::Connect {
        return Err(Refusal::Connect);
    }
    let (named, target) = read_target(method, target)?;
    let (fields, lines) = read_fields(rest, most_fields).ok_or(Refusal::Malformed)?;
    let options = options_of(&fields);
    let lines = lines.filter(|_| options.count <= 64).ok_or(Refusal::TooManyFields)?;
    let is_http11 = version == Version::Http11;
    let authority = match single(&fields, "host") {
        Single::Once(b"") if named.is_none() => b"",
        Single::Once(host) if is_authority(host) => named.unwrap_or(host),
        Single::Absent if !is_http11 => named.unwrap_or_default(),
        Single::Absent | Single::Once(_) | Single::Several => return Err(Refusal::Host),
    };
    let framing = framing_of(&fields).judge(version)?;
    let mut expectations = values(&fields, "expect");
    expectations.retain(|value| list_members(value).next().is_some());
    let all_known = expectations.iter().all(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let is_id = |id: &&[u8]| {
        let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
        (1..=128).contains(&id.len()) && id.iter().all(may_stand)
    };
    let takes_trailers = values(&fields, "te")
        .into_iter()
        .flat_map(list_members)
        .any(|member| member.eq_ignore_ascii_case(b"trailers"));
    let counts_hops = matches!(method, Method::Trace | Method::Options);
    let hops = single(&fields, "max-forwards")
        .only()
        .filter(|hops| counts_hops && !hops.is_empty() && hops.iter().all(u8::is_ascii_digit));
    Ok(RequestHead {
        method,
        method_name,
        target,
        has_raw_target: false,
        authority,
        version,
        bytes: &head[..head.len() - 2],
        follows_empty_line,
        fields: Fields::again(lines, options.others > 0),
        framing,
        keep_alive: !options.close && (is_http11 || options.keep_alive),
        expect_continue: is_http11 && !expectations.is_empty() && all_known,
        expect_other: is_http11 && !all_known,
        upgrade: is_http11 && options.upgrade && !values(&fields, "upgrade").is_empty(),
        te_trailers: is_http11 && takes_trailers,
        max_forwards: hops.map(|hops| decimal(hops).unwrap_or(u64::MAX)),
        request_id: single(&fields, "x-request-id").only().filter(is_id),
        idempotency_key: !values(&fields, "idempotency-key").is_empty(),
        authorizes_connection: values(&fields, "authorization")
            .into_iter()
            .any(auth::is_of_connection),
    })
}

pub fn read_any_request(head: &[u8], most_fields: usize) -> Result<RequestHead<'_>, Refusal> {
    let strict = read_request(head, most_fields, |byte| byte.is_ascii_graphic() && byte != b'#');
    match strict {
        Err(Refusal::Malformed) => {
            let may_stand = |byte| matches!(byte, b'!'..=b'~' | 0x80..) && byte != b'#';
            let raw = read_request(head, most_fields, may_stand);
            let raw = raw.map_err(|_| Refusal::Malformed);
            raw.map(|head| RequestHead { has_raw_target: true, ..head })
        }
        other => other,
    }
}

pub fn read_response(
    head: &[u8],
    most_fields: usize,
    repeats: bool,
) -> Result<ResponseHead<'_>, BadResponse> {
    let (version, rest) = match head.strip_prefix(b"HTTP/1.") {
        Some([b'0', rest @ ..]) => (Version::Http10, rest),
        Some([b'1'..=b'9', rest @ ..]) => (Version::Http11, rest),
        Some(_) | None => return Err(BadResponse::StatusLine),
    };
    let [b' ', a, b, c, rest @ ..] = rest else { return Err(BadResponse::StatusLine) };
    let status = decimal(&[*a, *b, *c]).filter(|status| *status >= 100);
    let status = status.ok_or(BadResponse::StatusLine)? as u16;
    let (reason, rest) = match rest.strip_prefix(b" ") {
        Some(rest) => rest.split_at(run(rest, |byte| byte == b'\t' || !byte.is_ascii_control())),
        None => (&b""[..], rest),
    };
    let rest = rest.strip_prefix(b"\r\n").ok_or(BadResponse::StatusLine)?;
    let (fields, lines) = read_fields(rest, most_fields).ok_or(BadResponse::Field)?;
    let options = options_of(&fields);
    let lines = lines.filter(|_| options.count <= 64).ok_or(BadResponse::TooManyFields)?;
    let framing = framing_of(&fields);
    let framing = if repeats { framing.judge_repeats(version) } else { framing.judge(version) }?;
    let is_nominated = |name: &[u8]| {
        let named = values(&fields, "connection").into_iter().flat_map(list_members);
        options.others > 0 && named.into_iter().any(|option| option.eq_ignore_ascii_case(name))
    };
    let keeps = values(&fields, "keep-alive").last().and_then(|value| {
        let mut parameters = list_members(value).map(|parameter| parameter.to_ascii_lowercase());
        let timeout = parameters.find(|parameter| parameter.starts_with(b"timeout="))?;
        decimal(&timeout[8..]).and_then(|seconds| u32::try_from(seconds).ok())
    });
    let switches = status == 101 && version == Version::Http11 && options.upgrade;
    Ok(ResponseHead {
        status,
        version,
        reason,
        bytes: &head[..head.len() - 2],
        fields: Fields::again(lines, options.others > 0),
        framing,
        keep_alive: !options.close && (version == Version::Http11 || options.keep_alive),
        keep_alive_timeout_secs: keeps,
        has_date: !values(&fields, "date").is_empty() && !is_nominated(b"date"),
        request_id: match values(&fields, "x-request-id")[..] {
            [] => None,
            [id] => Some(id),
            [_, _, ..] => Some(b""),
        },
        switches_to: single(&fields, "upgrade").only().filter(|_| switches),
        authenticates_connection: values(&fields, "www-authenticate")
            .into_iter()
            .any(auth::is_of_connection),
    })
}

// Writing.

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

fn goes_on(head: &RequestHead, field: &Field, forward: &Forward) -> bool {
    let nominated: Option<NameSet> = head.fields.nominated();
    let is_named = nominated.is_some_and(|names| names.contains(field.name));
    let name = lower(field.name);
    let cgi = name.replace('_', "-");
    if cgi.starts_with("x-forwarded-") {
        let ours = forward.fields.x_forwarded && name == "x-forwarded-for";
        return forward.trusted && !name.contains('_') && !ours;
    }
    match &name[..] {
        "host" | "forwarded" => false,
        "expect" => head.version == Version::Http11 && list_members(field.value).next().is_some(),
        "trailer" if head.framing != Framing::Chunked => false,
        "max-forwards" if head.max_forwards.is_some() => false,
        _ => match &cgi[..] {
            "x-real-ip" if !forward.fields.x_real_ip => true,
            "x-real-ip" => forward.trusted && name == "x-real-ip",
            "x-request-id" | "content-length" | "transfer-encoding" => false,
            _ => !is_hop_by_hop(field.name) && !is_named,
        },
    }
}

/// The lines of a request as they go on, in their order, without what is added.
pub fn lines_of_request(head: &RequestHead, forward: &Forward) -> Vec<u8> {
    let mut out = Vec::new();
    for field in head.fields.iter().filter(|field| goes_on(head, field, forward)) {
        let own = forward.own_cookie.unwrap_or_default().as_bytes();
        let has_own = field.is("cookie") && !own.is_empty() && cookie::contains(field.value, own);
        if !has_own {
            out.extend_from_slice(field.line);
        } else if cookie::contains_others(field.value, own) {
            out.extend_from_slice(&[field.name, b": "].concat());
            cookie::put_others(field.value, own, |bytes| out.extend_from_slice(bytes));
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

pub fn response_anew(head: &ResponseHead, answering: &Answering) -> Vec<u8> {
    let never_framed = matches!(head.status, 100..=199 | 204);
    let framing = if never_framed { ResponseFraming::AsIs } else { answering.framing };
    let nominated = head.fields.nominated();
    let mut out = format!("HTTP/1.1 {} ", head.status).into_bytes();
    out.extend_from_slice(&[head.reason, b"\r\n"].concat());
    let mut offers_upgrade = false;
    for field in head.fields.iter() {
        let upgrades = head.status == 426 && field.is("upgrade");
        offers_upgrade |= upgrades;
        let goes = match &lower(field.name)[..] {
            "trailer" if framing == ResponseFraming::Close => false,
            "content-length" => framing == ResponseFraming::AsIs && !never_framed,
            "x-request-id" => true,
            _ if is_read_as(field.name, b"content-length") => false,
            _ if is_read_as(field.name, b"transfer-encoding") => false,
            _ if upgrades => true,
            _ => {
                let is_named = nominated.is_some_and(|names| names.contains(field.name));
                !is_hop_by_hop(field.name) && !is_named
            }
        };
        if goes {
            out.extend_from_slice(field.line);
        }
    }
    let mut add = |line: &[u8]| out.extend_from_slice(line);
    if framing == ResponseFraming::Chunked {
        add(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(text) = answering.date {
        add(&[b"Date: ", &text[..], b"\r\n"].concat());
    }
    if head.request_id.is_none() && !answering.id.is_empty() {
        add(&[b"X-Request-ID: ", answering.id, b"\r\n"].concat());
    }
    let mut options = Vec::new();
    match (answering.close || answering.framing == ResponseFraming::Close, answering.keep_alive_10)
    {
        (true, _) => options.push("close"),
        (false, true) => options.push("keep-alive"),
        (false, false) => (),
    }
    if offers_upgrade {
        options.push("upgrade");
    }
    if let Some(protocol) = head.switches_to {
        let protocol =
            if protocol.eq_ignore_ascii_case(b"websocket") { b"websocket" } else { protocol };
        add(&[b"Connection: upgrade\r\nUpgrade: ", protocol, b"\r\n"].concat());
    } else if !options.is_empty() {
        add(format!("Connection: {}\r\n", options.join(", ")).as_bytes());
    }
    add(b"\r\n");
    out
}
