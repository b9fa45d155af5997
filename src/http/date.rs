//! Points in time as HTTP and the log write them, both in UTC.

/// The names as they lie in a `Date` field, three letters each, from the first of January 1970,
/// a Thursday.
const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

const SECONDS_PER_DAY: u64 = 86_400;

/// The last second of the year 9999. Years beyond have no fourth digit to stand in.
const LAST_SECOND: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT`: RFC 9110 §5.6.7. Beyond the year 9999 its last second.
pub fn imf_fixdate(seconds_since_epoch: u64) -> [u8; 29] {
    let moment = Moment::of(seconds_since_epoch);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(three_letters(WEEKDAYS, moment.days % 7));
    put_digits(&mut text[5..7], moment.day);
    text[8..11].copy_from_slice(three_letters(MONTHS, moment.month - 1));
    put_digits(&mut text[12..16], moment.year);
    moment.put_time_of_day(&mut text[17..25]);
    text
}

/// `2026-11-21T08:40:01.123Z`: RFC 3339, rounded down to milliseconds. Beyond the year 9999 its
/// last second.
pub fn rfc3339_millis(micros_since_epoch: u64) -> [u8; 24] {
    let moment = Moment::of(micros_since_epoch / 1_000_000);
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
    fn of(seconds_since_epoch: u64) -> Moment {
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
mod tests {
    use super::{imf_fixdate, rfc3339_millis};

    fn fixdate(seconds: u64) -> String {
        String::from_utf8_lossy(&imf_fixdate(seconds)).into_owned()
    }

    #[test]
    fn dates_are_written_as_the_rfc_writes_its_example() {
        assert_eq!(fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(fixdate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn leap_years_have_their_day() {
        assert_eq!(fixdate(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(fixdate(951_868_799), "Tue, 29 Feb 2000 23:59:59 GMT");
        assert_eq!(fixdate(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(fixdate(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(fixdate(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = |year: u64| {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day_count = 0;
        for year in 1970..2500 {
            for (month, length) in lengths(year).into_iter().enumerate() {
                for day in 1..=length {
                    let expected = format!("{year:04}-{:02}-{day:02}T00:00:00.000Z", month + 1);
                    let text = rfc3339_millis(day_count * 86_400_000_000);
                    assert_eq!(String::from_utf8_lossy(&text), expected);
                    day_count += 1;
                }
            }
        }
    }

    #[test]
    fn milliseconds_are_rounded_down() {
        let text = rfc3339_millis(1_795_250_401_123_999);
        assert_eq!(String::from_utf8_lossy(&text), "2026-11-21T08:40:01.123Z");
    }

    #[test]
    fn times_out_of_range_stop_at_the_year_9999() {
        assert_eq!(fixdate(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&rfc3339_millis(u64::MAX)[..19], b"9999-12-31T23:59:59");
    }
}
