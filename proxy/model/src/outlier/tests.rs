//! Runs, rates and the way back; and ten thousand seeded histories that keep the rules.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cluster::{HealthFlag, Host, HostSet, HostSetOptions, HostSpec};

fn hosts(count: u16) -> HostSet {
    let spec = |port| HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into());
    HostSet::new((1..=count).map(spec), None, HostSetOptions::default())
}

fn config() -> OutlierConfig {
    OutlierConfig { max_ejection_percent: 100, ..OutlierConfig::default() }
}

fn detector(config: OutlierConfig, hosts: &HostSet) -> Detector {
    let mut detector = Detector::new(config);
    detector.follow(hosts.members());
    detector
}

fn host(hosts: &HostSet, at: usize) -> &Arc<Host> {
    &hosts.members()[at].host
}

fn note(hosts: &HostSet, at: usize, outcome: Outcome, times: u32, config: &OutlierConfig) -> bool {
    (0..times).any(|_| host(hosts, at).outlier.note(outcome, config))
}

fn shown(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Detected(reason, _) => format!("detected {reason:?}"),
        Event::Ejected(reason, _) => format!("ejected {reason:?}"),
        Event::NotEnforced(reason, _) => format!("stays {reason:?}"),
        Event::TooMany(..) => "too many".into(),
        Event::Returned(_) => "returned".into(),
    };
    events.iter().map(name).collect()
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(5)
}

#[test]
fn five_errors_in_a_row_eject() {
    let (set, config) = (hosts(2), config());
    let mut detector = detector(config.clone(), &set);
    assert!(!note(&set, 0, Outcome::Response(500), 4, &config));
    assert!(!note(&set, 0, Outcome::Response(200), 1, &config));
    assert!(!note(&set, 0, Outcome::Response(500), 4, &config));
    assert!(note(&set, 0, Outcome::Response(500), 1, &config));
    assert_eq!(shown(&detector.look(0, &mut rng())), ["detected Consecutive5xx", "ejected Consecutive5xx"]);
    assert!(host(&set, 0).has_flag(HealthFlag::FailedOutlierCheck));
    assert_eq!(detector.ejected(), 1);
    // What else it does while it is out does not count.
    note(&set, 0, Outcome::Response(500), 5, &config);
    assert!(detector.look(0, &mut rng()).is_empty());
}

#[test]
fn gateway_errors_are_told_apart_and_not_enforced_by_default() {
    let (set, config) = (hosts(2), config());
    let mut detector = detector(config.clone(), &set);
    note(&set, 0, Outcome::Failed, 5, &config);
    let wanted =
        ["detected ConsecutiveGatewayFailure", "stays ConsecutiveGatewayFailure", "detected Consecutive5xx"];
    assert_eq!(shown(&detector.look(0, &mut rng()))[..3], wanted);
    note(&set, 1, Outcome::TimedOut, 4, &config);
    note(&set, 1, Outcome::Response(500), 1, &config);
    assert_eq!(shown(&detector.look(0, &mut rng()))[0], "detected Consecutive5xx");
}

#[test]
fn failures_to_reach_a_host_are_split_off() {
    let (set, config) = (hosts(2), OutlierConfig { split: true, ..config() });
    let mut detector = detector(config.clone(), &set);
    note(&set, 0, Outcome::Failed, 4, &config);
    note(&set, 0, Outcome::Connected, 1, &config);
    assert!(!note(&set, 0, Outcome::TimedOut, 4, &config));
    assert!(note(&set, 0, Outcome::Failed, 1, &config));
    let wanted = ["detected ConsecutiveLocalOriginFailure", "ejected ConsecutiveLocalOriginFailure"];
    assert_eq!(shown(&detector.look(0, &mut rng())), wanted);
}

#[test]
fn too_many_are_not_ejected() {
    let set = hosts(4);
    let config = OutlierConfig { max_ejection_percent: 25, ..config() };
    let mut detector = detector(config.clone(), &set);
    for at in 0..2 {
        note(&set, at, Outcome::Response(500), 5, &config);
    }
    assert_eq!(shown(&detector.look(0, &mut rng()))[2..], ["detected Consecutive5xx", "too many"]);
    let few = hosts(2);
    let small = OutlierConfig { max_ejection_percent: 10, ..config.clone() };
    let mut detector = self::detector(small.clone(), &few);
    note(&few, 0, Outcome::Response(500), 5, &small);
    assert_eq!(shown(&detector.look(0, &mut rng()))[1], "too many");
    let one = OutlierConfig { always_eject_one_host: true, ..small };
    let mut detector = self::detector(one.clone(), &few);
    note(&few, 1, Outcome::Response(500), 5, &one);
    assert_eq!(shown(&detector.look(0, &mut rng()))[1], "ejected Consecutive5xx");
}

#[test]
fn the_time_out_grows_and_shrinks() {
    let set = hosts(1);
    let config = OutlierConfig { max_ejection_time: Duration::from_secs(70), ..config() };
    let mut detector = detector(config.clone(), &set);
    let mut now = 0;
    let out = |detector: &mut Detector, now: &mut u64| {
        note(&set, 0, Outcome::Response(500), 5, &config);
        assert_eq!(shown(&detector.look(*now, &mut rng()))[1], "ejected Consecutive5xx");
        let since = *now;
        while host(&set, 0).has_flag(HealthFlag::FailedOutlierCheck) {
            *now += 10_000;
            detector.interval(*now, &mut rng());
        }
        *now - since
    };
    // 30 s, twice that, and then the maximum.
    let times: Vec<u64> = (0..4).map(|_| out(&mut detector, &mut now)).collect();
    assert_eq!(times, [30_000, 60_000, 70_000, 70_000]);
    for _ in 0..10 {
        now += 10_000;
        detector.interval(now, &mut rng());
    }
    assert_eq!(out(&mut detector, &mut now), 30_000);
}

