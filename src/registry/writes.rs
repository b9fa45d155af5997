//! What is to be written, and by which requests: they depend on what is there, as far as the watch has told.

use std::collections::BTreeMap;

use crate::shared::Wish;
use crate::shared::fleet::{BackendValue, FleetChange, RegistrationChange, ServerKey};

use super::keys::{self, EngineKey};

/// Leases shorter than this are made longer by the engine: it must be able to choose a leader meanwhile.
const SHORT_LEASE: u64 = 5;

/// A key as the watch has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// What it says.
    pub value: KnownValue,
    /// The lease that it ends with; 0 is none.
    pub lease: u64,
}

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownValue {
    /// Of a backend.
    Backend(BackendValue),
    /// Of what operators want.
    Set(Wish),
    /// That an instance is there.
    Instance,
}

/// All that there is in the engine.
pub type Mirror = BTreeMap<EngineKey, KnownKey>;

/// Something to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// As the control process knows it.
    pub id: u64,
    /// Of which backend.
    pub place: ServerKey,
    /// What.
    pub change: FleetChange,
    /// The lease that it has got for that.
    lease: LeaseProgress,
    /// It was written, with this revision.
    written: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseProgress {
    Unknown,
    /// It goes on.
    Renewed(u64),
    /// That of before is no good.
    SessionEnd,
    /// A new one.
    Granted(u64),
}

/// The next request of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// Renew this lease.
    KeepAlive(u64),
    /// Have one of so many seconds.
    Grant(u64),
    /// Set a key.
    Put(EngineKey, String, u64),
    /// Remove one.
    Delete(EngineKey),
    /// Nothing: the watch is about to tell of it.
    Await,
    /// Nothing: all is there.
    Done,
}

impl Write {
    /// One of which nothing is done.
    pub fn new(id: u64, place: ServerKey, change: FleetChange) -> Write {
        Write { id, place, change, lease: LeaseProgress::Unknown, written: None }
    }

    /// Another member is asked from now on, or the same anew.
    pub fn begin_again(&mut self) {
        self.lease = LeaseProgress::Unknown;
    }

    /// A lease goes on for so many seconds; 0: it has ended.
    pub fn renewed(&mut self, lease: u64, seconds: u64) {
        let wanted = self.seconds();
        let is_right = seconds == wanted || seconds > wanted && seconds <= SHORT_LEASE;
        self.lease =
            if is_right { LeaseProgress::Renewed(lease) } else { LeaseProgress::SessionEnd };
    }

    /// A lease was granted.
    pub fn granted(&mut self, lease: u64) {
        self.lease = LeaseProgress::Granted(lease);
    }

    /// The key was set or removed, with that revision.
    pub fn written(&mut self, revision: u64) {
        self.written = Some(revision);
    }

    fn seconds(&self) -> u64 {
        match self.change {
            FleetChange::Register(RegistrationChange { lease: Some(lease), .. }) => {
                lease.0.div_ceil(1000).max(1)
            }
            FleetChange::Register(_) | FleetChange::Remove | FleetChange::Set(_) => 0,
        }
    }

    /// What is to be asked next, where the watch has told of all up to the revision `shown`.
    pub fn next_step(&self, mirror: &Mirror, shown: u64) -> WriteStep {
        // Others may have changed it since: theirs is the last word then.
        match self.written {
            Some(revision) if revision <= shown => return WriteStep::Done,
            Some(_) => return WriteStep::Await,
            None => (),
        }
        match self.change {
            FleetChange::Register(change) => self.register(change, mirror),
            FleetChange::Remove => {
                let key = EngineKey::Backend(self.place.clone());
                if mirror.contains_key(&key) { WriteStep::Delete(key) } else { WriteStep::Done }
            }
            FleetChange::Set(wish) => {
                let key = EngineKey::Set(self.place.clone());
                let before = match mirror.get(&key) {
                    Some(KnownKey { value: KnownValue::Set(wish), .. }) => *wish,
                    Some(_) | None => Wish::default(),
                };
                let after = before.and(wish);
                if after == before && mirror.contains_key(&key) {
                    return WriteStep::Done;
                }
                WriteStep::Put(key, keys::write_set(after), 0)
            }
        }
    }

