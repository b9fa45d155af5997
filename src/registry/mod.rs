//! The process that holds the watch of a registry which many instances share: etcd, by its JSON gateway. It
//! tells the control process what is there and what changes, and writes what that wants written. It decides
//! nothing, writes no cells and carries no traffic.
//!
//! ```text
//! turn: begin a session that is due → wait → the line to control, the session's connections → tell
//! ```
//!
//! A session is with one member; when that is silent, without a leader or gone, the next one is asked, soon at
//! first and then every two seconds. What is to be written waits for that.

mod base64;
pub mod etcd;
pub mod keys;
mod link;
pub mod reader;
mod session;
mod writes;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::config::Registry;
use crate::mem::time::{Micros, Millis};
use crate::shared::Wish;
use crate::shared::fleet::{self, FleetCommand, FleetReport, LinkState, Outbox};
use crate::sys::log::{self, Level};
use crate::sys::{
    Channel, Event, IoError, Poller, Signal, Signals, StartError, Tried, Waker, clock, random,
};

use etcd::{Header, KeyChange, KeyValue, Range};
use keys::{EngineKey, Keys};
use session::{EngineSession, Happened, InstanceIdentity, SessionEnd, TOKENS, Work};
use writes::{KnownKey, KnownValue, Mirror, Write};

/// What is watched.
const SIGNALS: u64 = 0;
const LINE: u64 = 1;
const FIRST_SESSION: u64 = 2;

/// The next member is asked after this time, doubled each time that all were.
const FIRST_PAUSE: Micros = Micros(50_000);
const LONGEST_PAUSE: Micros = Micros::from_secs(2);
/// What finds no room in the line is sent after this time.
const LINE_PAUSE: Micros = Micros(10_000);
/// The control process hears of this one so often.
const BEAT: Micros = Micros::from_secs(1);
/// As many writes wait as there may be backends, and some.
const MOST_WRITES: usize = 4096;
/// Instances that are told of.
const MOST_INSTANCES: usize = 256;

/// What the process is given.
pub struct RegistryInit {
    /// The signals.
    pub signals: Signals,
    /// The line to the control process.
    pub line: Channel,
    /// Its waker.
    pub control: Waker,
    /// The password of the engine's user, if it wants one.
    pub password: Option<String>,
    /// The name of this host.
    pub host: String,
}

/// The process.
pub struct RegistryProcess {
    poller: Poller,
    signals: Signals,
    line: Channel,
    control: Waker,
    outbox: Outbox,
    is_told: bool,
    next_beat: Micros,
    identity: InstanceIdentity,
    members: Vec<SocketAddr>,
    /// Which of them is asked, counted on without end.
    member: usize,
    session: Option<EngineSession>,
    sessions: u64,
    next_session: Micros,
    pause: Micros,
    state: LinkState,
    /// What there is in the engine, and up to which change.
    mirror: Mirror,
    header: Header,
    has_snapshot: bool,
    error: Option<String>,
    instances: BTreeSet<String>,
    writes: VecDeque<Write>,
    is_over: bool,
}

impl RegistryProcess {
    /// Opens all that it needs.
    pub fn open(registry: &Registry, init: RegistryInit) -> Result<RegistryProcess, StartError> {
        let open = || {
            let poller = Poller::new()?;
            poller.watch_signals(&init.signals, SIGNALS)?;
            poller.watch_channel(&init.line, LINE)?;
            Ok(poller)
        };
        let poller = open().map_err(StartError::at("epoll", Tried::Descriptor))?;
        let since = clock::wall().0 / 1_000_000;
        let version = env!("CARGO_PKG_VERSION");
        let identity = InstanceIdentity {
            keys: Keys::new(&registry.prefix),
            instance: registry.instance.clone().unwrap_or(init.host),
            value: format!("{{\"version\":\"{version}\",\"since\":{since}}}"),
            user: registry.user.clone().zip(init.password),
        };
        let member = random_below(registry.etcd.len());
        Ok(RegistryProcess {
            poller,
            signals: init.signals,
            line: init.line,
            control: init.control,
            outbox: Outbox::default(),
            is_told: true,
            next_beat: Micros(0),
            identity,
            members: registry.etcd.clone(),
            member,
            session: None,
            sessions: 0,
            next_session: Micros(0),
            pause: FIRST_PAUSE,
            state: LinkState::Never,
            mirror: Mirror::new(),
            header: Header::default(),
            has_snapshot: false,
            error: None,
            instances: BTreeSet::new(),
            writes: VecDeque::new(),
            is_over: false,
        })
    }

