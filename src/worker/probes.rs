//! Probes of backends that were taken out: a TCP connect each second. No client's request is the
//! guinea pig.

use crate::mem::time::{Micros, Millis};
use crate::policy::health;
use crate::proxy::{Proxy, Token};
use crate::shared::Slot;
use crate::sys::{Event, Socket};

use super::FIRST_PROBE;

/// A backend that is out is probed so often.
const INTERVAL: Millis = Millis(1000);

/// One backend's probe.
#[derive(Default)]
struct Probe {
    /// A connection that is being opened.
    socket: Option<Socket>,
    /// When the last one was begun.
    begun: Micros,
}

/// The probes of all backends.
pub struct Probes {
    /// By slot.
    list: Vec<Probe>,
}

impl Probes {
    /// A probe for each backend that there may be, none under way.
    pub fn new(proxy: &Proxy) -> Probes {
        let slots = 0..proxy.segment().layout().backends;
        Probes { list: slots.map(|_| Probe::default()).collect() }
    }

    /// Begins the probes that are due. Whether any backend is out.
    pub fn tick(&mut self, proxy: &mut Proxy) -> bool {
        let segment = proxy.segment();
        let mut any = false;
        for slot in segment.pools().flat_map(|pool| segment.members(pool)) {
            let probe = &mut self.list[slot.0];
            if segment.backend(slot).passive().is_up() {
                probe.socket = None;
                continue;
            }
            any = true;
            if proxy.now() - probe.begun < Micros::from(INTERVAL) {
                continue;
            }
            probe.begun = proxy.now();
            // One that is still under way after a second has failed; the new one takes its place.
            probe.socket = Socket::connect(segment.backend(slot).address()).ok();
            let token = Token::Worker(FIRST_PROBE + slot.0 as u64).pack();
            let watched = probe
                .socket
                .as_ref()
                .is_some_and(|socket| proxy.poller().watch_socket(socket, token).is_ok());
            if !watched {
                probe.socket = None;
                proxy.probed(slot, health::Event::ProbeFailed);
            }
        }
        any
    }

    /// A probe's connection is open, or has failed.
    pub fn event(&mut self, proxy: &mut Proxy, index: u64, event: Event) {
        let slot = Slot(index as usize);
        let Some(probe) = self.list.get_mut(slot.0) else { return };
        if probe.socket.is_none() || !event.writable && !event.failed {
            return;
        }
        probe.socket = None;
        let outcome =
            if event.failed { health::Event::ProbeFailed } else { health::Event::ProbeSucceeded };
        proxy.probed(slot, outcome);
    }
}
