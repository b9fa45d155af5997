//! What comes before a client's first request: the PROXY header, at a listener that demands it.
//!
//! Whoever may connect there is believed. Its address takes the place of the peer's in all that
//! follows (`X-Forwarded-For`, the log, `trusted_proxies`), and so does what it says of TLS: it is the
//! same sender that ends the TLS connection, and no other hop knows of it.

use crate::http::proxy_header::{self, HeaderReading, ProxyHeader};
use crate::mem::time::Micros;
use crate::sys::log::{self, Level};

use super::arrival::{Peer, ProxyProtocol};
use crate::proxy::Proxy;
use crate::proxy::ids::ClientId;
use crate::proxy::step::Progress;

/// Connections that begin badly are told of at most so often.
const PAUSE: Micros = Micros(10_000_000);

impl Proxy {
    /// Reads the header if there has to be one before requests are taken in.
    pub(super) fn read_preamble(&mut self, id: ClientId) -> Progress {
        let mut moved = Progress::None;
        while self.downstream[id].arrival.preamble == ProxyProtocol::ProxyHeader {
            let client = &mut self.downstream[id];
            if !client.ending.takes_requests() {
                break;
            }
            let Some(conn) = client.conn_mut() else { break };
            let input = &mut conn.input;
            let bytes = if input.is_empty() { &[] } else { input.flatten() };
            match proxy_header::read(bytes, self.settings.ring_size) {
                HeaderReading::Whole(header) => self.introduce(id, &header),
                HeaderReading::Malformed => self.reject(id),
                HeaderReading::Partial => match conn.fill(&mut self.buffers.rings) {
                    Ok(0) | Err(_) if conn.is_ended() && !conn.input.is_empty() => {
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
        let client = &mut self.downstream[id];
        if let Some(conn) = client.conn_mut() {
            conn.input.consume(header.len);
        }
        client.arrival.preamble = ProxyProtocol::None;
        client.arrival.https |= header.tls;
        client.arrival.port = header.port.or(client.arrival.port);
        if header.client.is_some() {
            client.peer = Peer::at(header.client);
        }
    }

    /// Closes a connection that began with anything else, without a word to it: what it speaks is
    /// not known.
    pub(super) fn reject(&mut self, id: ClientId) {
        self.break_off(id);
        let peer = self.downstream[id].peer;
        let Some(count) = self.bad_preambles.add(self.turn.now, PAUSE) else { return };
        log::write(
            Level::Warning,
            format_args!(
                "a connection from {peer} did not begin with a valid PROXY header and was closed \
                 ({count} since the last such message)"
            ),
        );
    }
}
