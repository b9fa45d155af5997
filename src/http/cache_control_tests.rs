use super::*;

fn withholds(value: &[u8], name: &[u8]) -> bool {
    withheld(value).any(|known| known.eq_ignore_ascii_case(name))
}

fn response(value: &str) -> ResponseDirectives {
    let mut directives = ResponseDirectives::default();
    directives.add(value.as_bytes());
    directives
}

fn request(value: &str) -> RequestDirectives {
    let mut directives = RequestDirectives::default();
    directives.add(value.as_bytes());
    directives
}

fn targeted(lines: &[&str]) -> Option<ResponseDirectives> {
    ResponseDirectives::targeted(lines.iter().map(|line| line.as_bytes()))
}

/// docs/CACHE.md, rule 1.
#[test]
fn names_count_in_any_case() {
    let directives = response("NO-store, Max-AGE=5, pUBLIC, S-maxAge=6, Must-Revalidate");
    assert!(directives.no_store && directives.public && directives.must_revalidate);
    assert_eq!(directives.max_age, Seconds::Given(5));
    assert_eq!(directives.s_maxage, Seconds::Given(6));
}

#[test]
fn a_quoted_string_is_a_unit() {
    for value in [
        "ext=\"max-age=1\"",
        "ext=\"max-age=1, no-store, private\"",
        "ext=\"a\\\", max-age=1, no-store, b\"",
        "ext= \"max-age=1, no-store\"",
        "ext=\"no-store,\"  ",
        "ext=\"a\" \"no-store\"",
    ] {
        assert_eq!(response(value), ResponseDirectives::default(), "{value}");
    }
    let behind = response("ext=\"max-age=1, \\\\\", max-age=2");
    assert_eq!(behind.max_age, Seconds::Given(2));
    // A quote that is never closed hides nothing.
    assert!(response("ext=\"a, no-store").no_store);
    assert!(response("ext=a\"b, no-store, c\"").no_store);
}

#[test]
fn numbers_are_digits_and_saturate() {
    for (argument, seconds) in [
        ("0", Seconds::Given(0)),
        ("3600", Seconds::Given(3600)),
        ("003600", Seconds::Given(3600)),
        ("0000000000000000000003600", Seconds::Given(3600)),
        ("\"3600\"", Seconds::Given(3600)),
        ("2147483646", Seconds::Given(2_147_483_646)),
        ("2147483647", Seconds::Given(MAX_SECONDS)),
        ("2147483648", Seconds::Given(MAX_SECONDS)),
        ("4294967296", Seconds::Given(MAX_SECONDS)),
        ("9999999999", Seconds::Given(MAX_SECONDS)),
        ("10000000000", Seconds::Given(MAX_SECONDS)),
        ("99999999999999999999999999999", Seconds::Given(MAX_SECONDS)),
        ("", Seconds::Invalid),
        ("\"\"", Seconds::Invalid),
        ("-1", Seconds::Invalid),
        ("+1", Seconds::Invalid),
        ("1.0", Seconds::Invalid),
        ("1.5", Seconds::Invalid),
        ("100a", Seconds::Invalid),
        ("a100", Seconds::Invalid),
        ("0x10", Seconds::Invalid),
        ("1 0", Seconds::Invalid),
        ("'3600'", Seconds::Invalid),
        (" 3600", Seconds::Invalid),
        ("=3600", Seconds::Invalid),
        ("36\"00\"", Seconds::Invalid),
        ("\"3600\"0", Seconds::Invalid),
        ("\"36\\00\"", Seconds::Invalid),
        ("999999999999999a", Seconds::Invalid),
    ] {
        let value = format!("public, max-age={argument}, ext");
        assert_eq!(response(&value).max_age, seconds, "{value}");
    }
    assert_eq!(response("max-age").max_age, Seconds::Invalid);
    assert_eq!(response("max-age =3600").max_age, Seconds::Invalid);
    assert_eq!(response("max-age\t=3600").max_age, Seconds::Invalid);
    assert_eq!(response("x-max-age=3600, max-ages=1").max_age, Seconds::Absent);
}

#[test]
fn lines_of_one_name_are_one_list() {
    let mut directives = response("max-age=5");
    directives.add(b"no-cache");
    directives.add(b"");
    directives.add(b", ,s-maxage=7,,");
    assert!(directives.no_cache);
    assert_eq!((directives.max_age, directives.s_maxage), (Seconds::Given(5), Seconds::Given(7)));
}

#[test]
fn times_that_differ_are_none() {
    assert_eq!(response("max-age=5, max-age=5").max_age, Seconds::Given(5));
    assert_eq!(response("max-age=5, max-age=6").max_age, Seconds::Invalid);
    assert_eq!(response("max-age=6, max-age=5, max-age=6").max_age, Seconds::Invalid);
    assert_eq!(response("max-age=6, max-age=x").max_age, Seconds::Invalid);
}

