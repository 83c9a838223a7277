//! `filter_disabled` of a listener filter: connections that it lets pass.

use std::ops::Range;

use sampan_filters_api::ConnectionInfo;

/// `envoy.config.listener.v3.ListenerFilterChainMatchPredicate`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    /// `any_match`
    Any,
    /// `destination_port_range`: of the destination as it is known when the filter's turn comes.
    DestinationPort(Range<i32>),
    /// `not_match`
    Not(Box<Predicate>),
    /// `and_match`
    And(Vec<Predicate>),
    /// `or_match`
    Or(Vec<Predicate>),
}

impl Predicate {
    /// Whether it is true of a connection. One without ports has none that a range could hold.
    pub(crate) fn holds(&self, info: &ConnectionInfo) -> bool {
        match self {
            Self::Any => true,
            Self::DestinationPort(range) => {
                info.local.socket().is_some_and(|local| range.contains(&i32::from(local.port())))
            }
            Self::Not(rule) => !rule.holds(info),
            Self::And(rules) => rules.iter().all(|rule| rule.holds(info)),
            Self::Or(rules) => rules.iter().any(|rule| rule.holds(info)),
        }
    }
}
