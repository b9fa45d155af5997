//! Clients, a queue, caps and backends in a time of their own: what happens next is taken from a heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::super::{AdaptiveCap, Sample};
use super::envoy::Gradient;
use crate::mem::time::Micros;
use crate::mem::xorshift::Xorshift;
use crate::policy::queueing::QueuePace;

/// `timeouts.queue`.
const QUEUE_TIMEOUT: f64 = 1.0;
/// So often caps are looked at.
const TICK: f64 = 0.1;

/// How long a backend works on a request, in seconds.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    Constant(f64),
    Exponential(f64),
    /// A tenth takes a hundred times as long as the rest; the mean is this.
    Bimodal(f64),
}

impl Service {
    pub fn mean(self) -> f64 {
        match self {
            Service::Constant(mean) | Service::Exponential(mean) | Service::Bimodal(mean) => mean,
        }
    }

    fn draw(self, dice: &mut Dice) -> f64 {
        match self {
            Service::Constant(mean) => mean,
            Service::Exponential(mean) => mean * dice.exponential(),
            Service::Bimodal(mean) if dice.uniform() < 0.1 => mean * 100.0 / 10.9,
            Service::Bimodal(mean) => mean / 10.9,
        }
    }
}

/// How the requests of a backend are limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    None,
    Fixed(u32),
    Envoy,
    Adaptive,
}

/// A run.
#[derive(Clone)]
pub struct Run {
    pub limit: Limit,
    /// Workers of each backend.
    pub workers: Vec<usize>,
    pub service: Service,
    /// From when on how many requests a second come.
    pub load: Vec<(f64, f64)>,
    /// From when on the backends have which part of their workers.
    pub capacity: Vec<(f64, f64)>,
    /// From when to when the backends do nothing.
    pub pause: Option<(f64, f64)>,
    /// Each backend does nothing for so long, once in so long: it collects garbage.
    pub collects: Option<(f64, f64)>,
    pub seconds: f64,
    pub seed: u64,
}

impl Run {
    pub fn new(limit: Limit, workers: &[usize], service: Service, load: f64) -> Run {
        let mut run = Run {
            limit,
            workers: workers.to_vec(),
            service,
            load: Vec::new(),
            capacity: vec![(0.0, 1.0)],
            pause: None,
            collects: None,
            seconds: 30.0,
            seed: 1,
        };
        run.load = vec![(0.0, load * run.bears())];
        run
    }

    /// Requests a second that the backends bear.
    pub fn bears(&self) -> f64 {
        self.workers.iter().sum::<usize>() as f64 / self.service.mean()
    }

    pub fn play(self) -> Outcome {
        Simulation::new(self).play()
    }
}

/// What became of a request that came at this time.
#[derive(Clone, Copy, Debug)]
struct Fate {
    came: f64,
    ended: f64,
    served: bool,
}

/// What became of all.
pub struct Outcome {
    fates: Vec<Fate>,
    /// The caps of the first backend, at each look.
    pub caps: Vec<u32>,
}

/// Of the requests that came within a while.
#[derive(Debug)]
pub struct Summary {
    /// Answers a second.
    pub rate: f64,
    /// In milliseconds, of those that were answered.
    pub p50: f64,
    pub p99: f64,
    /// Of all.
    pub refused: f64,
    /// In milliseconds: how long it took until nearly all of these knew.
    pub refused_p95: f64,
}

impl Outcome {
    /// How many requests came, and how many were refused.
    pub fn counts(&self) -> (usize, usize) {
        (self.fates.len(), self.fates.iter().filter(|fate| !fate.served).count())
    }

    pub fn between(&self, from: f64, to: f64) -> Summary {
        let within = |time: f64| time >= from && time < to;
        let came: Vec<&Fate> = self.fates.iter().filter(|fate| within(fate.came)).collect();
        let took = |served: bool| {
            let some = came.iter().filter(|fate| fate.served == served);
            let mut took: Vec<f64> = some.map(|fate| 1000.0 * (fate.ended - fate.came)).collect();
            took.sort_by(f64::total_cmp);
            took
        };
        let quantile = |sorted: &[f64], share: f64| {
            let place = (sorted.len() as f64 * share) as usize;
            sorted.get(place).or(sorted.last()).copied().unwrap_or(f64::NAN)
        };
        let (served, refused) = (took(true), took(false));
        let ended = self.fates.iter().filter(|fate| fate.served && within(fate.ended)).count();
        Summary {
            rate: ended as f64 / (to - from),
            p50: quantile(&served, 0.5),
            p99: quantile(&served, 0.99),
            refused: refused.len() as f64 / came.len().max(1) as f64,
            refused_p95: quantile(&refused, 0.95),
        }
    }
}

