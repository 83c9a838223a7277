//! Protobuf messages of the discovery service to and from what the state machines speak. Called by the drivers only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::core::v3::Node;
use sampan_api::envoy::service::discovery::v3 as pb;
use sampan_api::google::protobuf::Any;
use sampan_api::google::rpc::Status;

use crate::event::Resource;
use crate::kinds::Kind;
use crate::protocol::{Delta, DeltaRequest, Heartbeat, Machine, Response, Sotw, SotwRequest};

/// A state machine whose messages can be sent.
pub(crate) trait Wire: Machine {
    const IS_DELTA: bool;
    type RequestMessage: prost::Message + 'static;
    type ResponseMessage: prost::Message + Default + 'static;

    fn encode(request: Self::Request, node: &Node) -> Self::RequestMessage;

    /// The response, and who the control plane says it is.
    fn decode(message: Self::ResponseMessage) -> (Response, Option<String>);
}

impl Wire for Sotw {
    const IS_DELTA: bool = false;
    type RequestMessage = pb::DiscoveryRequest;
    type ResponseMessage = pb::DiscoveryResponse;

    fn encode(request: SotwRequest, node: &Node) -> pb::DiscoveryRequest {
        pb::DiscoveryRequest {
            version_info: request.version.to_string(),
            node: request.with_node.then(|| node.clone()),
            resource_names: request.names,
            resource_locators: Vec::new(),
            type_url: request.type_url.to_string(),
            response_nonce: request.nonce,
            error_detail: request.error.map(error_detail),
        }
    }

    fn decode(message: pb::DiscoveryResponse) -> (Response, Option<String>) {
        note_resource_errors(&message.resource_errors);
        let version: Arc<str> = message.version_info.into();
        let (mut resources, mut heartbeats) = (Vec::with_capacity(message.resources.len()), Vec::new());
        for any in message.resources {
            match open_any(any, &version) {
                Ok(resource) => resources.push(resource),
                Err(heartbeat) => heartbeats.push(heartbeat),
            }
        }
        let response = Response {
            type_url: message.type_url,
            version,
            nonce: message.nonce,
            resources,
            heartbeats,
            removed: Vec::new(),
        };
        (response, message.control_plane.map(|plane| plane.identifier))
    }
}

impl Wire for Delta {
    const IS_DELTA: bool = true;
    type RequestMessage = pb::DeltaDiscoveryRequest;
    type ResponseMessage = pb::DeltaDiscoveryResponse;

    fn encode(request: DeltaRequest, node: &Node) -> pb::DeltaDiscoveryRequest {
        let known = request.initial_versions.iter();
        pb::DeltaDiscoveryRequest {
            node: request.with_node.then(|| node.clone()),
            type_url: request.type_url.to_string(),
            resource_names_subscribe: request.subscribe,
            resource_names_unsubscribe: request.unsubscribe,
            resource_locators_subscribe: Vec::new(),
            resource_locators_unsubscribe: Vec::new(),
            initial_resource_versions: known.map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            response_nonce: request.nonce,
            error_detail: request.error.map(error_detail),
        }
    }

    fn decode(message: pb::DeltaDiscoveryResponse) -> (Response, Option<String>) {
        note_resource_errors(&message.resource_errors);
        let (mut resources, mut heartbeats) = (Vec::with_capacity(message.resources.len()), Vec::new());
        let mut last = Arc::<str>::default();
        for wrapper in message.resources {
            // Many resources come with one version; it is kept once.
            if *last != *wrapper.version {
                last = wrapper.version.as_str().into();
            }
            match open_wrapper(wrapper, &last) {
                Ok(resource) => resources.push(resource),
                Err(heartbeat) => heartbeats.push(heartbeat),
            }
        }
        let mut removed = message.removed_resources;
        removed.extend(message.removed_resource_names.into_iter().map(|name| name.name));
        let response = Response {
            type_url: message.type_url,
            version: message.system_version_info.into(),
            nonce: message.nonce,
            resources,
            heartbeats,
            removed,
        };
        (response, message.control_plane.map(|plane| plane.identifier))
    }
}

/// The status of a NACK, with the code that Envoy gives (internal).
fn error_detail(message: String) -> Status {
    Status { code: 13, message, details: Vec::new() }
}

