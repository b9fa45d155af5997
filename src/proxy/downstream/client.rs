//! A client: its connection, and its place in the work.

use crate::http::scan::HeadScan;
use crate::mem::free_list::FreeList;
use crate::mem::time::Micros;
use crate::net::conn::Traffic;
use crate::net::{Conn, End};
use crate::sys::{Event, IoError, Poller};

use super::arrival::{Arrival, Peer};
use super::ending::Ending;
use super::sink::Sink;
use crate::proxy::ids::ExchangeId;
use crate::proxy::upstream::bound::Bound;

/// What epoll knows of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// epoll does not know the connection: one that is answered and closed at once never needs it.
    Not,
    /// epoll reports events of the connection.
    Watched,
}

/// A client's connection, or what stands for a client in the background.
pub struct Client {
    /// Where its responses go, and its requests come from.
    pub(super) sink: Sink<Conn>,
    /// The client's address: that of the connection, or that of a PROXY header.
    pub peer: Peer,
    /// The first exchange of the queue: the one that may commit.
    pub first: Option<ExchangeId>,
    /// The last exchange of the queue.
    pub last: Option<ExchangeId>,
    /// How many exchanges are in the queue.
    pub in_work: u32,
    /// How far the connection has come to its end.
    pub ending: Ending,
    /// Whether events come.
    pub watch: Watch,
    /// How far the input was searched for a head.
    pub scan: HeadScan,
    /// Whether the client did not take a response on which strangers waited: its requests share no connection
    /// with theirs.
    pub is_slow: bool,
    /// Whether the queue came to its limit with the last request.
    pub queue_was_full: bool,
    /// Number of the batch of requests that is being taken in.
    pub batch: u32,
    /// Requests read over the connection's life.
    pub requests: u64,
    /// When the connection was accepted.
    pub since: Micros,
    /// How the connection came in: what is to come before its first request, TLS, the port.
    pub arrival: Arrival,
    /// Backend connections that the client has logged in or may have, and that no other client gets. See
    /// `bound`.
    pub bound: Bound,
}

impl Client {
    /// A client that was just accepted, most probably with its request.
    pub fn new(conn: Conn, peer: Peer, arrival: Arrival) -> Client {
        Client::over(Sink::Http1(conn), peer, arrival)
    }

    fn over(sink: Sink<Conn>, peer: Peer, arrival: Arrival) -> Client {
        Client {
            sink,
            peer,
            first: None,
            last: None,
            in_work: 0,
            ending: Ending::open(),
            watch: Watch::Not,
            scan: HeadScan::request(),
            queue_was_full: false,
            is_slow: false,
            batch: 0,
            requests: 0,
            since: Micros(0),
            arrival,
            bound: Bound::Never,
        }
    }

    /// Stands for no client: its exchange is for the cache alone. It has no connection, and no place among
    /// the clients; there will be no requests, and no events.
    pub fn background(peer: Peer) -> Client {
        Client {
            ending: Ending::with_its_exchange(),
            watch: Watch::Watched,
            ..Client::over(Sink::Nobody, peer, Arrival::plain(0))
        }
    }

    /// Whether it stands for no client.
    pub fn is_background(&self) -> bool {
        matches!(self.sink, Sink::Nobody)
    }

    /// Where its responses go.
    pub fn sink(&mut self) -> Sink<&mut Conn> {
        self.sink.as_mut()
    }

    /// The connection that its requests come over.
    pub fn conn(&self) -> Option<&Conn> {
        self.sink.conn()
    }

    /// The connection, for whoever reads from it.
    pub fn conn_mut(&mut self) -> Option<&mut Conn> {
        self.sink.conn_mut()
    }

    /// Asks for its events. Fails where the kernel takes no more.
    pub fn ask_for_events(&mut self, poller: &Poller, token: u64) -> Result<(), IoError> {
        self.watch = Watch::Watched;
        self.conn().map_or(Ok(()), |conn| conn.watch(poller, token))
    }

    /// Notes an event on its connection.
    pub fn mark(&mut self, event: Event) {
        let Some(conn) = self.conn_mut() else { return };
        conn.mark(event);
        // Once both sides have ended it has failed too, and what is left can be read.
        if event.failed && !conn.has_said_end || event.reset {
            conn.end = End::Broken;
        }
    }

    /// Sends what was written. Returns how many bytes went.
    pub fn flush(&mut self, rings: &mut FreeList) -> Result<usize, IoError> {
        self.conn_mut().map_or(Ok(0), |conn| conn.flush(rings))
    }

    /// Gives back the rings that are empty.
    pub fn release_idle_buffers(&mut self, rings: &mut FreeList) {
        if let Some(conn) = self.conn_mut() {
            conn.release_idle_buffers(rings);
        }
    }

    /// What passed since the last time that it was asked for.
    pub fn take_traffic(&mut self) -> Traffic {
        self.conn_mut().map_or(Traffic::default(), Conn::take_traffic)
    }

    /// Whether it has nothing in work, nor sent a part of a head.
    pub fn is_idle(&self) -> bool {
        self.first.is_none() && self.is_flushed() && !self.has_input()
    }

    /// Whether all that was written to it has been sent.
    pub fn is_flushed(&self) -> bool {
        self.conn().is_none_or(|conn| conn.output.is_empty())
    }

    /// Whether what would be written to it now would most probably be sent at once.
    pub fn takes_all_at_once(&self) -> bool {
        self.conn().is_none_or(|conn| conn.output.is_empty() && conn.writable)
    }

    /// Whether there is something for it that it takes.
    pub fn takes_more(&self) -> bool {
        self.conn().is_some_and(|conn| conn.writable && !conn.output.is_empty())
    }

    /// Whether it was told that nothing more comes.
    pub fn has_said_end(&self) -> bool {
        self.conn().is_none_or(|conn| conn.has_said_end)
    }

    /// Whether there are bytes of it that were not used yet.
    pub fn has_input(&self) -> bool {
        self.conn().is_some_and(|conn| !conn.input.is_empty())
    }

    /// Whether there may be something to be read of it: bytes that have come, or come now.
    pub fn may_have_sent(&self) -> bool {
        self.conn().is_some_and(|conn| conn.readable || !conn.input.is_empty())
    }

    /// Whether it has ended its side. What it sent before may still be on its way.
    pub fn has_ended(&self) -> bool {
        self.conn().is_some_and(|conn| conn.end != End::Open)
    }

    /// Whether it can never send another request.
    pub fn has_said_all(&self) -> bool {
        self.conn().is_some_and(|conn| conn.end != End::Open && !conn.readable)
    }

    /// Whether its connection is of no use any more.
    pub fn is_broken(&self) -> bool {
        self.conn().is_some_and(|conn| conn.end == End::Broken)
    }
}
