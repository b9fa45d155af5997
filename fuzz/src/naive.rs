//! Heads as the RFCs and docs/HTTP.md describe them, read without a thought of speed. Nothing of
//! the program is used here.

use std::net::Ipv6Addr;

/// Names in lower case, with values without the blanks around them.
pub type Fields = Vec<(String, String)>;

pub struct Message {
    pub first: String,
    pub fields: Fields,
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn is_control(letter: char) -> bool {
    letter < ' ' && letter != '\t' || letter == '\x7f'
}

pub fn is_token(text: &str) -> bool {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(may_stand)
}

pub fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `name: value` without its CRLF.
pub fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let is_right = is_token(name) && !line.contains(is_control);
    is_right.then(|| (name.to_ascii_lowercase(), trim(value).to_owned()))
}

/// The lines of a head that is there whole and no more than that.
pub fn message(head: &[u8]) -> Option<Message> {
    let text = latin1(head);
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let first = lines.next()?.to_owned();
    let fields = lines.map(field).collect::<Option<Fields>>()?;
    (!first.contains(is_control)).then_some(Message { first, fields })
}

/// The values of all fields of that name, which is in lower case.
pub fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|field| field.0 == name).map(|field| &field.1[..]).collect()
}

/// The members of all lists in the fields of that name, in lower case.
pub fn members(fields: &Fields, name: &str) -> Vec<String> {
    let all = values(fields, name).join(",").to_ascii_lowercase();
    all.split(',').map(trim).filter(|member| !member.is_empty()).map(str::to_owned).collect()
}

/// `None` where it is doubtful how long the body is. Otherwise in the words of the program's own
/// `Framing`, as it prints them.
pub fn framing(fields: &Fields, is_http10: bool) -> Option<String> {
    let lengths = values(fields, "content-length");
    let codings = values(fields, "transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Some("None".to_owned()),
        ([length], []) if !length.is_empty() && length.chars().all(|c| c.is_ascii_digit()) => {
            let significant = length.trim_start_matches('0');
            let number: u128 = match significant.len() {
                0 => 0,
                1..=19 => significant.parse().ok()?,
                _ => return None,
            };
            (number < 1 << 63).then(|| format!("Length({number})"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !is_http10 => {
            Some("Chunked".to_owned())
        }
        _ => None,
    }
}

pub fn keep_alive(fields: &Fields, is_http10: bool) -> bool {
    let options = members(fields, "connection");
    let says = |option: &str| options.iter().any(|said| said == option);
    !says("close") && (!is_http10 || says("keep-alive"))
}

/// `host` or `host:port`.
pub fn is_authority(text: &str) -> bool {
    let (host_is_right, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((literal, port)) = rest.split_once(']') else { return false };
        (literal.parse::<Ipv6Addr>().is_ok() || is_future_address(literal), port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (is_reg_name(&text[..end]), &text[end..])
    };
    let port_is_right = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            let is_number = digits.chars().all(|c| c.is_ascii_digit()) && digits.len() <= 5;
            digits.is_empty() || is_number && digits.parse::<u32>().is_ok_and(|p| p <= 65535)
        }
    };
    host_is_right && port_is_right
}

/// `v1.` and so on: RFC 3986 §3.2.2.
fn is_future_address(text: &str) -> bool {
    let Some((version, address)) = text.split_once('.') else { return false };
    let Some(digits) = version.strip_prefix(['v', 'V']) else { return false };
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:".contains(c);
    !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_hexdigit())
        && !address.is_empty()
        && address.chars().all(may_stand)
}

fn is_reg_name(text: &str) -> bool {
    let mut pieces = text.split('%');
    let is_plain = |piece: &str| {
        piece.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c))
    };
    let first = pieces.next().unwrap_or_default();
    let begins_with_hex = |piece: &str| {
        piece.len() >= 2 && piece.chars().take(2).all(|c| c.is_ascii_hexdigit()) && is_plain(piece)
    };
    !text.is_empty() && is_plain(first) && pieces.all(begins_with_hex)
}

/// Names that some servers read as `wanted`.
pub fn is_read_as(name: &str, wanted: &str) -> bool {
    name.replace('_', "-") == wanted
}

pub fn is_hop_by_hop(name: &str) -> bool {
    let names = "connection keep-alive proxy proxy-connection te transfer-encoding upgrade";
    names.split(' ').any(|one| one == name)
}

/// Whether a name is one of a field that this program writes itself and copies from nobody.
pub fn is_framing(name: &str) -> bool {
    is_read_as(name, "content-length") || is_read_as(name, "transfer-encoding")
}

/// What a head may say of its connection. `*` is any value.
pub type Allowed = [(&'static str, &'static str)];

pub const SWITCH: &Allowed = &[("connection", "upgrade"), ("upgrade", "*")];
pub const FATE: &Allowed = &[("connection", "close"), ("connection", "keep-alive")];

/// What holds of every head that goes on: no control bytes, nothing that ends at this hop but what is
/// allowed, one framing at most and a valid one. Returns its lines.
pub fn assert_clean(head: &[u8], allowed: &Allowed, place: &str) -> Message {
    let written = message(head).unwrap_or_else(|| panic!("unreadable: {}", head.escape_ascii()));
    for (name, value) in &written.fields {
        let fits = |pair: &(&str, &str)| pair.0 == name && (pair.1 == value || pair.1 == "*");
        let allowed = name == "transfer-encoding" || allowed.iter().any(fits);
        assert!(!is_hop_by_hop(name) || allowed, "{name}: {value} goes on, of {place}");
        assert!(!is_framing(name) || !name.contains('_'), "{name} goes on, of {place}");
    }
    assert!(framing(&written.fields, false).is_some(), "doubtful framing, of {place}");
    written
}
