//! Backends that are the service itself: what is sent to one comes in again.

use std::net::{IpAddr, UdpSocket};

use crate::config::{Backend, Config, Endpoint, Subject, Warning, Wrong};

/// Tells of each backend that is a listen address of the service.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (pool, backends) in config.pools.iter().map(|pool| &pool.backends).enumerate() {
        for (backend, Backend { address, .. }) in backends.iter().enumerate() {
            if config.listen.iter().any(|listen| is_same(listen.address, *address)) {
                let fault = format!(
                    "{address} is a listen address of this service: what is sent there comes in again, \
                     until all connections are taken"
                );
                let wrong = Wrong::new(fault, "name the server behind it");
                warnings.push(Warning { subject: Subject::Backend { pool, backend }, wrong });
            }
        }
    }
    warnings
}

fn is_same(listen: Endpoint, backend: Endpoint) -> bool {
    let (own, backend) = (listen.canonical(), backend.canonical());
    match backend {
        Endpoint::Tcp(address) => own == backend || own.covers(backend) && is_local(address.ip()),
        Endpoint::Unix(_) => own == backend,
    }
}

/// Whether an address is one of this machine's: no other can be bound to.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_listen_address_is_known_however_it_is_written() {
        for (listen, backend, expected) in [
            ("127.0.0.1:9000", "127.0.0.1:9000", true),
            ("127.0.0.1:9000", "127.0.0.1:9001", false),
            ("127.0.0.1:9000", "127.0.0.2:9000", false),
            ("127.0.0.1:9000", "[::ffff:127.0.0.1]:9000", true),
            ("0.0.0.0:9000", "127.0.0.3:9000", true),
            ("[::]:9000", "127.0.0.1:9000", true),
            ("[::]:9000", "[::1]:9000", true),
            ("0.0.0.0:9000", "[::1]:9000", false),
            // An address for examples: RFC 5737.
            ("[::]:9000", "192.0.2.1:9000", false),
        ] {
            let address = |text: &str| text.parse().expect("an address");
            assert_eq!(is_same(address(listen), address(backend)), expected, "{listen} {backend}");
        }
    }
}
