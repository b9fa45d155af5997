//! The end of the service: all processes are told to end, and told again more plainly if they do not.

use crate::mem::time::{Micros, Millis};
use crate::shared::ServiceCell;
use crate::sys::Signal;
use crate::sys::message::{self, Level};
use crate::sys::process;

use super::generation::{Generation, Standing};
use super::listeners::Listeners;
use super::service::Master;

/// A process that was told to end at once is killed after this time.
const AT_ONCE: Millis = Millis(1000);

/// How far the service is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It serves.
    Running,
    /// It ends when all processes have ended.
    Stopping {
        /// What they were told.
        manner: Manner,
        /// When they are told more plainly.
        until: Micros,
        /// What the master exits with.
        status: u8,
    },
}

/// How processes are told to end, one more plainly than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// When they are done.
    Gracefully,
    /// At once.
    AtOnce,
    /// They are not asked.
    Killed,
}

impl Master {
    /// Ends the service; also a second time, more plainly.
    pub(super) fn stop(&mut self, manner: Manner, status: u8) {
        match self.life {
            Life::Stopping { manner: before, .. } if before >= manner => return,
            Life::Stopping { .. } | Life::Running => (),
        }
        if self.life == Life::Running {
            self.notifier.stopping(self.now);
            self.notifier.set_status(String::from("stopping"), self.now);
            let clients: u32 = self.generations.iter().map(Generation::clients).sum();
            message::log(Level::Notice, format_args!("stopping: {clients} clients are connected"));
            // The workers have the sockets, and take those who wait there.
            self.listeners = Listeners::default();
        }
        if let Some(trial) = &self.trial {
            trial.kill();
        }
        let mut until = self.now + Micros::from(AT_ONCE);
        for generation in &mut self.generations {
            if let Some(origin) = &generation.origin {
                origin.segment.set_service(ServiceCell::Draining, 1);
            }
            generation.leaves(|timeouts| timeouts.drain, self.now);
            if let (Manner::Gracefully, Standing::Leaving { until: latest }) =
                (manner, generation.standing)
            {
                until = until.max(latest);
            }
            for child in &generation.children {
                // It fails only if the process has just ended.
                let _ = match manner {
                    Manner::Gracefully => process::signal(child.pid, Signal::Term),
                    Manner::AtOnce => process::signal(child.pid, Signal::Int),
                    Manner::Killed => process::kill(child.pid),
                };
            }
        }
        self.life = Life::Stopping { manner, until, status };
    }

    /// Those who were told to end have not.
    pub(super) fn stop_more_plainly(&mut self, manner: Manner, status: u8) {
        let next = match manner {
            Manner::Gracefully => Manner::AtOnce,
            Manner::AtOnce | Manner::Killed => Manner::Killed,
        };
        // Those who were killed already are killed again, until they are gone.
        if manner == Manner::Killed {
            self.life = Life::Stopping { manner: Manner::AtOnce, until: self.now, status };
        }
        self.stop(next, status);
    }
}
