use super::*;
use crate::mem::xorshift::Xorshift;
use std::collections::{HashMap, HashSet};

#[test]
fn ids_are_small_also_when_there_may_be_none() {
    assert_eq!(size_of::<Option<Id<String>>>(), 8);
}

#[test]
fn a_stale_id_finds_nothing_in_a_slot_of_a_new_owner() {
    let mut slab: Slab<_> = Slab::with_capacity(1);
    let old = slab.insert("old").unwrap();
    assert_eq!(slab.remove(old), "old");
    let new = slab.insert("new").unwrap();
    assert_eq!((old.index(), old == new), (new.index(), false));
    assert!(slab.get(old).is_none() && slab.get_mut(old).is_none() && !slab.contains(old));
    assert_eq!(slab[new], "new");
    assert_eq!(slab.id_at(0), Some(new));
}

#[test]
fn the_slot_freed_last_is_used_first() {
    let mut slab: Slab<_> = Slab::with_capacity(9);
    let ids: Vec<_> = (0..5).map(|n| slab.insert(n).unwrap()).collect();
    for place in [3, 0, 4] {
        slab.remove(ids[place]);
    }
    let places: Vec<_> = (0..4).map(|n| slab.insert(n).unwrap().index()).collect();
    assert_eq!(places, [4, 0, 3, 5]);
}

#[test]
fn a_full_slab_takes_nothing_and_never_grows() {
    let mut slab: Slab<_> = Slab::with_capacity(2);
    let room = slab.slots.capacity();
    let ids = [slab.insert(1).unwrap(), slab.insert(2).unwrap()];
    assert!(slab.is_full());
    assert_eq!(slab.insert(3), None);
    slab.remove(ids[0]);
    assert!(!slab.is_full() && slab.insert(3).is_some());
    assert_eq!((slab.insert(4), slab.slots.capacity()), (None, room));
    assert_eq!(Slab::<i32>::with_capacity(0).insert(1), None);
}

#[test]
fn a_packed_id_leaves_two_bits_to_the_caller() {
    let mut slab: Slab<_> = Slab::with_capacity(3);
    slab.insert(1).unwrap();
    let id = slab.insert(2).unwrap();
    assert_eq!(id.pack() >> 62, 0);
    assert_eq!(Id::unpack(id.pack() | 3 << 62), id);
    let last = Id::<u8> {
        index: u32::MAX,
        generation: NonZeroU32::new(LAST_GENERATION).unwrap(),
        of: PhantomData,
    };
    assert_eq!((last.pack() >> 62, Id::unpack(last.pack())), (0, last));
}

#[test]
fn generations_begin_again_after_the_last() {
    let mut slab: Slab<_> = Slab::with_capacity(1);
    let first = slab.insert(0).unwrap();
    slab.slots[0].generation = NonZeroU32::new(LAST_GENERATION).unwrap();
    assert!(!slab.contains(first));
    slab.remove(slab.id_at(0).unwrap());
    assert_eq!(slab.insert(1).map(|id| id.generation.get()), Some(1));
}

#[test]
#[should_panic(expected = "stale")]
fn indexing_by_a_stale_id_panics() {
    let mut slab: Slab<_> = Slab::with_capacity(1);
    let id = slab.insert(1).unwrap();
    slab.remove(id);
    slab[id] = 2;
}

#[test]
#[should_panic(expected = "stale")]
fn removing_twice_panics() {
    let mut slab: Slab<_> = Slab::with_capacity(1);
    let id = slab.insert(1).unwrap();
    slab.remove(id);
    slab.remove(id);
}

#[test]
#[should_panic(expected = "a packed id")]
fn what_was_never_packed_is_no_id() {
    Id::<u8>::unpack(7);
}

/// A slab, what should be in it, and the ids of what was in it.
struct Pair {
    slab: Slab<u32>,
    model: HashMap<Id<u32>, u32>,
    live: Vec<Id<u32>>,
    gone: Vec<Id<u32>>,
}

impl Pair {
    fn step(&mut self, random: &mut Xorshift, number: u32) {
        let place = random.below(self.live.len().max(1));
        match (random.below(5), self.live.get(place)) {
            (0, Some(_)) => {
                let id = self.live.swap_remove(place);
                assert_eq!(Some(self.slab.remove(id)), self.model.remove(&id));
                self.gone.push(id);
            }
            (1, Some(id)) => {
                self.slab[*id] = number;
                self.model.insert(*id, number);
            }
            _ => match self.slab.insert(number) {
                Some(id) => {
                    assert_eq!(self.model.insert(id, number), None);
                    self.live.push(id);
                }
                None => assert_eq!(self.model.len(), self.slab.capacity()),
            },
        }
    }

    fn check(&self, random: &mut Xorshift) {
        let (slab, len) = (&self.slab, self.model.len());
        assert_eq!((slab.len(), slab.is_empty()), (len, len == 0));
        assert_eq!(slab.is_full(), len == slab.capacity());
        if let Some(old) = self.gone.get(random.below(self.gone.len() + 1)) {
            assert_eq!((slab.get(*old), slab.contains(*old)), (None, false));
        }
    }
}

#[test]
fn a_slab_does_as_a_map_by_id() {
    for capacity in [1, 2, 7, 100] {
        for seed in 1..=5 {
            println!("capacity {capacity}, seed {seed}");
            let mut random = Xorshift::new(seed);
            let slab = Slab::with_capacity(capacity);
            let mut pair = Pair { slab, model: HashMap::new(), live: vec![], gone: vec![] };
            for number in 0..10_000 {
                pair.step(&mut random, number);
                pair.check(&mut random);
            }
            let Pair { slab, model, gone, .. } = pair;
            assert_eq!(slab.ids().collect::<HashSet<_>>(), model.keys().copied().collect());
            assert!(model.iter().all(|(id, value)| slab.get(*id) == Some(value)));
            assert!(gone.iter().all(|id| !slab.contains(*id)));
        }
    }
}
