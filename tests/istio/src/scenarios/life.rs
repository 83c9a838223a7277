//! The life of pods and of istiod, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::http::{Request, ask};
use crate::process::{succeed, until};
use crate::world::{Seen, World, deployment, eventually, get, service};

pub const ALL: &[Scenario] = &[
    Scenario { name: "many_updates", run: many_updates },
    Scenario { name: "istiod_crash", run: istiod_crash },
    Scenario { name: "istiod_away", run: istiod_away },
    Scenario { name: "start_up", run: start_up },
    Scenario { name: "drain", run: drain },
    Scenario { name: "rolling_restart", run: rolling_restart },
    Scenario { name: "short_certificates", run: short_certificates },
];

const UPDATES: usize = 300;

/// Does something while requests are made; those that were lost.
fn under_load(world: &World, act: impl FnOnce() -> Result<()>) -> Result<()> {
    load_on(world, "http://web.shop/", act)
}

fn load_on(world: &World, url: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<(usize, Vec<Seen>)> {
            let (mut sent, mut lost) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let seen = world.calls("client", &[get(url).with("count", 20)])?;
                sent += seen.len();
                lost.extend(seen.into_iter().filter(|seen| seen.status != 200));
            }
            Ok((sent, lost))
        });
        let acted = act();
        done.store(true, Ordering::Relaxed);
        let (sent, lost) = load.join().map_err(|_| anyhow::anyhow!("the load ended by itself"))??;
        acted?;
        ensure!(
            sent > 100 && lost.is_empty(),
            "{} of {sent} requests were lost: {:?}",
            lost.len(),
            lost.first()
        );
        Ok(())
    })
}

/// A route to the service that says in each answer which of its versions the proxy has.
fn route(n: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{hosts: [web], http: [{{headers: {{response: {{set: {{x-update: '{n}'}}}}}}, route: [{{destination: {{host: web}}}}]}}]}}\n"
    )
}

fn has(world: &World, n: usize) -> Result<()> {
    let n = n.to_string();
    world.expect("the last route", &get("http://web.shop/"), |seen| seen.header("X-Update") == n).map(drop)
}

fn many_updates(world: &World) -> Result<Value> {
    world.apply(&route(0))?;
    under_load(world, || {
        let path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/web";
        for n in 1..=UPDATES {
            let route = json!({"headers": {"response": {"set": {"x-update": n.to_string()}}},
                "route": [{"destination": {"host": "web"}}]});
            world.kubernetes.patch(path, &json!({"spec": {"http": [route]}}))?;
            // More than istiod waits for others to come.
            std::thread::sleep(Duration::from_millis(110));
        }
        has(world, UPDATES)
    })?;
    Ok(Value::Null)
}

/// What was served goes on without istiod, and what changed meanwhile arrives when there is one again.
fn istiod_crash(world: &World) -> Result<Value> {
    world.apply(&route(1))?;
    has(world, 1)?;
    under_load(world, || {
        world.istiod().kill();
        let without = world.calls("client", &[get("http://web.shop/").with("count", 500)])?;
        ensure!(without.iter().all(|seen| seen.header("X-Update") == "1"), "the route was lost");
        world.start_istiod()?;
        // istiod has to admit it first.
        until("another route", Duration::from_secs(30), || world.kubernetes.apply(&route(2)))?;
        has(world, 2)
    })?;
    Ok(Value::Null)
}

/// A minute without istiod: nothing is lost, and a pod's own agent goes on as well.
fn istiod_away(world: &World) -> Result<Value> {
    under_load(world, || {
        world.istiod().kill();
        std::thread::sleep(Duration::from_mins(1));
        world.start_istiod()
    })?;
    eventually("another route", || world.apply(&route(3)))?;
    has(world, 3)?;
    Ok(Value::Null)
}

