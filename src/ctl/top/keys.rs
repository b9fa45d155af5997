//! Keys, of what a terminal sends for them: ECMA-48, and what xterm made usual.

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To the end.
    Quit,
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// A letter, in lower case.
    Letter(char),
    /// Any other: no to a question.
    Other,
}

/// The keys in `bytes`, which came at once.
pub fn read(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        keys.push(match first {
            // ^C, ^D, and ^\ which no signal is made of here.
            3 | 4 | 28 => Key::Quit,
            b'q' | b'Q' => Key::Quit,
            b'k' => Key::Up,
            b'j' => Key::Down,
            0x1b => sequence(&mut bytes),
            letter if letter.is_ascii_alphabetic() => {
                Key::Letter(char::from(letter.to_ascii_lowercase()))
            }
            _ => Key::Other,
        });
    }
    keys
}

/// What stands behind an escape, which is taken off.
fn sequence(bytes: &mut &[u8]) -> Key {
    let [b'[' | b'O', rest @ ..] = bytes else { return Key::Other };
    let end = rest.iter().position(|byte| (0x40..0x7f).contains(byte));
    let Some(end) = end else {
        *bytes = &[];
        return Key::Other;
    };
    let (sequence, behind) = rest.split_at(end + 1);
    *bytes = behind;
    match sequence {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"5~" => Key::PageUp,
        b"6~" => Key::PageDown,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        use Key::{Down, Letter, Other, PageDown, PageUp, Quit, Up};
        assert_eq!(read(b"\x1b[A\x1bOBjk"), [Up, Down, Down, Up]);
        assert_eq!(read(b"\x1b[5~\x1b[6~"), [PageUp, PageDown]);
        assert_eq!(read(b"q\x03R"), [Quit, Quit, Letter('r')]);
        assert_eq!(read(b"\x1b[1;5C\x1b7\x1b[12"), [Other, Other, Other, Other]);
        assert_eq!(read("ä".as_bytes()), [Other, Other]);
    }
}
