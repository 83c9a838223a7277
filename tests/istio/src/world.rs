//! The mesh of the scenarios: a client, two versions of a server and a server outside, in pods; and what a scenario does with them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::dns::Names;
use crate::http::{Request, ask};
use crate::image::{Proxy, WORKLOAD};
use crate::kubelet::Kubelet;
use crate::kubernetes::Kubernetes;
use crate::mesh::{Istiod, Settings};
use crate::podman::Podman;
use crate::process::{succeed, until};
use crate::tools::Tools;

/// How long anything may take that istiod has to tell a proxy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs.
pub struct World {
    pub tools: Tools,
    pub kubernetes: Arc<Kubernetes>,
    pub podman: Arc<Podman>,
    pub names: Names,
    pub kubelet: Kubelet,
    pub istiod: Mutex<Istiod>,
    pub proxy: Proxy,
    pub settings: Settings,
    /// What the scenario has applied and not removed.
    pub applied: Mutex<Vec<String>>,
}

/// What a client is to do; see tests/istio/peers/workload/echo/client.go.
#[derive(Clone)]
pub struct Call(Value);

/// An HTTP/1.1 request.
pub fn get(url: &str) -> Call {
    call("http1", url)
}

/// Anything.
pub fn call(kind: &str, url: &str) -> Call {
    Call(json!({"kind": kind, "url": url, "headers": {}}))
}

impl Call {
    /// Sets one of the fields of a call.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name] = value.into();
        self
    }
}

/// What a client saw of one call, without what differs from run to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// 200; of gRPC the code, 0 where all is well; 0 too where there was no answer.
    pub status: u64,
    /// How it failed, if it did.
    pub error: String,
    pub millis: u64,
    /// What the server says that it saw; else the body's text.
    pub body: Value,
    /// How many requests of the same `x-case` the server had seen before.
    pub before: u64,
    pub headers: Value,
    pub trailer: Value,
    pub peer: String,
}

/// Headers with times, identifiers and addresses.
const VOLATILE: &[&str] = &[
    "Date",
    "X-Request-Id",
    "X-Envoy-Upstream-Service-Time",
    "Content-Length",
    "X-Forwarded-For",
    "X-B3-Traceid",
    "X-B3-Spanid",
    "X-B3-Parentspanid",
    "X-B3-Sampled",
    "Traceparent",
    "Tracestate",
    "X-Envoy-Peer-Metadata",
    "X-Envoy-Peer-Metadata-Id",
    "Baggage",
    "X-Envoy-Attempt-Count",
    "X-Case",
    "date",
    "x-envoy-upstream-service-time",
];

/// Headers without what differs from run to run.
fn steady(headers: &Value) -> Value {
    let mut headers = headers.clone();
    for (name, values) in headers.as_object_mut().into_iter().flatten() {
        // The digest of a certificate.
        if name == "X-Forwarded-Client-Cert" {
            let text = values[0].as_str().unwrap_or_default();
            let parts = text.split(';').filter(|part| !part.starts_with("Hash="));
            *values = parts.collect();
        }
    }
    if let Some(map) = headers.as_object_mut() {
        map.retain(|name, _| !VOLATILE.contains(&name.as_str()));
    }
    headers
}

