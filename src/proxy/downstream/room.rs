//! Room for clients, which all workers share: claimed before one is accepted, given back when it has left,
//! and made by those that are idle when it runs out.

use std::net::SocketAddr;

use crate::mem::time::Millis;
use crate::net::Conn;
use crate::shared::{Counter, WaitFor};
use crate::sys::Socket;

use super::Downstream;
use super::arrival::{Arrival, Peer};
use super::client::Client;
use crate::proxy::Proxy;
use crate::proxy::ids::ClientId;
use crate::proxy::timer::Timer;

/// Idle clients that make room at a time for those of a later generation.
const RECYCLED: usize = 64;
/// Idle clients that are looked at when one of them is to make room.
const MOST_IDLE: usize = 8;
/// A client that lingers is left so much time, whoever waits for its room: what it was still sending when its
/// last response went out arrives meanwhile, and would be answered by a reset that takes the response back.
const LINGER_AT_LEAST: Millis = Millis(250);
/// A client that has not sent anything for so long after it came is idle.
const SILENT: Millis = Millis(1000);

impl Downstream {
    /// Claims room for another client of the service. `false`: there is none now.
    pub fn claim_room(&self) -> bool {
        self.segment.claim_client(self.worker, self.limits.clients as u32)
    }

    /// Whether there may be room for another client.
    pub fn has_room(&self) -> bool {
        (self.segment.clients() as usize) < self.limits.clients
    }

    /// Gives the room of a client back. Which worker is then to be woken, if any waits for it.
    pub fn release_room(&self) -> Option<usize> {
        self.segment.release_client(self.worker);
        self.next_to_wake()
    }

    /// From now on this worker is woken when there is room. The others, which may have idle clients, are
    /// to be woken at once.
    pub fn wait_for_room(&self) -> impl Iterator<Item = usize> + use<> {
        self.segment.wait(self.worker, WaitFor::Client);
        let own = self.worker;
        (0..self.segment.layout().workers).filter(move |other| *other != own)
    }

    /// No client waits here any more. Which worker is to be woken: what room there is may have been told to
    /// this one alone.
    pub fn stop_waiting_for_room(&self) -> Option<usize> {
        self.segment.unwait(self.worker, WaitFor::Client);
        if self.has_room() { self.next_to_wake() } else { None }
    }

    /// Whether a client waits to be accepted for which there is no room, here or by another worker.
    fn lacks_room(&self) -> bool {
        self.segment.next_waiting(self.worker, WaitFor::Client).is_some() && !self.has_room()
    }

    /// The next worker that waits for room, but for this one: it looks at the end of the turn.
    fn next_to_wake(&self) -> Option<usize> {
        let next = self.segment.next_waiting(self.worker, WaitFor::Client);
        next.filter(|worker| *worker != self.worker)
    }
}

impl Proxy {
    /// Takes a client that was just accepted, in the room that was claimed for it, as the connections
    /// of its listener are.
    pub fn admit(&mut self, socket: Socket, peer: Option<SocketAddr>, arrival: Arrival) {
        // Deferred accept: a request is most probably there, and a first answer finds room.
        // An IPv4 client of a listener for both is named as what it is.
        let peer = Peer::at(peer);
        let mut client = Client::new(Conn::new(socket, true, true), peer, arrival);
        client.since = self.turn.now;
        let id = self.downstream.insert(client);
        self.row.add(Counter::Connections, 1);
        self.start_client_timer(id, Timer::Header);
        self.turn.wake(id);
    }

    /// Claims room for another client of the service. `false`: there is none now.
    pub fn claim_room(&mut self) -> bool {
        self.downstream.claim_room()
    }

    /// Gives the room of a client back: one has left, or none has come. Who waits for it is rung.
    pub fn give_room_back(&mut self) {
        let next = self.downstream.release_room();
        next.into_iter().for_each(|worker| self.upstream.wake_worker(worker));
    }

    /// Whether there may be room for another client.
    pub fn has_room(&self) -> bool {
        self.downstream.has_room()
    }

