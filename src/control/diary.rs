//! What went wrong, what took long and what the operator was told, as JSON.

use serde::Serialize;

use crate::http::date;
use crate::mem::record_ring::Record;
use crate::mem::time::Micros;
use crate::shared::diary::Diary;
use crate::sys::log::Level;

use super::answer::ApiResponse;

/// Which part of the diary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiaryPart {
    /// The last requests that failed.
    Errors,
    /// The slowest requests of late.
    Slow,
    /// The last messages to the operator.
    Events,
}

/// A message to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventEntry {
    /// When, as the log writes it.
    pub ts: String,
    /// How grave it is.
    pub level: &'static str,
    /// What was said.
    pub text: String,
}

#[derive(Serialize)]
struct EventsJson {
    events: Vec<EventEntry>,
}

/// The newest entries of a part, or the slowest, as many as are asked for.
pub fn answer(diary: &Diary, part: DiaryPart, count: usize, now: Micros) -> ApiResponse {
    let text = match part {
        DiaryPart::Errors => list("errors", &diary.failures(count)),
        DiaryPart::Slow => list("slow", &diary.slowest(count, now)),
        DiaryPart::Events => {
            let events = EventsJson { events: events(diary, count) };
            let mut text = serde_json::to_string(&events)
                .unwrap_or_else(|error| unreachable!("texts are always written: {error}"));
            text.push('\n');
            text
        }
    };
    ApiResponse::json(200, text)
}

/// The last messages to the operator, the newest first.
pub fn events(diary: &Diary, count: usize) -> Vec<EventEntry> {
    diary.last_messages(count).into_iter().filter_map(event).collect()
}

/// A record as a message, if it is one.
fn event(record: Record) -> Option<EventEntry> {
    let [level, moment] = record.numbers;
    let level = Level::ALL.into_iter().find(|known| *known as u64 == level)?;
    // A later time than dates can have is none of ours.
    let moment = (moment < 1 << 52).then_some(moment)?;
    let ts = String::from_utf8_lossy(&date::rfc3339_millis(moment)).into_owned();
    Some(EventEntry {
        ts,
        level: level.as_str(),
        text: String::from_utf8_lossy(&record.bytes).into_owned(),
    })
}

/// An object with one list, of objects that are JSON already.
fn list(name: &str, objects: &[String]) -> String {
    format!("{{\"{name}\":[{}]}}\n", objects.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn diary() -> Diary {
        let cells: Vec<AtomicU64> = (0..Diary::CELLS).map(|_| AtomicU64::new(0)).collect();
        Diary::over(cells.leak())
    }

    fn shown(diary: &Diary, part: DiaryPart) -> String {
        answer(diary, part, 2, Micros::from_secs(5)).body
    }

    #[test]
    fn each_part_is_an_object_with_a_list() {
        let diary = diary();
        assert_eq!(shown(&diary, DiaryPart::Errors), "{\"errors\":[]}\n");
        diary.add_failure(b"{\"id\":\"1\"}");
        diary.add_failure(b"{\"id\":\"2\"}");
        assert_eq!(
            shown(&diary, DiaryPart::Errors),
            "{\"errors\":[{\"id\":\"2\"},{\"id\":\"1\"}]}\n"
        );
        diary.add_slow(Micros(3), Micros::from_secs(1), b"{\"ms\":1}");
        assert_eq!(shown(&diary, DiaryPart::Slow), "{\"slow\":[{\"ms\":1}]}\n");
    }

    #[test]
    fn messages_have_their_time_and_level_and_nothing_in_them_ends_the_text() {
        let diary = diary();
        let time = 1_763_714_401_123_000;
        diary.messages.write([Level::Warning as u64, time], b"pool \"api\": down\n  it is");
        diary.messages.write([99, time], b"no such level");
        diary.messages.write([3, u64::MAX], b"no such time");
        diary.messages.write([Level::Error as u64, time], b"bytes \xff");
        assert_eq!(
            answer(&diary, DiaryPart::Events, 9, Micros(0)).body,
            "{\"events\":[{\"ts\":\"2025-11-21T08:40:01.123Z\",\"level\":\"error\",\
             \"text\":\"bytes \u{fffd}\"},{\"ts\":\"2025-11-21T08:40:01.123Z\",\
             \"level\":\"warning\",\"text\":\"pool \\\"api\\\": down\\n  it is\"}]}\n"
        );
    }
}
