//! What `top` knows: the service as it was last told, a minute of it, and what is chosen.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::mem::time::Micros;

/// Values that a line has, one a second.
pub const MINUTE: usize = 60;

/// Who takes no longer than this, in milliseconds, is not sorted by how long it takes: it would be another
/// order each second.
const SLOW: f64 = 200.0;

/// By what pools and backends are sorted, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// What is down, then what fails, then what is slow.
    Trouble,
    /// Requests a second.
    Requests,
    /// Errors a second.
    Errors,
    /// The 99th percentile of the response time.
    P99,
}

/// What is counted of the service, a pool or a backend now. `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Requests a second.
    pub requests: Option<f64>,
    /// Errors a second.
    pub errors: Option<f64>,
    /// Milliseconds.
    pub p50: Option<f64>,
    /// Milliseconds.
    pub p99: Option<f64>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendRow {
    /// Its pool's name, and its own.
    pub id: (String, String),
    /// As the API tells it.
    pub told: Value,
    /// What is counted.
    pub rates: Rates,
}

/// A pool with its backends, both sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRows {
    /// Its name.
    pub name: String,
    /// How bad it is with it, as the service says: 0 is fine.
    pub severity: u8,
    /// What is counted.
    pub rates: Rates,
    /// Its backends.
    pub backends: Vec<BackendRow>,
}

/// The totals of a backend when they were last told, where the service does not tell rates.
type Totals = HashMap<(String, String), (u64, u64)>;

/// What `top` knows.
pub struct Model {
    /// `/v1/status`.
    pub status: Value,
    /// All pools.
    pub pools: Vec<PoolRows>,
    /// `/v1/events`, the newest last; `None` if the service tells none.
    pub events: Option<Vec<Value>>,
    /// Rates of the service.
    pub rates: Rates,
    /// Requests, errors and p99 of the last minute, the newest last.
    pub lines: [VecDeque<f64>; 3],
    /// By what all is sorted.
    pub order: Order,
    /// The backend that is chosen.
    pub chosen: Option<(String, String)>,
    totals: Totals,
    told_at: Option<Micros>,
}

impl Model {
    /// One that knows nothing yet.
    pub fn new() -> Model {
        Model {
            status: Value::Null,
            pools: Vec::new(),
            events: Some(Vec::new()),
            rates: Rates::default(),
            lines: [const { VecDeque::new() }; 3],
            order: Order::Trouble,
            chosen: None,
            totals: Totals::new(),
            told_at: None,
        }
    }

    /// Takes in what the service has just told.
    pub fn tell(&mut self, status: Value, pools: &Value, now: Micros) {
        let elapsed = self.told_at.map(|before| (now - before).0 as f64 / 1e6);
        let mut totals = Totals::new();
        let all = pools["pools"].as_array().map_or(&[][..], Vec::as_slice);
        self.pools = all
            .iter()
            .map(|pool| self.pool(pool, &mut totals, elapsed.filter(|elapsed| *elapsed > 0.0)))
            .collect();
        (self.totals, self.told_at) = (totals, Some(now));
        self.rates = told_rates(&status["now"])
            .unwrap_or_else(|| sum(self.pools.iter().map(|pool| pool.rates)));
        self.status = status;
        let values = [self.rates.requests, self.rates.errors, self.rates.p99];
        for (line, value) in self.lines.iter_mut().zip(values) {
            if line.len() == MINUTE {
                line.pop_front();
            }
            line.push_back(value.unwrap_or(0.0));
        }
        self.sort();
    }

    fn pool(&self, told: &Value, totals: &mut Totals, elapsed: Option<f64>) -> PoolRows {
        let name = told["name"].as_str().unwrap_or_default().to_owned();
        let backends = told["backends"].as_array().into_iter().flatten().map(|backend| {
            let id = (name.clone(), backend["backend"].as_str().unwrap_or_default().to_owned());
            let total = |key: &str| backend[key].as_u64().unwrap_or_default();
            let now = (total("requests_total"), total("errors_total"));
            let counted = elapsed.zip(self.totals.get(&id)).map(|(elapsed, before)| Rates {
                requests: Some(now.0.saturating_sub(before.0) as f64 / elapsed),
                errors: Some(now.1.saturating_sub(before.1) as f64 / elapsed),
                ..Rates::default()
            });
            let rates = told_rates(&backend["now"]).or(counted).unwrap_or_default();
            totals.insert(id.clone(), now);
            BackendRow { id, told: backend.clone(), rates }
        });
        let backends: Vec<BackendRow> = backends.collect();
        let rates = told_rates(&told["now"])
            .unwrap_or_else(|| sum(backends.iter().map(|backend| backend.rates)));
        let severity = match told["severity"].as_str() {
            Some("bad") => 3,
            Some("doubtful") => 2,
            Some("intended") => 1,
            _ => 0,
        };
        PoolRows { name, severity, rates, backends }
    }

