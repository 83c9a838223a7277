//! The headers that configuration and the router change, on the way up and on the way down.
//!
//! Called by [`super::attempt`] for forwarded requests and by [`super::reply`] for the proxy's own answers. What one level of
//! configuration does to a header block is in [`super::header_changes`]. The order of steps is Envoy's:
//!
//! ```text
//! finish_request    (x-envoy-expected-rq-timeout-ms by `timeouts`), attempt count, levels, host, path
//! route_response    x-envoy-upstream-service-time, cookies of hash policies, levels, attempt count
//! finish_response   date, server, x-request-id, via; hop-by-hop fields go
//! ```

use std::time::Duration;

use sampan_filters_api::{Headers, Known, RequestHead, ResponseHead};
use sampan_model::cluster::Host;
use sampan_model::route::HostRewrite;

use super::chain::Shared;
use super::config::{HttpConfig, ServerHeader};
use super::connection::HttpContext;
use super::forwarding::join;
use super::relay::Plan;
use super::route::WeightedPayload;
use super::target::Target;
use super::{date, header_changes, trace};

/// Makes the request what the upstream is to see. Retries change the attempt count and the host only.
pub fn finish_request(
    context: &HttpContext,
    plan: &Plan<'_>,
    weighted: Option<&WeightedPayload>,
    host: &Host,
    shared: &mut Shared<'_>,
) {
    let action = &plan.forward.action;
    let virtual_host = plan.hit.host.payload();
    let attempts = shared.info.upstream.attempts.max(1);
    if virtual_host.attempt_count {
        set_number(&mut shared.request.headers, Known::XEnvoyAttemptCount, u128::from(attempts));
    }
    let rewrite = HostOptions {
        append_forwarded: action.append_x_forwarded_host,
        keep_original: !context.config.suppress_envoy_headers,
    };
    if attempts == 1 {
        for asked in RETRY_WISHES {
            shared.request.headers.remove_known(*asked);
        }
        let levels = plan.routes.header_levels(weighted, &plan.hit.route.payload, virtual_host);
        header_changes::request(&levels, shared.request, shared.info);
        rewrite_head(plan, weighted, rewrite, shared.request);
    }
    let automatic = plan.forward.auto_host_rewrite || matches!(action.host_rewrite, HostRewrite::Auto);
    if automatic && !host.hostname.is_empty() {
        set_host(host.hostname.as_bytes(), rewrite, shared.request);
    }
}

/// What a client may ask of the router; it ends here.
const RETRY_WISHES: &[Known] = &[
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
];

/// What the router does to the head of a response that came from upstream. `took` is the time since the request was
/// complete; an answer before that has none.
pub(super) fn route_response(
    context: &HttpContext,
    plan: &Plan<'_>,
    target: &Target<'_>,
    took: Option<Duration>,
    shared: &mut Shared<'_>,
) {
    if !context.config.suppress_envoy_headers
        && let Some(took) = took
    {
        set_number(&mut shared.response.headers, Known::XEnvoyUpstreamServiceTime, took.as_millis());
    }
    for cookie in &target.cookies {
        shared.response.headers.append("set-cookie", cookie.as_str());
    }
    let virtual_host = plan.hit.host.payload();
    let levels = plan.routes.header_levels(target.weighted, &plan.hit.route.payload, virtual_host);
    header_changes::response(&levels, shared.request, shared.response, shared.info);
    if virtual_host.attempt_count_in_response {
        let attempts = shared.info.upstream.attempts.max(1);
        set_number(&mut shared.response.headers, Known::XEnvoyAttemptCount, u128::from(attempts));
    }
}

/// What the connection manager does to every response head, its own included.
pub fn finish_response(context: &HttpContext, shared: &mut Shared<'_>) {
    finish(&context.config, shared.request, shared.response);
    trace::respond(context, shared);
}

