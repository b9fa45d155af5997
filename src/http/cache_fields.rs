//! What heads say to caches, each read in one pass over its fields.

use super::cache_control::{self, RequestDirectives, ResponseDirectives};
use super::fields::{Field, Fields, MAX_NAMES, NameSet, is_token, list_members, trim_blanks};
use super::message::Single;
use super::names::is_read_as;

/// What a request asks of a cache. It borrows from the head as it was written for the backend
/// ([`rewrite::request`](super::rewrite::request)), so what the client could forge is gone.
#[derive(Clone, Copy, Debug)]
pub struct RequestCacheFields<'a> {
    /// All fields.
    pub fields: Fields<'a>,
    /// `Cache-Control`.
    pub directives: RequestDirectives,
    /// Whether there are credentials: `Authorization`.
    pub authorization: bool,
    /// Whether there is an `If-None-Match`, perhaps in several lines.
    pub if_none_match: bool,
    /// `If-Modified-Since`.
    pub if_modified_since: Single<'a>,
    /// Whether a condition is there that only the origin can judge: `If-Match` or
    /// `If-Unmodified-Since` (RFC 9111 §4.3.2).
    pub for_origin: bool,
    /// `Range`.
    pub range: Single<'a>,
    /// `If-Range`.
    pub if_range: Single<'a>,
    /// Whether the client spoke https, with whoever stands before us.
    pub https: bool,
    /// Whether there are fields that may lead to another resource than the URL does:
    /// [`is_override`] with anything but the URL's own host and scheme.
    pub overrides: bool,
}

