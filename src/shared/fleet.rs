//! What the control process and the one that holds the watch of the registry tell each other: lines of JSON,
//! as many in a message of their channel as it has room for.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Endpoint;
use crate::mem::time::Millis;
use crate::policy::health::AdminState;
use crate::sys::{Channel, IoError};

use super::wishes::Wish;

/// Which backend of which pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerKey {
    /// The pool's name, which is a valid one.
    pub pool: String,
    /// The backend, by its canonical address.
    pub address: Endpoint,
}

/// What a backend says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendValue {
    /// Its share, 1 to 256.
    pub weight: u32,
    /// Requests at once over all workers; 0 is no limit.
    pub max_connections: u32,
    /// Whether it stands in only for primaries that are out.
    pub backup: bool,
    /// What is to be done with it. Never [`AdminState::Leaving`].
    #[serde(with = "state_word")]
    pub state: AdminState,
}

impl Default for BackendValue {
    fn default() -> BackendValue {
        BackendValue { weight: 1, max_connections: 0, backup: false, state: AdminState::Ready }
    }
}

/// A registration or a renewal: what it names, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationChange {
    /// It is removed after this time unless it registers again.
    pub lease: Option<Millis>,
    /// Its share.
    pub weight: Option<u32>,
    /// Requests at once.
    pub max_connections: Option<u32>,
    /// Whether it stands in only for primaries that are out.
    pub backup: Option<bool>,
    /// What is to be done with it.
    #[serde(with = "optional_state_word")]
    pub state: Option<AdminState>,
}

impl RegistrationChange {
    /// What a backend is by it, and by what it was before.
    pub fn over(&self, before: BackendValue) -> BackendValue {
        BackendValue {
            weight: self.weight.unwrap_or(before.weight),
            max_connections: self.max_connections.unwrap_or(before.max_connections),
            backup: self.backup.unwrap_or(before.backup),
            state: self.state.unwrap_or(before.state),
        }
    }
}

/// What is to be written into the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetChange {
    /// A backend registers, or renews its lease.
    Register(RegistrationChange),
    /// It goes.
    Remove,
    /// An operator wants this of it.
    Set(Wish),
}

/// What the control process wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetCommand {
    /// It has just begun: all that is known is to be told, and nothing is left to be written.
    Hello,
    /// This is to be written, now or when the engine can be reached.
    Write {
        /// By which it is known when it is done.
        id: u64,
        /// Of which backend.
        key: ServerKey,
        /// What.
        change: FleetChange,
    },
}

/// How it is with the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Changes come as they are made.
    Watching,
    /// They did once.
    Lost,
    /// They never did.
    Never,
}

impl LinkState {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Watching => "watching",
            LinkState::Lost => "lost",
            LinkState::Never => "never",
        }
    }
}

/// What is known of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetReport {
    /// All that there is follows, up to `End`.
    Begin {
        /// Which engine that is.
        cluster: u64,
        /// How many changes it has had.
        revision: u64,
    },
    /// That was all.
    End,
    /// A backend is there, or is otherwise now.
    Backend(ServerKey, BackendValue),
    /// It is there no more.
    Gone(ServerKey),
    /// What operators want of it; nothing, if they want nothing any more.
    Set(ServerKey, Wish),
    /// The instances that watch.
    Instances(Vec<String>),
    /// So many changes were taken in, up to this revision.
    Revision {
        /// Of the engine.
        revision: u64,
        /// Since the last time that this was told.
        events: u64,
    },
    /// How it is with the engine.
    Link {
        /// In a word.
        state: LinkState,
        /// Which member is meant.
        endpoint: String,
        /// What is wrong.
        error: Option<String>,
    },
    /// What was to be written is there, and was told before this.
    Done {
        /// As the command has it.
        id: u64,
        /// Why it was not, if it was not.
        refused: Option<String>,
    },
}

/// Messages on their way. Who reads slowly holds nobody up.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<String>,
}

