//! What a generation that was replaced follows of the one that serves: its workers ask backends too,
//! for as long as their clients have something in work, and operators and checks speak to the new one
//! alone.

use crate::mem::time::Millis;
use crate::policy::health::AdminState;

use super::backends::{BackendCells, Source};
use super::layout::BackendId;
use super::segment::Segment;

impl Segment {
    /// Takes over from `serving` what operators want of each backend, how it fares and what its cap is.
    /// For the master, as often as is wanted. Whether anything has changed: who waits is to be rung
    /// then.
    ///
    /// Who is not there any more because the file does not name it stays as it is: the clients of a
    /// replaced generation have no other backends than its own.
    pub fn follow_states(&self, serving: &Segment, now: Millis) -> bool {
        let mut has_changed = false;
        for pool in self.pools() {
            let name = self.pool(pool).name();
            let Some(newer) = serving.find_pool(name.as_str()) else { continue };
            let (servers, goes_on) =
                (serving.servers(newer), serving.members(newer).next().is_some());
            for slot in self.members(pool) {
                let own = self.backend(slot);
                let state = || (own.admin(), own.availability(), own.cap(), own.max_connections());
                let before = state();
                match servers.get(&own.server()) {
                    _ if own.admin() == AdminState::Leaving => (),
                    Some(newer) => self.follow_state(slot, serving.backend(*newer), now),
                    // It has left the service, which goes on without it.
                    None if own.source() != Some(Source::File) && goes_on => {
                        self.set_admin(slot, AdminState::Drain, now);
                    }
                    None => (),
                }
                has_changed |= state() != before;
            }
        }
        has_changed
    }

    fn follow_state(&self, slot: BackendId, newer: BackendCells, now: Millis) {
        let own = self.backend(slot);
        self.set_admin(slot, newer.admin(), now);
        if own.max_connections() != newer.max_connections() {
            self.set_cap(slot, newer.max_connections());
        }
        if own.found_cap() != newer.found_cap() {
            own.set_found_cap(newer.found_cap());
        }
        if own.availability() != newer.availability() {
            self.set_health(slot, newer.check(), newer.passive());
        }
    }
}
