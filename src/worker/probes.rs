//! Probes of backends that were taken out: a TCP connect each second. No client's request is the
//! guinea pig.

use crate::mem::time::{Micros, Millis};
use crate::policy::health;
use crate::proxy::backend::BackendRef;
use crate::proxy::{Proxy, Token};
use crate::sys::{Event, Socket};

use super::FIRST_PROBE;

/// A backend that is out is probed so often.
const INTERVAL: Millis = Millis(1000);

/// One backend's probe.
struct Probe {
    backend: BackendRef,
    /// A connection that is being opened.
    socket: Option<Socket>,
    /// When the last one was begun.
    begun: Micros,
}

/// The probes of all backends.
pub struct Probes {
    list: Vec<Probe>,
}

impl Probes {
    /// A probe for each backend, none under way.
    pub fn new(proxy: &Proxy) -> Probes {
        let pools = proxy.pools().iter().enumerate();
        let backends = pools.flat_map(|(pool, facts)| {
            (0..facts.members.len()).map(move |member| BackendRef { pool, member })
        });
        let list =
            backends.map(|backend| Probe { backend, socket: None, begun: Micros(0) }).collect();
        Probes { list }
    }

    /// Begins the probes that are due. Whether any backend is out.
    pub fn tick(&mut self, proxy: &mut Proxy) -> bool {
        let mut any = false;
        for (index, probe) in self.list.iter_mut().enumerate() {
            if proxy.is_up(probe.backend) {
                probe.socket = None;
                continue;
            }
            any = true;
            if proxy.now() - probe.begun < Micros::from(INTERVAL) {
                continue;
            }
            probe.begun = proxy.now();
            // One that is still under way after a second has failed; the new one takes its place.
            probe.socket = Socket::connect(proxy.address(probe.backend)).ok();
            let token = Token::Worker(FIRST_PROBE + index as u64).pack();
            let watched = probe
                .socket
                .as_ref()
                .is_some_and(|socket| proxy.poller().watch_socket(socket, token).is_ok());
            if !watched {
                probe.socket = None;
                proxy.probed(probe.backend, health::Event::ProbeFailed);
            }
        }
        any
    }

    /// A probe's connection is open, or has failed.
    pub fn event(&mut self, proxy: &mut Proxy, index: u64, event: Event) {
        let Some(probe) = self.list.get_mut(index as usize) else { return };
        if probe.socket.is_none() || !event.writable && !event.failed {
            return;
        }
        probe.socket = None;
        let outcome =
            if event.failed { health::Event::ProbeFailed } else { health::Event::ProbeSucceeded };
        proxy.probed(probe.backend, outcome);
    }
}
