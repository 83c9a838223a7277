//! What applications speak, between two pods with sidecars, and with a pod that has none.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{Seen, World, call, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "http1", run: http1 },
    Scenario { name: "http2", run: http2 },
    Scenario { name: "http_detected", run: detected },
    Scenario { name: "websocket", run: websocket },
    Scenario { name: "grpc", run: grpc },
    Scenario { name: "grpc_errors", run: grpc_errors },
    Scenario { name: "tcp", run: tcp },
    Scenario { name: "tcp_server_first", run: tcp_server_first },
    Scenario { name: "pod_address", run: pod_address },
    Scenario { name: "outside_the_mesh", run: outside },
];

fn ok(seen: &Seen) -> bool {
    seen.status == 200
}

fn http1(world: &World) -> Result<Value> {
    let echo =
        get("http://web.shop/a%20b?c=d").with("method", "POST").with("body", "hello").header("x-mine", "1");
    let both = ["v1", "v2"].map(|version| {
        let name = format!("web-{version}");
        world.expect("each version", &echo, move |seen| ok(seen) && seen.server() == name)
    });
    let mut records = Vec::new();
    for seen in both {
        let seen = seen?;
        ensure!(seen.body["target"] == "/a%20b?c=d" && seen.body["body"] == "hello", "{seen:?}");
        ensure!(seen.got("X-Mine") == "1" && seen.got("X-Forwarded-Proto") == "http", "{seen:?}");
        ensure!(seen.header("Server") == "envoy", "{seen:?}");
        records.push(seen.record());
    }
    let missing = world.call(&get("http://web.shop/?status=404"))?;
    ensure!(missing.status == 404, "{missing:?}");
    Ok(json!({"echo": records, "missing": missing.status}))
}

fn http2(world: &World) -> Result<Value> {
    let echo = call("http2", "http://web.shop:81/two").with("method", "POST").with("body", "hello");
    let seen = world.expect("an answer", &echo, |seen| ok(seen) && seen.server() == "web-v1")?;
    ensure!(seen.body["proto"] == "HTTP/2.0", "{seen:?}");
    Ok(seen.record())
}

/// On a port without a declared protocol both are found out.
fn detected(world: &World) -> Result<Value> {
    let one = world
        .expect("HTTP/1.1", &get("http://web.shop:82/"), |seen| ok(seen) && seen.server() == "web-v1")?;
    let two = call("http2", "http://web.shop:82/");
    let two = world.expect("HTTP/2", &two, |seen| ok(seen) && seen.server() == "web-v1")?;
    ensure!(one.body["proto"] == "HTTP/1.1" && two.body["proto"] == "HTTP/2.0", "{one:?} {two:?}");
    let tcp = call("tcp", "web.shop:82").with("body", "BOGUS");
    let tcp = world.call(&tcp)?;
    // Not the headers: without istio.alpn, which a stock Envoy has not, the server's sidecar takes it for TCP and adds none.
    Ok(json!([one.status, one.body["proto"], two.status, two.body["proto"], tcp.status]))
}

fn websocket(world: &World) -> Result<Value> {
    let chat = call("websocket", "http://web.shop:80/chat").with("body", "over and out");
    let seen = world.expect("an upgrade", &chat, |seen| seen.status == 101 && seen.error.is_empty())?;
    ensure!(seen.body == "over and out".repeat(3), "{seen:?}");
    Ok(json!({"status": seen.status, "upgrade": seen.headers["Upgrade"]}))
}

fn grpc(world: &World) -> Result<Value> {
    let unary = call("grpc", "web.shop:90").with("body", "hello").header("x-mine", "1");
    let unary =
        world.expect("a message", &unary, |seen| seen.error.is_empty() && seen.body == "web-v1: hello")?;
    ensure!(unary.trailer["x-trailer"][0] == "web-v1", "{unary:?}");
    let stream = call("grpc-stream", "web.shop:90").with("body", "hello");
    let stream = world.expect("three messages", &stream, |seen| seen.error.is_empty())?;
    let text = stream.body.as_str().unwrap_or_default();
    ensure!(text.lines().count() == 3 && text.contains(": hello 2"), "{stream:?}");
    Ok(json!({"unary": unary.record(), "lines": text.lines().count()}))
}

fn grpc_errors(world: &World) -> Result<Value> {
    let refused = world.call(&call("grpc", "web.shop:90").with("body", "fail at once"))?;
    ensure!(refused.status == 9 && refused.error.contains("asked to fail at once"), "{refused:?}");
    let late = world.call(&call("grpc", "web.shop:90").with("body", "wait").with("timeout", 500))?;
    // Its own end of the time, or the proxy's, to which it has told it: whichever is first.
    ensure!(matches!(late.status, 4 | 14) && late.millis < 3000, "{late:?}");
    let nobody = world.call(&call("grpc", "web.shop:90").with("host", "nobody.example").with("body", "a"))?;
    Ok(json!({"refused": refused.status, "nobody": nobody.status}))
}

fn tcp(world: &World) -> Result<Value> {
    let line = call("tcp", "web.shop:91").with("body", "a line");
    for version in ["v1", "v2"] {
        let expected = format!("web-{version}: a line\n");
        world.expect("a line of each", &line, |seen| seen.body == expected)?;
    }
    Ok(Value::Null)
}

fn tcp_server_first(world: &World) -> Result<Value> {
    let line = call("tcp", "web.shop:92").with("body", "a line").header("first", "yes");
    let seen = world.expect("a greeting", &line, |seen| seen.body == "220 web-v1\nweb-v1: a line\n")?;
    Ok(seen.record())
}

/// By a pod's own address, as programs do that find each other by themselves.
fn pod_address(world: &World) -> Result<Value> {
    let address = world.address("web/v1")?;
    let http = world.expect("HTTP", &get(&format!("http://{address}:8080/")), |seen| {
        ok(seen) && seen.server() == "web-v1"
    })?;
    let tcp = call("tcp", &format!("{address}:9000")).with("body", "a line");
    let tcp = world.expect("TCP", &tcp, |seen| seen.body == "web-v1: a line\n")?;
    Ok(json!({"http": http.status, "tcp": tcp.error.is_empty()}))
}

/// To and from a pod without a sidecar: both ways in clear text.
fn outside(world: &World) -> Result<Value> {
    let by_name = world
        .expect("by name", &get("http://plain.outside/"), |seen| ok(seen) && seen.server() == "plain-v1")?;
    let address = world.address("plain")?;
    let by_address = world.expect("by address", &get(&format!("http://{address}:8082/")), ok)?;
    let tcp = world.call(&call("tcp", &format!("{address}:9000")).with("body", "a line"))?;
    ensure!(tcp.body == "plain-v1: a line\n", "{tcp:?}");
    // Services have no address that a pod without a sidecar could reach here.
    let web = world.address("web/v1")?;
    let inwards = world.calls(
        "plain",
        &[get(&format!("http://{web}:8080/")), call("tcp", &format!("{web}:9000")).with("body", "a line")],
    )?;
    ensure!(inwards[0].server() == "web-v1" && inwards[1].body == "web-v1: a line\n", "{inwards:?}");
    Ok(json!({"by_name": by_name.record(), "by_address": by_address.status, "inwards": inwards[0].record()}))
}
