//! What an image of the program tells the next one, which takes its place in the same process:
//! generations, sockets, shared cells, children. It is JSON in a file in memory, whose descriptor
//! an environment variable names; the descriptors in it are handed over by their numbers.
//!
//! It outlives versions of the program. A number is added to [`FORMAT`] when what an older
//! version reads from it would mislead that; keys that are new have a default.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::config::{AccessLog, Config, Endpoint};
use crate::sys::process::{close_inherited, keep_over_exec, take_inherited};
use crate::sys::{IoError, memory};

use super::{admin_sockets, preflight};

/// The format that is written, and the newest that is understood.
pub const FORMAT: u32 = 1;

/// Names the file. Each image consumes it.
pub const HANDOVER: &str = "HTTPLB_HANDOVER";
/// Asks `-t` to say whether it could take over: see `reload`.
pub const TRIAL: &str = "HTTPLB_TRIAL";
/// Sockets that systemd passes: sd_listen_fds(3).
pub const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The first of those sockets.
const FIRST_PASSED: i32 = 3;
/// More are not looked at: 64 addresses with 256 sockets each.
const MOST_PASSED: i32 = 64 * 256;

/// The whole state of a master.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it is written in.
    pub format: u32,
    /// When the service was started, in microseconds since the epoch.
    pub started: u64,
    /// The file of the program, where its path is UTF-8.
    #[serde(default)]
    pub binary: Option<String>,
    /// How often it was reloaded.
    #[serde(default)]
    pub reloads: Reloads,
    /// Workers that had to be started anew.
    #[serde(default)]
    pub restarts: u64,
    /// An operator has withdrawn the service.
    #[serde(default)]
    pub withdrawn: bool,
    /// It is to be reloaded once more, when this reload is over.
    #[serde(default)]
    pub reload_again: bool,
    /// The control process that waits for the outcome of that.
    #[serde(default)]
    pub again_by: Option<i32>,
    /// The control process that waits for the outcome.
    #[serde(default)]
    pub asked_by: Option<i32>,
    /// The descriptor of the rotations that generations share.
    #[serde(default)]
    pub rotations: Option<i32>,
    /// The descriptor of the master's waker.
    pub waker: i32,
    /// Every address that is listened on.
    pub listeners: Vec<Address>,
    /// Where operators come in.
    #[serde(default)]
    pub doors: Vec<admin_sockets::Told>,
    /// All that have children, or counters that were not added up; the last is the one that serves.
    pub generations: Vec<GenerationRecord>,
    /// What is known of the backends beyond the configuration.
    #[serde(default)]
    pub backends: Vec<BackendRecord>,
    /// What the service manager had no room for yet.
    #[serde(default)]
    pub untold: Vec<PendingNotify>,
}

/// A message to the service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingNotify {
    /// Assignments.
    pub text: String,
    /// A socket that it is to store.
    #[serde(default)]
    pub socket: Option<i32>,
}

/// How often the service was reloaded, and how often that was refused or given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// To the end.
    pub done: u64,
    /// Nothing was changed.
    pub refused: u64,
}

/// An address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// As `listen` has it: its port may be 0.
    pub configured: SocketAddr,
    /// The sockets in the order of their binding, by descriptor.
    pub sockets: Vec<i32>,
}

/// The processes of one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// The first is 1.
    pub number: u64,
    /// How many workers it is to have.
    pub workers: usize,
    /// The effective configuration, a whole file.
    pub config: String,
    /// When those of its processes that are left are killed, on the monotonic clock in
    /// microseconds, if they were asked to end.
    #[serde(default)]
    pub leaves_until: Option<u64>,
    /// The descriptor of its shared cells.
    pub segment: i32,
    /// The descriptors of its wakers: each worker's, then that of the control process.
    pub wakers: Vec<i32>,
    /// What its sticky cookies are made with, in hexadecimal digits.
    pub sticky_key: String,
    /// What it shares with others about stored answers, if it stores any.
    #[serde(default)]
    pub stored: Option<CacheRecord>,
    /// Those of its processes that run.
    pub children: Vec<ChildRecord>,
}