/// The server may say why it has nothing for a name. The resource stays awaited; the log should tell why.
fn note_resource_errors(errors: &[pb::ResourceError]) {
    for error in errors.iter().take(16) {
        let name = error.resource_name.as_ref().map_or("", |name| name.name.as_str());
        let detail = error.error_detail.as_ref().map_or("", |status| status.message.as_str());
        tracing::warn!(name, detail, "the control plane has no such resource");
    }
}

/// A resource of a state-of-the-world response, wrapped or not.
fn open_any(any: Any, version: &Arc<str>) -> Result<Resource, Heartbeat> {
    if sampan_api::type_url::full_name(&any.type_url) == "envoy.service.discovery.v3.Resource"
        && let Ok(wrapper) = pb::Resource::decode(any.value.as_slice())
    {
        return open_wrapper(wrapper, version);
    }
    Ok(Resource {
        name: peek_name(&any).unwrap_or_default(),
        aliases: Vec::new(),
        version: Arc::clone(version),
        type_url: any.type_url,
        body: Bytes::from(any.value),
        ttl: None,
    })
}

fn open_wrapper(wrapper: pb::Resource, version: &Arc<str>) -> Result<Resource, Heartbeat> {
    let ttl = wrapper.ttl.map(|ttl| {
        let seconds = u64::try_from(ttl.seconds).unwrap_or_default();
        Duration::new(seconds, u32::try_from(ttl.nanos).unwrap_or_default().min(999_999_999))
    });
    let mut name = wrapper.name;
    if name.is_empty() {
        name = wrapper.resource_name.map(|name| name.name).unwrap_or_default();
    }
    let Some(any) = wrapper.resource else { return Err(Heartbeat { name, ttl }) };
    if name.is_empty() {
        name = peek_name(&any).unwrap_or_default();
    }
    Ok(Resource {
        name,
        aliases: wrapper.aliases,
        version: Arc::clone(version),
        type_url: any.type_url,
        body: Bytes::from(any.value),
        ttl,
    })
}

/// The name of a resource that came without a wrapper: in all types of [`crate::kinds::KINDS`] it is the string with field number 1.
fn peek_name(any: &Any) -> Option<String> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    Kind::of(&any.type_url)?;
    let mut rest = any.value.as_slice();
    let mut name = None;
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        if (number, wire_type) != (1, WireType::LengthDelimited) {
            skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let (text, after) = rest.split_at_checked(length)?;
        name = Some(std::str::from_utf8(text).ok()?);
        rest = after;
    }
    name.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use sampan_api::envoy::config::cluster::v3::Cluster;
    use sampan_api::google::protobuf;

    use super::*;

    fn cluster(name: &str) -> Any {
        let body = Cluster { name: name.into(), alt_stat_name: "other".into(), ..Cluster::default() };
        Any {
            type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
            value: body.encode_to_vec(),
        }
    }

    #[test]
    fn names_are_found_in_wrapped_and_bare_resources_and_garbage_has_none() {
        let version: Arc<str> = "v".into();
        assert_eq!(open_any(cluster("a"), &version).unwrap().name, "a");
        let ttl = Some(protobuf::Duration { seconds: 2, nanos: 5 });
        let wrapper =
            pb::Resource { name: "b".into(), resource: Some(cluster("a")), ttl, ..pb::Resource::default() };
        let wrap = |wrapper: &pb::Resource| Any {
            type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".into(),
            value: wrapper.encode_to_vec(),
        };
        let resource = open_any(wrap(&wrapper), &version).unwrap();
        assert_eq!((resource.name.as_str(), resource.ttl), ("b", Some(Duration::new(2, 5))));
        assert!(resource.type_url.ends_with("Cluster"));
        let heartbeat = open_any(wrap(&pb::Resource { resource: None, ..wrapper }), &version).unwrap_err();
        assert_eq!(heartbeat, Heartbeat { name: "b".into(), ttl: Some(Duration::new(2, 5)) });
        for value in [vec![0xff; 20], vec![0x0a, 200], vec![0x0a, 2, 0xff, 0xfe]] {
            assert_eq!(open_any(Any { value, ..cluster("a") }, &version).unwrap().name, "");
        }
    }
}
