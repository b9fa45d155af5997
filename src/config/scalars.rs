//! Text, numbers and words of a file as they are written, rightly or nearly so.

use super::error::Wrong;
use super::file::Value;
use super::text::quote;

/// Text that was found between quotation marks.
#[derive(Debug, PartialEq)]
pub struct Quoted {
    /// What it stands for.
    pub text: String,
    /// Its bytes, with the marks.
    pub length: usize,
    /// What of it is not JSON.
    pub wrong: Option<Wrong>,
    /// Whether it is clear what it stands for.
    pub is_certain: bool,
}

/// A word without quotation marks.
#[derive(Debug, PartialEq)]
pub enum Bare {
    /// JSON has it.
    Json(Value),
    /// It has not, but it is clear what is meant.
    Meant(Value, Wrong),
    /// It could be text or something else.
    Unclear(Wrong),
}

/// Marks around text, of which only the first are those of JSON.
const MARKS: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('”', '”')];

/// Digits of a number that are kept for messages: those of no key are more.
const SHOWN_DIGITS: usize = 40;

/// Reads the text at the beginning of `text`, if it begins with a quotation mark. An error where there
/// is no other in its line.
pub fn quoted(text: &str) -> Option<Result<Quoted, Wrong>> {
    let mut characters = text.char_indices();
    let (_, first) = characters.next()?;
    let (open, close) = *MARKS.iter().find(|(open, _)| *open == first)?;
    let mut found = Quoted { text: String::new(), length: 0, wrong: None, is_certain: true };
    let mut fault = None;
    let end = loop {
        match characters.next() {
            None | Some((_, '\n')) => {
                let remedy = "add the missing one";
                return Some(Err(Wrong::new(
                    "a quotation mark has no partner in its line",
                    remedy,
                )));
            }
            Some((at, character)) if character == close => break at + close.len_utf8(),
            Some((at, '\\')) => match escape(&text[at..], close) {
                Some((character, length)) => {
                    found.text.push(character);
                    let left = text[at..].chars().take_while({
                        let mut bytes = 0;
                        move |character| {
                            bytes += character.len_utf8();
                            bytes <= length
                        }
                    });
                    for _ in 1..left.count() {
                        characters.next();
                    }
                }
                None => fault = fault.or(Some(wrong_escape(&text[at..]))),
            },
            Some((_, character)) => {
                if character.is_ascii_control() && character != '\u{7f}' {
                    let written = character.escape_default().to_string();
                    let written = if character == '\t' { String::from("\\t") } else { written };
                    let fault_here = "a control character within text";
                    fault = fault.or(Some(Wrong::new(fault_here, format!("write {written}"))));
                }
                found.text.push(character);
            }
        }
    };
    found.length = end;
    found.is_certain = fault.is_none();
    found.wrong = match open {
        '"' => fault,
        '\'' => {
            let remedy = format!("write double quotes: {}", quote(&found.text));
            Some(Wrong::new("text in single quotes", remedy))
        }
        _ => {
            let remedy = format!("write straight ones: {}", quote(&found.text));
            Some(Wrong::new("text in typographic quotation marks", remedy))
        }
    };
    Some(Ok(found))
}

/// The character that an escape stands for, and the bytes of the escape; `None` if JSON has no such.
fn escape(text: &str, close: char) -> Option<(char, usize)> {
    let letter = text[1..].chars().next()?;
    let character = match letter {
        '"' | '\\' | '/' => letter,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode_escape(text),
        _ if letter == close => letter,
        _ => return None,
    };
    Some((character, 1 + letter.len_utf8()))
}

/// `\u00e9`, or two such for a character beyond the first 65,536.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = unit(6).filter(|second| (0xdc00..0xe000).contains(second) && first < 0xdc00)?;
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code).map(|character| (character, 12))
}

fn wrong_escape(text: &str) -> Wrong {
    if text.starts_with("\\u") {
        let is_whole = text
            .get(2..6)
            .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let (fault, remedy) = match is_whole {
            true => ("is half of a character", "write the character itself"),
            false => ("has not four hexadecimal digits", "write \\\\ for a backslash"),
        };
        let shown: String = text.chars().take(6).filter(char::is_ascii_graphic).collect();
        return Wrong::new(format!("{shown} {fault}"), remedy);
    }
    let shown: String = text.chars().take(2).filter(|character| !character.is_control()).collect();
    Wrong::new(format!("{shown} is no escape of JSON"), "write \\\\ for a backslash")
}

