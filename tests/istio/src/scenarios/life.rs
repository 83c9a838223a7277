//! The life of pods and of istiod, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::process::{succeed, until};
use crate::world::{Seen, World, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "many_updates", run: many_updates },
    Scenario { name: "istiod_crash", run: istiod_crash },
    Scenario { name: "rolling_restart", run: rolling_restart },
];

/// Does something while requests are made; those that were lost.
fn under_load(world: &World, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<(usize, Vec<Seen>)> {
            let (mut sent, mut lost) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let seen = world.calls("client", &[get("http://web.shop/").with("count", 20)])?;
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
    let _applied = world.apply(&route(0))?;
    under_load(world, || {
        for n in 1..=40 {
            world.kubernetes.apply(&route(n))?;
        }
        has(world, 40)
    })?;
    Ok(Value::Null)
}

/// What was served goes on without istiod, and what changed meanwhile arrives when there is one again.
fn istiod_crash(world: &World) -> Result<Value> {
    let _applied = world.apply(&route(1))?;
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
