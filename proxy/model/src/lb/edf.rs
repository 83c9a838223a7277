//! Earliest deadline first: rotation in proportion to weight.
//!
//! Each host has a deadline, one reciprocal weight after its last turn; the earliest is next. Over any stretch a host gets
//! its share to within one turn, and heavy hosts are spread instead of served in bursts. The first deadlines are random
//! within one interval, so that workers do not march in step and a fresh set does not start with its heaviest host.

use std::cmp::Ordering;

/// A schedule over the positions `0..len` of a list.
#[derive(Debug)]
pub(super) struct Edf {
    /// A binary heap, earliest on top.
    heap: Vec<Entry>,
    /// Number of turns so far: among equal deadlines the one that waited longer goes first.
    turns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    position: u32,
}

impl Entry {
    #[inline]
    fn before(&self, other: &Self) -> bool {
        match self.deadline.partial_cmp(&other.deadline) {
            Some(Ordering::Less) => true,
            Some(Ordering::Greater) => false,
            _ => self.order < other.order,
        }
    }
}

impl Edf {
    /// A schedule over `len` positions, each of a weight greater than zero.
    pub(super) fn new(len: usize, weight: impl Fn(usize) -> f64, rng: &mut fastrand::Rng) -> Self {
        let entry = |position: usize| Entry {
            deadline: rng.f64() / weight(position),
            order: position as u64,
            position: position as u32,
        };
        let mut heap: Vec<_> = (0..len).map(entry).collect();
        // A sorted list is a heap.
        heap.sort_unstable_by(|a, b| a.deadline.total_cmp(&b.deadline).then(a.order.cmp(&b.order)));
        Self { heap, turns: len as u64 }
    }

    /// The next position; its weight of now says when it is next again.
    #[inline]
    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> f64) -> usize {
        let Some(top) = self.heap.first_mut() else { return 0 };
        let position = top.position as usize;
        top.deadline += 1.0 / weight(position);
        top.order = self.turns;
        self.turns += 1;
        self.sift_down();
        position
    }

    fn sift_down(&mut self) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].before(&self.heap[child]) {
                child += 1;
            }
            if !self.heap[child].before(&self.heap[at]) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_over_every_stretch() {
        let weights = [1.0, 2.0, 5.0, 12.0];
        let mut edf = Edf::new(weights.len(), |at| weights[at], &mut fastrand::Rng::with_seed(1));
        let total: f64 = weights.iter().sum();
        let mut counts = [0.0f64; 4];
        for turn in 1..=10_000 {
            counts[edf.pick(|at| weights[at])] += 1.0;
            for (count, weight) in counts.iter().zip(weights) {
                let due = f64::from(turn) * weight / total;
                assert!((count - due).abs() <= 2.0, "turn {turn}: {count} for {due}");
            }
        }
    }

    #[test]
    fn heavy_hosts_are_spread() {
        let weights = [3.0, 1.0];
        let mut edf = Edf::new(2, |at| weights[at], &mut fastrand::Rng::with_seed(2));
        let picks: Vec<usize> = (0..40).map(|_| edf.pick(|at| weights[at])).collect();
        assert!(picks.windows(4).all(|four| four.contains(&1)), "{picks:?}");
    }
}
