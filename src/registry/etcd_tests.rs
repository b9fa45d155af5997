use super::*;
use crate::mem::xorshift::Xorshift;

/// As etcd 3.4.23 has answered.
const RANGE: &str = r#"{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"7","raft_term":"2"},"kvs":[{"key":"L2h0dHBsYi92MS9h","create_revision":"5","mod_revision":"6","version":"2","value":"e30=","lease":"7587890123456789012"},{"key":"L2h0dHBsYi92MS9i","create_revision":"7","mod_revision":"7","version":"1"}],"count":"2"}"#;
const CREATED: &str =
    r#"{"result":{"header":{"cluster_id":"14841639068965178418","revision":"7"},"created":true}}"#;
const EVENTS: &str = r#"{"result":{"header":{"cluster_id":"1","revision":"9"},"events":[{"kv":{"key":"YQ==","mod_revision":"8","value":"Yg=="}},{"type":"DELETE","kv":{"key":"Yg==","mod_revision":"9"}}]}}"#;
const COMPACTED: &str =
    r#"{"result":{"header":{"revision":"120"},"canceled":true,"compact_revision":"107"}}"#;
const NO_LEADER: &str = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#;

fn key_value(key: &str, value: &str, lease: u64) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), lease }
}

#[test]
fn all_keys_are_read_with_values_and_leases() {
    let range = read_range(200, RANGE.as_bytes()).unwrap();
    assert_eq!(range.header, Header { cluster: 14_841_639_068_965_178_418, revision: 7 });
    let lease = 7_587_890_123_456_789_012;
    assert_eq!(
        range.keys,
        [key_value("/httplb/v1/a", "{}", lease), key_value("/httplb/v1/b", "", 0)]
    );
    let empty = read_range(200, br#"{"header":{"cluster_id":"1","revision":"1"}}"#).unwrap();
    assert!(empty.keys.is_empty());
}

#[test]
fn each_line_of_a_watch_is_what_it_says() {
    for (line, expected) in [
        (CREATED, WatchLine::Created),
        (COMPACTED, WatchLine::Compacted),
        (
            EVENTS,
            WatchLine::Changes(
                9,
                vec![KeyChange::Put(key_value("a", "b", 0)), KeyChange::Delete(b"b".to_vec())],
            ),
        ),
        (r#"{"result":{"header":{"revision":"12"}}}"#, WatchLine::Changes(12, Vec::new())),
        (
            r#"{"result":{"created":true,"canceled":true,"cancel_reason":"permission denied"}}"#,
            WatchLine::Cancelled(String::from("permission denied")),
        ),
    ] {
        assert_eq!(read_watch(line.as_bytes()), Ok(expected), "{line}");
    }
    let no_leader = EngineRefusal::Unavailable(String::from("no leader"));
    assert_eq!(read_watch(NO_LEADER.as_bytes()), Err(no_leader));
    for line in ["", "{}", "[]", "{\"result\":{\"events\":[{\"kv\":{\"key\":\"?\"}}]}}"] {
        assert_eq!(read_watch(line.as_bytes()), Err(not_understood()), "{line}");
    }
}

#[test]
fn leases_and_tokens() {
    let granted = br#"{"header":{"revision":"1"},"ID":"7587","TTL":"10"}"#;
    assert_eq!(read_grant(200, granted), Ok((7587, 10)));
    let kept = b"{\"result\":{\"header\":{},\"ID\":\"7587\",\"TTL\":\"10\"}}\n";
    assert_eq!(read_keep_alive(200, kept), Ok(10));
    assert_eq!(read_keep_alive(200, br#"{"result":{"header":{},"ID":"7587"}}"#), Ok(0));
    assert_eq!(read_token(200, br#"{"header":{},"token":"abc.12"}"#), Ok(String::from("abc.12")));
    assert_eq!(read_token(200, br#"{"token":"a\r\nX: y"}"#), Err(not_understood()));
    assert_eq!(read_change(200, br#"{"header":{"revision":"8"}}"#).map(|one| one.revision), Ok(8));
}

#[test]
fn a_refusal_says_whether_another_member_may_know_better() {
    let unavailable = |why: &str| EngineRefusal::Unavailable(why.to_owned());
    let refused = |why: &str| EngineRefusal::Refused(why.to_owned());
    for (status, body, expected) in [
        (
            503,
            r#"{"error":"etcdserver: request timed out","code":14}"#,
            unavailable("request timed out"),
        ),
        (503, r#"{"error":"etcdserver: leader changed","code":14}"#, EngineRefusal::Electing),
        (504, "", unavailable("it answers 504")),
        (
            401,
            r#"{"error":"etcdserver: invalid auth token","code":16}"#,
            unavailable("invalid auth token"),
        ),
        (
            400,
            r#"{"error":"etcdserver: user name is empty","code":3}"#,
            refused("user name is empty"),
        ),
        (
            403,
            r#"{"error":"etcdserver: permission denied","code":7}"#,
            refused("permission denied"),
        ),
        (
            429,
            r#"{"message":"etcdserver: mvcc: database space exceeded","code":8}"#,
            refused("mvcc: database space exceeded"),
        ),
        (404, "<html>", refused("it answers 404")),
    ] {
        assert_eq!(judge(status, body.as_bytes()), Err(expected), "{status} {body}");
    }
    let long = format!("{{\"error\":\"a\\n{}\"}}", "x".repeat(500));
    assert_eq!(judge(400, long.as_bytes()).unwrap_err().reason().len(), 200);
}

#[test]
fn requests_are_those_that_etcd_expects() {
    let range = range(b"/httplb/v1/");
    assert_eq!(range.to_string(), r#"{"key":"L2h0dHBsYi92MS8=","range_end":"L2h0dHBsYi92MTA="}"#);
    assert_eq!(end_of(b"a\xff"), b"b");
    assert_eq!(end_of(b"\xff"), b"\0");
    assert_eq!(watch(b"a", 8)["create_request"]["start_revision"], "8");
    assert_eq!(count(b"a")["count_only"], true);
    assert_eq!(put(b"a", "{}", 7).to_string(), r#"{"key":"YQ==","lease":"7","value":"e30="}"#);
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut random = Xorshift::new(5);
    for text in [RANGE, CREATED, EVENTS, COMPACTED, NO_LEADER] {
        for _ in 0..2_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            let _ = (read_range(200, &bytes), read_watch(&bytes), read_keep_alive(200, &bytes));
            let _ = (read_grant(200, &bytes), judge(500, &bytes), read_token(200, &bytes));
        }
    }
}
