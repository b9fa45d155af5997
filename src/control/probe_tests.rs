use super::*;

fn ok() -> Statuses {
    Statuses::only(200)
}

/// How a check goes whose response begins so.
fn outcome(text: &str, healthy: &Statuses) -> Option<ProbeOutcome> {
    Some(match judge(text.as_bytes(), healthy, Tolerances::default())? {
        Judged::Head { outcome, .. } => outcome,
        Judged::Malformed { .. } => ProbeOutcome::BadResponse,
    })
}

#[test]
fn the_request_names_the_backend_or_the_host_that_is_configured() {
    let address = "10.0.0.7:8080".parse().unwrap();
    let mut out = Vec::new();
    let mut question = ProbeRequest {
        path: String::from("/up?x"),
        host: None,
        healthy: ok(),
        tolerate: Tolerances::default(),
    };
    write_request(&mut out, &question, None, address);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "GET /up?x HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nUser-Agent: httplb-check\r\n\
         Connection: close\r\n\r\n"
    );
    write_request(&mut out, &question, Some("app.internal"), address);
    assert!(out.starts_with(b"GET /up?x HTTP/1.1\r\nHost: app.internal\r\nUser"));
    question.host = Some(String::from("shop.example"));
    write_request(&mut out, &question, Some("app.internal"), address);
    assert!(out.starts_with(b"GET /up?x HTTP/1.1\r\nHost: shop.example\r\nUser"));
}

#[test]
fn only_the_very_status_is_healthy() {
    let of = |text: &str| outcome(text, &Statuses::only(204));
    assert_eq!(of("HTTP/1.1 204 No Content\r\n\r\n"), Some(ProbeOutcome::Answered(204)));
    assert_eq!(of("HTTP/1.0 204\r\nA: b\r\n\r\nbody"), Some(ProbeOutcome::Answered(204)));
    assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n"), Some(ProbeOutcome::WrongStatus(200)));
    assert_eq!(of("HTTP/1.1 500 No\r\n\r\n"), Some(ProbeOutcome::WrongStatus(500)));
}

#[test]
fn interim_responses_are_passed_over() {
    let text = "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(outcome(text, &ok()), Some(ProbeOutcome::Answered(200)));
    assert_eq!(outcome(&text[..40], &ok()), None);
}

#[test]
fn what_is_not_http_is_no_answer() {
    assert_eq!(outcome("HTTP/1.1 2", &ok()), None);
    for text in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 099 x\r\n\r\n"] {
        assert_eq!(outcome(text, &ok()), Some(ProbeOutcome::BadResponse), "{text}");
    }
}

#[test]
fn a_response_has_ended_with_its_body_however_that_is_framed_and_cut() {
    for (framing, body, ends) in [
        ("Content-Length: 5", "hello", true),
        ("Content-Length: 6", "hello", false),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", true),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n", false),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\nnonsense", true),
        ("A: b", "hello", false),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        let Some(Judged::Head { len, rest, .. }) =
            judge(head.as_bytes(), &ok(), Tolerances::default())
        else {
            panic!("{head}")
        };
        assert_eq!(len, head.len());
        for cut in 0..body.len() {
            let mut rest = rest;
            rest.take(&body.as_bytes()[..cut]);
            rest.take(&body.as_bytes()[cut..]);
            assert_eq!(rest.is_over(), ends, "{framing} {body} cut at {cut}");
            assert_eq!(rest.taken, body.len());
        }
    }
}
