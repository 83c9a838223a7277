//! Policies besides the usual ones: mirrors, delegates, ports with their own mTLS, ejection, scopes, access logs, and what EnvoyFilter patches in.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{World, call, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "mirror", run: mirror },
    Scenario { name: "delegate", run: delegate },
    Scenario { name: "ejection", run: ejection },
    Scenario { name: "workload_entry", run: workload_entry },
    Scenario { name: "wildcard_entry", run: wildcard_entry },
    Scenario { name: "sidecar_scope", run: sidecar_scope },
    Scenario { name: "port_mtls", run: port_mtls },
    Scenario { name: "telemetry", run: telemetry },
    Scenario { name: "envoy_filter", run: envoy_filter },
];

/// The service's two versions by name, and a VirtualService of it.
fn routes(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{host: web, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  hosts: [web]\n  http:\n{http}"
    )
}

/// A name that no other run has.
fn fresh(name: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{}", now.as_nanos())
}

fn mirror(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - match: [{uri: {prefix: /second}}]
    route: [{destination: {host: web, subset: v2}}]
  - headers: {response: {set: {x-mirrored: 'yes'}}}
    mirrors: [{destination: {host: web, subset: v2}, percentage: {value: 100}}]
    route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    world.expect("the route", &get("http://web.shop/"), |seen| seen.header("X-Mirrored") == "yes")?;
    let case = fresh("mirror");
    let seen = world.calls("client", &[get("http://web.shop/").header("x-case", &case).with("count", 20)])?;
    ensure!(seen.iter().all(|seen| seen.server() == "web-v1" && seen.status == 200), "{seen:?}");
    // Mirrors are not waited for: the second server has seen all of them sooner or later.
    let asked = get("http://web.shop/second").header("x-case", &case);
    world
        .expect("twenty mirrored requests", &asked, |seen| seen.server() == "web-v2" && seen.before >= 20)?;
    Ok(Value::Null)
}

fn delegate(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec: {hosts: [web], http: [{match: [{uri: {prefix: /cart}}], delegate: {name: cart, namespace: shop}}, {route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  http:
  - match: [{uri: {prefix: /cart/old}}]
    redirect: {uri: /cart/new, redirectCode: 308}
  - match: [{uri: {prefix: /cart/closed}}]
    directResponse: {status: 410, body: {string: gone}}
  - headers: {response: {set: {x-delegated: 'yes'}}}
    route: [{destination: {host: web}}]
",
    )?;
    let cart = get("http://web.shop/cart/1");
    let cart = world.expect("the delegate's route", &cart, |seen| seen.header("X-Delegated") == "yes")?;
    let [old, closed, other] =
        ["/cart/old", "/cart/closed", "/"].map(|path| get(&format!("http://web.shop{path}")));
    let seen = world.calls("client", &[old, closed, other])?;
    ensure!(seen[0].status == 308 && seen[0].header("Location") == "http://web.shop/cart/new", "{seen:?}");
    ensure!(seen[1].status == 410 && seen[1].body == "gone", "{seen:?}");
    ensure!(seen[2].status == 200 && seen[2].header("X-Delegated").is_empty(), "{seen:?}");
    Ok(json!([cart.status, seen[0].record(), seen[1].record(), seen[2].status]))
}

/// A server that fails is left out for a while, as long as enough are left.
fn ejection(world: &World) -> Result<Value> {
    let rule = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 300s, maxEjectionPercent: 50}
  subsets:
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{headers: {response: {set: {x-watched: 'yes'}}}, retries: {attempts: 0}, route: [{destination: {host: web}}]}]}
";
    world.apply(rule)?;
    world.expect("the route", &get("http://web.shop/"), |seen| seen.header("X-Watched") == "yes")?;
    // Both fail; half of them may be left out.
    let seen = world.calls("client", &[get("http://web.shop/?status=500").with("count", 40)])?;
    ensure!(seen.iter().all(|seen| seen.status == 500), "{seen:?}");
    eventually("the ejection of one", || {
        let clusters = world.admin("client", "clusters")?;
        let flags = clusters
            .lines()
            .filter(|line| line.starts_with("outbound|80||web.shop") && line.contains("health_flags"));
        let out = flags.filter(|line| line.contains("failed_outlier_check")).count();
        ensure!(out == 1, "{out} are left out");
        Ok(())
    })?;
    let seen = world.calls("client", &[get("http://web.shop/").with("count", 40)])?;
    let one = seen[0].server();
    ensure!(!one.is_empty() && seen.iter().all(|seen| seen.server() == one), "the ejected server was asked");
    Ok(Value::Null)
}