impl Outbox {
    /// Has something sent. What is longer than a message may be is left out: nothing is.
    pub fn push(&mut self, what: &impl Serialize) {
        let Ok(line) = serde_json::to_string(what) else { return };
        if line.len() >= Channel::LONGEST {
            return;
        }
        match self.messages.back_mut() {
            Some(last) if last.len() + 1 + line.len() <= Channel::LONGEST => {
                last.push('\n');
                last.push_str(&line);
            }
            Some(_) | None => self.messages.push_back(line),
        }
    }

    /// Sends what can be sent now. Whether that was all.
    pub fn flush(&mut self, channel: &Channel) -> bool {
        while let Some(first) = self.messages.front() {
            match channel.send(first, None) {
                Err(IoError::WouldBlock) => return false,
                // Who is gone is replaced, and told anew.
                Ok(()) | Err(_) => drop(self.messages.pop_front()),
            }
        }
        true
    }

    /// Forgets what was not sent.
    pub fn clear(&mut self) {
        self.messages.clear();
    }
}

/// What a message says, line by line. What is of another version is passed over.
pub fn read<T: DeserializeOwned>(message: &str) -> impl Iterator<Item = T> {
    message.lines().filter_map(|line| serde_json::from_str(line).ok())
}

mod state_word {
    use super::AdminState;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(state: &AdminState, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(state.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<AdminState, D::Error> {
        let word = String::deserialize(from)?;
        AdminState::parse(&word).ok_or_else(|| D::Error::custom("no state"))
    }
}

mod optional_state_word {
    use super::AdminState;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(state: &Option<AdminState>, out: S) -> Result<S::Ok, S::Error> {
        state.map(AdminState::as_str).serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AdminState>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        Ok(word.and_then(|word| AdminState::parse(&word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> ServerKey {
        ServerKey { pool: String::from("api"), address: ([10, 0, 0, 7], port).into() }
    }

    #[test]
    fn everything_is_read_as_it_was_told() {
        let (channel, other) = Channel::pair().unwrap();
        let value = BackendValue { state: AdminState::Maint, weight: 9, ..BackendValue::default() };
        let wish = Wish { state: Some(AdminState::Drain), ..Wish::default() };
        let reports = [
            FleetReport::Begin { cluster: u64::MAX, revision: 7 },
            FleetReport::Set(key(1), wish),
            FleetReport::Backend(key(1), value),
            FleetReport::Gone(key(2)),
            FleetReport::End,
            FleetReport::Instances(vec![String::from("lb1")]),
            FleetReport::Revision { revision: 8, events: 1 },
            FleetReport::Link {
                state: LinkState::Lost,
                endpoint: String::from("10.0.0.1:2379"),
                error: Some(String::from("no leader")),
            },
            FleetReport::Done { id: 3, refused: None },
        ];
        let mut outbox = Outbox::default();
        reports.iter().for_each(|report| outbox.push(report));
        assert!(outbox.flush(&channel));
        let message = other.receive().unwrap();
        assert_eq!(read::<FleetReport>(&message.text).collect::<Vec<_>>(), reports);
        let renewal =
            RegistrationChange { lease: Some(Millis(5)), ..RegistrationChange::default() };
        for change in [FleetChange::Register(renewal), FleetChange::Remove, FleetChange::Set(wish)]
        {
            let command = FleetCommand::Write { id: 1, key: key(1), change };
            outbox.push(&command);
            outbox.flush(&channel);
            let message = other.receive().unwrap();
            assert_eq!(read::<FleetCommand>(&message.text).collect::<Vec<_>>(), [command]);
        }
        assert_eq!(read::<FleetCommand>("{\"other\":1}\n\"hello\"").count(), 1);
    }

    #[test]
    fn who_reads_slowly_gets_all_in_order() {
        let (channel, other) = Channel::pair().unwrap();
        let mut outbox = Outbox::default();
        for port in 1..20_000 {
            outbox.push(&FleetReport::Gone(key(port)));
        }
        let mut ports = Vec::new();
        let mut is_over = false;
        while !is_over {
            is_over = outbox.flush(&channel);
            while let Some(message) = other.receive() {
                ports.extend(read(&message.text).map(|report| match report {
                    FleetReport::Gone(key) => key.address.port(),
                    other => panic!("{other:?}"),
                }));
            }
        }
        assert_eq!(ports, (1..20_000).map(Some).collect::<Vec<_>>());
    }
}
