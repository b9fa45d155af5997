//! Tunneling: after a 101 bytes flow both ways until both sides have ended.

use crate::http::body::Body;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;

use super::Proxy;
use super::downstream::sink::Sink;
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
        let client = &mut self.downstream[exchange.client];
        let backend = &mut self.upstream[conn].conn;
        let Some(source) = client.conn_mut() else {
            self.finish_tunnel(id); // Nobody has asked for one.
            return Ok(Progress::Made);
        };
        let up = exchange.upload.step(source, &mut Sink::Http1(&mut *backend), &mut self.buffers);
        let down = exchange.download.step(backend, &mut client.sink(), &mut self.buffers);
        let moved = match (up, down) {
            (Ok(up), Ok(down)) => up.or(down),
            (_, Err(RelayError::SinkBroken)) => {
                client.break_off();
                return Ok(Progress::Made);
            }
            (Err(_), _) | (_, Err(_)) => {
                self.truncate(id, Reason::ResponseIncomplete);
                return Ok(Progress::Made);
            }
        };
        let mut ended = Progress::None;
        if exchange.upload.is_done() && backend.output.is_empty() && !backend.has_said_end {
            // One that is gone already shows at the next read.
            let _ = backend.shutdown_write();
            ended = Progress::Made;
        }
        if exchange.download.is_done() && client.end_output() {
            ended = Progress::Made;
        }
        if backend.has_said_end && client.has_said_end() {
            self.finish_tunnel(id);
            return Ok(Progress::Made);
        }
        // What came before the reset goes to the client as far as that takes it now.
        let client_takes_more = client.takes_more();
        if backend.was_reset && moved == Progress::None && !client_takes_more {
            self.truncate(id, Reason::ResponseIncomplete);
            return Ok(Progress::Made);
        }
        Ok(moved.or(ended))
    }

    /// Both sides have ended, or nothing was said for too long.
    pub(super) fn finish_tunnel(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        exchange.bytes_out += exchange.download.payload();
        exchange.enter(State::Done);
    }
}
