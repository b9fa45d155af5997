//! Scenarios: each a sentence about what the program does.

mod bodies;
mod cache;
mod clients;
mod counts;
mod explained;
mod fin;
mod held;
mod identity;
mod limits;
mod multiplexed;
mod order;
mod preambles;
mod repeats;
mod sharing;
mod slow_start;
mod sticky;
mod timers;
mod unix;
mod uploads;
mod workers;
