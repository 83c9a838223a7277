//! The messages of `google.protobuf` that have a JSON form of their own: durations, timestamps, wrappers, field masks,
//! structs, and `Any`.

use super::Reader;
use crate::document::Node;
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{Kind, MessageType};

/// The names below `google.protobuf` whose JSON form is not a map of their fields.
pub(crate) fn has_own_form(full_name: &str) -> bool {
    let Some(name) = full_name.strip_prefix("google.protobuf.") else { return false };
    matches!(name, "Any" | "Duration" | "Timestamp" | "FieldMask" | "Struct" | "Value" | "ListValue")
        || is_wrapper(name)
}

fn is_wrapper(name: &str) -> bool {
    name.strip_suffix("Value").is_some_and(|kind| {
        matches!(
            kind,
            "Double" | "Float" | "Int64" | "UInt64" | "Int32" | "UInt32" | "Bool" | "String" | "Bytes"
        )
    })
}

impl Reader {
    /// Reads a well-known message; `None` when the ordinary map form is meant.
    pub(super) fn well_known(
        &mut self,
        name: &str,
        message_type: MessageType,
        node: &Node,
        path: &Path<'_>,
    ) -> Option<Message> {
        let parsed = match (name, node) {
            ("Any", _) => return Some(self.any(message_type, node, path)),
            ("Struct", Node::Map(_)) => return Some(self.json_struct(message_type, node, path)),
            ("Value", _) => return Some(self.json_value(message_type, node, path)),
            ("ListValue", Node::List(_)) => return Some(self.json_list(message_type, node, path)),
            ("Struct" | "ListValue", _) => {
                Err(if name == "Struct" { "expected a map" } else { "expected a list" })
            }
            (_, Node::Map(_) | Node::Null) => return None,
            ("Duration", Node::String(text)) => duration(text),
            ("Timestamp", Node::String(text)) => timestamp(text),
            ("FieldMask", Node::String(text)) => return Some(field_mask(message_type, text)),
            ("Duration", _) => Err("expected a duration in seconds such as \"1.5s\""),
            ("Timestamp", _) => Err("expected a time such as \"2030-01-31T12:00:00Z\""),
            (wrapper, _) if is_wrapper(wrapper) => {
                let field = message_type.field_numbered(1)?;
                let mut message = Message::new(message_type);
                if let Some(value) = self.value(field.kind(), node, path) {
                    message.set(field, value);
                }
                return Some(message);
            }
            _ => return None,
        };
        let mut message = Message::new(message_type);
        match parsed {
            Ok((seconds, nanos)) => {
                let fields = [(1, Value::I64(seconds)), (2, Value::I32(nanos))];
                for (number, value) in fields {
                    if let Some(field) = message_type.field_numbered(number) {
                        message.set(field, value);
                    }
                }
            }
            Err(reason) => self.refuse(path, node, reason),
        }
        Some(message)
    }

    fn json_struct(&mut self, message_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        let mut message = Message::new(message_type);
        if let Some(field) = message_type.field_numbered(1)
            && let Some(value) = self.field(field, node, path)
        {
            message.set(field, value);
        }
        message
    }

    fn json_list(&mut self, message_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        self.json_struct(message_type, node, path)
    }

    fn json_value(&mut self, message_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        let number = match node {
            Node::Null => 1,
            Node::Int(_) | Node::Uint(_) | Node::Float(_) => 2,
            Node::String(_) => 3,
            Node::Bool(_) => 4,
            Node::Map(_) => 5,
            Node::List(_) => 6,
        };
        let mut message = Message::new(message_type);
        if let Some(field) = message_type.field_numbered(number)
            && let Some(value) = self.value(field.kind(), node, path)
        {
            message.set(field, value);
        }
        message
    }
}

/// `1.5s` to seconds and nanoseconds, which have one sign.
fn duration(text: &str) -> Result<(i64, i32), &'static str> {
    const LIMIT: i64 = 315_576_000_000;
    let number =
        text.strip_suffix('s').ok_or("a duration is a number of seconds with an 's', such as \"1.5s\"")?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, fraction) =
        number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) {
        return Err("a duration is a number of seconds with an 's', such as \"1.5s\"");
    }
    let seconds: i64 = whole.parse().map_err(|_| "the duration is out of range")?;
    if seconds > LIMIT {
        return Err("the duration is out of range");
    }
    let nanos = fraction.map_or(Ok(0), nanoseconds)?;
    Ok(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// One to nine digits behind the point.
fn nanoseconds(text: &str) -> Result<i32, &'static str> {
    const REASON: &str = "a fraction of a second has one to nine digits";
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(REASON);
    }
    format!("{text:0<9}").parse().map_err(|_| REASON)
}

/// RFC 3339 to seconds since 1970 and nanoseconds.
fn timestamp(text: &str) -> Result<(i64, i32), &'static str> {
    const REASON: &str = "expected a time such as \"2030-01-31T12:00:00Z\"";
    let field = |from: usize, to: usize| -> Result<i64, &'static str> {
        let digits = text.get(from..to).ok_or(REASON)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(REASON);
        }
        digits.parse().map_err(|_| REASON)
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks
        .iter()
        .all(|(at, mark)| text.as_bytes().get(*at).is_some_and(|byte| byte.eq_ignore_ascii_case(mark)))
    {
        return Err(REASON);
    }
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && year > 0;
    if !in_range {
        return Err("the time is out of range");
    }
    let rest = text.get(19..).ok_or(REASON)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).ok_or(REASON)?;
    let (fraction, zone) = rest.split_at(zone_at);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => nanoseconds(digits)?,
        None if fraction.is_empty() => 0,
        None => return Err(REASON),
    };
    let offset = zone_offset(zone).ok_or(REASON)?;
    Ok((days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos))
}

/// Length of a month, from 1.
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds east of UTC.
fn zone_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let hours: i64 = hours.parse::<u8>().ok()?.into();
    let minutes: i64 = minutes.parse::<u8>().ok()?.into();
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, by counting whole years and months.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    before * 365 + leap_days + months + day - 1 - 719_162
}

/// `a.bC,d` to the paths `a.b_c` and `d`.
fn field_mask(message_type: MessageType, text: &str) -> Message {
    let mut message = Message::new(message_type);
    let paths = text.split(',').filter(|path| !path.is_empty()).map(|path| {
        let mut snake = String::new();
        for c in path.chars() {
            if c.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        }
        Value::String(snake)
    });
    if let Some(field) = message_type.field_numbered(1).filter(|field| field.kind() == Kind::String) {
        message.set(field, Value::List(paths.collect()));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_grammar_of_envoys_parser() {
        assert_eq!(duration("1.5s"), Ok((1, 500_000_000)));
        assert_eq!(duration("-0.25s"), Ok((0, -250_000_000)));
        for bad in ["1", "100ms", ".5s", "1.s", "+1s", "1.0123456789s", "s", "1e3s", "999999999999s", "-s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn timestamps_know_zones_and_leap_years() {
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Ok((0, 0)));
        assert_eq!(timestamp("2000-02-29T12:00:00.5+01:00"), Ok((951_822_000, 500_000_000)));
        for bad in ["2001-02-29T00:00:00Z", "2001-01-01", "2001-01-01T24:00:00Z", "2001-01-01T00:00:00", "x"]
        {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
    }
}
