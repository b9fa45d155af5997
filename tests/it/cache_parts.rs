//! Parts of what is stored, with real clients: ranges, downloads that go on where they were cut, and
//! twenty connections for one file.

use std::process::Command;

use crate::common::{
    Answer, Backend, Program, Response, assert_same_bytes, noise,
    peers::{Folder, output, tool},
    stored::{Shelf, is_hit, metric, status},
};

/// Less than is joined at once for one part.
const LARGE: usize = 12 << 20;

/// A server of one large file that knows ranges, and breaks off the first time behind so many bytes.
fn origin(cuts_at: Option<usize>) -> Backend {
    let file = noise(LARGE, 7);
    let was_cut = std::sync::atomic::AtomicBool::new(false);
    Backend::answering(move |request| {
        let fields = "Cache-Control: max-age=600\r\nETag: \"7\"\r\nContent-Type: a/b\r\n";
        let range = request.field("Range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(LARGE - 1).min(LARGE - 1);
            Some((first.parse::<usize>().ok()?, last))
        });
        let range = range.filter(|_| request.field("If-Range").is_none_or(|tag| tag == "\"7\""));
        let (status, (first, last)) = match range {
            Some(range) => ("206 Partial Content", range),
            None => ("200 OK", (0, LARGE - 1)),
        };
        let told = match range {
            Some((first, last)) => format!("Content-Range: bytes {first}-{last}/{LARGE}\r\n"),
            None => String::new(),
        };
        let length = last - first + 1;
        let head = format!("HTTP/1.1 {status}\r\n{fields}{told}Content-Length: {length}\r\n\r\n");
        let cut = cuts_at.filter(|_| !was_cut.swap(true, std::sync::atomic::Ordering::Relaxed));
        let body = &file[first..(first + cut.unwrap_or(length)).min(last + 1)];
        let answer = Answer::raw([head.as_bytes(), body].concat());
        if cut.is_some() { answer.then_close() } else { answer }
    })
}

fn curl(program: &Program) -> (Command, String) {
    let mut command = Command::new(tool("curl", "curl"));
    command.args(["--silent", "--show-error"]);
    (command, format!("http://{}/file", program.address))
}

/// The file as a client gets it that asks for all of it, under the name that curl uses.
fn whole_of(program: &Program) -> Response {
    let mut client = program.client();
    client.send(format!("GET /file HTTP/1.1\r\nHost: {}\r\n\r\n", program.address));
    client.response()
}

