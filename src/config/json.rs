//! The text of a file to a tree with the line of each value.
//!
//! JSON as RFC 8259 has it. What people write in its place is understood as far as it is clear what they
//! mean, and told: so all mistakes are found in one run, and each where it stands.

use std::collections::HashMap;

use super::error::{ConfigError, Position};
use super::file::Value;
use super::lines::{Lines, is_within, place_of_item, place_of_key};
use super::other_formats;
use super::scalars::{self, Bare};
use super::text::quote;

/// Brackets within brackets, so that none of them can exhaust the stack.
const DEEPEST: usize = 127;
/// Who has so many mistakes wants to know of no more.
const MOST_MISTAKES: usize = 100;

/// What a comment is to be, for those that are none here.
const COMMENT_REMEDY: &str = "write it as a key that starts with #, such as \"# why\": \"\"";

/// A file as it was understood.
pub struct SourceText {
    /// What it says.
    pub tree: Value,
    /// Where it says what.
    pub lines: Lines,
    /// What of it is not JSON, and keys that stand twice.
    pub mistakes: Vec<ConfigError>,
    /// Whether reading went to the end. If not, nothing can be said of what the tree lacks.
    pub is_whole: bool,
    /// The paths of values that could be anything.
    unclear: Vec<String>,
}

impl SourceText {
    /// Whether something at `place` was guessed, so that what it is says nothing.
    pub fn is_unclear(&self, place: &str) -> bool {
        self.unclear.iter().any(|around| is_within(place, around))
    }
}

/// Reads a text. A byte order mark before it is ignored, as RFC 8259 §8.1 allows.
pub fn read(text: &str) -> SourceText {
    let mut reader = Reader::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let tree = reader.file();
    SourceText {
        is_whole: tree.is_ok(),
        tree: tree.unwrap_or(Value::Null),
        lines: reader.lines,
        mistakes: reader.mistakes,
        unclear: reader.unclear,
    }
}

/// The mistake of a file that is not UTF-8: `valid` is what comes before the first wrong byte, `rest`
/// what begins with it.
pub fn not_utf8(valid: &[u8], rest: &[u8]) -> ConfigError {
    let line_start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&valid[line_start..]).chars().count();
    let is_utf16 =
        valid.is_empty() && (rest.starts_with(b"\xff\xfe") || rest.starts_with(b"\xfe\xff"));
    let fault = if is_utf16 { "this is UTF-16" } else { "a byte that is not UTF-8" };
    syntax(Position { line, column }, fault, "save the file as UTF-8")
}

fn syntax(position: Position, fault: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    let (fault, remedy) = (fault.into(), remedy.into());
    ConfigError { position: Some(position), place: String::new(), fault, remedy }
}

/// From here on it is not clear what anything means. Why is told already.
struct Unreadable;

/// An opening bracket, with what closes it.
#[derive(Clone, Copy)]
struct Bracket {
    open: char,
    close: u8,
    line: usize,
}

