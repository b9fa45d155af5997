//! The screen of `top`: lines for so many columns.

use serde_json::Value;

use crate::ctl::show::{OLDER, WINDOWS, connections, notes, troubles};
use crate::ctl::text::{NOTHING, Tone, clean, cut, decimal, shown, time};

use super::model::{BackendRow, MINUTE, Model, Order, Rates};

/// Columns and lines without which nothing can be shown.
const LEAST: (usize, usize) = (20, 5);
/// Of the events so many lines are shown, if there is room.
const EVENTS: usize = 6;
/// Columns of the numbers behind the name of a backend.
const NUMBERS: usize = 51;
/// The name of a backend has at least so many columns.
const NAME: usize = 21;

/// Eighths of a line's height.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same where there is nothing but ASCII.
const PLAIN_BLOCKS: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// What a terminal can do.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Columns and lines.
    pub size: (usize, usize),
    /// It may be coloured.
    pub coloured: bool,
    /// It takes UTF-8.
    pub unicode: bool,
}

/// A line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScreenLine {
    text: String,
    tone: Tone,
    /// It is the one that is chosen.
    chosen: bool,
}

impl ScreenLine {
    fn new(text: impl AsRef<str>, tone: Tone) -> ScreenLine {
        ScreenLine { text: clean(text.as_ref()).into_owned(), tone, chosen: false }
    }

    fn plain(text: impl AsRef<str>) -> ScreenLine {
        ScreenLine::new(text, Tone::Plain)
    }
}

/// The screen as bytes for the terminal: every line of it, and nothing of what was there before.
pub fn screen(model: &Model, note: &ScreenNote, looks: Looks) -> String {
    let mut bytes = String::from("\x1b[H");
    for (place, line) in lines(model, note, looks).iter().enumerate() {
        if place > 0 {
            bytes.push_str("\r\n");
        }
        let mut text = cut(&line.text, looks.size.0);
        if !looks.unicode {
            text = text
                .chars()
                .map(|character| if character.is_ascii() { character } else { '?' })
                .collect();
        }
        let tone = if looks.coloured { line.tone } else { Tone::Plain };
        let (begin, end) =
            if line.chosen { ("\x1b[7m", "\x1b[m") } else { (tone.begin(), tone.end()) };
        bytes.push_str(&format!("{begin}{text}{end}\x1b[K"));
    }
    bytes.push_str("\x1b[J");
    bytes
}

/// What is said below everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScreenNote {
    /// Which keys there are.
    Keys,
    /// A question, or what came of it.
    Said(String),
    /// The service does not answer.
    Lost(String),
}

fn lines(model: &Model, note: &ScreenNote, looks: Looks) -> Vec<ScreenLine> {
    let (columns, height) = looks.size;
    if columns < LEAST.0 || height < LEAST.1 {
        return vec![ScreenLine::plain("too small")];
    }
    let mut lines = head(model, looks);
    let below = events(model, height);
    let room = height.saturating_sub(lines.len() + below.len() + 1);
    lines.extend(backends(model, columns, room));
    lines.truncate(height - 1);
    lines.resize(height.saturating_sub(below.len() + 1).max(lines.len()), ScreenLine::default());
    lines.extend(below);
    lines.truncate(height - 1);
    lines.push(foot(model, note));
    lines
}

fn head(model: &Model, looks: Looks) -> Vec<ScreenLine> {
    let status = &model.status;
    if status.is_null() {
        return vec![ScreenLine::plain("httplb: nothing is known yet")];
    }
    let current = &status["connections"]["current"];
    let most = &status["connections"]["max"];
    let (word, tone) = worst(model);
    let mut lines = vec![
        ScreenLine::plain(format!(
            "httplb {}, up {}, {} workers, {} of {} connections",
            shown(&status["version"]),
            time(&status["uptime_s"]),
            shown(&status["workers"]),
            shown(current),
            shown(most)
        )),
        ScreenLine::new(word, tone),
        ScreenLine::plain(rates_line("10s", model.rates)),
    ];
    for window in &WINDOWS[1..] {
        let of = &status["now"][window];
        if of.is_object() {
            let number = |key: &str| of[key].as_f64();
            let (requests, errors) = (number("requests_per_s"), number("errors_per_s"));
            let rates = Rates { requests, errors, p50: number("p50_ms"), p99: number("p99_ms") };
            lines.push(ScreenLine::plain(rates_line(window, rates)));
        }
    }
    let names = ["requests/s", "errors/s", "p99 ms"];
    let blocks = if looks.unicode { BLOCKS } else { PLAIN_BLOCKS };
    // On a low screen, what is wrong with whom is worth more than lines of the past.
    let wanted = if looks.size.1 >= 20 { 3 } else { 0 };
    for (place, (name, values)) in names.iter().zip(&model.lines).enumerate().take(wanted) {
        let most = values.iter().copied().fold(0.0, f64::max);
        let now = values.back().copied().unwrap_or(0.0);
        // Behind the name, and before what the values are.
        let count = looks.size.0.saturating_sub(20).min(MINUTE);
        let line = sparkline(values.iter().copied(), count, most, &blocks);
        let tone = if place == 1 && now > 0.0 { Tone::Bad } else { Tone::Plain };
        lines.push(ScreenLine::new(format!("{name:10} {line} {}", decimal(now)), tone));
    }
    lines
}

