//! Before a reload: the program on disk is asked whether it could take over. It runs as
//! `httplb -t` with the arguments of this one, so that it checks the file on disk, and besides binds
//! the addresses that are not listened on yet. If all is well it answers in a file that
//! [`TRIAL`] names by its descriptor:
//!
//! ```text
//! HTTPLB_TRIAL=7 [::]:9000 127.0.0.1:0     the descriptor, and the addresses that are held
//! httplb handover 1                        the answer: the newest handover that it understands
//! ```
//!
//! What is no httplb does not give that answer, whatever else it does, and then nothing changes.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use crate::config::{Config, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::sys::process::{Ended, Pid};
use crate::sys::{IoError, Listener, LogFile, StartError, Tried, memory};

use super::environment::{self, TRIAL};
use super::record::FORMAT;
use super::{admin_sockets, listeners};

/// A program that has not answered by then never will.
const ANSWER_TIMEOUT: Millis = Millis::from_secs(10);
/// Lines of its messages that are passed on, at most.
const MOST_LINES: usize = 100;

/// Stands in a verdict for the path of the program.
pub const ITSELF: &str = "\u{0}";

/// What the answer begins with.
const ANSWER: &str = "httplb handover ";

/// Whether a program may take over: it has ended, with this answer and these messages. If not, why.
fn judge(ended: Ended, is_late: bool, answer: &str, errors: &str) -> Result<(), String> {
    if is_late {
        return Err(format!("{ITSELF}: it has not answered within {} s", ANSWER_TIMEOUT.0 / 1000));
    }
    if ended != Ended::Exited(0) {
        return Err(said(errors, ended));
    }
    let understood = answer.trim_end().strip_prefix(ANSWER).and_then(|number| number.parse().ok());
    match understood {
        None => {
            Err(format!("{ITSELF}: it is not an httplb that could take over (restart to use it)"))
        }
        Some(understood) if FORMAT > understood => Err(format!(
            "{ITSELF}: it is too old to take over: it understands handover {understood}, this one writes \
             {FORMAT} (restart to use it)"
        )),
        Some(_) => Ok(()),
    }
}

/// What its messages say, the reason first: the first of several mistakes, or else the last line;
/// then the others.
fn said(errors: &str, ended: Ended) -> String {
    let lines: Vec<&str> = errors
        .lines()
        .take(MOST_LINES)
        .map(|line| line.strip_prefix("httplb: ").unwrap_or(line))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let is_mistake = |line: &&str| line.starts_with("  ");
    let Some(place) = lines.iter().position(is_mistake).or(lines.len().checked_sub(1)) else {
        return format!("{ITSELF}: it {ended}; it said nothing");
    };
    let mut text = lines[place].trim().to_owned();
    let (mistakes, others): (Vec<&str>, Vec<&str>) =
        lines[place + 1..].iter().partition(|line| is_mistake(line));
    let ending = format!("{ITSELF}: it {ended}");
    let rest = mistakes.iter().chain(&lines[..place]).chain(&others).copied().chain([&*ending]);
    for line in rest {
        text.push_str("\n  ");
        text.push_str(line.trim());
    }
    text
}

/// What [`TRIAL`] says: a descriptor, and addresses.
pub fn parse(variable: &str) -> Option<(i32, Vec<Endpoint>)> {
    let mut words = variable.split(' ');
    let number = words.next()?.parse().ok()?;
    let address = |word: &str| word.replace("%20", " ").replace("%25", "%").parse();
    let held = words.map(address).collect::<Result<_, _>>().ok()?;
    Some((number, held))
}

/// A path may have blanks.
fn variable(number: i32, held: impl Iterator<Item = Endpoint>) -> String {
    let word = |address: Endpoint| address.to_string().replace('%', "%25").replace(' ', "%20");
    held.fold(number.to_string(), |text, address| format!("{text} {}", word(address)))
}

