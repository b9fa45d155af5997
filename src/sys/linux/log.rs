//! What the operator reads: lines on standard error.
//!
//! The service never waits for who reads them. What finds no room is dropped and counted, and no
//! message is repeated within a minute: see [`mod@limit`].
use super::file::{self, WriteMode};
use super::{clock, memory};
use crate::mem::record_ring::RecordRing;
use crate::mem::time::Micros;
use limit::{CELLS, Limit, LimitVerdict};
use rustix::fd::AsFd;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

mod limit;

/// How grave a message is, by the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something will not work, if nobody acts.
    Warning = 4,
    /// Something happens that is normal, and rare.
    Notice = 5,
    /// Something happens.
    Info = 6,
}

impl Level {
    /// All there are.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warning, Level::Notice, Level::Info];

    /// As operators read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
            Level::Info => "info",
        }
    }
}

/// A pipe takes so many bytes in one piece: pipe(7).
const PIECE: usize = 4096;
/// Messages that are remembered, at most, to be told of later.
const MOST_SUPPRESSED: usize = 64;

/// How standard error is written since `never_wait`; before, by plain calls.
static WRITE_MODE: OnceLock<WriteMode> = OnceLock::new();
/// What all processes of this service share: lines dropped, and the cells of the workers' limit.
static SHARED: OnceLock<&'static [AtomicU64]> = OnceLock::new();
/// Where messages are kept for whoever asks for them later.
static KEPT_IN: OnceLock<RecordRing> = OnceLock::new();
/// This process is one of the workers.
static IS_WORKER: AtomicBool = AtomicBool::new(false);
/// The cells of a process that shares none.
static OWN: [AtomicU64; CELLS] = [const { AtomicU64::new(0) }; CELLS];
thread_local! {
    /// The messages that this process left out.
    static SUPPRESSED: Cell<Vec<SuppressedMessage>> = const { Cell::new(Vec::new()) };
}

/// A message that was left out because it had just been written.
struct SuppressedMessage {
    key: u64,
    level: Level,
    /// As it was when it was left out last.
    text: String,
}

/// From now on messages never make this process, or one that it forks, wait. Repeats are left out.
///
/// To be called once, by the process that forks the others.
pub fn never_wait() {
    let stderr = rustix::stdio::stderr();
    let mode = match file::reopened(stderr) {
        // In its place: whoever else has the file open may go on to wait when writing there.
        Ok((Some(own), mode)) => match rustix::stdio::dup2_stderr(&own) {
            Ok(()) => mode,
            Err(_) => WriteMode::AskFirst,
        },
        Ok((None, mode)) => mode,
        Err(_) => WriteMode::AskFirst,
    };
    let _ = WRITE_MODE.set(mode);
    // Without them each process has its own limit.
    if let Ok(cells) = memory::share_with_children(1 + CELLS) {
        let _ = SHARED.set(cells);
    }
}

/// From now on what this process writes, and each that it forks, is kept there as well: its level and the
/// time in numbers, and its text without the name of the program.
pub fn keep_in(ring: RecordRing) {
    let _ = KEPT_IN.set(ring); // It is called once.
}

/// This process leaves out what any other worker has told.
pub fn limit_with_workers() {
    IS_WORKER.store(true, Relaxed);
}

/// Writes a line, "httplb: " and the text, as [`line()`] does.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    line(level, format_args!("httplb: {text}"));
}

/// The same for a text with numbers that differ each time: it is a repeat of any other that begins
/// with `subject`, which comes before it.
pub fn write_about(level: Level, subject: &str, text: fmt::Arguments<'_>) {
    say(level, limit::hash(subject), format!("httplb: {subject}{text}"));
}

/// As [`write()`], but each time: it answers what an operator has asked for just now.
pub fn reply(level: Level, text: fmt::Arguments<'_>) {
    put(level, &format!("httplb: {text}"));
}

/// Writes a line to standard error, by one system call so that the lines of several processes do
/// not mix. If it cannot be written it is dropped.
///
/// If the journal reads standard error, the line, and each one below it, starts with the level as
/// sd-daemon(3) has it.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    let text = text.to_string();
    say(level, limit::hash(&text), text);
}

fn say(level: Level, key: u64, text: String) {
    if WRITE_MODE.get().is_none() {
        return put(level, &text);
    }
    match limit().judge(key, clock::now()) {
        LimitVerdict::Write { repeats } => write_again(level, &text, repeats),
        LimitVerdict::LeaveOut => {
            let mut suppressed = SUPPRESSED.take();
            suppressed.retain(|suppressed| suppressed.key != key);
            if suppressed.len() < MOST_SUPPRESSED {
                suppressed.push(SuppressedMessage { key, level, text });
            }
            SUPPRESSED.set(suppressed);
        }
    }
}

