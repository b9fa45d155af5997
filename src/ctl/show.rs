//! What the service tells of itself, as tables.

use std::fmt::Write;

use serde_json::Value;

use super::text::{Cell, NOTHING, Side, Table, Tone, bytes, clean, seconds, shown, time};
use Side::{Left, Right};

/// The windows over which the service counts.
pub const WINDOWS: [&str; 3] = ["10s", "1m", "5m"];

/// Of all reasons so many are shown.
const REASONS: usize = 3;

/// What is said where the service does not count by windows.
pub const OLDER: &str = "not told: the service runs a version older than this program (reload it)";

/// `/v1/status`.
pub fn status(status: &Value, coloured: bool) -> String {
    let troubles = troubles(status);
    let in_tone = |text: &str, tone: Tone| {
        let tone = if coloured { tone } else { Tone::Plain };
        format!("{}{}{}", tone.begin(), clean(text), tone.end())
    };
    let (word, tone) = match (status["draining"].as_bool(), status["withdrawn"].as_bool()) {
        (Some(true), _) => ("stopping", Tone::Fair),
        (_, Some(true)) => ("withdrawn", Tone::Fair),
        // It does, but that is not what is to be said of it.
        (_, _) if troubles.iter().any(|(_, tone)| *tone == Tone::Bad) => ("in trouble", Tone::Bad),
        (_, _) => ("serving", Tone::Good),
    };
    let version = clean(&shown(&status["version"])).into_owned();
    let mut text = format!("httplb {version}, {}\n", in_tone(word, tone));
    for (trouble, tone) in &troubles {
        let _ = writeln!(text, "  {}", in_tone(trouble, *tone));
    }
    let workers = status["workers"].as_u64().unwrap_or_default();
    let plural = if workers == 1 { "" } else { "s" };
    let connections = &status["connections"];
    let lines = [
        (
            "process",
            format!(
                "{}, up {}, {workers} worker{plural}",
                shown(&status["pid"]),
                time(&status["uptime_s"])
            ),
        ),
        (
            "connections",
            format!("{} of {}", shown(&connections["current"]), shown(&connections["max"])),
        ),
        ("requests", format!("{} since the start", shown(&status["requests_total"]))),
        ("errors", errors_since_the_start(status)),
        ("memory bound", bytes(&status["memory_bound_bytes"])),
    ];
    for (word, value) in lines {
        let _ = writeln!(text, "{word:14}{}", clean(&value));
    }
    let _ = match windows(&status["now"], coloured) {
        Some(table) => write!(text, "\n{table}"),
        None => writeln!(text, "{:14}{OLDER}", "rates"),
    };
    text
}

/// What is wrong, the worst first, where the service tells it.
pub fn troubles(status: &Value) -> Vec<(String, Tone)> {
    let all = status["troubles"].as_array().map_or(&[][..], Vec::as_slice);
    let tone = |trouble: &Value| match trouble["severity"].as_str() {
        Some("bad") => Tone::Bad,
        _ => Tone::Fair,
    };
    all.iter().map(|trouble| (shown(&trouble["text"]), tone(trouble))).collect()
}

/// Rates and times over the last 10 seconds, minute and five; `None` if they are not told.
fn windows(now: &Value, coloured: bool) -> Option<Table> {
    let columns =
        [("LAST", Left), ("REQ/S", Right), ("ERR/S", Right), ("P50 MS", Right), ("P99 MS", Right)];
    let mut table = Table::new(&columns, coloured);
    now.as_object()?;
    for window in WINDOWS {
        let of = &now[window];
        table.add(vec![
            Cell::new(window),
            Cell::new(shown(&of["requests_per_s"])),
            errors_cell(&of["errors_per_s"]),
            Cell::new(shown(&of["p50_ms"])),
            Cell::new(shown(&of["p99_ms"])),
        ]);
    }
    Some(table)
}

fn errors_cell(rate: &Value) -> Cell {
    let tone = if rate.as_f64().is_some_and(|rate| rate > 0.0) { Tone::Bad } else { Tone::Plain };
    Cell::toned(shown(rate), tone)
}

/// The errors since the start and their reasons.
fn errors_since_the_start(of: &Value) -> String {
    let reasons = reasons(of);
    match (of["errors_total"].as_u64(), reasons.is_empty()) {
        (Some(count), true) => format!("{count} since the start"),
        (Some(count), false) => format!("{count} since the start: {reasons}"),
        (None, _) => NOTHING.to_owned(),
    }
}

