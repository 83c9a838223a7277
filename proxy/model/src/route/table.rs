//! The route table: virtual hosts, their routes, and the look-up that a request makes.
//!
//! Built by the compile step from a `RouteConfiguration`; read by every worker, once per request. A look-up neither
//! allocates nor locks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::domain::{DomainError, DomainIndex, host_without_port};
use super::index::PathIndex;
use super::matcher::RouteMatch;
use super::request::{MatchContext, RequestView, path_without_query};

/// A route: when it applies, and what is attached to it.
#[derive(Clone, Debug)]
pub struct Route<R> {
    /// `Route.name`; may be empty.
    pub name: Box<str>,
    /// When the route applies.
    pub matcher: RouteMatch,
    /// What the proxy keeps with it.
    pub payload: R,
}

/// `VirtualHost.require_tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRequirement {
    /// Plain text is fine.
    #[default]
    None,
    /// Requests from outside that are not https get a redirect.
    ExternalOnly,
    /// Every request that is not https gets a redirect.
    All,
}

impl TlsRequirement {
    /// Whether a request is to be redirected to https instead of routed; `scheme` is its `x-forwarded-proto`, and an
    /// empty one never redirects.
    pub fn redirects(self, scheme: &[u8], internal: bool) -> bool {
        match self {
            _ if scheme.is_empty() || scheme.eq_ignore_ascii_case(b"https") => false,
            Self::None => false,
            Self::ExternalOnly => !internal,
            Self::All => true,
        }
    }
}

/// A virtual host: domains and an ordered list of routes, the first match of which wins.
#[derive(Clone, Debug)]
pub struct VirtualHost<V, R> {
    name: Box<str>,
    domains: Vec<Box<str>>,
    require_tls: TlsRequirement,
    payload: V,
    routes: Vec<Route<R>>,
    index: PathIndex,
}

/// Options of a route table that change how requests match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTableOptions {
    /// `ignore_port_in_host_matching`: the request's port is dropped before domains are compared.
    pub ignore_port_in_host: bool,
    /// `ignore_path_parameters_in_path_matching`: the path is compared up to its first `;`.
    pub ignore_path_parameters: bool,
}

/// Domains and virtual hosts of one `RouteConfiguration`.
#[derive(Clone, Debug)]
pub struct RouteTable<V, R> {
    options: RouteTableOptions,
    domains: DomainIndex,
    hosts: Vec<Entry<V, R>>,
}

/// Makes a virtual host when the first request asks for it. In a large table most are never asked for, and cost what their source
/// costs.
pub trait HostSource<V, R>: Send + Sync {
    /// The virtual host; it was made once before to validate it, so this cannot fail.
    fn build(&self) -> VirtualHost<V, R>;
}

/// A virtual host that is to be made later.
pub struct LaterHost<V, R> {
    /// `name`
    pub name: Box<str>,
    /// `domains`
    pub domains: Vec<Box<str>>,
    /// What makes it.
    pub source: Arc<dyn HostSource<V, R>>,
}

struct Entry<V, R> {
    built: OnceLock<Arc<VirtualHost<V, R>>>,
    source: Option<Arc<dyn HostSource<V, R>>>,
}

impl<V, R> Clone for Entry<V, R> {
    fn clone(&self) -> Self {
        Self { built: self.built.clone(), source: self.source.clone() }
    }
}

impl<V, R> fmt::Debug for Entry<V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.built.get().map_or("?", |host| &host.name))
    }
}

impl<V, R> Entry<V, R> {
    /// The virtual host, made now if it has not been.
    #[inline]
    fn host(&self) -> Option<&VirtualHost<V, R>> {
        if let Some(host) = self.built.get() {
            return Some(host);
        }
        let source = self.source.as_ref()?;
        Some(self.built.get_or_init(|| Arc::new(source.build())))
    }
}

/// Why a route table could not be built.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// A domain is claimed twice.
    #[error("virtual host {host:?}: {source}")]
    Domain {
        /// The virtual host that came second.
        host: String,
        /// Which domain.
        #[source]
        source: DomainError,
    },
}

/// What a request was routed to.
#[derive(Debug)]
pub struct RouteHit<'t, V, R> {
    /// The virtual host.
    pub host: &'t VirtualHost<V, R>,
    /// The route.
    pub route: &'t Route<R>,
    /// The route's position in its virtual host.
    pub position: usize,
}

impl<V, R> Clone for RouteHit<'_, V, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, R> Copy for RouteHit<'_, V, R> {}

