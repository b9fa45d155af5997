//! The cache: who is answered from it, with what, and who never is.

use crate::common::{
    Answer, Backend, Program, assert_same_bytes, json, noise,
    stored::{Shelf, ask, ask_by, fresh, is_hit, metric, status},
    until,
};

#[test]
fn what_was_asked_for_once_is_not_asked_for_again() {
    let backend = Backend::answering(|request| {
        let size: usize = request.target.trim_start_matches("/?").parse().unwrap_or(0);
        fresh(noise(size, size as u64))
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    let sizes = [0, 1, 100, 15_000, 16_384, 16_385, 65_536, 100_000, 1 << 20, (3 << 20) + 7];
    for (count, size) in sizes.into_iter().enumerate() {
        let target = format!("/?{size}");
        let first = program.get(&target);
        assert_eq!(status(&first), "fwd=uri-miss; stored", "{size}");
        for _ in 0..3 {
            let response = program.get(&target);
            assert!(is_hit(&response), "{size}: {}", status(&response));
            assert_same_bytes(&response.body, &noise(size, size as u64), &target);
            assert_eq!(response.field("Content-Length"), Some(size.to_string().as_str()));
            assert!(response.field("Age").is_some());
        }
        assert_eq!(backend.request_count(), count + 1);
    }
    let requests = |result: &str| {
        metric(&program, &format!("httplb_cache_requests_total{{result=\"{result}\"}}"))
    };
    assert_eq!((requests("miss"), requests("hit")), (10, 30));
    let bytes = metric(&program, "httplb_cache_bytes");
    assert_eq!(bytes, shelf.used());
}

#[test]
fn a_backend_is_told_its_own_name_also_where_it_is_asked_whether_an_answer_is_still_right() {
    let backend = Backend::answering(|request| match request.field("If-None-Match") {
        None => Answer::text("a").with("ETag", "\"1\"").with("Cache-Control", "max-age=0"),
        Some(_) => Answer::raw("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"),
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for wanted in ["fwd=uri-miss; stored", "fwd=stale; fwd-status=304; stored"] {
        let mut client = program.client();
        client.send("GET /x HTTP/1.0\r\nX-A: b\r\n\r\n");
        let response = client.response();
        assert_eq!((response.text().as_str(), status(&response).as_str()), ("a", wanted));
        let request = backend.last_request();
        assert_eq!(request.head.all("Host"), [backend.address.to_string()]);
        assert_eq!((request.line(), request.field("X-A")), ("GET /x HTTP/1.1", Some("b")));
    }
    assert!(backend.last_request().head.has("If-None-Match"));
}

/// It lives by its `Upgrade`, which is for one connection.
#[test]
fn a_426_is_not_stored() {
    let backend = Backend::always(
        Answer::status("426 Upgrade Required", "a")
            .with("Upgrade", "websocket")
            .with("Cache-Control", "max-age=60"),
    );
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for count in 1..=2 {
        assert_eq!(program.get("/").field("Upgrade"), Some("websocket"));
        assert_eq!(backend.request_count(), count);
    }
}

#[test]
fn answers_of_any_framing_are_stored_when_their_end_is_sure() {
    let body = noise(50_000, 1);
    let until_close = {
        let head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n";
        Answer::raw([&head[..], &body].concat()).then_close()
    };
    let chunked = {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
            Cache-Control: max-age=60\r\n\r\n"
            .to_vec();
        for chunk in body.chunks(7000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        Answer::raw(bytes)
    };
    let cut = {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\nCache-Control: max-age=60\r\n\r\n";
        Answer::raw([&head[..], &body].concat()).then_close()
    };
    let backend = Backend::answering(move |request| match request.target.as_str() {
        "/close" => until_close.clone(),
        "/chunked" => chunked.clone(),
        _ => cut.clone(),
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for target in ["/close", "/chunked"] {
        assert_same_bytes(&ask(&program, target, "").body, &noise(50_000, 1), target);
        let hit = ask(&program, target, "");
        assert!(is_hit(&hit), "{target}: {}", status(&hit));
        assert_same_bytes(&hit.body, &noise(50_000, 1), target);
    }
    for count in 3..6 {
        let mut client = program.client();
        client.ask("/cut");
        let cut = client.receive("GET").expect_err("cut short");
        assert_eq!(cut.response.expect("a head").body.len(), 50_000);
        backend.wait_for_requests(count);
    }
    assert_eq!(shelf.files().len(), 2);
}

#[test]
fn a_stored_whole_answers_head_conditions_and_ranges() {
    let body = noise(300_000, 3);
    let answer = fresh(&body)
        .with("ETag", "\"one\"")
        .with("Last-Modified", "Sat, 21 Nov 2020 10:00:00 GMT")
        .with("Content-Type", "image/png");
    let backend = Backend::always(answer);
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    program.get("/a");
    let head = ask_by(&program, "HEAD", "/a", "");
    assert!(is_hit(&head) && head.body.is_empty());
    assert_eq!(head.field("Content-Length"), Some("300000"));
    for condition in [
        "If-None-Match: \"one\"",
        "If-None-Match: W/\"one\"",
        "If-None-Match: \"x\", \"one\"",
        "If-None-Match: *",
        "If-Modified-Since: Sat, 21 Nov 2020 10:00:00 GMT",
    ] {
        let response = ask(&program, "/a", condition);
        assert_eq!(response.status, 304, "{condition}");
        assert!(response.field("ETag") == Some("\"one\"") && response.body.is_empty());
    }
    for condition in [
        "If-None-Match: \"two\"",
        "If-None-Match: \"two\" | If-Modified-Since: Sat, 21 Nov 2020 10:00:00 GMT",
        "If-Modified-Since: Sat, 21 Nov 2020 09:59:59 GMT",
        "Range: bytes=0-9 | If-Range: \"two\"",
    ] {
        let response = ask(&program, "/a", condition);
        assert_eq!(response.status, 200, "{condition}");
        assert_same_bytes(&response.body, &body, condition);
    }
    for (range, part) in [
        ("Range: bytes=0-9", 0..10),
        ("Range: bytes=299999-", 299_999..300_000),
        ("Range: bytes=-1000", 299_000..300_000),
        ("Range: bytes=100000-400000", 100_000..300_000),
        ("Range: bytes=7-7 | If-Range: \"one\"", 7..8),
    ] {
        let response = ask(&program, "/a", range);
        let expected = format!("bytes {}-{}/300000", part.start, part.end - 1);
        assert_eq!((response.status, response.field("Content-Range")), (206, Some(&*expected)));
        assert_same_bytes(&response.body, &body[part], range);
    }
    let beyond = ask(&program, "/a", "Range: bytes=300000-");
    assert_eq!((beyond.status, beyond.field("Content-Range")), (416, Some("bytes */300000")));
    assert_eq!(backend.request_count(), 1);
}

#[test]
fn who_differs_in_what_an_answer_varies_by_gets_another() {
    let backend = Backend::answering(|request| {
        let field = |name| request.field(name).unwrap_or("-").to_owned();
        fresh(format!("{} {}", field("Accept-Language"), field("X-Kind")))
            .with("Vary", "Accept-Language")
            .with("Vary", "X-Kind")
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    let kinds = [
        ("", "- -"),
        ("Accept-Language: de", "de -"),
        ("Accept-Language: de | X-Kind: a", "de a"),
        ("Accept-Language: fr | X-Kind: a", "fr a"),
    ];
    for round in 0..2 {
        for (fields, text) in kinds {
            let response = ask(&program, "/", fields);
            assert_eq!(response.text(), text, "{fields}");
            assert_eq!(is_hit(&response), round > 0, "{fields}: {}", status(&response));
        }
    }
    // White space and the order of equal weights count for nothing.
    assert!(is_hit(&ask(&program, "/", "accept-language:   de  ")));
    assert_eq!(backend.request_count(), kinds.len());
}

#[test]
fn what_is_for_one_client_is_never_given_to_another() {
    let backend = Backend::answering(|request| {
        let answer = Answer::text(request.field("Authorization").unwrap_or("nobody"));
        match request.target.as_str() {
            "/cookie" => answer.with("Cache-Control", "max-age=60").with("Set-Cookie", "id=1"),
            "/private" => answer.with("Cache-Control", "max-age=60, private"),
            "/no-store" => answer.with("Cache-Control", "no-store"),
            "/varies" => answer.with("Cache-Control", "max-age=60").with("Vary", "*"),
            "/public" => answer.with("Cache-Control", "max-age=60, public"),
            _ => answer.with("Cache-Control", "max-age=60"),
        }
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for target in ["/cookie", "/private", "/no-store", "/varies"] {
        for _ in 0..3 {
            assert!(!is_hit(&ask(&program, target, "")), "{target}");
        }
    }
    // With credentials: only what says that it is for all.
    assert_eq!(ask(&program, "/own", "Authorization: Basic a").text(), "Basic a");
    assert_eq!(ask(&program, "/own", "Authorization: Basic b").text(), "Basic b");
    assert_eq!(ask(&program, "/own", "").text(), "nobody");
    assert_eq!(ask(&program, "/own", "Authorization: Basic c").text(), "Basic c");
    assert_eq!(ask(&program, "/public", "Authorization: Basic a").text(), "Basic a");
    let shared = ask(&program, "/public", "Authorization: Basic b");
    assert!(is_hit(&shared) && shared.text() == "Basic a");
}

#[test]
fn stored_answers_carry_no_sticky_cookie() {
    let backends = [Backend::always(fresh("a")), Backend::always(fresh("a"))];
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backends[0], &backends[1]]);
    config["sticky"] = json!(true);
    let program = Program::operated(config);
    let first = program.get("/");
    assert!(first.field("Set-Cookie").is_some_and(|cookie| cookie.starts_with("sticky_backend=")));
    for _ in 0..4 {
        let hit = program.get("/");
        assert!(is_hit(&hit) && hit.field("Set-Cookie").is_none());
    }
    for path in shelf.files() {
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"sticky_backen"));
    }
}

#[test]
fn an_unsafe_method_makes_void_what_is_stored() {
    let backend = Backend::answering(|request| match request.method.as_str() {
        "GET" => fresh("a"),
        _ if request.target == "/fails" => Answer::status("500 Internal Server Error", ""),
        _ => Answer::text("done").with("Location", "/other"),
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    let fill = || ["/a", "/other", "/fails"].map(|target| drop(program.get(target)));
    fill();
    ask_by(&program, "POST", "/a", "Content-Length: 0");
    assert!(!is_hit(&program.get("/a")) && !is_hit(&program.get("/other")));
    ask_by(&program, "DELETE", "/fails", "");
    assert!(is_hit(&program.get("/fails")), "an error changes nothing");
    ask_by(&program, "PURIFY", "/a", "");
    assert!(!is_hit(&program.get("/a")), "a method that is not known may do anything");
}

#[test]
fn an_operator_purges_a_url_or_a_prefix() {
    let backend = Backend::answering(|request| {
        fresh(request.field("X-Kind").unwrap_or("-")).with("Vary", "X-Kind")
    });
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backend]);
    config["workers"] = json!(2);
    let program = Program::operated(config);
    let fill = || {
        for target in ["/img/1", "/img/2", "/imgs", "/"] {
            for kind in ["X-Kind: a", "X-Kind: b"] {
                ask(&program, target, kind);
                until("it is stored", || is_hit(&ask(&program, target, kind)));
            }
        }
    };
    fill();
    let purge = |body: &str| {
        let reply = program.ask("POST /v1/cache/purge", body);
        (reply.status, reply.json()["purged"].as_u64())
    };
    assert_eq!(purge("{\"url\": \"http://test/img/1\"}"), (200, Some(2)));
    assert!(!is_hit(&ask(&program, "/img/1", "X-Kind: a")));
    assert!(is_hit(&ask(&program, "/img/2", "X-Kind: a")));
    fill();
    assert_eq!(purge("{\"prefix\": \"http://TEST:80/img/\"}"), (200, Some(4)));
    for (target, stays) in [("/img/1", false), ("/img/2", false), ("/imgs", true), ("/", true)] {
        assert_eq!(is_hit(&ask(&program, target, "X-Kind: b")), stays, "{target}");
    }
    assert_eq!(purge("{\"prefix\": \"http://nobody/\"}"), (200, Some(0)));
    fill();
    assert_eq!(purge("{\"prefix\": \"http://test\"}"), (200, Some(8)));
    assert_eq!((shelf.files().len(), metric(&program, "httplb_cache_bytes")), (0, 0));
    for wrong in ["", "{}", "{\"url\": \"/img\"}", "{\"url\": \"http://a/\", \"prefix\": \"b\"}"] {
        assert_eq!(purge(wrong).0, 400, "{wrong}");
    }
}

#[test]
fn an_answer_that_says_nothing_is_fresh_for_default_ttl() {
    let backend = Backend::always(Answer::text("a"));
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backend]);
    let program = Program::operated(config.clone());
    assert!(!is_hit(&program.get("/")) && !is_hit(&program.get("/")));
    drop(program);
    config["cache"]["default_ttl"] = json!("1m");
    let program = Program::operated(config);
    assert!(!is_hit(&program.get("/")));
    let hit = status(&program.get("/"));
    assert!(hit == "hit; ttl=60" || hit == "hit; ttl=59", "{hit}");
}

#[test]
fn what_is_larger_than_max_object_passes_unstored() {
    let backend = Backend::answering(|request| {
        let body = noise(200_000, 1);
        match request.target.as_str() {
            "/length" => fresh(body),
            _ => Answer::raw(
                [&b"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\n"[..], &body].concat(),
            )
            .then_close(),
        }
    });
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backend]);
    config["cache"]["max_object"] = json!(199_999);
    let program = Program::operated(config);
    for target in ["/length", "/close"] {
        for _ in 0..2 {
            let response = program.get(target);
            assert!(!is_hit(&response));
            assert_same_bytes(&response.body, &noise(200_000, 1), target);
        }
    }
    assert!(shelf.files().is_empty());
}

/// What is keyed in a normal form goes on in that form: else one client that spells the host oddly
/// stores the redirect to its canonical name for all others.
#[test]
fn an_odd_spelling_of_the_host_spoils_nothing_for_others() {
    let backend = Backend::answering(|request| {
        let (host, forwarded) = (request.field("Host"), request.field("X-Forwarded-Host"));
        match (host, forwarded) {
            (Some("test"), Some("test")) => fresh("the page"),
            _ => Answer::status("301 Moved Permanently", "")
                .with("Location", "http://test/")
                .with("Cache-Control", "max-age=3600"),
        }
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for (count, host) in ["TEST", "Test:80", "test:", "test"].into_iter().enumerate() {
        let mut client = program.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, "the page".into()), "{host}");
        assert_eq!(is_hit(&response), count > 0, "{host}");
    }
    let mut client = program.client();
    client.send("GET http://TEST:80/ HTTP/1.1\r\nHost: other\r\n\r\n");
    assert!(is_hit(&client.response()));
    assert_eq!(backend.request_count(), 1);
}

#[test]
fn what_is_encoded_without_vary_is_given_to_nobody_who_cannot_decode_it() {
    let backend = Backend::answering(|request| {
        match request.field("Accept-Encoding").is_some_and(|codings| codings.contains("gzip")) {
            true => fresh("compressed").with("Content-Encoding", "gzip"),
            false => fresh("plain"),
        }
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for round in 0..2 {
        for (fields, text) in [
            ("Accept-Encoding: gzip", "compressed"),
            ("", "plain"),
            ("Accept-Encoding: br", "plain"),
        ] {
            let response = ask(&program, "/", fields);
            assert_eq!((response.text(), is_hit(&response)), (text.into(), round > 0), "{fields}");
        }
    }
}