fn finish(config: &HttpConfig, request: &RequestHead, response: &mut ResponseHead) {
    let headers = &mut response.headers;
    if !headers.has(Known::Date) {
        date::with_now(|now| headers.append_known(Known::Date, now));
    }
    let named = match config.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !headers.has(Known::Server),
        ServerHeader::PassThrough => false,
    };
    if named {
        headers.set_known(Known::Server, config.server_name.as_bytes());
    }
    if response.status != 101 {
        headers.remove_known(Known::Upgrade);
    }
    if response.status == 204 {
        // RFC 9110 §8.6: not even a zero.
        headers.remove_known(Known::ContentLength);
    }
    for hop_by_hop in [Known::Connection, Known::TransferEncoding, Known::KeepAlive, Known::ProxyConnection] {
        headers.remove_known(hop_by_hop);
    }
    if (config.request_id.in_response || request.headers.has(Known::XEnvoyForceTrace))
        && let Some(id) = request.headers.known(Known::XRequestId)
    {
        headers.set_known(Known::XRequestId, id);
    }
    if !config.via.is_empty() {
        join(headers, Known::Via, b", ", config.via.as_bytes());
    }
}

fn set_number(headers: &mut Headers, known: Known, number: u128) {
    headers.set_known(known, itoa::Buffer::new().format(number));
}

/// What becomes of a host that is rewritten.
#[derive(Clone, Copy)]
struct HostOptions {
    /// `append_x_forwarded_host`
    append_forwarded: bool,
    /// It is kept in `x-envoy-original-host`.
    keep_original: bool,
}

/// Host and path as the route wants them; both are worked out from the original path.
fn rewrite_head(
    plan: &Plan<'_>,
    weighted: Option<&WeightedPayload>,
    options: HostOptions,
    request: &mut RequestHead,
) {
    let action = &plan.forward.action;
    let literal = weighted.and_then(|weighted| weighted.host_rewrite.as_deref());
    let host = match (literal, &action.host_rewrite) {
        (Some(host), _) => Some(host.as_bytes().to_vec()),
        (None, HostRewrite::None | HostRewrite::Auto) => None,
        (None, rewrite) => rewrite.apply(|name| request.field(name.as_bytes()), request.path(), ""),
    };
    if let Some(host) = host {
        let keep_original = options.keep_original && literal.is_none();
        set_host(&host, HostOptions { keep_original, ..options }, request);
    }
    if let Some(path) = action.path_rewrite.apply(&plan.hit.route.matcher, request.path()) {
        if options.keep_original {
            let original = request.path().to_vec();
            request.headers.set_known(Known::XEnvoyOriginalPath, original);
        }
        request.set_path(&path);
    }
}

fn set_host(host: &[u8], options: HostOptions, request: &mut RequestHead) {
    let original = request.authority().to_vec();
    if options.keep_original {
        request.headers.set_known(Known::XEnvoyOriginalHost, &original);
    }
    if options.append_forwarded && !original.is_empty() {
        let known = Known::XForwardedHost;
        let last = request.headers.known(known).and_then(|hosts| hosts.rsplit(|byte| *byte == b',').next());
        if last.map(<[u8]>::trim_ascii) != Some(&original) {
            join(&mut request.headers, known, b",", &original);
        }
    }
    request.set_authority(host);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: HostOptions = HostOptions { append_forwarded: true, keep_original: true };

    #[test]
    fn a_rewritten_host_is_remembered() {
        let mut head = RequestHead::default();
        head.set_authority(b"h.com");
        set_host(b"up", BOTH, &mut head);
        assert_eq!(head.authority(), b"up");
        assert_eq!(head.headers.known(Known::XEnvoyOriginalHost), Some(&b"h.com"[..]));
        assert_eq!(head.headers.known(Known::XForwardedHost), Some(&b"h.com"[..]));
    }

    #[test]
    fn a_host_is_not_forwarded_twice() {
        let mut head = RequestHead::default();
        head.set_authority(b"h.com");
        head.headers.append("x-forwarded-host", "a, h.com");
        set_host(b"up", HostOptions { keep_original: false, ..BOTH }, &mut head);
        assert_eq!(head.headers.known(Known::XForwardedHost), Some(&b"a, h.com"[..]));
        assert!(!head.headers.has(Known::XEnvoyOriginalHost));
        set_host(b"third", BOTH, &mut head);
        assert_eq!(head.headers.known(Known::XForwardedHost), Some(&b"a, h.com,up"[..]));
    }
}
