//! `RedirectAction` and `DirectResponseAction`.

use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use sampan_filters::config::data_source;
use sampan_model::route::{DirectResponse, PathRewrite, Redirect, RedirectPath};

use super::super::{Scope, headers, network};

/// Compiles a redirect.
pub fn compile(proto: &pb::RedirectAction, at: &Scope<'_>) -> Option<Redirect> {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let scheme = match &proto.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => some("https"),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => some(scheme),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let port = match u16::try_from(proto.port_redirect) {
        Ok(port) => (port != 0).then_some(port),
        Err(_) => {
            at.field("port_redirect").reject_value(proto.port_redirect, "a port is at most 65535", "")?
        }
    };
    let path = path(proto, at)?;
    let status = match proto.response_code() {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    Some(Redirect {
        scheme,
        host: some(&proto.host_redirect),
        port,
        path,
        status,
        strip_query: proto.strip_query,
    })
}

fn path(proto: &pb::RedirectAction, at: &Scope<'_>) -> Option<RedirectPath> {
    use PathRewriteSpecifier as Is;
    Some(match &proto.path_rewrite_specifier {
        Some(Is::PathRedirect(path)) if !path.is_empty() => RedirectPath::Replace(path.as_str().into()),
        Some(Is::PrefixRewrite(prefix)) => RedirectPath::Rewrite(PathRewrite::Prefix(prefix.as_str().into())),
        Some(Is::RegexRewrite(rewrite)) => {
            let rewrite = headers::regex_rewrite(rewrite, &at.field("regex_rewrite"))?;
            RedirectPath::Rewrite(PathRewrite::Regex(rewrite))
        }
        Some(Is::PathRewrite(path)) => {
            let path = headers::literal(path, &at.field("path_rewrite"))?;
            RedirectPath::Rewrite(PathRewrite::Whole(path))
        }
        Some(Is::PathRedirect(_)) | None => RedirectPath::Keep,
    })
}

/// Compiles a direct response, whose body is read now.
pub fn direct(proto: &pb::DirectResponseAction, limit: usize, at: &Scope<'_>) -> Option<DirectResponse> {
    if proto.body_format.is_some() {
        at.field("body_format").reject::<()>("formatting the body is not supported yet; use body");
    }
    let status = match u16::try_from(proto.status) {
        Ok(status) if (200..600).contains(&status) => Some(status),
        _ => at.field("status").reject_value(proto.status, "a status is between 200 and 599", ""),
    };
    let body = match &proto.body {
        Some(source) => network::tell(data_source(source, limit, "body").map_err(|error| vec![error]), at),
        None => Some(Vec::new()),
    };
    Some(DirectResponse { status: status?, body: body?.into() })
}
