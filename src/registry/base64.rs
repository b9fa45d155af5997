//! Base64, in which etcd has keys and values in JSON: RFC 4648 §4.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes as text.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let at = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= piece.len() { char::from(DIGITS[at]) } else { '=' });
        }
    }
    text
}

/// What `encode` made the text of. `None` for any other text.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.len() % 4 != 0 {
        return None;
    }
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for piece in digits.chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            let digit = piece.get(at).map_or(Some(0), |digit| value(*digit))?;
            bits = bits << 6 | digit;
        }
        let all = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        // What is cut off at the end must say nothing, or a text would mean the same as another.
        let count = piece.len() - 1;
        if count == 0 || all[count.min(3)..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&all[..count]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let at = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(at))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::mem::xorshift::Xorshift;

    #[test]
    fn the_examples_of_the_standard() {
        let words = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let texts = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (word, text) in words.into_iter().zip(texts) {
            assert_eq!(encode(word.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(word.as_bytes()));
        }
    }

    #[test]
    fn any_bytes_come_back_and_no_other_text_means_the_same() {
        let mut random = Xorshift::new(7);
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            let text = encode(&bytes);
            assert_eq!(decode(&text), Some(bytes.clone()));
            for at in 0..text.len() {
                for digit in ["A", "/", "=", "-"] {
                    let mut other = text.clone();
                    other.replace_range(at..=at, digit);
                    if other != text {
                        assert_ne!(decode(&other), Some(bytes.clone()), "{text} {other}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in
            ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Zm9v\n", "Zg==Zg==", "Zm9vé", "=Zm9"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
