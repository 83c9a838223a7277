//! What we print beside what Envoy 1.40 printed for the same stats.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::kinds::*;
use super::super::metric::MetricType;
use super::super::{
    BucketRule, Kind, Origin, Provided, Provider, Stats, StatsConfig, StatsMatcher, StatsQuery, StringMatch,
    StringPattern, Writer,
};
use super::render;

/// Names that Envoy had after start-up with one listener, HTTP connection manager, TCP proxy, route and cluster (with
/// health checks, outlier detection and tracked limits), and those of its HTTP/2 codec after the first use.
const ENVOY_NAMES: &str = include_str!("envoy_names.txt");

fn stats() -> Stats {
    Stats::new(&StatsConfig::default()).unwrap()
}

fn text(stats: &Stats, query: &str) -> String {
    render(stats, &StatsQuery::parse(query).unwrap()).body
}

fn prometheus(stats: &Stats, query: &str) -> String {
    render(stats, &StatsQuery::parse_prometheus(query).unwrap()).body
}

fn declare_all(stats: &Stats) {
    stats.declare::<Listener>("0.0.0.0_10000");
    stats.declare::<ListenerWorker>("0.0.0.0_10000.worker_0");
    stats.declare::<ListenerWorker>("0.0.0.0_10000.worker_1");
    stats.declare::<ListenerHttp>("0.0.0.0_10000.http.ingress");
    stats.declare::<Http>("ingress");
    stats.declare::<HttpRouter>("ingress");
    stats.declare::<HttpTracing>("ingress.tracing");
    stats.declare::<Http1>("http1");
    stats.declare::<Http1>("cluster.c1.http1");
    stats.declare::<Http2>("http2");
    stats.declare::<Tcp>("tp");
    stats.declare::<Cluster>("c1");
    stats.declare::<ClusterHosts>("c1");
    stats.declare::<CircuitBreakers>("c1.circuit_breakers.default");
    stats.declare::<CircuitBreakers>("c1.circuit_breakers.high");
    stats.declare::<CircuitBreakersLeft>("c1.circuit_breakers.default");
    stats.declare::<HealthCheck>("c1.health_check");
    stats.declare::<OutlierDetection>("c1.outlier_detection");
    for scope in ["vh.route.rsp", "vh.vcluster.vc1", "vh.vcluster.other"] {
        stats.declare::<VirtualHost>(scope);
    }
    stats.declare::<Server>("");
    stats.declare::<ListenerManager>("");
    stats.declare::<ClusterManager>("");
    stats.declare::<Runtime>("");
    stats.declare::<Filesystem>("");
}

#[test]
fn declared_scopes_print_the_names_that_envoy_prints() {
    let stats = stats();
    declare_all(&stats);
    let printed = text(&stats, "");
    let ours: BTreeSet<&str> = printed.lines().filter_map(|line| line.split(": ").next()).collect();
    let envoys: BTreeSet<&str> = ENVOY_NAMES.lines().collect();
    // Nothing here watches threads for being stuck, nor are there two HTTP/2 libraries to count apart.
    let absent = |name: &&&str| name.contains("watchdog") || name.contains("ghttp2_");
    let missing: Vec<_> = envoys.difference(&ours).filter(|name| !absent(name)).collect();
    assert!(missing.is_empty(), "Envoy also prints {missing:?}");
    let own = |name: &&&str| {
        name.starts_with("tcp.tp.copied_")
            || name.starts_with("tcp.tp.spliced_")
            || name.ends_with(".original_dst_self_connect")
            || name.ends_with(".upstream_rq_keepalive_replay")
    };
    let extra: Vec<_> = ours.difference(&envoys).filter(|name| !own(name)).collect();
    assert!(extra.is_empty(), "Envoy does not print {extra:?}");
}