/// What generations share about stored answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The descriptor of the cells.
    pub cells: i32,
    /// Which numbers in them are this generation's.
    pub group: usize,
    /// The descriptors of all wakers, by their numbers in the cells.
    pub wakers: Vec<i32>,
    /// The descriptor of what keeps other services out of the directory.
    #[serde(default)]
    pub lock: Option<i32>,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRecord {
    /// Its number.
    pub pid: i32,
    /// What it does.
    pub role: RoleRecord,
    /// The master's end of the channel to it, by descriptor.
    pub channel: i32,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleRecord {
    /// Carries traffic, in this worker.
    Worker(usize),
    /// Checks backends and answers operators.
    Control,
}

/// What is known of a backend beyond the configuration, in terms that each version understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// The name of its pool.
    pub pool: String,
    /// Where it listens.
    pub address: Endpoint,
    /// What operators set it to: ready, drain or maint.
    pub admin: String,
    /// What active checks told, as `policy::health` packs it.
    #[serde(default)]
    pub check: u64,
    /// What requests told, packed likewise.
    #[serde(default)]
    pub passive: u64,
    /// Since when it is up, or down, or drained, on the monotonic clock in milliseconds. None: it is
    /// up since the service started.
    #[serde(default)]
    pub since: Option<u64>,
    /// For how long it was down before, in milliseconds.
    #[serde(default)]
    pub downtime: u64,
    /// Active checks that failed.
    #[serde(default)]
    pub check_failures: u64,
    /// How the last active check went.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// One that registered itself.
    #[serde(default)]
    pub registered: Option<Registered>,
}

/// A check of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Whether it passed.
    pub passed: bool,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// How long it took, in microseconds.
    pub took: u64,
    /// When it ended, on the monotonic clock in milliseconds.
    pub at: u64,
}

/// A backend that registered itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its share.
    pub weight: u32,
    /// Requests at once; 0 is no cap.
    pub max_connections: u32,
    /// When it leaves unless it renews its lease, on the monotonic clock in milliseconds.
    pub lease: Option<u64>,
}

/// What this process was given by the one that started it.
pub enum Inherited {
    /// Nothing.
    Nothing,
    /// Sockets that listen, each with its name if it has one.
    Sockets(Vec<(String, OwnedFd)>),
    /// The question whether it could take over: where to answer, and the addresses that are held.
    Trial(OwnedFd, Vec<SocketAddr>),
    /// The service, running.
    Service(Box<ImportedFds>),
    /// The service, but it is not understood why: the message.
    Broken(String),
}

/// A state with its descriptors.
#[derive(Debug, Default)]
pub struct ImportedFds {
    /// What the image before this one told.
    pub state: ServiceRecord,
    descriptors: BTreeMap<i32, OwnedFd>,
}

impl ServiceRecord {
    /// Reads what `write` has written, perhaps in another version of the program.
    pub fn parse(bytes: &[u8]) -> Result<ServiceRecord, String> {
        #[derive(Deserialize)]
        struct ImageVersion {
            format: u32,
        }
        let told: ImageVersion =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if told.format > FORMAT {
            return Err(format!("format {} is not known, only {FORMAT}", told.format));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Every descriptor that is handed over.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        let sockets = self.listeners.iter().flat_map(|address| address.sockets.iter().copied());
        let others = self.generations.iter().flat_map(|generation| {
            let channels = generation.children.iter().map(|child| child.channel);
            let stored = generation.stored.iter();
            let stored = stored
                .flat_map(|told| told.wakers.iter().copied().chain([told.cells]).chain(told.lock));
            let wakers = generation.wakers.iter().copied();
            [generation.segment].into_iter().chain(wakers).chain(stored).chain(channels)
        });
        let doors = self.doors.iter().map(|told| told.socket);
        let untold = self.untold.iter().filter_map(|untold| untold.socket);
        sockets.chain(doors).chain(others).chain(untold).chain(self.rotations).chain([self.waker])
    }

    /// Puts the state into a file in memory.
    pub fn write(&self) -> Result<OwnedFd, String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        memory::keep(&bytes).map_err(|error| error.to_string())
    }
}

/// Copies of descriptors that the next image has too. As copies, they are gone if there is none.
#[derive(Debug, Default)]
pub struct ExportedFds {
    copies: Vec<OwnedFd>,
}

impl ExportedFds {
    /// Lets the next image have a descriptor, and says under which number.
    pub fn keep(&mut self, descriptor: impl AsFd) -> Result<i32, IoError> {
        let copy = descriptor.as_fd().try_clone_to_owned().map_err(|_| IoError::Exhausted)?;
        keep_over_exec(copy.as_fd())?;
        let number = copy.as_raw_fd();
        self.copies.push(copy);
        Ok(number)
    }
}

impl ImportedFds {
    /// Takes a descriptor, once.
    pub fn take(&mut self, number: i32) -> Result<OwnedFd, String> {
        let missing = || format!("descriptor {number} was not handed over");
        self.descriptors.remove(&number).ok_or_else(missing)
    }

