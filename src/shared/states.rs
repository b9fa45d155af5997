//! What a generation that was replaced follows of the one that serves: its workers ask backends too,
//! for as long as their clients have something in work, and operators and checks speak to the new one
//! alone.

use crate::mem::time::Millis;
use crate::policy::health::Admin;

use super::{PoolId, Segment, Slot, Source};

impl Segment {
    /// Takes over from `serving` what operators want of each backend, and how it fares. For the master,
    /// as often as is wanted. Whether anything has changed: who waits is to be rung then.
    ///
    /// Who is not there any more because the file does not name it stays as it is: the clients of a
    /// replaced generation have no other backends than its own.
    pub fn follow_states(&self, serving: &Segment, now: Millis) -> bool {
        let mut has_changed = false;
        for pool in self.pools() {
            let name = self.pool(pool).name();
            let Some(newer) = serving.find_pool(name.as_str()) else { continue };
            for slot in self.members(pool) {
                has_changed |= self.follow_state(slot, (serving, newer), now);
            }
        }
        has_changed
    }

    fn follow_state(&self, slot: Slot, (serving, pool): (&Segment, PoolId), now: Millis) -> bool {
        let own = self.backend(slot);
        if own.admin() == Admin::Leaving {
            return false;
        }
        let before = (own.admin(), own.availability());
        match serving.find(pool, own.address()).map(|newer| serving.backend(newer)) {
            Some(newer) => {
                self.set_admin(slot, newer.admin(), now);
                if own.availability() != newer.availability() {
                    self.set_health(slot, newer.check(), newer.passive());
                }
            }
            // It has left the service, which goes on without it.
            None if own.source() == Some(Source::Api) && serving.members(pool).next().is_some() => {
                self.set_admin(slot, Admin::Drain, now);
            }
            None => (),
        }
        (own.admin(), own.availability()) != before
    }
}
