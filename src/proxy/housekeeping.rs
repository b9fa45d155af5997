//! What is done now and then: idle connections closed, memory given back, and what changes when clients are
//! no longer to come back.

use super::Proxy;
use super::service::Service;

/// Sweeps between two looks for memory that has cooled down.
const COOLING: u64 = 3;
/// Sweeps after which idle limits are learned anew: a restart of a backend may have taught a
/// short one.
const FORGETTING: u64 = 120;

impl Proxy {
    /// Closes idle backend connections that are past their backend's limit, or whose backend is
    /// out, and gives back the pages of memory that was not used of late. Called about twice a
    /// second; `count` counts the calls. Whether there is anything left that another call could
    /// find.
    pub fn sweep(&mut self, count: u64) -> bool {
        self.buffers.pipes.resume();
        self.upstream.refresh_all(&mut self.turn);
        self.upstream.give_turns(&mut self.turn);
        self.wake_fetch_waiters();
        self.release_from_what_hangs();
        self.tell_of_slow_disk();
        self.upstream.close_old_idle(self.service.goes_on(), &mut self.turn);
        self.upstream.show_backends(self.turn.now.millis());
        self.refresh_diary();
        if count % FORGETTING == 0 {
            self.upstream.forget_idle_limits();
        }
        if count % COOLING != 0 {
            return true;
        }
        let mut any = !self.downstream.clients().is_empty() || !self.upstream.conns().is_empty();
        for piece in self.buffers.rings.cold().chain(self.heads.cold()) {
            crate::sys::memory::give_back(piece);
        }
        // What was used since the last look is cold at the next one, also if nobody comes until then.
        any |= self.buffers.rings.is_warm() || self.heads.is_warm();
        any
    }

    /// Clients are to come back, or not, from now on. Those that are idle may have less time,
    /// and while the service ends, nobody waits for what is nobody's.
    pub fn become_service(&mut self, service: Service) {
        if self.service == service {
            return;
        }
        self.service = service;
        if !service.goes_on() {
            self.buffers.pipes.retire();
        }
        self.upstream.close_old_idle(self.service.goes_on(), &mut self.turn);
        for index in 0..self.downstream.clients().capacity() {
            let Some(id) = self.downstream.clients().id_at(index) else { continue };
            if self.downstream[id].is_background() {
                if service == Service::Draining && !self.is_followed_by_clients(id) {
                    self.close(id);
                }
            } else if self.downstream[id].is_idle() {
                self.arm(id);
            }
        }
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.downstream.clients().is_empty()
    }
}
