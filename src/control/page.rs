//! The status page: one HTML page without script. It is clear on a phone and on a wide screen, and
//! with a hundred backends: a strip of squares tells at a glance which are not up.

use std::fmt::Write as _;

use crate::mem::time::{Micros, Millis};
use crate::policy::health::Availability;
use crate::policy::multiplexing;
use crate::shared::Source;
use crate::shared::snapshot::{CheckSnapshot, Totals};

use super::view::{BackendStatus, PoolStatus, ServiceStatus, View};

/// The media type of what `render` writes.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Field lines that go with it. A browser may do nothing with it but show it.
pub const FIELDS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n";

/// How it looks. The page needs nothing else.
const STYLE: &str = include_str!("page.css");

/// The columns behind backend, state and last check.
const COLUMNS: [&str; 13] = [
    "weight", "active", "queue", "requests", "2xx", "3xx", "4xx", "5xx", "errors", "p50", "p99",
    "idle", "lease",
];

/// The whole page.
pub fn render(view: &View) -> String {
    let backends: usize = view.pools.iter().map(|pool| pool.backends.len()).sum();
    let up: usize = view.pools.iter().map(|pool| pool.count(Availability::Up)).sum();
    let mut page = Page { text: String::with_capacity(STYLE.len() + 4096 + 1536 * backends) };
    let _ = write!(
        page.text,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"refresh\" content=\"2\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>httplb: {up} of {backends} up</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    page.service(&view.service);
    for (index, pool) in view.pools.iter().enumerate() {
        page.pool(index, pool);
    }
    page.text.push_str(
        "<footer>Refreshed every 2 seconds. The same for programs: <a href=\"/metrics\">/metrics</a>, \
         <a href=\"/healthz\">/healthz</a>.</footer>\n</body>\n</html>\n",
    );
    page.text
}

/// The text so far.
struct Page {
    text: String,
}

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
}

impl Page {
    /// The numbers of the service as a whole.
    fn service(&mut self, service: &ServiceStatus) {
        let (class, word) = match (service.snapshot.is_draining, service.snapshot.is_withdrawn) {
            (true, _) => ("drain", "stopping"),
            (false, true) => ("drain", "withdrawn"),
            (false, false) => ("up", "serving"),
        };
        let _ = writeln!(
            self.text,
            "<header><h1>httplb <small>{}</small></h1><span class=\"tag {class}\">{word}</span>\
             </header>\n<dl>",
            escaped(service.version)
        );
        self.item("up for", &span(service.snapshot.uptime), "");
        self.item(
            "workers",
            &grouped(service.snapshot.workers),
            &restarts(service.snapshot.worker_restarts),
        );
        let limit = format!("of {}", grouped(service.clients_max));
        let connections = match service.snapshot.clients >= service.clients_max {
            true => format!(
                "<span class=\"bad\">{} all taken</span>",
                grouped(service.snapshot.clients)
            ),
            false => grouped(service.snapshot.clients),
        };
        self.item("connections", &connections, &limit);
        let rate = service.requests_per_second.map_or_else(|| String::from("–"), rate);
        self.item("requests a second", &rate, "");
        self.item("requests", &grouped(service.totals.requests), "");
        self.item("memory bound", &bytes(service.memory_bound), "");
        if let Some(most) = service.cache_max {
            let limit = format!("of {}{}", bytes(most), hits(&service.totals));
            self.item("stored responses", &bytes(service.cache_bytes), &limit);
        }
        self.text.push_str("</dl>\n");
    }

    fn item(&mut self, name: &str, value: &str, more: &str) {
        let _ = write!(self.text, "<div><dt>{name}</dt><dd>{value}");
        if !more.is_empty() {
            let _ = write!(self.text, " <small>{more}</small>");
        }
        self.text.push_str("</dd></div>\n");
    }

    fn pool(&mut self, index: usize, pool: &PoolStatus) {
        let name = escaped(&pool.name);
        let balance = pool.balance.as_str().replace('_', " ");
        let _ = write!(
            self.text,
            "<section id=\"pool-{name}\">\n<div class=\"pool\"><h2>{name}</h2><span>{}</span>\
             <span class=\"faint\">{balance}</span>",
            census(pool)
        );
        if pool.queue > 0 {
            let _ = write!(self.text, "<span class=\"bad\">{} waiting</span>", grouped(pool.queue));
        }
        if pool.retries > 0 {
            let retries = grouped(pool.retries);
            let _ = write!(self.text, "<span class=\"faint\">{retries} retries</span>");
        }
        self.text.push_str("</div>\n");
        if pool.backends.is_empty() {
            self.text.push_str(
                "<p class=\"faint\">Nobody yet: requests for this pool get 503 until a backend \
                 registers.</p>\n</section>\n",
            );
            return;
        }
        if pool.backends.len() > 1 {
            self.strip(index, pool);
        }
        self.text.push_str("<table>\n<thead><tr><th>backend</th><th>state</th><th>last check</th>");
        for column in COLUMNS {
            let class = if column == "errors" { " class=\"why\"" } else { "" };
            let _ = write!(self.text, "<th{class}>{column}</th>");
        }
        self.text.push_str("</tr></thead>\n<tbody>\n");
        for (row, backend) in pool.backends.iter().enumerate() {
            self.row(&format!("b{index}-{row}"), backend);
        }
        self.text.push_str("</tbody>\n</table>\n</section>\n");
    }

