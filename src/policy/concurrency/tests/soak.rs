//! Where there is enough room nobody is refused, however long that goes on.

use super::simulation::{Limit, Run, Service};
use super::{BIMODAL, CONSTANT, EXPONENTIAL, SERVICES, name};

/// Less comes than the backends bear, all the time.
struct Soak {
    workers: &'static [usize],
    service: Service,
    load: f64,
    /// Each backend does nothing for 50 ms, once a second.
    collects: bool,
    seed: u64,
}

impl Soak {
    /// How many requests came, and how many were refused.
    fn refused(&self, limit: Limit, seconds: f64) -> (usize, usize) {
        let run = Run {
            seconds,
            seed: self.seed,
            collects: self.collects.then_some((0.05, 1.0)),
            ..Run::new(limit, self.workers, self.service, self.load)
        };
        run.play().counts()
    }

    fn told(&self) -> String {
        let pauses = if self.collects { ", pauses" } else { "" };
        format!("{:?} {}, load {}{pauses}", self.workers, name(self.service), self.load)
    }
}

/// Ten minutes each: an hour in all.
#[test]
fn nobody_is_refused_in_an_hour_without_overload() {
    for (place, (workers, service, load, collects)) in [
        (&[4][..], CONSTANT, 0.9, true),
        (&[4], EXPONENTIAL, 0.8, true),
        (&[4], BIMODAL, 0.5, true),
        (&[1, 1, 1, 1], EXPONENTIAL, 0.7, false),
        (&[1, 2, 4], EXPONENTIAL, 0.9, false),
        (&[8], BIMODAL, 0.7, false),
    ]
    .into_iter()
    .enumerate()
    {
        let soak = Soak { workers, service, load, collects, seed: place as u64 };
        let (came, refused) = soak.refused(Limit::Adaptive, 600.0);
        assert!(came > 40_000 && refused == 0, "{}: {refused} of {came}", soak.told());
    }
}

/// An hour each, beside a fixed limit that is far above what the backends work on at once.
#[test]
#[ignore = "prints a table, and takes minutes"]
fn hours() {
    for workers in [&[4][..], &[16], &[4, 4, 4], &[1, 1, 1, 1], &[2, 8, 32]] {
        for service in SERVICES {
            for (load, collects) in [
                (0.5, false),
                (0.5, true),
                (0.7, false),
                (0.7, true),
                (0.8, false),
                (0.8, true),
                (0.9, false),
                (0.9, true),
            ] {
                let soak = Soak { workers, service, load, collects, seed: 1 };
                let (came, auto) = soak.refused(Limit::Adaptive, 3600.0);
                let (_, fixed) = soak.refused(Limit::Fixed(100), 3600.0);
                println!("| {} | {came} | {auto} | {fixed} |", soak.told());
            }
        }
    }
}
