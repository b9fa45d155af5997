//! Tunneling: after a 101 bytes flow both ways until both sides have ended.

use crate::http::body::Body;
use crate::net::End;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;

use super::Proxy;
use super::exchange::State;
use super::relay::Relay;
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::{Frame, Progress, RelayError};

impl Proxy {
    /// Switches from HTTP to bytes. What either side sent behind its head is the first of them.
    pub(super) fn begin_tunnel(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        exchange.upload = Relay::new(Body::UntilClose, Frame::Raw);
        exchange.download = Relay::new(Body::UntilClose, Frame::Raw);
        exchange.enter(State::Tunneling);
        self.close_behind(id);
    }

    /// Moves bytes both ways; passes on the end of each side by itself.
    pub(super) fn tunneling(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let conn = self.backend_conn(id);
        let exchange = &mut self.exchanges[id];
        let client = &mut self.downstream[exchange.client].conn;
        let backend = &mut self.upstream[conn].conn;
        let up = exchange.upload.step(client, backend, &mut self.buffers);
        let down = exchange.download.step(backend, client, &mut self.buffers);
        let moved = match (up, down) {
            (Ok(up), Ok(down)) => up.or(down),
            (_, Err(RelayError::SinkBroken)) => {
                client.end = End::Broken;
                return Ok(Progress::Made);
            }
            (Err(_), _) | (_, Err(_)) => {
                self.truncate(id, Reason::ResponseIncomplete);
                return Ok(Progress::Made);
            }
        };
        let mut told = Progress::None;
        if exchange.upload.is_done() && backend.output.is_empty() && !backend.has_said_end {
            // One that is gone already shows at the next read.
            let _ = backend.shutdown_write();
            told = Progress::Made;
        }
        if exchange.download.is_done() && client.output.is_empty() && !client.has_said_end {
            let _ = client.shutdown_write();
            told = Progress::Made;
        }
        if backend.has_said_end && client.has_said_end {
            self.finish_tunnel(id);
            return Ok(Progress::Made);
        }
        // What came before the reset goes to the client as far as that takes it now.
        let client_takes_more = client.writable && !client.output.is_empty();
        if backend.was_reset && moved == Progress::None && !client_takes_more {
            self.truncate(id, Reason::ResponseIncomplete);
            return Ok(Progress::Made);
        }
        Ok(moved.or(told))
    }

    /// Both sides have ended, or nothing was said for too long.
    pub(super) fn finish_tunnel(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        exchange.bytes_out += exchange.download.payload();
        exchange.enter(State::Done);
    }
}
