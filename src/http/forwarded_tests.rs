use super::*;
use crate::http::request;
use crate::http::rewrite;
use crate::mem::buffer::Buffer;

const ALL: ForwardFields =
    ForwardFields { x_forwarded: true, forwarded: true, x_real_ip: true, x_forwarded_port: true };

/// The lines of a request with these further lines that speak of the client.
fn written(lines: &str, change: impl FnOnce(&mut Forward)) -> String {
    let head = format!("GET / HTTP/1.1\r\nHost: shop.example:8443\r\n{lines}\r\n");
    let head = request::parse(head.as_bytes()).expect(lines);
    let mut forward = Forward::new("192.0.2.7".parse().unwrap(), b"id");
    forward.fields = ALL;
    change(&mut forward);
    let mut out = Buffer::new(vec![0; 4096].leak());
    rewrite::request(&head, &forward, &mut out).expect("it fits");
    let text = String::from_utf8(out.as_slice().to_vec()).unwrap();
    let speaks = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("x-f")
            || line.starts_with("x_")
            || line.contains("orwarded: ")
            || line.starts_with("x-real")
    };
    text.split("\r\n").filter(speaks).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_backend_is_told_of_the_client_in_the_ways_that_are_wanted() {
    assert_eq!(
        written("", |_| ()),
        "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\n\
         X-Forwarded-Host: shop.example:8443\nX-Forwarded-Port: 8443\n\
         Forwarded: for=192.0.2.7;host=\"shop.example:8443\";proto=http\nX-Real-IP: 192.0.2.7\n"
    );
    let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
    assert_eq!(written("", |forward| forward.fields = none), "");
    let only = ForwardFields { forwarded: true, ..none };
    assert_eq!(
        written("", |forward| {
            forward.fields = only;
            forward.client = "2001:db8::7".parse().ok();
            forward.tls = true;
        }),
        "Forwarded: for=\"[2001:db8::7]\";host=\"shop.example:8443\";proto=https\n"
    );
}

#[test]
fn what_a_client_says_of_itself_goes_no_further() {
    let forged = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
        X_Real_IP: 1.1.1.1\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Proto: https\r\n\
        X_Forwarded_For: 1.1.1.1\r\n";
    assert_eq!(written(forged, |_| ()), written("", |_| ()));
    let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
    let kept = written(forged, |forward| forward.fields = none);
    assert_eq!(kept, "X-Real-IP: 1.1.1.1\nX_Real_IP: 1.1.1.1\n", "it is a field like others");
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let lines = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\
        X-Real-IP: 203.0.113.9\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: a\r\n";
    assert_eq!(
        written(lines, |forward| forward.trusted = true),
        "X-Real-IP: 203.0.113.9\nX-Forwarded-Port: 443\nX-Forwarded-Proto: https\n\
         X-Forwarded-Host: a\nX-Forwarded-For: 203.0.113.9, 192.0.2.7\n\
         Forwarded: for=203.0.113.9, for=192.0.2.7;host=\"shop.example:8443\";proto=http\n"
    );
    let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
    let kept = written("X-Forwarded-For: 203.0.113.9\r\n", |forward| {
        (forward.trusted, forward.fields) = (true, none);
    });
    assert_eq!(kept, "X-Forwarded-For: 203.0.113.9\n");
}

#[test]
fn who_comes_by_a_unix_socket_has_no_address_and_only_what_it_says_is_told_if_it_is_trusted() {
    let of = |lines: &str, trusted| {
        written(lines, |forward| (forward.client, forward.trusted) = (None, trusted))
    };
    let own = "X-Forwarded-Proto: http\nX-Forwarded-Host: shop.example:8443\n\
               X-Forwarded-Port: 8443\nForwarded: for=unknown;host=\"shop.example:8443\";\
               proto=http\n";
    let said = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n\
                X-Real-IP: 203.0.113.9\r\n";
    assert_eq!(of("", false), own);
    assert_eq!(of(said, false), own);
    assert_eq!(of("X-Forwarded-For:\r\n", true), own);
    let kept = "X-Real-IP: 203.0.113.9\nX-Forwarded-For: 203.0.113.9, 10.0.0.1\n";
    assert_eq!(of(said, true), format!("{kept}{own}"));
}

#[test]
fn the_port_is_that_of_the_connection_else_of_the_host_else_the_usual_one() {
    let port_with = |lines: &str, port, tls| {
        let head = format!("GET / HTTP/1.1\r\nHost: {lines}\r\n\r\n");
        let head = request::parse(head.as_bytes()).expect(lines);
        let forward = Forward { port, tls, ..Forward::new("192.0.2.7".parse().unwrap(), b"id") };
        super::port(&head, &forward)
    };
    assert_eq!(port_with("a:8443", Some(9000), true), 9000);
    assert_eq!(port_with("a:8443", None, true), 8443);
    assert_eq!((port_with("a", None, true), port_with("a", None, false)), (443, 80));
    assert_eq!((port_with("[::1]", None, false), port_with("[::1]:81", None, false)), (80, 81));
}

#[test]
fn passes_are_counted_over_all_lines_and_cases_however_many_fields_there_are() {
    let passes_of = |lines: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        passes(&request::parse(head.as_bytes()).expect(lines))
    };
    assert_eq!(passes_of(""), 0);
    assert_eq!(passes_of("CDN-Loops: httplb\r\nX-CDN-Loop: httplb\r\nCDN-Loop:\r\n"), 0);
    assert_eq!(passes_of("cdn-loop: httplb\r\nCDN-LOOP: other, httplb ,httplb\r\n"), 3);
    let many = "Cookie: a=b\r\n".repeat(20);
    assert_eq!(passes_of(&format!("{many}CDN-Loop: httplb\r\n{many}CDN-Loop: httplb\r\n")), 2);
    let nominated = "Connection: cdn-loop\r\nCDN-Loop: httplb\r\n";
    assert_eq!(passes_of(nominated), 1);
}
