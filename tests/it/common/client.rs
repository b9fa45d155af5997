//! A client that sends what it is told, byte for byte, and reads strictly.

use super::{
    message::{self, Broken, Response},
    shown,
    wire::{End, Wire},
};
use std::net::SocketAddr;

pub struct Client {
    pub wire: Wire,
}

/// There was no whole response.
#[derive(Debug)]
pub struct Cut {
    /// What came of it, if its head came.
    pub response: Option<Response>,
    /// What came that is no part of `response`.
    pub rest: Vec<u8>,
    pub end: End,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client { wire: Wire::connect(address) }
    }

    pub fn address(&self) -> SocketAddr {
        self.wire.stream.local_addr().unwrap()
    }

    /// Sends, and does not mind if the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes.as_ref());
    }

    /// Sends `GET target` as the simplest of clients does.
    pub fn ask(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// `GET target`, and its response.
    pub fn get(&mut self, target: &str) -> Response {
        self.ask(target);
        self.response()
    }

    /// The next response, interim ones included. Panics when none comes whole.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next response is this one, and says that it is the last.
    #[track_caller]
    pub fn expect_last(&mut self, text: &str) {
        let response = self.response();
        assert_eq!((response.text().as_str(), response.closes()), (text, true));
    }

    pub fn response_to(&mut self, method: &str) -> Response {
        match self.receive(method) {
            Ok(response) => response,
            Err(cut) => panic!(
                "no whole response: {:?} after {:?} and {}",
                cut.end,
                cut.response.map(|response| (response.head.first_line, response.body.len())),
                shown(&cut.rest)
            ),
        }
    }

    /// The next response to a request of `method`, or what came of it. Panics when what comes
    /// is no valid HTTP.
    pub fn receive(&mut self, method: &str) -> Result<Response, Box<Cut>> {
        let mut response =
            match message::read_head(&mut self.wire).and_then(message::parse_status_line) {
                Ok(response) => response,
                Err(broken) => return Err(self.cut(broken, None)),
            };
        let framing = match message::response_framing(method, &response) {
            Ok(framing) => framing,
            Err(broken) => return Err(self.cut(broken, Some(response))),
        };
        let Response { body, trailers, .. } = &mut response;
        match message::read_body(&mut self.wire, framing, body, trailers) {
            Ok(()) => Ok(response),
            Err(broken) => Err(self.cut(broken, Some(response))),
        }
    }

    fn cut(&mut self, broken: Broken, response: Option<Response>) -> Box<Cut> {
        match broken {
            Broken::Ended(end) => {
                Box::new(Cut { response, rest: std::mem::take(&mut self.wire.buffer), end })
            }
            Broken::Malformed(what) => panic!("the client got {what}"),
        }
    }

    /// Waits for the end of the connection. Fails if a byte comes before it, or no end.
    pub fn expect_end(&mut self) -> End {
        let end = self.wire.read_to_end();
        assert!(self.wire.buffer.is_empty(), "came before the end: {}", shown(&self.wire.buffer));
        assert_ne!(end, End::Silence, "the connection was not closed");
        end
    }

    pub fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let end = self.wire.read_until_len(len);
        assert!(end.is_ok(), "{end:?} after {}", shown(&self.wire.buffer));
        self.wire.take(len)
    }

    pub fn finish_sending(&self) {
        self.wire.finish_sending();
    }

    pub fn reset(self) {
        self.wire.reset();
    }
}
