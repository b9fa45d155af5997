//! The record of the service that an image of the program leaves to the next: generations, sockets, shared
//! cells, children. It is JSON; of each part its owner knows what is in it.
//!
//! It outlives versions of the program. A number is added to [`FORMAT`] when what an older
//! version reads from it would mislead that; keys that are new have a default.

use serde::{Deserialize, Serialize};

use crate::shared::{LeftBackend, NameRecord, RegistryProgress};

use super::admin_sockets::AdminSocketRecord;
use super::backend_state::BackendRecord;
use super::generation::GenerationRecord;
use super::handover::FdNumber;
use super::listeners::ListenerRecord;
use super::notify::PendingNotify;

/// The format that is written, and the newest that is understood.
pub const FORMAT: u32 = 1;

/// The whole state of a master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it is written in.
    pub format: u32,
    /// When the service was started, in microseconds since the epoch.
    pub started: u64,
    /// The file of the program, where its path is UTF-8.
    #[serde(default)]
    pub binary: Option<String>,
    /// How often it was reloaded.
    #[serde(default)]
    pub reloads: Reloads,
    /// Workers that had to be started anew.
    #[serde(default)]
    pub restarts: u64,
    /// An operator has withdrawn the service.
    #[serde(default)]
    pub withdrawn: bool,
    /// It is to be reloaded once more, when this reload is over.
    #[serde(default)]
    pub reload_again: bool,
    /// The control process that waits for the outcome of that.
    #[serde(default)]
    pub again_by: Option<i32>,
    /// The control process that waits for the outcome.
    #[serde(default)]
    pub asked_by: Option<i32>,
    /// The descriptor of the rotations that generations share.
    #[serde(default)]
    pub rotations: Option<FdNumber>,
    /// The descriptor of what generations leave to each other of what was counted of late.
    #[serde(default)]
    pub history: Option<FdNumber>,
    /// The descriptor of what went wrong, and what the operator was told.
    #[serde(default)]
    pub diary: Option<FdNumber>,
    /// The descriptor of the master's waker.
    pub waker: FdNumber,
    /// Every address that is listened on.
    pub listeners: Vec<ListenerRecord>,
    /// Where operators come in.
    #[serde(default, rename = "doors")]
    pub admin_sockets: Vec<AdminSocketRecord>,
    /// All that have children, or counters that were not added up; the last is the one that serves.
    pub generations: Vec<GenerationRecord>,
    /// What is known of the backends beyond the configuration.
    #[serde(default)]
    pub backends: Vec<BackendRecord>,
    /// What operators have set of backends that have left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftBackend>,
    /// How names stand, and what was counted of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameRecord>,
    /// How far the registry is known.
    #[serde(default, skip_serializing_if = "RegistryProgress::is_none")]
    pub registry: RegistryProgress,
    /// What the service manager had no room for yet.
    #[serde(default, rename = "untold")]
    pub pending: Vec<PendingNotify>,
}

/// How often the service was reloaded, and how often that was refused or given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// To the end.
    pub done: u64,
    /// Nothing was changed.
    pub refused: u64,
    /// The last of them.
    #[serde(default)]
    pub last: LastReload,
}

/// How the last reload went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When it was over, in microseconds since the epoch; 0: there was none.
    pub at: u64,
    /// It was refused or given up.
    pub failed: bool,
}

