//! What the service writes down as it happens: the last of it, and what is new.

use serde_json::Value;

use crate::mem::time::Millis;
use crate::sys::clock;
use crate::sys::log::{self, Level};

use super::client::Call;
use super::options::{Diary, DiaryView};
use super::text::{Cell, Side, Table, Tone, clean, clean_json, clean_lines, cut, shown};
use super::{NotDone, PATIENCE, Session, answer, print};

/// It is looked so often for what is new.
const FOLLOW_INTERVAL: Millis = Millis(1_000);
/// So many entries are kept by the service.
const KEPT: u32 = 256;
/// Characters of a target that are shown.
const TARGET: usize = 200;

impl Diary {
    fn path(self) -> &'static str {
        match self {
            Diary::Events => "/v1/events",
            Diary::Errors => "/v1/errors",
            Diary::Slow => "/v1/slow",
        }
    }
}

/// The entries of an answer: the list in it, whatever it is called.
fn entries(answer: &Value) -> Vec<Value> {
    let list = answer.as_array().or_else(|| answer.as_object()?.values().find_map(Value::as_array));
    list.cloned().unwrap_or_default()
}

/// In the order of time, for a terminal, whose last line is the newest.
fn by_time(mut entries: Vec<Value>) -> Vec<Value> {
    let ts = |entry: &Value| entry["ts"].as_str().unwrap_or_default().to_owned();
    // Of the same time, what stands further behind is older, if the newest is first.
    if entries.first().map(ts) >= entries.last().map(ts) {
        entries.reverse();
    }
    entries.sort_by_key(ts);
    entries
}

/// Those of `now` that were not there `before`; what was there once accounts for one.
fn new_ones(now: &[Value], before: &[Value]) -> Vec<Value> {
    let mut left: Vec<&Value> = before.iter().collect();
    let mut new = Vec::new();
    for entry in now {
        match left.iter().position(|known| *known == entry) {
            Some(place) => drop(left.swap_remove(place)),
            None => new.push(entry.clone()),
        }
    }
    new
}

/// The entries of an answer, the newest last.
pub fn in_order(answer: &Value) -> Vec<Value> {
    by_time(entries(answer))
}

fn event_line(event: &Value, coloured: bool) -> String {
    let level = shown(&event["level"]);
    let tone = match level.as_str() {
        _ if !coloured => Tone::Plain,
        "error" | "err" | "3" => Tone::Bad,
        "warning" | "4" => Tone::Fair,
        _ => Tone::Plain,
    };
    // A message of several lines, as that of a refused reload, has them below each other.
    let text = shown(&event["text"]);
    let lines = clean_lines(text.trim_end()).replace('\n', "\n    ");
    format!(
        "{}  {}{:7}{}  {}\n",
        clean(&shown(&event["ts"])),
        tone.begin(),
        clean(&level),
        tone.end(),
        lines
    )
}

fn requests_table(requests: &[Value], coloured: bool) -> Table {
    use Side::{Left, Right};
    let columns = [
        ("TIME", Left),
        ("MS", Right),
        ("STATUS", Right),
        ("REASON", Left),
        ("BACKEND", Left),
        ("CLIENT", Left),
        ("ID", Left),
        ("REQUEST", Left),
    ];
    let mut table = Table::new(&columns, coloured);
    for request in requests {
        let status = shown(&request["status"]);
        let tone = if status.starts_with('5') { Tone::Bad } else { Tone::Plain };
        let backend = match (request["pool"].as_str(), request["backend"].as_str()) {
            (Some(pool), Some(backend)) => format!("{pool}/{backend}"),
            _ => shown(&request["backend"]),
        };
        table.add(vec![
            Cell::new(shown(&request["ts"])),
            Cell::new(shown(&request["ms"])),
            Cell::toned(&status, tone),
            Cell::new(shown(&request["reason"])),
            Cell::new(backend),
            Cell::new(shown(&request["client"])),
            Cell::new(shown(&request["id"])),
            Cell::new(request_line(request)),
        ]);
    }
    table
}

/// Method, host and target, and what a malformed response began with.
fn request_line(request: &Value) -> String {
    let of = |key: &str| request[key].as_str().unwrap_or_default();
    let mut line = cut(&format!("{} {}{}", of("method"), of("host"), of("target")), TARGET);
    if let Some(answer) = request["answer"].as_str() {
        line.push_str(&format!(" <- {answer}"));
    }
    line
}

