use super::*;
use crate::mem::xorshift::Xorshift;
use std::collections::VecDeque;

fn ring(size: usize) -> Ring {
    Ring::new(vec![0; size].leak())
}

/// A ring that holds `content` from `start` on.
fn ring_from(size: usize, start: usize, content: &[u8]) -> Ring {
    let mut ring = ring(size);
    ring.filled(size.min(start + 1));
    ring.consume(start);
    ring.append(content);
    ring.consume(1);
    ring
}

fn content(ring: &Ring) -> Vec<u8> {
    ring.slices().concat()
}

#[test]
fn it_is_small() {
    assert!(size_of::<Ring>() <= 32);
}

#[test]
fn a_detached_ring_takes_and_gives_nothing() {
    let (mut detached, mut other) = (Ring::detached(), ring(4));
    assert!(!detached.is_attached() && detached.is_empty() && detached.is_full());
    assert_eq!((detached.capacity(), detached.room(), detached.len()), (0, 0, 0));
    assert_eq!(detached.free(), [&mut [], &mut [] as &mut [u8]]);
    assert_eq!((detached.slices(), detached.front()), ([b"" as &[u8], b""], b"" as &[u8]));
    assert_eq!(detached.flatten(), b"");
    detached.append(b"");
    detached.filled(0);
    detached.consume(0);
    other.append(b"abc");
    assert_eq!(detached.pour_into(&mut other, 9), 0);
    assert_eq!(other.pour_into(&mut detached, 9), 0);
    assert_eq!(detached.pour_into(&mut Ring::detached(), 9), 0);
    assert_eq!(content(&other), b"abc");
}

#[test]
fn memory_goes_from_ring_to_ring() {
    let mut one = ring(8);
    one.append(b"abc");
    one.consume(3);
    let mut other = Ring::new(one.take_bytes());
    assert!(!one.is_attached() && other.is_attached());
    other.append(b"12345678");
    assert!(other.is_full());
}

#[test]
fn an_emptied_ring_begins_at_0_again() {
    let mut ring = ring(8);
    ring.append(b"abcdef");
    ring.consume(4);
    ring.consume(2);
    assert_eq!(ring.free().map(|free| free.len()), [8, 0]);
}

#[test]
fn a_wrapped_ring_is_flattened_in_order() {
    let mut ring = ring_from(8, 5, b"abcdef");
    assert_eq!(ring.slices(), [b"ab" as &[u8], b"cdef"]);
    assert_eq!(ring.flatten(), b"abcdef");
    assert_eq!(ring.slices(), [b"abcdef" as &[u8], b""]);
    let mut flat = ring_from(8, 2, b"abcde");
    assert_eq!(flat.flatten(), b"abcde");
    assert_eq!(flat.start, 3, "what lies flat is not moved");
}

#[test]
fn pouring_all_into_an_empty_ring_moves_no_byte() {
    let (mut source, mut sink) = (ring_from(8, 5, b"abcdef"), ring(8));
    let place = source.front().as_ptr();
    assert_eq!(source.pour_into(&mut sink, 6), 6);
    assert_eq!((content(&sink), sink.front().as_ptr()), (b"abcdef".to_vec(), place));
    assert!(source.is_empty());
    source.append(b"12345678");
    assert_eq!((content(&source), content(&sink)), (b"12345678".to_vec(), b"abcdef".to_vec()));
}

#[test]
#[should_panic(expected = "no room")]
fn appending_one_too_many_panics() {
    ring_from(8, 5, b"abcdef").append(b"123");
}

#[test]
#[should_panic(expected = "more was consumed")]
fn consuming_one_too_many_panics() {
    ring_from(8, 5, b"abcdef").consume(7);
}

#[test]
#[should_panic(expected = "more was filled")]
fn filling_one_too_many_panics() {
    ring_from(8, 5, b"abcdef").filled(3);
}

#[test]
#[should_panic(expected = "gave up its memory")]
fn a_ring_with_content_keeps_its_memory() {
    ring_from(8, 5, b"a").take_bytes();
}

#[test]
#[should_panic]
fn a_size_that_is_no_power_of_two_panics() {
    ring(12);
}

/// A ring and what should be in it.
struct Pair {
    ring: Ring,
    model: VecDeque<u8>,
}

impl Pair {
    fn new(size: usize) -> Pair {
        Pair { ring: ring(size), model: VecDeque::new() }
    }

    fn check(&mut self) {
        let (ring, model) = (&mut self.ring, &mut self.model);
        assert_eq!(ring.len(), model.len());
        assert_eq!(ring.room(), ring.capacity() - model.len());
        assert_eq!((ring.is_empty(), ring.is_full()), (model.is_empty(), ring.room() == 0));
        let [first, second] = ring.slices();
        assert!(!first.is_empty() || second.is_empty());
        assert_eq!(ring.front(), first);
        assert!(first.iter().chain(second).eq(model.iter()));
        let room = ring.room();
        let [first, second] = ring.free();
        assert!(!first.is_empty() || second.is_empty());
        assert_eq!(first.len() + second.len(), room);
    }

    /// Writes `n` bytes into the room as a system call would.
    fn receive(&mut self, n: usize, random: &mut Xorshift) {
        let [first, second] = self.ring.free();
        for byte in first.iter_mut().chain(second).take(n) {
            *byte = random.below(256) as u8;
            self.model.push_back(*byte);
        }
        self.ring.filled(n);
    }
}

fn step(random: &mut Xorshift, one: &mut Pair, other: &mut Pair) {
    let (len, room) = (one.ring.len(), one.ring.room());
    let some = random.below(2 * one.ring.capacity() + 2);
    match random.below(8) {
        0 | 1 => {
            let bytes: Vec<u8> = (0..some.min(room)).map(|_| random.below(256) as u8).collect();
            one.ring.append(&bytes);
            one.model.extend(bytes);
        }
        2 | 3 => one.receive(some.min(room), random),
        4 => {
            one.ring.consume(some.min(len));
            one.model.drain(..some.min(len));
        }
        5 => {
            let poured = one.ring.pour_into(&mut other.ring, some);
            assert_eq!(poured, some.min(len).min(other.ring.capacity() - other.model.len()));
            other.model.extend(one.model.drain(..poured));
        }
        6 => {
            let offset = random.below(len + 1);
            let copied = one.ring.copy_into(offset, &mut other.ring, some);
            let room = other.ring.capacity() - other.model.len();
            assert_eq!(copied, some.min(len - offset).min(room));
            other.model.extend(one.model.iter().skip(offset).take(copied));
        }
        _ => assert!(one.ring.flatten().iter().eq(one.model.iter())),
    }
}

#[test]
fn two_rings_do_as_two_queues_of_bytes() {
    for (size, other_size) in [(1, 1), (1, 8), (2, 2), (8, 8), (16, 4), (64, 64), (256, 512)] {
        for seed in 1..=8 {
            println!("sizes {size} and {other_size}, seed {seed}");
            let mut random = Xorshift::new(seed);
            let (mut one, mut other) = (Pair::new(size), Pair::new(other_size));
            for _ in 0..5_000 {
                match random.below(2) {
                    0 => step(&mut random, &mut one, &mut other),
                    _ => step(&mut random, &mut other, &mut one),
                }
                one.check();
                other.check();
            }
        }
    }
}
