//! The configuration of stats: `stats_config` of the bootstrap and `--stats-tag`, as plain values.
//!
//! The compile step fills [`StatsConfig`]; [`StatsConfig::compile`] checks its expressions. Regular expressions are RE2's
//! or ECMAScript's in the wild, so one that the `regex` crate refuses (look-ahead) goes to a backtracking engine with a
//! step limit.

use thiserror::Error;

use super::tags::Extractor;

/// Steps after which a backtracking expression counts as not matching.
const BACKTRACK_LIMIT: usize = 10_000;

/// What the bootstrap says about stats (`envoy.config.metrics.v3.StatsConfig`).
#[derive(Debug, Clone)]
pub struct StatsConfig {
    /// `stats_tags`.
    pub tags: Vec<TagRule>,
    /// `use_all_default_tags`, on unless set to false.
    pub use_all_default_tags: bool,
    /// `--stats-tag name:value`.
    pub cli_tags: Vec<(String, String)>,
    /// `stats_matcher`.
    pub matcher: StatsMatcher,
    /// `histogram_bucket_settings`, the first that matches counts.
    pub buckets: Vec<BucketRule>,
    /// Prefixes whose stats Prometheus prints without them and without `envoy_`.
    pub custom_namespaces: Vec<String>,
    /// How many metrics with tags of their own (see `Stats::metric`) may exist. More are refused and counted.
    pub max_metrics: usize,
}

impl Default for StatsConfig {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            use_all_default_tags: true,
            cli_tags: Vec::new(),
            matcher: StatsMatcher::All,
            buckets: Vec::new(),
            custom_namespaces: vec!["istiocustom".to_owned()],
            max_metrics: 100_000,
        }
    }
}

/// One entry of `stats_tags`.
#[derive(Debug, Clone)]
pub struct TagRule {
    /// `tag_name`.
    pub name: String,
    /// `regex` or `fixed_value`.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Debug, Clone)]
pub enum TagValue {
    /// The first group is cut from the name, the second (or else the first) is the value.
    Regex(String),
    /// The same for all stats.
    Fixed(String),
    /// Neither is given: the default rule of that name.
    Default,
}

/// `stats_matcher`: which stats exist.
#[derive(Debug, Clone)]
pub enum StatsMatcher {
    /// No matcher.
    All,
    /// `reject_all`.
    None,
    /// `exclusion_list`.
    Except(Vec<StringMatch>),
    /// `inclusion_list`.
    Only(Vec<StringMatch>),
}

/// One entry of `histogram_bucket_settings`.
#[derive(Debug, Clone)]
pub struct BucketRule {
    /// `match`, over the histogram's full name.
    pub matches: StringMatch,
    /// `buckets`, ascending upper bounds.
    pub bounds: Vec<f64>,
}

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Debug, Clone)]
pub struct StringMatch {
    /// The pattern.
    pub pattern: StringPattern,
    /// `ignore_case`; has no effect on a regular expression.
    pub ignore_case: bool,
}

/// The `match_pattern` of a [`StringMatch`].
#[derive(Debug, Clone)]
pub enum StringPattern {
    /// `exact`
    Exact(String),
    /// `prefix`
    Prefix(String),
    /// `suffix`
    Suffix(String),
    /// `contains`
    Contains(String),
    /// `safe_regex`, over the whole name.
    Regex(String),
}

/// What is wrong with a [`StatsConfig`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StatsConfigError {
    /// A regular expression cannot be compiled.
    #[error("{field}: `{pattern}` is not a valid regular expression: {reason}")]
    Regex {
        /// The field's path below `stats_config`.
        field: String,
        /// The expression.
        pattern: String,
        /// What the engine says.
        reason: String,
    },
    /// A tag has neither a rule nor a default one.
    #[error("stats_tags[{index}]: `{name}` has no regex or fixed_value and is not the name of a default tag")]
    UnknownTag {
        /// Position in the list.
        index: usize,
        /// The tag.
        name: String,
    },
    /// Bucket bounds do not ascend.
    #[error("histogram_bucket_settings[{index}].buckets: bounds must be positive and ascend")]
    Buckets {
        /// Position in the list.
        index: usize,
    },
}

/// A [`StatsConfig`] that has been checked.
pub(super) struct Compiled {
    pub(super) extractor: Extractor,
    pub(super) max_metrics: usize,
    matcher: NameFilter,
    buckets: Vec<(Matcher, Vec<f64>)>,
    namespaces: Vec<String>,
}

enum NameFilter {
    All,
    None,
    Except(Vec<Matcher>),
    Only(Vec<Matcher>),
}

struct Matcher {
    pattern: StringPattern,
    ignore_case: bool,
    regex: Option<Pattern>,
}

/// Envoy's default buckets, milliseconds or whatever the histogram counts.
const DEFAULT_BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

