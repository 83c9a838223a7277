//! Plans and choices; a simulation of the sum of all proxies.

use std::net::SocketAddr;

use super::*;
use crate::cluster::{EdsHealth, HostSetOptions, HostSpec};
use crate::lb::{LbPolicy, LoadBalancer, PickContext, Settings};

fn zone(name: &str) -> Arc<Locality> {
    Arc::new(Locality { zone: name.into(), ..Locality::default() })
}

/// Hosts by zone and number.
fn set(counts: &[(&str, u32)]) -> HostSet {
    let one = |(zone_name, count): &(&str, u32)| {
        let locality = zone(zone_name);
        (0..*count).map(move |_| locality.clone())
    };
    let spec = |(port, locality)| HostSpec {
        locality,
        ..HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
    };
    HostSet::new((1..).zip(counts.iter().flat_map(one)).map(spec), None, HostSetOptions::default())
}

fn settings(here: &str) -> ZoneAware {
    ZoneAware {
        local: Slot(0),
        here: zone(here),
        enabled: 100,
        min_cluster_size: 1,
        force_local: None,
        by_weight: false,
    }
}

fn planned(zone: &ZoneAware, hosts: &[(&str, u32)], local: &[(&str, u32)]) -> (Routing, Notes) {
    let mut notes = Notes::default();
    let routing = plan(zone, &set(hosts), &set(local), &mut notes);
    (routing, notes)
}

#[test]
fn enough_hosts_here_take_everything() {
    let even = [("a", 2), ("b", 2)];
    assert_eq!(planned(&settings("a"), &even, &even).0, Routing::Direct(0));
    assert_eq!(planned(&settings("b"), &even, &even).0, Routing::Direct(1));
    assert_eq!(planned(&settings("a"), &[("a", 3), ("b", 1)], &even).0, Routing::Direct(0));
}

#[test]
fn what_is_over_goes_where_there_is_room() {
    // Envoy's example: of us 40, 40 and 20 percent, of the upstream 25, 50 and 25.
    let (routing, _) =
        planned(&settings("a"), &[("a", 1), ("b", 2), ("c", 1)], &[("a", 2), ("b", 2), ("c", 1)]);
    let wanted = Routing::Residual { local: Some((0, 6250)), residual: vec![(1, 1000), (2, 1500)] };
    assert_eq!(routing, wanted);
    // Nothing here at all.
    let (routing, _) = planned(&settings("c"), &[("a", 1), ("b", 3)], &[("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(routing, Routing::Residual { local: None, residual: vec![(0, 0), (1, 4167)] });
}

#[test]
fn there_are_reasons_not_to() {
    let even = [("a", 2), ("b", 2)];
    let with = |change: &dyn Fn(&mut ZoneAware), hosts: &[(&str, u32)], local: &[(&str, u32)]| {
        let mut zone = settings("a");
        change(&mut zone);
        planned(&zone, hosts, local)
    };
    let none = |(routing, notes): (Routing, Notes), note: Option<Notes>| {
        assert_eq!(routing, Routing::None);
        assert!(notes.has(Notes::RECALCULATED) && note.is_none_or(|note| notes.has(note)));
    };
    none(with(&|_| {}, &[("a", 4)], &even), None);
    none(with(&|_| {}, &even, &[("a", 4)]), None);
    none(with(&|_| {}, &even, &[("b", 1), ("c", 1)]), Some(Notes::LOCAL_NOT_OK));
    none(with(&|zone| zone.min_cluster_size = 5, &even, &even), Some(Notes::TOO_SMALL));
    // Few as they are, they are to serve us.
    let uneven = [("a", 1), ("b", 9)];
    assert_eq!(with(&|zone| zone.force_local = Some(1), &uneven, &[("a", 4)]).0, Routing::Direct(0));
    assert!(matches!(
        with(&|zone| zone.force_local = Some(2), &uneven, &even).0,
        Routing::Residual { local: Some((0, 2000)), .. }
    ));
}

#[test]
fn weights_can_be_the_measure() {
    let mut notes = Notes::default();
    let spec = |port, name: &str, weight| HostSpec {
        weight,
        locality: zone(name),
        ..HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
    };
    let hosts = HostSet::new([spec(1, "a", 3), spec(2, "b", 1)], None, HostSetOptions::default());
    let local = set(&[("a", 2), ("b", 1)]);
    let mut zone = settings("a");
    assert!(matches!(plan(&zone, &hosts, &local, &mut notes), Routing::Residual { .. }));
    zone.by_weight = true;
    assert_eq!(plan(&zone, &hosts, &local, &mut notes), Routing::Direct(0));
}

#[test]
fn a_local_cluster_in_panic_says_nothing() {
    let local = set(&[("a", 2), ("b", 2)]);
    assert!(!in_panic(&local, 50.0));
    for member in &local.members()[..3] {
        member.host.set_flag(crate::cluster::HealthFlag::FailedActiveHc, true);
    }
    let local = local.refreshed();
    assert!(in_panic(&local, 50.0) && !in_panic(&local, 0.0) && in_panic(&HostSet::default(), 50.0));
    let hosts = set(&[("a", 2), ("b", 2)]);
    let mut rng = fastrand::Rng::with_seed(1);
    let settings = Settings { zone: Some(Arc::new(settings("a"))), ..LbPolicy::RoundRobin.into() };
    let mut context = PickContext { local: Some(&local), ..PickContext::new(&mut rng) };
    assert!(LoadBalancer::new(settings).pick(&hosts, &mut context).is_some());
    assert!(context.notes.has(Notes::LOCAL_NOT_OK), "{:?}", context.notes);
}

/// Whatever the zones: if every proxy routes so, each upstream host gets its even share of the sum of their requests.
#[test]
fn all_proxies_together_spread_evenly() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let names = ["a", "b", "c", "d"];
        let mut draw = |least| names.map(|name| (name, rng.u32(least..8)));
        let (local, hosts) = (draw(1), draw(1));
        let (peers, upstream) = (set(&local), set(&hosts));
        let mut got = vec![0f64; upstream.members().len()];
        const TURNS: u32 = 4000;
        for (name, count) in local {
            let settings = Settings { zone: Some(Arc::new(settings(name))), ..LbPolicy::RoundRobin.into() };
            let mut balancer = LoadBalancer::new(settings);
            for _ in 0..TURNS * count {
                let mut context = PickContext { local: Some(&peers), ..PickContext::new(&mut rng) };
                let pick = balancer.pick(&upstream, &mut context).unwrap();
                let at = upstream.members().iter().position(|member| std::ptr::eq(member, pick.member));
                got[at.unwrap()] += 1.0;
            }
        }
        let due = got.iter().sum::<f64>() / got.len() as f64;
        assert!(got.iter().all(|count| (count / due - 1.0).abs() < 0.06), "seed {seed}: {due} {got:?}");
    }
}

#[test]
fn the_health_of_hosts_counts() {
    let spec = |port, name: &str, health| HostSpec {
        health,
        locality: zone(name),
        ..HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
    };
    let hosts = HostSet::new(
        [
            spec(1, "a", EdsHealth::Unhealthy),
            spec(2, "a", EdsHealth::Unhealthy),
            spec(3, "b", EdsHealth::Healthy),
            spec(4, "b", EdsHealth::Healthy),
        ],
        None,
        HostSetOptions::default(),
    );
    let mut notes = Notes::default();
    let routing = plan(&settings("a"), &hosts, &set(&[("a", 1), ("b", 1)]), &mut notes);
    assert_eq!(routing, Routing::Residual { local: Some((0, 0)), residual: vec![(1, 5000)] });
}
