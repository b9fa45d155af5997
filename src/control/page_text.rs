//! Numbers, times and names as the page writes them.

use crate::mem::time::{Micros, Millis};

/// A rate a second.
pub fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// In groups of three digits, with narrow spaces that do not break.
pub fn grouped(number: u64) -> String {
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
pub fn span(time: Millis) -> String {
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
pub fn short_time(time: Micros) -> String {
    match time.0 {
        0..10_000 => format!("{:.1}\u{a0}ms", time.0 as f64 / 1e3),
        10_000..10_000_000 => format!("{}\u{a0}ms", grouped(time.0.saturating_add(500) / 1000)),
        _ => format!("{}\u{a0}s", time.0.saturating_add(500_000) / 1_000_000),
    }
}

/// A size in memory.
pub fn bytes(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", grouped(bytes / KIB)),
        // As the start says the bound.
        _ => format!("{} MiB", grouped(bytes.div_ceil(MIB))),
    }
    .replace(' ', "\u{a0}")
}

/// Fit for HTML, in a text and in a quoted attribute.
pub fn escaped(text: &str) -> String {
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
mod tests {
    use super::*;

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
}
