use super::{imf_fixdate, parse, rfc3339_millis};

fn fixdate(seconds: u64) -> String {
    String::from_utf8_lossy(&imf_fixdate(seconds)).into_owned()
}

#[test]
fn dates_are_written_as_the_rfc_writes_its_example() {
    assert_eq!(fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(fixdate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[test]
fn leap_years_have_their_day() {
    assert_eq!(fixdate(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(fixdate(951_868_799), "Tue, 29 Feb 2000 23:59:59 GMT");
    assert_eq!(fixdate(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
    assert_eq!(fixdate(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    assert_eq!(fixdate(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
}

#[test]
fn every_day_follows_the_one_before() {
    let lengths = |year: u64| {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    };
    let mut day_count = 0;
    for year in 1970..2500 {
        for (month, length) in lengths(year).into_iter().enumerate() {
            for day in 1..=length {
                let expected = format!("{year:04}-{:02}-{day:02}T00:00:00.000Z", month + 1);
                let text = rfc3339_millis(day_count * 86_400_000_000);
                assert_eq!(String::from_utf8_lossy(&text), expected);
                day_count += 1;
            }
        }
    }
}

#[test]
fn milliseconds_are_rounded_down() {
    let text = rfc3339_millis(1_795_250_401_123_999);
    assert_eq!(String::from_utf8_lossy(&text), "2026-11-21T08:40:01.123Z");
}

#[test]
fn times_out_of_range_stop_at_the_year_9999() {
    assert_eq!(fixdate(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_eq!(&rfc3339_millis(u64::MAX)[..19], b"9999-12-31T23:59:59");
}

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

fn read(text: &str) -> Option<u64> {
    parse(text.as_bytes(), NOW)
}

#[test]
fn the_three_formats_name_one_moment() {
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(read(text), Some(784_111_777), "{text}");
    }
    assert_eq!(read("Wed Nov 16 08:49:37 1994"), Some(784_975_777));
    assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
}

#[test]
fn what_is_written_is_read_again() {
    for day in (0..2_900_000).step_by(13) {
        let seconds = day * 86_400 + day % 86_400;
        assert_eq!(parse(&imf_fixdate(seconds), NOW), Some(seconds));
    }
}

#[test]
fn names_count_in_any_case() {
    for text in [
        "sun, 06 nov 1994 08:49:37 gmt",
        "SUNDAY, 06-NOV-94 08:49:37 GmT",
        "sUN nOV  6 08:49:37 1994",
    ] {
        assert_eq!(read(text), Some(784_111_777), "{text}");
    }
}

#[test]
fn a_year_of_two_digits_is_at_most_50_years_ahead() {
    let year = |text: &str| read(text).map(|seconds| fixdate(seconds)[12..16].to_owned());
    assert_eq!(year("Friday, 01-Jan-76 00:00:00 GMT").as_deref(), Some("2076"));
    assert_eq!(year("Friday, 01-Jan-77 00:00:00 GMT").as_deref(), Some("1977"));
    assert_eq!(year("Friday, 01-Jan-26 00:00:00 GMT").as_deref(), Some("2026"));
    assert_eq!(year("Friday, 01-Jan-00 00:00:00 GMT").as_deref(), Some("2000"));
    // Seen from near the end of a century.
    let of_2090 = parse(b"Friday, 01-Jan-10 00:00:00 GMT", 3_786_912_000);
    assert_eq!(of_2090.map(|seconds| fixdate(seconds)[12..16].to_owned()).as_deref(), Some("2110"));
}

#[test]
fn days_that_do_not_exist_are_no_dates() {
    for (text, exists) in [
        ("Thu, 29 Feb 2024 00:00:00 GMT", true),
        ("Thu, 29 Feb 2023 00:00:00 GMT", false),
        ("Thu, 29 Feb 2000 00:00:00 GMT", true),
        ("Thu, 29 Feb 1900 00:00:00 GMT", false),
        ("Thu, 31 Apr 2024 00:00:00 GMT", false),
        ("Thu, 31 Dec 2024 00:00:00 GMT", true),
        ("Thu, 00 Dec 2024 00:00:00 GMT", false),
        ("Thu, 32 Dec 2024 00:00:00 GMT", false),
        ("Sat, 31 Dec 2016 23:59:60 GMT", true),
        ("Sat, 31 Dec 2016 23:59:61 GMT", false),
        ("Sat, 31 Dec 2016 23:60:00 GMT", false),
        ("Sat, 31 Dec 2016 24:00:00 GMT", false),
    ] {
        assert_eq!(read(text).is_some(), exists, "{text}");
    }
}

#[test]
fn before_1970_it_is_always_0() {
    assert_eq!(read("Wed, 31 Dec 1969 23:59:59 GMT"), Some(0));
    assert_eq!(read("Sat, 01 Jan 0000 00:00:00 GMT"), Some(0));
    assert_eq!(read("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
}

#[test]
fn anything_else_is_no_date() {
    for text in [
        "",
        "0",
        "-1",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 AEST",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nvo 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sundae, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 EST",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov +6 08:49:37 1994",
        "\u{e9}\u{e9}\u{e9}, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}
