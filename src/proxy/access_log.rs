//! The access log: one JSON object a line, buffered, never blocking.
//!
//! Lines gather in a buffer that is written when it is full, and by the worker once a second. What
//! the file or pipe does not take then waits; lines that find no room are dropped and counted.

use std::io::Write;
use std::path::PathBuf;

use crate::config::{self, Config};
use crate::http::cache_status::CacheResult;
use crate::http::date;
use crate::http::message::Version;
use crate::http::rewrite;
use crate::mem::append_decimal;
use crate::mem::time::{Micros, elapsed};
use crate::policy::sticky::StickyCookie;
use crate::sys::log::{self, Level};
use crate::sys::{IoError, LogFile, Tried, clock};

use super::attempts::Attempt;
use super::downstream::client::Client;
use super::exchange::{Carrier, Exchange, Response};
use super::settings;
use super::upstream::pools::{Backend, Pool};

/// Bytes that are gathered before they are written.
const FULL: usize = 64 * 1024;
/// What a line may have beside the parts of the request's head.
const AROUND_HEAD: usize = 2048;
/// What a byte of the head takes at most: it may be escaped.
const ESCAPED: usize = 6;
/// Bytes of a field's value that are logged at most, beside `User-Agent`.
const LOGGED_VALUE: usize = 256;
/// What a name and its value take at most, with what stands around them.
const LOGGED_FIELD: usize = ESCAPED * LOGGED_VALUE + 64 + 6;
/// The longest line: that of the largest head. A client must not be able to stay out of the log.
/// What lines do not use of it costs no memory.
const ROOM: usize = AROUND_HEAD + ESCAPED * settings::MAX_HEAD_SIZE;

/// Where the lines go.
pub struct AccessLogWriter {
    path: Option<PathBuf>,
    /// Fields of requests that are logged, in lower case.
    fields: Vec<String>,
    file: Option<LogFile>,
    buffer: Vec<u8>,
    /// The first part of the line at the front of the buffer is in the file already.
    has_begun: bool,
    /// Lines that were dropped since the last message about them.
    dropped: u64,
    /// Lines that were dropped over the life of the process.
    dropped_in_all: u64,
}

impl AccessLogWriter {
    /// Opens what is configured, unless the file was `opened` already. Fails where it cannot be opened
    /// for appending.
    pub fn open(config: &Config, opened: Option<LogFile>) -> Result<AccessLogWriter, IoError> {
        let (path, file) = match &config.access_log {
            config::AccessLog::Off => (None, None),
            config::AccessLog::Stdout => (None, Some(LogFile::stdout()?)),
            config::AccessLog::Path(path) => {
                let file = opened.map_or_else(|| LogFile::open(path), Ok)?;
                (Some(path.clone()), Some(file))
            }
        };
        let fields = config.access_log_headers.clone();
        let capacity = if file.is_some() { FULL + ROOM + room_for(&fields) } else { 0 };
        Ok(AccessLogWriter {
            path,
            fields,
            file,
            buffer: Vec::with_capacity(capacity),
            has_begun: false,
            dropped: 0,
            dropped_in_all: 0,
        })
    }

    /// Goes on in `file`, or opens the file again under its path, after somebody has moved it away.
    /// If that fails, the old one goes on.
    pub fn reopen(&mut self, file: Option<LogFile>) {
        self.flush();
        let Some(path) = &self.path else { return };
        match file.map_or_else(|| LogFile::open(path), Ok) {
            Ok(file) => {
                if std::mem::take(&mut self.has_begun) {
                    let rest = self.end_of_first_line();
                    self.drop_lines(0..rest);
                }
                self.file = Some(file);
            }
            Err(error) => log::write(
                Level::Error,
                format_args!(
                    "access log {}: {}; the old file goes on",
                    path.display(),
                    error.when(Tried::File)
                ),
            ),
        }
    }