struct Dice(Xorshift);

impl Dice {
    fn uniform(&mut self) -> f64 {
        (self.0.below(1 << 30) as f64 + 0.5) / (1u64 << 30) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Done { backend: usize, request: usize },
    Tick,
    Look,
}

#[derive(Clone, Copy)]
struct Request {
    came: f64,
    /// When it got its place.
    placed: f64,
}

enum Control {
    None,
    Fixed(u32),
    Envoy(Gradient),
    Adaptive(Box<AdaptiveCap>),
}

struct Backend {
    all: usize,
    workers: usize,
    busy: usize,
    line: VecDeque<usize>,
    load: u32,
    control: Control,
    sample: Sample,
}

impl Backend {
    fn cap(&self) -> u32 {
        match &self.control {
            Control::None => u32::MAX,
            Control::Fixed(cap) => *cap,
            Control::Envoy(gradient) => gradient.limit(),
            Control::Adaptive(cap) => cap.found().cap,
        }
    }
}

struct Simulation {
    run: Run,
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    dice: Dice,
    requests: Vec<Request>,
    backends: Vec<Backend>,
    queue: VecDeque<usize>,
    pace: QueuePace,
    next: usize,
    outcome: Outcome,
}

fn micros(seconds: f64) -> Micros {
    // The clock of a machine that is up has gone on for a while.
    Micros((1e6 * (seconds + 1000.0)) as u64)
}

impl Simulation {
    fn new(run: Run) -> Simulation {
        let control = || match run.limit {
            Limit::None => Control::None,
            Limit::Fixed(cap) => Control::Fixed(cap),
            Limit::Envoy => Control::Envoy(Gradient::default()),
            Limit::Adaptive => Control::Adaptive(Box::default()),
        };
        let backend = |workers: &usize| Backend {
            all: *workers,
            workers: *workers,
            busy: 0,
            line: VecDeque::new(),
            load: 0,
            control: control(),
            sample: Sample::default(),
        };
        Simulation {
            now: 0.0,
            events: BinaryHeap::new(),
            count: 0,
            dice: Dice(Xorshift::new(run.seed)),
            requests: Vec::new(),
            backends: run.workers.iter().map(backend).collect(),
            queue: VecDeque::new(),
            pace: QueuePace::new(Micros((1e6 * QUEUE_TIMEOUT) as u64)),
            next: 0,
            outcome: Outcome { fates: Vec::new(), caps: Vec::new() },
            run,
        }
    }

    fn at(&mut self, time: f64, event: Event) {
        self.count += 1;
        self.events.push(Reverse(((1e9 * time) as u64, self.count, event)));
    }

    fn play(mut self) -> Outcome {
        for event in [Event::Arrival, Event::Tick, Event::Look] {
            self.at(0.0, event);
        }
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            self.now = time as f64 / 1e9;
            if self.now > self.run.seconds + 5.0 {
                break;
            }
            match event {
                Event::Arrival => self.arrive(),
                Event::Done { backend, request } => self.done(backend, request),
                Event::Tick => self.tick(),
                Event::Look => self.look(),
            }
        }
        self.outcome
    }

    fn latest(of: &[(f64, f64)], now: f64) -> f64 {
        of.iter().take_while(|(from, _)| *from <= now).last().map_or(0.0, |(_, number)| *number)
    }

    fn arrive(&mut self) {
        let rate = Self::latest(&self.run.load, self.now);
        let wait = self.dice.exponential() / rate;
        if self.now + wait < self.run.seconds {
            self.at(self.now + wait, Event::Arrival);
        }
        let request = self.requests.len();
        self.requests.push(Request { came: self.now, placed: 0.0 });
        let is_adaptive = self.run.limit == Limit::Adaptive;
        if self.queue.is_empty() && self.place(request) {
            return;
        }
        let is_known = self.backends.iter().all(|backend| match &backend.control {
            Control::Adaptive(cap) => cap.found().is_saturated,
            _ => true,
        });
        self.backends.iter_mut().for_each(|backend| backend.sample.waited = true);
        let now = micros(self.now);
        if self.run.limit == Limit::Envoy
            || is_adaptive && !self.pace.admits(self.queue.len(), is_known, now)
        {
            return self.refuse(request);
        }
        self.queue.push_back(request);
        while is_adaptive && self.queue.len() > 1 {
            let oldest = self.queue[0];
            let since = micros(self.requests[oldest].came);
            if !self.pace.is_in_vain(since, self.queue.len() - 1, is_known, now) {
                break;
            }
            self.queue.pop_front();
            self.refuse(oldest);
        }
    }

