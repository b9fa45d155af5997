use super::super::view::BackendStatus;
use super::super::view::tests::{backend, totals, view};
use super::*;
use crate::config::Balance;
use crate::mem::time::{Micros, Millis};
use crate::policy::naming::NameStatus;
use crate::shared::Source;
use crate::shared::snapshot::BackendTotals;
use crate::shared::snapshot::CheckSnapshot;

fn content(view: &View, window: PageWindow) -> PageContent<'_> {
    let point = |place: u32| Point {
        requests: 1000 + place * 7 % 400,
        failures: if (200..230).contains(&place) { 300 } else { 0 },
        p99: Micros(20_000 + u64::from(place * 37 % 90) * 1000),
    };
    let line: Vec<Option<Point>> =
        (0..360).map(|place| (place > 40).then(|| point(place))).collect();
    PageContent {
        view,
        window,
        pool_lines: vec![line.clone(); view.pools.len()],
        line,
        events: Vec::new(),
        refusal: None,
    }
}

/// With the numbers of the last ten seconds.
fn shown(view: &View) -> String {
    render(&content(view, PageWindow::ALL[0]))
}

/// With all since the start.
fn totals_of(view: &View) -> String {
    render(&content(view, PageWindow::All))
}

#[test]
fn the_page_says_what_an_operator_asks_first() {
    let page = totals_of(&view());
    for part in [
        "<meta http-equiv=\"refresh\" content=\"2; url=/?window=all&amp;page=@PAGE@\">",
        "<title>httplb: 1 of 1 up</title>",
        "<dt>up for</dt><dd>1\u{a0}d\u{a0}1\u{a0}h</dd>",
        "<dt>workers</dt><dd>2 <small>1 restarted</small></dd>",
        "<dt>connections</dt><dd>17 <small>of 8\u{202f}192</small></dd>",
        "<dt>requests</dt><dd>50\u{202f}000</dd>",
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
    let page = shown(&view());
    assert!(!page.contains("<script") && !page.contains("://") && !page.contains("javascript"));
}

#[test]
fn nothing_that_is_shown_can_be_markup() {
    let mut view = view();
    view.pools[0].name = String::from("<b>&\"'");
    view.service.version = "<i>";
    let page = shown(&view);
    assert!(page.contains("<h2>&lt;b&gt;&amp;&quot;&#39;</h2>"));
    assert!(page.contains("<p>httplb &lt;i&gt;</p>"));
    assert!(!page.contains("<b>&") && !page.contains("<i>"));
}

#[test]
fn a_name_has_a_line_above_the_table_of_its_pool() {
    let name = |status, pool: &str, last_error: Option<&str>| NameView {
        lookup: crate::config::named::host_and_port("app.internal:80").unwrap(),
        pool: String::from(pool),
        status,
        since: Millis(0),
        last_found: None,
        addresses: vec![([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()],
        going: vec![([10, 0, 0, 3], 80).into()],
        last_error: last_error.map(str::to_owned),
        lookups: [0; 3],
    };
    let mut view = view();
    view.names = vec![
        name(NameStatus::Found, "default", None),
        name(NameStatus::Nothing, "default", Some("<none>")),
        name(NameStatus::Found, "other", None),
    ];
    let page = shown(&view);
    let line = "<p class=\"name\">app.internal:80: 2 addresses, 1 going";
    assert_eq!(page.matches(line).count(), 2, "those of its pool");
    let told = "<span class=\"bad\">app.internal has no address: &lt;none&gt;</span></p>\n";
    assert!(page.contains(told), "{page}");
}

#[test]
fn the_registry_has_a_line_that_is_red_while_nobody_answers() {
    let mut view = view();
    assert!(!shown(&view).contains("registry:"));
    view.registry = Some(FleetView {
        state: LinkState::Watching,
        endpoint: Some(String::from("10.0.0.1:2379")),
        revision: 107,
        age: Micros(0),
        instances: vec![String::from("lb1"), String::from("lb2")],
        error: None,
        events: 5,
    });
    let line =
        "<p class=\"name\">registry: watching etcd 10.0.0.1:2379, revision 107, 2 instances</p>";
    assert!(shown(&view).contains(line));
    let registry = view.registry.as_mut().unwrap();
    (registry.state, registry.error) = (LinkState::Lost, Some(String::from("<no> leader")));
    let line =
        "registry: <span class=\"bad\">lost etcd 10.0.0.1:2379 (&lt;no&gt; leader): everything";
    assert!(shown(&view).contains(line), "{}", shown(&view));
}

#[test]
fn each_row_has_its_state_and_there_is_a_square_for_each() {
    let mut view = view();
    let with = |state| BackendStatus { state, ..backend() };
    view.pools[0].backends = Availability::ALL.into_iter().map(with).collect();
    let page = shown(&view);
    for state in Availability::ALL.map(Availability::as_str) {
        assert_eq!(page.matches(&format!("class=\"{state}\"><td>")).count(), 1, "{state}");
        assert_eq!(page.matches(&format!("<a class=\"{state}\" href=\"#b0-")).count(), 1);
    }
    assert!(page.contains("1 of 4 up <span class=\"tag down\">1 down</span>"));
}

#[test]
fn an_empty_pool_says_what_is_missing() {
    let mut view = view();
    view.pools[0].backends.clear();
    view.pools[0].balance = Balance::LeastConnections;
    let page = shown(&view);
    assert!(page.contains("until a backend registers") && page.contains("least connections"));
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
    view.pools[0].queue = 0;
    view.pools[1].queue = 0;
    for (name, window) in [("page", PageWindow::ALL[0]), ("totals", PageWindow::All)] {
        let path = std::path::Path::new(&folder).join(format!("{name}.html"));
        std::fs::write(path, render(&full_content(&view, window))).unwrap();
    }
}

/// With all that there can be.
fn full_content(view: &View, window: PageWindow) -> PageContent<'_> {
    let event = |level, text: &str| EventEntry {
        ts: String::from("2026-11-29T08:40:01.123Z"),
        level,
        text: String::from(text),
    };
    let mut content = content(view, window);
    content.events = vec![
        event("warning", "pool api: backend [fd00:1234::7]:8002 is down; 1/2 backends up"),
        event("error", "not reloaded: line 12: pools.api.helth_check: unknown key"),
        event("notice", "pool api: backend [fd00:1234::7]:8002 is up: it takes connections"),
    ];
    content.refusal = Some(String::from("line 12: pools.api.helth_check: unknown key"));
    content
}
