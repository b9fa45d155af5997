use super::super::in_memory::DiskRead;
use super::super::store::{Found, Verdict};
use super::super::testing::*;
use super::*;
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::method::Method;
use crate::http::response;
use crate::mem::xorshift::Xorshift;
use crate::sys::clock;
use crate::sys::sim::world::{self, Faults};

const FIELDS: &str = "Cache-Control: max-age=60 | Content-Type: a/b | ETag: ";

fn start() -> Store {
    world::reset(1, Faults::default());
    worker(known_cells(64 << 20), 0)
}

/// Begins to record bytes `first` to `last` of a body that is `whole` bytes long.
fn begin_part(
    store: &mut Store,
    etag: &str,
    (first, last, whole): (u64, u64, u64),
    length: u64,
) -> Result<Recorder, NotRecorded> {
    let (found, token) = find(store, "/a", "");
    if let Found::Answer(id) = found {
        store.release(id);
    }
    let fields = format!("{FIELDS}{etag} | Content-Range: bytes {first}-{last}/{whole}");
    let text = format!("HTTP/1.1 206 Partial\r\n{}\r\n", lines(&fields));
    let head = response::parse(text.as_bytes()).expect("valid");
    let response_fields = ResponseCacheFields::new(head.fields);
    with("/a", &format!("Range: bytes={first}-{last}"), |query| {
        let plan = store
            .judge(query, (Method::Get, false), (206, &response_fields), timing())
            .map_err(NotRecorded::Unstorable)?;
        let (head, response_fields) = (&head, &response_fields);
        let length = Some(length);
        let response = super::super::recorder::Response { head, response_fields, length, plan };
        store.record(query, token, &response, clock::now())
    })
}

/// Records these bytes of `whole`, in pieces.
fn put_part(
    store: &mut Store,
    etag: &str,
    (first, last): (u64, u64),
    whole: &[u8],
) -> Result<(), NotRecorded> {
    let range = (first, last, whole.len() as u64);
    let mut recorder = begin_part(store, etag, range, last - first + 1)?;
    for piece in whole[first as usize..=last as usize].chunks(9000) {
        if let Err(lost) = recorder.take(store, piece) {
            recorder.abandon(store);
            return Err(lost);
        }
    }
    recorder.finish(store, clock::now())
}

/// What is stored of the body without gaps, verified, each with its bytes.
fn stored(store: &mut Store) -> Option<Vec<(Part, Vec<u8>)>> {
    let (Found::Answer(id), _) = find(store, "/a", "") else { return None };
    let is_right = loop {
        match store.verify(id, 50_000, now(), DiskRead::Waits) {
            Verdict::Right => break true,
            Verdict::Pending | Verdict::Cold => (),
            Verdict::Damaged => break false,
        }
    };
    let open_entry = store.entry(id);
    let stretches: Vec<Part> = match open_entry.entry.segments(open_entry.front()) {
        Some(segments) => segments.stretches().collect(),
        None => vec![Part { first: 0, last: open_entry.entry.body_len - 1 }],
    };
    let bytes_of = |part: Part| match open_entry.body() {
        super::super::open_entries::Body::Memory(bytes) => {
            bytes[part.first as usize..=part.last as usize].to_vec()
        }
        super::super::open_entries::Body::File(file, at) => {
            let mut bytes = vec![0; part.len() as usize];
            assert_eq!(file.read_at(&mut bytes, at + part.first), Ok(bytes.len()));
            bytes
        }
    };
    let all = stretches.into_iter().map(|part| (part, bytes_of(part))).collect();
    store.release(id);
    is_right.then_some(all)
}

/// The same, if each byte is that of `whole`.
fn parts_of(store: &mut Store, whole: &[u8]) -> Option<Vec<(u64, u64)>> {
    let parts = stored(store)?;
    for (part, bytes) in &parts {
        assert!(whole[part.first as usize..=part.last as usize] == bytes[..], "{part:?}");
    }
    Some(parts.into_iter().map(|(part, _)| (part.first, part.last)).collect())
}

fn is_whole(store: &mut Store) -> bool {
    let (Found::Answer(id), _) = find(store, "/a", "") else { panic!("nothing") };
    let is_whole = store.entry(id).entry.segments.is_empty();
    store.release(id);
    is_whole
}

