//! The store of answers on a real disk: what survives, what a kill leaves behind, what a hit costs.

use httplb::cache::directory::Opened;
use httplb::cache::in_memory::DiskRead;
use httplb::cache::layout::Sizes;
use httplb::cache::open_entries::Body;
use httplb::cache::recorder::Response;
use httplb::cache::serve::{self, Serving};
use httplb::cache::shared_cells::SharedCells;
use httplb::cache::store::{CacheQuery, Found, Settings, Store, Verdict};
use httplb::cache::sweeper::{Next, PurgeOf, Sweeper};
use httplb::http::cache_fields::{RequestCacheFields, ResponseCacheFields};
use httplb::http::cache_status::CacheStatus;
use httplb::http::forwarded::Forward;
use httplb::http::rewrite::{self, Answering, ResponseFraming};
use httplb::http::{Method, request, response};
use httplb::mem::buffer::Buffer;
use httplb::policy::cache_key::Url;
use httplb::policy::conditional::{self, ConditionalOutcome};
use httplb::policy::freshness::{ResponseTiming, ServeDecision};
use httplb::policy::vary::Chosen;
use httplb::sys::seccomp::{Peers, Role, confine};
use httplb::sys::{Listener, Socket, clock};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// Set in a process that does nothing but record, until it is killed: the directory.
const RECORDING_INTO: &str = "HTTPLB_TEST_RECORDING_INTO";
const MAX_SIZE: u64 = 64 << 20;

/// A directory that is removed with its content.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = Folder(env::temp_dir().join(format!("httplb-{name}-{}", process::id())));
        let _ = fs::remove_dir_all(&folder.0);
        folder
    }

    /// The files in it, without the secret.
    fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.0.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let is_folder = entry.file_type().unwrap().is_dir();
                if is_folder { &mut folders } else { &mut files }.push(entry.path());
            }
        }
        files.retain(|path| !path.ends_with("secret"));
        files
    }

    /// Whether the file has the place of a stored answer.
    fn is_entry(&self, path: &Path) -> bool {
        path.strip_prefix(&self.0).unwrap().as_os_str().len() == "a/bc/".len() + 32
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cells() -> SharedCells {
    let sizes = Sizes { workers: 2, max_size: MAX_SIZE };
    let memory: Vec<AtomicU64> = (0..sizes.cells()).map(|_| AtomicU64::new(0)).collect();
    SharedCells::create(memory.leak(), sizes)
}

fn store(path: &Path, cells: SharedCells) -> Store {
    let settings = Settings { max_object: 4 << 20, default_ttl: 0 };
    Store::new(Opened::open(path, None).unwrap(), cells, 0, settings).unwrap()
}

fn known_cells() -> SharedCells {
    let cells = cells();
    cells.set_unscanned(0);
    cells
}

/// Those of a control process that has not read the whole directory yet.
fn unread_cells() -> SharedCells {
    let cells = cells();
    cells.set_unscanned(1);
    cells
}

/// A request as it goes on.
fn written(target: &str) -> Buffer {
    let text = format!(
        "GET {target} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, br\r\nAccept-Language: de, en;q=0.5\r\nCookie: a=b\r\n\r\n"
    );
    let head = request::parse(text.as_bytes()).unwrap();
    let mut out = Buffer::new(vec![0; 4096].leak());
    let forward = Forward::new(Ipv4Addr::LOCALHOST.into(), b"id-1");
    rewrite::request(&head, &forward, &mut out).unwrap();
    out
}

fn with<T>(head: &Buffer, target: &str, test: impl FnOnce(&CacheQuery) -> T) -> T {
    let request_fields =
        RequestCacheFields::new(rewrite::written_fields(head.as_slice()), b"shop.example");
    let url = Url { https: false, host: b"shop.example", target: target.as_bytes() };
    test(&CacheQuery { url, chosen: Chosen { request_fields: &request_fields, pool: b"" } })
}

fn wall() -> u64 {
    clock::wall().0 / 1_000_000
}

/// What is stored for `/NUMBER`: its length and bytes follow from the number.
fn body(number: usize) -> Vec<u8> {
    let len = [100, 5_000, 20_000, 70_000, 1 << 20][number % 5] + number;
    (0..len).map(|at| (at.wrapping_mul(31) ^ number ^ at >> 9) as u8).collect()
}

fn put(store: &mut Store, number: usize, fields: &str) -> bool {
    let target = format!("/{number}");
    let bytes = body(number);
    let text = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n{fields}\r\n");
    let head = response::parse(text.as_bytes()).unwrap();
    let response_fields = ResponseCacheFields::new(head.fields);
    with(&written(&target), &target, |query| {
        let (found, token) = store.find(query, clock::now(), DiskRead::Waits);
        if let Found::Answer(id) = found {
            store.release(id);
        }
        let timing = ResponseTiming { at: wall(), delay: 0 };
        let judged = store.judge(query, (Method::Get, false), (200, &response_fields), timing);
        let length = (number % 2 == 0).then_some(bytes.len() as u64);
        let response = Response {
            head: &head,
            response_fields: &response_fields,
            length,
            plan: judged.unwrap(),
        };
        let Ok(mut recorder) = store.record(query, token, &response, clock::now()) else {
            return false;
        };
        for piece in bytes.chunks(32 * 1024) {
            if recorder.take(store, piece).is_err() {
                recorder.abandon(store);
                return false;
            }
        }
        recorder.finish(store, clock::now()).is_ok()
    })
}

fn get(store: &mut Store, number: usize) -> Option<Vec<u8>> {
    let target = format!("/{number}");
    let (found, _) =
        with(&written(&target), &target, |query| store.find(query, clock::now(), DiskRead::Waits));
    let Found::Answer(id) = found else { return None };
    let verdict = (0..)
        .map(|_| store.verify(id, 200_000, clock::now(), DiskRead::Waits))
        .find(|verdict| *verdict != Verdict::Pending);
    let open_entry = store.entry(id);
    let bytes = match open_entry.body() {
        _ if verdict == Some(Verdict::Damaged) => None,
        Body::Memory(bytes) => Some(bytes.to_vec()),
        Body::File(file, at) => {
            let mut bytes = vec![0; open_entry.entry.body_len as usize];
            assert_eq!(file.read_at(&mut bytes, at), Ok(bytes.len()));
            Some(bytes)
        }
    };
    store.release(id);
    bytes
}

#[test]
fn answers_outlive_the_program_and_damage_is_noticed() {
    let folder = Folder::new("outlive");
    let mut before = store(&folder.0, known_cells());
    for number in 0..20 {
        let varies = if number % 3 == 0 { "Vary: Accept-Encoding\r\n" } else { "" };
        assert!(put(&mut before, number, varies), "{number}");
    }
    drop(before);
    let mut after = store(&folder.0, unread_cells());
    for number in 0..20 {
        assert!(get(&mut after, number) == Some(body(number)), "{number}");
    }
    let files = folder.files();
    assert_eq!(files.len(), 20 + 7);
    for (index, path) in files.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() * (index % 10) / 10;
        if index % 2 == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1
        }
        fs::write(path, bytes).unwrap();
    }
    let mut last = store(&folder.0, unread_cells());
    let right = (0..20).filter(|number| match get(&mut last, *number) {
        None => false,
        // A bit between head and body counts for nothing.
        Some(found) => {
            assert!(found == body(*number), "{number}");
            true
        }
    });
    assert!(right.count() < 3);
    // What could not be served is gone, but for what lay below a damaged vary marker.
    assert!(folder.files().len() < 12, "{}", folder.files().len());
}

