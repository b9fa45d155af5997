//! Points in time as HTTP and the log write them, both in UTC.

use super::framing::decimal;
use crate::mem::Append;

/// The names as they lie in a `Date` field, three letters each, from the first of January 1970,
/// a Thursday.
const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
/// What follows the three letters where a weekday is written out.
const WEEKDAY_ENDS: [&[u8]; 7] = [b"rsday", b"day", b"urday", b"day", b"day", b"sday", b"nesday"];
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

const SECONDS_PER_DAY: u64 = 86_400;

/// The last second of the year 9999. Years beyond have no fourth digit to stand in.
const LAST_SECOND: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT`: RFC 9110 §5.6.7. Beyond the year 9999 its last second.
pub fn imf_fixdate(seconds_since_epoch: u64) -> [u8; 29] {
    let moment = Moment::new(seconds_since_epoch);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(three_letters(WEEKDAYS, moment.days % 7));
    put_digits(&mut text[5..7], moment.day);
    text[8..11].copy_from_slice(three_letters(MONTHS, moment.month - 1));
    put_digits(&mut text[12..16], moment.year);
    moment.put_time_of_day(&mut text[17..25]);
    text
}

/// Writes the line `Date` that says this time.
pub fn put_field(seconds_since_epoch: u64, out: &mut impl Append) {
    put_text(&imf_fixdate(seconds_since_epoch), out);
}

/// The same of a time that is written already.
pub fn put_text(text: &[u8; 29], out: &mut impl Append) {
    out.append(b"Date: ");
    out.append(text);
    out.append(b"\r\n");
}

/// The text of the second that was asked for last: most responses of a second want the same.
pub struct LastDate {
    second: u64,
    text: [u8; 29],
}

impl Default for LastDate {
    fn default() -> LastDate {
        LastDate { second: 0, text: imf_fixdate(0) }
    }
}

impl LastDate {
    /// [`imf_fixdate`] of this time.
    #[inline]
    pub fn at(&mut self, seconds_since_epoch: u64) -> &[u8; 29] {
        if self.second != seconds_since_epoch {
            *self =
                LastDate { second: seconds_since_epoch, text: imf_fixdate(seconds_since_epoch) };
        }
        &self.text
    }
}

/// `2026-11-21T08:40:01.123Z`: RFC 3339, rounded down to milliseconds. Beyond the year 9999 its
/// last second.
pub fn rfc3339_millis(micros_since_epoch: u64) -> [u8; 24] {
    let moment = Moment::new(micros_since_epoch / 1_000_000);
    let mut text = *b"1970-01-01T00:00:00.000Z";
    put_digits(&mut text[0..4], moment.year);
    put_digits(&mut text[5..7], moment.month);
    put_digits(&mut text[8..10], moment.day);
    moment.put_time_of_day(&mut text[11..19]);
    put_digits(&mut text[20..23], micros_since_epoch / 1000 % 1000);
    text
}

/// A second, by the calendar.
struct Moment {
    /// Since the first of January 1970.
    days: u64,
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    second_of_day: u64,
}

impl Moment {
    /// Counts in eras of 400 years, which all have the same number of days, and in years that
    /// begin with March, so that the leap day is the last of its year.
    fn new(seconds_since_epoch: u64) -> Moment {
        let seconds = seconds_since_epoch.min(LAST_SECOND);
        let days = seconds / SECONDS_PER_DAY;
        let since_march_of_year_0 = days + 719_468;
        let era = since_march_of_year_0 / 146_097;
        let day_of_era = since_march_of_year_0 % 146_097;
        let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = 400 * era + year_of_era + u64::from(month <= 2);
        Moment { days, year, month, day, second_of_day: seconds % SECONDS_PER_DAY }
    }

    /// Writes `HH:MM:SS`, leaving the colons as they are.
    fn put_time_of_day(&self, text: &mut [u8]) {
        put_digits(&mut text[0..2], self.second_of_day / 3600);
        put_digits(&mut text[3..5], self.second_of_day / 60 % 60);
        put_digits(&mut text[6..8], self.second_of_day % 60);
    }
}

/// The seconds since the epoch of a date in any of the three formats of RFC 9110 §5.6.7; 0 for one
/// before 1970. `None` for anything else.
///
/// Names count in any case, and no zone but GMT does (RFC 9111 §4.2). `now`, in seconds since the
/// epoch, is what a year of two digits is seen from.
pub fn parse(text: &[u8], now: u64) -> Option<u64> {
    let mut reader = DateReader { rest: text };
    let comma = memchr::memchr(b',', text);
    let (date, seconds_of_day) = match comma {
        Some(3) => reader.imf_fixdate(),
        Some(_) => reader.rfc850(now),
        None => reader.asctime(),
    }?;
    let days = date.days_since_epoch()?;
    if !reader.rest.is_empty() {
        return None;
    }
    let seconds = days * SECONDS_PER_DAY as i64 + seconds_of_day as i64;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// A day by the calendar, as it was written: perhaps none at all.
struct Day {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

impl Day {
    /// `None` if the month has no such day. The inverse of [`Moment::new`].
    fn days_since_epoch(&self) -> Option<i64> {
        let Day { year, month, day } = *self;
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let length = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=length).contains(&day) {
            return None;
        }
        // Years that begin with March, as above; year 0 has a January, too.
        let (year, month) =
            if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some((era * 146_097 + day_of_era) as i64 - 146_097 - 719_468)
    }
}

/// Takes a date apart, from the front.
struct DateReader<'a> {
    rest: &'a [u8],
}

impl DateReader<'_> {
    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    fn imf_fixdate(&mut self) -> Option<(Day, u64)> {
        self.name(WEEKDAYS)?;
        self.literal(b", ")?;
        let day = self.number(2)?;
        self.literal(b" ")?;
        let month = self.name(MONTHS)? + 1;
        self.literal(b" ")?;
        let year = self.number(4)?;
        self.literal(b" ")?;
        let time = self.time_of_day()?;
        self.literal(b" GMT")?;
        Some((Day { year, month, day }, time))
    }

    /// `Sunday, 06-Nov-94 08:49:37 GMT`: the year is the one at most 50 years ahead of `now`.
    fn rfc850(&mut self, now: u64) -> Option<(Day, u64)> {
        let weekday = self.name(WEEKDAYS)?;
        self.literal(WEEKDAY_ENDS[weekday as usize])?;
        self.literal(b", ")?;
        let day = self.number(2)?;
        self.literal(b"-")?;
        let month = self.name(MONTHS)? + 1;
        self.literal(b"-")?;
        let two_digits = self.number(2)?;
        self.literal(b" ")?;
        let time = self.time_of_day()?;
        self.literal(b" GMT")?;
        let this_year = Moment::new(now).year;
        let century = this_year - this_year % 100;
        let year = match century + two_digits {
            year if year > this_year + 50 => year - 100,
            year if year + 50 <= this_year => year + 100,
            year => year,
        };
        Some((Day { year, month, day }, time))
    }

    /// `Sun Nov  6 08:49:37 1994`
    fn asctime(&mut self) -> Option<(Day, u64)> {
        self.name(WEEKDAYS)?;
        self.literal(b" ")?;
        let month = self.name(MONTHS)? + 1;
        self.literal(b" ")?;
        let day = match self.literal(b" ") {
            Some(()) => self.number(1)?,
            None => self.number(2)?,
        };
        self.literal(b" ")?;
        let time = self.time_of_day()?;
        self.literal(b" ")?;
        let year = self.number(4)?;
        Some((Day { year, month, day }, time))
    }

    /// `08:49:37`, with a 60th second where one is inserted, which counts as the first of the next
    /// minute.
    fn time_of_day(&mut self) -> Option<u64> {
        let hour = self.number(2)?;
        self.literal(b":")?;
        let minute = self.number(2)?;
        self.literal(b":")?;
        let second = self.number(2)?;
        let is_time = hour < 24 && minute < 60 && second <= 60;
        is_time.then_some(hour * 3600 + minute * 60 + second)
    }

    /// The index of a name of three letters.
    fn name(&mut self, names: &'static [u8]) -> Option<u64> {
        let (name, rest) = self.rest.split_at_checked(3)?;
        let index = names.chunks(3).position(|known| known.eq_ignore_ascii_case(name))?;
        self.rest = rest;
        Some(index as u64)
    }

    fn literal(&mut self, wanted: &[u8]) -> Option<()> {
        let (text, rest) = self.rest.split_at_checked(wanted.len())?;
        self.rest = text.eq_ignore_ascii_case(wanted).then_some(rest)?;
        Some(())
    }

    fn number(&mut self, digits: usize) -> Option<u64> {
        let (text, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        decimal(text)
    }
}

fn three_letters(names: &'static [u8], index: u64) -> &'static [u8] {
    let start = 3 * index as usize;
    &names[start..start + 3]
}

/// Fills `text` with the lowest decimal digits of `number`.
fn put_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
