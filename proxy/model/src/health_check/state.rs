//! Active health checks: what results make of a host, and when it is checked next.
//!
//! ```text
//! failing --first result good, or healthy_threshold good ones in a row--> passing
//! passing --a wrong answer, or unhealthy_threshold failures to get one in a row--> failing
//! ```
//!
//! The control thread makes the checks (`control/health`); here is what follows from them, by Envoy's rules.

use std::time::Duration;

use crate::cluster::{HealthFlag, Host};

/// When hosts are checked, and how often a result must be the same to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTiming {
    /// `timeout`
    pub timeout: Duration,
    /// `interval`
    pub interval: Duration,
    /// `initial_jitter`
    pub initial_jitter: Duration,
    /// `interval_jitter`
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`
    pub interval_jitter_percent: u32,
    /// `unhealthy_threshold`
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`
    pub healthy_threshold: u32,
    /// `no_traffic_interval`: while nothing was sent to the cluster.
    pub no_traffic_interval: Duration,
    /// `no_traffic_healthy_interval`
    pub no_traffic_healthy_interval: Duration,
    /// `unhealthy_interval`
    pub unhealthy_interval: Duration,
    /// `unhealthy_edge_interval`: after a failure that may be the first of several.
    pub unhealthy_edge_interval: Duration,
    /// `healthy_edge_interval`
    pub healthy_edge_interval: Duration,
}

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The right answer; `degraded` if it says so.
    Good {
        /// `x-envoy-degraded`
        degraded: bool,
    },
    /// An answer, and the wrong one; it counts at once unless it is retriable.
    Wrong {
        /// `retriable_statuses`
        retriable: bool,
        /// The host says that it is not even to be counted (`x-envoy-immediate-health-check-fail`).
        immediate: bool,
    },
    /// No check: the host said so in a response to a request (`x-envoy-immediate-health-check-fail`).
    Passive,
    /// No answer: no connection, or one that ended.
    NoAnswer,
    /// No answer in time.
    TimedOut,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    Unchanged,
    /// The host's flags.
    Changed,
    /// Nothing yet: as many more such results will.
    Pending,
}

/// The state of the checks of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckState {
    good: u32,
    bad: u32,
    checked: bool,
}

impl CheckState {
    /// The checks of a host go on that others have begun.
    pub fn resumed(host: &Host) -> Self {
        Self { checked: host.was_checked(), ..Self::default() }
    }

    /// Whether there was no result yet.
    pub fn is_new(&self) -> bool {
        !self.checked
    }

    /// Takes a result in, and sets the host's flags accordingly.
    pub fn apply(&mut self, host: &Host, result: CheckResult, timing: &CheckTiming) -> Transition {
        let transition = match result {
            CheckResult::Good { degraded } => self.good(host, degraded, timing),
            CheckResult::Wrong { retriable, immediate } => {
                if immediate {
                    host.set_flag(HealthFlag::ExcludedViaImmediateHcFail, true);
                }
                self.bad(host, !retriable, timing)
            }
            CheckResult::Passive => {
                host.set_flag(HealthFlag::ExcludedViaImmediateHcFail, true);
                self.bad(host, true, timing)
            }
            CheckResult::NoAnswer | CheckResult::TimedOut => self.bad(host, false, timing),
        };
        let failing = host.has_flag(HealthFlag::FailedActiveHc);
        host.set_flag(HealthFlag::ActiveHcTimeout, failing && result == CheckResult::TimedOut);
        self.checked = true;
        host.mark_checked();
        let was_pending = host.set_flag(HealthFlag::PendingActiveHc, false);
        if was_pending { Transition::Changed } else { transition }
    }

