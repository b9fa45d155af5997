//! An operator: asks the admin API over its Unix socket.

use super::{DEADLINE, Program, eventually};
use serde_json::Value;
use std::{
    fmt::Display,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// What the API answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Reads a whole response, whose connection is closed.
    pub fn parse(text: &str) -> Reply {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut: {text}"));
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let reply = Reply {
            status: status.unwrap_or_else(|| panic!("no status line: {text}")),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        let length = reply.field("Content-Length").expect("a length");
        assert!(body.is_empty() || length == body.len().to_string(), "{text}");
        reply
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// Sends bytes to the socket at `path`, and reads to the end.
pub fn exchange(path: &Path, bytes: &[u8]) -> String {
    let mut socket = UnixStream::connect(path).expect("the admin socket");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    text
}

impl Program {
    pub fn admin_path(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// Asks the admin API, with a connection of its own.
    pub fn ask(&self, line: &str, body: &str) -> Reply {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Reply::parse(&exchange(&self.admin_path(), request.as_bytes()))
    }

    /// The JSON of a `GET` that is answered with 200.
    pub fn look(&self, path: &str) -> Value {
        let reply = self.ask(&format!("GET {path}"), "");
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.json()
    }

    /// What is known of a backend of a pool; `None` if it is not there.
    pub fn backend(&self, pool: &str, address: impl Display) -> Option<Value> {
        let reply = self.ask(&format!("GET /v1/pools/{pool}"), "");
        let backends = (reply.status == 200).then(|| reply.json()["backends"].clone())?;
        let mut backends = backends.as_array().expect("a list").clone().into_iter();
        backends.find(|backend| backend["backend"] == address.to_string())
    }

    pub fn state(&self, pool: &str, address: impl Display) -> String {
        let backend = self.backend(pool, address);
        backend.map_or(String::from("gone"), |backend| {
            backend["state"].as_str().expect("a state").to_owned()
        })
    }

    /// Waits until a backend is in a state, or `gone`.
    pub fn wait_for_state(&self, pool: &str, address: impl Display, state: &str) {
        eventually(&format!("{address} of {pool} is {state}"), || {
            (self.state(pool, &address) == state).then_some(())
        });
    }

    /// Where the status page is.
    pub fn status_address(&self) -> SocketAddr {
        let stderr = self.stderr();
        let rest = stderr.split("status page on ").nth(1).expect("where the status page is");
        let address = rest.split([',', '\n']).next().unwrap_or_default();
        address.parse().unwrap_or_else(|_| panic!("an address in {stderr}"))
    }
}