    /// Sets the order.
    pub fn sort_by(&mut self, order: Order) {
        self.order = order;
        self.sort();
    }

    fn sort(&mut self) {
        let order = self.order;
        for pool in &mut self.pools {
            pool.backends.sort_by(|one, other| {
                let key = |row: &BackendRow| (trouble(&row.told), row.rates);
                compare(order, key(one), key(other)).then_with(|| one.id.cmp(&other.id))
            });
        }
        self.pools.sort_by(|one, other| {
            let worst = |pool: &PoolRows| {
                let worst = pool.backends.iter().map(|row| trouble(&row.told)).max().unwrap_or(0);
                (10 * pool.severity + worst, pool.rates)
            };
            compare(order, worst(one), worst(other)).then_with(|| one.name.cmp(&other.name))
        });
        if self.position().is_none() {
            let first = self.rows().next().map(|row| row.id.clone());
            self.chosen = first;
        }
    }

    /// All backends in their order.
    pub fn rows(&self) -> impl Iterator<Item = &BackendRow> {
        self.pools.iter().flat_map(|pool| &pool.backends)
    }

    fn position(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.rows().position(|row| row.id == *chosen)
    }

    /// Chooses the backend so many lines further down, or up.
    pub fn choose(&mut self, lines: isize) {
        let Some(last) = self.rows().count().checked_sub(1) else { return };
        let place = self.position().unwrap_or(0).saturating_add_signed(lines).min(last);
        let chosen = self.rows().nth(place).map(|row| row.id.clone());
        self.chosen = chosen;
    }
}

/// How bad a state is.
fn trouble(backend: &Value) -> u8 {
    match backend["state"].as_str() {
        Some("down") => 3,
        Some("maint") => 2,
        Some("drain") => 1,
        _ => 0,
    }
}

/// The most first.
fn compare(order: Order, one: (u8, Rates), other: (u8, Rates)) -> Ordering {
    let by = |value: fn(&Rates) -> Option<f64>| {
        let number = |rates: &Rates| value(rates).unwrap_or(-1.0);
        number(&other.1).total_cmp(&number(&one.1))
    };
    match order {
        Order::Trouble => other
            .0
            .cmp(&one.0)
            .then_with(|| by(|rates| rates.errors))
            .then_with(|| by(|rates| rates.p50.filter(|p50| *p50 >= SLOW)))
            .then_with(|| by(|rates| rates.requests)),
        Order::Requests => by(|rates| rates.requests),
        Order::Errors => by(|rates| rates.errors),
        Order::P99 => by(|rates| rates.p99),
    }
}

/// Those of the last ten seconds, if they are told.
fn told_rates(now: &Value) -> Option<Rates> {
    let of = now["10s"].as_object()?;
    let number = |key: &str| of.get(key).and_then(Value::as_f64);
    Some(Rates {
        requests: number("requests_per_s"),
        errors: number("errors_per_s"),
        p50: number("p50_ms"),
        p99: number("p99_ms"),
    })
}