fn workload_entry(world: &World) -> Result<Value> {
    let plain = world.address("plain")?;
    world.apply(&format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: machine, namespace: shop}}
spec: {{address: {plain}, labels: {{app: machine}}, ports: {{http: 8080}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: machine, namespace: shop}}
spec:
  hosts: [machine.example]
  addresses: [240.1.9.1]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: machine}}}}
"
    ))?;
    let machine = get("http://machine.example/").with("connect", "240.1.9.1:80");
    let seen = world.expect("the machine", &machine, |seen| {
        seen.server() == "plain-v1" && seen.got("X-Envoy-Decorator-Operation").contains("machine.example")
    })?;
    Ok(seen.record())
}

/// Names that only the client knows, to where it connects itself.
fn wildcard_entry(world: &World) -> Result<Value> {
    let address = world.address("plain")?;
    world.names.add("any.wild.example", &address)?;
    world.apply(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec: {hosts: ['*.wild.example'], location: MESH_EXTERNAL, resolution: NONE, ports: [{number: 8080, name: http, protocol: HTTP}]}
",
    )?;
    // A connection that is open stays with the listener that it came by.
    let any = get("http://any.wild.example:8080/").header("connection", "close");
    let seen = world.expect("the name", &any, |seen| {
        seen.server() == "plain-v1" && seen.got("X-Envoy-Decorator-Operation").contains("wild.example")
    })?;
    Ok(seen.record())
}

/// A Sidecar says which services a proxy hears of.
fn sidecar_scope(world: &World) -> Result<Value> {
    let known = |name: &str| world.admin("client", "clusters").map(|all| all.contains(name));
    ensure!(known("plain.outside.svc.cluster.local")?, "it is not known beforehand");
    let applied = world.apply(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}
",
    )?;
    eventually("the services of the scope alone", || {
        ensure!(!known("plain.outside.svc.cluster.local")?, "a service out of scope is known");
        Ok(())
    })?;
    ensure!(known("web.shop.svc.cluster.local")?, "a service in scope is not known");
    world.expect("a service in scope", &get("http://web.shop/"), |seen| seen.status == 200)?;
    applied.remove()?;
    eventually("all services again", || {
        ensure!(known("plain.outside.svc.cluster.local")?, "it is not known again");
        Ok(())
    })?;
    Ok(Value::Null)
}

/// Mutual TLS everywhere but at one port.
fn port_mtls(world: &World) -> Result<Value> {
    let address = world.address("web/v1")?;
    world.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: STRICT}
  portLevelMtls: {8080: {mode: DISABLE}}
",
    )?;
    let open = get(&format!("http://{address}:8080/")).header("connection", "close");
    let closed = call("tcp", &format!("{address}:9000")).with("body", "a line");
    let seen = eventually("one port in clear text", || {
        let seen = world.calls("plain", &[open.clone(), closed.clone()])?;
        ensure!(seen[0].status == 200 && !seen[1].error.is_empty(), "{seen:?}");
        // In clear text there is no certificate to tell of.
        ensure!(seen[0].got("X-Forwarded-Client-Cert").is_empty(), "{seen:?}");
        Ok(seen)
    })?;
    world.expect("clear text within the mesh", &get("http://web.shop/"), |seen| seen.status == 200)?;
    let tcp = call("tcp", "web.shop:91").with("body", "a line");
    world.expect("certificates at another port", &tcp, |seen| seen.error.is_empty())?;
    Ok(json!([seen[0].status, seen[1].status]))
}

