//! A client: its connection, and its place in the work.

use std::net::SocketAddr;

use crate::http::scan::HeadScan;
use crate::mem::time::Micros;
use crate::net::{Conn, End};

use super::arrival::Arrival;
use super::close::Ending;
use crate::proxy::ids::ExchangeId;
use crate::proxy::upstream::bound::Bound;

/// What epoll knows of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing yet: a connection that is answered and closed at once never needs it.
    Not,
    /// Events come.
    Watched,
}

/// A client connection.
pub struct Client {
    /// Socket and rings.
    pub conn: Conn,
    /// Its address: its own, or that of a PROXY header.
    pub peer: SocketAddr,
    /// The first exchange of the queue: the one that may commit.
    pub first: Option<ExchangeId>,
    /// The last one.
    pub last: Option<ExchangeId>,
    /// How many there are.
    pub in_work: u32,
    /// How far it has come to its end.
    pub ending: Ending,
    /// Whether events come.
    pub watch: Watch,
    /// How far the input was searched for a head.
    pub scan: HeadScan,
    /// The queue came to its limit with the last request.
    pub queue_was_full: bool,
    /// Number of the batch of requests that is being taken in.
    pub batch: u32,
    /// Requests taken in over its life.
    pub requests: u64,
    /// When it was accepted.
    pub since: Micros,
    /// How it came in: what is to come before its first request, TLS, the port.
    pub arrival: Arrival,
    /// Backend connections that it has logged in or may have, and that nobody else gets. See `bound`.
    pub bound: Bound,
}

impl Client {
    /// A client that was just accepted, most probably with its request.
    pub fn new(conn: Conn, peer: SocketAddr, arrival: Arrival) -> Client {
        Client {
            conn,
            peer,
            first: None,
            last: None,
            in_work: 0,
            ending: Ending::open(),
            watch: Watch::Not,
            scan: HeadScan::request(),
            queue_was_full: false,
            batch: 0,
            requests: 0,
            since: Micros(0),
            arrival,
            bound: Bound::Never,
        }
    }

    /// Stands for no client: its exchange is for the cache alone. It needs no socket, and no place among
    /// the clients; there will be no requests, and no events.
    pub fn background(peer: SocketAddr) -> Client {
        let mut client = Client::new(Conn::to_nobody(), peer, Arrival::plain(0));
        client.ending = Ending::with_its_exchange();
        client.watch = Watch::Watched;
        client
    }

    /// Whether it stands for no client.
    pub fn is_background(&self) -> bool {
        self.conn.is_to_nobody()
    }

    /// Whether it has nothing in work, nor sent a part of a head.
    pub fn is_idle(&self) -> bool {
        self.first.is_none() && self.conn.output.is_empty() && self.conn.input.is_empty()
    }

    /// Whether it can never send another request.
    pub fn has_said_all(&self) -> bool {
        self.conn.end != End::Open && !self.conn.readable
    }
}
