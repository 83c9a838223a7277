//! Where requests go among the servers of a service: by place, while one is new, and by each way to balance.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::process::until;
use crate::world::{Seen, World, call, deployment, eventually, get, on_node, service};

pub const ALL: &[Scenario] = &[
    Scenario { name: "headless", run: headless },
    Scenario { name: "locality_failover", run: locality_failover },
    Scenario { name: "warm_up", run: warm_up },
    Scenario { name: "load_balancers", run: load_balancers },
];

fn count(seen: &[Seen], server: &str) -> usize {
    seen.iter().filter(|seen| seen.server() == server).count()
}

/// Pods by names of their own, as those of a StatefulSet: each is reached by itself, and with certificates.
fn headless(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}, {name: tcp, port: 9000}]}
",
    )?;
    let mut records = Vec::new();
    for (pod, server) in [("web-0", "web-v1"), ("web-1", "web-v2")] {
        let name = format!("{pod}.peers.shop.svc.cluster.local");
        world.names.add(&name, &world.address(&server.replace('-', "/"))?)?;
        // A connection that is open stays with the listener that it came by.
        let http = get(&format!("http://{name}:8080/")).header("connection", "close");
        // Without the service it would be reached in clear text.
        let seen = world.expect("the pod", &http, |seen| {
            seen.server() == server && seen.got("X-Forwarded-Client-Cert").contains("spiffe://")
        })?;
        let line = call("tcp", &format!("{name}:9000")).with("body", "a");
        world.expect("the pod by TCP", &line, |seen| seen.body == format!("{server}: a\n"))?;
        records.push(seen.record());
    }
    Ok(records.into())
}

/// A service `zoned` with a server in the client's zone and one in another.
fn zoned(world: &World) -> Result<()> {
    let near = deployment("shop", "zoned", "v1", &[]);
    let far = on_node("node-b", &deployment("shop", "zoned", "v2", &[]))?;
    world.apply(&format!("{near}{far}{}", service("zoned")))?;
    until("the pods", Duration::from_mins(1), || {
        ["zoned/v1", "zoned/v2"].iter().try_for_each(|app| world.pod(app).map(drop))
    })
}

/// The zone next to the client serves all, until it fails: then the request itself is tried in the other, and so are those that follow.
fn locality_failover(world: &World) -> Result<Value> {
    zoned(world)?;
    let url = "http://zoned.shop/";
    for server in ["zoned-v1", "zoned-v2"] {
        world.expect("each server", &get(url), |seen| seen.server() == server)?;
    }
    // Nothing is ejected here: the second rule does that.
    let rules = |errors: u32| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: zoned, namespace: shop}}
spec:
  host: zoned
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {{enabled: true}}}}
    outlierDetection: {{consecutive5xxErrors: {errors}, interval: 1s, baseEjectionTime: 300s, maxEjectionPercent: 100}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: zoned, namespace: shop}}
spec:
  hosts: [zoned]
  http:
  - match: [{{uri: {{prefix: /once}}}}]
    retries: {{attempts: 0}}
    route: [{{destination: {{host: zoned}}}}]
  - retries: {{attempts: 2, perTryTimeout: 3s, retryOn: 5xx, retryRemoteLocalities: true}}
    route: [{{destination: {{host: zoned}}}}]
"
        )
    };
    world.apply(&rules(1000))?;
    eventually("the near server alone", || {
        let seen = world.calls("client", &[get(url).with("count", 40)])?;
        ensure!(count(&seen, "zoned-v1") == 40, "{} of 40", count(&seen, "zoned-v1"));
        Ok(())
    })?;
    let refused = get("http://zoned.shop/?fails=zoned-v1");
    let seen = eventually("another try in the other zone", || {
        let seen = world.calls("client", &[refused.clone().with("count", 10)])?;
        ensure!(count(&seen, "zoned-v2") == 10, "{seen:?}");
        Ok(seen)
    })?;
    ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
    world.apply(&rules(3))?;
    let failing = get("http://zoned.shop/once?fails=zoned-v1");
    eventually("failover", || {
        world.calls("client", &[failing.clone().with("count", 5)])?;
        let seen = world.calls("client", &[get(url).with("count", 40)])?;
        ensure!(count(&seen, "zoned-v2") == 40, "{} of 40", count(&seen, "zoned-v2"));
        Ok(())
    })?;
    Ok(seen[0].record())
}

