//! Every endpoint against a small configuration; the texts are what Envoy 1.40 prints for the same.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::source::*;
use super::status::*;
use super::*;
use crate::cli::{self, Invocation};
use crate::logging::{Format, Level, Sink};
use crate::process::{AfterDrain, DrainScope, Exit, Stage};
use crate::telemetry::stats::{Stats, StatsConfig, Writer, kinds};
use sampan_model::cluster::HealthFlag;

struct Fixture;

impl ConfigSource for Fixture {
    fn origin(&self) -> Option<Value> {
        None
    }

    fn configs(&self, include_eds: bool) -> Vec<Value> {
        let part = |name: &str, fields: Value| {
            let mut value = json!({"@type": format!("type.googleapis.com/envoy.admin.v3.{name}")});
            if let (Some(out), Value::Object(fields)) = (value.as_object_mut(), fields) {
                out.extend(fields);
            }
            value
        };
        let cluster = |name: &str| {
            json!({"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC"},
                   "last_updated": "now"})
        };
        let mut out = vec![
            part("BootstrapConfigDump", json!({"bootstrap": {"node": {"id": "n", "cluster": "c"}}})),
            part(
                "ClustersConfigDump",
                json!({"version_info": "1", "static_clusters": [cluster("c1"), cluster("c2")]}),
            ),
        ];
        if include_eds {
            out.push(part(
                "EndpointsConfigDump",
                json!({"static_endpoint_configs": [{"endpoint_config": {"cluster_name": "c1"}}]}),
            ));
        }
        out
    }

    fn generations(&self) -> Value {
        json!({"current": 3, "generations": []})
    }

    fn generations_diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Value, String> {
        if from == Some(0) {
            return Err("generation 0 is not kept; 1 to 3 are".to_owned());
        }
        Ok(json!({"from": from, "to": to, "changes": []}))
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        let host = HostStatus {
            address: Address::Tcp(([127, 0, 0, 1], 9).into()),
            hostname: "hh".into(),
            flags: vec![HealthFlag::FailedActiveHc, HealthFlag::FailedOutlierCheck],
            eds_health: "HEALTHY",
            weight: 1,
            region: "r".into(),
            zone: "z".into(),
            sub_zone: String::new(),
            canary: false,
            priority: 0,
            success_rate: -1.0,
            local_success_rate: -1.0,
            stats: HostStats { rq_total: 7, cx_active: 2, ..HostStats::default() },
        };
        vec![
            ClusterStatus {
                name: "c1".into(),
                observability_name: "c1".into(),
                hosts: vec![host],
                ..Default::default()
            },
            ClusterStatus {
                name: "c2".into(),
                observability_name: "alt".into(),
                eds_service_name: "svc".into(),
                added_via_api: true,
                ..Default::default()
            },
        ]
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let addresses = vec![Address::Tcp(([127, 0, 0, 1], 80).into()), Address::Pipe("/run/s".into())];
        vec![ListenerStatus { name: "l1".into(), addresses }]
    }

    fn certificates(&self) -> Vec<Value> {
        Vec::new()
    }

    fn unready(&self) -> Vec<UnreadyTargets> {
        vec![UnreadyTargets { name: "listener l1".into(), targets: vec!["RDS r".into()] }]
    }

    fn node(&self) -> Value {
        json!({"id": "n1", "cluster": "c1"})
    }

    fn extensions(&self) -> Vec<Extension> {
        vec![Extension {
            name: "envoy.filters.http.router".into(),
            category: "envoy.filters.http".into(),
            type_urls: vec!["envoy.extensions.filters.http.router.v3.Router".into()],
        }]
    }

    fn unsupported(&self) -> Vec<Unsupported> {
        vec![Unsupported {
            resource: "cluster c1".into(),
            field: "upstream_bind_config".into(),
            reason: "not yet".into(),
        }]
    }

    fn workers(&self) -> Option<u32> {
        Some(3)
    }

    fn runtime(&self) -> RuntimeView {
        let entry = RuntimeEntry {
            key: "a".into(),
            final_value: "7".into(),
            layer_values: vec!["1".into(), "7".into()],
        };
        RuntimeView { layers: vec!["st".into(), "adm".into()], entries: vec![entry] }
    }

    fn modify_runtime(&self, changes: &[(String, String)]) -> Result<(), NoAdminLayer> {
        if changes.iter().any(|(key, _)| key == "refused") { Err(NoAdminLayer) } else { Ok(()) }
    }
}

