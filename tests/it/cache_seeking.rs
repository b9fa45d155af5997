//! The video element of Chromium seeks in a file that is stored in parts, and then whole. A tap between the
//! browser and the program holds every byte that the browser gets against the file.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Answer, Backend, DEADLINE, Program, assert_same_bytes, json,
    message::{self, Framing, Request, Response},
    noise,
    peers::Folder,
    stored::{Shelf, is_hit},
    until,
    wire::Wire,
};

/// Far more than the browser reads ahead, so that each seek needs another range.
const LARGE: usize = 24 << 20;

/// Where the page seeks to, in shares of the duration: each is far from all that came before. From the first
/// on it waits for the rest of the file.
const SEEKS: [&str; 4] = ["0.97", "0.5", "0.02", "0.75"];

/// Tells of all that happens: whether it is where it was to seek to, and how long the sound is.
const PAGE: &str = r#"<!doctype html><video></video><script>
const video = document.querySelector("video");
const tell = text => fetch("/told?" + text.replaceAll(" ", "_"), {cache: "no-store"});
const event = name => new Promise((done, failed) => {
  video.addEventListener(name, done, {once: true});
  video.addEventListener("error", () => failed(video.error.code + video.error.message), {once: true});
});
async function bufferedToTheEnd() {
  const end = () => video.buffered.length && video.buffered.end(video.buffered.length - 1);
  while (end() < video.duration - 0.1) await new Promise(done => setTimeout(done, 20));
}
async function play() {
  const known = event("loadedmetadata");
  video.preload = "auto";
  video.src = "/sound.wav";
  await known;
  for (const share of [SEEKS]) {
    const [place, sought] = [share * video.duration, event("seeked")];
    video.currentTime = place;
    await sought;
    if (share > 0.9) await bufferedToTheEnd();
    const isThere = Math.abs(video.currentTime - place) < 0.1;
    await tell(`${share} ${isThere ? "found" : "lost"} ${Math.floor(video.duration)}`);
  }
  await tell("end");
}
play().catch(why => tell("error " + why));
</script>"#;

/// Sixteen bits of two channels, 44,100 times a second: the browser decodes it at any place.
fn sound() -> Vec<u8> {
    let (channels, rate, bytes) = (2_u16, 44_100_u32, 2_u16);
    let mut file = Vec::with_capacity(LARGE);
    file.extend(b"RIFF");
    file.extend((LARGE as u32 - 8).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes()); // plain samples
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(channels * bytes)).to_le_bytes());
    file.extend((channels * bytes).to_le_bytes());
    file.extend((8 * bytes).to_le_bytes());
    file.extend(b"data");
    file.extend((LARGE as u32 - 44).to_le_bytes());
    file.extend(noise(LARGE - file.len(), 3));
    file
}

const SECONDS: usize = (LARGE - 44) / (44_100 * 4);

/// The first and last byte that `bytes=FIRST-` or `bytes=FIRST-LAST` asks for.
fn range_of(request: &Request) -> Option<(usize, usize)> {
    let (first, last) = request.field("Range")?.strip_prefix("bytes=")?.split_once('-')?;
    let last = last.parse().unwrap_or(LARGE - 1).min(LARGE - 1);
    Some((first.parse().ok()?, last))
}

/// Serves the page and the file, and takes what the page tells.
fn origin(file: Vec<u8>) -> Backend {
    Backend::answering(move |request| {
        let is_file = request.target == "/sound.wav";
        if !is_file {
            let page = PAGE.replace("SEEKS", &SEEKS.join(", "));
            let page = Answer::text(page).with("Content-Type", "text/html");
            return page.with("Cache-Control", "no-store");
        }
        let fields = "Cache-Control: max-age=600\r\nETag: \"7\"\r\nContent-Type: audio/wav\r\n\
                      Accept-Ranges: bytes\r\n";
        let range = range_of(request);
        let (first, last) = range.unwrap_or((0, LARGE - 1));
        let (status, told) = match range {
            Some(_) => ("206 Partial Content", format!("bytes {first}-{last}/{LARGE}")),
            None => ("200 OK", String::new()),
        };
        let told = if range.is_some() { format!("Content-Range: {told}\r\n") } else { told };
        let length = last - first + 1;
        let head = format!("HTTP/1.1 {status}\r\n{fields}{told}Content-Length: {length}\r\n\r\n");
        Answer::raw([head.as_bytes(), &file[first..=last]].concat())
    })
}