#[test]
fn the_control_process_counts_keeps_and_purges() {
    let folder = Folder::new("sweep");
    let mut before = store(&folder.0, known_cells());
    (0..60).for_each(|number| assert!(put(&mut before, number, "")));
    let used = before.directory().cells.used();
    let cells = cells();
    let mut sweeper = Sweeper::new(Opened::open(&folder.0, None).unwrap(), cells, 1);
    let start = Instant::now();
    while sweeper.step(clock::now(), clock::wall()) == Next::Soon {}
    println!("looked through in {:?}", start.elapsed());
    assert_eq!((cells.used(), cells.unscanned()), (used, 0));
    let mut purge = sweeper.begin_purge(PurgeOf::Prefix(b"http://shop.example/1")).unwrap();
    while !sweeper.step_purge(&mut purge) {}
    assert_eq!(purge.purged(), 11);
    let mut after = store(&folder.0, cells);
    for number in 0..60 {
        let is_purged = number.to_string().starts_with('1');
        assert_eq!(get(&mut after, number).is_none(), is_purged, "{number}");
    }
}

/// No test of its own: what the next one kills.
#[test]
fn a_process_that_records_until_it_is_killed() {
    let Some(path) = env::var_os(RECORDING_INTO) else { return };
    let mut store = store(path.as_ref(), known_cells());
    println!("recording");
    for number in 0.. {
        put(&mut store, number % 200, if number % 2 == 0 { "Vary: Cookie\r\n" } else { "" });
    }
}

#[test]
fn a_kill_leaves_nothing_that_is_not_whole() {
    let folder = Folder::new("killed");
    let mut in_new = 0;
    for round in 0..20 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "cache_store::a_process_that_records_until_it_is_killed",
                "--nocapture",
            ])
            .env(RECORDING_INTO, &folder.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(30 + round * 7));
        child.kill().unwrap(); // with SIGKILL
        child.wait().unwrap();
        let mut store = store(&folder.0, known_cells());
        let found = (0..200).filter_map(|number| Some((number, get(&mut store, number)?)));
        let count = found.inspect(|(number, bytes)| assert!(*bytes == body(*number))).count();
        // What was about to take another's place when the kill came is in new/, until the next start.
        let left: Vec<_> =
            folder.files().into_iter().filter(|path| !folder.is_entry(path)).collect();
        assert!(left.iter().all(|path| path.starts_with(folder.0.join("new"))), "{left:?}");
        assert!(left.len() <= 1, "{left:?}");
        drop(Sweeper::new(Opened::open(&folder.0, None).unwrap(), known_cells(), 1));
        let is_clean = folder.files().iter().all(|path| folder.is_entry(path));
        assert!(is_clean, "left over: {:?}", folder.files());
        in_new += left.len();
        println!("round {round}: {count} found");
    }
    println!("{in_new} kills left a file in new/");
    assert!(!folder.files().is_empty());
}

