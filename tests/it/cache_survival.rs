//! What is stored outlives restarts, crashes and reloads; what is not whole, or was changed, is never
//! given to anybody; and whatever becomes of the disk, every answer is whole.

use crate::common::{
    Backend, Client, Program, assert_same_bytes, eventually, json, noise, process,
    stored::{Shelf, ask, change, fresh, is_hit, kill_all, metric, status},
    until,
    wire::Wire,
};
use rustix::process::Signal;
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// What is behind a target: `/SIZE/NUMBER`.
fn body_of(target: &str) -> Vec<u8> {
    let mut numbers = target.split('/').skip(1).map(|number| number.parse().unwrap_or(0));
    let (size, number) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    noise(size, (size * 1000 + number) as u64)
}

fn origin() -> Backend {
    Backend::answering(|request| fresh(body_of(&request.target)))
}

/// Asks for a target, which must come whole. Whether it was stored.
fn check(program: &Program, target: &str) -> bool {
    let response = program.get(target);
    assert_same_bytes(&response.body, &body_of(target), target);
    is_hit(&response)
}

/// Asks until the response is stored.
fn store(program: &Program, target: &str) {
    until("an answer is stored", || check(program, target));
}

const SIZES: [usize; 5] = [0, 100, 20_000, 100_000, 1 << 20];

fn targets() -> impl Iterator<Item = String> {
    SIZES.iter().flat_map(|size| (0..5).map(move |number| format!("/{size}/{number}")))
}

#[test]
fn a_restart_goes_on_with_what_is_stored() {
    let (backend, shelf) = (origin(), Shelf::new());
    let mut program = shelf.program(&[&backend]);
    targets().for_each(|target| store(&program, &target));
    let (before, files) = (backend.request_count(), shelf.files().len());
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    drop(program);
    let program = shelf.program(&[&backend]);
    targets().for_each(|target| assert!(check(&program, &target), "{target}"));
    assert_eq!((backend.request_count(), shelf.files().len()), (before, files));
    until("all of it is counted", || metric(&program, "httplb_cache_bytes") == shelf.used());
}

#[test]
fn a_reload_goes_on_with_what_is_stored_and_what_was_counted() {
    let (backend, shelf) = (origin(), Shelf::new());
    let mut program = shelf.program(&[&backend]);
    targets().for_each(|target| store(&program, &target));
    let before = backend.request_count();
    let counts = || {
        let hits = metric(&program, "httplb_cache_requests_total{result=\"hit\"}");
        (hits, metric(&program, "httplb_cache_bytes"))
    };
    let (hits, bytes) = counts();
    for _ in 0..6 {
        program.reload();
    }
    targets().for_each(|target| assert!(check(&program, &target), "{target}"));
    assert_eq!(counts(), (hits + 25, bytes));
    // Other sizes have other cells; the directory is the same.
    program.configure(|config| config["cache"]["max_size"] = json!("64MiB"));
    program.reload();
    targets().for_each(|target| assert!(check(&program, &target), "{target}"));
    until("all of it is counted", || metric(&program, "httplb_cache_bytes") == bytes);
    assert_eq!(backend.request_count(), before);
    store(&program, "/5000/77");
}

#[test]
fn a_purge_reaches_those_who_are_being_replaced() {
    let (backend, shelf) = (origin(), Shelf::new());
    let program = shelf.program(&[&backend]);
    store(&program, "/100/1");
    let mut clients: Vec<Client> = (0..2).map(|_| program.client()).collect();
    clients.iter_mut().for_each(|client| assert!(is_hit(&client.get("/100/1"))));
    program.reload();
    // The first has its last answer from the worker that has it at hand.
    assert!(is_hit(&clients[0].get("/100/1")));
    let reply = program.ask("POST /v1/cache/purge", "{\"url\": \"http://test/100/1\"}");
    assert_eq!(reply.body, "{\"purged\":1}\n");
    assert!(!is_hit(&clients[1].get("/100/1")));
}

