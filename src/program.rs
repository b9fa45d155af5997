//! The program from its command line to its exit status: what the command line asks for, or what the
//! process before this one handed over.

use std::process::ExitCode;

use crate::cli::{self, CliAction, EXIT_CONFIG, EXIT_FAILED, fail};
use crate::config::Config;
use crate::master::inherited::{self, Inherited};
use crate::master::record::ServiceRecord;
use crate::master::{self, cpus, preflight, warnings};
use crate::proxy::settings;
use crate::sys;

/// Runs the process that was started, as the master of a service or for an answer on the command line.
pub fn run() -> ExitCode {
    sys::ignore_file_size_signal();
    let mut parser = lexopt::Parser::from_env();
    if let Some(client) = cli::client(&mut parser) {
        return client(parser);
    }
    let inherited = inherited::receive();
    match cli::run(memory_bound) {
        CliAction::Exit(status) => status,
        CliAction::Tested(file) => {
            warnings::tell(&file);
            tested(inherited, &file.config)
        }
        CliAction::Dumped(file) => {
            warnings::tell(&file);
            cli::dump(&file.config)
        }
        CliAction::Serve(loaded) => match (inherited, loaded.file) {
            (Inherited::Broken(error), _) => fail(EXIT_FAILED, &format!("handover: {error}")),
            (Inherited::Service(bytes), file) => match ServiceRecord::parse(&bytes) {
                Ok(record) => master::resume(file, loaded.is_standard_input, record),
                Err(error) => fail(EXIT_FAILED, &format!("handover: {error}")),
            },
            (_, Err(message)) => fail(EXIT_CONFIG, &message),
            (Inherited::Sockets(sockets), Ok(file)) => {
                master::start(file, loaded.is_standard_input, sockets)
            }
            (Inherited::Nothing | Inherited::Trial(..), Ok(file)) => {
                master::start(file, loaded.is_standard_input, Vec::new())
            }
        },
    }
}

/// What is left to do once a configuration is found to be valid.
fn tested(inherited: Inherited, config: &Config) -> ExitCode {
    match inherited {
        Inherited::Trial(to, held) => match preflight::answer(to, &held, config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(EXIT_FAILED, &error.to_string()),
        },
        Inherited::Nothing
        | Inherited::Sockets(_)
        | Inherited::Service(_)
        | Inherited::Broken(_) => ExitCode::SUCCESS,
    }
}

fn memory_bound(config: &Config) -> String {
    settings::memory_bound_line(config, cpus::workers(config.workers))
}