pub(super) fn admin() -> Admin {
    let line = ["sampan", "-c", "a.yaml", "--concurrency", "2", "--drain-time-s", "5"];
    let Ok(Invocation::Run(options)) = cli::parse(line.map(str::to_owned)) else { panic!("a command line") };
    let sink = Sink::to_writer(Box::new(std::io::sink())).expect("a thread");
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Stage::Live);
    Admin {
        options: Arc::new(*options),
        lifecycle,
        log: Logging::new(sink, Format::new("%v", false), Level::Info),
        config: Arc::new(Fixture),
        stats: Arc::new(Stats::new(&StatsConfig::default()).expect("the default is valid")),
    }
}

fn ask(admin: &Admin, method: Method, target: &str) -> (StatusCode, String) {
    let reply = table::answer(admin, &Request::new(method, target, b""));
    (reply.status, String::from_utf8(reply.body.to_vec()).expect("text"))
}

fn get(target: &str) -> String {
    let (status, body) = ask(&admin(), Method::GET, target);
    assert_eq!(status, StatusCode::OK, "{target}: {body}");
    body
}

fn get_json(target: &str) -> Value {
    serde_json::from_str(&get(target)).expect("JSON")
}

#[test]
fn help_unknown_paths_and_wrong_methods() {
    let help = get("/help");
    assert!(help.starts_with("admin commands are:\n  /: Admin home page\n  /allocprofiler (POST): "));
    assert!(help.contains("  /stats: print server stats\n      usedonly: Only include"));
    assert!(help.contains("      format: File format to use; One of (text, json)\n"));
    let (status, body) = ask(&admin(), Method::GET, "/server_info/");
    assert_eq!((status, body), (StatusCode::NOT_FOUND, format!("invalid path. {help}")));
    for (method, path) in
        [(Method::GET, "/quitquitquit"), (Method::OPTIONS, "/reopen_logs"), (Method::HEAD, "/logging")]
    {
        let (status, body) = ask(&admin(), method.clone(), path);
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(body, format!("Method {method} not allowed, POST required."));
    }
    assert!(get("/").contains("<form action='logging' method='post' id='logging'>"));
    assert!(table::ENDPOINTS.is_sorted_by_key(|e| e.path));
}

