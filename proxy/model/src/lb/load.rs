//! What is known of a host's load by its answers: the reports in them (ORCA), and how long they took.
//!
//! Workers write, all of them read: plain atomics beside each host, touched only where a policy wants them.
//!
//! ```text
//! report --rps / (utilization + penalty)--> weight, once it has reported for `blackout`, until `expiration` after the last
//! time to the answer --peak at once, else decaying average--> times (requests under way + 1) is its cost
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// `ClientSideWeightedRoundRobin`
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReports {
    /// `blackout_period`: a host has to report for so long before that counts.
    pub blackout: Duration,
    /// `weight_expiration_period`: without a report for so long, the last one no longer counts.
    pub expiration: Duration,
    /// `weight_update_period`: how often a balancer looks.
    pub update: Duration,
    /// `error_utilization_penalty`
    pub error_penalty: f64,
    /// `metric_names_for_computing_utilization`
    pub metrics: Vec<Box<str>>,
}

/// `xds.data.orca.v3.OrcaLoadReport`, as far as it makes a weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// `rps_fractional`
    pub rps: f64,
    /// `eps`
    pub eps: f64,
    /// `application_utilization`
    pub application: f64,
    /// `cpu_utilization`
    pub cpu: f64,
    /// `mem_utilization`
    pub mem: f64,
    /// The entries of its maps, by the map's name, a dot, and their key.
    pub named: Vec<(Box<str>, f64)>,
}

/// Settings of `peak_ewma`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    /// `default_rtt`: what a host is taken to need that has not answered yet.
    pub default_rtt: Duration,
    /// `decay_time`: after so long, two thirds of an old value are forgotten.
    pub decay: Duration,
}

/// The load of one host.
#[derive(Debug, Default)]
pub struct HostLoad {
    /// Of its last report.
    weight: AtomicU32,
    /// Since when it reports without a gap, in milliseconds; 0 if it does not.
    since: AtomicU64,
    /// When it reported last.
    reported: AtomicU64,
    /// Bits of the average time to an answer, in nanoseconds; 0 if there was none.
    rtt: AtomicU64,
    /// When it answered last.
    answered: AtomicU64,
}

impl Default for LoadReports {
    fn default() -> Self {
        Self {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_mins(3),
            update: Duration::from_secs(1),
            error_penalty: 1.0,
            metrics: Vec::new(),
        }
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        // linkerd's.
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10) }
    }
}

impl LoadReport {
    /// The weight that it gives its host; `None` if it says too little.
    pub fn weight(&self, settings: &LoadReports) -> Option<u32> {
        if self.rps.is_nan() || self.rps <= 0.0 {
            return None;
        }
        let used = self.utilization(&settings.metrics) + settings.error_penalty * self.eps / self.rps;
        // A cast saturates.
        (used > 0.0).then(|| (self.rps / used) as u32)
    }

    fn utilization(&self, metrics: &[Box<str>]) -> f64 {
        let named = metrics.iter().filter_map(|name| self.metric(name)).fold(0.0, f64::max);
        [named, self.application, self.cpu].into_iter().find(|used| *used > 0.0).unwrap_or(0.0)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        match name {
            "application_utilization" => Some(self.application),
            "cpu_utilization" => Some(self.cpu),
            "mem_utilization" => Some(self.mem),
            _ => self.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| *value),
        }
    }
}

impl HostLoad {
    /// Takes a report in. `now` is in milliseconds.
    pub fn report(&self, weight: u32, now: u64) {
        let now = now.max(1);
        self.weight.store(weight, Relaxed);
        self.reported.store(now, Relaxed);
        // Who comes second lost nothing: the two are as good as at once.
        let _ = self.since.compare_exchange(0, now, Relaxed, Relaxed);
    }

    /// The weight that it reported, if that counts.
    pub fn weight(&self, settings: &LoadReports, now: u64) -> Option<u32> {
        let since = self.since.load(Relaxed);
        if since == 0 || now < since.saturating_add(settings.blackout.as_millis() as u64) {
            return None;
        }
        let last = self.reported.load(Relaxed);
        if last.saturating_add(settings.expiration.as_millis() as u64) < now {
            self.since.store(0, Relaxed);
            return None;
        }
        Some(self.weight.load(Relaxed))
    }

    /// Takes in how long an answer took: a peak counts at once, what is below it little by little.
    pub fn answered(&self, took: Duration, settings: &PeakEwma, now: u64) {
        let took = took.as_nanos() as f64;
        let before = self.average(settings, now, took);
        let next = if took > before.0 { took } else { before.1 };
        self.rtt.store(next.max(1.0).to_bits(), Relaxed);
        self.answered.store(now, Relaxed);
    }

