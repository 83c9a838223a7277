//! Host name to virtual host, as Envoy orders it: the exact name, then the longest `*suffix`, then the longest `prefix*`,
//! then `*`. Names compare without case, and a wildcard stands for at least one character.

use hashbrown::HashMap;
use smallvec::SmallVec;

/// Why a set of domains was refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DomainError {
    /// Two virtual hosts claim the same domain.
    #[error("Only unique values for domains are permitted. Duplicate entry of domain {domain}")]
    Duplicate {
        /// The domain, in lower case.
        domain: String,
    },
    /// Two virtual hosts claim `*`.
    #[error("Only a single wildcard domain is permitted")]
    TwoWildcards,
}

type Names = HashMap<Box<[u8]>, u32, ahash::RandomState>;

/// The domains of a route table; a value is the index of a virtual host.
#[derive(Clone, Debug, Default)]
pub(crate) struct DomainIndex {
    exact: Names,
    suffixes: Affixes,
    prefixes: Affixes,
    fallback: Option<u32>,
}

/// Wildcard domains without their `*`, with the lengths that occur, longest first.
#[derive(Clone, Debug, Default)]
struct Affixes {
    names: Names,
    lengths: Vec<usize>,
}

impl DomainIndex {
    /// Adds `domain` of virtual host `host`.
    pub(crate) fn insert(&mut self, domain: &str, host: u32) -> Result<(), DomainError> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return match self.fallback.replace(host) {
                None => Ok(()),
                Some(_) => Err(DomainError::TwoWildcards),
            };
        }
        let fresh = if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.insert(suffix, host)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.insert(prefix, host)
        } else {
            self.exact.insert(domain.as_bytes().into(), host).is_none()
        };
        if fresh { Ok(()) } else { Err(DomainError::Duplicate { domain }) }
    }

    /// The virtual host for the `:authority` value `host`.
    #[inline]
    pub(crate) fn find(&self, host: &[u8]) -> Option<u32> {
        // With only the catch-all there is nothing to compare, not even whether there is a host.
        if self.exact.is_empty() && self.suffixes.lengths.is_empty() && self.prefixes.lengths.is_empty() {
            return self.fallback;
        }
        if host.is_empty() {
            return None;
        }
        if host.iter().any(u8::is_ascii_uppercase) {
            let mut lowered: SmallVec<[u8; 256]> = SmallVec::from_slice(host);
            lowered.make_ascii_lowercase();
            return self.find_lowered(&lowered);
        }
        self.find_lowered(host)
    }

    fn find_lowered(&self, host: &[u8]) -> Option<u32> {
        if let Some(found) = self.exact.get(host) {
            return Some(*found);
        }
        self.suffixes
            .longest(host, |length| &host[host.len() - length..])
            .or_else(|| self.prefixes.longest(host, |length| &host[..length]))
            .or(self.fallback)
    }
}

impl Affixes {
    fn insert(&mut self, name: &str, host: u32) -> bool {
        if let Err(at) = self.lengths.binary_search_by(|length| name.len().cmp(length)) {
            self.lengths.insert(at, name.len());
        }
        self.names.insert(name.as_bytes().into(), host).is_none()
    }

    fn longest<'h>(&self, host: &[u8], affix: impl Fn(usize) -> &'h [u8]) -> Option<u32> {
        let shorter = self.lengths.iter().filter(|length| **length < host.len());
        shorter.into_iter().find_map(|length| self.names.get(affix(*length)).copied())
    }
}

/// `host` without its port: what `ignore_port_in_host_matching` and the `strip_*_host_port` options leave of it.
pub fn host_without_port(host: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memrchr(b':', host) else { return host };
    // RFC 3986, section 3.2.2: an IPv6 address is always in brackets, so a colon inside them is not a port's.
    let in_brackets = memchr::memrchr(b']', host).is_some_and(|bracket| bracket > colon);
    if in_brackets { host } else { &host[..colon] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(domains: &[&str]) -> DomainIndex {
        let mut index = DomainIndex::default();
        for (at, domain) in domains.iter().enumerate() {
            index.insert(domain, at as u32).unwrap();
        }
        index
    }

    #[test]
    fn order_is_exact_suffix_prefix_fallback() {
        let index = index(&["*", "a.*", "a.b.*", "*.com", "*.b.com", "a.b.com", "*-x.b.com"]);
        assert_eq!(index.find(b"A.b.COM"), Some(5));
        assert_eq!(index.find(b"c.b.com"), Some(4));
        assert_eq!(index.find(b"c-x.b.com"), Some(6));
        assert_eq!(index.find(b"a.c.com"), Some(3));
        assert_eq!(index.find(b"a.b.org"), Some(2));
        assert_eq!(index.find(b"a.org"), Some(1));
        assert_eq!(index.find(b"z.org"), Some(0));
        assert_eq!(index.find(b""), None);
    }

    #[test]
    fn a_wildcard_needs_a_character() {
        let index = index(&["*.com", "www.*"]);
        assert_eq!(index.find(b".com"), None);
        assert_eq!(index.find(b"www."), None);
        assert_eq!(index.find(b"x.com"), Some(0));
    }

    #[test]
    fn ports_are_part_of_the_name() {
        let index = index(&["a.com", "a.com:8080"]);
        assert_eq!(index.find(b"a.com:8080"), Some(1));
        assert_eq!(index.find(b"a.com:80"), None);
    }

    #[test]
    fn the_catch_all_alone_takes_even_no_host() {
        assert_eq!(index(&["*"]).find(b""), Some(0));
    }

    #[test]
    fn duplicates_are_refused() {
        let mut index = index(&["*", "a.com", "*.com", "a.*"]);
        assert_eq!(index.insert("*", 9), Err(DomainError::TwoWildcards));
        for domain in ["A.com", "*.COM", "a.*"] {
            assert!(matches!(index.insert(domain, 9), Err(DomainError::Duplicate { .. })), "{domain}");
        }
    }

    #[test]
    fn ports_are_found_outside_brackets() {
        assert_eq!(host_without_port(b"a:80"), b"a");
        assert_eq!(host_without_port(b"a:"), b"a");
        assert_eq!(host_without_port(b"[::1]"), b"[::1]");
        assert_eq!(host_without_port(b"[::1]:80"), b"[::1]");
    }
}
