//! Scenarios: the rules of the contract, each as a sentence about the program.

mod bodies;
mod clients;
mod limits;
mod order;
mod preambles;
mod repeats;
mod timers;