/// docs/CACHE.md, rule 11.
#[test]
fn parts_are_joined_until_they_are_the_whole() {
    for len in [100, 10_000, 16_500, 300_000] {
        let mut store = start();
        let whole = body(len, 5);
        let at = |tenths: u64| len as u64 * tenths / 10;
        for (first, last, expected) in [
            (at(3), at(4), vec![(at(3), at(4))]),
            (at(7), at(8) - 1, vec![(at(3), at(4)), (at(7), at(8) - 1)]),
            (at(4) + 1, at(5), vec![(at(3), at(5)), (at(7), at(8) - 1)]),
            (0, at(1), vec![(0, at(1)), (at(3), at(5)), (at(7), at(8) - 1)]),
            (at(2), at(9), vec![(0, at(1)), (at(2), at(9))]),
            (at(4), at(6), vec![(0, at(1)), (at(2), at(9))]),
            (at(9), at(10) - 1, vec![(0, at(1)), (at(2), at(10) - 1)]),
            (at(1), at(2), vec![(0, at(10) - 1)]),
        ] {
            assert_eq!(put_part(&mut store, "\"a\"", (first, last), &whole), Ok(()));
            assert_eq!(parts_of(&mut store, &whole), Some(expected), "{len}");
            let (Found::Answer(id), _) = find(&mut store, "/a", "") else { panic!() };
            let open_entry = store.entry(id);
            let head = String::from_utf8_lossy(open_entry.head()).into_owned();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\nCache-Control"), "{head}");
            assert!(head.ends_with(&format!("Content-Length: {len}\r\n")), "{head}");
            assert!(!head.contains("Content-Range"), "{head}");
            assert_eq!(store.directory.cells.used(), open_entry.entry.room(open_entry.front()));
            store.release(id);
        }
        assert_eq!(entry_files().len(), 1);
        // Another program finds it as it was left.
        let mut store = worker(store.directory.cells, 1);
        assert_eq!(parts_of(&mut store, &whole), Some(vec![(0, len as u64 - 1)]));
    }
}

#[test]
fn a_part_that_is_all_is_the_whole() {
    let mut store = start();
    let whole = body(40_000, 5);
    assert_eq!(put_part(&mut store, "\"a\"", (0, 39_999), &whole), Ok(()));
    assert!(is_whole(&mut store));
    assert!(get(&mut store, "/a", "") == Some(whole.clone()));
    // A part of it that comes later takes nothing away.
    assert_eq!(put_part(&mut store, "\"a\"", (100, 20_000), &whole), Ok(()));
    assert!(is_whole(&mut store) && get(&mut store, "/a", "") == Some(whole));
}

/// docs/CACHE.md, rule 11.
#[test]
fn parts_of_two_representations_are_never_joined() {
    let (one, other) = (body(40_000, 5), body(40_000, 6));
    let mut store = start();
    put_part(&mut store, "\"a\"", (0, 19_999), &one).expect("stored");
    put_part(&mut store, "\"b\"", (20_000, 39_999), &other).expect("stored");
    assert_eq!(parts_of(&mut store, &other), Some(vec![(20_000, 39_999)]));
    // Of another length, whatever the validator says.
    put_part(&mut store, "\"b\"", (0, 99), &other[..30_000]).expect("stored");
    assert_eq!(parts_of(&mut store, &other), Some(vec![(0, 99)]));
    for etag in ["W/\"b\"", "b", ""] {
        let range = (0, 99, 40_000);
        assert!(begin_part(&mut store, etag, range, 100).is_err(), "{etag}");
    }
    assert!(begin_part(&mut store, "\"b\"", (0, 99, 40_000), 99).is_err(), "another length");
    assert!(begin_part(&mut store, "\"b\"", (0, 99, 40_000), 101).is_err(), "another length");
}

#[test]
fn what_is_cut_is_a_part() {
    for (len, cut) in [(10_000, 1), (10_000, 9_999), (300_000, 100_000), (40_000, 39_999)] {
        for is_shown in [false, true] {
            let mut store = start();
            let whole = body(len, 5);
            let fields = format!("{FIELDS}\"a\"");
            let mut recorder =
                begin(&mut store, ("/a", ""), &fields, Some(len as u64)).expect("begun");
            let ticket = match store.directory.cells.fetches.begin(0, recorder.hash(), clock::now())
            {
                super::super::collapse::Collapse::Lead(ticket) => ticket,
                other => panic!("{other:?}"),
            };
            for piece in whole[..cut].chunks(7000) {
                recorder.take(&mut store, piece).expect("taken");
                if is_shown {
                    assert_eq!(recorder.show(&store, ticket), Ok(true));
                }
            }
            let follower = is_shown
                .then(|| with("/a", "", |query| store.follow_own(ticket, query)).expect("shown"));
            recorder.cut(&mut store, clock::now());
            let ending = super::super::collapse::Ending::Failed;
            store.directory.cells.fetches.end(ticket, ending, clock::now());
            if let Some(id) = follower {
                assert_eq!(store.grown(id), None, "it has broken off");
                store.release(id);
            }
            assert_eq!(
                parts_of(&mut store, &whole),
                Some(vec![(0, cut as u64 - 1)]),
                "{len} {cut}"
            );
            let range = (cut as u64, len as u64 - 1);
            put_part(&mut store, "\"a\"", range, &whole).expect("stored");
            assert!(get(&mut store, "/a", "") == Some(whole));
            assert_eq!(world::disk(|disk| disk.files().len()), 2);
        }
    }
}

