//! From the tables that the workers read to what the admin server shows of them.
//!
//! Called by the control thread's [`ConfigSource`](super::source::ConfigSource).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sampan_filters_api::info::CertificateInfo;
use sampan_model::cluster::{Discovery, HealthFlag, Host, HostAddress, Member, Thresholds};
use sampan_model::outlier::Side;

use serde_json::{Value as Json, json};

use super::source::{RuntimeEntry, RuntimeView};
use super::status::{Address, ClusterStatus, HostStats, HostStatus, Limits, ListenerStatus, OutlierStatus};
use crate::runtime::{Runtime, Value};
use crate::snapshot::ClusterParts;
use crate::tls::context::Inventory;
use crate::upstream::outlier::Outliers;

/// A cluster and its hosts. `added_via_api` is whether it came over CDS.
pub fn cluster(parts: &ClusterParts, added_via_api: bool) -> ClusterStatus {
    let config = &parts.config;
    let eds_service_name = match &config.discovery {
        Discovery::Eds { service_name } => service_name.to_string(),
        _ => String::new(),
    };
    ClusterStatus {
        name: config.name.to_string(),
        observability_name: config.observability_name().to_string(),
        eds_service_name,
        added_via_api,
        default_limits: limits(&config.breakers_default),
        high_limits: limits(&config.breakers_high),
        outlier: parts.outliers.as_deref().map(outlier),
        hosts: match &parts.originals {
            Some(originals) => originals.members().iter().map(host).collect(),
            None => parts.hosts.members().iter().map(host).collect(),
        },
    }
}

/// What the last interval came to; -1 stands for too little to tell.
fn outlier(outliers: &Outliers) -> OutlierStatus {
    let [external, local] = outliers.averages().map(|averages| averages.unwrap_or((-1.0, -1.0)));
    OutlierStatus {
        average: external.0,
        threshold: external.1,
        local_average: local.0,
        local_threshold: local.1,
    }
}

/// A listener. `bound` are the addresses in use, with the ports that the kernel chose.
pub fn listener(name: &str, bound: &[sampan_filters_api::Address]) -> ListenerStatus {
    let address = |address: &sampan_filters_api::Address| match address {
        sampan_filters_api::Address::Socket(address) => Address::Tcp(*address),
        sampan_filters_api::Address::Pipe(path) => Address::Pipe(path.to_string()),
    };
    ListenerStatus { name: name.to_owned(), addresses: bound.iter().map(address).collect() }
}

/// The runtime values of all layers, by key.
pub fn runtime(runtime: &Runtime) -> RuntimeView {
    let mut entries: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (index, layer) in runtime.layers.iter().enumerate() {
        for (key, value) in &layer.values {
            let values = entries.entry(key).or_insert_with(|| vec![String::new(); runtime.layers.len()]);
            values[index] = value.text();
        }
    }
    let entry = |(key, layer_values): (&str, Vec<String>)| RuntimeEntry {
        key: key.to_owned(),
        final_value: runtime.value(key).map(Value::text).unwrap_or_default(),
        layer_values,
    };
    RuntimeView {
        layers: runtime.layers.iter().map(|layer| layer.name.to_string()).collect(),
        entries: entries.into_iter().map(entry).collect(),
    }
}

fn limits(thresholds: &Thresholds) -> Limits {
    Limits {
        connections: thresholds.max_connections,
        pending_requests: thresholds.max_pending_requests,
        requests: thresholds.max_requests,
        retries: thresholds.max_retries,
    }
}

fn host(member: &Member) -> HostStatus {
    let host = &member.host;
    let flags = HealthFlag::NAMES.iter().map(|(flag, _)| *flag).filter(|flag| host.has_flag(*flag)).collect();
    HostStatus {
        address: match &host.address {
            HostAddress::Socket(address) => Address::Tcp(socket(*address)),
            HostAddress::Pipe(path) => Address::Pipe(path.display().to_string()),
        },
        hostname: host.hostname.to_string(),
        flags,
        eds_health: eds_health(host),
        weight: member.weight,
        region: member.locality.region.to_string(),
        zone: member.locality.zone.to_string(),
        sub_zone: member.locality.sub_zone.to_string(),
        canary: member.canary,
        priority: member.priority,
        success_rate: host.outlier.success_rate(Side::External).unwrap_or(-1.0),
        local_success_rate: host.outlier.success_rate(Side::LocalOrigin).unwrap_or(-1.0),
        stats: stats(host),
    }
}

