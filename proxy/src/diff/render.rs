//! Generations and differences as text. Names and values come from a control plane, so what a terminal would act on is shown and
//! not sent.

use std::fmt::Write as _;

use serde_json::Value as Json;

/// How text is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all.
    Plain,
    /// By colours.
    Colour,
}

impl Style {
    /// Colours only for a terminal whose user has not asked for none (`NO_COLOR`).
    pub(super) fn of(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_terminal && !refused { Self::Colour } else { Self::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// The longest value that is shown, in characters.
const LONGEST: usize = 400;
/// The most changes of a generation that a list shows.
const MOST: usize = 8;

/// `/generations`
pub(super) fn list(answer: &Json, style: Style) -> String {
    let current = answer["current"].as_u64();
    let generations = items(answer, "generations");
    if generations.is_empty() {
        return "no generation yet: nothing has come from a control plane\n".to_owned();
    }
    let mut text = style.paint(BOLD, "generation  time                      connections  changes");
    text.push('\n');
    for generation in generations {
        let number = generation["generation"].as_u64();
        let mark = if number == current { "*" } else { "" };
        let shown = format!("{mark}{}", number.unwrap_or_default());
        let _ = write!(
            text,
            "{shown:>10}  {:<24}{:>13}",
            clean(text_of(generation, "time")),
            generation["connections"].as_u64().unwrap_or_default()
        );
        let changes = items(generation, "changes");
        for (index, change) in changes.iter().take(MOST).enumerate() {
            let pad = if index == 0 { 2 } else { 51 };
            let _ = writeln!(text, "{:pad$}{}", "", title(change, style));
        }
        if let Some(more) = changes.len().checked_sub(MOST).filter(|more| *more > 0) {
            let _ = writeln!(text, "{:51}and {more} more", "");
        }
    }
    text
}

/// `/generations/diff`
pub(super) fn diff(answer: &Json, style: Style) -> String {
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    let mut text = style.paint(BOLD, &format!("generation {} -> {}", number("from"), number("to")));
    text.push('\n');
    let changes = items(answer, "changes");
    if changes.is_empty() {
        text.push_str("no difference\n");
    }
    for change in changes {
        let _ = writeln!(text, "\n{}  from {}", title(change, style), clean(text_of(change, "source")));
        for field in items(change, "fields") {
            let _ = writeln!(text, "    {}", clean(text_of(field, "path")));
            for (sign, name, colour) in [("-", "before", RED), ("+", "after", GREEN)] {
                if !field[name].is_null() {
                    let value = format!("      {sign} {}", value(&field[name]));
                    let _ = writeln!(text, "{}", style.paint(colour, &value));
                }
            }
        }
    }
    text
}

/// A change in a line: `~ cluster web 3 -> 4`.
fn title(change: &Json, style: Style) -> String {
    let (sign, colour) = match text_of(change, "change") {
        "added" => ("+", GREEN),
        "removed" => ("-", RED),
        _ => ("~", YELLOW),
    };
    let mut text = format!("{sign} {} {}", clean(text_of(change, "type")), clean(text_of(change, "name")));
    let version = |name: &str| Some(text_of(change, name)).filter(|text| !text.is_empty()).map(clean);
    let versions = match (version("previous_version"), version("version")) {
        (Some(before), Some(after)) if before != after => format!("  version {before} -> {after}"),
        (before, after) => after.or(before).map(|version| format!("  version {version}")).unwrap_or_default(),
    };
    text = style.paint(colour, &text);
    text.push_str(&versions);
    text
}

fn items<'a>(of: &'a Json, name: &str) -> &'a [Json] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn text_of<'a>(of: &'a Json, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// A value on one line, cut where it gets too long.
fn value(value: &Json) -> String {
    let text = clean(&match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    });
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Text without what a terminal would act on.
pub(super) fn clean(text: &str) -> String {
    let shown = |c: char| {
        // Marks that turn the direction of text could make it say something else than it does.
        let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_field_by_field() {
        let answer = json!({"from": 3, "to": 5, "changes": [
            {"type": "cluster", "name": "a", "change": "modified", "source": "ads", "previous_version": "1",
             "version": "2", "fields": [
                {"path": "alt_stat_name", "before": "one", "after": "two"},
                {"path": "hosts[1]", "before": null, "after": {"port": 1}}]},
            {"type": "listener", "name": "b", "change": "removed", "source": "ads", "previous_version": "7"},
        ]});
        let expected = "\
generation 3 -> 5

~ cluster a  version 1 -> 2  from ads
    alt_stat_name
      - one
      + two
    hosts[1]
      + {\"port\":1}

- listener b  version 7  from ads
";
        assert_eq!(diff(&answer, Style::Plain), expected);
        let coloured = diff(&answer, Style::Colour);
        assert!(coloured.contains("\x1b[31m      - one\x1b[0m\n"), "{coloured}");
        assert_eq!(diff(&json!({"from": 1, "to": 2}), Style::Plain), "generation 1 -> 2\nno difference\n");
    }

    #[test]
    fn a_list_of_generations() {
        let change = json!({"type": "cluster", "name": "a", "change": "added", "version": "1"});
        let answer = json!({"current": 4, "generations": [
            {"generation": 4, "time": "2026-01-02T03:04:05.678Z", "connections": 2, "changes": [change, change]},
            {"generation": 2, "time": "2026-01-02T03:04:04.678Z", "connections": 0, "changes": vec![change; 10]},
        ]});
        let text = list(&answer, Style::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "        *4  2026-01-02T03:04:05.678Z            2  + cluster a  version 1");
        assert_eq!(lines[2].trim(), "+ cluster a  version 1");
        assert_eq!(lines[2].find('+'), lines[1].find('+'));
        assert_eq!(lines.last().map(|line| line.trim()), Some("and 2 more"));
        assert!(list(&json!({"generations": []}), Style::Plain).starts_with("no generation"));
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let change = json!({"type": "cluster", "name": "a\u{1b}[2J\u{202e}", "change": "added"});
        let text = diff(&json!({"from": 1, "to": 2, "changes": [change]}), Style::Plain);
        assert!(text.contains("a\\u{1b}[2J\\u{202e}") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(value(&json!("x".repeat(1000))).chars().count(), LONGEST + 1);
    }
}