#[test]
fn what_is_cut_without_a_strong_validator_or_a_length_is_nothing() {
    for (etag, length) in [("W/\"a\"", Some(40_000)), ("\"a\"", None)] {
        let mut store = start();
        let fields = format!("{FIELDS}{etag}");
        let mut recorder = begin(&mut store, ("/a", ""), &fields, length).expect("begun");
        recorder.take(&mut store, &body(20_000, 5)).expect("taken");
        recorder.cut(&mut store, clock::now());
        assert_eq!(stored(&mut store), None);
        assert_eq!((entry_files().len(), store.directory.cells.used()), (0, 0));
    }
}

#[test]
fn a_cut_answer_takes_no_place_of_a_whole_one() {
    let (one, other) = (body(20_000, 5), body(20_000, 6));
    let mut store = start();
    put(&mut store, ("/a", ""), &format!("{FIELDS}\"a\""), &one, true).expect("stored");
    let fields = format!("{FIELDS}\"b\"");
    let mut recorder = begin(&mut store, ("/a", ""), &fields, Some(20_000)).expect("begun");
    recorder.take(&mut store, &other[..10_000]).expect("taken");
    recorder.cut(&mut store, clock::now());
    assert!(get(&mut store, "/a", "") == Some(one));
    // A range of another does: there is another by now.
    put_part(&mut store, "\"b\"", (0, 9), &other).expect("stored");
    assert_eq!(parts_of(&mut store, &other), Some(vec![(0, 9)]));
}

/// docs/CACHE.md, rule 17.
#[test]
fn a_damaged_part_is_noticed_and_dropped() {
    for len in [12_000, 60_000_u64] {
        let whole = body(len as usize, 5);
        let mut store = start();
        put_part(&mut store, "\"a\"", (len / 4, len / 2), &whole).expect("stored");
        put_part(&mut store, "\"a\"", (len * 3 / 4, len - 10), &whole).expect("stored");
        let path = entry_files().remove(0);
        let mut original = Vec::new();
        world::disk(|disk| disk.change(&path, |bytes| original.clone_from(bytes)));
        let mut dice = Xorshift::new(len);
        let (mut seen, mut unharmed) = (0, 0);
        for _ in 0..200 {
            let at = dice.below(original.len());
            world::disk(|disk| {
                disk.change(&path, |bytes| {
                    bytes.clone_from(&original);
                    bytes[at] ^= 1 << dice.below(8);
                });
            });
            let mut store = worker(known_cells(64 << 20), 0);
            store.directory.cells.set_unscanned(1);
            match parts_of(&mut store, &whole) {
                Some(parts) => {
                    assert_eq!(parts, [(len / 4, len / 2), (len * 3 / 4, len - 10)]);
                    unharmed += 1;
                }
                None => {
                    seen += 1;
                    assert!(entry_files().is_empty(), "byte {at}");
                    put_part(&mut store, "\"a\"", (len / 4, len / 2), &whole).expect("stored");
                }
            }
        }
        assert!(seen > 40 && unharmed > 40, "{seen} {unharmed}: holes, and what is in them");
    }
}

