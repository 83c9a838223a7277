//! Who may talk to whom: PeerAuthentication, RequestAuthentication and AuthorizationPolicy.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{Call, World, call, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "mutual_tls", run: mutual_tls },
    Scenario { name: "strict", run: strict },
    Scenario { name: "mtls_disabled", run: disabled },
    Scenario { name: "authorization_deny", run: deny },
    Scenario { name: "authorization_allow", run: allow },
    Scenario { name: "authorization_tcp", run: of_tcp },
    Scenario { name: "request_authentication", run: request_authentication },
    Scenario { name: "authorization_dry_run", run: dry_run },
    Scenario { name: "authorization_audit", run: audit },
    Scenario { name: "authorization_custom", run: custom },
];

/// Made for this test: HS256 by [`KEYS`], of `https://login.example`, for `me` of the group `readers`; good until 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIiOiJtZSIsImdyb3VwcyI6WyJyZWFkZXJzIl0sImV4cCI6NDEwMjQ0NDgwMH0.5548yNRTR-swPf4GD-XfxLMYUWJX4pQm73pFHmdJkgM";
const KEYS: &str =
    r#"{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

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
        // Envoy waits for as much as a TLS record begins with.
        [get(&format!("http://{address}:8080/")), call("tcp", &format!("{address}:9000")).with("body", "a line")];
    let before = world.calls("plain", &clear)?;
    ensure!(before[0].status == 200 && before[1].error.is_empty(), "{before:?}");
    world.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
",
    )?;
    let after = eventually("refusals in clear text", || {
        let seen = world.calls("plain", &clear)?;
        ensure!(seen.iter().all(|seen| !seen.error.is_empty()), "{seen:?}");
        Ok(seen)
    })?;
    for kind in [get("http://web.shop/"), get("http://web.shop:82/"), call("http2", "http://web.shop:81/")] {
        world.expect("with certificates", &kind, |seen| seen.status == 200)?;
    }
    for (kind, url) in [("tcp", "web.shop:91"), ("grpc", "web.shop:90")] {
        world
            .expect("with certificates", &call(kind, url).with("body", "a"), |seen| seen.error.is_empty())?;
    }
    Ok(json!([after[0].status, after[1].status]))
}

fn disabled(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: DISABLE}}
",
    )?;
    let seen = world.expect("clear text", &get("http://web.shop/"), |seen| seen.status == 200)?;
    world
        .expect("clear text", &call("tcp", "web.shop:91").with("body", "a"), |seen| seen.error.is_empty())?;
    Ok(json!({"http": seen.status}))
}

fn policy(action: &str, rules: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  selector: {{matchLabels: {{app: web}}}}\n  action: {action}\n  rules:\n{rules}"
    )
}

fn deny(world: &World) -> Result<Value> {
    world.apply(&policy("DENY", "  - to: [{operation: {paths: [/secret*], methods: [GET]}}]\n"))?;
    let secret = get("http://web.shop/secret/a");
    eventually("refusals by both servers", || {
        let seen = world.calls("client", &[&secret, &secret, &secret, &secret].map(Call::clone))?;
        ensure!(seen.iter().all(|seen| seen.status == 403), "{seen:?}");
        Ok(())
    })?;
    let refused = world.call(&secret)?;
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
    world.apply(&policy("ALLOW", &rules))?;
    let refused = world.expect("a refusal", &get("http://web.shop/"), |seen| seen.status == 403)?;
    let good = world
        .expect("an answer", &get("http://web.shop/").header("x-token", "good"), |seen| seen.status == 200)?;
    let address = world.address("web/v1")?;
    let outside = eventually("a refusal of a client without a certificate", || {
        let direct = get(&format!("http://{address}:8080/")).header("x-token", "good");
        let seen = world.calls("plain", &[direct])?;
        ensure!(seen[0].status == 403, "{seen:?}");
        Ok(seen)
    })?;
    let other = call("http2", "http://web.shop:81/").header("x-token", "good");
    let other = world.expect("a refusal at another port", &other, |seen| seen.status == 403)?;
    Ok(json!([refused.record(), good.status, outside[0].record(), other.status]))
}

