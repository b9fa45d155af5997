use super::super::view::tests::{backend, totals, view};
use super::*;
use crate::config::Balance;
use crate::shared::snapshot::BackendTotals;

#[test]
fn the_page_says_what_an_operator_asks_first() {
    let page = render(&view());
    for part in [
        "<meta http-equiv=\"refresh\" content=\"2\">",
        "<title>httplb: 1 of 1 up</title>",
        "<dt>up for</dt><dd>1\u{a0}d\u{a0}1\u{a0}h</dd>",
        "<dt>workers</dt><dd>2 <small>1 restarted</small></dd>",
        "<dt>connections</dt><dd>17 <small>of 8\u{202f}192</small></dd>",
        "<dt>requests a second</dt><dd>123</dd>",
        "<dt>memory bound</dt><dd>1\u{202f}056\u{a0}MiB</dd>",
        "<h2>default</h2>",
        "<td>127.0.0.1:8001</td>",
        "<span class=\"tag\">up</span>",
        "200 <small>1.2\u{a0}ms, 3\u{a0}s ago</small>",
        ">3/50</td>",
        ">40\u{202f}010</td>",
        "<small>2 connection refused</small>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn the_page_has_no_script_and_names_no_other_host() {
    let page = render(&view());
    assert!(!page.contains("<script") && !page.contains("://") && !page.contains("javascript"));
}

#[test]
fn nothing_that_is_shown_can_be_markup() {
    let mut view = view();
    view.pools[0].name = String::from("<b>&\"'");
    view.service.version = "<i>";
    let page = render(&view);
    assert!(page.contains("<h2>&lt;b&gt;&amp;&quot;&#39;</h2>"));
    assert!(page.contains("<small>&lt;i&gt;</small>"));
    assert!(!page.contains("<b>") && !page.contains("<i>"));
}

#[test]
fn each_row_has_its_state_and_there_is_a_square_for_each() {
    let mut view = view();
    let with = |state| BackendStatus { state, ..backend() };
    view.pools[0].backends = Availability::ALL.into_iter().map(with).collect();
    let page = render(&view);
    for state in Availability::ALL.map(Availability::as_str) {
        assert_eq!(page.matches(&format!("class=\"{state}\"><td>")).count(), 1, "{state}");
        assert_eq!(page.matches(&format!("<a class=\"{state}\" href=\"#b0-")).count(), 1);
    }
    assert!(page.contains("1 of 4 up <span class=\"tag down\">1 down</span>"));
}

#[test]
fn a_check_that_failed_stands_out() {
    let failed = CheckSnapshot { is_ok: false, status: Some(500), time: Micros(0), age: Millis(0) };
    assert!(check(&failed).starts_with("<span class=\"bad\">500</span>"));
    let failed = CheckSnapshot { status: None, ..failed };
    assert!(check(&failed).starts_with("<span class=\"bad\">failed</span>"));
    let connects = CheckSnapshot { is_ok: true, ..failed };
    assert!(check(&connects).starts_with("connects "));
}

#[test]
fn an_empty_pool_says_what_is_missing() {
    let mut view = view();
    view.pools[0].backends.clear();
    view.pools[0].balance = Balance::LeastConnections;
    let page = render(&view);
    assert!(page.contains("until a backend registers") && page.contains("least connections"));
}

#[test]
fn times_have_units_that_fit() {
    let spans = [
        (999, "0 s"),
        (59_999, "59 s"),
        (61_000, "1 min 1 s"),
        (600_000, "10 min"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ];
    for (millis, text) in spans {
        assert_eq!(span(Millis(millis)).replace('\u{a0}', " "), text);
    }
    let times =
        [(0, "0.0 ms"), (1_250, "1.2 ms"), (12_499, "12 ms"), (9_999_499, "9\u{202f}999 ms")];
    for (micros, text) in times {
        assert_eq!(short_time(Micros(micros)).replace('\u{a0}', " "), text);
    }
    assert_eq!(short_time(Micros::from_secs(60)), "60\u{a0}s");
}

#[test]
fn numbers_are_grouped() {
    let cases = [(0, "0"), (999, "999"), (1_000, "1 000"), (12_345_678, "12 345 678")];
    for (number, text) in cases {
        assert_eq!(grouped(number).replace('\u{202f}', " "), text);
    }
}

/// Writes pages to look at into the folder that HTTPLB_PAGES names.
#[test]
fn sample_pages_are_written_when_asked_for() {
    let Some(folder) = std::env::var_os("HTTPLB_PAGES") else { return };
    let mut view = view();
    let mut pool = view.pools[0].clone();
    pool.name = String::from("images");
    pool.backends = (1..=100_u16)
        .map(|number| BackendStatus {
            address: format!("10.0.{}.{}:8080", number / 50, 10 + number).parse().unwrap(),
            state: match number {
                17 | 63 => Availability::Down,
                40..=42 => Availability::Drain,
                88 => Availability::Maint,
                _ => Availability::Up,
            },
            is_backup: number > 97,
            max_connections: 0,
            totals: BackendTotals {
                requests: 1_234 * u64::from(number),
                errors: match number {
                    17 => vec![("connection_refused", 210), ("http_response_timeout", 12)],
                    _ => Vec::new(),
                },
                responses: [0, 1_200 * u64::from(number), 30, 4, u64::from(number == 17)],
                ..totals()
            },
            ..backend()
        })
        .collect();
    let mut api = view.pools[0].clone();
    api.name = String::from("api");
    api.balance = Balance::LeastConnections;
    for port in [8002, 8003] {
        api.backends.push(BackendStatus {
            address: format!("[fd00:1234::7]:{port}").parse().unwrap(),
            source: Source::Api,
            lease: Some(Millis(7_300)),
            ..backend()
        });
    }
    api.backends[1].state = Availability::Down;
    api.backends[1].last_check = Some(CheckSnapshot {
        is_ok: false,
        status: Some(500),
        time: Micros(800),
        age: Millis(400),
    });
    view.pools.extend([api, PoolStatus { backends: Vec::new(), queue: 0, ..pool.clone() }, pool]);
    view.pools[2].name = String::from("empty");
    std::fs::write(std::path::Path::new(&folder).join("page.html"), render(&view)).unwrap();
}
