//! Reading values of the tree by kind and range, and collecting the mistakes.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::endpoint::UnixPath;
use super::error::{ConfigError, Wrong};
use super::file::Value;
use super::json::SourceText;
use super::lines::{is_within, place_of_item, place_of_key};
use super::text::{self, quote};
use super::{dictionary, keys, units};
use crate::mem::time::Millis;

/// The longest that can be configured anywhere: a week.
pub const WEEK: Millis = Millis::from_secs(7 * 24 * 3600);
/// The shortest duration that is not zero.
pub const INSTANT: Millis = Millis(1);

/// What is said first of a key that an object does not have.
const UNKNOWN: &str = "unknown key";

/// Characters of the longest token. Those that are written into heads have so much room there.
const LONGEST_TOKEN: usize = 64;

/// A value and the path that leads to it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    place: String,
}

/// The mistakes found so far, each with its path.
#[derive(Debug, Default)]
pub struct Mistakes {
    found: Vec<(String, Wrong)>,
    /// Which entries of the lists of backends have addresses, by the paths of the lists.
    addresses: Vec<(String, Vec<usize>)>,
}

impl Mistakes {
    /// Notes that the value of `node` is wrong.
    pub fn add(&mut self, node: &Node, wrong: Wrong) {
        self.add_at(node.place.clone(), wrong);
    }

    /// Notes what is wrong at `place`; an empty one stands for the whole file.
    pub fn add_at(&mut self, place: String, wrong: Wrong) {
        self.found.push((place, wrong));
    }

    /// Notes a key that nobody knows among `known`.
    pub fn add_unknown(&mut self, node: &Node, key: &str, known: &[&str]) {
        self.add(node, unknown(key, object_of(&node.place), known));
    }

    /// The value, if it is right; else it is noted why not.
    pub fn keep<T>(&mut self, node: &Node, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.add(node, wrong)).ok()
    }

    /// Puts the value into `target`, if it is right; else it is noted why not.
    pub fn set<T>(&mut self, target: &mut T, node: &Node, result: Result<T, Wrong>) {
        if let Some(value) = self.keep(node, result) {
            *target = value;
        }
    }

    /// Whether a mistake lies at `place` or within it.
    pub fn lie_within(&self, place: &str) -> bool {
        self.found.iter().any(|(at, _)| is_within(at, place))
    }

    /// Notes which entries of a list of backends have addresses, so that they can be spoken of.
    pub fn note_addresses(&mut self, list: &Node, entries: Vec<usize>) {
        self.addresses.push((list.place.clone(), entries));
    }

    /// All mistakes in the order in which they stand in the file, with those that its text has.
    pub fn in_order(self, source: &mut SourceText) -> Vec<ConfigError> {
        let mut errors = std::mem::take(&mut source.mistakes);
        // Of a value that was guessed nothing is known, but that there is no such key.
        let is_clear = |(place, wrong): &(String, Wrong)| {
            wrong.fault.starts_with(UNKNOWN) || !source.is_unclear(place)
        };
        let clear = self.found.into_iter().filter(is_clear);
        errors.extend(clear.map(|(place, wrong)| source.lines.locate(&place, wrong)));
        errors.sort_by_key(|error| error.position);
        for (place, entries) in self.addresses {
            source.lines.add_addresses(place, entries);
        }
        errors
    }
}

impl<'a> Node<'a> {
    /// The whole file.
    pub fn root(value: &'a Value) -> Node<'a> {
        Node { value, place: String::new() }
    }

    /// The path, such as `pools.api.backend_servers[1].ip`.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn child(&self, key: &str, value: &'a Value) -> Node<'a> {
        Node { value, place: place_of_key(&self.place, key) }
    }

