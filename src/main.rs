//! The `httplb` program.

use std::process::ExitCode;

use httplb::proxy::settings::memory_bound_line;
use httplb::sys::message::{self, Level};
use httplb::{cli, worker};

fn main() -> ExitCode {
    cli::run(memory_bound_line, |config| match worker::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            message::log(Level::Error, format_args!("{error}"));
            ExitCode::FAILURE
        }
    })
}