impl ServiceRecord {
    /// Reads what `to_bytes` has written, perhaps in another version of the program.
    pub fn parse(bytes: &[u8]) -> Result<ServiceRecord, String> {
        #[derive(Deserialize)]
        struct ImageVersion {
            format: u32,
        }
        let version: ImageVersion =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version.format > FORMAT {
            return Err(format!("format {} is not known, only {FORMAT}", version.format));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// As the next image reads it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::generation::ChildRole;
    use super::*;
    use crate::mem::time::{Micros, Millis};
    use crate::policy::health::{Check, Passive};
    use crate::shared::LastCheck;

    /// As version 0.2.0 has written it.
    const WRITTEN: &str = concat!(
        r#"{"format":1,"started":1767225600000000,"binary":"/usr/bin/httplb","#,
        r#""reloads":{"done":3,"refused":1,"last":{"at":9,"failed":true}},"restarts":2,"withdrawn":true,"reload_again":true,"#,
        r#""again_by":7,"asked_by":null,"rotations":77,"history":78,"diary":79,"waker":9,"#,
        r#""listeners":[{"configured":"[::]:80","sockets":[10,11]}],"#,
        r#""doors":[{"place":{"socket":"/run/a"},"socket":24},"#,
        r#"{"place":{"token":"127.0.0.1:0"},"socket":25},"#,
        r#"{"place":{"status":"[::1]:9"},"socket":26}],"#,
        r#""generations":[{"number":4,"workers":2,"config":"{}","leaves_until":null,"segment":12,"#,
        r#""wakers":[13,14,15],"sticky_key":"000102030405060708090a0b0c0d0e0f","#,
        r#""stored":{"cells":20,"group":1,"wakers":[21,22],"lock":23},"#,
        r#""children":[{"pid":100,"role":{"worker":1},"channel":16},"#,
        r#"{"pid":101,"role":"control","channel":17}]},"#,
        r#"{"number":5,"workers":2,"config":"{}","leaves_until":99,"segment":-1,"wakers":[],"#,
        r#""sticky_key":"","stored":null,"children":[]}],"#,
        r#""backends":[{"pool":"default","address":"127.0.0.1:8001","admin":"drain","check":1,"#,
        r#""passive":327682,"since":7,"downtime":8,"check_failures":9,"#,
        r#""checked":{"passed":true,"status":204,"took":10,"at":11},"#,
        r#""registered":{"weight":3,"max_connections":0,"lease":5}},"#,
        r#"{"pool":"default","address":"unix:/run/b","admin":"ready","check":0,"passive":0,"#,
        r#""since":null,"downtime":0,"check_failures":0,"checked":null,"registered":null}],"#,
        r#""untold":[{"text":"FDSTORE=1","socket":18}]}"#,
    );

    fn parse(text: &str) -> Result<ServiceRecord, String> {
        ServiceRecord::parse(text.as_bytes())
    }

    #[test]
    fn what_an_older_version_has_written_comes_back_as_it_was() {
        let record = parse(WRITTEN).unwrap();
        assert_eq!(String::from_utf8(record.to_bytes().unwrap()).unwrap(), WRITTEN);
        let generation = &record.generations[0];
        let roles: Vec<ChildRole> = generation.children.iter().map(|child| child.role).collect();
        assert_eq!(roles, [ChildRole::Worker(1), ChildRole::Control]);
        assert_eq!(record.generations[1].leaves_until, Some(Micros(99)));
        let backend = &record.backends[0];
        assert_eq!(backend.check, Check::Down { passed: 0 });
        assert_eq!(backend.passive, Passive::unreachable(Millis(5)));
        let (took, at) = (Micros(10), Millis(11));
        assert_eq!(backend.checked, Some(LastCheck { passed: true, status: 204, took, at }));
        assert_eq!(backend.since, Some(Millis(7)));
    }

    #[test]
    fn what_an_older_version_did_not_know_has_a_default() {
        let text = r#"{"format": 1, "started": 5, "waker": 9, "listeners": [], "generations": []}"#;
        let record = parse(text).unwrap();
        assert_eq!((record.started, record.reloads, record.binary), (5, Reloads::default(), None));
        assert!(
            record.admin_sockets.is_empty()
                && record.backends.is_empty()
                && record.pending.is_empty()
        );
        assert!(record.rotations.is_none() && !record.withdrawn && !record.reload_again);
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over_and_a_newer_format_is_refused() {
        let text = r#"{"format": 1, "started": 5, "waker": 9, "listeners": [], "generations": [], "x": {}}"#;
        assert!(parse(text).is_ok());
        let error = parse(r#"{"format": 2, "other": []}"#).unwrap_err();
        assert_eq!(error, "format 2 is not known, only 1");
        assert!(parse("").is_err());
    }
}