impl Session {
    pub(super) fn read_diary(&self, diary: Diary, view: DiaryView) -> Result<(), NotDone> {
        let target = format!("{}?n={}", diary.path(), view.lines);
        let call = Call { method: "GET", target: &target, body: "", patience: PATIENCE };
        let reply = self.ask(&call)?;
        if view.follow {
            return self.follow(diary, view.lines);
        }
        self.print_answer(&reply, |answer| {
            let entries = entries(answer);
            match diary {
                Diary::Slow if entries.is_empty() => String::from("no request was slow\n"),
                Diary::Errors if entries.is_empty() => String::from("no request has failed\n"),
                Diary::Events => self.text(diary, &by_time(entries)),
                Diary::Errors => self.text(diary, &by_time(entries)),
                Diary::Slow => self.text(diary, &entries),
            }
        })
    }

    fn text(&self, diary: Diary, entries: &[Value]) -> String {
        match diary {
            _ if self.json => entries
                .iter()
                .map(|entry| format!("{}\n", clean_json(&entry.to_string())))
                .collect(),
            Diary::Events => entries.iter().map(|event| event_line(event, self.coloured)).collect(),
            Diary::Errors | Diary::Slow => requests_table(entries, self.coloured).to_string(),
        }
    }

    /// Prints the last of a diary, and what is new, until it is interrupted. A service that is not
    /// there is waited for.
    fn follow(&self, diary: Diary, lines: u32) -> Result<(), NotDone> {
        let target = format!("{}?n={KEPT}", diary.path());
        let call = Call { method: "GET", target: &target, body: "", patience: PATIENCE };
        let (mut before, mut is_first, mut is_lost) = (Vec::new(), true, false);
        loop {
            match self.server.ask(&call) {
                Ok(reply) if reply.status == 200 => {
                    let now = by_time(entries(&answer(&reply)?));
                    let new = if is_first { now.clone() } else { new_ones(&now, &before) };
                    let skipped =
                        if is_first { new.len().saturating_sub(lines as usize) } else { 0 };
                    let text = self.text(diary, &new[skipped..]);
                    // The head of the table stands once above all of it.
                    let has_head = diary != Diary::Events && !self.json && !is_first;
                    let text = if has_head {
                        text.split_once('\n').map_or("", |(_, rest)| rest)
                    } else {
                        &text
                    };
                    print(text)?;
                    (before, is_first, is_lost) = (now, false, false);
                }
                Ok(_) | Err(_) if is_lost => (),
                Ok(reply) => return Err(NotDone::Because(super::refusal(&call, &reply))),
                Err(message) => {
                    log::write(Level::Warning, format_args!("{}; waiting for it", clean(&message)));
                    is_lost = true;
                }
            }
            clock::pause(FOLLOW_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_found_and_put_in_the_order_of_time() {
        let [a, b, c] = ["1", "2", "3"].map(|ts| json!({ "ts": ts }));
        let answer = json!({ "events": [c, b, a] });
        assert_eq!(by_time(entries(&answer)), [a.clone(), b.clone(), c.clone()]);
        assert_eq!(by_time(vec![a.clone(), b.clone(), c.clone()]), [a, b, c]);
        let same = vec![json!({"ts": "1", "text": "new"}), json!({"ts": "1", "text": "old"})];
        assert_eq!(by_time(same)[0]["text"], "old");
        assert!(entries(&json!(3)).is_empty() && entries(&json!({"a": 1})).is_empty());
    }

    #[test]
    fn what_is_new_is_told_once() {
        let [a, b, c] = [json!({"ts": "1"}), json!({"ts": "2"}), json!({"ts": "3"})];
        assert_eq!(new_ones(&[b.clone(), b.clone(), c.clone()], &[a, b.clone()]), [b, c]);
    }

    #[test]
    fn a_line_of_the_diary_steers_no_terminal() {
        let event = json!({"ts": "T", "level": "warning", "text": "a\u{1b}[2J\nb"});
        assert_eq!(event_line(&event, false), "T  warning  a\\u001b[2J\n    b\n");
        let request = json!({"ts": "T", "ms": 12.34, "status": 502, "reason": "http_protocol_error",
            "pool": "p", "backend": "b", "client": "c", "id": "i", "method": "GET", "host": "h",
            "target": "/\u{1b}", "answer": "\\x00"});
        let table = requests_table(&[request], false).to_string();
        let line = table.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "T     12.3     502  http_protocol_error  p/b      c       i   GET h/\\u001b <- \\x00"
        );
    }
}
