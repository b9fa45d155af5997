//! `httplb top`: the status page in a terminal, each second, and the keys that steer.

mod keys;
mod model;
mod view;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::mem::time::{Micros, Millis};
use crate::sys::{IoError, Poller, Signal, Signals, Terminal, Tried, clock};

use super::client::{Call, Server, encoded};
use super::{EXIT_USAGE, NotDone, diary, exit, fail, not_found, options, print, refusal, target};
use keys::Key;
use model::{Model, Order};
use view::{Looks, ScreenNote};

/// The service is asked so often.
const INTERVAL: Micros = Micros::from_secs(1);
/// The size of the terminal is looked at so often.
const LOOK: Millis = Millis(250);
/// An answer that takes longer than this is none.
const PATIENCE: Millis = Millis(2_000);
/// A service that does not answer for so long is gone; a restart is shorter.
const LOST: Micros = Micros::from_secs(5);
/// What came of a change is shown for so long.
const SAID: Micros = Micros::from_secs(4);
/// Lines that a page of keys moves.
const PAGE: isize = 10;
/// So many events are asked for.
const EVENTS: &str = "/v1/events?n=20";

/// What is watched.
const KEYS: u64 = 0;
const SIGNALS: u64 = 1;

/// Does what stands behind `top` on the command line.
pub fn run(parser: lexopt::Parser) -> ExitCode {
    let server = match options::parse_top(parser) {
        Ok(Some(server)) => server,
        Ok(None) => return exit(print(options::HELP)),
        Err(message) => return fail(EXIT_USAGE, &format!("top: {message}")),
    };
    if !Terminal::is_there() {
        return fail(EXIT_USAGE, "top: this is no terminal (\"httplb ctl pools\" prints once)");
    }
    let server = match target::find(&server) {
        Ok(server) => server,
        Err(unfound) => return not_found("top", &unfound),
    };
    // Before the terminal is taken: what is wrong now is better said on it as it is.
    let mut top = Top::new(server);
    if let Err(message) = top.ask() {
        return fail(1, &message);
    }
    exit(top.show().map_err(NotDone::Because))
}

/// What is to be changed once the question is answered with yes.
struct Question {
    backend: (String, String),
    state: &'static str,
}

struct Top {
    server: Server,
    model: Model,
    question: Option<Question>,
    /// What came of a change, and until when it is shown.
    said: Option<(String, Micros)>,
    /// Why the service does not answer, and since when.
    lost: Option<(String, Micros)>,
    next: Micros,
}

impl Top {
    fn new(server: Server) -> Top {
        let next = clock::now() + INTERVAL;
        Top { server, model: Model::new(), question: None, said: None, lost: None, next }
    }

