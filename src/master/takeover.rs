//! How one generation takes the place of another: when all of its processes serve, and what becomes of
//! what the others have counted.

use std::os::fd::AsFd;

use crate::config::Config;
use crate::mem::time::Micros;
use crate::proxy::settings::{BACKGROUND, spare_exchanges};
use crate::shared::ipc::ControlMessage;
use crate::shared::{Counter, Holdings, Most, ServiceCell, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::{Listener, Signal};
use crate::sys::{clock, process};

use super::backend_state;
use super::generation::{GenerationResources, Phase};
use super::listeners::{Listeners, stored_name};
use super::record::LastReload;
use super::state::Master;

/// A control process that is replaced has this time to close its sockets.
const CLOSING_TIME: Micros = Micros::from_secs(1);

/// Generations that were replaced and still have something in work, beside the one that serves.
const MOST_RETIRED: usize = 8;

impl Master {
    /// All processes of a generation serve: from now on it is the one.
    pub(super) fn all_ready(&mut self, place: usize) {
        let workers = self.generations[place].workers;
        let number = self.generations[place].number;
        let is_first = !self.generations.iter().any(|other| other.phase == Phase::Serving);
        self.generations[place].phase = Phase::Serving;
        let Some(resources) = &self.generations[place].resources else { return };
        let listen = &resources.config.listen;
        self.listeners.spread(workers);
        // Before those who leave are told: they empty the queues of what only they still have.
        for group in self.listeners.remove_unwanted(listen) {
            (0..group.sockets.len())
                .for_each(|worker| self.notifier.unstore(&stored_name(group.configured, worker)));
        }
        self.admin_sockets.close_unwanted(&resources.config);
        for group in self.listeners.groups() {
            // Port 0 means another port in another life, and a socket that does not share is kept by
            // others, or has a file in which it can be found again.
            if group.configured.port() != Some(0) && group.sockets[0].is_shared() {
                for (worker, socket) in group.sockets.iter().enumerate() {
                    self.notifier.store(&stored_name(group.configured, worker), socket.as_fd());
                }
            }
        }
        if is_first {
            log::write(Level::Info, format_args!("ready"));
        } else {
            self.reloads.done += 1;
            self.reloads.last = LastReload { at: clock::wall().0, failed: false };
            let summary = summary(workers, &self.listeners, &resources.config);
            log::reply(
                Level::Notice,
                format_args!(
                    "reloaded: generation {number}, httplb {}: {summary}",
                    env!("CARGO_PKG_VERSION")
                ),
            );
        }
        self.retire_others(place);
        self.publish();
        self.notifier.ready();
        self.takeover_until = Some(self.now + CLOSING_TIME);
        self.try_to_take_over();
    }

    /// The control process of the generation that serves has its way from now on, if that of the one
    /// before has closed its sockets. It is told what operators and backends have done there since it
    /// was begun, so that nothing is forgotten that somebody was told to be done.
    pub(super) fn try_to_take_over(&mut self) {
        let Some(until) = self.takeover_until else { return };
        let Some(place) = self.generations.iter().position(|one| one.phase == Phase::Serving)
        else {
            return;
        };
        // They are in the order of their numbers.
        let (before, others) = self.generations.split_at(place);
        let older = before.last();
        if older.is_some_and(|older| !older.is_closed()) && until > self.now {
            return;
        }
        self.takeover_until = None;
        if let Some(resources) = &others[0].resources {
            if let Some(older) = older.and_then(|older| older.resources.as_ref()) {
                let known = backend_state::collect(older.segment, &older.config);
                backend_state::catch_up(
                    resources.segment,
                    &resources.config,
                    &known,
                    self.now.millis(),
                );
                let now = self.now.millis();
                older
                    .segment
                    .all_left(now)
                    .for_each(|one| resources.segment.restore_left(&one, now));
                let names = older.segment.collect_names(&older.config);
                resources.segment.restore_names(&resources.config, &names);
                resources.segment.set_registry_progress(older.segment.registry_progress());
                let is_withdrawn = older.segment.is_withdrawn_by(Withdrawal::ByOperator);
                resources.segment.set_withdrawn(Withdrawal::ByOperator, is_withdrawn);
                resources.wakers.wake_workers();
            }
            resources.segment.set_service(ServiceCell::InPlace, 1);
            resources.wakers.control.wake();
        }
        // Who hears of it finds the sockets of the new control process alone.
        self.refused = None;
        self.report_outcome(ControlMessage::Reloaded, "");
        self.report_reloads(false);
    }

    /// Tells the generation that served so far that it is replaced.
    fn retire_others(&mut self, place: usize) {
        let now = self.now;
        let others =
            self.generations.iter_mut().enumerate().filter(|(other, generation)| {
                *other != place && generation.phase == Phase::Serving
            });
        for (_, generation) in others {
            generation.begin_leaving(|timeouts| timeouts.retire, now);
            for child in &generation.children {
                // It fails only if the process has just ended.
                let _ = process::signal(child.pid, Signal::Usr2);
            }
        }
        self.drain_oldest();
    }

    /// Lets the workers of all retired generations but the last ones drain, so that who reloads every
    /// minute does not have workers of an hour.
    fn drain_oldest(&mut self) {
        let retired = self.generations.iter().filter(|generation| generation.is_retired()).count();
        let all = self.generations.iter_mut().filter(|generation| generation.is_retired());
        for generation in all.take(retired.saturating_sub(MOST_RETIRED)) {
            if !generation.begin_leaving(|timeouts| timeouts.drain, self.now) {
                continue; // It drains already.
            }
            log::write(
                Level::Notice,
                format_args!(
                    "generation {}: {MOST_RETIRED} newer ones are kept, and its {} clients have \
                     timeouts.drain from now on",
                    generation.number,
                    generation.clients()
                ),
            );
            for child in generation.children.iter().filter(|child| child.role.is_worker()) {
                // It fails only if the process has just ended.
                let _ = process::signal(child.pid, Signal::Term);
            }
        }
    }

    /// Tells the generations that were replaced what operators say to the one that serves, and how its
    /// backends fare.
    pub(super) fn spread_states(&self) {
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        let Some(serving) = serving.and_then(|generation| generation.resources.as_ref()) else {
            return;
        };
        // While another takes its place, operators may still speak to the one before.
        if self.takeover_until.is_some() {
            return;
        }
        let is_withdrawn = serving.segment.is_withdrawn_by(Withdrawal::ByOperator);
        for generation in &self.generations {
            let Some(resources) = generation.resources.as_ref() else { continue };
            if generation.is_retired()
                && resources.segment.follow_states(&serving.segment, self.now.millis())
            {
                // Also those who do not wait: one may be down.
                resources.wakers.wake_workers();
            }
            if resources.segment.is_withdrawn_by(Withdrawal::ByOperator) != is_withdrawn {
                resources.segment.set_withdrawn(Withdrawal::ByOperator, is_withdrawn);
                resources.wakers.wake_workers();
            }
        }
    }

    /// Tells each generation what the workers of the others have, for its limits and gauges; and those that
    /// were replaced whether the one that serves may have no more clients.
    pub(super) fn spread_holdings(&self) {
        let all = || self.generations.iter().filter_map(|one| Some((one, one.resources.as_ref()?)));
        let own: Vec<Holdings> =
            all().map(|(_, resources)| resources.segment.holdings(most(resources))).collect();
        let mut sum = Holdings::default();
        own.iter().for_each(|own| sum.add(own));
        for ((_, resources), own) in all().zip(&own) {
            let segment = resources.segment;
            segment.set_elsewhere(&sum, own, |freed| resources.wakers.wake_all(&segment, freed));
        }
        let is_full = |resources: &GenerationResources| {
            resources.segment.clients() as usize >= resources.config.max_connections
        };
        let mut serving = all().filter(|(one, _)| one.phase == Phase::Serving);
        let is_full = serving.any(|(_, resources)| is_full(resources));
        for (_, resources) in all().filter(|(generation, _)| generation.is_retired()) {
            resources.segment.set_room_wanted(is_full);
            if is_full {
                resources.wakers.wake_workers();
            }
        }
    }

    /// Writes what operators want to know of the master where the others find it.
    pub(super) fn publish(&self) {
        for generation in &self.generations {
            let Some(resources) = &generation.resources else { continue };
            let numbers = [
                (ServiceCell::StartTime, self.started),
                (ServiceCell::Workers, generation.workers as u64),
                (ServiceCell::WorkerRestarts, self.restarts),
                (ServiceCell::ReloadsDone, self.reloads.done),
                (ServiceCell::ReloadsFailed, self.reloads.refused),
                (ServiceCell::LastReload, self.reloads.last.at),
                (ServiceCell::LastReloadFailed, u64::from(self.reloads.last.failed)),
            ];
            for (cell, number) in numbers {
                resources.segment.set_service(cell, number);
            }
        }
    }

    /// Counts the messages that any process had to drop.
    pub(super) fn count_dropped_messages(&self) {
        let serving = self.generations.iter().rev().find_map(|one| one.resources.as_ref());
        let Some(resources) = serving else { return };
        match log::take_dropped() {
            0 => (),
            dropped => resources.segment.count_past(Counter::DroppedMessages, dropped),
        }
    }

    /// Adds what the generations before it have counted to the one that serves, and forgets those of
    /// which nothing is left.
    pub(super) fn merge_counters(&mut self) {
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        if let Some(resources) = serving.and_then(|generation| generation.resources.as_ref()) {
            for other in &self.generations {
                if let (Phase::Leaving { .. }, Some(older)) = (other.phase, &other.resources) {
                    resources.segment.absorb(&older.segment);
                }
            }
        }
        self.generations.retain(|generation| {
            !matches!(generation.phase, Phase::Leaving { .. }) || !generation.children.is_empty()
        });
    }
}

/// What a worker of theirs can have.
fn most(resources: &GenerationResources) -> Most {
    let clients = resources.config.max_connections;
    let spare = spare_exchanges(clients, resources.segment.layout().workers);
    let requests = clients + spare + BACKGROUND;
    Most { clients: clients as u64, requests: requests as u64 }
}

/// Workers, addresses and pools, in a line.
pub fn summary(workers: usize, listeners: &Listeners<Listener>, config: &Config) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    let mut line = format!("{workers} worker{plural}, listening on");
    let mut separator = " ";
    for entry in 0..config.listen.len() {
        if let Some(group) = listeners.group(&config.listen, entry) {
            line.push_str(&format!("{separator}{}", group.address));
            separator = ", ";
        }
    }
    for pool in &config.pools {
        let (count, names) = (pool.backends.len(), pool.names.len());
        let noun = if count == 1 { "backend" } else { "backends" };
        line.push_str(&format!(", pool {}: {count} {noun}", pool.name));
        if names > 0 {
            let noun = if names == 1 { "name" } else { "names" };
            line.push_str(&format!(" and {names} {noun}"));
        }
    }
    line
}
