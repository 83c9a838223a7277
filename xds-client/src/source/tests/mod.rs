//! The drivers against scripted servers on real sockets, and against real files.

mod calls;
mod delta;
mod fake;
mod faults;
mod file;
mod rest;
mod sotw;

use std::time::Duration;

use fake::{ControlPlane, Dial};
use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster;
use sampan_api::envoy::config::core::v3::Node;
use sampan_api::envoy::service::discovery::v3 as pb;
use sampan_api::google::protobuf::Any;
use tokio::sync::mpsc;

use crate::{Content, Event, GrpcTarget, Names, Source, SourceId, StreamSettings, TypeUrl, Update, Variant};

const PATIENCE: Duration = Duration::from_secs(20);
const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

fn node() -> Node {
    Node { id: "sidecar~10.0.0.1~pod.ns~ns.svc".into(), cluster: "pod.ns".into(), ..Node::default() }
}

fn settings(targets: Vec<GrpcTarget>, variant: Variant) -> StreamSettings {
    StreamSettings {
        variant,
        set_node_on_first_message_only: true,
        backoff_base: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        seed: Some(1),
        ..StreamSettings::new(node(), targets)
    }
}

fn type_url(text: &str) -> TypeUrl {
    text.into()
}

fn these(names: &[&str]) -> Names {
    Names::These(names.iter().copied().map(str::to_owned).collect())
}

fn cluster(name: &str) -> Any {
    let body = Cluster { name: name.into(), ..Cluster::default() };
    Any { type_url: CDS.into(), value: body.encode_to_vec() }
}

/// An aggregated source at a control plane.
fn ads(plane: &ControlPlane, variant: Variant) -> (Source, mpsc::Receiver<Event>) {
    ads_with(settings(vec![plane.target()], variant))
}

fn ads_with(settings: StreamSettings) -> (Source, mpsc::Receiver<Event>) {
    let (events, receiver) = mpsc::channel(8);
    (Source::ads(SourceId::new("ads"), settings, events), receiver)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event").expect("the source lives")
}

/// The next update; connections may come and go before it.
async fn update(events: &mut mpsc::Receiver<Event>) -> Update {
    loop {
        match next(events).await {
            Event::Update(update) => return update,
            Event::Connected { .. } | Event::Disconnected { .. } => {}
            other => panic!("expected an update: {other:?}"),
        }
    }
}

/// The next failure to have a stream.
async fn disconnected(events: &mut mpsc::Receiver<Event>) -> String {
    loop {
        match next(events).await {
            Event::Disconnected { reason, next_try, .. } => {
                assert!(next_try <= Duration::from_millis(100), "{next_try:?}");
                return reason;
            }
            Event::Connected { .. } => {}
            other => panic!("expected the end of the stream: {other:?}"),
        }
    }
}

fn names(content: &Content) -> Vec<&str> {
    let (Content::Full(resources) | Content::Delta { resources, .. }) = content;
    resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn full(version: &str, nonce: &str, resources: Vec<Any>) -> pb::DiscoveryResponse {
    pb::DiscoveryResponse {
        version_info: version.into(),
        nonce: nonce.into(),
        type_url: CDS.into(),
        resources,
        ..pb::DiscoveryResponse::default()
    }
}

fn delta(nonce: &str, resources: &[(&str, &str)]) -> pb::DeltaDiscoveryResponse {
    let resources = resources.iter().map(|(name, version)| pb::Resource {
        name: (*name).into(),
        version: (*version).into(),
        resource: Some(cluster(name)),
        ..pb::Resource::default()
    });
    pb::DeltaDiscoveryResponse {
        nonce: nonce.into(),
        type_url: CDS.into(),
        resources: resources.collect(),
        ..pb::DeltaDiscoveryResponse::default()
    }
}