    /// Lines that were dropped so far.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped_in_all
    }

    /// Whether lines are wanted.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Writes what has gathered, as much as is taken without waiting.
    pub fn flush(&mut self) {
        let Some(file) = &self.file else { return };
        let mut has_failed = false;
        while !self.buffer.is_empty() {
            match file.write(&self.buffer) {
                Ok(0) | Err(IoError::WouldBlock) => break,
                Ok(count) => {
                    self.has_begun = self.buffer[count - 1] != b'\n';
                    self.buffer.drain(..count);
                }
                Err(_) => {
                    // What is in the file of a line is to get its end, lest the next one be taken for that.
                    let kept = if self.has_begun { self.end_of_first_line() } else { 0 };
                    self.drop_lines(kept..self.buffer.len());
                    has_failed = true;
                    break;
                }
            }
        }
        if self.dropped > 0 && (has_failed || self.buffer.is_empty()) {
            log::write_about(
                Level::Warning,
                "access log: ",
                format_args!(
                    "{} lines were dropped, for they could not be written (is the disk full, or the \
                     reader too slow?)",
                    self.dropped
                ),
            );
            self.dropped = 0;
        }
    }

    fn end_of_first_line(&self) -> usize {
        self.buffer.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)
    }

    fn drop_lines(&mut self, at: std::ops::Range<usize>) {
        let lines = self.buffer.drain(at).filter(|byte| *byte == b'\n').count() as u64;
        self.dropped += lines;
        self.dropped_in_all += lines;
    }

    /// Adds the line of an exchange that is over. Its pool is `pool`.
    pub fn log(
        &mut self,
        exchange: &Exchange,
        client: &Client,
        pool_and_backends: (&Pool, &[Backend]),
        now: Micros,
    ) {
        // No part of the head is written twice, but for these fields.
        let bound = AROUND_HEAD + ESCAPED * exchange.head.len() + room_for(&self.fields);
        if self.make_room(bound) {
            let extract = Extract { fields: &self.fields, ..Extract::ALL };
            let line = &mut self.buffer;
            write_members(line, exchange, client, pool_and_backends, now, extract);
            line.extend_from_slice(
                b"}
",
            );
        }
    }

    /// Whether there is room for a line of `bound` bytes. If there is none, it is dropped.
    fn make_room(&mut self, bound: usize) -> bool {
        if self.buffer.len() >= FULL {
            self.flush();
        }
        if self.buffer.capacity() - self.buffer.len() < bound {
            self.dropped += 1;
            self.dropped_in_all += 1;
            return false;
        }
        true
    }
}

/// What of an exchange is written, and whom it is about.
#[derive(Clone, Copy)]
pub(super) struct Extract<'f> {
    /// Fields of the request that are written beside those that are in any case.
    fields: &'f [String],
    /// Bytes that are written, at most, of each value that the client sent.
    most: usize,
    /// The attempt that the line is about, if not the last one.
    attempt: Option<Attempt>,
}

impl<'f> Extract<'f> {
    const ALL: Extract<'f> = Extract { fields: &[], most: usize::MAX, attempt: None };

    /// Of an attempt that failed before another succeeded, or of the last; with no more than so many
    /// bytes of each value that the client sent.
    pub(super) fn of(attempt: Option<Attempt>, most: usize) -> Extract<'f> {
        Extract { fields: &[], most, attempt }
    }

    /// The beginning of a value. It ends where a character of UTF-8 does.
    fn cut<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        if value.len() <= self.most {
            return value;
        }
        let is_within = |end: &usize| value[*end] & 0xc0 == 0x80;
        let mut end = self.most;
        while is_within(&end) && end + 3 > self.most && end > 0 {
            end -= 1;
        }
        &value[..end]
    }
}

