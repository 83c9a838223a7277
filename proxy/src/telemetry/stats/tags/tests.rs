use super::super::config::{StatsConfig, StatsConfigError, TagRule, TagValue};
use super::*;

fn extract(config: &StatsConfig, name: &str) -> String {
    let tagged = Extractor::new(config).unwrap().extract(name);
    let tags: Vec<String> = tagged.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {{{}}}", tagged.name, tags.join(","))
}

#[test]
fn default_tags_are_those_envoy_printed() {
    let config = StatsConfig::default();
    for (name, expected) in [
        ("cluster.c1.assignment_stale", "cluster.assignment_stale {envoy.cluster_name=c1}"),
        ("cluster.c.h2.assignment_stale", "cluster.h2.assignment_stale {envoy.cluster_name=c}"),
        ("cluster.c1.upstream_rq_200", "cluster.upstream_rq {envoy.response_code=200,envoy.cluster_name=c1}"),
        (
            "cluster.c1.external.upstream_rq_5xx",
            "cluster.external.upstream_rq_xx {envoy.response_code_class=5,envoy.cluster_name=c1}",
        ),
        (
            "listener.0.0.0.0_17010.worker_0.downstream_cx_total",
            "listener.worker.downstream_cx_total {envoy.worker_id=0,envoy.listener_address=0.0.0.0_17010}",
        ),
        (
            "listener.0.0.0.0_17010.http.ingress.downstream_rq_2xx",
            "listener.http.downstream_rq_xx {envoy.response_code_class=2,envoy.http_conn_manager_prefix=ingress,envoy.listener_address=0.0.0.0_17010}",
        ),
        (
            "listener.[__1]_80.downstream_cx_total",
            "listener.downstream_cx_total {envoy.listener_address=[__1]_80}",
        ),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total {}"),
        ("http.ingress.rs_too_large", "http.rs_too_large {envoy.http_conn_manager_prefix=ingress}"),
        ("tcp.tp.idle_timeout", "tcp.idle_timeout {envoy.tcp_prefix=tp}"),
        (
            "vhost.vh.route.rsp.upstream_rq_200",
            "vhost.route.upstream_rq {envoy.response_code=200,envoy.virtual_host=vh,envoy.route=rsp}",
        ),
        (
            "vhost.vh.vcluster.vc1.upstream_rq_time",
            "vhost.vcluster.upstream_rq_time {envoy.virtual_cluster=vc1,envoy.virtual_host=vh}",
        ),
        ("server.worker_1.watchdog_miss", "server.worker.watchdog_miss {envoy.worker_id=1}"),
        ("listener_manager.workers_started", "listener_manager.workers_started {}"),
        (
            "http.ingress.fault.aborts_injected",
            "http.fault.aborts_injected {envoy.http_conn_manager_prefix=ingress}",
        ),
        (
            "http.ingress.fault.dc.aborts_injected",
            "http.fault.aborts_injected {envoy.fault_downstream_cluster=dc,envoy.http_conn_manager_prefix=ingress}",
        ),
        (
            "http.ingress.rbac.rp_.policy.pol.denied",
            "http.rbac.policy.denied {envoy.rbac_policy_name=pol,envoy.rbac_http_prefix=rp_,envoy.http_conn_manager_prefix=ingress}",
        ),
        (
            "http.ingress.rbac.shadow_allowed",
            "http.rbac.shadow_allowed {envoy.http_conn_manager_prefix=ingress}",
        ),
        ("lrl.http_local_rate_limit.ok", "http_local_rate_limit.ok {envoy.local_http_ratelimit_prefix=lrl}"),
        (
            "cluster.c1.grpc.pkg.Svc.Meth.2",
            "cluster.grpc.Meth.2 {envoy.grpc_bridge_method=Svc,envoy.grpc_bridge_service=pkg,envoy.cluster_name=c1}",
        ),
    ] {
        assert_eq!(extract(&config, name), expected, "{name}");
    }
}

