//! Authentication that belongs to a connection instead of a request: NTLM, and Negotiate, which may be
//! NTLM (RFC 4559 §5). Whoever has logged in over a connection is the user of all later requests on it.

/// The schemes whose credentials a server takes for the connection.
const SCHEMES: [&[u8]; 3] = [b"ntlm", b"negotiate", b"nego2"];

/// Whether credentials (`Authorization`) or challenges (`WWW-Authenticate`) are of such a scheme.
pub fn is_of_connection(value: &[u8]) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    let members = value.split(|&byte| {
        let was_escaped = escaped;
        escaped = quoted && !was_escaped && byte == b'\\';
        quoted ^= byte == b'"' && !was_escaped;
        byte == b',' && !quoted
    });
    members.map(<[u8]>::trim_ascii_start).any(|member| {
        let end = member.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let scheme = &member[..end.unwrap_or(member.len())];
        SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::is_of_connection;

    #[test]
    fn the_schemes_of_connections_are_found_among_others() {
        for (value, wanted) in [
            ("NTLM", true),
            ("Negotiate", true),
            ("negotiate YIIabc==", true),
            ("NTLM TlRMTVNTUAAB", true),
            ("Basic realm=\"x\", NTLM", true),
            ("Basic realm=\"a, b\\\", c\",Negotiate", true),
            ("Basic realm=\"a, NTLM b\"", false),
            ("Basic realm=\"a\\\", NTLM\"", false),
            ("Basic TlRMTQ==", false),
            ("Bearer NTLM", false),
            ("NTLMv9", false),
            ("", false),
        ] {
            assert_eq!(is_of_connection(value.as_bytes()), wanted, "{value}");
        }
    }
}
