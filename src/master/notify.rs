//! What the service manager is told: sd_notify(3), and the watchdog of sd_watchdog_enabled(3).
//! Where there is none, nobody is told anything.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::mem::time::{Micros, Millis};
use crate::sys::{IoError, NotifySocket, clock};

use super::handover::{ExportedFds, FdNumber};

/// The time between two messages of the status, at least.
const STATUS_INTERVAL: Millis = Millis(1000);

/// While the service ends, it asks for so much more time, again and again: TimeoutStopSec= need not
/// know how long requests run.
const EXTENSION: Micros = Micros::from_secs(15);
/// How often it asks for more time.
const EXTEND_INTERVAL: Micros = Micros::from_secs(5);

/// How long until a manager that does not keep up is told the rest.
const RETRY_PAUSE: Millis = Millis(250);

/// The line to the service manager.
pub struct Notifier {
    socket: Option<NotifySocket>,
    /// What it had no room for yet. A start that it is not told of is none to it.
    waiting: NotifyWait,
    /// When it is tried again.
    retry_at: Micros,
    /// The status that was told last, and when.
    status: String,
    status_sent: Micros,
    /// What is to be told as soon as it may.
    next_status: Option<String>,
    watchdog: Option<Watchdog>,
    /// When more time is asked for, if the service ends.
    next_extension: Option<Micros>,
}

/// What is still to be told, in order.
#[derive(Default)]
struct NotifyWait {
    messages: VecDeque<Notification>,
}

/// A message that the manager had no room for, as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingNotify {
    /// Assignments.
    pub text: String,
    /// A socket that it is to store.
    #[serde(default)]
    pub socket: Option<FdNumber>,
}

struct Notification {
    text: String,
    descriptor: Option<OwnedFd>,
}

impl NotifyWait {
    /// Adds a message. An older one that says the same, but perhaps is not true any more, goes: so
    /// there are never more than there are sockets, and some.
    fn add(&mut self, text: &str, descriptor: Option<BorrowedFd<'_>>) {
        self.messages.retain(|message| subject(&message.text) != subject(text));
        let descriptor = descriptor.map(|socket| socket.try_clone_to_owned()).transpose();
        // Without a descriptor left over, there is nothing to store.
        if let Ok(descriptor) = descriptor {
            self.messages.push_back(Notification { text: text.to_owned(), descriptor });
        }
    }
}

/// What a message is about: a variable and, of the store, a name.
fn subject(text: &str) -> (&str, &str) {
    let (variable, rest) = text.split_once('=').unwrap_or((text, ""));
    match variable {
        "FDSTORE" | "FDSTOREREMOVE" => (variable, rest),
        _ => (variable, ""),
    }
}

/// The service manager wants a sign of life now and then, or takes us for dead.
struct Watchdog {
    interval: Micros,
    next: Micros,
}

impl Notifier {
    /// Opens the line, if the environment says that there is somebody.
    pub fn open(now: Micros) -> Notifier {
        let variable = |name: &str| std::env::var(name).ok();
        let interval = interval(
            std::process::id(),
            variable("WATCHDOG_PID").as_deref(),
            variable("WATCHDOG_USEC").as_deref(),
        );
        Notifier {
            socket: NotifySocket::from_env(),
            waiting: NotifyWait::default(),
            retry_at: now,
            status: String::new(),
            status_sent: Micros(0),
            next_status: None,
            watchdog: interval.map(|interval| Watchdog { interval, next: now }),
            next_extension: None,
        }
    }

    fn send(&mut self, text: &str, descriptor: Option<BorrowedFd<'_>>) {
        if self.waiting.messages.is_empty() && !self.is_full(text, descriptor) {
            return;
        }
        self.waiting.add(text, descriptor);
    }

    /// Tells it, unless the manager has no room for more.
    fn is_full(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let Some(socket) = &self.socket else { return false };
        // Whoever does not listen any more misses nothing that could be mended here.
        socket.send(text, descriptor.as_slice()) == Err(IoError::WouldBlock)
    }

    fn send_waiting(&mut self, now: Micros) {
        while let Some(message) = self.waiting.messages.front() {
            if self.is_full(&message.text, message.descriptor.as_ref().map(AsFd::as_fd)) {
                self.retry_at = now + Micros::from(RETRY_PAUSE);
                return;
            }
            self.waiting.messages.pop_front();
        }
    }

