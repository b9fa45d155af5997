//! What is done with one member of the engine: who we are, a snapshot, a watch from there on, and beside it
//! pings and writes, on a connection of their own.
//!
//! ```text
//! Authenticating → Snapshot → Opening → Watching       each within a time; then the next member is asked
//! ```
//!
//! A member that is stopped, or cut off from the others, keeps its connections and says nothing. So it is asked
//! for something that only a majority of the cluster can answer, again and again.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::Value;

use crate::mem::time::Micros;
use crate::sys::{Event, Poller};

use super::etcd::{self, EngineRefusal, Header, KeyChange, Range, WatchLine, paths};
use super::keys::{EngineKey, Keys};
use super::link::{Caller, Link};
use super::writes::{Mirror, Write, WriteStep};

/// From one ping to the next.
const PING_PAUSE: Micros = Micros(600_000);
/// A request may take so long: with the pause before it, silence is noticed within two seconds.
const PATIENCE: Micros = Micros(1_200_000);
/// Seconds for which an instance is known to be there without saying so.
const INSTANCE_LEASE: u64 = 10;
/// It says so so often.
const INSTANCE_PAUSE: Micros = Micros::from_secs(3);

/// The tokens of the two connections.
const COMMANDS: u64 = 0;
const WATCH: u64 = 1;
/// How many there are.
pub const TOKENS: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionPhase {
    Authenticating,
    Snapshot,
    Opening,
    Watching,
}

/// The request under way beside the watch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SessionRequest {
    Authenticate,
    Snapshot,
    Ping,
    GrantInstance,
    PutInstance,
    RenewInstance,
    Write(WriteStep),
}

/// The lease with which it is known that this instance is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InstanceLease {
    None,
    /// No key ends with it yet.
    Granted(u64),
    Kept(u64),
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct InstanceIdentity {
    /// The keys of the service.
    pub keys: Keys,
    /// Under which name others see this instance.
    pub instance: String,
    /// What is to be said of it.
    pub value: String,
    /// A user of the engine with its password, if it wants one.
    pub user: Option<(String, String)>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// All that there is.
    Snapshot(Range),
    /// From now on changes come as they are made.
    Watching,
    /// These were made, up to that revision.
    Changes(u64, Vec<KeyChange>),
    /// A write is done, and what it has changed was told.
    Written(u64),
    /// It was refused.
    Refused(u64, String),
}

/// What a session works on.
pub struct Work<'a> {
    /// Who we are.
    pub identity: &'a InstanceIdentity,
    /// What there is in the engine.
    pub mirror: &'a Mirror,
    /// Up to this revision.
    pub shown: u64,
    /// What is to be written.
    pub writes: &'a mut VecDeque<Write>,
    /// Where connections are watched.
    pub poller: &'a Poller,
    /// The time.
    pub now: Micros,
}

/// Why another session is to be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The changes that were asked for are not known any more; the member is fine.
    Compacted,
    /// The member is of no use now.
    Lost(String),
}

/// A session with a member.
pub struct EngineSession {
    caller: Caller,
    commands: Link,
    watch: Option<Link>,
    phase: SessionPhase,
    request: Option<(SessionRequest, Micros)>,
    /// When the phase must be over, until it watches.
    until: Micros,
    /// Where the snapshot was.
    header: Header,
    next_ping: Micros,
    /// This instance's own, and when it is to be seen to.
    lease: InstanceLease,
    next_lease: Micros,
    first_token: u64,
}

impl EngineSession {
    /// Begins one. Events have two tokens from `first_token` on.
    pub fn open(
        endpoint: SocketAddr,
        identity: &InstanceIdentity,
        poller: &Poller,
        first_token: u64,
        now: Micros,
    ) -> Result<EngineSession, String> {
        let commands = Link::open(endpoint, poller, first_token + COMMANDS);
        let commands = commands.map_err(|broken| broken.to_string())?;
        let phase = if identity.user.is_some() {
            SessionPhase::Authenticating
        } else {
            SessionPhase::Snapshot
        };
        Ok(EngineSession {
            caller: Caller { endpoint, token: None },
            commands,
            watch: None,
            phase,
            request: None,
            until: now + PATIENCE,
            header: Header::default(),
            next_ping: now,
            lease: InstanceLease::None,
            next_lease: now,
            first_token,
        })
    }

    /// The member.
    pub fn endpoint(&self) -> SocketAddr {
        self.caller.endpoint
    }

    /// Notes an event of one of its connections.
    pub fn event(&mut self, event: Event) {
        match (event.token - self.first_token, &mut self.watch) {
            (COMMANDS, _) => self.commands.event(event),
            (_, Some(watch)) => watch.event(event),
            (_, None) => (),
        }
    }

