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

/// Writes a line, "httplb: " and the text, to standard error, by one system call so that the
/// lines of several processes do not mix. If it cannot be written it is lost.
///
/// If the journal reads standard error, the line starts with the level as sd-daemon(3) has it.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let line = line(level, text, journal);
    // The one place where an error could be reported is the one that fails.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

fn line(level: Level, text: fmt::Arguments<'_>, journal: bool) -> String {
    let mut line = String::new();
    let written = if journal {
        write!(line, "<{}>httplb: {text}", level as u8)
    } else {
        write!(line, "httplb: {text}")
    };
    // A value whose Display fails leaves the line incomplete, which is better than none.
    let _ = written;
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::{Level, line};

    #[test]
    fn a_line_names_the_program() {
        assert_eq!(line(Level::Error, format_args!("no {}", 1), false), "httplb: no 1\n");
    }

    #[test]
    fn the_journal_is_told_the_level() {
        assert_eq!(line(Level::Warning, format_args!("no"), true), "<4>httplb: no\n");
    }
}