    fn good(&mut self, host: &Host, degraded: bool, timing: &CheckTiming) -> Transition {
        self.bad = 0;
        let mut transition = Transition::Unchanged;
        if host.has_flag(HealthFlag::FailedActiveHc) {
            self.good += 1;
            if !self.checked || self.good >= timing.healthy_threshold {
                host.set_flag(HealthFlag::FailedActiveHc, false);
                host.set_flag(HealthFlag::ExcludedViaImmediateHcFail, false);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        if host.set_flag(HealthFlag::DegradedActiveHc, degraded) && transition == Transition::Unchanged {
            transition = Transition::Changed;
        }
        transition
    }

    fn bad(&mut self, host: &Host, at_once: bool, timing: &CheckTiming) -> Transition {
        self.good = 0;
        if host.has_flag(HealthFlag::FailedActiveHc) {
            return Transition::Unchanged;
        }
        self.bad += 1;
        if at_once || self.bad >= timing.unhealthy_threshold {
            host.set_flag(HealthFlag::FailedActiveHc, true);
            Transition::Changed
        } else {
            Transition::Pending
        }
    }
}

impl CheckTiming {
    /// How long until the next check. `traffic` is whether anything was ever sent to the cluster.
    pub fn wait(
        &self,
        result: CheckResult,
        transition: Transition,
        traffic: bool,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let good = matches!(result, CheckResult::Good { .. });
        let base = match (traffic, good, transition == Transition::Pending) {
            (true, false, true) => self.unhealthy_edge_interval,
            (true, false, false) => self.unhealthy_interval,
            (true, true, true) => self.healthy_edge_interval,
            (true, true, false) => self.interval,
            (false, true, false) => self.no_traffic_healthy_interval,
            (false, _, _) => self.no_traffic_interval,
        };
        let percent = base * self.interval_jitter_percent / 100;
        base + part(percent, rng) + part(self.interval_jitter, rng)
    }

    /// How long until the first check.
    pub fn first(&self, rng: &mut fastrand::Rng) -> Duration {
        part(self.initial_jitter, rng)
    }
}

/// Some part of `most`.
fn part(most: Duration, rng: &mut fastrand::Rng) -> Duration {
    match most.as_millis() as u64 {
        0 => Duration::ZERO,
        most => Duration::from_millis(rng.u64(0..most)),
    }
}

impl Default for CheckTiming {
    fn default() -> Self {
        let interval = Duration::from_secs(5);
        let idle = Duration::from_mins(1);
        Self {
            timeout: Duration::from_secs(1),
            interval,
            initial_jitter: Duration::ZERO,
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            unhealthy_threshold: 2,
            healthy_threshold: 2,
            no_traffic_interval: idle,
            no_traffic_healthy_interval: idle,
            unhealthy_interval: interval,
            unhealthy_edge_interval: interval,
            healthy_edge_interval: interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const GOOD: CheckResult = CheckResult::Good { degraded: false };
    const WRONG: CheckResult = CheckResult::Wrong { retriable: false, immediate: false };
    const RETRIABLE: CheckResult = CheckResult::Wrong { retriable: true, immediate: false };

    fn failing() -> Host {
        let host = Host::new(SocketAddr::from(([10, 0, 0, 1], 80)).into(), "");
        host.set_flag(HealthFlag::FailedActiveHc, true);
        host
    }

    fn run(host: &Host, state: &mut CheckState, results: &[CheckResult]) -> Vec<Transition> {
        let timing = CheckTiming { unhealthy_threshold: 3, ..CheckTiming::default() };
        results.iter().map(|result| state.apply(host, *result, &timing)).collect()
    }

    #[test]
    fn the_first_good_result_is_enough_and_later_it_takes_several() {
        use Transition::{Changed, Pending, Unchanged};
        let (host, mut state) = (failing(), CheckState::default());
        assert_eq!(run(&host, &mut state, &[GOOD, GOOD]), [Changed, Unchanged]);
        assert_eq!(run(&host, &mut state, &[CheckResult::NoAnswer; 3]), [Pending, Pending, Changed]);
        assert_eq!(
            run(&host, &mut state, &[GOOD, WRONG, GOOD, GOOD]),
            [Pending, Unchanged, Pending, Changed]
        );
        assert_eq!(host.flags_text(), "healthy");
    }

    #[test]
    fn a_wrong_answer_counts_at_once_unless_it_is_retriable() {
        use Transition::{Changed, Pending};
        let (host, mut state) = (failing(), CheckState::default());
        assert_eq!(run(&host, &mut state, &[GOOD, RETRIABLE, GOOD, RETRIABLE, RETRIABLE])[1], Pending);
        assert_eq!(run(&host, &mut state, &[RETRIABLE]), [Changed]);
        let (host, mut state) = (failing(), CheckState::default());
        assert_eq!(run(&host, &mut state, &[GOOD, WRONG]), [Changed, Changed]);
        assert_eq!(host.flags_text(), "/failed_active_hc");
    }

    #[test]
    fn a_host_may_say_more() {
        let (host, mut state) = (failing(), CheckState::default());
        run(&host, &mut state, &[CheckResult::Good { degraded: true }]);
        assert_eq!(host.flags_text(), "/degraded_active_hc");
        run(&host, &mut state, &[CheckResult::Wrong { retriable: false, immediate: true }]);
        assert!(host.is_excluded() && host.has_flag(HealthFlag::FailedActiveHc));
        run(&host, &mut state, &[GOOD, GOOD]);
        assert_eq!(host.flags_text(), "healthy");
    }

    #[test]
    fn a_host_that_says_so_in_a_response_fails_at_once_and_returns_by_its_checks() {
        use Transition::{Changed, Pending};
        let (host, mut state) = (failing(), CheckState::default());
        assert_eq!(run(&host, &mut state, &[GOOD, GOOD, CheckResult::Passive])[2], Changed);
        assert!(host.is_excluded() && host.has_flag(HealthFlag::FailedActiveHc));
        assert_eq!(run(&host, &mut state, &[GOOD, GOOD]), [Pending, Changed]);
        assert_eq!(host.flags_text(), "healthy");
    }

    #[test]
    fn each_interval_has_its_case() {
        let seconds = Duration::from_secs;
        let timing = CheckTiming {
            interval: seconds(1),
            no_traffic_interval: seconds(2),
            no_traffic_healthy_interval: seconds(3),
            unhealthy_interval: seconds(4),
            unhealthy_edge_interval: seconds(5),
            healthy_edge_interval: seconds(6),
            ..CheckTiming::default()
        };
        let wait = |result, transition, traffic| {
            timing.wait(result, transition, traffic, &mut fastrand::Rng::with_seed(0)).as_secs()
        };
        use Transition::{Changed, Pending, Unchanged};
        assert_eq!(
            [wait(GOOD, Unchanged, true), wait(GOOD, Changed, true), wait(GOOD, Pending, true)],
            [1, 1, 6]
        );
        assert_eq!(
            [wait(WRONG, Unchanged, true), wait(WRONG, Changed, true), wait(WRONG, Pending, true)],
            [4, 4, 5]
        );
        assert_eq!(
            [wait(GOOD, Unchanged, false), wait(WRONG, Changed, false), wait(GOOD, Pending, false)],
            [3, 2, 2]
        );
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let second = Duration::from_secs(1);
        let timing = CheckTiming {
            interval: second,
            interval_jitter: second,
            interval_jitter_percent: 50,
            initial_jitter: second,
            ..CheckTiming::default()
        };
        let mut rng = fastrand::Rng::with_seed(3);
        let waits: Vec<_> =
            (0..1000).map(|_| timing.wait(GOOD, Transition::Unchanged, true, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait >= second && *wait < second * 5 / 2));
        assert!(waits.iter().any(|wait| *wait > second * 2));
        assert!((0..100).all(|_| timing.first(&mut rng) < second));
    }

    /// Ten thousand seeded histories: a host passes exactly if the last run of results says so.
    #[test]
    fn histories_keep_the_rules() {
        for seed in 0..10_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let timing = CheckTiming {
                unhealthy_threshold: rng.u32(1..4),
                healthy_threshold: rng.u32(1..4),
                ..CheckTiming::default()
            };
            let (host, mut state) = (failing(), CheckState::default());
            let (mut passing, mut run, mut first) = (false, 0, true);
            for _ in 0..40 {
                let result = [GOOD, GOOD, WRONG, RETRIABLE, CheckResult::NoAnswer, CheckResult::TimedOut]
                    [rng.usize(..6)];
                let transition = state.apply(&host, result, &timing);
                let good = result == GOOD;
                run = if good == passing { 0 } else { run + 1 };
                let enough = if good {
                    first || run >= timing.healthy_threshold
                } else {
                    result == WRONG || run >= timing.unhealthy_threshold
                };
                let flips = good != passing && enough;
                if flips {
                    (passing, run) = (good, 0);
                }
                assert_eq!(
                    (transition == Transition::Changed, !host.has_flag(HealthFlag::FailedActiveHc)),
                    (flips, passing),
                    "seed {seed}"
                );
                first = false;
            }
        }
    }
}