    /// When `step` is to be called next.
    pub fn next_deadline(&self) -> Micros {
        match (&self.request, self.phase) {
            (Some((_, until)), _) => *until,
            (None, SessionPhase::Watching) => self.next_ping.min(self.next_lease),
            (
                None,
                SessionPhase::Authenticating | SessionPhase::Snapshot | SessionPhase::Opening,
            ) => self.until,
        }
    }

    /// Makes all the progress that is possible.
    pub fn step(&mut self, work: &mut Work<'_>) -> Result<Vec<Happened>, SessionEnd> {
        let mut happened = Vec::new();
        self.listen(&mut happened)?;
        // Before the next request: what a write has changed is known then.
        if happened.is_empty() {
            self.commands.step().map_err(|broken| SessionEnd::Lost(broken.to_string()))?;
            if let Some((status, body)) = self.commands.take_response() {
                self.answered(status, &body, work, &mut happened)?;
            }
            self.ask(work, &mut happened);
            self.commands.step().map_err(|broken| SessionEnd::Lost(broken.to_string()))?;
        }
        let late = match &self.request {
            Some((_, until)) => *until <= work.now,
            None => self.phase != SessionPhase::Watching && self.until <= work.now,
        };
        if late { Err(SessionEnd::Lost(String::from("it does not answer"))) } else { Ok(happened) }
    }

    /// Takes in what the watch says.
    fn listen(&mut self, happened: &mut Vec<Happened>) -> Result<(), SessionEnd> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        let stepped = watch.step();
        if let Some((status, body)) = watch.take_response() {
            let why = match etcd::judge(status, &body) {
                Err(refusal) => refusal.reason().to_owned(),
                Ok(()) => String::from("the watch has ended"),
            };
            return Err(SessionEnd::Lost(why));
        }
        while let Some(line) = watch.response().and_then(|reader| reader.next_line()) {
            match etcd::read_watch(&line) {
                Ok(WatchLine::Created) => {
                    if self.phase == SessionPhase::Opening {
                        self.phase = SessionPhase::Watching;
                        happened.push(Happened::Watching);
                    }
                }
                Ok(WatchLine::Changes(revision, changes)) => {
                    happened.push(Happened::Changes(revision, changes));
                }
                Ok(WatchLine::Compacted) => return Err(SessionEnd::Compacted),
                Ok(WatchLine::Cancelled(why)) => {
                    return Err(SessionEnd::Lost(format!("the watch was cancelled: {why}")));
                }
                Err(refusal) => return Err(SessionEnd::Lost(refusal.reason().to_owned())),
            }
        }
        stepped.map_err(|broken| SessionEnd::Lost(broken.to_string()))
    }

    /// The next request, if there is anything to be asked.
    fn ask(&mut self, work: &mut Work<'_>, happened: &mut Vec<Happened>) {
        if self.request.is_some() {
            return;
        }
        let (identity, now) = (work.identity, work.now);
        let prefix = identity.keys.prefix();
        let (request, path, body) = match (self.phase, &identity.user) {
            (SessionPhase::Authenticating, Some((user, password))) => {
                let body = etcd::authenticate(user, password);
                (SessionRequest::Authenticate, paths::AUTHENTICATE, body)
            }
            (SessionPhase::Authenticating | SessionPhase::Snapshot, _) => {
                (SessionRequest::Snapshot, paths::RANGE, etcd::range(prefix))
            }
            (SessionPhase::Opening, _) => return,
            (SessionPhase::Watching, _) if self.next_ping <= now => {
                self.next_ping = now + PING_PAUSE;
                (SessionRequest::Ping, paths::RANGE, etcd::count(prefix))
            }
            (SessionPhase::Watching, _) => match next_write(work, happened) {
                Some(request) => request,
                None if self.next_lease <= now => self.tend_instance(identity, now),
                None => return,
            },
        };
        self.commands.ask(&self.caller, path, &body);
        self.request = Some((request, now + PATIENCE));
    }

    /// This instance is there, and says so.
    fn tend_instance(
        &mut self,
        identity: &InstanceIdentity,
        now: Micros,
    ) -> (SessionRequest, &'static str, Value) {
        self.next_lease = now + INSTANCE_PAUSE;
        match self.lease {
            InstanceLease::None => {
                (SessionRequest::GrantInstance, paths::GRANT, etcd::grant(INSTANCE_LEASE))
            }
            InstanceLease::Granted(lease) => {
                let key = identity.keys.write(&EngineKey::Instance(identity.instance.clone()));
                let body = etcd::put(&key, &identity.value, lease);
                (SessionRequest::PutInstance, paths::PUT, body)
            }
            InstanceLease::Kept(lease) => {
                (SessionRequest::RenewInstance, paths::KEEP_ALIVE, etcd::lease(lease))
            }
        }
    }

    /// Takes in the answer to the request under way.
    fn answered(
        &mut self,
        status: u16,
        body: &[u8],
        work: &mut Work<'_>,
        happened: &mut Vec<Happened>,
    ) -> Result<(), SessionEnd> {
        let now = work.now;
        let Some((request, _)) = self.request.take() else { return Ok(()) };
        let lost = |refusal: EngineRefusal| SessionEnd::Lost(refusal.reason().to_owned());
        match request {
            SessionRequest::Authenticate => {
                self.caller.token = Some(etcd::read_token(status, body).map_err(lost)?);
                self.phase = SessionPhase::Snapshot;
                self.until = now + PATIENCE;
            }
            SessionRequest::Snapshot => {
                let range = etcd::read_range(status, body).map_err(lost)?;
                self.header = range.header;
                self.open_watch(work).map_err(SessionEnd::Lost)?;
                self.phase = SessionPhase::Opening;
                self.until = now + PATIENCE;
                happened.push(Happened::Snapshot(range));
            }
            SessionRequest::Ping => match etcd::judge(status, body) {
                Ok(()) | Err(EngineRefusal::Electing) => (),
                Err(refusal) => return Err(lost(refusal)),
            },
            SessionRequest::GrantInstance => {
                let (lease, _) = etcd::read_grant(status, body).map_err(lost)?;
                self.lease = InstanceLease::Granted(lease);
                self.next_lease = now;
            }
            SessionRequest::PutInstance => {
                etcd::judge(status, body).map_err(lost)?;
                if let InstanceLease::Granted(lease) = self.lease {
                    self.lease = InstanceLease::Kept(lease);
                }
            }
            SessionRequest::RenewInstance => {
                if etcd::read_keep_alive(status, body).map_err(lost)? == 0 {
                    self.lease = InstanceLease::None;
                    self.next_lease = now;
                }
            }
            SessionRequest::Write(step) => {
                return wrote(&step, status, body, work.writes, happened);
            }
        }
        Ok(())
    }

    /// Asks to be told of all that was not in the snapshot.
    fn open_watch(&mut self, work: &Work<'_>) -> Result<(), String> {
        let link = Link::open(self.caller.endpoint, work.poller, self.first_token + WATCH);
        let mut link = link.map_err(|broken| broken.to_string())?;
        let request = etcd::watch(work.identity.keys.prefix(), self.header.revision + 1);
        link.ask(&self.caller, paths::WATCH, &request);
        self.watch = Some(link);
        Ok(())
    }
}

