//! The `httplb` program.

use std::process::ExitCode;

use httplb::config::{self, Overrides};

fn main() -> ExitCode {
    let path = std::env::args().nth(2).unwrap_or_default();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let config = config::load(&text, &Overrides::default()).map_err(|errors| eprintln!("{errors:?}"));
    match config.map(|config| httplb::worker::run(&config)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}
