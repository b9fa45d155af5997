use super::*;
use crate::sys::sim::world::{self, Faults};
use std::path::Path;

const HASH: EntryKey = EntryKey(0xabc1_2345_6789_0123_4567_89ab_cdef_0011);
const PATH: &str = "cache/a/bc/abc12345678901234567_89abcdef0011";

fn try_open() -> Result<(Files, SipKey), IoError> {
    Files::enter(Directory::open(Path::new("/cache"))?)
}

fn open() -> (Files, SipKey) {
    try_open().expect("it opens")
}

fn text(file: &File) -> String {
    let mut bytes = [0; 100];
    let count = file.read_at(&mut bytes, 0).expect("it reads");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

fn put(files: &mut Files, hash: EntryKey, text: &str) -> Result<(), IoError> {
    let temp = files.make()?;
    temp.file.write_at(text.as_bytes(), 0)?;
    files.publish(&temp, hash)
}

#[test]
fn an_entry_lies_under_its_hash() {
    for wants_names in [false, true] {
        world::reset(1, Faults { disk_wants_names: wants_names, ..Faults::default() });
        let (mut files, _) = open();
        assert!(files.entry(HASH).err() == Some(IoError::NotFound));
        assert_eq!(put(&mut files, HASH, "one"), Ok(()));
        assert_eq!(put(&mut files, HASH, "two"), Ok(()));
        assert_eq!(text(&files.entry(HASH).expect("there")), "two");
        let path = PATH.replace('_', "");
        assert_eq!(world::disk(|disk| disk.files()), [path.as_str(), "cache/secret"]);
        assert_eq!((files.remove(HASH), files.remove(HASH)), (Ok(()), Ok(())));
        assert_eq!(world::disk(|disk| disk.files()), ["cache/secret"]);
    }
}

/// Others read it, and join what they have to it, at any moment.
#[test]
fn an_entry_is_there_until_another_has_its_name() {
    let (mut kept, mut replaced) = (0, 0);
    for seed in 0..100 {
        world::reset(seed, Faults::default());
        let (mut files, _) = open();
        assert_eq!(put(&mut files, HASH, "one"), Ok(()));
        let temp = files.make().expect("it is made");
        temp.file.write_at(b"two", 0).expect("it is written");
        world::change_faults(|faults| faults.disk_errors = 3);
        let published = files.publish(&temp, HASH);
        world::change_faults(|faults| faults.disk_errors = 0);
        let found = text(&files.entry(HASH).expect("one of the two"));
        assert_eq!(found, if published.is_ok() { "two" } else { "one" }, "{seed}");
        if published.is_ok() {
            replaced += 1
        } else {
            kept += 1
        }
        assert_eq!(files.sweep_new(|_| false), Ok(()));
        assert_eq!(world::disk(|disk| disk.files().len()), 2);
    }
    assert!(kept > 10 && replaced > 10, "{kept} {replaced}");
}

#[test]
fn the_secret_outlives_a_restart_and_a_damaged_one_is_made_anew() {
    world::reset(1, Faults::default());
    let (_, secret) = open();
    assert!(open().1 == secret && secret != [0; 16]);
    world::disk(|disk| disk.change("cache/secret", |bytes| bytes[3] ^= 1));
    let (_, other) = open();
    assert!(other != secret && open().1 == other);
    world::disk(|disk| disk.change("cache/secret", |bytes| bytes.truncate(20)));
    assert!(open().1 != other);
}

#[test]
fn what_was_never_finished_is_gone_or_swept() {
    world::reset(1, Faults::default());
    let (mut files, _) = open();
    let temp = files.make().expect("it is made");
    temp.file.write_at(b"half", 0).expect("it is written");
    drop(temp);
    assert_eq!(world::disk(|disk| (disk.files().len(), disk.used())), (1, 24));

    world::change_faults(|faults| faults.disk_wants_names = true);
    let (mut files, _) = open();
    let temp = files.make().expect("it is made");
    temp.file.write_at(b"half", 0).expect("it is written");
    assert_eq!(world::disk(|disk| disk.files().len()), 2);
    assert_eq!(files.sweep_new(|_| false), Ok(()));
    assert_eq!(files.publish(&temp, HASH), Err(IoError::NotFound));
    files.discard(temp);
    let kept = files.make().expect("it is made");
    files.discard(kept);
    assert_eq!(world::disk(|disk| disk.files()), ["cache/secret"]);
}

#[test]
fn folders_are_listed_by_their_numbers() {
    world::reset(1, Faults::default());
    let (mut files, _) = open();
    let hashes =
        [HASH, EntryKey(HASH.0 + 1), EntryKey(HASH.0 ^ 1 << 127), EntryKey(0), EntryKey(u128::MAX)];
    for hash in hashes {
        put(&mut files, hash, "x").expect("it is put");
    }
    let mut found = Vec::new();
    for folder in 0..FOLDERS {
        let mut folder = match files.folder(folder) {
            Err(IoError::NotFound) => continue,
            opened => opened.expect("it opens"),
        };
        while folder.list_more(|hash| found.push(hash)).expect("it lists") {}
    }
    found.sort_unstable();
    let mut expected = hashes.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_disk_that_fails_is_an_error_and_no_more() {
    for faults in [
        Faults { disk_is_read_only: true, ..Faults::default() },
        Faults { disk_room: 10, ..Faults::default() },
        Faults { disk_errors: 1, ..Faults::default() },
    ] {
        world::reset(1, faults);
        assert!(try_open().is_err());
        world::change_faults(|faults| *faults = Faults::default());
        let (mut files, _) = open();
        assert_eq!(files.try_out(), Ok(()));
        world::change_faults(|now| *now = Faults { disk_room: 24, ..faults });
        assert!(files.try_out().is_err());
        world::change_faults(|now| *now = Faults { disk_room: 30, ..faults });
        assert!(put(&mut files, HASH, "more than there is room for").is_err());
    }
}