impl<V, R> VirtualHost<V, R> {
    /// A virtual host; `routes` are in order of precedence.
    pub fn new(name: &str, domains: Vec<Box<str>>, routes: Vec<Route<R>>, payload: V) -> Self {
        let index = PathIndex::new(routes.iter().map(|route| &route.matcher));
        Self { name: name.into(), domains, require_tls: TlsRequirement::None, payload, routes, index }
    }

    /// Sets `require_tls`.
    pub fn require_tls(mut self, requirement: TlsRequirement) -> Self {
        self.require_tls = requirement;
        self
    }

    /// `VirtualHost.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The domains as configured.
    pub fn domains(&self) -> &[Box<str>] {
        &self.domains
    }

    /// Whether plain-text requests get a redirect. The caller asks this before it looks for a route.
    pub fn tls_requirement(&self) -> TlsRequirement {
        self.require_tls
    }

    /// What the proxy keeps with the virtual host.
    pub fn payload(&self) -> &V {
        &self.payload
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[Route<R>] {
        &self.routes
    }

    /// The first route that takes the request; `path` is the request's, without query.
    #[inline]
    pub fn find(
        &self,
        request: &impl RequestView,
        path: &[u8],
        context: &MatchContext<'_>,
    ) -> Option<(usize, &Route<R>)> {
        let position = self.index.find(
            request,
            path,
            |position| {
                self.routes.get(position).is_some_and(|route| route.matcher.conditions_hold(request, context))
            },
            |position| {
                self.routes.get(position).is_some_and(|route| route.matcher.is_match(request, path, context))
            },
        )?;
        self.routes.get(position).map(|route| (position, route))
    }
}

impl<V, R> Default for RouteTable<V, R> {
    /// A table without virtual hosts.
    fn default() -> Self {
        Self { options: RouteTableOptions::default(), domains: DomainIndex::default(), hosts: Vec::new() }
    }
}

impl<V, R> RouteTable<V, R> {
    /// A table of `hosts`. Their names need not differ; their domains must.
    pub fn new(hosts: Vec<VirtualHost<V, R>>, options: RouteTableOptions) -> Result<Self, TableError> {
        let domains = index(hosts.iter().map(|host| (&*host.name, host.domains.as_slice())))?;
        let entry = |host| Entry { built: OnceLock::from(Arc::new(host)), source: None };
        Ok(Self { options, domains, hosts: hosts.into_iter().map(entry).collect() })
    }

    /// A table of virtual hosts that are made when they are first asked for.
    pub fn later(hosts: Vec<LaterHost<V, R>>, options: RouteTableOptions) -> Result<Self, TableError> {
        let domains = index(hosts.iter().map(|host| (&*host.name, host.domains.as_slice())))?;
        let entry = |host: LaterHost<V, R>| Entry { built: OnceLock::new(), source: Some(host.source) };
        Ok(Self { options, domains, hosts: hosts.into_iter().map(entry).collect() })
    }

    /// The virtual hosts, in order; makes all of them.
    pub fn hosts(&self) -> impl Iterator<Item = &VirtualHost<V, R>> {
        self.hosts.iter().filter_map(Entry::host)
    }

    /// The virtual host for an `:authority` value.
    #[inline]
    pub fn find_host(&self, authority: &[u8]) -> Option<&VirtualHost<V, R>> {
        let host = if self.options.ignore_port_in_host { host_without_port(authority) } else { authority };
        self.hosts.get(self.domains.find(host)? as usize)?.host()
    }

    /// The path that matchers of this table compare, out of a `:path` value.
    #[inline]
    pub fn match_path<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let path = path_without_query(path);
        if self.options.ignore_path_parameters {
            memchr::memchr(b';', path).map_or(path, |end| &path[..end])
        } else {
            path
        }
    }

    /// The virtual host and route that take the request.
    #[inline]
    pub fn find(&self, request: &impl RequestView, context: &MatchContext<'_>) -> Option<RouteHit<'_, V, R>> {
        let host = self.find_host(request.authority())?;
        let (position, route) = host.find(request, self.match_path(request.path()), context)?;
        Some(RouteHit { host, route, position })
    }
}

fn index<'h>(hosts: impl Iterator<Item = (&'h str, &'h [Box<str>])>) -> Result<DomainIndex, TableError> {
    let mut index = DomainIndex::default();
    for (at, (name, domains)) in hosts.enumerate() {
        for domain in domains {
            index
                .insert(domain, at as u32)
                .map_err(|source| TableError::Domain { host: name.to_owned(), source })?;
        }
    }
    Ok(index)
}
