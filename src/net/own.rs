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
    let (Endpoint::Tcp(listen), Endpoint::Tcp(backend)) = (listen, backend) else {
        return listen == backend;
    };
    let (own, ip) = (listen.ip().to_canonical(), backend.ip().to_canonical());
    // [::] takes IPv4 as well.
    let takes_all = own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
    listen.port() == backend.port() && (own == ip || takes_all && is_local(ip))
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
