//! The command line, tried on both programs: what launchers and config checkers rely on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use sampan_tests::harness::invoke::{Outcome, programs, run};
use sampan_tests::harness::process::Program;

const GOOD: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: one
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: one
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: up}}]}]}
  clusters:
  - {name: up, type: STATIC, connect_timeout: 1s}
"#;

/// One call: arguments, exit code, and a part of what is printed.
struct Call {
    name: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    says: &'static str,
}

const CALLS: &[Call] = &[
    Call { name: "version", arguments: &["--version"], code: 0, says: "  version: " },
    Call {
        name: "validate",
        arguments: &["--mode", "validate", "-c", "good.yaml"],
        code: 0,
        says: "configuration 'good.yaml' OK",
    },
    Call {
        name: "no = between flag and value",
        arguments: &["--mode=validate", "--config-path=good.yaml"],
        code: 1,
        says: "--mode=validate",
    },
    Call {
        name: "validate JSON",
        arguments: &["--mode", "validate", "-c", "good.json"],
        code: 0,
        says: "configuration 'good.json' OK",
    },
    Call {
        name: "validate inline YAML",
        arguments: &["--mode", "validate", "--config-yaml", "static_resources: {}"],
        code: 0,
        says: "OK",
    },
    Call {
        name: "validate inline JSON",
        arguments: &["--mode", "validate", "--config-yaml", r#"{"static_resources": {}}"#],
        code: 0,
        says: "OK",
    },
    Call {
        name: "inline is merged over file",
        arguments: &["--mode", "validate", "-c", "good.yaml", "--config-yaml", "node: {id: x, cluster: z}"],
        code: 0,
        says: "OK",
    },
    Call {
        name: "inline is merged and can break",
        arguments: &[
            "--mode",
            "validate",
            "-c",
            "good.yaml",
            "--config-yaml",
            "static_resources: {clusters: [{name: bad, type: STATIC, connect_timeout: -1s}]}",
        ],
        code: 1,
        says: "",
    },
    Call {
        name: "unknown field",
        arguments: &["--mode", "validate", "-c", "unknown.yaml"],
        code: 1,
        says: "nonsense",
    },
    Call {
        name: "unknown field allowed",
        arguments: &["--mode", "validate", "-c", "unknown.yaml", "--allow-unknown-static-fields"],
        code: 0,
        says: "OK",
    },
    Call {
        name: "wrong type",
        arguments: &["--mode", "validate", "-c", "wrong-type.yaml"],
        code: 1,
        says: "port_value",
    },
    Call {
        name: "out of bounds",
        arguments: &["--mode", "validate", "-c", "bounds.yaml"],
        code: 1,
        says: "",
    },
    Call { name: "broken YAML", arguments: &["--mode", "validate", "-c", "broken.yaml"], code: 1, says: "" },
    Call {
        name: "unknown cluster in a static route",
        arguments: &["--mode", "validate", "-c", "no-cluster.yaml"],
        code: 1,
        says: "nowhere",
    },
    Call {
        name: "y is true in YAML 1.1",
        arguments: &["--mode", "validate", "-c", "good.yaml", "--config-yaml", "node: {id: x, cluster: y}"],
        code: 1,
        says: "cluster",
    },
    Call {
        name: "missing file",
        arguments: &["--mode", "validate", "-c", "none.yaml"],
        code: 1,
        says: "none.yaml",
    },
    Call { name: "no configuration", arguments: &["--mode", "validate"], code: 1, says: "--config-path" },
    Call {
        name: "repeated flag",
        arguments: &["-l", "info", "-l", "debug"],
        code: 1,
        says: "Argument already set!",
    },
    Call { name: "unknown flag", arguments: &["--no-such-flag"], code: 1, says: "no-such-flag" },
    Call { name: "missing value", arguments: &["-c"], code: 1, says: "config-path" },
    Call { name: "bad number", arguments: &["--concurrency", "many"], code: 1, says: "concurrency" },
    Call { name: "bad level", arguments: &["-l", "loud", "-c", "good.yaml"], code: 1, says: "loud" },
    Call { name: "bad mode", arguments: &["--mode", "odd", "-c", "good.yaml"], code: 1, says: "odd" },
    Call {
        name: "after -- is ignored",
        arguments: &["--mode", "validate", "-c", "good.yaml", "--", "--nonsense", "-l"],
        code: 0,
        says: "OK",
    },
    Call {
        name: "as Istio calls",
        arguments: &[
            "--mode",
            "validate",
            "-c",
            "good.yaml",
            "--drain-time-s",
            "45",
            "--drain-strategy",
            "immediate",
            "--local-address-ip-version",
            "v4",
            "--file-flush-interval-msec",
            "1000",
            "--disable-hot-restart",
            "--allow-unknown-static-fields",
            "-l",
            "warning",
            "--component-log-level",
            "misc:error",
            "--skip-deprecated-logs",
            "--concurrency",
            "2",
        ],
        code: 0,
        says: "OK",
    },
    Call {
        name: "as Envoy Gateway calls",
        arguments: &[
            "--mode",
            "validate",
            "--service-cluster",
            "x",
            "--service-node",
            "y",
            "--config-yaml",
            "static_resources: {}",
            "--log-level",
            "warn",
            "--cpuset-threads",
            "--drain-strategy",
            "immediate",
            "--drain-time-s",
            "60",
            "--admin-address-path",
            "admin",
            "--",
            "--run-id",
            "1",
        ],
        code: 0,
        says: "OK",
    },
    Call {
        name: "as Kuma calls",
        arguments: &[
            "--mode",
            "validate",
            "--config-path",
            "good.yaml",
            "--drain-time-s",
            "30",
            "--drain-strategy",
            "immediate",
            "--disable-hot-restart",
            "--log-level",
            "info",
            "--concurrency",
            "1",
        ],
        code: 0,
        says: "OK",
    },
    Call { name: "help", arguments: &["--help"], code: 0, says: "--config-path" },
];

fn files(dir: &Path) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("good.yaml", GOOD);
    write(
        "good.json",
        r#"{"static_resources": {"clusters": [{"name": "up", "type": "STATIC", "connectTimeout": "1s"}]}}"#,
    );
    write("unknown.yaml", &format!("{GOOD}nonsense: true\n"));
    write("wrong-type.yaml", &GOOD.replace("port_value: 0", "port_value: [0]"));
    write("bounds.yaml", &GOOD.replace("port_value: 0", "port_value: 70000"));
    write("broken.yaml", "static_resources: {listeners: [");
    write("no-cluster.yaml", &GOOD.replace("cluster: up", "cluster: nowhere"));
}

