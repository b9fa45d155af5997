//! What the process that looks up names tells the control process, which takes it for no more than it is:
//! the word of a stranger, as what name servers have answered is in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::address;
use crate::config::named::LARGEST_MAX;
use crate::mem::time::Millis;
use crate::policy::naming::{Answer, Answers, NameShare, NameStatus, NamedAddress, SCOPES, Scope};

/// Bytes of a reason, which goes into the journal.
const LONGEST_REASON: usize = 200;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamesMessage {
    /// The process is alive.
    Beat,
    /// A look-up is over.
    Answer(NameReport),
    /// What was known of a name when the service ran last.
    Stored(NameReport),
}

/// What is said of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameReport {
    /// Its place among the names that the configuration has.
    pub name: usize,
    /// Of IPv4, and of IPv6.
    pub families: [FamilyReport; 2],
    /// How long it is so, if that is known.
    pub lifetime: Option<Millis>,
}

/// What is said of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyReport {
    /// An address each, its weight, and whether it is a backup.
    Found(Vec<(SocketAddr, u32, u8)>),
    /// There is none, for this reason.
    Nothing(String),
    /// Nobody knows, for this reason.
    Unknown(String),
}

impl NamesMessage {
    /// As it is sent.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            unreachable!("texts, numbers and lists are always written: {error}")
        })
    }

    /// Reads it. `None`: it is none of ours.
    pub fn parse(text: &str) -> Option<NamesMessage> {
        serde_json::from_str(text).ok()
    }
}

impl NameReport {
    /// Nobody knows, for this reason.
    pub fn unknown(name: usize, why: &str) -> NameReport {
        let family = || FamilyReport::Unknown(why.to_owned());
        NameReport { name, families: [family(), family()], lifetime: None }
    }

    /// The addresses, as they would be found: of each family where there are some.
    pub fn of_known(
        name: usize,
        known: impl Iterator<Item = (SocketAddr, NamedAddress)>,
    ) -> NameReport {
        let mut found = [Vec::new(), Vec::new()];
        for (address, NamedAddress { share, .. }) in known {
            let family = &mut found[Scope::of(&address) as usize];
            family.push((address, share.weight, u8::from(share.backup)));
        }
        let families = found.map(|found| match found.is_empty() {
            true => FamilyReport::Nothing(String::new()),
            false => FamilyReport::Found(found),
        });
        NameReport { name, families, lifetime: None }
    }

    /// What is said, as far as it can be meant: no address that is nobody's, or of another family, and
    /// no weight that is none.
    pub fn answers(&self) -> Answers {
        let answer = |(family, scope): (&FamilyReport, Scope)| match family {
            FamilyReport::Found(found) => {
                let found: BTreeMap<SocketAddr, NameShare> =
                    found.iter().filter_map(meant).take(LARGEST_MAX + 1).collect();
                let is_of = |(address, _): &(SocketAddr, NameShare)| Scope::of(address) == scope;
                let found: BTreeMap<_, _> = found.into_iter().filter(is_of).collect();
                if found.is_empty() { Answer::Nothing } else { Answer::Found(found) }
            }
            FamilyReport::Nothing(_) => Answer::Nothing,
            FamilyReport::Unknown(_) => Answer::Unknown,
        };
        let [four, six] = &self.families;
        [answer((four, SCOPES[0])), answer((six, SCOPES[1]))]
    }

    /// Why it has no address, or why nobody knows: what the name stands by. `None` if it has one.
    pub fn reason(&self) -> Option<String> {
        let status = NameStatus::of(&self.answers());
        let mut whys = self.families.iter().filter_map(|family| match (status, family) {
            (NameStatus::Unknown, FamilyReport::Unknown(why))
            | (NameStatus::Nothing, FamilyReport::Nothing(why)) => Some(why.as_str()),
            _ => None,
        });
        let why = whys.find(|why| !why.is_empty());
        match status {
            NameStatus::Found | NameStatus::Never => None,
            NameStatus::Nothing | NameStatus::Unknown => {
                let why = why.unwrap_or("no address that a server can have");
                let shown = why.chars().filter(|one| !one.is_control()).take(LONGEST_REASON);
                Some(shown.collect())
            }
        }
    }
}

/// An entry, if it is the address of a server.
fn meant((address, weight, backup): &(SocketAddr, u32, u8)) -> Option<(SocketAddr, NameShare)> {
    let ip = address::of_a_server(address.ip()).ok()?;
    let share = NameShare { weight: (*weight).clamp(1, 256), backup: *backup != 0 };
    (address.port() > 0).then_some((SocketAddr::new(ip, address.port()), share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str]) -> FamilyReport {
        let of = |text: &&str| (text.parse().unwrap(), 1, 0);
        FamilyReport::Found(addresses.iter().map(of).collect())
    }

    fn report(four: FamilyReport, six: FamilyReport) -> NameReport {
        NameReport { name: 3, families: [four, six], lifetime: Some(Millis(5)) }
    }

    #[test]
    fn what_is_told_is_read_as_it_was_and_all_else_is_none_of_ours() {
        let report = report(found(&["10.0.0.7:80"]), FamilyReport::Unknown("why \"\n".into()));
        for message in
            [NamesMessage::Beat, NamesMessage::Answer(report.clone()), NamesMessage::Stored(report)]
        {
            assert_eq!(NamesMessage::parse(&message.to_text()), Some(message));
        }
        for text in ["", "beat", "{}", "{\"answer\":{\"name\":1}}", "\"other\""] {
            assert_eq!(NamesMessage::parse(text), None);
        }
    }

    #[test]
    fn a_message_of_as_many_addresses_as_there_may_be_is_not_too_long() {
        let longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().unwrap();
        let families = [
            FamilyReport::Nothing("x".repeat(200)),
            FamilyReport::Found(vec![(longest, 256, 1); LARGEST_MAX + 1]),
        ];
        let report = NameReport { name: usize::MAX, families, lifetime: Some(Millis(u64::MAX)) };
        let text = NamesMessage::Answer(report).to_text();
        assert!(text.len() < crate::sys::Channel::LONGEST, "{} bytes", text.len());
    }

    #[test]
    fn only_addresses_of_servers_and_of_the_family_are_taken() {
        let odd = ["0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "10.0.0.7:0", "[::1]:80"];
        assert_eq!(report(found(&odd), found(&[])).answers(), [Answer::Nothing, Answer::Nothing]);
        let [four, six] =
            report(found(&["10.0.0.7:80"]), found(&["[::ffff:10.0.0.8]:80"])).answers();
        assert!(matches!(four, Answer::Found(found) if found.len() == 1));
        assert_eq!(six, Answer::Nothing);
        let heavy = FamilyReport::Found(vec![("10.0.0.7:80".parse().unwrap(), 0, 9)]);
        let [Answer::Found(found), _] = report(heavy, found(&[])).answers() else { panic!() };
        assert_eq!(found.values().next(), Some(&NameShare { weight: 1, backup: true }));
    }

    #[test]
    fn the_reason_is_that_of_the_family_by_which_the_name_stands() {
        let (nothing, unknown) = (
            || FamilyReport::Nothing("none".into()),
            || FamilyReport::Unknown("down\u{1b}".into()),
        );
        assert_eq!(report(found(&["10.0.0.7:80"]), unknown()).reason(), None);
        assert_eq!(report(nothing(), unknown()).reason(), Some("down".into()));
        assert_eq!(report(nothing(), nothing()).reason(), Some("none".into()));
        assert_eq!(
            report(found(&["0.0.0.0:80"]), FamilyReport::Nothing(String::new())).reason(),
            Some("no address that a server can have".into())
        );
    }
}
