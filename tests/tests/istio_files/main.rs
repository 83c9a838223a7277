//! What a real istiod sends to sidecars and a gateway, through a delta ADS server: what the proxy applies, refuses and reports.
//!
//! Sampan refuses nothing of them (no NACK), and reports nothing as unsupported (`GET /support`). Envoy, which has none of Istio's
//! filters, shows that the files come over the wire as they are: it may refuse nothing but these.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod load;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sampan_tests::harness::invoke::{Outcome, programs, run};
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::xds::{ANSWER, ControlPlane, types};

const PROXIES: &[&str] = &["gateway", "sidecar-client", "sidecar-server"];

/// What one proxy of the mesh made of its files.
#[derive(Debug, Default)]
struct Seen {
    /// Lines of `error_detail`, by type.
    refused: Vec<String>,
    /// What `/support` has.
    reported: Vec<String>,
    /// Resources that were not answered at all.
    unanswered: Vec<String>,
}

fn play(program: Program, name: &str) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let sockets = load::sockets(dir.path());
    let plane = ControlPlane::start_with_sockets(&[&sockets[0], &sockets[1]]);
    let resources = load::resources(name);
    let mut seen = Seen::default();
    let mut bootstrap = load::bootstrap(name);
    if let Some(lines) = refused_at_start(program, &bootstrap.to_string(), dir.path()) {
        seen.refused = lines;
        // What comes over the wire is to be seen all the same: the static listeners serve metrics and health only.
        bootstrap["static_resources"]["listeners"] = serde_json::json!([]);
    }
    let arguments = ["--allow-unknown-static-fields"];
    let process = Process::launch(program, &bootstrap.to_string(), dir.path(), &arguments);
    resources.serve(&plane, |type_url, name, version| {
        let Some(answer) = plane.answer(type_url, version, ANSWER) else {
            seen.unanswered.push(name.to_owned());
            return;
        };
        let lines = answer.error.unwrap_or_default();
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        seen.refused.extend(lines.map(|line| format!("{}: {line}", types::short(type_url))));
    });
    let (status, body) = process.admin("GET", "/support?format=json");
    if program == Program::Sampan {
        assert_eq!(status, 200, "{body}");
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        let rows = document["unsupported"].as_array().expect("a list");
        seen.reported = rows.iter().map(load::reported).collect();
        seen.reported.sort();
        seen.reported.dedup();
    }
    seen
}

/// What a proxy that does not take the bootstrap at all says about it.
fn refused_at_start(program: Program, bootstrap: &str, dir: &Path) -> Option<Vec<String>> {
    let file = dir.join("validate.yaml");
    std::fs::write(&file, bootstrap).unwrap();
    let arguments = ["--mode", "validate", "--allow-unknown-static-fields", "-c", file.to_str().unwrap()];
    let Outcome { code, text } = run(program, dir, &arguments, Duration::from_secs(20));
    (code != Some(0)).then(|| text.lines().map(|line| format!("bootstrap: {}", said(line))).collect())
}

/// A line of the log without its time, its place in the sources, and the name of the file.
fn said(line: &str) -> &str {
    let line =
        line.rsplit_once("rs:").and_then(|(_, rest)| rest.split_once("] ")).map_or(line, |(_, rest)| rest);
    line.strip_prefix("error initializing configuration")
        .and_then(|rest| rest.split_once(": "))
        .map_or(line, |(_, rest)| rest)
}

/// What Sampan refuses and reports, a line for each.
fn text(seen: &[(&str, Seen)]) -> String {
    let mut text = String::new();
    for (name, seen) in seen {
        for (verdict, lines) in [("refused", &seen.refused), ("reported", &seen.reported)] {
            let mut lines = lines.clone();
            lines.sort();
            for line in lines {
                writeln!(text, "{name} {verdict} {line}").unwrap();
            }
        }
    }
    text
}

#[test]
fn a_real_meshs_files() {
    for program in programs() {
        let seen: Vec<(&str, Seen)> = PROXIES.iter().map(|name| (*name, play(program, name))).collect();
        for (name, seen) in &seen {
            assert!(
                seen.unanswered.is_empty(),
                "{program:?}: {name}: no answer to {:?}: {seen:#?}",
                seen.unanswered
            );
        }
        match program {
            Program::Envoy => only_istios_own_is_refused(&seen),
            Program::Sampan => {
                let text = text(&seen);
                assert!(text.is_empty(), "{text}");
            }
        }
    }
}

fn only_istios_own_is_refused(seen: &[(&str, Seen)]) {
    for (name, seen) in seen {
        println!("{name}: Envoy refuses {:#?}", seen.refused);
        // Envoy speaks of one unknown extension per resource, and repeats what it quotes on further lines.
        let heads = seen.refused.iter().filter(|line| line.contains("registered implementation"));
        let strangers: Vec<&String> = heads
            .clone()
            .filter(|line| !line.contains("istio") && !line.contains("stats.PluginConfig"))
            .collect();
        assert!(strangers.is_empty(), "{name}: refused besides Istio's own: {strangers:#?}");
        assert!(heads.count() > 0, "{name}: Envoy takes Istio's filters: {seen:#?}");
    }
}
