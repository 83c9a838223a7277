//! What the proxy attaches to the model's route table: header changes, filter overrides, actions.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_filters_api::http::RouteConfig as FilterConfig;
use sampan_filters_api::info::RouteFacts;
use sampan_model::fraction::RuntimeFraction;
use sampan_model::lb::Criteria;
use sampan_model::retry::RetryPolicy;
use sampan_model::route::{
    ClusterRef, DirectResponse, HashPolicy, Redirect, RouteAction, RouteTable, ScopeKey, Slot,
};

pub use sampan_filters::matcher::View;

use super::config::HeaderOps;
use crate::reference::Source;
use crate::telemetry::trace::{Decorator, RouteTracing};

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
    /// `vhds`: where more virtual hosts are to be had.
    pub virtual_hosts: Option<Source>,
}

/// Header changes in the order in which they apply.
pub type HeaderLevels<'l> = smallvec::SmallVec<[&'l HeaderOps; 4]>;

impl RouteConfig {
    /// A configuration without any route: what there is until the real one arrives.
    pub fn empty() -> Self {
        Self {
            name: Arc::default(),
            table: RouteTable::default(),
            headers: HeaderOps::default(),
            most_specific_wins: false,
            internal_only_headers: Vec::new(),
            clusters_by_name: Arc::new(NoClusters),
            virtual_hosts: None,
        }
    }

    /// The levels of header changes that hold for a route, in the order in which they apply.
    pub fn header_levels<'l>(
        &'l self,
        weighted: Option<&'l WeightedPayload>,
        route: &'l RoutePayload,
        host: &'l VirtualHostPayload,
    ) -> HeaderLevels<'l> {
        let mut levels = HeaderLevels::new();
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

/// Route configurations by the key of their scope.
#[derive(Default)]
pub struct Scopes(pub HashMap<ScopeKey, ScopedConfig>);

/// The routes of a scope.
#[derive(Clone)]
pub enum ScopedConfig {
    /// Named; found in the snapshot by its slot.
    Discovered(Slot),
    /// `route_configuration`
    Inline(Arc<RouteConfig>),
}

/// Finds the slot of a cluster by name at request time (`cluster_header`).
pub trait ClusterNames: Send + Sync {
    /// The slot, if a cluster of that name was ever known.
    fn slot(&self, name: &[u8]) -> Option<(Arc<str>, Slot)>;
}

/// No cluster at all.
struct NoClusters;

impl ClusterNames for NoClusters {
    fn slot(&self, _: &[u8]) -> Option<(Arc<str>, Slot)> {
        None
    }
}

/// What a virtual host carries.
#[derive(Default)]
pub struct VirtualHostPayload {
    /// Header changes.
    pub headers: HeaderOps,
    /// `typed_per_filter_config`
    pub filters: FilterOverrides,
    /// `rate_limits`, as the filters compile them.
    pub rate_limits: Option<FilterConfig>,
    /// `include_request_attempt_count`
    pub attempt_count: bool,
    /// `include_attempt_count_in_response`
    pub attempt_count_in_response: bool,
    /// `retry_policy`
    pub retry: Option<RetryPolicy>,
    /// `per_request_buffer_limit_bytes`
    pub buffer_limit: Option<u32>,
    /// `include_is_timeout_retry_header`
    pub timeout_retry_header: bool,
}

/// What a route carries.
pub struct RoutePayload {
    /// What logs and filters may want to know.
    pub facts: Arc<RouteFacts>,
    /// What to do.
    pub action: Action,
    /// Header changes.
    pub headers: HeaderOps,
    /// `typed_per_filter_config`
    pub filters: FilterOverrides,
    /// `rate_limits` of its action, as the filters compile them.
    pub rate_limits: Option<FilterConfig>,
    /// `stat_prefix`
    pub stat_prefix: Option<Arc<str>>,
    /// `tracing`
    pub tracing: Option<Arc<RouteTracing>>,
    /// `decorator`
    pub decorator: Option<Arc<Decorator>>,
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
    /// `hash_policy`
    pub hash_policies: Vec<HashPolicy>,
    /// `metadata_match`
    pub criteria: Option<Criteria>,
    /// `retry_policy`, in place of the virtual host's.
    pub retry: Option<RetryPolicy>,
    /// `per_request_buffer_limit_bytes` of the route: how much of a body is kept for retries.
    pub buffer_limit: Option<u32>,
    /// What few routes have.
    pub special: Option<Box<Special>>,
}

/// What few routes have; those of the virtual host and of the whole configuration included.
#[derive(Default)]
pub struct Special {
    /// `request_mirror_policies`
    pub mirrors: Vec<Mirror>,
    /// `internal_redirect_policy`
    pub redirects: Option<InternalRedirects>,
    /// `hedge_policy.hedge_on_per_try_timeout`
    pub hedge: bool,
}

/// `RequestMirrorPolicy`
#[derive(Clone)]
pub struct Mirror {
    /// Which cluster gets the copy.
    pub cluster: MirrorCluster,
    /// `runtime_fraction`; all requests without.
    pub fraction: Option<RuntimeFraction>,
    /// `host_rewrite_literal`
    pub host: Option<Box<str>>,
    /// The host gets `-shadow` appended, unless it is rewritten.
    pub suffix: bool,
    /// `request_headers_mutations`, in their order.
    pub mutations: Vec<HeaderOps>,
}

/// The cluster of a mirror.
#[derive(Clone)]
pub enum MirrorCluster {
    /// `cluster`
    Named(ClusterRef),
    /// `cluster_header`
    Header(Box<str>),
}

/// `InternalRedirectPolicy`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalRedirects {
    /// `max_internal_redirects`
    pub most: u32,
    /// `redirect_response_codes`
    pub statuses: Vec<u16>,
    /// `predicates`
    pub predicates: Vec<RedirectPredicate>,
    /// `allow_cross_scheme_redirect`
    pub cross_scheme: bool,
    /// `response_headers_to_copy`
    pub copied: Vec<Box<str>>,
}

/// Which routes a redirect may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPredicate {
    /// `previous_routes`: none that a redirect from this route has led to.
    PreviousRoutes,
    /// `allow_listed_routes`: those of these names.
    AllowListed(Vec<Box<str>>),
    /// `safe_cross_scheme`: to https only from https.
    SafeCrossScheme,
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
    /// `metadata_match`, over the route's.
    pub criteria: Option<Criteria>,
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
