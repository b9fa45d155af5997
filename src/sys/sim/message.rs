//! What the operator would read: `world::messages`.
use super::kernel;
use std::fmt;

pub use crate::sys::linux::message::Level;

/// See `linux::message`.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    log(level, text);
}

/// See `linux::message`.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    kernel::with(|kernel| kernel.messages.push((level, text.to_string())));
}