fn rule(name: &str, value: TagValue) -> TagRule {
    TagRule { name: name.to_owned(), value }
}

#[test]
fn configured_tags_come_between_the_general_and_the_prefixed_ones() {
    let config = StatsConfig {
        tags: vec![
            rule("fixed", TagValue::Fixed("fv".to_owned())),
            rule("my.cx", TagValue::Regex("_(cx)_".to_owned())),
            rule("two", TagValue::Regex("down(str(ea)m)".to_owned())),
            rule("envoy.response_code", TagValue::Regex("_rq(_(\\d)\\d\\d)$".to_owned())),
        ],
        cli_tags: vec![("cli".to_owned(), "val".to_owned())],
        ..StatsConfig::default()
    };
    for (name, expected) in [
        (
            "listener.0.0.0.0_17010.worker_0.downstream_cx_total",
            "listener.worker.down__total {envoy.worker_id=0,cli=val,fixed=fv,my.cx=cx,two=ea,envoy.listener_address=0.0.0.0_17010}",
        ),
        (
            "cluster.c1.upstream_rq_200",
            "cluster.upstream_rq {envoy.response_code=200,cli=val,fixed=fv,envoy.cluster_name=c1}",
        ),
        ("listener_manager.workers_started", "listener_manager.workers_started {cli=val,fixed=fv}"),
    ] {
        assert_eq!(extract(&config, name), expected, "{name}");
    }
}

#[test]
fn the_expressions_of_a_mesh_bootstrap_work() {
    let config = StatsConfig {
        use_all_default_tags: false,
        tags: vec![
            rule("cluster_name", TagValue::Regex(r"^cluster(\.(.+);)".to_owned())),
            rule("response_code", TagValue::Regex(r"_rq(_(\d{3}))$".to_owned())),
            rule(
                "http_conn_manager_listener_prefix",
                TagValue::Regex(
                    r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"
                        .to_owned(),
                ),
            ),
            rule("component", TagValue::Regex(r"(component\.(.+?)\.)".to_owned())),
        ],
        ..StatsConfig::default()
    };
    for (name, expected) in [
        (
            "cluster.outbound|80||a.b.svc;.upstream_rq_200",
            "cluster.upstream_rq {cluster_name=outbound|80||a.b.svc,response_code=200}",
        ),
        (
            "listener.0.0.0.0_80.http.0.0.0.0_80.downstream_rq_completed",
            "listener.0.0.0.0_80.http.downstream_rq_completed {http_conn_manager_listener_prefix=0.0.0.0_80}",
        ),
        ("component.proxy.tag.1;.istio_build", "tag.1;.istio_build {component=proxy}"),
        ("cluster.xds-grpc.upstream_cx_total", "cluster.xds-grpc.upstream_cx_total {}"),
    ] {
        assert_eq!(extract(&config, name), expected, "{name}");
    }
}

#[test]
fn rules_that_cannot_work_are_named() {
    let with = |value| StatsConfig { tags: vec![rule("t", value)], ..StatsConfig::default() };
    let Err(StatsConfigError::Regex { field, .. }) = Extractor::new(&with(TagValue::Regex("(".to_owned())))
    else {
        panic!("accepted a broken expression");
    };
    assert_eq!(field, "stats_tags[0].regex");
    let unknown = Extractor::new(&with(TagValue::Default)).err();
    assert_eq!(unknown, Some(StatsConfigError::UnknownTag { index: 0, name: "t".to_owned() }));
}

#[test]
fn a_runaway_expression_gives_up() {
    let config = StatsConfig {
        tags: vec![rule("t", TagValue::Regex("(?=a)((?:a|a)*)(?!a|b)$".to_owned()))],
        ..StatsConfig::default()
    };
    let name = format!("{}b", "a".repeat(200));
    assert_eq!(extract(&config, &name), format!("{name} {{}}"));
}
