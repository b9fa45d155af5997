//! Who waits for a place at a backend whose cap finds itself, in which order, and who is told at once
//! that it would be in vain.
//!
//! A burst waits for its turn, first come first served: it will be over soon. Who would
//! wait for seven eighths of `timeouts.queue` is turned away; chance alone makes queues that are so long now and
//! then. If many are turned away for half of the time there is too much to do: from then on as few are let in
//! as are served quickly, and the others know at once, until hardly any are turned away any more. Should the
//! oldest have waited for half the time, and not all be served in time in their order, the newest come first:
//! their clients are still there.

use crate::mem::time::{Micros, elapsed};

/// While there are too many requests, none waits longer than this part of `timeouts.queue`.
const SHORT: u64 = 12;
/// There are too many requests where more than this part of them is turned away.
const FEW: u64 = 8;
/// There are clearly too many where more than this part is turned away.
const CLEARLY: u64 = 3;
/// No request is turned away earlier than this after the queue began: too little is known of its pace.
const FIRST_LOOK: Micros = Micros(100_000);

/// Whether there are too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressure {
    None,
    /// A request was turned away, which may be chance.
    Perhaps(Outcome),
    /// There are too many requests.
    TooMany(Outcome),
}

/// What became of the requests that came since then: a while ago at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    since: Micros,
    served: u64,
    turned_away: u64,
}

/// Places that were given since then.
#[derive(Clone, Copy, Debug)]
struct Given {
    since: Micros,
    count: u64,
}

impl Given {
    fn none_since(since: Micros) -> Given {
        Given { since, count: 0 }
    }

    /// How long it takes, at this pace, until so many more places are given. One more may be about to come.
    fn time_of(&self, places: usize, now: Micros) -> Micros {
        Micros((now - self.since).0.saturating_mul(places as u64) / (self.count + 1))
    }
}

/// What a worker knows of the queue of one pool.
#[derive(Clone, Copy, Debug)]
pub struct QueuePace {
    /// The longest wait.
    timeout: Micros,
    /// The places given since the queue is not empty; `None`: it is empty.
    standing: Option<Given>,
    /// The places given in the last one or two times of `timeout`, of which the newer begins with the second:
    /// so long that a few requests that take long, all at once, do not look like a backend that is slow.
    recent: [Given; 2],
    pressure: Pressure,
    /// Since when any request that came would have waited for long.
    long_since: Option<Micros>,
}

impl QueuePace {
    /// The pace of an empty queue, in which no request waits for longer than `timeout`.
    pub fn new(timeout: Micros) -> QueuePace {
        QueuePace {
            timeout,
            standing: None,
            recent: [Given::none_since(Micros(0)); 2],
            pressure: Pressure::None,
            long_since: None,
        }
    }

    fn half(&self) -> Micros {
        Micros(self.timeout.0 / 2)
    }

    /// The longest that any request is to wait, even in a burst.
    fn long(&self) -> Micros {
        Micros(self.timeout.0 * 7 / 8)
    }

    /// How long a third of the requests must be turned away for that not to be chance.
    fn doubt(&self) -> Micros {
        Micros(self.timeout.0 / 8)
    }

    fn short(&self) -> Micros {
        Micros(self.timeout.0 / SHORT)
    }

    /// Notes that a request got a place, whether it had to wait or not.
    pub fn served(&mut self, now: Micros) {
        self.turn_over(now);
        self.look(now);
        self.recent.iter_mut().chain(&mut self.standing).for_each(|given| given.count += 1);
        if let Pressure::Perhaps(last) | Pressure::TooMany(last) = &mut self.pressure {
            last.served += 1;
        }
    }

    /// Notes that no request waits any more.
    pub fn emptied(&mut self) {
        self.standing = None;
        self.long_since = None;
    }

