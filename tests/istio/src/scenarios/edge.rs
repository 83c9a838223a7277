//! Gateways: the Kubernetes Gateway API, whose deployment istiod makes.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{World, get};

pub const ALL: &[Scenario] = &[Scenario { name: "gateway_api", run: gateway_api }];

fn gateway_api(world: &World) -> Result<Value> {
    let _applied = world.apply(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: istio
  infrastructure: {labels: {app: edge}}
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Same}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edge, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /web}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-edge, value: 'yes'}]}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example.com, statusCode: 301}}]
",
    )?;
    let address =
        crate::process::until("the gateway", std::time::Duration::from_mins(1), || world.address("edge"))?;
    let url = |path: &str| {
        get(&format!("http://shop.example.com{path}")).with("connect", &*format!("{address}:80"))
    };
    // From outside, as users come.
    let ask = |what: &str, path: &str, status: u64| {
        crate::process::until(what, std::time::Duration::from_secs(30), || {
            let seen = world.calls("plain", &[url(path)])?;
            ensure!(seen[0].status == status, "{seen:?}");
            Ok(seen[0].clone())
        })
    };
    let web = ask("a route", "/web/a", 200)?;
    ensure!(web.got("X-Edge") == "yes" && web.server().starts_with("web-"), "{web:?}");
    let moved = ask("a redirect", "/moved", 301)?;
    ensure!(moved.header("Location") == "http://new.example.com/moved", "{moved:?}");
    let none = ask("no route", "/none", 404)?;
    let mut record = web.record();
    record["body"]["name"] = Value::Null;
    record["headers"]["X-Name"] = Value::Null;
    Ok(json!([record, moved.record(), none.record()]))
}
