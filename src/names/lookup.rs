//! One look-up, in a process of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::named::LARGEST_MAX;
use crate::config::{Family, Lookup, NamedServer};
use crate::dns::{self, SrvRecord};
use crate::mem::time::Millis;
use crate::policy::naming::NameShare;
use crate::shared::name_report::{FamilyReport, NameReport};
use crate::sys::resolver::{self, AddressFamily, NoAnswer};

/// Hosts of a service that are looked up.
const MOST_TARGETS: usize = LARGEST_MAX;
/// The longest answer that TCP can bring.
const LONGEST_ANSWER: usize = 65_535;
/// The heaviest weight that a backend can have.
const HEAVIEST: u32 = 256;

/// Looks a name up. It takes as long as the resolver does.
pub fn look_up(id: usize, named: &NamedServer) -> NameReport {
    let share = NameShare { weight: named.weight, backup: named.backup };
    let mut lifetime = None;
    let families = match &named.lookup {
        Lookup::Host { name, port, family } => {
            let families =
                [(AddressFamily::Ipv4, Family::Ipv4), (AddressFamily::Ipv6, Family::Ipv6)];
            families.map(|(asked, of)| match *family {
                Family::Any => host(name.as_str(), asked, *port, share),
                only if only == of => host(name.as_str(), asked, *port, share),
                _ => Ok(BTreeMap::new()),
            })
        }
        Lookup::Service(name) => match service_records(name.as_str()) {
            Ok(services) => {
                lifetime = services.lifetime.map(|seconds| Millis::from_secs(seconds.into()));
                let records = by_priority(services.records);
                [AddressFamily::Ipv4, AddressFamily::Ipv6]
                    .map(|family| service(&records, family, named.backup))
            }
            Err(why) => [Err(why.clone()), Err(why)],
        },
    };
    NameReport { name: id, families: families.map(|found| report(found, named.max)), lifetime }
}

type Found = Result<BTreeMap<SocketAddr, NameShare>, NoAnswer>;

fn host(name: &str, family: AddressFamily, port: u16, share: NameShare) -> Found {
    let found = addresses(name, family)?;
    Ok(found.into_iter().map(|ip| (SocketAddr::new(ip, port), share)).collect())
}

/// The addresses of a host. The library takes a malformed answer for one that has none, so whoever has none is
/// asked for again, to read the answer here.
fn addresses(name: &str, family: AddressFamily) -> Result<Vec<IpAddr>, NoAnswer> {
    let found = resolver::addresses(name, family);
    if matches!(found, Err(NoAnswer::Nothing(_))) {
        let mut answer = vec![0; LONGEST_ANSWER];
        let len = resolver::address_records(name, family, &mut answer);
        if len.is_ok_and(|len| dns::services(&answer[..len]).is_none()) {
            return Err(malformed());
        }
    }
    found
}

fn malformed() -> NoAnswer {
    NoAnswer::Unknown(String::from("the name server's answer is malformed"))
}

fn service_records(name: &str) -> Result<dns::Services, NoAnswer> {
    let mut answer = vec![0; LONGEST_ANSWER];
    let len = resolver::service_records(name, &mut answer)?;
    let services = dns::services(&answer[..len]).ok_or_else(malformed)?;
    match services.records.is_empty() {
        true => Err(NoAnswer::Nothing(String::from("No SRV record of this name"))),
        false => Ok(services),
    }
}

/// A server of a service, as it is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServiceServer {
    target: String,
    port: u16,
    share: NameShare,
}

/// The servers, those of the least priority first, which are primaries; the others are backups. Weights
/// are scaled so that the heaviest fits; none is none at all.
fn by_priority(mut records: Vec<SrvRecord>) -> Vec<ServiceServer> {
    records.retain(|record| !record.target.is_empty()); // It is decidedly not available there.
    records.sort_by_key(|record| record.priority); // stable: else in the order of the answer
    let first = records.first().map(|record| record.priority);
    let heaviest = records.iter().map(|record| u32::from(record.weight)).max().unwrap_or(0);
    let server = |record: SrvRecord| {
        let weight = u32::from(record.weight) * HEAVIEST / heaviest.max(HEAVIEST);
        let share =
            NameShare { weight: weight.clamp(1, HEAVIEST), backup: Some(record.priority) != first };
        ServiceServer { target: record.target, port: record.port, share }
    };
    records.into_iter().map(server).collect()
}

