//! A connection to a member of the engine: requests one after the other, each with its response; the last one
//! may be a watch, whose response does not end.

use std::net::SocketAddr;

use serde_json::Value;

use crate::sys::{Event, IoError, Poller, Socket};

use super::reader::{Reader, Unreadable};

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// By the kernel.
    Io(IoError),
    /// The member has closed it.
    Closed,
    /// What came is no response.
    Unreadable(Unreadable),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Io(IoError::Refused) => out.write_str("connection refused"),
            Broken::Io(IoError::Reset) => out.write_str("connection reset"),
            Broken::Io(error) => error.fmt(out),
            Broken::Closed => out.write_str("connection closed"),
            Broken::Unreadable(why) => why.fmt(out),
        }
    }
}

/// What is sent with each request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The member.
    pub endpoint: SocketAddr,
    /// Who we are, once that was asked for.
    pub token: Option<String>,
}

impl Caller {
    /// A request, ready to be sent. Its answer is to fail where the member has no leader.
    fn request(&self, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let token = self.token.as_ref().map(|token| format!("Authorization: {token}\r\n"));
        format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: httplb\r\n\
             Content-Type: application/json\r\nGrpc-Metadata-hasleader: true\r\n{}\
             Content-Length: {}\r\n\r\n{body}",
            self.endpoint,
            token.unwrap_or_default(),
            body.len()
        )
        .into_bytes()
    }
}

/// A connection.
pub struct Link {
    socket: Socket,
    output: Vec<u8>,
    sent: usize,
    readable: bool,
    writable: bool,
    /// The response that is awaited or comes.
    reader: Option<Reader>,
}

impl Link {
    /// Begins to connect.
    pub fn open(endpoint: SocketAddr, poller: &Poller, token: u64) -> Result<Link, Broken> {
        let socket = Socket::connect(endpoint).map_err(Broken::Io)?;
        poller.watch_socket(&socket, token).map_err(Broken::Io)?;
        Ok(Link {
            socket,
            output: Vec::new(),
            sent: 0,
            readable: false,
            writable: false,
            reader: None,
        })
    }

    /// Sends a request. None must be under way.
    pub fn ask(&mut self, caller: &Caller, path: &str, body: &Value) {
        assert!(self.reader.is_none(), "one after the other");
        self.output = caller.request(path, body);
        self.sent = 0;
        self.reader = Some(Reader::default());
    }

    /// Notes an event of its socket.
    pub fn event(&mut self, event: Event) {
        self.readable |= event.readable || event.closed || event.failed;
        self.writable |= event.writable || event.failed;
    }

    /// Sends and receives as much as it can.
    pub fn step(&mut self) -> Result<(), Broken> {
        while self.writable && self.sent < self.output.len() {
            match self.socket.send([&self.output[self.sent..], &[]]) {
                Ok(count) => self.sent += count,
                Err(IoError::WouldBlock) => self.writable = false,
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        let mut bytes = [0; 16 * 1024];
        while self.readable {
            match self.socket.receive([&mut bytes, &mut []]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => match &mut self.reader {
                    Some(reader) => reader.add(&bytes[..count]).map_err(Broken::Unreadable)?,
                    None => return Err(Broken::Unreadable(Unreadable::Malformed)),
                },
                Err(IoError::WouldBlock) => self.readable = false,
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        Ok(())
    }

    /// The response to the request, once it is whole: its status and its body.
    pub fn take_response(&mut self) -> Option<(u16, Vec<u8>)> {
        let reader = self.reader.take_if(|reader| reader.is_done())?;
        Some((reader.status()?, reader.text().to_vec()))
    }

    /// The response as far as it has come.
    pub fn response(&mut self) -> Option<&mut Reader> {
        self.reader.as_mut()
    }
}
