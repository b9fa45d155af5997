//! What stands behind `httplb ctl` and `httplb top` on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::config::text::{self, quote};
use crate::config::units;

/// The options and commands, for `--help`.
pub const HELP: &str = "\
Usage: httplb ctl [--socket PATH | --url URL --token-file FILE | -c FILE] [--json] COMMAND ...
       httplb top [--socket PATH | --url URL --token-file FILE | -c FILE]

Looks at a service that runs, and steers it, by its admin socket.

  status                    the service: connections, requests, errors, times
  pools [POOL]              every backend: its state, and why
  drain|ready|maint POOL/BACKEND
                            drain: only its sticky clients' requests; ready: in use again;
                            maint: no requests, those that wait there are moved
  weight POOL/BACKEND N     its share, 1 to 256
  remove POOL/BACKEND       takes out one that has registered, once its requests have ended
  names                     backends by name: what was found, and when
  registry                  the registry: whether it is there, and who uses it
  events [-f] [-n N]        what the journal was told
  errors [-f] [-n N]        the last requests that failed
  slow [-n N]               the slowest requests of the last ten minutes
  explain 'GET URL' [-H 'Name: value']...
                            how that request would be handled now
  purge URL | --prefix URL  forgets stored responses
  withdraw, restore         make /healthz say 503 (or 200 again), so that load balancers and DNS
                            send clients elsewhere; all requests are still served
  reload                    the configuration and the program on disk; waits for the outcome

  --socket PATH             the admin socket; without it that of the configuration
  -c, --config FILE         the configuration, default /etc/httplb/servers.conf
  --url URL                 the admin API over TCP, http://HOST:PORT
  --token-file FILE         the file with its token
  --json                    prints what the API answers
  -f, --follow              goes on, with what is new
  -n, --lines N             so many, 1 to 256
  -h, --help                print this

POOL/ may be left out where one pool alone has that backend. Ends with 0 if it was done, 1 if it was
refused or nobody answers, 2 if the command line is wrong. See httplb(8).
";

/// The commands, for guessing what was meant.
const COMMANDS: [&str; 17] = [
    "status", "pools", "drain", "ready", "maint", "weight", "remove", "names", "registry",
    "events", "errors", "slow", "explain", "purge", "withdraw", "restore", "reload",
];

/// Words of other programs, and what does the same here.
const ELSEWHERE: [(&str, &str); 14] = [
    ("backends", "pools"),
    ("delete", "remove"),
    ("disable", "maint"),
    ("down", "maint"),
    ("enable", "ready"),
    ("info", "status"),
    ("list", "pools"),
    ("log", "events"),
    ("restart", "reload"),
    ("servers", "pools"),
    ("show", "status"),
    ("stat", "status"),
    ("undrain", "ready"),
    ("up", "ready"),
];

/// So many events, errors or slow requests are shown unless another number is asked for.
const LINES: u32 = 50;
/// So many are kept by the service.
const MOST_LINES: u32 = 256;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Of which service.
    pub server: ServerOption,
    /// As JSON.
    pub json: bool,
    /// What.
    pub command: CtlCommand,
}

/// How the command line names the service.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerOption {
    /// By its configuration; the usual one unless a file is named.
    Config(Option<PathBuf>),
    /// By its admin socket.
    Socket(String),
    /// By a URL, with the file of a token.
    Url(String, PathBuf),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CtlCommand {
    /// To show the options.
    Help,
    /// To show the service.
    Status,
    /// To show all pools, or one.
    Pools(Option<String>),
    /// To set the state of a backend: `ready`, `drain` or `maint`.
    State(String, &'static str),
    /// To set its share.
    Weight(String, u32),
    /// To take a registered one out.
    Remove(String),
    /// To show what names were looked up.
    Names,
    /// To show the registry.
    Registry,
    /// To show the last of a diary.
    Diary(Diary, DiaryView),
    /// To say how a request would be handled.
    Explain {
        /// Its method.
        method: String,
        /// Its URL.
        url: String,
        /// Its header lines.
        fields: Vec<String>,
    },
    /// To forget what is stored of a URL.
    PurgeUrl(String),
    /// To forget what is stored of all URLs that begin so.
    PurgePrefix(String),
    /// To withdraw the service, or take that back.
    Withdraw(bool),
    /// To reload.
    Reload,
}

/// What the service writes down as it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diary {
    /// What the journal was told.
    Events,
    /// Requests that failed.
    Errors,
    /// Slow requests.
    Slow,
}

