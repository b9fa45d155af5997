//! Backends at Unix sockets where there is no socket.

use crate::config::{Backend, Config, Endpoint, Subject, Warning, Wrong};
use crate::sys::{IoError, Listener};

/// Tells of each backend at whose path there is no socket now.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (pool, backends) in config.pools.iter().map(|pool| &pool.backends).enumerate() {
        for (backend, Backend { address, .. }) in backends.iter().enumerate() {
            let Endpoint::Unix(path) = address else { continue };
            if path.abstract_name().is_some() {
                continue;
            }
            let wrong = match Listener::file(path) {
                Err(IoError::NotFound) => Wrong::new(
                    format!("there is no socket {path}"),
                    "start the application; is the path right, and not in /tmp, which PrivateTmp= of the \
                     unit hides?",
                ),
                Err(IoError::Exists) => Wrong::new(
                    format!("{path} is no socket"),
                    "name the one at which the application listens",
                ),
                Ok(_) | Err(_) => continue,
            };
            warnings.push(Warning { subject: Subject::Backend { pool, backend }, wrong });
        }
    }
    warnings
}
