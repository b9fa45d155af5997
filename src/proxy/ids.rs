//! What the things of the data plane are named by. A name does not say what it names looks like, so
//! everybody may know all of them.

use crate::mem::slab::Id;

/// Stands for a client.
pub enum ClientTag {}
/// Stands for an exchange.
pub enum ExchangeTag {}
/// Stands for a connection to a backend.
pub enum BackendConnTag {}
/// Stands for a recorder of a response.
pub enum RecorderTag {}

/// Names a client.
pub type ClientId = Id<ClientTag>;
/// Names an exchange.
pub type ExchangeId = Id<ExchangeTag>;
/// Names a connection to a backend.
pub type BackendConnId = Id<BackendConnTag>;
/// Names a recorder of a response.
pub type RecorderId = Id<RecorderTag>;

/// What an epoll event is about: the two highest bits of its data say what kind of thing, the
/// others are the thing's id. An id whose slot has a new owner finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A client.
    Client(ClientId),
    /// A connection to a backend.
    Backend(BackendConnId),
    /// Something of the worker's own: a listener, the signals, a probe.
    Worker(u64),
    /// The worker's waker, which other processes ring.
    Waker,
}

impl Token {
    /// As epoll keeps it.
    pub fn pack(self) -> u64 {
        match self {
            Token::Client(id) => id.pack(),
            Token::Backend(id) => 1 << 62 | id.pack(),
            Token::Worker(number) => 2 << 62 | number,
            Token::Waker => 3 << 62,
        }
    }

    /// As it was packed.
    pub fn unpack(packed: u64) -> Token {
        let rest = packed & !(3 << 62);
        match packed >> 62 {
            0 => Token::Client(Id::unpack(rest)),
            1 => Token::Backend(Id::unpack(rest)),
            2 => Token::Worker(rest),
            _ => Token::Waker,
        }
    }
}
