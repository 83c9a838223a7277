//! What VirtualService, DestinationRule, ServiceEntry and Sidecar make of a request.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::world::{Seen, World, call, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "weights", run: weights },
    Scenario { name: "matches", run: matches },
    Scenario { name: "rewrites", run: rewrites },
    Scenario { name: "answers_of_the_proxy", run: answers },
    Scenario { name: "timeout", run: timeout },
    Scenario { name: "retries", run: retries },
    Scenario { name: "faults", run: faults },
    Scenario { name: "cors", run: cors },
    Scenario { name: "consistent_hash", run: consistent_hash },
    Scenario { name: "pool_limits", run: pool_limits },
    Scenario { name: "service_entry", run: service_entry },
    Scenario { name: "registry_only", run: registry_only },
];

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

/// The subsets, and routes to them.
fn routes(http: &str) -> String {
    format!(
        "{SUBSETS}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  hosts: [web]\n  http:\n{http}"
    )
}

fn count(seen: &[Seen], server: &str) -> usize {
    seen.iter().filter(|seen| seen.server() == server).count()
}

fn weights(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - route:
    - {destination: {host: web, subset: v1}, weight: 80, headers: {response: {set: {x-leg: first}}}}
    - {destination: {host: web, subset: v2}, weight: 20, headers: {response: {set: {x-leg: second}}}}
",
    ))?;
    world.expect("the split", &get("http://web.shop/"), |seen| !seen.header("X-Leg").is_empty())?;
    let seen = world.calls("client", &[get("http://web.shop/").with("count", 300)])?;
    let (first, second) = (count(&seen, "web-v1"), count(&seen, "web-v2"));
    // Four standard deviations around 240.
    ensure!(first + second == 300 && (212..=268).contains(&first), "{first} and {second} of 300");
    ensure!(
        seen.iter().all(|seen| (seen.server() == "web-v1") == (seen.header("X-Leg") == "first")),
        "a wrong leg"
    );
    Ok(Value::Null)
}

fn matches(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - match: [{headers: {x-who: {exact: two}}}, {uri: {exact: /exact}}, {uri: {regex: '/v[0-9]+/.*'}}, {queryParams: {v: {exact: '2'}}}]
    route: [{destination: {host: web, subset: v2}}]
  - match: [{method: {exact: DELETE}}]
    route: [{destination: {host: web, subset: v2}}]
  - match: [{uri: {prefix: /Pre}, ignoreUriCase: true, withoutHeaders: {x-no: {}}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    let url = |path: &str| get(&format!("http://web.shop{path}"));
    let calls = [
        (url("/").header("x-who", "two"), "web-v2"),
        (url("/").header("x-who", "twofold"), "web-v1"),
        (url("/exact"), "web-v2"),
        (url("/exact/not"), "web-v1"),
        (url("/v12/a"), "web-v2"),
        (url("/va/a"), "web-v1"),
        (url("/?v=2"), "web-v2"),
        (url("/?v=22"), "web-v1"),
        (url("/").with("method", "DELETE"), "web-v2"),
        (url("/prefix"), "web-v2"),
        (url("/prefix").header("x-no", "1"), "web-v1"),
        (url("/other"), "web-v1"),
    ];
    eventually("all routes", || {
        let seen = world.calls("client", &calls.clone().map(|(call, _)| call))?;
        for (seen, (_, expected)) in seen.iter().zip(&calls) {
            ensure!(seen.server() == *expected, "{expected} was to answer: {seen:?}");
        }
        Ok(seen.iter().map(Seen::record).collect())
    })
}

fn rewrites(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: other.example}
    headers: {request: {set: {x-set: a}, add: {x-add: b}, remove: [x-remove]}, response: {set: {x-back: c}, remove: [x-name]}}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /regex}}]
    rewrite: {uriRegexRewrite: {match: '/regex/([a-z]+)/([0-9]+)', rewrite: '/\\2/\\1'}}
    route: [{destination: {host: web, subset: v1}}]
  - route: [{destination: {host: web, subset: v2}}]
