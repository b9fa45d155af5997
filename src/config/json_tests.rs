//! Texts that are JSON, nearly so, and not at all.

use super::*;
use crate::config::check::tests::{EVERYTHING, MORE};
use crate::mem::xorshift::Xorshift;

fn told(text: &str) -> Vec<String> {
    read(text).mistakes.iter().map(ConfigError::to_string).collect()
}

#[test]
fn order_and_duplicates_are_kept_and_comments_are_not() {
    let text = r##"{"b": 1, "#": [{"x": 1, "x": 2}], "a": {"# note": 3}, "b": -1}"##;
    let expected = Value::Object(vec![
        ("b".into(), Value::Natural(1)),
        ("a".into(), Value::Object(Vec::new())),
        ("b".into(), Value::Number("-1".into())),
    ]);
    assert_eq!(read(text).tree, expected);
    assert_eq!(told(text), ["line 1: b: duplicate key: line 1 has it already (set it only once)"]);
    let list = Value::List(vec![Value::Number("1.0".into())]);
    assert_eq!(read("\u{feff}[1.0]").tree, list);
    assert_eq!(told("\u{feff}[1.0]"), [""; 0]);
}

#[test]
fn each_value_has_its_line() {
    let source = read("\n{\"a\": [\n1, {\n\"b\":\n2}],\n\"#\": {\"c\": 1}, \"d.e\": 1}");
    let line = |place| source.lines.position(place).map(|at| at.line);
    let lines = ["", "a", "a[0]", "a[1]", "a[1].b", "\"d.e\""].map(line);
    assert_eq!(lines, [2, 2, 3, 3, 4, 6].map(Some));
    assert!(!source.lines.have("#.c"));
}

/// Mistakes of writing, and all that is said of them.
const NEARLY: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "line 1, column 1: there is nothing in it (the least is {\"backend_servers\": [{\"ip\": \"127.0.0.1\", \"port\": 8001}]})",
        ],
    ),
    ("{\n  \"a\": 1,\n}", &["line 2, column 9: trailing comma (remove the comma)"]),
    ("[1,\n 2, ]", &["line 2, column 3: trailing comma (remove the comma)"]),
    ("{\"a\": 1,, \"b\": 2}", &["line 1, column 9: a comma too many (remove it)"]),
    (
        "{\n  \"a\": 1\n  \"b\": 2\n}",
        &["line 2, column 9: a comma is missing here (add it: what follows is another value)"],
    ),
    (
        "[{} {}]",
        &["line 1, column 4: a comma is missing here (add it: what follows is another value)"],
    ),
    (
        "{\"a\": 1; \"b\": 2;}",
        &[
            "line 1, column 8: a semicolon (write a comma, and none behind the last)",
            "line 1, column 16: a semicolon (write a comma, and none behind the last)",
        ],
    ),
    (
        "{\n\"a\": {\n\"b\": 1\n",
        &[
            "line 4, column 1: the file ends too early: \"{\" of line 2 is open (close it with \"}\")",
        ],
    ),
    (
        "{\"a\": [1}",
        &["line 1, column 9: \"}\" stands where \"[\" of line 1 is open (write \"]\")"],
    ),
    (
        "{\"a\": 1}}",
        &["line 1, column 9: one \"}\" too many (remove it, or the one that closes too early)"],
    ),
    (
        "{} {}",
        &[
            "line 1, column 4: something follows the end of the configuration (remove it, or move it before the last \"}\")",
        ],
    ),
    (
        "{\n// x\n// y\n\"a\": 1, # z\n\"b\": /* 2 */ 2}",
        &[
            "line 2, column 1: JSON has no comments that start with // (write it as a key that starts with #, such as \"# why\": \"\")",
            "line 4, column 9: JSON has no comments that start with # (write it as a key that starts with #, such as \"# why\": \"\")",
            "line 5, column 6: JSON has no comments that start with /* (write it as a key that starts with #, such as \"# why\": \"\")",
        ],
    ),
    (
        "{'a': 'x'}",
        &[
            "line 1, column 2: text in single quotes (write double quotes: \"a\")",
            "line 1, column 7: text in single quotes (write double quotes: \"x\")",
        ],
    ),
    (
        "{\"a\": “x y”}",
        &["line 1, column 7: text in typographic quotation marks (write straight ones: \"x y\")"],
    ),
    ("{a: 1}", &["line 1, column 2: the key \"a\" has no quotes (write \"a\")"]),
    ("{\"a\" = 1}", &["line 1, column 6: \"=\" behind a key (write \":\")"]),
    ("{\"a\" => 1}", &["line 1, column 6: \"=\" behind a key (write \":\")"]),
    (
        "{\"a\" 1}",
        &["line 1, column 6: there is no colon behind the key \"a\" (write \"key\": value)"],
    ),
    (
        "{\"a\": , \"b\"}",
        &[
            "line 1, column 7: there is no value here (write text in double quotes, a number, true, false, null, [...] or {...})",
            "line 1, column 12: there is no value here (write text in double quotes, a number, true, false, null, [...] or {...})",
        ],
    ),
    ("{\"ä\": x}", &["line 1, column 7: the text \"x\" has no quotes (write \"x\")"]),
    (
        "{\"a\": 5s, \"b\": 10.0.0.7:80}",
        &[
            "line 1, column 7: the text \"5s\" has no quotes (write \"5s\")",
            "line 1, column 16: the text \"10.0.0.7:80\" has no quotes (write \"10.0.0.7:80\")",
        ],
    ),
    ("[True]", &["line 1, column 2: \"True\" is not how JSON writes it (write true)"]),
    ("[0644]", &["line 1, column 2: \"0644\" is not how JSON writes it (write 644)"]),
    ("[on]", &["line 1, column 2: \"on\" has no quotes (write true, or \"on\" if it is text)"]),
    (
        "{\"a\": 1,\n\"b\": \"x,\n\"c\": 1}",
        &["line 2, column 6: a quotation mark has no partner in its line (add the missing one)"],
    ),
    (
        "{\"a\": \"10.0.0.1, \"port\": 80}",
        &["line 1, column 23: a quotation mark has no partner in its line (add the missing one)"],
    ),
    ("[\"a\tb\"]", &["line 1, column 2: a control character within text (write \\t)"]),
    ("[\"a\\d\"]", &["line 1, column 2: \\d is no escape of JSON (write \\\\ for a backslash)"]),
    (
        "[\"a\": 1]",
        &["line 1, column 5: a key in a list (write {...} around keys with their values)"],
    ),
    (
        "{\"a\": \"b\": 1}",
        &["line 1, column 10: a second colon (is a comma or a quotation mark missing before it?)"],
    ),
    ("{: 1}", &["line 1, column 2: \":\" where a key is expected (write \"key\": value)"]),
    (
        "\"listen\": [\":80\"]",
        &["line 1, column 1: there are no braces around it (write { before and } behind it)"],
    ),
];

