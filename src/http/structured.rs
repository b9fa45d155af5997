//! Structured fields, strictly: dictionaries of RFC 9651 §4.2.2. A single byte out of place makes
//! the whole field none, which is how those who define such fields want it.

/// The field is not structured as it should be, and to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The value of a member; its parameters are read and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Of at most 15 digits.
    Integer(i64),
    /// With at most three digits behind the point.
    Decimal,
    /// What is between the quotes, with its backslashes.
    String(&'a [u8]),
    /// A word.
    Token(&'a [u8]),
    /// In base64.
    Bytes,
    /// A member without a value is true.
    Boolean(bool),
    /// Seconds since the epoch.
    Date,
    /// Text of more than ASCII.
    DisplayString,
    /// Items in parentheses.
    InnerList,
}

/// Reads one line of a field as a dictionary, and hands each member over in its order. Of several
/// with one key the last counts. An empty line is an empty dictionary.
pub fn read_dictionary<'a>(
    line: &'a [u8],
    member: &mut impl FnMut(&'a [u8], Item<'a>),
) -> Result<(), Malformed> {
    let mut reader = StructuredReader { rest: line };
    reader.skip_spaces();
    while !reader.rest.is_empty() {
        let key = reader.key()?;
        let item = if reader.take(b'=') { reader.item_or_list()? } else { Item::Boolean(true) };
        reader.parameters()?;
        member(key, item);
        reader.skip_blanks();
        if reader.rest.is_empty() {
            return Ok(());
        }
        reader.demand(b',')?;
        reader.skip_blanks();
        if reader.rest.is_empty() {
            return Err(Malformed); // a comma at the end
        }
    }
    Ok(())
}

/// Takes a field apart, from the front. The numbers beside the functions are sections of RFC 9651.
struct StructuredReader<'a> {
    rest: &'a [u8],
}

impl<'a> StructuredReader<'a> {
    fn take(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte == wanted => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn demand(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.take(wanted) { Ok(()) } else { Err(Malformed) }
    }

    /// The bytes at the front that are as wanted.
    fn take_while(&mut self, is_wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|&byte| !is_wanted(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    fn skip_blanks(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    /// 4.2.3.3
    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        match self.rest.first() {
            Some(b'a'..=b'z' | b'*') => Ok(self.take_while(
                |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
            )),
            Some(_) | None => Err(Malformed),
        }
    }

    /// 4.2.3.2
    fn parameters(&mut self) -> Result<(), Malformed> {
        while self.take(b';') {
            self.skip_spaces();
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Ok(())
    }

    /// 4.2.1.1, without the parameters of the whole
    fn item_or_list(&mut self) -> Result<Item<'a>, Malformed> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip_spaces();
            if self.take(b')') {
                return Ok(Item::InnerList);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return Err(Malformed);
            }
        }
    }

    /// 4.2.3.1
    fn bare_item(&mut self) -> Result<Item<'a>, Malformed> {
        let first = *self.rest.first().ok_or(Malformed)?;
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'A'..=b'Z' | b'a'..=b'z' | b'*' => Ok(Item::Token(self.take_while(is_token_byte))),
            b':' => self.bytes(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => Err(Malformed),
        }
    }

    /// 4.2.4
    fn number(&mut self) -> Result<Item<'a>, Malformed> {
        let is_negative = self.take(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(Malformed);
        }
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let fits = digits.len() <= 12 && (1..=3).contains(&fraction.len());
            return if fits { Ok(Item::Decimal) } else { Err(Malformed) };
        }
        if digits.len() > 15 {
            return Err(Malformed);
        }
        let number = digits.iter().fold(0, |number, &digit| number * 10 + i64::from(digit - b'0'));
        Ok(Item::Integer(if is_negative { -number } else { number }))
    }

    /// 4.2.5
    fn string(&mut self) -> Result<Item<'a>, Malformed> {
        self.demand(b'"')?;
        let content = self.rest;
        loop {
            self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.take(b'"') {
                let len = content.len() - self.rest.len() - 1;
                return Ok(Item::String(&content[..len]));
            }
            self.demand(b'\\')?;
            if !self.take(b'"') && !self.take(b'\\') {
                return Err(Malformed);
            }
        }
    }

    /// 4.2.7
    fn bytes(&mut self) -> Result<Item<'a>, Malformed> {
        self.demand(b':')?;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.demand(b':')?;
        Ok(Item::Bytes)
    }

    /// 4.2.8
    fn boolean(&mut self) -> Result<Item<'a>, Malformed> {
        self.demand(b'?')?;
        if self.take(b'1') {
            return Ok(Item::Boolean(true));
        }
        self.demand(b'0')?;
        Ok(Item::Boolean(false))
    }

    /// 4.2.9
    fn date(&mut self) -> Result<Item<'a>, Malformed> {
        self.demand(b'@')?;
        let Item::Integer(_) = self.number()? else { return Err(Malformed) };
        Ok(Item::Date)
    }

    /// 4.2.10, but that what the escapes encode is not looked at
    fn display_string(&mut self) -> Result<Item<'a>, Malformed> {
        self.demand(b'%')?;
        self.demand(b'"')?;
        loop {
            self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'%');
            if self.take(b'"') {
                return Ok(Item::DisplayString);
            }
            self.demand(b'%')?;
            for _ in 0..2 {
                match self.rest.split_first() {
                    Some((b'0'..=b'9' | b'a'..=b'f', rest)) => self.rest = rest,
                    Some(_) | None => return Err(Malformed),
                }
            }
        }
    }
}

