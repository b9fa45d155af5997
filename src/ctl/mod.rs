//! `httplb ctl`: looks at a service that runs, and steers it, as a client of its admin API.

mod by_signal;
mod change;
mod client;
mod diary;
mod options;
mod show;
mod target;
mod text;
pub mod top;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::config::text::quote;
use crate::mem::time::Millis;
use crate::sys::log::{self, Level};

use by_signal::ManagedService;
use client::{Call, Reply, Server, encoded};
use options::{CtlCommand, HELP, ServerOption};
use target::Unfound;

/// Exit status: wrong command line.
const EXIT_USAGE: u8 = 2;
/// What the service can say at once comes within this time.
const PATIENCE: Millis = Millis(10_000);

/// Why a command was not done.
#[derive(Debug)]
enum NotDone {
    /// For people, a line or more.
    Because(String),
    /// It was said already, as JSON.
    Told,
    /// Nobody reads what is written.
    Unread,
}

impl From<String> for NotDone {
    fn from(message: String) -> NotDone {
        NotDone::Because(message)
    }
}

/// What a command needs.
struct Session {
    server: Server,
    json: bool,
    /// Standard output is a terminal that may be coloured.
    coloured: bool,
}

/// Does what stands behind `ctl` on the command line.
pub fn run(parser: lexopt::Parser) -> ExitCode {
    let invocation = match options::parse(parser) {
        Ok(invocation) => invocation,
        Err(message) => return fail(EXIT_USAGE, &format!("ctl: {message}")),
    };
    if invocation.command == CtlCommand::Help {
        return exit(print(HELP));
    }
    if let (CtlCommand::Reload, ServerOption::Config(None)) =
        (&invocation.command, &invocation.server)
        && let Some(service) = ManagedService::of_this_unit()
    {
        return exit(
            service.reload().map_err(|why| NotDone::Because(format!("not reloaded: {why}"))),
        );
    }
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match target::find(&invocation.server) {
        Ok(server) => {
            exit(Session { server, json: invocation.json, coloured }.carry_out(invocation.command))
        }
        Err(unfound) => not_found("ctl", &unfound),
    }
}

fn not_found(command: &str, unfound: &Unfound) -> ExitCode {
    match unfound {
        Unfound::Misnamed(message) => fail(EXIT_USAGE, &format!("{command}: {message}")),
        Unfound::Unknown(message) => fail(1, message),
    }
}

fn exit(done: Result<(), NotDone>) -> ExitCode {
    match done {
        Ok(()) | Err(NotDone::Unread) => ExitCode::SUCCESS,
        Err(NotDone::Told) => ExitCode::FAILURE,
        Err(NotDone::Because(message)) => fail(1, &message),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    log::write(Level::Error, format_args!("{}", text::clean_lines(message)));
    ExitCode::from(status)
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), NotDone> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NotDone::Unread),
        Err(error) => Err(NotDone::Because(format!("cannot write to standard output: {error}"))),
    }
}

impl Session {
    fn carry_out(&self, command: CtlCommand) -> Result<(), NotDone> {
        match command {
            CtlCommand::Help => print(HELP),
            CtlCommand::Status => self.look("/v1/status", show::status),
            CtlCommand::Pools(None) => self.look("/v1/pools", show::pools),
            CtlCommand::Pools(Some(pool)) => {
                self.look(&format!("/v1/pools/{}", encoded(&pool)), show::pools)
            }
            CtlCommand::Names => self.look("/v1/names", show::names),
            CtlCommand::Registry => self.look("/v1/registry", show::registry),
            CtlCommand::Diary(diary, view) => self.read_diary(diary, view),
            CtlCommand::Explain { method, url, fields } => {
                let mut target =
                    format!("/v1/explain?method={}&url={}", encoded(&method), encoded(&url));
                fields.iter().for_each(|field| target.push_str(&format!("&h={}", encoded(field))));
                self.look(&target, |answer, _| show::tree(answer))
            }
            CtlCommand::State(backend, state) => self.set_state(&backend, state),
            CtlCommand::Weight(backend, weight) => self.set_weight(&backend, weight),
            CtlCommand::Remove(backend) => self.remove(&backend),
            CtlCommand::PurgeUrl(url) => self.purge("url", &url),
            CtlCommand::PurgePrefix(prefix) => self.purge("prefix", &prefix),
            CtlCommand::Withdraw(withdrawn) => self.withdraw(withdrawn),
            CtlCommand::Reload => self.reload(),
        }
    }

