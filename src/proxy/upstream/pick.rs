//! Which backend a request goes to, and a place there below its limit, which all workers share.
//!
//! **Nobody waits in a circle.** A first exchange takes places from those of this worker that were
//! dispatched before their turn (`proxy/dispatch.rs`); it cannot from those of other workers. So while
//! one waits for a place, or for what another fetches, those behind it in its client's queue, which
//! wait for it, hold none.

use crate::config::AUTO_CAP;
use crate::mem::time::Micros;
use crate::policy::balance::{self, Member, PickTurn, TriedBackends};
use crate::policy::sticky::StickyTarget;
use crate::shared::{BackendId, PoolId};

use super::pools::{Pool, SharedPoolView};
use super::{Turn, Upstream};
use crate::proxy::ids::ExchangeId;

/// What a request needs of a backend.
pub struct Need<'a> {
    /// Whose request it is.
    pub exchange: ExchangeId,
    /// Its pool.
    pub pool: PoolId,
    /// Which of the names that the pool's place has had is the one it was taken in under.
    pub naming: u32,
    /// Backends that are not to be asked again.
    pub tried: &'a TriedBackends,
    /// The backend that its cookie names; and whether it got that, or why not.
    pub sticky: &'a mut StickyTarget,
}

/// What came of a look for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// A place at it is claimed.
    Claimed(BackendId),
    /// Others of this worker have been waiting for longer.
    Wait,
    /// There is a place, but other workers have been waiting for longer: once this one is listed, the
    /// next of them is to be woken.
    WaitForWorkers,
    /// All are at their limit.
    Full,
    /// No backend may be asked, or its pool is gone and another has the place.
    NoneUp,
}

impl Upstream {
    /// Picks a backend, and claims a place there: by the request's cookie, else by the turn of the
    /// pool's rotation.
    pub fn pick(&mut self, need: &mut Need, turn: &mut Turn) -> Pick {
        let pool = need.pool;
        self.refresh(pool, turn);
        if need.naming != self[pool].naming {
            return Pick::NoneUp;
        }
        let next = self[pool].next_waiter(turn.now);
        let is_next = next.is_none_or(|next| next.exchange == need.exchange);
        if let Some(slot) = self.claim_sticky(need, is_next, turn) {
            self.note_served(pool, turn);
            return Pick::Claimed(slot);
        }
        if !is_next {
            return Pick::Wait;
        }
        let pick = self.claim_by_turn(need, turn);
        if matches!(pick, Pick::Claimed(_) | Pick::Full) {
            self[pool].has_turn = false;
        }
        if matches!(pick, Pick::Claimed(_)) {
            self.note_served(pool, turn);
        }
        pick
    }

    /// Notes that an exchange of this worker got a place in a pool.
    fn note_served(&mut self, pool: PoolId, turn: &Turn) {
        let pool = &mut self[pool];
        if pool.is_adaptive {
            pool.pace.served(turn.now);
        }
    }

    /// Takes a place at the backend that the request's cookie names, if there is one and it was not
    /// tried. No turn of the rotation is taken.
    ///
    /// Those who wait for any backend go first, but not for one that is drained: that is none of
    /// theirs.
    fn claim_sticky(
        &mut self,
        need: &mut Need,
        is_next: bool,
        turn: &mut Turn,
    ) -> Option<BackendId> {
        let (pool, tag) = (need.pool, need.sticky.tag()?);
        let mut members = self[pool].members.list().iter();
        let named = members.find(|member| {
            let backend = &self[BackendId::of_id(member.id)];
            backend.tag == tag && !backend.is_out && !need.tried.contains(member.id)
        });
        let named = named.copied();
        *need.sticky =
            if named.is_some() { StickyTarget::Lent(tag) } else { StickyTarget::To(tag) };
        let named = named.filter(|named| !named.up || is_next && !self.others_are_first(pool))?;
        if self.is_tried_out(BackendId::of_id(named.id)) {
            return None;
        }
        let slot = self.claim_place(pool, named, turn)?;
        *need.sticky = StickyTarget::To(tag);
        Some(slot)
    }

    /// Whether a backend is on trial and has a request by which that may end: its clients do not come back
    /// all at once.
    fn is_tried_out(&self, slot: BackendId) -> bool {
        let cells = self.segment.backend(slot);
        cells.passive().is_on_trial() && cells.load() > 0
    }

    /// Takes the next turn in the pool's rotation, and a place at the backend whose turn it is.
    fn claim_by_turn(&mut self, need: &Need, turn: &mut Turn) -> Pick {
        let pool = need.pool;
        loop {
            let view = SharedPoolView { segment: &self.segment, pool };
            let Pool { balance, members, .. } = &self[pool];
            match balance::pick(*balance, members, need.tried, &view) {
                balance::Pick::NoneUp => return Pick::NoneUp,
                balance::Pick::Full => return Pick::Full,
                balance::Pick::Backend(_) if self.others_are_first(pool) => {
                    return Pick::WaitForWorkers;
                }
                balance::Pick::Backend(picked) => {
                    if let Some(slot) = self.try_to_claim(pool, picked, turn) {
                        return Pick::Claimed(slot);
                    }
                    self.refresh(pool, turn);
                }
            }
        }
    }

    /// `None`: another worker was faster, with the turn or with the last place, or the backend is
    /// another one by now.
    fn try_to_claim(
        &mut self,
        pool: PoolId,
        picked: PickTurn,
        turn: &mut Turn,
    ) -> Option<BackendId> {
        let member = self[pool].members.list()[picked.place];
        if !self.segment.pool(pool).try_turn(picked.tier, picked.rotation, picked.next) {
            return None;
        }
        self.claim_place(pool, member, turn)
    }

    /// `None`: it has as many requests as it may, or is another one by now.
    fn claim_place(&mut self, pool: PoolId, member: Member, turn: &mut Turn) -> Option<BackendId> {
        let slot = BackendId::of_id(member.id);
        let cap = match member.cap {
            AUTO_CAP => self.segment.backend(slot).found_cap().cap,
            cap => cap,
        };
        if !self.segment.claim(self.worker, slot, cap) {
            return None;
        }
        // After the claim: a backend whose slot was to be freed is found to be leaving here, or
        // whoever frees it has found the claim.
        if self.segment.backend(slot).standing() == self[slot].slot_state {
            return Some(slot);
        }
        self.release(pool, slot, turn);
        self.read_members(pool, self.segment.pool(pool).epoch(), turn);
        None
    }

    /// Gives a place at a backend back that was held for so long.
    pub fn give_back(&mut self, pool: PoolId, slot: BackendId, held: Micros, turn: &mut Turn) {
        if self[pool].is_adaptive {
            self.row.backend(slot).gave_place_back(held);
        }
        self.release(pool, slot, turn);
    }

    /// Gives a place at a backend back. The next that waits for one is woken, in whichever worker.
    pub fn release(&mut self, pool: PoolId, slot: BackendId, turn: &mut Turn) {
        self.segment.release(self.worker, slot);
        self.wake_next(pool, turn);
    }

    /// Whether the next turn of a pool would bring a place, at a backend that was not tried.
    #[cfg(test)]
    pub fn has_place(&mut self, pool: PoolId, tried: &TriedBackends, turn: &mut Turn) -> bool {
        self.refresh(pool, turn);
        let view = SharedPoolView { segment: &self.segment, pool };
        let Pool { balance, members, .. } = &self[pool];
        matches!(balance::pick(*balance, members, tried, &view), balance::Pick::Backend(_))
    }
}
