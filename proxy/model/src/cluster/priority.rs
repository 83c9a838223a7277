//! How requests spread over priorities and when panic sets in, by Envoy's arithmetic.
//!
//! A priority's availability is the share of its hosts that is healthy, times the overprovisioning factor, at most 100.
//! Load goes to priority 0 as far as that carries, then to 1, and so on; what the healthy hosts of all priorities cannot
//! carry goes to degraded hosts in the same order. If the sum is below 100, shares are scaled up, and a priority with
//! fewer usable hosts than the panic threshold uses all of its hosts. If every priority is in panic, load follows the
//! number of hosts.

use crate::lb::Within;

/// How many hosts of a priority there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriorityState {
    /// In all.
    pub all: u32,
    /// Healthy.
    pub healthy: u32,
    /// Degraded.
    pub degraded: u32,
    /// Not to be counted.
    pub excluded: u32,
}

/// The spread over priorities. Percentages of healthy and degraded load add up to 100, unless there is no host at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriorityLoads {
    healthy: Vec<u32>,
    degraded: Vec<u32>,
    panic: Vec<bool>,
    /// Priority 0 takes everything, healthy.
    only_first: bool,
}

/// Which hosts of which priority serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityChoice {
    /// The priority.
    pub priority: usize,
    /// Which of its hosts.
    pub source: HostSource,
}

/// A list of hosts within a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSource {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
    /// All of them: panic.
    All,
}

impl PriorityLoads {
    /// Computes the spread. `factor` and `threshold` are percentages.
    pub fn new(states: &[PriorityState], factor: u32, threshold: f64) -> Self {
        Self::with_factors(states, |_| factor, threshold)
    }

    /// Computes the spread over priorities of which each has an overprovisioning factor of its own.
    pub fn with_factors(states: &[PriorityState], factor: impl Fn(usize) -> u32, threshold: f64) -> Self {
        let share = |at: usize, part: u32| {
            let counted = u64::from(states[at].all.saturating_sub(states[at].excluded));
            (u64::from(factor(at)) * u64::from(part)).checked_div(counted).unwrap_or(0).min(100) as u32
        };
        let each = || states.iter().enumerate();
        let healthy: Vec<u32> = each().map(|(at, state)| share(at, state.healthy)).collect();
        let degraded: Vec<u32> = each().map(|(at, state)| share(at, state.degraded)).collect();
        let total = healthy.iter().chain(&degraded).sum::<u32>().min(100);

        let mut loads = Self { panic: vec![false; states.len()], ..Self::default() };
        if total == 0 {
            loads.healthy = vec![0; states.len()];
            loads.degraded = vec![0; states.len()];
        } else {
            let mut left = 100;
            loads.healthy = spread(&healthy, total, &mut left);
            loads.degraded = spread(&degraded, total, &mut left);
            loads.give_rest(&healthy, &degraded, left);
        }
        loads.set_panic(states, total, threshold);
        loads.only_first = loads.healthy.first() == Some(&100) && !loads.panic[0];
        loads
    }

    /// The hosts for a request, given a source of values uniform over `u64`, which is asked only if there is a choice;
    /// `None` without any host.
    #[inline]
    pub fn choose_with(&self, random: impl FnOnce() -> u64) -> Option<PriorityChoice> {
        if self.only_first {
            return Some(PriorityChoice { priority: 0, source: HostSource::Healthy });
        }
        self.choose(random())
    }

    /// The share of `priority` that goes to its healthy hosts, in percent.
    pub fn healthy_load(&self, priority: usize) -> u32 {
        self.healthy.get(priority).copied().unwrap_or(0)
    }

    /// The share of `priority` that goes to its degraded hosts, in percent.
    pub fn degraded_load(&self, priority: usize) -> u32 {
        self.degraded.get(priority).copied().unwrap_or(0)
    }

    /// Whether `priority` is in panic.
    pub fn in_panic(&self, priority: usize) -> bool {
        self.panic.get(priority).copied().unwrap_or(false)
    }

    /// The hosts for a request with this random value.
    pub fn choose(&self, random: u64) -> Option<PriorityChoice> {
        self.draw(random).map(|within| self.within(within))
    }

    /// The hosts for a request that an aggregate cluster has sent to a priority.
    pub fn within(&self, Within { priority, degraded }: Within) -> PriorityChoice {
        let source = match degraded {
            _ if self.in_panic(priority) => HostSource::All,
            true => HostSource::Degraded,
            false => HostSource::Healthy,
        };
        PriorityChoice { priority, source }
    }

    /// The priority for a request with this random value, whether it is in panic or not.
    pub fn draw(&self, random: u64) -> Option<Within> {
        let wanted = (random % 100) as u32 + 1;
        let mut sum = 0;
        for (loads, degraded) in [(&self.healthy, false), (&self.degraded, true)] {
            for (priority, load) in loads.iter().enumerate() {
                sum += load;
                if wanted <= sum {
                    return Some(Within { priority, degraded });
                }
            }
        }
        None
    }

