//! The `httplb` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    httplb::run()
}