    /// A square for each backend, which leads to its row.
    fn strip(&mut self, index: usize, pool: &PoolStatus) {
        self.text.push_str("<div class=\"strip\">");
        for (row, backend) in pool.backends.iter().enumerate() {
            let state = backend.state.as_str();
            let _ = write!(
                self.text,
                "<a class=\"{state}\" href=\"#b{index}-{row}\" title=\"{0} {state}\" \
                 aria-label=\"{0} {state}\"></a>",
                escaped(&backend.server().to_string())
            );
        }
        self.text.push_str("</div>\n");
    }

    fn row(&mut self, id: &str, backend: &BackendStatus) {
        let state = backend.state.as_str();
        let _ = write!(
            self.text,
            "<tr id=\"{id}\" class=\"{state}\"><td>{}{}</td>\
             <td><span class=\"tag\">{state}</span> <small>{}</small></td><td>{}</td>",
            escaped(&backend.server().to_string()),
            marks(backend),
            span(backend.state_since),
            backend.last_check.as_ref().map_or_else(no_check, check)
        );
        for (name, cell) in COLUMNS.into_iter().zip(cells(backend)) {
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
            let _ = write!(self.text, "<td{class} data-is=\"{name}\">{}</td>", cell.html);
        }
        self.text.push_str("</tr>\n");
    }
}

/// What stands under [`COLUMNS`].
fn cells(backend: &BackendStatus) -> [Cell; 13] {
    let [_, two, three, four, five] = backend.totals.responses;
    let active = match backend.max_connections {
        0 => Cell::count(u64::from(backend.active)),
        cap => {
            Cell::new(format!("{}/{}", grouped(u64::from(backend.active)), grouped(u64::from(cap))))
        }
    };
    let quantile = |share| {
        let time = backend.totals.response_times.quantile(share);
        time.map_or_else(Cell::nothing, |time| Cell::new(short_time(time)))
    };
    [
        Cell::count(u64::from(backend.weight)),
        active,
        Cell::bad_count(backend.queue),
        Cell::count(backend.totals.requests),
        Cell::count(two),
        Cell::count(three),
        Cell::count(four),
        Cell::bad_count(five),
        errors(backend),
        quantile(0.5),
        quantile(0.99),
        Cell::count(backend.totals.idle_connections),
        backend.lease.map_or_else(Cell::nothing, |lease| Cell::new(span(lease))),
    ]
}

/// How many there are, and in which states.
fn census(pool: &PoolStatus) -> String {
    let mut text = format!("{} of {} up", pool.count(Availability::Up), pool.backends.len());
    for state in [Availability::Down, Availability::Drain, Availability::Maint] {
        let count = pool.count(state);
        if count > 0 {
            let name = state.as_str();
            let _ = write!(text, " <span class=\"tag {name}\">{count} {name}</span>");
        }
    }
    text
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
fn errors(backend: &BackendStatus) -> Cell {
    let mut cell = Cell::bad_count(backend.totals.errors_total());
    for (reason, count) in backend.totals.errors.iter().filter(|(_, count)| *count > 0) {
        let reason = escaped(&reason.replace('_', " "));
        let _ = write!(cell.html, "<small>{} {reason}</small>", grouped(*count));
    }
    cell
}

fn restarts(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => String::from("1 restarted"),
        count => format!("{} restarted", grouped(count)),
    }
}

/// How many of the requests that the cache was asked for it could answer.
fn hits(totals: &Totals) -> String {
    let of = |words: &[&str]| -> u64 {
        let chosen = totals.cache_requests.iter().filter(|(word, _)| words.contains(word));
        chosen.fold(0_u64, |sum, (_, count)| sum.wrapping_add(*count))
    };
    let answered = of(&["hit", "stale", "revalidated"]);
    match answered.wrapping_add(of(&["miss"])) {
        0 => String::new(),
        asked => format!(", {} % hits", answered * 100 / asked),
    }
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// In groups of three digits, with narrow spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 8);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A time that a person waits for, in its two largest units.
fn span(time: Millis) -> String {
    let seconds = time.0 / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => format!("{minutes} min {} s", seconds % 60),
        600..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
    .replace(' ', "\u{a0}")
}

/// A time that a machine needs, with two or three digits.
fn short_time(time: Micros) -> String {
    match time.0 {
        0..10_000 => format!("{:.1}\u{a0}ms", time.0 as f64 / 1e3),
        10_000..10_000_000 => format!("{}\u{a0}ms", grouped(time.0.saturating_add(500) / 1000)),
        _ => format!("{}\u{a0}s", time.0.saturating_add(500_000) / 1_000_000),
    }
}

fn bytes(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", grouped(bytes / KIB)),
        _ => format!("{} MiB", grouped(bytes / MIB)),
    }
    .replace(' ', "\u{a0}")
}

/// Fit for HTML, in a text and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
