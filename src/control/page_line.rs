//! An hour as lines, drawn as inline SVG: requests, failures and the 99th percentile of the times.

use std::fmt::Write as _;

use crate::mem::time::Micros;
use crate::shared::history::{History, Point};

use super::page_text::{rate, short_time};

/// Of each line, in its own units: a point is one wide.
const HEIGHT: f64 = 40.0;

/// The three lines of an hour, of which the points are known that are some, the newest last.
pub fn lines(points: &[Option<Point>], out: &mut String) {
    let a_second = |count: u32| f64::from(count) * 1e6 / History::STEP.0 as f64;
    out.push_str("<div class=\"lines\">");
    let requests = |point: &Point| a_second(point.requests);
    line("requests/s", "", points, requests, |most| rate(*most), out);
    let failures = |point: &Point| a_second(point.failures);
    line("errors/s", " class=\"errors\"", points, failures, |most| rate(*most), out);
    let p99 = |point: &Point| point.p99.0 as f64;
    line("p99", " class=\"p99\"", points, p99, |most| short_time(Micros(*most as u64)), out);
    out.push_str("</div>\n");
}

fn line(
    name: &str,
    class: &str,
    points: &[Option<Point>],
    read: impl Fn(&Point) -> f64,
    shown: impl Fn(&f64) -> String,
    out: &mut String,
) {
    let values: Vec<Option<f64>> = points.iter().map(|point| point.as_ref().map(&read)).collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let label = shown(&most);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<figure{class}><figcaption>{name} <small>up to {label}, 1 h</small></figcaption>\
         <svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{name} of the last hour, up to {label}\">",
        History::STEPS
    );
    let mut path = String::new();
    let mut before = None;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value else {
            before = None;
            continue;
        };
        let share = if most > 0.0 { value / most } else { 0.0 };
        let height = (HEIGHT - 1.0) * (1.0 - share);
        let step = if before.is_some() { 'L' } else { 'M' };
        let _ = write!(path, "{step}{place} {height:.1}");
        // A single point shows as a dash.
        if before.is_none() {
            let _ = write!(path, "h.9");
        }
        before = Some(value);
    }
    if !path.is_empty() {
        let _ = write!(out, "<path d=\"{path}\" vector-effect=\"non-scaling-stroke\"/>");
    }
    out.push_str("</svg></figure>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_three_lines_with_gaps_where_nothing_is_known() {
        let point = |requests| Some(Point { requests, failures: 5, p99: Micros(20_000) });
        let mut points = vec![None; History::STEPS];
        points[10] = point(100);
        points[11] = point(50);
        points[300] = point(0);
        let mut text = String::new();
        lines(&points, &mut text);
        assert_eq!(text.matches("<svg").count(), 3);
        let path = "<path d=\"M10 0.0h.9L11 19.5M300 39.0h.9\"";
        assert!(text.contains(path), "{text}");
        assert!(text.contains("requests/s <small>up to 10, 1 h</small>"), "{text}");
        assert!(text.contains("errors/s <small>up to 0.5, 1 h</small>"), "{text}");
        assert!(text.contains("p99 <small>up to 20\u{a0}ms, 1 h</small>"), "{text}");
        let mut empty = String::new();
        lines(&[], &mut empty);
        assert!(!empty.contains("<path") && empty.contains("up to 0.0"));
    }
}
