//! A small parser of HTTP/1.x messages that accepts only the one canonical form, for all that
//! the proxy sends must be in it.

use super::{
    shown,
    wire::{End, Wire},
};

/// Why there is no whole message.
#[derive(Debug)]
pub enum Broken {
    /// The peer's side ended first; in an orderly way between two messages if nothing came.
    Ended(End),
    /// What came cannot be read in one way only.
    Malformed(String),
}

impl From<End> for Broken {
    fn from(end: End) -> Broken {
        Broken::Ended(end)
    }
}

/// The lines of a head. Bytes are characters of the same number.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first_line: String,
    pub fields: Vec<(String, String)>,
    pub raw: Vec<u8>,
}

impl Head {
    /// The values of all lines with this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only line with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands twice in {}", shown(&self.raw));
        all.first().copied()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|found| found.trim().eq_ignore_ascii_case(member))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Which connection to the backend it came over, from 0.
    pub connection: usize,
}

impl Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn line(&self) -> &str {
        &self.head.first_line
    }

    pub fn id(&self) -> &str {
        self.field("X-Request-ID").expect("an X-Request-ID")
    }
}

#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub version: String,
    pub reason: String,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// Whether it says that the connection ends after it.
    pub fn closes(&self) -> bool {
        self.head.lists("Connection", "close")
    }
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte as char).collect()
}

fn malformed<T>(what: &str, bytes: &[u8]) -> Result<T, Broken> {
    Err(Broken::Malformed(format!("{what}: {}", shown(bytes))))
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads up to the empty line.
pub fn read_head(wire: &mut Wire) -> Result<Head, Broken> {
    let mut searched = 0;
    let len = loop {
        let found = wire.buffer[searched..].windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(at) = found {
            break searched + at + 4;
        }
        searched = wire.buffer.len().saturating_sub(3);
        wire.more()?;
    };
    let raw = wire.take(len);
    parse_head(&raw)
}

pub fn parse_head(raw: &[u8]) -> Result<Head, Broken> {
    let text = latin1(raw);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_string();
    let is_control = |c: char| (c < ' ' && c != '\t') || c == '\x7f';
    if first_line.is_empty() || first_line.contains(|c| is_control(c) || c == '\t') {
        return malformed("first line", raw);
    }
    let mut fields = Vec::new();
    for line in lines {
        fields
            .push(parse_field(line).map_or_else(|| malformed("field line", line.as_bytes()), Ok)?);
    }
    Ok(Head { first_line, fields, raw: raw.to_vec() })
}

fn parse_field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let is_fine = |c: char| c == '\t' || (c >= ' ' && c != '\x7f');
    let is_valid = !name.is_empty() && name.chars().all(is_token) && value.chars().all(is_fine);
    is_valid.then(|| (name.to_string(), value.trim_matches([' ', '\t']).to_string()))
}

pub fn parse_request_line(head: Head) -> Result<Request, Broken> {
    let parts: Vec<&str> = head.first_line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return malformed("request line", &head.raw);
    };
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return malformed("version", &head.raw);
    }
    let (method, target, version) = (method.into(), target.into(), version.into());
    Ok(Request { method, target, version, head, ..Request::default() })
}

pub fn parse_status_line(head: Head) -> Result<Response, Broken> {
    let mut parts = head.first_line.splitn(3, ' ');
    let version = parts.next().unwrap_or_default().to_string();
    let status = parts.next().unwrap_or_default().to_string();
    let Some(reason) = parts.next().map(str::to_string) else {
        return malformed("status line", &head.raw);
    };
    let is_number = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || (version != "HTTP/1.1" && version != "HTTP/1.0") {
        return malformed("status line", &head.raw);
    }
    Ok(Response { status: status.parse().unwrap(), version, reason, head, ..Response::default() })
}

/// The framing that the fields declare: exactly one, in canonical form.
fn declared(head: &Head) -> Result<Option<Framing>, Broken> {
    let (lengths, codings) = (head.all("Content-Length"), head.all("Transfer-Encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([length], [])
            if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(Some(Framing::Length(length.parse().unwrap())))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => malformed("framing", &head.raw),
    }
}

pub fn request_framing(head: &Head) -> Result<Framing, Broken> {
    Ok(declared(head)?.unwrap_or(Framing::None))
}

pub fn response_framing(method: &str, response: &Response) -> Result<Framing, Broken> {
    let declared = declared(&response.head)?;
    let is_empty = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
    Ok(if is_empty { Framing::None } else { declared.unwrap_or(Framing::UntilClose) })
}

/// Reads a body into `body`, so that what came of one that is cut short is there too.
pub fn read_body(
    wire: &mut Wire,
    framing: Framing,
    body: &mut Vec<u8>,
    trailers: &mut Vec<(String, String)>,
) -> Result<(), Broken> {
    match framing {
        Framing::None => Ok(()),
        Framing::Length(len) => read_data(wire, len, body),
        Framing::Chunked => read_chunks(wire, body, trailers),
        Framing::UntilClose => {
            let end = wire.read_to_end();
            body.append(&mut wire.buffer);
            if end == End::Fin { Ok(()) } else { Err(end.into()) }
        }
    }
}

fn read_data(wire: &mut Wire, len: usize, body: &mut Vec<u8>) -> Result<(), Broken> {
    let mut left = len;
    while left > 0 {
        if wire.buffer.is_empty() {
            wire.more()?;
        }
        let part = wire.take(left.min(wire.buffer.len()));
        left -= part.len();
        body.extend_from_slice(&part);
    }
    Ok(())
}

fn read_chunks(
    wire: &mut Wire,
    body: &mut Vec<u8>,
    trailers: &mut Vec<(String, String)>,
) -> Result<(), Broken> {
    loop {
        let line = wire.line()?;
        let digits = line.strip_suffix(b"\r\n").unwrap_or(b"");
        let is_size = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_size {
            return malformed("chunk size", &line);
        }
        let size = usize::from_str_radix(&latin1(digits), 16).unwrap();
        if size == 0 {
            break;
        }
        read_data(wire, size, body)?;
        wire.read_until_len(2)?;
        let end = wire.take(2);
        if end != b"\r\n" {
            return malformed("end of a chunk", &end);
        }
    }
    loop {
        let line = wire.line()?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return malformed("trailer line", &line);
        };
        if text.is_empty() {
            return Ok(());
        }
        trailers.push(parse_field(&latin1(text)).map_or_else(|| malformed("trailer", text), Ok)?);
    }
}
