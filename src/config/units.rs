//! Durations and sizes: a whole number with its unit.

use super::error::Wrong;
use super::text;
use super::text::quote;
use crate::mem::time::Millis;

/// Units of time, largest first, in milliseconds.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, largest first, in bytes.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units by the names that they have anywhere, in lower case.
type Units = &'static [(&'static [&'static str], u64)];

const TIMES_ELSEWHERE: Units = &[
    (&["ms", "msec", "millis", "milliseconds"], 1),
    (&["s", "sec", "secs", "second", "seconds"], 1_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
];

/// Those of nginx and haproxy, `k` and `m`, are powers of 1024.
const SIZES_ELSEWHERE: Units = &[
    (&["b", "byte", "bytes"], 1),
    (&["k", "kb", "kib"], 1 << 10),
    (&["m", "mb", "mib"], 1 << 20),
    (&["g", "gb", "gib"], 1 << 30),
    (&["t", "tb", "tib"], 1 << 40),
];

const DURATION_REMEDY: &str = "write \"5s\" or \"250ms\"";
const SIZE_REMEDY: &str = "write \"64KiB\", \"8MiB\" or a number of bytes";

/// Reads a whole number as JSON has it: nothing but digits, and no zero before others.
pub fn whole(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !is_padded(text) { text.parse().ok() } else { None }
}

/// Whether what begins with a number has a zero before its other digits, which nobody means.
pub fn is_padded(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0', second, ..] if second.is_ascii_digit())
}

/// Reads `250ms`, `5s`, `2m` or `1h`.
///
/// Fails when the unit is missing or another, and when the milliseconds exceed 64 bits.
pub fn duration(text: &str) -> Result<Millis, Wrong> {
    let meant = meant(text, TIMES_ELSEWHERE).map(|millis| write_duration(Millis(millis)));
    let remedy =
        meant.map_or_else(|| DURATION_REMEDY.to_owned(), |meant| format!("write \"{meant}\""));
    let wrong = |fault: &str| Wrong::new(format!("{} {fault}", quote(text)), remedy.clone());
    match number_and_unit(text, &TIMES) {
        Ok(millis) => Ok(Millis(millis)),
        Err(Fault::NoNumber) => Err(wrong("is not a duration")),
        Err(Fault::NoUnit) => Err(wrong("has no unit")),
        Err(Fault::UnknownUnit) => Err(Wrong::new(
            format!("{} has an unknown unit", quote(text)),
            format!("{remedy}: units are {}", units(&TIMES)),
        )),
        Err(Fault::TooLarge) => Err(wrong("is too large")),
    }
}

/// Reads `512B`, `16KiB`, `8MiB`, `1GiB` or `1TiB` as bytes.
///
/// Fails when the unit is missing or another, and when the bytes exceed 64 bits.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let meant = meant(text, SIZES_ELSEWHERE).map(write_size);
    let remedy = meant.map_or_else(|| SIZE_REMEDY.to_owned(), |meant| format!("write \"{meant}\""));
    let wrong = |fault: &str| Wrong::new(format!("{} {fault}", quote(text)), remedy.clone());
    match number_and_unit(text, &SIZES) {
        Ok(bytes) => Ok(bytes),
        Err(Fault::NoNumber) => Err(wrong("is not a size")),
        Err(Fault::NoUnit) => Err(wrong("has no unit")),
        Err(Fault::UnknownUnit) => Err(Wrong::new(
            format!("{} has an unknown unit", quote(text)),
            format!("{remedy}: units are {}", units(&SIZES)),
        )),
        Err(Fault::TooLarge) => Err(wrong("is too large")),
    }
}

/// What was probably meant by a number with a unit of elsewhere, with a blank, a fraction, or several of
/// them: `1m30s`, `0.5 sec`, `10M`.
fn meant(text: &str, table: Units) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (digits, behind) = rest.split_at(number);
        let behind = behind.trim_start();
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at(letters);
        let unit = unit.to_ascii_lowercase();
        let (_, factor) = table.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // Thousandths are as much as anybody writes.
        let fraction = (fraction.len() <= 3).then(|| format!("{fraction:0<3}"))?;
        let parts = (whole.parse::<u64>().ok()?, fraction.parse::<u64>().ok()?);
        let thousandths = parts.0.checked_mul(1000)?.checked_add(parts.1)?.checked_mul(*factor)?;
        sum = sum.checked_add((thousandths % 1000 == 0).then_some(thousandths / 1000)?)?;
        rest = behind.trim_start();
    }
    Some(sum).filter(|sum| *sum > 0)
}

