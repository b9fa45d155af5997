//! The process that looks up the names of backends, so that a name server that is slow or dead holds up
//! neither traffic nor checks.
//!
//! Each look-up is a child of its own, with a time limit: the C library's resolver blocks, and what comes by
//! the network is read by code that is not ours. What it found goes to the control process, which alone
//! decides what becomes of it and alone writes cells. The addresses that are known are kept in a file of the
//! state directory, for a start at which no name server answers.
//!
//! ```text
//! turn: begin look-ups that are due → wait → children that have ended → those that are late → tell
//! ```

mod lookup;
mod store;

use crate::config::{Config, Lookup, NameTimes, NamedServer};
use crate::mem::time::{Micros, Millis};
use crate::policy::naming::{NameAddresses, NameRules, NameStatus, Repetition};
use crate::shared::name_report::{NameReport, NamesMessage};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Ended, Forked, Pid};
use crate::sys::{Channel, IoError, Poller, Signal, Signals, StartError, Tried, Waker, clock};

pub use store::NameStore;

/// How long a look-up may take, with all that the resolver tries.
const TIME_LIMIT: Micros = Micros::from_secs(10);
/// Look-ups at once.
const MOST_LOOKUPS: usize = 16;
/// The control process hears of this one so often.
const BEAT: Micros = Micros::from_secs(1);
/// When there can be no more processes, or the line is full, the next try is made after this time.
const PAUSE: Micros = Micros(100_000);
/// What is watched.
const SIGNALS: u64 = 0;

/// What the process is given.
pub struct NamesInit {
    /// The signals.
    pub signals: Signals,
    /// The line to the control process.
    pub line: Channel,
    /// Its waker.
    pub control: Waker,
    /// What is kept for the next start, if there is a place for it.
    pub store: Option<NameStore>,
    /// The last step of a child before it looks something up: it gives up what only its parent needs.
    pub confine_child: fn(),
}

/// A name.
struct Entry {
    named: NamedServer,
    due: Micros,
    running: Option<Running>,
    repetition: Repetition,
    /// As the control process has them.
    addresses: NameAddresses,
    /// What the control process was not told yet.
    unsent: Option<NamesMessage>,
}

/// A look-up under way.
struct Running {
    pid: Pid,
    line: Channel,
    until: Micros,
    is_late: bool,
}

/// The process.
pub struct NamesProcess {
    entries: Vec<Entry>,
    times: NameTimes,
    poller: Poller,
    signals: Signals,
    line: Channel,
    control: Waker,
    store: Option<NameStore>,
    confine_child: fn(),
    next_beat: Micros,
    is_over: bool,
}

impl NamesProcess {
    /// Opens all that it needs.
    pub fn open(config: &Config, init: NamesInit) -> Result<NamesProcess, StartError> {
        let open = || {
            let poller = Poller::new()?;
            poller.watch_signals(&init.signals, SIGNALS)?;
            Ok(poller)
        };
        let poller = open().map_err(StartError::at("epoll", Tried::Descriptor))?;
        let stored = init.store.as_ref().map(NameStore::names).unwrap_or_default();
        let times = config.names;
        let entry = |(name, (_, named)): (usize, (usize, &NamedServer))| {
            let families = stored.get(&named.lookup.to_string()).cloned();
            let report = families.map(|families| NameReport { name, families, lifetime: None });
            Entry {
                named: named.clone(),
                due: Micros(0),
                running: None,
                repetition: Repetition::default(),
                addresses: NameAddresses::new(NameRules { max: named.max, hold: times.hold }),
                unsent: report.map(NamesMessage::Stored),
            }
        };
        Ok(NamesProcess {
            entries: config.named().enumerate().map(entry).collect(),
            times,
            poller,
            signals: init.signals,
            line: init.line,
            control: init.control,
            store: init.store,
            confine_child: init.confine_child,
            next_beat: Micros(0),
            is_over: false,
        })
    }

    /// Works until a signal says to stop. Its children end with it.
    pub fn serve(mut self) -> Result<(), StartError> {
        self.take_stored();
        while !self.is_over {
            self.turn().map_err(StartError::at("epoll", Tried::Descriptor))?;
        }
        Ok(())
    }

    /// What was known at the end of the last run is known until something else is.
    fn take_stored(&mut self) {
        let now = clock::now().millis();
        for entry in &mut self.entries {
            if let Some(NamesMessage::Stored(report)) = &entry.unsent {
                entry.addresses.apply(&report.answers(), now);
            }
        }
        self.tell(clock::now());
    }

    fn turn(&mut self) -> Result<(), IoError> {
        let now = clock::now();
        self.begin_due(now);
        self.tell(now);
        self.poller.wait(Some(self.timeout(clock::now())))?;
        let now = clock::now();
        while let Some(signal) = self.signals.next() {
            match signal {
                // A reload has begun another one, or the service stops.
                Signal::Term | Signal::Quit | Signal::Int | Signal::Usr2 => self.is_over = true,
                // Who has ended is looked for after every wait.
                Signal::Hup | Signal::Usr1 | Signal::Chld => (),
            }
        }
        while let Some((pid, ended)) = process::reap() {
            self.on_end(pid, ended, now);
        }
        for running in self.entries.iter_mut().filter_map(|entry| entry.running.as_mut()) {
            if running.until <= now {
                running.is_late = true;
                running.until = now + TIME_LIMIT;
                let _ = process::kill(running.pid); // It fails only if it has just ended.
            }
        }
        Ok(())
    }

