//! Where Sampan is meant to differ from Envoy: the reviewed list.
//!
//! Each entry names the case, what differs, and the id of the paragraph in `docs/differences.md` that says why. An entry that no
//! longer describes what happens is an error, so the list cannot go stale.

/// One intended difference.
pub struct Difference {
    /// `group/case`.
    pub case: &'static str,
    /// The facts that make the difference: name, Envoy's value, ours (`-` where the fact is absent).
    pub facts: &'static [(&'static str, &'static str, &'static str)],
    /// Prefixes of other facts that differ as a consequence.
    pub consequences: &'static [&'static str],
    /// The id in `docs/differences.md`.
    pub id: &'static str,
}

mod list;
mod talk;

pub use list::DIFFERENCES;
pub use talk::{TALK, Talk};

/// The entry for a case, if it has one.
pub fn of(case: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| difference.case == case)
}