    /// Reads the file. `take` takes what is inherited.
    fn read(file: &OwnedFd, mut take: impl FnMut(i32) -> Option<OwnedFd>) -> Result<Self, String> {
        let bytes = memory::recall(file.as_fd()).map_err(|error| error.to_string())?;
        let state = ServiceRecord::parse(&bytes)?;
        let numbers: Vec<i32> = state.descriptors().collect();
        let taken = numbers.into_iter().filter_map(|number| Some((number, take(number)?)));
        let descriptors = taken.collect();
        Ok(ImportedFds { state, descriptors })
    }
}

/// Takes what this process was given.
pub fn receive() -> Inherited {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(number) = variable(HANDOVER) {
        let file = number.parse().ok().and_then(take_inherited);
        let received = match file {
            Some(file) => ImportedFds::read(&file, take_inherited),
            None => Err(format!("{HANDOVER} names no descriptor: {number:?}")),
        };
        return match received {
            Ok(received) => Inherited::Service(Box::new(received)),
            Err(error) => Inherited::Broken(error),
        };
    }
    if let Some((number, held)) = variable(TRIAL).and_then(|text| preflight::parse(&text)) {
        return take_inherited(number).map_or(Inherited::Nothing, |to| Inherited::Trial(to, held));
    }
    let [pid, count, names] = LISTEN.map(variable);
    let named = passed(std::process::id(), pid, count, names);
    let taken =
        named.into_iter().filter_map(|(name, number)| Some((name, take_inherited(number)?)));
    let sockets: Vec<(String, OwnedFd)> = taken.collect();
    if sockets.is_empty() { Inherited::Nothing } else { Inherited::Sockets(sockets) }
}

/// Closes what this process was given that nobody has named: neither [`receive`] has taken it, nor
/// does the command line or the access log of `config` mean it by a path such as `/dev/fd/5`.
pub fn close_unnamed(config: Option<&Config>) {
    let log = match config.map(|config| &config.access_log) {
        Some(AccessLog::Path(path)) => Some(path.as_os_str().to_owned()),
        Some(AccessLog::Off | AccessLog::Stdout) | None => None,
    };
    let named: Vec<i32> =
        std::env::args_os().chain(log).filter_map(|text| named_by(text.as_bytes())).collect();
    close_inherited(|number| named.contains(&number));
}

/// The descriptor that a path leads to, which may stand behind an option.
fn named_by(text: &[u8]) -> Option<i32> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (path, number) = text.split_at(text.len() - digits);
    let is_descriptor = path.ends_with(b"/dev/fd/") || path.ends_with(b"/proc/self/fd/");
    is_descriptor.then(|| std::str::from_utf8(number).ok()?.parse().ok()).flatten()
}

/// The names and numbers of the sockets that systemd passes to process `own`, by the values of
/// the variables [`LISTEN`].
fn passed(
    own: u32,
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
) -> Vec<(String, i32)> {
    if pid.and_then(|pid| pid.parse().ok()) != Some(own) {
        return Vec::new(); // They were for a process that started this one.
    }
    let count: i32 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let names = names.unwrap_or_default();
    let mut names = names.split(':');
    (0..count.clamp(0, MOST_PASSED))
        .map(|index| (names.next().unwrap_or_default().to_owned(), FIRST_PASSED + index))
        .collect()
}

/// Whether a variable of the environment is for this image alone, and not for what it executes.
pub fn is_consumed(name: &OsStr) -> bool {
    LISTEN.iter().chain(&[HANDOVER, TRIAL]).any(|consumed| name == *consumed)
}