/// The addresses of one family of all servers. Where one host's are unknown, so are those of all: it may
/// have some.
fn service(servers: &[ServiceServer], family: AddressFamily, are_backups: bool) -> Found {
    let mut known: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for server in servers.iter().take(MOST_TARGETS) {
        if !known.contains_key(server.target.as_str()) {
            let addresses = match addresses(&server.target, family) {
                Ok(addresses) => addresses,
                Err(NoAnswer::Nothing(_)) => Vec::new(),
                Err(why) => return Err(why),
            };
            known.insert(&server.target, addresses);
        }
        for ip in known.get(server.target.as_str()).into_iter().flatten() {
            let share = NameShare { backup: server.share.backup || are_backups, ..server.share };
            // The first that names it has the least priority.
            found.entry(SocketAddr::new(*ip, server.port)).or_insert(share);
        }
    }
    Ok(found)
}

/// What was found, the lowest addresses first: one more than are used tells that there are more.
fn report(found: Found, max: usize) -> FamilyReport {
    match found {
        Ok(found) if found.is_empty() => FamilyReport::Nothing(String::new()),
        Ok(found) => {
            let found = found.into_iter().take(max + 1);
            let entry = |(address, share): (SocketAddr, NameShare)| {
                (address, share.weight, u8::from(share.backup))
            };
            FamilyReport::Found(found.map(entry).collect())
        }
        Err(NoAnswer::Nothing(why)) => FamilyReport::Nothing(why),
        Err(NoAnswer::Unknown(why)) => FamilyReport::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(records: &[(u16, u16, &str)]) -> Vec<(String, u32, bool)> {
        let record = |(priority, weight, target): &(u16, u16, &str)| SrvRecord {
            priority: *priority,
            weight: *weight,
            port: 80,
            target: (*target).to_owned(),
        };
        let servers = by_priority(records.iter().map(record).collect());
        let shown = |one: ServiceServer| (one.target, one.share.weight, one.share.backup);
        servers.into_iter().map(shown).collect()
    }

    #[test]
    fn the_least_priority_is_primary_and_weights_are_scaled_where_they_are_too_heavy() {
        let expected = [("b", 256, false), ("c", 1, false), ("d", 1, false), ("a", 128, true)];
        let expected = expected.map(|(target, weight, backup)| (target.to_owned(), weight, backup));
        let records =
            [(20, 32_768, "a"), (10, 65_535, "b"), (10, 0, "c"), (10, 300, "d"), (0, 9, "")];
        assert_eq!(shares(&records), expected);
        assert_eq!(shares(&[(0, 5, "a"), (0, 1, "b")])[0], (String::from("a"), 5, false));
        assert_eq!(shares(&[(0, 9, "")]), []);
    }

    #[test]
    fn a_report_has_the_lowest_addresses_and_one_that_is_too_many() {
        let share = NameShare { weight: 1, backup: false };
        let found = (1..=9).rev().map(|host| (([10, 0, 0, host], 80).into(), share)).collect();
        let FamilyReport::Found(reported) = report(Ok(found), 3) else { panic!() };
        let hosts: Vec<String> = reported.iter().map(|(address, ..)| address.to_string()).collect();
        assert_eq!(hosts, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
        let found = (0..=299).map(|host| (([10, 0, 1, 0], 1000 + host).into(), share)).collect();
        let FamilyReport::Found(reported) = report(Ok(found), LARGEST_MAX) else { panic!() };
        assert_eq!(reported.len(), LARGEST_MAX + 1, "so that it is told");
    }
}