    /// What another request would cost, beside `active` ones.
    pub fn cost(&self, active: u64, settings: &PeakEwma, now: u64) -> f64 {
        // Nobody has heard of it since: its average comes down, so that it is tried again.
        self.average(settings, now, 0.0).1 * (active + 1) as f64
    }

    /// The average of old, and with `next` in it.
    fn average(&self, settings: &PeakEwma, now: u64, next: f64) -> (f64, f64) {
        let bits = self.rtt.load(Relaxed);
        if bits == 0 {
            let default = settings.default_rtt.as_nanos() as f64;
            return (0.0, if next > 0.0 { next } else { default });
        }
        let known = f64::from_bits(bits);
        let age = now.saturating_sub(self.answered.load(Relaxed)) as f64;
        let keep = (-age / settings.decay.as_millis().max(1) as f64).exp();
        (known, known * keep + next * (1.0 - keep))
    }
}

/// The weights of hosts by their reports; those that have none get the median of the others, 1 if there is none.
pub(super) fn weights<'h>(
    hosts: impl Iterator<Item = &'h HostLoad> + Clone,
    settings: &LoadReports,
    now: u64,
) -> Vec<f64> {
    let own: Vec<Option<u32>> = hosts.map(|load| load.weight(settings, now)).collect();
    let mut known: Vec<u32> = own.iter().flatten().copied().collect();
    known.sort_unstable();
    let middle = known.len() / 2;
    let median = match known.len() {
        0 => 1,
        odd if odd % 2 == 1 => known[middle],
        _ => known[middle - 1].midpoint(known[middle]),
    };
    own.into_iter().map(|weight| f64::from(weight.unwrap_or(median).max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> LoadReports {
        LoadReports {
            blackout: Duration::from_millis(100),
            expiration: Duration::from_secs(1),
            metrics: vec!["named_metrics.foo".into()],
            ..LoadReports::default()
        }
    }

    #[test]
    fn a_report_makes_a_weight() {
        let weight = |report: LoadReport| report.weight(&settings());
        let report = LoadReport { rps: 100.0, application: 0.5, cpu: 0.25, ..LoadReport::default() };
        assert_eq!(weight(report.clone()), Some(200));
        assert_eq!(weight(LoadReport { application: 0.0, ..report.clone() }), Some(400));
        assert_eq!(
            weight(LoadReport { named: vec![("named_metrics.foo".into(), 1.0)], ..report.clone() }),
            Some(100)
        );
        assert_eq!(weight(LoadReport { eps: 50.0, ..report.clone() }), Some(100));
        assert_eq!(weight(LoadReport { rps: 0.0, ..report.clone() }), None);
        assert_eq!(weight(LoadReport { rps: f64::NAN, ..report.clone() }), None);
        assert_eq!(weight(LoadReport { application: 0.0, cpu: 0.0, ..report }), None);
    }

    #[test]
    fn a_weight_counts_after_a_while_and_for_a_while() {
        let (load, settings) = (HostLoad::default(), settings());
        assert_eq!(load.weight(&settings, 10), None);
        load.report(7, 1000);
        assert_eq!(load.weight(&settings, 1099), None);
        assert_eq!(load.weight(&settings, 1100), Some(7));
        assert_eq!(load.weight(&settings, 2001), None);
        // It begins anew.
        load.report(9, 2100);
        assert_eq!((load.weight(&settings, 2199), load.weight(&settings, 2200)), (None, Some(9)));
    }

    #[test]
    fn hosts_without_a_weight_get_the_median() {
        let settings = settings();
        let loads: Vec<HostLoad> = (0..5).map(|_| HostLoad::default()).collect();
        let weights = |now| weights(loads.iter(), &settings, now);
        assert_eq!(weights(500), [1.0; 5]);
        for (load, weight) in loads.iter().zip([10, 40, 0]) {
            load.report(weight, 1000);
        }
        assert_eq!(weights(1100), [10.0, 40.0, 1.0, 10.0, 10.0]);
        loads[3].report(20, 1001);
        assert_eq!(weights(1101), [10.0, 40.0, 1.0, 20.0, 15.0]);
    }

    #[test]
    fn peaks_count_at_once_and_fade() {
        let (load, settings) = (HostLoad::default(), PeakEwma::default());
        let millis = Duration::from_millis;
        let close =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 0.01, "{value} {wanted}");
        close(load.cost(0, &settings, 0), 30e6);
        load.answered(millis(10), &settings, 1000);
        close(load.cost(1, &settings, 1000), 20e6);
        load.answered(millis(100), &settings, 1001);
        close(load.cost(0, &settings, 1001), 100e6);
        load.answered(millis(10), &settings, 11_001);
        // A third of the peak, two of the new.
        close(load.cost(0, &settings, 11_001), 100e6 * 0.3679 + 10e6 * 0.6321);
        assert!(load.cost(0, &settings, 100_001) < 0.1e6);
    }
}