#[test]
fn counts_of_all_threads_are_summed() {
    let stats = stats();
    for worker in 0..2 {
        let block = stats.block::<Listener>("0.0.0.0_10000", Writer::worker(worker));
        block.add(ListenerCounter::DownstreamCxTotal, 3);
        block.raise(ListenerGauge::DownstreamCxActive);
    }
    let printed = text(&stats, "usedonly");
    assert_eq!(
        printed,
        "listener.0.0.0.0_10000.downstream_cx_active: 2\nlistener.0.0.0.0_10000.downstream_cx_total: 6\n"
    );
}

/// The requests that the printed fixtures below came from: six answered 200, three 503, none of them internal.
fn nine_responses(stats: &Stats) {
    for (worker, codes) in [(0, [200, 200, 200, 503, 503]), (1, [200, 200, 200, 503, 0])] {
        let block = stats.block::<Cluster>("c1", Writer::worker(worker));
        for code in codes.into_iter().filter(|code| *code > 0) {
            block.response(code, Origin::External);
            block.response_time(Origin::External, 0);
        }
    }
}

#[test]
fn response_codes_print_as_envoys() {
    let stats = stats();
    nine_responses(&stats);
    assert_eq!(
        text(&stats, "usedonly&type=Counters"),
        "cluster.c1.external.upstream_rq_200: 6\n\
         cluster.c1.external.upstream_rq_2xx: 6\n\
         cluster.c1.external.upstream_rq_503: 3\n\
         cluster.c1.external.upstream_rq_5xx: 3\n\
         cluster.c1.external.upstream_rq_completed: 9\n\
         cluster.c1.upstream_rq_200: 6\n\
         cluster.c1.upstream_rq_2xx: 6\n\
         cluster.c1.upstream_rq_503: 3\n\
         cluster.c1.upstream_rq_5xx: 3\n\
         cluster.c1.upstream_rq_completed: 9\n"
    );
    assert_eq!(
        prometheus(&stats, "usedonly&type=Counters"),
        "# TYPE envoy_cluster_external_upstream_rq counter\n\
         envoy_cluster_external_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"c1\"} 6\n\
         envoy_cluster_external_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"c1\"} 3\n\
         # TYPE envoy_cluster_external_upstream_rq_completed counter\n\
         envoy_cluster_external_upstream_rq_completed{envoy_cluster_name=\"c1\"} 9\n\
         # TYPE envoy_cluster_external_upstream_rq_xx counter\n\
         envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"c1\"} 6\n\
         envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"c1\"} 3\n\
         # TYPE envoy_cluster_upstream_rq counter\n\
         envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"c1\"} 6\n\
         envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"c1\"} 3\n\
         # TYPE envoy_cluster_upstream_rq_completed counter\n\
         envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"c1\"} 9\n\
         # TYPE envoy_cluster_upstream_rq_xx counter\n\
         envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"c1\"} 6\n\
         envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"c1\"} 3\n"
    );
}

#[test]
fn histograms_print_as_envoys_in_text() {
    let stats = stats();
    nine_responses(&stats);
    stats.flush();
    let zeros =
        "P0(0,0) P25(0,0) P50(0,0) P75(0,0) P90(0,0) P95(0,0) P99(0,0) P99.5(0,0) P99.9(0,0) P100(0,0)";
    let filter = "usedonly&filter=c1.upstream_rq_time";
    assert_eq!(text(&stats, filter), format!("cluster.c1.upstream_rq_time: {zeros}\n"));
    assert_eq!(
        text(&stats, &format!("{filter}&histogram_buckets=detailed")),
        format!("cluster.c1.upstream_rq_time:\n  totals=0,0:9\n  intervals=0,0:9\n  summary={zeros}\n")
    );
    let disjoint = text(&stats, &format!("{filter}&histogram_buckets=disjoint"));
    assert!(disjoint.starts_with("cluster.c1.upstream_rq_time: B0.5(9,9) B1(0,0) B5(0,0) "), "{disjoint}");
    assert!(disjoint.ends_with(" B600000(0,0) B1.8e+06(0,0) B3.6e+06(0,0)\n"), "{disjoint}");
    let cumulative = text(&stats, &format!("{filter}&histogram_buckets=cumulative"));
    assert!(cumulative.ends_with(" B1.8e+06(9,9) B3.6e+06(9,9)\n"), "{cumulative}");

    stats.flush();
    assert!(text(&stats, filter).starts_with("cluster.c1.upstream_rq_time: P0(nan,0) P25(nan,0) "));
    let unused = text(&stats, "filter=c1.upstream_cx_connect_ms");
    assert_eq!(unused, "cluster.c1.upstream_cx_connect_ms: No recorded values\n");
    assert_eq!(text(&stats, "usedonly&filter=c1.upstream_cx_connect_ms"), "");
}