#[test]
fn readiness_follows_health() {
    let admin = admin();
    assert_eq!(ask(&admin, Method::GET, "/ready"), (StatusCode::OK, "LIVE\n".into()));
    assert_eq!(ask(&admin, Method::POST, "/healthcheck/fail"), (StatusCode::OK, "OK\n".into()));
    assert_eq!(ask(&admin, Method::GET, "/ready"), (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".into()));
    ask(&admin, Method::POST, "/healthcheck/ok");
    assert_eq!(ask(&admin, Method::POST, "/drain_listeners?graceful&skip_exit&inboundonly").1, "OK\n");
    let drain = admin.lifecycle.drain_state().drain.expect("a drain");
    assert_eq!(
        (drain.scope, drain.then, drain.time.as_secs()),
        (DrainScope::Inbound, AfterDrain::KeepListening, 5)
    );
    assert_eq!(ask(&admin, Method::GET, "/ready").1, "LIVE\n", "a graceful drain stays ready");
    ask(&admin, Method::POST, "/drain_listeners");
    let drain = admin.lifecycle.drain_state().drain.expect("a drain");
    assert_eq!(
        (drain.scope, drain.then, drain.time.as_secs()),
        (DrainScope::All, AfterDrain::StopListening, 0)
    );
    assert_eq!(ask(&admin, Method::POST, "/quitquitquit"), (StatusCode::OK, "OK\n".into()));
    assert_eq!(admin.lifecycle.exit_state(), Exit::AfterDrain);
}

#[test]
fn server_info_has_envoys_fields() {
    let info = get_json("/server_info");
    assert_eq!(info["state"], "LIVE");
    assert_eq!(info["version"].as_str().map(|v| v.split('/').count()), Some(5));
    let options = &info["command_line_options"];
    assert_eq!(options.as_object().map(serde_json::Map::len), Some(39));
    assert_eq!((options["concurrency"].as_u64(), options["drain_time"].as_str()), (Some(3), Some("5s")));
    assert_eq!(options["file_flush_interval"], "10s");
    assert_eq!(info["node"]["id"], "n1");
    assert_eq!(info["node"]["user_agent_build_version"]["version"]["minor_number"], 40);
    assert_eq!(info["node"]["extensions"][0]["name"], "envoy.filters.http.router");
}

#[test]
fn logging_shows_changes_and_refuses() {
    let admin = admin();
    let post = |target: &str| ask(&admin, Method::POST, target);
    let (status, body) = post("/logging?paths=http:debug,rbac:trace");
    assert_eq!(status, StatusCode::OK);
    assert!(body.starts_with("active loggers:\n  a2a: info\n"), "{body}");
    assert!(
        body.contains("\n  http: debug\n")
            && body.contains("\n  rbac: trace\n")
            && body.ends_with("info\n\n")
    );
    assert!(post("/logging?http=error").1.contains("\n  http: error\n"));
    for (query, reason) in [
        ("level=foo", "unknown logger level"),
        ("paths=http:off,foo:info", "unknown logger name"),
        ("paths=http:off,rbac:bar", "unknown logger level"),
        ("paths=http", "empty logger name or empty logger level"),
        ("foo=error", "unknown logger name"),
        ("level=info&http=error", "invalid number of parameters"),
        ("group=http:error", "group parameter requires fine-grain logging to be enabled"),
    ] {
        let (status, body) = post(&format!("/logging?{query}"));
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.starts_with(&format!("error: {reason}\n\nusage: /logging?<name>=<level> ")), "{body}");
        assert!(body.contains("\nlevels: trace debug info warning error critical off \nactive loggers:\n"));
        assert!(body.contains("\n  http: error\n"), "nothing changes when a part is refused");
    }
    assert!(post("/logging?level=warning").1.contains("\n  rbac: warning\n"));
    assert!(post("/logging?level=").1.contains("\n  rbac: warning\n"));
}

#[test]
fn clusters_as_text() {
    let text = get("/clusters");
    assert!(text.starts_with(
        "c1::observability_name::c1\nc1::default_priority::max_connections::1024\n\
         c1::default_priority::max_pending_requests::1024\nc1::default_priority::max_requests::1024\n\
         c1::default_priority::max_retries::3\nc1::high_priority::max_connections::1024\n"
    ));
    assert!(text.contains(
        "c1::added_via_api::false\nc1::127.0.0.1:9::cx_active::2\nc1::127.0.0.1:9::cx_connect_fail::0\n"
    ));
    assert!(text.contains("c1::127.0.0.1:9::health_flags::/failed_active_hc/failed_outlier_check\n"));
    assert!(
        text.contains("c1::127.0.0.1:9::success_rate::-1\nc1::127.0.0.1:9::local_origin_success_rate::-1\n")
    );
    assert!(text.ends_with("c2::added_via_api::true\nc2::eds_service_name::svc\n"));
    assert!(get("/clusters?filter=2$").starts_with("c2::observability_name::alt\n"));
    let refused = ask(&admin(), Method::GET, "/clusters?filter=(");
    assert_eq!(refused, (StatusCode::BAD_REQUEST, "Invalid re2 regex".into()));
}

#[test]
fn clusters_as_json() {
    let all = get_json("/clusters?format=json");
    let host = &all["cluster_statuses"][0]["host_statuses"][0];
    assert_eq!(host["address"], json!({"socket_address": {"address": "127.0.0.1", "port_value": 9}}));
    assert_eq!(host["stats"][5], json!({"value": "7", "name": "rq_total"}));
    assert_eq!(host["stats"][6], json!({"type": "GAUGE", "value": "2", "name": "cx_active"}));
    let health = json!({"failed_active_health_check": true, "failed_outlier_check": true, "eds_health_status": "HEALTHY"});
    assert_eq!(host["health_status"], health);
    assert_eq!(host["locality"], json!({"region": "r", "zone": "z"}));
    assert_eq!(all["cluster_statuses"][1]["added_via_api"], true);
    assert_eq!(all["cluster_statuses"][1]["circuit_breakers"]["thresholds"][1]["priority"], "HIGH");
    assert!(all["cluster_statuses"][0].get("added_via_api").is_none());
}

#[test]
fn listeners_certificates_runtime_and_init() {
    assert_eq!(get("/listeners?format=xx"), "l1::127.0.0.1:80\nl1::/run/s\n");
    let status = &get_json("/listeners?format=json")["listener_statuses"][0];
    assert_eq!(status["local_address"]["socket_address"]["port_value"], 80);
    assert_eq!(status["additional_local_addresses"], json!([{"pipe": {"path": "/run/s"}}]));
    assert_eq!(get("/certs"), "{\n \"certificates\": []\n}\n");
    assert_eq!(
        get_json("/runtime"),
        json!({"entries": {"a": {"final_value": "7", "layer_values": ["1", "7"]}}, "layers": ["st", "adm"]})
    );
    let admin = admin();
    assert_eq!(ask(&admin, Method::POST, "/runtime_modify?a=1"), (StatusCode::OK, "OK\n".into()));
    let refused = ask(&admin, Method::POST, "/runtime_modify?refused=1");
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, "No admin layer specified".into()));
    assert!(ask(&admin, Method::POST, "/runtime_modify").1.starts_with("usage: /runtime_modify?key1=value1"));
    let form = Request::new(Method::POST, "/runtime_modify", b"refused=1");
    assert_eq!(table::answer(&admin, &form).status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/init_dump?mask=cluster"), "{}\n");
    assert_eq!(get_json("/init_dump?mask=listener")["unready_targets_dumps"][0]["target_names"][0], "RDS r");
    assert!(get("/support").contains("  cluster c1 upstream_bind_config: not yet\n"));
    assert!(get("/support").contains("  --disable-hot-restart: "));
    assert!(get_json("/memory")["total_physical_bytes"].as_str().is_some_and(|b| b != "0"));
}