/// Clients that ask for whatever they like, until they are told to stop. Every answer is whole and
/// right, or its connection breaks.
struct Crowd {
    address: Arc<Mutex<SocketAddr>>,
    stops: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn new(address: SocketAddr) -> Crowd {
        let address = Arc::new(Mutex::new(address));
        let stops = Arc::<AtomicBool>::default();
        let [answered, hits] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let threads = (0..4).map(|seed| {
            let (address, stops) = (address.clone(), stops.clone());
            let (answered, hits) = (answered.clone(), hits.clone());
            thread::spawn(move || {
                for round in 0_usize.. {
                    if stops.load(Ordering::SeqCst) {
                        return;
                    }
                    let number = (round * 4 + seed) % 97;
                    let target = format!("/{}/{number}", SIZES[round % SIZES.len()]);
                    let address = *address.lock().unwrap();
                    // Nobody may listen just then.
                    let Ok(stream) = TcpStream::connect(address) else { continue };
                    let mut client = Client { wire: Wire::new(stream) };
                    client.ask(&target);
                    if let Ok(response) = client.receive("GET") {
                        if response.status == 200 {
                            assert_same_bytes(&response.body, &body_of(&target), &target);
                            answered.fetch_add(1, Ordering::SeqCst);
                            hits.fetch_add(is_hit(&response).into(), Ordering::SeqCst);
                        }
                    }
                }
            })
        });
        let threads = threads.collect();
        Crowd { address, stops, answered, hits, threads }
    }

    fn wait_for(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        until("the crowd goes on", || self.answered.load(Ordering::SeqCst) >= before + more);
    }

    fn end(self) {
        self.stops.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("right answers"));
    }
}

/// Fifty kills: of single workers, fewer at a time than the master takes for a fault, and of all
/// processes at once.
#[test]
fn kills_leave_nothing_behind_and_nothing_cut_is_served() {
    let (backend, shelf) = (origin(), Shelf::new());
    let start = || {
        let mut config = shelf.config(&[&backend]);
        config["workers"] = json!(2);
        config["cache"]["max_size"] = json!("32MiB");
        Program::operated(config)
    };
    let mut program = start();
    let crowd = Crowd::new(program.address);
    for round in 0..10 {
        for kill in 0..4 {
            crowd.wait_for(3 + (round * 7 + kill) % 5);
            let worker = program.worker(kill % 2);
            process::kill(worker);
            until("it is gone", || !process::lives(worker));
        }
        crowd.wait_for(3);
        kill_all(&mut program);
        shelf.assert_no_leftovers_but_new();
        program = start();
        *crowd.address.lock().unwrap() = program.address;
    }
    until("something stored is served", || crowd.hits.load(Ordering::SeqCst) > 0);
    crowd.end();
    shelf.assert_no_leftovers();
    until("the bytes are right again", || metric(&program, "httplb_cache_bytes") == shelf.used());
}

#[test]
fn files_that_were_changed_are_misses() {
    let (backend, shelf) = (origin(), Shelf::new());
    let mut program = shelf.program(&[&backend]);
    targets().for_each(|target| store(&program, &target));
    drop(program);
    let files = shelf.files();
    assert_eq!(files.len(), 25);
    for (index, path) in files.iter().enumerate() {
        change(path, |bytes| match index % 3 {
            0 => bytes.truncate(bytes.len() * (index % 5) / 5),
            1 => {
                let at = bytes.len() * (index % 10) / 10;
                bytes[at] ^= 1 << (index % 8);
            }
            _ => bytes.push(7),
        });
    }
    program = shelf.program(&[&backend]);
    let before = backend.request_count();
    let hits = targets().filter(|target| check(&program, target)).count();
    // A bit that nobody reads may have been changed.
    assert!(hits <= 2, "{hits} of 25 were served");
    assert_eq!(backend.request_count(), before + 25 - hits);
    targets().for_each(|target| store(&program, &target));
}

#[test]
fn a_file_that_is_changed_under_a_running_worker_is_a_miss_or_a_cut() {
    let (backend, shelf) = (origin(), Shelf::new());
    let program = shelf.program(&[&backend]);
    store(&program, "/1048576/1");
    let [path] = &shelf.files()[..] else { panic!("one file") };
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert!(!check(&program, "/1048576/1"));
    store(&program, "/1048576/1");
}

#[test]
fn no_more_than_max_size_is_stored_under_a_flood() {
    let (backend, shelf) = (origin(), Shelf::new());
    let mut config = shelf.config(&[&backend]);
    config["workers"] = json!(2);
    config["cache"]["max_size"] = json!("2MiB");
    let program = Program::operated(config);
    let crowd = Crowd::new(program.address);
    for _ in 0..20 {
        crowd.wait_for(20);
        assert!(shelf.used() <= 2 << 20, "{} bytes are stored", shelf.used());
    }
    crowd.end();
    assert!(metric(&program, "httplb_cache_bytes") <= 2 << 20);
    assert!(shelf.used() > 1 << 20, "only {} bytes are stored", shelf.used());
}

