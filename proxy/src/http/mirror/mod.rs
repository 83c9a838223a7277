//! Request mirroring (`request_mirror_policies`): copies of a request for other clusters, whose answers nobody waits for.
//!
//! ```text
//! first attempt --start--> for each policy whose fraction holds: a copy of the head, a feed for the body, a task (`task`)
//! body, frame by frame, after the filters --feed--> task --> its own connection --> answer counted and dropped
//! ```
//!
//! A copy cannot delay or fail the request it is of. What its upstream does not take waits in the feed, as much as the request may
//! keep of its body; what is over that ends the copy, and counts as `retry_or_shadow_abandoned`. If the request is given up before
//! its end, so are its copies.
//!
//! Called by [`super::attempt`].

mod feed;
mod task;

use std::rc::Rc;

pub(super) use feed::Feed;
use sampan_filters_api::{Known, RequestHead};

use super::chain::Shared;
use super::connection::HttpContext;
use super::h1::Framing;
use super::header_changes;
use super::relay::{Plan, Relay};
use super::route::{Mirror, MirrorCluster};
use super::target::Target;
use super::{forwarding, route::RouteConfig};
use crate::telemetry::stats::Origin;
use crate::telemetry::stats::kinds::HttpRouterCounter;
use crate::upstream::cluster::WorkerCluster;

/// Sends the copies of a request that is about to be sent for the first time.
pub(super) fn start(relay: &Relay<'_, '_, '_>) {
    let Some(extras) = relay.extras.as_deref() else { return };
    let mirrors = relay.plan.special().map(|special| &special.mirrors[..]).unwrap_or_default();
    if mirrors.is_empty() || relay.shared.borrow().info.upstream.attempts > 1 {
        return;
    }
    let context = relay.context;
    for mirror in mirrors.iter().filter(|mirror| is_chosen(context, relay.plan, mirror)) {
        let shared = relay.shared.borrow();
        let Some(cluster) = cluster(context, relay.plan.routes, mirror, shared.request) else { continue };
        let limit = relay.progress.response_limit();
        let head = Box::new(copy(context, mirror, limit.map(|limit| limit.as_millis()), &shared));
        drop(shared);
        context.stats.own_requests().inc(HttpRouterCounter::RqTotal);
        let Ok(target) = Target::for_call(&context.worker, cluster.clone(), &head) else {
            // It is nobody else's concern.
            cluster.stats().response(503, Origin::Internal);
            continue;
        };
        let feed = Feed::new(extras.limit, relay.framing.is_empty());
        let task = task::Copy { target, head, framing: relay.framing, feed: feed.reader(), limit };
        if !relay.framing.is_empty() {
            extras.mirrors.borrow_mut().push(feed);
        }
        tokio::task::spawn_local(task.run());
    }
}

/// Whether a policy holds for a request.
fn is_chosen(context: &HttpContext, plan: &Plan<'_>, mirror: &Mirror) -> bool {
    let Some(fraction) = &mirror.fraction else { return true };
    let snapshot = context.worker.snapshot_ref();
    let runtime: &crate::runtime::Runtime = &snapshot.runtime;
    fraction.contains(plan.random, runtime)
}

/// Where the copy goes; nowhere if there is no such cluster by now.
fn cluster(
    context: &HttpContext,
    routes: &RouteConfig,
    mirror: &Mirror,
    request: &RequestHead,
) -> Option<Rc<WorkerCluster>> {
    let slot = match &mirror.cluster {
        MirrorCluster::Named(reference) => reference.slot,
        MirrorCluster::Header(name) => {
            let value = request.field(name.as_bytes()).filter(|value| !value.is_empty())?;
            routes.clusters_by_name.slot(value)?.1
        }
    };
    context.worker.cluster(slot)
}

/// The head of a copy: that of the request as it goes up, marked as a request of the proxy's own.
fn copy(context: &HttpContext, mirror: &Mirror, millis: Option<u128>, shared: &Shared<'_>) -> RequestHead {
    let mut head = shared.request.clone();
    let levels: Vec<_> = mirror.mutations.iter().collect();
    header_changes::request(&levels, &mut head, shared.info);
    if let Some(host) = &mirror.host {
        head.set_authority(host.as_bytes());
    } else if mirror.suffix {
        let host = with_suffix(head.authority());
        head.set_authority(&host);
    }
    if let Some(millis) = millis
        && !context.config.suppress_envoy_headers
    {
        // All of its time is there for one try.
        head.headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, itoa::Buffer::new().format(millis.max(1)));
    }
    head.headers.set_known(Known::XEnvoyInternal, "true");
    forwarding::append_own(&mut head.headers);
    head
}

/// The host with `-shadow` behind its name.
fn with_suffix(host: &[u8]) -> Vec<u8> {
    const SUFFIX: &[u8] = b"-shadow";
    let is_port = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let colon = memchr::memrchr(b':', host).filter(|at| is_port(&host[at + 1..]));
    // A colon of an IPv6 address without a port is none.
    let colon = colon.filter(|at| !host.starts_with(b"[") || host[..*at].ends_with(b"]"));
    let (name, port) = host.split_at(colon.unwrap_or(host.len()));
    [name, SUFFIX, port].concat()
}

/// How a copy's body is framed where the request's is.
fn framing(framing: Framing) -> Framing {
    match framing {
        Framing::UntilClose => Framing::Chunked,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Envoy 1.40 makes of hosts.
    #[test]
    fn a_shadow_has_a_host_of_its_own() {
        for (host, expected) in [
            ("test", "test-shadow"),
            ("test:80", "test-shadow:80"),
            ("127.0.0.1:99", "127.0.0.1-shadow:99"),
            ("[::1]:99", "[::1]-shadow:99"),
            ("[::1]", "[::1]-shadow"),
            ("test:", "test:-shadow"),
        ] {
            assert_eq!(with_suffix(host.as_bytes()), expected.as_bytes(), "{host}");
        }
    }
}
