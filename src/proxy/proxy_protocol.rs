//! What comes before a client's first request: the PROXY header, at a listener that demands it.
//!
//! Whoever may connect there is believed. Its address takes the place of the peer's in all that
//! follows (`X-Forwarded-For`, the log, `trusted_proxies`), and so does what it says of TLS: it is the
//! same sender that ends the TLS connection, and no other hop knows of it.

use std::net::SocketAddr;

use crate::config::Listen;
use crate::http::proxy_header::{self, HeaderReading, ProxyHeader};
use crate::mem::time::Micros;
use crate::net::End;
use crate::sys::log::{self, Level};

use super::Proxy;
use super::client::ClientPhase;
use crate::proxy::ids::ClientId;
use crate::proxy::step::Progress;

/// Connections that begin badly are told of at most so often.
const PAUSE: Micros = Micros(10_000_000);

/// What a listener's connections begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A request; also once the header has come.
    None,
    /// A PROXY header.
    ProxyHeader,
}

/// What all connections of a listener have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What they begin with.
    pub preamble: ProxyProtocol,
    /// Whether clients speak TLS with what stands before it.
    pub https: bool,
    /// The port that clients connected to; none where what stands before it has another.
    pub port: Option<u16>,
}

impl Arrival {
    /// Of clients that begin with a request, at this port.
    pub fn plain(port: u16) -> Arrival {
        Arrival { preamble: ProxyProtocol::None, https: false, port: Some(port) }
    }

    /// At a listener with this port.
    pub fn at(listen: &Listen, port: u16) -> Arrival {
        let preamble = match listen.proxy_protocol {
            true => ProxyProtocol::ProxyHeader,
            false => ProxyProtocol::None,
        };
        let is_own = !listen.https && !listen.proxy_protocol;
        Arrival { preamble, https: listen.https, port: is_own.then_some(port) }
    }
}

/// What is told of connections that begin badly: not more than a message now and then, however
/// many of them there are.
#[derive(Default)]
pub struct RateLimitedLog {
    last: Option<Micros>,
    /// Connections since the last message.
    untold: u64,
}

impl RateLimitedLog {
    /// Notes one more; how many there were since the last message, if `pause` has passed since.
    pub(super) fn add(&mut self, now: Micros, pause: Micros) -> Option<u64> {
        self.untold += 1;
        if self.last.is_some_and(|last| now.0.saturating_sub(last.0) < pause.0) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Proxy {
    /// Reads the header if there has to be one before requests are taken in.
    pub(super) fn read_preamble(&mut self, id: ClientId) -> Progress {
        let mut moved = Progress::None;
        while self.clients[id].arrival.preamble == ProxyProtocol::ProxyHeader {
            let client = &mut self.clients[id];
            if client.phase != ClientPhase::Open {
                break;
            }
            let input = &mut client.conn.input;
            let bytes = if input.is_empty() { &[] } else { input.flatten() };
            match proxy_header::read(bytes, self.settings.ring_size) {
                HeaderReading::Whole(header) => self.introduce(id, &header),
                HeaderReading::Malformed => self.reject(id),
                HeaderReading::Partial => match client.conn.fill(&mut self.buffers.rings) {
                    Ok(0) | Err(_) if client.conn.is_ended() && !client.conn.input.is_empty() => {
                        self.reject(id);
                    }
                    Ok(0) | Err(_) => break,
                    Ok(_) => (),
                },
            }
            moved = Progress::Made;
        }
        moved
    }

    /// The client is who the header names.
    fn introduce(&mut self, id: ClientId, header: &ProxyHeader) {
        let client = &mut self.clients[id];
        client.conn.input.consume(header.len);
        client.arrival.preamble = ProxyProtocol::None;
        client.arrival.https |= header.tls;
        client.arrival.port = header.port.or(client.arrival.port);
        if let Some(address) = header.client {
            client.peer = SocketAddr::new(address.ip().to_canonical(), address.port());
        }
    }

    /// Closes a connection that began with anything else, without a word to it: what it speaks is
    /// not known.
    pub(super) fn reject(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
        client.phase = ClientPhase::Closing;
        client.conn.end = End::Broken;
        let peer = client.peer;
        self.turn.wake(id);
        let Some(count) = self.complaints.add(self.turn.now, PAUSE) else { return };
        log::write(
            Level::Warning,
            format_args!(
                "a connection from {peer} did not begin with a valid PROXY header and was closed \
                 ({count} since the last such message)"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_of_at_once_and_many_more_at_most_each_ten_seconds() {
        let mut complaints = RateLimitedLog::default();
        assert_eq!(complaints.add(Micros(5), PAUSE), Some(1));
        for time in 6..100 {
            assert_eq!(complaints.add(Micros(time), PAUSE), None);
        }
        assert_eq!(complaints.add(Micros(PAUSE.0 + 4), PAUSE), None);
        assert_eq!(complaints.add(Micros(PAUSE.0 + 5), PAUSE), Some(96));
        assert_eq!(complaints.add(Micros(PAUSE.0 + 6), PAUSE), None);
    }
}
