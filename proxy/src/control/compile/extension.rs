//! Typed extension configuration: what a `google.protobuf.Any` says it is.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::transport_socket::ConfigType;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};

use super::{Context, Scope, source};
use crate::http::config::{DiscoveredFilter, FilterSource};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.core.v3.ExtensionConfigSource",
    &[
        ("config_source", YES),
        ("default_config", YES),
        ("apply_default_config_without_warming", YES),
        ("type_urls", YES),
    ],
)];

/// Whether the payload is a message of this full name.
pub fn is(any: &Any, full_name: &str) -> bool {
    type_url::full_name(&any.type_url) == full_name
}

/// The configuration of a transport socket.
pub fn transport_socket(socket: &core::TransportSocket) -> Option<&Any> {
    socket.config_type.as_ref().map(|ConfigType::TypedConfig(any)| any)
}

/// A filter whose configuration is to be discovered (`config_discovery`). `compile` makes a factory of a configuration.
pub fn discovered<F: ?Sized>(
    name: &str,
    proto: &core::ExtensionConfigSource,
    context: &Context,
    at: &Scope<'_>,
    compile: impl Fn(&Any, &Scope<'_>) -> Option<Arc<F>>,
) -> Option<FilterSource<F>> {
    let source = source::compile(proto.config_source.as_ref(), &at.field("config_source"))?;
    let types: Arc<[Box<str>]> =
        proto.type_urls.iter().map(|url| Box::from(type_url::full_name(url))).collect();
    let default = match &proto.default_config {
        None if proto.apply_default_config_without_warming => {
            return at.field("apply_default_config_without_warming").reject(format!(
                "Error: filter config {name} applied without warming but has no default config."
            ));
        }
        None => None,
        Some(any) => {
            let at = at.field("default_config");
            if !types.iter().any(|allowed| is(any, allowed)) {
                return at.reject_value(
                    &any.type_url,
                    "filter config has another type than the filter allows",
                    format!("allowed by its type_urls: {}", types.join(", ")),
                );
            }
            Some(compile(any, &at)?)
        }
    };
    Some(FilterSource::Discovered(Box::new(DiscoveredFilter {
        reference: context.extensions.reference(source, name),
        default,
        without_warming: proto.apply_default_config_without_warming,
        types,
    })))
}

/// What to call an extension in a message: its type, or its name where it has none.
pub fn shown(extension: &core::TypedExtensionConfig) -> &str {
    match &extension.typed_config {
        Some(any) if !any.type_url.is_empty() => &any.type_url,
        _ => &extension.name,
    }
}
