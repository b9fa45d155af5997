//! Backends at Unix sockets that are not there.

use crate::config::{Backend, Config, Endpoint, Subject, Warning, Wrong};
use crate::sys::{IoError, Listener};

/// Tells of each backend whose socket has no file now.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (pool, backends) in config.pools.iter().map(|pool| &pool.backends).enumerate() {
        for (backend, Backend { address, .. }) in backends.iter().enumerate() {
            let Endpoint::Unix(path) = address else { continue };
            let is_missing = path.abstract_name().is_none()
                && Listener::file(path).err() == Some(IoError::NotFound);
            if is_missing {
                let remedy = "start the application; is the path right, and not in /tmp, which PrivateTmp= \
                              of the unit hides?";
                let wrong = Wrong::new(format!("there is no socket {path}"), remedy);
                warnings.push(Warning { subject: Subject::Backend { pool, backend }, wrong });
            }
        }
    }
    warnings
}
