//! Reading values of the tree by kind and range, and collecting the mistakes.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::endpoint::UnixPath;
use super::error::{ConfigError, Wrong};
use super::file::Value;
use super::text::{self, quote};
use super::units;
use crate::mem::time::Millis;

/// The longest that can be configured anywhere: a week.
pub const WEEK: Millis = Millis::from_secs(7 * 24 * 3600);
/// The shortest duration that is not zero.
pub const INSTANT: Millis = Millis(1);

/// Characters of the longest token. Those that are written into heads have so much room there.
const LONGEST_TOKEN: usize = 64;

/// A value and the path that leads to it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    place: String,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    /// Notes that the value of `node` is wrong.
    pub fn add(&mut self, node: &Node, wrong: Wrong) {
        self.add_at(node.place.clone(), wrong);
    }

    /// Notes what is wrong at `place`; an empty one stands for the whole file.
    pub fn add_at(&mut self, place: String, wrong: Wrong) {
        let place = if place.is_empty() { String::from("the file") } else { place };
        self.0.push(ConfigError { place, fault: wrong.fault, remedy: wrong.remedy });
    }

    /// Notes a key that nobody knows among `known`.
    pub fn add_unknown(&mut self, node: &Node, key: &str, known: &[&str]) {
        let remedy = match text::meant(key, known) {
            Some(meant) => format!("did you mean {}?", quote(meant)),
            None if known.len() <= 10 => format!("there are {}", text::list(known, " and ")),
            None => String::from("see servers.conf(5); a key that starts with \"#\" is a comment"),
        };
        self.add(node, Wrong::new("unknown key", remedy));
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
        let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        self.0.iter().any(|error| error.place.strip_prefix(place).is_some_and(within))
    }

    /// All mistakes in the order in which their places stand in the file.
    pub fn in_order(mut self, root: &Value) -> Vec<ConfigError> {
        if !self.0.is_empty() {
            let mut order = HashMap::new();
            number_places(&Node::root(root), &mut order);
            self.0.sort_by_key(|error| order.get(&error.place).copied().unwrap_or(0));
        }
        self.0
    }
}

/// Gives every place of the tree its number in the file's order.
fn number_places(node: &Node, order: &mut HashMap<String, usize>) {
    let next = order.len() + 1;
    order.entry(node.place.clone()).or_insert(next);
    match node.value {
        Value::Object(entries) => {
            for (key, value) in entries {
                number_places(&node.child(key, value), order);
            }
        }
        Value::List(items) => {
            for (index, value) in items.iter().enumerate() {
                number_places(&node.item(index, value), order);
            }
        }
        Value::Null | Value::Bool(_) | Value::Natural(_) | Value::Number(_) | Value::Text(_) => (),
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
        Node { value, place: format!("{}[{index}]", self.place) }
    }

    /// Notes every key that an object has twice, here and at any depth.
    pub fn find_duplicates(&self, mistakes: &mut Mistakes) {
        match self.value {
            Value::Object(entries) => {
                let mut seen: HashMap<&str, usize> = HashMap::new();
                for (key, value) in entries {
                    let node = self.child(key, value);
                    let times = seen.entry(key).or_insert(0);
                    *times += 1;
                    if *times == 2 {
                        let wrong = Wrong::new("duplicate key", "set it only once");
                        mistakes.add(&node, wrong);
                    }
                    node.find_duplicates(mistakes);
                }
            }
            Value::List(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.item(index, value).find_duplicates(mistakes);
                }
            }
            Value::Null | Value::Bool(_) | Value::Natural(_) | Value::Number(_) => (),
            Value::Text(_) => (),
        }
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
            mistakes.add(self, self.not("an object", "write {...}"));
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
            mistakes.add(self, self.not("a list", "write [...]"));
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
            | Value::Object(_) => Err(self.not("true or false", "write true or false")),
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
            | Value::Object(_) => Err(self.not("a whole number", remedy())),
        }
    }

    /// The text as it stands; `kind` and `remedy` say what else would be right.
    pub fn text(&self, kind: &str, remedy: &str) -> Result<&'a str, Wrong> {
        match self.value {
            Value::Text(text) => Ok(text),
            Value::Null
            | Value::Bool(_)
            | Value::Natural(_)
            | Value::Number(_)
            | Value::List(_)
            | Value::Object(_) => Err(self.not(kind, remedy)),
        }
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

/// The path of a key of the object at `parent`.
pub fn place_of_key(parent: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let dot = if parent.is_empty() { "" } else { "." };
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(plain) {
        format!("{parent}{dot}{key}")
    } else {
        format!("{parent}{dot}{}", quote(key))
    }
}

/// Whether it is a token: RFC 9110 §5.6.2.
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
