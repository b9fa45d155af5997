//! First in, first out, of a fixed capacity.
use std::collections::VecDeque;

/// A line of at most `capacity` values.
#[derive(Debug)]
pub struct Queue<T> {
    values: VecDeque<T>,
    capacity: usize,
}

impl<T> Queue<T> {
    /// Reserves room for `capacity` values.
    pub fn with_capacity(capacity: usize) -> Queue<T> {
        Queue { values: VecDeque::with_capacity(capacity), capacity }
    }

    /// Puts `value` at the end. Gives it back when the queue is full.
    #[inline]
    pub fn push_back(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.values.push_back(value);
        Ok(())
    }

    /// Puts `value` at the front. Gives it back when the queue is full.
    #[inline]
    pub fn push_front(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.values.push_front(value);
        Ok(())
    }

    /// Takes the value at the front.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        self.values.pop_front()
    }

    /// The value at the front.
    #[inline]
    pub fn front(&self) -> Option<&T> {
        self.values.front()
    }

    /// The value at the end.
    #[inline]
    pub fn back(&self) -> Option<&T> {
        self.values.back()
    }

    /// The value with `position` values ahead of it.
    #[inline]
    pub fn get(&self, position: usize) -> Option<&T> {
        self.values.get(position)
    }

    /// All values, the front first.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.values.iter()
    }

    /// All values, to be changed.
    #[inline]
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> + ExactSizeIterator {
        self.values.iter_mut()
    }

    /// Takes out the value with `position` values ahead of it.
    pub fn remove_at(&mut self, position: usize) -> Option<T> {
        self.values.remove(position)
    }

    /// How many values it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether no more fits.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.values.len() == self.capacity
    }
}

impl<T: PartialEq> Queue<T> {
    /// Takes a value out that equals `value`, wherever it is. Tells whether there was one.
    pub fn remove(&mut self, value: &T) -> bool {
        if self.values.back() == Some(value) {
            return self.values.pop_back().is_some();
        }
        match self.values.iter().position(|other| other == value) {
            Some(position) => self.values.remove(position).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(values: &[u32]) -> Queue<u32> {
        let mut queue = Queue::with_capacity(3);
        for value in values {
            assert_eq!(queue.push_back(*value), Ok(()));
        }
        queue
    }

    #[test]
    fn values_leave_in_the_order_they_came_in() {
        let mut queue = queue(&[1, 2]);
        assert_eq!(queue.pop_front(), Some(1));
        assert_eq!(queue.push_back(3), Ok(()));
        assert_eq!((queue.front(), queue.get(1)), (Some(&2), Some(&3)));
        assert_eq!(
            (queue.pop_front(), queue.pop_front(), queue.pop_front()),
            (Some(2), Some(3), None)
        );
    }

    #[test]
    fn a_full_queue_gives_the_value_back_and_never_grows() {
        let mut queue = queue(&[1, 2, 3]);
        for round in 4..100 {
            assert!(queue.is_full());
            assert_eq!(queue.push_back(round), Err(round));
            queue.pop_front();
            assert_eq!(queue.push_back(round), Ok(()));
        }
        assert_eq!(queue.values.capacity(), 3);
    }

    #[test]
    fn one_in_the_middle_can_leave() {
        let mut queue = queue(&[1, 2, 3]);
        assert_eq!(queue.remove_at(3), None);
        assert!(queue.remove(&2));
        assert!(!queue.remove(&2));
        assert!(queue.iter().eq(&[1, 3]));
    }

    #[test]
    fn a_queue_of_capacity_0_takes_nothing() {
        assert_eq!(Queue::with_capacity(0).push_back(1), Err(1));
    }
}