    /// Works until a signal says to stop.
    pub fn serve(mut self) -> Result<(), StartError> {
        while !self.is_over {
            self.turn().map_err(StartError::at("epoll", Tried::Descriptor))?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), IoError> {
        let now = clock::now();
        self.begin_session(now);
        self.poller.wait(Some(self.timeout(now)))?;
        let now = clock::now();
        for index in 0..self.poller.events().len() {
            let event = self.poller.events()[index];
            self.event(event);
        }
        self.drive(now);
        if self.next_beat <= now {
            self.next_beat = now + BEAT;
            self.tell(&FleetReport::Revision { revision: self.header.revision, events: 0 });
        }
        self.flush();
        Ok(())
    }

    fn timeout(&self, now: Micros) -> Millis {
        let session = match &self.session {
            Some(session) => session.next_deadline(),
            None => self.next_session,
        };
        let line = if self.is_told { self.next_beat } else { now + LINE_PAUSE };
        let next = session.min(line).min(self.next_beat);
        // A millisecond more, so that what is due is past when the wait is over.
        if next <= now { Millis(0) } else { (next - now).millis() + Millis(1) }
    }

    fn event(&mut self, event: Event) {
        match event.token {
            SIGNALS => {
                while let Some(signal) = self.signals.next() {
                    match signal {
                        // A reload has begun another one, or the service stops.
                        Signal::Usr2 | Signal::Term | Signal::Quit | Signal::Int => {
                            self.is_over = true;
                        }
                        Signal::Hup | Signal::Usr1 | Signal::Chld => (),
                    }
                }
            }
            LINE => {
                while let Some(message) = self.line.receive() {
                    for command in fleet::read(&message.text) {
                        self.command(command);
                    }
                }
            }
            token if token >= self.first_token() => {
                if let Some(session) = &mut self.session {
                    session.event(event);
                }
            }
            // A connection of a session that is over.
            _ => (),
        }
    }

    fn first_token(&self) -> u64 {
        FIRST_SESSION + self.sessions * TOKENS
    }

    fn command(&mut self, command: FleetCommand) {
        match command {
            FleetCommand::Hello => {
                self.writes.clear();
                self.outbox.clear();
                self.tell_all();
            }
            FleetCommand::Write { id, key, change } => {
                if self.writes.len() >= MOST_WRITES {
                    let refused = Some(String::from("too many changes wait to be written"));
                    return self.tell(&FleetReport::Done { id, refused });
                }
                self.writes.push_back(Write::new(id, key, change));
            }
        }
    }

    /// Asks the next member, if it is time.
    fn begin_session(&mut self, now: Micros) {
        if self.session.is_some() || self.next_session > now {
            return;
        }
        self.sessions += 1;
        self.writes.iter_mut().for_each(Write::begin_again);
        let endpoint = self.members[self.member % self.members.len()];
        let first_token = self.first_token();
        match EngineSession::open(endpoint, &self.identity, &self.poller, first_token, now) {
            Ok(session) => self.session = Some(session),
            Err(why) => self.lost(endpoint, why, now),
        }
    }

    /// Has the session make all the progress that it can.
    fn drive(&mut self, now: Micros) {
        while let Some(session) = &mut self.session {
            let endpoint = session.endpoint();
            let mut work = Work {
                identity: &self.identity,
                mirror: &self.mirror,
                shown: self.header.revision,
                writes: &mut self.writes,
                poller: &self.poller,
                now,
            };
            match session.step(&mut work) {
                Ok(happened) if happened.is_empty() => return,
                Ok(happened) => {
                    for one in happened {
                        self.take_in(one, endpoint);
                    }
                }
                Err(SessionEnd::Compacted) => {
                    let why = "the changes since are not known any more; all is read anew";
                    log::write(
                        Level::Notice,
                        format_args!(
                            "registry: etcd {endpoint}, revision {}: {why}",
                            self.header.revision
                        ),
                    );
                    self.session = None;
                    self.next_session = now;
                    return;
                }
                Err(SessionEnd::Lost(why)) => return self.lost(endpoint, why, now),
            }
        }
    }

    /// The member is of no use now: the next one is asked.
    fn lost(&mut self, endpoint: SocketAddr, why: String, now: Micros) {
        self.session = None;
        self.member += 1;
        // Not all instances at once.
        let part = Micros(self.pause.0 / 2 + random_below(self.pause.0 as usize) as u64);
        self.next_session = now + part;
        if self.member % self.members.len() == 0 {
            self.pause = Micros(2 * self.pause.0).min(LONGEST_PAUSE);
        }
        let state = match self.state {
            LinkState::Watching | LinkState::Lost => LinkState::Lost,
            LinkState::Never => LinkState::Never,
        };
        self.set_state(state, endpoint, Some(why));
    }

    fn set_state(&mut self, state: LinkState, endpoint: SocketAddr, error: Option<String>) {
        (self.state, self.error) = (state, error);
        let (endpoint, error) = (endpoint.to_string(), self.error.clone());
        self.tell(&FleetReport::Link { state, endpoint, error });
    }

    fn take_in(&mut self, happened: Happened, endpoint: SocketAddr) {
        match happened {
            Happened::Snapshot(range) => self.snapshot(&range),
            Happened::Watching => {
                self.pause = FIRST_PAUSE;
                self.set_state(LinkState::Watching, endpoint, None);
            }
            Happened::Changes(revision, changes) => self.changes(revision, &changes),
            Happened::Written(id) => self.tell(&FleetReport::Done { id, refused: None }),
            Happened::Refused(id, why) => {
                self.tell(&FleetReport::Done { id, refused: Some(why) });
            }
        }
    }

    /// Takes in all that there is.
    fn snapshot(&mut self, range: &Range) {
        let before = std::mem::take(&mut self.mirror);
        for one in &range.keys {
            if let Some((key, known)) = self.understood(one, &before) {
                self.mirror.insert(key, known);
            }
        }
        (self.header, self.has_snapshot) = (range.header, true);
        self.tell_mirror();
    }

    /// What a key says. One that is not understood goes on saying what it said before.
    fn understood(&self, one: &KeyValue, before: &Mirror) -> Option<(EngineKey, KnownKey)> {
        let key = self.identity.keys.read(&one.key)?;
        let value = match &key {
            EngineKey::Backend(_) => keys::read_backend(&one.value).map(KnownValue::Backend),
            EngineKey::Set(_) => keys::read_set(&one.value).map(KnownValue::Set),
            EngineKey::Instance(_) => Ok(KnownValue::Instance),
        };
        match value {
            Ok(value) => Some((key, KnownKey { value, lease: one.lease })),
            Err(why) => {
                let name = String::from_utf8_lossy(&one.key);
                log::write(
                    Level::Warning,
                    format_args!("registry: {name} is not understood, and left out: {why}"),
                );
                before.get(&key).map(|known| (key.clone(), *known))
            }
        }
    }

    /// Takes in changes. Of one revision, what operators want comes first.
    fn changes(&mut self, revision: u64, changes: &[KeyChange]) {
        let mut reports = Vec::new();
        for change in changes {
            match change {
                KeyChange::Put(one) => {
                    if let Some((key, known)) = self.understood(one, &self.mirror) {
                        self.mirror.insert(key.clone(), known);
                        reports.push((key, Some(known.value)));
                    }
                }
                KeyChange::Delete(key) => {
                    if let Some(key) = self.identity.keys.read(key)
                        && self.mirror.remove(&key).is_some()
                    {
                        reports.push((key, None));
                    }
                }
            }
        }
        reports.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (key, value) in &reports {
            self.tell_key(key, *value);
        }
        self.tell_instances();
        self.header.revision = self.header.revision.max(revision);
        let events = changes.len() as u64;
        self.tell(&FleetReport::Revision { revision: self.header.revision, events });
    }

    fn tell_key(&mut self, key: &EngineKey, value: Option<KnownValue>) {
        let report = match (key, value) {
            (EngineKey::Backend(place), Some(KnownValue::Backend(value))) => {
                FleetReport::Backend(place.clone(), value)
            }
            (EngineKey::Backend(place), _) => FleetReport::Gone(place.clone()),
            (EngineKey::Set(place), Some(KnownValue::Set(wish))) => {
                FleetReport::Set(place.clone(), wish)
            }
            (EngineKey::Set(place), _) => FleetReport::Set(place.clone(), Wish::default()),
            (EngineKey::Instance(_), _) => return,
        };
        self.tell(&report);
    }

    fn tell_instances(&mut self) {
        let is_instance = |key: &EngineKey| match key {
            EngineKey::Instance(name) => Some(name.clone()),
            EngineKey::Backend(_) | EngineKey::Set(_) => None,
        };
        let all: BTreeSet<String> =
            self.mirror.keys().filter_map(is_instance).take(MOST_INSTANCES).collect();
        if all != self.instances {
            self.instances = all;
            self.tell(&FleetReport::Instances(self.instances.iter().cloned().collect()));
        }
    }

    /// Tells all that there is in the engine.
    fn tell_mirror(&mut self) {
        let Header { cluster, revision } = self.header;
        self.tell(&FleetReport::Begin { cluster, revision });
        let all: Vec<(EngineKey, KnownValue)> =
            self.mirror.iter().map(|(key, known)| (key.clone(), known.value)).collect();
        for (key, value) in &all {
            self.tell_key(key, Some(*value));
        }
        self.tell(&FleetReport::End);
        self.instances.clear();
        self.tell_instances();
    }

    /// Tells all that is known, to one that knows nothing.
    fn tell_all(&mut self) {
        if self.has_snapshot {
            self.tell_mirror();
        }
        let endpoint = self.members[self.member % self.members.len()];
        let error = self.error.clone();
        self.set_state(self.state, endpoint, error);
    }

    fn tell(&mut self, report: &FleetReport) {
        self.outbox.push(report);
        self.is_told = false;
    }

    fn flush(&mut self) {
        if !self.is_told {
            self.is_told = self.outbox.flush(&self.line);
            self.control.wake();
        }
    }
}

/// A number below `bound`, which is not 0.
fn random_below(bound: usize) -> usize {
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % bound.max(1)
}
