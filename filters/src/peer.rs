//! Who a peer of the mesh is: the workload at the other end, as proxies tell each other by headers or before a TCP stream.
//!
//! A [`Peer`] is made of the metadata of a node, of what a peer sent, of a `baggage` header, or of the short form that endpoints
//! carry. It lies in the filter state, under [`DOWNSTREAM`] or [`UPSTREAM`], for logs and metrics.

use std::sync::{Arc, OnceLock};

use sampan_filters_api::NodeFacts;
use sampan_filters_api::info::{MetadataValue, StateObject};

/// The key of the client in the filter state.
pub const DOWNSTREAM: &str = "downstream_peer";
/// The key of the host in the filter state.
pub const UPSTREAM: &str = "upstream_peer";
/// The key that says that a peer will not tell who it is.
pub const NOT_FOUND: &str = "peer_not_found";
/// The header with the metadata of a peer.
pub const HEADER: &str = "x-envoy-peer-metadata";
/// The header with the name of a peer's node.
pub const HEADER_ID: &str = "x-envoy-peer-metadata-id";

/// Names of a workload are at most 253 bytes long in Kubernetes, and label values 63: what is longer is cut.
const LONGEST: usize = 256;
/// Labels besides the usual ones at most.
const MOST_LABELS: usize = 32;

/// What a workload is an instance of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Not said
    #[default]
    Unknown,
    /// A pod by itself
    Pod,
    /// A deployment
    Deployment,
    /// A job
    Job,
    /// A cron job
    CronJob,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] = [
        (Kind::Pod, "pod"),
        (Kind::Deployment, "deployment"),
        (Kind::Job, "job"),
        (Kind::CronJob, "cronjob"),
    ];

    fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(kind, _)| kind).unwrap_or_default()
    }

    fn name(self) -> Option<&'static str> {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map(|(_, name)| name)
    }

    /// The kind that an owner's URL names: `kubernetes://apis/apps/v1/namespaces/ns/deployments/workload`.
    fn of_owner(owner: &str, workload: &str) -> Self {
        let kind = owner.len().checked_sub(workload.len() + 2).and_then(|end| owner.get(..end));
        kind.and_then(|head| head.rsplit_once('/')).map(|(_, kind)| Self::named(kind)).unwrap_or_default()
    }
}

/// A workload.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Tells peers apart: the same for all that have the same fields. Keyed at random, so that nobody can make two of them meet.
    pub number: u64,
    /// The instance: a pod's name.
    pub instance: Box<str>,
    /// The cluster of the mesh.
    pub cluster: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// The workload.
    pub workload: Box<str>,
    /// `service.istio.io/canonical-name`
    pub canonical_name: Box<str>,
    /// `service.istio.io/canonical-revision`
    pub canonical_revision: Box<str>,
    /// `app.kubernetes.io/name`, or `app`
    pub app: Box<str>,
    /// `app.kubernetes.io/version`, or `version`
    pub version: Box<str>,
    /// What it is an instance of.
    pub kind: Kind,
    /// Its SPIFFE identity.
    pub identity: Box<str>,
    /// Where it runs.
    pub region: Box<str>,
    /// Where it runs, more closely.
    pub zone: Box<str>,
    /// More labels, where they are wanted.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

fn text(value: &MetadataValue) -> Box<str> {
    match value {
        MetadataValue::String(text) => cut(text),
        _ => "".into(),
    }
}

/// A text that is not too long for a label.
fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

impl Peer {
    /// A peer by the metadata of its node. `labels` names those that are wanted besides the usual ones.
    pub fn of_metadata(metadata: &MetadataValue, labels: &[Box<str>]) -> Self {
        let MetadataValue::Struct(fields) = metadata else { return Self::default() };
        let mut peer = Self::default();
        let mut owner = "".into();
        for (key, value) in fields {
            match &**key {
                "NAME" => peer.instance = text(value),
                "NAMESPACE" => peer.namespace = text(value),
                "OWNER" => {
                    if let MetadataValue::String(text) = value {
                        owner = Arc::clone(text);
                    }
                }
                "WORKLOAD_NAME" => peer.workload = text(value),
                "CLUSTER_ID" => peer.cluster = text(value),
                "IDENTITY" => peer.identity = text(value),
                "REGION" => peer.region = text(value),
                "AVAILABILITY_ZONE" => peer.zone = text(value),
                "LABELS" => peer.take_labels(value, labels),
                _ => {}
            }
        }
        peer.kind = Kind::of_owner(&owner, &peer.workload);
        peer.numbered()
    }

    fn numbered(mut self) -> Self {
        static KEYS: OnceLock<ahash::RandomState> = OnceLock::new();
        self.number = KEYS.get_or_init(ahash::RandomState::new).hash_one(self.plain());
        self
    }

    /// This proxy, as it tells others.
    pub fn of_node(node: &NodeFacts, labels: &[Box<str>]) -> Self {
        let mut peer = Self::of_metadata(&node.metadata, labels);
        for (own, known) in [(&mut peer.region, &node.region), (&mut peer.zone, &node.zone)] {
            if own.is_empty() {
                *own = cut(known);
            }
        }
        peer.numbered()
    }

    /// `workload;namespace;canonical name;canonical revision;cluster`, as endpoints have it in their metadata.
    pub fn of_endpoint(encoded: &str) -> Option<Self> {
        let mut parts = encoded.split(';').map(cut);
        let mut next = || parts.next();
        let peer = Self {
            workload: next()?,
            namespace: next()?,
            canonical_name: next()?,
            canonical_revision: next()?,
            cluster: next()?,
            ..Self::default()
        };
        Some(peer.numbered())
    }

