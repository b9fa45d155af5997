//! The access log: one JSON object a line, buffered, never blocking.
//!
//! Lines gather in a buffer that is written when it is full, and by the worker once a second. What
//! the file or pipe does not take then waits; lines that find no room are dropped and counted.

use std::io::Write;
use std::path::PathBuf;

use crate::config;
use crate::http::cache_status::CacheResult;
use crate::http::date;
use crate::http::message::Version;
use crate::mem::append_decimal;
use crate::mem::time::{Micros, elapsed};
use crate::policy::sticky::StickyCookie;
use crate::sys::log::{self, Level};
use crate::sys::{IoError, LogFile, Tried, clock};

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
/// The longest line: that of the largest head. A client must not be able to stay out of the log.
/// What lines do not use of it costs no memory.
const ROOM: usize = AROUND_HEAD + ESCAPED * settings::MAX_HEAD_SIZE;

/// Where the lines go.
pub struct AccessLogWriter {
    path: Option<PathBuf>,
    file: Option<LogFile>,
    buffer: Vec<u8>,
    /// Lines that were dropped since the last message about them.
    dropped: u64,
    /// The same, over the life of the process.
    dropped_in_all: u64,
}

impl AccessLogWriter {
    /// Opens what is configured, unless the file was `opened` already. Fails where it cannot be opened
    /// for appending.
    pub fn open(
        config: &config::AccessLog,
        opened: Option<LogFile>,
    ) -> Result<AccessLogWriter, IoError> {
        let (path, file) = match config {
            config::AccessLog::Off => (None, None),
            config::AccessLog::Stdout => (None, Some(LogFile::stdout()?)),
            config::AccessLog::Path(path) => {
                let file = opened.map_or_else(|| LogFile::open(path), Ok)?;
                (Some(path.clone()), Some(file))
            }
        };
        let capacity = if file.is_some() { FULL + ROOM } else { 0 };
        Ok(AccessLogWriter {
            path,
            file,
            buffer: Vec::with_capacity(capacity),
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
            Ok(file) => self.file = Some(file),
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
        while !self.buffer.is_empty() {
            match file.write(&self.buffer) {
                Ok(0) | Err(IoError::WouldBlock) => break,
                Ok(count) => {
                    self.buffer.drain(..count);
                }
                Err(_) => {
                    let lines = self.buffer.iter().filter(|byte| **byte == b'\n').count();
                    self.dropped += lines as u64;
                    self.dropped_in_all += lines as u64;
                    self.buffer.clear();
                }
            }
        }
        if self.dropped > 0 && self.buffer.is_empty() {
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

    /// Adds the line of an exchange that is over. Its pool is `pool`.
    pub fn log(
        &mut self,
        exchange: &Exchange,
        client: &Client,
        pool_and_backends: (&Pool, &[Backend]),
        now: Micros,
    ) {
        // No part of the head is written twice.
        let bound = AROUND_HEAD + ESCAPED * exchange.head.len();
        self.add(bound, |line| write_line(line, exchange, client, pool_and_backends, now));
    }

    /// Adds a line, if there is room for `bound` bytes.
    fn add(&mut self, bound: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.buffer.len() >= FULL {
            self.flush();
        }
        if self.buffer.capacity() - self.buffer.len() < bound {
            self.dropped += 1;
            self.dropped_in_all += 1;
            return;
        }
        write(&mut self.buffer);
    }
}

fn write_line(
    line: &mut Vec<u8>,
    exchange: &Exchange,
    client: &Client,
    (pool, backends): (&Pool, &[Backend]),
    now: Micros,
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
    text(line, "method", &exchange.head[spans.method]);
    text(line, "host", &exchange.head[spans.host]);
    text(line, "target", &exchange.head[spans.target]);
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
    if let Some(last) = exchange.last_backend {
        text(line, "backend", backends[last.0].name.as_bytes());
        key(line, "reused");
        line.extend_from_slice(if exchange.carrier.is_reused() { b"true" } else { b"false" });
    }
    tries(line, exchange, backends);
    text(line, "sticky", exchange.sticky.map_or("", StickyCookie::as_str).as_bytes());
    let cached = exchange.cached.filter(|result| *result != CacheResult::Bypass);
    text(line, "cache", cached.map_or("", CacheResult::as_str).as_bytes());
    if let Some(reason) = exchange.reason() {
        text(line, "reason", reason.as_str().as_bytes());
    }
    shared_and_hint(line, exchange);
    if let Some(route) = exchange.route {
        number(line, "route", route as u64);
    }
    text(line, "ua", &exchange.head[spans.user_agent]);
    line.extend_from_slice(b"}\n");
}

/// How long the tries before the last took: that was no waiting for a backend.
fn failed_for(exchange: &Exchange) -> Micros {
    Micros(exchange.attempts.iter().map(|attempt| attempt.took.0).sum())
}

/// That others stood ahead of it on its connection, and what its pool would have to tolerate.
fn shared_and_hint(line: &mut Vec<u8>, exchange: &Exchange) {
    if exchange.is_multiplexed && exchange.carrier == Carrier::Shared {
        key(line, "shared");
        line.extend_from_slice(b"true");
    }
    // After another failure, or with a stored answer, it would not have helped.
    let hint = exchange.hint.filter(|_| matches!(exchange.answer, Response::Local(_)));
    if let Some(tolerance) = hint {
        key(line, "hint");
        line.extend_from_slice(b"\"tolerate ");
        line.extend_from_slice(tolerance.as_str().as_bytes());
        line.push(b'"');
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
fn text(line: &mut Vec<u8>, name: &str, value: &[u8]) {
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
