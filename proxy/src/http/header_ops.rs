//! A first, plain version; its full form follows.
use super::{attempt::Plan, chain::Shared, connection::HttpContext, route::WeightedPayload};
use sampan_filters_api::Known;
use sampan_model::cluster::Host;
use std::time::Duration;
pub fn finish_request(
    _: &HttpContext,
    _: &Plan<'_>,
    _: Option<&WeightedPayload>,
    _: &Host,
    shared: &mut Shared<'_>,
) {
    shared.request.headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, "15000");
}
pub fn route_response(
    _: &HttpContext,
    _: &Plan<'_>,
    _: Option<&WeightedPayload>,
    took: Duration,
    shared: &mut Shared<'_>,
) {
    shared
        .response
        .headers
        .set_known(Known::XEnvoyUpstreamServiceTime, itoa::Buffer::new().format(took.as_millis()));
}
pub fn finish_response(_: &HttpContext, shared: &mut Shared<'_>) {
    shared.response.headers.set_known(Known::Server, "envoy");
    shared.response.headers.set_known(Known::Date, "Mon, 23 Nov 2026 17:03:06 GMT");
}