impl Seen {
    fn read(value: &Value) -> Self {
        let text = value["body"].as_str().unwrap_or_default();
        let mut body = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let mut before = 0;
        if let Some(seen) = body.as_object_mut() {
            before = seen.remove("before").and_then(|count| count.as_u64()).unwrap_or_default();
            if let Some(headers) = seen.get("headers").map(steady) {
                seen.insert("headers".into(), headers);
            }
        }
        Self {
            status: value["status"].as_u64().unwrap_or_default(),
            error: value["error"].as_str().unwrap_or_default().to_owned(),
            millis: value["millis"].as_u64().unwrap_or_default(),
            body,
            before,
            headers: steady(&value["headers"]),
            trailer: steady(&value["trailer"]),
            peer: value["peer"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Which server answered; empty if none did.
    pub fn server(&self) -> &str {
        self.body["name"].as_str().unwrap_or_default()
    }

    /// A header that the server saw.
    pub fn got(&self, name: &str) -> &str {
        self.body["headers"][name][0].as_str().unwrap_or_default()
    }

    /// A header that the client saw.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name][0].as_str().unwrap_or_default()
    }

    /// All that is compared between proxies.
    pub fn record(&self) -> Value {
        json!({"status": self.status, "failed": !self.error.is_empty(), "body": self.body, "headers": self.headers,
            "trailer": self.trailer, "peer": self.peer})
    }
}

/// Looks until it finds all that it looks for. istiod tells one proxy after the other: that one has a configuration says nothing of the
/// others, nor of all its listeners.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
    until(what, PATIENCE, look)
}

impl World {
    /// Has a pod make calls, all of them one after the other.
    pub fn calls(&self, from: &str, calls: &[Call]) -> Result<Vec<Seen>> {
        let address = self.address(from)?;
        let body = Value::Array(calls.iter().map(|call| call.0.clone()).collect()).to_string();
        let request = Request { method: "POST", path: "/", kind: "application/json", body: body.as_bytes() };
        let answer = ask(&format!("{address}:7000"), &request, Duration::from_mins(2))?.json()?;
        Ok(answer.as_array().into_iter().flatten().map(Seen::read).collect())
    }

    /// One call by the client.
    pub fn call(&self, call: &Call) -> Result<Seen> {
        self.calls("client", std::slice::from_ref(call))?.pop().context("no outcome")
    }

    /// Makes a call until what came of it is right.
    pub fn expect(&self, what: &str, call: &Call, right: impl Fn(&Seen) -> bool) -> Result<Seen> {
        until(what, PATIENCE, || {
            let seen = self.call(call)?;
            ensure!(right(&seen), "{} was seen: {seen:?}", call.0);
            Ok(seen)
        })
    }

    /// The address of the ready pod with a label `app`, or `app` and `version` as in `web/v1`.
    pub fn address(&self, app: &str) -> Result<String> {
        Ok(self.pod(app)?["status"]["podIP"].as_str().unwrap_or_default().to_owned())
    }

    /// The pod itself.
    pub fn pod(&self, app: &str) -> Result<Value> {
        let (app, version) = app.split_once('/').unwrap_or((app, ""));
        let version = if version.is_empty() { String::new() } else { format!(",version={version}") };
        let found = self
            .kubernetes
            .get(&format!("/api/v1/pods?labelSelector=app%3D{app}{}", version.replace('=', "%3D")))?;
        let pods = found["items"].as_array().cloned().unwrap_or_default();
        let lives = |pod: &&Value| {
            pod.pointer("/metadata/deletionTimestamp").is_none() && pod["status"]["phase"] == "Running"
        };
        pods.iter().find(lives).cloned().with_context(|| format!("no ready pod of {app}"))
    }

    /// What `pilot-agent request` says in a pod.
    pub fn agent(&self, app: &str, arguments: &[&str]) -> Result<String> {
        self.agent_of(&self.pod(app)?, arguments)
    }

    fn agent_of(&self, pod: &Value, arguments: &[&str]) -> Result<String> {
        let request = ["exec", &container(pod), "pilot-agent", "request"];
        succeed(self.podman.command().args(request).args(arguments))
    }

    /// What a proxy's admin interface answers.
    pub fn admin(&self, app: &str, path: &str) -> Result<String> {
        self.admin_of(&self.pod(app)?, path)
    }

    /// The same for a pod that need not be ready.
    pub fn admin_of(&self, pod: &Value, path: &str) -> Result<String> {
        self.agent_of(pod, &["GET", path])
    }

    /// The sum of a proxy's counters whose names contain a text.
    pub fn stat(&self, app: &str, part: &str) -> Result<u64> {
        let stats = self.admin(app, &format!("stats?filter={part}"))?;
        Ok(stats.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok()).sum())
    }

