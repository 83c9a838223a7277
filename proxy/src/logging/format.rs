//! The line format: the pattern language of spdlog, which is what `--log-format` takes in Envoy.
//!
//! A pattern is compiled once to pieces; a line is then one pass over them. Flags that the original does not
//! know are printed as they stand, as it does. Two flags are Envoy's own: `%_` (message on one line) and
//! `%j` (message as the inside of a JSON string).

use std::fmt::Write as _;

use chrono::{DateTime, Local, Timelike as _};

use super::Level;

/// The default of `--log-format`.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// Why a format is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Envoy refuses these two flags in a JSON format, because they could break the JSON.
    #[error("setLogFormat error: INVALID_ARGUMENT: Usage of %{0} is unavailable for JSON log formats")]
    NotInJson(char),
    /// `json_format` is not an object.
    #[error("application_log_config.log_format.json_format must be an object")]
    NotAnObject,
}

/// A compiled format.
#[derive(Debug, Clone)]
pub struct Format {
    pieces: Vec<Piece>,
    escape: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Flag(char, Padding),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Padding {
    width: usize,
    align: Align,
    truncate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Align {
    Left,
    Center,
    #[default]
    Right,
}

/// What a line is about.
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) logger: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
    pub(super) message: &'a str,
}

impl Format {
    /// Compiles a pattern. With `escape`, whole lines are escaped as in C (`--log-format-escaped`).
    pub fn new(pattern: &str, escape: bool) -> Self {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let padding = padding(&mut chars);
            match chars.next() {
                Some('%') => text.push('%'),
                Some(flag) if known(flag) => {
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(Piece::Flag(flag, padding));
                }
                Some(other) => {
                    text.push('%');
                    text.push(other);
                }
                None => {}
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Self { pieces, escape }
    }

    pub(super) fn write(&self, out: &mut String, line: &Line<'_>) {
        self.write_at(out, line, &Local::now());
    }

    fn write_at(&self, out: &mut String, line: &Line<'_>, now: &DateTime<Local>) {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Flag(flag, padding) => {
                    let from = out.len();
                    write_flag(out, *flag, line, now);
                    pad(out, from, *padding);
                }
            }
        }
        if self.escape {
            let raw = out.split_off(start);
            let body = raw.trim_end();
            escape_c(out, body);
            out.push_str(&raw[body.len()..]);
        }
        out.push('\n');
    }
}

/// The pattern for the bootstrap's `json_format`: the object, with its flags left in place.
///
/// # Errors
/// Not an object, or a flag that could break the JSON.
pub fn json_pattern(object: &serde_json::Value) -> Result<String, FormatError> {
    if !object.is_object() {
        return Err(FormatError::NotAnObject);
    }
    let pattern = object.to_string();
    for flag in ['v', '_'] {
        if pattern.contains(&format!("%{flag}")) {
            return Err(FormatError::NotInJson(flag));
        }
    }
    Ok(pattern)
}

fn known(flag: char) -> bool {
    "vtPnlLaAbBhcCYDxmdHIMSefFprRTXzE+sg#@!oiuO_j^$".contains(flag)
}

fn padding(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Padding {
    let align = match chars.peek() {
        Some('-') => Some(Align::Left),
        Some('=') => Some(Align::Center),
        _ => None,
    };
    if align.is_some() {
        chars.next();
    }
    let mut width = 0;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        // spdlog caps the width as well.
        width = (width * 10 + digit as usize).min(64);
        chars.next();
    }
    let truncate = width > 0 && chars.next_if_eq(&'!').is_some();
    Padding { width, align: align.unwrap_or_default(), truncate }
}

fn write_flag(out: &mut String, flag: char, line: &Line<'_>, now: &DateTime<Local>) {
    // Writing to a String cannot fail, and every date pattern below is valid.
    let _ = match flag {
        'v' => out.write_str(line.message),
        '_' => out.write_str(&line.message.replace('\n', "\\n")),
        'j' => push_json(out, line.message),
        'l' => out.write_str(line.level.name()),
        'L' => write!(out, "{}", line.level.letter()),
        'n' => out.write_str(line.logger),
        'g' => out.write_str(line.file),
        's' => out.write_str(line.file.rsplit('/').next().unwrap_or_default()),
        '#' => write!(out, "{}", line.line),
        '@' => write!(out, "{}:{}", line.file, line.line),
        't' => write!(out, "{}", thread_id()),
        'P' => write!(out, "{}", std::process::id()),
        'e' => write!(out, "{:03}", now.timestamp_subsec_millis() % 1000),
        'f' => write!(out, "{:06}", now.timestamp_subsec_micros() % 1_000_000),
        'F' => write!(out, "{:09}", now.nanosecond() % 1_000_000_000),
        'E' => write!(out, "{}", now.timestamp()),
        // The function name, the time since the last line and colours are not known here.
        '!' | 'o' | 'i' | 'u' | 'O' | '^' | '$' => Ok(()),
        '+' => {
            Format::new("[%Y-%m-%d %H:%M:%S.%e] [%n] [%l] [%s:%#] %v", false).pieces.iter().for_each(
                |piece| match piece {
                    Piece::Text(text) => out.push_str(text),
                    Piece::Flag(flag, _) => write_flag(out, *flag, line, now),
                },
            );
            Ok(())
        }
        date => write!(out, "{}", now.format(date_pattern(date))),
    };
}