    fn item(&self, index: usize, value: &'a Value) -> Node<'a> {
        Node { value, place: place_of_item(&self.place, index) }
    }

    /// What is wrong with a value of another kind.
    fn not(&self, kind: &str, remedy: impl Into<String>) -> Wrong {
        Wrong::new(format!("{} is not {kind}", self.value.shown()), remedy)
    }

    /// What is wrong with this value, which is shown before `fault`.
    pub fn wrong(&self, fault: &str, remedy: impl Into<String>) -> Wrong {
        Wrong::new(format!("{} {fault}", self.value.shown()), remedy)
    }

    /// The keys of an object with their values; of equal keys the first.
    pub fn entries(&self, mistakes: &mut Mistakes) -> Vec<(&'a str, Node<'a>)> {
        let Value::Object(entries) = self.value else {
            let is_pool = self.place.strip_prefix("pools.").is_some_and(|name| !name.contains('.'));
            let within = place_of_key(&self.place, "x");
            let key = if is_pool { "pool" } else { object_of(&within) };
            let remedy = dictionary::object(key, self.as_text());
            mistakes.add(self, self.not("an object", remedy));
            return Vec::new();
        };
        let mut seen = HashSet::new();
        let mut firsts = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if seen.insert(key.as_str()) {
                firsts.push((key.as_str(), self.child(key, value)));
            }
        }
        firsts
    }

