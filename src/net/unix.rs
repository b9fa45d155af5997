//! Backends at Unix sockets that are not there.

use crate::config::{Config, Endpoint};
use crate::sys::{IoError, Listener};

/// Tells of each backend whose socket has no file now.
pub fn doubts(config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    for (index, pool) in config.pools.iter().enumerate() {
        let key = match index {
            0 => String::from("backend_servers"),
            _ => format!("pools.{}.backend_servers", pool.name),
        };
        for (place, backend) in pool.backends.iter().enumerate() {
            let Endpoint::Unix(path) = backend.address else { continue };
            let is_missing = path.abstract_name().is_none()
                && Listener::file(&path).err() == Some(IoError::NotFound);
            if is_missing {
                doubts.push(format!(
                    "{key}[{place}]: there is no socket {path} (start the application; is the path right, \
                     and not in /tmp, which PrivateTmp= of the unit hides?)"
                ));
            }
        }
    }
    doubts
}
