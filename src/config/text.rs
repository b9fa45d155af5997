//! Words in messages: quoting what was written, and guessing what was meant.

/// Characters of a quoted value that are shown; what follows is cut off.
const SHOWN: usize = 60;

/// `text` in double quotes, as JSON writes it, fit for a terminal: no control character passes,
/// and a long text is cut.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        match character {
            _ if index == SHOWN => {
                quoted.push_str("...");
                break;
            }
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// The words quoted, as a person lists them: `"a", "b" or "c"` with " or " as `last`.
pub fn list(words: &[&str], last: &str) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let joint = match index {
            0 => "",
            _ if index + 1 == words.len() => last,
            _ => ", ",
        };
        text.push_str(joint);
        text.push_str(&quote(word));
    }
    text
}

/// The one of `known` that was probably meant by `word`, if any is near enough.
pub fn meant<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let length = word.chars().count();
    let nearest = nearest(&word, known)?;
    if distance(&word, nearest) <= (length / 3).clamp(1, 4) {
        return Some(nearest);
    }
    let stem = word.strip_suffix('s').unwrap_or(&word);
    known.iter().copied().find(|known| stem.len() >= 4 && known.contains(stem))
}

/// The one of `known` that differs least from `word`; of several the first. None of none.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|known| distance(word, known))
}

/// How many letters must be added, removed, exchanged or swapped with their neighbour to turn
/// one word into the other. Words are compared by their first 60 letters.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(SHOWN).collect();
    let other: Vec<char> = other.chars().take(SHOWN).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            let mut least = (last[j - 1] + usize::from(!same)).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(before_last[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_cannot_disturb_a_terminal() {
        assert_eq!(quote("a\"b\\c\n\u{1b}[2J\u{9b}é"), r#""a\"b\\c\n\u001b[2J\u009bé""#);
        assert_eq!(quote(&"x".repeat(61)), format!("\"{}...\"", "x".repeat(60)));
        assert_eq!(quote(&"x".repeat(60)), format!("\"{}\"", "x".repeat(60)));
    }

    #[test]
    fn distances_are_counted_in_edits() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lsiten", "listen", 1),
            ("helth_check", "health_check", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ];
        for (one, other, expected) in cases {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_word_is_guessed_only_when_it_is_near() {
        let known = ["listen", "workers", "backend_servers", "max_connections", "via"];
        assert_eq!(meant("listn", &known), Some("listen"));
        assert_eq!(meant("Worker", &known), Some("workers"));
        assert_eq!(meant("backend-servers", &known), Some("backend_servers"));
        assert_eq!(meant("backends", &known), Some("backend_servers"));
        assert_eq!(meant("servers", &known), Some("backend_servers"));
        assert_eq!(meant("max_conn", &known), Some("max_connections"));
        assert_eq!(meant("tls", &known), None);
        assert_eq!(meant("", &known), None);
        assert_eq!(meant("x", &[]), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(list(&["a"], " or "), r#""a""#);
        assert_eq!(list(&["a", "b", "c"], " or "), r#""a", "b" or "c""#);
    }
}