#[test]
fn a_host_far_below_the_mean_is_ejected() {
    let set = hosts(6);
    let config = config();
    let mut detector = detector(config.clone(), &set);
    for at in 0..6 {
        for number in 0..200 {
            let fails = number % 10 == 0 || at == 5 && number % 2 == 0;
            note(&set, at, Outcome::Response(if fails { 500 } else { 200 }), 1, &config);
        }
    }
    assert_eq!(shown(&detector.interval(1, &mut rng())), ["detected SuccessRate", "ejected SuccessRate"]);
    assert!(host(&set, 5).has_flag(HealthFlag::FailedOutlierCheck));
    assert_eq!(host(&set, 0).outlier.success_rate(Side::External), Some(90.0));
    let (mean, threshold) = detector.averages(Side::External).unwrap();
    assert!((mean - 83.333).abs() < 0.01 && threshold < mean, "{mean} {threshold}");
    // The next interval has nothing to compare.
    detector.interval(2, &mut rng());
    assert_eq!(
        (detector.averages(Side::External), host(&set, 0).outlier.success_rate(Side::External)),
        (None, None)
    );
}

#[test]
fn a_failure_percentage_is_absolute() {
    let set = hosts(5);
    let enforcing = Enforcing { failure_percentage: 100, success_rate: 0, ..Enforcing::default() };
    let config = OutlierConfig { enforcing, ..config() };
    let mut detector = detector(config.clone(), &set);
    for at in 0..5 {
        note(&set, at, Outcome::Response(200), 10, &config);
        for _ in 0..56 {
            note(&set, at, Outcome::Response(if at < 2 { 500 } else { 200 }), 1, &config);
        }
    }
    host(&set, 0).outlier.reset(Reason::Consecutive5xx);
    // Below 85 percent: 56 of 66.
    assert!(detector.interval(1, &mut rng()).is_empty());
    for at in 0..5 {
        for number in 0..100 {
            note(&set, at, Outcome::Response(if at < 2 && number > 5 { 500 } else { 200 }), 1, &config);
        }
    }
    let events = detector.interval(2, &mut rng());
    let ejected = events.iter().filter(|event| matches!(event, Event::Ejected(Reason::FailurePercentage, _)));
    assert_eq!(ejected.count(), 2);
}

#[test]
fn active_checks_may_bring_a_host_back() {
    let (set, config) = (hosts(2), config());
    let mut detector = detector(config.clone(), &set);
    note(&set, 0, Outcome::Response(500), 5, &config);
    detector.look(0, &mut rng());
    assert_eq!(shown(&detector.passes_checks(host(&set, 0), 0)), ["returned"]);
    assert!(detector.passes_checks(host(&set, 1), 0).is_empty());
}

/// Whatever happens: no more are out than may be, the count is right, and nobody stays out longer than the maximum and an interval.
#[test]
fn histories_keep_the_rules() {
    for seed in 0..10_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut set = hosts(rng.u16(1..8));
        let config = OutlierConfig {
            split: rng.bool(),
            max_ejection_percent: rng.u32(0..=100),
            max_ejection_time: Duration::from_secs(rng.u64(30..100)),
            max_ejection_time_jitter: Duration::from_secs(rng.u64(0..5)),
            success_rate_minimum_hosts: 2,
            success_rate_request_volume: 5,
            failure_percentage_request_volume: 5,
            failure_percentage_minimum_hosts: 2,
            enforcing: Enforcing { failure_percentage: 50, ..Enforcing::default() },
            ..OutlierConfig::default()
        };
        let longest =
            (config.max_ejection_time + config.max_ejection_time_jitter).as_millis() as u64 + 10_000;
        let mut detector = detector(config.clone(), &set);
        let mut now = 0;
        let mut since = std::collections::HashMap::new();
        for _ in 0..60 {
            for _ in 0..rng.u32(0..20) {
                let at = rng.usize(..set.members().len());
                let outcomes = [
                    Outcome::Response(500),
                    Outcome::Response(200),
                    Outcome::Failed,
                    Outcome::Connected,
                    Outcome::TimedOut,
                ];
                note(&set, at, outcomes[rng.usize(..outcomes.len())], rng.u32(1..6), &config);
            }
            let mut events = detector.look(now, &mut rng);
            if rng.u32(..10) == 0 {
                set = hosts_like(&set, &mut rng);
                detector.follow(set.members());
            }
            now += 10_000;
            events.extend(detector.interval(now, &mut rng));
            for event in events {
                match event {
                    Event::Ejected(_, host) => drop(since.insert(Arc::as_ptr(&host), now)),
                    Event::Returned(host) => drop(since.remove(&Arc::as_ptr(&host))),
                    _ => {}
                }
            }
            let out: Vec<_> =
                set.members().iter().filter(|m| m.host.has_flag(HealthFlag::FailedOutlierCheck)).collect();
            assert_eq!(out.len(), detector.ejected(), "seed {seed}");
            for member in out {
                let since = since[&Arc::as_ptr(&member.host)];
                assert!(now - since <= longest, "seed {seed}: out for {}", now - since);
            }
        }
    }
}

/// The same hosts with one fewer or more.
fn hosts_like(set: &HostSet, rng: &mut fastrand::Rng) -> HostSet {
    let spec = |port| HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into());
    let count = (set.members().len() as u16 + rng.u16(0..3)).saturating_sub(1).max(1);
    HostSet::new((1..=count).map(spec), Some(set), HostSetOptions::default())
}
