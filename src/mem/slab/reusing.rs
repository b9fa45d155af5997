//! The same slots for large things, each of which is made in the place of one that is over: nothing large
//! is moved.

use super::{Id, LAST_GENERATION, NO_SLOT, stale};
use std::marker::PhantomData;
use std::mem;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// In the place of the next free slot.
const TAKEN: u32 = NO_SLOT - 1;

struct ReusedSlot<T> {
    /// Of what lies here, or of what comes next: no id names that yet.
    generation: NonZeroU32,
    /// The next free slot, or `TAKEN`.
    next: u32,
    /// In a free slot, what is over.
    value: T,
}

/// A fixed number of slots, as in a [`Slab`](super::Slab), whose values stay until others are made of them.
/// Whoever discards one has taken out of it what must not stay.
pub struct ReusingSlab<T, Tag = T> {
    slots: Vec<ReusedSlot<T>>,
    capacity: u32,
    len: u32,
    free: u32,
    tag: PhantomData<fn() -> Tag>,
}

impl<T, Tag> ReusingSlab<T, Tag> {
    /// Reserves `capacity` slots.
    pub fn with_capacity(capacity: usize) -> ReusingSlab<T, Tag> {
        assert!(capacity < TAKEN as usize);
        let slots = Vec::with_capacity(capacity);
        ReusingSlab { slots, capacity: capacity as u32, len: 0, free: NO_SLOT, tag: PhantomData }
    }

    /// Takes a slot that was freed, with what lay there, which the caller makes anew. `None` where there is
    /// none: `insert` takes one that was never used.
    #[inline]
    pub fn reuse(&mut self) -> Option<(Id<Tag>, &mut T)> {
        let index = self.free;
        let slot = self.slots.get_mut(index as usize)?; // None for no slot.
        self.free = mem::replace(&mut slot.next, TAKEN);
        self.len += 1;
        Some((Id { index, generation: slot.generation, of: PhantomData }, &mut slot.value))
    }

    /// Puts `value` into a free slot. `None` when there is none.
    pub fn insert(&mut self, value: T) -> Option<Id<Tag>> {
        if self.free != NO_SLOT {
            let (id, place) = self.reuse()?;
            *place = value;
            return Some(id);
        }
        let index = self.slots.len() as u32;
        if index == self.capacity {
            return None;
        }
        let generation = NonZeroU32::MIN;
        self.slots.push(ReusedSlot { generation, next: TAKEN, value });
        self.len += 1;
        Some(Id { index, generation, of: PhantomData })
    }

    /// Frees a slot; what lies there stays. Panics if the id is stale.
    #[inline]
    pub fn discard(&mut self, id: Id<Tag>) {
        let slot = match self.slots.get_mut(id.index()) {
            Some(slot) if slot.generation == id.generation && slot.next == TAKEN => slot,
            Some(_) | None => stale(id),
        };
        let next = slot.generation.checked_add(1).filter(|next| next.get() <= LAST_GENERATION);
        slot.generation = next.unwrap_or(NonZeroU32::MIN);
        slot.next = mem::replace(&mut self.free, id.index);
        self.len -= 1;
    }

    /// What `id` names, if it is not stale.
    #[inline]
    pub fn get(&self, id: Id<Tag>) -> Option<&T> {
        match self.slots.get(id.index()) {
            Some(slot) if slot.generation == id.generation => Some(&slot.value),
            Some(_) | None => None,
        }
    }

    /// What `id` names, if it is not stale.
    #[inline]
    pub fn get_mut(&mut self, id: Id<Tag>) -> Option<&mut T> {
        match self.slots.get_mut(id.index()) {
            Some(slot) if slot.generation == id.generation => Some(&mut slot.value),
            Some(_) | None => None,
        }
    }

    /// The id of what lies in slot `index` now.
    pub fn id_at(&self, index: usize) -> Option<Id<Tag>> {
        let slot = self.slots.get(index).filter(|slot| slot.next == TAKEN)?;
        Some(Id { index: index as u32, generation: slot.generation, of: PhantomData })
    }

    /// The ids of all that is there, in the order of the slots.
    pub fn ids(&self) -> impl Iterator<Item = Id<Tag>> + '_ {
        (0..self.slots.len()).filter_map(|index| self.id_at(index))
    }

    /// How many slots are taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl<T, Tag> Index<Id<Tag>> for ReusingSlab<T, Tag> {
    type Output = T;
    /// Panics if `id` is stale: whoever is not sure asks `get`.
    #[inline]
    fn index(&self, id: Id<Tag>) -> &T {
        self.get(id).unwrap_or_else(|| stale(id))
    }
}

impl<T, Tag> IndexMut<Id<Tag>> for ReusingSlab<T, Tag> {
    #[inline]
    fn index_mut(&mut self, id: Id<Tag>) -> &mut T {
        self.get_mut(id).unwrap_or_else(|| stale(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::xorshift::Xorshift;

    #[test]
    fn what_lay_in_a_freed_slot_is_made_anew_under_another_id() {
        let mut slab: ReusingSlab<_> = ReusingSlab::with_capacity(2);
        assert!(slab.reuse().is_none());
        let old = slab.insert(String::from("old")).unwrap();
        slab.discard(old);
        assert_eq!((slab.len(), slab.get(old), slab.id_at(0)), (0, None, None));
        let (new, value) = slab.reuse().unwrap();
        assert_eq!((new.index(), value.as_str()), (old.index(), "old"));
        value.replace_range(.., "new");
        assert_eq!((slab.get(old), slab[new].as_str()), (None, "new"));
        assert!(slab.reuse().is_none());
    }

    #[test]
    #[should_panic(expected = "stale")]
    fn discarding_twice_panics() {
        let mut slab: ReusingSlab<_> = ReusingSlab::with_capacity(1);
        let id = slab.insert(1).unwrap();
        slab.discard(id);
        slab.discard(id);
    }

    #[test]
    fn a_slab_that_reuses_does_as_one_that_does_not() {
        for capacity in [1, 2, 7, 100] {
            let mut random = Xorshift::new(capacity as u64);
            let mut slab: ReusingSlab<usize, ()> = ReusingSlab::with_capacity(capacity);
            let mut model: super::super::Slab<usize, ()> =
                super::super::Slab::with_capacity(capacity);
            let mut gone = Vec::new();
            for number in 0..10_000 {
                match slab.id_at(random.below(capacity)) {
                    Some(id) if random.below(2) == 0 => {
                        slab.discard(id);
                        model.remove(id);
                        gone.push(id);
                    }
                    Some(id) => (slab[id], model[id]) = (number, number),
                    None => {
                        let reused = match slab.reuse() {
                            Some((id, value)) if random.below(2) == 0 => {
                                *value = number;
                                Some(id)
                            }
                            Some((id, _)) => {
                                slab.discard(id);
                                let next = model.insert(0).expect("a free slot");
                                model.remove(next);
                                slab.insert(number)
                            }
                            None => slab.insert(number),
                        };
                        assert_eq!(reused, model.insert(number));
                    }
                }
                assert_eq!((slab.len(), slab.capacity()), (model.len(), capacity));
                assert!(slab.ids().eq(model.ids()));
                assert!(slab.ids().all(|id| slab.get(id) == model.get(id)));
                let old = gone.get(random.below(gone.len() + 1));
                assert!(old.is_none_or(|old| slab.get(*old).is_none()));
            }
        }
    }
}
