//! A reader of HTTP/1.1 messages that takes only the canonical form: all that the proxy sends is in
//! it. It shares no code with `http/`, whose work it checks.

/// A head: its first line and its fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Head {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a field: {text}"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Head { line, fields: lines.map(field).collect() }
    }

    /// The value of the only field of this name, in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|field| field.0 == name);
        let value = found.next().map(|field| field.1.as_str());
        assert!(found.next().is_none(), "{name} stands twice in {self:?}");
        value
    }

    /// The second word of the first line: a target, or a status.
    pub fn word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.word().parse().unwrap_or_else(|_| panic!("a status line: {}", self.line))
    }

    /// Whether it says that the connection closes behind this message.
    pub fn closes(&self) -> bool {
        self.get("connection").is_some_and(|value| value == "close")
    }
}

/// A message, whole or as far as it has come.
#[derive(Clone, Debug)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<String>,
    left: Left,
}

impl Message {
    /// Whether all of it has come.
    pub fn is_whole(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Whether only the end of the connection ends it.
    pub fn lasts_until_close(&self) -> bool {
        self.left == Left::UntilClose
    }
}

/// What of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Bytes(u64),
    SizeLine,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// What the messages are, for their bodies follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    /// The response to a HEAD.
    HeadResponse,
}

/// Takes bytes as they come, and gives messages.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    message: Option<Message>,
}

impl Reader {
    /// Adds bytes that came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The message that is coming in, if its head has.
    pub fn current(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// Whether nothing has come of a next message.
    pub fn is_between_messages(&self) -> bool {
        self.bytes.is_empty() && self.message.is_none()
    }

    /// What came and is no message, or not yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads on. The next message once it is whole.
    pub fn next(&mut self, kind: Kind) -> Option<Message> {
        if self.message.is_none() {
            let end = find(&self.bytes, b"\r\n\r\n")? + 4;
            let head = Head::parse(&self.bytes[..end]);
            self.bytes.drain(..end);
            let left = framing(&head, kind);
            self.message = Some(Message { head, body: Vec::new(), trailers: Vec::new(), left });
        }
        self.read_body();
        if self.message.as_ref()?.is_whole() { self.message.take() } else { None }
    }

    /// Nothing more will come. The message that this ends, if it may end so.
    pub fn end(&mut self) -> Option<Message> {
        if self.message.as_ref()?.lasts_until_close() { self.message.take() } else { None }
    }

    fn read_body(&mut self) {
        let Some(message) = &mut self.message else { return };
        loop {
            let limit = match message.left {
                Left::Nothing => return,
                Left::Bytes(left) | Left::Chunk(left) => left.min(self.bytes.len() as u64) as usize,
                Left::UntilClose => self.bytes.len(),
                Left::SizeLine | Left::ChunkEnd | Left::Trailers => {
                    let Some(end) = find(&self.bytes, b"\r\n") else { return };
                    let line: Vec<u8> = self.bytes.drain(..end + 2).take(end).collect();
                    message.left = read_line(message, &line);
                    continue;
                }
            };
            message.body.extend(self.bytes.drain(..limit));
            let before = message.left;
            message.left = match before {
                Left::Bytes(left) if left == limit as u64 => Left::Nothing,
                Left::Bytes(left) => Left::Bytes(left - limit as u64),
                Left::Chunk(left) if left == limit as u64 => Left::ChunkEnd,
                Left::Chunk(left) => Left::Chunk(left - limit as u64),
                other => other,
            };
            if limit == 0 && message.left == before {
                return;
            }
        }
    }
}

fn read_line(message: &mut Message, line: &[u8]) -> Left {
    let text = String::from_utf8_lossy(line).into_owned();
    match message.left {
        Left::SizeLine => {
            let size = u64::from_str_radix(&text, 16);
            match size.unwrap_or_else(|_| panic!("a chunk size: {text:?}")) {
                0 => Left::Trailers,
                size => Left::Chunk(size),
            }
        }
        Left::ChunkEnd => {
            assert_eq!(text, "", "a chunk is longer than it says");
            Left::SizeLine
        }
        Left::Trailers if text.is_empty() => Left::Nothing,
        Left::Trailers => {
            message.trailers.push(text);
            Left::Trailers
        }
        other => other,
    }
}

fn framing(head: &Head, kind: Kind) -> Left {
    let length = head.get("content-length").map(|value| value.parse::<u64>().expect("a length"));
    let chunked = head.get("transfer-encoding").is_some_and(|value| value == "chunked");
    assert!(length.is_none() || !chunked, "two framings: {head:?}");
    let bodiless = match kind {
        Kind::Request => length.is_none() && !chunked,
        Kind::HeadResponse => true,
        Kind::Response => matches!(head.status(), 100..=199 | 204 | 304),
    };
    match length {
        _ if bodiless => Left::Nothing,
        Some(0) => Left::Nothing,
        Some(length) => Left::Bytes(length),
        None if chunked => Left::SizeLine,
        None => Left::UntilClose,
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

#[test]
fn messages_are_found_however_they_are_cut() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\
                 Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n";
    for cut in 0..text.len() {
        let mut reader = Reader::default();
        let mut bodies = Vec::new();
        for part in [&text[..cut], &text[cut..]] {
            reader.feed(part);
            while let Some(message) = reader.next(Kind::Response) {
                bodies.push(message.body);
            }
        }
        assert_eq!(bodies, [b"abc".to_vec(), b"hello".to_vec()]);
        assert!(reader.is_between_messages());
    }
}