struct Reader<'a> {
    text: &'a str,
    /// The place of the next byte.
    at: usize,
    line: usize,
    /// The place of the first byte of the line.
    line_start: usize,
    depth: usize,
    /// It reads the value of a key that is a comment, of which only the form counts.
    in_comment: bool,
    lines: Lines,
    mistakes: Vec<ConfigError>,
    unclear: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader {
            text,
            at: 0,
            line: 1,
            line_start: 0,
            depth: 0,
            in_comment: false,
            lines: Lines::default(),
            mistakes: Vec::new(),
            unclear: Vec::new(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn position(&self) -> Position {
        let column = self.text[self.line_start..self.at].chars().count() + 1;
        Position { line: self.line, column }
    }

    /// The same as far as it only puts mistakes in order: counting characters takes long in long lines.
    fn byte_position(&self) -> Position {
        Position { line: self.line, column: self.at - self.line_start + 1 }
    }

    /// Goes over the next `bytes`.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.text.as_bytes()[self.at..self.at + bytes];
        for (index, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_start = self.at + index + 1;
        }
        self.at += bytes;
    }

    /// Tells a mistake behind which it is clear how to go on.
    fn tell(
        &mut self,
        position: Position,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<(), Unreadable> {
        self.mistakes.push(syntax(position, fault, remedy));
        if self.mistakes.len() < MOST_MISTAKES { Ok(()) } else { Err(Unreadable) }
    }

    /// Tells one behind which it is not.
    fn stop<T>(
        &mut self,
        position: Position,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<T, Unreadable> {
        self.mistakes.push(syntax(position, fault, remedy));
        Err(Unreadable)
    }

    fn note(&mut self, place: &str) {
        if !self.in_comment {
            self.lines.add(place.to_owned(), self.byte_position());
        }
    }

    fn file(&mut self) -> Result<Value, Unreadable> {
        if let Some((line, wrong)) = other_formats::recognise(self.text) {
            return self.stop(Position { line, column: 1 }, wrong.fault, wrong.remedy);
        }
        self.skip()?;
        self.note("");
        let tree = self.value("")?;
        match self.skip()? {
            None => Ok(tree),
            Some(bracket @ (b'}' | b']')) => {
                let fault = format!("one \"{}\" too many", char::from(bracket));
                self.stop(self.position(), fault, "remove it, or the one that closes too early")
            }
            Some(_) => {
                let fault = "something follows the end of the configuration";
                self.stop(self.position(), fault, "remove it, or move it before the last \"}\"")
            }
        }
    }

    /// Goes over blanks, and comments, which are told. What comes next.
    fn skip(&mut self) -> Result<Option<u8>, Unreadable> {
        let mut is_told = false;
        loop {
            let rest = self.rest();
            let blanks = rest.bytes().take_while(|byte| b" \t\r\n".contains(byte)).count();
            self.advance(blanks);
            let Some((opening, length)) = comment(self.rest()) else { return Ok(self.peek()) };
            if !is_told {
                let fault = format!("JSON has no comments that start with {opening}");
                self.tell(self.position(), fault, COMMENT_REMEDY)?;
            }
            // Comments behind each other are one.
            is_told = true;
            self.advance(length);
        }
    }

    fn value(&mut self, place: &str) -> Result<Value, Unreadable> {
        match self.skip()? {
            Some(b'{') => self.within('{', b'}', |reader, bracket| reader.object(place, bracket)),
            Some(b'[') => self.within('[', b']', |reader, bracket| reader.list(place, bracket)),
            Some(b':') if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                self.bare(place) // An address without quotation marks.
            }
            Some(b',' | b';' | b'}' | b']' | b':') | None => {
                self.unclear.push(place.to_owned());
                let remedy =
                    "write text in double quotes, a number, true, false, null, [...] or {...}";
                self.tell(self.position(), "there is no value here", remedy)?;
                Ok(Value::Null)
            }
            Some(_) => match self.quoted()? {
                Some((text, is_certain)) => {
                    if !is_certain {
                        self.unclear.push(place.to_owned());
                    }
                    Ok(Value::Text(text))
                }
                None => self.bare(place),
            },
        }
    }

    /// What stands between brackets, if they are not too many.
    fn within(
        &mut self,
        open: char,
        close: u8,
        read: impl FnOnce(&mut Self, Bracket) -> Result<Value, Unreadable>,
    ) -> Result<Value, Unreadable> {
        if self.depth == DEEPEST {
            let fault = format!("more than {DEEPEST} brackets within each other");
            return self.stop(self.position(), fault, "no key is so deep");
        }
        let bracket = Bracket { open, close, line: self.line };
        self.advance(1);
        self.depth += 1;
        let value = read(self, bracket)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self, place: &str, bracket: Bracket) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        let mut comma = None;
        while self.has_next(bracket, comma)? {
            let item = place_of_item(place, items.len());
            self.note(&item);
            items.push(self.value(&item)?);
            comma = self.comma(bracket)?;
        }
        Ok(Value::List(items))
    }

    fn object(&mut self, place: &str, bracket: Bracket) -> Result<Value, Unreadable> {
        let mut entries = Vec::new();
        let mut lines: HashMap<String, Option<usize>> = HashMap::new();
        let mut comma = None;
        while self.has_next(bracket, comma)? {
            let position = self.byte_position();
            let key = self.key()?;
            let inner = place_of_key(place, &key);
            let is_comment = key.starts_with('#');
            if !is_comment && !self.in_comment {
                self.lines.add(inner.clone(), position);
                self.compare(&mut lines, &key, &inner, position)?;
            }
            self.colon(&key)?;
            let outer = self.in_comment;
            self.in_comment |= is_comment;
            let value = self.value(&inner)?;
            self.in_comment = outer;
            if !is_comment {
                entries.push((key, value));
            }
            comma = self.comma(bracket)?;
        }
        Ok(Value::Object(entries))
    }

    /// Tells a key that the object has already, once however often it has it.
    fn compare(
        &mut self,
        lines: &mut HashMap<String, Option<usize>>,
        key: &str,
        place: &str,
        position: Position,
    ) -> Result<(), Unreadable> {
        let Some(known) = lines.get_mut(key) else {
            lines.insert(key.to_owned(), Some(position.line));
            return Ok(());
        };
        let Some(first) = known.take() else { return Ok(()) };
        let fault = format!("duplicate key: line {first} has it already");
        let remedy = String::from("set it only once");
        let place = place.to_owned();
        self.mistakes.push(ConfigError { position: Some(position), place, fault, remedy });
        if self.mistakes.len() < MOST_MISTAKES { Ok(()) } else { Err(Unreadable) }
    }

    /// Whether another member comes before the closing bracket, over which it goes. `comma` is the
    /// place of that behind the last one.
    fn has_next(
        &mut self,
        bracket: Bracket,
        mut comma: Option<Position>,
    ) -> Result<bool, Unreadable> {
        let Bracket { open, close, line } = bracket;
        loop {
            match self.skip()? {
                Some(byte) if byte == close => {
                    if let Some(position) = comma {
                        self.tell(position, "trailing comma", "remove the comma")?;
                    }
                    self.advance(1);
                    return Ok(false);
                }
                Some(byte @ (b'}' | b']')) => {
                    let (wrong, close) = (char::from(byte), char::from(close));
                    let fault =
                        format!("\"{wrong}\" stands where \"{open}\" of line {line} is open");
                    return self.stop(self.position(), fault, format!("write \"{close}\""));
                }
                Some(b',') => {
                    self.tell(self.position(), "a comma too many", "remove it")?;
                    comma = None;
                    self.advance(1);
                }
                Some(_) => return Ok(true),
                None => {
                    let fault =
                        format!("the file ends too early: \"{open}\" of line {line} is open");
                    let remedy = format!("close it with \"{}\"", char::from(close));
                    return self.stop(self.position(), fault, remedy);
                }
            }
        }
    }

    /// Goes over the comma behind a member, if others follow it. Where it is.
    fn comma(&mut self, bracket: Bracket) -> Result<Option<Position>, Unreadable> {
        let end = self.position();
        let next = self.skip()?;
        let position = self.position();
        match next {
            Some(b',') => {
                self.advance(1);
                Ok(Some(position))
            }
            Some(b';') => {
                self.tell(position, "a semicolon", "write a comma, and none behind the last")?;
                self.advance(1);
                Ok(None)
            }
            Some(b':' | b'=') if bracket.close == b']' => {
                let fault = "a key in a list";
                self.stop(position, fault, "write {...} around keys with their values")
            }
            Some(b':' | b'=') => self.stop(
                position,
                "a second colon",
                "is a comma or a quotation mark missing before it?",
            ),
            Some(b'}' | b']') | None => Ok(None),
            Some(_) => {
                self.tell(end, "a comma is missing here", "add it: what follows is another value")?;
                Ok(None)
            }
        }
    }

    fn key(&mut self) -> Result<String, Unreadable> {
        let position = self.position();
        if let Some((key, _)) = self.quoted()? {
            return Ok(key);
        }
        let rest = self.rest();
        let ends = |character: char| character.is_whitespace() || "\"':=,;{}[]".contains(character);
        let key = &rest[..rest.find(ends).unwrap_or(rest.len())];
        if key.is_empty() {
            let character = rest.chars().next().unwrap_or_default();
            let fault = format!("{} where a key is expected", quote(&character.to_string()));
            return self.stop(position, fault, "write \"key\": value");
        }
        let shown = quote(key);
        self.tell(position, format!("the key {shown} has no quotes"), format!("write {shown}"))?;
        self.advance(key.len());
        Ok(key.to_owned())
    }

    fn colon(&mut self, key: &str) -> Result<(), Unreadable> {
        match self.skip()? {
            Some(b':') => self.advance(1),
            Some(b'=') => {
                self.tell(self.position(), "\"=\" behind a key", "write \":\"")?;
                let is_arrow = self.rest().starts_with("=>");
                self.advance(if is_arrow { 2 } else { 1 });
            }
            Some(b',' | b';' | b'}' | b']') | None => (), // What is told is that there is no value.
            Some(_) => {
                let fault = format!("there is no colon behind the key {}", quote(key));
                self.tell(self.position(), fault, "write \"key\": value")?;
            }
        }
        Ok(())
    }

    /// The text between quotation marks of any kind, if that is what comes next, and whether it is certain.
    fn quoted(&mut self) -> Result<Option<(String, bool)>, Unreadable> {
        let position = self.position();
        let Some(quoted) = scalars::quoted(self.rest()) else { return Ok(None) };
        match quoted {
            Ok(quoted) => {
                if let Some(wrong) = quoted.wrong {
                    self.tell(position, wrong.fault, wrong.remedy)?;
                }
                self.advance(quoted.length);
                Ok(Some((quoted.text, quoted.is_certain)))
            }
            Err(wrong) => {
                // It may be any of those in its line that has no partner.
                let line = position.line;
                self.mistakes.retain(|one| one.position.is_none_or(|at| at.line != line));
                self.stop(position, wrong.fault, wrong.remedy)
            }
        }
    }

    /// A word without quotation marks.
    fn bare(&mut self, place: &str) -> Result<Value, Unreadable> {
        let position = self.position();
        let rest = self.rest();
        let ends = |character: char| character.is_whitespace() || "\"',;{}[]".contains(character);
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.advance(word.len());
        match scalars::bare(word) {
            Bare::Json(value) => Ok(value),
            Bare::Meant(value, wrong) => {
                self.tell(position, wrong.fault, wrong.remedy)?;
                Ok(value)
            }
            Bare::Unclear(wrong) => {
                self.unclear.push(place.to_owned());
                self.tell(position, wrong.fault, wrong.remedy)?;
                Ok(Value::Null)
            }
        }
    }
}

/// How a comment of another language starts, and its length, if one comes next.
fn comment(text: &str) -> Option<(&'static str, usize)> {
    let opening = ["//", "/*", "#"].into_iter().find(|opening| text.starts_with(opening))?;
    let length = match opening {
        "/*" => text.find("*/").map(|end| end + 2),
        _ => text.find('\n'),
    };
    Some((opening, length.unwrap_or(text.len())))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
