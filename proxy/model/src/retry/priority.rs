//! `previous_priorities`: a retry goes to a priority that no attempt went to.

use crate::cluster::{PriorityLoads, PriorityState};

/// The spread over the priorities that were not tried. If that leaves none that has anything, all count again, and `true` says
/// so: what was tried is to be forgotten.
pub fn untried(
    states: &[PriorityState],
    tried: &[usize],
    factor: u32,
    threshold: f64,
) -> (PriorityLoads, bool) {
    let factor_of = |priority| if tried.contains(&priority) { 0 } else { factor };
    let others = PriorityLoads::with_factors(states, factor_of, threshold);
    let has_any = (0..states.len()).any(|priority| {
        let load = others.healthy_load(priority) + others.degraded_load(priority);
        load > 0 && !tried.contains(&priority)
    });
    if has_any { (others, false) } else { (PriorityLoads::new(states, factor, threshold), true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(healthy: &[u32], tried: &[usize]) -> (Vec<u32>, bool) {
        let states: Vec<_> = healthy
            .iter()
            .map(|healthy| PriorityState { all: 10, healthy: *healthy, ..PriorityState::default() })
            .collect();
        let (loads, again) = untried(&states, tried, 140, 50.0);
        ((0..states.len()).map(|priority| loads.healthy_load(priority)).collect(), again)
    }

    #[test]
    fn a_retry_looks_elsewhere() {
        assert_eq!(loads(&[10, 10, 10], &[0]), (vec![0, 100, 0], false));
        assert_eq!(loads(&[10, 10, 10], &[0, 1]), (vec![0, 0, 100], false));
        assert_eq!(loads(&[10, 10, 10], &[1]), (vec![100, 0, 0], false));
        assert_eq!(loads(&[10, 5, 5], &[0]), (vec![0, 70, 30], false));
    }

    #[test]
    fn when_all_were_tried_they_count_again() {
        assert_eq!(loads(&[10, 10], &[0, 1]), (vec![100, 0], true));
        assert_eq!(loads(&[10, 0], &[0]), (vec![100, 0], true), "there is nothing in the other one");
        assert_eq!(loads(&[10], &[0]), (vec![100], true));
    }
}
