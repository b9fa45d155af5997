use super::super::request_parser::After;
use super::*;
use crate::policy::explain::{Question, SOMEBODY};

fn ask_at(access: AccessLevel, line: &str, body: &str) -> Result<Command, (u16, String)> {
    let (method, target) = line.split_once(' ').unwrap();
    let request = ApiRequest {
        method: Method::from_name(method.as_bytes()),
        target: target.to_owned(),
        authorization: None,
        body: body.as_bytes().to_vec(),
        after: After::Keep,
    };
    read(access, &request).map_err(|answer| (answer.status, answer.body))
}

fn ask(line: &str) -> Result<Command, (u16, String)> {
    ask_at(AccessLevel::Socket, line, "")
}

fn place_of(pool: &str, backend: &str) -> BackendRef {
    BackendRef { pool: pool.to_owned(), address: backend.parse().unwrap() }
}

#[track_caller]
fn assert_refused(line: &str, body: &str, status: u16, part: &str) {
    let (found, text) = ask_at(AccessLevel::Socket, line, body).unwrap_err();
    assert_eq!(found, status, "{line} {text}");
    assert!(text.contains(part), "{line}: {text}");
}

#[test]
fn the_page_and_the_diary_have_parameters() {
    let page = |window, name: Option<&str>| Ok(Command::Page(window, name.map(str::to_owned)));
    assert_eq!(ask("GET /?window=all&page=x"), page(PageWindow::All, Some("x")));
    assert_eq!(ask("GET /?window=10s"), page(PageWindow::ALL[0], None));
    assert_eq!(ask("GET /held?page=x"), Ok(Command::Hold(String::from("x"))));
    assert_eq!(ask("GET /v1/slow"), Ok(Command::Diary(DiaryPart::Slow, 50)));
    assert_eq!(ask("GET /v1/errors?n=256"), Ok(Command::Diary(DiaryPart::Errors, 256)));
    assert_eq!(ask("GET /v1/events?n=1"), Ok(Command::Diary(DiaryPart::Events, 1)));
    for refused in ["/?window=2m", "/?x=1", "/held?x=1", "/v1/slow?n=0", "/v1/slow?n=257"] {
        assert_eq!(ask(&format!("GET {refused}")).unwrap_err().0, 400, "{refused}");
    }
    assert_eq!(ask("POST /v1/errors").unwrap_err().0, 405);
}

#[test]
fn looking_needs_only_the_path() {
    assert_eq!(ask("GET /v1/status"), Ok(Command::Status));
    assert_eq!(ask("HEAD /v1/pools"), Ok(Command::Pools));
    assert_eq!(ask("GET /v1/pools/a%2fb"), Ok(Command::Pool(String::from("a/b"))));
    assert_eq!(ask("GET /"), Ok(Command::Page(PageWindow::ALL[0], None)));
    assert_eq!(ask("GET /metrics?x=y"), Ok(Command::Metrics));
    assert_eq!(ask("GET /healthz"), Ok(Command::Health(Vec::new())));
}

#[test]
fn at_the_status_address_nothing_can_be_changed() {
    assert_eq!(
        ask_at(AccessLevel::Status, "GET /", ""),
        Ok(Command::Page(PageWindow::ALL[0], None))
    );
    for line in ["GET /v1/status", "POST /v1/reload", "PUT /v1/pools/a/backends/10.0.0.7:80"] {
        assert_eq!(ask_at(AccessLevel::Status, line, "").unwrap_err().0, 404, "{line}");
    }
    assert_eq!(ask_at(AccessLevel::Status, "POST /", "").unwrap_err().0, 405);
}