#[test]
fn room_counts_what_is_there() {
    let mut store = start();
    let whole = body(MAX_OBJECT as usize + 500_000, 5);
    let cells = store.directory.cells;
    put_part(&mut store, "\"a\"", (1_000_000, 1_000_099), &whole).expect("stored");
    assert!(cells.used() <= 4 * 4096, "{}", cells.used());
    put_part(&mut store, "\"a\"", (0, 700_000), &whole).expect("stored");
    assert_eq!(parts_of(&mut store, &whole).map(|parts| parts.len()), Some(2));
    // Together they would be more than may be stored: what there is more of stays.
    let lost = put_part(&mut store, "\"a\"", (900_000, 1_400_000), &whole);
    assert_eq!(lost, Err(NotRecorded::NoRoom));
    assert_eq!(parts_of(&mut store, &whole).map(|parts| parts.len()), Some(2));
    put_part(&mut store, "\"a\"", (600_000, 1_500_000), &whole).expect("stored");
    assert_eq!(parts_of(&mut store, &whole), Some(vec![(600_000, 1_500_000)]));
    let range = (0, MAX_OBJECT, whole.len() as u64);
    assert!(begin_part(&mut store, "\"a\"", range, MAX_OBJECT + 1).is_err());
    let (open_entries, taken) = store.in_use();
    assert_eq!((open_entries, store.recordings), (taken, 0));
    // What looks through the directory counts no holes either.
    let used = cells.used();
    let cells = cells_that_know_nothing();
    let mut sweeper = super::super::sweeper::Sweeper::new(opened(), cells, 1);
    while cells.unscanned() > 0 {
        sweeper.step(now(), clock::wall());
    }
    assert_eq!(cells.used(), used);
}

fn cells_that_know_nothing() -> super::super::shared_cells::SharedCells {
    cells(64 << 20)
}

#[test]
fn a_full_list_takes_no_more() {
    let mut store = start();
    let whole = body(100_000, 5);
    for number in 0..80 {
        put_part(&mut store, "\"a\"", (number * 1000, number * 1000 + 9), &whole).expect("stored");
    }
    let parts = parts_of(&mut store, &whole).expect("stored");
    assert!(parts.len() == 64 && parts.contains(&(79_000, 79_009)), "the last that came");
    put_part(&mut store, "\"a\"", (5, 99_999), &whole).expect("stored");
    assert_eq!(parts_of(&mut store, &whole), Some(vec![(0, 99_999)]));
}

#[test]
fn what_was_made_void_is_no_part() {
    let mut store = start();
    let whole = body(40_000, 5);
    let mut recorder = begin_part(&mut store, "\"a\"", (10, 19, 40_000), 10).expect("begun");
    recorder.take(&mut store, &whole[10..20]).expect("taken");
    let (_, token) = find(&mut store, "/a", "");
    store.directory().invalidate(token.primary);
    assert_eq!(recorder.finish(&mut store, clock::now()), Err(NotRecorded::Void));
    assert_eq!(stored(&mut store), None);
}

/// docs/CACHE.md, rules 8 and 11.
#[test]
fn a_part_that_is_confirmed_is_fresh_again() {
    for len in [10_000, 300_000_u64] {
        let mut store = start();
        let whole = body(len as usize, 5);
        put_part(&mut store, "\"a\"", (10, len / 2), &whole).expect("stored");
        later(100);
        let (Found::Answer(id), token) = find(&mut store, "/a", "") else { panic!() };
        let text = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=90\r\n\r\n";
        let head = response::parse(text.as_bytes()).expect("valid");
        let fresh = ResponseCacheFields::new(head.fields);
        let freshened = store.freshen(id, token, (&fresh, timing()), clock::now());
        store.release(freshened.expect("it is changed").0);
        while store.has_work() {
            store.work(clock::now());
        }
        for mut store in [store, worker(known_cells(64 << 20), 1)] {
            store.directory.cells.set_unscanned(1);
            assert_eq!(parts_of(&mut store, &whole), Some(vec![(10, len / 2)]), "{len}");
            let (Found::Answer(id), _) = find(&mut store, "/a", "") else { panic!() };
            assert_eq!(store.entry(id).entry.freshness.lifetime, 90);
            store.release(id);
        }
    }
}

/// A disk that fails at any time costs what comes, and perhaps what was there; nothing that is wrong is
/// given.
#[test]
fn a_disk_that_fails_while_parts_are_joined_gives_nothing_wrong() {
    let whole = body(60_000, 5);
    let mut dice = Xorshift::new(7);
    let mut stored = 0;
    for seed in 0..150 {
        world::reset(seed, Faults::default());
        let mut store = worker(known_cells(64 << 20), 0);
        world::change_faults(|faults| faults.disk_errors = 12);
        for _ in 0..12 {
            let first = dice.below(50_000) as u64;
            let last = first + dice.below(10_000) as u64;
            if put_part(&mut store, "\"a\"", (first, last), &whole).is_ok() {
                stored += 1;
            }
            parts_of_any(&mut store, &whole);
        }
        world::change_faults(|faults| faults.disk_errors = 0);
        parts_of(&mut store, &whole);
    }
    assert!(stored > 300, "{stored}");
}

