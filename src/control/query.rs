//! The query of a request, and what is said of one that is not right.

use std::borrow::Cow;

use crate::config::text;

use super::answer::ApiResponse;

/// The pairs of a query. One without `=` has an empty value.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Without percent-encoding (RFC 3986 §2.1). A plus is a plus.
pub fn decoded(text: &str) -> Result<Cow<'_, str>, ApiResponse> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let malformed = || wrong(format!("{} is not percent-encoded well", text::quote(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2).ok_or_else(malformed)?;
            let hex = |digit: u8| (digit as char).to_digit(16);
            let (Some(high), Some(low)) = (hex(digits[0]), hex(digits[1])) else {
                return Err(malformed());
            };
            bytes.push((high * 16 + low) as u8); // below 256
            rest = behind;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| malformed())
}

/// The answer to a value that is not right.
pub fn wrong(message: impl AsRef<str>) -> ApiResponse {
    ApiResponse::error(400, message.as_ref())
}

/// The answer to a parameter that there is not.
pub fn unknown(name: &str, known: &[&str]) -> ApiResponse {
    let all = text::list(known, " and ");
    wrong(format!("unknown parameter {} (there are {all})", text::quote(name)))
}
