//! The simulated disk held against the real one.
use crate::sys::linux::FileMetadata;
use crate::sys::sim::world::{self, Faults};
use crate::sys::{IoError, sim};
use std::ffi::CStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// What was seen, in order.
#[derive(Default, PartialEq, Eq, Debug)]
struct Notes(Vec<String>);

impl Notes {
    fn note(&mut self, what: &str, seen: impl Debug) {
        self.0.push(format!("{what}: {seen:?}"));
    }

    fn done<T>(&mut self, what: &str, result: &Result<T, IoError>) {
        self.note(what, result.as_ref().map(|_| ()));
    }
}

/// A directory of the real disk, or of the simulated one, that no other test has.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("httplb-disk-{name}-{}", std::process::id()))
}

macro_rules! scripts {
    ($module:ident, $kernel:ident) => {
        mod $module {
            use super::*;
            use $kernel::{Directory, File};

            fn text(file: &File) -> String {
                let mut room = [0; 100];
                let count = file.read_at(&mut room, 0).unwrap();
                String::from_utf8_lossy(&room[..count]).into_owned()
            }

            fn names(directory: &Directory) -> Vec<String> {
                let mut names = Vec::new();
                let add = |name: &CStr| names.push(name.to_string_lossy().into_owned());
                directory.list(add).unwrap();
                names.sort();
                names
            }

            pub fn names_and_folders(path: &Path) -> Notes {
                let mut notes = Notes::default();
                notes.done("in nothing", &Directory::open(&path.join("a/b")));
                let root = Directory::open(path).unwrap();
                notes.done("again", &Directory::open(path));
                notes.done("missing", &root.open_file(c"a"));
                notes.done("missing below", &root.open_file(c"a/b"));
                notes.done("make in nothing", &root.new_file(c"a/b"));
                notes.done("make folder", &root.make_below(c"a"));
                notes.done("make folder again", &root.make_below(c"a"));
                notes.done("make folder below", &root.make_below(c"a/b"));
                notes.done("open folder", &root.open_below(c"a/b"));
                notes.done("open missing folder", &root.open_below(c"a/c"));
                let file = root.new_file(c"a/b/c").unwrap();
                notes.done("make again", &root.new_file(c"a/b/c"));
                file.write_at(b"hello", 0).unwrap();
                notes.note("text", text(&root.open_file(c"a/b/c").unwrap()));
                notes.done("below a file", &root.open_file(c"a/b/c/d"));
                notes.note("names", names(&root));
                notes.note("names below", names(&root.open_below(c"a/b").unwrap()));
                notes.done("remove", &root.remove(c"a/b/c"));
                notes.done("remove again", &root.remove(c"a/b/c"));
                notes.note("kept open", text(&file));
                notes.note("names below", names(&root.open_below(c"a/b").unwrap()));
                notes
            }

            pub fn names_that_go_while_they_are_listed(path: &Path) -> Notes {
                let mut notes = Notes::default();
                let root = Directory::open(path).unwrap();
                root.make_below(c"a").unwrap();
                for number in 0..1000 {
                    let name = std::ffi::CString::new(format!("a/{number:032}")).unwrap();
                    root.new_file(&name).unwrap();
                }
                let mut below = root.open_below(c"a").unwrap();
                let (mut listed, mut rounds, mut more) = (Vec::new(), 0, true);
                while more {
                    let before = listed.len();
                    more = below.list_more(|name| listed.push(name.to_owned())).unwrap();
                    listed[before..].iter().for_each(|name| below.remove(name).unwrap());
                    rounds += 1;
                }
                listed.sort();
                listed.dedup();
                notes.note("each once, not all at once", (listed.len(), rounds > 2));
                notes.note("names", names(&below));
                notes
            }

            pub fn files_without_a_name(path: &Path) -> Notes {
                let mut notes = Notes::default();
                let root = Directory::open(path).unwrap();
                root.make_below(c"a").unwrap();
                let first = root.unnamed_file(c"a").unwrap();
                first.write_at(b"first", 0).unwrap();
                notes.note("names", names(&root.open_below(c"a").unwrap()));
                notes.done("link in nothing", &root.link(&first, c"b/x"));
                notes.done("link", &root.link(&first, c"a/x"));
                let second = root.unnamed_file(c"a").unwrap();
                second.write_at(b"second", 0).unwrap();
                notes.done("link again", &root.link(&second, c"a/x"));
                notes.done("link elsewhere", &root.link(&second, c"a/y"));
                notes.note("text", text(&root.open_file(c"a/x").unwrap()));
                notes.done("rename", &root.rename(c"a/y", c"a/x"));
                notes.done("rename again", &root.rename(c"a/y", c"a/x"));
                notes.done("rename to nowhere", &root.rename(c"a/x", c"b/x"));
                notes.note("text", text(&root.open_file(c"a/x").unwrap()));
                notes.note("text of the replaced", text(&first));
                drop(root.unnamed_file(c"a").unwrap());
                notes.note("names", names(&root.open_below(c"a").unwrap()));
                notes.done("in nothing", &root.unnamed_file(c"c"));
                notes
            }

            pub fn reading_and_writing(path: &Path) -> Notes {
                let mut notes = Notes::default();
                let root = Directory::open(path).unwrap();
                let file = root.unnamed_file(c".").unwrap();
                notes.note("empty", file.read_at(&mut [0; 4], 0));
                notes.note("write behind the end", file.write_at(b"world", 6));
                notes.note("write", file.write_at(b"hello ", 0));
                notes.note("text", text(&file));
                let mut room = [0; 4];
                notes.note("middle", (file.read_at(&mut room, 4), room));
                notes.note("end", (file.read_at(&mut room, 9), &room[..2]));
                notes.note("beyond", file.read_at(&mut room, 100));
                let FileMetadata { len, is_plain, changed, .. } = file.metadata().unwrap();
                notes.note("metadata", (len, is_plain));
                $kernel::pause();
                file.write_at(b"H", 0).unwrap();
                notes.note("changed", file.metadata().unwrap().changed != changed);
                let copy = root.unnamed_file(c".").unwrap();
                let (mut from, mut to) = (6, 2);
                while from < 11 {
                    let count = copy.copy_from(&file, from, to, (11 - from) as usize).unwrap();
                    (from, to) = (from + count as u64, to + count as u64);
                }
                notes.note("copied", text(&copy));
                notes.note("copied at the end", copy.copy_from(&file, 11, 0, 10));
                notes.done("reserve", &copy.reserve(5000, 15_000));
                notes.note("as long as before", copy.metadata().unwrap().len);
                notes.done("trim", &copy.trim(7));
                notes.note("text", text(&copy));
                let holed = root.unnamed_file(c".").unwrap();
                holed.write_at(b"far", 1 << 24).unwrap();
                let metadata = holed.metadata().unwrap();
                notes.note("with a hole", (metadata.len, metadata.allocated < 1 << 20));
                notes
            }

            pub fn reading_what_is_in_memory(path: &Path) -> Notes {
                let mut notes = Notes::default();
                let root = Directory::open(path).unwrap();
                let file = root.unnamed_file(c".").unwrap();
                file.write_at(b"0123456789", 0).unwrap();
                let mut room = [0; 4];
                notes.note("some", (file.read_now(&mut room, 2), room));
                notes.note("end", (file.read_now(&mut room, 8), &room[..2]));
                notes.note("beyond", file.read_now(&mut room, 100));
                file.read_ahead(0, 100);
                notes.note("again", (file.read_now(&mut room, 0), room));
                notes
            }

            pub fn sending(path: &Path) -> Notes {
                let mut notes = Notes::default();
                let root = Directory::open(path).unwrap();
                let file = root.unnamed_file(c".").unwrap();
                file.write_at(b"0123456789", 0).unwrap();
                let listener = $kernel::Listener::bind(super::super::LOOPBACK, 1).unwrap();
                let near = $kernel::Socket::connect(listener.address()).unwrap();
                $kernel::pause();
                notes.note("some", file.send(&near, 2, 3));
                notes.note("to the end", file.send(&near, 5, 100));
                notes.note("beyond the end", file.send(&near, 10, 100));
                $kernel::pause();
                let (far, _) = listener.accept().unwrap();
                let mut room = [0; 20];
                let count = far.receive([&mut room, &mut []]).unwrap();
                notes.note("received", String::from_utf8_lossy(&room[..count]));
                drop(far);
                let _ = near.send([b"x", &[]]);
                $kernel::pause();
                let _ = near.send([b"x", &[]]);
                notes.note("broken", file.send(&near, 0, 10));
                notes
            }
        }
    };
}

mod real_kernel {
    pub use crate::sys::linux::{Directory, File, Listener, Socket};
    pub fn pause() {
        // Longer than the finest difference between two times of a file.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

mod simulated_kernel {
    pub use crate::sys::sim::{Directory, File, Listener, Socket};
    pub fn pause() {
        let mut poller = crate::sys::sim::Poller::new().unwrap();
        poller.wait(Some(crate::mem::time::Millis(0))).unwrap();
    }
}

scripts!(real, real_kernel);
scripts!(simulated, simulated_kernel);

macro_rules! same {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            world::reset(1, Faults::default());
            let path = folder(stringify!($name));
            sim::Directory::open(Path::new("/tmp")).unwrap();
            let real = real::$name(&path);
            std::fs::remove_dir_all(&path).unwrap();
            let simulated = simulated::$name(&Path::new("/tmp").join(path.file_name().unwrap()));
            assert!(!real.0.is_empty());
            assert_eq!(simulated, real, "left: the simulated disk; right: the real one");
        }
    )*};
}

same! {
    names_and_folders
    names_that_go_while_they_are_listed
    files_without_a_name
    reading_and_writing
    reading_what_is_in_memory
    sending
}
