use super::*;

fn read(line: &str) -> Option<(&str, &str)> {
    let field = Field::read(line.as_bytes())?;
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or("?");
    Some((text(field.name), text(field.value)))
}

#[test]
fn a_value_stands_without_the_blanks_around_it() {
    assert_eq!(read("Name: value\r\n"), Some(("Name", "value")));
    assert_eq!(read("Name:value\r\n"), Some(("Name", "value")));
    assert_eq!(read("Name:\t \tva lue \t\r\nrest"), Some(("Name", "va lue")));
    assert_eq!(read("Name:\r\n"), Some(("Name", "")));
    assert_eq!(read("Name: \t \r\n"), Some(("Name", "")));
    assert_eq!(read("A::\r\n"), Some(("A", ":")));
    assert_eq!(read("é: a\r\n"), None);
    assert_eq!(read("a: é\r\n"), Some(("a", "é")));
}

#[test]
fn a_line_of_any_other_form_is_no_field() {
    for line in [
        "",
        "\r\n",
        "Name",
        "Name\r\n",
        ": value\r\n",
        "Name : value\r\n",
        "Name\t: value\r\n",
        " Name: value\r\n",
        "\tfolded\r\n",
        "Na me: value\r\n",
        "Na\0me: value\r\n",
        "Name: va\0lue\r\n",
        "Name: va\rlue\r\n",
        "Name: value\n",
        "Name: value\r",
        "Name: value",
        "Name: va\x0blue\r\n",
        "Name: va\x7flue\r\n",
        "Name: value\r\r\n",
        "(Name): value\r\n",
        "Na\nme: value\r\n",
        "Name: va\nlue\r\n",
    ] {
        assert_eq!(read(line), None, "{line:?}");
    }
}

#[test]
fn fields_come_in_the_order_of_their_lines() {
    let lines = b"A: 1\r\nb:\r\nA:  x: y \r\n";
    let fields = Fields::again(lines, false);
    let seen: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(seen, [(&b"A"[..], &b"1"[..]), (b"b", b""), (b"A", b"x: y")]);
    assert_eq!(fields.iter().map(|field| field.line).collect::<Vec<_>>().concat(), lines);
    assert_eq!(fields.values("a").collect::<Vec<_>>(), [&b"1"[..], b"x: y"]);
}

#[test]
fn empty_list_members_are_skipped() {
    let members = |value: &'static str| list_members(value.as_bytes()).collect::<Vec<_>>();
    assert_eq!(members(" ,a ,\t b c,, d"), [&b"a"[..], b"b c", b"d"]);
    assert_eq!(members(""), [&b""[..]; 0]);
    assert_eq!(members(", ,"), [&b""[..]; 0]);
}

#[test]
fn connection_nominates_in_any_case_and_over_several_lines() {
    let lines = b"Connection: close, X-One\r\nA: b\r\nconnection: x-two\r\n";
    let mut options = ConnectionOptions::default();
    options.add(b"close, X-One");
    options.add(b"x-two");
    let fields = Fields::again(lines, options.others > 0);
    assert!(fields.nominates());
    let nominated = fields.nominated().expect("it names some");
    for name in ["x-one", "X-Two", "CLOSE"] {
        assert!(nominated.contains(name.as_bytes()), "{name}");
    }
    for name in ["a", "x-on", "x-one2", "close, x-one", ""] {
        assert!(!nominated.contains(name.as_bytes()), "{name}");
    }
}

#[test]
fn the_usual_connection_options_nominate_nothing() {
    let mut options = ConnectionOptions::default();
    options.add(b"Keep-Alive, upgrade,, CLOSE");
    let expected =
        ConnectionOptions { close: true, keep_alive: true, upgrade: true, others: 0, count: 3 };
    assert_eq!(options, expected);
    let fields = Fields::again(b"Connection: Keep-Alive, upgrade,, CLOSE\r\n", options.others > 0);
    assert!(!fields.nominates() && fields.nominated().is_none());
}

#[test]
fn x_close_is_not_close() {
    let mut options = ConnectionOptions::default();
    options.add(b"x-close, closed, clos, \"close\", close;q=1");
    assert_eq!(options, ConnectionOptions { others: 5, count: 5, ..ConnectionOptions::default() });
}

#[test]
fn hop_by_hop_fields_are_known_in_any_case() {
    for name in
        ["Connection", "KEEP-ALIVE", "Proxy-Connection", "te", "Transfer-Encoding", "Upgrade"]
    {
        assert!(is_hop_by_hop(name.as_bytes()), "{name}");
    }
    for name in ["Trailer", "Host", "Content-Length", "Connections", "t", "", "Via", "up-grade"] {
        assert!(!is_hop_by_hop(name.as_bytes()), "{name}");
    }
}

#[test]
fn only_framing_names_with_underscores_are_shadows() {
    for name in ["Content_Length", "content_length", "TRANSFER_ENCODING", "transfer_Encoding"] {
        assert!(is_shadow_of_framing(name.as_bytes()), "{name}");
    }
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "X_Forwarded",
        "Content_Type",
        "Content__Length",
        "Content_Lengths",
        "_",
        "",
        "ContentLength_",
        "Content-Lengt_",
        "___________-__",
    ] {
        assert!(!is_shadow_of_framing(name.as_bytes()), "{name}");
    }
}

#[test]
fn trailers_that_would_change_the_message_do_not_go_on() {
    for name in [
        "Content-Length",
        "TRANSFER-ENCODING",
        "host",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "content-encoding",
        "Cache-Control",
        "Expires",
        "If-None-Match",
        "Range",
        "Expect",
        "TE",
        "Trailer",
        "Connection",
        "Upgrade",
        "Content_Length",
        "Transfer_Encoding",
        "X_Forwarded_For",
        "X_Request_ID",
        "x_real_ip",
        "Proxy_Connection",
        "If_Match",
        "Idempotency_Key",
        "Content_Digest",
        "X-Forwarded-For",
        "Forwarded",
        "X-Request-ID",
        "Proxy-Authorization",
        "Location",
        "Vary",
        "Max-Forwards",
        "Proxy-Connection",
        "Keep-Alive",
        "Date",
        "Age",
        "WWW-Authenticate",
    ] {
        assert!(!may_trail(name.as_bytes()), "{name}");
    }
    for name in [
        "Content-Digest",
        "content-md5",
        "Repr-Digest",
        "Grpc-Status",
        "X-Checksum",
        "ETag",
        "Server-Timing",
        "Digest",
        "If",
        "content",
    ] {
        assert!(may_trail(name.as_bytes()), "{name}");
    }
}

#[test]
fn blanks_around_a_value_are_taken_off_as_one_by_one() {
    const BYTES: &[u8] = b" \ta";
    for number in 0..3_usize.pow(7) {
        for len in 0..=7 {
            let value: Vec<u8> = (0..len).map(|at| BYTES[number / 3_usize.pow(at) % 3]).collect();
            let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let start = value.iter().take_while(|byte| is_blank(byte)).count();
            let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
            assert_eq!(trim_blanks(&value), &value[start..end], "{}", value.escape_ascii());
        }
    }
}