/// What a word without quotation marks is.
pub fn bare(word: &str) -> Bare {
    if let Some(value) = literal(word).or_else(|| number(word)) {
        return Bare::Json(value);
    }
    let shown = quote(word);
    let lower = word.to_ascii_lowercase();
    let instead = |value: Value| {
        let remedy = format!("write {}", value.shown());
        Bare::Meant(value, Wrong::new(format!("{shown} is not how JSON writes it"), remedy))
    };
    match lower.as_str() {
        "none" | "nil" | "undefined" => return instead(Value::Null),
        "yes" | "on" => return Bare::Unclear(no_quotes(&shown, "true")),
        "no" | "off" => return Bare::Unclear(no_quotes(&shown, "false")),
        _ => (),
    }
    if let Some(value) = literal(&lower).or_else(|| other_number(&lower)) {
        return instead(value);
    }
    let wrong = Wrong::new(format!("the text {shown} has no quotes"), format!("write {shown}"));
    Bare::Meant(Value::Text(word.to_owned()), wrong)
}

fn no_quotes(shown: &str, other: &str) -> Wrong {
    Wrong::new(format!("{shown} has no quotes"), format!("write {other}, or {shown} if it is text"))
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        _ => None,
    }
}

/// A number by RFC 8259 §6.
fn number(word: &str) -> Option<Value> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let whole = digits(unsigned);
    let is_padded = whole > 1 && unsigned.starts_with('0');
    let mut rest = &unsigned[whole..];
    let mut is_number = whole > 0 && !is_padded;
    if let Some(fraction) = rest.strip_prefix('.') {
        is_number &= digits(fraction) > 0;
        rest = &fraction[digits(fraction)..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        is_number &= digits(exponent) > 0;
        rest = &exponent[digits(exponent)..];
    }
    if !is_number || !rest.is_empty() {
        return None;
    }
    Some(match word.parse() {
        Ok(number) => Value::Natural(number),
        Err(_) => {
            let more = if word.len() > SHOWN_DIGITS { "..." } else { "" };
            Value::Number(format!("{}{more}", &word[..word.len().min(SHOWN_DIGITS)]))
        }
    })
}

/// A number as other languages write it: `+5`, `007`, `0x1f`, `1_000`.
fn other_number(word: &str) -> Option<Value> {
    let word = word.strip_prefix('+').unwrap_or(word);
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if word.starts_with(|first: char| first.is_ascii_digit()) => {
            word.replace('_', "").parse().ok()
        }
        None => None,
    };
    number.map(Value::Natural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_stands_between_quotation_marks() {
        for (written, text, rest) in [
            (r#""a" b"#, "a", " b"),
            (r#""""#, "", ""),
            (r#""\"\\\/\b\f\n\r\t" "#, "\"\\/\u{8}\u{c}\n\r\t", " "),
            (r#""\u00e9\ud83d\ude00é""#, "é😀é", ""),
            ("\"\u{7f}\"x", "\u{7f}", "x"),
        ] {
            let found = quoted(written).unwrap().unwrap();
            assert_eq!((&*found.text, &written[found.length..], found.wrong), (text, rest, None));
        }
        assert_eq!(quoted("a"), None);
        assert_eq!(quoted(""), None);
    }

    #[test]
    fn text_that_is_nearly_right_is_understood() {
        for (written, text, fault) in [
            ("'a\"b'", "a\"b", "text in single quotes"),
            ("“a b”", "a b", "text in typographic quotation marks"),
            ("„a“", "a", "text in typographic quotation marks"),
            ("\"a\tb\"", "a\tb", "a control character within text"),
            (r#""C:\x""#, "C:x", "\\x is no escape of JSON"),
            (r#""\ud800""#, "ud800", "\\ud800 is half of a character"),
            (r#""\u12g4""#, "u12g4", "\\u12g4 has not four hexadecimal digits"),
        ] {
            let found = quoted(written).unwrap().unwrap();
            assert_eq!((&*found.text, found.wrong.unwrap().fault.as_str()), (text, fault));
            assert_eq!(found.length, written.len());
        }
        for open in ["\"", "\"a\n\"", "'", "\"\\", "\"\\\"", "\"\\u12"] {
            assert!(matches!(quoted(open), Some(Err(_))), "{open}");
        }
    }

    #[test]
    fn words_are_what_json_has_or_told() {
        let natural = |number| Bare::Json(Value::Natural(number));
        assert_eq!(bare("18446744073709551615"), natural(u64::MAX));
        assert_eq!(bare("0"), natural(0));
        for word in ["-1", "1.0", "1e9", "18446744073709551616", "-0.5E-3"] {
            assert_eq!(bare(word), Bare::Json(Value::Number(word.to_owned())));
        }
        let meant = |word: &str| match bare(word) {
            Bare::Meant(value, _) => value,
            other => panic!("{word}: {other:?}"),
        };
        assert_eq!(meant("True"), Value::Bool(true));
        assert_eq!(meant("None"), Value::Null);
        for (word, number) in [("+5", 5), ("007", 7), ("0x1f", 31), ("1_000", 1000)] {
            assert_eq!(meant(word), Value::Natural(number), "{word}");
        }
        for word in ["5s", "10.0.0.7:80", ":80", "/a", "1.", ".5", "-", "1e", "01.5", "++1", "x"] {
            assert_eq!(meant(word), Value::Text(word.to_owned()));
        }
        assert!(matches!(bare("on"), Bare::Unclear(_)));
    }
}