#[test]
fn what_forbids_counts_with_any_argument_and_what_allows_without_one() {
    let forbidding = response("no-store=1, no-cache=, private=\"\", must-revalidate=a=b");
    assert!(forbidding.no_store && forbidding.no_cache && forbidding.private);
    assert!(forbidding.must_revalidate && !forbidding.withholds);
    let allowing = response("public=1, must-understand=yes, public =, must-understand=\"\"");
    assert_eq!(allowing, ResponseDirectives::default());
}

#[test]
fn fields_are_withheld_by_name() {
    for value in ["no-cache=\"a, Set-Cookie\"", "private=\"SET-cookie\"", "no-cache=set-cookie"] {
        let directives = response(value);
        assert!(directives.withholds && !directives.no_cache && !directives.private, "{value}");
        assert!(withholds(value.as_bytes(), b"Set-Cookie"), "{value}");
        assert!(!withholds(value.as_bytes(), b"Set-Cookie2"), "{value}");
    }
    let both = response("private, no-cache=\"a\"");
    assert!(both.private && both.withholds);
    assert!(!withholds(b"ext=\"set-cookie\", public=set-cookie", b"set-cookie"));
    // What cannot be read as names restricts all of it.
    assert!(response("private=\"a b\"").private);
}

#[test]
fn requests_demand_by_the_strictest() {
    assert_eq!(request(""), RequestDirectives::default());
    let all = request("No-Cache, no-store, only-if-cached, max-age=3, min-fresh=4, max-stale=5");
    assert!(all.no_cache && all.no_store && all.only_if_cached);
    assert_eq!((all.max_age, all.min_fresh), (Some(3), Some(4)));
    assert_eq!(all.max_stale, MaxStale::By(5));
    assert_eq!(request("max-stale").max_stale, MaxStale::Any);
    assert_eq!(request("max-stale=").max_stale, MaxStale::By(0));
    assert_eq!(request("max-stale=9, max-stale").max_stale, MaxStale::By(9));
    assert_eq!(request("max-age=9, max-age=2, max-age=5").max_age, Some(2));
    assert_eq!(request("min-fresh=1, min-fresh=9").min_fresh, Some(9));
    assert_eq!(request("max-age=x").max_age, Some(0));
    assert_eq!(request("min-fresh=x").min_fresh, Some(MAX_SECONDS));
    assert_eq!(request("stale-if-error=60, stale-if-error=30").stale_if_error, Some(30));
    assert_eq!(request("ext=\"no-cache\", x=\"a, max-age=0\""), RequestDirectives::default());
}

/// docs/CACHE.md, rule 2.
#[test]
fn a_targeted_field_is_a_dictionary() {
    let directives = targeted(&["max-age=60, must-revalidate;x=1, private=\"a\"", "s-maxage=7"]);
    let directives = directives.expect("valid");
    assert_eq!(directives.max_age, Seconds::Given(60));
    assert_eq!(directives.s_maxage, Seconds::Given(7));
    assert!(directives.must_revalidate && directives.withholds && !directives.private);
    assert!(!directives.no_store);
    let last = targeted(&["max-age=\"x\", no-store, max-age=5, no-store=?0"]).expect("valid");
    assert_eq!((last.max_age, last.no_store), (Seconds::Given(5), false));
    let far = targeted(&["max-age=999999999999999, unknown=(a b)"]).expect("valid");
    assert_eq!(far.max_age, Seconds::Given(MAX_SECONDS));
    let negative = targeted(&["max-age=-5"]).expect("valid");
    assert_eq!(negative.max_age, Seconds::Given(0));
    assert_eq!(targeted(&["foo"]), Some(ResponseDirectives::default()));
}

#[test]
fn a_targeted_field_with_any_flaw_is_ignored_as_a_whole() {
    for lines in [
        &[][..],
        &[""],
        &["max-age=\"1\""],
        &["max-age=1.0"],
        &["max-age"],
        &["max-age=a"],
        &["max-age=?1"],
        &["MAX-AGE=1"],
        &["max-age =1"],
        &["max-age=1,"],
        &["max-age=1,, no-store"],
        &["max-age=1 no-store"],
        &["no-store=1"],
        &["no-store=\"\""],
        &["public=yes"],
        &["private=(\"a\")"],
        &["stale-if-error=\"1\""],
        &["max-age=1", ""],
        &["max-age=1", "max-age=\"1\""],
        &["max-age=1;x="],
        &["ext='a', max-age=1"],
    ] {
        assert_eq!(targeted(lines), None, "{lines:?}");
    }
}

#[test]
fn no_bytes_do_harm() {
    use super::super::testing::{Dice, mutant};
    let mut dice = Dice::new(5);
    let seed = b"private=\"a, b\", max-age=\"10\", ext=\"\\\"x\", no-cache=c, s-maxage=1;a=(b c)";
    for _ in 0..20_000 {
        let value = mutant(seed, &mut dice);
        let mut directives = ResponseDirectives::default();
        directives.add(&value);
        RequestDirectives::default().add(&value);
        let _ = ResponseDirectives::targeted([&value[..]].into_iter());
        if !directives.withholds && !directives.private && !directives.no_cache {
            assert!(!withholds(&value, b"a"));
        }
    }
}
