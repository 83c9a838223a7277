//! Points in time: `%START_TIME%`, `%EMIT_TIME%` and their strftime arguments.
//!
//! The default form is written by hand; an argument is split, when it is parsed, into what `chrono`
//! can print and the extensions that Envoy adds to strftime:
//!
//! | written | printed |
//! |---|---|
//! | `%1f` … `%9f`, `%f` | that many digits of the fraction of the second (nine) |
//! | `%E3S`, `%E*S` | seconds with three, or all significant, digits of the fraction |
//! | `%E3f`, `%E*f` | the fraction alone |
//! | `%Ez`, `%E*z` | `+02:00`, `+02:00:00` |
//! | `%E4Y`, `%ET` | the year in four digits, the letter `T` |

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local, Utc};

/// The time zone of a printed time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Zone {
    Utc,
    Local,
}

/// How a time is printed.
#[derive(Clone, Debug)]
pub(crate) enum TimeFormat {
    /// `2026-01-01T00:00:00.000Z`
    Default,
    /// By a strftime argument.
    Custom(Zone, Vec<Part>),
}

/// A piece of a strftime argument.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Items(Vec<Item<'static>>),
    /// The fraction of the second in so many digits, behind `SS.` if asked for.
    Fraction {
        digits: Digits,
        with_seconds: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Digits {
    Fixed(u8),
    Significant,
}

impl TimeFormat {
    /// Parses a strftime argument; what is no conversion is printed as it stands, as Envoy does.
    pub(crate) fn parse(argument: &str, zone: Zone) -> Self {
        let argument = match (argument, zone) {
            ("", Zone::Utc) => return TimeFormat::Default,
            ("", Zone::Local) => "%Y-%m-%dT%H:%M:%S.%3f%z",
            (text, _) => text,
        };
        let mut parser = Parser { plain: String::new(), parts: Vec::new() };
        let mut rest = argument;
        while let Some(at) = rest.find('%') {
            parser.literal(&rest[..at]);
            rest = parser.conversion(&rest[at + 1..]);
        }
        parser.literal(rest);
        parser.flush();
        TimeFormat::Custom(zone, parser.parts)
    }

    /// Appends `time`.
    pub(crate) fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        match self {
            TimeFormat::Default => write_default(time, out),
            TimeFormat::Custom(Zone::Utc, parts) => write_parts(&DateTime::<Utc>::from(time), parts, out),
            TimeFormat::Custom(Zone::Local, parts) => write_parts(&DateTime::<Local>::from(time), parts, out),
        }
    }
}

struct Parser {
    plain: String,
    parts: Vec<Part>,
}

impl Parser {
    fn literal(&mut self, text: &str) {
        self.plain.push_str(&text.replace('%', "%%"));
    }

    /// Takes the conversion in front of `rest`, whose percent sign is gone, and returns what follows it.
    fn conversion<'a>(&mut self, rest: &'a str) -> &'a str {
        let bytes = rest.as_bytes();
        match bytes {
            [b'f', ..] => self.fraction(Digits::Fixed(9), false, &rest[1..]),
            [n @ b'1'..=b'9', b'f', ..] => self.fraction(Digits::Fixed(n - b'0'), false, &rest[2..]),
            [b'E', b'*', b'S', ..] => self.fraction(Digits::Significant, true, &rest[3..]),
            [b'E', b'*', b'f', ..] => self.fraction(Digits::Significant, false, &rest[3..]),
            [b'E', n @ b'1'..=b'9', b'S', ..] => self.fraction(Digits::Fixed(n - b'0'), true, &rest[3..]),
            [b'E', n @ b'1'..=b'9', b'f', ..] => self.fraction(Digits::Fixed(n - b'0'), false, &rest[3..]),
            [b'E', b'*', b'z', ..] => self.same_as("%::z", &rest[3..]),
            [b'E', b'4', b'Y', ..] => self.same_as("%Y", &rest[3..]),
            [b'E', b'z', ..] => self.same_as("%:z", &rest[2..]),
            [b'E', b'T', ..] => self.same_as("T", &rest[2..]),
            [c, ..] if CONVERSIONS.contains(c) => {
                self.plain.push('%');
                self.plain.push(char::from(*c));
                &rest[1..]
            }
            _ => {
                self.literal("%");
                rest
            }
        }
    }

    fn same_as<'a>(&mut self, conversion: &str, rest: &'a str) -> &'a str {
        self.plain.push_str(conversion);
        rest
    }

    fn fraction<'a>(&mut self, digits: Digits, with_seconds: bool, rest: &'a str) -> &'a str {
        self.flush();
        self.parts.push(Part::Fraction { digits, with_seconds });
        rest
    }

    fn flush(&mut self) {
        if let Ok(items) = StrftimeItems::new(&self.plain).parse_to_owned()
            && !items.is_empty()
        {
            self.parts.push(Part::Items(items));
        }
        self.plain.clear();
    }
}

