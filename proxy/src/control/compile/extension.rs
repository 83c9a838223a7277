//! Typed extension configuration: what a `google.protobuf.Any` says it is.

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::transport_socket::ConfigType;
use sampan_api::google::protobuf::Any;
use sampan_api::type_url;

/// Whether the payload is a message of this full name.
pub fn is(any: &Any, full_name: &str) -> bool {
    type_url::full_name(&any.type_url) == full_name
}

/// The configuration of a transport socket.
pub fn transport_socket(socket: &core::TransportSocket) -> Option<&Any> {
    socket.config_type.as_ref().map(|ConfigType::TypedConfig(any)| any)
}

/// What to call an extension in a message: its type, or its name where it has none.
pub fn shown(extension: &core::TypedExtensionConfig) -> &str {
    match &extension.typed_config {
        Some(any) if !any.type_url.is_empty() => &any.type_url,
        _ => &extension.name,
    }
}