impl<'a> RequestCacheFields<'a> {
    /// Reads the fields. `host` is the value of `Host`.
    pub fn new(fields: Fields<'a>, host: &[u8]) -> RequestCacheFields<'a> {
        let mut request_fields = RequestCacheFields {
            fields,
            directives: RequestDirectives::default(),
            authorization: false,
            if_none_match: false,
            if_modified_since: Single::Absent,
            for_origin: false,
            range: Single::Absent,
            if_range: Single::Absent,
            https: false,
            overrides: false,
        };
        let mut scheme = Single::Absent;
        for field in fields.iter() {
            request_fields.add(&field, host, &mut scheme);
        }
        match scheme {
            Single::Absent | Single::Once(b"http") => (),
            Single::Once(b"https") => request_fields.https = true,
            // Backends may read any other spelling otherwise than we do.
            Single::Once(_) | Single::Several => request_fields.overrides = true,
        }
        request_fields
    }

    /// Takes in one field. By its length and first letter alone an ordinary one is told apart from
    /// nearly all of these.
    fn add(&mut self, field: &Field<'a>, host: &[u8], scheme: &mut Single<'a>) {
        let value = field.value;
        match (field.name.len(), field.name.first().map(u8::to_ascii_lowercase)) {
            (5, Some(b'r')) if field.is("range") => self.range.add(value),
            (8, Some(b'i')) if field.is("if-match") => self.for_origin = true,
            (8, Some(b'i')) if field.is("if-range") => self.if_range.add(value),
            (13, Some(b'c')) if field.is("cache-control") => self.directives.add(value),
            (13, Some(b'a')) if field.is("authorization") => self.authorization = true,
            (13, Some(b'i')) if field.is("if-none-match") => self.if_none_match = true,
            (17, Some(b'i')) if field.is("if-modified-since") => self.if_modified_since.add(value),
            (19, Some(b'i')) if field.is("if-unmodified-since") => self.for_origin = true,
            (17, Some(b'x')) if field.is("x-forwarded-proto") => scheme.add(value),
            // In any other spelling a backend may answer otherwise than for the URL's own host.
            (16, Some(b'x')) if field.is("x-forwarded-host") => self.overrides |= value != host,
            // One element is ours, and says nothing beyond the URL; more are a trusted proxy's.
            (9, Some(b'f')) if field.is("forwarded") => {
                self.https |= value.ends_with(b";proto=https");
                self.overrides |= value.contains(&b',');
            }
            (_, Some(b'x')) | (15, Some(b'f')) => self.overrides |= is_override(field.name),
            _ => (),
        }
    }

    /// Whether the answer depends on conditions, so that not everybody could share it.
    pub fn is_conditional(&self) -> bool {
        self.if_none_match || self.for_origin || self.if_modified_since != Single::Absent
    }
}

/// Names of fields by which frameworks let a request speak for another URL or method.
const OVERRIDES: [&[u8]; 16] = [
    b"forwarded",
    b"front-end-https",
    b"x-backend-host",
    b"x-forwarded",
    b"x-host",
    b"x-http-destinationurl",
    b"x-http-host-override",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-host",
    b"x-original-uri",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-scheme",
    b"x-url-scheme",
];

/// Whether backends may answer a request by this field as if it had another URL, so that a cache
/// must tell apart what differs in it. `X-Forwarded-For` names the client, not a resource.
pub fn is_override(name: &[u8]) -> bool {
    match name.get(..12) {
        Some(start) if is_read_as(start, b"x-forwarded-") => !is_read_as(name, b"x-forwarded-for"),
        Some(_) | None => OVERRIDES.iter().any(|known| is_read_as(name, known)),
    }
}

/// Whether the field makes a request conditional or partial. They are the client's own affair: none
/// goes along when the cache asks for itself (RFC 9111 §4.3.1).
pub fn is_condition(name: &[u8]) -> bool {
    const CONDITIONS: [&str; 6] = [
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "range",
    ];
    CONDITIONS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether two bodies under this entity tag are equal to the byte: RFC 9110 §8.8.1.
pub fn is_strong(tag: &[u8]) -> bool {
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"")
}

/// What a response offers to a cache.
#[derive(Clone, Copy, Debug)]
pub struct ResponseCacheFields<'a> {
    /// All fields.
    pub fields: Fields<'a>,
    /// Those of `CDN-Cache-Control` if that is valid, else those of `Cache-Control`.
    pub directives: ResponseDirectives,
    /// Whether the directives are those of `CDN-Cache-Control`, and `Expires` counts for nothing.
    pub targeted: bool,
    /// `Expires`.
    pub expires: Single<'a>,
    /// `Date`.
    pub date: Single<'a>,
    /// The first `Age`.
    pub age: Option<&'a [u8]>,
    /// `Last-Modified`.
    pub last_modified: Single<'a>,
    /// `ETag`.
    pub etag: Single<'a>,
    /// `Content-Range`.
    pub content_range: Single<'a>,
    /// Whether the body is encoded: `Content-Encoding` with anything but `identity`.
    pub encoded: bool,
    /// Whether it is a stream whose end nobody waits for: of events, of messages, or of parts that
    /// replace each other. One that says its length has an end.
    pub streams: bool,
    /// Whether there is a `Vary` with anything in it.
    pub varies: bool,
    /// How many names stand in `Vary`.
    pub vary_names: usize,
    /// Whether `*`, or what is no name of a field, stands anywhere in `Vary`, or more than
    /// [`MAX_NAMES`].
    pub varies_by_anything: bool,
    /// Whether it sets a cookie that is not withheld from other recipients.
    pub sets_cookie: bool,
}

