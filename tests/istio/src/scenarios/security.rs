//! Who may talk to whom: PeerAuthentication and AuthorizationPolicy.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{World, call, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "mutual_tls", run: mutual_tls },
    Scenario { name: "strict", run: strict },
    Scenario { name: "mtls_disabled", run: disabled },
    Scenario { name: "authorization_deny", run: deny },
    Scenario { name: "authorization_allow", run: allow },
    Scenario { name: "authorization_tcp", run: of_tcp },
];

/// What the server is told of the client: its identity, by the certificates of both.
fn mutual_tls(world: &World) -> Result<Value> {
    let seen = world.expect("an answer", &get("http://web.shop/"), |seen| seen.server() == "web-v1")?;
    let who = "spiffe://cluster.local/ns/shop/sa/default";
    let told = seen.body["headers"]["X-Forwarded-Client-Cert"].to_string();
    ensure!(told.contains(&format!("By={who}")) && told.contains(&format!("URI={who}")), "{seen:?}");
    let certificates = world.admin("client", "certs")?;
    ensure!(certificates.contains(who), "{certificates}");
    let stats = world.admin("web/v1", "stats?filter=ssl.handshake")?;
    ensure!(stats.lines().any(|line| !line.ends_with(": 0")), "no handshake: {stats}");
    Ok(seen.record())
}

fn strict(world: &World) -> Result<Value> {
    let address = world.address("web/v1")?;
    let clear =
        [get(&format!("http://{address}:8080/")), call("tcp", &format!("{address}:9000")).with("body", "a")];
    let before = world.calls("plain", &clear)?;
    ensure!(before[0].status == 200 && before[1].error.is_empty(), "{before:?}");
    let _applied = world.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
",
    )?;
    let after = crate::process::until("refusals in clear text", std::time::Duration::from_secs(30), || {
        let seen = world.calls("plain", &clear)?;
        ensure!(seen.iter().all(|seen| !seen.error.is_empty()), "{seen:?}");
        Ok(seen)
    })?;
    for kind in [get("http://web.shop/"), get("http://web.shop:82/"), call("http2", "http://web.shop:81/")] {
        world.expect("with certificates", &kind, |seen| seen.status == 200)?;
    }
    let tcp = world.call(&call("tcp", "web.shop:91").with("body", "a"))?;
    let grpc = world.call(&call("grpc", "web.shop:90").with("body", "a"))?;
    ensure!(tcp.error.is_empty() && grpc.error.is_empty(), "{tcp:?} {grpc:?}");
    Ok(json!([after[0].status, after[1].status]))
}

fn disabled(world: &World) -> Result<Value> {
    let _applied = world.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: DISABLE}}
",
    )?;
    let seen = world.expect("clear text", &get("http://web.shop/"), |seen| seen.status == 200)?;
    let tcp = world.call(&call("tcp", "web.shop:91").with("body", "a"))?;
    ensure!(tcp.error.is_empty(), "{tcp:?}");
    Ok(json!({"http": seen.status}))
}

fn policy(action: &str, rules: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  selector: {{matchLabels: {{app: web}}}}\n  action: {action}\n  rules:\n{rules}"
    )
}

fn deny(world: &World) -> Result<Value> {
    let _applied =
        world.apply(&policy("DENY", "  - to: [{operation: {paths: [/secret*], methods: [GET]}}]\n"))?;
    let refused = world.expect("a refusal", &get("http://web.shop/secret/a"), |seen| seen.status == 403)?;
    ensure!(refused.body == "RBAC: access denied", "{refused:?}");
    let slashes = world.call(&get("http://web.shop//secret"))?;
    let encoded = world.call(&get("http://web.shop/%73ecret"))?;
    let post = world.call(&get("http://web.shop/secret").with("method", "POST"))?;
    let other = world.call(&get("http://web.shop/public"))?;
    ensure!(post.status == 200 && other.status == 200, "{post:?} {other:?}");
    Ok(json!([refused.record(), slashes.status, encoded.status]))
}

fn allow(world: &World) -> Result<Value> {
    let who = "cluster.local/ns/shop/sa/default";
    let rules = format!(
        "  - from: [{{source: {{principals: [{who}]}}}}]\n    to: [{{operation: {{ports: ['8080']}}}}]\n    when: [{{key: 'request.headers[x-token]', values: [good]}}]\n"
    );
    let _applied = world.apply(&policy("ALLOW", &rules))?;
    let refused = world.expect("a refusal", &get("http://web.shop/"), |seen| seen.status == 403)?;
    let good = world
        .expect("an answer", &get("http://web.shop/").header("x-token", "good"), |seen| seen.status == 200)?;
    let address = world.address("web/v1")?;
    let outside =
        world.calls("plain", &[get(&format!("http://{address}:8080/")).header("x-token", "good")])?;
    ensure!(outside[0].status == 403, "{outside:?}");
    let other = world.call(&call("http2", "http://web.shop:81/").header("x-token", "good"))?;
    ensure!(other.status == 403, "{other:?}");
    Ok(json!([refused.record(), good.status, outside[0].record(), other.status]))
}

fn of_tcp(world: &World) -> Result<Value> {
    let line = call("tcp", "web.shop:91").with("body", "a line");
    let denied = world.apply(&policy("DENY", "  - to: [{operation: {ports: ['9000']}}]\n"))?;
    let refused = world.expect("the end of it", &line, |seen| !seen.error.is_empty())?;
    let http = world.call(&get("http://web.shop/"))?;
    ensure!(http.status == 200 && refused.body == "", "{refused:?} {http:?}");
    drop(denied);
    world.expect("an answer again", &line, |seen| seen.error.is_empty())?;
    Ok(Value::Null)
}
