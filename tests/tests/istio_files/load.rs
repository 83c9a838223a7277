//! Reads the files: bootstraps made to fit a test's folder and ports, config dumps turned into resources.
//!
//! istiod's dump has clusters and listeners only; what these name besides (endpoints, routes, secrets) is served in the plainest form,
//! so that everything can warm. Addresses that are bound become ports of the kernel's choice on loopback, and nothing else changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sampan_tests::harness::xds::{ControlPlane, Resource, sample, types};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/istio").join(name)
}

fn read(name: &str) -> Value {
    let file = fixture(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The agent's sockets, as the bootstraps have them, below a folder: configuration and secrets.
pub fn sockets(dir: &Path) -> [PathBuf; 2] {
    let paths =
        ["etc/istio/proxy/XDS", "var/run/secrets/workload-spiffe-uds/socket"].map(|path| dir.join(path));
    for path in &paths {
        std::fs::create_dir_all(path.parent().expect("a socket has a folder")).expect("a folder of the test");
    }
    paths
}

/// The bootstrap of a proxy, with its own ports left to the kernel.
pub fn bootstrap(name: &str) -> Value {
    let mut bootstrap = read(&format!("{name}-bootstrap.json"));
    free_port(&mut bootstrap["admin"]["address"]["socket_address"]);
    for listener in bootstrap["static_resources"]["listeners"].as_array_mut().expect("static listeners") {
        free_port(&mut listener["address"]["socket_address"]);
    }
    bootstrap
}

/// Loopback and a port of the kernel's choice.
fn free_port(address: &mut Value) {
    let port = if address.get("port_value").is_some() { "port_value" } else { "portValue" };
    address["address"] = json!("127.0.0.1");
    address[port] = json!(0);
}

/// What istiod sends to one proxy.
pub struct Resources {
    clusters: Vec<Resource>,
    listeners: Vec<Resource>,
    endpoints: Vec<Resource>,
    routes: Vec<Resource>,
    secrets: Vec<Resource>,
}

impl Resources {
    /// Serves what others name, then one cluster and one listener after the other, so that a refusal has room for all its reasons.
    /// `answered` gets each type, name and version.
    pub fn serve(self, plane: &ControlPlane, mut answered: impl FnMut(&'static str, &str, &str)) {
        plane.set(types::SECRET, self.secrets);
        plane.set(types::ENDPOINT, self.endpoints);
        plane.set(types::ROUTE, self.routes);
        for (type_url, resources) in [(types::CLUSTER, self.clusters), (types::LISTENER, self.listeners)] {
            for resource in resources {
                let name = resource.name.clone();
                let version = plane.put(type_url, [resource]);
                answered(type_url, &name, &version);
            }
        }
    }
}

/// Takes a config dump apart.
pub fn resources(name: &str) -> Resources {
    let dump = read(&format!("{name}.json"));
    let sections = dump["configs"].as_array().expect("a config dump has sections");
    let items = |key: &'static str| {
        sections.iter().filter_map(move |section| section[key].as_array().cloned()).flatten()
    };
    let clusters: Vec<Value> = items("dynamicActiveClusters").map(|item| item["cluster"].clone()).collect();
    let mut listeners: Vec<Value> =
        items("dynamicListeners").map(|item| item["activeState"]["listener"].clone()).collect();
    assert!(clusters.len() > 20 && !listeners.is_empty(), "{name}: {} clusters", clusters.len());
    let eds = clusters.iter().filter(|cluster| cluster["type"] == "EDS");
    let endpoints = eds.map(endpoints).collect();
    let mut route_names = BTreeSet::new();
    for listener in &listeners {
        route_configurations(listener, &mut route_names);
    }
    for listener in &mut listeners {
        if listener["bindToPort"] != false {
            free_port(&mut listener["address"]["socketAddress"]);
        }
    }
    let answers = "{match: {prefix: /}, direct_response: {status: 200}}";
    Resources {
        clusters: clusters.iter().map(Resource::json).collect(),
        listeners: listeners.iter().map(Resource::json).collect(),
        endpoints,
        routes: route_names.iter().map(|name| sample::routes(&format!("'{name}'"), &[answers])).collect(),
        secrets: secrets(),
    }
}

/// One endpoint on loopback for a cluster, under the name by which it asks.
fn endpoints(cluster: &Value) -> Resource {
    let name = cluster["edsClusterConfig"]["serviceName"].as_str().or_else(|| cluster["name"].as_str());
    let name = name.expect("a cluster has a name");
    sample::endpoints(&format!("'{name}'"), &[9])
}

/// The names of all route configurations that come by RDS.
fn route_configurations(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("routeConfigName").and_then(Value::as_str) {
                names.insert(name.to_owned());
            }
            fields.values().for_each(|field| route_configurations(field, names));
        }
        Value::Array(items) => items.iter().for_each(|item| route_configurations(item, names)),
        _ => {}
    }
}

/// What the agent serves: the workload's certificate and the roots.
fn secrets() -> Vec<Resource> {
    let pem = |name: &str| std::fs::read_to_string(fixture(name)).expect("a fixture");
    let (certificate, key) = (pem("workload-cert.pem"), pem("workload-key.pem"));
    let secret = |value: Value| Resource::json(&value);
    vec![
        secret(json!({"@type": types::SECRET, "name": "default", "tlsCertificate": {
            "certificateChain": {"inlineString": certificate}, "privateKey": {"inlineString": key}}})),
        secret(json!({"@type": types::SECRET, "name": "ROOTCA", "validationContext": {
            "trustedCa": {"inlineString": certificate}}})),
    ]
}

/// A row of `/support`, without what depends on chance.
pub fn reported(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}: {}", text("resource"), text("field"), text("reason"))
}
