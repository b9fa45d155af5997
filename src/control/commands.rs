//! What operators' commands do to the shared cells, and what becomes of backends that register
//! themselves: leases that end, backends that leave.

use crate::mem::time::{Micros, Millis};
use crate::policy::health::AdminState as Wanted;
use crate::shared::ipc::ControlMessage;
use crate::shared::snapshot::{Clocks, Snapshot};
use crate::shared::wakers::Wakers;
use crate::shared::{self, BackendId, PoolId, Segment, Source, WaitFor, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::{Channel, Waker, clock};

use super::admin::{ApiHandler, CommandOutcome, Pending};
use super::answer::ApiResponse;
use super::api::{self, Adjustment, BackendRef, Command, RegistrationRequest};
use super::cache::{Begun, CacheAdmin};
use super::explain::Explainer;
use super::recent::{Listing, Recent};
use super::view::{View, Viewer};
use super::{health, json, metrics, page};

/// A backend that is leaving is looked at so often, until nobody has a request there.
const LEAVING_INTERVAL: Micros = Micros(50_000);

/// Carries out what operators ask for.
pub struct Commands {
    segment: Segment,
    viewer: Viewer,
    recent: Recent,
    explainer: Explainer,
    /// The stored answers, if there are any and their directory can be used.
    cache: Option<CacheAdmin>,
    /// Whether answers are meant to be stored.
    has_cache: bool,
    /// The workers' wakers.
    wakers: Wakers,
    /// The line to the master.
    channel: Channel,
    /// The master's waker.
    master: Waker,
    now: Clocks,
    /// When leases and leaving backends are to be looked at again.
    due: Option<Micros>,
    /// A backend came, went, or is to be used otherwise, since that was asked for.
    has_changed: bool,
    /// Nothing may be changed any more.
    is_closed: bool,
}

impl Commands {
    /// On the cells of `segment`, of whose changes the workers are told by `wakers`.
    pub fn new(
        segment: Segment,
        viewer: Viewer,
        explainer: Explainer,
        cache: Option<CacheAdmin>,
        wakers: Wakers,
        channel: Channel,
        master: Waker,
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

    /// Sets the time of what follows.
    pub fn set_now(&mut self, now: Clocks) {
        self.now = now;
    }

    /// When `expire_leases` is to be called next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.due
    }

    /// When `cache_housekeeping` is to be called next.
    pub fn next_housework(&self) -> Option<Micros> {
        self.cache.as_ref().map(CacheAdmin::next_deadline)
    }

    /// Whether a purge is under way.
    pub fn is_purging(&self) -> bool {
        self.cache.as_ref().is_some_and(CacheAdmin::is_purging)
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
        self.viewer.view(self.cache_bytes(), self.now)
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

    fn page(&mut self) -> ApiResponse {
        let body = self.text(Listing::Page, |commands| page::render(&commands.view()));
        ApiResponse { status: 200, content_type: page::CONTENT_TYPE, body, fields: page::FIELDS }
    }

    fn metrics(&mut self) -> ApiResponse {
        let body = self.text(Listing::Metrics, |commands| metrics::render(&commands.view()));
        ApiResponse { status: 200, content_type: metrics::CONTENT_TYPE, body, fields: "" }
    }

    fn pools(&mut self) -> ApiResponse {
        let make = |commands: &mut Commands| json::pools(&commands.viewer.pools(commands.now));
        ApiResponse::json(200, self.text(Listing::Pools, make))
    }

    fn pool(&mut self, name: &str) -> Result<ApiResponse, ApiResponse> {
        let pool = self.segment.find_pool(name);
        let pool =
            pool.ok_or_else(|| ApiResponse::error(404, &format!("there is no pool \"{name}\"")))?;
        let text = self.text(Listing::Pool(pool), |commands| {
            json::pool(&commands.viewer.pool(pool, commands.now))
        });
        Ok(ApiResponse::json(200, text))
    }

    /// Whatever there is may have changed: `expire_leases` looks at it.
    pub fn look_again(&mut self) {
        self.due = Some(self.now.clock);
    }

    /// Looks whether all client connections are taken, about once a second.
    pub fn watch_client_limit(&mut self) {
        self.viewer.watch_client_limit(self.now);
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
            if cells.source() != Some(Source::Api) {
                continue;
            }
            if cells.admin() != Wanted::Leaving {
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
    fn changed(&mut self) {
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
        let cells = self.segment.backend(slot);
        let pool = self.segment.pool(cells.pool()).name();
        let address = cells.address();
        log::write(Level::Notice, format_args!("pool {pool}: backend {address} {what}"));
    }

    /// The backend as it is now, as JSON.
    fn shown(&self, status: u16, slot: BackendId) -> ApiResponse {
        let backend = self.viewer.backend(slot, self.now);
        ApiResponse::json(status, json::backend(&backend))
    }

    /// Another control process is to take over: whatever was changed from now on would be forgotten.
    pub fn close(&mut self) {
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
        let now = self.now.clock.millis();
        let lease = wanted.lease.map(|lease| now + lease);
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
            self.segment.set_lease(slot, lease);
            if let Some(weight) = wanted.weight.filter(|weight| *weight != cells.weight()) {
                self.segment.set_weight(slot, weight);
                self.recent.forget_all();
            }
            if let Some(cap) = wanted.max_connections.filter(|cap| *cap != cells.cap()) {
                self.segment.set_cap(slot, cap);
                self.recent.forget_all();
                self.wakers.wake_all(&self.segment, WaitFor::Pool(pool));
            }
            return Ok(self.shown(200, slot));
        }
        let entry = shared::Registration {
            address: place.address,
            weight: wanted.weight.unwrap_or(1),
            max_connections: wanted.max_connections.unwrap_or(0),
            lease,
        };
        let slot = self.segment.register(pool, entry).ok_or_else(|| full("backends"))?;
        self.log(slot, format_args!("has registered"));
        self.changed();
        self.wakers.wake_all(&self.segment, WaitFor::Pool(pool));
        Ok(self.shown(201, slot))
    }

    fn find(&self, place: &BackendRef) -> Result<(PoolId, BackendId), ApiResponse> {
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
        self.leave(slot, "an operator, or itself, has asked for it");
        self.due = Some(self.now.clock);
        Ok(self.shown(202, slot))
    }

    fn adjust(
        &mut self,
        place: &BackendRef,
        wanted: Adjustment,
    ) -> Result<ApiResponse, ApiResponse> {
        let (pool, slot) = self.find(place)?;
        self.changed();
        if let Some(weight) = wanted.weight {
            self.segment.set_weight(slot, weight);
            self.log(slot, format_args!("has weight {weight} now"));
        }
        if let Some(state) = wanted.state {
            self.segment.set_admin(slot, state, self.now.clock.millis());
            self.log(slot, format_args!("is set to {}", json::admin(state)));
        }
        self.wakers.wake_all(&self.segment, WaitFor::Pool(pool));
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
                Some((ControlMessage::Refused, why)) => outcome = Some(refused(why)),
                // None is of another version of the program.
                Some((
                    ControlMessage::Ready
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
            log::write(Level::Notice, format_args!("{what}: an operator has asked for it"));
        }
        ApiResponse::json(200, format!("{{\"withdrawn\":{}}}\n", self.segment.is_withdrawn()))
    }
}

impl ApiHandler for Commands {
    fn handle(&mut self, command: Command) -> CommandOutcome {
        let outcome = match command {
            Command::Page => Ok(self.page()),
            Command::Metrics => Ok(self.metrics()),
            Command::Health(needed) => Ok(health::answer(&self.snapshot(), &needed)),
            Command::Status => Ok(ApiResponse::json(
                200,
                json::status(&self.viewer.service(self.cache_bytes(), self.now)),
            )),
            Command::Pools => Ok(self.pools()),
            Command::Pool(name) => self.pool(&name),
            Command::Register(place, registration) => {
                self.open().and_then(|()| self.register(&place, registration))
            }
            Command::Remove(place) => self.open().and_then(|()| self.remove(&place)),
            Command::Adjust(place, adjustment) => {
                self.open().and_then(|()| self.adjust(&place, adjustment))
            }
            Command::Withdraw(withdrawn) => self.open().map(|()| self.withdraw(withdrawn)),
            Command::Reload => return self.reload(),
            Command::Purge(body) => return self.purge(&body),
            Command::Explain(question) => {
                Ok(self.explainer.answer(&self.snapshot(), &question, self.cache.as_mut()))
            }
        };
        // Either is the answer.
        CommandOutcome::Done(outcome.unwrap_or_else(|answer| answer))
    }
}

fn full(what: &str) -> ApiResponse {
    let message = format!("the table of {what} is full (a reload makes room)");
    ApiResponse::error(507, &message)
}

/// The answer that has the mistakes of the configuration, if they are the reason: they come first, and
/// one of the lines behind them counts them.
fn refused(why: &str) -> ApiResponse {
    let lines: Vec<&str> = why.lines().map(str::trim).collect();
    let counted = lines.iter().find(|line| line.contains("nothing was changed"));
    let message = match (counted, &lines[..]) {
        (Some(summary), _) => String::from(*summary),
        (None, []) => String::from("the reload was refused"),
        (None, lines) => lines.join(" "),
    };
    let count = counted.and_then(|summary| {
        let (_, behind) = summary.rsplit_once(" has ")?;
        behind.split(' ').next()?.parse().ok()
    });
    let mistakes = lines.iter().take(count.unwrap_or(0)).map(|line| String::from(*line)).collect();
    // There is always a list for programs.
    let errors: Vec<String> = if count.is_none() { vec![message.clone()] } else { mistakes };
    ApiResponse::json(422, json::error(&message, &errors))
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
