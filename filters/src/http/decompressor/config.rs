//! The configuration of the decompressor filter.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::decompressor::v3 as pb;
use sampan_api::envoy::extensions::filters::http::decompressor::v3::decompressor::CommonDirectionConfig;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::{DIRECTION, Decompressor, Direction, library_counters};
use crate::config::{Compiled, FilterContext, compression, fraction, payload};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.decompressor.v3.Decompressor";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("*", YES)]),
    ("envoy.extensions.filters.http.decompressor.v3.Decompressor.CommonDirectionConfig", &[("*", YES)]),
    ("envoy.extensions.filters.http.decompressor.v3.Decompressor.RequestDirectionConfig", &[("*", YES)]),
    ("envoy.extensions.filters.http.decompressor.v3.Decompressor.ResponseDirectionConfig", &[("*", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Decompressor = payload(bytes)?;
    let decoding = compression::decoding(proto.decompressor_library.as_ref(), "decompressor_library")
        .map_err(|error| vec![error])?;
    let name = proto.decompressor_library.as_ref().map_or("", |library| &library.name);
    let prefix = format!("{}decompressor.{name}.{}.", context.prefix, decoding.stats_name());
    let direction = |common: Option<&CommonDirectionConfig>, part: &str| {
        let common = common.cloned().unwrap_or_default();
        Direction {
            enabled: fraction::switch(&common.enabled.unwrap_or_default(), true),
            ignores_no_transform: common.ignore_no_transform_header,
            counters: context.counters.counters(&format!("{prefix}{part}."), DIRECTION),
        }
    };
    let request = proto.request_direction_config.as_ref();
    let response = proto.response_direction_config.as_ref();
    Ok(Arc::new(Decompressor {
        request: direction(request.and_then(|config| config.common_config.as_ref()), "request"),
        response: direction(response.and_then(|config| config.common_config.as_ref()), "response"),
        advertises: request
            .and_then(|config| config.advertise_accept_encoding)
            .is_none_or(|wrapper| wrapper.value),
        trailers: ["compressed", "uncompressed"]
            .map(|what| format!("x-envoy-decompressor-{name}-{what}-bytes").into()),
        library: context
            .counters
            .counters(&format!("{prefix}decompressor_library."), library_counters(&decoding)),
        decoding,
    }))
}
