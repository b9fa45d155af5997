//! The gradient controller of Envoy's adaptive concurrency filter, with its defaults, to compare with: once
//! a minute it lets 3 requests in at a time until 50 were answered, and takes the least of their times for
//! that of an idle backend; the limit follows how much longer requests take than that.

const WINDOW: f64 = 0.1;
const EVERY: f64 = 60.0;
const REQUESTS: usize = 50;
const LEAST: f64 = 3.0;
const MOST: f64 = 1000.0;
const BUFFER: f64 = 0.25;

pub struct Gradient {
    limit: f64,
    /// Of an idle backend.
    least_time: f64,
    /// The limit before it is measured.
    before: Option<f64>,
    times: Vec<f64>,
    next_measurement: f64,
    window_began: f64,
}

impl Default for Gradient {
    fn default() -> Gradient {
        Gradient {
            limit: LEAST,
            least_time: 0.0,
            before: Some(LEAST),
            times: Vec::new(),
            next_measurement: EVERY,
            window_began: 0.0,
        }
    }
}

impl Gradient {
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    pub fn released(&mut self, time: f64) {
        self.times.push(time);
        if let Some(before) = self.before.filter(|_| self.times.len() >= REQUESTS) {
            self.least_time = self.times.iter().copied().fold(f64::MAX, f64::min);
            self.limit = before;
            self.before = None;
            self.times.clear();
        }
    }

    pub fn tick(&mut self, now: f64) {
        if self.before.is_some() || now - self.window_began < WINDOW - 1e-9 {
            return;
        }
        self.window_began = now;
        if now >= self.next_measurement {
            self.next_measurement = now + EVERY;
            self.before = Some(self.limit);
            self.limit = LEAST;
            self.times.clear();
            return;
        }
        if self.times.is_empty() {
            return;
        }
        self.times.sort_by(f64::total_cmp);
        let median = self.times[self.times.len() / 2];
        let gradient = (self.least_time * (1.0 + BUFFER) / median).clamp(0.5, 2.0);
        let limit = self.limit * gradient;
        self.limit = (limit + limit.sqrt()).clamp(LEAST, MOST);
        self.times.clear();
    }
}
