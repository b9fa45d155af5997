use super::*;

#[test]
fn addresses_to_listen_on_are_read() {
    let cases = [
        (":80", "[::]:80"),
        (":0", "[::]:0"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:80", "[::1]:80"),
        ("0.0.0.0:65535", "0.0.0.0:65535"),
    ];
    for (text, expected) in cases {
        assert_eq!(listen(text).map(|address| address.to_string()), Ok(expected.into()));
    }
}

#[test]
fn wrong_addresses_to_listen_on_say_how_they_would_be_right() {
    let cases = [
        ("80", r#""80" has no address (write ":80")"#),
        ("*:80", r#""*:80" is not an address (write ":80")"#),
        ("10.0.0.7", r#""10.0.0.7" has no port (write "10.0.0.7:80")"#),
        ("::1", r#""::1" has no port (write "[::1]:80")"#),
        ("[::1]", r#""[::1]" has no port (write "[::1]:80")"#),
        (":08", r#"":08" has no valid port (write a port of 1 to 65535)"#),
        ("[::1]:080", r#""[::1]:080" has no valid port (write a port of 1 to 65535)"#),
        (":65536", r#"":65536" has no valid port (write a port of 1 to 65535)"#),
        (":+80", r#"":+80" has no valid port (write a port of 1 to 65535)"#),
        ("10.0.0.7:", r#""10.0.0.7:" has no valid port (write a port of 1 to 65535)"#),
        ("", r#""" has no port (write "10.0.0.7:80" or "[fd00::7]:80")"#),
        (
            "/run/httplb/http.sock",
            r#""/run/httplb/http.sock" is not an address (write "unix:/run/httplb/http.sock" for a Unix socket)"#,
        ),
        (
            "unix:http.sock",
            r#""http.sock" is not the path of a Unix socket (write "/run/app.sock", or "@app" for an abstract name)"#,
        ),
        (
            "10.0.0.256:80",
            r#""10.0.0.256:80" is not an address (write "10.0.0.7:80" or "[fd00::7]:80")"#,
        ),
        (
            "localhost:80",
            r#""localhost:80" is not an IP address (names are not looked up here: write an address such as "127.0.0.1:80")"#,
        ),
        (
            "web",
            r#""web" is not an IP address (names are not looked up here: write an address such as "10.0.0.7:80")"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(listen(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn wrong_backends_say_how_they_would_be_right() {
    let cases = [
        (":80", r#"":80" names no server (write "127.0.0.1:80" for this host)"#),
        ("80", r#""80" has no port (write "10.0.0.7:80" or "[fd00::7]:80")"#),
        ("10.0.0.7:08", r#""10.0.0.7:08" has no valid port (write a port of 1 to 65535)"#),
        ("0.0.0.0:80", r#""0.0.0.0" names no server (write "127.0.0.1" for this host)"#),
        ("[::]:80", r#""::" names no server (write "127.0.0.1" for this host)"#),
        (
            "[::ffff:0.0.0.0]:80",
            r#""::ffff:0.0.0.0" names no server (write "127.0.0.1" for this host)"#,
        ),
        ("224.0.0.1:80", r#""224.0.0.1" is a multicast address (write that of one server)"#),
        ("[ff02::1]:80", r#""ff02::1" is a multicast address (write that of one server)"#),
        (
            "255.255.255.255:80",
            r#""255.255.255.255" is a broadcast address (write that of one server)"#,
        ),
        ("@app", r#""@app" is not an address (write "unix:@app" for a Unix socket)"#),
        (
            "unix:",
            r#""" is not the path of a Unix socket (write "/run/app.sock", or "@app" for an abstract name)"#,
        ),
        ("10.0.0.7:0", r#""10.0.0.7:0" has port 0 (write a port of 1 to 65535)"#),
        ("[fe80::1%2]:80", r#""[fe80::1%2]:80" has a zone (write "[fe80::1]:80")"#),
        (
            "app-1.example:80",
            r#""app-1.example:80" is not an IP address (names are not looked up here: write an address such as "10.0.0.7:80")"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(backend(text).unwrap_err().to_string(), message);
    }
    assert_eq!(backend("[::1]:8001"), Ok((Ipv6Addr::LOCALHOST, 8001).into()));
    let mapped = backend("[::ffff:10.0.0.7]:80").map(|address| address.to_string());
    assert_eq!(mapped, Ok(String::from("10.0.0.7:80")));
    assert_eq!(server("::ffff:10.0.0.7"), Ok(IpAddr::from([10, 0, 0, 7])));
}

#[test]
fn wrong_ip_addresses_say_how_they_would_be_right() {
    let cases = [
        ("127.0.0.1:80", r#""127.0.0.1:80" has a port (write "ip": "127.0.0.1", "port": 80)"#),
        ("[::1]", r#""[::1]" is not an IP address (write "::1" without brackets)"#),
        ("127.0.1", r#""127.0.1" is not an IP address (write "10.0.0.7" or "fd00::7")"#),
        (
            "unix:/run/app.sock",
            r#""unix:/run/app.sock" is not an IP address (write "unix": "/run/app.sock" in place of "ip" and "port")"#,
        ),
        (
            "localhost",
            r#""localhost" is not an IP address (write "name": "localhost" in place of "ip")"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(ip(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_network_contains_its_addresses_and_no_others() {
    let cases = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("10.0.0.0/8", "::1", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "fd00::1", true),
        ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("::ffff:127.0.0.0/104", "127.9.9.9", true),
        ("::ffff:127.0.0.0/104", "128.0.0.1", false),
        ("::ffff:192.0.2.1", "192.0.2.1", true),
        ("::ffff:0.0.0.0/96", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
    ];
    for (network, address, expected) in cases {
        let parsed = Cidr::parse(network).unwrap();
        assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{network} {address}");
    }
    for network in ["10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/"] {
        assert!(Cidr::parse(network).is_err(), "{network}");
    }
}

#[test]
fn wrong_networks_say_how_they_would_be_right() {
    let cases = [
        ("10.0.0.7/8", r#""10.0.0.7/8" has bits behind its prefix (write "10.0.0.0/8")"#),
        (
            "10.0.0.0/33",
            r#""10.0.0.0/33" has no valid prefix length (write /0 to /32 behind the address)"#,
        ),
        ("::/", r#""::/" has no valid prefix length (write /0 to /128 behind the address)"#),
        ("lan", r#""lan" is not a network (write "10.0.0.0/8", "fd00::/8" or "unix")"#),
    ];
    for (text, message) in cases {
        assert_eq!(Cidr::parse(text).unwrap_err().to_string(), message);
    }
}