/// The conversions of C's strftime; chrono prints each of them.
const CONVERSIONS: &[u8] = b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";

fn write_parts<Tz: chrono::TimeZone>(time: &DateTime<Tz>, parts: &[Part], out: &mut Vec<u8>)
where
    Tz::Offset: fmt::Display,
{
    use chrono::Timelike;
    use fmt::Write;
    for part in parts {
        match part {
            // An item that cannot be printed leaves a gap.
            Part::Items(items) => {
                let _ = write!(Bytes(out), "{}", time.format_with_items(items.iter()));
            }
            Part::Fraction { digits, with_seconds } => {
                if *with_seconds {
                    digits_of(time.second(), 2, out);
                }
                fraction(time.nanosecond() % 1_000_000_000, *digits, *with_seconds, out);
            }
        }
    }
}

fn fraction(nanos: u32, digits: Digits, with_point: bool, out: &mut Vec<u8>) {
    let (value, width) = match digits {
        Digits::Fixed(n) => {
            let width = u32::from(n.clamp(1, 9));
            (nanos / 10u32.pow(9 - width), width)
        }
        Digits::Significant if nanos == 0 => {
            if !with_point {
                out.push(b'0');
            }
            return;
        }
        Digits::Significant => {
            let zeros = (1..9).take_while(|n| nanos.is_multiple_of(10u32.pow(*n))).count() as u32;
            (nanos / 10u32.pow(zeros), 9 - zeros)
        }
    };
    if with_point {
        out.push(b'.');
    }
    digits_of(value, width, out);
}

/// `2026-01-01T00:00:00.000Z`, without a calendar library: once per request.
fn write_default(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, (since.as_secs() % 86_400) as u32);
    let (year, month, day) = civil(days);
    for (value, width, behind) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (since.subsec_millis(), 3, b'Z'),
    ] {
        digits_of(value, width, out);
        out.push(behind);
    }
}

/// Year, month and day of a day counted from 1970-01-01, by eras of 400 years that begin in March.
fn civil(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = (shifted % 146_097) as u32;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + (era * 400) as u32 + u32::from(month <= 2);
    (year, month, day)
}

fn digits_of(mut value: u32, width: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width as usize, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// `fmt::Write` onto bytes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64, nanos: u32, argument: &str) -> String {
        let mut out = Vec::new();
        TimeFormat::parse(argument, Zone::Utc).write(UNIX_EPOCH + Duration::new(secs, nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_form_agrees_with_the_calendar() {
        for secs in [0, 951_782_399, 951_782_400, 1_709_164_800, 1_795_450_520, 4_107_542_399, 13_574_563_200]
        {
            let expected = DateTime::from_timestamp(secs as i64, 240_607_000).unwrap();
            assert_eq!(at(secs, 240_607_000, ""), expected.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        }
    }

    #[test]
    fn arguments_print_as_envoy_prints_them() {
        for (argument, expected) in [
            ("%s", "1795450520"),
            ("%s.%3f", "1795450520.240"),
            ("%Y-%m-%dT%H:%M:%S.%6f%z", "2026-11-23T16:15:20.240607+0000"),
            ("%f", "240607000"),
            ("%1f %2f %4f %9f", "2 24 2406 240607000"),
            ("%E3S %Z %z %Ez %a %A %b", "20.240 UTC +0000 +00:00 Mon Monday Nov"),
            ("%B %j %e %p %I %%", "November 327 23 PM 04 %"),
            ("%", "%"),
            ("%q", "%q"),
            ("lit %3fx", "lit 240x"),
            ("%E*S", "20.240607"),
            ("%E*f", "240607"),
            ("%T.%3f", "16:15:20.240"),
            ("%.3f", "%.3f"),
            ("%\u{e9}", "%\u{e9}"),
        ] {
            assert_eq!(at(1_795_450_520, 240_607_000, argument), expected, "{argument}");
        }
        assert_eq!(at(5, 0, "%E*S %E*f"), "05 0");
    }
}
