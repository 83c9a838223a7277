//! Maglev: a table whose size is a prime, which hosts fill in turns, each along its own permutation of the places.
//!
//! Hosts take turns in the order of their keys, so that the table does not depend on the order of discovery. A host with half the
//! weight of the heaviest sits out every other round.

use super::hashing::{Share, key, xx_hash};
use super::policy::Maglev;
use crate::cluster::Member;

struct Entry {
    member: u32,
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    /// The round's sum of weights that lets it take its next place.
    target: f64,
}

pub(super) fn build(settings: &Maglev, members: &[Member], shares: &[Share]) -> Vec<u32> {
    let size = settings.table_size.max(2);
    let heaviest = shares.iter().map(|share| share.weight).fold(0.0, f64::max);
    let mut keyed: Vec<(String, &Share)> = shares
        .iter()
        .filter_map(|share| Some((key(members.get(share.member as usize)?, settings.key), share)))
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let entry = |(key, share): (String, &Share)| Entry {
        member: share.member,
        offset: xx_hash(key.as_bytes(), 0) % size,
        skip: xx_hash(key.as_bytes(), 1) % (size - 1) + 1,
        next: 0,
        weight: share.weight,
        target: 0.0,
    };
    let mut entries: Vec<Entry> = keyed.into_iter().map(entry).collect();
    fill(&mut entries, size, heaviest)
}

fn fill(entries: &mut [Entry], size: u64, heaviest: f64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut table = vec![FREE; size as usize];
    let mut filled = 0;
    let mut round = 0.0;
    while filled < size && heaviest > 0.0 {
        round += 1.0;
        for entry in entries.iter_mut() {
            if filled == size {
                break;
            }
            if round * entry.weight < entry.target {
                continue;
            }
            entry.target += heaviest;
            let mut place = entry.place(size);
            // The size is a prime, so the permutation comes by every place.
            while table.get(place).is_some_and(|member| *member != FREE) {
                entry.next += 1;
                place = entry.place(size);
            }
            if let Some(free) = table.get_mut(place) {
                *free = entry.member;
            }
            entry.next += 1;
            filled += 1;
        }
    }
    table
}

impl Entry {
    fn place(&self, size: u64) -> usize {
        ((self.offset + self.skip * self.next) % size) as usize
    }
}

/// The member at `hash`. Having turned hosts down moves it far away.
pub(super) fn pick(table: &[u32], hash: u64, turned_down: u32) -> Option<u32> {
    let moved = match turned_down {
        0 => hash,
        times => hash ^ (u64::MAX - u64::from(times) + 1),
    };
    table.get((moved % (table.len().max(1) as u64)) as usize).copied()
}