    fn register(&self, change: RegistrationChange, mirror: &Mirror) -> WriteStep {
        let key = EngineKey::Backend(self.place.clone());
        let known = match mirror.get(&key) {
            Some(KnownKey { value: KnownValue::Backend(value), lease }) => Some((*value, *lease)),
            Some(_) | None => None,
        };
        let (before, old_lease) = known.unwrap_or_default();
        let after = change.over(before);
        let lease = match (change.lease, self.lease) {
            (None, _) => old_lease,
            (Some(_), LeaseProgress::Granted(lease) | LeaseProgress::Renewed(lease)) => lease,
            (Some(_), LeaseProgress::Unknown) if old_lease > 0 => {
                return WriteStep::KeepAlive(old_lease);
            }
            (Some(_), LeaseProgress::Unknown | LeaseProgress::SessionEnd) => {
                return WriteStep::Grant(self.seconds());
            }
        };
        if known == Some((after, lease)) {
            return WriteStep::Done;
        }
        WriteStep::Put(key, keys::write_backend(&after), lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::time::Millis;
    use crate::policy::health::AdminState;

    fn place() -> ServerKey {
        ServerKey { pool: String::from("api"), address: ([10, 0, 0, 7], 80).into() }
    }

    fn backend() -> EngineKey {
        EngineKey::Backend(place())
    }

    fn mirror(lease: u64) -> Mirror {
        let value = BackendValue { weight: 3, ..BackendValue::default() };
        Mirror::from([(backend(), KnownKey { value: KnownValue::Backend(value), lease })])
    }

    fn write(change: FleetChange) -> Write {
        Write::new(1, place(), change)
    }

    fn register(lease: Option<u64>, weight: Option<u32>) -> Write {
        let lease = lease.map(Millis);
        let change = RegistrationChange { lease, weight, ..RegistrationChange::default() };
        write(FleetChange::Register(change))
    }

    fn value(weight: u32) -> String {
        format!("{{\"weight\":{weight},\"max_connections\":0,\"backup\":false}}")
    }

    #[test]
    fn a_new_backend_gets_a_lease_first_if_it_wants_one() {
        let empty = Mirror::new();
        let stays = register(None, Some(2));
        assert_eq!(stays.next_step(&empty, 0), WriteStep::Put(backend(), value(2), 0));
        let mut leased = register(Some(9_001), None);
        assert_eq!(leased.next_step(&empty, 0), WriteStep::Grant(10));
        leased.granted(7);
        assert_eq!(leased.next_step(&empty, 0), WriteStep::Put(backend(), value(1), 7));
    }

    #[test]
    fn a_renewal_renews_the_lease_and_changes_what_it_names() {
        let known = mirror(7);
        let mut renewal = register(Some(10_000), None);
        assert_eq!(renewal.next_step(&known, 0), WriteStep::KeepAlive(7));
        renewal.renewed(7, 10);
        assert_eq!(renewal.next_step(&known, 0), WriteStep::Done);
        let mut heavier = register(Some(10_000), Some(5));
        heavier.renewed(7, 10);
        assert_eq!(heavier.next_step(&known, 0), WriteStep::Put(backend(), value(5), 7));
        // Without a lease that of before stays, and is not touched.
        assert_eq!(register(None, None).next_step(&known, 0), WriteStep::Done);
        let put = WriteStep::Put(backend(), value(5), 7);
        assert_eq!(register(None, Some(5)).next_step(&known, 0), put);
    }

    #[test]
    fn a_lease_that_has_ended_or_is_another_is_replaced() {
        let known = mirror(7);
        for seconds in [0, 9, 60] {
            let mut renewal = register(Some(10_000), None);
            renewal.renewed(7, seconds);
            assert_eq!(renewal.next_step(&known, 0), WriteStep::Grant(10), "{seconds}");
            renewal.granted(8);
            assert_eq!(renewal.next_step(&known, 0), WriteStep::Put(backend(), value(3), 8));
            assert_eq!(renewal.next_step(&mirror(8), 0), WriteStep::Done);
        }
        // The engine makes short ones longer.
        let mut short = register(Some(100), None);
        short.renewed(7, 2);
        assert_eq!(short.next_step(&known, 0), WriteStep::Done);
        let mut renewal = register(Some(10_000), None);
        renewal.granted(8);
        renewal.begin_again();
        assert_eq!(renewal.next_step(&known, 0), WriteStep::KeepAlive(7));
    }

    #[test]
    fn what_was_written_is_done_once_the_watch_has_told_of_it() {
        let mut heavier = register(None, Some(5));
        heavier.written(9);
        assert_eq!(heavier.next_step(&mirror(7), 8), WriteStep::Await);
        assert_eq!(heavier.next_step(&mirror(7), 9), WriteStep::Done, "others have changed it");
        heavier.begin_again();
        assert_eq!(heavier.next_step(&mirror(7), 9), WriteStep::Done);
    }

    #[test]
    fn who_is_not_there_need_not_be_removed() {
        assert_eq!(
            write(FleetChange::Remove).next_step(&mirror(0), 0),
            WriteStep::Delete(backend())
        );
        assert_eq!(write(FleetChange::Remove).next_step(&Mirror::new(), 0), WriteStep::Done);
    }

    #[test]
    fn what_an_operator_wants_is_added_to_what_is_wanted() {
        let drain = Wish { state: Some(AdminState::Drain), ..Wish::default() };
        let weight = Wish { weight: Some(5), ..Wish::default() };
        let (set, mut known) = (EngineKey::Set(place()), Mirror::new());
        let step = write(FleetChange::Set(drain)).next_step(&known, 0);
        assert_eq!(step, WriteStep::Put(set.clone(), String::from("{\"state\":\"drain\"}"), 0));
        known.insert(set.clone(), KnownKey { value: KnownValue::Set(drain), lease: 0 });
        assert_eq!(write(FleetChange::Set(drain)).next_step(&known, 0), WriteStep::Done);
        let step = write(FleetChange::Set(weight)).next_step(&known, 0);
        let both = String::from("{\"state\":\"drain\",\"weight\":5}");
        assert_eq!(step, WriteStep::Put(set, both, 0));
    }
}
