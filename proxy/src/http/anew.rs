//! Requests that filters put in the place of another one, whose response has come ([`sampan_filters_api::http::Flow::Anew`]).
//!
//! ```text
//! response head -> a filter says Anew -> a route for it? no  -> the response goes on
//!                       the request has come whole?      no  -> the response goes on; the log tells of the other request, as in Envoy
//!                                                        yes -> the stream is logged, and begins anew with the request
//! ```
//! It is the same for a response of the upstream ([`super::sides`]) and for one of our own ([`super::reply`]): the way back to the
//! client is handed to [`super::stream`], which serves the request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sampan_filters_api::http::{Anew, Stream};

use super::chain::Shared;
use super::connection::HttpContext;
use super::hashing;
use super::stream::{self, Hit};

/// Puts a request in the place of the stream's, if there is a route for it.
pub(super) fn take_place(context: &HttpContext, shared: &mut Shared<'_>, anew: Anew) -> bool {
    let Anew { request, then } = anew;
    let before = std::mem::replace(shared.request, request);
    let random = context.worker.with_rng(|rng| rng.u64(..));
    let routes = context.routes(shared.request);
    let hit = stream::find(context, &routes, shared, random);
    let found = hit.is_some();
    note_target(context, shared, hit.as_ref(), random);
    if found && shared.info.request_complete.is_none() {
        return false;
    }
    if found {
        // What is done to every request of a client was done to the one that it comes from.
        shared.redirects.get_or_insert_default();
        shared.info.details = "internal_redirect".into();
    } else {
        *shared.request = before;
    }
    let mut stream = Stream {
        request: shared.request,
        response: Some(shared.response),
        info: shared.info,
        clear_route: &mut shared.clear_route,
    };
    // A panic in a filter fails its request only: here, what it wanted to note is not noted.
    let noted = catch_unwind(AssertUnwindSafe(|| then(&mut stream, found)));
    if noted.is_err() {
        tracing::error!(target: "filter", "a filter panicked as its request was served anew");
    }
    found
}

/// The route and cluster that a request leads to, for the log; also if it leads nowhere, as in Envoy.
pub(super) fn note_target(
    context: &HttpContext,
    shared: &mut Shared<'_>,
    hit: Option<&Hit<'_>>,
    random: u64,
) {
    if !context.config.needs_facts {
        return;
    }
    if let Some(hit) = hit {
        stream::note_route(context, shared, hit);
    } else {
        shared.info.route = None;
    }
    let cluster =
        hit.and_then(|hit| stream::named_cluster(hit, hashing::share(context, shared, hit, random)));
    shared.info.upstream.cluster = cluster.map(|cluster| cluster.name.clone());
}