#[test]
fn json_is_in_envoys_shapes() {
    let stats = stats();
    stats.block::<Server>("", Writer::CONTROL).set(ServerGauge::Live, 1);
    assert_eq!(
        text(&stats, "format=json&filter=^server.live"),
        "{\"stats\":[{\"name\":\"server.live\",\"value\":1}]}"
    );
    stats.block::<Server>("", Writer::CONTROL).record(ServerHistogram::InitializationTimeMs, 19);
    stats.flush();
    let summary = text(&stats, "format=json&type=Histograms");
    assert!(
        summary.starts_with(
            "{\"stats\":[{\"histograms\":{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\
             \"computed_quantiles\":[{\"name\":\"server.initialization_time_ms\",\
             \"values\":[{\"cumulative\":19.5,\"interval\":19.5},"
        ),
        "{summary}"
    );
    for buckets in ["none", "summary", "cumulative", "disjoint", "detailed"] {
        let body = text(&stats, &format!("format=json&histogram_buckets={buckets}"));
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(
            parsed["stats"].as_array().unwrap().last().unwrap()["histograms"].is_object()
                || body.contains("upper_bound")
        );
    }
}

#[test]
fn prometheus_histograms_have_configured_buckets() {
    let config = StatsConfig {
        buckets: vec![BucketRule {
            matches: StringMatch { pattern: StringPattern::Prefix("http".to_owned()), ignore_case: false },
            bounds: vec![1.0, 2.5, 10.0],
        }],
        ..StatsConfig::default()
    };
    let stats = Stats::new(&config).unwrap();
    let block = stats.block::<Http>("up", Writer::worker(0));
    for value in [0, 0, 0, 2] {
        block.record(HttpHistogram::DownstreamRqTime, value);
    }
    assert_eq!(
        prometheus(&stats, "usedonly"),
        "# TYPE envoy_http_downstream_rq_time histogram\n\
         envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"up\",le=\"1\"} 3\n\
         envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"up\",le=\"2.5\"} 4\n\
         envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"up\",le=\"10\"} 4\n\
         envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"up\",le=\"+Inf\"} 4\n\
         envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix=\"up\"} 2.048780487804878\n\
         envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix=\"up\"} 4\n"
    );
    let summary = prometheus(&stats, "usedonly&histogram_buckets=summary");
    assert!(
        summary.contains("{envoy_http_conn_manager_prefix=\"up\",quantile=\"0.995\"} NaN\n"),
        "{summary}"
    );
}

#[test]
fn custom_metrics_keep_their_own_names_and_tags() {
    let stats = stats();
    let tags: Arc<[_]> =
        [("reporter".into(), "source".to_owned()), ("response_code".into(), "200".to_owned())].into();
    let name = "istiocustom.istio_requests_total";
    for worker in 0..2 {
        stats.metric(MetricType::Counter, name, Arc::clone(&tags), Writer::worker(worker)).inc();
    }
    assert_eq!(
        prometheus(&stats, ""),
        "# TYPE istio_requests_total counter\n\
         istio_requests_total{reporter=\"source\",response_code=\"200\"} 2\n"
    );
    // The full name, as Envoy joins tags: it is what filters of stats look at.
    assert_eq!(text(&stats, ""), "istiocustom.istio_requests_total.reporter.source.response_code.200: 2\n");
    assert_eq!(text(&stats, "filter=response_code.503"), "");
    stats.set_text("control_plane.identifier", "a \"b\"");
    let readouts = prometheus(&stats, "text_readouts&type=TextReadouts");
    assert_eq!(
        readouts,
        "# TYPE envoy_control_plane_identifier gauge\n\
         envoy_control_plane_identifier{text_value=\"a \\\"b\\\"\"} 0\n"
    );
}

