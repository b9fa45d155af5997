//! What the registry says of backends, written into the cells.

use crate::config::AUTO_CAP;
use crate::mem::time::Micros;
use crate::policy::health::AdminState;
use crate::shared::fleet::{BackendValue, ServerKey};
use crate::shared::wakers::Wakers;
use crate::shared::{BackendId, Held, LeftBackend, Registration, Source, WaitFor, Wish};
use crate::sys::log::{self, Level};

use super::fleet::Fleet;

/// What the journal says of a backend whose limit was set.
pub(super) fn said_of_limit(limit: u32) -> String {
    match limit {
        AUTO_CAP => String::from("finds its max_connections now"),
        limit => format!("has max_connections {limit} now"),
    }
}

impl Fleet {
    pub(super) fn slot(&self, key: &ServerKey) -> Option<BackendId> {
        self.segment.find(self.segment.find_pool(&key.pool)?, key.address)
    }

    /// A backend is there, or is otherwise now.
    pub(super) fn come(
        &mut self,
        key: &ServerKey,
        value: BackendValue,
        wakers: &Wakers,
        now: Micros,
    ) {
        self.values.insert(key.clone(), value);
        let wish = self.wishes.get(key).copied().unwrap_or_default();
        let entry = wish.over(Registration {
            weight: value.weight,
            max_connections: value.max_connections,
            backup: value.backup,
            state: value.state,
            is_shared: true,
            ..Registration::at(key.address)
        });
        let pool = self.segment.find_pool(&key.pool).or_else(|| self.segment.add_pool(&key.pool));
        let Some(pool) = pool else { return self.full(key, "pools") };
        match self.segment.find(pool, key.address) {
            Some(slot) => match self.segment.backend(slot).source() {
                Some(Source::Api | Source::Registry) => self.renew(slot, entry, now),
                // What the file says literally, or a name brings, goes before it.
                Some(Source::File | Source::Name) | None => return,
            },
            None => {
                self.segment.retain_left(|left| !left.is(&key.pool, key.address));
                let Some(slot) = self.segment.register(pool, entry) else {
                    return self.full(key, "backends");
                };
                self.segment.set_wish(slot, wish);
                let state = match entry.state {
                    AdminState::Ready => String::new(),
                    state => format!(", and is in {}", state.as_str()),
                };
                self.log(key, format_args!("has come by the registry{state}"));
                self.has_changed = true;
            }
        }
        wakers.wake_all(&self.segment, WaitFor::Pool(pool));
    }

    fn renew(&mut self, slot: BackendId, entry: Registration, now: Micros) {
        let cells = self.segment.backend(slot);
        let before = (cells.weight(), cells.max_connections(), cells.is_backup(), cells.admin());
        let after = (entry.weight, entry.max_connections, entry.backup, entry.state);
        if cells.source() != Some(Source::Registry) {
            self.segment.set_source(slot, Source::Registry);
            self.segment.set_lease(slot, None);
            self.has_changed = true;
        }
        if before != after {
            self.segment.set_weight(slot, after.0);
            self.segment.set_cap(slot, after.1);
            self.segment.set_backup(slot, after.2);
            self.segment.set_admin(slot, after.3, now.millis());
            self.has_changed = true;
        }
    }

    /// There is no room for what the registry names.
    fn full(&mut self, key: &ServerKey, what: &str) {
        self.left_out.insert(key.clone());
        if !std::mem::replace(&mut self.is_told, true) {
            log::write(
                Level::Error,
                format_args!(
                    "registry: it names more {what} than there is room for: some wait until others leave \
                     (256 backends and 16 pools have it beside those of the file)"
                ),
            );
        }
    }

    /// A backend gets nothing more, and is forgotten when it has nothing left.
    pub(super) fn go(&mut self, key: &ServerKey, why: &str, wakers: &Wakers, now: Micros) {
        self.values.remove(key);
        self.left_out.remove(key);
        let Some(slot) = self.slot(key) else { return };
        let backend = self.segment.backend(slot);
        if backend.source() != Some(Source::Registry) {
            return;
        }
        self.log(key, format_args!("is removed: {why}"));
        self.segment.note_held(slot, Held::default());
        self.segment.set_admin(slot, AdminState::Leaving, now.millis());
        wakers.wake_all(&self.segment, WaitFor::Pool(backend.pool()));
        self.has_changed = true;
    }

    /// Operators want this of a backend.
    pub(super) fn set(&mut self, key: &ServerKey, wish: Wish, wakers: &Wakers, now: Micros) {
        match wish.is_empty() {
            true => drop(self.wishes.remove(key)),
            false => drop(self.wishes.insert(key.clone(), wish)),
        }
        let Some(slot) = self.slot(key) else {
            // It is there with the backend, also if that comes before the engine is back.
            self.segment.retain_left(|left| !left.is(&key.pool, key.address));
            if !wish.is_empty() {
                let until = LeftBackend::FOR_EVER;
                self.segment.remember_left(&key.pool, key.address, wish, until);
            }
            return;
        };
        let backend = self.segment.backend(slot);
        let (weight, limit, state) = match self.values.get(key) {
            Some(value) => (value.weight, value.max_connections, value.state),
            None => {
                let own = (backend.weight(), backend.max_connections());
                let (weight, limit) = *self.own_shares.entry(key.clone()).or_insert(own);
                (weight, limit, AdminState::Ready)
            }
        };
        let (weight, state) = (wish.weight.unwrap_or(weight), wish.state.unwrap_or(state));
        let limit = wish.max_connections.unwrap_or(limit);
        self.segment.set_wish(slot, wish);
        if backend.weight() != weight {
            self.segment.set_weight(slot, weight);
            self.tell(key, format_args!("has weight {weight} now"));
            self.has_changed = true;
        }
        if backend.max_connections() != limit {
            self.segment.set_cap(slot, limit);
            self.tell(key, format_args!("{}", said_of_limit(limit)));
            self.has_changed = true;
        }
        if backend.admin() != state {
            self.segment.set_admin(slot, state, now.millis());
            self.tell(key, format_args!("is set to {}", state.as_str()));
            self.has_changed = true;
        }
        wakers.wake_all(&self.segment, WaitFor::Pool(backend.pool()));
    }

    /// What an operator has changed, each time: the last message says how it is.
    fn tell(&self, key: &ServerKey, what: std::fmt::Arguments<'_>) {
        let ServerKey { pool, address } = key;
        log::reply(Level::Notice, format_args!("pool {pool}: backend {address} {what}"));
    }

    fn log(&self, key: &ServerKey, what: std::fmt::Arguments<'_>) {
        let ServerKey { pool, address } = key;
        log::write(Level::Notice, format_args!("pool {pool}: backend {address} {what}"));
    }
}