/// How much of a diary is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiaryView {
    /// The last so many.
    pub lines: u32,
    /// And then what is new.
    pub follow: bool,
}

/// The options as far as they were read.
#[derive(Default)]
struct Given {
    socket: Option<String>,
    url: Option<String>,
    token_file: Option<PathBuf>,
    config: Option<PathBuf>,
    json: bool,
    follow: bool,
    lines: Option<u32>,
    prefix: Option<String>,
    fields: Vec<String>,
    operands: Vec<String>,
}

/// Reads the command line behind `ctl`. The first mistake ends it, and is the message.
pub fn parse(parser: lexopt::Parser) -> Result<Invocation, String> {
    let Some(mut given) = read(parser)? else { return Ok(help()) };
    let server = given.server()?;
    let json = std::mem::take(&mut given.json);
    Ok(Invocation { server, json, command: given.command()? })
}

/// Reads the command line behind `top`. `None`: it asks for help.
pub fn parse_top(parser: lexopt::Parser) -> Result<Option<ServerOption>, String> {
    let Some(mut given) = read(parser)? else { return Ok(None) };
    let server = given.server()?;
    if let Some(operand) = given.operands.first() {
        return Err(format!("{}: top takes no command (see \"httplb ctl\")", quote(operand)));
    }
    if given.json {
        return Err(String::from("--json is not for \"top\" (\"httplb ctl --json pools\" is)"));
    }
    given.no_leftovers("top").map(|()| Some(server))
}

fn help() -> Invocation {
    Invocation { server: ServerOption::Config(None), json: false, command: CtlCommand::Help }
}

/// All options and operands; `None` if help is asked for.
fn read(mut parser: lexopt::Parser) -> Result<Option<Given>, String> {
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("socket") => once(&mut given.socket, "--socket", text(&mut parser)?)?,
            Long("url") => once(&mut given.url, "--url", text(&mut parser)?)?,
            Long("token-file") => once(&mut given.token_file, "--token-file", path(&mut parser)?)?,
            Short('c') | Long("config") => once(&mut given.config, "-c", path(&mut parser)?)?,
            Long("json") => given.json = true,
            Short('f') | Long("follow") => given.follow = true,
            Short('n') | Long("lines") => {
                let count = number("-n", &text(&mut parser)?, MOST_LINES)?;
                once(&mut given.lines, "-n", count)?;
            }
            Long("prefix") => once(&mut given.prefix, "--prefix", text(&mut parser)?)?,
            Short('H') => given.fields.push(field(text(&mut parser)?)?),
            Value(operand) => given.operands.push(operand.string().map_err(usage)?),
            Short(letter) => {
                let option = quote(&format!("-{letter}"));
                return Err(format!("unknown option {option} (see \"httplb ctl --help\")"));
            }
            Long(name) => return Err(unknown_option(name)),
        }
    }
    Ok(Some(given))
}

fn usage(error: lexopt::Error) -> String {
    format!("{error} (see \"httplb ctl --help\")")
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(usage)
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(|value: OsString| PathBuf::from(value)).map_err(usage)
}

fn once<T>(place: &mut Option<T>, option: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{option} is given twice (give it once)")),
    }
}

fn number(what: &str, text: &str, most: u32) -> Result<u32, String> {
    match units::whole(text) {
        Some(number @ 1..) if number <= most => Ok(number),
        Some(_) | None => Err(format!("{what}: {} is not right (write 1 to {most})", quote(text))),
    }
}

fn field(text: String) -> Result<String, String> {
    if text.contains(':') {
        return Ok(text);
    }
    Err(format!("-H: {} is not a header line (write \"Name: value\")", quote(&text)))
}

fn unknown_option(name: &str) -> String {
    let known =
        ["socket", "url", "token-file", "config", "json", "follow", "lines", "prefix", "help"];
    let option = quote(&format!("--{name}"));
    match text::meant(name, &known) {
        Some(meant) => format!("unknown option {option} (did you mean \"--{meant}\"?)"),
        None => format!("unknown option {option} (see \"httplb ctl --help\")"),
    }
}

fn unknown_command(word: &str) -> String {
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| word.eq_ignore_ascii_case(other));
    let meant = elsewhere.map(|(_, here)| *here).or_else(|| text::meant(word, &COMMANDS));
    match meant {
        Some(meant) => format!("unknown command {} (did you mean \"{meant}\"?)", quote(word)),
        None => {
            let nearest = text::nearest(word, &COMMANDS).unwrap_or("status");
            format!(
                "unknown command {} (the nearest is \"{nearest}\"; see \"httplb ctl --help\")",
                quote(word)
            )
        }
    }
}