/// The duration in the largest unit that divides it: `90s`, `2m`.
pub fn write_duration(duration: Millis) -> String {
    write(duration.0, &TIMES, "s")
}

/// The size in the largest unit that divides it: `32KiB`, `1000B`.
pub fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES, "B")
}

enum Fault {
    NoNumber,
    NoUnit,
    UnknownUnit,
    TooLarge,
}

fn number_and_unit(text: &str, table: &[(&str, u64)]) -> Result<u64, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Fault::NoNumber);
    }
    if unit.is_empty() {
        return Err(Fault::NoUnit);
    }
    let known = table.iter().find(|(name, _)| *name == unit);
    let Some((_, factor)) = known else {
        let letters = unit.bytes().all(|byte| byte.is_ascii_alphabetic());
        return Err(if letters { Fault::UnknownUnit } else { Fault::NoNumber });
    };
    // The only fault left is overflow: there are nothing but digits.
    let number: u64 = number.parse().map_err(|_| Fault::TooLarge)?;
    number.checked_mul(*factor).ok_or(Fault::TooLarge)
}

fn units(table: &[(&str, u64)]) -> String {
    let names: Vec<&str> = table.iter().rev().map(|(name, _)| *name).collect();
    text::list(&names, " and ").replace('"', "")
}

fn write(value: u64, table: &[(&str, u64)], unit_of_zero: &str) -> String {
    for (name, factor) in table {
        if value > 0 && value % factor == 0 {
            return format!("{}{name}", value / factor);
        }
    }
    format!("0{unit_of_zero}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_each_unit() {
        let cases = [
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("007s", 7_000),
            ("18446744073709551615ms", u64::MAX),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Millis(millis)), "{text}");
        }
    }

    #[test]
    fn wrong_durations_say_what_is_wrong() {
        let cases = [
            ("5", r#""5" has no unit (write "5s" or "250ms")"#),
            ("", r#""" is not a duration (write "5s" or "250ms")"#),
            ("s", r#""s" is not a duration (write "5s" or "250ms")"#),
            ("-5s", r#""-5s" is not a duration (write "5s" or "250ms")"#),
            ("1.5s", r#""1.5s" is not a duration (write "1500ms")"#),
            ("5 s", r#""5 s" is not a duration (write "5s")"#),
            ("5s ", r#""5s " is not a duration (write "5s")"#),
            ("5S", r#""5S" has an unknown unit (write "5s": units are ms, s, m and h)"#),
            ("1d", r#""1d" has an unknown unit (write "24h": units are ms, s, m and h)"#),
            (
                "18446744073709551616ms",
                r#""18446744073709551616ms" is too large (write "5s" or "250ms")"#,
            ),
            ("18446744073709552s", r#""18446744073709552s" is too large (write "5s" or "250ms")"#),
        ];
        for (text, message) in cases {
            assert_eq!(duration(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sizes_are_read_in_each_unit() {
        let cases = [
            ("0B", 0),
            ("512B", 512),
            ("16KiB", 16_384),
            ("8MiB", 8_388_608),
            ("1GiB", 1 << 30),
            ("1TiB", 1 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn wrong_sizes_say_what_is_wrong() {
        let remedy = r#"write "64KiB", "8MiB" or a number of bytes"#;
        let cases = [
            ("65536", format!(r#""65536" has no unit ({remedy})"#)),
            (
                "16k",
                String::from(
                    r#""16k" has an unknown unit (write "16KiB": units are B, KiB, MiB, GiB and TiB)"#,
                ),
            ),
            ("KiB", format!(r#""KiB" is not a size ({remedy})"#)),
            ("16777216TiB", format!(r#""16777216TiB" is too large ({remedy})"#)),
        ];
        for (text, message) in cases {
            assert_eq!(size(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for millis in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, u64::MAX] {
            assert_eq!(duration(&write_duration(Millis(millis))), Ok(Millis(millis)));
        }
        for bytes in [0, 1, 1_000, 1_024, 32_768, 1_536, 1 << 40, u64::MAX] {
            assert_eq!(size(&write_size(bytes)), Ok(bytes));
        }
        assert_eq!(write_duration(Millis(90_000)), "90s");
        assert_eq!(write_size(32_768), "32KiB");
    }
}
