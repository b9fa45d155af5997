use super::*;
use crate::http::date::imf_fixdate;
use crate::http::response;

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

const AT_ONCE: ResponseTiming = ResponseTiming { at: NOW, delay: 0 };

fn date(seconds: u64) -> String {
    String::from_utf8_lossy(&imf_fixdate(seconds)).into_owned()
}

/// The freshness of a response with these fields, `{-60}` in which is a date 60 s before it came.
fn with_status(status: u16, fields: &str, timing: ResponseTiming, ttl: u32) -> (Freshness, Basis) {
    let mut text = format!("HTTP/1.1 {status} \r\n");
    for line in fields.split("; ").filter(|line| !line.is_empty()) {
        let mut line = line.to_owned();
        if let Some((before, rest)) = line.clone().split_once('{') {
            let (offset, after) = rest.split_once('}').expect("closed");
            let offset: i64 = offset.parse().expect("a number");
            line = format!("{before}{}{after}", date(timing.at.saturating_add_signed(offset)));
        }
        text += &format!("{line}\r\n");
    }
    text += "\r\n";
    let head = response::parse(text.as_bytes()).expect("valid");
    Freshness::of(status, &ResponseCacheFields::new(head.fields), timing, ttl)
}

fn of(fields: &str) -> Freshness {
    with_status(200, fields, AT_ONCE, 0).0
}

fn wanted(value: &str) -> RequestDirectives {
    let mut directives = RequestDirectives::default();
    directives.add(value.as_bytes());
    directives
}

#[test]
fn the_lifetime_is_the_first_that_is_said() {
    for (fields, lifetime, basis) in [
        ("Cache-Control: max-age=60", 60, Basis::Explicit),
        ("Cache-Control: max-age=60, s-maxage=90; Expires: {10}", 90, Basis::Explicit),
        ("Cache-Control: s-maxage=0, max-age=60", 0, Basis::Explicit),
        ("Cache-Control: s-maxage=x, max-age=60", 0, Basis::Explicit),
        ("Cache-Control: max-age=x; Expires: {60}", 0, Basis::Explicit),
        ("Cache-Control: max-age=5, max-age=6", 0, Basis::Explicit),
        ("Cache-Control: max-age=0; Expires: {60}; Last-Modified: {-1000}", 0, Basis::Explicit),
        ("Cache-Control: max-age=60; Expires: 0", 60, Basis::Explicit),
        ("Expires: {60}", 60, Basis::Explicit),
        ("Expires: {60}; Date: {-10}", 70, Basis::Explicit),
        ("Expires: {60}; Date: {100}", 0, Basis::Explicit),
        ("Expires: {-60}", 0, Basis::Explicit),
        ("Expires: 0; Last-Modified: {-1000}", 0, Basis::Explicit),
        ("Expires: tomorrow", 0, Basis::Explicit),
        ("Expires: {60}; Expires: {60}", 0, Basis::Explicit),
        ("Expires: {60}; Date: yesterday", 60, Basis::Explicit),
        ("Expires: Friday, 31-Dec-99 23:59:59 GMT", 0, Basis::Explicit),
        ("Last-Modified: {-1000}", 100, Basis::Heuristic),
        ("Last-Modified: {-1009}", 100, Basis::Heuristic),
        ("Last-Modified: {-9}", 0, Basis::Heuristic),
        ("Last-Modified: {-1000}; Date: {-500}", 50, Basis::Heuristic),
        ("Last-Modified: {10}", 0, Basis::None),
        ("Last-Modified: never", 0, Basis::None),
        ("ETag: \"a\"", 0, Basis::None),
        ("", 0, Basis::None),
    ] {
        let (freshness, found) = with_status(200, fields, AT_ONCE, 0);
        assert_eq!((freshness.lifetime, found), (lifetime, basis), "{fields}");
    }
}

