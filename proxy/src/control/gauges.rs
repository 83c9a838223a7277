//! Gauges of clusters that live elsewhere than in blocks of stats: circuit breakers and host counts. Asked at every reading.
//!
//! A cluster that no request has used has none of them, as it has no other stats. DNS clusters count their hosts
//! themselves ([`super::dns`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_filters_api::CounterStore;
use sampan_filters_api::network::FilterStat;
use sampan_model::cluster::{Cluster, Discovery, Health, Member, Resource};
use sampan_model::route::Priority;

use crate::http::config::FilterSource;
use crate::snapshot::{ClusterParts, Extension, Published};
use crate::telemetry::stats::{Provided, Provider};

/// Reads the snapshot that is published.
pub struct ClusterGauges(pub Arc<Published>);

impl Provider for ClusterGauges {
    fn provide(&self, out: &mut Provided<'_>) {
        let snapshot = self.0.load();
        for entry in snapshot.clusters.iter().filter(|entry| entry.is_built()) {
            let parts = entry.parts();
            let prefix = format!("cluster.{}", parts.config.observability_name());
            breakers(parts, &prefix, out);
            if let Some(subsets) = parts.hosts.subsets() {
                let changes = subsets.changes();
                out.gauge(format!("{prefix}.lb_subsets_active"), subsets.count() as u64);
                out.counter(format!("{prefix}.lb_subsets_created"), changes.created);
                out.counter(format!("{prefix}.lb_subsets_removed"), changes.removed);
            }
            if let Some(originals) = &parts.originals {
                let members = originals.members();
                hosts(members.iter(), &prefix, out);
                out.counter(format!("{prefix}.membership_change"), originals.changes());
            } else if !counts_itself(&parts.config) {
                hosts(parts.hosts.members().iter(), &prefix, out);
            }
        }
    }
}

fn counts_itself(config: &Cluster) -> bool {
    matches!(config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_))
}

fn breakers(parts: &ClusterParts, prefix: &str, out: &mut Provided<'_>) {
    let config = &parts.config;
    for (priority, name, track) in [
        (Priority::Default, "default", config.breakers_default.track_remaining),
        (Priority::High, "high", config.breakers_high.track_remaining),
    ] {
        for (resource, short) in Resource::NAMES {
            let open = parts.breakers.is_open(priority, resource);
            out.gauge(format!("{prefix}.circuit_breakers.{name}.{short}_open"), u64::from(open));
            if track {
                let left = u64::from(parts.breakers.remaining(priority, resource));
                out.gauge(format!("{prefix}.circuit_breakers.{name}.{}", remaining(resource)), left);
            }
        }
    }
}

fn remaining(resource: Resource) -> &'static str {
    match resource {
        Resource::Connections => "remaining_cx",
        Resource::PendingRequests => "remaining_pending",
        Resource::Requests => "remaining_rq",
        Resource::Retries => "remaining_retries",
        Resource::ConnectionPools => "remaining_cx_pools",
    }
}

fn hosts<'m>(
    members: impl ExactSizeIterator<Item = &'m Member> + Clone,
    prefix: &str,
    out: &mut Provided<'_>,
) {
    let count = |wanted: &dyn Fn(Health, bool) -> bool| {
        let members = members.clone().map(|member| &member.host);
        members.filter(|host| wanted(host.health(), host.is_excluded())).count() as u64
    };
    out.gauge(format!("{prefix}.membership_total"), members.len() as u64);
    out.gauge(format!("{prefix}.membership_healthy"), count(&|health, _| health == Health::Healthy));
    out.gauge(format!("{prefix}.membership_degraded"), count(&|health, _| health == Health::Degraded));
    out.gauge(format!("{prefix}.membership_excluded"), count(&|_, excluded| excluded));
}

/// Stats that network filters keep for themselves, by way of the listeners that are published.
pub struct FilterStats(pub Arc<Published>);

impl Provider for FilterStats {
    fn provide(&self, out: &mut Provided<'_>) {
        let snapshot = self.0.load();
        // Filters with one prefix count together.
        let (mut counters, mut gauges) = (BTreeMap::new(), BTreeMap::new());
        let chains = snapshot.listeners.iter().flat_map(|listener| listener.config.chains.iter());
        let fixed = chains.flat_map(|chain| &chain.filters).filter_map(|filter| match filter {
            FilterSource::Fixed(factory) => Some(&**factory),
            FilterSource::Discovered(_) => None,
        });
        let discovered = snapshot.extensions.iter().filter_map(|extension| match &**extension {
            Extension::Network(factory) => Some(&**factory),
            Extension::Http(_) => None,
        });
        for filter in fixed.chain(discovered) {
            filter.stats(&mut |stat| match stat {
                FilterStat::Counter(name, value) => *counters.entry(name).or_insert(0) += value,
                FilterStat::Gauge(name, value) => *gauges.entry(name).or_insert(0) += value,
            });
        }
        for (name, value) in counters {
            out.counter(name, value);
        }
        for (name, value) in gauges {
            out.gauge(name, value);
        }
    }
}

/// Counters that filters keep by thread, and their gauges.
pub struct FilterCounters(pub Arc<CounterStore>);

impl Provider for FilterCounters {
    fn provide(&self, out: &mut Provided<'_>) {
        self.0.read(&mut |name, value| out.counter(name, value));
        self.0.read_gauges(&mut |name, value| out.gauge(name, value));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sampan_model::cluster::{HostSet, HostSetOptions, HostSpec};

    use super::*;
    use crate::control::publish::Publisher;
    use crate::telemetry::stats::{Stats, StatsConfig, StatsQuery, render};

    #[test]
    fn a_used_cluster_shows_its_breakers_and_hosts() {
        let publisher = Publisher::new(
            &[],
            Arc::default(),
            Arc::default(),
            &crate::control::compile::tls::Inputs::default(),
        );
        let mut config = Cluster::new("c");
        config.breakers_default.max_requests = 0;
        config.breakers_default.track_remaining = true;
        let mut parts = ClusterParts::empty(config);
        let host = HostSpec::new(SocketAddr::from(([10, 0, 0, 1], 80)).into());
        parts.hosts = Arc::new(HostSet::new([host], None, HostSetOptions::default()));
        publisher.cluster(publisher.slot("c"), parts);
        let stats = Stats::new(&StatsConfig::default()).unwrap();
        stats.provide(Arc::new(ClusterGauges(publisher.published().clone())));
        let text = render(&stats, &StatsQuery::parse("").unwrap()).body;
        for line in [
            "cluster.c.circuit_breakers.default.rq_open: 1",
            "cluster.c.circuit_breakers.high.rq_open: 0",
            "cluster.c.circuit_breakers.default.remaining_cx: 1024",
            "cluster.c.membership_healthy: 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("high.remaining"), "{text}");
    }
}