#[test]
fn config_dump_selects() {
    assert_eq!(get_json("/config_dump")["configs"].as_array().map(Vec::len), Some(2));
    assert_eq!(get_json("/config_dump?include_eds=true")["configs"].as_array().map(Vec::len), Some(3));
    let named = get_json("/config_dump?resource=static_clusters&mask=cluster.name&name_regex=2");
    let expected = json!({"configs": [{
        "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster",
        "cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c2"},
    }]});
    assert_eq!(named, expected);
    assert_eq!(get("/config_dump?resource=dynamic_active_clusters"), "{}\n");
    assert_eq!(
        get_json("/config_dump?mask=bootstrap.node.id"),
        json!({"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "n"}}}]})
    );
    let filtered = get_json("/config_dump?name_regex=zzz");
    assert!(
        filtered["configs"][0].get("bootstrap").is_some()
            && filtered["configs"][1].get("static_clusters").is_none()
    );
    for (query, status, text) in [
        ("resource=nope", 404, "nope not found in config dump"),
        ("resource=static_endpoint_configs", 404, "static_endpoint_configs not found in config dump"),
        (
            "resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("mask=nope", 400, "FieldMask nope could not be successfully applied to any configs."),
        (
            "mask=static_clusters.cluster.name",
            400,
            "FieldMask static_clusters.cluster.name could not be successfully applied to any configs.",
        ),
        ("resource=static_clusters&mask=nope", 400, "FieldMask nope could not be successfully used."),
    ] {
        let (got, body) = ask(&admin(), Method::GET, &format!("/config_dump?{query}"));
        assert_eq!((got.as_u16(), body.as_str()), (status, text));
    }
    assert_eq!(ask(&admin(), Method::GET, "/config_dump?name_regex=(").0, StatusCode::BAD_REQUEST);
}

#[test]
fn stats_in_every_form() {
    let admin = admin();
    let block = admin.stats.block::<kinds::Cluster>("c1", Writer::worker(0));
    block.add(kinds::ClusterCounter::UpstreamRqTotal, 3);
    let ask = |method, target| ask(&admin, method, target);
    let (status, body) = ask(Method::GET, "/stats?usedonly&filter=%5Ecluster%5C.c1%5C.upstream_rq_total");
    assert_eq!((status, body.as_str()), (StatusCode::OK, "cluster.c1.upstream_rq_total: 3\n"));
    let (_, body) = ask(Method::GET, "/stats?usedonly&filter=upstream_rq_total$&format=json");
    let json: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(json["stats"][0], json!({"name": "cluster.c1.upstream_rq_total", "value": 3}));
    for target in
        ["/stats/prometheus?filter=upstream_rq_total$", "/stats?format=prometheus&filter=upstream_rq_total$"]
    {
        assert!(
            ask(Method::GET, target)
                .1
                .contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"c1\"} 3\n")
        );
    }
    let (_, body) = ask(Method::GET, "/stats?format=html&usedonly&filter=upstream_rq_total$");
    assert!(body.contains("<pre>\ncluster.c1.upstream_rq_total: 3\n</pre>"), "{body}");
    let ready = "/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)";
    assert_eq!(ask(Method::GET, ready).1, "server.state: 0\n");
    assert_eq!(ask(Method::POST, "/reset_counters").1, "OK\n");
    assert!(ask(Method::GET, "/stats?filter=upstream_rq_total$").1.contains("upstream_rq_total: 0\n"));
    assert_eq!(ask(Method::GET, "/stats?type=xx"), (StatusCode::BAD_REQUEST, "invalid &type= param".into()));
    assert_eq!(ask(Method::GET, "/stats?format=html&filter=(").0, StatusCode::BAD_REQUEST);
}