/// As `parts_of`, where reading may fail.
fn parts_of_any(store: &mut Store, whole: &[u8]) {
    let (Found::Answer(id), _) = find(store, "/a", "") else { return };
    let is_right = store.verify(id, usize::MAX, now(), DiskRead::Waits) == Verdict::Right;
    let open_entry = store.entry(id);
    if let (true, super::super::open_entries::Body::Memory(bytes)) = (is_right, open_entry.body()) {
        let segments = open_entry.entry.segments(open_entry.front()).expect("a part");
        for part in segments.stretches() {
            let range = part.first as usize..=part.last as usize;
            assert!(bytes[range.clone()] == whole[range]);
        }
    }
    store.release(id);
}

#[test]
fn a_small_part_costs_no_large_copy_but_for_the_whole() {
    let mut store = start();
    store.settings.max_object = 4 << 20;
    let whole = body(3 << 20, 5);
    let last = whole.len() as u64 - 1;
    put_part(&mut store, "\"a\"", (0, 2_000_000), &whole).expect("stored");
    let lost = put_part(&mut store, "\"a\"", (2_500_000, 2_500_000), &whole);
    assert_eq!(lost, Err(NotRecorded::NoRoom));
    put_part(&mut store, "\"a\"", (2_000_001, last - 1), &whole).expect("stored");
    put_part(&mut store, "\"a\"", (last, last), &whole).expect("stored");
    assert_eq!(parts_of(&mut store, &whole), Some(vec![(0, last)]));
}

/// Goes on with what is done now and then.
fn work(store: &mut Store) {
    while store.has_work() {
        store.work(clock::now());
    }
}

#[test]
fn much_that_lies_there_is_joined_behind_the_answer() {
    let whole = body(400_000, 5);
    for how in ["joined", "replaced", "void", "fails", "is cut"] {
        let mut store = start();
        store.joined_at_once = 50_000;
        put_part(&mut store, "\"a\"", (0, 99_999), &whole).expect("stored");
        if how == "is cut" {
            let mut recorder =
                begin_part(&mut store, "\"a\"", (150_000, 399_999, 400_000), 250_000)
                    .expect("begun");
            recorder.take(&mut store, &whole[150_000..250_000]).expect("taken");
            recorder.cut(&mut store, clock::now());
        } else {
            put_part(&mut store, "\"a\"", (150_000, 249_999), &whole).expect("stored");
        }
        assert!(store.has_work(), "{how}");
        // Until that is done, what was there answers.
        assert_eq!(parts_of(&mut store, &whole), Some(vec![(0, 99_999)]));
        let (_, token) = find(&mut store, "/a", "");
        match how {
            "replaced" => {
                let mut other = worker(store.directory.cells, 1);
                put_part(&mut other, "\"b\"", (5, 9), &body(400_000, 6)).expect("stored");
            }
            "void" => store.directory().invalidate(token.primary),
            "fails" => world::change_faults(|faults| faults.disk_errors = 1),
            _ => (),
        }
        work(&mut store);
        world::change_faults(|faults| faults.disk_errors = 0);
        match how {
            "replaced" => {
                assert_eq!(parts_of(&mut store, &body(400_000, 6)), Some(vec![(5, 9)]));
            }
            "void" => assert_eq!(stored(&mut store), None),
            "fails" => assert_eq!(parts_of(&mut store, &whole), Some(vec![(0, 99_999)])),
            _ => {
                let expected = vec![(0, 99_999), (150_000, 249_999)];
                assert_eq!(parts_of(&mut store, &whole), Some(expected), "{how}");
                put_part(&mut store, "\"a\"", (90_000, 160_000), &whole).expect("stored");
                work(&mut store);
                put_part(&mut store, "\"a\"", (250_000, 399_999), &whole).expect("stored");
                work(&mut store);
                assert!(get(&mut store, "/a", "") == Some(whole.clone()));
            }
        }
        let (open_entries, taken) = store.in_use();
        assert_eq!((open_entries, store.recordings), (taken, 0), "{how}");
        let (Found::Answer(id), _) = find(&mut store, "/a", "") else { continue };
        let open_entry = store.entry(id);
        assert_eq!(store.directory.cells.used(), open_entry.entry.room(open_entry.front()));
        store.release(id);
    }
}
