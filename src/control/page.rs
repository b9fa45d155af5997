//! The status page: one HTML page without script. What is wrong comes first: the header says the worst in
//! words, the pools and their backends stand in the order of their troubles. It is clear on a phone and on
//! a wide screen, and with hundreds of backends: a strip of squares tells at a glance which are not up.
//!
//! **It is refreshed every two seconds, and a selection survives that.** Whoever clicks into it gives it
//! the focus, and by the style that goes with the focus the browser asks for an image that names this very
//! page. From then on the refresh of this page is answered with 204, on which a browser stays where it is,
//! and the page offers to go on.

use std::fmt::Write as _;

use crate::http::cache_status::CacheResult;
use crate::policy::health::Availability;
use crate::shared::fleet::LinkState;
use crate::shared::history::Point;
use crate::shared::snapshot::Totals;

use super::diary::EventEntry;
use super::fleet::FleetView;
use super::names::NameView;
use super::page_line;
use super::page_rows;
use super::page_text::{bytes, escaped, grouped, rate, short_time, span};
use super::verdict::{self, Finding, Severity};
use super::view::{PoolStatus, ServiceStatus, View};

pub use super::page_window::PageWindow;

/// The media type of what `render` writes.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Field lines that go with it. A browser may do nothing with it but show it.
pub const FIELDS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    img-src 'self'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n";

/// Stands where the name of this very page is to be.
pub const OWN_NAME: &str = "@PAGE@";

/// An image with nothing on it.
pub const EMPTY_IMAGE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n";
/// Its media type.
pub const IMAGE_TYPE: &str = "image/svg+xml";

/// So many messages are shown.
pub const EVENTS: usize = 10;

/// How it looks. The page needs nothing else.
const STYLE: &str = include_str!("page.css");

/// What a page shows.
pub struct PageContent<'a> {
    /// The service and its pools.
    pub view: &'a View,
    /// What the numbers are of.
    pub window: PageWindow,
    /// An hour of the service.
    pub line: Vec<Option<Point>>,
    /// The same of each pool, in the order of the view.
    pub pool_lines: Vec<Vec<Option<Point>>>,
    /// The last messages.
    pub events: Vec<EventEntry>,
    /// Why the last reload was refused, if it was.
    pub refusal: Option<String>,
}

/// The whole page.
pub fn render(content: &PageContent<'_>) -> String {
    let view = content.view;
    let backends: usize = view.pools.iter().map(|pool| pool.backends.len()).sum();
    let up: usize = view.pools.iter().map(|pool| pool.count(Availability::Up)).sum();
    let room = STYLE.len() + 16_384 * (1 + view.pools.len()) + 1536 * backends;
    let mut page = Page { text: String::with_capacity(room), window: content.window };
    let address = address_of(content.window);
    let _ = write!(
        page.text,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"refresh\" content=\"2; url={address}&amp;page={OWN_NAME}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>httplb: {up} of {backends} up</title>\n<style>\n{STYLE}\
         main:focus-within {{ background-image: url(\"/held?page={OWN_NAME}\"); }}\n\
         </style>\n</head>\n<body>\n<main tabindex=\"-1\">\n"
    );
    let mut pools: Vec<(usize, &PoolStatus, Vec<Finding>)> = Vec::with_capacity(view.pools.len());
    for (place, pool) in view.pools.iter().enumerate() {
        pools.push((place, pool, verdict::of_pool(pool)));
    }
    page.service(content, &pools);
    let severity = |findings: &[Finding]| findings.iter().map(|found| found.severity).max();
    // Those that are equally bad stay in the order of the configuration.
    pools.sort_by_key(|(_, _, findings)| std::cmp::Reverse(severity(findings)));
    for (place, pool, findings) in &pools {
        let line = content.pool_lines.get(*place).map_or(&[][..], Vec::as_slice);
        let names = view.names.iter().filter(|name| name.pool == pool.name);
        page.pool(*place, pool, findings, (line, names));
    }
    page.events(&content.events);
    let _ = write!(
        page.text,
        "<p class=\"held\">This page stands still, as you have clicked into it. \
         <a href=\"{address}\">Go on</a></p>\n</main>\n\
         <footer>Refreshed every 2 seconds, until you click into it. The same for programs: \
         <a href=\"/metrics\">/metrics</a>, <a href=\"/healthz\">/healthz</a>.</footer>\n\
         </body>\n</html>\n"
    );
    page.text
}

fn address_of(window: PageWindow) -> String {
    format!("/?window={}", window.as_str())
}

/// The text so far.
struct Page {
    text: String,
    window: PageWindow,
}

