//! What a listener names instead of holding: route configurations, scopes, filters. Found in its compiled form, asked for while it
//! warms, given up when its last connection is gone.

use std::sync::Arc;

use super::Discovery;
use super::extensions::Place;
use super::scopes;
use super::wanted::User;
use crate::control::compile::{Scope, source};
use crate::control::store::Key;
use crate::http::config::{FilterSource, HttpConfig, RouteSource, ScopeSource, ScopedRoutes};
use crate::listener::config::{Listener, Terminal};
use crate::reference::{Reference, Source, SourceKey};

/// One thing that a listener needs.
#[derive(Clone)]
pub struct Need {
    source: Source,
    key: Key,
    reference: Reference,
    what: What,
}

#[derive(Clone)]
enum What {
    Routes,
    /// Scopes, with the source of their routes.
    Scopes(Source),
    /// A filter: its types, and whether it is waited for.
    Filter(Arc<[Box<str>]>, bool),
}

impl Discovery {
    /// What a listener needs. `None` if something cannot be had; then the scope is told.
    pub(super) fn needs(
        &mut self,
        listener: &Listener,
        own: &SourceKey,
        at: Option<&Scope<'_>>,
    ) -> Option<Vec<Need>> {
        let mut needs: Vec<Need> = Vec::new();
        let mut add = |found: Option<Need>, name: &Arc<str>| {
            let Some(need) = found else {
                if let Some(at) = at {
                    at.field("filter_chains").reject_value::<()>(name, source::NO_ADS, "");
                }
                return None;
            };
            if !needs.iter().any(|known| known.key == need.key && known.reference.slot == need.reference.slot)
            {
                needs.push(need);
            }
            Some(())
        };
        for chain in listener.chains.iter() {
            for filter in &chain.filters {
                if let Some((reference, what)) = filter_need(filter) {
                    add(self.need(reference, what, own), &reference.name)?;
                }
            }
            let Terminal::Http(config) = &chain.terminal else { continue };
            for filter in &config.filters {
                if let Some((reference, what)) = filter_need(&filter.factory) {
                    add(self.need(reference, what, own), &reference.name)?;
                }
            }
            for (reference, what) in route_needs(config) {
                let need = self.need(reference, what, own);
                if let Some(need) = &need {
                    self.count_need(need, config);
                }
                add(need, &reference.name)?;
            }
        }
        Some(needs)
    }

    fn need(&self, reference: &Reference, mut what: What, own: &SourceKey) -> Option<Need> {
        let source = self.sources.resolve(&reference.source, own)?;
        if let What::Scopes(routes) = &mut what {
            *routes = self.sources.resolve(routes, &source.key)?;
        }
        let key = Key { source: source.key.clone(), name: reference.name.clone() };
        Some(Need { source, key, reference: reference.clone(), what })
    }

    fn count_need(&mut self, need: &Need, config: &HttpConfig) {
        match (&need.what, &config.routes) {
            (What::Routes, _) => self.counters.routes_named(&need.key, &config.stat_prefix),
            (What::Scopes(_), RouteSource::Scoped(scoped)) => {
                self.counters.scopes_named(&need.key.source, &config.stat_prefix, &scoped.name);
            }
            _ => {}
        }
    }

    /// Asks for everything, on behalf of a version of a listener.
    pub(super) fn ask_for(&mut self, needs: &[Need], user: &User) {
        for need in needs {
            match &need.what {
                What::Routes => {
                    self.routes.slots.insert(need.key.clone(), need.reference.slot);
                    self.need_routes(&need.source, &need.key, user);
                }
                What::Scopes(routes) => {
                    self.need_scopes(&need.source, routes, &need.key, &need.reference, user);
                }
                What::Filter(types, _) => {
                    let place = Place { slot: need.reference.slot, types: types.clone() };
                    self.need_extension(&need.source, &need.key, place, user);
                }
            }
        }
    }

    /// Gives everything up again.
    pub(super) fn give_up(&mut self, needs: &[Need], user: &User) {
        for need in needs {
            match &need.what {
                What::Routes => self.leave_routes(&need.key, user),
                What::Scopes(_) => self.leave_scopes(&need.key, user),
                What::Filter(..) => self.leave_extension(&need.key, user),
            }
        }
    }

    /// Whether a listener may go on as far as this need is concerned.
    pub(super) fn is_settled(&self, need: &Need) -> bool {
        match &need.what {
            What::Routes => self.routes.wanted.is_settled(&need.key),
            What::Scopes(_) => {
                self.scopes.wanted.is_settled(&scopes::all(&need.key.source))
                    && self.scopes.needs(&need.key).iter().all(|key| self.routes.wanted.is_settled(key))
            }
            What::Filter(_, waits) => !waits || self.extensions.wanted.is_settled(&need.key),
        }
    }
}

impl Need {
    /// What is needed, for people.
    pub fn shown(&self) -> String {
        let what = match &self.what {
            What::Routes => "RouteConfiguration",
            What::Scopes(_) => return format!("ScopedRouteConfigurations from {}", self.key.source),
            What::Filter(..) => "TypedExtensionConfig",
        };
        format!("{what} {} from {}", self.key.name, self.key.source)
    }
}

fn filter_need<F: ?Sized>(filter: &FilterSource<F>) -> Option<(&Reference, What)> {
    match filter {
        FilterSource::Fixed(_) => None,
        FilterSource::Discovered(filter) => {
            Some((&filter.reference, What::Filter(filter.types.clone(), !filter.without_warming)))
        }
    }
}

fn route_needs(config: &HttpConfig) -> Vec<(&Reference, What)> {
    match &config.routes {
        RouteSource::Inline(_) => Vec::new(),
        RouteSource::Discovered(reference) => vec![(reference, What::Routes)],
        RouteSource::Scoped(ScopedRoutes { scopes, routes, named, .. }) => match scopes {
            ScopeSource::Inline(_) => named.iter().map(|reference| (reference, What::Routes)).collect(),
            ScopeSource::Discovered(reference) => vec![(reference, What::Scopes(routes.clone()))],
        },
    }
}
