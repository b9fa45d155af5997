//! How many requests a backend should have at once: as many as it works on without queueing them.
//!
//! **What is asked.** Below the knee of its curve a backend that has more requests at once answers more of
//! them a second; above, the same number, later. So the elasticity of its throughput tells where it
//! stands: the share by which throughput grows, of that by which the cap does, is 1 below the knee and 0
//! above. That holds for whatever distribution of service times (Little's law), and needs no idea of how
//! fast the backend would be if it were idle, which nobody sees while there is too much to do.
//!
//! **How it is found.** Only while requests wait for a place does the cap matter, and only then is it
//! tried. Throughput is measured at the cap; then at a lower or a higher one; that is kept if it costs
//! nothing, or brings something. How long a trial takes follows from how differently long requests take,
//! so that chance does not decide. As long as a backend has never been seen to have enough, the cap doubles
//! whenever somebody waits. It does so again after a while in which nobody waited.
//!
//! What a backend answers within [`FREE`] is not worth a trial: waiting elsewhere would cost more.

use crate::mem::time::Micros;

/// The least cap.
pub const LEAST: u32 = 4;
/// The most.
pub const MOST: u32 = 10_000;
/// What a backend begins with, of which nothing is known, and has at least after a quiet time.
pub const START: u32 = 32;
/// A cap is not lowered so far that requests would take less than this, in seconds.
const FREE: f64 = 0.002;
/// Throughput that grows by less than this share of the cap's growth does not pay for it.
const POOR: f64 = 0.3;
/// By more than this, and a lower cap costs too much.
const RICH: f64 = 0.45;
/// Seconds without a waiting request after which what was known of the knee may be outdated.
const QUIET: f64 = 5.0;
/// Seconds for which the cap rests between two trials: at first, and in the end.
const RESTS: (f64, f64) = (0.3, 3.0);
/// How often a trial that has not decided is gone on with.
const ROUNDS: u32 = 2;
/// Longer, in seconds, no change of the cap takes to show.
const LONGEST_SETTLING: f64 = 2.0;
/// Steps downward, one after the other, as parts of the cap; and upward.
const DOWN: [f64; 3] = [0.8, 0.5, 0.4];
const UP: [f64; 3] = [1.25, 1.5, 2.0];

/// A cap that was found, as workers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundCap {
    /// The requests that the backend may have at once.
    pub cap: u32,
    /// Whether the backend was seen to have enough: else there may soon be more places than now.
    pub is_saturated: bool,
}

/// What happened at a backend since the last look, over all workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// How many requests gave their place back.
    pub released: u64,
    /// How long these had it, in all.
    pub held: Micros,
    /// The squares of these times, in all: in seconds squared.
    pub held_squares: f64,
    /// Requests there now.
    pub load: u32,
    /// Somebody waited for a place, at whichever backend of the pool.
    pub waited: bool,
    /// Somebody waits now.
    pub waits: bool,
}

/// Whether it is known that the backend can have enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It has never been seen to be saturated, or not of late: more is always tried.
    Open,
    /// At some cap it had enough.
    Saturated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// What the cap in effect is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// To know the throughput at the cap that is kept, for at least so many seconds.
    Rest { seconds: f64 },
    /// To compare another one with it.
    Trial,
}

/// A trial: which cap, and how often it was gone on with.
#[derive(Clone, Copy, Debug)]
struct Trial {
    direction: Direction,
    cap: u32,
    rounds: u32,
}

/// What was measured at a cap.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    seconds: f64,
    released: f64,
    /// Requests that were there, times seconds.
    load: f64,
}

impl Tally {
    fn add(&mut self, sample: &Sample, elapsed: f64) {
        self.seconds += elapsed;
        self.released += sample.released as f64;
        self.load += f64::from(sample.load) * elapsed;
    }

    /// How many requests there were at once, of so many that there might have been.
    fn concurrency(&self, cap: u32) -> f64 {
        (self.load / self.seconds.max(0.001)).min(f64::from(cap))
    }

    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.released / self.seconds } else { 0.0 }
    }
}

/// Sums over the last while.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Recent {
    fn add(&mut self, sample: &Sample, elapsed: f64, over: f64) {
        let kept = (-elapsed / over).exp();
        let seconds = sample.held.0 as f64 / 1e6;
        self.count = self.count * kept + sample.released as f64;
        self.sum = self.sum * kept + seconds;
        self.squares = self.squares * kept + sample.held_squares;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0.1).then(|| self.sum / self.count)
    }

    /// The time that those have taken which had a place at any moment: long ones have it for longer.
    fn length_biased(&self) -> f64 {
        if self.sum > 0.0 { self.squares / self.sum } else { 0.0 }
    }

    /// The square of the coefficient of variation.
    fn variation(&self) -> f64 {
        match self.mean() {
            Some(mean) if mean > 0.0 => {
                (self.squares / self.count / (mean * mean) - 1.0).clamp(0.05, 30.0)
            }
            _ => 1.0,
        }
    }
}