impl StatsConfig {
    /// Checks and compiles.
    pub(super) fn compile(&self) -> Result<Compiled, StatsConfigError> {
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for (index, rule) in self.buckets.iter().enumerate() {
            let ascend = rule.bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascend || rule.bounds.iter().any(|bound| !bound.is_finite() || *bound <= 0.0) {
                return Err(StatsConfigError::Buckets { index });
            }
            let field = format!("histogram_bucket_settings[{index}].match");
            buckets.push((Matcher::new(&rule.matches, &field)?, rule.bounds.clone()));
        }
        Ok(Compiled {
            extractor: Extractor::new(self)?,
            max_metrics: self.max_metrics,
            matcher: match &self.matcher {
                StatsMatcher::All => NameFilter::All,
                StatsMatcher::None => NameFilter::None,
                StatsMatcher::Except(list) => NameFilter::Except(matchers(list, "exclusion_list")?),
                StatsMatcher::Only(list) => NameFilter::Only(matchers(list, "inclusion_list")?),
            },
            buckets,
            namespaces: self.custom_namespaces.iter().map(|name| format!("{name}.")).collect(),
        })
    }
}

impl Compiled {
    /// Whether `stats_matcher` lets a stat exist.
    pub(super) fn admits(&self, name: &str) -> bool {
        match &self.matcher {
            NameFilter::All => true,
            NameFilter::None => false,
            NameFilter::Except(list) => !list.iter().any(|matcher| matcher.matches(name)),
            NameFilter::Only(list) => list.iter().any(|matcher| matcher.matches(name)),
        }
    }

    /// The bucket bounds of a histogram.
    pub(super) fn buckets(&self, name: &str) -> &[f64] {
        let chosen = self.buckets.iter().find(|(matcher, _)| matcher.matches(name));
        chosen.map_or(&DEFAULT_BUCKETS, |(_, bounds)| bounds)
    }

    /// What is left of a name under a custom namespace.
    pub(super) fn strip_namespace<'a>(&self, name: &'a str) -> Option<&'a str> {
        let stripped = self.namespaces.iter().find_map(|namespace| name.strip_prefix(namespace.as_str()));
        stripped.or_else(|| name.starts_with("istio_").then_some(name))
    }
}

fn matchers(list: &[StringMatch], field: &str) -> Result<Vec<Matcher>, StatsConfigError> {
    let each = list.iter().enumerate();
    each.map(|(at, rule)| Matcher::new(rule, &format!("stats_matcher.{field}.patterns[{at}]"))).collect()
}

impl Matcher {
    fn new(rule: &StringMatch, field: &str) -> Result<Self, StatsConfigError> {
        let lower = |text: &String| if rule.ignore_case { text.to_ascii_lowercase() } else { text.clone() };
        let mut regex = None;
        let pattern = match &rule.pattern {
            StringPattern::Exact(text) => StringPattern::Exact(lower(text)),
            StringPattern::Prefix(text) => StringPattern::Prefix(lower(text)),
            StringPattern::Suffix(text) => StringPattern::Suffix(lower(text)),
            StringPattern::Contains(text) => StringPattern::Contains(lower(text)),
            StringPattern::Regex(text) => {
                let whole =
                    Pattern::new(&format!("^(?:{text})$")).map_err(|reason| StatsConfigError::Regex {
                        field: format!("{field}.safe_regex"),
                        pattern: text.clone(),
                        reason,
                    })?;
                regex = Some(whole);
                rule.pattern.clone()
            }
        };
        Ok(Self { pattern, ignore_case: rule.ignore_case, regex })
    }

    fn matches(&self, name: &str) -> bool {
        if let Some(regex) = &self.regex {
            return regex.is_match(name);
        }
        if self.ignore_case {
            self.matches_plain(&name.to_ascii_lowercase())
        } else {
            self.matches_plain(name)
        }
    }

    fn matches_plain(&self, name: &str) -> bool {
        match &self.pattern {
            StringPattern::Exact(text) => name == text,
            StringPattern::Prefix(text) => name.starts_with(text.as_str()),
            StringPattern::Suffix(text) => name.ends_with(text.as_str()),
            StringPattern::Contains(text) => name.contains(text.as_str()),
            StringPattern::Regex(_) => false,
        }
    }
}

/// A regular expression on the engine that can run it.
#[derive(Debug)]
pub(super) enum Pattern {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles, on the linear engine if it can. The error is the reason in words.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if let Ok(regex) = regex::Regex::new(pattern) {
            return Ok(Self::Linear(regex));
        }
        let built = fancy_regex::RegexBuilder::new(pattern).backtrack_limit(BACKTRACK_LIMIT).build();
        built.map(|regex| Self::Backtracking(Box::new(regex))).map_err(|error| error.to_string())
    }

    /// Whether it matches anywhere in the text. Reaching the step limit counts as no.
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Linear(regex) => regex.is_match(text),
            Self::Backtracking(regex) => regex.is_match(text).unwrap_or(false),
        }
    }

    /// The ranges of the first and the second group of the first match; the first again if there is no second.
    pub(super) fn groups(&self, text: &str) -> Option<((usize, usize), (usize, usize))> {
        let (first, second) = match self {
            Self::Linear(regex) => {
                let found = regex.captures(text)?;
                let range = |at| found.get(at).map(|group| (group.start(), group.end()));
                (range(1)?, range(2))
            }
            Self::Backtracking(regex) => {
                let found = regex.captures(text).ok().flatten()?;
                let range = |at| found.get(at).map(|group| (group.start(), group.end()));
                (range(1)?, range(2))
            }
        };
        Some((first, second.unwrap_or(first)))
    }
}