/// The environment for what this process executes.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !is_consumed(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn state() -> ServiceRecord {
        let child = |pid, role, channel| ChildRecord { pid, role, channel };
        ServiceRecord {
            format: FORMAT,
            started: 1_767_225_600_000_000,
            binary: Some("/usr/bin/httplb".into()),
            reloads: Reloads { done: 3, refused: 1 },
            restarts: 2,
            withdrawn: true,
            rotations: Some(77),
            reload_again: true,
            again_by: Some(7),
            asked_by: None,
            waker: 9,
            doors: Vec::new(),
            listeners: vec![Address {
                configured: "[::]:80".parse().unwrap(),
                sockets: vec![10, 11],
            }],
            generations: vec![GenerationRecord {
                number: 4,
                workers: 2,
                config: "{}".into(),
                leaves_until: None,
                segment: 12,
                wakers: vec![13, 14, 15],
                sticky_key: String::from("000102030405060708090a0b0c0d0e0f"),
                stored: Some(CacheRecord {
                    cells: 20,
                    group: 1,
                    wakers: vec![21, 22],
                    lock: Some(23),
                }),
                children: vec![
                    child(100, RoleRecord::Worker(1), 16),
                    child(101, RoleRecord::Control, 17),
                ],
            }],
            backends: vec![BackendRecord {
                pool: "default".into(),
                address: "127.0.0.1:8001".parse().unwrap(),
                admin: "drain".into(),
                check: 1,
                passive: u64::MAX,
                since: Some(7),
                downtime: 8,
                check_failures: 9,
                checked: Some(Checked { passed: true, status: 204, took: 10, at: 11 }),
                registered: Some(Registered { weight: 3, max_connections: 0, lease: Some(5) }),
            }],
            untold: vec![PendingNotify { text: "FDSTORE=1".into(), socket: Some(18) }],
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_written() {
        let file = state().write().unwrap();
        let received = ImportedFds::read(&file, |_| None).unwrap();
        assert_eq!(received.state, state());
    }

    #[test]
    fn each_descriptor_is_taken_once() {
        let file = state().write().unwrap();
        let open = |number| (number != 13).then(|| File::open("/dev/null").unwrap().into());
        let mut received = ImportedFds::read(&file, open).unwrap();
        for number in [9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 21, 22] {
            assert!(received.take(number).is_ok(), "{number}");
            assert!(received.take(number).is_err(), "{number}");
        }
        for number in [13, 19] {
            let error = received.take(number).unwrap_err();
            assert_eq!(error, format!("descriptor {number} was not handed over"));
        }
    }

    #[test]
    fn what_an_older_version_did_not_know_has_a_default() {
        let text = r#"{"format": 1, "started": 5, "waker": 9, "listeners": [], "generations": []}"#;
        let state = ServiceRecord::parse(text.as_bytes()).unwrap();
        assert_eq!(
            state,
            ServiceRecord { format: 1, started: 5, waker: 9, ..ServiceRecord::default() }
        );
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over_and_a_newer_format_is_refused() {
        let text = r#"{"format": 1, "started": 5, "waker": 9, "listeners": [], "generations": [], "x": {}}"#;
        assert!(ServiceRecord::parse(text.as_bytes()).is_ok());
        let error = ServiceRecord::parse(br#"{"format": 2, "other": []}"#).unwrap_err();
        assert_eq!(error, "format 2 is not known, only 1");
        assert!(ServiceRecord::parse(b"").is_err());
    }

    fn texts(values: [Option<&str>; 3]) -> [Option<String>; 3] {
        values.map(|value| value.map(str::to_owned))
    }

    fn passed_by(values: [Option<&str>; 3]) -> Vec<(String, i32)> {
        let [pid, count, names] = texts(values);
        passed(7, pid, count, names)
    }

    #[test]
    fn passed_sockets_are_numbered_from_three_and_named_in_order() {
        let expected = [("a".to_owned(), 3), ("b".to_owned(), 4), (String::new(), 5)];
        assert_eq!(passed_by([Some("7"), Some("3"), Some("a:b")]), expected);
        let expected = [(String::new(), 3)];
        assert_eq!(passed_by([Some("7"), Some("1"), None]), expected);
    }

    #[test]
    fn sockets_for_another_process_and_nonsense_are_none() {
        assert_eq!(passed_by([Some("8"), Some("3"), None]), []);
        assert_eq!(passed_by([None, Some("3"), None]), []);
        assert_eq!(passed_by([Some("7"), Some("-1"), None]), []);
        assert_eq!(passed_by([Some("7"), Some("x"), None]), []);
        let many = passed_by([Some("7"), Some("2147483647"), None]);
        assert_eq!(many.len(), 16384);
    }

    #[test]
    fn a_path_may_name_a_descriptor() {
        for text in ["/dev/fd/5", "-c/dev/fd/5", "--config=/proc/self/fd/5"] {
            assert_eq!(named_by(text.as_bytes()), Some(5), "{text}");
        }
        for text in ["5", "/dev/fd/", "/dev/fd/x", "/dev/fd/99999999999", "/srv/fd/5", ""] {
            assert_eq!(named_by(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_for_this_image_alone_is_not_passed_on() {
        for name in ["HTTPLB_HANDOVER", "HTTPLB_TRIAL", "LISTEN_FDS", "LISTEN_PID"] {
            assert!(is_consumed(name.as_ref()), "{name}");
        }
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "PATH"] {
            assert!(!is_consumed(name.as_ref()), "{name}");
        }
    }
}