/// Variables that would make it speak to the service manager in our place, or in its manner.
const NOT_PASSED_ON: [&str; 4] =
    ["JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// A program that was asked, and has not answered yet.
pub struct Trial {
    /// Its process, and its process group.
    pub pid: Pid,
    /// When it is too late to answer.
    pub until: Micros,
    answer: OwnedFd,
    errors: OwnedFd,
    is_late: bool,
}

impl Trial {
    /// Asks the program at `path`, which is given `arguments` after `-t`, and told which
    /// addresses are `held`.
    pub fn start(
        path: &Path,
        arguments: &[OsString],
        held: impl Iterator<Item = Endpoint>,
        now: Micros,
    ) -> Result<Trial, IoError> {
        let (answer, errors) = (memory::scratch()?, memory::scratch()?);
        let copy = errors.try_clone().map_err(|_| IoError::Exhausted)?;
        let trial = OsString::from(variable(answer.as_raw_fd(), held));
        let passed_on = environment::for_others()
            .filter(|(name, _)| NOT_PASSED_ON.iter().all(|not| name != *not))
            .chain([(TRIAL.into(), trial)]);
        let test = OsString::from("-t");
        let arguments = [&test].into_iter().chain(arguments);
        let pid = crate::sys::spawn(path, arguments, passed_on, copy, answer.as_fd())?;
        let until = now + Micros::from(ANSWER_TIMEOUT);
        Ok(Trial { pid, until, answer, errors, is_late: false })
    }

    /// Gives up a program that has not answered in time: whatever it runs is killed, and its end is awaited.
    pub fn give_up(&mut self) {
        self.is_late = true;
        self.until = Micros(u64::MAX);
        self.kill();
    }

    /// Kills it with whatever it has started.
    pub fn kill(&self) {
        crate::sys::kill_group(self.pid);
    }

    /// Whether the program, which has ended, may take over, and if not, why.
    pub fn verdict(self, ended: Ended) -> Result<(), String> {
        self.kill(); // What it has left behind, if anything.
        let text = |file: &OwnedFd| {
            let bytes = memory::recall(file.as_fd()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        judge(ended, self.is_late, &text(&self.answer), &text(&self.errors))
    }
}

/// The other side: the configuration is valid, and whoever asked listens at `held`. Tries to
/// listen at the other addresses, and answers.
pub fn answer(to: OwnedFd, held: &[Endpoint], config: &Config) -> Result<(), StartError> {
    for wanted in config.listen.iter().filter(|wanted| !held.contains(&wanted.address)) {
        let tried = listeners::first(wanted, held.iter().copied(), None)?;
        if let Endpoint::Unix(path) = tried.address() {
            let _ = Listener::remove_file(&path); // Who takes over makes it anew.
        }
    }
    admin_sockets::try_out(config, held)?;
    let text = format!("{ANSWER}{FORMAT}\n");
    let failed = StartError::at("the answer", Tried::Talk);
    LogFile::from_fd(to).write(text.as_bytes()).map(|_| ()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Ended = Ended::Exited(0);
    const ANSWERED: &str = "httplb handover 1\n";

    #[test]
    fn who_answers_may_take_over() {
        assert_eq!(judge(WELL, false, ANSWERED, "httplb: a.conf is valid\n"), Ok(()));
        assert_eq!(judge(WELL, false, "httplb handover 7\n", ""), Ok(()));
    }

    #[test]
    fn what_is_no_httplb_may_not() {
        for answer in ["", "yes", "httplb handover ", "httplb handover x", "handover 1"] {
            let refused = judge(WELL, false, answer, "").unwrap_err();
            assert!(refused.contains(": it is not an httplb"), "{refused}");
        }
    }

    #[test]
    fn neither_may_one_that_is_older_than_what_is_written() {
        let refused = judge(WELL, false, "httplb handover 0", "").unwrap_err();
        assert!(refused.contains(": it is too old"), "{refused}");
    }

    #[test]
    fn the_mistakes_that_it_found_are_told() {
        let errors = "httplb: a doubt\nhttplb: a.conf has 2 errors; nothing was changed\n  listen: no\n  x: no\n";
        let refused = judge(Ended::Exited(78), false, "", errors).unwrap_err();
        let expected = "listen: no\n  x: no\n  a doubt\n  a.conf has 2 errors; nothing was changed\n  \
                        I: it exited with status 78";
        assert_eq!(refused.replace(ITSELF, "I"), expected);
        let errors = "httplb: a doubt\nhttplb: listen :80: taken\n";
        let refused = judge(Ended::Exited(1), false, "", errors).unwrap_err();
        let expected = "listen :80: taken\n  a doubt\n  I: it exited with status 1";
        assert_eq!(refused.replace(ITSELF, "I"), expected);
        let refused = judge(Ended::Killed(11), false, ANSWERED, "").unwrap_err();
        assert_eq!(refused.replace(ITSELF, "I"), "I: it was killed by signal 11; it said nothing");
    }

    #[test]
    fn an_answer_that_comes_too_late_is_none() {
        let refused = judge(WELL, true, ANSWERED, "").unwrap_err();
        assert_eq!(refused.replace(ITSELF, "I"), "I: it has not answered within 10 s");
    }

    #[test]
    fn endless_messages_are_cut() {
        let said = said(&"a\n".repeat(1000), Ended::Exited(1));
        assert_eq!(said.lines().count(), MOST_LINES + 1);
    }

    #[test]
    fn the_question_is_understood() {
        let held: Vec<Endpoint> =
            ["[::]:80", "10.0.0.1:0", "unix:/a b%20"].map(|text| text.parse().unwrap()).to_vec();
        let text = variable(7, held.iter().copied());
        assert_eq!(text, "7 [::]:80 10.0.0.1:0 unix:/a%20b%2520");
        assert_eq!(parse(&text), Some((7, held)));
        assert_eq!(parse("7"), Some((7, Vec::new())));
        for text in ["", "x", "7 y", "7  "] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
