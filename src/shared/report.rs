//! Messages about backends: written once, by the process that made the change.

use crate::policy::health::{Change, HealthEvent};
use crate::sys::log::{self, Level};

use super::layout::BackendId;
use super::segment::Segment;

/// What an event says of the backend, as the reason of a change.
pub fn reason(event: HealthEvent) -> &'static str {
    match event {
        HealthEvent::ConnectFailed => "connections are refused or time out",
        HealthEvent::ResponseTimedOut => "it does not answer in time",
        HealthEvent::ProbeFailed => "it cannot be connected to",
        HealthEvent::Answered => "it answers",
        HealthEvent::ProbeSucceeded => "it takes connections",
    }
}

/// Tells the operator that a backend is up or down from now on.
pub fn log_change(segment: &Segment, slot: BackendId, change: Change, reason: &str) {
    let backend = segment.backend(slot);
    let (up, count) = segment.count_up(backend.pool());
    let (level, change) = match change {
        Change::Down if up == 0 => (Level::Error, "down"), // Nobody is left to answer.
        Change::Down => (Level::Warning, "down"),
        Change::Up => (Level::Notice, "up"),
    };
    log::write(
        level,
        format_args!(
            "pool {}: backend {} is {change}: {reason}; {up}/{count} backends up",
            segment.pool(backend.pool()).name(),
            backend.address(),
        ),
    );
}
