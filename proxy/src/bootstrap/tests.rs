//! Files and flags in, a checked bootstrap or all refusals out.

use std::fmt::Write as _;

use super::*;
use crate::admin::server::AdminAddress;
use crate::cli::{self, Invocation};

fn options(arguments: &[&str]) -> Options {
    let words = ["sampan"].iter().chain(arguments).map(|word| (*word).to_owned());
    match cli::parse(words).unwrap() {
        Invocation::Run(options) => *options,
        _ => panic!("not a run"),
    }
}

fn loaded(arguments: &[&str]) -> Bootstrap {
    load(&options(arguments)).unwrap_or_else(|rejects| panic!("{}", lines(&rejects)))
}

fn refused(arguments: &[&str]) -> String {
    load(&options(arguments)).map(|_| ()).map_err(|rejects| lines(&rejects)).unwrap_err()
}

fn lines(rejects: &[Reject]) -> String {
    rejects.iter().fold(String::new(), |mut all, reject| {
        let _ = writeln!(all, "{reject}");
        all
    })
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

const YAML: &str = "
node: {id: me, cluster: c}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  clusters:
  - {name: a, type: STATIC}
  - {name: b, http2_protocol_options: {}}
";

#[test]
fn a_flag_is_laid_over_a_file() {
    let (_folder, path) = file("b.yaml", YAML);
    let over = "{node: {id: over}, static_resources: {clusters: [{name: c}]}}";
    let bootstrap = loaded(&["-c", &path, "--config-yaml", over, "--service-zone", "z"]);
    let names: Vec<_> = bootstrap.clusters.iter().map(|cluster| &*cluster.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let node = &bootstrap.settings.node;
    assert_eq!((&*node.id, &*node.cluster, &*node.zone), ("over", "c", "z"));
    assert_eq!(bootstrap.node["locality"]["zone"], "z");
    assert!(matches!(bootstrap.settings.admin, Some(AdminAddress::Tcp(address)) if address.port() == 0));
    assert!(
        bootstrap.warnings.iter().any(|line| line.contains("http2_protocol_options")),
        "{:?}",
        bootstrap.warnings
    );
}

#[test]
fn every_error_is_told_with_its_place() {
    let text = "{name: a, connect_timeout: 0s}, {name: a, lb_policy: CLUSTER_PROVIDED}, {name: x, lb_policy: LOAD_BALANCING_POLICY_CONFIG}";
    let told = refused(&["--config-yaml", &format!("{{static_resources: {{clusters: [{text}]}}}}")]);
    for wanted in [
        "cluster a: connect_timeout",
        "duplicate cluster 'a'",
        "CLUSTER_PROVIDED",
        "cluster x: lb_policy: load_balancing_policy",
    ] {
        assert!(told.contains(wanted), "{wanted} in {told}");
    }
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let listener = |name: &str, port: u16, more: &str| {
        format!(
            "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, {more} filter_chains: [{{}}]}}"
        )
    };
    let both =
        |first: String, second: String| format!("{{static_resources: {{listeners: [{first}, {second}]}}}}");
    let unbound = "bind_to_port: false,";
    for (port, [first, second]) in
        [(80, ["", ""]), (80, ["", unbound]), (80, [unbound, unbound]), (0, [unbound, unbound])]
    {
        let told =
            refused(&["--config-yaml", &both(listener("a", port, first), listener("b", port, second))]);
        let wanted = format!(
            "listener b: address = 127.0.0.1:{port}: error adding listener: listener \"a\" has the same address"
        );
        assert!(told.contains(&wanted), "{wanted} in {told}");
    }
    loaded(&["--config-yaml", &both(listener("a", 0, ""), listener("b", 0, ""))]);
    loaded(&["--config-yaml", &both(listener("a", 80, unbound), listener("b", 81, unbound))]);
}

#[test]
fn the_extension_picks_the_parser() {
    let (_folder, json) = file("b.json", r#"{"node": {"id": "j",},}"#);
    assert_eq!(&*loaded(&["-c", &json]).settings.node.id, "j");
    let (_folder, plain) = file("bootstrap", YAML);
    assert!(refused(&["-c", &plain]).contains("as a text protobuf"));
    assert!(refused(&["-c", "/nonexistent.yaml"]).contains("unable to read file"));
    let (_folder, good) = file("b.yaml", YAML);
    let wire = loaded(&["-c", &good]).rest;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.pb");
    std::fs::write(&path, wire).unwrap();
    assert_eq!(&*loaded(&["-c", path.to_str().unwrap()]).settings.node.id, "me");
}

#[test]
fn a_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || std::fs::write(path, YAML))
    };
    assert_eq!(loaded(&["-c", path.to_str().unwrap()]).clusters.len(), 2);
    writer.join().unwrap().unwrap();
}

#[test]
fn unknown_fields_follow_the_flag() {
    let text = "{node: {idd: x}}";
    assert!(refused(&["--config-yaml", text]).contains("did you mean `id`"));
    let bootstrap = loaded(&["--config-yaml", text, "--allow-unknown-static-fields"]);
    assert!(bootstrap.warnings[0].contains("idd"));
}

#[test]
fn what_is_not_supported_is_reported_or_refused() {
    let text = "{static_resources: {clusters: [{name: a, track_timeout_budgets: true}]}, watchdogs: {}}";
    let bootstrap = loaded(&["--config-yaml", text]);
    let told: Vec<_> =
        bootstrap.unsupported.iter().map(|u| (u.resource.as_str(), u.field.as_str())).collect();
    assert_eq!(told, [("bootstrap", "watchdogs"), ("cluster a", "track_timeout_budgets")]);
    let strict = refused(&["--config-yaml", text, "--mode", "validate", "--strict"]);
    assert_eq!(strict, "cluster a: track_timeout_budgets: not supported yet: these stats are not kept\n");
}

#[test]
fn settings_come_out() {
    let text = "
layered_runtime: {layers: [{name: s, static_layer: {x: 3}}, {name: admin, admin_layer: {}}]}
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 7
application_log_config: {log_format: {json_format: {Message: '%j'}}}
admin: {address: {pipe: {path: /tmp/admin.sock, mode: 384}}}
";
    let settings = loaded(&["--config-yaml", text]).settings;
    assert_eq!(settings.runtime.number("x"), Some(3));
    assert_eq!(settings.max_downstream_connections, Some(7));
    assert_eq!(settings.log_format.as_deref(), Some(r#"{"Message":"%j"}"#));
    assert_eq!(settings.admin, Some(AdminAddress::Unix { path: "/tmp/admin.sock".into(), mode: 0o600 }));
    assert!(
        refused(&["--config-yaml", text, "--log-format", "%v"]).contains("Only one of ApplicationLogConfig")
    );
}