    /// Gets what is at `target`, and prints it.
    fn look(&self, target: &str, show: impl Fn(&Value, bool) -> String) -> Result<(), NotDone> {
        let reply = self.ask(&Call { method: "GET", target, body: "", patience: PATIENCE })?;
        self.print_answer(&reply, |answer| show(answer, self.coloured))
    }

    /// Asks for what has to succeed.
    fn ask(&self, call: &Call) -> Result<Reply, NotDone> {
        let reply = self.server.ask(call)?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        if self.json && reply.status != 401 && serde_json::from_str::<Value>(&reply.body).is_ok() {
            print(&text::clean_json(&reply.body))?;
            return Err(NotDone::Told);
        }
        Err(NotDone::Because(refusal(call, &reply)))
    }

    /// Prints an answer: as it is, or as `show` has it.
    fn print_answer(
        &self,
        reply: &Reply,
        show: impl FnOnce(&Value) -> String,
    ) -> Result<(), NotDone> {
        if self.json {
            return print(&text::clean_json(&reply.body));
        }
        print(&show(&answer(reply)?))
    }
}

fn answer(reply: &Reply) -> Result<Value, NotDone> {
    serde_json::from_str(&reply.body).map_err(|_| {
        NotDone::Because(String::from("the answer is no JSON: is this httplb's admin API?"))
    })
}

/// Why the service does not do what was asked: all that it says of that.
fn refusal(call: &Call, reply: &Reply) -> String {
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let error = answer["error"].as_str().unwrap_or_default();
    let path = call.target.split('?').next().unwrap_or_default();
    if reply.status == 404 && error.starts_with(&format!("there is no {}", quote(path))) {
        return match path {
            // Each version has these.
            "/v1/status" | "/v1/pools" => String::from(
                "this is not the admin API, but what status_listen shows (name the address of admin.listen)",
            ),
            _ => format!(
                "the service has no {path}: its version does not tell that (reload it behind an upgrade)"
            ),
        };
    }
    let mut message = match error {
        "" => format!("the service answered with status {}", reply.status),
        error => text::clean(error).into_owned(),
    };
    for mistake in answer["errors"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if mistake != error {
            message.push_str(&format!("\n  {}", text::clean(mistake)));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_reasons() {
        let call = |target| Call { method: "GET", target, body: "", patience: PATIENCE };
        let told = |target: &'static str, status, body: &str| {
            refusal(&call(target), &Reply { status, body: body.to_owned() })
        };
        let body = r#"{"error":"2 errors","errors":["a\u001b[2J","b"]}"#;
        assert_eq!(told("/v1/reload", 422, body), "2 errors\n  a\\u001b[2J\n  b");
        assert_eq!(told("/v1/reload", 422, r#"{"error":"a","errors":["a"]}"#), "a");
        assert_eq!(told("/v1/x", 502, "<html>"), "the service answered with status 502");
        let body = r#"{"error":"there is no \"/v1/errors\" (see httplb(8))"}"#;
        assert!(
            told("/v1/errors?n=50", 404, body)
                .starts_with("the service has no /v1/errors: its version does not")
        );
        let body = r#"{"error":"there is no \"/v1/status\" (see httplb(8))"}"#;
        assert!(told("/v1/status", 404, body).starts_with("this is not the admin API"));
    }
}