/// The last values as a line, the newest at its end.
fn sparkline(
    values: impl ExactSizeIterator<Item = f64>,
    count: usize,
    most: f64,
    blocks: &[char; 8],
) -> String {
    let skipped = values.len().saturating_sub(count);
    let blank = count.saturating_sub(values.len());
    let block = |value: f64| {
        if most <= 0.0 || value <= 0.0 {
            return blocks[0];
        }
        let eighth = (value / most * 7.0).round() as usize;
        blocks[eighth.min(7)]
    };
    std::iter::repeat_n(' ', blank).chain(values.skip(skipped).map(block)).collect()
}

fn rates_line(window: &str, rates: Rates) -> String {
    format!(
        "{window:>3}: {} requests/s, {} errors/s, p50 {} ms, p99 {} ms",
        optional(rates.requests),
        optional(rates.errors),
        optional(rates.p50),
        optional(rates.p99)
    )
}

fn optional(number: Option<f64>) -> String {
    number.map_or(NOTHING.to_owned(), decimal)
}

/// The worst of all, in words. A service of an older version does not tell it.
fn worst(model: &Model) -> (String, Tone) {
    if let Some(worst) = troubles(&model.status).into_iter().next() {
        return worst;
    }
    match model.status["troubles"].is_array() {
        true => (String::from("all is well"), Tone::Good),
        false => (String::from(OLDER), Tone::Fair),
    }
}

/// Pools and backends, so many lines of them, among which is the one that is chosen.
fn backends(model: &Model, columns: usize, room: usize) -> Vec<ScreenLine> {
    let name = columns.saturating_sub(NUMBERS + 8).clamp(NAME, 40);
    let mut all = Vec::new();
    let mut chosen = 0;
    for pool in &model.pools {
        let up = pool.backends.iter().filter(|row| row.told["state"] == "up").count();
        all.push(ScreenLine::plain(format!(
            "{}: {up} of {} up, {} requests/s, {} errors/s",
            pool.name,
            pool.backends.len(),
            optional(pool.rates.requests),
            optional(pool.rates.errors)
        )));
        for row in &pool.backends {
            let state = shown(&row.told["state"]);
            let mut line = ScreenLine::new(backend_line(row, &state, name), Tone::of_state(&state));
            if row.rates.errors.is_some_and(|errors| errors > 0.0) {
                line.tone = Tone::Bad;
            } else if state == "up" {
                line.tone = Tone::Plain;
            }
            line.chosen = Some(&row.id) == model.chosen.as_ref();
            if line.chosen {
                chosen = all.len();
            }
            all.push(line);
        }
    }
    let Some(room) = room.checked_sub(1).filter(|room| *room > 0) else { return Vec::new() };
    let head = format!(
        "  {:name$} {:>5} {:>7} {:>7} {:>8} {:>6} {:>6} {:>7}  NOTES",
        "BACKEND", "STATE", "SINCE", "CONNS", "REQ/S", "ERR/S", "P50 MS", "P99 MS"
    );
    // The chosen one is in the middle, unless that would leave room at an end.
    let first = chosen.saturating_sub(room / 2).min(all.len().saturating_sub(room));
    let shown = all.into_iter().skip(first).take(room);
    std::iter::once(ScreenLine::plain(head)).chain(shown).collect()
}

fn backend_line(row: &BackendRow, state: &str, name: usize) -> String {
    let rates = row.rates;
    format!(
        "  {:name$} {:>5} {:>7} {:>7} {:>8} {:>6} {:>6} {:>7}  {}",
        cut(&clean(&row.id.1), name),
        state,
        time(&row.told["state_since_s"]),
        connections(&row.told),
        optional(rates.requests),
        optional(rates.errors),
        optional(rates.p50),
        optional(rates.p99),
        notes(&row.told)
    )
}

fn events(model: &Model, height: usize) -> Vec<ScreenLine> {
    let room = if height >= 20 { EVENTS } else { 0 };
    let Some(events) = &model.events else {
        let text = "events: not told, the service runs a version older than this program";
        return vec![ScreenLine::plain(text)].into_iter().take(room).collect();
    };
    let skipped = events.len().saturating_sub(room);
    events.iter().skip(skipped).map(event_line).collect()
}

fn event_line(event: &Value) -> ScreenLine {
    let ts = shown(&event["ts"]);
    // Of `2026-11-21T08:40:01.123Z` the time of the day.
    let clock = ts.get(11..19).unwrap_or(&ts);
    let tone = match event["level"].as_str() {
        Some("error" | "err") => Tone::Bad,
        Some("warning") => Tone::Fair,
        _ => Tone::Plain,
    };
    ScreenLine::new(format!("{clock} {}", shown(&event["text"])), tone)
}