    fn begin_due(&mut self, now: Micros) {
        let mut running = self.entries.iter().filter(|entry| entry.running.is_some()).count();
        for name in 0..self.entries.len() {
            let entry = &self.entries[name];
            if running >= MOST_LOOKUPS || entry.running.is_some() || entry.due > now {
                continue;
            }
            match self.begin(name, now) {
                Ok(begun) => self.entries[name].running = Some(begun),
                Err(error) => {
                    let why = error.when(Tried::Fork).to_string();
                    self.conclude(name, NameReport::unknown(name, &why), now);
                }
            }
            running += 1;
        }
    }

    fn begin(&self, name: usize, now: Micros) -> Result<Running, IoError> {
        let (line, of_child) = Channel::pair()?;
        let parent = Pid::own();
        match process::fork()? {
            Forked::Parent(pid) => {
                Ok(Running { pid, line, until: now + TIME_LIMIT, is_late: false })
            }
            Forked::Child => {
                if process::limit_life(parent, TIME_LIMIT.millis() + Millis::from_secs(2)) {
                    (self.confine_child)();
                    let report = lookup::look_up(name, &self.entries[name].named);
                    let _ = of_child.send(&NamesMessage::Answer(report).to_text(), None);
                }
                std::process::exit(0)
            }
        }
    }

    /// A child has ended: what it has said, or why it has not.
    fn on_end(&mut self, pid: Pid, ended: Ended, now: Micros) {
        let is_it = |entry: &Entry| entry.running.as_ref().is_some_and(|one| one.pid == pid);
        let Some(name) = self.entries.iter().position(is_it) else { return };
        let Some(running) = self.entries[name].running.take() else { return };
        let said = running.line.receive().and_then(|message| NamesMessage::parse(&message.text));
        let report = match said {
            Some(NamesMessage::Answer(report)) if report.name == name => report,
            _ if running.is_late => NameReport::unknown(
                name,
                &format!("no answer within {} s", TIME_LIMIT.0 / 1_000_000),
            ),
            _ => NameReport::unknown(name, &format!("the look-up {ended}")),
        };
        self.conclude(name, report, now);
    }

    fn conclude(&mut self, name: usize, report: NameReport, now: Micros) {
        let entry = &mut self.entries[name];
        let answers = report.answers();
        let lifetime = report.lifetime.filter(|_| matches!(entry.named.lookup, Lookup::Service(_)));
        let status = NameStatus::of(&answers);
        let pause = entry.repetition.pause(status, lifetime, self.times.interval);
        entry.due = now + Micros::from(pause);
        entry.addresses.apply(&answers, now.millis());
        entry.unsent = Some(NamesMessage::Answer(report));
        self.keep();
    }

    /// Keeps what is known for the next start. What cannot be written is told once, and tried again.
    fn keep(&mut self) {
        let Some(store) = &mut self.store else { return };
        let names = self.entries.iter().enumerate().map(|(name, entry)| {
            let known = entry.addresses.known();
            (entry.named.lookup.to_string(), NameReport::of_known(name, known).families)
        });
        if let Err(why) = store.write(names.collect()) {
            log::write(Level::Warning, format_args!("{why}"));
        }
    }

    /// Tells the control process what it was not told yet, and that this one lives.
    fn tell(&mut self, now: Micros) {
        let mut has_told = false;
        for entry in &mut self.entries {
            let Some(message) = &entry.unsent else { continue };
            match self.line.send(&message.to_text(), None) {
                Ok(()) => (entry.unsent, has_told) = (None, true),
                // Nobody has the other end: an older version of the program, which knows none.
                Err(IoError::Reset) => self.is_over = true,
                Err(_) => break, // It hears of it later.
            }
        }
        if self.next_beat <= now {
            self.next_beat = now + BEAT;
            let _ = self.line.send(&NamesMessage::Beat.to_text(), None);
        }
        if has_told {
            self.control.wake();
        }
    }

    fn timeout(&self, now: Micros) -> Millis {
        let mut next = self.next_beat;
        let is_full = self.entries.iter().filter(|one| one.running.is_some()).count();
        for entry in &self.entries {
            match &entry.running {
                Some(running) => next = next.min(running.until),
                None if is_full < MOST_LOOKUPS => next = next.min(entry.due),
                None => (),
            }
            if entry.unsent.is_some() {
                next = next.min(now + PAUSE);
            }
        }
        // A millisecond more, so that what is due is past when the wait is over.
        if next <= now { Millis(0) } else { (next - now).millis() + Millis(1) }
    }
}
