//! Commands where many instances share a registry: what is asked for goes there, and is answered when all of
//! them can know.

use crate::mem::time::Micros;
use crate::shared::fleet::{FleetChange, RegistrationChange, ServerKey};
use crate::shared::{BackendId, Source, Wish};

use super::admin::Pending;
use super::answer::ApiResponse;
use super::api::{BackendRef, RegistrationRequest};
use super::commands::{Commands, full};
use super::fleet::{Fleet, FleetOutcome, FleetView, SettledChange};
use super::fleet_shown;

/// That the outcome is not known yet. `None`: the command is this instance's business alone.
type Shared = Result<Option<Pending>, ApiResponse>;

impl Commands {
    /// From now on backends that register are those of all instances.
    pub fn share(&mut self, fleet: Fleet) {
        self.fleet = Some(fleet);
    }

    /// The cells are this process's to write from now on.
    pub fn adopt_fleet(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            fleet.adopt();
        }
    }

    /// When `tend_fleet` is to be called next, if nobody rings.
    pub fn next_fleet_deadline(&self) -> Option<Micros> {
        self.fleet.as_ref()?.next_deadline(self.now.clock)
    }

    /// Takes in what the registry says. The answers to those who waited for it.
    pub fn tend_fleet(&mut self) -> Vec<(Pending, ApiResponse)> {
        let Some(fleet) = &mut self.fleet else { return Vec::new() };
        let settled = fleet.tend(&self.wakers, self.now.clock);
        if fleet.take_changes() {
            self.changed();
            // Those that have left are tended to, and the master tells older generations.
            self.look_again();
        }
        settled.into_iter().map(|one| (Pending::Change(one.id), self.settled(&one))).collect()
    }

    fn settled(&mut self, settled: &SettledChange) -> ApiResponse {
        let status = match (&settled.outcome, settled.change) {
            (FleetOutcome::Refused(why), _) => {
                return ApiResponse::error(503, &format!("the registry refuses it: {why}"));
            }
            (FleetOutcome::Held, _) | (FleetOutcome::Written, FleetChange::Remove) => 202,
            (FleetOutcome::Written, FleetChange::Register(_)) if settled.is_new => 201,
            (FleetOutcome::Written, FleetChange::Register(_) | FleetChange::Set(_)) => 200,
        };
        let key = &settled.key;
        let pool = self.segment.find_pool(&key.pool);
        match pool.and_then(|pool| self.segment.find_any(pool, key.address)) {
            Some(slot) => {
                self.show_lease(slot, settled.change);
                self.shown(status, slot)
            }
            // It had nothing left.
            None => {
                let address = key.address;
                let text = format!("{{\"backend\":\"{address}\",\"admin\":\"leaving\"}}\n");
                ApiResponse::json(status, text)
            }
        }
    }

    /// The lease of a backend that has registered here is shown here, though the registry ends it. One that
    /// is renewed at other instances alone is not known.
    fn show_lease(&mut self, slot: BackendId, change: FleetChange) {
        let is_shared = self.segment.backend(slot).source() == Some(Source::Registry);
        if let (true, FleetChange::Register(RegistrationChange { lease: Some(lease), .. })) =
            (is_shared, change)
        {
            self.segment.set_lease(slot, Some(self.now.clock.millis() + lease));
        }
    }

    fn ask_fleet(&mut self, place: &BackendRef, change: FleetChange) -> Shared {
        let now = self.now.clock;
        let key = ServerKey { pool: place.pool.clone(), address: place.address };
        let fleet = self.fleet.as_mut();
        Ok(fleet.map(|fleet| Pending::Change(fleet.change(key, change, now))))
    }

    /// A backend registers with all instances.
    pub(super) fn share_registration(
        &mut self,
        place: &BackendRef,
        wanted: RegistrationRequest,
    ) -> Shared {
        if self.fleet.is_none() {
            return Ok(None);
        }
        let pool = self.segment.find_pool(&place.pool);
        let slot = pool.and_then(|pool| self.segment.find(pool, place.address));
        match slot.map(|slot| (slot, self.segment.backend(slot).source())) {
            Some((_, Some(Source::File))) => {
                return Err(ApiResponse::error(409, "the configuration names this backend"));
            }
            Some((slot, _)) => self.refuse_named(slot)?,
            None if self.segment.free_slot().is_none() => return Err(full("backends")),
            None => (),
        }
        let RegistrationRequest { lease, weight, max_connections, backup, state } = wanted;
        let change = RegistrationChange { lease, weight, max_connections, backup, state };
        self.ask_fleet(place, FleetChange::Register(change))
    }

    /// A backend leaves all instances.
    pub(super) fn share_removal(&mut self, place: &BackendRef) -> Shared {
        if self.fleet.is_none() {
            return Ok(None);
        }
        let (_, slot) = self.find(place)?;
        match self.segment.backend(slot).source() {
            Some(Source::Registry) => self.ask_fleet(place, FleetChange::Remove),
            // It registered before there was a registry, or is not to be removed at all.
            Some(Source::Api | Source::File | Source::Name) | None => Ok(None),
        }
    }

    /// An operator wants something of a backend in all instances.
    pub(super) fn share_adjustment(&mut self, place: &BackendRef, wanted: Wish) -> Shared {
        if self.fleet.is_none() {
            return Ok(None);
        }
        self.find(place)?;
        self.ask_fleet(place, FleetChange::Set(wanted))
    }

    /// The registry, as operators see it.
    pub(super) fn registry(&self) -> Result<ApiResponse, ApiResponse> {
        let none = "there is no registry (set \"registry\" in servers.conf)";
        let fleet = self.fleet.as_ref().ok_or_else(|| ApiResponse::error(404, none))?;
        Ok(ApiResponse::json(200, fleet_shown::json(&fleet.view(self.now.clock))))
    }

    /// The same for the status page.
    pub(super) fn registry_view(&self) -> Option<FleetView> {
        self.fleet.as_ref().map(|fleet| fleet.view(self.now.clock))
    }

    /// The same for Prometheus; nothing without a registry.
    pub(super) fn registry_metrics(&self) -> String {
        self.registry_view().as_ref().map(fleet_shown::render).unwrap_or_default()
    }
}
