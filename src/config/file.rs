//! The JSON of a file as a tree that keeps the order of its keys, and duplicates.
//!
//! `serde_json`'s own tree drops all but the last of equal keys without a word, and its derived
//! structs stop at the first mistake; hence this one. Comments are gone from it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::ConfigError;
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

/// Reads JSON. A byte order mark before it is ignored, as RFC 8259 §8.1 allows.
///
/// Fails at the first place that is not JSON, and names it by line and column.
pub fn parse(text: &str) -> Result<Value, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| syntax_error(text, &error))
}

/// The mistake of a file that is not UTF-8: `valid` is what comes before the first wrong byte.
pub fn not_utf8(valid: &[u8]) -> ConfigError {
    let line_start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
    ConfigError {
        place: place(line, 1 + String::from_utf8_lossy(&valid[line_start..]).chars().count()),
        fault: String::from("a byte that is not UTF-8"),
        remedy: String::from("save the file as UTF-8"),
    }
}

fn place(line: usize, column: usize) -> String {
    format!("line {line}, column {column}")
}

fn syntax_error(text: &str, error: &serde_json::Error) -> ConfigError {
    let (line, column) = (error.line(), error.column().max(1));
    let message = error.to_string();
    let fault = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => &message,
    };
    let line_bytes = text.split('\n').nth(line.saturating_sub(1)).unwrap_or("").as_bytes();
    let found = line_bytes.get(column - 1).copied();
    let (fault, remedy) = match (fault, found) {
        _ if text.trim().is_empty() => (
            "there is nothing in it",
            r#"the least is {"backend_servers": [{"ip": "127.0.0.1", "port": 8001}]}"#,
        ),
        ("expected value" | "key must be a string", Some(b'/')) => {
            (fault, r##"JSON has no such comments: a key that starts with "#" is one"##)
        }
        ("expected value" | "key must be a string", Some(b'\'')) => (fault, "write double quotes"),
        ("trailing comma", _) => (fault, "remove the comma"),
        ("key must be a string", _) => (fault, "write the key in double quotes"),
        ("trailing characters", _) => (fault, "remove what follows the end of the first value"),
        ("expected value" | "expected ident", _) => {
            (fault, "write text in double quotes, a number, true, false, null, [...] or {...}")
        }
        _ if fault.starts_with("EOF") => {
            ("the file ends too early", "close every bracket and quotation mark")
        }
        _ if fault.starts_with("expected `,`") => {
            (fault, "is a comma or a closing bracket missing before it?")
        }
        _ => (fault, "JSON does not allow it"),
    };
    ConfigError {
        // Columns are counted in characters, as editors do; serde_json counts bytes.
        place: place(line.max(1), characters(line_bytes, column - 1) + 1),
        fault: fault.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn characters(line: &[u8], bytes: usize) -> usize {
    String::from_utf8_lossy(&line[..bytes.min(line.len())]).chars().count()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Natural(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with('#') {
                entries.next_value::<IgnoredAny>()?;
            } else {
                object.push((key, entries.next_value()?));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_duplicates_are_kept_and_comments_are_not() {
        let text = r##"{"b": 1, "#": [{"x": 1, "x": 2}], "a": {"# note": 3}, "b": -1}"##;
        let expected = Value::Object(vec![
            ("b".into(), Value::Natural(1)),
            ("a".into(), Value::Object(Vec::new())),
            ("b".into(), Value::Number("-1".into())),
        ]);
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse("\u{feff}[1.0]"), Ok(Value::List(vec![Value::Number("1.0".into())])));
    }

    #[test]
    fn what_is_not_json_is_named_by_line_and_column() {
        let cases = [
            (
                "",
                "line 1, column 1: there is nothing in it (the least is {\"backend_servers\": [{\"ip\": \"127.0.0.1\", \"port\": 8001}]})",
            ),
            ("{\n  \"a\": 1,\n}", "line 3, column 1: trailing comma (remove the comma)"),
            (
                "{\n  \"a\": 1\n  \"b\": 2\n}",
                "line 3, column 3: expected `,` or `}` (is a comma or a closing bracket missing before it?)",
            ),
            (
                "{\"a\": 1",
                "line 1, column 7: the file ends too early (close every bracket and quotation mark)",
            ),
            (
                "{\n// x\n}",
                "line 2, column 1: key must be a string (JSON has no such comments: a key that starts with \"#\" is one)",
            ),
            ("{\"a\": 'x'}", "line 1, column 7: expected value (write double quotes)"),
            ("{a: 1}", "line 1, column 2: key must be a string (write the key in double quotes)"),
            (
                "{} {}",
                "line 1, column 4: trailing characters (remove what follows the end of the first value)",
            ),
            (
                "{\"ä\": x}",
                "line 1, column 7: expected value (write text in double quotes, a number, true, false, null, [...] or {...})",
            ),
            ("[1e999]", "line 1, column 6: number out of range (JSON does not allow it)"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn brackets_within_brackets_have_an_end() {
        let error = parse(&"[".repeat(100_000)).unwrap_err();
        assert_eq!(error.fault, "recursion limit exceeded");
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_named_by_line_and_column() {
        assert_eq!(not_utf8("{\n\"é".as_bytes()).place, "line 2, column 3");
        assert_eq!(not_utf8(b"").place, "line 1, column 1");
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let text = "{\n  \"a\": [],\n  \"b\": [\n    {\"c\": \"\\u0001\\\"\", \"d\": null}\n  ],\n  \"e\": [1, true]\n}";
        let value = parse(text).unwrap();
        assert_eq!(value.to_string(), text);
        assert_eq!(parse(&value.to_string()), Ok(value));
    }
}