/// Tells of what was left out, if its minute is over. When this is to be called again, if ever.
pub fn tick(now: Micros) -> Option<Micros> {
    let mut suppressed = SUPPRESSED.take();
    let limit = limit();
    suppressed.retain(|suppressed| match limit.overdue(suppressed.key, now) {
        None => false,
        Some(0) => true,
        Some(repeats) => {
            write_again(suppressed.level, &suppressed.text, repeats);
            true
        }
    });
    let is_left = !suppressed.is_empty();
    SUPPRESSED.set(suppressed);
    is_left.then_some(now + Micros(limit::PAUSE.0 / 4))
}

/// Lines that no process of the service could write since the last call. For the process that keeps
/// the count.
pub fn take_dropped() -> u64 {
    SHARED.get().map_or(0, |cells| cells[0].swap(0, Relaxed))
}

/// The same without taking them: what was not counted yet.
pub fn dropped() -> u64 {
    SHARED.get().map_or(0, |cells| cells[0].load(Relaxed))
}

fn limit() -> Limit<'static> {
    match SHARED.get() {
        Some(cells) if IS_WORKER.load(Relaxed) => Limit(&cells[1..]),
        Some(_) | None => Limit(&OWN),
    }
}

fn write_again(level: Level, text: &str, repeats: u64) {
    match repeats {
        0 => put(level, text),
        1 => put(level, &format!("{text} … once more")),
        _ => put(level, &format!("{text} … {repeats} times more")),
    }
}

fn put(level: Level, text: &str) {
    if let Some(ring) = KEPT_IN.get() {
        let own = text.strip_prefix("httplb: ").unwrap_or(text);
        ring.write([level as u64, clock::wall().0], own.as_bytes());
    }
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = with_level(level, text, journal);
    let dropped = match WRITE_MODE.get() {
        // The one place where an error could be reported is the one that fails.
        None => write_all(&lines),
        Some(mode) => write_some(*mode, &lines),
    };
    if let (1.., Some(cells)) = (dropped, SHARED.get()) {
        cells[0].fetch_add(dropped, Relaxed);
    }
}

/// Waits for room. Returns how many lines were lost as nobody reads them.
fn write_all(lines: &str) -> u64 {
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(rustix::io::Errno::INTR) => (),
            Err(_) => break,
        }
    }
    lines_in(rest)
}

/// Writes pieces of whole lines, each at once or not at all if it is not longer than a pipe takes.
/// Returns how many lines were dropped.
fn write_some(mode: WriteMode, lines: &str) -> u64 {
    let stderr = rustix::stdio::stderr();
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        let piece = &rest[..piece_len(rest)];
        let written = file::write(stderr.as_fd(), mode, piece).unwrap_or(0);
        if written < piece.len() {
            if written > 0 {
                // What comes next begins a line of its own.
                let _ = file::write(stderr.as_fd(), mode, b"\n");
            }
            return lines_in(&rest[written..]);
        }
        rest = &rest[written..];
    }
    0
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// As many whole lines as go at once; a line that is longer, alone.
fn piece_len(bytes: &[u8]) -> usize {
    let end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let mut len = 0;
    while let Some(line) = end(&bytes[len..]) {
        if len > 0 && len + line > PIECE {
            break;
        }
        len += line;
    }
    if len == 0 { bytes.len() } else { len }
}

fn with_level(level: Level, text: &str, journal: bool) -> String {
    let mut lines = String::with_capacity(text.len() + 8);
    for line in text.split('\n') {
        if journal {
            // Writing to a String cannot fail.
            let _ = write!(lines, "<{}>", level as u8);
        }
        lines.push_str(line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_journal_a_line_is_the_text() {
        assert_eq!(with_level(Level::Error, "no 1", false), "no 1\n");
    }

    #[test]
    fn the_journal_is_told_the_level_of_each_line() {
        assert_eq!(with_level(Level::Warning, "no:\n  a\n  b", true), "<4>no:\n<4>  a\n<4>  b\n");
    }

    #[test]
    fn pieces_are_whole_lines_that_a_pipe_takes_at_once() {
        let lines = [&"a".repeat(3000), "\n", &"b".repeat(2000), "\nc\n"].concat();
        assert_eq!(piece_len(lines.as_bytes()), 3001);
        assert_eq!(piece_len(&lines.as_bytes()[3001..]), 2003);
        assert_eq!(piece_len(&[b'a'; 9000]), 9000);
        assert_eq!(lines_in(lines.as_bytes()), 3);
    }
}
