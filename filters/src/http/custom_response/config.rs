//! The configuration of the custom response filter; a route's own is the same message.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::HeaderValueOption;
use sampan_api::envoy::config::route::v3::RedirectAction;
use sampan_api::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use sampan_api::envoy::extensions::filters::http::custom_response::v3 as pb;
use sampan_api::envoy::extensions::http::custom_response::local_response_policy::v3 as local;
use sampan_api::envoy::extensions::http::custom_response::local_response_policy::v3::local_response_policy::ResponseCodeDetailsAction;
use sampan_api::envoy::extensions::http::custom_response::redirect_policy::v3 as pb_redirect;
use sampan_api::envoy::extensions::http::custom_response::redirect_policy::v3::redirect_policy::RedirectActionSpecifier;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_model::route::{Redirect, RedirectPath};

use super::redirect::{COUNTERS, RedirectPolicy, Target, Url};
use super::{CustomResponse, Details, LocalPolicy, Policies, Policy};
use crate::config::matcher::under;
use crate::config::{Compiled, ConfigError, FilterContext, data_source, payload, tree, value};
use crate::http::header_mutation::{self, Mutation};
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
    (
        REDIRECT,
        &[("*", YES), ("modify_request_headers_action", Support::Later("a policy that sets it is refused"))],
    ),
];

/// The longest body.
const LONGEST: usize = 1024 * 1024;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(CustomResponse { policies: Arc::new(policies(&payload(bytes)?, context)?) }))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(policies(&payload(bytes)?, context)?))
}

fn policies(proto: &pb::CustomResponse, context: &FilterContext<'_>) -> Compiled<Policies> {
    let Some(matcher) = &proto.custom_response_matcher else {
        return Ok(Policies(Tree { branches: Branches::None, otherwise: None }));
    };
    let mut policy = |any: &Any, path: &str| policy(any, path, context);
    let tree = tree::compile(matcher, "custom_response_matcher", tree::Asked::WithResponse, &mut policy);
    Ok(Policies(tree.map_err(|error| vec![error])?))
}

fn policy(any: &Any, path: &str, context: &FilterContext<'_>) -> Result<Policy, ConfigError> {
    match type_url::full_name(&any.type_url) {
        LOCAL => local(any, path).map(|policy| Policy::Local(Box::new(policy))),
        REDIRECT => redirect(any, path, context).map(|policy| Policy::Redirect(Arc::new(policy))),
        other => Err(ConfigError::new(path, "there is no response policy of this type").value(other)),
    }
}

fn local(any: &Any, path: &str) -> Result<LocalPolicy, ConfigError> {
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
    Ok(LocalPolicy {
        status: status.transpose()?,
        body: body.transpose()?.map(Into::into),
        content_type: format
            .filter(|format| !format.content_type.is_empty())
            .map(|format| format.content_type.as_str().into()),
        format: format.map(|format| value::template(format, &under(path, "body_format"))).transpose()?,
        headers: added(&proto.response_headers_to_add, &under(path, "response_headers_to_add"), false)?,
        details: match proto.response_code_details_action {
            None => Details::Cleared,
            Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(_)) => Details::Kept,
            Some(ResponseCodeDetailsAction::ResponseCodeDetails(text)) => Details::Set(text.into()),
        },
    })
}

fn redirect(any: &Any, path: &str, context: &FilterContext<'_>) -> Result<RedirectPolicy, ConfigError> {
    let proto: pb_redirect::RedirectPolicy = tree::decoded(any, path)?;
    if proto.modify_request_headers_action.is_some() {
        let error = ConfigError::new(under(path, "modify_request_headers_action"), "is not supported");
        return Err(error.hint("use request_headers_to_add"));
    }
    let target = match &proto.redirect_action_specifier {
        Some(RedirectActionSpecifier::Uri(uri)) if Url::parse(uri.as_bytes()).is_some() => {
            Target::Uri(uri.as_str().into())
        }
        Some(RedirectActionSpecifier::Uri(uri)) => {
            let error = ConfigError::new(under(path, "uri"), "is no absolute URL of HTTP").value(uri);
            return Err(error.hint("such as https://example.com/sorry"));
        }
        Some(RedirectActionSpecifier::RedirectAction(action)) => {
            Target::Action(self::action(action, &under(path, "redirect_action"))?)
        }
        None => return Err(ConfigError::new(path, "neither uri nor redirect_action is given")),
    };
    let status = proto.status_code.map(|wrapper| wrapper.value);
    let status = status.map(|status| match u16::try_from(status) {
        Ok(status) if (200..1000).contains(&status) => Ok(status),
        _ => {
            let error = ConfigError::new(under(path, "status_code"), "a status is between 200 and 999");
            Err(error.value(status))
        }
    });
    Ok(RedirectPolicy {
        target,
        status: status.transpose()?,
        response: added(&proto.response_headers_to_add, &under(path, "response_headers_to_add"), false)?,
        request: added(&proto.request_headers_to_add, &under(path, "request_headers_to_add"), true)?,
        counters: context.counters.counters(context.prefix, COUNTERS),
    })
}

/// Where a redirect leads. What Envoy does not support here is refused, as there.
fn action(proto: &RedirectAction, path: &str) -> Result<Redirect, ConfigError> {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let scheme = match &proto.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => some("https"),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => some(scheme),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let refused = |field: &str, reason: &str| Err(ConfigError::new(under(path, field), reason));
    let target = match &proto.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(target)) if target.contains('#') => {
            return refused("path_redirect", "a fragment is not supported for custom responses");
        }
        Some(PathRewriteSpecifier::PathRedirect(target)) if !target.is_empty() => {
            RedirectPath::Replace(target.as_str().into())
        }
        Some(PathRewriteSpecifier::PathRedirect(_)) | None => RedirectPath::Keep,
        Some(PathRewriteSpecifier::PrefixRewrite(_)) => {
            return refused("prefix_rewrite", "is not supported for custom responses");
        }
        Some(PathRewriteSpecifier::RegexRewrite(_)) => {
            return refused("regex_rewrite", "is not supported for custom responses");
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return refused("path_rewrite", "is not supported for custom responses");
        }
    };
    if proto.response_code() != RedirectResponseCode::MovedPermanently {
        return refused("response_code", "has no meaning here; set status_code of the policy");
    }
    if proto.host_redirect.is_empty() && matches!(target, RedirectPath::Keep) {
        return Err(ConfigError::new(
            path,
            "at least one of host_redirect and path_redirect needs to be given",
        ));
    }
    let Ok(port) = u16::try_from(proto.port_redirect) else {
        return refused("port_redirect", "a port is at most 65535");
    };
    Ok(Redirect {
        scheme,
        host: some(&proto.host_redirect),
        port: (port != 0).then_some(port),
        path: target,
        strip_query: proto.strip_query,
        ..Redirect::default()
    })
}

/// Fields to add, of a list at `path`.
fn added(protos: &[HeaderValueOption], path: &str, request: bool) -> Result<Vec<Mutation>, ConfigError> {
    let each = protos.iter().enumerate();
    each.map(|(index, option)| header_mutation::config::append(option, &format!("{path}[{index}]"), request))
        .collect()
}