/// Errors by reason, the most first, where they are told.
fn reasons(of: &Value) -> String {
    let mut reasons: Vec<(&String, u64)> = of["errors"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(reason, count)| Some((reason, count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let texts: Vec<String> =
        reasons.iter().take(REASONS).map(|(reason, count)| format!("{reason} {count}")).collect();
    texts.join(", ")
}

/// `/v1/pools`, or one of them.
pub fn pools(answer: &Value, coloured: bool) -> String {
    let alone = [answer.clone()];
    let pools = answer["pools"].as_array().map_or(alone.as_slice(), Vec::as_slice);
    let mut text = String::new();
    for pool in pools {
        if !text.is_empty() {
            text.push('\n');
        }
        let empty = Vec::new();
        let backends = pool["backends"].as_array().unwrap_or(&empty);
        let up = backends.iter().filter(|backend| backend["state"] == "up").count();
        let now = &pool["now"]["10s"];
        let rates = match now.as_object() {
            Some(_) => format!(
                ", {} requests/s, {} errors/s",
                shown(&now["requests_per_s"]),
                shown(&now["errors_per_s"])
            ),
            None => String::new(),
        };
        let balance = shown(&pool["balance"]).replace('_', " ");
        let head =
            format!("{}: {up} of {} up, {balance}{rates}", shown(&pool["name"]), backends.len());
        let _ = writeln!(text, "{}", clean(&head));
        let _ = write!(text, "{}", backends_table(backends, coloured));
    }
    if text.is_empty() { String::from("there is no pool\n") } else { text }
}

fn backends_table(backends: &[Value], coloured: bool) -> Table {
    let columns = [
        ("BACKEND", Left),
        ("STATE", Left),
        ("SINCE", Right),
        ("WEIGHT", Right),
        ("CONNS", Right),
        ("QUEUE", Right),
        ("REQ/S", Right),
        ("ERR/S", Right),
        ("P99 MS", Right),
        ("REQUESTS", Right),
        ("ERRORS", Right),
        ("CHECK", Left),
        ("NOTES", Left),
    ];
    let mut table = Table::new(&columns, coloured);
    for backend in backends {
        let state = shown(&backend["state"]);
        let now = &backend["now"]["10s"];
        table.add(vec![
            Cell::new(shown(&backend["backend"])),
            Cell::toned(&state, Tone::of_state(&state)),
            Cell::new(time(&backend["state_since_s"])),
            Cell::new(shown(&backend["weight"])),
            Cell::new(connections(backend)),
            Cell::new(shown(&backend["queue"])),
            Cell::new(shown(&now["requests_per_s"])),
            errors_cell(&now["errors_per_s"]),
            Cell::new(shown(&now["p99_ms"])),
            Cell::new(shown(&backend["requests_total"])),
            Cell::new(shown(&backend["errors_total"])),
            Cell::new(check(&backend["last_check"])),
            Cell::new(notes(backend)),
        ]);
    }
    table
}

/// Requests in work, and how many may be: `3/50`, `3/37 auto`.
pub fn connections(backend: &Value) -> String {
    let now = shown(&backend["connections"]);
    match (&backend["max_connections"], &backend["cap"]) {
        (most, _) if most.as_u64() == Some(0) || most.is_null() => now,
        (Value::String(_), cap) => format!("{now}/{} auto", shown(cap)),
        (most, _) => format!("{now}/{}", shown(most)),
    }
}

fn check(check: &Value) -> String {
    if check.is_null() {
        return NOTHING.to_owned();
    }
    let verdict = if check["ok"] == true { "ok" } else { "failed" };
    let status = check["status"].as_u64().map_or(String::new(), |status| format!(" {status}"));
    format!("{verdict}{status}, {} ago", time(&check["age_s"]))
}

/// Why it is down, and what is not usual of it.
pub fn notes(backend: &Value) -> String {
    let mut notes = Vec::new();
    if let Some(why) = backend["why"].as_str() {
        notes.push(why.to_owned());
    }
    notes.extend(wanted(backend));
    notes.extend(Some(reasons(backend)).filter(|reasons| !reasons.is_empty()));
    match backend["source"].as_str() {
        Some("file") | None => (),
        Some("name") => notes.push(format!("by name {}", shown(&backend["name"]))),
        Some(source) => notes.push(format!("by {source}")),
    }
    if let Some(lease) = backend["lease_s"].as_u64() {
        notes.push(format!("lease {}", seconds(lease)));
    }
    notes.join("; ")
}

/// What operators want of it, where its state does not show that: it may be down besides.
fn wanted(backend: &Value) -> Option<String> {
    let admin = backend["admin"].as_str().filter(|admin| *admin != "ready")?;
    (backend["state"] != admin).then(|| match admin {
        "leaving" => admin.to_owned(),
        _ => format!("set to {admin}"),
    })
}

/// One backend, behind a change.
pub fn backend(pool: &str, backend: &Value) -> String {
    let requests = backend["connections"].as_u64().unwrap_or_default();
    let plural = if requests == 1 { "" } else { "s" };
    let text = format!(
        "{pool}/{}: {}{}, weight {}, {requests} request{plural} in work",
        shown(&backend["backend"]),
        shown(&backend["state"]),
        wanted(backend).map_or(String::new(), |wanted| format!(" ({wanted})")),
        shown(&backend["weight"]),
    );
    format!("{}\n", clean(&text))
}

/// `/v1/names`.
pub fn names(answer: &Value, coloured: bool) -> String {
    let all = answer["names"].as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return String::from("no backend is named (write {\"name\": …} in backend_servers)\n");
    }
    let columns = [
        ("POOL", Left),
        ("NAME", Left),
        ("STATE", Left),
        ("SINCE", Right),
        ("FOUND", Right),
        ("ADDRESSES", Left),
        ("GOING", Left),
        ("ERROR", Left),
    ];
    let mut table = Table::new(&columns, coloured);
    for name in all {
        let state = shown(&name["state"]);
        let tone = if state == "ok" { Tone::Good } else { Tone::Bad };
        let port = name["port"].as_u64().map_or(String::new(), |port| format!(":{port}"));
        let found = match time(&name["last_ok_age_s"]) {
            found if found == NOTHING => found,
            found => format!("{found} ago"),
        };
        table.add(vec![
            Cell::new(shown(&name["pool"])),
            Cell::new(format!("{}{port}", shown(&name["name"]))),
            Cell::toned(&state, tone),
            Cell::new(time(&name["since_s"])),
            Cell::new(found),
            Cell::new(shown(&name["addresses"])),
            Cell::new(shown(&name["going"])),
            Cell::new(name["last_error"].as_str().unwrap_or_default()),
        ]);
    }
    table.to_string()
}

/// `/v1/registry`.
pub fn registry(answer: &Value, coloured: bool) -> String {
    let state = shown(&answer["state"]);
    let tone = if coloured && state != "watching" { Tone::Bad } else { Tone::Plain };
    let mut text = format!("{}{}{}", tone.begin(), clean(&state), tone.end());
    let mut more = String::new();
    let parts = [("endpoint", " "), ("revision", ", revision "), ("error", ": ")];
    for (key, before) in parts {
        if !answer[key].is_null() {
            let _ = write!(more, "{before}{}", shown(&answer[key]));
        }
    }
    if let Some(age) = answer["age_s"].as_f64() {
        let age = seconds(age.max(0.0) as u64);
        let _ = match &state[..] {
            "never" => write!(more, ", asked for {age}"),
            _ => write!(more, ", heard of {age} ago"),
        };
    }
    let _ = writeln!(text, "{}", clean(&more));
    for instance in answer["instances"].as_array().into_iter().flatten() {
        let line = match instance.as_object() {
            None => shown(instance),
            Some(object) => {
                let pairs = object.iter().map(|(key, value)| format!("{key} {}", shown(value)));
                pairs.collect::<Vec<_>>().join(", ")
            }
        };
        let _ = writeln!(text, "  instance {}", clean(&line));
    }
    text
}

/// Any answer as lines: each key with its value, what is within it further in.
pub fn tree(value: &Value) -> String {
    let mut text = String::new();
    write_tree(value, 0, &mut text);
    text
}

/// The order in which the parts of an explanation are read.
const ORDER: [&str; 10] = [
    "request",
    "client",
    "answer",
    "route",
    "name",
    "balance",
    "pool",
    "cache",
    "cache_key",
    "added_to_request",
];
/// A level of `tree` is so much further in than the one before.
const STEP: usize = 2;
/// Deeper levels are written as JSON.
const DEEPEST: usize = 16;

fn write_tree(value: &Value, indent: usize, text: &mut String) {
    let space = " ".repeat(indent);
    match value {
        _ if indent > DEEPEST * STEP => {
            let _ = writeln!(text, "{space}{}", clean(&value.to_string()));
        }
        Value::Object(object) => {
            let place = |key: &str| ORDER.iter().position(|known| *known == key);
            let mut pairs: Vec<(&String, &Value)> = object.iter().collect();
            // What has no place in the order comes last.
            pairs.sort_by_key(|(key, _)| place(key).unwrap_or(ORDER.len()));
            for (key, value) in pairs {
                let key = key.replace('_', " ");
                match value {
                    _ if says_nothing(value) => (),
                    Value::Object(_) | Value::Array(_) => {
                        let _ = writeln!(text, "{space}{}:", clean(&key));
                        write_tree(value, indent + STEP, text);
                    }
                    _ => {
                        let _ = writeln!(text, "{space}{}: {}", clean(&key), clean(&shown(value)));
                    }
                }
            }
        }
        Value::Array(all) => {
            for value in all {
                match value {
                    Value::Object(object) => {
                        let plain =
                            object.values().all(|value| !value.is_object() && !value.is_array());
                        if plain {
                            let _ = writeln!(text, "{space}- {}", clean(&pairs(value)));
                        } else {
                            let _ = writeln!(text, "{space}-");
                            write_tree(value, indent + STEP, text);
                        }
                    }
                    _ => {
                        let _ = writeln!(text, "{space}- {}", clean(&shown(value)));
                    }
                }
            }
        }
        _ => {
            let _ = writeln!(text, "{space}{}", clean(&shown(value)));
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The pairs of an object in a line.
fn pairs(value: &Value) -> String {
    if let (Some(of), Some(is), Some(2)) =
        (value["of"].as_str(), value["is"].as_str(), value.as_object().map(|all| all.len()))
    {
        return format!("{of}: {is}");
    }
    let all = value.as_object().into_iter().flatten().filter(|(_, value)| !says_nothing(value));
    all.map(|(key, value)| format!("{} {}", key.replace('_', " "), shown(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