    /// Shows it until a key, a signal or the end of the service ends it.
    fn show(&mut self) -> Result<(), String> {
        let failed = |error: IoError| format!("top: {}", error.when(Tried::Descriptor));
        let signals = Signals::block_and_open().map_err(failed)?;
        let mut poller = Poller::new().map_err(failed)?;
        poller.watch_signals(&signals, SIGNALS).map_err(failed)?;
        let terminal = Terminal::open().map_err(failed)?;
        poller.watch_terminal(&terminal, KEYS).map_err(failed)?;
        let mut drawn = String::new();
        loop {
            if terminal.retake().map_err(failed)? {
                drawn.clear();
            }
            let screen = view::screen(&self.model, &self.note(), looks(&terminal));
            if screen != drawn {
                terminal.write(screen.as_bytes()).map_err(failed)?;
                drawn = screen;
            }
            poller.wait(Some(LOOK)).map_err(failed)?;
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::Term | Signal::Quit | Signal::Int | Signal::Hup => return Ok(()),
                    Signal::Usr1 | Signal::Usr2 | Signal::Chld => (),
                }
            }
            let mut typed = [0; 64];
            let count = terminal.read(&mut typed).map_err(failed)?;
            let has_key = poller.events().iter().any(|event| event.token == KEYS);
            if has_key && count == 0 {
                return Ok(()); // Its other end is closed.
            }
            for key in keys::read(&typed[..count]) {
                if key == Key::Quit {
                    return Ok(());
                }
                self.press(key);
            }
            self.ask_again()?;
        }
    }

    /// Asks, if it is time. The error is that the service is gone.
    fn ask_again(&mut self) -> Result<(), String> {
        let now = clock::now();
        self.said.take_if(|(_, until)| *until <= now);
        if now < self.next {
            return Ok(());
        }
        match self.ask() {
            Ok(()) => self.lost = None,
            Err(why) => {
                let since = self.lost.as_ref().map_or(now, |(_, since)| *since);
                if now >= since + LOST {
                    return Err(why);
                }
                self.lost = Some((why, since));
            }
        }
        self.next = clock::now() + INTERVAL;
        Ok(())
    }

    fn ask(&mut self) -> Result<(), String> {
        let status = self.get("/v1/status")?;
        let pools = self.get("/v1/pools")?;
        if self.model.events.is_some() {
            let call = Call { method: "GET", target: EVENTS, body: "", patience: PATIENCE };
            let reply = self.server.ask(&call)?;
            self.model.events = match reply.status {
                200 => Some(diary::in_order(&parsed(&reply.body)?)),
                _ => None,
            };
        }
        self.model.tell(status, &pools, clock::now());
        Ok(())
    }

    fn get(&self, target: &str) -> Result<Value, String> {
        let call = Call { method: "GET", target, body: "", patience: PATIENCE };
        let reply = self.server.ask(&call)?;
        match reply.status {
            200 => parsed(&reply.body),
            _ => Err(refusal(&call, &reply)),
        }
    }

    fn note(&self) -> ScreenNote {
        match (&self.question, &self.lost, &self.said) {
            (Some(question), _, _) => {
                let (pool, backend) = &question.backend;
                ScreenNote::Said(format!("{} {pool}/{backend}? y or n", question.state))
            }
            (None, Some((why, _)), _) => ScreenNote::Lost(why.clone()),
            (None, None, Some((said, _))) => ScreenNote::Said(said.clone()),
            (None, None, None) => ScreenNote::Keys,
        }
    }

    fn press(&mut self, key: Key) {
        if let Some(question) = self.question.take() {
            if key == Key::Letter('y') {
                let said = self.change(&question);
                self.said = Some((said, clock::now() + SAID));
                self.next = clock::now();
            }
            return;
        }
        match key {
            Key::Up => self.model.choose(-1),
            Key::Down => self.model.choose(1),
            Key::PageUp => self.model.choose(-PAGE),
            Key::PageDown => self.model.choose(PAGE),
            Key::Letter('t') => self.model.sort_by(Order::Trouble),
            Key::Letter('r') => self.model.sort_by(Order::Requests),
            Key::Letter('e') => self.model.sort_by(Order::Errors),
            Key::Letter('p') => self.model.sort_by(Order::P99),
            Key::Letter('d') => self.would("drain"),
            Key::Letter('u') => self.would("ready"),
            Key::Letter('m') => self.would("maint"),
            Key::Letter(_) | Key::Other | Key::Quit => (),
        }
    }

    fn would(&mut self, state: &'static str) {
        let chosen = self.model.chosen.clone();
        self.question = chosen.map(|backend| Question { backend, state });
    }

    /// What came of a change.
    fn change(&self, question: &Question) -> String {
        let (pool, backend) = &question.backend;
        let target = format!("/v1/pools/{}/backends/{}", encoded(pool), encoded(backend));
        let body = json!({ "state": question.state }).to_string();
        let call = Call { method: "PATCH", target: &target, body: &body, patience: PATIENCE };
        match self.server.ask(&call) {
            Ok(reply) if reply.status == 200 => format!("{pool}/{backend}: {}", question.state),
            Ok(reply) => refusal(&call, &reply),
            Err(message) => message,
        }
    }
}

fn parsed(body: &str) -> Result<Value, String> {
    serde_json::from_str(body)
        .map_err(|_| String::from("the answer is no JSON: is this httplb's admin API?"))
}

/// What the terminal can do, as far as the environment tells.
fn looks(terminal: &Terminal) -> Looks {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    Looks {
        size: terminal.size().unwrap_or((80, 24)),
        coloured: variable("NO_COLOR").is_none(),
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
    }
}