/// A response of the file that went to the browser, as much of it as that wanted.
#[derive(Clone, Debug)]
struct Passed {
    first: usize,
    length: usize,
    passed: usize,
    was_hit: bool,
    is_wrong: bool,
}

impl Passed {
    /// `None`: the head is not the one for this range.
    fn begin(request: &Request, response: &Response) -> Option<Passed> {
        let (first, last) = range_of(request).unwrap_or((0, LARGE - 1));
        let told = range_of(request).map(|_| format!("bytes {first}-{last}/{LARGE}"));
        let length = last - first + 1;
        let is_right = response.status == if told.is_some() { 206 } else { 200 }
            && response.field("Content-Range").map(str::to_owned) == told
            && response.field("Content-Length") == Some(length.to_string().as_str());
        let was_hit = is_hit(response);
        is_right.then_some(Passed { first, length, passed: 0, was_hit, is_wrong: false })
    }

    fn is_whole(&self) -> bool {
        self.passed == self.length
    }
}

/// What stands between the browser and the program.
struct Tap {
    listener: Backend,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Tap {
    fn before(program: &Program, file: Vec<u8>) -> Tap {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let (log, address) = (passed.clone(), program.address);
        let listener = Backend::talking(move |connection| {
            let mut service = Wire::connect(address);
            // The browser leaves what it has enough of, and comes back to it.
            connection.wire().stream.set_write_timeout(None).expect("a socket");
            while let Some(request) = connection.request() {
                service.send(&request.head.raw);
                let Ok(head) = message::read_head(&mut service) else { return };
                let response = message::parse_status_line(head).expect("a status line");
                let framing = message::response_framing("GET", &response).expect("a framing");
                let Framing::Length(length) = framing else { panic!("{framing:?}") };
                connection.send(&response.head.raw);
                let expected = (request.target == "/sound.wav").then(|| {
                    let passed = Passed::begin(&request, &response);
                    let passed = passed.unwrap_or_else(|| panic!("{request:?}: {response:?}"));
                    let mut log = log.lock().unwrap();
                    log.push(passed);
                    log.len() - 1
                });
                let mut left = length;
                while left > 0 {
                    if service.buffer.is_empty() && service.more().is_err() {
                        return;
                    }
                    let piece = service.take(left.min(service.buffer.len()));
                    left -= piece.len();
                    if let Some(at) = expected {
                        let entry = &mut log.lock().unwrap()[at];
                        let from = entry.first + entry.passed;
                        entry.is_wrong |= piece != file[from..from + piece.len()];
                        entry.passed += piece.len();
                    }
                    if !connection.send(&piece) {
                        return;
                    }
                }
            }
        });
        Tap { listener, passed }
    }

    /// What went through behind the first `count`.
    fn passed_behind(&self, count: usize) -> Vec<Passed> {
        self.passed.lock().unwrap()[count..].to_vec()
    }
}

/// A browser without a window, new each time: it has nothing from before.
struct Browser {
    process: Child,
    _profile: Folder,
}

impl Browser {
    fn open(url: &str) -> Browser {
        let profile = Folder::new("chromium");
        let process = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--mute-audio"])
            .args(["--no-first-run", "--no-proxy-server", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disk-cache-size=1"])
            .args(["--remote-debugging-port=0"]) // else it leaves once the page is there
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromium");
        Browser { process, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.process);
        let _ = kill_process_group(group, Signal::KILL); // it may have ended
        let _ = self.process.wait();
    }
}

/// What went to a browser that sought all places, and found them.
fn watch(tap: &Tap, backend: &Backend) -> Vec<Passed> {
    let told = || {
        let requests = backend.requests().into_iter();
        let told =
            requests.filter_map(|request| Some(request.target.strip_prefix("/told?")?.to_owned()));
        told.collect::<Vec<String>>()
    };
    let (before, passed_before) = (told().len(), tap.passed_behind(0).len());
    let passed = || tap.passed_behind(passed_before);
    let browser = Browser::open(&format!("http://{}/", tap.listener.address));
    let mut expected = SEEKS.map(|share| format!("{share}_found_{SECONDS}")).to_vec();
    expected.push(String::from("end"));
    for (place, expected) in expected.iter().enumerate() {
        // A browser takes long to start where much else is going on.
        let begun = Instant::now();
        let said = loop {
            if let Some(said) = told().get(before + place) {
                break said.clone();
            }
            assert!(begun.elapsed() < 6 * DEADLINE, "not told: {expected}; {:?}", passed());
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(&said, expected, "{:?}", passed());
    }
    drop(browser);
    until("the browser has gone", || tap.listener.open_connection_count() == 0);
    let passed = passed();
    let wrong: Vec<_> = passed.iter().filter(|passed| passed.is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // Each place was sought by a range, and not found in what came before.
    assert!(
        passed.iter().filter(|passed| passed.first > 0).count() >= SEEKS.len() - 1,
        "{passed:?}"
    );
    passed
}

fn asked_for_file(backend: &Backend) -> Vec<Request> {
    let requests = backend.requests().into_iter();
    requests.filter(|request| request.target == "/sound.wav").collect()
}

/// One of three visits gets what is held (there is some that it wants) without another request for it. Where the
/// disk seems slow, as on a machine with much else to do, it is left alone for a while.
fn visit_without_asking(
    tap: &Tap,
    backend: &Backend,
    asked: impl Fn() -> usize,
    is_held: impl Fn(&Passed) -> bool,
) {
    let mut visits = Vec::new();
    for _ in 0..3 {
        let before = asked();
        let passed = watch(tap, backend);
        let mut held = passed.iter().filter(|passed| is_held(passed)).peekable();
        if held.peek().is_some() && held.all(|passed| passed.was_hit) && asked() == before {
            return;
        }
        visits.push((asked() - before, passed));
    }
    panic!("what is held was asked for again: {visits:#?}");
}

#[test]
fn a_video_element_seeks_in_what_is_stored_in_parts_and_whole() {
    if Command::new("chromium").arg("--version").output().is_err() {
        println!("chromium is not installed: not asked");
        return;
    }
    let file = sound();
    let (backend, shelf) = (origin(file.clone()), Shelf::new());
    let mut config = shelf.config(&[&backend]);
    config["cache"]["max_object"] = json!("64MiB");
    let program = Program::operated(config);
    let tap = Tap::before(&program, file.clone());

    let first = watch(&tap, &backend);
    let tail = first.iter().filter(|passed| passed.is_whole() && passed.first > LARGE / 2);
    let tail = tail.map(|passed| passed.first).min().expect("the end came whole");
    let is_of_tail = |request: &Request| range_of(request).is_some_and(|(first, _)| first >= tail);
    let asked = || asked_for_file(&backend).into_iter().filter(is_of_tail).count();
    visit_without_asking(&tap, &backend, asked, |passed| passed.first >= tail);

    // All of it, by another client under the same name. Large parts are joined behind an answer.
    until("all of it is stored", || {
        let mut client = program.client();
        let host = tap.listener.address;
        client.send(format!("GET /sound.wav HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let whole = client.response();
        assert_same_bytes(&whole.body, &file, "the file");
        is_hit(&whole)
    });
    visit_without_asking(&tap, &backend, || asked_for_file(&backend).len(), |_| true);
    shelf.assert_no_leftovers();
}
