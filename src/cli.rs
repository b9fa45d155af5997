//! The command line: options to a [`CliCommand`], and what needs no network: showing help, testing
//! and dumping the configuration, saying what is wrong.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;

mod explain;

use crate::config::text::{meant, quote};
use crate::config::{
    self, Config, ConfigError, ConfigFile, DEFAULT_FILE, Listen, Overrides, Workers, Wrong,
    address, named, overlap, overlapping, units,
};
use crate::ctl;
use crate::policy::explain::Question;
use crate::sys::log::{self, Level};
use explain::Asked;

/// The version, with the commit when built from a checkout.
pub const VERSION: &str = env!("HTTPLB_VERSION");

/// Exit status: could not start or go on.
pub const EXIT_FAILED: u8 = 1;
/// Exit status: wrong command line.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: configuration not valid; `EX_CONFIG` of sysexits(3).
pub const EXIT_CONFIG: u8 = 78;

/// Bytes of the largest file that is read. Who names a device by mistake must not fill the memory.
const LARGEST_FILE: u64 = 16 << 20;

const HELP: &str = "\
Usage: httplb [-c FILE] [-l ADDR]... [-b ADDR]... [-w N] [--health-path PATH]
              [--health-interval DUR] [FILE]
       httplb -t | -T [-c FILE] ...
       httplb --explain 'GET http://host/path' [-H 'Name: value']... [-c FILE] ...
       httplb ctl COMMAND ...    (httplb ctl --help lists them)
       httplb top

An HTTP/1.1 load balancer.

  -c, --config FILE        configuration, default /etc/httplb/servers.conf; - is standard input
  -l, --listen ADDR        replaces listen; repeatable; IP:PORT, :80 for all addresses, unix:PATH
  -b, --backend ADDR       replaces backend_servers; repeatable; IP:PORT, NAME:PORT or unix:PATH;
                           with it no file is needed
  -w, --workers N          replaces workers
  --health-path PATH       replaces health_check.path; http://host/path sets the host too
  --health-interval DUR    replaces health_check.interval, such as 5s or 500ms
  -t, --test               check everything, print every error, every warning and the
                           memory bound, exit
  -T, --dump               -t, then the effective configuration as JSON on standard output
  --explain REQUEST        say how one request would be handled: 'GET http://host/path'
  -H 'NAME: VALUE'         a header line of that request; repeatable
  -V, --version            print the version
  -h, --help               print this

Stops gracefully on TERM and QUIT, at once on INT. See httplb(8) and servers.conf(5).
";

/// The long options, for guessing what was meant.
const LONG_OPTIONS: [&str; 11] = [
    "config",
    "listen",
    "backend",
    "workers",
    "health-path",
    "health-interval",
    "explain",
    "test",
    "dump",
    "version",
    "help",
];

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum CliCommand {
    /// Carry traffic.
    Serve(ConfigSource),
    /// Check the configuration.
    Test(ConfigSource),
    /// Check the configuration and show it with every default.
    Dump(ConfigSource),
    /// Say how a request would be handled.
    Explain(ConfigSource, Question),
    /// Show the version.
    ShowVersion,
    /// Show the options.
    ShowHelp,
}

/// Where the configuration comes from.
#[derive(Debug, PartialEq)]
pub struct ConfigSource {
    /// The text.
    pub input: Input,
    /// What goes before the text.
    pub overrides: Overrides,
}

/// Where the text of the configuration comes from.
#[derive(Debug, PartialEq)]
pub enum Input {
    /// From a file.
    File(PathBuf),
    /// From standard input.
    Standard,
    /// From nowhere: the backends stand on the command line, and that is enough.
    Nothing,
}

/// What is left to do after `run`.
#[derive(Debug)]
pub enum CliAction {
    /// To exit with this status: 0, 1, 2 or 78.
    Exit(ExitCode),
    /// The configuration was tested and is valid. What else there is to find out about it is not
    /// the command line's.
    Tested(Box<ConfigFile>),
    /// The same, and it is to be shown.
    Dumped(Box<ConfigFile>),
    /// To carry traffic.
    Serve(Box<Loaded>),
}

/// A configuration that is to be served, as far as it could be read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or the message with every error.
    pub file: Result<ConfigFile, String>,
    /// It came from standard input, which can be read once.
    pub is_standard_input: bool,
}

/// What does the first word of the command line, where that is one of a client of a service that
/// runs. Whoever has a configuration of that name writes `./ctl`.
pub fn client(parser: &mut lexopt::Parser) -> Option<fn(lexopt::Parser) -> ExitCode> {
    let mut words = parser.try_raw_args()?;
    let client = match words.peek()?.to_str()? {
        "ctl" => ctl::run,
        "top" => ctl::top::run,
        _ => return None,
    };
    words.next();
    Some(client)
}