#[test]
fn the_matcher_decides_what_exists() {
    let prefix =
        |text: &str| StringMatch { pattern: StringPattern::Prefix(text.to_owned()), ignore_case: false };
    let active =
        StringMatch { pattern: StringPattern::Regex("listener\\..*_active".to_owned()), ignore_case: false };
    let config =
        StatsConfig { matcher: StatsMatcher::Only(vec![prefix("server"), active]), ..StatsConfig::default() };
    let stats = Stats::new(&config).unwrap();
    declare_all(&stats);
    let printed = text(&stats, "");
    assert!(
        printed.contains("server.state: 0\n")
            && printed.contains("listener.0.0.0.0_10000.downstream_cx_active: 0\n")
    );
    assert!(!printed.contains("http.ingress") && !printed.contains("downstream_cx_total"));
}

#[test]
fn readiness_sees_a_state_of_zero() {
    let stats = stats();
    stats.block::<Server>("", Writer::CONTROL).set(ServerGauge::State, 0);
    stats.block::<ListenerManager>("", Writer::CONTROL).set(ListenerManagerGauge::WorkersStarted, 1);
    let printed = text(&stats, "usedonly&filter=^(server\\.state|listener_manager\\.workers_started)");
    assert_eq!(printed, "listener_manager.workers_started: 1\nserver.state: 0\n");
}

#[test]
fn a_reset_counts_from_zero_and_keeps_what_was_used() {
    let stats = stats();
    nine_responses(&stats);
    let block = stats.block::<Cluster>("c1", Writer::worker(0));
    block.inc(ClusterCounter::UpstreamRqTotal);
    block.raise(ClusterGauge::UpstreamRqActive);
    stats.reset_counters();
    let filter = "usedonly&type=Counters&filter=c1.upstream_rq_(total|200|completed)$";
    assert_eq!(
        text(&stats, filter),
        "cluster.c1.upstream_rq_200: 0\ncluster.c1.upstream_rq_completed: 0\ncluster.c1.upstream_rq_total: 0\n"
    );
    block.inc(ClusterCounter::UpstreamRqTotal);
    block.response(200, Origin::Internal);
    assert_eq!(
        text(&stats, filter),
        "cluster.c1.upstream_rq_200: 1\ncluster.c1.upstream_rq_completed: 1\ncluster.c1.upstream_rq_total: 1\n"
    );
    assert_eq!(text(&stats, "usedonly&type=Gauges"), "cluster.c1.upstream_rq_active: 1\n");
}

struct Breakers;

impl Provider for Breakers {
    fn provide(&self, out: &mut Provided<'_>) {
        out.gauge("cluster.c1.circuit_breakers.default.rq_open".to_owned(), 1);
        out.gauge("cluster.c1.membership_total".to_owned(), 2);
    }
}

#[test]
fn providers_are_asked_at_each_reading() {
    let stats = stats();
    stats.provide(Arc::new(Breakers));
    assert_eq!(text(&stats, "usedonly&filter=rq_open"), "cluster.c1.circuit_breakers.default.rq_open: 1\n");
    assert_eq!(text(&stats, "type=Counters"), "");
}

#[test]
fn schemas_have_no_name_twice() {
    fn names<K: Kind>() -> Vec<&'static str> {
        [K::SCHEMA.counters, K::SCHEMA.gauges, K::SCHEMA.histograms].concat()
    }
    for mut all in [
        names::<Http>(),
        names::<Cluster>(),
        [names::<Cluster>(), names::<ClusterHosts>()].concat(),
        [names::<Http>(), names::<HttpRouter>()].concat(),
        names::<Server>(),
    ] {
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