/// docs/CACHE.md, rule 2.
#[test]
fn a_targeted_field_replaces_cache_control_and_expires() {
    for (fields, lifetime, basis) in [
        ("CDN-Cache-Control: max-age=60; Cache-Control: max-age=5", 60, Basis::Explicit),
        ("CDN-Cache-Control: max-age=60; Expires: {-5}", 60, Basis::Explicit),
        ("CDN-Cache-Control: max-age=0; Cache-Control: s-maxage=5", 0, Basis::Explicit),
        ("CDN-Cache-Control: public; Cache-Control: max-age=5; Expires: {5}", 0, Basis::None),
        ("CDN-Cache-Control: max-age=\"60\"; Cache-Control: max-age=5", 5, Basis::Explicit),
        ("CDN-Cache-Control: max-age=60,; Expires: {7}", 7, Basis::Explicit),
        ("CDN-Cache-Control:; Cache-Control: max-age=5", 5, Basis::Explicit),
    ] {
        let (freshness, found) = with_status(200, fields, AT_ONCE, 0);
        assert_eq!((freshness.lifetime, found), (lifetime, basis), "{fields}");
    }
}

/// docs/CACHE.md, rule 5.
#[test]
fn heuristics_are_for_statuses_that_are_known_to_allow_them() {
    for status in 200..=599 {
        let may = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status);
        let fields = "Last-Modified: {-1000}";
        let expected = if may { (100, Basis::Heuristic) } else { (0, Basis::None) };
        let (freshness, basis) = with_status(status, fields, AT_ONCE, 0);
        assert_eq!((freshness.lifetime, basis), expected, "{status}");
        let public =
            with_status(status, "Last-Modified: {-1000}; Cache-Control: public", AT_ONCE, 0);
        assert_eq!((public.0.lifetime, public.1), (100, Basis::Heuristic), "{status}");
        let explicit = with_status(status, "Cache-Control: max-age=5", AT_ONCE, 0);
        assert_eq!((explicit.0.lifetime, explicit.1), (5, Basis::Explicit), "{status}");
    }
}

#[test]
fn the_configured_lifetime_is_for_200_that_says_nothing() {
    for (status, fields, lifetime, basis) in [
        (200, "", 30, Basis::Configured),
        (200, "ETag: \"a\"", 30, Basis::Configured),
        (200, "Cache-Control: max-age=0", 0, Basis::Explicit),
        (200, "Expires: 0", 0, Basis::Explicit),
        (200, "Last-Modified: {-100}", 10, Basis::Heuristic),
        (404, "", 0, Basis::None),
        (203, "", 0, Basis::None),
    ] {
        let (freshness, found) = with_status(status, fields, AT_ONCE, 30);
        assert_eq!((freshness.lifetime, found), (lifetime, basis), "{status} {fields}");
    }
}

/// docs/CACHE.md, rules 3 and 4.
#[test]
fn the_age_counts_from_where_the_answer_was_made() {
    for (fields, delay, age) in [
        ("", 0, 0),
        ("Age: 30", 0, 30),
        ("Age: 30", 5, 35),
        ("Age: 030", 0, 30),
        ("Date: {-30}", 5, 30),
        ("Date: {-30}; Age: 10", 0, 30),
        ("Date: {-30}; Age: 29", 5, 34),
        ("Date: {30}", 5, 5),
        ("Date: {30}; Age: 7", 0, 7),
        ("Age: 7, 0", 0, 7),
        ("Age: 0, 7", 0, 0),
        ("Age: 7; Age: 0", 0, 7),
        ("Age: 7;a=b", 0, 0),
        ("Age: seven", 0, 0),
        ("Age: -7", 0, 0),
        ("Age: 7.0", 0, 0),
        ("Age: \"7\"", 0, 0),
        ("Age:", 0, 0),
        ("Age: 2147483648", 0, MAX_SECONDS),
        ("Age: 99999999999999999999", u32::MAX, MAX_SECONDS),
        ("Date: then; Age: 3", 0, 3),
        ("Date: Thu, 01 Jan 1970 00:00:00 GMT", 0, NOW as u32),
    ] {
        let (freshness, _) = with_status(200, fields, ResponseTiming { at: NOW, delay }, 0);
        assert_eq!(freshness.age(NOW), age, "{fields}");
        assert_eq!(freshness.age(NOW + 100), (age + 100).min(MAX_SECONDS), "{fields}");
        // The clock was set back: nobody knows how long it has been here.
        assert_eq!(freshness.age(NOW - 1), MAX_SECONDS, "{fields}");
        assert_eq!(freshness.age(u64::MAX), MAX_SECONDS, "{fields}");
    }
}