    /// The items of a list, of which there may be so many; none if that is wrong.
    pub fn items(&self, count: RangeInclusive<usize>, mistakes: &mut Mistakes) -> Vec<Node<'a>> {
        let Value::List(items) = self.value else {
            let remedy = match self.value {
                Value::Text(_) => format!("write [{}]", self.value.shown()),
                Value::Object(_) => String::from("write [{...}]"),
                Value::Null
                | Value::Bool(_)
                | Value::Natural(_)
                | Value::Number(_)
                | Value::List(_) => String::from("write [...]"),
            };
            mistakes.add(self, self.not("a list", remedy));
            return Vec::new();
        };
        if !count.contains(&items.len()) {
            let fault = match items.len() {
                0 => String::from("the list is empty"),
                length => format!("the list has {length} entries"),
            };
            let remedy = format!("write {} to {} of them", count.start(), count.end());
            mistakes.add(self, Wrong::new(fault, remedy));
            return Vec::new();
        }
        items.iter().enumerate().map(|(index, value)| self.item(index, value)).collect()
    }

    /// Its text, if it is one.
    pub fn as_text(&self) -> Option<&'a str> {
        match self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Natural(_)
            | Value::Number(_)
            | Value::List(_)
            | Value::Object(_) => None,
        }
    }

    /// The number that stands in quotation marks, if that is what is wrong with it.
    fn quoted_number(&self, least: u64, most: u64) -> Option<u64> {
        let number = u64::from(units::whole(self.as_text()?)?);
        (least..=most).contains(&number).then_some(number)
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// `None` for null, else what `read` makes of it.
    pub fn or_null<T>(
        &self,
        read: impl FnOnce(&Node<'a>) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Wrong> {
        if *self.value == Value::Null { Ok(None) } else { read(self).map(Some) }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, Wrong> {
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::Null
            | Value::Natural(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Object(_) => {
                let lower = self.as_text().map(str::to_ascii_lowercase);
                let remedy = match lower.as_deref() {
                    Some("true" | "yes" | "on" | "1") => "write true, without quotes",
                    Some("false" | "no" | "off" | "0") => "write false, without quotes",
                    _ => "write true or false",
                };
                Err(self.not("true or false", remedy))
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub fn whole<T: TryFrom<u64>>(&self, least: u64, most: u64) -> Result<T, Wrong> {
        let remedy = || format!("write {least} to {most}");
        let out_of_range = || self.wrong("is out of range", remedy());
        match self.value {
            Value::Natural(number) if (least..=most).contains(number) => {
                T::try_from(*number).map_err(|_| out_of_range())
            }
            Value::Natural(_) => Err(out_of_range()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Object(_) => {
                let meant = self.quoted_number(least, most);
                let meant = meant.map(|number| format!("write {number}, without quotes"));
                Err(self.not("a whole number", meant.unwrap_or_else(remedy)))
            }
        }
    }

    /// The text as it stands; `kind` and `remedy` say what else would be right.
    pub fn text(&self, kind: &str, remedy: &str) -> Result<&'a str, Wrong> {
        self.as_text().ok_or_else(|| self.not(kind, remedy))
    }

    /// One of a few words, each with what it stands for.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Wrong> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let all = format!("write {}", text::list(&names, " or "));
        let text = self.text("one of the words", &all)?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let remedy = match text::meant(text, &names) {
            Some(meant) => format!("did you mean {}?", quote(meant)),
            None => all,
        };
        Err(self.wrong("is not one of the words", remedy))
    }

    /// A duration from `least` to `most`, such as `5s`.
    pub fn duration(&self, least: Millis, most: Millis) -> Result<Millis, Wrong> {
        let example = "write \"5s\" or \"250ms\"";
        if let Value::Natural(_) = self.value {
            return Err(self.wrong("has no unit", example));
        }
        let duration = units::duration(self.text("a duration", example)?)?;
        if (least..=most).contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (units::write_duration(least), units::write_duration(most));
        Err(self.wrong("is out of range", format!("write \"{least}\" to \"{most}\"")))
    }

    /// Bytes from `least` to `most`: a number, or text such as `64KiB`.
    pub fn size(&self, least: u64, most: u64) -> Result<u64, Wrong> {
        let bytes = match self.value {
            Value::Natural(bytes) => *bytes,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Object(_) => {
                units::size(self.text("a size", "write \"64KiB\", \"8MiB\" or a number of bytes")?)?
            }
        };
        if (least..=most).contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (units::write_size(least), units::write_size(most));
        Err(self.wrong("is out of range", format!("write \"{least}\" to \"{most}\"")))
    }

    /// A token (RFC 9110 §5.6.2) of at most [`LONGEST_TOKEN`] characters.
    pub fn token(&self, kind: &str, example: &str) -> Result<String, Wrong> {
        let remedy = format!("write {}", quote(example));
        let text = self.text(kind, &remedy)?;
        if text.len() > LONGEST_TOKEN {
            let remedy = format!("write at most {LONGEST_TOKEN} characters");
            return Err(self.wrong("is too long", remedy));
        }
        if is_token(text) { Ok(text.to_owned()) } else { Err(self.not(kind, remedy)) }
    }

    /// A path from the root of the file system.
    pub fn absolute_path(&self) -> Result<PathBuf, Wrong> {
        let remedy = "write a path that starts with \"/\"";
        let text = self.text("an absolute path", remedy)?;
        if text.starts_with('/') && !text.contains('\0') {
            Ok(PathBuf::from(text))
        } else {
            Err(self.not("an absolute path", remedy))
        }
    }

    /// A path for the file of a Unix socket.
    pub fn socket_path(&self) -> Result<UnixPath, Wrong> {
        self.absolute_path()?;
        UnixPath::parse(self.text("an absolute path", "")?)
    }
}

/// What is wrong with a key that an object does not have: whether it is another's, or another program's, or
/// misspelt.
fn unknown(key: &str, object: &str, known: &[&str]) -> Wrong {
    let fault = UNKNOWN;
    if let Some((program, remedy)) = dictionary::key(key, object) {
        let fault =
            program.map_or_else(|| String::from(fault), |whose| format!("{fault}, {whose}"));
        return Wrong::new(fault, remedy);
    }
    if let Some(home) = keys::home(key) {
        let remedy = match object {
            "" | "pools" if keys::TIMEOUTS.contains(&key) => {
                format!("did you mean \"timeouts.{key}\"?")
            }
            _ => format!("its place is {home}"),
        };
        return Wrong::new(fault, remedy);
    }
    let remedy = match text::meant(key, known) {
        Some(meant) => format!("did you mean {}?", quote(meant)),
        None if known.len() <= 10 => format!("there are {}", text::list(known, " and ")),
        None => String::from("see servers.conf(5); a key that starts with \"#\" is a comment"),
    };
    Wrong::new(fault, remedy)
}

/// The key of the object around `place`, or of the list that it is an entry of; empty at the top level.
fn object_of(place: &str) -> &str {
    let around = place.rfind('.').map_or("", |dot| &place[..dot]);
    let list =
        around.rfind('[').filter(|_| around.ends_with(']')).map_or(around, |at| &around[..at]);
    // The keys of a pool are those of the top level.
    if list.starts_with("pools.") && !list["pools.".len()..].contains('.') {
        return "pools";
    }
    list.rsplit('.').next().unwrap_or_default()
}

/// Whether it is a token: RFC 9110 §5.6.2.
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