    /// What a `baggage` header says (W3C baggage with the OpenTelemetry names of resources).
    pub fn of_baggage(baggage: &str) -> Self {
        let mut peer = Self::default();
        for (key, value) in baggage.split(',').filter_map(|property| property.split_once('=')) {
            let value = cut(value);
            match key {
                "k8s.namespace.name" => peer.namespace = value,
                "k8s.cluster.name" => peer.cluster = value,
                "k8s.instance.name" => peer.instance = value,
                "cloud.region" => peer.region = value,
                "cloud.availability_zone" => peer.zone = value,
                "service.name" => fill(&mut peer.canonical_name, &mut peer.app, value),
                "service.version" => fill(&mut peer.canonical_revision, &mut peer.version, value),
                "app.name" => fill(&mut peer.app, &mut peer.canonical_name, value),
                "app.version" => fill(&mut peer.version, &mut peer.canonical_revision, value),
                "k8s.deployment.name" | "k8s.pod.name" | "k8s.cronjob.name" | "k8s.job.name" => {
                    peer.workload = value;
                    peer.kind = key.split('.').nth(1).map(Kind::named).unwrap_or_default();
                }
                _ => {}
            }
        }
        peer.numbered()
    }

    fn take_labels(&mut self, value: &MetadataValue, wanted: &[Box<str>]) {
        let MetadataValue::Struct(labels) = value else { return };
        let of = |name: &str| {
            labels.iter().find(|(key, _)| **key == *name).map(|(_, value)| text(value)).unwrap_or_default()
        };
        let first = |names: [&str; 2]| {
            let one = of(names[0]);
            if one.is_empty() { of(names[1]) } else { one }
        };
        self.canonical_name = of("service.istio.io/canonical-name");
        self.canonical_revision = of("service.istio.io/canonical-revision");
        self.app = first(["app.kubernetes.io/name", "app"]);
        self.version = first(["app.kubernetes.io/version", "version"]);
        let more = labels.iter().filter(|(key, _)| wanted.iter().any(|name| **name == **key));
        self.labels = more.map(|(key, value)| (cut(key), text(value))).take(MOST_LABELS).collect();
    }

    /// As the metadata of a node: what [`Peer::of_metadata`] reads.
    pub fn to_metadata(&self) -> MetadataValue {
        let owner = self
            .kind
            .name()
            .map(|kind| {
                let (namespace, workload) = (&self.namespace, &self.workload);
                format!("kubernetes://apis/apps/v1/namespaces/{namespace}/{kind}s/{workload}")
            })
            .unwrap_or_default();
        let labels = [
            ("app", &*self.app),
            ("service.istio.io/canonical-name", &self.canonical_name),
            ("service.istio.io/canonical-revision", &self.canonical_revision),
            ("version", &self.version),
        ];
        let more = self.labels.iter().map(|(key, value)| (&**key, &**value));
        let mut fields = pairs([
            ("AVAILABILITY_ZONE", &*self.zone),
            ("CLUSTER_ID", &self.cluster),
            ("IDENTITY", &self.identity),
            ("NAME", &self.instance),
            ("NAMESPACE", &self.namespace),
            ("OWNER", &owner),
            ("REGION", &self.region),
            ("WORKLOAD_NAME", &self.workload),
        ]);
        fields.push(("LABELS".into(), MetadataValue::Struct(pairs(labels.into_iter().chain(more)))));
        MetadataValue::Struct(fields)
    }

    /// Names and values as formats and expressions name them, those that there are.
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let kind = self.kind.name().unwrap_or_default();
        let fields: [(&str, &str); 12] = [
            ("type", kind),
            ("workload", &self.workload),
            ("name", &self.instance),
            ("cluster", &self.cluster),
            ("namespace", &self.namespace),
            ("service", &self.canonical_name),
            ("revision", &self.canonical_revision),
            ("app", &self.app),
            ("version", &self.version),
            ("identity", &self.identity),
            ("region", &self.region),
            ("availability_zone", &self.zone),
        ];
        fields.into_iter().filter(|(_, value)| !value.is_empty())
    }
}

/// Sets one text, and the other one unless it is known.
fn fill(own: &mut Box<str>, other: &mut Box<str>, value: Box<str>) {
    if other.is_empty() {
        other.clone_from(&value);
    }
    *own = value;
}

fn pairs<'k, 'v>(pairs: impl IntoIterator<Item = (&'k str, &'v str)>) -> Vec<(Arc<str>, MetadataValue)> {
    let there = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    there.map(|(key, value)| (key.into(), MetadataValue::String(value.into()))).collect()
}

impl StateObject for Peer {
    fn plain(&self) -> String {
        let fields = self.fields().map(|(name, value)| format!("{name}={value}"));
        let labels = self.labels.iter().map(|(name, value)| format!("labels[]{name}={value}"));
        fields.chain(labels).collect::<Vec<_>>().join(",")
    }

    fn typed(&self) -> MetadataValue {
        let mut fields = pairs(self.fields());
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(name, value)| (&**name, &**value));
            fields.push(("labels".into(), MetadataValue::Struct(pairs(labels))));
        }
        MetadataValue::Struct(fields)
    }

    fn field(&self, name: &str) -> Option<String> {
        self.fields().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }
}

#[cfg(test)]
mod tests;