/// An IPv4 address that came mapped into IPv6 is shown as what it is.
fn socket(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn eds_health(host: &Host) -> &'static str {
    if host.has_flag(HealthFlag::EdsStatusDraining) {
        "DRAINING"
    } else if host.has_flag(HealthFlag::FailedEdsHealth) {
        "UNHEALTHY"
    } else if host.has_flag(HealthFlag::DegradedEdsHealth) {
        "DEGRADED"
    } else {
        "HEALTHY"
    }
}

fn stats(host: &Host) -> HostStats {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &host.counters;
    HostStats {
        cx_active: read(&counters.cx_active),
        cx_connect_fail: read(&counters.cx_connect_fail),
        cx_total: read(&counters.cx_total),
        rq_active: read(&counters.rq_active),
        rq_error: read(&counters.rq_error),
        // Requests that wait for a connection are counted per cluster, by its circuit breakers.
        rq_pending_active: 0,
        rq_success: read(&counters.rq_success),
        rq_timeout: read(&counters.rq_timeout),
        rq_total: read(&counters.rq_total),
    }
}

/// The `admin.v3.Certificate`s of a TLS context: one for each own certificate, with the authorities beside the first.
pub fn certificates(context: &Inventory) -> Vec<Json> {
    let authorities: Vec<Json> = context
        .authorities
        .iter()
        .flat_map(|authorities| authorities.certificates.iter().map(|info| details(info, &authorities.path)))
        .collect();
    let mut own: Vec<Json> = context
        .identities
        .iter()
        .map(|identity| {
            let chain: Vec<Json> =
                identity.leaf().map(|info| details(info, &identity.path)).into_iter().collect();
            json!({"ca_cert": [], "cert_chain": chain})
        })
        .collect();
    if own.is_empty() && !authorities.is_empty() {
        own.push(json!({"ca_cert": [], "cert_chain": []}));
    }
    if let Some(first) = own.first_mut() {
        first["ca_cert"] = authorities.into();
    }
    own
}

/// An `admin.v3.CertificateDetails`.
fn details(info: &CertificateInfo, path: &str) -> Json {
    let left = info.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let name = |kind: &str, names: &[String]| -> Vec<Json> {
        names.iter().map(|name| json!({kind: name})).collect()
    };
    let names = [
        name("dns", &info.dns_sans),
        name("uri", &info.uri_sans),
        name("ip_address", &info.ip_sans),
        name("email", &info.email_sans),
    ];
    json!({
        "path": path,
        "serial_number": info.serial,
        "subject_alt_names": names.concat(),
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": moment(info.not_before),
        "expiration_time": moment(info.not_after),
    })
}

fn moment(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sampan_model::cluster::{Cluster, HostSet, HostSetOptions};

    use super::*;
    use crate::runtime::Layer;

    #[test]
    fn a_cluster_shows_its_hosts() {
        let mut config = Cluster::new("c1");
        config.discovery = Discovery::Eds { service_name: "svc".into() };
        let spec = sampan_model::cluster::HostSpec::new(SocketAddr::from(([10, 0, 0, 1], 80)).into());
        let hosts = HostSet::new([spec], None, HostSetOptions::default());
        hosts.members()[0].host.set_flag(HealthFlag::EdsStatusDraining, true);
        hosts.members()[0].host.counters.rq_total.store(4, Ordering::Relaxed);
        let mut parts = ClusterParts::empty(config);
        parts.hosts = Arc::new(hosts);
        let shown = cluster(&parts, true);
        assert_eq!((shown.eds_service_name.as_str(), shown.default_limits.connections), ("svc", 1024));
        let host = &shown.hosts[0];
        assert_eq!((host.address.to_string().as_str(), host.eds_health), ("10.0.0.1:80", "DRAINING"));
        assert_eq!(
            (host.flags.as_slice(), host.stats.rq_total),
            ([HealthFlag::EdsStatusDraining].as_slice(), 4)
        );
    }

    #[test]
    fn runtime_values_stand_beside_their_layers() {
        let layer = |name: &str, key: &str, value: Value| Layer {
            name: name.into(),
            values: [(key.into(), value)].into_iter().collect(),
            ..Layer::default()
        };
        let shown = runtime(&Runtime {
            layers: vec![layer("low", "a", Value::Number(1.0)), layer("high", "a", Value::Bool(true))],
        });
        assert_eq!(shown.layers, ["low", "high"]);
        assert_eq!((shown.entries[0].final_value.as_str(), shown.entries.len()), ("true", 1));
        assert_eq!(shown.entries[0].layer_values, ["1", "true"]);
    }
}