/// Writes the object of an exchange, but for its closing brace.
pub(super) fn write_members(
    line: &mut Vec<u8>,
    exchange: &Exchange,
    client: &Client,
    (pool, backends): (&Pool, &[Backend]),
    now: Micros,
    extract: Extract,
) {
    let spans = &exchange.request.spans;
    let times = &exchange.times;
    let took = elapsed(times.taken_in, now);
    let start = Micros(clock::wall().0.saturating_sub(took.0));
    line.extend_from_slice(b"{\"ts\":\"");
    line.extend_from_slice(&date::rfc3339_millis(start.0));
    line.push(b'"');
    text(line, "id", exchange.id());
    // Writing to a Vec cannot fail.
    let _ = write!(line, ",\"client\":\"{}\"", client.peer);
    let part = |span| extract.cut(&exchange.head[span]);
    text(line, "method", part(spans.method));
    text(line, "host", part(spans.host));
    text(line, "target", part(spans.target));
    if !spans.method.is_empty() {
        let version: &[u8] = match exchange.request.version {
            Version::Http10 => b"1.0",
            Version::Http11 => b"1.1",
        };
        text(line, "version", version);
    }
    number(line, "status", u64::from(exchange.logged_status()));
    number(line, "bytes_in", exchange.bytes_in + exchange.upload.payload());
    number(line, "bytes_out", exchange.bytes_out);
    millis(line, "ms", took);
    if exchange.last_backend.is_some() {
        millis(line, "queue_ms", elapsed(times.taken_in, times.chosen) - failed_for(exchange));
        if !exchange.carrier.is_reused() && times.connected > times.chosen {
            millis(line, "connect_ms", elapsed(times.chosen, times.connected));
        }
        if matches!(exchange.answer, Response::Backend(_)) {
            millis(line, "first_byte_ms", elapsed(times.taken_in, times.answered));
        }
    }
    if exchange.is_routed {
        text(line, "pool", pool.name.as_bytes());
    }
    let failed = extract.attempt;
    if let Some(last) = failed.map(|attempt| attempt.backend).or(exchange.last_backend) {
        text(line, "backend", backends[last.0].name.as_bytes());
        key(line, "reused");
        line.extend_from_slice(if exchange.carrier.is_reused() { b"true" } else { b"false" });
    }
    tries(line, exchange, backends);
    text(line, "sticky", exchange.sticky.map_or("", StickyCookie::as_str).as_bytes());
    let cached = exchange.cached.filter(|result| *result != CacheResult::Bypass);
    text(line, "cache", cached.map_or("", CacheResult::as_str).as_bytes());
    let failed = failed.map(|attempt| attempt.failure.reason());
    if let Some(reason) = failed.or(exchange.reason()) {
        text(line, "reason", reason.as_str().as_bytes());
    }
    headers(line, exchange, extract.fields);
    shared_and_hint(line, exchange);
    if let Some(route) = exchange.route {
        number(line, "route", route as u64);
    }
    text(line, "ua", part(spans.user_agent));
}

/// How long the tries before the last took: that was no waiting for a backend.
fn failed_for(exchange: &Exchange) -> Micros {
    Micros(exchange.attempts.iter().map(|attempt| attempt.took.0).sum())
}

/// Writes whether other clients' requests stood ahead on the connection, and what the pool would have to
/// tolerate.
fn shared_and_hint(line: &mut Vec<u8>, exchange: &Exchange) {
    if exchange.is_multiplexed && exchange.carrier == Carrier::Shared {
        key(line, "shared");
        line.extend_from_slice(b"true");
    }
    // After another failure, or with a stored answer, it would not have helped.
    let is_own = matches!(exchange.answer, Response::Local(_) | Response::Page(..));
    let hint = exchange.hint.filter(|_| is_own);
    if let Some(tolerance) = hint {
        key(line, "hint");
        line.extend_from_slice(b"\"tolerate ");
        line.extend_from_slice(tolerance.as_str().as_bytes());
        line.push(b'"');
    }
}

