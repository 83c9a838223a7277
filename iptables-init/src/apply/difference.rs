//! One way in which the kernel differs from the plan, and its sentence for `sampan-init check`.

use std::fmt;

use crate::plan::HostStep;

/// A chain in a table, as the back-end calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A chain is not there, nor are its rules.
    MissingChain {
        /// Where it belongs.
        place: Place,
        /// How many rules it shall have.
        rules: usize,
    },
    /// A rule is not there.
    MissingRule {
        /// Where it belongs.
        place: Place,
        /// Its number among the plan's rules for the chain.
        number: usize,
        /// The rule.
        rule: String,
    },
    /// A rule of ours is there that the plan does not have.
    ExtraRule {
        /// Where.
        place: Place,
        /// The rule.
        rule: String,
    },
    /// A chain of ours is there that the plan does not have.
    ExtraChain {
        /// Where.
        place: Place,
        /// How many rules it has.
        rules: usize,
    },
    /// The rules are the plan's, but not their order.
    Order(Place),
    /// A step besides the rules is not done.
    MissingStep(HostStep),
    /// A step besides the rules is done that the plan does not have.
    ExtraStep(HostStep),
    /// Another back-end holds rules of ours too, and both act.
    Elsewhere(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.chain)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingChain { place, rules } => {
                write!(
                    f,
                    "missing: {} has no chain {}, which shall have {rules} rule(s)",
                    place.table, place.chain
                )
            }
            Self::MissingRule { place, number, rule } => write!(f, "missing: {place} rule {number}: {rule}"),
            Self::ExtraRule { place, rule } => write!(f, "not planned: {place} has the rule: {rule}"),
            Self::ExtraChain { place, rules } => {
                write!(f, "not planned: {} has the chain {} with {rules} rule(s)", place.table, place.chain)
            }
            Self::Order(place) => write!(f, "in another order: the rules of {place}"),
            Self::MissingStep(step) => write!(f, "missing: {step}"),
            Self::ExtraStep(step) => write!(f, "not planned: {step}"),
            Self::Elsewhere(program) => {
                write!(f, "not planned: {program} holds rules of an earlier run too, and both act")
            }
        }
    }
}
