//! Whether the service is withdrawn: it serves as ever, and lets the world know that it is not to be
//! sent new clients, and the clients that they are not to come back over their connections.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::segment::{SERVICE, Segment, ServiceCell};

/// Who has withdrawn the service. Each takes back its own word only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// An operator, until the service is restored or restarted.
    ByOperator,
    /// The master, because the service is about to stop.
    BeforeStop,
}

impl Withdrawal {
    fn bit(self) -> u64 {
        match self {
            Withdrawal::ByOperator => 1,
            Withdrawal::BeforeStop => 2,
        }
    }
}

impl Segment {
    /// Withdraws the service, or takes that back. The caller then rings the workers.
    pub fn set_withdrawn(&self, by: Withdrawal, is_withdrawn: bool) {
        let cell = &self.cells[SERVICE + ServiceCell::Withdrawn as usize];
        if is_withdrawn {
            cell.fetch_or(by.bit(), SeqCst);
        } else {
            cell.fetch_and(!by.bit(), SeqCst);
        }
    }

    /// Whether the service is withdrawn, by whomever.
    pub fn is_withdrawn(&self) -> bool {
        self.service(ServiceCell::Withdrawn) != 0
    }

    /// Whether it is withdrawn by this one, and perhaps by the other as well.
    pub fn is_withdrawn_by(&self, by: Withdrawal) -> bool {
        let cell = &self.cells[SERVICE + ServiceCell::Withdrawn as usize];
        cell.load(Relaxed) & by.bit() != 0
    }
}
