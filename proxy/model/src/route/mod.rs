//! Routing: from a request to a virtual host, a route and what its action makes of the request.
//!
//! The types are generic over payloads (`V` on a virtual host, `R` on a route), in which the proxy keeps what it attaches
//! to them: header operations, filter configuration, actions. A request is seen through [`RequestView`].
//!
//! - [`table`]: [`RouteTable`], [`VirtualHost`], [`Route`], and the look-up.
//! - [`domain`]: host name to virtual host. `index`: path to candidate routes.
//! - [`matcher`]: [`RouteMatch`] with its parts in [`header`], [`query`], [`string`], [`uri_template`].
//! - [`scope`]: which route table, where there are several.
//! - [`action`], [`rewrite`], [`redirect`], [`hash_policy`]: what happens to a matched request.

pub mod action;
pub mod domain;
pub mod hash_policy;
pub mod header;
mod index;
pub mod matcher;
pub mod query;
pub mod redirect;
pub mod request;
pub mod rewrite;
pub mod scope;
pub mod string;
pub mod table;
pub mod uri_template;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use action::{
    ClusterRef, ClusterSpecifier, DirectResponse, Draw, Priority, RouteAction, RouteTimeouts, Slot,
    WeightError, WeightedCluster, WeightedClusters, WeightedTarget,
};
pub use domain::DomainError;
pub use hash_policy::{HashCookie, HashPolicy, HashSource};
pub use header::{HeaderField, HeaderMatch, HeaderRule};
pub use matcher::{CookieMatch, PathMatch, RouteMatch, TlsContextMatch};
pub use query::{QueryMatch, QueryRule, query_value};
pub use redirect::{Redirect, RedirectPath, RedirectRequest};
pub use request::{HeaderName, MatchContext, RequestView, path_without_query};
pub use rewrite::{HostRewrite, PathRewrite};
pub use scope::{Extract, HeaderValueExtractor, ScopeKey, ScopeKeyBuilder};
pub use string::StringMatch;
pub use table::{
    HostSource, LaterHost, Route, RouteHit, RouteTable, RouteTableOptions, TableError, TlsRequirement,
    VirtualHost,
};
pub use uri_template::{UriTemplate, UriTemplateError, UriTemplateRewrite};
