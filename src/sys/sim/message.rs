//! What the operator would read: `world::messages`.
use super::kernel;
use crate::mem::time::Micros;
use std::fmt;

pub use crate::sys::linux::message::Level;

/// See `linux::message`.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    log(level, text);
}

/// See `linux::message`.
pub fn reply(level: Level, text: fmt::Arguments<'_>) {
    log(level, text);
}

/// See `linux::message`.
pub fn log_about(level: Level, subject: &str, text: fmt::Arguments<'_>) {
    log(level, format_args!("{subject}{text}"));
}

/// See `linux::message`. Nothing is left out.
pub fn tick(_now: Micros) -> Option<Micros> {
    None
}

/// See `linux::message`. Nothing is dropped.
pub fn take_dropped() -> u64 {
    0
}

/// See `linux::message`.
pub fn dropped() -> u64 {
    0
}

/// See `linux::message`.
pub fn never_wait() {}

/// See `linux::message`.
pub fn limit_with_workers() {}

/// See `linux::message`.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    kernel::with(|kernel| kernel.messages.push((level, text.to_string())));
}
