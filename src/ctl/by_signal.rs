//! `reload` where the service manager asks for it: by a signal to the master, whose report is waited
//! for. It needs no admin socket, and nothing of the configuration, which may be what is wrong.

use std::path::PathBuf;

use crate::mem::time::{Micros, Millis};
use crate::shared::ReloadReport;
use crate::sys::process::{self, Pid};
use crate::sys::{Signal, clock};

use super::text::clean;

/// The manager gives up after 90 s unless the unit says otherwise.
const PATIENCE: Millis = Millis(85_000);
/// The report is looked at so often.
const INTERVAL: Millis = Millis(50);

/// A service by what its manager tells a command of its unit.
pub struct ManagedService {
    master: Pid,
    report: PathBuf,
}

impl ManagedService {
    /// The one whose unit this process is a command of: systemd.exec(5), `$MAINPID` and
    /// `$RUNTIME_DIRECTORY`.
    pub fn of_this_unit() -> Option<ManagedService> {
        let variable = |name: &str| std::env::var(name).ok();
        let master = variable("MAINPID")?.parse().ok().and_then(Pid::new)?;
        let report = ReloadReport::place(&variable("RUNTIME_DIRECTORY")?)?;
        Some(ManagedService { master, report })
    }

    /// Asks for a reload and waits for its end. The error is a line for people.
    pub fn reload(&self) -> Result<(), String> {
        let until = clock::now() + Micros::from(PATIENCE);
        // One that is under way may have read the file before it was what it is now.
        let before = self.wait(until, |report| report.is_none_or(|report| !report.under_way))?;
        let ended = before.map(|report| report.ended);
        process::signal(self.master, Signal::Hup)
            .map_err(|error| format!("the service (process {}): {error}", self.master))?;
        // A version that reports for the first time has none before.
        let is_over = |report: Option<&ReloadReport>| {
            report.is_some_and(|report| !report.under_way && Some(report.ended) > ended)
        };
        match self.wait(until, is_over)?.and_then(|report| report.refused) {
            None => Ok(()),
            Some(why) => Err(in_a_line(&why)),
        }
    }

    /// Waits until the report is as it should be.
    fn wait(
        &self,
        until: Micros,
        is_awaited: impl Fn(Option<&ReloadReport>) -> bool,
    ) -> Result<Option<ReloadReport>, String> {
        loop {
            let report = ReloadReport::read(&self.report);
            if is_awaited(report.as_ref()) {
                return Ok(report);
            }
            if !process::exists(self.master) {
                return Err(format!("the service (process {}) has ended", self.master));
            }
            if clock::now() >= until {
                let seconds = PATIENCE.0 / 1000;
                return Err(format!(
                    "its outcome is not known after {seconds} s (see its journal)"
                ));
            }
            clock::pause(INTERVAL);
        }
    }
}

/// All reasons in a line, which is the last that the journal has of the reload.
fn in_a_line(why: &str) -> String {
    let lines: Vec<_> =
        why.lines().map(str::trim).filter(|line| !line.is_empty()).map(clean).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_put_in_a_line() {
        assert_eq!(in_a_line("a:\n  b\n\n  c\u{1b}\n"), "a:; b; c\\u001b");
    }
}