/// What a patch puts into the chains of the servers: a script, and a bucket of tokens.
fn envoy_filter(world: &World) -> Result<Value> {
    let patch = |name: &str, config: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             workloadSelector: {{labels: {{app: web}}}}\n  configPatches:\n  - applyTo: HTTP_FILTER\n    match: {{context: SIDECAR_INBOUND, \
             listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}}}\n    \
             patch:\n      operation: INSERT_BEFORE\n      value:\n{config}"
        )
    };
    let script = patch(
        "script",
        "        name: envoy.filters.http.lua
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code:
            inline_string: |
              function envoy_on_request(handle)
                handle:headers():add('x-script', handle:headers():get(':method'))
              end
              function envoy_on_response(handle)
                handle:headers():add('x-scripted', 'yes')
              end
",
    );
    let script = world.apply(&script)?;
    let seen = eventually("the script at both servers", || {
        let seen = world.calls("client", &[get("http://web.shop/").with("count", 4)])?;
        ensure!(
            seen.iter().all(|seen| seen.header("X-Scripted") == "yes" && seen.got("X-Script") == "GET"),
            "{seen:?}"
        );
        Ok(seen)
    })?;
    script.remove()?;
    let bucket = patch(
        "bucket",
        "        name: envoy.filters.http.local_ratelimit
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: patched
          token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 600s}
          filter_enabled: {default_value: {numerator: 100}}
          filter_enforced: {default_value: {numerator: 100}}
",
    );
    let bucket = world.apply(&bucket)?;
    let refused = eventually("no tokens at both servers", || {
        let seen = world.calls("client", &[get("http://web.shop/").with("count", 12)])?;
        ensure!(seen.iter().all(|seen| seen.status == 429), "{seen:?}");
        Ok(seen)
    })?;
    ensure!(refused[0].body == "local_rate_limited", "{:?}", refused[0]);
    bucket.remove()?;
    let merged = world.apply(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: merged, namespace: shop}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 'web.shop.svc.cluster.local:80'}}}
    patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-merged, value: 'yes'}}]}}
",
    )?;
    world
        .expect("a header of the route", &get("http://web.shop/"), |seen| seen.header("X-Merged") == "yes")?;
    // What comes next is not to find them.
    merged.remove()?;
    eventually("requests without limit", || {
        let seen = world.calls("client", &[get("http://web.shop/").with("count", 12)])?;
        ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
        Ok(())
    })?;
    Ok(json!([seen[0].status, refused[0].record()]))
}

/// Which requests are logged.
fn telemetry(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  accessLogging:
  - providers: [{name: envoy}]
    filter: {expression: 'response.code >= 400'}
",
    )?;
    let log = || -> Result<String> {
        Ok(["web/v1", "web/v2"].iter().map(|app| world.log(app)).collect::<Result<Vec<_>>>()?.concat())
    };
    eventually("a log of failures alone", || {
        let case = fresh("logged");
        let [good, bad] = ["200", "404"]
            .map(|status| get(&format!("http://web.shop/{case}?status={status}")).with("count", 4));
        world.calls("client", &[good, bad])?;
        let logged = |status: &str| log().map(|log| log.matches(&format!("/{case}?status={status}")).count());
        crate::process::until("the lines", std::time::Duration::from_secs(3), || {
            let bad = logged("404")?;
            ensure!(bad == 4, "{bad} failures are logged");
            Ok(())
        })?;
        let good = logged("200")?;
        ensure!(good == 0, "{good} others are logged");
        Ok(())
    })?;
    Ok(Value::Null)
}
