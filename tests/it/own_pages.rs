//! Errors with a body that the operator wrote: `error_pages`.

use crate::common::{Backend, Program, Value, json, servers};
use std::{
    fs,
    path::{Path, PathBuf},
};

const HTML: &str =
    "<!doctype html>\n<title>@STATUS@ @REASON@</title>\n<p>Tell us @ID@, <b>please</b>.";

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn page(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // only a temporary folder
    }
}

fn with_pages(pages: Value) -> Value {
    json!({ "backend_servers": servers(&[&Backend::absent()]), "error_pages": pages })
}

fn test(config: &Value) -> (Option<i32>, String) {
    use std::{io::Write, process::Stdio};
    let mut command = crate::common::program::plain(crate::common::program::binary());
    command.args(["-t", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = serde_json::to_string_pretty(config).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_page_of_a_status_is_the_body_of_its_errors() {
    let folder = Folder::new("pages");
    let page = folder.page("502.html", HTML);
    let program = Program::with(with_pages(json!({ "502": page, "400": page, "431": page })));
    let mut client = program.client();
    let ask =
        |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\nX-Request-ID: a+b/1\r\n\r\n");
    client.send(ask("GET"));
    let response = client.response();
    let expected = HTML.replace("@STATUS@", "502").replace("@REASON@", "Bad Gateway");
    assert_eq!(response.text(), expected.replace("@ID@", "a+b/1"));
    assert_eq!(response.field("Content-Type"), Some("text/html; charset=UTF-8"));
    assert_eq!(response.field("Proxy-Status"), Some("httplb; error=connection_refused"));
    let length = response.text().len().to_string();

    client.send(ask("HEAD"));
    let response = client.response_to("HEAD");
    assert_eq!(response.field("Content-Length"), Some(length.as_str()));

    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Bad\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.closes()), (400, true));
    let id = response.field("X-Request-ID").expect("an identifier");
    let expected = HTML.replace("@STATUS@", "400").replace("@REASON@", "Bad Request");
    assert_eq!(response.text(), expected.replace("@ID@", id));

    let mut client = program.client();
    let many = "X: y\r\n".repeat(200);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
    assert!(client.response().text().contains("431 Request Header Fields Too Large"));

    // Another status has the usual body.
    let mut client = program.client();
    client.send("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "<html><body><h1>501 Not Implemented</h1></body></html>");
}

#[test]
fn the_largest_page_comes_whole_through_the_smallest_ring() {
    let folder = Folder::new("large-page");
    let text = "0123456789abcde\n".repeat(4096);
    let page = folder.page("502.html", &text);
    let mut config = with_pages(json!({ "502": page }));
    config["buffer_size"] = json!("4KiB");
    let program = Program::logging(config);
    let mut client = program.client();
    for _ in 0..3 {
        client.ask("/"); // pipelined: they are all there before the first answer is read
    }
    for _ in 0..3 {
        assert_eq!(client.response().text(), text);
    }
    for line in program.log_lines(3) {
        assert_eq!((&line["status"], &line["reason"]), (&json!(502), &json!("connection_refused")));
        assert!(line["bytes_out"].as_u64().unwrap() > 65536, "{line}");
    }
}

/// A page is read with the configuration, and at no other time.
#[test]
fn a_reload_reads_the_pages_anew_and_nothing_else_does() {
    let folder = Folder::new("reloaded-page");
    let page = folder.page("502.html", "first");
    let program = Program::with(with_pages(json!({ "502": page })));
    assert_eq!(program.get("/").text(), "first");
    folder.page("502.html", "second");
    assert_eq!(program.get("/").text(), "first");
    program.reload();
    assert_eq!(program.get("/").text(), "second");

    fs::remove_file(&page).unwrap();
    let why = program.fail_to_reload();
    assert!(why.contains("error_pages.502") && why.contains("is not there"), "{why}");
    assert_eq!(program.get("/").text(), "second");

    // A worker that dies is followed by one with the same pages, after a failed reload too.
    let worker = program.worker(0);
    crate::common::process::kill(worker);
    crate::common::until("another worker", || program.worker(0) != worker);
    assert_eq!(program.get("/").text(), "second");
}

#[test]
fn a_page_that_cannot_be_sent_is_an_error_of_the_configuration() {
    let folder = Folder::new("bad-pages");
    let missing: &Path = &folder.0.join("missing.html");
    let pages = json!({
        "400": missing,
        "408": folder.page("large.html", vec![b'x'; 65537]),
        "413": folder.page("latin1.html", b"\xfc"),
        "414": folder.0,
        "417": "relative.html",
        "404": missing,
        "499": missing,
        "5xx": missing,
    });
    let (status, errors) = test(&with_pages(pages));
    assert_eq!(status, Some(78), "{errors}");
    for (key, fault) in [
        ("400", "is not there (make it, or remove the key)"),
        ("408", "is larger than 64KiB (make it smaller)"),
        ("413", "is not UTF-8, as which it is sent (save it as UTF-8)"),
        ("414", "is not a file (name a file)"),
        ("417", "is not an absolute path"),
        ("404", "not the status of an error that httplb makes (there are \"400\""),
        ("499", "not the status of an error that httplb makes"),
        ("5xx", "not the status of an error that httplb makes"),
    ] {
        let place = format!("error_pages.{key}: ");
        let line = errors.lines().find(|line| line.contains(&place));
        assert!(line.is_some_and(|line| line.contains(fault)), "{key}: {errors}");
    }
    let exactly = folder.page("exact.html", vec![b'x'; 65536]);
    assert_eq!(test(&with_pages(json!({ "400": exactly }))).0, Some(0));
}
