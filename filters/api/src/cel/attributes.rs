//! Envoy's attributes (`intro/arch_overview/advanced/attributes` of its manual), each worked out where an expression names it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use cel::{Context, Value};

use super::CelError;
use super::values::{bytes_text, duration, json, map, number, shared, some_text, text, text_key};
use crate::format::{FormatContext, response_grpc_status};
use crate::head::RequestHead;
use crate::headers::Headers;
use crate::info::{Address, MetadataOf, StateObject, StreamInfo, TlsInfo};
use crate::known::Known;
use crate::node::NodeFacts;

/// What an expression needs: a field of a root, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Need {
    root: &'static Root,
    field: Option<&'static str>,
}

/// The names that an expression may begin with.
#[derive(PartialEq, Eq, Debug)]
struct Root {
    name: &'static str,
    /// The fields that are known; none where the root is a value itself.
    fields: &'static [&'static str],
    /// Fields that Envoy has besides.
    missing: &'static [&'static str],
}

static ROOTS: [Root; 12] = [
    Root {
        name: "request",
        fields: &[
            "path",
            "url_path",
            "host",
            "scheme",
            "method",
            "headers",
            "referer",
            "useragent",
            "time",
            "id",
            "protocol",
            "duration",
            "size",
            "total_size",
            "query",
        ],
        missing: &[],
    },
    Root {
        name: "response",
        fields: &[
            "code",
            "code_details",
            "flags",
            "grpc_status",
            "headers",
            "trailers",
            "size",
            "total_size",
            "backend_latency",
        ],
        missing: &[],
    },
    Root { name: "source", fields: &["address", "port"], missing: &[] },
    Root { name: "destination", fields: &["address", "port"], missing: &[] },
    Root {
        name: "connection",
        fields: &[
            "id",
            "mtls",
            "requested_server_name",
            "tls_version",
            "subject_local_certificate",
            "subject_peer_certificate",
            "dns_san_local_certificate",
            "dns_san_peer_certificate",
            "uri_san_local_certificate",
            "uri_san_peer_certificate",
            "sha256_peer_certificate_digest",
            "termination_details",
            "transport_failure_reason",
        ],
        missing: &[],
    },
    Root {
        name: "upstream",
        fields: &[
            "address",
            "port",
            "local_address",
            "transport_failure_reason",
            "request_attempt_count",
            "tls_version",
            "subject_local_certificate",
            "subject_peer_certificate",
            "dns_san_local_certificate",
            "dns_san_peer_certificate",
            "uri_san_local_certificate",
            "uri_san_peer_certificate",
            "sha256_peer_certificate_digest",
            "cx_pool_ready_duration",
            "locality",
        ],
        missing: &[],
    },
    Root { name: "metadata", fields: &["filter_metadata"], missing: &["typed_filter_metadata"] },
    Root { name: "filter_state", fields: &[], missing: &[] },
    Root { name: "upstream_filter_state", fields: &[], missing: &[] },
    // What Istio's filters know of the other side.
    Root { name: "downstream_peer", fields: &[], missing: &[] },
    Root { name: "upstream_peer", fields: &[], missing: &[] },
    Root {
        name: "xds",
        fields: &[
            "cluster_name",
            "route_name",
            "virtual_host_name",
            "filter_chain_name",
            "cluster_metadata",
            "route_metadata",
            "upstream_host_metadata",
            "virtual_host_metadata",
            "listener_metadata",
            "listener_direction",
            "node",
        ],
        missing: &["upstream_host_locality_metadata"],
    },
];

/// A root that Envoy has besides.
const MISSING: &str = "plugin_name";

/// Notes that an expression names `root`, or `root.field`. A name that nobody knows is left to the evaluation, which fails, as in Envoy.
pub(super) fn note(needs: &mut Vec<Need>, root: &str, field: Option<&str>) -> Result<(), CelError> {
    let unknown = |name: String| CelError::new(format!("the attribute {name} is not supported"));
    if root == MISSING {
        return Err(unknown(root.to_owned()));
    }
    let Some(found) = ROOTS.iter().find(|known| known.name == root) else { return Ok(()) };
    let known = field.and_then(|field| found.fields.iter().find(|known| **known == field).copied());
    if let (Some(field), None) = (field, known)
        && found.missing.contains(&field)
    {
        return Err(unknown(format!("{root}.{field}")));
    }
    if field.is_some() && known.is_none() && !found.fields.is_empty() {
        return Ok(());
    }
    let need = Need { root: found, field: known };
    if !needs.contains(&need) {
        needs.push(need);
    }
    Ok(())
}

/// Whether there is such a name, and such a field of it.
pub(super) fn knows(root: &str, field: Option<&str>) -> bool {
    let known = ROOTS.iter().find(|known| known.name == root);
    known.is_some_and(|known| {
        known.fields.is_empty() || field.is_none_or(|field| known.fields.contains(&field))
    })
}

