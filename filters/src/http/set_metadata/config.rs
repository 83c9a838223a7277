//! The configuration of the filter that sets metadata.

#![expect(deprecated, reason = "1.40 accepts the older spelling of one entry")]

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::set_metadata::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::{COUNTERS, Entry, SetMetadata};
use crate::config::{Compiled, ConfigError, FilterContext, payload, value};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.set_metadata.v3.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("metadata_namespace", YES), ("value", YES), ("metadata", YES)]),
    (
        "envoy.extensions.filters.http.set_metadata.v3.Metadata",
        &[
            ("metadata_namespace", YES),
            ("allow_overwrite", YES),
            ("value", YES),
            ("typed_value", Support::Later("a filter that sets it is refused")),
        ],
    ),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Config = payload(bytes)?;
    let mut errors = Vec::new();
    let mut entries = Vec::new();
    if let Some(tree) = &proto.value {
        let namespace = proto.metadata_namespace.as_str().into();
        entries.push(Entry { namespace, overwrite: true, value: value::structure(tree) });
    }
    for (index, proto) in proto.metadata.iter().enumerate() {
        let at = |field: &str| format!("metadata[{index}].{field}");
        if proto.metadata_namespace.is_empty() {
            errors.push(ConfigError::new(at("metadata_namespace"), "is required"));
        }
        if proto.typed_value.is_some() {
            errors.push(ConfigError::new(at("typed_value"), "is not supported yet"));
        }
        if let Some(tree) = &proto.value {
            let namespace = proto.metadata_namespace.as_str().into();
            let overwrite = proto.allow_overwrite;
            entries.push(Entry { namespace, overwrite, value: value::structure(tree) });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let counters = context.counters.counters(&format!("{}set_metadata.", context.prefix), COUNTERS);
    Ok(Arc::new(SetMetadata { entries: entries.into(), counters }))
}
