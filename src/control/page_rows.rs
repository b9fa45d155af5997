//! The table of a pool on the page: a row for each backend, and one for the pool. All tables have the same
//! columns of the same widths.

use std::fmt::Write as _;

use crate::config::AUTO_CAP;
use crate::policy::health::Availability;
use crate::policy::multiplexing;
use crate::policy::reason::Reason;
use crate::shared::snapshot::CheckSnapshot;
use crate::shared::tally::Tally;
use crate::shared::{Histogram, Source};

use super::page_text::{escaped, grouped, rate, short_time, span};
use super::page_window::PageWindow;
use super::verdict::UsualPace;
use super::view::{BackendStatus, PoolStatus};

/// The columns behind backend, state and last check.
const COLUMNS: [&str; 13] = [
    "weight", "active", "queue", "requests", "2xx", "3xx", "4xx", "5xx", "errors", "p50", "p99",
    "idle", "lease",
];

/// A cell of the table: its content, already HTML, and how it is to look.
struct Cell {
    html: String,
    look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    /// Nothing that anybody would look for: faint, and left out on a narrow screen.
    Zero,
    /// What an operator should see.
    Bad,
}

impl Cell {
    fn new(html: String) -> Cell {
        Cell { html, look: Look::Plain }
    }

    fn nothing() -> Cell {
        Cell { html: String::from("–"), look: Look::Zero }
    }

    fn count(number: u64) -> Cell {
        let look = if number == 0 { Look::Zero } else { Look::Plain };
        Cell { html: grouped(number), look }
    }

    fn bad_count(number: u64) -> Cell {
        let look = if number == 0 { Look::Zero } else { Look::Bad };
        Cell { html: grouped(number), look }
    }

    fn time(times: &Histogram, share: f64) -> Cell {
        let time = times.quantile(share);
        time.map_or_else(Cell::nothing, |time| Cell::new(short_time(time)))
    }
}

/// What was counted of one row, of the time that is shown.
struct Counts {
    requests: Cell,
    responses: [u64; 5],
    errors: Vec<(&'static str, u64)>,
    times: Histogram,
}

impl Counts {
    fn lately(growth: &crate::shared::history::Growth) -> Counts {
        let counts: &Tally = &growth.counts;
        let requests = counts.requests();
        let look = if requests == 0 { Look::Zero } else { Look::Plain };
        Counts {
            requests: Cell { html: format!("{}/s", rate(growth.per_second(requests))), look },
            responses: counts.responses(),
            errors: counts.errors_by_reason(),
            times: counts.times(),
        }
    }

    fn of_backend(backend: &BackendStatus, window: PageWindow) -> Counts {
        let totals = &backend.totals;
        match window {
            PageWindow::Lately(window) => Counts::lately(totals.lately.of(window)),
            PageWindow::All => Counts {
                requests: Cell::count(totals.requests),
                responses: totals.responses,
                errors: totals.errors.clone(),
                times: totals.response_times,
            },
        }
    }

