//! The configuration of the custom response filter; a route's own is the same message.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::custom_response::v3 as pb;
use sampan_api::envoy::extensions::http::custom_response::local_response_policy::v3 as local;
use sampan_api::envoy::extensions::http::custom_response::local_response_policy::v3::local_response_policy::ResponseCodeDetailsAction;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{CustomResponse, Details, Policies, Policy};
use crate::config::matcher::under;
use crate::config::{Compiled, ConfigError, FilterContext, data_source, payload, tree, value};
use crate::http::header_mutation;
use crate::tree::{Branches, Tree};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.custom_response.v3.CustomResponse";
const LOCAL: &str = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy";
const REDIRECT: &str = "envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("custom_response_matcher", YES)]),
    (LOCAL, &[("*", YES), ("body_format", Support::Later("json_format is refused"))]),
    (REDIRECT, &[("*", Support::Later("a filter that has such a policy is refused"))]),
];

/// The longest body.
const LONGEST: usize = 1024 * 1024;

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(CustomResponse { policies: Arc::new(policies(&payload(bytes)?)?) }))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(policies(&payload(bytes)?)?))
}

fn policies(proto: &pb::CustomResponse) -> Compiled<Policies> {
    let Some(matcher) = &proto.custom_response_matcher else {
        return Ok(Policies(Tree { branches: Branches::None, otherwise: None }));
    };
    let tree = tree::compile(matcher, "custom_response_matcher", tree::Asked::WithResponse, &mut policy);
    Ok(Policies(tree.map_err(|error| vec![error])?))
}

fn policy(any: &Any, path: &str) -> Result<Policy, ConfigError> {
    let message = type_url::full_name(&any.type_url);
    if message == REDIRECT {
        let error = ConfigError::new(path, "redirect policies are not supported yet").value(message);
        return Err(error.hint("use a local_response_policy"));
    }
    if message != LOCAL {
        return Err(ConfigError::new(path, "there is no response policy of this type").value(message));
    }
    let proto: local::LocalResponsePolicy = tree::decoded(any, path)?;
    let status = proto.status_code.map(|wrapper| wrapper.value);
    let status = status.map(|status| match u16::try_from(status) {
        Ok(status) if (200..600).contains(&status) => Ok(status),
        _ => {
            let error = ConfigError::new(under(path, "status_code"), "a status is between 200 and 599");
            Err(error.value(status))
        }
    });
    let body = proto.body.as_ref().map(|source| data_source(source, LONGEST, &under(path, "body")));
    let format = proto.body_format.as_ref();
    let each = proto.response_headers_to_add.iter().enumerate();
    let headers = each.map(|(index, option)| {
        header_mutation::config::append(option, &format!("{path}.response_headers_to_add[{index}]"), false)
    });
    Ok(Policy {
        status: status.transpose()?,
        body: body.transpose()?.map(Into::into),
        content_type: format
            .filter(|format| !format.content_type.is_empty())
            .map(|format| format.content_type.as_str().into()),
        format: format.map(|format| value::template(format, &under(path, "body_format"))).transpose()?,
        headers: headers.collect::<Result<_, _>>()?,
        details: match proto.response_code_details_action {
            None => Details::Cleared,
            Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(_)) => Details::Kept,
            Some(ResponseCodeDetailsAction::ResponseCodeDetails(text)) => Details::Set(text.into()),
        },
    })
}
