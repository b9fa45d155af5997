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
