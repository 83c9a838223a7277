//! Hosts that are named: by a filter (`stateful_session`), or by the request to a cluster with the policy `override_host`.
//!
//! Called for such streams only. A filter's word counts for the first attempt; the lists of `override_host` have a host for each
//! attempt, of those that are there.

use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Headers, StreamInfo};
use sampan_model::cluster::{OverrideHost, OverrideSource};

use super::cluster::WorkerCluster;
use super::pool::HostPool;
use crate::failure::{Failure, Kind};

/// Whether a stream to a cluster may have its host named.
#[inline]
pub fn is_possible(cluster: &WorkerCluster, info: &StreamInfo) -> bool {
    info.upstream.wanted.is_some() || cluster.is_overridden()
}

/// The pool of the host that is named, if one is; `before` is how many attempts there were.
///
/// # Errors
/// No other host would do, and it is not there.
#[inline(never)]
pub fn find(
    cluster: &WorkerCluster,
    headers: Option<&Headers>,
    info: &StreamInfo,
    before: u32,
) -> Result<Option<Rc<HostPool>>, Failure> {
    if let Some(wanted) = info.upstream.wanted.as_deref().filter(|_| before == 0) {
        match (cluster.pool_at(&wanted.address, true), wanted.strict) {
            (Some(pool), _) => return Ok(Some(pool)),
            (None, Some(status)) => return Err(Kind::NoSuchHost(status).into()),
            (None, None) => {}
        }
    }
    let settings = cluster.config().override_host.clone();
    Ok(settings.and_then(|settings| listed(&settings, cluster, headers, info, before)))
}

/// The pool of the host that a list names for this attempt.
fn listed(
    settings: &OverrideHost,
    cluster: &WorkerCluster,
    headers: Option<&Headers>,
    info: &StreamInfo,
    before: u32,
) -> Option<Rc<HostPool>> {
    let names = settings.sources.iter().filter_map(|source| named(source, headers, info));
    let names: Vec<Arc<str>> = names.collect();
    let each = names.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
    // What is not there is passed over; the attempts before had theirs.
    each.filter_map(|name| cluster.pool_at(name, false)).nth(before as usize)
}

fn named(source: &OverrideSource, headers: Option<&Headers>, info: &StreamInfo) -> Option<Arc<str>> {
    match source {
        OverrideSource::Header(name) => {
            let value = headers?.value(name.as_bytes())?;
            std::str::from_utf8(value).ok().map(Arc::from)
        }
        OverrideSource::Metadata(namespace, path) => match info.metadata.namespace(namespace)?.at(path)? {
            MetadataValue::String(text) => Some(text.clone()),
            _ => None,
        },
    }
}

/// Tells the metadata which host it was, where that is wanted (`selected_host_key`).
#[inline(never)]
pub fn tell(cluster: &WorkerCluster, pool: &HostPool, info: &mut StreamInfo) {
    let config = cluster.config();
    let Some((namespace, path)) = config.override_host.as_ref().and_then(|host| host.selected.as_ref())
    else {
        return;
    };
    let [first, rest @ ..] = path.as_slice() else { return };
    let address = MetadataValue::String(pool.host().address.to_string().into());
    let within = |inner, key: &str| MetadataValue::Struct(vec![(key.into(), inner)]);
    info.metadata.set(namespace, first, rest.iter().rev().map(|key| &**key).fold(address, within));
}
