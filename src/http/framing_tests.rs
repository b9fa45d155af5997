use super::*;
use crate::mem::xorshift::Xorshift;

/// The framing of a head with these lines, each `l…` a length, each `t…` a coding.
fn framing_in(version: Version, lines: &[&str]) -> Result<Framing, BadFraming> {
    let mut fields = FramingFields::default();
    for line in lines {
        let (kind, value) = line.split_at(1);
        match kind {
            "l" => fields.add_length(value.as_bytes()),
            _ => fields.add_coding(value.as_bytes()),
        }
    }
    fields.judge(version)
}

fn framing(lines: &[&str]) -> Result<Framing, BadFraming> {
    framing_in(Version::Http11, lines)
}

#[test]
fn lengths_are_decimal_digits_below_the_limit() {
    assert_eq!(framing(&[]), Ok(Framing::None));
    assert_eq!(framing(&["l0"]), Ok(Framing::Length(0)));
    assert_eq!(framing(&["l0042"]), Ok(Framing::Length(42)));
    assert_eq!(framing(&["l9223372036854775807"]), Ok(Framing::Length((1 << 63) - 1)));
    for length in [
        "l",
        "l+5",
        "l-5",
        "l0x5",
        "l5_0",
        "l5 5",
        "l5, 5",
        "l5,",
        "l5, 6",
        "l5.0",
        "l5e1",
        "l٥",
        "l9223372036854775808",
        "l18446744073709551616",
        "l18446744073709551621",
        "l99999999999999999999999999999999999999",
        "l\u{b2}",
        "l5;",
        "l\"5\"",
        "l5\x0b",
    ] {
        assert_eq!(framing(&[length]), Err(BadFraming::Length), "{length}");
    }
}

#[test]
fn two_lengths_are_doubtful_even_if_equal() {
    for pair in [["l5", "l5"], ["l5", "l6"], ["l", "l5"], ["l5", "l"]] {
        assert_eq!(framing(&pair), Err(BadFraming::Length), "{pair:?}");
    }
    assert_eq!(framing(&["lx", "lx", "l5"]), Err(BadFraming::Length));
}

#[test]
fn chunked_said_again_and_again_is_told_apart() {
    for lines in [
        &["tchunked", "tchunked"][..],
        &["tchunked, chunked"],
        &["tChunked ,\tchunked", "tCHUNKED"],
    ] {
        assert_eq!(framing(lines), Err(BadFraming::RepeatedChunked), "{lines:?}");
    }
    for lines in [
        &["tchunked", "t"][..],
        &["t", "tchunked"],
        &["tchunked, , chunked"],
        &["tchunked,"],
        &["tchunked, chunked", "tgzip"],
        &["tgzip", "tchunked, chunked"],
    ] {
        assert_eq!(framing(lines), Err(BadFraming::Coding), "{lines:?}");
    }
    let both = &["tchunked, chunked", "l5"];
    assert_eq!(framing(both), Err(BadFraming::Both));
}

#[test]
fn the_only_coding_is_chunked() {
    assert_eq!(framing(&["tchunked"]), Ok(Framing::Chunked));
    assert_eq!(framing(&["tCHUNKED"]), Ok(Framing::Chunked));
    for coding in ["tgzip, chunked", "tgzip", "tx-gzip", "tdeflate,gzip", "tGzip ,\tChunked"] {
        assert_eq!(framing(&[coding]), Err(BadFraming::UnknownCoding), "{coding}");
    }
    for coding in [
        "t",
        "txchunked",
        "tidentity",
        "tchunked, identity",
        "t\"chunked\"",
        "tchunked\x0b",
        "tchunked, gzip",
        "tchunked,",
        "t,chunked",
        "tgzip,,chunked",
        "tchunked;a",
        "tchunke",
        "tgzip;q=1",
        "tgzip chunked",
    ] {
        assert_eq!(framing(&[coding]), Err(BadFraming::Coding), "{coding}");
    }
}

#[test]
fn two_coding_lines_are_doubtful_in_any_order() {
    for pair in [
        ["tgzip", "tchunked"],
        ["tchunked", "tgzip"],
        ["tgzip", "tgzip"],
        ["t", "tchunked"],
        ["tchunked", "t"],
        ["tx", "tgzip"],
    ] {
        assert_eq!(framing(&pair), Err(BadFraming::Coding), "{pair:?}");
    }
}

#[test]
fn a_length_beside_a_coding_is_doubtful_whatever_they_say() {
    for length in ["l5", "l0", "l", "lx"] {
        for coding in ["tchunked", "tgzip", "tidentity", "t"] {
            for version in [Version::Http10, Version::Http11] {
                let bad = Err(BadFraming::Both);
                assert_eq!(framing_in(version, &[length, coding]), bad, "{length} {coding}");
                assert_eq!(framing_in(version, &[coding, length]), bad, "{coding} {length}");
            }
        }
    }
}

#[test]
fn http_1_0_has_no_codings() {
    for coding in ["tchunked", "tgzip", "tx"] {
        let bad = Err(BadFraming::CodingInHttp10);
        assert_eq!(framing_in(Version::Http10, &[coding]), bad, "{coding}");
    }
    assert_eq!(framing_in(Version::Http10, &["l5"]), Ok(Framing::Length(5)));
}

#[test]
fn a_number_is_what_is_read_digit_by_digit() {
    let naively = |digits: &[u8]| {
        let text = std::str::from_utf8(digits).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
    };
    let mut random = Xorshift::new(19);
    for round in 0..100_000 {
        let len = random.below(24);
        let mut digits: Vec<u8> = (0..len).map(|_| b"0199999912345678"[random.below(16)]).collect();
        if let Some(damaged) = digits.get_mut(round % 60) {
            *damaged = b"/:+- a\x00\xff"[random.below(8)];
        }
        assert_eq!(decimal(&digits), naively(&digits), "{}", digits.escape_ascii());
    }
    assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(decimal(b"18446744073709551616"), None);
    assert_eq!(decimal(b"000000000000000000000000000007"), Some(7));
}