    /// What the next image has to tell in place of this one.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<Vec<PendingNotify>, IoError> {
        let record = |message: &Notification| {
            let socket = message.descriptor.as_ref().map(|socket| exported.keep(socket));
            Ok(PendingNotify { text: message.text.clone(), socket: socket.transpose()? })
        };
        self.waiting.messages.iter().map(record).collect()
    }

    /// Takes over what the image before has not told.
    pub fn import(&mut self, records: &[PendingNotify]) {
        for record in records {
            // Without its socket there is nothing to store.
            if let Ok(socket) = record.socket.map(FdNumber::take).transpose() {
                self.send(&record.text, socket.as_ref().map(AsFd::as_fd));
            }
        }
    }

    /// The service is there, after its start or a reload.
    pub fn ready(&mut self) {
        self.send("READY=1", None);
    }

    /// A reload begins. `ready` must follow, also if it fails.
    pub fn reloading(&mut self) {
        // Not the time of the loop: that may be before the signal that asked for it was sent.
        let now = clock::now();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.0), None);
    }

    /// The service ends. From now on each `tick` may ask for more time.
    pub fn stopping(&mut self, now: Micros) {
        if self.next_extension.is_none() {
            self.send("STOPPING=1", None);
            self.next_extension = Some(now);
        }
        self.tick(now);
    }

    /// Gives a listening socket into the manager's keeping.
    pub fn store(&mut self, name: &str, socket: BorrowedFd<'_>) {
        self.send(&format!("FDSTORE=1\nFDNAME={name}"), Some(socket));
    }

    /// Takes one out.
    pub fn unstore(&mut self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }

    /// Whether anybody reads the status.
    pub fn has_manager(&self) -> bool {
        self.socket.is_some()
    }

    /// Sets the status. It is told at once or, if the last one is less than a second old, later.
    pub fn set_status(&mut self, status: String, now: Micros) {
        self.next_status = (status != self.status).then_some(status);
        self.tick(now);
    }

    /// Tells what is due.
    pub fn tick(&mut self, now: Micros) {
        if self.retry_at <= now {
            self.send_waiting(now);
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) {
            watchdog.next = now + Micros(watchdog.interval.0 / 2);
            self.send("WATCHDOG=1", None);
        }
        if self.next_extension.is_some_and(|due| due <= now) {
            self.next_extension = Some(now + EXTEND_INTERVAL);
            self.send(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.0), None);
        }
        if self.status_sent + Micros::from(STATUS_INTERVAL) > now && self.status_sent != Micros(0) {
            return;
        }
        if let Some(status) = self.next_status.take() {
            self.send(&format!("STATUS={status}"), None);
            self.status = status;
            self.status_sent = now;
        }
    }

    /// When `tick` has something to do.
    pub fn deadline(&self) -> Option<Micros> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        let status =
            self.next_status.as_ref().map(|_| self.status_sent + Micros::from(STATUS_INTERVAL));
        let rest = (!self.waiting.messages.is_empty()).then_some(self.retry_at);
        [watchdog, status, rest, self.next_extension].into_iter().flatten().min()
    }
}

/// The interval of the watchdog, by the variables of the environment. Those of another process are
/// not for this one.
fn interval(own: u32, pid: Option<&str>, micros: Option<&str>) -> Option<Micros> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros = micros?.parse().ok()?;
    (micros > 0).then_some(Micros(micros))
}

/// What the service is doing, in a line.
pub fn status(workers: usize, (up, all): (usize, usize)) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    format!("{workers} worker{plural}, {up}/{all} backends up")
}

/// Characters of a reason in a status, at most.
const REASON: usize = 300;

/// The first line of a reason: a status has one.
pub fn in_a_status(why: &str) -> String {
    let first = why.lines().next().unwrap_or_default();
    first.chars().filter(|character| !character.is_control()).take(REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named_or_for_whoever_asks() {
        assert_eq!(interval(7, Some("7"), Some("30000000")), Some(Micros::from_secs(30)));
        assert_eq!(interval(7, None, Some("30000000")), Some(Micros::from_secs(30)));
        assert_eq!(interval(7, Some("8"), Some("30000000")), None);
        assert_eq!(interval(7, Some("x"), Some("30000000")), None);
        for micros in [None, Some(""), Some("0"), Some("x")] {
            assert_eq!(interval(7, None, micros), None);
        }
    }

    #[test]
    fn of_what_waits_the_newest_is_told_of_each_subject() {
        let mut waiting = NotifyWait::default();
        for text in [
            "FDSTORE=1\nFDNAME=a.0",
            "FDSTORE=1\nFDNAME=a.1",
            "READY=1",
            "RELOADING=1\nMONOTONIC_USEC=5",
            "STATUS=2 workers",
            "FDSTOREREMOVE=1\nFDNAME=a.1",
            "READY=1",
            "STATUS=3 workers",
            "RELOADING=1\nMONOTONIC_USEC=6",
            "READY=1",
        ] {
            waiting.add(text, None);
        }
        let texts: Vec<&str> = waiting.messages.iter().map(|message| &*message.text).collect();
        assert_eq!(
            texts,
            [
                "FDSTORE=1\nFDNAME=a.0",
                "FDSTORE=1\nFDNAME=a.1",
                "FDSTOREREMOVE=1\nFDNAME=a.1",
                "STATUS=3 workers",
                "RELOADING=1\nMONOTONIC_USEC=6",
                "READY=1",
            ]
        );
    }

    #[test]
    fn the_status_counts_workers_and_backends() {
        assert_eq!(status(2, (3, 3)), "2 workers, 3/3 backends up");
        assert_eq!(status(1, (0, 1)), "1 worker, 0/1 backends up");
    }
}
