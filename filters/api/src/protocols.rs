//! A list of application protocols to offer upstream (ALPN) in place of the configured one.
//!
//! Lists come from configurations only and are the same over and over, so each distinct one is kept for good and is compared and
//! hashed by its address: a request carries no more than a pointer.

use std::sync::{Mutex, PoisonError};

/// A list that is kept.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolSet(&'static [&'static [u8]]);

static KNOWN: Mutex<Vec<ProtocolSet>> = Mutex::new(Vec::new());

/// Distinct lists at most.
const MOST: usize = 256;
/// Names of a list at most, and bytes of a name (RFC 7301 §3.1).
const MOST_NAMES: usize = 64;
const LONGEST: usize = 255;

impl ProtocolSet {
    /// The list of these names; none if it cannot be offered, or if the process has seen too many different ones.
    pub fn of<N: AsRef<[u8]>>(names: &[N]) -> Option<Self> {
        let fits = |name: &N| (1..=LONGEST).contains(&name.as_ref().len());
        if names.is_empty() || names.len() > MOST_NAMES || !names.iter().all(fits) {
            return None;
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |set: &&ProtocolSet| set.0.iter().copied().eq(names.iter().map(AsRef::as_ref));
        if let Some(set) = known.iter().find(same) {
            return Some(*set);
        }
        if known.len() >= MOST {
            return None;
        }
        let names: Vec<&'static [u8]> =
            names.iter().map(|name| &*Box::leak(Box::<[u8]>::from(name.as_ref()))).collect();
        let set = Self(Box::leak(names.into_boxed_slice()));
        known.push(set);
        Some(set)
    }

    /// The names, the preferred one first.
    pub fn names(self) -> &'static [&'static [u8]] {
        self.0
    }
}

impl PartialEq for ProtocolSet {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for ProtocolSet {}

impl std::hash::Hash for ProtocolSet {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_are_the_same_list() {
        let one = ProtocolSet::of(&["istio-h2", "h2"]).unwrap();
        assert_eq!(ProtocolSet::of(&["istio-h2", "h2"]), Some(one));
        assert_ne!(ProtocolSet::of(&["h2", "istio-h2"]), Some(one));
        assert_eq!(one.names(), [&b"istio-h2"[..], b"h2"]);
        assert_eq!(ProtocolSet::of::<&str>(&[]), None);
        assert_eq!(ProtocolSet::of(&[""]), None);
        assert_eq!(ProtocolSet::of(&["x".repeat(256)]), None);
    }
}