/// All of them together; of times, of which there is no sum, the longest.
fn sum(all: impl Iterator<Item = Rates>) -> Rates {
    let add = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    };
    all.fold(Rates::default(), |sum, rates| Rates {
        requests: add(sum.requests, rates.requests),
        errors: add(sum.errors, rates.errors),
        p99: sum.p99.into_iter().chain(rates.p99).reduce(f64::max),
        ..sum
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    fn backend(name: &str, state: &str, requests: f64, errors: f64, p99: f64) -> Value {
        json!({"backend": name, "state": state, "state_since_s": 5, "connections": 1,
            "now": {"10s": {"requests_per_s": requests, "errors_per_s": errors, "p50_ms": 1.0, "p99_ms": p99}}})
    }

    /// Two pools.
    pub fn model() -> Model {
        let mut model = Model::new();
        let pools = json!({"pools": [
            {"name": "a", "backends": [backend("a1", "up", 9.0, 0.0, 5.0), backend("a2", "up", 1.0, 2.0, 7.0)]},
            {"name": "b", "severity": "doubtful", "backends": [backend("b1", "up", 5.0, 0.0, 99.0), backend("b2", "down", 0.0, 0.0, 0.0)]},
        ]});
        let status = json!({"version": "1", "uptime_s": 61, "workers": 2, "draining": false,
            "withdrawn": false, "troubles": [{"severity": "doubtful", "text": "b: 1 of 2 backends is down"}],
            "connections": {"current": 5, "max": 8}, "now": {
            "10s": {"requests_per_s": 15.0, "errors_per_s": 2.0, "p50_ms": 1.0, "p99_ms": 99.0}}});
        model.tell(status, &pools, Micros(1_000_000));
        model
    }

    fn order(model: &Model) -> Vec<&str> {
        model.rows().map(|row| row.id.1.as_str()).collect()
    }

    #[test]
    fn the_worst_comes_first_or_the_most() {
        let mut model = model();
        assert_eq!(order(&model), ["b2", "b1", "a2", "a1"]);
        model.sort_by(Order::Requests);
        assert_eq!(order(&model), ["a1", "a2", "b1", "b2"]);
        model.sort_by(Order::Errors);
        assert_eq!(order(&model), ["a2", "a1", "b1", "b2"]);
        model.sort_by(Order::P99);
        assert_eq!(order(&model)[2..], ["a2", "a1"]);
    }

    #[test]
    fn who_is_slow_comes_before_who_is_asked_more_and_an_empty_pool_is_no_trouble() {
        let mut model = Model::new();
        let mut slow = backend("a2", "up", 1.0, 0.0, 900.0);
        slow["now"]["10s"]["p50_ms"] = json!(800.0);
        let pools = json!({"pools": [
            {"name": "0", "severity": "fine", "backends": []},
            {"name": "a", "severity": "doubtful", "backends": [backend("a1", "up", 9.0, 0.0, 5.0), slow]},
        ]});
        model.tell(json!({}), &pools, Micros(1_000_000));
        assert_eq!(order(&model), ["a2", "a1"]);
        assert_eq!(model.pools[0].name, "a");
    }

    #[test]
    fn what_is_chosen_stays_chosen_wherever_it_goes() {
        let mut model = model();
        assert_eq!(model.chosen.as_ref().unwrap().1, "b2");
        model.choose(2);
        assert_eq!(model.chosen.as_ref().unwrap().1, "a2");
        model.sort_by(Order::Requests);
        assert_eq!(model.chosen.as_ref().unwrap().1, "a2");
        model.choose(-9);
        assert_eq!(model.chosen.as_ref().unwrap().1, "a1");
        model.choose(99);
        assert_eq!(model.chosen.as_ref().unwrap().1, "b2");
        model.tell(json!({}), &json!({"pools": []}), Micros(2_000_000));
        assert_eq!(model.chosen, None);
        model.choose(1);
    }

    #[test]
    fn a_minute_is_kept() {
        let mut model = model();
        for second in 2..100 {
            let pools = json!({"pools": []});
            let status = json!({"now": {"10s": {"requests_per_s": second}}});
            model.tell(status, &pools, Micros(second * 1_000_000));
        }
        assert_eq!(model.lines[0].len(), MINUTE);
        assert_eq!(model.lines[0].back(), Some(&99.0));
    }

    #[test]
    fn rates_that_are_not_told_are_counted() {
        let mut model = Model::new();
        for (second, requests) in [(1, 100), (3, 140)] {
            let backend = json!({"backend": "a1", "requests_total": requests, "errors_total": 0});
            let pools = json!({"pools": [{"name": "a", "backends": [backend]}]});
            model.tell(json!({}), &pools, Micros(second * 1_000_000));
        }
        assert_eq!((model.rates.requests, model.rates.errors), (Some(20.0), Some(0.0)));
        assert_eq!(model.rates.p99, None);
    }
}