    fn refuse(&mut self, request: usize) {
        let came = self.requests[request].came;
        self.outcome.fates.push(Fate { came, ended: self.now, served: false });
    }

    /// Gives a request a place at the next backend that has one.
    fn place(&mut self, request: usize) -> bool {
        let count = self.backends.len();
        let found = (0..count)
            .map(|distance| (self.next + distance) % count)
            .find(|place| self.backends[*place].load < self.backends[*place].cap());
        let Some(place) = found else { return false };
        self.next = place + 1;
        self.requests[request].placed = self.now;
        self.pace.served(micros(self.now));
        let backend = &mut self.backends[place];
        backend.load += 1;
        backend.line.push_back(request);
        self.work(place);
        true
    }

    fn work(&mut self, place: usize) {
        while self.backends[place].busy < self.backends[place].workers {
            let Some(request) = self.backends[place].line.pop_front() else { return };
            self.backends[place].busy += 1;
            let mut end = self.now + self.run.service.draw(&mut self.dice);
            if let Some((from, to)) = self.run.pause.filter(|(from, _)| *from <= end) {
                end += (to - from.max(self.now)).max(0.0);
            }
            if let Some((length, every)) = self.run.collects {
                end = self.end_with_collections(place, end, length, every);
            }
            self.at(end, Event::Done { backend: place, request });
        }
    }

    /// When that ends which would end then, if the backend did not stop now and then. They do so one after
    /// the other.
    fn end_with_collections(&self, place: usize, end: f64, length: f64, every: f64) -> f64 {
        let (mut end, phase) = (end, every * place as f64 / self.backends.len() as f64);
        let mut from = phase + every * ((self.now - phase) / every).floor();
        while from <= end {
            end += (from + length - from.max(self.now)).max(0.0);
            from += every;
        }
        end
    }

    fn done(&mut self, place: usize, request: usize) {
        let Request { came, placed } = self.requests[request];
        let held = self.now - placed;
        let backend = &mut self.backends[place];
        backend.busy -= 1;
        backend.load -= 1;
        backend.sample.released += 1;
        backend.sample.held = backend.sample.held + Micros((1e6 * held) as u64);
        backend.sample.held_squares += held * held;
        if let Control::Envoy(gradient) = &mut backend.control {
            gradient.released(held);
        }
        self.outcome.fates.push(Fate { came, ended: self.now, served: true });
        self.work(place);
        self.serve_queue();
    }

    fn serve_queue(&mut self) {
        let now = micros(self.now);
        while let Some(oldest) = self.queue.front() {
            let since = micros(self.requests[*oldest].came);
            let is_newest = self.run.limit == Limit::Adaptive
                && self.pace.newest_first(since, self.queue.len(), now);
            let request = if is_newest { self.queue.back() } else { self.queue.front() };
            let Some(request) = request.copied() else { return };
            if !self.place(request) {
                return;
            }
            if is_newest {
                self.queue.pop_back()
            } else {
                self.queue.pop_front()
            };
            if self.queue.is_empty() {
                self.pace.emptied();
            }
        }
    }

    /// Those who have waited for too long are told so.
    fn look(&mut self) {
        self.at(self.now + 0.005, Event::Look);
        while let Some(oldest) = self.queue.front().copied() {
            if self.now - self.requests[oldest].came < QUEUE_TIMEOUT {
                return;
            }
            self.queue.pop_front();
            self.refuse(oldest);
        }
    }

    fn tick(&mut self) {
        self.at(self.now + TICK, Event::Tick);
        let part = Self::latest(&self.run.capacity, self.now);
        let waits = !self.queue.is_empty();
        for place in 0..self.backends.len() {
            let backend = &mut self.backends[place];
            backend.workers = (backend.all as f64 * part) as usize;
            let mut sample = std::mem::take(&mut backend.sample);
            sample.load = backend.load;
            sample.waited |= waits;
            sample.waits = waits;
            match &mut backend.control {
                Control::None | Control::Fixed(_) => (),
                Control::Envoy(gradient) => gradient.tick(self.now),
                Control::Adaptive(cap) => cap.observe(&sample, Micros((1e6 * TICK) as u64)),
            }
            self.work(place);
        }
        self.outcome.caps.push(self.backends[0].cap());
        self.serve_queue();
    }
}