/// Does what the command line of this process asks for, as far as that needs no network;
/// `memory_bound` says how much memory serving may take, such as `memory bound 1056 MiB = ...`.
pub fn run(memory_bound: fn(&Config) -> String) -> CliAction {
    let command = match parse(lexopt::Parser::from_env()) {
        Ok(command) => command,
        Err(message) => return CliAction::Exit(fail(EXIT_USAGE, &message)),
    };
    let (source, dump) = match command {
        CliCommand::ShowHelp => return CliAction::Exit(print(HELP)),
        CliCommand::ShowVersion => return CliAction::Exit(print(&format!("httplb {VERSION}\n"))),
        CliCommand::Serve(source) => {
            return CliAction::Serve(Box::new(Loaded {
                file: load(&source),
                is_standard_input: source.input == Input::Standard,
            }));
        }
        CliCommand::Explain(source, question) => {
            return CliAction::Exit(match load(&source) {
                Ok(file) => print(&explain::answer(&question, &file.config)),
                Err(message) => fail(EXIT_CONFIG, &message),
            });
        }
        CliCommand::Test(source) => (source, false),
        CliCommand::Dump(source) => (source, true),
    };
    match load(&source) {
        Ok(file) => {
            log::write(Level::Info, format_args!("{} is valid", source.input.name()));
            log::write(Level::Info, format_args!("{}", memory_bound(&file.config)));
            let file = Box::new(file);
            if dump { CliAction::Dumped(file) } else { CliAction::Tested(file) }
        }
        Err(message) => CliAction::Exit(fail(EXIT_CONFIG, &message)),
    }
}

/// Reads the options. The first mistake ends it, and is the message.
fn parse(mut parser: lexopt::Parser) -> Result<CliCommand, String> {
    let (mut test, mut dump) = (false, false);
    let mut file: Option<OsString> = None;
    let mut overrides = Overrides::default();
    let mut asked = Asked::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(CliCommand::ShowHelp),
            Short('V') | Long("version") => return Ok(CliCommand::ShowVersion),
            Short('t') | Long("test") => test = true,
            Short('T') | Long("dump") => dump = true,
            Short('c') | Long("config") => set_file(&mut file, parser.value().map_err(usage)?)?,
            Value(operand) => set_file(&mut file, operand)?,
            Short('l') | Long("listen") => {
                let text = text(&mut parser)?;
                add_listen(&mut overrides, &text).map_err(|wrong| format!("--listen: {wrong}"))?;
            }
            Short('b') | Long("backend") => {
                let text = text(&mut parser)?;
                add_backend(&mut overrides, &text)
                    .map_err(|wrong| format!("--backend: {wrong}"))?;
            }
            Short('w') | Long("workers") => {
                overrides.workers = Some(workers(&text(&mut parser)?)?);
            }
            Long("health-path") => {
                let url = config::check_url(&text(&mut parser)?)
                    .map_err(|wrong| format!("--health-path: {wrong}"))?;
                overrides.health_url = Some(url);
            }
            Long("health-interval") => {
                let interval = config::check_interval(&text(&mut parser)?)
                    .map_err(|wrong| format!("--health-interval: {wrong}"))?;
                overrides.health_interval = Some(interval);
            }
            Long("explain") => asked.set_request(text(&mut parser)?)?,
            Short('H') => asked.add_field(text(&mut parser)?)?,
            Short(letter) => return Err(unknown_letter(letter)),
            Long(name) => return Err(unknown_name(name)),
        }
    }
    let input = match file {
        Some(path) if path == "-" => Input::Standard,
        Some(path) => Input::File(PathBuf::from(path)),
        None if !overrides.name_backends() => Input::File(PathBuf::from(DEFAULT_FILE)),
        None => Input::Nothing,
    };
    let source = ConfigSource { input, overrides };
    Ok(match (asked.question()?, dump, test) {
        (Some(question), _, _) => CliCommand::Explain(source, question),
        (None, true, _) => CliCommand::Dump(source),
        (None, false, true) => CliCommand::Test(source),
        (None, false, false) => CliCommand::Serve(source),
    })
}

fn usage(error: lexopt::Error) -> String {
    format!("{error} (see \"httplb --help\")")
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(usage)
}

fn set_file(file: &mut Option<OsString>, path: OsString) -> Result<(), String> {
    match file.replace(path) {
        None => Ok(()),
        Some(_) => Err(String::from("more than one configuration file (name it once)")),
    }
}

fn add_listen(overrides: &mut Overrides, text: &str) -> Result<(), Wrong> {
    let added = Listen::on(address::listen(text)?);
    if let Some(earlier) = overrides.listen.iter().find(|earlier| overlap(earlier, &added)) {
        return Err(overlapping(earlier, &added));
    }
    overrides.listen.push(added);
    Ok(())
}