impl Page {
    /// What is worst, and the numbers of the service as a whole.
    fn service(&mut self, content: &PageContent<'_>, pools: &[(usize, &PoolStatus, Vec<Finding>)]) {
        let service = &content.view.service;
        let own = verdict::of_service(service);
        let all = own.iter().chain(pools.iter().flat_map(|(_, _, findings)| findings));
        let worst = verdict::worst(all.clone());
        let class = worst.map_or(Severity::Fine, |worst| worst.severity).class();
        let text = worst.map_or("serving", |worst| &worst.text);
        let _ = writeln!(
            self.text,
            "<header class=\"{class}\"><h1>{}</h1><p>httplb {}</p></header>",
            escaped(text),
            escaped(service.version)
        );
        let mut others: Vec<&Finding> =
            all.filter(|finding| worst.is_some_and(|worst| worst != *finding)).collect();
        others.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if !others.is_empty() {
            self.text.push_str("<ul class=\"findings\">");
            for finding in others.iter().take(EVENTS) {
                let class = finding.severity.class();
                let _ = write!(self.text, "<li class=\"{class}\">{}</li>", escaped(&finding.text));
            }
            self.text.push_str("</ul>\n");
        }
        if let Some(why) = &content.refusal {
            let _ = writeln!(
                self.text,
                "<div class=\"refusal\"><b>The last reload was refused, and changed nothing:</b>\
                 <pre>{}</pre></div>",
                escaped(why)
            );
        }
        if let Some(registry) = &content.view.registry {
            self.registry(registry);
        }
        self.windows();
        self.numbers(service);
        page_line::lines(&content.line, &mut self.text);
    }

    /// What the numbers can be of.
    fn windows(&mut self) {
        self.text.push_str("<nav>Numbers of ");
        for window in PageWindow::ALL {
            let current = if window == self.window { " aria-current=\"true\"" } else { "" };
            let (address, words) = (address_of(window), window.in_words());
            let _ = write!(self.text, "<a href=\"{address}\"{current}>{words}</a> ");
        }
        self.text.push_str("</nav>\n");
    }

    fn numbers(&mut self, service: &ServiceStatus) {
        self.text.push_str("<dl>\n");
        self.item("up for", &span(service.snapshot.uptime), "");
        let restarts = restarts(service.snapshot.worker_restarts);
        self.item("workers", &grouped(service.snapshot.workers), &restarts);
        let clients = grouped(service.snapshot.clients);
        let connections = match service.snapshot.clients >= service.clients_max {
            true => format!("<span class=\"bad\">{clients} all taken</span>"),
            false => clients,
        };
        self.item("connections", &connections, &format!("of {}", grouped(service.clients_max)));
        match self.window {
            PageWindow::Lately(window) => {
                let lately = service.lately.of(window);
                let requests = lately.per_second(lately.counts.requests());
                self.item("requests a second", &rate(requests), "");
                let failures = lately.per_second(lately.counts.failures());
                self.item("errors a second", &bad(&rate(failures), failures > 0.0), "");
                self.times(&lately.counts.times());
            }
            PageWindow::All => {
                self.item("requests", &grouped(service.totals.requests), "");
                let errors = page_rows::total(&service.totals.request_errors);
                self.item("errors", &bad(&grouped(errors), errors > 0), "");
                self.times(&service.totals.durations);
            }
        }
        self.item("memory bound", &bytes(service.memory_bound), "");
        if let Some(most) = service.cache_max {
            let limit = format!("of {}{}", bytes(most), hits(&service.totals));
            self.item("stored responses", &bytes(service.cache_bytes), &limit);
        }
        self.text.push_str("</dl>\n");
    }

