//! What operators look at: whether istiod thinks that the proxies have what it sent, what `istioctl` reads of them, and the metrics that the agent
//! gives to Prometheus.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::mesh::{Settings, istioctl};
use crate::process::until;
use crate::world::{World, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "acknowledged", run: acknowledged },
    Scenario { name: "istioctl", run: istioctl_reads },
    Scenario { name: "metrics", run: metrics },
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
    let count = |text: &str| text.lines().filter(|line| line.contains("shop.svc.cluster.local")).count();
    Ok(json!({"routes": count(&routes), "clusters": count(&clusters)}))
}

/// On the client's side and on the server's; Istio's own metrics only where istiod asks for them.
fn metrics(world: &World) -> Result<Value> {
    world.expect("an answer", &get("http://web.shop/"), |seen| seen.status == 200)?;
    for (app, reporter) in [("client", "source"), ("web/v1", "destination")] {
        let address = world.address(app)?;
        until(app, Duration::from_secs(20), || {
            let page = crate::http::Request::get("/stats/prometheus");
            let answer = crate::http::ask(&format!("{address}:15020"), &page, Duration::from_secs(5))?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
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