/// Each in a thread of its own: to the kernel that is what a process is, and one that is confined
/// leaves the others as they are.
#[test]
fn who_is_confined_stores_sends_sweeps_and_purges() {
    let folder = Folder::new("confined");
    let cells = known_cells();
    let confined = |role: Role, act: &mut (dyn FnMut() + Send)| {
        httplb::sys::process::no_new_privileges().expect("a process that may be confined");
        confine(role, Peers::Tcp).unwrap();
        act();
    };
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut store = store(&folder.0, cells);
            let listener = Listener::bind(([127, 0, 0, 1], 0), 1).unwrap();
            let client = Socket::connect(listener.address()).unwrap();
            confined(Role::Worker, &mut || {
                assert!((0..10).all(|number| put(&mut store, number, "ETag: \"e\"\r\n")));
                assert!((0..10).all(|number| get(&mut store, number) == Some(body(number))));
                send_large(&mut store, 9, &client);
            });
        });
        worker.join().unwrap();
        let control = scope.spawn(|| {
            let opened = Opened::open(&folder.0, None).unwrap();
            let mut sweeper = Sweeper::new(opened, cells, 1);
            confined(Role::Control, &mut || {
                assert_eq!(sweeper.try_out(), Ok(()));
                sweeper.step(clock::now(), clock::wall());
                sweeper.sweep_new();
                let mut purge =
                    sweeper.begin_purge(PurgeOf::Prefix(b"http://shop.example/")).unwrap();
                while !sweeper.step_purge(&mut purge) {}
                assert_eq!(purge.purged(), 10);
            });
        });
        control.join().unwrap();
    });
    assert!(folder.files().is_empty());
}

/// The first bytes of a body that is not in memory, as a client gets it.
fn send_large(store: &mut Store, number: usize, client: &Socket) {
    let target = format!("/{number}");
    let (found, _) =
        with(&written(&target), &target, |query| store.find(query, clock::now(), DiskRead::Waits));
    let Found::Answer(id) = found else { panic!() };
    let Body::File(file, at) = store.entry(id).body() else { panic!() };
    let sent = (0..1000).find_map(|_| file.send(client, at, 1000).ok());
    assert_eq!(sent, Some(1000));
    file.read_ahead(at, 1000);
    store.release(id);
}

#[test]
fn a_hit_allocates_nothing() {
    let folder = Folder::new("hit");
    let mut store = store(&folder.0, known_cells());
    assert!(put(&mut store, 0, "Vary: Accept-Encoding\r\nETag: \"e\"\r\n"));
    let head = written("/0");
    let allocations: &'static AtomicU64 = Box::leak(Box::default());
    let mut out = Vec::with_capacity(64 * 1024);
    crate::counter::count_in(allocations);
    let rounds = 10_000;
    let mut before = 0;
    let start = Instant::now();
    for round in 0..rounds {
        if round == 1 {
            before = allocations.load(Ordering::Relaxed);
        }
        out.clear();
        hit(&mut store, &head, &mut out);
    }
    let took = start.elapsed();
    assert_eq!(allocations.load(Ordering::Relaxed), before, "after the first hit");
    println!("{:?} a hit, without system calls", took / rounds);
}

fn hit(store: &mut Store, head: &Buffer, out: &mut Vec<u8>) {
    with(head, "/0", |query| {
        let request_fields = query.chosen.request_fields;
        let (Found::Answer(id), _) = store.find(query, clock::now(), DiskRead::Waits) else {
            panic!("a hit")
        };
        let open_entry = store.entry(id);
        let now = wall();
        assert_eq!(
            open_entry.entry.freshness.judge(&request_fields.directives, now),
            ServeDecision::Fresh
        );
        let reply = conditional::reply(
            Method::Get,
            request_fields,
            &open_entry.entry.stored(open_entry.front()),
            now,
        );
        assert_eq!(reply, ConditionalOutcome::Whole);
        let serving = Serving {
            reply,
            status: CacheStatus::Hit { ttl: open_entry.entry.freshness.time_left(now) },
            answering: Answering::new(b"id-1", ResponseFraming::AsIs),
            now,
        };
        serve::write_head(open_entry, &serving, out);
        if let Body::Memory(bytes) = open_entry.body() {
            out.extend_from_slice(bytes);
        }
        black_box(&out);
        store.release(id);
    });
}
