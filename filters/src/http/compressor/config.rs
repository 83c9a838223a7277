//! The configuration of the compressor filter, and what routes change of it.

#![expect(deprecated, reason = "1.40 accepts the older fields of the response direction")]

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::RuntimeFeatureFlag;
use sampan_api::envoy::extensions::filters::http::compressor::v3 as pb;
use sampan_api::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use sampan_api::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeSwitch;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Compressor, ContentTypes, DIRECTION, Direction, NEGOTIATION, PerRoute, Response};
use crate::config::{Compiled, ConfigError, FilterContext, compression, fraction, matcher, payload};

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.compressor.v3.Compressor";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("*", YES)]),
    ("envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig", &[("*", YES)]),
    ("envoy.extensions.filters.http.compressor.v3.Compressor.RequestDirectionConfig", &[("*", YES)]),
    ("envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig", &[("*", YES)]),
    (PER_ROUTE, &[("*", YES)]),
    ("envoy.extensions.filters.http.compressor.v3.CompressorOverrides", &[("*", YES)]),
    ("envoy.extensions.filters.http.compressor.v3.ResponseDirectionOverrides", &[("*", YES)]),
];

/// What counts where no shortest length is configured.
const SHORTEST: u64 = 30;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Compressor = payload(bytes)?;
    let coding = compression::coding(proto.compressor_library.as_ref(), "compressor_library")
        .map_err(|error| vec![error])?;
    let name = proto.compressor_library.as_ref().map_or("", |library| &library.name);
    let prefix = format!("{}compressor.{name}.{}.", context.prefix, coding.stats_name());
    let direction = |common: Option<&CommonDirectionConfig>, path: &str, part: &str| {
        let common = common.cloned().unwrap_or_default();
        direction(&common, path, context, &format!("{prefix}{part}"))
    };
    let request = proto.request_direction_config.as_ref();
    let common = request.and_then(|config| config.common_config.as_ref());
    let mut requests = direction(common, "request_direction_config.common_config", "request.")?;
    if request.is_none() {
        requests.enabled = None;
    }
    let newer = proto.response_direction_config.as_ref();
    let responses = match newer {
        Some(config) => {
            let path = "response_direction_config.common_config";
            direction(config.common_config.as_ref(), path, "response.")?
        }
        None => direction(Some(&older(&proto)), "", "")?,
    };
    let settings = newer.cloned().unwrap_or_else(|| ResponseDirectionConfig {
        disable_on_etag_header: proto.disable_on_etag_header,
        remove_accept_encoding_header: proto.remove_accept_encoding_header,
        ..ResponseDirectionConfig::default()
    });
    let response = Response {
        direction: responses,
        disable_on_etag: settings.disable_on_etag_header,
        weaken_etag: settings.weaken_etag_on_compress,
        remove_accept_encoding: settings.remove_accept_encoding_header,
        uncompressible: codes(&settings.uncompressible_response_codes)?,
        status_header: settings.status_header_enabled,
        negotiation: context.counters.counters(&prefix, NEGOTIATION),
    };
    Ok(Arc::new(Compressor { coding, choose_first: proto.choose_first, request: requests, response }))
}

/// Compiles what a route or virtual host changes.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::CompressorPerRoute = payload(bytes)?;
    let refused = |path, reason| Err(vec![ConfigError::new(path, reason)]);
    let found = match &proto.r#override {
        Some(Override::Disabled(true)) => PerRoute { enabled: Some(false), ..PerRoute::default() },
        Some(Override::Disabled(false)) => return refused("disabled", "must be true"),
        Some(Override::Overrides(overrides)) => {
            let response = overrides.response_direction_config.as_ref();
            let library = overrides.compressor_library.as_ref();
            let path = "overrides.compressor_library";
            let coding = library.map(|library| compression::coding(Some(library), path)).transpose();
            PerRoute {
                enabled: response.map(|_| true),
                remove_accept_encoding: response
                    .and_then(|config| config.remove_accept_encoding_header)
                    .map(|wrapper| wrapper.value),
                coding: coding.map_err(|error| vec![error])?,
            }
        }
        None => return refused("", "neither disabled nor overrides is given"),
    };
    Ok(Arc::new(found))
}

/// The older fields, in the form of the newer ones.
fn older(proto: &pb::Compressor) -> CommonDirectionConfig {
    CommonDirectionConfig {
        enabled: proto.runtime_enabled.clone(),
        min_content_length: proto.content_length,
        content_type: proto.content_type.clone(),
        content_type_matcher: Vec::new(),
    }
}

fn direction(
    proto: &CommonDirectionConfig,
    path: &str,
    context: &FilterContext<'_>,
    prefix: &str,
) -> Compiled<Direction> {
    let shortest = proto.min_content_length.map_or(0, |wrapper| u64::from(wrapper.value));
    Ok(Direction {
        enabled: Some(switch(proto.enabled.as_ref())),
        shortest: if shortest == 0 { SHORTEST } else { shortest },
        types: Arc::new(types(proto, path)?),
        counters: context.counters.counters(prefix, DIRECTION),
    })
}

fn switch(proto: Option<&RuntimeFeatureFlag>) -> RuntimeSwitch {
    fraction::switch(&proto.cloned().unwrap_or_default(), true)
}

fn types(proto: &CommonDirectionConfig, path: &str) -> Compiled<ContentTypes> {
    if !proto.content_type_matcher.is_empty() {
        let each = proto.content_type_matcher.iter().enumerate();
        let each = each.map(|(i, rule)| {
            matcher::string(rule, &matcher::under(path, &format!("content_type_matcher[{i}]")))
        });
        return each.collect::<Result<_, _>>().map(ContentTypes::Matched).map_err(|error| vec![error]);
    }
    if proto.content_type.is_empty() {
        return Ok(ContentTypes::Usual);
    }
    Ok(ContentTypes::Listed(proto.content_type.iter().map(|text| text.as_str().into()).collect()))
}

fn codes(proto: &[u32]) -> Compiled<Vec<u16>> {
    let mut found = Vec::new();
    for (index, code) in proto.iter().enumerate() {
        let at = format!("response_direction_config.uncompressible_response_codes[{index}]");
        match u16::try_from(*code) {
            Ok(code) if (200..600).contains(&code) && !found.contains(&code) => found.push(code),
            _ => {
                let error = ConfigError::new(at, "a code is between 200 and 599, and is told once");
                return Err(vec![error.value(code)]);
            }
        }
    }
    Ok(found)
}
