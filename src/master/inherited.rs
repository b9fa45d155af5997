//! What this process was given by the one that started it: by the service manager, by a master that asks
//! whether it could take over, or by the image of the program before it.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::config::{AccessLog, Config, Endpoint};
use crate::sys::process::{close_inherited, take_inherited};

use super::environment::{HANDOVER, LISTEN, TRIAL};
use super::{handover, preflight};

/// The first of the sockets that systemd passes.
const FIRST_PASSED: i32 = 3;
/// More are not looked at: 64 addresses with 256 sockets each.
const MOST_PASSED: i32 = 64 * 256;

/// What this process was given.
pub enum Inherited {
    /// Nothing.
    Nothing,
    /// Sockets that listen, each with its name if it has one.
    Sockets(Vec<(String, OwnedFd)>),
    /// The question whether it could take over: where to answer, and the addresses that are held.
    Trial(OwnedFd, Vec<Endpoint>),
    /// The service, running: the record of it.
    Service(Vec<u8>),
    /// The service, but the record cannot be read: why.
    Broken(String),
}

/// Takes what this process was given. The descriptors of a running service stay where they are until
/// whoever understands the record takes them.
pub fn receive() -> Inherited {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(number) = variable(HANDOVER) {
        let file = number.parse().ok().and_then(take_inherited);
        let record = match file {
            Some(file) => handover::read(&file),
            None => Err(format!("{HANDOVER} names no descriptor: {number:?}")),
        };
        return record.map_or_else(Inherited::Broken, Inherited::Service);
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

/// Closes what this process was given that nobody has named: neither has anybody taken it, nor
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