/// 4.2.6
fn is_token_byte(byte: u8) -> bool {
    super::scan::is_token_byte(byte) || matches!(byte, b':' | b'/')
}

#[cfg(test)]
mod tests {
    use super::{Item, Malformed, read_dictionary};

    fn read(line: &str) -> Result<Vec<(&str, Item<'_>)>, Malformed> {
        let mut members = Vec::new();
        read_dictionary(line.as_bytes(), &mut |key, item| {
            members.push((std::str::from_utf8(key).unwrap_or("?"), item));
        })?;
        Ok(members)
    }

    #[test]
    fn members_of_every_type_are_read() {
        for (line, item) in [
            ("a", Item::Boolean(true)),
            ("a=?1", Item::Boolean(true)),
            ("a=?0", Item::Boolean(false)),
            ("a=0", Item::Integer(0)),
            ("a=-15", Item::Integer(-15)),
            ("a=007", Item::Integer(7)),
            ("a=999999999999999", Item::Integer(999_999_999_999_999)),
            ("a=1.5", Item::Decimal),
            ("a=-123456789012.123", Item::Decimal),
            ("a=\"\"", Item::String(b"")),
            ("a=\"b, c=1\"", Item::String(b"b, c=1")),
            ("a=\"\\\"\\\\\"", Item::String(b"\\\"\\\\")),
            ("a=b", Item::Token(b"b")),
            ("a=*/b:c", Item::Token(b"*/b:c")),
            ("a=::", Item::Bytes),
            ("a=:aGVsbG8=:", Item::Bytes),
            ("a=@1659578233", Item::Date),
            ("a=%\"b%c3%bc\"", Item::DisplayString),
            ("a=()", Item::InnerList),
            ("a=( b;c  \"d\" )", Item::InnerList),
            ("a;b", Item::Boolean(true)),
            ("a;b=1;  c=\"d\"", Item::Boolean(true)),
            ("a=1;b=?0", Item::Integer(1)),
            ("a=(1;b);c", Item::InnerList),
        ] {
            assert_eq!(read(line), Ok(vec![("a", item)]), "{line}");
        }
    }

    #[test]
    fn members_are_parted_by_commas_and_blanks() {
        let both = vec![("a", Item::Integer(1)), ("*b_-.*9", Item::Boolean(true))];
        for line in ["a=1,*b_-.*9", "a=1, *b_-.*9", " a=1\t ,\t *b_-.*9 "] {
            assert_eq!(read(line), Ok(both.clone()), "{line}");
        }
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("  "), Ok(vec![]));
        let twice = vec![("a", Item::Integer(1)), ("a", Item::Integer(2))];
        assert_eq!(read("a=1, a=2"), Ok(twice));
    }

    #[test]
    fn a_byte_out_of_place_makes_the_whole_malformed() {
        for line in [
            ",",
            "a,",
            "a, ",
            ",a",
            "a,,b",
            "a b",
            "A=1",
            "1=a",
            "-a",
            "=1",
            "a=",
            "a =1",
            "a= 1",
            "a=1;",
            "a=1 ;b",
            "a;B",
            "a;b=",
            "\ta",
            "a=1.",
            "a=.5",
            "a=-",
            "a=+1",
            "a=1.2345",
            "a=1234567890123.1",
            "a=1234567890123456",
            "a=\"",
            "a=\"b",
            "a=\"\\b\"",
            "a=\"\\",
            "a=\"\u{e9}\"",
            "a=\"\t\"",
            "a=?",
            "a=?2",
            "a=?true",
            "a=:",
            "a=:a b:",
            "a=:a",
            "a=@",
            "a=@1.5",
            "a=%",
            "a=%\"",
            "a=%\"%C3\"",
            "a=%\"%c\"",
            "a=(",
            "a=(1",
            "a=(1,2)",
            "a=(1\t2)",
            "a=(1)(2)",
            "a=(()) ",
            "a='b'",
            "a=\u{e9}",
            "a={}",
            "a=1x",
            "a=b\"c\"",
        ] {
            assert_eq!(read(line), Err(Malformed), "{line:?}");
        }
    }
}