    fn of_pool(pool: &PoolStatus, window: PageWindow) -> Counts {
        match window {
            PageWindow::Lately(window) => Counts::lately(pool.lately.of(window)),
            PageWindow::All => Counts {
                requests: Cell::count(pool.totals.requests()),
                responses: pool.totals.responses(),
                errors: pool.errors.clone(),
                times: pool.totals.times(),
            },
        }
    }
}

/// The table of a pool, whose place in the configuration is `index`.
pub fn table(index: usize, pool: &PoolStatus, window: PageWindow, out: &mut String) {
    out.push_str(
        "<table>\n<colgroup><col class=\"who\"><col class=\"state\"><col class=\"check\">",
    );
    for column in COLUMNS {
        let _ = write!(out, "<col class=\"{}\">", column_class(column));
    }
    out.push_str("</colgroup>\n<thead><tr><th>backend</th><th>state</th><th>last check</th>");
    for column in COLUMNS {
        let class = if column == "errors" { " class=\"why\"" } else { "" };
        let _ = write!(out, "<th{class}>{column}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let mut rows: Vec<(usize, &BackendStatus, Counts)> = Vec::with_capacity(pool.backends.len());
    for (row, backend) in pool.backends.iter().enumerate() {
        rows.push((row, backend, Counts::of_backend(backend, window)));
    }
    // Who is out comes first, then who fails, then who is slow; the rest stays in its order.
    let pace = UsualPace::of(pool);
    rows.sort_by_key(|(_, backend, counts)| {
        let is_out = backend.state == Availability::Down;
        let fails = total(&counts.errors) + counts.responses[4] > 0;
        std::cmp::Reverse((is_out, fails, pace.is_some_and(|pace| pace.is_slow(backend))))
    });
    for (place, backend, counts) in &rows {
        row(&format!("b{index}-{place}"), backend, counts, out);
    }
    sum(pool, &Counts::of_pool(pool, window), out);
    out.push_str("</tbody>\n</table>\n");
}

fn column_class(column: &str) -> &'static str {
    match column {
        "errors" => "errors",
        "requests" | "p50" | "p99" => "wide",
        _ => "narrow",
    }
}

/// All of them but those of clients that went away.
pub fn total(errors: &[(&'static str, u64)]) -> u64 {
    let blamed = errors.iter().filter(|(reason, _)| *reason != Reason::ClientAbort.as_str());
    blamed.fold(0, |sum, (_, count)| sum.wrapping_add(*count))
}

fn row(id: &str, backend: &BackendStatus, counts: &Counts, out: &mut String) {
    let state = backend.state.as_str();
    let _ = write!(
        out,
        "<tr id=\"{id}\" class=\"{state}\"><td>{}{}</td>\
         <td><span class=\"tag\">{state}</span> <small>{}</small>{}</td><td>{}</td>",
        escaped(&backend.server().to_string()),
        marks(backend),
        span(backend.state_since),
        why(backend),
        backend.last_check.as_ref().map_or_else(no_check, check)
    );
    let active = match backend.cap {
        0 => Cell::count(u64::from(backend.active)),
        cap => {
            let auto = if backend.max_connections == AUTO_CAP { " auto" } else { "" };
            let look = if backend.active >= cap { Look::Bad } else { Look::Plain };
            let (active, cap) = (grouped(u64::from(backend.active)), grouped(u64::from(cap)));
            Cell { html: format!("{active}/{cap}{auto}"), look }
        }
    };
    let first = [Cell::count(u64::from(backend.weight)), active, Cell::bad_count(backend.queue)];
    let last = [
        Cell::count(backend.totals.idle_connections),
        backend.lease.map_or_else(Cell::nothing, |lease| Cell::new(span(lease))),
    ];
    cells(first, counts, last, out);
}

/// The row of the pool as its clients saw it.
fn sum(pool: &PoolStatus, counts: &Counts, out: &mut String) {
    out.push_str("<tr class=\"sum\"><td>pool</td><td></td><td></td>");
    let active = pool.backends.iter().map(|backend| u64::from(backend.active)).sum();
    let idle = pool.backends.iter().map(|backend| backend.totals.idle_connections);
    let first = [Cell::nothing(), Cell::count(active), Cell::bad_count(pool.queue)];
    let last = [Cell::count(idle.fold(0, u64::wrapping_add)), Cell::nothing()];
    cells(first, counts, last, out);
}

/// What stands under [`COLUMNS`].
fn cells(first: [Cell; 3], counts: &Counts, last: [Cell; 2], out: &mut String) {
    let [_, two, three, four, five] = counts.responses;
    let requests = Cell { html: counts.requests.html.clone(), look: counts.requests.look };
    let middle = [
        requests,
        Cell::count(two),
        Cell::count(three),
        Cell::count(four),
        Cell::bad_count(five),
        errors(&counts.errors),
        Cell::time(&counts.times, 0.5),
        Cell::time(&counts.times, 0.99),
    ];
    for (name, cell) in COLUMNS.into_iter().zip(first.into_iter().chain(middle).chain(last)) {
        let mut class = String::new();
        if name == "errors" {
            class.push_str("why ");
        }
        class.push_str(match cell.look {
            Look::Plain => "",
            Look::Zero => "zero",
            Look::Bad => "bad",
        });
        let class = class.trim_end();
        let class = if class.is_empty() { "" } else { &format!(" class=\"{class}\"") };
        let _ = write!(out, "<td{class} data-is=\"{name}\">{}</td>", cell.html);
    }
    out.push_str("</tr>\n");
}

/// Why it is down, or that it has to show first that it is well again.
fn why(backend: &BackendStatus) -> String {
    match &backend.why {
        Some(why) => format!("<br><small class=\"cause\">{}</small>", escaped(why)),
        None if backend.is_on_trial => String::from("<br><small class=\"cause\">on trial</small>"),
        None => String::new(),
    }
}

/// What is special about a backend.
fn marks(backend: &BackendStatus) -> String {
    let mut marks = String::new();
    if backend.is_backup {
        marks.push_str("<small>backup</small>");
    }
    if backend.source == Source::Api {
        marks.push_str("<small>registered</small>");
    }
    if let Some(shares) = backend.shares {
        let mark = if shares.is_ok() { "shared" } else { "not shared" };
        let why = escaped(&multiplexing::described(shares));
        let _ =
            write!(marks, "<small title=\"clients share its connections: {why}\">{mark}</small>");
    }
    marks
}

fn no_check() -> String {
    String::from("<span class=\"zero\">–</span>")
}

fn check(check: &CheckSnapshot) -> String {
    let outcome = match (check.is_ok, check.status) {
        (true, Some(status)) => status.to_string(),
        (true, None) => String::from("connects"),
        (false, Some(status)) => format!("<span class=\"bad\">{status}</span>"),
        (false, None) => String::from("<span class=\"bad\">failed</span>"),
    };
    let (time, age) = (short_time(check.time), span(check.age));
    format!("{outcome} <small>{time}, {age} ago</small>")
}

/// All of them, and beneath by reason.
fn errors(errors: &[(&'static str, u64)]) -> Cell {
    let mut cell = Cell::bad_count(total(errors));
    for (reason, count) in errors.iter().filter(|(_, count)| *count > 0) {
        let reason = escaped(&reason.replace('_', " "));
        let _ = write!(cell.html, "<small>{} {reason}</small>", grouped(*count));
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::time::{Micros, Millis};

    #[test]
    fn a_check_that_failed_stands_out() {
        let failed =
            CheckSnapshot { is_ok: false, status: Some(500), time: Micros(0), age: Millis(0) };
        assert!(check(&failed).starts_with("<span class=\"bad\">500</span>"));
        let failed = CheckSnapshot { status: None, ..failed };
        assert!(check(&failed).starts_with("<span class=\"bad\">failed</span>"));
        let connects = CheckSnapshot { is_ok: true, ..failed };
        assert!(check(&connects).starts_with("connects "));
    }
}