#[test]
fn ranges_of_curl_are_stored_and_answered() {
    let (backend, shelf) = (origin(None), Shelf::new());
    let program = shelf.program(&[&backend]);
    let whole = noise(LARGE, 7);
    let out = Folder::new("curl-ranges");
    for (range, first, last, asked) in [
        ("1000-1999999", 1000, 1_999_999, 1),
        ("1000000-1499999", 1_000_000, 1_499_999, 1),
        ("1500000-2499999", 1_500_000, 2_499_999, 2),
        ("12000000-", 12_000_000, LARGE - 1, 3),
        ("-500", LARGE - 500, LARGE - 1, 3),
        ("1000-2499999", 1000, 2_499_999, 3),
    ] {
        let (mut command, url) = curl(&program);
        let path = out.path().join("part");
        command.args(["-r", range, "-o"]).arg(&path).args(["-w", "%{http_code}"]).arg(&url);
        assert_eq!(output(&mut command), "206", "{range}");
        let got = std::fs::read(&path).expect("a file");
        assert_same_bytes(&got, &whole[first..=last], range);
        assert_eq!(backend.request_count(), asked, "{range}");
    }
    assert!(shelf.used() < LARGE as u64 / 2, "the hole takes no room");
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let cut = 5_000_000;
    let (backend, shelf) = (origin(Some(cut)), Shelf::new());
    let program = shelf.program(&[&backend]);
    let whole = noise(LARGE, 7);
    let out = Folder::new("curl-goes-on");
    let path = out.path().join("file");
    let (mut command, url) = curl(&program);
    let cut_short = command.arg("-o").arg(&path).arg(&url).output().expect("curl");
    assert_eq!(cut_short.status.code(), Some(18), "{cut_short:?}");
    assert_eq!(std::fs::metadata(&path).expect("a file").len(), cut as u64);
    let (mut command, url) = curl(&program);
    output(command.args(["-C", "-", "-o"]).arg(&path).arg(&url));
    assert_same_bytes(&std::fs::read(&path).expect("a file"), &whole, "the file");
    let asked = backend.last_request();
    assert_eq!(asked.field("Range").map(|range| range.starts_with("bytes=5000000-")), Some(true));
    // All of it is stored by now.
    let response = whole_of(&program);
    assert!(is_hit(&response), "{}", status(&response));
    assert_same_bytes(&response.body, &whole, "what is stored");
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn a_plain_request_behind_one_that_was_cut_fetches_only_the_rest() {
    let (backend, shelf) = (origin(Some(3_000_000)), Shelf::new());
    let program = shelf.program(&[&backend]);
    let whole = noise(LARGE, 7);
    let (mut command, url) = curl(&program);
    let cut_short = command.args(["-o", "/dev/null"]).arg(&url).output().expect("curl");
    assert_eq!(cut_short.status.code(), Some(18), "{cut_short:?}");
    let response = whole_of(&program);
    assert_eq!(status(&response), "fwd=partial; fwd-status=206; stored");
    assert_same_bytes(&response.body, &whole, "the part and the rest");
    let asked = backend.last_request();
    let last = LARGE - 1;
    assert_eq!(asked.field("Range"), Some(format!("bytes=3000000-{last}").as_str()));
    assert_eq!(asked.field("If-Range"), Some("\"7\""));
    assert_eq!(metric(&program, "httplb_cache_requests_total{result=\"part\"}"), 1);
    assert!(is_hit(&whole_of(&program)));
}

#[test]
fn twenty_connections_fetch_one_file_and_leave_it_whole() {
    let (backend, shelf) = (origin(None), Shelf::new());
    let program = shelf.program(&[&backend]);
    let whole = noise(LARGE, 7);
    let out = Folder::new("twenty");
    let share = LARGE / 20;
    // Each takes what it can get while the others do.
    let fetches: Vec<_> = (0..20)
        .map(|number| {
            let last = if number == 19 { LARGE } else { (number + 1) * share } - 1;
            let (mut command, url) = curl(&program);
            let path = out.path().join(number.to_string());
            command.args(["-r", &format!("{}-{last}", number * share), "-o"]).arg(&path).arg(&url);
            (command.spawn().expect("curl"), path, number * share..last + 1)
        })
        .collect();
    for (mut child, path, range) in fetches {
        assert!(child.wait().expect("it ends").success());
        assert_same_bytes(&std::fs::read(path).expect("a file"), &whole[range], "a part");
    }
    // What two stored at the same time may be that of one alone: the rest comes with the next.
    let response = whole_of(&program);
    assert_same_bytes(&response.body, &whole, "the file");
    shelf.assert_no_leftovers();
}

#[test]
fn aria2_fetches_in_parts_and_leaves_the_file_whole() {
    let (backend, shelf) = (origin(None), Shelf::new());
    let program = shelf.program(&[&backend]);
    let whole = noise(LARGE, 7);
    for turn in ["one", "other"] {
        let out = Folder::new(turn);
        let mut command = Command::new(tool("aria2c", "aria2"));
        command.args(["--quiet", "--split=16", "--max-connection-per-server=16"]);
        command.args(["--min-split-size=1M", "--no-conf", "--file-allocation=none"]);
        command.arg("--dir").arg(out.path()).args(["--out", "file"]);
        output(command.arg(format!("http://{}/file", program.address)));
        let got = std::fs::read(out.path().join("file")).expect("a file");
        assert_same_bytes(&got, &whole, turn);
    }
    assert_same_bytes(&whole_of(&program).body, &whole, "the file");
    shelf.assert_no_leftovers();
}