#[test]
fn calls_end_as_envoys_do() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let mut report = Vec::new();
    for program in programs() {
        for call in CALLS {
            let Outcome { code, text } = run(program, dir.path(), call.arguments, Duration::from_secs(5));
            if code != Some(call.code) || !text.contains(call.says) {
                let text: String = text.chars().take(300).collect();
                report.push(format!(
                    "{program:?}: {}: code {code:?}, wanted {} and {:?}: {text}",
                    call.name, call.code, call.says
                ));
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

/// Kuma wants exactly five parts after `version:`, Consul a `d.d.d` among them.
#[test]
fn version_has_five_parts() {
    let dir = tempfile::tempdir().unwrap();
    for program in programs() {
        let text = run(program, dir.path(), &["--version"], Duration::from_secs(5)).text;
        let (_, version) = text.split_once("version: ").expect("a version");
        let parts: Vec<&str> = version.trim().split('/').collect();
        assert_eq!(parts.len(), 5, "{program:?}: {text}");
        assert_eq!(parts[1].split('.').count(), 3, "{program:?}: {text}");
    }
}

/// A config that is read twice would hang or come up empty when it is a FIFO, as Consul's is.
#[test]
fn a_fifo_is_a_config() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("pipe.yaml");
    for program in programs() {
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
        assert!(made.success());
        let path = fifo.clone();
        let writer = std::thread::spawn(move || std::fs::write(path, GOOD));
        let outcome =
            run(program, dir.path(), &["--mode", "validate", "-c", "pipe.yaml"], Duration::from_secs(5));
        assert_eq!(outcome.code, Some(0), "{program:?}: {}", outcome.text);
        writer.join().unwrap().unwrap();
        std::fs::remove_file(&fifo).unwrap();
    }
}

/// Ours says everything that is wrong at once; Envoy stops at the first fault.
#[test]
fn validation_lists_every_error() {
    if !programs().contains(&Program::Sampan) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = GOOD
        .replace("connect_timeout: 1s", "connect_timeout: -1s")
        .replace("prefix: /", "safe_regex: {regex: \"(\"}")
        .replace("cluster: up", "cluster: nowhere");
    std::fs::write(dir.path().join("bad.yaml"), config).unwrap();
    let arguments = ["--mode", "validate", "-c", "bad.yaml"];
    let Outcome { code, text } = run(Program::Sampan, dir.path(), &arguments, Duration::from_secs(5));
    assert_eq!(code, Some(1), "{text}");
    for part in ["connect_timeout", "regex"] {
        assert!(text.contains(part), "nothing is said of {part}: {text}");
    }
}

/// What is understood but not supported is a warning normally and an error with `--strict`.
#[test]
fn strict_refuses_what_is_not_supported() {
    if !programs().contains(&Program::Sampan) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{GOOD}  - {{name: odd, type: STATIC, connect_timeout: 1s, max_requests_per_connection: 1, close_connections_on_host_health_failure: true}}\n"
    );
    std::fs::write(dir.path().join("odd.yaml"), config).unwrap();
    let call = |more: &[&'static str]| {
        let arguments: Vec<&str> =
            ["--mode", "validate", "-c", "odd.yaml"].into_iter().chain(more.iter().copied()).collect();
        run(Program::Sampan, dir.path(), &arguments, Duration::from_secs(5))
    };
    let lenient = call(&[]);
    assert_eq!(lenient.code, Some(0), "{}", lenient.text);
    let strict = call(&["--strict"]);
    assert_eq!(strict.code, Some(1), "{}", strict.text);
    assert!(
        strict.text.contains("close_connections_on_host_health_failure"),
        "the field is not named: {}",
        strict.text
    );
}
