//! What a node's agent does, as far as pods of a mesh need it: it finds pods by asking the API, gives each a thread that starts its containers in
//! order, reports, and ends them as Kubernetes describes the life of a pod with sidecars; and it lets the API server have streams to them.

mod container;
mod environment;
mod pod;
mod probe;
mod streams;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use self::streams::Streams;
use crate::dns::Names;
use crate::kubernetes::Kubernetes;
use crate::podman::Podman;
use crate::tools::Tools;

/// Nodes, each in a zone of its own, for what depends on where a pod is.
const NODES: [(&str, &str); 2] = [("node-a", "zone-a"), ("node-b", "zone-b")];

/// What all pods share.
pub struct Node {
    pub podman: Arc<Podman>,
    pub kubernetes: Arc<Kubernetes>,
    pub dir: PathBuf,
    addresses: AtomicUsize,
}

/// The agent, in a thread. It ends with this value, and with it every pod.
pub struct Kubelet {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _streams: Streams,
    /// What went wrong with a pod, by its name.
    pub failures: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Kubelet {
    /// Makes the nodes, with an endpoint for streams, and begins to look for pods.
    pub fn start(
        podman: Arc<Podman>,
        kubernetes: Arc<Kubernetes>,
        tools: &Tools,
        names: Names,
    ) -> Result<Self> {
        let streams = Streams::start(tools, &podman.gateway())?;
        for (name, zone) in NODES {
            let labels =
                json!({"topology.kubernetes.io/region": "region", "topology.kubernetes.io/zone": zone});
            kubernetes.post("/api/v1/nodes", &json!({"metadata": {"name": name, "labels": labels}}))?;
            // istiod asks whether nodes know native sidecars.
            let status = json!({"status": {"nodeInfo": {"kubeletVersion": "v1.37.2", "architecture": "amd64",
                "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "operatingSystem": "linux", "osImage": "", "systemUUID": ""},
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": podman.gateway()}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": streams.port}}}});
            kubernetes.patch(&format!("/api/v1/nodes/{name}/status"), &status)?;
        }
        let dir = tools.dir.clone();
        std::fs::create_dir_all(dir.join("pods"))?;
        let gateway = podman.gateway();
        let resolver = format!(
            "nameserver {gateway}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
        std::fs::write(dir.join("resolv.conf"), resolver)?;
        // The first address is the anchor's.
        let node = Arc::new(Node { podman, kubernetes, dir, addresses: AtomicUsize::new(1) });
        let ended = Arc::new(AtomicBool::new(false));
        let failures = Arc::default();
        let (end, failed) = (Arc::clone(&ended), Arc::clone(&failures));
        let thread = std::thread::spawn(move || look(&node, &names, &end, &failed));
        Ok(Self { ended, thread: Some(thread), _streams: streams, failures })
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Node {
    fn address(&self) -> String {
        self.podman.address(self.addresses.fetch_add(1, Ordering::Relaxed))
    }
}

/// Looks for new pods, pods that are to go, and services.
fn look(
    node: &Arc<Node>,
    names: &Names,
    ended: &AtomicBool,
    failures: &Arc<Mutex<BTreeMap<String, String>>>,
) {
    let mut known: BTreeMap<String, (Arc<AtomicBool>, JoinHandle<()>)> = BTreeMap::new();
    while !ended.load(Ordering::Relaxed) {
        if let Ok(pods) = node.kubernetes.get("/api/v1/pods") {
            let mut there = BTreeSet::new();
            for pod in list(&pods, "items") {
                let uid = text(pod, "/metadata/uid");
                let goes = pod.pointer("/metadata/deletionTimestamp").is_some();
                if let Some((stop, _)) = known.get(&uid) {
                    stop.fetch_or(goes, Ordering::Relaxed);
                } else if !goes && text(pod, "/metadata/labels/app") != "istiod" {
                    let stop = Arc::new(AtomicBool::new(false));
                    let life = live(node, pod.clone(), Arc::clone(&stop), failures);
                    known.insert(uid.clone(), (stop, life));
                }
                there.insert(uid);
            }
            // Those that were deleted before they had a node are gone at once.
            for (_, (stop, _)) in known.iter().filter(|(uid, _)| !there.contains(*uid)) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        if let Ok(services) = node.kubernetes.get("/api/v1/services") {
            for service in services["items"].as_array().into_iter().flatten() {
                let (name, namespace) =
                    (text(service, "/metadata/name"), text(service, "/metadata/namespace"));
                let gateway = node.podman.gateway();
                let address = if name == "istiod" { gateway } else { text(service, "/spec/clusterIP") };
                let _ = names.add(&format!("{name}.{namespace}.svc.cluster.local"), &address);
                let _ = names.add(&format!("{name}.{namespace}.svc"), &address);
            }
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    for (stop, _) in known.values() {
        stop.store(true, Ordering::Relaxed);
    }
    // Their containers go with podman, all at once.
    drop(known);
}

/// One pod's whole life, in a thread.
fn live(
    node: &Arc<Node>,
    pod: Value,
    stop: Arc<AtomicBool>,
    failures: &Arc<Mutex<BTreeMap<String, String>>>,
) -> JoinHandle<()> {
    let (node, failures) = (Arc::clone(node), Arc::clone(failures));
    std::thread::spawn(move || {
        let name = format!("{}/{}", text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
        if let Err(error) = pod::live(&node, pod, &stop) {
            eprintln!("kubelet: {name}: {error:#}");
            failures.lock().unwrap_or_else(PoisonError::into_inner).insert(name, format!("{error:#}"));
        }
    })
}

/// The text at a JSON pointer; empty where there is none.
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The members of a list in an object, if it has one.
fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