/// What a comparison of two caps says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// The higher cap brings nothing.
    Poor,
    /// The higher cap brings about what it costs.
    Rich,
    Undecided,
}

/// The cap of one backend, found by what it does.
#[derive(Clone, Debug)]
pub struct AdaptiveCap {
    knowledge: Knowledge,
    /// The cap that is kept.
    center: u32,
    /// The cap in effect.
    cap: u32,
    step: Step,
    trial: Option<Trial>,
    at_center: Tally,
    at_trial: Tally,
    /// Seconds until the cap in effect shows.
    settling: f64,
    /// Trials in one direction that were kept, one after the other.
    kept: usize,
    next: Direction,
    rest: f64,
    /// Somebody waited at the last look.
    waits: bool,
    /// Seconds since somebody waited.
    quiet: f64,
    /// Seconds since a place was given back.
    silent: f64,
    recent: Recent,
    /// While nobody waited.
    unhurried: Recent,
    /// How differently long requests take, as a squared coefficient of variation: the most of the last
    /// while, for where they queue in the backend all take long.
    variation: f64,
}

impl Default for AdaptiveCap {
    /// Nothing is known of the backend.
    fn default() -> AdaptiveCap {
        AdaptiveCap::starting_at(START, Knowledge::Open)
    }
}

impl AdaptiveCap {
    /// Goes on with what another process has found.
    pub fn resumed(found: FoundCap) -> AdaptiveCap {
        let knowledge = if found.is_saturated { Knowledge::Saturated } else { Knowledge::Open };
        AdaptiveCap::starting_at(found.cap.clamp(LEAST, MOST), knowledge)
    }

    /// What is to be told the workers.
    pub fn found(&self) -> FoundCap {
        FoundCap { cap: self.cap, is_saturated: self.knowledge == Knowledge::Saturated }
    }

    fn starting_at(cap: u32, knowledge: Knowledge) -> AdaptiveCap {
        AdaptiveCap {
            knowledge,
            center: cap,
            cap,
            step: Step::Rest { seconds: 0.0 },
            trial: None,
            at_center: Tally::default(),
            at_trial: Tally::default(),
            settling: 0.0,
            kept: 0,
            next: Direction::Down,
            rest: RESTS.0,
            waits: false,
            quiet: 0.0,
            silent: 0.0,
            recent: Recent::default(),
            unhurried: Recent::default(),
            variation: 0.0,
        }
    }

    /// Takes in what happened in the time that has `elapsed` since the last look.
    pub fn observe(&mut self, sample: &Sample, elapsed: Micros) {
        let elapsed = (elapsed.0 as f64 / 1e6).clamp(0.001, 10.0);
        self.recent.add(sample, elapsed, 2.0);
        let faded = self.variation * (-elapsed / 60.0).exp();
        self.variation = self.recent.variation().max(faded);
        self.silent = if sample.released > 0 { 0.0 } else { self.silent + elapsed };
        let waited_before = std::mem::replace(&mut self.waits, sample.waits);
        if !sample.waited {
            return self.nobody_waited(sample, elapsed);
        }
        self.quiet = 0.0;
        if self.is_stalled() {
            // It says nothing of how many it can have, nor does what it does just afterwards.
            self.rest_at(self.center, self.rest);
            return;
        }
        let Some(hold) = self.recent.mean() else { return self.nothing_known() };
        // What a backend does that had less to do for a moment is not what it can.
        let is_open = self.knowledge == Knowledge::Open;
        if !(sample.waits && (waited_before || is_open)) {
            return;
        }
        if is_open && self.takes_much_longer(sample) {
            self.knowledge = Knowledge::Saturated;
            self.kept = 1;
            self.next = Direction::Down;
            self.rest_at(self.center, 0.0);
        }
        if self.is_settling(elapsed) {
            return;
        }
        let tally = match self.step {
            Step::Rest { .. } => &mut self.at_center,
            Step::Trial => &mut self.at_trial,
        };
        tally.add(sample, elapsed);
        match self.step {
            Step::Rest { seconds } if self.at_center.seconds >= seconds => self.begin_trial(hold),
            Step::Rest { .. } => (),
            Step::Trial => self.judge(hold),
        }
    }

