use super::*;
use crate::config::{AUTO_CAP, Config};
use crate::shared::Layout;
use crate::sys::world::{self, Faults};
use crate::sys::{clock, memory};

const DRAINED: Wish =
    Wish { state: Some(AdminState::Drain), weight: Some(7), max_connections: Some(9) };

fn segment() -> Segment {
    world::reset(1, Faults::default());
    let config = Config::for_backends(&["10.0.1.1:80".parse().unwrap()]);
    let layout = Layout::new(&config, 1);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(&config);
    segment
}

fn entry(host: u8) -> Registration {
    Registration::at(([10, 0, 2, host], 80).into())
}

fn leave(segment: Segment, slot: BackendId) {
    segment.set_admin(slot, AdminState::Leaving, clock::now().millis());
    assert!(segment.forget_if_unused(slot));
}

fn shown(segment: Segment, slot: BackendId) -> (AdminState, u32, u32) {
    let backend = segment.backend(slot);
    (backend.admin(), backend.weight(), backend.max_connections())
}

#[test]
fn every_wish_is_read_from_its_bits() {
    for state in [None, Some(AdminState::Ready), DRAINED.state, Some(AdminState::Maint)] {
        for weight in [None, Some(1), Some(256)] {
            for max_connections in [None, Some(0), Some(1), Some(AUTO_CAP)] {
                let wish = Wish { state, weight, max_connections };
                assert_eq!(Wish::from(u64::from(wish)), wish);
                assert_eq!(wish.is_empty(), u64::from(wish) == 0);
            }
        }
    }
}

#[test]
fn what_is_held_is_read_from_its_bits() {
    let segment = segment();
    let slot = segment.register(PoolId(0), entry(1)).unwrap();
    for lease in [None, Some(Millis(1)), Some(Millis(86_400_000))] {
        for (registered, set) in [(true, false), (false, true), (true, true)] {
            let held = Held { registered, lease, set };
            segment.note_held(slot, held);
            assert_eq!(segment.held_change(slot), held);
        }
    }
    segment.note_held(slot, Held::default());
    assert!(Held::is_none(&segment.held_change(slot)));
}

#[test]
fn what_was_set_of_a_backend_stays_over_its_next_registration_for_an_hour() {
    let segment = segment();
    let pool = segment.add_pool("api").unwrap();
    let slot = segment.register(pool, entry(1)).unwrap();
    segment.set_wish(slot, DRAINED);
    leave(segment, slot);
    let other = segment.register(pool, entry(2)).unwrap();
    assert_eq!(shown(segment, other), (AdminState::Ready, 1, 0));
    assert_ne!(other, slot, "another slot is free");
    // Its pool's place may be another's meanwhile.
    leave(segment, other);
    assert_eq!(segment.add_pool("else"), segment.find_pool("else"));
    let pool = segment.add_pool("api").unwrap();
    world::advance(Millis(3_599_000));
    let slot = segment.register(pool, entry(1)).unwrap();
    assert_eq!(shown(segment, slot), (AdminState::Drain, 7, 9));
    leave(segment, slot);
    world::advance(Millis(3_601_000));
    let slot = segment.register(pool, entry(1)).unwrap();
    assert_eq!(shown(segment, slot), (AdminState::Ready, 1, 0));
}

#[test]
fn what_is_remembered_makes_room_for_who_registers() {
    let segment = segment();
    let pool = segment.add_pool("api").unwrap();
    let slot = segment.register(pool, entry(1)).unwrap();
    segment.set_wish(slot, DRAINED);
    leave(segment, slot);
    let added = (1..2000)
        .map_while(|port| segment.register(pool, Registration::at(([10, 0, 3, 1], port).into())));
    let spare = segment.layout().backends - 1;
    assert_eq!(added.count(), spare);
    assert_eq!(segment.all_left(clock::now().millis()).count(), 0);
}

#[test]
fn another_generation_remembers_the_same() {
    let older = segment();
    let pool = older.add_pool("api").unwrap();
    let slot = older.register(pool, entry(1)).unwrap();
    older.set_wish(slot, DRAINED);
    leave(older, slot);
    let now = clock::now().millis();
    let known: Vec<LeftBackend> = older.all_left(now).collect();
    let newer = segment();
    for _ in 0..2 {
        known.iter().for_each(|left| newer.restore_left(left, now));
    }
    assert_eq!(newer.all_left(now).collect::<Vec<_>>(), known);
    let pool = newer.add_pool("api").unwrap();
    let slot = newer.register(pool, entry(1)).unwrap();
    assert_eq!(shown(newer, slot), (AdminState::Drain, 7, 9));
}
