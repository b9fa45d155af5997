//! What the operator reads: lines on standard error.
use std::fmt::{self, Write};

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

/// Writes a line, "httplb: " and the text, as [`line`] does.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    line(level, format_args!("httplb: {text}"));
}

/// Writes a line to standard error, by one system call so that the lines of several processes do
/// not mix. If it cannot be written it is lost.
///
/// If the journal reads standard error, the line starts with the level as sd-daemon(3) has it.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let line = with_level(level, text, journal);
    // The one place where an error could be reported is the one that fails.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

fn with_level(level: Level, text: fmt::Arguments<'_>, journal: bool) -> String {
    let mut line = String::new();
    let written =
        if journal { write!(line, "<{}>{text}", level as u8) } else { write!(line, "{text}") };
    // A value whose Display fails leaves the line incomplete, which is better than none.
    let _ = written;
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::{Level, with_level};

    #[test]
    fn without_the_journal_a_line_is_the_text() {
        assert_eq!(with_level(Level::Error, format_args!("no {}", 1), false), "no 1\n");
    }

    #[test]
    fn the_journal_is_told_the_level() {
        assert_eq!(with_level(Level::Warning, format_args!("no"), true), "<4>no\n");
    }
}
