//! Updates, refreshes, localities, weights, hosts that are checked.

use std::net::SocketAddr;

use super::*;

fn spec(port: u16) -> HostSpec {
    HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
}

#[test]
fn unchanged_hosts_survive_an_update() {
    let first = HostSet::new([spec(1), spec(2)], None, HostSetOptions::default());
    let heavier = HostSpec { weight: 5, priority: 1, ..spec(2) };
    let second = HostSet::new([heavier, spec(3)], Some(&first), HostSetOptions::default());
    assert!(Arc::ptr_eq(&first.members()[1].host, &second.members()[0].host));
    assert_eq!(second.members()[0].weight, 5);
    assert_eq!(second.priorities()[1].all, [0]);
    assert_ne!(first.id(), second.id());
}

#[test]
fn a_refresh_follows_the_flags() {
    let set = HostSet::new([spec(1), spec(2), spec(3)], None, HostSetOptions::default());
    set.members()[0].host.set_flag(HealthFlag::FailedActiveHc, true);
    set.members()[1].host.set_flag(HealthFlag::DegradedActiveHc, true);
    assert_eq!(set.priorities()[0].healthy, [0, 1, 2]);
    let set = set.refreshed();
    assert_eq!(set.priorities()[0].healthy, [2]);
    assert_eq!(set.priorities()[0].degraded, [1]);
}

#[test]
fn a_checked_host_stays_while_it_passes() {
    let checks = Some(CheckedHosts { keep_removed: true, ignore_new: true });
    let options = HostSetOptions { checks, ..HostSetOptions::default() };
    let set = HostSet::new([spec(1), spec(2)], None, options.clone());
    let shown = |set: &HostSet| set.members().iter().map(|m| m.host.flags_text()).collect::<Vec<_>>();
    assert_eq!(shown(&set), ["/failed_active_hc/pending_active_hc"; 2]);
    for flag in [HealthFlag::FailedActiveHc, HealthFlag::PendingActiveHc] {
        set.members()[0].host.set_flag(flag, false);
    }
    let host = set.members()[0].host.clone();
    let set = HostSet::new([spec(3)], Some(&set), options.clone());
    assert_eq!(shown(&set), ["/failed_active_hc/pending_active_hc", "/pending_dynamic_removal"]);
    // It may come back, or fail and go.
    let back = HostSet::new([spec(1)], Some(&set), options.clone());
    assert_eq!(shown(&back), ["healthy"]);
    let set = HostSet::new([spec(3)], Some(&back), options);
    host.set_flag(HealthFlag::FailedActiveHc, true);
    assert_eq!(set.refreshed().members().len(), 1);
}

#[test]
fn localities_keep_their_weights() {
    let zone = |name: &str| Arc::new(Locality { zone: name.into(), ..Locality::default() });
    let at = |port, name, weight| HostSpec { locality: zone(name), locality_weight: weight, ..spec(port) };
    let hosts = [at(1, "a", Some(3)), at(2, "b", None), at(3, "a", Some(3))];
    let set = HostSet::new(hosts, None, HostSetOptions::default()).refreshed();
    let localities = &set.priorities()[0].localities;
    assert_eq!(localities.len(), 2);
    assert_eq!((localities[0].weight, localities[0].hosts.as_slice()), (Some(3), &[0, 2][..]));
    assert_eq!((localities[1].weight, localities[1].hosts.as_slice()), (None, &[1][..]));
}

#[test]
fn weights_differ_or_not() {
    let even = HostSet::new(
        [HostSpec { weight: 3, ..spec(1) }, HostSpec { weight: 3, ..spec(2) }],
        None,
        HostSetOptions::default(),
    );
    assert!(!even.priorities()[0].weighted);
    let uneven = HostSet::new([HostSpec { weight: 3, ..spec(1) }, spec(2)], None, HostSetOptions::default());
    assert!(uneven.priorities()[0].weighted);
}