/// What so many names and values take at most.
fn room_for(fields: &[String]) -> usize {
    if fields.is_empty() { 0 } else { br#","headers":{}"#.len() + fields.len() * LOGGED_FIELD }
}

/// The fields of the request that are wanted beside those that each line has, as they go to the backend.
fn headers(line: &mut Vec<u8>, exchange: &Exchange, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let start = line.len();
    key(line, "headers");
    line.push(b'{');
    let first = line.len();
    for name in names {
        let mut value = [0; LOGGED_VALUE];
        if let Some(length) = value_of(exchange, name, &mut value) {
            text(line, name, &value[..length]);
        }
    }
    if line.len() == first {
        return line.truncate(start); // The request has none of them.
    }
    line.remove(first); // The comma before the first one.
    line.push(b'}');
}

/// Copies the value of a field, as much as fits: of several lines all, as one value (RFC 9110 §5.3).
/// Returns how many bytes that is; `None`: the request has no such field.
fn value_of(exchange: &Exchange, name: &str, value: &mut [u8; LOGGED_VALUE]) -> Option<usize> {
    let mut length = None;
    let fields = rewrite::written_fields(exchange.head.as_slice());
    for field in fields.iter().filter(|field| field.is(name)) {
        let mut end: usize = length.unwrap_or(0);
        let separator: &[u8] = if length.is_some() { b", " } else { b"" };
        for part in [separator, field.value] {
            let part = cut(part, LOGGED_VALUE - end);
            value[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        length = Some(end);
    }
    length
}

/// The first `most` bytes, or fewer, so that no character is cut in two.
fn cut(text: &[u8], most: usize) -> &[u8] {
    let Some(cut) = text.get(..most) else { return text };
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        Ok(_) | Err(_) => cut,
    }
}

fn tries(line: &mut Vec<u8>, exchange: &Exchange, backends: &[Backend]) {
    let mut separator = ",\"tries\":[";
    for attempt in exchange.attempts.iter() {
        let _ = write!(
            line,
            "{separator}{{\"backend\":\"{}\",\"reason\":\"{}\",\"ms\":{}.{}}}",
            backends[attempt.backend.0].name,
            attempt.failure.reason().as_str(),
            attempt.took.0 / 1000,
            attempt.took.0 / 100 % 10
        );
        separator = ",";
    }
    if separator == "," {
        line.push(b']');
    }
}

fn key(line: &mut Vec<u8>, key: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(b"\":");
}

fn number(line: &mut Vec<u8>, name: &str, value: u64) {
    key(line, name);
    append_decimal(value, line);
}

/// A duration in milliseconds with one decimal.
fn millis(line: &mut Vec<u8>, name: &str, time: Micros) {
    number(line, name, time.0 / 1000);
    line.extend_from_slice(&[b'.', b'0' + (time.0 / 100 % 10) as u8]);
}

/// A string, left out if it is empty. Nothing in it can end the string or the line: what JSON does
/// not allow is escaped, and bytes that are no UTF-8 are written as the characters of Latin-1.
pub(super) fn text(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    key(line, name);
    line.push(b'"');
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if value.iter().all(is_plain) {
        line.extend_from_slice(value);
    } else {
        escape(line, value);
    }
    line.push(b'"');
}

fn escape(line: &mut Vec<u8>, value: &[u8]) {
    let is_utf8 = std::str::from_utf8(value).is_ok();
    for byte in value {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => line.push(*byte),
            0x80.. if is_utf8 => line.push(*byte),
            _ => {
                let _ = write!(line, "\\u{byte:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut_in_two() {
        for (text, most, expected) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("a\u{fc}", 3, "a\u{fc}"),
            ("a\u{fc}", 2, "a"),
            ("a\u{20ac}b", 3, "a"),
            ("\u{20ac}", 0, ""),
        ] {
            assert_eq!(cut(text.as_bytes(), most), expected.as_bytes(), "{text} {most}");
        }
        assert_eq!(cut(b"\xff\xfe\xfd", 2), b"\xff\xfe");
    }

    #[test]
    fn nothing_that_a_client_sends_ends_a_line_or_a_string() {
        let all: Vec<u8> = (0..=255).collect();
        for value in [&all[..], b"\"},{\"a\":\"", b"\\", "\u{fc}\u{2028}".as_bytes(), b"\xff\"\n"] {
            let mut line = b"{\"x\":1".to_vec();
            text(&mut line, "ua", value);
            line.push(b'}');
            assert!(!line.contains(&b'\n'));
            let json: serde_json::Value = serde_json::from_slice(&line).expect("valid JSON");
            assert_eq!(json.as_object().map(|object| object.len()), Some(2));
        }
    }
}