    /// The cap matters to nobody now. A lower one is not measured so. A higher one stays, until it is
    /// reached: what the backend does then tells what it is worth, and not that it is high enough.
    fn nobody_waited(&mut self, sample: &Sample, elapsed: f64) {
        self.quiet += elapsed;
        if sample.load < self.cap {
            self.unhurried.add(sample, elapsed, 10.0);
        }
        if self.step == Step::Trial && self.cap < self.center {
            self.rest_at(self.center, RESTS.0);
        }
        // It need not be reached, if the backend has clearly more than before.
        let has_more = u64::from(sample.load) * 4 >= u64::from(self.center) * 5;
        if self.step == Step::Trial && has_more && !self.is_settling(elapsed) {
            self.at_trial.add(sample, elapsed);
            if let Some(hold) = self.recent.mean() {
                self.judge(hold);
            }
        }
        if self.quiet >= QUIET {
            self.knowledge = Knowledge::Open;
            self.kept = 0;
            self.rest_at(self.center.max(START), 0.0);
        }
    }

    /// Whether what is there now is not yet what the cap in effect leads to.
    fn is_settling(&mut self, elapsed: f64) -> bool {
        let is_settling = self.settling > 0.0;
        self.settling -= elapsed;
        is_settling
    }

    /// Whether the backend has stopped giving places back, though it usually does.
    fn is_stalled(&self) -> bool {
        self.recent.count > 1e-3
            && self.silent > self.recent.mean().map_or(0.3, |mean| (4.0 * mean).max(0.3))
    }

    /// Whether requests take several times as long as they did while nobody waited.
    fn takes_much_longer(&self, sample: &Sample) -> bool {
        let now = sample.held.0 as f64 / 1e6 / sample.released.max(1) as f64;
        let unhurried = self.unhurried.mean().filter(|_| self.unhurried.count > 100.0);
        sample.released >= 10 && unhurried.is_some_and(|unhurried| now > 3.0 * unhurried)
    }

    /// Doubles the cap while nothing is known: no place was given back yet, so nothing speaks against more.
    fn nothing_known(&mut self) {
        if self.knowledge == Knowledge::Open {
            self.rest_at(self.center.saturating_mul(2).min(MOST), 0.0);
        }
    }

    /// Keeps a cap, and measures there anew.
    fn rest_at(&mut self, cap: u32, seconds: f64) {
        self.settle(cap);
        self.center = cap;
        self.trial = None;
        self.at_center = Tally::default();
        self.at_trial = Tally::default();
        self.step = Step::Rest { seconds };
    }

    /// Sets the cap in effect. What is measured begins when it shows.
    fn settle(&mut self, cap: u32) {
        if cap != self.cap {
            let longest = self.recent.length_biased().min(LONGEST_SETTLING);
            self.settling = if longest < 0.06 { 0.0 } else { longest };
        }
        self.cap = cap;
    }

    /// Begins a trial, or goes on with one.
    fn begin_trial(&mut self, hold: f64) {
        let trial = self.trial.or_else(|| {
            let direction = match self.knowledge {
                Knowledge::Open => Direction::Up,
                Knowledge::Saturated => self.next,
            };
            self.choose(direction, hold).or_else(|| self.choose(Direction::Up, hold))
        });
        let Some(trial) = trial else { return };
        self.trial = Some(trial);
        self.step = Step::Trial;
        self.settle(trial.cap);
    }

    /// Which cap is tried in a direction, if there is any.
    fn choose(&self, direction: Direction, hold: f64) -> Option<Trial> {
        let center = f64::from(self.center);
        let cap = match (direction, self.knowledge) {
            (Direction::Up, Knowledge::Open) => center * 2.0,
            (Direction::Up, Knowledge::Saturated) => {
                (center * UP[self.kept.min(UP.len() - 1)]).max(center + 1.0)
            }
            (Direction::Down, _) => {
                let step = center * DOWN[self.kept.min(DOWN.len() - 1)];
                let free = self.at_center.rate() * FREE;
                self.guess(hold).unwrap_or(step).min(center - 1.0).max(free)
            }
        };
        let cap = (cap.round() as u32).clamp(LEAST, MOST);
        let is_one = match direction {
            Direction::Down => cap < self.center,
            Direction::Up => cap > self.center,
        };
        is_one.then_some(Trial { direction, cap, rounds: 0 })
    }

    /// Where the knee should be by what requests took while nobody waited: if that is much lower.
    fn guess(&self, hold: f64) -> Option<f64> {
        let unhurried = self.unhurried.mean().filter(|_| self.unhurried.count > 50.0)?;
        let guess = 1.25 * self.at_center.rate() * unhurried;
        (self.kept <= 1 && hold > 2.0 * unhurried && guess < 0.7 * f64::from(self.center))
            .then_some(guess)
    }