fn foot(model: &Model, note: &ScreenNote) -> ScreenLine {
    match note {
        ScreenNote::Said(text) => ScreenLine::new(text, Tone::Fair),
        ScreenNote::Lost(text) => ScreenLine::new(text, Tone::Bad),
        ScreenNote::Keys => {
            let by = match model.order {
                Order::Trouble => "trouble",
                Order::Requests => "requests",
                Order::Errors => "errors",
                Order::P99 => "p99",
            };
            ScreenLine::plain(format!(
                "by {by}: t r e p   chosen: up/down, d drain, u ready, m maint   q quit"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::model;
    use super::*;
    use serde_json::json;

    fn text(model: &Model, note: &ScreenNote, size: (usize, usize)) -> Vec<String> {
        let looks = Looks { size, coloured: true, unicode: true };
        lines(model, note, looks).into_iter().map(|line| cut(&line.text, size.0)).collect()
    }

    #[test]
    fn a_terminal_of_80_columns_suffices() {
        let mut model = model();
        model.events = Some(vec![
            json!({"ts": "2026-11-21T08:40:01.123Z", "level": "error", "text": "b2 is down"}),
        ]);
        let lines = text(&model, &ScreenNote::Keys, (80, 24));
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[0], "httplb 1, up 1m 1s, 2 workers, 5 of 8 connections");
        assert_eq!(lines[1], "b: 1 of 2 backends is down");
        assert_eq!(lines[2], "10s: 15 requests/s, 2 errors/s, p50 1 ms, p99 99 ms");
        assert!(lines[3].starts_with("requests/s ") && lines[3].ends_with("█ 15"), "{}", lines[3]);
        let head =
            "  BACKEND               STATE   SINCE   CONNS    REQ/S  ERR/S P50 MS  P99 MS  N…";
        assert_eq!(lines[6], head);
        assert_eq!(lines[7], "b: 1 of 2 up, 5 requests/s, 0 errors/s");
        assert_eq!(
            lines[8],
            "  b2                     down      5s       1        0      0      1       0  "
        );
        assert_eq!(lines[22], "08:40:01 b2 is down");
        assert!(lines[23].ends_with("q quit"));
    }

    #[test]
    fn a_small_terminal_shows_what_is_chosen() {
        let mut model = model();
        model.choose(3);
        for size in [(80, 24), (80, 10), (30, 9), (20, 5), (10, 2), (1, 1)] {
            let lines = text(&model, &ScreenNote::Keys, size);
            assert!(lines.len() <= size.1.max(1), "{size:?}");
            let bytes =
                screen(&model, &ScreenNote::Keys, Looks { size, coloured: false, unicode: false });
            assert!(bytes.is_ascii(), "{bytes}");
            let is_chosen = bytes.contains("\u{1b}[7m  a1");
            assert_eq!(is_chosen, size.1 >= 8, "{size:?} {lines:?}");
        }
    }

    #[test]
    fn nothing_that_is_told_steers_the_terminal() {
        let evil = "\u{1b}[2J\u{9b}x\r\n";
        let mut model = Model::new();
        let pools = json!({"pools": [{"name": evil, "backends": [
            {"backend": evil, "state": evil, "why": evil, "connections": evil, "source": evil}]}]});
        model.tell(json!({"version": evil, "workers": evil}), &pools, crate::mem::time::Micros(1));
        model.events = Some(vec![json!({"ts": evil, "text": evil})]);
        let looks = Looks { size: (200, 40), coloured: true, unicode: true };
        let bytes = screen(&model, &ScreenNote::Lost(evil.into()), looks);
        assert!(!bytes.contains("\u{1b}[2J") && !bytes.contains('\u{9b}'), "{bytes:?}");
    }

    #[test]
    fn lines_reach_from_nothing_to_the_most() {
        let line = |values: &[f64], count| sparkline(values.iter().copied(), count, 8.0, &BLOCKS);
        assert_eq!(line(&[0.0, 1.0, 4.0, 8.0], 6), "  ▁▂▅█");
        assert_eq!(line(&[0.0, 1.0, 4.0, 8.0], 2), "▅█");
        assert_eq!(sparkline([0.0].into_iter(), 1, 0.0, &BLOCKS), "▁");
    }

    #[test]
    fn the_worst_is_said_in_words() {
        let mut model = model();
        assert_eq!(worst(&model), ("b: 1 of 2 backends is down".into(), Tone::Fair));
        model.status["troubles"] = json!([
            {"severity": "bad", "text": "a: no backend is up"},
            {"severity": "doubtful", "text": "the last reload was refused"},
        ]);
        assert_eq!(worst(&model), ("a: no backend is up".into(), Tone::Bad));
        model.status["troubles"] = json!([]);
        assert_eq!(worst(&model), ("all is well".into(), Tone::Good));
        model.status["troubles"] = Value::Null;
        assert_eq!(worst(&model), (OLDER.into(), Tone::Fair));
    }
}