impl Need {
    /// Makes the value a variable: a field by its full name, so that the rest of its root is not worked out.
    pub(super) fn bind(self, context: &FormatContext<'_>, variables: &mut Context<'_, '_>) {
        let root = self.root;
        match self.field {
            Some(field) => {
                if let Some(value) = value(root.name, field, context) {
                    variables.add_variable_from_value(format!("{}.{field}", root.name), value);
                }
            }
            None if root.fields.is_empty() => {
                // Its keys are those of the expression, but these are not known here.
                let value = match root.name {
                    "filter_state" => {
                        let connection = context.info.connection.state.borrow();
                        Some(states(connection.iter().chain(context.info.filter_state.iter())))
                    }
                    "upstream_filter_state" => {
                        context.info.upstream.state.as_ref().map(|state| states(state.borrow().iter()))
                    }
                    "upstream_peer" => {
                        context.info.upstream_state(root.name).map(|object| json(&object.typed()))
                    }
                    peer => context.info.state(peer).map(|object| json(&object.typed())),
                };
                if let Some(value) = value {
                    variables.add_variable_from_value(root.name, value);
                }
            }
            None => {
                let fields = root
                    .fields
                    .iter()
                    .filter_map(|field| Some((text_key(field), value(root.name, field, context)?)));
                variables.add_variable_from_value(root.name, map(fields));
            }
        }
    }
}

fn value(root: &str, field: &str, context: &FormatContext<'_>) -> Option<Value> {
    let info = context.info;
    match root {
        "request" => context.request.and_then(|head| request(field, head, context)),
        "response" => response(field, context),
        "source" => endpoint(field, info.remote()),
        "destination" => endpoint(field, &info.connection.local),
        "connection" => connection(field, info),
        "upstream" => upstream(field, info),
        "metadata" => Some(metadata(info)),
        "xds" => match field {
            "cluster_name" => shared(info.upstream.cluster.as_deref()),
            "route_name" => shared(info.route_name()),
            "virtual_host_name" => shared(info.route.as_ref().map(|route| &*route.host.name)),
            "cluster_metadata" => configured(info, MetadataOf::Cluster),
            "route_metadata" => configured(info, MetadataOf::Route),
            "upstream_host_metadata" => configured(info, MetadataOf::Host),
            "virtual_host_metadata" => configured(info, MetadataOf::VirtualHost),
            "listener_metadata" => configured(info, MetadataOf::Listener),
            "listener_direction" => Some(number(info.connection.listener.direction as u64)),
            "node" => Some(node(&info.connection.listener.node)),
            _ => Some(text(info.connection.chain_name())),
        },
        _ => None,
    }
}

fn request(field: &str, head: &RequestHead, context: &FormatContext<'_>) -> Option<Value> {
    let info = context.info;
    let (path, query) = match head.path().iter().position(|byte| *byte == b'?') {
        Some(at) => (&head.path()[..at], &head.path()[at + 1..]),
        None => (head.path(), &b""[..]),
    };
    match field {
        "path" => Some(bytes_text(head.path())),
        "url_path" => Some(bytes_text(path)),
        "query" => Some(bytes_text(query)),
        "host" => Some(bytes_text(head.authority())),
        "scheme" => Some(bytes_text(head.scheme())),
        "method" => Some(bytes_text(head.method())),
        "headers" => Some(request_headers(head)),
        "referer" => head.headers.value("referer").map(bytes_text),
        "useragent" => head.headers.known(Known::UserAgent).map(bytes_text),
        "id" => head.headers.known(Known::XRequestId).map(bytes_text),
        "protocol" => info.protocol.map(|protocol| text(protocol.name())),
        "time" => {
            Some(Value::Timestamp(chrono::DateTime::<chrono::Utc>::from(info.start_time).fixed_offset()))
        }
        "duration" => info.end.map(|_| duration(info.duration(context.now))),
        "size" => Some(number(info.bytes.received)),
        "total_size" => Some(number(info.bytes.received + info.bytes.request_headers)),
        _ => None,
    }
}

fn response(field: &str, context: &FormatContext<'_>) -> Option<Value> {
    let info = context.info;
    match field {
        "code" => (info.response_code > 0).then(|| number(info.response_code.into())),
        "code_details" => some_text(&info.details),
        "flags" => Some(number(info.flags.iter().fold(0, |bits, flag| bits | 1 << flag as u64))),
        "grpc_status" => response_grpc_status(context).map(|status| number(status.into())),
        "headers" => context.response.map(|head| headers(&head.headers, [])),
        "trailers" => context.trailers.map(|trailers| headers(trailers, [])),
        "size" => Some(number(info.bytes.sent)),
        "total_size" => {
            Some(number(info.bytes.sent + info.bytes.response_headers + info.bytes.response_trailers))
        }
        _ => {
            let (sent, received) = (info.upstream.request_sent.0, info.upstream.response_received.1);
            received.zip(sent).map(|(end, start)| duration(end.saturating_duration_since(start)))
        }
    }
}

