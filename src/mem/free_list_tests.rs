use super::*;
use crate::mem::xorshift::Xorshift;
use std::collections::HashSet;

const PIECE: usize = 4;

fn list(pieces: usize) -> FreeList {
    FreeList::new(vec![0; pieces * PIECE].leak(), PIECE)
}

fn cold(list: &mut FreeList) -> Vec<*const u8> {
    list.cold().map(|piece| piece.as_ptr()).collect()
}

#[test]
fn the_piece_returned_last_is_lent_first_and_a_new_one_only_without_any() {
    let mut list = list(3);
    let (one, two) = (list.take().unwrap(), list.take().unwrap());
    let (first, second) = (one.as_ptr(), two.as_ptr());
    assert_eq!(second as usize - first as usize, PIECE);
    list.put(two);
    list.put(one);
    assert_eq!((list.taken(), list.spare(), list.capacity()), (0, 3, 3));
    let (one, two) = (list.take().unwrap(), list.take().unwrap());
    assert_eq!((one.as_ptr(), two.as_ptr()), (first, second));
    assert_eq!(list.uncarved.len(), PIECE);
    assert!(list.take().is_some() && list.take().is_none() && list.take().is_none());
    assert_eq!((list.taken(), list.spare(), list.capacity()), (3, 0, 3));
}

#[test]
fn a_piece_is_cold_once_when_it_lay_through_a_whole_round() {
    let mut list = list(3);
    let pieces: Vec<_> = (0..3).map(|_| list.take().unwrap()).collect();
    let [one, two, three] = [0, 1, 2].map(|place| pieces[place].as_ptr());
    pieces.into_iter().for_each(|piece| list.put(piece));
    assert!(cold(&mut list).is_empty(), "they were taken just now");

    let taken = list.take().unwrap();
    list.put(taken);
    assert_eq!(cold(&mut list), [one, two]);
    assert_eq!(cold(&mut list), [three]);
    assert!(cold(&mut list).is_empty(), "each comes once");

    let taken = [list.take().unwrap(), list.take().unwrap()];
    taken.into_iter().for_each(|piece| list.put(piece));
    assert!(cold(&mut list).is_empty());
    assert_eq!(cold(&mut list), [three, two], "they were taken again");
}

#[test]
fn what_the_caller_leaves_comes_at_the_next_call() {
    let mut list = list(5);
    let pieces: Vec<_> = (0..5).map(|_| list.take().unwrap()).collect();
    pieces.into_iter().for_each(|piece| list.put(piece));
    assert_eq!(list.cold().count(), 0);
    assert_eq!(list.cold().take(2).count(), 2);
    let taken = list.take().unwrap();
    list.put(taken);
    assert_eq!(list.cold().count(), 2);
    assert_eq!(list.cold().count(), 1);
}

#[test]
#[should_panic(expected = "another free list")]
fn a_piece_of_another_size_panics() {
    let mut list = list(2);
    list.take().unwrap();
    list.put(vec![0; PIECE + 1].leak());
}

#[test]
#[should_panic(expected = "another free list")]
fn a_piece_too_many_panics() {
    list(2).put(vec![0; PIECE].leak());
}

#[test]
#[should_panic]
fn an_arena_with_a_remainder_panics() {
    FreeList::new(vec![0; 9].leak(), PIECE);
}

/// What is known of each piece that was taken before and is not now.
#[derive(Clone, Copy, PartialEq)]
enum Spare {
    /// It was returned since the last call of `cold`.
    Warm,
    /// It was there at the last call.
    Lay,
    /// It was yielded.
    Yielded,
}

#[test]
fn a_stock_does_as_a_stack_that_knows_the_past_of_each_piece() {
    for pieces in [1, 3, 20] {
        for seed in 1..=10 {
            println!("{pieces} pieces, seed {seed}");
            let mut random = Xorshift::new(seed);
            let mut list = list(pieces);
            let mut taken: Vec<&'static mut [u8]> = Vec::new();
            let mut stack: Vec<(*const u8, Spare)> = Vec::new();
            let mut known = HashSet::new();
            for _ in 0..5_000 {
                match random.below(7) {
                    0..=2 => match (list.take(), stack.pop()) {
                        (Some(piece), Some((spare, _))) => {
                            assert_eq!(piece.as_ptr(), spare);
                            taken.push(piece);
                        }
                        (Some(piece), None) => {
                            assert!(known.insert(piece.as_ptr()) && piece.len() == PIECE);
                            taken.push(piece);
                        }
                        (None, spare) => assert!(spare.is_none() && taken.len() == pieces),
                    },
                    3..=5 if !taken.is_empty() => {
                        let piece = taken.swap_remove(random.below(taken.len()));
                        stack.push((piece.as_ptr(), Spare::Warm));
                        list.put(piece);
                    }
                    3..=5 => (),
                    _ => {
                        let expected: Vec<_> = stack
                            .iter()
                            .filter(|(_, spare)| *spare == Spare::Lay)
                            .map(|(piece, _)| *piece)
                            .collect();
                        assert_eq!(cold(&mut list), expected);
                        for (_, spare) in &mut stack {
                            *spare = match *spare {
                                Spare::Warm => Spare::Lay,
                                Spare::Lay | Spare::Yielded => Spare::Yielded,
                            };
                        }
                    }
                }
                assert_eq!((list.taken(), list.spare()), (taken.len(), pieces - taken.len()));
            }
        }
    }
}