    /// Whether one who comes now may wait behind so many others. If not, it is told so at once.
    ///
    /// Everybody may while the backends may still turn out to bear more: `is_known` is false.
    pub fn admits(&mut self, ahead: usize, is_known: bool, now: Micros) -> bool {
        self.turn_over(now);
        let standing = *self.standing.get_or_insert(Given::none_since(now));
        self.look(now);
        if ahead == 0 || !is_known || now - standing.since < FIRST_LOOK {
            return true;
        }
        let wait = self.wait_behind(ahead, now);
        if self.stays_long(wait, now) && matches!(self.pressure, Pressure::None) {
            let last = Outcome { since: now, served: 0, turned_away: 0 };
            self.pressure = Pressure::TooMany(last);
        }
        let most = match self.pressure {
            Pressure::None | Pressure::Perhaps(_) => self.long(),
            Pressure::TooMany(_) => self.short(),
        };
        let may_wait = wait <= most;
        match &mut self.pressure {
            _ if may_wait => (),
            Pressure::Perhaps(last) | Pressure::TooMany(last) => last.turned_away += 1,
            Pressure::None => {
                let last = Outcome { since: now, served: 0, turned_away: 1 };
                // No queue becomes so long by chance: they were let in while nothing was known.
                let is_beyond = wait > self.timeout + self.half();
                let pressure = if is_beyond { Pressure::TooMany } else { Pressure::Perhaps };
                self.pressure = pressure(last);
            }
        }
        may_wait
    }

    /// Whether whoever has come for the whole time would have waited for more than three eighths of it: so many
    /// come that those who wait for their answers before they ask again wait for long, though for less than
    /// all of it.
    fn stays_long(&mut self, wait: Micros, now: Micros) -> bool {
        if wait <= Micros(self.timeout.0 * 3 / 8) {
            self.long_since = None;
        }
        let is_long = wait > Micros(self.timeout.0 * 3 / 8);
        is_long && now - *self.long_since.get_or_insert(now) >= self.timeout
    }

    /// Looks, once in half the time, whether there is still too much to do; earlier, whether there clearly is.
    fn look(&mut self, now: Micros) {
        let (Pressure::Perhaps(last) | Pressure::TooMany(last)) = self.pressure else { return };
        let (passed, came) = (now - last.since, last.served + last.turned_away);
        let is_over = if passed >= self.half() {
            // After the whole time nobody has come for a while.
            passed >= self.timeout || last.turned_away * FEW <= came
        } else if passed >= self.doubt() && last.turned_away * CLEARLY > came {
            false
        } else {
            return;
        };
        self.pressure = match is_over {
            true => Pressure::None,
            false => Pressure::TooMany(Outcome { since: now, served: 0, turned_away: 0 }),
        };
    }

    /// Whether the newest of so many come first: the oldest has waited since then, and it is not to be
    /// expected that all are served in time in the order in which they came.
    pub fn newest_first(&self, oldest: Micros, waiting: usize, now: Micros) -> bool {
        elapsed(oldest, now) >= self.half() && self.wait_behind(waiting, now) > self.long()
    }

    /// Whether the oldest, which has waited since then, will not be served in time: the newest come
    /// first, and these are so many.
    pub fn is_in_vain(&self, oldest: Micros, newer: usize, is_known: bool, now: Micros) -> bool {
        let left = self.timeout - elapsed(oldest, now);
        is_known && self.newest_first(oldest, newer + 1, now) && self.wait_behind(newer, now) > left
    }

    /// How long so many places take: as they were given while others waited, or of late in all, whichever
    /// was faster. A moment in which none is given makes nobody despair.
    fn wait_behind(&self, ahead: usize, now: Micros) -> Micros {
        let of_late = self.recent[0].time_of(ahead, now);
        self.standing.map_or(of_late, |given| given.time_of(ahead, now).min(of_late))
    }

    /// Forgets what is older than the last while.
    fn turn_over(&mut self, now: Micros) {
        if now - self.recent[1].since >= self.timeout {
            self.recent = [self.recent[1], Given::none_since(now)];
        }
        if let Some(standing) = &mut self.standing
            && now - standing.since >= self.timeout
        {
            *standing = self.recent[0];
        }
    }
}

#[cfg(test)]
#[path = "queueing_tests.rs"]
mod tests;
