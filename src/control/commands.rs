//! What operators' commands do to the shared cells, and what becomes of backends that register
//! themselves: leases that end, backends that leave.

use crate::mem::time::{Clocks, Micros, Millis};
use crate::policy::health::AdminState as Wanted;
use crate::shared::diary::Diary;
use crate::shared::ipc::ControlMessage;
use crate::shared::snapshot::Snapshot;
use crate::shared::wakers::Wakers;
use crate::shared::{self, BackendId, PoolId, Segment, Source, WaitFor, Wish, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::{Channel, Waker, clock};

use super::admin::{ApiHandler, CommandOutcome, Pending};
use super::answer::ApiResponse;
use super::api::{self, BackendRef, Command, RegistrationRequest};
use super::cache::{Begun, CacheAdmin};
use super::explain::Explainer;
use super::fleet::Fleet;
use super::fleet_cells::said_of_limit;
use super::held_pages::HeldPages;
use super::names::NamedBackends;
use super::recent::{Listing, Recent};
use super::view::{View, Viewer};
use super::{answer, diary, health, json, names_shown};

mod shown;

/// A backend that is leaving is looked at so often, until nobody has a request there.
const LEAVING_INTERVAL: Micros = Micros(50_000);

/// Carries out what operators ask for.
pub struct Commands {
    pub(super) segment: Segment,
    viewer: Viewer,
    recent: Recent,
    explainer: Explainer,
    diary: Diary,
    /// The names that bring backends.
    names: NamedBackends,
    held_pages: HeldPages,
    /// The registry that many instances share, if there is one.
    pub(super) fleet: Option<Fleet>,
    /// The stored answers, if there are any and their directory can be used.
    cache: Option<CacheAdmin>,
    /// Whether answers are meant to be stored.
    has_cache: bool,
    /// The workers' wakers.
    pub(super) wakers: Wakers,
    /// The line to the master.
    channel: Channel,
    /// The master's waker.
    master: Waker,
    pub(super) now: Clocks,
    /// When leases and leaving backends are to be looked at again.
    due: Option<Micros>,
    /// A backend came, went, or is to be used otherwise, since that was asked for.
    has_changed: bool,
    /// Nothing may be changed any more.
    is_closed: bool,
}

impl Commands {
    /// On the cells of `segment`, of whose changes the workers are told by `wakers`; with the line to the
    /// master, and its waker.
    pub fn new(
        segment: Segment,
        viewer: Viewer,
        explainer: Explainer,
        names: NamedBackends,
        cache: Option<CacheAdmin>,
        wakers: Wakers,
        (channel, master): (Channel, Waker),
    ) -> Commands {
        let now = Clocks { clock: Micros(0), wall: Micros(0) };
        // Some may have registered, or be leaving, since before this process.
        let due = Some(Micros(0));
        Commands {
            segment,
            has_cache: viewer.has_cache(),
            viewer,
            recent: Recent::default(),
            explainer,
            diary: Diary::default(),
            names,
            held_pages: HeldPages::new(),
            fleet: None,
            cache,
            wakers,
            channel,
            master,
            now,
            due,
            has_changed: false,
            is_closed: false,
        }
    }

    /// Whether a backend came, went, or is to be used otherwise, since that was last asked.
    pub fn take_changes(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Shows what is kept there.
    pub fn show_diary(&mut self, diary: Diary) {
        self.diary = diary;
    }

    /// Sets the time of what follows.
    pub fn set_now(&mut self, now: Clocks) {
        self.now = now;
    }

    /// When `expire_leases` is to be called next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.due
    }

    /// When `tend_names` is to be called next, if nobody rings.
    pub fn next_name_deadline(&self) -> Option<Micros> {
        self.names.next_deadline()
    }

    /// Takes in what was found out about names, and lets the backends come and go that they bring.
    pub fn tend_names(&mut self) {
        if self.names.tend(&self.wakers, self.now) {
            self.changed();
        }
    }

    /// Whether each name was looked up, whatever came of it.
    pub fn are_names_known(&self) -> bool {
        self.names.are_known()
    }

    /// Nobody has answered for some names in time.
    pub fn use_stored_names(&mut self) {
        self.names.use_stored(&self.wakers, self.now);
    }

    /// From now on the cells are this process's to write: what they have got of others is taken over.
    pub fn adopt_names(&mut self) {
        self.names.adopt();
    }

    /// A second has passed. Tells the master of a helper that was not heard of for too long.
    pub fn watch_helpers(&mut self) {
        if self.names.hangs() {
            // A master that does not hear it does so the next time.
            let _ = self.channel.send(&format!("{} names", ControlMessage::Hung.text()), None);
            self.master.wake();
        }
        if self.fleet.as_mut().is_some_and(Fleet::hangs) {
            let _ = self.channel.send(&format!("{} registry", ControlMessage::Hung.text()), None);
            self.master.wake();
        }
    }

    /// When `cache_housekeeping` is to be called next.
    pub fn next_housework(&self) -> Option<Micros> {
        self.cache.as_ref().map(CacheAdmin::next_deadline)
    }

    /// When a purge that is under way goes on.
    pub fn next_purge_step(&self) -> Option<Micros> {
        self.cache.as_ref().and_then(CacheAdmin::next_purge_step)
    }

    /// Sees to the stored answers, a little.
    pub fn cache_housekeeping(&mut self) {
        self.recent.forget_old(self.now.clock);
        let deaths = self.segment.service(shared::ServiceCell::WorkerRestarts);
        if let Some(cache) = &mut self.cache {
            cache.work(self.now, deaths);
        }
    }

    /// Goes on with purges, a little. The end of one, and the answer to it.
    pub fn step_purges(&mut self) -> Option<(Pending, ApiResponse)> {
        let (ticket, count) = self.cache.as_mut()?.step_purges()?;
        let answer = ApiResponse::json(200, format!("{{\"purged\":{count}}}\n"));
        Some((Pending::Purge(ticket), answer))
    }

    fn purge(&mut self, body: &[u8]) -> CommandOutcome {
        if !self.has_cache {
            let message = "there is no cache (set \"cache\" in servers.conf)";
            return CommandOutcome::Done(ApiResponse::error(404, message));
        }
        let wanted = match api::purge(body) {
            Ok(wanted) => wanted,
            Err(answer) => return CommandOutcome::Done(answer),
        };
        let refused = match self.cache.as_mut().map(|cache| cache.begin_purge(&wanted)) {
            Some(Begun::Under(ticket)) => return CommandOutcome::Later(Pending::Purge(ticket)),
            Some(Begun::NoUrl) => ApiResponse::error(
                400,
                "this is not a URL (write http://host/path, or its beginning)",
            ),
            Some(Begun::TooMany) => ApiResponse::error(503, "too many purges are under way"),
            None => ApiResponse::error(
                503,
                "the directory of the cache cannot be used (the log says why)",
            ),
        };
        CommandOutcome::Done(refused)
    }

    fn view(&mut self) -> View {
        let names = self.names.view(self.now);
        let registry = self.registry_view();
        View { names, registry, ..self.viewer.view(self.cache_bytes(), self.now) }
    }

    fn totals(&mut self) -> View {
        self.viewer.totals(self.cache_bytes(), self.now)
    }

    /// Without what was counted of each backend.
    fn snapshot(&self) -> Snapshot<()> {
        self.viewer.reader(self.now).snapshot()
    }

    fn cache_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, CacheAdmin::bytes)
    }

    /// The text of a listing: a large one that was made just now, or one that `make` makes.
    fn text(&mut self, listing: Listing, make: impl FnOnce(&mut Commands) -> String) -> String {
        if let Some(text) = self.recent.text(listing, self.now.clock) {
            return text;
        }
        let begun = clock::now();
        let text = make(self);
        self.recent.keep(listing, &text, self.now.clock, clock::now() - begun);
        text
    }

    /// Whatever there is may have changed: `expire_leases` looks at it.
    pub fn look_again(&mut self) {
        self.due = Some(self.now.clock);
    }

    /// Looks after what nobody asks for, about once a second.
    pub fn watch(&mut self) {
        self.viewer.watch(self.now);
    }

    /// Ends the leases whose time is over, and forgets backends that have left.
    pub fn expire_leases(&mut self) {
        if self.due.is_none_or(|due| due > self.now.clock) {
            return;
        }
        let now = self.now.clock.millis();
        let mut next: Option<Micros> = None;
        let mut consider = |time: Micros| next = Some(next.map_or(time, |known| known.min(time)));
        for slot in (0..self.segment.layout().backends).map(BackendId) {
            let cells = self.segment.backend(slot);
            if !matches!(cells.source(), Some(Source::Api | Source::Name | Source::Registry)) {
                continue;
            }
            if cells.admin() != Wanted::Leaving && cells.source() == Some(Source::Api) {
                match cells.lease() {
                    Some(end) if end <= now => self.leave(slot, "its lease has ended"),
                    // A millisecond more, so that it is over then.
                    Some(end) => consider(Micros::from(end + Millis(1))),
                    None => (),
                }
            }
            if cells.admin() == Wanted::Leaving {
                match self.segment.forget_if_unused(slot) {
                    true => self.changed(),
                    false => consider(self.now.clock + LEAVING_INTERVAL),
                }
            }
        }
        self.due = next;
    }

    /// A backend came, went, or is to be used otherwise. Who asked for it sees it.
    pub(super) fn changed(&mut self) {
        self.has_changed = true;
        self.recent.forget_all();
    }

    /// A registered backend gets nothing more, and is forgotten when it has nothing left.
    fn leave(&mut self, slot: BackendId, why: &str) {
        self.changed();
        let cells = self.segment.backend(slot);
        self.log(slot, format_args!("is removed: {why}"));
        self.segment.set_admin(slot, Wanted::Leaving, self.now.clock.millis());
        // Who waits for it alone is to be told that there is nobody any more.
        self.wakers.wake_all(&self.segment, WaitFor::Pool(cells.pool()));
    }

    fn log(&self, slot: BackendId, what: std::fmt::Arguments<'_>) {
        log::write(Level::Notice, format_args!("{} {what}", self.named(slot)));
    }

    /// What an operator has changed, each time: the last message says how it is.
    fn tell(&self, slot: BackendId, what: std::fmt::Arguments<'_>) {
        log::reply(Level::Notice, format_args!("{} {what}", self.named(slot)));
    }

    /// A backend as messages name it.
    fn named(&self, slot: BackendId) -> String {
        let cells = self.segment.backend(slot);
        let pool = self.segment.pool(cells.pool()).name();
        format!("pool {pool}: backend {}", cells.address())
    }

    /// The backend as it is now, as JSON.
    pub(super) fn shown(&mut self, status: u16, slot: BackendId) -> ApiResponse {
        let backend = self.viewer.backend(slot, self.now);
        ApiResponse::json(status, json::backend(&backend))
    }

    /// Another control process is to take over: whatever was changed from now on would be forgotten.
    pub fn close(&mut self) {
        self.viewer.end();
        self.is_closed = true;
        // A master that does not hear it does not wait for long.
        let _ = self.channel.send(ControlMessage::Closed.text(), None);
        self.master.wake();
    }

    /// That a change can be made.
    fn open(&self) -> Result<(), ApiResponse> {
        if self.is_closed {
            let message = "the service has just been reloaded (ask again)";
            return Err(ApiResponse::error(503, message).with("Retry-After: 1\r\n"));
        }
        Ok(())
    }

    fn register(
        &mut self,
        place: &BackendRef,
        wanted: RegistrationRequest,
    ) -> Result<ApiResponse, ApiResponse> {
        let lease = wanted.lease.map(|lease| self.now.clock.millis() + lease);
        let pool = match self.segment.find_pool(&place.pool) {
            Some(pool) => pool,
            None if self.segment.free_slot().is_none() => return Err(full("backends")),
            None => self.segment.add_pool(&place.pool).ok_or_else(|| full("pools"))?,
        };
        self.due = Some(self.now.clock);
        if let Some(slot) = self.segment.find(pool, place.address) {
            let cells = self.segment.backend(slot);
            if cells.source() == Some(Source::File) {
                return Err(ApiResponse::error(409, "the configuration names this backend"));
            }
            self.refuse_named(slot)?;
            if lease.is_some() {
                self.segment.set_lease(slot, lease);
            }
            self.renew(slot, wanted);
            return Ok(self.shown(200, slot));
        }
        let entry = shared::Registration {
            address: place.address,
            weight: wanted.weight.unwrap_or(1),
            max_connections: wanted.max_connections.unwrap_or(0),
            name: None,
            lease,
            backup: wanted.backup.unwrap_or(false),
            state: wanted.state.unwrap_or(Wanted::Ready),
            is_shared: false,
        };
        let slot = self.segment.register(pool, entry).ok_or_else(|| full("backends"))?;
        match self.segment.backend(slot).admin() {
            Wanted::Ready => self.log(slot, format_args!("has registered")),
            state => {
                self.log(slot, format_args!("has registered, and is in {}", json::admin(state)))
            }
        }
        self.changed();
        self.wakers.wake_all(&self.segment, WaitFor::Pool(pool));
        Ok(self.shown(201, slot))
    }

    /// Changes what a renewal names, and nothing else. What it names no operator has set any more.
    fn renew(&mut self, slot: BackendId, wanted: RegistrationRequest) {
        let cells = self.segment.backend(slot);
        let before = (cells.weight(), cells.max_connections(), cells.is_backup(), cells.admin());
        let after = (
            wanted.weight.unwrap_or(before.0),
            wanted.max_connections.unwrap_or(before.1),
            wanted.backup.unwrap_or(before.2),
            wanted.state.unwrap_or(before.3),
        );
        let wish = self.segment.wish(slot);
        let wish = Wish {
            state: wish.state.filter(|_| wanted.state.is_none()),
            weight: wish.weight.filter(|_| wanted.weight.is_none()),
            max_connections: wish.max_connections.filter(|_| wanted.max_connections.is_none()),
        };
        self.segment.set_wish(slot, wish);
        if after == before {
            return;
        }
        self.segment.set_weight(slot, after.0);
        self.segment.set_cap(slot, after.1);
        self.segment.set_backup(slot, after.2);
        self.segment.set_admin(slot, after.3, self.now.clock.millis());
        self.changed();
        self.wake_for(slot);
    }

    /// Rings those who wait for a backend that is used otherwise now; and all where it is to do nothing, for
    /// what waits there goes elsewhere.
    fn wake_for(&self, slot: BackendId) {
        let cells = self.segment.backend(slot);
        match cells.admin() {
            Wanted::Maint => self.wakers.wake_workers(),
            Wanted::Ready | Wanted::Drain | Wanted::Leaving => {
                self.wakers.wake_all(&self.segment, WaitFor::Pool(cells.pool()));
            }
        }
    }

    /// What a name brings comes and goes with that alone.
    pub(super) fn refuse_named(&self, slot: BackendId) -> Result<(), ApiResponse> {
        let Some(lookup) = self.names.of(slot) else { return Ok(()) };
        let message = format!("the name {} brings this backend", lookup.name());
        Err(ApiResponse::error(409, &message))
    }

    pub(super) fn find(&self, place: &BackendRef) -> Result<(PoolId, BackendId), ApiResponse> {
        let Some(pool) = self.segment.find_pool(&place.pool) else {
            return Err(ApiResponse::error(404, &format!("there is no pool \"{}\"", place.pool)));
        };
        let slot = self.segment.find(pool, place.address).ok_or_else(|| {
            let (pool, address) = (&place.pool, place.address);
            ApiResponse::error(404, &format!("pool \"{pool}\" has no backend {address}"))
        })?;
        Ok((pool, slot))
    }

    fn remove(&mut self, place: &BackendRef) -> Result<ApiResponse, ApiResponse> {
        let (_, slot) = self.find(place)?;
        if self.segment.backend(slot).source() == Some(Source::File) {
            let message = "the configuration names this backend (drain it, or remove it there)";
            return Err(ApiResponse::error(409, message));
        }
        self.refuse_named(slot)?;
        self.leave(slot, "an operator, or itself, has asked for it");
        self.due = Some(self.now.clock);
        Ok(self.shown(202, slot))
    }

    fn adjust(&mut self, place: &BackendRef, wanted: Wish) -> Result<ApiResponse, ApiResponse> {
        let (_, slot) = self.find(place)?;
        self.changed();
        self.segment.set_wish(slot, self.segment.wish(slot).and(wanted));
        if let Some(weight) = wanted.weight {
            self.segment.set_weight(slot, weight);
            self.tell(slot, format_args!("has weight {weight} now"));
        }
        if let Some(cap) = wanted.max_connections {
            self.segment.set_cap(slot, cap);
            self.tell(slot, format_args!("{}", said_of_limit(cap)));
        }
        if let Some(state) = wanted.state {
            self.segment.set_admin(slot, state, self.now.clock.millis());
            self.tell(slot, format_args!("is set to {}", json::admin(state)));
        }
        self.wake_for(slot);
        self.master.wake(); // It tells those whom this generation has replaced.
        Ok(self.shown(200, slot))
    }

    /// Asks the master for a reload, whose outcome comes through the channel.
    fn reload(&self) -> CommandOutcome {
        if self.channel.send(ControlMessage::Reload.text(), None).is_err() {
            return CommandOutcome::Done(ApiResponse::error(
                503,
                "the master process does not listen",
            ));
        }
        self.master.wake();
        CommandOutcome::Later(Pending::Reload)
    }

    /// The outcome of a reload, if the master has told one.
    pub fn reload_outcome(&self) -> Option<ApiResponse> {
        let mut outcome = None;
        while let Some(message) = self.channel.receive() {
            match ControlMessage::parse(&message.text) {
                Some((ControlMessage::Reloaded, _)) => {
                    outcome = Some(ApiResponse::json(200, String::from("{\"reloaded\":true}\n")));
                }
                Some((ControlMessage::Refused, why)) => outcome = Some(answer::refused(why)),
                // None is of another version of the program.
                Some((
                    ControlMessage::Ready
                    | ControlMessage::Hung
                    | ControlMessage::Reload
                    | ControlMessage::Closed
                    | ControlMessage::Log,
                    _,
                ))
                | None => (),
            }
        }
        outcome
    }

    /// Withdraws the service, or takes that back. The master tells those whom this generation has
    /// replaced.
    fn withdraw(&mut self, withdrawn: bool) -> ApiResponse {
        if self.segment.is_withdrawn_by(Withdrawal::ByOperator) != withdrawn {
            self.segment.set_withdrawn(Withdrawal::ByOperator, withdrawn);
            self.recent.forget_all();
            self.wakers.wake_workers();
            self.master.wake();
            let what = if withdrawn { "withdrawn" } else { "restored" };
            log::reply(Level::Notice, format_args!("{what}: an operator has asked for it"));
        }
        ApiResponse::json(200, format!("{{\"withdrawn\":{}}}\n", self.segment.is_withdrawn()))
    }
}

