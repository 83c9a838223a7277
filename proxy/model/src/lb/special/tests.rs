//! Hashing, subsets, localities and slow start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::subset::{Fallback, Selector, SelectorFallback};
use super::super::{
    Criteria, HashKey, Label, Labels, LbPolicy, LoadBalancer, LoadReports, Maglev, PeakEwma, Pick,
    PickContext, RingHash, Settings, SlowStart, SubsetConfig, SubsetUse, Within,
};
use crate::cluster::{HealthFlag, HostSet, HostSetOptions, HostSpec, Locality};

fn spec(port: u16) -> HostSpec {
    HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
}

fn set(specs: impl IntoIterator<Item = HostSpec>, settings: &Settings) -> HostSet {
    let options = HostSetOptions {
        policy: settings.policy,
        locality_weighted: settings.locality_weighted,
        subsets: settings.subsets.clone(),
        ..HostSetOptions::default()
    };
    HostSet::new(specs, None, options)
}

fn port(pick: &Pick<'_>) -> u16 {
    match pick.member.host.address {
        crate::cluster::HostAddress::Socket(address) => address.port(),
        crate::cluster::HostAddress::Pipe(_) => 0,
    }
}

/// How many of `turns` picks go to each port; `change` sets up each context.
fn counts(
    settings: &Settings,
    hosts: &HostSet,
    turns: u64,
    change: impl Fn(u64, &mut PickContext<'_>),
) -> HashMap<u16, u64> {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut balancer = LoadBalancer::new(settings.clone());
    let mut counts = HashMap::new();
    for turn in 0..turns {
        let mut context = PickContext::new(&mut rng);
        change(turn, &mut context);
        if let Some(pick) = balancer.pick(hosts, &mut context) {
            *counts.entry(port(&pick)).or_default() += 1;
        }
    }
    counts
}

fn ring() -> Settings {
    LbPolicy::RingHash(RingHash::default()).into()
}

fn maglev() -> Settings {
    LbPolicy::Maglev(Maglev::default()).into()
}

#[test]
fn a_hash_goes_to_one_host_whatever_the_order_of_discovery() {
    for settings in [ring(), maglev()] {
        let (one, other) = (set((1..9).map(spec), &settings), set((1..9).rev().map(spec), &settings));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut balancer = LoadBalancer::new(settings.clone());
        for hash in (0..500u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let mut at = |hosts: &HostSet, turned_down| {
                let mut context = PickContext::new(&mut rng);
                (context.hash, context.turned_down) = (Some(hash), turned_down);
                port(&balancer.pick(hosts, &mut context).unwrap())
            };
            assert_eq!((at(&one, 0), at(&one, 2)), (at(&other, 0), at(&other, 2)));
        }
    }
}

#[test]
fn hashes_are_shared_by_weight() {
    let weights = [1, 2, 5];
    let specs = || weights.iter().zip(1..).map(|(weight, port)| HostSpec { weight: *weight, ..spec(port) });
    for settings in [ring(), maglev()] {
        let counts = counts(&settings, &set(specs(), &settings), 16_000, |_, _| {});
        for (weight, port) in weights.iter().zip(1..) {
            let due = u64::from(*weight) * 2000;
            assert!(counts[&port].abs_diff(due) < due / 5, "{counts:?}");
        }
    }
}

#[test]
fn losing_a_host_moves_few_others() {
    // Of 900 or so; the ring's hosts get more points each when there are fewer of them.
    for (settings, most) in [(ring(), 130), (maglev(), 60)] {
        let (all, fewer) = (set((1..11).map(spec), &settings), set((2..11).map(spec), &settings));
        let (mut moved, mut rng) = (0, fastrand::Rng::with_seed(4));
        let mut pick = |hosts: &HostSet, hash| {
            let mut context = PickContext::new(&mut rng);
            context.hash = Some(hash);
            port(&LoadBalancer::new(settings.clone()).pick(hosts, &mut context).unwrap())
        };
        for hash in (0..1000u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let before = pick(&all, hash);
            moved += u32::from(before != 1 && before != pick(&fewer, hash));
        }
        assert!(moved <= most, "{moved}");
    }
}

#[test]
fn names_and_keys_stand_for_addresses() {
    let settings: Settings =
        LbPolicy::RingHash(RingHash { key: HashKey::Hostname, ..RingHash::default() }).into();
    let named = |port, name: &str| HostSpec { hostname: name.into(), ..spec(port) };
    let keyed = |port, key: &str| HostSpec {
        labels: Some(Arc::new(Labels::new(Vec::new(), Some(key.into())))),
        ..named(port, "x")
    };
    let by_name = set([named(1, "a"), named(2, "b")], &settings);
    let by_key = set([keyed(1, "a"), keyed(2, "b")], &settings);
    let hash = |turn: u64, context: &mut PickContext<'_>| context.hash = Some(turn << 50);
    assert_eq!(counts(&settings, &by_name, 500, hash), counts(&settings, &by_key, 500, hash));
}

#[test]
fn localities_share_by_weight_and_health() {
    let zone = |name: &str| Arc::new(Locality { zone: name.into(), ..Locality::default() });
    let at =
        |port, name, weight| HostSpec { locality: zone(name), locality_weight: Some(weight), ..spec(port) };
    let settings = Settings { locality_weighted: true, ..Settings::default() };
    let specs = [at(1, "a", 1), at(2, "b", 3), at(3, "b", 3), at(4, "c", 0)];
    let hosts = set(specs, &settings);
    let shares = counts(&settings, &hosts, 8000, |_, _| {});
    assert!(shares[&1].abs_diff(2000) <= 2 && shares[&2].abs_diff(3000) <= 2, "{shares:?}");
    assert!(!shares.contains_key(&4));
    hosts.members()[1].host.set_flag(HealthFlag::FailedActiveHc, true);
    // Half of b's hosts, times 1.4: 3 * 0.7 of 3.1.
    let shares = counts(&settings, &hosts.refreshed(), 31_000, |_, _| {});
    assert!(shares[&1].abs_diff(10_000) <= 2 && shares[&3].abs_diff(21_000) <= 2, "{shares:?}");
}

#[test]
fn new_hosts_start_slowly() {
    let slow_start = Some(SlowStart { window: Duration::from_secs(10), ..SlowStart::default() });
    let settings = Settings { slow_start, ..Settings::default() };
    let hosts = set([spec(1), spec(2)], &settings);
    hosts.members()[0].host.became_healthy(1);
    hosts.members()[1].host.became_healthy(20_000);
    let at = |now| {
        let shares = counts(&settings, &hosts, 1100, |_, context| context.now = now);
        (shares[&1], shares[&2])
    };
    // A tenth is the least; then as much as of the window is over.
    assert_eq!(at(20_001), (1000, 100));
    let half = at(25_000);
    assert!(half.0.abs_diff(733) <= 2, "{half:?}");
    assert_eq!(at(30_001), (550, 550));
}

fn label(key: &str, value: &str) -> Label {
    Label { key: key.into(), value: value.into(), elements: Vec::new() }
}

fn labelled(port: u16, labels: Vec<Label>) -> HostSpec {
    HostSpec { labels: Some(Arc::new(Labels::new(labels, None))), ..spec(port) }
}

fn subsets(config: SubsetConfig) -> (Settings, HostSet) {
    let settings = Settings { subsets: Some(Arc::new(config)), ..Settings::default() };
    let specs = [
        labelled(1, vec![label("v", "1"), label("s", "prod")]),
        labelled(2, vec![label("v", "2"), label("s", "prod")]),
        labelled(3, vec![label("v", "2"), label("s", "dev")]),
        spec(4),
    ];
    let hosts = set(specs, &settings);
    (settings, hosts)
}

fn selector(keys: &[&str], fallback: SelectorFallback) -> Selector {
    Selector { keys: keys.iter().map(|key| (*key).into()).collect(), fallback, single_host: false }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
    list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// The ports that requests with these criteria reach, and the last way to them.
fn reached((settings, hosts): &(Settings, HostSet), list: &[(&str, &str)]) -> (Vec<u16>, Option<SubsetUse>) {
    let criteria = Criteria { entries: pairs(list), fallbacks: Vec::new() };
    let (mut rng, mut ports, mut usage) = (fastrand::Rng::with_seed(2), Vec::new(), None);
    let mut balancer = LoadBalancer::new(settings.clone());
    for _ in 0..20 {
        let mut context = PickContext::new(&mut rng);
        context.criteria = Some(&criteria);
        if let Some(pick) = balancer.pick(hosts, &mut context) {
            ports.push(port(&pick));
            usage = Some(pick.subset);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    (ports, usage)
}

#[test]
fn criteria_choose_a_subset() {
    let set = subsets(SubsetConfig {
        selectors: vec![
            selector(&["v"], SelectorFallback::NotDefined),
            selector(&["s", "v"], SelectorFallback::NotDefined),
        ],
        ..SubsetConfig::default()
    });
    assert_eq!(reached(&set, &[("v", "2")]), (vec![2, 3], Some(SubsetUse::Selected)));
    assert_eq!(reached(&set, &[("s", "dev"), ("v", "2")]).0, [3]);
    // Neither these keys nor these values.
    assert_eq!(reached(&set, &[("s", "dev")]), (vec![], None));
    assert_eq!(reached(&set, &[("v", "9")]), (vec![], None));
    assert_eq!(set.1.subsets().unwrap().count(), 5);
}

#[test]
fn every_fallback_of_the_cluster() {
    let with = |fallback, panic_mode_any, default: &[(&str, &str)]| {
        subsets(SubsetConfig {
            fallback,
            panic_mode_any,
            default_subset: pairs(default),
            selectors: vec![selector(&["v"], SelectorFallback::NotDefined)],
            ..SubsetConfig::default()
        })
    };
    let nine = [("v", "9")];
    assert_eq!(reached(&with(Fallback::None, true, &[]), &nine).0, [0; 0]);
    let any = with(Fallback::Any, false, &[]);
    assert_eq!(reached(&any, &nine), (vec![1, 2, 3, 4], Some(SubsetUse::Fallback)));
    let default = with(Fallback::Default, false, &[("s", "prod")]);
    assert_eq!(reached(&default, &nine), (vec![1, 2], Some(SubsetUse::Fallback)));
    let panic = with(Fallback::Default, true, &[("s", "none")]);
    assert_eq!(reached(&panic, &nine), (vec![1, 2, 3, 4], Some(SubsetUse::Panic)));
}

#[test]
fn every_fallback_of_a_selector() {
    let with = |fallback| {
        subsets(SubsetConfig {
            fallback: Fallback::Any,
            default_subset: pairs(&[("s", "dev")]),
            selectors: vec![selector(&["s", "v"], fallback), selector(&["v"], SelectorFallback::NotDefined)],
            ..SubsetConfig::default()
        })
    };
    let asked = [("s", "none"), ("v", "2")];
    assert_eq!(reached(&with(SelectorFallback::NotDefined), &asked).1, Some(SubsetUse::Fallback));
    assert_eq!(reached(&with(SelectorFallback::None), &asked).0, [0; 0]);
    assert_eq!(reached(&with(SelectorFallback::Any), &asked), (vec![1, 2, 3, 4], Some(SubsetUse::None)));
    assert_eq!(reached(&with(SelectorFallback::Default), &asked).0, [3]);
    let fewer = SelectorFallback::Keys(vec!["v".into()]);
    assert_eq!(reached(&with(fewer), &asked), (vec![2, 3], Some(SubsetUse::Selected)));
}

#[test]
fn lists_and_redundant_keys() {
    let both = |list_as_any, allow_redundant_keys| {
        let config = SubsetConfig {
            list_as_any,
            allow_redundant_keys,
            selectors: vec![selector(&["v"], SelectorFallback::NotDefined)],
            ..SubsetConfig::default()
        };
        let settings = Settings { subsets: Some(Arc::new(config)), ..Settings::default() };
        let list = Label { elements: vec!["1".into(), "2".into()], ..label("v", "[1,2,]") };
        let hosts = set([labelled(1, vec![list]), labelled(2, vec![label("v", "2")])], &settings);
        (settings, hosts)
    };
    assert_eq!(reached(&both(true, false), &[("v", "2")]).0, [1, 2]);
    assert_eq!(reached(&both(false, false), &[("v", "2")]).0, [2]);
    assert_eq!(reached(&both(false, false), &[("v", "2"), ("x", "y")]).0, [0; 0]);
    assert_eq!(reached(&both(false, true), &[("v", "2"), ("x", "y")]).0, [2]);
}

#[test]
fn a_subset_may_hash() {
    let config = SubsetConfig { fallback: Fallback::Any, ..SubsetConfig::default() };
    let settings = Settings { subsets: Some(Arc::new(config)), ..maglev() };
    let hosts = set((1..5).map(spec), &settings);
    let plain = set((1..5).map(spec), &maglev());
    let hash = |turn: u64, context: &mut PickContext<'_>| context.hash = Some(turn * 7919);
    assert_eq!(counts(&settings, &hosts, 300, hash), counts(&maglev(), &plain, 300, hash));
}

#[test]
fn an_aggregate_cluster_chooses_the_priority() {
    let specs = || {
        let spec = |port: u16, priority| HostSpec { priority, ..spec(port) };
        [spec(1, 0), spec(2, 0), spec(3, 1)]
    };
    for settings in [LbPolicy::RoundRobin.into(), LbPolicy::PeakEwma(PeakEwma::default()).into(), maglev()] {
        let hosts = set(specs(), &settings);
        let of = |priority, degraded| {
            counts(&settings, &hosts, 100, |_, context| context.within = Some(Within { priority, degraded }))
        };
        let mut ports: Vec<u16> = of(0, false).into_keys().collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2]);
        assert_eq!(of(1, false).into_iter().collect::<Vec<_>>(), [(3, 100)]);
        if !settings.policy.hashes() {
            assert!(of(1, true).is_empty(), "there are no degraded ones");
        }
    }
}

#[test]
fn reported_load_makes_weights_that_follow() {
    let reports = LoadReports { blackout: Duration::ZERO, ..LoadReports::default() };
    let settings = Settings { reports: Some(Arc::new(reports)), ..LbPolicy::ClientWeighted.into() };
    let hosts = set((1..=3).map(spec), &settings);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut balancer = LoadBalancer::new(settings);
    let mut shares = |turns: usize, now| {
        let mut counts = [0usize; 3];
        for _ in 0..turns {
            let mut context = PickContext { now, ..PickContext::new(&mut rng) };
            counts[usize::from(port(&balancer.pick(&hosts, &mut context).unwrap())) - 1] += 1;
        }
        counts
    };
    assert!(shares(300, 0).iter().all(|count| count.abs_diff(100) <= 2));
    for (member, weight) in hosts.members().iter().zip([100, 300, 600]) {
        member.host.load.report(weight, 1);
    }
    // Not before the period is over.
    assert!(shares(300, 999).iter().all(|count| count.abs_diff(100) <= 2));
    let counts = shares(10_000, 1000);
    for (count, due) in counts.iter().zip([1000usize, 3000, 6000]) {
        assert!(count.abs_diff(due) < 20, "{counts:?}");
    }
}

/// A simulation of hosts that take so long for a request: the faster a host, the more requests it gets, and a host that becomes
/// slow is left alone soon.
#[test]
fn quick_hosts_get_more_by_peak_ewma() {
    let policy = PeakEwma::default();
    let settings: Settings = LbPolicy::PeakEwma(policy).into();
    let hosts = set((1..=4).map(spec), &settings);
    let mut rng = fastrand::Rng::with_seed(8);
    let mut balancer = LoadBalancer::new(settings);
    let mut run = |times: [u64; 4], from: u64| {
        let (mut counts, mut due) = ([0u32; 4], Vec::<(u64, usize, u64)>::new());
        for now in from..from + 5000 {
            due.retain(|(end, at, took)| {
                if *end <= now {
                    let host = &hosts.members()[*at].host;
                    host.counters.rq_active.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                    host.load.answered(Duration::from_millis(*took), &policy, now);
                }
                *end > now
            });
            let mut context = PickContext { now, ..PickContext::new(&mut rng) };
            let at = usize::from(port(&balancer.pick(&hosts, &mut context).unwrap())) - 1;
            hosts.members()[at].host.counters.rq_active.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            due.push((now + times[at], at, times[at]));
            counts[at] += 1;
        }
        for (_, at, _) in due {
            hosts.members()[at].host.counters.rq_active.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        counts
    };
    let even = run([10; 4], 1000);
    assert!(even.iter().all(|count| count.abs_diff(1250) < 200), "{even:?}");
    let uneven = run([10, 10, 10, 400], 10_000);
    assert!(uneven[3] < 250 && uneven[..3].iter().all(|count| *count > 1400), "{uneven:?}");
    let again = run([10; 4], 60_000);
    assert!(again[3] > 800, "it is found to be quick again: {again:?}");
}

#[test]
fn subsets_are_counted_as_they_come_and_go() {
    let config = SubsetConfig {
        selectors: vec![Selector { keys: vec!["v".into()], ..Selector::default() }],
        ..SubsetConfig::default()
    };
    let settings = Settings { subsets: Some(Arc::new(config)), ..LbPolicy::RoundRobin.into() };
    let labelled = |port, value: &str| {
        let label = Label { key: "v".into(), value: value.into(), elements: Vec::new() };
        HostSpec { labels: Some(Arc::new(Labels::new(vec![label], None))), ..spec(port) }
    };
    let options = set([], &settings).options().clone();
    let changes = |set: &HostSet| {
        let changes = set.subsets().unwrap().changes();
        (changes.created, changes.removed)
    };
    let first = HostSet::new([labelled(1, "a"), labelled(2, "b")], None, options.clone());
    assert_eq!(changes(&first), (2, 0));
    let second = HostSet::new([labelled(1, "a"), labelled(3, "c"), labelled(4, "d")], Some(&first), options);
    assert_eq!(changes(&second), (4, 1));
    assert_eq!(changes(&second.refreshed()), (4, 1));
}
