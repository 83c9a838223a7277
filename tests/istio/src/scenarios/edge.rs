//! Gateways: the Kubernetes Gateway API, whose deployment istiod makes; and Istio's own, with TLS by credential, passed on, and TCP.

use std::fs::read_to_string;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scenario;
use crate::process::{succeed, until};
use crate::world::{Call, Seen, World, call, eventually, get};

pub const ALL: &[Scenario] = &[
    Scenario { name: "gateway_api", run: gateway_api },
    Scenario { name: "gateway_of_istio", run: gateway_of_istio },
];

fn gateway_api(world: &World) -> Result<Value> {
    world.apply(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: istio
  infrastructure: {labels: {app: edge}}
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Same}}}
  - {name: tls, port: 8443, protocol: TLS, hostname: pass.example.com, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: Same}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: edge-tls, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: tls}]
  hostnames: [pass.example.com]
  rules: [{backendRefs: [{name: web, port: 443}]}]
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
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: edge-grpc, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 90}]}]
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
    let grpc = call("grpc", &format!("{address}:80")).with("body", "a");
    eventually("a gRPC route", || {
        let seen = world.calls("plain", std::slice::from_ref(&grpc))?;
        ensure!(seen[0].error.is_empty() && seen[0].status == 0, "{seen:?}");
        Ok(())
    })?;
    let pass = get("https://pass.example.com/").with("connect", &*format!("{address}:8443"));
    eventually("a TLS route", || {
        let seen = world.calls("plain", std::slice::from_ref(&pass))?;
        ensure!(seen[0].status == 200 && seen[0].peer.starts_with("web-"), "{seen:?}");
        Ok(())
    })?;
    let mut record = web.record();
    record["body"]["name"] = Value::Null;
    record["headers"]["X-Name"] = Value::Null;
    Ok(json!([record, moved.record(), none.record()]))
}

/// A new certificate and its key, PEM, for a name; of itself, or of another's.
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn new(world: &World, name: &str, issuer: Option<&Self>) -> Result<Self> {
        let folder = world.evidence("gateway_of_istio")?;
        let [chain, key] = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
        let mut openssl = Command::new("openssl");
        openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '));
        openssl.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:shop.example.com"]);
        if let Some(issuer) = issuer {
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            openssl.arg("-CA").arg(&issuer.chain).arg("-CAkey").arg(&issuer.key);
        }
        succeed(openssl.arg("-keyout").arg(&key).arg("-out").arg(&chain))?;
        Ok(Self { chain, key })
    }

    /// Both, one after the other.
    fn pem(&self) -> Result<String> {
        Ok(read_to_string(&self.chain)? + &read_to_string(&self.key)?)
    }

    /// A secret with it, and with whom to trust.
    fn secret(&self, name: &str, trusted: Option<&Self>) -> Result<String> {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": "shop"},
            "stringData": {"tls.key": read_to_string(&self.key)?, "tls.crt": read_to_string(&self.chain)?}});
        if let Some(trusted) = trusted {
            secret["stringData"]["ca.crt"] = read_to_string(&trusted.chain)?.into();
        }
        Ok(format!("{secret}\n---\n"))
    }
}