impl ApiHandler for Commands {
    fn handle(&mut self, command: Command) -> CommandOutcome {
        let outcome = match command {
            Command::Page(_, Some(name)) if self.held_pages.is_held(&name) => {
                Ok(ApiResponse::nothing())
            }
            Command::Page(window, _) => Ok(self.page(window)),
            Command::Hold(name) => Ok(self.hold(&name)),
            Command::Metrics => Ok(self.metrics()),
            Command::Health(needed) => Ok(health::answer(&self.snapshot(), &needed)),
            Command::Status => Ok(self.status()),
            Command::Diary(part, count) => {
                Ok(diary::answer(&self.diary, part, count, self.now.clock))
            }
            Command::Pools => Ok(self.pools()),
            Command::Names => {
                Ok(ApiResponse::json(200, names_shown::json(&self.names.view(self.now))))
            }
            Command::Pool(name) => self.pool(&name),
            Command::Registry => self.registry(),
            Command::Register(place, registration) => {
                match self.open().and_then(|()| self.share_registration(&place, registration)) {
                    Ok(Some(pending)) => return CommandOutcome::Later(pending),
                    Ok(None) => self.register(&place, registration),
                    Err(answer) => Err(answer),
                }
            }
            Command::Remove(place) => match self.open().and_then(|()| self.share_removal(&place)) {
                Ok(Some(pending)) => return CommandOutcome::Later(pending),
                Ok(None) => self.remove(&place),
                Err(answer) => Err(answer),
            },
            Command::Adjust(place, adjustment) => {
                match self.open().and_then(|()| self.share_adjustment(&place, adjustment)) {
                    Ok(Some(pending)) => return CommandOutcome::Later(pending),
                    Ok(None) => self.adjust(&place, adjustment),
                    Err(answer) => Err(answer),
                }
            }
            Command::Withdraw(withdrawn) => self.open().map(|()| self.withdraw(withdrawn)),
            Command::Reload => return self.reload(),
            Command::Purge(body) => return self.purge(&body),
            Command::Explain(question) => {
                let (snapshot, names) = (self.snapshot(), self.names.view(self.now));
                Ok(self.explainer.answer(&snapshot, &names, &question, self.cache.as_mut()))
            }
        };
        // Either is the answer.
        CommandOutcome::Done(outcome.unwrap_or_else(|answer| answer))
    }
}

/// There is no room for another one.
pub(super) fn full(what: &str) -> ApiResponse {
    let message = format!(
        "there is no room for more {what}: 256 backends and 16 pools have it beside those of the file \
         (DELETE backends that are not used)"
    );
    ApiResponse::error(507, &message)
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
