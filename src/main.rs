//! The `httplb` program.
fn main() {}
