//! What operators look at: whether istiod thinks that the proxies have what it sent, what `istioctl` reads of them, and the metrics that the agent
//! gives to Prometheus.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::Scenario;
use crate::http::{Request, ask};
use crate::mesh::{Settings, istioctl};
use crate::process::until;
use crate::world::{World, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "acknowledged", run: acknowledged },
    Scenario { name: "istioctl", run: istioctl_reads },
    Scenario { name: "istioctl_status", run: istioctl_status },
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

/// What reads and changes a proxy is run as users run it: with the name of a pod, to which istioctl has a stream through the API server and the node.
fn istioctl_reads(world: &World) -> Result<Value> {
    world.expect("an answer", &get("http://web.shop/"), |seen| seen.status == 200)?;
    let pod = name(world, "client")?;
    let run = |what: &str, more: &[&str]| {
        istioctl(&world.tools, &world.kubernetes, &[&["proxy-config", what, &pod], more].concat())
    };
    let read = |what: &str| run(what, &[]);
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
    let endpoints = read("endpoints")?;
    let address = world.address("web/v1")?;
    ensure!(
        endpoints.contains(&address) && endpoints.contains("HEALTHY"),
        "{address} is not in:\n{endpoints}"
    );

    let before = levels(&read("log")?)?;
    let said = levels(&run("log", &["--level", "http:debug"])?)?;
    let changed = levels(&read("log")?)?;
    // Before anything is asserted of it, so that it is not left so.
    let restored = levels(&run("log", &["--level", &format!("http:{}", text(&before["http"]))])?)?;
    let mut expected = before.clone();
    expected["http"] = "debug".into();
    ensure!(said == expected && changed == expected, "{said:?}, then {changed:?} instead of {expected:?}");
    ensure!(restored == before, "{restored:?} instead of {before:?}");
    // As many lines of each, less what only one of the proxies has of its own.
    let count = |text: &str| text.lines().filter(|line| line.contains("web.shop.svc.cluster.local")).count();
    Ok(
        json!({"routes": count(&routes), "clusters": count(&clusters), "endpoints": count(&endpoints), "levels": before}),
    )
}

/// The name of a pod with its namespace, for istioctl.
fn name(world: &World, app: &str) -> Result<String> {
    let pod = world.pod(app)?;
    Ok(format!("{}.{}", text(&pod["metadata"]["name"]), text(&pod["metadata"]["namespace"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The levels of all loggers, of `proxy-config log`.
fn levels(told: &str) -> Result<Map<String, Value>> {
    let (_, list) = told.split_once("active loggers:").with_context(|| format!("no levels: {told}"))?;
    let lines = list.lines().filter_map(|line| line.trim().split_once(": "));
    let levels: Map<String, Value> = lines.map(|(name, level)| (name.to_owned(), level.into())).collect();
    ensure!(levels.contains_key("http"), "no level of http: {told}");
    Ok(levels)
}

/// What istiod thinks of each proxy, and whether one has what istiod would send. istiod is no pod here, so that its address is given; the rest is as
/// users have it, with a token of their cluster.
fn istioctl_status(world: &World) -> Result<Value> {
    let istiod = format!("{}:15012", world.podman.gateway());
    let run = |more: &[&str]| {
        let arguments = [&["proxy-status", "--xds-address", &istiod], more].concat();
        istioctl(&world.tools, &world.kubernetes, &arguments)
    };
    let mut record = Map::new();
    // ECDS is not among them: who has been sent a plugin once stays subscribed, and only Sampan is sent one.
    let kinds = ["CDS", "LDS", "EDS", "RDS"];
    for app in ["client", "web/v1"] {
        let pod = name(world, app)?;
        let states = eventually("all types in sync", || {
            let table = run(&["--verbosity=1"])?;
            let states = row(&table, &pod).with_context(|| format!("{pod} is not in:\n{table}"))?;
            let synced = kinds.iter().all(|kind| states.get(*kind).is_some_and(|state| state == "SYNCED"));
            let stale = states.values().any(|state| state == "STALE" || state == "ERROR");
            ensure!(synced && !stale, "{table}");
            Ok(states)
        })?;
        eventually("no difference to what istiod has", || {
            let compared = run(&[&pod])?;
            let same = |what: &str| compared.contains(&format!("{what} Match"));
            ensure!(["Clusters", "Listeners", "Routes"].into_iter().all(same), "{compared}");
            Ok(())
        })?;
        let of_kind = |kind: &&str| ((*kind).to_owned(), states[*kind].clone());
        record.insert(app.to_owned(), kinds.iter().map(of_kind).collect::<Map<_, _>>().into());
    }
    Ok(record.into())
}

/// What a table has of one name, by the heads of its columns, without ages.
fn row(table: &str, name: &str) -> Option<Map<String, Value>> {
    fn cells(line: &str) -> impl Iterator<Item = &str> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty())
    }
    let mut lines = table.lines();
    let heads = cells(lines.next()?);
    let line = lines.find(|line| cells(line).next() == Some(name))?;
    let states = cells(line).map(|cell| cell.split(" (").next().unwrap_or_default());
    Some(heads.zip(states).skip(1).map(|(head, state)| (head.to_owned(), state.into())).collect())
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