",
    ))?;
    let old = get("http://web.shop/old/a?b=c").header("x-remove", "1").header("x-add", "a");
    let old = world.expect("the rewrite", &old, |seen| seen.body["target"] == "/new/a?b=c")?;
    ensure!(
        old.body["host"] == "other.example" && old.got("X-Set") == "a" && old.got("X-Remove").is_empty(),
        "{old:?}"
    );
    ensure!(old.header("X-Back") == "c" && old.header("X-Name").is_empty(), "{old:?}");
    let regex = world.call(&get("http://web.shop/regex/ab/12"))?;
    ensure!(regex.body["target"] == "/12/ab", "{regex:?}");
    Ok(json!([old.record(), regex.record()]))
}

fn answers(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /there, authority: elsewhere.example, redirectCode: 308}
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /nobody}}]
    route: [{destination: {host: nobody.example}}]
  - route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    let moved = world.expect("the redirect", &get("http://web.shop/moved?a=b"), |seen| seen.status == 308)?;
    ensure!(moved.header("Location") == "http://elsewhere.example/there?a=b", "{moved:?}");
    let direct = world.call(&get("http://web.shop/direct"))?;
    ensure!(direct.status == 418 && direct.body == "short and stout", "{direct:?}");
    let nobody = world.call(&get("http://web.shop/nobody"))?;
    ensure!((500..600).contains(&nobody.status), "{nobody:?}");
    Ok(json!([moved.record(), direct.record(), nobody.record()]))
}

fn timeout(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - timeout: 400ms
    retries: {attempts: 0}
    route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    let late = get("http://web.shop/?delay=3s");
    let seen = world.expect("the timeout", &late, |seen| seen.status == 504)?;
    ensure!((350..2500).contains(&seen.millis) && seen.body == "upstream request timeout", "{seen:?}");
    let quick = world.call(&get("http://web.shop/?delay=10ms"))?;
    ensure!(quick.status == 200, "{quick:?}");
    Ok(seen.record())
}

fn retries(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - retries: {attempts: 4, perTryTimeout: 2s, retryOn: 5xx}
    headers: {response: {set: {x-tries: '4'}}}
    route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    world.expect("the route", &get("http://web.shop/"), |seen| seen.header("X-Tries") == "4")?;
    // Each third request of a case is answered: the first call takes three attempts.
    let fresh = format!("retries-{:?}", std::time::SystemTime::now());
    let flaky = get("http://web.shop/?flaky=3").header("x-case", &fresh).with("count", 5);
    let seen = world.calls("client", &[flaky])?;
    ensure!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
    let always = world.call(&get("http://web.shop/?status=503"))?;
    ensure!(always.status == 503, "{always:?}");
    Ok(json!([seen[0].record(), always.record()]))
}

fn faults(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /delay}}]
    fault: {delay: {fixedDelay: 700ms, percentage: {value: 100}}}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /half}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 50}}}
    route: [{destination: {host: web, subset: v1}}]
  - route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    let abort = world.expect("the abort", &get("http://web.shop/abort"), |seen| seen.status == 555)?;
    ensure!(abort.body == "fault filter abort", "{abort:?}");
    let delay = world.call(&get("http://web.shop/delay"))?;
    ensure!(delay.status == 200 && (690..3000).contains(&delay.millis), "{delay:?}");
    let half = world.calls("client", &[get("http://web.shop/half").with("count", 200)])?;
    let aborted = half.iter().filter(|seen| seen.status == 555).count();
    ensure!((72..=128).contains(&aborted), "{aborted} of 200");
    Ok(json!([abort.record(), delay.record()]))
}

fn cors(world: &World) -> Result<Value> {
    world.apply(&routes(
        "  - corsPolicy: {allowOrigins: [{exact: 'https://a.example'}], allowMethods: [GET, PUT], allowHeaders: [x-mine], maxAge: 24h, allowCredentials: true}
    route: [{destination: {host: web, subset: v1}}]
",
    ))?;
    let preflight =
        get("http://web.shop/").with("method", "OPTIONS").header("Access-Control-Request-Method", "PUT");
    let allowed = preflight.clone().header("Origin", "https://a.example");
    let allowed = world
        .expect("the preflight", &allowed, |seen| !seen.header("Access-Control-Allow-Origin").is_empty())?;
    ensure!(allowed.header("Access-Control-Allow-Methods") == "GET,PUT", "{allowed:?}");
    let other = world.call(&preflight.header("Origin", "https://b.example"))?;
    ensure!(other.header("Access-Control-Allow-Origin").is_empty(), "{other:?}");
    let actual = world.call(&get("http://web.shop/").header("Origin", "https://a.example"))?;
    Ok(json!([allowed.record(), other.record(), actual.record()]))
}

