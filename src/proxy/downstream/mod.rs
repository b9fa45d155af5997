//! The clients' side of a worker as one owner: connections, each with its queue of exchanges, and the
//! room for them, which all workers share.
//!
//! ```text
//! room             who is let in, and who makes room for others
//! proxy_protocol   what comes before a first request
//! read_requests    bytes to exchanges, at the end of their client's queue
//! accept_head      what is made of one head
//! write            what a client is sent: heads, replies of our own, stored responses
//! sink             where a response goes, and how its body gets there
//! close            how a connection ends; ending, how far it has come
//! ```
//!
//! It knows exchanges by their ids alone. What lies in its tables is changed here and nowhere else; to
//! those above it lends a client at a time.

mod accept_head;
pub mod arrival;
pub mod client;
mod close;
pub mod ending;
mod proxy_protocol;
mod read_requests;
mod room;
pub mod sink;
pub mod write;

#[cfg(test)]
mod tests;

use std::ops::{Index, IndexMut};

use crate::mem::slab::Slab;
use crate::shared::Segment;

use super::ids::{ClientId, ClientTag, ExchangeId};
use client::Client;

/// The clients' side of a worker.
pub struct Downstream {
    /// What all workers share.
    segment: Segment,
    /// This worker's number.
    worker: usize,
    clients: Slab<Client, ClientTag>,
    /// By the slots of exchanges: which one is behind in the same client's queue.
    behind: Vec<Option<ExchangeId>>,
    /// Clients with an exchange in work.
    busy: usize,
    /// Entries of `clients` that stand for no client: stored responses that are revalidated.
    background: usize,
    limits: ClientLimits,
}

/// The limits of one process towards clients.
#[derive(Clone, Copy)]
pub struct ClientLimits {
    /// Connections, over all workers.
    pub clients: usize,
    /// Exchanges at once that have no client.
    pub background: usize,
    /// Exchanges that there can be.
    pub exchanges: usize,
    /// Requests of one client in work at once.
    pub pipeline: usize,
}

impl Downstream {
    /// No clients yet.
    pub fn new(limits: ClientLimits, segment: Segment, worker: usize) -> Downstream {
        Downstream {
            segment,
            worker,
            clients: Slab::with_capacity(limits.clients + limits.background),
            behind: vec![None; limits.exchanges],
            busy: 0,
            background: 0,
            limits,
        }
    }

    /// All clients, and those that stand for none.
    pub fn clients(&self) -> &Slab<Client, ClientTag> {
        &self.clients
    }

    /// A client, if it is still there.
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(id)
    }

    /// Clients that are connected.
    pub fn connected(&self) -> usize {
        self.clients.len() - self.background
    }

    /// Clients with an exchange in work.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// Exchanges that have no client.
    #[cfg(test)]
    pub fn background(&self) -> usize {
        self.background
    }

    /// Whether another exchange may have no client.
    pub fn has_room_in_background(&self) -> bool {
        self.background < self.limits.background
    }

    /// Takes a client in for which there is room.
    pub fn insert(&mut self, client: Client) -> ClientId {
        self.background += usize::from(client.is_background());
        self.clients.insert(client).expect("there is room for it")
    }

    /// A client that has nothing in work is gone.
    pub fn remove(&mut self, id: ClientId) -> Client {
        let client = self.clients.remove(id);
        debug_assert!(client.first.is_none());
        self.background -= usize::from(client.is_background());
        client
    }

    /// Whether the exchange is the one whose turn it is, of this client.
    pub fn is_first(&self, client: ClientId, exchange: ExchangeId) -> bool {
        self.clients[client].first == Some(exchange)
    }

    /// The exchange behind this one in its client's queue.
    pub fn behind(&self, exchange: ExchangeId) -> Option<ExchangeId> {
        self.behind[exchange.index()]
    }

    /// Puts an exchange at the end of its client's queue.
    pub fn push(&mut self, id: ClientId, exchange: ExchangeId) {
        let client = &mut self.clients[id];
        match client.last.replace(exchange) {
            Some(last) => self.behind[last.index()] = Some(exchange),
            None => {
                client.first = Some(exchange);
                self.busy += 1;
            }
        }
        client.in_work += 1;
        client.queue_was_full = client.in_work as usize == self.limits.pipeline;
    }

    /// Takes the first exchange out of a client's queue: the one behind it is the first now.
    pub fn pop(&mut self, id: ClientId) -> Option<ExchangeId> {
        let client = &mut self.clients[id];
        let exchange = client.first?;
        client.first = self.behind[exchange.index()].take();
        client.in_work -= 1;
        if client.first.is_none() {
            client.last = None;
            self.busy -= 1;
        }
        Some(exchange)
    }
}

impl Index<ClientId> for Downstream {
    type Output = Client;
    #[inline]
    fn index(&self, id: ClientId) -> &Client {
        &self.clients[id]
    }
}

impl IndexMut<ClientId> for Downstream {
    #[inline]
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id]
    }
}
