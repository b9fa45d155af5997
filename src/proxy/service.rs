//! Whether clients are to come back.

/// Whether clients are to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Clients are to come back.
    Running,
    /// Other processes have this one's place: each next answer closes its connection, and an idle
    /// client may wait with its next request as ever.
    Replaced,
    /// Clients are to go elsewhere: each next answer closes its connection, and idle connections are closed
    /// soon. All are served as ever.
    Withdrawn,
    /// The service ends: a client's connection is closed once it has been answered, and idle ones soon.
    Draining,
}

impl Service {
    /// Whether idle clients have only a moment yet.
    pub fn is_left(self) -> bool {
        match self {
            Service::Running | Service::Replaced => false,
            Service::Withdrawn | Service::Draining => true,
        }
    }

    /// Whether there will be more requests for the backends, for which connections are kept.
    pub fn goes_on(self) -> bool {
        match self {
            Service::Running | Service::Withdrawn => true,
            Service::Replaced | Service::Draining => false,
        }
    }
}