/// A server that is new gets few requests at first, and its share in the end.
fn warm_up(world: &World) -> Result<Value> {
    let window = Duration::from_secs(15);
    let rule = format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: warm, namespace: shop}}
spec: {{host: warm, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, warmup: {{duration: {}s, minimumPercent: 10, aggression: 1}}}}}}}}
",
        window.as_secs()
    );
    world.apply(&format!("{}{}{rule}", deployment("shop", "warm", "v1", &[]), service("warm")))?;
    let ask = get("http://warm.shop/");
    world.expect("the first server", &ask, |seen| seen.server() == "warm-v1")?;
    // It was new itself.
    std::thread::sleep(window);
    world.apply(&deployment("shop", "warm", "v2", &[]))?;
    until("the second server", Duration::from_mins(1), || {
        let clusters = world.admin("client", "clusters")?;
        let hosts = |line: &&str| line.starts_with("outbound|80||warm.") && line.contains("::health_flags::");
        ensure!(clusters.lines().filter(hosts).count() == 2, "it is not known");
        Ok(())
    })?;
    let share = || -> Result<usize> {
        Ok(count(&world.calls("client", &[ask.clone().with("count", 100)])?, "warm-v2"))
    };
    let first = share()?;
    ensure!(first <= 35, "{first} of the first 100");
    until("an equal share", window * 2, || {
        let now = share()?;
        ensure!((40..=60).contains(&now), "{now} of 100");
        Ok(())
    })?;
    Ok(Value::Null)
}

fn load_balancers(world: &World) -> Result<Value> {
    let rule = |policy: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{host: web, trafficPolicy: {{loadBalancer: {policy}}}}}\n"
        )
    };
    let cluster =
        || world.admin("client", "config_dump?resource=dynamic_active_clusters&name_regex=.*web.shop.*");
    for (policy, name) in
        [("ROUND_ROBIN", "ROUND_ROBIN"), ("RANDOM", "RANDOM"), ("LEAST_REQUEST", "LEAST_REQUEST")]
    {
        let applied = world.apply(&rule(&format!("{{simple: {policy}}}")))?;
        eventually(policy, || {
            // The first of the enumeration is not written.
            ensure!(name == "ROUND_ROBIN" || cluster()?.contains(name), "another way to balance");
            let seen = world.calls("client", &[get("http://web.shop/").with("count", 60)])?;
            let (one, two) = (count(&seen, "web-v1"), count(&seen, "web-v2"));
            ensure!(one + two == 60 && one.min(two) >= 12, "{one} and {two} of 60");
            Ok(())
        })?;
        applied.remove()?;
    }
    let ways = [
        ("useSourceIp: true", ""),
        ("httpQueryParameterName: user", "?user=me"),
        ("httpHeaderName: x-user, maglev: {tableSize: 4099}", ""),
    ];
    for (way, query) in ways {
        let applied = world.apply(&rule(&format!("{{consistentHash: {{{way}}}}}")))?;
        let ask = get(&format!("http://web.shop/{query}")).header("x-user", "me").with("count", 20);
        eventually(way, || {
            let seen = world.calls("client", std::slice::from_ref(&ask))?;
            ensure!(seen.iter().all(|one| one.server() == seen[0].server()), "two servers were asked");
            ensure!(seen[0].status == 200, "{:?}", seen[0]);
            Ok(())
        })?;
        applied.remove()?;
    }
    // Whoever has no cookie gets one, and with it stays where it came to.
    world.apply(&rule("{consistentHash: {httpCookie: {name: place, ttl: 60s}}}"))?;
    let given = world.expect("a cookie", &get("http://web.shop/"), |seen| {
        seen.header("Set-Cookie").starts_with("place=") && seen.status == 200
    })?;
    let cookie = given.header("Set-Cookie").split(';').next().unwrap_or_default().to_owned();
    eventually("one server by cookie", || {
        let seen =
            world.calls("client", &[get("http://web.shop/").header("cookie", &cookie).with("count", 20)])?;
        ensure!(seen.iter().all(|seen| seen.server() == given.server()), "another server was asked");
        ensure!(seen.iter().all(|seen| seen.header("Set-Cookie").is_empty()), "another cookie was given");
        Ok(())
    })?;
    Ok(given.header("Set-Cookie").split_once(';').map_or(Value::Null, |(_, attributes)| attributes.into()))
}
