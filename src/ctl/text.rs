//! Texts for a terminal: aligned, and without anything that could steer it, whoever wrote it.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

use serde_json::Value;

/// What stands where nothing is known.
pub const NOTHING: &str = "-";

/// Whether a terminal, or whoever reads its text, could be misled by this character.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
        // What turns the direction of writing around.
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// `text` in one line that does nothing to a terminal: what could is written as `\u001b`.
pub fn clean(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same for JSON, whose line ends are not part of what is said. It stays the JSON that it was.
pub fn clean_json(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n')
}

/// The same for a text of several lines, in which a sender's own ones were made harmless before.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n')
}

fn escaped(text: &str, passes: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |character: char| is_unsafe(character) && !passes(character);
    if !text.chars().any(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            // Writing to a String cannot fail. All of them are of the first plane.
            let _ = write!(cleaned, "\\u{:04x}", u32::from(character));
        } else {
            cleaned.push(character);
        }
    }
    Cow::Owned(cleaned)
}

/// `text`, and of a long one so many characters, the last of them `…`.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// How a value is to look, where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As all.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// By intent, or soon wrong.
    Fair,
    /// Wrong.
    Bad,
}

impl Tone {
    /// The tone of a backend's state.
    pub fn of_state(state: &str) -> Tone {
        match state {
            "up" => Tone::Good,
            "drain" | "maint" => Tone::Fair,
            "down" => Tone::Bad,
            _ => Tone::Plain,
        }
    }

    /// What begins it on a terminal: ECMA-48, SGR.
    pub fn begin(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Good => "\x1b[32m",
            Tone::Fair => "\x1b[33m",
            Tone::Bad => "\x1b[31;1m",
        }
    }

    /// What ends it.
    pub fn end(self) -> &'static str {
        if self == Tone::Plain { "" } else { "\x1b[m" }
    }
}

/// A place in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// With this text, made clean.
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell { text: clean(text.as_ref()).into_owned(), tone: Tone::Plain }
    }

    /// The same in a colour.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { tone, ..Cell::new(text) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// On which side the texts of a column are in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a head.
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<Cell>>,
    coloured: bool,
}

impl Table {
    /// One with these columns.
    pub fn new(columns: &[(&'static str, Side)], coloured: bool) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new(), coloured }
    }

    /// Adds a row, with a cell for each column.
    pub fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    fn write_row(&self, out: &mut Formatter<'_>, cells: &[Cell], widths: &[usize]) -> fmt::Result {
        let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (place, (cell, (_, side))) in cells.iter().zip(&self.columns).enumerate() {
            if place > last {
                break;
            }
            let gap = " ".repeat(widths.get(place).map_or(0, |width| width - cell.width()));
            let tone = if self.coloured { cell.tone } else { Tone::Plain };
            let text = format!("{}{}{}", tone.begin(), cell.text, tone.end());
            match side {
                _ if place == last && *side == Side::Left => write!(out, "{text}")?,
                Side::Left => write!(out, "{text}{gap}  ")?,
                Side::Right if place == last => write!(out, "{gap}{text}")?,
                Side::Right => write!(out, "{gap}{text}  ")?,
            }
        }
        out.write_char('\n')
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let head: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::new(name)).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|place| {
                let rows = self.rows.iter().chain([&head]);
                rows.filter_map(|row| row.get(place)).map(Cell::width).max().unwrap_or(0)
            })
            .collect();
        self.write_row(out, &head, &widths)?;
        self.rows.iter().try_for_each(|row| self.write_row(out, row, &widths))
    }
}

/// The text of a value: of a string what is in it, of `null` and of what is not there, [`NOTHING`].
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(is) => (if *is { "yes" } else { "no" }).to_owned(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), decimal),
        Value::Array(all) if all.is_empty() => NOTHING.to_owned(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

/// A number with as many digits as can be told apart at a glance.
pub fn decimal(number: f64) -> String {
    if number.fract() == 0.0 || number.abs() >= 100.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// Seconds as `3s`, `5m 3s`, `2h 5m`, `9d 4h`.
pub fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Seconds in a value, as [`seconds`] writes them.
pub fn time(value: &Value) -> String {
    value.as_f64().map_or(NOTHING.to_owned(), |number| seconds(number.max(0.0) as u64))
}

/// Bytes as MiB or GiB.
pub fn bytes(value: &Value) -> String {
    match value.as_u64() {
        None => NOTHING.to_owned(),
        Some(bytes) if bytes >= 10 << 30 => format!("{} GiB", bytes >> 30),
        // As the start says the bound.
        Some(bytes) => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(clean("plain ä €"), "plain ä €");
        assert_eq!(clean("\x1b[2J\x07\u{9b}31m\r\n"), "\\u001b[2J\\u0007\\u009b31m\\u000d\\u000a");
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{7f}"), "a\\u202eb\\u2066c\\u007f");
        let json = clean_json("{\"a\":\"\u{9b}\u{7f}\"}\n");
        assert_eq!(json, "{\"a\":\"\\u009b\\u007f\"}\n");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, json!({"a": "\u{9b}\u{7f}"}));
    }

    #[test]
    fn columns_are_in_line_and_no_line_ends_with_a_space() {
        let mut table =
            Table::new(&[("A", Side::Left), ("N", Side::Right), ("WHY", Side::Left)], false);
        table.add(vec![Cell::new("äöü"), Cell::new("7"), Cell::new("")]);
        table.add(vec![Cell::new("b"), Cell::new("1000"), Cell::new("x\ny")]);
        assert_eq!(table.to_string(), "A       N  WHY\näöü     7\nb    1000  x\\u000ay\n");
    }

    #[test]
    fn colours_take_no_room() {
        let mut table = Table::new(&[("A", Side::Left), ("B", Side::Left)], true);
        table.add(vec![Cell::toned("up", Tone::Good), Cell::new("x")]);
        assert_eq!(table.to_string(), "A   B\n\u{1b}[32mup\u{1b}[m  x\n");
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (number, text) in [(0.0, "0"), (1.25, "1.2"), (99.96, "100.0"), (1234.5, "1234")] {
            assert_eq!(decimal(number), text);
        }
        for (number, text) in [(59, "59s"), (303, "5m 3s"), (7500, "2h 5m"), (792_000, "9d 4h")] {
            assert_eq!(seconds(number), text);
        }
        assert_eq!(time(&json!(null)), "-");
        assert_eq!(shown(&json!(["a", "b"])), "a, b");
        assert_eq!(bytes(&json!(1_107_296_256)), "1056 MiB");
        assert_eq!((cut("abcdef", 4), cut("abcd", 4)), ("abc…".into(), "abcd".into()));
    }
}