    fn times(&mut self, times: &crate::shared::Histogram) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let time = times.quantile(share).map_or_else(|| String::from("–"), short_time);
            self.item(name, &time, "");
        }
    }

    fn item(&mut self, name: &str, value: &str, more: &str) {
        let _ = write!(self.text, "<div><dt>{name}</dt><dd>{value}");
        if !more.is_empty() {
            let _ = write!(self.text, " <small>{more}</small>");
        }
        self.text.push_str("</dd></div>\n");
    }

    /// How it is with the registry that many instances share.
    fn registry(&mut self, registry: &FleetView) {
        let place = registry.endpoint.as_deref().map(|place| format!(" etcd {}", escaped(place)));
        let place = place.unwrap_or_default();
        let text = match registry.state {
            LinkState::Watching => format!("watching{place}, revision {}", registry.revision),
            LinkState::Lost | LinkState::Never => {
                let why = registry.error.as_deref().unwrap_or("no answer");
                let state = match registry.state {
                    LinkState::Never => "no answer yet from",
                    LinkState::Watching | LinkState::Lost => "lost",
                };
                let text = format!("{state}{place} ({}): everything stays as it is", escaped(why));
                bad(&text, true)
            }
        };
        let instances = match registry.instances.len() {
            0 | 1 => String::new(),
            count => format!(", {count} instances"),
        };
        let _ = writeln!(self.text, "<p class=\"name\">registry: {text}{instances}</p>");
    }

    /// A line for each name: what it has brought, or why it has not.
    fn name(&mut self, name: &NameView) {
        let shown = escaped(&name.lookup.to_string());
        let (count, going) = (name.addresses.len(), name.going.len());
        let plural = if count == 1 { "address" } else { "addresses" };
        let going = if going > 0 { format!(", {going} going") } else { String::new() };
        let _ = write!(self.text, "<p class=\"name\">{shown}: {count} {plural}{going}");
        if let Some(trouble) = name.trouble() {
            let _ = write!(self.text, " <span class=\"bad\">{}</span>", escaped(&trouble));
        }
        self.text.push_str("</p>\n");
    }

    fn pool<'a>(
        &mut self,
        index: usize,
        pool: &PoolStatus,
        findings: &[Finding],
        (line, names): (&[Option<Point>], impl Iterator<Item = &'a NameView>),
    ) {
        let name = escaped(&pool.name);
        let balance = pool.balance.as_str().replace('_', " ");
        let class = verdict::worst(findings.iter()).map_or(Severity::Fine, |worst| worst.severity);
        let _ = write!(
            self.text,
            "<section id=\"pool-{name}\" class=\"{}\">\n<div class=\"pool\"><h2>{name}</h2>\
             <span>{}</span><span class=\"faint\">{balance}</span>",
            class.class(),
            census(pool)
        );
        if pool.queue > 0 {
            let _ = write!(self.text, "<span class=\"bad\">{} waiting</span>", grouped(pool.queue));
        }
        let retries = match self.window {
            PageWindow::Lately(window) => pool.lately.of(window).counts.retries(),
            PageWindow::All => pool.retries,
        };
        if retries > 0 {
            let _ = write!(self.text, "<span class=\"faint\">{} retries</span>", grouped(retries));
        }
        self.text.push_str("</div>\n");
        for finding in findings {
            let text = finding.text.strip_prefix(&format!("{}: ", pool.name));
            let text = escaped(text.unwrap_or(&finding.text));
            let class = finding.severity.class();
            let _ = writeln!(self.text, "<p class=\"finding {class}\">{text}</p>");
        }
        names.for_each(|name| self.name(name));
        if pool.backends.is_empty() {
            self.text.push_str(
                "<p class=\"faint\">Nobody yet: requests for this pool get 503 until a backend \
                 registers.</p>\n",
            );
        } else if pool.backends.len() > 1 {
            self.strip(index, pool);
        }
        page_line::lines(line, &mut self.text);
        page_rows::table(index, pool, self.window, &mut self.text);
        self.text.push_str("</section>\n");
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

    /// The last messages, the newest first.
    fn events(&mut self, events: &[EventEntry]) {
        if events.is_empty() {
            return;
        }
        self.text.push_str(
            "<section id=\"events\"><div class=\"pool\"><h2>Last messages</h2></div>\n<ol>",
        );
        for event in events {
            let _ = write!(
                self.text,
                "<li class=\"{}\"><time>{}</time> {}</li>",
                event.level,
                escaped(&event.ts.replace('T', " ").replace('Z', "")),
                escaped(&event.text)
            );
        }
        self.text.push_str("</ol>\n</section>\n");
    }
}

fn bad(text: &str, is_bad: bool) -> String {
    if is_bad { format!("<span class=\"bad\">{text}</span>") } else { String::from(text) }
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

fn restarts(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => String::from("1 restarted"),
        count => format!("{} restarted", grouped(count)),
    }
}

/// How many of the requests that the cache was asked for it could answer.
fn hits(totals: &Totals) -> String {
    let of = |words: &[CacheResult]| -> u64 {
        let is_one = |word: &str| words.iter().any(|known| known.as_str() == word);
        let chosen = totals.cache_requests.iter().filter(|(word, _)| is_one(word));
        chosen.fold(0_u64, |sum, (_, count)| sum.wrapping_add(*count))
    };
    let answered = of(&[CacheResult::Hit, CacheResult::Stale, CacheResult::Revalidated]);
    match answered.wrapping_add(of(&[CacheResult::Miss, CacheResult::Part])) {
        0 => String::new(),
        asked => format!(", {} % hits", answered * 100 / asked),
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