impl Given {
    /// Which service is meant.
    fn server(&mut self) -> Result<ServerOption, String> {
        let named = [
            ("--socket", self.socket.is_some()),
            ("--url", self.url.is_some()),
            ("-c", self.config.is_some()),
        ];
        let named: Vec<&str> =
            named.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
        if let [one, other, ..] = named.as_slice() {
            return Err(format!("{one} and {other} both name the service (give one of them)"));
        }
        match (self.socket.take(), self.url.take(), self.token_file.take()) {
            (Some(path), _, None) => Ok(ServerOption::Socket(path)),
            (None, Some(url), Some(file)) => Ok(ServerOption::Url(url, file)),
            (None, Some(_), None) => {
                Err(String::from("--url without --token-file (add the file of admin.token_file)"))
            }
            (_, _, Some(_)) => Err(String::from("--token-file without --url (add it)")),
            (None, None, None) => Ok(ServerOption::Config(self.config.take())),
        }
    }

    /// What the operands ask for, with the options that go with it.
    fn command(mut self) -> Result<CtlCommand, String> {
        let mut operands = std::mem::take(&mut self.operands).into_iter();
        let Some(word) = operands.next() else {
            return Err(String::from(
                "no command (\"httplb ctl --help\" lists them; \"status\" is one)",
            ));
        };
        let mut operand = |what: &str| {
            operands
                .next()
                .ok_or_else(|| format!("{word}: {what} is missing (see \"httplb ctl --help\")"))
        };
        const BACKEND: &str = "POOL/BACKEND";
        let command = match word.as_str() {
            "status" => CtlCommand::Status,
            "pools" => CtlCommand::Pools(operand("").ok()),
            "drain" => CtlCommand::State(operand(BACKEND)?, "drain"),
            "ready" => CtlCommand::State(operand(BACKEND)?, "ready"),
            "maint" => CtlCommand::State(operand(BACKEND)?, "maint"),
            "weight" => {
                let backend = operand(BACKEND)?;
                CtlCommand::Weight(backend, number("weight", &operand("the weight")?, 256)?)
            }
            "remove" => CtlCommand::Remove(operand(BACKEND)?),
            "names" => CtlCommand::Names,
            "registry" => CtlCommand::Registry,
            "events" => CtlCommand::Diary(Diary::Events, self.diary_view()),
            "errors" => CtlCommand::Diary(Diary::Errors, self.diary_view()),
            "slow" => {
                let lines = self.lines.take().unwrap_or(LINES);
                CtlCommand::Diary(Diary::Slow, DiaryView { lines, follow: false })
            }
            "explain" => self.explain(&operand("'GET URL'")?)?,
            "purge" => match self.prefix.take() {
                Some(prefix) => CtlCommand::PurgePrefix(prefix),
                None => CtlCommand::PurgeUrl(operand("URL, or --prefix URL,")?),
            },
            "withdraw" => CtlCommand::Withdraw(true),
            "restore" => CtlCommand::Withdraw(false),
            "reload" => CtlCommand::Reload,
            other => return Err(unknown_command(other)),
        };
        if let Some(extra) = operands.next() {
            return Err(format!(
                "{word}: {} is too much (see \"httplb ctl --help\")",
                quote(&extra)
            ));
        }
        self.no_leftovers(&word).map(|()| command)
    }

    fn diary_view(&mut self) -> DiaryView {
        let lines = self.lines.take().unwrap_or(LINES);
        DiaryView { lines, follow: std::mem::take(&mut self.follow) }
    }

    fn explain(&mut self, request: &str) -> Result<CtlCommand, String> {
        let request = request.trim();
        let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
        if url.is_empty() {
            return Err(format!(
                "explain: {} names no URL (write \"GET http://host/path\")",
                quote(request)
            ));
        }
        let fields = std::mem::take(&mut self.fields);
        Ok(CtlCommand::Explain { method: method.to_owned(), url: url.trim().to_owned(), fields })
    }

    /// An option that was given and is not for this command.
    fn no_leftovers(&self, word: &str) -> Result<(), String> {
        let left = [
            ("-f", self.follow, "events and errors"),
            ("-n", self.lines.is_some(), "events, errors and slow"),
            ("--prefix", self.prefix.is_some(), "purge"),
            ("-H", !self.fields.is_empty(), "explain"),
        ];
        match left.iter().find(|(_, is_given, _)| *is_given) {
            Some((option, _, of)) => {
                Err(format!("{option} is not for {} (but for {of})", quote(word)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
