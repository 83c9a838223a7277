//! What operators ask for besides: spans, ProxyConfig, and plugins that cannot run.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::Scenario;
use crate::applied::Applied;
use crate::http::{Request, ask};
use crate::image::Proxy;
use crate::process::until;
use crate::world::{Call, World, deployment, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "tracing_zipkin", run: zipkin },
    Scenario { name: "tracing_opentelemetry", run: opentelemetry },
    Scenario { name: "proxy_config", run: proxy_config },
    Scenario { name: "wasm_plugin", run: wasm_plugin },
];

/// Spans of all requests, to one of the providers that the mesh's settings name.
fn tracing(provider: &str) -> String {
    format!(
        "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: spans, namespace: shop}}
spec:
  tracing:
  - providers: [{{name: {provider}}}]
    randomSamplingPercentage: 100
    customTags: {{fixed: {{literal: {{value: here}}}}, who: {{header: {{name: x-who, defaultValue: nobody}}}}}}
"
    )
}

/// What the collector has.
fn collected(world: &World) -> Result<Vec<Value>> {
    let address = world.address("plain")?;
    let spans = ask(&format!("{address}:7000"), &Request::get("/spans"), Duration::from_secs(10))?.json()?;
    Ok(spans.as_array().cloned().unwrap_or_default())
}

/// The identifier of a trace that there has not been.
fn trace() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    // One with zeros in front is written shorter.
    format!("{now:016x}{now:016x}")
}

/// Makes requests, each of a trace of its own, until there are two spans of one: what was collected of it.
fn both_sides(
    world: &World,
    ask: impl Fn(&str) -> Call,
    spans: impl Fn(&[Value], &str) -> Vec<Value>,
) -> Result<Vec<Value>> {
    let mut traces = Vec::new();
    eventually("the spans of both sides", || {
        let trace = trace();
        let seen = world.call(&ask(&trace))?;
        ensure!(seen.status > 0, "{seen:?}");
        traces.push(trace);
        let all = collected(world)?;
        let found = traces.iter().map(|trace| spans(&all, trace)).find(|own| own.len() == 2);
        found.context("in no trace")
    })
}

fn zipkin(world: &World) -> Result<Value> {
    world.apply(&tracing("zipkin"))?;
    let ask = |trace: &str| {
        get("http://web.shop/traced?status=404")
            .header("x-b3-traceid", trace)
            .header("x-b3-spanid", &trace[16..])
            .header("x-b3-sampled", "1")
            .header("x-who", "me")
    };
    let spans = both_sides(world, ask, |all, trace| {
        all.iter().filter(|span| span["traceId"] == *trace).cloned().collect()
    })?;
    let mut record = Map::new();
    for span in &spans {
        let tags = &span["tags"];
        ensure!(tags["fixed"] == "here" && tags["who"] == "me", "{span}");
        ensure!(tags["http.status_code"] == "404" && tags["http.method"] == "GET", "{span}");
        let kind = span["kind"].as_str().context("a span without kind")?;
        let names: BTreeSet<&String> = tags.as_object().context("no tags")?.keys().collect();
        record.insert(
            kind.to_owned(),
            json!({"name": span["name"], "service": span["localEndpoint"]["serviceName"], "tags": names,
                "cluster": tags["upstream_cluster"], "flags": tags["response_flags"]}),
        );
    }
    ensure!(record.contains_key("CLIENT") && record.contains_key("SERVER"), "{record:?}");
    Ok(Value::Object(record))
}

/// By OTLP over HTTP. What comes is protobuf; the identifier of the trace is in it as bytes.
fn opentelemetry(world: &World) -> Result<Value> {
    world.apply(&tracing("otel"))?;
    let ask = |trace: &str| {
        let parent = format!("00-{trace}-{}-01", &trace[16..]);
        get("http://web.shop/traced").header("traceparent", &parent)
    };
    both_sides(world, ask, |all, trace| {
        let bodies = all.iter().filter_map(Value::as_str);
        bodies.flat_map(|body| body.matches(trace).map(Value::from)).collect()
    })?;
    Ok(Value::Null)
}

/// For single pods, as they start.
fn proxy_config(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: tuned, namespace: shop}
spec: {selector: {matchLabels: {app: tuned}}, concurrency: 1, environmentVariables: {ISTIO_META_COLOUR: green}}
",
    )?;
    // istiod injects by its last push: a pod that is made before it has seen the configuration is made again.
    let mut made: Option<Applied> = None;
    until("a pod with the configuration", Duration::from_mins(2), || {
        made.take().map_or(Ok(()), Applied::remove)?;
        made = Some(world.apply(&deployment("shop", "tuned", "v1", &[]))?);
        let pod = until("the pod", Duration::from_mins(1), || world.pod("tuned"))?;
        ensure!(pod["spec"].to_string().contains("ISTIO_META_COLOUR"), "injected without it");
        Ok(())
    })?;
    let server: Value = serde_json::from_str(&world.admin("tuned", "server_info")?)?;
    ensure!(server["command_line_options"]["concurrency"] == 1, "{}", server["command_line_options"]);
    ensure!(server["node"]["metadata"]["COLOUR"] == "green", "{}", server["node"]["metadata"]);
    let threads = world.admin("tuned", "stats?filter=^server.concurrency")?;
    ensure!(threads.trim() == "server.concurrency: 1", "{threads}");
    Ok(Value::Null)
}

/// A plugin is refused by name, and what was served goes on being served.
fn wasm_plugin(world: &World) -> Result<Value> {
    if world.proxy == Proxy::Envoy {
        return Ok(Value::Null);
    }
    // The agent fetches it by itself, and services have no addresses of their own here.
    let plugin = world.apply(&format!(
        "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: plugin, namespace: shop}}
spec: {{selector: {{matchLabels: {{app: web}}}}, url: 'http://{}:8080/plugin.wasm', failStrategy: FAIL_CLOSE}}
",
        world.address("plain")?
    ))?;
    let refusals = || -> Result<Vec<String>> {
        let proxies: Value = serde_json::from_slice(&world.istiod().page("/debug/syncz")?)?;
        let proxies = proxies.as_array().context("no list")?;
        let states = proxies.iter().filter_map(|proxy| proxy["resources"].as_object()).flat_map(Map::values);
        Ok(states
            .filter_map(|state| state["lastError"].as_str())
            .filter(|error| !error.is_empty())
            .map(str::to_owned)
            .collect())
    };
    eventually("a refusal that names it", || {
        let all = refusals()?;
        ensure!(all.iter().any(|error| error.to_lowercase().contains("wasm")), "{all:?}");
        Ok(())
    })?;
    let seen = world.calls("client", &[get("http://web.shop/").with("count", 20)])?;
    ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
    plugin.remove()?;
    eventually("nothing refused", || {
        let all = refusals()?;
        ensure!(all.is_empty(), "{all:?}");
        Ok(())
    })?;
    Ok(Value::Null)
}