fn endpoint(field: &str, address: &Address) -> Option<Value> {
    match field {
        "address" => Some(text(&address.to_string())),
        _ => address.socket().map(|address| number(address.port().into())),
    }
}

fn connection(field: &str, info: &StreamInfo) -> Option<Value> {
    let connection = &info.connection;
    match field {
        "id" => Some(Value::UInt(connection.id)),
        "mtls" => Some(Value::Bool(connection.tls.as_deref().is_some_and(|tls| !tls.peer.is_empty()))),
        "requested_server_name" => {
            Some(text(connection.requested_server_name.as_deref().unwrap_or_default()))
        }
        "termination_details" => some_text(&info.termination_details),
        "transport_failure_reason" => some_text(&connection.transport_failure),
        field => connection.tls.as_deref().and_then(|session| tls(field, session)),
    }
}

fn upstream(field: &str, info: &StreamInfo) -> Option<Value> {
    let upstream = &info.upstream;
    match field {
        "address" | "port" => upstream.address.as_ref().and_then(|address| endpoint(field, address)),
        "local_address" => upstream.local.as_ref().map(|address| text(&address.to_string())),
        "transport_failure_reason" => Some(text(upstream.transport_failure.as_deref().unwrap_or_default())),
        "request_attempt_count" => Some(number(upstream.attempts.into())),
        "cx_pool_ready_duration" => {
            let ready = upstream.pool_ready?;
            Some(duration(ready.saturating_duration_since(info.start)))
        }
        "locality" => {
            let place = &upstream.host.as_ref()?.locality;
            Some(locality(&place.region, &place.zone, &place.sub_zone))
        }
        field => upstream.tls.as_deref().and_then(|session| tls(field, session)),
    }
}

/// In the shape of `envoy.config.core.v3.Locality`.
fn locality(region: &str, zone: &str, sub_zone: &str) -> Value {
    let fields = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    map(fields.into_iter().map(|(key, value)| (text_key(key), text(value))))
}

/// In the shape of `envoy.config.core.v3.Node`.
fn node(node: &NodeFacts) -> Value {
    let fields = [
        ("id", text(&node.id)),
        ("cluster", text(&node.cluster)),
        ("metadata", json(&node.metadata)),
        ("locality", locality(&node.region, &node.zone, &node.sub_zone)),
    ];
    map(fields.into_iter().map(|(key, value)| (text_key(key), value)))
}

fn tls(field: &str, session: &TlsInfo) -> Option<Value> {
    let (local, peer) = (session.local.as_deref(), session.peer());
    let first = |names: &[String]| names.first().map(|name| text(name));
    match field {
        "tls_version" => Some(text(session.version)),
        "subject_local_certificate" => local.map(|certificate| text(&certificate.subject)),
        "subject_peer_certificate" => peer.map(|certificate| text(&certificate.subject)),
        "dns_san_local_certificate" => local.and_then(|certificate| first(&certificate.dns_sans)),
        "dns_san_peer_certificate" => peer.and_then(|certificate| first(&certificate.dns_sans)),
        "uri_san_local_certificate" => local.and_then(|certificate| first(&certificate.uri_sans)),
        "uri_san_peer_certificate" => peer.and_then(|certificate| first(&certificate.uri_sans)),
        "sha256_peer_certificate_digest" => peer.map(|certificate| text(&certificate.sha256)),
        _ => None,
    }
}

/// All fields, pseudo-headers included; several values of a field are joined.
fn request_headers(head: &RequestHead) -> Value {
    let pseudo = [
        (":authority", head.authority()),
        (":path", head.path()),
        (":method", head.method()),
        (":scheme", head.scheme()),
    ];
    headers(&head.headers, pseudo)
}

fn headers<'h>(headers: &'h Headers, pseudo: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Value {
    let mut joined: HashMap<String, Vec<u8>> =
        pseudo.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    for (name, value) in headers.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        joined
            .entry(name)
            .and_modify(|all| {
                all.push(b',');
                all.extend_from_slice(value);
            })
            .or_insert_with(|| value.to_vec());
    }
    map(joined.into_iter().map(|(name, value)| (text_key(&name), bytes_text(&value))))
}

fn metadata(info: &StreamInfo) -> Value {
    map(info.metadata.iter().map(|(name, space)| (text_key(name), json(space))))
}

/// The metadata that the configuration gives something, in the shape of `envoy.config.core.v3.Metadata`.
fn configured(info: &StreamInfo, of: MetadataOf) -> Option<Value> {
    let all = info.all_metadata_of(of)?;
    Some(map([(text_key("filter_metadata"), json(all))].into_iter()))
}

/// Objects by their keys, as Envoy serialises them.
fn states<'o>(all: impl Iterator<Item = (&'o str, &'o Rc<dyn StateObject>)>) -> Value {
    map(all.map(|(key, object)| (text_key(key), Value::Bytes(Arc::new(object.plain().into_bytes())))))
}