/// TLS that ends here, with and without certificates of clients, TLS that goes on, redirects to it, and TCP; the certificate is replaced while requests
/// are made.
fn gateway_of_istio(world: &World) -> Result<Value> {
    let first = Certificate::new(world, "edge-one", None)?;
    let caller = Certificate::new(world, "caller", Some(&first))?;
    let stranger = Certificate::new(world, "stranger", None)?;
    let secrets = first.secret("edge-cert", None)? + &first.secret("mutual-cert", Some(&first))?;
    world.apply(&secrets)?;
    world.apply(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ways, namespace: shop}
rules: [{apiGroups: [''], resources: [secrets], verbs: [get, watch, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ways, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ways}
subjects: [{kind: ServiceAccount, name: ways-istio, namespace: shop}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ways, namespace: shop}
spec:
  gatewayClassName: istio
  infrastructure: {labels: {app: ways}}
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Same}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ways-in, namespace: shop}
spec:
  selector: {app: ways}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge-cert}, hosts: [shop.example.com]}
  - {port: {number: 8444, name: https-mutual, protocol: HTTPS}, tls: {mode: MUTUAL, credentialName: mutual-cert}, hosts: [shop.example.com]}
  - {port: {number: 8088, name: http-moved, protocol: HTTP}, tls: {httpsRedirect: true}, hosts: [shop.example.com]}
  - {port: {number: 9443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: [pass.example.com]}
  - {port: {number: 9100, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ways-http, namespace: shop}
spec: {hosts: [shop.example.com], gateways: [ways-in], http: [{headers: {request: {set: {x-edge: 'yes'}}}, route: [{destination: {host: web, port: {number: 80}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ways-tls, namespace: shop}
spec: {hosts: [pass.example.com], gateways: [ways-in], tls: [{match: [{port: 9443, sniHosts: [pass.example.com]}], route: [{destination: {host: web, port: {number: 443}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ways-tcp, namespace: shop}
spec: {hosts: ['*'], gateways: [ways-in], tcp: [{match: [{port: 9100}], route: [{destination: {host: web, port: {number: 91}}}]}]}
",
    )?;
    let address = until("the gateway", Duration::from_mins(1), || world.address("ways"))?;
    let https = get("https://shop.example.com/")
        .with("connect", &*format!("{address}:8443"))
        .header("connection", "close");
    let from_outside = |what: &str, call: &Call, right: &dyn Fn(&Seen) -> bool| {
        eventually(what, || {
            let seen = world.calls("plain", std::slice::from_ref(call))?.remove(0);
            ensure!(right(&seen), "{seen:?}");
            Ok(seen)
        })
    };
    let one =
        from_outside("TLS that ends here", &https, &|seen| seen.status == 200 && seen.peer == "edge-one")?;
    ensure!(one.got("X-Edge") == "yes", "{one:?}");
    let mutual = |certificate: &Certificate| -> Result<Call> {
        let call = get("https://shop.example.com/").with("connect", &*format!("{address}:8444"));
        Ok(call.header("connection", "close").with("certificate", certificate.pem()?))
    };
    let known = from_outside("a client's certificate", &mutual(&caller)?, &|seen| seen.status == 200)?;
    let nobody = https.clone().with("connect", &*format!("{address}:8444"));
    let refused = world.calls("plain", &[nobody, mutual(&stranger)?])?;
    ensure!(refused.iter().all(|seen| seen.status == 0 && !seen.error.is_empty()), "{refused:?}");
    let moved = get("http://shop.example.com/a?b=c").with("connect", &*format!("{address}:8088"));
    let moved = from_outside("a redirect to TLS", &moved, &|seen| seen.status == 301)?;
    ensure!(moved.header("Location") == "https://shop.example.com/a?b=c", "{moved:?}");
    let pass = get("https://pass.example.com/").with("connect", &*format!("{address}:9443"));
    let pass = from_outside("TLS that goes on", &pass, &|seen| {
        seen.status == 200 && !seen.peer.starts_with("edge")
    })?;
    let line = call("tcp", &format!("{address}:9100")).with("body", "a line");
    from_outside("TCP", &line, &|seen| seen.error.is_empty() && seen.body.to_string().contains("a line"))?;

    let second = Certificate::new(world, "edge-two", None)?;
    world.kubernetes.apply(&second.secret("edge-cert", None)?)?;
    let (mut requests, mut lost) = (0, Vec::new());
    eventually("the second certificate", || {
        let seen = world.calls("plain", &[https.clone().with("count", 10)])?;
        requests += seen.len();
        let replaced = seen.iter().all(|seen| seen.peer == "edge-two");
        lost.extend(seen.into_iter().filter(|seen| seen.status != 200));
        ensure!(replaced, "the first is still shown");
        Ok(())
    })?;
    ensure!(lost.is_empty(), "{} of {requests} requests were lost: {:?}", lost.len(), lost.first());
    Ok(json!([one.status, one.peer, known.status, moved.record(), pass.status]))
}
