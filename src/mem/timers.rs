//! Timers of a few durations: those of one duration form a queue, for they end in the order in
//! which they were started. Start, stop and expire cost the same however many run.
use super::time::Millis;

/// Where a link ends.
const NOBODY: u32 = u32::MAX;
/// When the first timer of an empty queue ends.
const NEVER: Millis = Millis(u64::MAX);

/// The timer of one owner.
struct TimerNode {
    deadline: Millis,
    previous: u32,
    next: u32,
    /// `None`: it does not run.
    queue: Option<u16>,
}

/// The running timers of one duration, doubly linked through their nodes.
struct TimerQueue {
    duration: Millis,
    /// The deadline of `first`, kept here so that asking for it touches no node.
    deadline: Millis,
    first: u32,
    last: u32,
}

/// One timer for each owner, an index. An owner should be low, as the slots of a slab are: up to the
/// highest one used, all cost memory.
pub struct Timers {
    queues: Vec<TimerQueue>,
    /// No timer ends before, so that the queues need not be asked at each turn.
    soonest: Millis,
    nodes: Vec<TimerNode>,
    owners: usize,
}

impl Timers {
    /// Timers of these durations for owners below `owners`; a queue's number is the place of its
    /// duration.
    pub fn new(durations: &[Millis], owners: usize) -> Timers {
        assert!(owners < NOBODY as usize && durations.len() <= usize::from(u16::MAX));
        let queue = |duration: &Millis| TimerQueue {
            duration: *duration,
            deadline: NEVER,
            first: NOBODY,
            last: NOBODY,
        };
        let queues = durations.iter().map(queue).collect();
        Timers { queues, soonest: NEVER, nodes: Vec::with_capacity(owners), owners }
    }

    /// How long a timer of `queue` runs.
    pub fn duration(&self, queue: usize) -> Millis {
        self.queues[queue].duration
    }

    /// Starts the timer of `owner` with the duration of `queue`; one that runs already ends anew.
    ///
    /// `now` never goes back.
    pub fn start(&mut self, owner: u32, queue: usize, now: Millis) {
        self.touch(owner);
        let deadline = now + self.queues[queue].duration;
        self.soonest = self.soonest.min(deadline);
        let last = self.queues[queue].last;
        if last == owner {
            self.push_back_deadline(queue, deadline);
            return;
        }
        self.stop(owner);
        let list = &mut self.queues[queue];
        list.last = owner;
        if last == NOBODY {
            list.first = owner;
            list.deadline = deadline;
        } else {
            let last = &mut self.nodes[last as usize];
            assert!(last.deadline <= deadline, "the clock went back");
            last.next = owner;
        }
        let queue = Some(queue as u16);
        self.nodes[owner as usize] = TimerNode { deadline, previous: last, next: NOBODY, queue };
    }

    /// Stops the timer of `owner`, if it runs.
    pub fn stop(&mut self, owner: u32) {
        let Some(node) = self.nodes.get_mut(owner as usize) else { return };
        let Some(queue) = node.queue.take() else { return };
        let (previous, next) = (node.previous, node.next);
        let list = &mut self.queues[usize::from(queue)];
        if next == NOBODY {
            list.last = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
        if previous == NOBODY {
            list.first = next;
            list.deadline = if next == NOBODY { NEVER } else { self.nodes[next as usize].deadline };
        } else {
            self.nodes[previous as usize].next = next;
        }
    }

    /// The owners of the timers of `queue` and when these were started, the first of them first.
    pub fn started(&self, queue: usize) -> impl Iterator<Item = (u32, Millis)> + '_ {
        let TimerQueue { duration, first, .. } = self.queues[queue];
        let mut next = first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?; // None for nobody.
            let owner = std::mem::replace(&mut next, node.next);
            Some((owner, node.deadline - duration))
        })
    }

    /// The queue in which the timer of `owner` runs.
    #[inline]
    pub fn running(&self, owner: u32) -> Option<usize> {
        self.nodes.get(owner as usize)?.queue.map(usize::from)
    }

    /// Stops the timer that ended first, if one did by `now`, and tells its owner and queue.
    #[inline]
    pub fn expire(&mut self, now: Millis) -> Option<(u32, usize)> {
        if self.soonest > now {
            return None;
        }
        let (queue, list) = self.queues.iter().enumerate().min_by_key(|(_, list)| list.deadline)?;
        let owner = list.first;
        self.soonest = list.deadline;
        if owner == NOBODY || list.deadline > now {
            return None;
        }
        self.stop(owner);
        Some((owner, queue))
    }

    /// No timer ends before this time, at which [`expire`](Timers::expire) is to be called; the first one
    /// may end later, or have been stopped.
    #[inline]
    pub fn soonest(&self) -> Option<Millis> {
        (self.soonest != NEVER).then_some(self.soonest)
    }

    /// When the next timer ends. `None` if none runs.
    #[cfg(test)]
    pub fn next_deadline(&self) -> Option<Millis> {
        let running = self.queues.iter().filter(|list| list.first != NOBODY);
        running.map(|list| list.deadline).min()
    }

    /// Gives the last timer of `queue` a later deadline: it stays the last.
    fn push_back_deadline(&mut self, queue: usize, deadline: Millis) {
        let list = &mut self.queues[queue];
        let node = &mut self.nodes[list.last as usize];
        assert!(node.deadline <= deadline, "the clock went back");
        node.deadline = deadline;
        if list.first == list.last {
            list.deadline = deadline;
        }
    }

    /// Makes the nodes up to that of `owner`.
    fn touch(&mut self, owner: u32) {
        let owner = owner as usize;
        assert!(owner < self.owners, "no timer for owner {owner}");
        while self.nodes.len() <= owner {
            self.nodes.push(TimerNode {
                deadline: NEVER,
                previous: NOBODY,
                next: NOBODY,
                queue: None,
            });
        }
    }
}

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