#[test]
fn an_answer_is_fresh_until_its_lifetime_is_reached() {
    let freshness = of("Cache-Control: max-age=60; Age: 10");
    let judge = |seconds| freshness.judge(&RequestDirectives::default(), NOW + seconds);
    assert_eq!(judge(0), ServeDecision::Fresh);
    assert_eq!(judge(49), ServeDecision::Fresh);
    assert_eq!(judge(50), ServeDecision::Validate);
    assert_eq!((freshness.time_left(NOW), freshness.time_left(NOW + 60)), (50, -10));
    assert_eq!(
        of("Age: 5; Cache-Control: max-age=5").judge(&wanted(""), NOW),
        ServeDecision::Validate
    );
}

/// docs/CACHE.md, rule 14.
#[test]
fn what_the_client_demands_is_obeyed() {
    let by_max_stale =
        |fields: &str, request: &str, seconds| of(fields).judge(&wanted(request), NOW + seconds);
    let fresh = "Cache-Control: max-age=60";
    for (request, seconds, expected) in [
        ("no-cache", 0, ServeDecision::Validate),
        ("max-age=0", 0, ServeDecision::Validate),
        ("max-age=0", 1, ServeDecision::Validate),
        ("max-age=10", 10, ServeDecision::Fresh),
        ("max-age=10", 11, ServeDecision::Validate),
        ("max-age=x", 1, ServeDecision::Validate),
        ("max-age=100", 60, ServeDecision::Validate),
        ("min-fresh=10", 50, ServeDecision::Fresh),
        ("min-fresh=10", 51, ServeDecision::Validate),
        ("min-fresh=61", 0, ServeDecision::Validate),
        ("max-stale", 61, ServeDecision::Stale),
        ("max-stale", 1_000_000, ServeDecision::Stale),
        ("max-stale=5", 65, ServeDecision::Stale),
        ("max-stale=5", 66, ServeDecision::Validate),
        ("max-stale=5", 59, ServeDecision::Fresh),
        ("max-stale, max-age=70", 71, ServeDecision::Validate),
        ("max-stale, no-cache", 61, ServeDecision::Validate),
        ("only-if-cached", 10, ServeDecision::Fresh),
        ("no-store", 10, ServeDecision::Fresh),
    ] {
        assert_eq!(by_max_stale(fresh, request, seconds), expected, "{request} at {seconds}");
    }
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let fields = format!("Cache-Control: max-age=60, {forbidding}");
        assert_eq!(by_max_stale(&fields, "max-stale", 61), ServeDecision::Validate, "{forbidding}");
    }
}

/// docs/CACHE.md, rule 9.
#[test]
fn no_cache_is_validated_each_time() {
    let freshness = of("Cache-Control: max-age=60, no-cache");
    assert_eq!(freshness.when_stale, WhenStale::Validate);
    assert_eq!(freshness.judge(&wanted(""), NOW), ServeDecision::Validate);
    assert!(!freshness.may_replace(OriginFailure::Disconnected, &wanted(""), NOW));
    // Names of fields concern those fields alone.
    assert_eq!(
        of("Cache-Control: max-age=60, no-cache=\"a\"").judge(&wanted(""), NOW),
        ServeDecision::Fresh
    );
}

/// docs/CACHE.md, rule 13.
#[test]
fn a_stale_answer_is_served_while_it_is_asked_for_anew() {
    let freshness = of("Cache-Control: max-age=60, stale-while-revalidate=30");
    let judge = |request: &str, seconds| freshness.judge(&wanted(request), NOW + seconds);
    assert_eq!(judge("", 59), ServeDecision::Fresh);
    assert_eq!(judge("", 60), ServeDecision::WhileRevalidating);
    assert_eq!(judge("", 90), ServeDecision::WhileRevalidating);
    assert_eq!(judge("", 91), ServeDecision::Validate);
    assert_eq!(judge("no-cache", 61), ServeDecision::Validate);
    assert_eq!(judge("max-age=60", 61), ServeDecision::Validate);
    assert_eq!(judge("max-age=100", 61), ServeDecision::Validate, "RFC 9111 §5.2.1.1");
    assert_eq!(judge("max-age=100, max-stale", 61), ServeDecision::WhileRevalidating);
    assert_eq!(judge("max-stale=0", 61), ServeDecision::Validate);
    assert_eq!(judge("max-stale=1", 61), ServeDecision::WhileRevalidating);
    assert_eq!(judge("max-stale", 91), ServeDecision::Stale);
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let fields = format!("Cache-Control: max-age=60, stale-while-revalidate=30, {forbidding}");
        assert_eq!(
            of(&fields).judge(&wanted(""), NOW + 61),
            ServeDecision::Validate,
            "{forbidding}"
        );
    }
    for unreadable in ["stale-while-revalidate", "stale-while-revalidate=x"] {
        let fields = format!("Cache-Control: max-age=60, {unreadable}");
        assert_eq!(
            of(&fields).judge(&wanted(""), NOW + 60),
            ServeDecision::Validate,
            "{unreadable}"
        );
    }
}