    /// From now on this worker is rung when there is room. The caller then looks once more. The other
    /// workers are rung at once: they may have idle clients, which make room.
    pub fn wait_for_room(&mut self) {
        self.downstream.wait_for_room().for_each(|worker| self.upstream.wake_worker(worker));
    }

    /// No client waits here any more. What room there is may have been told to this worker alone,
    /// and is told to the next one that waits.
    pub fn stop_waiting_for_room(&mut self) {
        let next = self.downstream.stop_waiting_for_room();
        next.into_iter().for_each(|worker| self.upstream.wake_worker(worker));
    }

    /// Clients that are connected.
    pub fn clients(&self) -> usize {
        self.downstream.connected()
    }

    /// Closes a client for the room of the next one: one that lingers behind its last answer, else the
    /// one that has been idle for longest, if any is.
    pub fn recycle(&mut self) -> bool {
        if let Some(id) = self.longest_lingering() {
            self.stop_lingering(id);
            return true;
        }
        for id in self.longest_idle().into_iter().flatten() {
            if !self.has_just_asked(id) {
                self.close(id);
                self.row.add(Counter::Recycled, 1);
                return true;
            }
        }
        false
    }

    /// Makes room for a client that waits to be accepted, here or by another worker.
    pub fn make_room_for_who_waits(&mut self) {
        if self.downstream.lacks_room() {
            self.recycle();
        }
    }

    /// Makes room for clients of the generation that has replaced this worker's, when the service is full.
    /// Clients that are idle here have one more request at most, so they go before any that are idle there; how
    /// many clients wait there is not known, so some go at a time.
    pub(in crate::proxy) fn make_room_elsewhere(&mut self) {
        if self.segment.is_room_wanted() {
            let _ = (0..RECYCLED).take_while(|_| self.recycle()).count();
        }
    }

    /// Closes a client that has nothing in work, for the descriptor that it holds.
    pub(in crate::proxy) fn close_an_idle_client(&mut self) -> bool {
        for index in 0..self.downstream.clients().capacity() {
            if let Some(id) = self.downstream.clients().id_at(index)
                && self.downstream[id].is_idle()
                && !self.has_just_asked(id)
            {
                self.close(id);
                return true;
            }
        }
        false
    }

    /// The client that has lingered behind its last answer for longest, of those that have for long enough.
    fn longest_lingering(&self) -> Option<ClientId> {
        let since = Millis(self.turn.now.millis().0.saturating_sub(LINGER_AT_LEAST.0));
        let (owner, _) = self
            .timers
            .started(Timer::Linger as usize)
            .take_while(|(_, start)| *start <= since)
            .next()?;
        self.downstream.clients().id_at(owner as usize / 2)
    }

    /// A few of the clients that have nothing in work: those that have been idle for longest first, then
    /// those that have not sent anything in the second since they came.
    fn longest_idle(&self) -> [Option<ClientId>; MOST_IDLE] {
        let silent_since = Millis(self.turn.now.millis().0.saturating_sub(SILENT.0));
        let silent = self
            .timers
            .started(Timer::Header as usize)
            .take_while(|(_, since)| *since <= silent_since);
        let owners = self.timers.started(Timer::Idle as usize).chain(silent);
        let mut clients = owners
            .filter(|(owner, _)| owner % 2 == 0)
            .filter_map(|(owner, _)| self.downstream.clients().id_at(owner as usize / 2))
            .filter(|id| self.downstream[*id].is_idle());
        std::array::from_fn(|_| clients.next())
    }

    /// Whether an idle client has sent something of which no event has told yet.
    fn has_just_asked(&mut self, id: ClientId) -> bool {
        let Some(conn) = self.downstream[id].conn_mut() else { return false };
        conn.readable = true;
        let asks = matches!(conn.fill(&mut self.buffers.rings), Ok(1..));
        if asks {
            self.turn.wake(id);
        }
        asks
    }
}
