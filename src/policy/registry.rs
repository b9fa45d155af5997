//! What a snapshot of the registry is believed. What it lacks may be gone, or it may be the snapshot of an
//! engine that was restored, replaced or emptied: then what is missing stays for a while, unconfirmed.

use std::collections::BTreeSet;

use crate::mem::time::Micros;

/// What is missing in a snapshot that is doubted stays for so long: the time in which whoever lives renews
/// its lease.
pub const UNCONFIRMED: Micros = Micros::from_secs(60);

/// Which engine a snapshot is of, and how old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineId {
    /// The cluster's own number.
    pub cluster: u64,
    /// How many changes it has had.
    pub revision: u64,
}

/// Why what a snapshot lacks is not believed to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotDoubt {
    /// It is another engine's.
    Other,
    /// The engine has had fewer changes than before: it was restored.
    Older,
    /// Nobody is in it.
    Empty,
}

impl std::fmt::Display for SnapshotDoubt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            SnapshotDoubt::Other => "it is another cluster",
            SnapshotDoubt::Older => "it was restored from an older state",
            SnapshotDoubt::Empty => "it has no backends",
        })
    }
}

/// Whether what `now` lacks is gone. `found` is how many backends are in it.
pub fn judge(before: Option<EngineId>, now: EngineId, found: usize) -> Result<(), SnapshotDoubt> {
    match before {
        Some(before) if before.cluster != now.cluster => Err(SnapshotDoubt::Other),
        Some(before) if before.revision > now.revision => Err(SnapshotDoubt::Older),
        _ if found == 0 => Err(SnapshotDoubt::Empty),
        // Known of old, and nobody knows which engine.
        None => Err(SnapshotDoubt::Other),
        Some(_) => Ok(()),
    }
}

/// What was known and a snapshot lacks.
pub fn missing<K: Ord + Clone>(known: &BTreeSet<K>, found: &BTreeSet<K>) -> BTreeSet<K> {
    known.difference(found).cloned().collect()
}

/// What is doubted to be gone, and until when.
#[derive(Clone, Debug)]
pub struct Unconfirmed<K> {
    keys: BTreeSet<K>,
    until: Option<Micros>,
}

impl<K> Default for Unconfirmed<K> {
    fn default() -> Unconfirmed<K> {
        Unconfirmed { keys: BTreeSet::new(), until: None }
    }
}

impl<K: Ord + Clone> Unconfirmed<K> {
    /// Notes which keys are missing. How long others were missing before counts no more.
    pub fn set(&mut self, keys: BTreeSet<K>, now: Micros) {
        self.until = (!keys.is_empty()).then(|| now + UNCONFIRMED);
        self.keys = keys;
    }

    /// Notes that a key is there after all, or known to be gone.
    pub fn settle(&mut self, key: &K) {
        self.keys.remove(key);
        self.until = self.until.filter(|_| !self.keys.is_empty());
    }

    /// Whether a key is missing, and that is doubted.
    pub fn has(&self, key: &K) -> bool {
        self.keys.contains(key)
    }

    /// Forgets all keys: the engine cannot be asked, and none could come back there.
    pub fn forget(&mut self) {
        *self = Unconfirmed::default();
    }

    /// When `expire` is to be called.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.until
    }

    /// The keys that were missing for long enough.
    pub fn expire(&mut self, now: Micros) -> BTreeSet<K> {
        if self.until.is_none_or(|until| until > now) {
            return BTreeSet::new();
        }
        self.until = None;
        std::mem::take(&mut self.keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_believed_if_it_goes_on_where_the_last_one_was() {
        let at = |cluster, revision| EngineId { cluster, revision };
        for (before, now, found, expected) in [
            (Some(at(1, 5)), at(1, 5), 1, Ok(())),
            (Some(at(1, 5)), at(1, 9), 1, Ok(())),
            (Some(at(1, 5)), at(1, 4), 1, Err(SnapshotDoubt::Older)),
            (Some(at(1, 5)), at(2, 9), 1, Err(SnapshotDoubt::Other)),
            (Some(at(1, 5)), at(2, 9), 0, Err(SnapshotDoubt::Other)),
            (Some(at(1, 5)), at(1, 9), 0, Err(SnapshotDoubt::Empty)),
            (None, at(1, 9), 1, Err(SnapshotDoubt::Other)),
        ] {
            assert_eq!(judge(before, now, found), expected, "{before:?} {now:?} {found}");
        }
    }

    #[test]
    fn what_is_missing_is_gone_after_a_minute_unless_it_is_seen() {
        let known = BTreeSet::from([1, 2, 3]);
        let missing = missing(&known, &BTreeSet::from([3, 4]));
        assert_eq!(missing, BTreeSet::from([1, 2]));
        let mut unconfirmed = Unconfirmed::default();
        let now = Micros::from_secs(100);
        unconfirmed.set(missing, now);
        assert_eq!(unconfirmed.next_deadline(), Some(now + UNCONFIRMED));
        unconfirmed.settle(&1);
        assert!(unconfirmed.expire(now + UNCONFIRMED - Micros(1)).is_empty());
        assert_eq!(unconfirmed.expire(now + UNCONFIRMED), BTreeSet::from([2]));
        assert!(unconfirmed.expire(now + UNCONFIRMED).is_empty());
        unconfirmed.set(known, now);
        unconfirmed.forget();
        assert_eq!(unconfirmed.next_deadline(), None);
        unconfirmed.set(BTreeSet::from([1]), now);
        unconfirmed.settle(&1);
        assert_eq!(unconfirmed.next_deadline(), None);
    }
}