fn add_backend(overrides: &mut Overrides, text: &str) -> Result<(), Wrong> {
    let is_known = match named::host_and_port(text) {
        Some(lookup) => {
            let is_known = overrides.names.contains(&lookup);
            overrides.names.push(lookup);
            is_known
        }
        None => {
            let wrong = |other| named::what_is_wrong(text).unwrap_or(other);
            let added = address::backend(text).map_err(wrong)?;
            let is_known = overrides.backends.contains(&added);
            overrides.backends.push(added);
            is_known
        }
    };
    if is_known {
        let fault = format!("{} is named twice", quote(text));
        return Err(Wrong { fault, remedy: String::from("remove one") });
    }
    Ok(())
}

fn workers(text: &str) -> Result<Workers, String> {
    match units::whole(text) {
        _ if text == "auto" => Ok(Workers::Auto),
        Some(count @ 1..=256) => Ok(Workers::Count(count as u16)),
        Some(_) => Err(format!("--workers: {} is out of range (write 1 to 256)", quote(text))),
        None => {
            let remedy = "write 1 to 256 or \"auto\"";
            Err(format!("--workers: {} is not a number of workers ({remedy})", quote(text)))
        }
    }
}

fn unknown_letter(letter: char) -> String {
    let other_case = if letter.is_lowercase() {
        letter.to_ascii_uppercase()
    } else {
        letter.to_ascii_lowercase()
    };
    let option = quote(&format!("-{letter}"));
    if "clbwtTHVh".contains(other_case) {
        format!("unknown option {option} (did you mean \"-{other_case}\"?)")
    } else {
        format!("unknown option {option} (\"-h\" lists all)")
    }
}

fn unknown_name(name: &str) -> String {
    let option = quote(&format!("--{name}"));
    match meant(name, &LONG_OPTIONS) {
        Some(meant) => format!("unknown option {option} (did you mean \"--{meant}\"?)"),
        None => format!("unknown option {option} (\"--help\" lists all)"),
    }
}

impl Input {
    /// As a message calls it.
    fn name(&self) -> String {
        match self {
            Input::File(path) => path.display().to_string(),
            Input::Standard => String::from("standard input"),
            Input::Nothing => String::from("the command line"),
        }
    }

    /// The whole text as bytes.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Input::File(path) => {
                File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
            }
            Input::Standard => {
                io::stdin().lock().take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
            }
            Input::Nothing => bytes.extend_from_slice(b"{}"),
        }
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(bytes)
    }
}

/// Reads and checks the configuration. The message of a failure has every error.
fn load(source: &ConfigSource) -> Result<ConfigFile, String> {
    let name = source.input.name();
    let bytes = source.input.read().map_err(|error| unreadable(&name, &error))?;
    let loaded = match std::str::from_utf8(&bytes) {
        Ok(text) => config::load_with(text, &source.overrides, &read_file),
        Err(error) => {
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            Err(vec![config::json::not_utf8(valid, rest)])
        }
    };
    loaded.map_err(|errors| summary(&name, &errors))
}

fn unreadable(name: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let cause = text.split(" (os error").next().unwrap_or_default();
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => " (name a file with -c, or each backend with -b)",
        _ => "",
    };
    format!("cannot read {name}: {cause}{remedy}; nothing was changed")
}

/// Reads a file that the configuration names. What is no file is not waited for.
fn read_file(path: &Path, most: u64) -> Result<String, Wrong> {
    let shown = quote(&path.display().to_string());
    let wrong = |fault: &str, remedy: &str| {
        Err(Wrong { fault: format!("{shown} {fault}"), remedy: String::from(remedy) })
    };
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return wrong("is not a file", "name a file"),
        Ok(_) | Err(_) => (),
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > most => {
            let most = units::write_size(most);
            wrong(&format!("is larger than {most}"), "make it smaller")
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => wrong("is not UTF-8, as which it is sent", "save it as UTF-8"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            wrong("is not there", "make it, or remove the key")
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            wrong("may not be read", "let the user of the service read it")
        }
        Err(error) => wrong(&format!("cannot be read: {error}"), "name another file"),
    }
}

fn summary(name: &str, errors: &[ConfigError]) -> String {
    let plural = if errors.len() == 1 { "" } else { "s" };
    let mut text = format!("{name} has {} error{plural}; nothing was changed", errors.len());
    for error in errors {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {error}");
    }
    text
}

/// Shows a configuration with every default.
pub fn dump(config: &Config) -> ExitCode {
    print(&format!("{}\n", config.dump()))
}

fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &format!("cannot write to standard output: {error}")),
    }
}

/// Writes a message, and gives the status to exit with.
pub fn fail(status: u8, message: &str) -> ExitCode {
    log::write(Level::Error, format_args!("{message}"));
    ExitCode::from(status)
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
