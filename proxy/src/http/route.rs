//! What the proxy attaches to the model's route table: header changes, filter overrides, actions.

use std::sync::Arc;

use sampan_filters_api::RequestHead;
use sampan_filters_api::http::RouteConfig as FilterConfig;
use sampan_model::route::{DirectResponse, HeaderName, Redirect, RequestView, RouteAction, RouteTable, Slot};

use super::config::HeaderOps;

/// The compiled form of `envoy.config.route.v3.RouteConfiguration`.
pub struct RouteConfig {
    /// `name`
    pub name: Arc<str>,
    /// Virtual hosts and routes.
    pub table: RouteTable<VirtualHostPayload, RoutePayload>,
    /// Header changes for every route.
    pub headers: HeaderOps,
    /// `most_specific_header_mutations_wins`
    pub most_specific_wins: bool,
    /// `internal_only_headers`, removed from external requests
    pub internal_only_headers: Vec<Box<str>>,
    /// Clusters that requests name by a header: name -> slot.
    pub clusters_by_name: Arc<dyn ClusterNames>,
}

impl RouteConfig {
    /// The levels of header changes that hold for a route, in the order in which they apply.
    pub fn header_levels<'l>(
        &'l self,
        weighted: Option<&'l WeightedPayload>,
        route: &'l RoutePayload,
        host: &'l VirtualHostPayload,
    ) -> smallvec::SmallVec<[&'l HeaderOps; 4]> {
        let mut levels: smallvec::SmallVec<[&HeaderOps; 4]> = smallvec::SmallVec::new();
        levels.extend(weighted.map(|w| &w.headers));
        // A weighted cluster's changes come first even where the most specific ones win.
        let mut common = [&route.headers, &host.headers, &self.headers];
        if self.most_specific_wins {
            common.reverse();
        }
        levels.extend(common);
        levels
    }
}

/// A request head as the route table reads it.
pub struct View<'v>(pub &'v RequestHead);

impl RequestView for View<'_> {
    fn path(&self) -> &[u8] {
        self.0.path()
    }

    fn method(&self) -> &[u8] {
        self.0.method()
    }

    fn authority(&self) -> &[u8] {
        self.0.authority()
    }

    fn scheme(&self) -> &[u8] {
        self.0.scheme()
    }

    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.0.headers.values(name.as_bytes())
    }

    /// An extended CONNECT is an upgrade, not a CONNECT.
    fn is_connect(&self) -> bool {
        self.0.is_connect() && self.0.upgrade().is_none()
    }
}

/// Finds the slot of a cluster by name at request time (`cluster_header`).
pub trait ClusterNames: Send + Sync {
    /// The slot, if a cluster of that name was ever known.
    fn slot(&self, name: &[u8]) -> Option<(Arc<str>, Slot)>;
}

/// What a virtual host carries.
#[derive(Default)]
pub struct VirtualHostPayload {
    /// `name`
    pub name: Arc<str>,
    /// Header changes.
    pub headers: HeaderOps,
    /// `typed_per_filter_config`
    pub filters: FilterOverrides,
    /// `include_request_attempt_count`
    pub attempt_count: bool,
    /// `include_attempt_count_in_response`
    pub attempt_count_in_response: bool,
}

/// What a route carries.
pub struct RoutePayload {
    /// `name`; none if empty
    pub name: Option<Arc<str>>,
    /// What to do.
    pub action: Action,
    /// Header changes.
    pub headers: HeaderOps,
    /// `typed_per_filter_config`
    pub filters: FilterOverrides,
    /// `stat_prefix`
    pub stat_prefix: Option<Arc<str>>,
}

/// What a route does.
pub enum Action {
    /// `route`
    Forward(Box<Forward>),
    /// `redirect`
    Redirect(Redirect),
    /// `direct_response`
    Direct(DirectResponse),
    /// `non_forwarding_action`
    NonForwarding,
}

/// `route`
pub struct Forward {
    /// Clusters, rewrites, timeouts.
    pub action: RouteAction<WeightedPayload>,
    /// `upgrade_configs`: type (lower case) and whether enabled, over those of the connection manager.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// `upgrade_configs[CONNECT].connect_config` is set: CONNECT is terminated and its payload sent as TCP.
    pub terminate_connect: bool,
    /// `auto_host_rewrite`
    pub auto_host_rewrite: bool,
}

/// What a weighted cluster carries.
#[derive(Default)]
pub struct WeightedPayload {
    /// Header changes.
    pub headers: HeaderOps,
    /// `typed_per_filter_config`
    pub filters: FilterOverrides,
    /// `host_rewrite_literal`
    pub host_rewrite: Option<Box<str>>,
}

/// `typed_per_filter_config` by filter name.
#[derive(Clone, Default)]
pub struct FilterOverrides(pub Vec<(Arc<str>, FilterOverride)>);

/// One entry.
#[derive(Clone)]
pub enum FilterOverride {
    /// The filter is off here.
    Disabled,
    /// The filter is on here, with its own configuration if it has one.
    Enabled(Option<FilterConfig>),
}

impl FilterOverrides {
    /// The entry of a filter.
    pub fn of(&self, filter: &str) -> Option<&FilterOverride> {
        self.0.iter().find(|(name, _)| **name == *filter).map(|(_, entry)| entry)
    }
}
