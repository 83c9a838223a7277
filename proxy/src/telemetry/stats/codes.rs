//! Counts by response code: a handful of codes out of hundreds, so a chain of small pages that is searched in order.
//!
//! A slot packs the key (code and origin, above bit 48) with its count. One thread writes; a reader sees either an empty
//! slot or a whole one. The chain is bounded by the number of keys: 900 codes of five origins.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Who asked, as the router tells it from `x-envoy-internal`, or the canary flag of the host that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Not told apart (routes, virtual clusters).
    Any = 0,
    /// Counted under `external.` as well.
    External = 1,
    /// Counted under `internal.` as well.
    Internal = 2,
    /// Counted under `canary.` only, besides one of the others.
    Canary = 3,
    /// Counted under `retry.` only: thrown away for another attempt.
    Retry = 4,
}

const COUNT_BITS: u32 = 48;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const PAGE_SLOTS: usize = 7;

/// A sparse table of counts by code and origin.
#[derive(Default)]
pub struct CodeTable {
    head: OnceLock<Box<Page>>,
}

#[derive(Default)]
struct Page {
    slots: [AtomicU64; PAGE_SLOTS],
    next: OnceLock<Box<Page>>,
}

impl CodeTable {
    /// Adds one. A code outside 100..=999 is not a status code and is not counted.
    #[inline]
    pub fn inc(&self, code: u16, origin: Origin) {
        if !(100..=999).contains(&code) {
            return;
        }
        let key = u64::from(code) << 3 | origin as u64;
        let mut link = &self.head;
        loop {
            let page = link.get_or_init(Box::default);
            for slot in &page.slots {
                let raw = slot.load(Relaxed);
                if raw == 0 || raw >> COUNT_BITS == key {
                    let count = (raw & COUNT_MASK).wrapping_add(1) & COUNT_MASK;
                    slot.store(key << COUNT_BITS | count, Relaxed);
                    return;
                }
            }
            link = &page.next;
        }
    }

    /// Calls `visit` with each code, origin and count.
    pub fn each(&self, mut visit: impl FnMut(u16, Origin, u64)) {
        let mut link = &self.head;
        while let Some(page) = link.get() {
            for slot in &page.slots {
                let raw = slot.load(Relaxed);
                if raw == 0 {
                    return;
                }
                let key = raw >> COUNT_BITS;
                visit((key >> 3) as u16, origin_of(key & 7), raw & COUNT_MASK);
            }
            link = &page.next;
        }
    }
}

impl Origin {
    /// All, in the order of their prefixes.
    pub(super) const ALL: [Self; 5] = [Self::Any, Self::External, Self::Internal, Self::Canary, Self::Retry];

    /// What stands before `upstream_rq_…`.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::External => "external.",
            Self::Internal => "internal.",
            Self::Canary => "canary.",
            Self::Retry => "retry.",
        }
    }
}

fn origin_of(bits: u64) -> Origin {
    match bits {
        0 => Origin::Any,
        1 => Origin::External,
        2 => Origin::Internal,
        3 => Origin::Canary,
        _ => Origin::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again() {
        let table = CodeTable::default();
        for round in 0..3 {
            for code in 100..=999 {
                table.inc(code, if round == 2 { Origin::Retry } else { Origin::External });
            }
        }
        table.inc(0, Origin::Any);
        table.inc(1000, Origin::Any);
        let mut seen = 0;
        table.each(|code, origin, count| {
            seen += 1;
            assert!((100..=999).contains(&code));
            assert_eq!(count, if origin == Origin::External { 2 } else { 1 });
        });
        assert_eq!(seen, 1800);
    }
}
