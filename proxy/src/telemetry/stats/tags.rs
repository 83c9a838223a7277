//! Tags: the variable parts of a stat's name, taken out so that Prometheus can print them as labels.
//!
//! Every rule looks at the whole original name; what the rules remove is cut out together at the end. A rule whose
//! expression begins with a literal first token (`^cluster\.`) is tried on names of that token only, after all others:
//! this decides the order of labels, and keeps a scrape of thousands of clusters cheap.

mod defaults;

use std::sync::Arc;

use memchr::memmem;
use smallvec::SmallVec;

use super::config::{Pattern, StatsConfig, StatsConfigError, TagValue};

/// A name and a value.
pub type Tag = (Arc<str>, String);

/// A stat's name without its variable parts, and those parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Tagged {
    /// What is left of the name.
    pub name: String,
    /// In the order in which they are printed.
    pub tags: Vec<Tag>,
}

/// All rules, in the order in which they are tried.
pub(super) struct Extractor {
    anywhere: Vec<Rule>,
    by_token: Vec<(String, Vec<Rule>)>,
}

struct Rule {
    tag: Arc<str>,
    /// What a name must contain; see the default rules.
    hint: &'static str,
    how: How,
}

/// How a rule finds its value.
enum How {
    Fixed(String),
    Pattern(Pattern),
    Tokens(&'static str),
    Found(defaults::Find),
}

/// A range to cut and the range of the value, which lies in it (except for fixed values, which cut nothing).
type Cut = ((usize, usize), (usize, usize));

impl Extractor {
    pub(super) fn new(config: &StatsConfig) -> Result<Self, StatsConfigError> {
        let mut extractor = Self { anywhere: Vec::new(), by_token: Vec::new() };
        if config.use_all_default_tags {
            for default in defaults::ALL {
                extractor.add_default(default);
            }
        }
        for (name, value) in &config.cli_tags {
            extractor.anywhere.push(Rule {
                tag: name.as_str().into(),
                hint: "",
                how: How::Fixed(value.clone()),
            });
        }
        for (index, rule) in config.tags.iter().enumerate() {
            extractor.add_configured(index, &rule.name, &rule.value)?;
        }
        Ok(extractor)
    }

    fn add_default(&mut self, default: &defaults::Default) {
        let how = match default.how {
            defaults::How::Tokens(pattern) => How::Tokens(pattern),
            defaults::How::Find(find) => How::Found(find),
        };
        self.add(default.token.map(str::to_owned), Rule { tag: default.tag.into(), hint: default.hint, how });
    }

    fn add_configured(&mut self, index: usize, name: &str, value: &TagValue) -> Result<(), StatsConfigError> {
        match value {
            TagValue::Fixed(value) => {
                self.add(None, Rule { tag: name.into(), hint: "", how: How::Fixed(value.clone()) });
            }
            TagValue::Regex(pattern) => {
                let compiled = Pattern::new(pattern).map_err(|reason| StatsConfigError::Regex {
                    field: format!("stats_tags[{index}].regex"),
                    pattern: pattern.clone(),
                    reason,
                })?;
                self.add(
                    first_token_of(pattern),
                    Rule { tag: name.into(), hint: "", how: How::Pattern(compiled) },
                );
            }
            TagValue::Default => {
                let mut known = defaults::ALL.iter().filter(|default| default.tag == name).peekable();
                if known.peek().is_none() {
                    return Err(StatsConfigError::UnknownTag { index, name: name.to_owned() });
                }
                known.for_each(|default| self.add_default(default));
            }
        }
        Ok(())
    }

    fn add(&mut self, token: Option<String>, rule: Rule) {
        let Some(token) = token else { return self.anywhere.push(rule) };
        match self.by_token.iter_mut().find(|(known, _)| *known == token) {
            Some((_, rules)) => rules.push(rule),
            None => self.by_token.push((token, vec![rule])),
        }
    }

    /// Takes the tags out of a name.
    pub(super) fn extract(&self, name: &str) -> Tagged {
        let mut tags: Vec<Tag> = Vec::new();
        let mut cuts: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        let first = name.split('.').next().unwrap_or(name);
        let of_token =
            self.by_token.iter().find(|(token, _)| token == first).map(|(_, rules)| rules.as_slice());
        let mut looked_for = ("", true);
        for rule in self.anywhere.iter().chain(of_token.unwrap_or_default()) {
            if let How::Fixed(value) = &rule.how {
                push_once(&mut tags, rule, value.clone());
                continue;
            }
            if looked_for.0 != rule.hint {
                looked_for = (rule.hint, memmem::find(name.as_bytes(), rule.hint.as_bytes()).is_some());
            }
            if !looked_for.1 {
                continue;
            }
            if let Some((cut, (start, end))) = rule.find(name)
                && push_once(&mut tags, rule, name.get(start..end).unwrap_or_default().to_owned())
            {
                cuts.push(cut);
            }
        }
        Tagged { name: without(name, cuts), tags }
    }
}

impl Rule {
    fn find(&self, name: &str) -> Option<Cut> {
        match &self.how {
            How::Fixed(_) => None,
            How::Pattern(pattern) => pattern.groups(name),
            How::Tokens(pattern) => defaults::find_tokens(pattern, name),
            How::Found(find) => find(name),
        }
    }
}

/// Adds a tag unless an earlier rule found one of the same name.
fn push_once(tags: &mut Vec<Tag>, rule: &Rule, value: String) -> bool {
    let fresh = !tags.iter().any(|(name, _)| *name == rule.tag);
    if fresh {
        tags.push((Arc::clone(&rule.tag), value));
    }
    fresh
}

/// The name without the cut ranges, which may overlap.
fn without(name: &str, mut cuts: SmallVec<[(usize, usize); 4]>) -> String {
    cuts.sort_unstable();
    let mut rest = String::with_capacity(name.len());
    let mut at = 0;
    for (start, end) in cuts {
        if start > at {
            rest.push_str(name.get(at..start).unwrap_or_default());
        }
        at = at.max(end);
    }
    rest.push_str(name.get(at..).unwrap_or_default());
    rest
}

/// The literal token that an expression demands at the start of a name: `^cluster\.…` or `^cluster(?=\.)…`.
fn first_token_of(pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix('^')?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|end| *end > 0)?;
    let (token, after) = rest.split_at(end);
    (after.starts_with("\\.") || after.starts_with("(?=\\.)")).then(|| token.to_owned())
}

#[cfg(test)]
mod tests;