    /// Decides a trial, if what was measured suffices.
    fn judge(&mut self, hold: f64) {
        let Some(trial) = self.trial else { return };
        let (lower, higher) = match trial.direction {
            Direction::Down => {
                let (low, high) = (f64::from(trial.cap), f64::from(self.center));
                ((low, self.at_trial), (high, self.at_center))
            }
            Direction::Up => {
                let (low, high) = (f64::from(self.center), self.at_trial.concurrency(trial.cap));
                ((low, self.at_center), (high.max(1.2 * low), self.at_trial))
            }
        };
        let is_free = hold <= FREE && trial.direction == Direction::Up;
        let finding = if is_free { Finding::Rich } else { self.compare(lower, higher) };
        match (trial.direction, finding) {
            (Direction::Down, Finding::Poor) | (Direction::Up, Finding::Rich) => {
                self.keep(trial, hold);
            }
            (Direction::Down, Finding::Rich) => self.turn_back(trial, self.knee(trial)),
            (Direction::Up, Finding::Poor) if self.is_first_doubt(trial) => {
                // The quick ones came first, so that what is now cannot be compared with that.
                self.rest_at(self.center, RESTS.0);
                self.trial = Some(Trial { rounds: 1, ..trial });
            }
            (Direction::Up, Finding::Poor) => self.turn_back(trial, self.center),
            (_, Finding::Undecided) if self.at_trial.seconds < self.at_center.seconds => (),
            (Direction::Down, Finding::Undecided) if trial.rounds >= ROUNDS => {
                self.turn_back(trial, self.knee(trial));
            }
            (Direction::Up, Finding::Undecided) if trial.rounds >= ROUNDS => {
                self.turn_back(trial, self.center);
            }
            (_, Finding::Undecided) => {
                // As much again of both.
                self.trial = Some(Trial { rounds: trial.rounds + 1, ..trial });
                let seconds = (2.0 * self.at_center.seconds).max(2.0 * RESTS.0);
                self.step = Step::Rest { seconds };
                self.settle(self.center);
            }
        }
    }

    fn is_first_doubt(&self, trial: Trial) -> bool {
        self.knowledge == Knowledge::Open && trial.rounds == 0
    }

    /// Where the knee is, if the cap that was tried is below it, and a tenth more.
    fn knee(&self, trial: Trial) -> u32 {
        let each = self.at_trial.rate().max(0.001) / f64::from(trial.cap);
        let knee = 1.1 * self.at_center.rate() / each;
        (knee.min(1e6).ceil() as u32).clamp(trial.cap + 1, self.center)
    }

    /// The elasticity of throughput between two caps, as far as chance lets it be told.
    fn compare(&self, lower: (f64, Tally), higher: (f64, Tally)) -> Finding {
        let (low, high) = (lower.1.released.max(0.5), higher.1.released.max(0.5));
        if low.max(high) < 10.0 {
            return Finding::Undecided;
        }
        let growth = (higher.0 / lower.0).ln();
        let rates = (high / higher.1.seconds) / (low / lower.1.seconds);
        let elasticity = rates.ln() / growth;
        let variance =
            self.variation * (1.0 / low + 1.0 / high) + 1.0 / (low * low) + 1.0 / (high * high);
        let deviation = variance.sqrt() / growth;
        if elasticity + deviation < POOR {
            Finding::Poor
        } else if elasticity - deviation > RICH {
            Finding::Rich
        } else {
            Finding::Undecided
        }
    }

    /// The cap that was tried is the better one: another step in the same direction, from there.
    fn keep(&mut self, trial: Trial, hold: f64) {
        self.center = trial.cap;
        self.at_center = std::mem::take(&mut self.at_trial);
        self.trial = None;
        self.kept += 1;
        self.next = trial.direction;
        self.rest = RESTS.0;
        self.step = Step::Rest { seconds: 0.0 };
        if self.knowledge == Knowledge::Open {
            self.begin_trial(hold); // Somebody waits all the while.
        }
    }

    /// Ends a trial whose cap is not kept: the knee is about here.
    fn turn_back(&mut self, trial: Trial, cap: u32) {
        self.rest = if self.kept > 0 { RESTS.0 } else { (self.rest * 2.0).min(RESTS.1) };
        // Down, and up soon afterwards; then a longer rest.
        let rest = if trial.direction == Direction::Down { RESTS.0 } else { self.rest };
        // Who has just turned out to have enough may have much more than that.
        self.kept = usize::from(self.knowledge == Knowledge::Open);
        self.knowledge = Knowledge::Saturated;
        self.next = match trial.direction {
            Direction::Down => Direction::Up,
            Direction::Up => Direction::Down,
        };
        self.rest_at(cap, rest);
    }
}

#[cfg(test)]
mod tests;
