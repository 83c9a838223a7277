//! What operators look at: whether istiod thinks that the proxies have what it sent, what `istioctl` reads of them, and the metrics that the agent
//! gives to Prometheus.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::http::{Request, ask};
use crate::mesh::{Settings, istioctl};
use crate::process::until;
use crate::world::{World, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "acknowledged", run: acknowledged },
    Scenario { name: "istioctl", run: istioctl_reads },
    Scenario { name: "metrics", run: metrics },
    Scenario { name: "metric_overrides", run: metric_overrides },
];

fn acknowledged(world: &World) -> Result<Value> {
    until("acknowledgements", Duration::from_secs(20), || {
        let proxies: Value = serde_json::from_slice(&world.istiod().page("/debug/syncz")?)?;
        let proxies = proxies.as_array().context("no list")?;
        ensure!(proxies.len() >= 3, "{} proxies", proxies.len());
        for proxy in proxies {
            for (kind, state) in proxy["resources"].as_object().context("no resources")? {
                let kind = kind.rsplit('.').next().unwrap_or_default();
                ensure!(
                    state["lastError"].as_str().unwrap_or_default().is_empty(),
                    "{} {kind}: {state}",
                    proxy["proxy"]
                );
                // A subscription to nothing yet is no answer owed.
                ensure!(state["sent"] == state["acked"], "{} {kind}: {state}", proxy["proxy"]);
            }
        }
        Ok(Value::Null)
    })
}

fn istioctl_reads(world: &World) -> Result<Value> {
    world.expect("an answer", &get("http://web.shop/"), |seen| seen.status == 200)?;
    let folder = world.evidence("istioctl")?;
    let file = folder.join("client.json");
    std::fs::write(&file, world.admin("client", "config_dump?include_eds")?)?;
    let file = file.to_string_lossy().into_owned();
    let read_from = |what: &str, file: &str| {
        istioctl(&world.tools, &world.kubernetes, &["proxy-config", what, "-f", file])
    };
    let read = |what: &str| read_from(what, &file);
    let listeners = read("listeners")?;
    ensure!(listeners.contains("15001") && listeners.contains("15006"), "{listeners}");
    let routes = read("routes")?;
    ensure!(routes.contains("web.shop"), "{routes}");
    let clusters = read("clusters")?;
    ensure!(
        clusters.contains("web.shop.svc.cluster.local") && clusters.contains("BlackHoleCluster"),
        "{clusters}"
    );
    let secrets = read("secret")?;
    ensure!(
        secrets.contains("default") && secrets.contains("ROOTCA") && secrets.contains("ACTIVE"),
        "{secrets}"
    );
    // These it reads from another page.
    let file = folder.join("client-endpoints.json");
    std::fs::write(&file, world.admin("client", "clusters?format=json")?)?;
    let endpoints = read_from("endpoints", &file.to_string_lossy())?;
    let address = world.address("web/v1")?;
    ensure!(
        endpoints.contains(&address) && endpoints.contains("HEALTHY"),
        "{address} is not in:\n{endpoints}"
    );
    // As many lines of each, less what only one of the proxies has of its own.
    let count = |text: &str| text.lines().filter(|line| line.contains("web.shop.svc.cluster.local")).count();
    Ok(json!({"routes": count(&routes), "clusters": count(&clusters)}))
}

/// The page that the agent has for Prometheus.
fn prometheus(address: &str) -> Result<String> {
    let answer =
        ask(&format!("{address}:15020"), &Request::get("/stats/prometheus"), Duration::from_secs(5))?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// On the client's side and on the server's; Istio's own metrics only where istiod asks for them.
fn metrics(world: &World) -> Result<Value> {
    world.expect("an answer", &get("http://web.shop/"), |seen| seen.status == 200)?;
    for (app, reporter) in [("client", "source"), ("web/v1", "destination")] {
        let address = world.address(app)?;
        until(app, Duration::from_secs(20), || {
            let text = prometheus(&address)?;
            ensure!(
                text.contains("envoy_cluster_manager_cds_update_success")
                    || text.contains("envoy_server_live"),
                "{text}"
            );
            if world.settings == Settings::Default {
                let wanted = [
                    "istio_requests_total{",
                    &format!("reporter=\"{reporter}\""),
                    "destination_service=\"web.shop.svc.cluster.local\"",
                    "source_workload=\"client-v1\"",
                    "response_code=\"200\"",
                    "connection_security_policy=",
                ];
                let found = text.lines().any(|line| wanted.iter().all(|part| line.contains(part)));
                let have: Vec<&str> =
                    text.lines().filter(|line| line.starts_with("istio_requests_total")).collect();
                ensure!(found, "{wanted:?} in none of {have:#?}");
            }
            Ok(())
        })?;
    }
    Ok(Value::Null)
}

/// Labels by expressions and without some, and a metric that is off.
fn metric_overrides(world: &World) -> Result<Value> {
    if world.settings != Settings::Default {
        return Ok(Value::Null);
    }
    world.apply(
        "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: metrics, namespace: shop}
spec:
  metrics:
  - providers: [{name: prometheus}]
    overrides:
    - match: {metric: REQUEST_COUNT}
      tagOverrides:
        asked_host: {value: request.host}
        asked_how: {value: \"request.method + ' ' + string(response.code)\"}
        fixed: {value: \"'here'\"}
        source_principal: {operation: REMOVE}
    - {match: {metric: REQUEST_DURATION}, disabled: true}
",
    )?;
    let case = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    let host = format!("web-{case}.example");
    let ask = get("http://web.shop/").with("host", &*host).with("count", 6);
    let ask = ask.header("connection", "close").with("method", "PUT");
    for app in ["web/v1", "web/v2"] {
        let address = world.address(app)?;
        let direct = ask.clone().with("url", &*format!("http://{address}:8080/"));
        eventually(app, || {
            world.calls("client", std::slice::from_ref(&direct))?;
            let text = prometheus(&address)?;
            let counted: Vec<&str> = text.lines().filter(|line| line.contains(&host)).collect();
            let right = |line: &&&str| {
                line.starts_with("istio_requests_total{")
                    && line.contains(&format!("asked_host=\"{host}\""))
                    && line.contains("asked_how=\"PUT 200\"")
                    && line.contains("fixed=\"here\"")
                    && !line.contains("source_principal=")
            };
            ensure!(counted.iter().any(|line| right(&line)), "{counted:#?}");
            Ok(())
        })?;
    }
    Ok(Value::Null)
}