#[test]
fn a_backend_registers_with_what_it_says_of_itself() {
    let plain = RegistrationRequest::default();
    let place = place_of("api", "10.0.0.7:80");
    assert_eq!(
        ask("PUT /v1/pools/api/backends/10.0.0.7:80"),
        Ok(Command::Register(place.clone(), plain))
    );
    let full = RegistrationRequest {
        lease: Some(Millis(10_000)),
        weight: Some(256),
        max_connections: Some(0),
        backup: Some(true),
        state: Some(AdminState::Drain),
    };
    assert_eq!(
        ask(concat!(
            "PUT /v1/pools/api/backends/10.0.0.7:80",
            "?lease=10s&weight=256&max_connections=0&backup=true&state=drain"
        )),
        Ok(Command::Register(place, full))
    );
    assert_eq!(
        ask("PUT /v1/pools/a.b_c-1/backends/%5Bfd00%3A%3A7%5D:80"),
        Ok(Command::Register(place_of("a.b_c-1", "[fd00::7]:80"), plain))
    );
    for (written, meant) in [
        ("unix:%2Frun%2Fapp.sock", "unix:/run/app.sock"),
        ("unix%3A%2frun%2Fa%20b%25", "unix:/run/a b%"),
        ("unix:@app", "unix:@app"),
    ] {
        assert_eq!(
            ask(&format!("DELETE /v1/pools/a/backends/{written}")),
            Ok(Command::Remove(place_of("a", meant)))
        );
    }
}

#[test]
fn a_registration_with_mistakes_is_told_them() {
    let cases = [
        ("?lease=10", "has no unit"),
        ("?lease=1ms", "out of range (write 100ms to 24h)"),
        ("?lease=25h", "out of range"),
        ("?weight=0", "write 1 to 256"),
        ("?weight=+1", "write 1 to 256"),
        ("?weight=08", "write 1 to 256"),
        ("?backup=yes", "write true or false"),
        ("?state=leaving", "is not a state (write"),
        ("?max_connections=00", "write 0 to 1000000"),
        ("?lease=010s", "begins with a zero"),
        ("?weight=", "write 1 to 256"),
        ("?max_connections=1000001", "write 0 to 1000000"),
        ("?wieght=1", "unknown parameter \\\"wieght\\\" (there are"),
        ("?weight=1&weight=2", "weight is given twice"),
        ("?weight=%zz", "percent-encoded"),
        ("?weight=%ff", "percent-encoded"),
    ];
    for (query, part) in cases {
        assert_refused(&format!("PUT /v1/pools/a/backends/10.0.0.7:80{query}"), "", 400, part);
    }
    for (path, part) in [
        ("/v1/pools/a/backends/10.0.0.7", "has no port (write"),
        ("/v1/pools/a/backends/10.0.0.7:080", "has no valid port"),
        ("/v1/pools/a/backends/localhost:80", "not looked up"),
        ("/v1/pools/a/backends/10.0.0.7:0", "has port 0"),
        ("/v1/pools/a/backends/unix:app.sock", "is not the path of a Unix socket"),
        ("/v1/pools/a/backends/unix:%2Fa%0Ab", "has control characters"),
        (
            "/v1/pools/a/backends/unix:/run/app.sock",
            "(write \\\"/v1/pools/a/backends/unix:%2Frun%2Fapp.sock\\\")",
        ),
        ("/v1/pools//backends/10.0.0.7:80", "not a name for a pool"),
        ("/v1/pools/a%20b/backends/10.0.0.7:80", "not a name for a pool"),
    ] {
        assert_refused(&format!("PUT {path}"), "", 400, part);
    }
}