impl<'a> ResponseCacheFields<'a> {
    /// Reads the fields.
    pub fn new(fields: Fields<'a>) -> ResponseCacheFields<'a> {
        let mut response_fields = ResponseCacheFields {
            fields,
            directives: ResponseDirectives::default(),
            targeted: false,
            expires: Single::Absent,
            date: Single::Absent,
            age: None,
            last_modified: Single::Absent,
            etag: Single::Absent,
            content_range: Single::Absent,
            encoded: false,
            streams: false,
            varies: false,
            vary_names: 0,
            varies_by_anything: false,
            sets_cookie: false,
        };
        let (mut has_target, mut has_length) = (false, false);
        for field in fields.iter() {
            response_fields.add(&field);
            has_target |= field.is(TARGETED);
            has_length |= field.is("content-length");
        }
        response_fields.streams &= !has_length;
        if has_target
            && let Some(directives) = ResponseDirectives::targeted(fields.values(TARGETED))
        {
            response_fields.directives = directives;
            response_fields.targeted = true;
        }
        if response_fields.directives.withholds {
            let names = response_fields.withheld_names().take(MAX_NAMES + 1);
            let (count, has_cookie) = names.fold((0, false), |(count, has_cookie), name| {
                (count + 1, has_cookie || name.eq_ignore_ascii_case(b"set-cookie"))
            });
            response_fields.sets_cookie &= !has_cookie;
            response_fields.directives.private |= count > MAX_NAMES;
        }
        response_fields
    }

    fn add(&mut self, field: &Field<'a>) {
        let value = field.value;
        match (field.name.len(), field.name.first().map(u8::to_ascii_lowercase)) {
            (3, Some(b'a')) if field.is("age") => self.age = self.age.or(Some(value)),
            (4, Some(b'd')) if field.is("date") => self.date.add(value),
            (4, Some(b'e')) if field.is("etag") => self.etag.add(value),
            (4, Some(b'v')) if field.is("vary") => {
                self.varies |= list_members(value).next().is_some();
                let is_name = |member: &[u8]| is_token(member) && member != b"*";
                self.varies_by_anything |= !list_members(value).all(is_name);
                self.vary_names += list_members(value).count();
                self.varies_by_anything |= self.vary_names > MAX_NAMES;
            }
            (7, Some(b'e')) if field.is("expires") => self.expires.add(value),
            (10, Some(b's')) if field.is("set-cookie") => self.sets_cookie = true,
            (11, Some(b's')) if field.is("set-cookie2") => self.sets_cookie = true,
            (13, Some(b'c')) if field.is("cache-control") => self.directives.add(value),
            (13, Some(b'c')) if field.is("content-range") => self.content_range.add(value),
            (13, Some(b'l')) if field.is("last-modified") => self.last_modified.add(value),
            (12, Some(b'c')) if field.is("content-type") => self.streams |= is_stream(value),
            (16, Some(b'c')) if field.is("content-encoding") => {
                let is_coding = |member: &[u8]| !member.eq_ignore_ascii_case(b"identity");
                self.encoded |= list_members(value).any(is_coding);
            }
            _ => (),
        }
    }

    /// The fields that are for the one who asked alone, as `no-cache` or `private` names them. `None`
    /// where they name none. With more than [`MAX_NAMES`] all of the response is private.
    pub fn withheld(&self) -> Option<NameSet<'a>> {
        self.directives.withholds.then(|| NameSet::from_names(self.withheld_names()))
    }

    fn withheld_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let said_in = if self.targeted { TARGETED } else { "cache-control" };
        self.fields.values(said_in).flat_map(cache_control::withheld)
    }
}

/// Media types of bodies that go on for as long as somebody listens. What ends in `*` begins so.
const STREAMS: [&str; 12] = [
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-seq",
    "application/geo+json-seq",
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "application/grpc*",
    "application/connect+*",
];

fn is_stream(media_type: &[u8]) -> bool {
    let end = memchr::memchr(b';', media_type).unwrap_or(media_type.len());
    let name = trim_blanks(&media_type[..end]);
    STREAMS.iter().any(|stream| match stream.strip_suffix('*') {
        Some(start) => name
            .get(..start.len())
            .is_some_and(|begun| begun.eq_ignore_ascii_case(start.as_bytes())),
        None => name.eq_ignore_ascii_case(stream.as_bytes()),
    })
}

/// The targeted field for caches like this one: RFC 9213 §3.1.
const TARGETED: &str = "cdn-cache-control";

#[cfg(test)]
#[path = "cache_fields_tests.rs"]
mod tests;
