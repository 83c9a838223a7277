//! Conditions on dynamic metadata (`envoy.type.matcher.v3.MetadataMatcher`).

use sampan_filters_api::info::{DynamicMetadata, MetadataValue};
use sampan_model::route::StringMatch;

/// A condition on one value.
#[derive(Clone, Debug)]
pub struct MetadataMatch {
    /// The namespace, usually a filter's name.
    pub namespace: Box<str>,
    /// The keys that lead to the value.
    pub path: Vec<Box<str>>,
    /// What the value must be.
    pub value: ValueMatch,
    /// The result where there is no value.
    pub missing: bool,
    /// `invert`. It has no effect in [`MetadataMatch::is_match`]: Envoy's filter of access logs ignores it too.
    pub invert: bool,
}

/// A condition on a metadata value (`envoy.type.matcher.v3.ValueMatcher`).
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// `null_match`
    Null,
    /// `double_match.exact`
    Exactly(f64),
    /// `double_match.range`: from the first, below the second.
    Range(f64, f64),
    /// `string_match`
    String(StringMatch),
    /// `bool_match`
    Bool(bool),
    /// `present_match`: what is not wanted to be there is never matched.
    Present(bool),
    /// `list_match.one_of`
    OneOf(Box<ValueMatch>),
    /// `or_match`
    Or(Vec<ValueMatch>),
}

impl MetadataMatch {
    /// Whether the condition holds.
    pub fn is_match(&self, metadata: &DynamicMetadata) -> bool {
        match metadata.namespace(&self.namespace).and_then(|space| space.at(&self.path)) {
            None => self.missing,
            Some(value) => self.value.is_match(value),
        }
    }

    /// Whether the condition holds, or does not where it is inverted.
    pub fn holds(&self, metadata: &DynamicMetadata) -> bool {
        self.is_match(metadata) != self.invert
    }
}

impl ValueMatch {
    /// Whether a value is as wanted.
    pub fn is_match(&self, value: &MetadataValue) -> bool {
        match (self, value) {
            (ValueMatch::Null, MetadataValue::Null) => true,
            (ValueMatch::Exactly(wanted), MetadataValue::Number(number)) => number.total_cmp(wanted).is_eq(),
            (ValueMatch::Range(start, end), MetadataValue::Number(number)) => (start..end).contains(&number),
            (ValueMatch::String(matcher), MetadataValue::String(text)) => matcher.is_match(text.as_bytes()),
            (ValueMatch::Bool(wanted), MetadataValue::Bool(truth)) => wanted == truth,
            (ValueMatch::Present(wanted), _) => *wanted,
            (ValueMatch::OneOf(matcher), MetadataValue::List(items)) => {
                items.iter().any(|item| matcher.is_match(item))
            }
            (ValueMatch::Or(matchers), value) => matchers.iter().any(|matcher| matcher.is_match(value)),
            _ => false,
        }
    }
}
