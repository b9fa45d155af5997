//! Slots with generational ids: things name each other by id, and a stale one finds nothing.

pub mod reusing;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

const GENERATION_BITS: u32 = 30;
const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;
/// The end of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// Names what lies in a slot, until it is removed. It is stale then, even if the slot is used again:
/// a slot would have to be used 2^30 times before an old id fits once more.
pub struct Id<T> {
    index: u32,
    generation: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The slot, below the slab's capacity. Only one thing at a time lies in it.
    #[inline]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The id in 62 bits. The two highest are zero.
    #[inline]
    pub fn pack(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The id that `pack` made this of. The two highest bits may have been used by then: they are
    /// ignored. Panics if no id is packed there.
    #[inline]
    pub fn unpack(packed: u64) -> Id<T> {
        let generation = NonZeroU32::new((packed >> 32) as u32 & LAST_GENERATION);
        Id { index: packed as u32, generation: generation.expect("a packed id"), of: PhantomData }
    }
}

// Derived implementations would ask the same of `T`.
impl<T> Clone for Id<T> {
    #[inline]
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    #[inline]
    fn eq(&self, other: &Id<T>) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pack().hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// With a tag of its own. One that is hidden in a `T` with keys of sixteen bytes is as wide as these, and
/// is looked at whenever a slot is.
#[repr(u32)]
enum Content<T> {
    Taken(T),
    Free { next: u32 },
}

struct Slot<T> {
    /// Of what lies here, or of what comes next.
    generation: NonZeroU32,
    content: Content<T>,
}

/// A fixed number of slots. One that was just freed is used first, for it is still in the cache;
/// one that was never used costs no memory. Its ids are those of the `Tag`: the type that lies in the slots,
/// or one that stands for it where that is not to be known.
pub struct Slab<T, Tag = T> {
    slots: Vec<Slot<T>>,
    capacity: u32,
    len: u32,
    free: u32,
    tag: PhantomData<fn() -> Tag>,
}

impl<T, Tag> Slab<T, Tag> {
    /// Reserves `capacity` slots.
    pub fn with_capacity(capacity: usize) -> Slab<T, Tag> {
        assert!(capacity < NO_SLOT as usize);
        let slots = Vec::with_capacity(capacity);
        Slab { slots, capacity: capacity as u32, len: 0, free: NO_SLOT, tag: PhantomData }
    }

    /// Puts `value` into a free slot. `None` when there is none: `is_full` says so before.
    #[inline]
    pub fn insert(&mut self, value: T) -> Option<Id<Tag>> {
        let index = self.free;
        if index == NO_SLOT {
            return self.insert_new(value);
        }
        let slot = &mut self.slots[index as usize];
        let Content::Free { next } = slot.content else {
            panic!("a taken slot was listed as free");
        };
        self.free = next;
        slot.content = Content::Taken(value);
        self.len += 1;
        Some(Id { index, generation: slot.generation, of: PhantomData })
    }

    fn insert_new(&mut self, value: T) -> Option<Id<Tag>> {
        let index = self.slots.len() as u32;
        if index == self.capacity {
            return None;
        }
        let generation = NonZeroU32::MIN;
        self.slots.push(Slot { generation, content: Content::Taken(value) });
        self.len += 1;
        Some(Id { index, generation, of: PhantomData })
    }

    /// Takes out what `id` names. Panics if it is stale.
    #[inline]
    pub fn remove(&mut self, id: Id<Tag>) -> T {
        assert!(self.contains(id), "{id:?} is stale");
        let slot = &mut self.slots[id.index()];
        let next = slot.generation.checked_add(1).filter(|next| next.get() <= LAST_GENERATION);
        slot.generation = next.unwrap_or(NonZeroU32::MIN);
        self.len -= 1;
        let next = mem::replace(&mut self.free, id.index);
        match mem::replace(&mut slot.content, Content::Free { next }) {
            Content::Taken(value) => value,
            Content::Free { .. } => unreachable!(),
        }
    }

    /// What `id` names, if it is not stale.
    #[inline]
    pub fn get(&self, id: Id<Tag>) -> Option<&T> {
        match self.slots.get(id.index()) {
            Some(Slot { generation, content: Content::Taken(value) })
                if *generation == id.generation =>
            {
                Some(value)
            }
            Some(_) | None => None,
        }
    }

    /// What `id` names, if it is not stale.
    #[inline]
    pub fn get_mut(&mut self, id: Id<Tag>) -> Option<&mut T> {
        match self.slots.get_mut(id.index()) {
            Some(Slot { generation, content: Content::Taken(value) })
                if *generation == id.generation =>
            {
                Some(value)
            }
            Some(_) | None => None,
        }
    }

    /// Whether `id` names something still.
    #[inline]
    pub fn contains(&self, id: Id<Tag>) -> bool {
        self.get(id).is_some()
    }

    /// The id of what lies in slot `index` now.
    #[inline]
    pub fn id_at(&self, index: usize) -> Option<Id<Tag>> {
        match self.slots.get(index) {
            Some(Slot { generation, content: Content::Taken(_) }) => {
                Some(Id { index: index as u32, generation: *generation, of: PhantomData })
            }
            Some(Slot { content: Content::Free { .. }, .. }) | None => None,
        }
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

    /// Whether no slot is taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether all slots are taken.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// How many slots there are.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl<T, Tag> Index<Id<Tag>> for Slab<T, Tag> {
    type Output = T;
    /// Panics if `id` is stale: whoever is not sure asks `get`.
    #[inline]
    fn index(&self, id: Id<Tag>) -> &T {
        self.get(id).unwrap_or_else(|| stale(id))
    }
}

impl<T, Tag> IndexMut<Id<Tag>> for Slab<T, Tag> {
    #[inline]
    fn index_mut(&mut self, id: Id<Tag>) -> &mut T {
        self.get_mut(id).unwrap_or_else(|| stale(id))
    }
}

#[cold]
fn stale<Tag>(id: Id<Tag>) -> ! {
    panic!("{id:?} is stale")
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
