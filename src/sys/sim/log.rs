//! What the operator would read: `world::messages`.
use super::kernel;
use crate::mem::record_ring::RecordRing;
use crate::mem::time::Micros;
use std::fmt;

pub use crate::sys::linux::log::Level;

/// See `linux::log`.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    write(level, text);
}

/// See `linux::log`.
pub fn reply(level: Level, text: fmt::Arguments<'_>) {
    write(level, text);
}

/// See `linux::log`.
pub fn write_about(level: Level, subject: &str, text: fmt::Arguments<'_>) {
    write(level, format_args!("{subject}{text}"));
}

/// See `linux::log`. Nothing is left out.
pub fn tick(_now: Micros) -> Option<Micros> {
    None
}

/// See `linux::log`. Nothing is dropped.
pub fn take_dropped() -> u64 {
    0
}

/// See `linux::log`.
pub fn dropped() -> u64 {
    0
}

/// See `linux::log`. Nothing is kept.
pub fn keep_in(_ring: RecordRing) {}

/// See `linux::log`.
pub fn never_wait() {}

/// See `linux::log`.
pub fn limit_with_workers() {}

/// See `linux::log`.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    kernel::with(|kernel| kernel.messages.push((level, text.to_string())));
}