fn consistent_hash(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
",
    )?;
    let users: Vec<_> =
        (0..20).map(|user| get("http://web.shop/").header("x-user", &format!("user-{user}"))).collect();
    crate::process::until("each user's own server", std::time::Duration::from_secs(20), || {
        let first = world.calls("client", &users)?;
        for _ in 0..3 {
            let again = world.calls("client", &users)?;
            let same =
                first.iter().zip(&again).all(|(a, b)| !a.server().is_empty() && a.server() == b.server());
            ensure!(same, "a user came to another server");
        }
        let (one, two) = (count(&first, "web-v1"), count(&first, "web-v2"));
        ensure!(one > 1 && two > 1, "{one} and {two} users");
        Ok(Value::Null)
    })
}

fn pool_limits(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}}
",
    )?;
    let slow = get("http://web.shop/?delay=700ms");
    crate::process::until("the limit", std::time::Duration::from_secs(30), || {
        let outcomes: Vec<Seen> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| world.call(&slow))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()?.ok()).collect()
        });
        let refused = outcomes.iter().find(|seen| seen.status == 503);
        let answered = outcomes.iter().filter(|seen| seen.status == 200).count();
        let refused = refused.filter(|_| answered > 0);
        let refused = refused.ok_or_else(|| anyhow::anyhow!("{answered} of 8 answered"))?;
        ensure!(refused.header("X-Envoy-Overloaded") == "true", "{refused:?}");
        Ok(refused.record())
    })
}

fn service_entry(world: &World) -> Result<Value> {
    let plain = world.address("plain")?;
    world.names.add("api.example.com", &plain)?;
    let entry = |name: &str, host: &str, rest: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  hosts: ['{host}']\n  location: MESH_EXTERNAL\n{rest}"
        )
    };
    world.apply(&format!(
        "{}{}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: secure, namespace: shop}}
spec: {{host: secure.example.com, trafficPolicy: {{tls: {{mode: SIMPLE, insecureSkipVerify: true}}}}}}
{}",
        entry("fixed", "fixed.example.com", &format!("  addresses: [240.1.1.1]\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]\n  resolution: STATIC\n  endpoints: [{{address: {plain}}}]\n")),
        entry("api", "api.example.com", "  ports: [{number: 8080, name: http, protocol: HTTP}]\n  resolution: DNS\n"),
        entry("secure", "secure.example.com", &format!("  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8443}}]\n  resolution: STATIC\n  endpoints: [{{address: {plain}}}]\n")),
    ))?;
    let fixed = get("http://fixed.example.com/").with("connect", "240.1.1.1:80");
    let fixed = world.expect("a fixed address", &fixed, |seen| seen.server() == "plain-v1")?;
    let api = world.expect("a name", &get("http://api.example.com:8080/"), |seen| {
        seen.server() == "plain-v1" && seen.got("X-Envoy-Decorator-Operation").contains("api.example.com")
    })?;
    let secure = get("http://secure.example.com/").with("connect", "240.1.1.2:80");
    let secure = world.expect("TLS by the proxy", &secure, |seen| seen.server() == "plain-v1")?;
    Ok(json!([fixed.record(), api.record(), secure.record()]))
}

fn registry_only(world: &World) -> Result<Value> {
    let address = world.address("plain")?;
    // Each on a connection of its own: one that is open stays with the listener that it came by.
    let unknown = get(&format!("http://{address}:8082/")).header("connection", "close");
    world.expect("what is not known", &unknown, |seen| seen.status == 200)?;
    world.apply(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['shop/*']}]}
",
    )?;
    let refused = world.expect("nothing", &unknown, |seen| seen.status != 200)?;
    let by_host =
        get("http://unknown.example/").with("connect", &*format!("{}:80", world.address("web/v1")?));
    let by_host = world.expect("a refusal", &by_host, |seen| seen.status == 502)?;
    let known = world.call(&get("http://web.shop/"))?;
    ensure!(known.status == 200, "{known:?}");
    let tcp = world.call(&call("tcp", &format!("{address}:9000")).with("body", "a"))?;
    ensure!(!tcp.error.is_empty(), "{tcp:?}");
    Ok(json!([refused.status, by_host.record()]))
}