    /// What the proxy of a pod has logged.
    pub fn log(&self, app: &str) -> Result<String> {
        let container = container(&self.pod(app)?);
        let output = self.podman.command().args(["logs", &container]).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// The istiod that runs now.
    pub fn istiod(&self) -> MutexGuard<'_, Istiod> {
        self.istiod.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another istiod; the last one must have been killed.
    pub fn start_istiod(&self) -> Result<()> {
        *self.istiod() = Istiod::start(&self.tools, &self.kubernetes, &self.podman.gateway(), self.settings)?;
        Ok(())
    }

    /// Makes the pods of the scenarios, and waits until each is ready.
    pub fn populate(&self) -> Result<()> {
        self.kubernetes.apply(MANIFESTS)?;
        let mut manifests = String::new();
        for (namespace, app, version) in [
            ("shop", "client", "v1"),
            ("shop", "web", "v1"),
            ("shop", "web", "v2"),
            ("outside", "plain", "v1"),
        ] {
            manifests += &deployment(namespace, app, version, &[]);
        }
        until("the deployments", PATIENCE, || self.kubernetes.apply(&manifests))?;
        until("the pods", Duration::from_mins(2), || {
            let failures = self.kubelet.failures.lock().map(|map| map.clone()).unwrap_or_default();
            ensure!(failures.is_empty(), "{failures:?}");
            ["client", "web/v1", "web/v2", "plain"].iter().try_for_each(|app| self.pod(app).map(drop))
        })
    }

    /// Takes them away.
    pub fn clear(&self) -> Result<()> {
        let pods =
            || self.kubernetes.get("/api/v1/pods").map(|list| list["items"].as_array().map_or(0, Vec::len));
        for namespace in ["shop", "outside"] {
            let all =
                ["-n", namespace, "delete", "deployment", "--all", "--ignore-not-found", "--wait=false"];
            succeed(self.kubernetes.kubectl().args(all))?;
        }
        until("the end of all pods", Duration::from_secs(90), || {
            let left = pods()?;
            ensure!(left == 0, "{left} are left");
            Ok(())
        })
    }

    /// A folder for what is to be looked at.
    pub fn evidence(&self, name: &str) -> Result<PathBuf> {
        let folder = self.tools.dir.join("evidence").join(self.proxy.name()).join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// The container of a pod's proxy, for podman.
fn container(pod: &Value) -> String {
    let name = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}_{}_istio-proxy", name("/metadata/namespace"), name("/metadata/name"))
}

/// A deployment of the application, with more annotations for its pods.
pub fn deployment(namespace: &str, app: &str, version: &str, more: &[(&str, &str)]) -> String {
    let labels = json!({"app": app, "version": version});
    let ports: Vec<Value> = [8080, 8081, 8082, 8443, 9090, 9000, 9001]
        .iter()
        .map(|port| json!({"containerPort": port}))
        .collect();
    let container = json!({"name": "app", "image": WORKLOAD, "imagePullPolicy": "Never", "command": ["/echo"], "ports": ports,
        "env": [{"name": "NAME", "value": format!("{app}-{version}")}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}});
    // The control port is the test's own, not the mesh's.
    let mut annotations = json!({"traffic.sidecar.istio.io/excludeInboundPorts": "7000"});
    for (name, value) in more {
        annotations[*name] = (*value).into();
    }
    // Admission of service accounts is off, so that pods have to name theirs: with none, the agent's token is refused.
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("{app}-{version}"), "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"serviceAccountName": "default", "containers": [container], "securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}}}});
    format!("---\n{deployment}\n")
}

/// The same deployment on a node of choice; see [`crate::kubelet`] for which there are.
pub fn on_node(node: &str, deployment: &str) -> Result<String> {
    let mut deployment: Value = serde_json::from_str(deployment.trim_start_matches("---"))?;
    deployment["spec"]["template"]["spec"]["nodeName"] = node.into();
    Ok(format!("---\n{deployment}\n"))
}

/// A service of the pods with the label `app`, at port 80.
pub fn service(app: &str) -> String {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "namespace": "shop"},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    format!("---\n{service}\n")
}

const MANIFESTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: http2, port: 81, targetPort: 8081, appProtocol: http2}
  - {name: auto, port: 82, targetPort: 8082}
  - {name: https, port: 443, targetPort: 8443}
  - {name: grpc, port: 90, targetPort: 9090}
  - {name: tcp, port: 91, targetPort: 9000}
  - {name: tcp-first, port: 92, targetPort: 9001}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: outside}
spec:
  selector: {app: plain}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 91, targetPort: 9000}
";
