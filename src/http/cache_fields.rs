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
mod tests {
    use super::*;
    use crate::http::cache_control::Seconds;

    fn request_fields(lines: &str) -> RequestCacheFields<'_> {
        RequestCacheFields::new(Fields::again(lines.as_bytes(), false), b"Shop.example")
    }

    fn response_fields(lines: &str) -> ResponseCacheFields<'_> {
        ResponseCacheFields::new(Fields::again(lines.as_bytes(), false))
    }

    #[test]
    fn an_ordinary_request_asks_nothing() {
        let request_fields =
            request_fields("Host: shop.example\r\nAccept: */*\r\nX-Request-ID: 1\r\nX: 1\r\n");
        assert_eq!(request_fields.directives, RequestDirectives::default());
        assert!(
            !request_fields.authorization
                && !request_fields.is_conditional()
                && !request_fields.overrides
        );
        assert_eq!(
            (request_fields.range, request_fields.if_range),
            (Single::Absent, Single::Absent)
        );
    }

    #[test]
    fn the_fields_that_matter_are_found_in_any_case() {
        let request_fields = request_fields(
            "RANGE: bytes=0-1\r\nIf-range: \"a\"\r\nCACHE-control: max-age=0\r\n\
             cache-control: no-store\r\nAuthorization: Basic eA==\r\nif-none-match: \"a\"\r\n\
             If-Modified-Since: x\r\n",
        );
        assert_eq!(request_fields.range, Single::Once(b"bytes=0-1"));
        assert_eq!(request_fields.if_range, Single::Once(b"\"a\""));
        assert!(request_fields.directives.no_store && request_fields.directives.max_age == Some(0));
        assert!(
            request_fields.authorization
                && request_fields.if_none_match
                && request_fields.is_conditional()
        );
        assert_eq!(request_fields.if_modified_since, Single::Once(b"x"));
        assert!(!request_fields.for_origin);
    }

    #[test]
    fn conditions_for_the_origin_are_told_apart() {
        for line in ["If-Match: \"a\"\r\n", "If-Unmodified-Since: x\r\n"] {
            assert!(
                request_fields(line).for_origin && request_fields(line).is_conditional(),
                "{line}"
            );
        }
    }

    /// docs/CACHE.md, rule 16.
    #[test]
    fn what_may_lead_to_another_resource_is_noticed() {
        for line in [
            "X-Forwarded-Host: evil.example\r\n",
            "X-Forwarded-Proto: ftp\r\n",
            "X-Forwarded-Port: 8080\r\n",
            "x_forwarded_prefix: /a\r\n",
            "X-Original-URL: /admin\r\n",
            "X_Rewrite_Url: /admin\r\n",
            "X-HTTP-Method-Override: DELETE\r\n",
            "Front-End-Https: on\r\n",
            "X_Forwarded: host=evil.example\r\n",
            "X-Scheme: https\r\n",
            "X-Url-Scheme: https\r\n",
            "X-Original-URI: /admin\r\n",
            "Forwarded: for=192.0.2.1;host=a, for=192.0.2.2\r\n",
            "X-Forwarded-Host: shop.example\r\n",
            "X-Forwarded-Host: Shop.example:80\r\n",
            "X-Forwarded-Proto: HTTPS\r\n",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
        ] {
            assert!(request_fields(line).overrides, "{line}");
        }
        for line in [
            "X-Forwarded-Host: Shop.example\r\n",
            "X-Forwarded-Proto: http\r\n",
            "X-Forwarded-Proto: https\r\n",
            "X-Forwarded-For: 192.0.2.1\r\n",
            "X-Real: 1\r\n",
            "Forwarded-Host: a\r\n",
            "Forwarded: for=192.0.2.1;host=\"shop.example\"\r\n",
        ] {
            assert!(!request_fields(line).overrides, "{line}");
        }
        assert!(request_fields("X-Forwarded-Proto: https\r\n").https);
        assert!(!request_fields("X-Forwarded-Proto: http\r\n").https);
        assert!(request_fields("Forwarded: for=192.0.2.1;host=\"a\";proto=https\r\n").https);
        assert!(!request_fields("Forwarded: for=192.0.2.1;host=\"a\";proto=http\r\n").https);
    }

    #[test]
    fn a_response_offers_what_its_fields_say() {
        let response_fields = response_fields(
            "date: D\r\nAGE: 5\r\nAge: 6\r\nExpires: E\r\nETAG: \"e\"\r\nLast-modified: L\r\n\
             Cache-Control: max-age=1\r\nCache-Control: public\r\nContent-Range: r\r\n",
        );
        assert_eq!(
            (response_fields.date, response_fields.age),
            (Single::Once(b"D"), Some(&b"5"[..]))
        );
        assert_eq!(
            (response_fields.expires, response_fields.etag),
            (Single::Once(b"E"), Single::Once(b"\"e\""))
        );
        assert_eq!(response_fields.last_modified, Single::Once(b"L"));
        assert_eq!(response_fields.content_range, Single::Once(b"r"));
        assert_eq!(response_fields.directives.max_age, Seconds::Given(1));
        assert!(
            response_fields.directives.public
                && !response_fields.varies
                && !response_fields.sets_cookie
        );
    }

    #[test]
    fn a_star_anywhere_in_vary_counts() {
        for lines in [
            "Vary: *\r\n",
            "Vary: a, *\r\n",
            "Vary: *, a\r\n",
            "Vary: a\r\nvary: ,*\r\n",
            "Vary: a b\r\n",
            "Vary: :pool\r\n",
        ] {
            assert!(response_fields(lines).varies_by_anything, "{lines}");
        }
        assert!(
            response_fields("Vary: a\r\n").varies
                && !response_fields("Vary: a*\r\n").varies_by_anything
        );
        assert!(!response_fields("Vary: , ,\r\n").varies);
    }

    #[test]
    fn encoded_bodies_and_streams_are_told_apart() {
        for (line, encoded, streams) in [
            ("Content-Encoding: gzip\r\n", true, false),
            ("content-encoding: identity, br\r\n", true, false),
            ("Content-Encoding: identity\r\n", false, false),
            ("Content-Encoding: ,\r\n", false, false),
            ("Content-Type: text/event-stream\r\n", false, true),
            ("content-type: Text/Event-Stream ;charset=utf-8\r\n", false, true),
            ("Content-Type: multipart/x-mixed-replace; boundary=b\r\n", false, true),
            ("Content-Type: application/x-ndjson\r\n", false, true),
            ("Content-Type: APPLICATION/JSON-SEQ;a=b\r\n", false, true),
            ("Content-Type: application/stream+json\r\n", false, true),
            ("Content-Type: application/gRPC-Web+proto\r\n", false, true),
            ("Content-Type: application/grpc\r\n", false, true),
            ("Content-Type: application/Connect+json ; a=b\r\n", false, true),
            ("Content-Type: application/json\r\n", false, false),
            ("Content-Type: application/connect\r\n", false, false),
            ("Content-Type: text/event-streams\r\n", false, false),
            ("Content-Type: text/event-stream\r\nContent-Length: 5\r\n", false, false),
            ("Content-Type: text/html\r\n", false, false),
        ] {
            let response_fields = response_fields(line);
            assert_eq!(
                (response_fields.encoded, response_fields.streams),
                (encoded, streams),
                "{line}"
            );
        }
    }

    #[test]
    fn a_valid_targeted_field_replaces_cache_control() {
        let both = "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=9\r\n";
        assert!(response_fields(both).targeted && !response_fields(both).directives.no_store);
        let malformed = "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=\"9\"\r\n";
        assert!(
            !response_fields(malformed).targeted && response_fields(malformed).directives.no_store
        );
    }

    #[test]
    fn a_cookie_for_one_recipient_alone_is_told_apart() {
        assert!(response_fields("Set-Cookie: a=b\r\n").sets_cookie);
        let withheld = "Set-Cookie: a=b\r\nCache-Control: private=\"x, set-cookie\"\r\n";
        let withholds = |lines: &str, name: &[u8]| {
            response_fields(lines).withheld().is_some_and(|names| names.contains(name))
        };
        assert!(!response_fields(withheld).sets_cookie && withholds(withheld, b"X"));
        let elsewhere = format!("{withheld}CDN-Cache-Control: private=\"x\"\r\n");
        assert!(response_fields(&elsewhere).sets_cookie && withholds(&elsewhere, b"X"));
    }

    /// Each name is held against each field, so that lists without end would be work without end.
    #[test]
    fn lists_of_more_than_64_names_stand_for_anything() {
        for (count, is_too_long) in [(64, false), (65, true)] {
            let names = vec!["a"; count].join(",");
            let vary = format!("Vary: {names}\r\n");
            assert_eq!(response_fields(&vary).varies_by_anything, is_too_long, "{count}");
            let lines = "Vary: a\r\n".repeat(count);
            assert_eq!(response_fields(&lines).varies_by_anything, is_too_long, "{count} lines");
            let private = format!("Cache-Control: private=\"{names}\"\r\n");
            assert_eq!(response_fields(&private).directives.private, is_too_long, "{count}");
        }
    }
}