#[test]
fn a_backend_is_adjusted_by_json() {
    let line = "PATCH /v1/pools/a/backends/10.0.0.7:80";
    let adjusted = |body: &str| match ask_at(AccessLevel::Token, line, body) {
        Ok(Command::Adjust(_, adjustment)) => adjustment,
        other => panic!("{other:?}"),
    };
    let both = Wish { state: Some(AdminState::Drain), weight: Some(5), max_connections: None };
    assert_eq!(adjusted("{\"state\": \"drain\", \"weight\": 5}"), both);
    assert_eq!(adjusted("{\"state\": \"ready\"}").state, Some(AdminState::Ready));
    assert_eq!(adjusted("{\"state\": \"maint\"}").weight, None);
    let cap = |body: &str| adjusted(body).max_connections;
    assert_eq!(cap("{\"max_connections\": \"auto\"}"), Some(AUTO_CAP));
    assert_eq!(cap("{\"max_connections\": 0}"), Some(0));
    for (body, part) in [
        ("", "no JSON object"),
        ("{", "EOF"),
        ("{}", "nothing is to be changed"),
        ("[\"drain\", 5]", "no JSON object"),
        ("{\"state\": \"off\"}", "is not a state"),
        ("{\"state\": \"leaving\"}", "is not a state"),
        ("{\"weight\": 0}", "1 to 256"),
        ("{\"max_connections\": \"Auto\"}", "write 0 to 1000000, or \\\"auto\\\""),
        ("{\"max_connections\": 1000001}", "write 0 to 1000000"),
        ("{\"weight\": -1}", "weight: -1 is not right (write 1 to 256)"),
        ("{\"weight\": \"5\"}", "weight: \\\"5\\\" is not right"),
        ("{\"max_connections\": -1}", "max_connections: -1 is not right (write 0"),
        ("{\"wieght\": 1}", "unknown field"),
        ("{\"weight\": 1, \"weight\": 2}", "duplicate field"),
        ("{\"weight\": 1}x", "trailing"),
        ("{\u{0}}", "key must be"),
    ] {
        assert_refused(line, body, 400, part);
    }
}

#[test]
fn what_is_to_be_purged_is_a_url_or_a_beginning() {
    let body = Command::Purge(b"{".to_vec());
    assert_eq!(ask_at(AccessLevel::Token, "POST /v1/cache/purge", "{"), Ok(body));
    let url = PurgeTarget::Url(String::from("http://a/x"));
    assert_eq!(purge(b"{\"url\": \"http://a/x\"}"), Ok(url));
    let prefix = PurgeTarget::Prefix(String::from("http://a/"));
    assert_eq!(purge(b" {\"prefix\": \"http://a/\"}"), Ok(prefix));
    for (body, part) in [
        ("", "no JSON object"),
        ("[\"http://a/\"]", "no JSON object"),
        ("{}", "nothing is to be purged"),
        ("{\"url\": \"http://a/\", \"prefix\": \"http://a/\"}", "either"),
        ("{\"uri\": \"http://a/\"}", "unknown field"),
        ("{\"url\": 7}", "invalid type"),
    ] {
        let answer = purge(body.as_bytes()).unwrap_err();
        assert!(answer.status == 400 && answer.body.contains(part), "{body}: {}", answer.body);
    }
}

#[test]
fn what_cannot_be_done_somewhere_says_what_can() {
    for (line, allow) in [
        ("POST /v1/status", "GET, HEAD"),
        ("GET /v1/reload", "POST"),
        ("GET /v1/cache/purge", "POST"),
        ("POST /v1/pools/a/backends/10.0.0.7:80", "PUT, DELETE, PATCH"),
    ] {
        let (method, target) = line.split_once(' ').unwrap();
        let request = ApiRequest {
            method: Method::from_name(method.as_bytes()),
            target: target.to_owned(),
            authorization: None,
            body: Vec::new(),
            after: After::Keep,
        };
        let answer = read(AccessLevel::Socket, &request).unwrap_err();
        assert_eq!(answer.status, 405, "{line}");
        assert_eq!(answer.fields, format!("Allow: {allow}\r\n"));
    }
    for line in
        ["GET /v2/status", "GET /v1", "GET /v1/", "GET /v1/pools/", "GET *", "GET /v1/pools/a/b"]
    {
        let found = ask(line);
        assert!(
            matches!(found, Err((404, _))) || found == Ok(Command::Pool(String::new())),
            "{line} {found:?}"
        );
    }
}

#[test]
fn a_request_to_be_explained_is_read_from_the_query() {
    assert_eq!(
        ask("GET /v1/explain?method=POST&url=http://a/x%3Fy=1&h=X-A:%201&h=B:2"),
        Ok(Command::Explain(Question {
            method: String::from("POST"),
            url: String::from("http://a/x?y=1"),
            fields: vec![String::from("X-A: 1"), String::from("B:2")],
            client: SOMEBODY,
        }))
    );
    assert_refused("GET /v1/explain", "", 400, "there is no url");
    assert_refused("GET /v1/explain?uri=x", "", 400, "unknown parameter");
    assert_refused("GET /v1/explain?url=x&h=AB", "", 400, "not a header line");
}