    /// What rounding left over goes to the first priority that has anything.
    fn give_rest(&mut self, healthy: &[u32], degraded: &[u32], rest: u32) {
        if let Some(first) = healthy.iter().position(|share| *share != 0) {
            self.healthy[first] += rest;
        } else if let Some(first) = degraded.iter().position(|share| *share != 0) {
            self.degraded[first] += rest;
        }
    }

    fn set_panic(&mut self, states: &[PriorityState], total: u32, threshold: f64) {
        let threshold = threshold.clamp(0.0, 100.0);
        if threshold == 0.0 && total == 0 {
            // Panic is off and nothing is healthy: the pick finds an empty list and fails.
            if let Some(first) = self.healthy.first_mut() {
                *first = 100;
            }
            return;
        }
        if total == 100 {
            return;
        }
        for (panic, state) in self.panic.iter_mut().zip(states) {
            let counted = state.all.saturating_sub(state.excluded);
            let usable = match counted {
                0 => 0.0,
                _ => 100.0 * f64::from(state.healthy + state.degraded) / f64::from(counted),
            };
            *panic = usable < threshold;
        }
        if self.panic.iter().all(|panic| *panic) {
            self.follow_counts(states);
        }
    }

    /// All priorities are in panic: load by number of hosts.
    fn follow_counts(&mut self, states: &[PriorityState]) {
        let total: u64 = states.iter().map(|state| u64::from(state.all)).sum();
        let mut left = 100;
        for (load, state) in self.healthy.iter_mut().zip(states) {
            *load = (100 * u64::from(state.all)).checked_div(total).unwrap_or(0) as u32;
            left -= *load;
        }
        self.degraded.fill(0);
        if let Some(first) = states.iter().position(|state| state.all > 0) {
            self.healthy[first] += left;
        }
    }
}

fn spread(shares: &[u32], total: u32, left: &mut u32) -> Vec<u32> {
    let take = |share: &u32| {
        let load = (share * 100 / total).min(*left);
        *left -= load;
        load
    };
    shares.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(all: u32, healthy: u32, degraded: u32) -> PriorityState {
        PriorityState { all, healthy, degraded, excluded: 0 }
    }

    fn loads(states: &[PriorityState]) -> PriorityLoads {
        PriorityLoads::new(states, 140, 50.0)
    }

    #[test]
    fn overprovisioning_hides_a_few_failures() {
        let loads = loads(&[state(100, 72, 0), state(100, 100, 0)]);
        assert_eq!(loads.healthy, [100, 0]);
        assert!(loads.only_first);
    }

    #[test]
    fn load_spills_over_to_the_next_priority() {
        // The table of Envoy's documentation on priority levels.
        assert_eq!(loads(&[state(100, 71, 0), state(100, 100, 0)]).healthy, [99, 1]);
        assert_eq!(loads(&[state(100, 50, 0), state(100, 100, 0)]).healthy, [70, 30]);
        assert_eq!(loads(&[state(100, 25, 0), state(100, 100, 0)]).healthy, [35, 65]);
        assert_eq!(loads(&[state(100, 0, 0), state(100, 100, 0)]).healthy, [0, 100]);
        let low = loads(&[state(100, 25, 0), state(100, 25, 0)]);
        assert_eq!((low.healthy.as_slice(), low.panic.as_slice()), (&[50, 50][..], &[true, true][..]));
    }

    #[test]
    fn degraded_hosts_take_what_is_left() {
        let loads = loads(&[state(100, 50, 50), state(100, 10, 0)]);
        assert_eq!((loads.healthy, loads.degraded), (vec![70, 14], vec![16, 0]));
    }

    #[test]
    fn panic_uses_all_hosts_of_one_priority() {
        let loads = loads(&[state(10, 4, 0)]);
        assert!(loads.in_panic(0));
        let choice = loads.choose(17).unwrap();
        assert_eq!(choice, PriorityChoice { priority: 0, source: HostSource::All });
    }

    #[test]
    fn above_the_threshold_there_is_no_panic() {
        let loads = loads(&[state(10, 6, 0)]);
        assert!(!loads.in_panic(0));
        assert_eq!(loads.healthy, [100]);
    }

    #[test]
    fn panic_can_be_off() {
        let loads = PriorityLoads::new(&[state(10, 0, 0)], 140, 0.0);
        assert_eq!(loads.choose(0).unwrap().source, HostSource::Healthy);
        let loads = PriorityLoads::new(&[state(10, 1, 0)], 140, 0.0);
        assert!(!loads.in_panic(0));
    }

    #[test]
    fn without_hosts_there_is_no_choice() {
        assert_eq!(loads(&[]).choose(3), None);
    }

    #[test]
    fn shares_always_add_up_to_a_hundred() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let random_state = |rng: &mut fastrand::Rng| {
                let all = rng.u32(0..20);
                let healthy = rng.u32(0..=all);
                state(all, healthy, rng.u32(0..=all - healthy))
            };
            let states: Vec<_> = (0..rng.usize(1..5)).map(|_| random_state(&mut rng)).collect();
            let loads = loads(&states);
            let sum: u32 = loads.healthy.iter().chain(&loads.degraded).sum();
            let any = states.iter().any(|state| state.all > 0);
            assert_eq!(sum, if any { 100 } else { sum }, "{states:?} {loads:?}");
        }
    }
}
