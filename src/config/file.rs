//! What a file says as a tree that keeps the order of its keys, and duplicates; and the tree as JSON.
//!
//! `serde_json`'s own tree drops all but the last of equal keys without a word, its derived structs stop
//! at the first mistake, and neither knows lines; hence this one. Comments are gone from it.

use std::fmt;

use super::text::quote;

/// Characters of a list or an object that is written on one line.
const LINE: usize = 100;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number from 0 to 2^64 - 1.
    Natural(u64),
    /// Any other number, as text: no key takes one.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object: its keys in their order, duplicates included, comments left out.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The value as a message shows it: scalars as they are, the others by their kind.
    pub fn shown(&self) -> String {
        match self {
            Value::Null => String::from("null"),
            Value::Bool(value) => value.to_string(),
            Value::Natural(number) => number.to_string(),
            Value::Number(text) => text.clone(),
            Value::Text(text) => quote(text),
            Value::List(_) => String::from("a list"),
            Value::Object(_) => String::from("an object"),
        }
    }

    fn is_scalar(&self) -> bool {
        match self {
            Value::Null
            | Value::Bool(_)
            | Value::Natural(_)
            | Value::Number(_)
            | Value::Text(_) => true,
            Value::List(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
        }
    }

    /// A value without members, as JSON.
    fn on_one_line(&self) -> String {
        match self {
            Value::Text(text) => json_string(text),
            Value::List(_) => String::from("[]"),
            Value::Object(_) => String::from("{}"),
            Value::Null | Value::Bool(_) | Value::Natural(_) | Value::Number(_) => self.shown(),
        }
    }

    /// Appends the value as JSON, indented by two spaces a level; a list or an object that holds
    /// nothing but scalars stands on one line if it fits.
    fn write(&self, indent: usize, text: &mut String) {
        match self {
            Value::List(items) if !items.is_empty() => {
                let items: Vec<_> = items.iter().map(|item| (String::new(), item)).collect();
                write_members("[", &items, "]", indent, text);
            }
            Value::Object(entries) if !entries.is_empty() => {
                let key = |key| format!("{}: ", json_string(key));
                let entries: Vec<_> =
                    entries.iter().map(|(name, value)| (key(name), value)).collect();
                write_members("{", &entries, "}", indent, text);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Natural(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Object(_) => text.push_str(&self.on_one_line()),
        }
    }
}

fn write_members(
    open: &str,
    members: &[(String, &Value)],
    close: &str,
    indent: usize,
    text: &mut String,
) {
    if indent > 0 && members.iter().all(|(_, value)| value.is_scalar()) {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{key}{}", value.on_one_line())).collect();
        let line = format!("{open}{}{close}", members.join(", "));
        if line.len() <= LINE {
            return text.push_str(&line);
        }
    }
    text.push_str(open);
    for (index, (key, value)) in members.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        text.push_str(&format!("{comma}\n{:1$}{key}", "", 2 * (indent + 1)));
        value.write(indent + 1, text);
    }
    text.push_str(&format!("\n{:1$}", "", 2 * indent));
    text.push_str(close);
}

fn json_string(text: &str) -> String {
    // Strings always have a JSON form: writing one cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(0, &mut text);
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::json;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let text = "{\n  \"a\": [],\n  \"b\": [\n    {\"c\": \"\\u0001\\\"\", \"d\": null}\n  ],\n  \"e\": [1, true]\n}";
        let value = json::read(text).tree;
        assert_eq!(value.to_string(), text);
        assert_eq!(json::read(&value.to_string()).tree, value);
    }
}
