//! What the tests of the cache share: workers over one directory, requests and responses as texts.
use std::path::Path;
use std::sync::atomic::AtomicU64;

use crate::http::cache_fields::{RequestCacheFields, ResponseCacheFields};
use crate::http::method::Method;
use crate::http::{request, response, rewrite};
use crate::mem::buffer::Buffer;
use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::freshness::ResponseTiming;
use crate::policy::vary::Chosen;
use crate::sys::clock;
use crate::sys::sim::world;

use super::directory::Opened;
use super::in_memory::DiskRead;
use super::layout::Sizes;
use super::open_entries::{Body, EntryId};
use super::recorder::{NotRecorded, Recorder, Response};
use super::shared_cells::SharedCells;
use super::store::{CacheQuery, Found, LookupToken, Settings, Store, Verdict};

pub const MAX_OBJECT: u64 = 1 << 20;

/// The bytes of a body, each place another.
pub fn body(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(131) ^ (at >> 8) ^ seed) as u8).collect()
}

pub fn cells(max_size: u64) -> SharedCells {
    let sizes = Sizes { workers: 4, max_size };
    let memory: Vec<AtomicU64> = (0..sizes.cells()).map(|_| AtomicU64::new(0)).collect();
    SharedCells::create(memory.leak(), sizes)
}

/// Cells over a directory that was looked through.
pub fn known_cells(max_size: u64) -> SharedCells {
    let cells = cells(max_size);
    cells.set_unscanned(0);
    cells
}

thread_local! {
    /// The cells of the world that a test plays now.
    static CELLS: std::cell::Cell<&'static [AtomicU64]> = const { std::cell::Cell::new(&[]) };
}

/// The same, for a test that plays many worlds: those of the one before are no more.
pub fn known_cells_of_world(max_size: u64, workers: usize) -> SharedCells {
    let sizes = Sizes { workers, max_size };
    let mut memory = CELLS.get();
    if memory.len() < sizes.cells() {
        memory = (0..sizes.cells()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
        CELLS.set(memory);
    }
    memory.iter().for_each(|cell| cell.store(0, std::sync::atomic::Ordering::Relaxed));
    let cells = SharedCells::create(memory, sizes);
    cells.set_unscanned(0);
    cells
}

pub fn opened() -> Opened {
    Opened::open(Path::new("/cache"), None).expect("it opens")
}

pub fn worker(cells: SharedCells, number: usize) -> Store {
    let settings = Settings { max_object: MAX_OBJECT, default_ttl: 0 };
    Store::new(opened(), cells, number, settings).expect("there is memory")
}

pub fn wall() -> u64 {
    clock::wall().0 / 1_000_000
}

pub fn later(seconds: u64) {
    world::advance(crate::mem::time::Millis::from_secs(seconds));
}

pub fn timing() -> ResponseTiming {
    ResponseTiming { at: wall(), delay: 0 }
}

/// `fields` are parted by ` | `.
pub fn lines(fields: &str) -> String {
    fields.split(" | ").filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect()
}

/// A request for `http://a/TARGET` with these fields, as a trusted proxy makes it.
pub fn with<T>(target: &str, fields: &str, test: impl FnOnce(&CacheQuery) -> T) -> T {
    let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(fields));
    let head = request::parse(text.as_bytes()).expect("valid");
    let mut written = Buffer::new(vec![0; 8192].leak());
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    let forward = crate::http::forwarded::Forward {
        trusted: true,
        ..crate::http::forwarded::Forward::new(client, b"1")
    };
    rewrite::request(&head, &forward, &mut written).expect("fits");
    let request_fields = RequestCacheFields::new(rewrite::written_fields(written.as_slice()), b"a");
    let url = Url { https: request_fields.https, host: b"a", target: target.as_bytes() };
    test(&CacheQuery { url, chosen: Chosen { request_fields: &request_fields, pool: b"" } })
}

pub fn find(store: &mut Store, target: &str, fields: &str) -> (Found, LookupToken) {
    with(target, fields, |query| store.find(query, clock::now(), DiskRead::Waits))
}

/// Begins to record a response to a request.
pub fn begin(
    store: &mut Store,
    (target, request): (&str, &str),
    response: &str,
    length: Option<u64>,
) -> Result<Recorder, NotRecorded> {
    let (found, token) = find(store, target, request);
    if let Found::Answer(id) = found {
        store.release(id);
    }
    begin_at(store, token, (target, request), response, length)
}

pub fn begin_at(
    store: &mut Store,
    token: LookupToken,
    (target, request): (&str, &str),
    response: &str,
    length: Option<u64>,
) -> Result<Recorder, NotRecorded> {
    let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(response));
    let head = response::parse(text.as_bytes()).expect("valid");
    let response_fields = ResponseCacheFields::new(head.fields);
    with(target, request, |query| {
        let plan = store
            .judge(query, (Method::Get, false), (200, &response_fields), timing())
            .map_err(NotRecorded::Unstorable)?;
        let response = Response { head: &head, response_fields: &response_fields, length, plan };
        store.record(query, token, &response, clock::now())
    })
}

/// Records a whole response, whose body comes in pieces.
pub fn put(
    store: &mut Store,
    request: (&str, &str),
    response: &str,
    body: &[u8],
    is_length_known: bool,
) -> Result<(), NotRecorded> {
    let length = is_length_known.then_some(body.len() as u64);
    let mut recorder = begin(store, request, response, length)?;
    for piece in body.chunks(9000) {
        if let Err(lost) = recorder.take(store, piece) {
            recorder.abandon(store);
            return Err(lost);
        }
    }
    recorder.finish(store, clock::now())
}

/// Records a small response that is fresh for a minute.
pub fn put_plain(store: &mut Store, target: &str, text: &str) -> Result<(), NotRecorded> {
    put(store, (target, ""), "Cache-Control: max-age=60", text.as_bytes(), true)
}

/// All bytes of a body, verified as they are before they are sent.
pub fn read(store: &mut Store, id: EntryId) -> Option<Vec<u8>> {
    loop {
        match store.verify(id, 100_000, clock::now(), DiskRead::Waits) {
            Verdict::Right => break,
            Verdict::Pending | Verdict::Cold => (),
            Verdict::Damaged => return None,
        }
    }
    let open_entry = store.entry(id);
    Some(match open_entry.body() {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File(file, at) => {
            let mut bytes = vec![0; open_entry.entry.body_len as usize];
            let count = file.read_at(&mut bytes, at).ok()?;
            (count == bytes.len()).then_some(bytes)?
        }
    })
}

/// The body that a request gets, if any is stored for it.
pub fn get(store: &mut Store, target: &str, fields: &str) -> Option<Vec<u8>> {
    let (Found::Answer(id), _) = find(store, target, fields) else { return None };
    let bytes = read(store, id);
    store.release(id);
    bytes
}

pub fn get_text(store: &mut Store, target: &str, fields: &str) -> Option<String> {
    get(store, target, fields).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The files of entries, without the secret.
pub fn entry_files() -> Vec<String> {
    let is_entry = |path: &String| path.len() == "cache/a/bc/".len() + 32;
    world::disk(|disk| disk.files()).into_iter().filter(is_entry).collect()
}

pub fn now() -> Micros {
    clock::now()
}