#[test]
fn a_disk_that_is_full_cuts_no_answer() {
    let Some(shelf) = Shelf::small(8) else { return };
    let backend = origin();
    let mut config = shelf.config(&[&backend]);
    config["workers"] = json!(2);
    let program = Program::operated(config);
    assert!(program.stderr().contains("cache.max_size: 256MiB is more than the 8MiB of the disk"));
    let crowd = Crowd::new(program.address);
    crowd.wait_for(300);
    crowd.end();
    for number in 0..30 {
        check(&program, &format!("/1048576/{number}"));
    }
    program.wait_for_message("the disk is full");
    shelf.assert_no_leftovers();
    let reply = program.ask("POST /v1/cache/purge", "{\"prefix\": \"http://test/\"}");
    assert_eq!(reply.status, 200);
    // There is room again.
    store(&program, "/1048576/1");
    program.wait_for_message("responses are stored again");
}

#[test]
fn a_directory_that_is_read_only_is_read_and_nothing_is_cut() {
    let Some(shelf) = Shelf::small(64) else { return };
    let backend = origin();
    let program = shelf.program(&[&backend]);
    store(&program, "/100/1");
    store(&program, "/100000/1");
    let remount = |how: &str| {
        let folder = shelf.path().parent().unwrap().to_owned();
        let options = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &options]).arg(folder).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    remount("ro");
    assert!(check(&program, "/100/1") && check(&program, "/100000/1"));
    for target in ["/100/2", "/100000/2"] {
        assert!(!check(&program, target) && !check(&program, target));
    }
    program.wait_for_message("Read-only file system");
    drop(program);
    // One that finds it so serves as well.
    let program = shelf.program(&[&backend]);
    assert!(check(&program, "/100/1") && !check(&program, "/100/2"));
    remount("rw");
    program.reload();
    store(&program, "/100/2");
}

#[test]
fn a_directory_that_vanishes_or_was_never_there_harms_no_answer() {
    let (backend, shelf) = (origin(), Shelf::new());
    let program = shelf.program(&[&backend]);
    targets().for_each(|target| store(&program, &target));
    fs::remove_dir_all(shelf.path()).unwrap();
    for _ in 0..2 {
        targets().for_each(|target| {
            check(&program, &target);
        });
        check(&program, "/1000/77");
    }
    eventually("it is told", || program.stderr().contains("it was removed").then_some(()));
    program.reload();
    targets().for_each(|target| store(&program, &target));
    drop(program);

    fs::remove_dir_all(shelf.path()).unwrap();
    fs::write(shelf.path(), "a file").unwrap();
    let program = shelf.program(&[&backend]);
    let message = format!("cache.dir {}: it is no directory", shelf.path().display());
    program.wait_for_message(&message);
    assert!(!check(&program, "/100/1") && !check(&program, "/100/1"));
    assert!(ask(&program, "/100/1", "").field("Cache-Status").is_none());
    let reply = program.ask("POST /v1/cache/purge", "{\"url\": \"http://test/\"}");
    assert_eq!(reply.status, 503, "{}", reply.body);
    fs::remove_file(shelf.path()).unwrap();
    program.reload();
    store(&program, "/100/1");
}

#[test]
fn a_second_service_with_the_same_directory_goes_on_without_a_cache() {
    const TAKEN: &str = "another service stores its responses there";
    let backend = Backend::always(fresh("a"));
    let shelf = Shelf::new();
    let mut first = Program::replaceable(shelf.config(&[&backend]));
    first.get("/a");
    let second = Program::replaceable(shelf.config(&[&backend]));
    second.wait_for_message(TAKEN);
    for _ in 0..2 {
        let response = second.get("/a");
        assert_eq!((response.text(), response.field("Cache-Status")), ("a".into(), None));
    }
    // A reload hands the lock over; and the second asks for it each time.
    first.reload();
    assert!(is_hit(&first.get("/a")));
    second.reload();
    until("the second says it again", || second.count_messages(TAKEN) == 2);
    assert_eq!(second.get("/a").field("Cache-Status"), None);
    assert_eq!(first.count_messages(TAKEN), 0);
    // It ends with who has it, however that ends.
    kill_all(&mut first);
    second.reload();
    until("the second has it", || is_hit(&second.get("/a")));
}

/// RFC 9211 §2.5.
#[test]
fn what_is_said_to_be_stored_is_stored_also_where_the_disk_is_full() {
    let Some(shelf) = Shelf::small(8) else { return };
    let backend = origin();
    let program = shelf.program(&[&backend]);
    let mut counts = [0, 0];
    for number in 0..60 {
        let size = [1 << 20, 100, 300_000, 20_000][number % 4];
        let target = format!("/{size}/{number}");
        let is_said = status(&ask(&program, &target, "")).contains("stored");
        assert_eq!(is_hit(&ask(&program, &target, "")), is_said, "{target}");
        counts[usize::from(is_said)] += 1;
    }
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}