/// An application whose first act is a request finds its proxy ready.
fn start_up(world: &World) -> Result<Value> {
    let early = deployment("shop", "early", "v1", &[]);
    let first = r#"{"name":"FIRST","value":"http://web.shop/"},"#;
    let early = early.replacen(r#""env":["#, &format!(r#""env":[{first}"#), 1);
    world.apply(&early)?;
    until("the pod", Duration::from_mins(1), || world.pod("early"))?;
    let first = Request::get("/first");
    let first = ask(&format!("{}:7000", world.address("early")?), &first, Duration::from_secs(5))?.json()?;
    ensure!(first["status"] == 200, "{first}");
    ensure!(first["body"].as_str().unwrap_or_default().contains("web-v"), "{first}");
    Ok(Value::Null)
}

/// A proxy that is told to drain closes what is kept alive, and still serves what comes.
fn drain(world: &World) -> Result<Value> {
    let shown = [("proxy.istio.io/config", "proxyStatsMatcher: {inclusionRegexps: ['.*drain_close.*']}")];
    let pod = deployment("shop", "leaver", "v1", &shown);
    world.apply(&format!("{pod}{}", service("leaver")))?;
    until("the pod", Duration::from_mins(1), || world.pod("leaver"))?;
    let url = "http://leaver.shop/";
    world.expect("an answer", &get(url), |seen| seen.status == 200)?;
    let closed = || world.stat("leaver", "downstream_cx_drain_close");
    let before = closed()?;
    load_on(world, url, || {
        world.agent("leaver", &["--debug-port=15020", "POST", "drain"])?;
        eventually("connections that were closed for it", || {
            let now = closed()?;
            ensure!(now > before, "{now}");
            Ok(())
        })?;
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    })?;
    Ok(Value::Null)
}

fn rolling_restart(world: &World) -> Result<Value> {
    let before = world.address("web/v1")?;
    under_load(world, || {
        succeed(world.kubernetes.kubectl().args([
            "-n",
            "shop",
            "rollout",
            "restart",
            "deployment",
            "web-v1",
            "web-v2",
        ]))?;
        for app in ["web-v1", "web-v2"] {
            let wait = ["-n", "shop", "rollout", "status", "--timeout=90s", "deployment", app];
            succeed(world.kubernetes.kubectl().args(wait))?;
        }
        until("the end of the old pods", Duration::from_mins(1), || {
            let pods = world.kubernetes.get("/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb")?;
            let count = pods["items"].as_array().map_or(0, Vec::len);
            ensure!(count == 2, "{count} pods");
            Ok(())
        })
    })?;
    ensure!(world.address("web/v1")? != before, "the pod is the old one");
    Ok(Value::Null)
}

/// A pod whose certificates are good for less than a minute gets others in time.
fn short_certificates(world: &World) -> Result<Value> {
    let brief = [("proxy.istio.io/config", "proxyMetadata: {SECRET_TTL: 40s}")];
    let strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    let pod = deployment("shop", "brief", "v1", &brief);
    world.apply(&format!("{pod}{}{strict}", service("brief")))?;
    until("the pod", Duration::from_mins(1), || world.pod("brief"))?;
    world.expect("an answer", &get("http://brief.shop/"), |seen| seen.status == 200)?;
    let serial = || -> Result<String> {
        let certs: Value = serde_json::from_str(&world.admin("brief", "certs")?)?;
        let chain = certs["certificates"].as_array().into_iter().flatten();
        let own = chain.flat_map(|one| one["cert_chain"].as_array().cloned().unwrap_or_default());
        Ok(own.map(|one| one["serial_number"].to_string()).collect())
    };
    load_on(world, "http://brief.shop/", || {
        let mut last = serial()?;
        for turn in ["another certificate", "and one more"] {
            last = until(turn, Duration::from_mins(1), || {
                let now = serial()?;
                ensure!(!now.is_empty() && now != last, "{now} is shown");
                Ok(now)
            })?;
        }
        Ok(())
    })?;
    Ok(Value::Null)
}
