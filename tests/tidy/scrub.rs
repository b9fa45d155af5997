//! Rust source without what is no code of the program: comments, texts and test modules become
//! blanks, so that line numbers stay right.

/// Blanks comments, and the contents of string and character literals.
pub fn without_comments_and_texts(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_to_blank(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn token_to_blank(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    } else if rest.starts_with(b"/*") {
        at + block_comment(rest)
    } else if rest[0] == b'"' {
        at + 1 + quoted(&rest[1..], b'"')
    } else if rest[0] == b'r' && (!in_word || bytes[at - 1] == b'b') {
        at + raw_text(rest)
    } else if rest[0] == b'\'' {
        at + character(rest)
    } else {
        at
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a literal's content with its closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_text(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let content = &rest[2 + hashes..];
    let end = content.windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| 2 + hashes + end + closing.len())
}

/// The length of a character literal, 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return 1 + quoted(&rest[1..], b'\'');
    }
    let closing = rest.iter().skip(2).take(4).position(|&byte| byte == b'\'');
    match closing {
        Some(0) => 3,
        Some(more) if rest[1] >= 0x80 => 3 + more,
        _ => 0,
    }
}

/// Blanks every item under `#[cfg(test)]`, further attributes on it included. The source must
/// be without comments and texts.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        let end = item_end(code.as_bytes(), start + MARK.len());
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The names of modules in files of their own that are tests. The source must be without
/// comments and texts.
pub fn test_modules(code: &str) -> impl Iterator<Item = &str> {
    code.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let item = rest.split([';', '{']).next()?;
        let is_file = rest[item.len()..].starts_with(';');
        let mut words = item.split_whitespace().skip_while(|word| *word != "mod");
        words.next().and(words.next()).filter(|_| is_file)
    })
}

/// The end of the item that follows: its `;` or the brace that closes its first one.
fn item_end(code: &[u8], from: usize) -> usize {
    let (mut depth, mut at, mut is_import) = (0, from, false);
    while at < code.len() {
        match code[at] {
            b';' if depth == 0 => return at + 1,
            b'{' | b'[' | b'(' => depth += 1,
            b']' | b')' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 && !is_import {
                    return at + 1;
                }
            }
            b'u' if depth == 0 && word_at(code, at) == b"use" => is_import = true,
            _ => (),
        }
        at += 1;
    }
    code.len()
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The word that starts at `at`; empty in the midst of one.
pub fn word_at(code: &[u8], at: usize) -> &[u8] {
    if at > 0 && is_word(code[at - 1]) {
        return &[];
    }
    let len = code[at..].iter().take_while(|&&byte| is_word(byte)).count();
    &code[at..at + len]
}
