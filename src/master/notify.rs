//! What the service manager is told: sd_notify(3), and the watchdog of sd_watchdog_enabled(3).
//! Where there is none, nobody is told anything.

use std::os::fd::BorrowedFd;

use crate::mem::time::{Micros, Millis};
use crate::sys::NotifySocket;

/// The status is told so often at most.
const PACE: Millis = Millis(1000);

/// The line to the service manager.
pub struct Notifier {
    socket: Option<NotifySocket>,
    /// The status that was told last, and when.
    status: String,
    told: Micros,
    /// What is to be told as soon as it may.
    newer: Option<String>,
    watchdog: Option<Watchdog>,
}

/// The service manager wants to hear of us now and then, or takes us for dead.
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
            status: String::new(),
            told: Micros(0),
            newer: None,
            watchdog: interval.map(|interval| Watchdog { interval, next: now }),
        }
    }

    fn tell(&self, text: &str, descriptors: &[BorrowedFd<'_>]) {
        if let Some(socket) = &self.socket {
            // Whoever does not listen any more misses nothing that could be mended here.
            let _ = socket.send(text, descriptors);
        }
    }

    /// The service is there, after its start or a reload.
    pub fn ready(&self) {
        self.tell("READY=1", &[]);
    }

    /// A reload begins. `ready` must follow, also if it fails.
    pub fn reloading(&self, now: Micros) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.0), &[]);
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1", &[]);
    }

    /// Gives a listening socket into the manager's keeping.
    pub fn store(&self, name: &str, socket: BorrowedFd<'_>) {
        self.tell(&format!("FDSTORE=1\nFDNAME={name}"), &[socket]);
    }

    /// Takes one out.
    pub fn unstore(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
    }

    /// Whether anybody reads the status.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Sets the status. It is told at once or, if the last one is less than a second old, later.
    pub fn set_status(&mut self, status: String, now: Micros) {
        self.newer = (status != self.status).then_some(status);
        self.tick(now);
    }

    /// Tells what is due.
    pub fn tick(&mut self, now: Micros) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) {
            watchdog.next = now + Micros(watchdog.interval.0 / 2);
            self.tell("WATCHDOG=1", &[]);
        }
        if self.told + Micros::from(PACE) > now && self.told != Micros(0) {
            return;
        }
        if let Some(status) = self.newer.take() {
            self.tell(&format!("STATUS={status}"), &[]);
            self.status = status;
            self.told = now;
        }
    }

    /// When `tick` has something to do.
    pub fn deadline(&self) -> Option<Micros> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        let status = self.newer.as_ref().map(|_| self.told + Micros::from(PACE));
        match (watchdog, status) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
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
    fn the_status_counts_workers_and_backends() {
        assert_eq!(status(2, (3, 3)), "2 workers, 3/3 backends up");
        assert_eq!(status(1, (0, 1)), "1 worker, 0/1 backends up");
    }
}
