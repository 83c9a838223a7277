//! `FilterStateValue`: keys, formats, and which kinds of objects there are.

use sampan_api::envoy::extensions::filters::common::set_filter_state::v3::FilterStateValue;
use sampan_api::envoy::extensions::filters::common::set_filter_state::v3::filter_state_value::{Key, Value};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::info::{ORIGINAL_DESTINATION, TCP_CLUSTER, UPSTREAM_SERVER_NAME};

use super::matcher::under;
use super::{ConfigError, value};
use crate::state::StateValue;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue",
    &[
        ("object_key", YES),
        ("factory_key", YES),
        ("format_string", YES),
        ("read_only", Support::Ignored("nothing else sets the key")),
        ("shared_with_upstream", Support::Ignored("objects do not reach upstream connections")),
        ("skip_if_empty", YES),
    ],
)];

/// Kinds of objects that are no more than a text. What Envoy has besides changes how requests are forwarded.
const TEXTS: &[&str] = &["envoy.string", "envoy.hashable_string"];

/// Those of requests.
pub const OF_REQUESTS: &[&str] = &[TEXTS[0], TEXTS[1], ORIGINAL_DESTINATION];
/// Those of connections.
pub const OF_CONNECTIONS: &[&str] =
    &[TEXTS[0], TEXTS[1], TCP_CLUSTER, UPSTREAM_SERVER_NAME, ORIGINAL_DESTINATION];

/// The values of a list at `path`.
///
/// `kinds` are those that have a meaning there.
pub fn values(
    protos: &[FilterStateValue],
    kinds: &[&str],
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<StateValue> {
    let each = protos.iter().enumerate();
    each.filter_map(|(index, proto)| {
        one(proto, kinds, &format!("{path}[{index}]")).map_err(|error| errors.push(error)).ok()
    })
    .collect()
}

fn one(proto: &FilterStateValue, kinds: &[&str], path: &str) -> Result<StateValue, ConfigError> {
    let key = match &proto.key {
        Some(Key::ObjectKey(key)) if !key.is_empty() => key,
        _ => return Err(ConfigError::new(under(path, "object_key"), "is required")),
    };
    let kind = if proto.factory_key.is_empty() { key } else { &proto.factory_key };
    if !kinds.contains(&kind.as_str()) {
        let field = if proto.factory_key.is_empty() { "object_key" } else { "factory_key" };
        let error =
            ConfigError::new(under(path, field), "there is no object factory of this name").value(kind);
        return Err(error.hint(format!("set factory_key to one of {}", kinds.join(", "))));
    }
    match &proto.value {
        Some(Value::FormatString(format)) => Ok(StateValue {
            key: key.as_str().into(),
            value: value::template(format, &under(path, "format_string"))?,
            skip_if_empty: proto.skip_if_empty,
            hashable: kind == TEXTS[1],
        }),
        None => Err(ConfigError::new(under(path, "format_string"), "is required")),
    }
}
