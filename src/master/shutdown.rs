//! The end of the service: all processes are told to end, and told again more plainly if they do not.

use crate::config::units::write_duration;
use crate::mem::time::{Micros, Millis};
use crate::shared::{ServiceCell, Withdrawal};
use crate::sys::Signal;
use crate::sys::log::{self, Level};
use crate::sys::process;

use super::generation::{Generation, Phase};
use super::listeners::Listeners;
use super::state::{Master, ShutdownState, StopMode};

/// A process that was told to end at once is killed after this time.
const AT_ONCE: Millis = Millis(1000);

impl Master {
    /// A graceful stop was asked for; perhaps once more, and then it is to end at once.
    pub(super) fn stop_gracefully(&mut self) {
        match self.shutdown {
            ShutdownState::Running => self.withdraw(),
            ShutdownState::Withdrawing { .. } => self.stop(StopMode::AtOnce, 0),
            ShutdownState::Stopping { status, .. } => self.stop(StopMode::AtOnce, status),
        }
    }

    /// Lets the world know for `timeouts.withdraw` that the service will stop, and only then stops
    /// it.
    fn withdraw(&mut self) {
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        let resources = serving.and_then(|generation| generation.resources.as_ref());
        let withdraw = resources.map_or(Millis(0), |resources| resources.config.timeouts.withdraw);
        if withdraw == Millis(0) {
            return self.stop(StopMode::Gracefully, 0);
        }
        if let Some(trial) = &self.trial {
            trial.kill();
        }
        for resources in self.generations.iter().filter_map(|one| one.resources.as_ref()) {
            resources.segment.set_withdrawn(Withdrawal::BeforeStop, true);
            resources.wakers.wake_workers();
        }
        self.shutdown = ShutdownState::Withdrawing { until: self.now + Micros::from(withdraw) };
        self.notifier.stopping(self.now);
        let after = write_duration(withdraw);
        log::write(Level::Notice, format_args!("withdrawn: the service stops after {after}"));
    }

    /// Ends the service; also a second time, more plainly.
    pub(super) fn stop(&mut self, mode: StopMode, status: u8) {
        match self.shutdown {
            ShutdownState::Stopping { mode: before, .. } if before >= mode => return,
            ShutdownState::Stopping { .. }
            | ShutdownState::Withdrawing { .. }
            | ShutdownState::Running => (),
        }
        if !self.shutdown.is_stopping() {
            self.notifier.stopping(self.now);
            self.notifier.set_status(String::from("stopping"), self.now);
            let clients: u32 = self.generations.iter().map(Generation::clients).sum();
            log::write(Level::Notice, format_args!("stopping: {clients} clients are connected"));
            // The workers have the sockets, and take those who wait there.
            self.listeners.remove_files();
            self.listeners = Listeners::default();
        }
        if let Some(trial) = &self.trial {
            trial.kill();
        }
        let mut until = self.now + Micros::from(AT_ONCE);
        for generation in &mut self.generations {
            if let Some(resources) = &generation.resources {
                resources.segment.set_service(ServiceCell::Draining, 1);
            }
            generation.begin_leaving(|timeouts| timeouts.drain, self.now);
            if let (StopMode::Gracefully, Phase::Leaving { until: latest }) =
                (mode, generation.phase)
            {
                until = until.max(latest);
            }
            for child in &generation.children {
                // It fails only if the process has just ended.
                let _ = match mode {
                    StopMode::Gracefully => process::signal(child.pid, Signal::Term),
                    StopMode::AtOnce => process::signal(child.pid, Signal::Int),
                    StopMode::Killed => process::kill(child.pid),
                };
            }
        }
        self.shutdown = ShutdownState::Stopping { mode, until, status };
    }

    /// Tells the processes more plainly to end, as they have not ended in time.
    pub(super) fn escalate_stop(&mut self, mode: StopMode, status: u8) {
        let next = match mode {
            StopMode::Gracefully => StopMode::AtOnce,
            StopMode::AtOnce | StopMode::Killed => StopMode::Killed,
        };
        // Those who were killed already are killed again, until they are gone.
        if mode == StopMode::Killed {
            self.shutdown =
                ShutdownState::Stopping { mode: StopMode::AtOnce, until: self.now, status };
        }
        self.stop(next, status);
    }
}
