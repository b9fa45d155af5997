//! What the tests of the real binary share: the program itself, backends that do as they are
//! told, and a client that sees every byte. None of it uses the program's own code.
//!
//! Nothing here decides by sleeping: a test waits for what must happen, and fails when it has
//! not happened by a generous deadline.
#![allow(dead_code, unused_imports)] // each test file uses a part of it

pub mod backend;
pub mod client;
pub mod dns;
pub mod etcd;
pub mod message;
pub mod ntlm;
pub mod operator;
pub mod peers;
pub mod process;
pub mod program;
pub mod refusal;
pub mod reload;
pub mod stored;
pub mod traffic;
pub mod unix;
pub mod wire;

pub use backend::{Answer, Backend, Connection, servers};
pub use client::{Client, Cut};
pub use message::{Request, Response};
pub use operator::Reply;
pub use program::Program;
pub use serde_json::{Value, json};
pub use traffic::Traffic;
pub use unix::UnixPlace;
pub use wire::End;

use std::{
    fmt::Debug,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for something that must happen. On a busy machine everything takes
/// long; only a fault takes as long as this.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something, and fails with `what` was awaited.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}

/// Waits until nothing of a list is left, and tells what is if something remains.
pub fn until_none<T: Debug>(what: &str, mut list: impl FnMut() -> Vec<T>) {
    let start = Instant::now();
    loop {
        let left = list();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: {left:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Keeps backends waiting until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Returns when the gate is open, or long after the test has failed.
    pub fn wait(&self) {
        let opened = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(opened, DEADLINE * 5, |open| !*open).unwrap());
    }
}

/// Bytes that look like nothing else and differ by `seed`: a byte lost, doubled or moved shows.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Checks an answer that the program made itself, in all that httplb(8) says of it.
pub fn assert_own_answer(response: &Response, status: &str, error: &str) {
    assert_eq!(format!("{} {}", response.status, response.reason), status);
    assert_eq!(response.version, "HTTP/1.1");
    assert_eq!(response.field("Proxy-Status"), Some(format!("httplb; error={error}").as_str()));
    assert_eq!(response.field("Content-Type"), Some("text/html; charset=UTF-8"));
    let body = format!("<html><body><h1>{status}</h1></body></html>");
    assert_eq!(response.field("Content-Length"), Some(body.len().to_string().as_str()));
    assert_eq!(response.text(), body);
    assert!(!response.field("X-Request-ID").unwrap_or_default().is_empty());
    let is_503 = response.status == 503;
    assert_eq!(response.field("Retry-After"), is_503.then_some("1"));
}

/// Compares long contents without printing them.
pub fn assert_same_bytes(got: &[u8], wanted: &[u8], what: &str) {
    let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        got == wanted,
        "{what}: {} bytes instead of {}, the first other one at {differs:?}",
        got.len(),
        wanted.len()
    );
}

/// Bytes as they can be read in a failed test's message.
pub fn shown(bytes: &[u8]) -> String {
    let short = &bytes[..bytes.len().min(2000)];
    let more = if short.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", short.escape_ascii())
}