/// Takes in the answer to a request of the first write.
fn wrote(
    step: &WriteStep,
    status: u16,
    body: &[u8],
    writes: &mut VecDeque<Write>,
    happened: &mut Vec<Happened>,
) -> Result<(), SessionEnd> {
    let Some(write) = writes.front_mut() else { return Ok(()) };
    let outcome = match step {
        WriteStep::KeepAlive(lease) => {
            etcd::read_keep_alive(status, body).map(|seconds| write.renewed(*lease, seconds))
        }
        WriteStep::Grant(_) => {
            etcd::read_grant(status, body).map(|(lease, _)| write.granted(lease))
        }
        WriteStep::Put(..) | WriteStep::Delete(_) => {
            etcd::read_change(status, body).map(|header| write.written(header.revision))
        }
        WriteStep::Await | WriteStep::Done => Ok(()),
    };
    match outcome {
        Ok(()) => Ok(()),
        // One that has ended meanwhile.
        Err(EngineRefusal::Refused(why)) if why.contains("lease not found") => {
            write.renewed(0, 0);
            Ok(())
        }
        Err(EngineRefusal::Refused(why)) => {
            happened.push(Happened::Refused(write.id, why));
            writes.pop_front();
            Ok(())
        }
        // It is asked once more: a leader is there soon.
        Err(EngineRefusal::Electing) => {
            write.begin_again();
            Ok(())
        }
        Err(EngineRefusal::Unavailable(why)) => Err(SessionEnd::Lost(why)),
    }
}

/// The request that gets the first write on. Those that are done are told of.
fn next_write(
    work: &mut Work<'_>,
    happened: &mut Vec<Happened>,
) -> Option<(SessionRequest, &'static str, Value)> {
    while let Some(write) = work.writes.front() {
        let keys = &work.identity.keys;
        let step = write.next_step(work.mirror, work.shown);
        let (path, body) = match &step {
            WriteStep::KeepAlive(lease) => (paths::KEEP_ALIVE, etcd::lease(*lease)),
            WriteStep::Grant(seconds) => (paths::GRANT, etcd::grant(*seconds)),
            WriteStep::Put(key, value, lease) => {
                (paths::PUT, etcd::put(&keys.write(key), value, *lease))
            }
            WriteStep::Delete(key) => (paths::DELETE, etcd::delete(&keys.write(key))),
            // The watch has not told of it yet. What comes next may depend on that.
            WriteStep::Await => return None,
            WriteStep::Done => {
                happened.push(Happened::Written(write.id));
                work.writes.pop_front();
                continue;
            }
        };
        return Some((SessionRequest::Write(step), path, body));
    }
    None
}