fn of_tcp(world: &World) -> Result<Value> {
    let line = call("tcp", "web.shop:91").with("body", "a line");
    let denied = world.apply(&policy("DENY", "  - to: [{operation: {ports: ['9000']}}]\n"))?;
    let refused = world.expect("the end of it", &line, |seen| !seen.error.is_empty())?;
    world.expect("an answer to a request", &get("http://web.shop/"), |seen| seen.status == 200)?;
    ensure!(refused.body == "", "{refused:?}");
    denied.remove()?;
    world.expect("an answer again", &line, |seen| seen.error.is_empty())?;
    Ok(Value::Null)
}

fn request_authentication(world: &World) -> Result<Value> {
    world.apply(&format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: web, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  jwtRules: [{{issuer: 'https://login.example', jwks: '{KEYS}', outputClaimToHeaders: [{{header: x-user, claim: sub}}]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: web, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  action: ALLOW
  rules:
  - from: [{{source: {{requestPrincipals: ['https://login.example/me']}}}}]
    when: [{{key: 'request.auth.claims[groups]', values: [readers]}}]
"
    ))?;
    let url = "http://web.shop/";
    let token = |text: &str| get(url).header("authorization", &format!("Bearer {text}"));
    let calls = [get(url), token(TOKEN), token(&TOKEN[..TOKEN.len() - 4])];
    let seen = eventually("403 without a token, 401 with a bad one", || {
        // Each three times, for both servers.
        let mut all = Vec::new();
        for _ in 0..3 {
            let seen = world.calls("client", &calls)?;
            let statuses: Vec<u64> = seen.iter().map(|seen| seen.status).collect();
            ensure!(statuses == [403, 200, 401], "{statuses:?}");
            all = seen;
        }
        Ok(all)
    })?;
    ensure!(seen[1].got("X-User") == "me", "{:?}", seen[1]);
    Ok(json!([seen[0].body, seen[1].got("X-User"), seen[2].body, seen[2].headers]))
}

/// A policy that is only tried: it refuses nothing, and is counted.
fn dry_run(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop, annotations: {istio.io/dry-run: 'true'}}
spec: {selector: {matchLabels: {app: web}}, action: DENY, rules: [{to: [{operation: {paths: [/tried]}}]}]}
",
    )?;
    eventually("what it would refuse is counted", || {
        let seen = world.calls("client", &[get("http://web.shop/tried").with("count", 4)])?;
        ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
        let stats = world.admin("web/v1", "stats?filter=istio_dry_run_allow_shadow_denied|shadow_denied")?;
        ensure!(stats.lines().any(|line| !line.ends_with(": 0")), "not counted: {stats:?}");
        Ok(())
    })?;
    Ok(Value::Null)
}

/// A policy that only wants requests to be logged: none is refused.
fn audit(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, action: AUDIT, rules: [{to: [{operation: {paths: [/audited]}}]}]}
",
    )?;
    let [audited, other] =
        ["audited", "other"].map(|path| get(&format!("http://web.shop/{path}")).with("count", 10));
    eventually("the policy at both servers, and no refusals", || {
        for app in ["web/v1", "web/v2"] {
            ensure!(world.admin(app, "config_dump")?.contains("\"LOG\""), "{app} has none");
        }
        let seen = world.calls("client", &[audited.clone(), other.clone()])?;
        ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
        Ok(())
    })?;
    Ok(Value::Null)
}

/// A service is asked: the one outside, which answers with the status that the path asks for.
fn custom(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, action: CUSTOM, provider: {name: checker}, rules: [{to: [{operation: {paths: [/asked*]}}]}]}
",
    )?;
    let refused = get("http://web.shop/asked?status=403").header("x-token", "mine");
    let refused = eventually("refusals by both servers", || {
        let seen = world.calls("client", &[refused.clone().with("count", 4)])?;
        // The refusal is the service's own answer.
        ensure!(seen.iter().all(|seen| seen.status == 403 && seen.server() == "plain-v1"), "{seen:?}");
        Ok(seen)
    })?;
    ensure!(refused[0].got("X-Token") == "mine", "{:?}", refused[0]);
    ensure!(refused[0].body["target"] == "/checked/asked?status=403", "{:?}", refused[0]);
    let seen =
        world.calls("client", &[get("http://web.shop/asked"), get("http://web.shop/other?status=403")])?;
    ensure!(seen[0].status == 200 && seen[0].server().starts_with("web-"), "{seen:?}");
    ensure!(seen[1].status == 403 && seen[1].server().starts_with("web-"), "{seen:?}");
    Ok(json!([refused[0].record(), seen[0].status]))
}