fn date_pattern(flag: char) -> &'static str {
    match flag {
        'a' => "%a",
        'A' => "%A",
        'b' | 'h' => "%b",
        'B' => "%B",
        'c' => "%a %b %e %H:%M:%S %Y",
        'C' => "%y",
        'Y' => "%Y",
        'D' | 'x' => "%m/%d/%y",
        'm' => "%m",
        'd' => "%d",
        'H' => "%H",
        'I' => "%I",
        'M' => "%M",
        'S' => "%S",
        'p' => "%p",
        'r' => "%I:%M:%S %p",
        'R' => "%H:%M",
        'T' | 'X' => "%H:%M:%S",
        _ => "%:z",
    }
}

fn push_json(out: &mut String, text: &str) -> std::fmt::Result {
    let quoted = serde_json::Value::from(text).to_string();
    out.write_str(quoted.get(1..quoted.len() - 1).unwrap_or_default())
}

fn pad(out: &mut String, from: usize, padding: Padding) {
    if padding.width == 0 {
        return;
    }
    let length = out[from..].chars().count();
    if length > padding.width {
        if padding.truncate
            && let Some((cut, _)) = out[from..].char_indices().nth(padding.width)
        {
            out.truncate(from + cut);
        }
        return;
    }
    let missing = padding.width - length;
    let before = match padding.align {
        Align::Left => 0,
        Align::Center => missing / 2,
        Align::Right => missing,
    };
    out.insert_str(from, &" ".repeat(before));
    out.push_str(&" ".repeat(missing - before));
}

fn escape_c(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' => out.push_str("\\\""),
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
        }
    }
}

fn thread_id() -> i32 {
    thread_local! {
        static ID: i32 = rustix::thread::gettid().as_raw_nonzero().get();
    }
    ID.with(|id| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    fn written(pattern: &str, escape: bool, message: &str) -> String {
        let now = Local.with_ymd_and_hms(2026, 3, 4, 15, 6, 7).single().expect("a time");
        let now = now + chrono::Duration::nanoseconds(8_009_010);
        let line =
            Line { level: Level::Warning, logger: "main", file: "proxy/src/run.rs", line: 12, message };
        let mut out = String::new();
        Format::new(pattern, escape).write_at(&mut out, &line, &now);
        out
    }

    #[test]
    fn the_default_line_is_envoys() {
        let line = written(DEFAULT_FORMAT, false, "hello");
        let thread = thread_id();
        assert_eq!(
            line,
            format!("[2026-03-04 15:06:07.008][{thread}][warning][main] [proxy/src/run.rs:12] hello\n")
        );
    }

    #[test]
    fn flags_padding_and_unknown_ones() {
        assert_eq!(written("%L %s %C %I %p %f %F %%", false, ""), "W run.rs 26 03 PM 008009 008009010 %\n");
        assert_eq!(written("[%8n][%-8n][%=8n][%3!n]", false, ""), "[    main][main    ][  main  ][mai]\n");
        assert_eq!(written("a %Z %", false, ""), "a %Z \n");
        assert_eq!(written("%_|%j", false, "a\n\"b\""), "a\\n\"b\"|a\\n\\\"b\\\"\n");
        assert_eq!(written("%999999999999999999n", false, "").len(), 65);
    }

    #[test]
    fn escaped_lines_keep_their_trailing_space() {
        assert_eq!(written("%v \"x\" \\t ", true, "é\n"), "\\303\\251\\n \\\"x\\\" \\\\t \n");
    }

    #[test]
    fn json_formats() {
        let object = serde_json::json!({"Level": "%l", "Message": "%j", "n": 1});
        let pattern = json_pattern(&object).expect("a pattern");
        assert_eq!(
            written(&pattern, false, "a\"b"),
            "{\"Level\":\"warning\",\"Message\":\"a\\\"b\",\"n\":1}\n"
        );
        assert_eq!(json_pattern(&serde_json::json!({"m": "%v"})), Err(FormatError::NotInJson('v')));
        assert_eq!(json_pattern(&serde_json::json!("x")), Err(FormatError::NotAnObject));
    }
}
