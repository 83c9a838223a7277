//! Statistics over seeded picks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::cluster::{HealthFlag, HostSetOptions, HostSpec};

fn spec(port: usize, weight: u32, priority: u32) -> HostSpec {
    let address = SocketAddr::from(([10, 0, 0, 1], port as u16));
    HostSpec { weight, priority, ..HostSpec::new(address.into()) }
}

fn set(weights: &[u32]) -> HostSet {
    let specs = weights.iter().enumerate().map(|(at, weight)| spec(at, *weight, 0));
    HostSet::new(specs, None, HostSetOptions::default())
}

/// How often each member of `hosts` is picked in `turns`.
fn counts(policy: LbPolicy, hosts: &HostSet, turns: usize) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(42);
    let mut balancer = LoadBalancer::new(policy);
    let mut counts = HashMap::new();
    for _ in 0..turns {
        let pick = balancer.pick(hosts, &mut PickContext::new(&mut rng)).unwrap();
        *counts.entry(std::ptr::from_ref(pick.member)).or_default() += 1;
    }
    hosts
        .members()
        .iter()
        .map(|member| counts.get(&std::ptr::from_ref(member)).copied().unwrap_or(0))
        .collect()
}

fn least(settings: LeastRequest) -> LbPolicy {
    LbPolicy::LeastRequest(settings)
}

#[test]
fn round_robin_takes_turns() {
    assert_eq!(counts(LbPolicy::RoundRobin, &set(&[1, 1, 1]), 300), [100, 100, 100]);
    assert_eq!(counts(LbPolicy::RoundRobin, &set(&[7, 7]), 300), [150, 150]);
}

#[test]
fn round_robin_starts_anywhere() {
    let hosts = set(&[1; 16]);
    let first = |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let pick =
            LoadBalancer::new(LbPolicy::RoundRobin).pick(&hosts, &mut PickContext::new(&mut rng)).unwrap();
        pick.member.host.address.to_string()
    };
    let starts: std::collections::HashSet<_> = (0..200).map(first).collect();
    assert_eq!(starts.len(), 16);
}

#[test]
fn round_robin_follows_weights() {
    let counts = counts(LbPolicy::RoundRobin, &set(&[1, 3, 6]), 10_000);
    for (count, due) in counts.iter().zip([1000usize, 3000, 6000]) {
        assert!(count.abs_diff(due) <= 2, "{counts:?}");
    }
}

#[test]
fn a_new_host_set_is_noticed() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut context = PickContext::new(&mut rng);
    let mut balancer = LoadBalancer::new(LbPolicy::RoundRobin);
    let five = set(&[1; 5]);
    (0..4).for_each(|_| assert!(balancer.pick(&five, &mut context).is_some()));
    let two = set(&[1, 9]);
    (0..20).for_each(|_| assert!(balancer.pick(&two, &mut context).is_some()));
    assert!(balancer.pick(&HostSet::default(), &mut context).is_none());
}

#[test]
fn random_is_uniform_whatever_the_weights() {
    let counts = counts(LbPolicy::Random, &set(&[1, 1, 100, 1]), 40_000);
    // Four standard deviations of a binomial with p = 1/4.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 350), "{counts:?}");
}

#[test]
fn least_request_prefers_the_idle() {
    let hosts = set(&[1, 1, 1, 1]);
    hosts.members()[0].host.counters.rq_active.store(10, Relaxed);
    let two = counts(least(LeastRequest::default()), &hosts, 16_000);
    // The busy host is picked only if drawn twice: one in sixteen.
    assert!(two[0].abs_diff(1000) < 130, "{two:?}");
    assert!(two[1..].iter().all(|count| count.abs_diff(5000) < 280), "{two:?}");
    let all = counts(least(LeastRequest { full_scan: true, ..LeastRequest::default() }), &hosts, 9_000);
    assert_eq!(all[0], 0);
    assert!(all[1..].iter().all(|count| count.abs_diff(3000) < 200), "{all:?}");
}

#[test]
fn least_request_with_weights_divides_by_the_active_requests() {
    let hosts = set(&[1, 1, 2]);
    let idle = counts(least(LeastRequest::default()), &hosts, 4_000);
    assert!(idle[0].abs_diff(1000) <= 2 && idle[2].abs_diff(2000) <= 2, "{idle:?}");
    hosts.members()[2].host.counters.rq_active.store(3, Relaxed);
    let busy = counts(least(LeastRequest::default()), &hosts, 4_000);
    // 1 : 1 : 2/4.
    assert!(busy[0].abs_diff(1600) <= 5 && busy[2].abs_diff(800) <= 5, "{busy:?}");
    let unbiased =
        counts(least(LeastRequest { active_request_bias: 0.0, ..LeastRequest::default() }), &hosts, 4_000);
    assert!(unbiased[2].abs_diff(2000) <= 2, "{unbiased:?}");
}

#[test]
fn unhealthy_hosts_are_left_out_until_panic() {
    let hosts = set(&[1; 4]);
    hosts.members()[0].host.set_flag(HealthFlag::FailedActiveHc, true);
    assert_eq!(counts(LbPolicy::RoundRobin, &hosts.refreshed(), 300)[0], 0);
    hosts.members()[1].host.set_flag(HealthFlag::FailedActiveHc, true);
    hosts.members()[2].host.set_flag(HealthFlag::FailedActiveHc, true);
    let panicking = hosts.refreshed();
    assert_eq!(counts(LbPolicy::RoundRobin, &panicking, 400), [100; 4]);
    let mut rng = fastrand::Rng::with_seed(3);
    let pick = LoadBalancer::new(LbPolicy::Random).pick(&panicking, &mut PickContext::new(&mut rng));
    assert!(pick.is_some_and(|pick| pick.panic));
}

#[test]
fn panic_may_fail_traffic() {
    let options = HostSetOptions { fail_traffic_on_panic: true, ..HostSetOptions::default() };
    let hosts = HostSet::new([spec(1, 1, 0), spec(2, 1, 0)], None, options);
    for member in hosts.members() {
        member.host.set_flag(HealthFlag::FailedActiveHc, true);
    }
    let panicking = hosts.refreshed();
    let mut rng = fastrand::Rng::with_seed(3);
    let pick = LoadBalancer::new(LbPolicy::RoundRobin).pick(&panicking, &mut PickContext::new(&mut rng));
    assert!(pick.is_none());
}

#[test]
fn priorities_share_by_health() {
    let specs = (0..10).map(|at| spec(at, 1, 0)).chain((10..20).map(|at| spec(at, 1, 1)));
    let hosts = HostSet::new(specs, None, HostSetOptions::default());
    for member in &hosts.members()[..5] {
        member.host.set_flag(HealthFlag::FailedActiveHc, true);
    }
    let counts = counts(LbPolicy::RoundRobin, &hosts.refreshed(), 10_000);
    let first: usize = counts[..10].iter().sum();
    // 50 % healthy, times 1.4.
    assert!(first.abs_diff(7000) < 200, "{first}");
    assert!(counts[..5].iter().all(|count| *count == 0));
}
