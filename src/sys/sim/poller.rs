//! epoll(7), as it works inside: a list of what may be ready, each entry put there by a change,
//! and looked at again when it is taken out.
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Kernel};
use super::stream::Mask;
use super::{Channel, Event, Listener, Signals, Socket, Terminal, Waker};
use crate::mem::time::{Micros, Millis};
use crate::sys::IoError;
use std::collections::{BTreeMap, VecDeque};

/// At most so many events are taken at once, as in the real one.
const BATCH: usize = 512;

/// What a poller watches.
pub struct Watches {
    watched: BTreeMap<Id, Watch>,
    /// What has changed since it was looked at, without repetition.
    ready: VecDeque<Id>,
    /// How the signals are named here.
    signals: Id,
}

#[derive(Clone, Copy)]
struct Watch {
    token: u64,
    source: Source,
}

/// What is watched decides what its state is, and when it is looked at again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Edge-triggered: after the next change.
    Socket,
    /// Level-triggered: always, as long as it has something.
    Listener,
    Waker,
    Signals,
}

impl Watches {
    fn mark(&mut self, id: Id) {
        if self.watched.contains_key(&id) && !self.ready.contains(&id) {
            self.ready.push_back(id);
        }
    }
}

impl Kernel {
    /// Something changed at a socket, a listener or a waker.
    pub fn changed(&mut self, id: Id) {
        self.pollers.values_mut().for_each(|watches| watches.mark(id));
    }

    /// A signal has come.
    pub fn signalled(&mut self) {
        self.pollers.values_mut().for_each(|watches| watches.mark(watches.signals));
    }

    /// A socket, a listener or a waker is closed.
    pub fn forget(&mut self, id: Id) {
        for watches in self.pollers.values_mut() {
            watches.watched.remove(&id);
            watches.ready.retain(|ready| *ready != id);
        }
    }

    fn watches(&mut self, poller: Id) -> &mut Watches {
        self.pollers.get_mut(&poller).expect("no poller of this world")
    }

    fn watch(&mut self, poller: Id, id: Id, token: u64, source: Source) {
        self.calls.watch += 1;
        let watches = self.watches(poller);
        let before = watches.watched.insert(id, Watch { token, source });
        assert!(before.is_none(), "watched already");
        // The state that it has now is news.
        watches.mark(id);
    }

    /// Takes what is ready, and says what of it is true now.
    fn take_events(&mut self, poller: Id, events: &mut Vec<Event>) {
        if self.faults.spurious_events {
            self.mark_at_random(poller);
        }
        let mut again = Vec::new();
        let count = self.watches(poller).ready.len().min(BATCH);
        for id in self.watches(poller).ready.drain(..count).collect::<Vec<Id>>() {
            let watch = self.watches(poller).watched[&id];
            if let Some(event) = self.event(id, watch) {
                events.push(event);
                if watch.source != Source::Socket {
                    again.push(id);
                }
            }
        }
        self.watches(poller).ready.extend(again);
    }

    /// The kernel may report a change that is none: nothing is lost by looking once more. And
    /// it reports them in whatever order they came.
    fn mark_at_random(&mut self, poller: Id) {
        let watched: Vec<Id> = self.watches(poller).watched.keys().copied().collect();
        if !watched.is_empty() && self.dice.one_in(8) {
            let chosen = watched[self.dice.below(watched.len())];
            self.watches(poller).mark(chosen);
        }
        let len = self.watches(poller).ready.len();
        for last in (1..len).rev() {
            let other = self.dice.below(last + 1);
            self.watches(poller).ready.swap(last, other);
        }
    }

    fn event(&mut self, id: Id, watch: Watch) -> Option<Event> {
        let (token, quiet) = (watch.token, Event::default());
        let event = match watch.source {
            Source::Socket => {
                let mask = self.mask(id);
                let Mask { readable, writable, closed, failed, reset } = mask;
                Event { token, readable, writable, closed, failed, reset }
            }
            Source::Listener => {
                Event { token, readable: !self.doors[&id].queue.is_empty(), ..quiet }
            }
            Source::Waker => Event { token, readable: self.rings(id), ..quiet },
            Source::Signals => Event { token, readable: !self.signals.is_empty(), ..quiet },
        };
        (event.readable || event.writable || event.failed).then_some(event)
    }

    /// Waits: what is under way moves on, and only when nothing is left to happen, time does.
    fn wait(&mut self, poller: Id, timeout: Option<Millis>, events: &mut Vec<Event>) {
        self.calls.wait += 1;
        let until = timeout.map(|timeout| self.now + Micros(timeout.0.saturating_mul(1000)));
        self.progress(false);
        loop {
            self.take_events(poller, events);
            if !events.is_empty() {
                return;
            }
            if self.progress(true) {
                continue;
            }
            let until = until.expect("it waits for ever: nothing is under way, and no time set");
            if !self.pass_time(until) {
                return;
            }
        }
    }
}

/// Waits for many descriptors at once. See `linux::Poller`.
pub struct Poller {
    id: Id,
    events: Vec<Event>,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::Poller")]
impl Poller {
    pub fn new() -> Result<Poller, IoError> {
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| {
            let (id, signals) = (kernel.name(), kernel.name());
            let (watched, ready) = (BTreeMap::new(), VecDeque::new());
            kernel.pollers.insert(id, Watches { watched, ready, signals });
            id
        });
        Ok(Poller { id, events: Vec::new(), _descriptor: descriptor })
    }

    pub fn watch_socket(&self, socket: &Socket, token: u64) -> Result<(), IoError> {
        kernel::with(|kernel| kernel.watch(self.id, socket.id(), token, Source::Socket));
        Ok(())
    }

    pub fn watch_listener(&self, listener: &Listener, token: u64) -> Result<(), IoError> {
        kernel::with(|kernel| kernel.watch(self.id, listener.id(), token, Source::Listener));
        Ok(())
    }

    pub fn unwatch_listener(&self, listener: &Listener) -> Result<(), IoError> {
        self.unwatch(listener.id());
        Ok(())
    }

    fn unwatch(&self, id: Id) {
        kernel::with(|kernel| {
            let watches = kernel.watches(self.id);
            assert!(watches.watched.remove(&id).is_some(), "not watched");
            watches.ready.retain(|ready| *ready != id);
        });
    }

    /// See `linux::Poller`: there is nobody who presses a key.
    pub fn watch_terminal(&self, _terminal: &Terminal, _token: u64) -> Result<(), IoError> {
        Ok(())
    }

    pub fn watch_waker(&self, waker: &Waker, token: u64) -> Result<(), IoError> {
        kernel::with(|kernel| kernel.watch(self.id, waker.id(), token, Source::Waker));
        Ok(())
    }

    pub fn watch_signals(&self, _: &Signals, token: u64) -> Result<(), IoError> {
        kernel::with(|kernel| {
            let signals = kernel.watches(self.id).signals;
            kernel.watch(self.id, signals, token, Source::Signals);
        });
        Ok(())
    }

    /// Messages between processes are not simulated: whoever waits for one looks for it.
    pub fn watch_channel(&self, _: &Channel, _: u64) -> Result<(), IoError> {
        Ok(())
    }

    /// See `linux::Poller`. With nothing ready, the time passes at once; with nothing ready and
    /// no timeout the test has failed, for nothing would ever happen.
    pub fn wait(&mut self, timeout: Option<Millis>) -> Result<(), IoError> {
        self.events.clear();
        kernel::with(|kernel| kernel.wait(self.id, timeout, &mut self.events));
        Ok(())
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| drop(kernel.pollers.remove(&self.id)));
    }
}
