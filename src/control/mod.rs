//! The process that does what must not be done by each worker, nor beside traffic: it finds out
//! whether backends that are out are back.
//!
//! wait (until the next check is due) → signals → events of checks → checks that are due. Workers
//! ring its doorbell when they have taken a backend out; it rings those who wait for one when it is
//! back, and the master, which tells the service manager.

mod checks;

use crate::config::Config;
use crate::shared::Segment;
use crate::shared::doorbell::Doorbells;
use crate::sys::{Channel, Doorbell, IoError, Poller, Signal, Signals, StartError, clock};

use checks::Checks;

/// What is watched; numbers from `FIRST_CHECK` on are those of checks.
const SIGNALS: u64 = 0;
const BELL: u64 = 1;
const FIRST_CHECK: u64 = 1 << 16;

/// What the control process is given of what all share.
pub struct Desk {
    /// The shared cells, with the configuration in them.
    pub segment: Segment,
    /// A doorbell for each worker, and the control process's own.
    pub doorbells: Doorbells,
    /// The master's.
    pub master: Doorbell,
    /// The line to the master.
    pub channel: Channel,
    /// The signals.
    pub signals: Signals,
}

/// The control process.
pub struct Control {
    desk: Desk,
    poller: Poller,
    checks: Checks,
}

/// Whether there is another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving,
    Over,
}

impl Control {
    /// Opens all that it needs.
    pub fn open(config: &Config, desk: Desk) -> Result<Control, StartError> {
        let open = || {
            let poller = Poller::new()?;
            poller.watch_signals(&desk.signals, SIGNALS)?;
            poller.watch_doorbell(&desk.doorbells.control, BELL)?;
            Ok(poller)
        };
        let poller = open().map_err(StartError::at("epoll"))?;
        let checks = Checks::new(config, desk.segment.layout().backends);
        Ok(Control { desk, poller, checks })
    }

    /// Works until a signal says to stop.
    pub fn serve(mut self) -> Result<(), StartError> {
        while self.turn().map_err(StartError::at("epoll"))? == Life::Serving {}
        Ok(())
    }

    fn turn(&mut self) -> Result<Life, IoError> {
        let timeout = self.checks.timeout(clock::now());
        self.poller.wait(timeout)?;
        let now = clock::now();
        let mut life = Life::Serving;
        let events = self.poller.events().to_vec();
        for event in events {
            match event.token {
                SIGNALS => {
                    while let Some(signal) = self.desk.signals.next() {
                        if ends(signal) {
                            life = Life::Over;
                        }
                    }
                }
                // A backend was taken out: the master may want to tell, and a check is due.
                BELL => {
                    self.desk.doorbells.control.silence();
                    self.desk.master.ring();
                }
                check => self.checks.event(&self.desk, check, event, now),
            }
        }
        if life == Life::Serving {
            self.checks.begin_due(&self.desk, &self.poller, now);
        }
        Ok(life)
    }
}

/// Whether the process ends at a signal. It has nothing that would have to be finished.
fn ends(signal: Signal) -> bool {
    match signal {
        Signal::Term | Signal::Quit | Signal::Int | Signal::Usr2 => true,
        Signal::Hup | Signal::Usr1 | Signal::Chld => false,
    }
}
