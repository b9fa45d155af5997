//! A cache under test: its directory, which outlives a program, and answers that may be stored.

use super::{Answer, Backend, Client, Program, Response, Value, json, process, servers};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Where answers are stored, in a folder that every user may enter. Removed in the end.
pub struct Shelf {
    folder: PathBuf,
    /// It is a file system of its own.
    is_mounted: bool,
}

impl Shelf {
    pub fn new() -> Shelf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("httplb-shelf-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Shelf { folder, is_mounted: false }
    }

    /// One on a file system of so many MiB. `None`, and it is said loudly, where that cannot be had.
    pub fn small(mebibytes: u32) -> Option<Shelf> {
        let mut shelf = Shelf::new();
        let size = format!("size={mebibytes}m,mode=0755");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "httplb-test"])
            .arg(&shelf.folder)
            .output();
        shelf.is_mounted = mount.is_ok_and(|output| output.status.success());
        if !shelf.is_mounted {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here (only root may); run this as root");
            return None;
        }
        Some(shelf)
    }

    /// The value of `cache.dir`.
    pub fn path(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// The files of stored answers.
    pub fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path()]);
        while let Some(folder) = folders.pop() {
            // What vanishes meanwhile is not there.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder { &mut folders } else { &mut files }.push(entry.path());
            }
        }
        files.retain(|path| !path.ends_with("secret"));
        files
    }

    /// Whether each file has the place of a stored answer: none is left over.
    pub fn assert_no_leftovers(&self) {
        super::until_none("what was left over", || self.leftovers());
    }

    /// What is neither an entry nor one that is being made. That has a name in `new/` while others follow it, or
    /// until it takes the place of another; of who was killed it goes later.
    pub fn assert_no_leftovers_but_new(&self) {
        let mut left = self.leftovers();
        left.retain(|name| !name.starts_with("new/"));
        assert_eq!(left, [""; 0], "left over");
    }

    /// The names of what is no entry.
    fn leftovers(&self) -> Vec<String> {
        let files = self.files().into_iter();
        let names = files
            .map(|path| path.strip_prefix(self.path()).unwrap().to_string_lossy().into_owned());
        names.filter(|name| name.len() != "a/bc/".len() + 32).collect()
    }

    /// The bytes that all stored answers take of the disk.
    pub fn used(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let blocks = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
        self.files().iter().map(blocks).sum()
    }

    /// A configuration with a cache here.
    pub fn config(&self, backends: &[&Backend]) -> Value {
        json!({ "backend_servers": servers(backends), "cache": { "dir": self.path() } })
    }

    /// A program with a cache here, an admin socket and a status page.
    pub fn program(&self, backends: &[&Backend]) -> Program {
        Program::operated(self.config(backends))
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An answer that is fresh for a minute.
pub fn fresh(body: impl AsRef<[u8]>) -> Answer {
    Answer::text(body).with("Cache-Control", "max-age=60")
}

/// What the cache had to do with an answer, without the name of the cache.
pub fn status(response: &Response) -> String {
    let value = response.field("Cache-Status").expect("Cache-Status");
    value.strip_prefix("httplb; ").expect("our name").to_owned()
}

pub fn is_hit(response: &Response) -> bool {
    response.field("Cache-Status").is_some_and(|value| value.starts_with("httplb; hit"))
}

/// `GET target` with these field lines, over a connection of its own.
pub fn ask(program: &Program, target: &str, fields: &str) -> Response {
    ask_by(program, "GET", target, fields)
}

/// The same with another method. `fields` are parted by ` | `.
pub fn ask_by(program: &Program, method: &str, target: &str, fields: &str) -> Response {
    let lines: String = fields
        .split(" | ")
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\r\n"))
        .collect();
    let mut client = Client::connect(program.address);
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}\r\n"
    ));
    let response = client.response_to(method);
    client.expect_end();
    response
}

/// The value of a metric, with its labels.
pub fn metric(program: &Program, name: &str) -> u64 {
    let text = program.ask("GET /metrics", "").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().expect("a number") as u64
}

/// Kills the master and all its children at once, as a crash of the machine would.
pub fn kill_all(program: &mut Program) {
    let processes = program.processes();
    processes.into_iter().for_each(process::kill);
    program.wait_for_exit();
}

/// Changes a file in place.
pub fn change(path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    act(&mut bytes);
    fs::write(path, bytes).unwrap();
}
