use super::*;
use crate::mem::xorshift::Xorshift;
use std::collections::HashSet;

const PIECE: usize = 4;

fn stock(pieces: usize) -> FreeList {
    FreeList::new(vec![0; pieces * PIECE].leak(), PIECE)
}

fn cold(stock: &mut FreeList) -> Vec<*const u8> {
    stock.cold().map(|piece| piece.as_ptr()).collect()
}

#[test]
fn the_piece_returned_last_is_lent_first_and_a_new_one_only_without_any() {
    let mut stock = stock(3);
    let (one, two) = (stock.lend().unwrap(), stock.lend().unwrap());
    let (first, second) = (one.as_ptr(), two.as_ptr());
    assert_eq!(second as usize - first as usize, PIECE);
    stock.give_back(two);
    stock.give_back(one);
    assert_eq!((stock.lent(), stock.spare(), stock.capacity()), (0, 3, 3));
    let (one, two) = (stock.lend().unwrap(), stock.lend().unwrap());
    assert_eq!((one.as_ptr(), two.as_ptr()), (first, second));
    assert_eq!(stock.uncarved.len(), PIECE);
    assert!(stock.lend().is_some() && stock.lend().is_none() && stock.lend().is_none());
    assert_eq!((stock.lent(), stock.spare(), stock.capacity()), (3, 0, 3));
}

#[test]
fn a_piece_is_cold_once_when_it_lay_through_a_whole_round() {
    let mut stock = stock(3);
    let pieces: Vec<_> = (0..3).map(|_| stock.lend().unwrap()).collect();
    let [one, two, three] = [0, 1, 2].map(|place| pieces[place].as_ptr());
    pieces.into_iter().for_each(|piece| stock.give_back(piece));
    assert!(cold(&mut stock).is_empty(), "they were lent just now");

    let lent = stock.lend().unwrap();
    stock.give_back(lent);
    assert_eq!(cold(&mut stock), [one, two]);
    assert_eq!(cold(&mut stock), [three]);
    assert!(cold(&mut stock).is_empty(), "each comes once");

    let lent = [stock.lend().unwrap(), stock.lend().unwrap()];
    lent.into_iter().for_each(|piece| stock.give_back(piece));
    assert!(cold(&mut stock).is_empty());
    assert_eq!(cold(&mut stock), [three, two], "they were lent again");
}

#[test]
fn what_the_caller_leaves_comes_at_the_next_call() {
    let mut stock = stock(5);
    let pieces: Vec<_> = (0..5).map(|_| stock.lend().unwrap()).collect();
    pieces.into_iter().for_each(|piece| stock.give_back(piece));
    assert_eq!(stock.cold().count(), 0);
    assert_eq!(stock.cold().take(2).count(), 2);
    let lent = stock.lend().unwrap();
    stock.give_back(lent);
    assert_eq!(stock.cold().count(), 2);
    assert_eq!(stock.cold().count(), 1);
}

#[test]
#[should_panic(expected = "another stock")]
fn a_piece_of_another_size_panics() {
    let mut stock = stock(2);
    stock.lend().unwrap();
    stock.give_back(vec![0; PIECE + 1].leak());
}

#[test]
#[should_panic(expected = "another stock")]
fn a_piece_too_many_panics() {
    stock(2).give_back(vec![0; PIECE].leak());
}

#[test]
#[should_panic]
fn an_arena_with_a_remainder_panics() {
    FreeList::new(vec![0; 9].leak(), PIECE);
}

/// What is known of each piece that was lent before and is not now.
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
            let mut stock = stock(pieces);
            let mut lent: Vec<&'static mut [u8]> = Vec::new();
            let mut stack: Vec<(*const u8, Spare)> = Vec::new();
            let mut known = HashSet::new();
            for _ in 0..5_000 {
                match random.below(7) {
                    0..=2 => match (stock.lend(), stack.pop()) {
                        (Some(piece), Some((spare, _))) => {
                            assert_eq!(piece.as_ptr(), spare);
                            lent.push(piece);
                        }
                        (Some(piece), None) => {
                            assert!(known.insert(piece.as_ptr()) && piece.len() == PIECE);
                            lent.push(piece);
                        }
                        (None, spare) => assert!(spare.is_none() && lent.len() == pieces),
                    },
                    3..=5 if !lent.is_empty() => {
                        let piece = lent.swap_remove(random.below(lent.len()));
                        stack.push((piece.as_ptr(), Spare::Warm));
                        stock.give_back(piece);
                    }
                    3..=5 => (),
                    _ => {
                        let expected: Vec<_> = stack
                            .iter()
                            .filter(|(_, spare)| *spare == Spare::Lay)
                            .map(|(piece, _)| *piece)
                            .collect();
                        assert_eq!(cold(&mut stock), expected);
                        for (_, spare) in &mut stack {
                            *spare = match *spare {
                                Spare::Warm => Spare::Lay,
                                Spare::Lay | Spare::Yielded => Spare::Yielded,
                            };
                        }
                    }
                }
                assert_eq!((stock.lent(), stock.spare()), (lent.len(), pieces - lent.len()));
            }
        }
    }
}