#[test]
fn what_is_not_json_is_told_by_line_and_column() {
    for (text, expected) in NEARLY {
        assert_eq!(&told(text), expected, "{text}");
    }
}

#[test]
fn brackets_within_brackets_have_an_end() {
    let [told] = &told(&"[".repeat(100_000))[..] else { panic!() };
    assert!(told.starts_with("line 1, column 128: more than 127 brackets"), "{told}");
    assert!(read(&format!("{}{}", "[".repeat(127), "]".repeat(127))).is_whole);
}

#[test]
fn mistakes_have_an_end() {
    let source = read(&format!("[{}]", "x,\n".repeat(1000)));
    assert!(!source.is_whole && source.mistakes.len() == MOST_MISTAKES);
    let keys: String = (0..1000).map(|key| format!("\"{key}\": 1, \"{key}\": 2,\n")).collect();
    assert_eq!(read(&format!("{{{keys}\"x\": 1}}")).mistakes.len(), MOST_MISTAKES);
}

#[test]
fn bytes_that_are_not_utf8_are_named_by_line_and_column() {
    let place = |valid: &str, rest: &[u8]| not_utf8(valid.as_bytes(), rest).to_string();
    assert_eq!(
        place("{\n\"é", b"\xff"),
        "line 2, column 3: a byte that is not UTF-8 (save the file as UTF-8)"
    );
    assert_eq!(
        place("", b"\xff\xfe{"),
        "line 1, column 1: this is UTF-16 (save the file as UTF-8)"
    );
}

/// Whatever is done to a good file: what `serde_json` reads is read without a mistake and as the same, and
/// what it refuses is told.
#[test]
fn what_is_json_is_what_serde_json_reads() {
    let pieces: Vec<&str> =
        "\" { } [ ] , : 0 -1 1e9 null true \"\" \"5\" # \\u0000 \\ \n é \\ud83d\\ude00"
            .split(' ')
            .chain([
                "-0.5E+2",
                "01",
                "//",
                "\t",
                "\"a\": 1,",
                "18446744073709551616",
                "'",
                "=",
                "1.",
            ])
            .collect();
    let mut valid = 0;
    for seed in 1..=3_000 {
        let mut random = Xorshift::new(seed);
        let mut text: Vec<char> = if seed % 2 == 0 { EVERYTHING } else { MORE }.chars().collect();
        for _ in 0..=random.below(2) {
            let at = random.below(text.len());
            let end = at + random.below((text.len() - at).min(6));
            let piece = pieces[random.below(pieces.len())].chars();
            match random.below(4) {
                0 => drop(text.splice(at..end, piece)),
                1 => drop(text.splice(at..at, piece)),
                2 => drop(text.drain(at..end)),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let source = read(&text);
        let is_duplicate = |one: &&ConfigError| one.fault.starts_with("duplicate key");
        let wrong = source.mistakes.iter().find(|one| !is_duplicate(one));
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => {
                valid += 1;
                assert!(wrong.is_none() && source.is_whole, "seed {seed}: {wrong:?} {text}");
                let again: serde_json::Value =
                    serde_json::from_str(&source.tree.to_string()).expect("JSON");
                assert_eq!(again, without_comments(value), "seed {seed}: {text}");
            }
            Err(error) if error.to_string().starts_with("number out of range") => (),
            Err(error) => assert!(wrong.is_some(), "seed {seed}: {error}: {text}"),
        }
    }
    assert!(valid > 100, "only {valid} were valid");
}

fn without_comments(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::{Array, Object};
    match value {
        Object(entries) => {
            let kept = entries.into_iter().filter(|(key, _)| !key.starts_with('#'));
            Object(kept.map(|(key, value)| (key, without_comments(value))).collect())
        }
        Array(items) => Array(items.into_iter().map(without_comments).collect()),
        other => other,
    }
}
