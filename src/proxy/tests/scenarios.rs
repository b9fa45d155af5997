//! Scenarios: each a sentence about what the program does.

mod adaptive;
mod bodies;
mod cache;
mod clients;
mod counts;
mod evacuation;
mod explained;
mod fin;
mod held;
mod identity;
mod limits;
mod marks;
mod multiplexed;
mod order;
mod own_pages;
mod preambles;
mod repeats;
mod sharing;
mod slow_start;
mod sticky;
mod timers;
mod unix;
mod uploads;
mod workers;
