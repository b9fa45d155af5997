//! Names of backends as operators see them: as JSON, and as metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::policy::naming::NameStatus;

use super::metrics;
use super::names::NameView;

#[derive(Serialize)]
struct NamesJson<'a> {
    names: Vec<NameJson<'a>>,
}

#[derive(Serialize)]
struct NameJson<'a> {
    name: &'a str,
    port: Option<u16>,
    pool: &'a str,
    state: &'static str,
    since_s: u64,
    last_ok_age_s: Option<u64>,
    addresses: Vec<String>,
    going: Vec<String>,
    last_error: Option<&'a str>,
}

/// The answer to `GET /v1/names`.
pub fn json(names: &[NameView]) -> String {
    let shown = |name: &NameView| {
        let texts = |list: &[std::net::SocketAddr]| list.iter().map(ToString::to_string).collect();
        (texts(&name.addresses), texts(&name.going))
    };
    let names = names.iter().map(|name| {
        let (addresses, going) = shown(name);
        NameJson {
            name: name.lookup.name().as_str(),
            port: name.lookup.port(),
            pool: &name.pool,
            state: name.status.as_str(),
            since_s: name.since.0 / 1000,
            last_ok_age_s: name.last_found.map(|(age, _)| age.0 / 1000),
            addresses,
            going,
            last_error: name.last_error.as_deref(),
        }
    });
    let mut text = serde_json::to_string(&NamesJson { names: names.collect() })
        .unwrap_or_else(|error| unreachable!("texts and numbers are always written: {error}"));
    text.push('\n');
    text
}

/// What all entries of one name have together: that is what a sample can be told apart by.
#[derive(Default)]
struct Sum {
    addresses: usize,
    lookups: [u64; NameStatus::RESULTS.len()],
    last_success: Option<f64>,
}

/// The samples of all names.
pub fn render(names: &[NameView]) -> String {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for name in names {
        let sum = sums.entry(name.lookup.name().as_str()).or_default();
        sum.addresses += name.addresses.len() + name.going.len();
        for (count, more) in sum.lookups.iter_mut().zip(name.lookups) {
            *count += more;
        }
        let found = name.last_found.map(|(_, wall)| wall.0 as f64 / 1e6);
        sum.last_success = found.into_iter().chain(sum.last_success).reduce(f64::max);
    }
    let mut text = String::new();
    if sums.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let family = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    };
    let addresses = "httplb_name_addresses";
    family(&mut text, addresses, "gauge", "Addresses of a name, with those that are going.");
    for (name, sum) in &sums {
        let _ = writeln!(text, "{addresses}{{{}}} {}", metrics::label("name", name), sum.addresses);
    }
    let lookups = "httplb_name_lookups_total";
    family(&mut text, lookups, "counter", "Look-ups of a name, by what they told.");
    for (name, sum) in &sums {
        for (result, count) in NameStatus::RESULTS.iter().zip(sum.lookups) {
            let (name, result) =
                (metrics::label("name", name), metrics::label("result", result.as_str()));
            let _ = writeln!(text, "{lookups}{{{name},{result}}} {count}");
        }
    }
    let success = "httplb_name_last_success_seconds";
    let help = "When a look-up last found an address, in seconds since the epoch.";
    family(&mut text, success, "gauge", help);
    for (name, sum) in &sums {
        if let Some(at) = sum.last_success {
            let _ = writeln!(text, "{success}{{{}}} {at}", metrics::label("name", name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::named::host_and_port;
    use crate::mem::time::{Micros, Millis};

    fn view() -> NameView {
        NameView {
            lookup: host_and_port("app.internal:8080").unwrap(),
            pool: String::from("default"),
            status: NameStatus::Found,
            since: Millis(65_000),
            last_found: Some((Millis(3_900), Micros(1_700_000_000_500_000))),
            addresses: vec!["10.0.0.7:8080".parse().unwrap()],
            going: vec!["[fd00::7]:8080".parse().unwrap()],
            last_error: None,
            lookups: [7, 1, 2],
        }
    }

    #[test]
    fn a_name_has_the_keys_of_the_contract() {
        assert_eq!(
            json(&[view()]),
            "{\"names\":[{\"name\":\"app.internal\",\"port\":8080,\"pool\":\"default\",\
             \"state\":\"ok\",\"since_s\":65,\"last_ok_age_s\":3,\"addresses\":[\"10.0.0.7:8080\"],\
             \"going\":[\"[fd00::7]:8080\"],\"last_error\":null}]}\n"
        );
        assert_eq!(json(&[]), "{\"names\":[]}\n");
    }

    #[test]
    fn entries_of_one_name_are_one_sample() {
        let other = NameView { last_found: None, pool: String::from("api"), ..view() };
        let text = render(&[view(), other]);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "httplb_name_addresses{name=\"app.internal\"} 4",
                "httplb_name_lookups_total{name=\"app.internal\",result=\"ok\"} 14",
                "httplb_name_lookups_total{name=\"app.internal\",result=\"nothing\"} 2",
                "httplb_name_lookups_total{name=\"app.internal\",result=\"unknown\"} 4",
                "httplb_name_last_success_seconds{name=\"app.internal\"} 1700000000.5",
            ]
        );
        assert_eq!(render(&[]), "");
    }
}