#[test]
fn a_stale_answer_is_better_than_a_failure_where_it_is_allowed() {
    let plain = "max-age=60";
    let window = "max-age=60, stale-if-error=30";
    let (refused, late) = (OriginFailure::Disconnected, OriginFailure::Late);
    for (directives, request, trouble, seconds, expected) in [
        (plain, "", refused, 61, true),
        (plain, "", refused, 1_000_000, true),
        (plain, "", late, 61, false),
        (plain, "", OriginFailure::Status(503), 61, false),
        (window, "", refused, 90, true),
        (window, "", refused, 91, false),
        (window, "", late, 90, true),
        (window, "", late, 91, false),
        (window, "", OriginFailure::Status(500), 90, true),
        (window, "", OriginFailure::Status(502), 90, true),
        (window, "", OriginFailure::Status(503), 90, true),
        (window, "", OriginFailure::Status(504), 90, true),
        (window, "", OriginFailure::Status(504), 91, false),
        (window, "", OriginFailure::Status(501), 61, false),
        (window, "", OriginFailure::Status(404), 61, false),
        (window, "", OriginFailure::Status(200), 61, false),
        (plain, "stale-if-error=30", late, 90, true),
        (plain, "stale-if-error=30", late, 91, false),
        (plain, "no-cache", refused, 61, false),
        (window, "no-cache", refused, 61, false),
        (plain, "max-age=0", refused, 61, true),
        // It was fresh, and the client wanted it validated.
        (window, "max-age=0", late, 10, true),
    ] {
        let freshness = of(&format!("Cache-Control: {directives}"));
        let may = freshness.may_replace(trouble, &wanted(request), NOW + seconds);
        assert_eq!(may, expected, "{directives}; {request}; {trouble:?} at {seconds}");
    }
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let freshness = of(&format!("Cache-Control: {window}, {forbidding}"));
        for trouble in [refused, late, OriginFailure::Status(503)] {
            assert!(!freshness.may_replace(trouble, &wanted(""), NOW + 61), "{forbidding}");
        }
    }
}

/// docs/CACHE.md, rule 22.
#[test]
fn what_was_received_in_the_future_is_stale_until_a_backend_was_asked() {
    let fields = "Cache-Control: max-age=60, stale-while-revalidate=60, stale-if-error=60";
    let plain = RequestDirectives::default();
    for earlier in [1, 30, 100_000] {
        assert_eq!(of(fields).judge(&plain, NOW - earlier), ServeDecision::Validate);
        assert!(!of(fields).may_replace(OriginFailure::Status(503), &plain, NOW - earlier));
        assert!(of("Cache-Control: max-age=60").may_replace(
            OriginFailure::Disconnected,
            &plain,
            NOW - earlier
        ));
    }
    assert_eq!(of(fields).judge(&plain, NOW), ServeDecision::Fresh);
}

#[test]
fn a_stream_is_not_fresh_by_what_the_operator_says_of_answers() {
    let basis = |fields| with_status(200, fields, ResponseTiming { at: NOW, delay: 0 }, 60).1;
    assert_eq!(basis("Content-Type: text/html"), Basis::Configured);
    assert_eq!(basis("Content-Type: text/event-stream"), Basis::None);
    assert_eq!(basis("Content-Type: text/event-stream; Cache-Control: max-age=1"), Basis::Explicit);
}
