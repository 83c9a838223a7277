//! `envoy.filters.http.set_filter_state`: leaves formatted values in the filter state of each request.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};

use crate::state::StateValue;

/// The factory's configuration, or a route's.
#[derive(Debug)]
pub struct States {
    /// `on_request_headers`
    pub values: Vec<StateValue>,
    /// `clear_route_cache`
    pub clear_route: bool,
}

/// The factory.
#[derive(Debug)]
pub struct SetFilterState(pub Arc<States>);

/// One stream: the levels that set something, the least specific one first.
struct Instance(Vec<Arc<States>>);

impl HttpFilterFactory for SetFilterState {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let mut levels: Vec<Arc<States>> = start.levels().collect();
        levels.push(Arc::clone(&self.0));
        levels.reverse();
        levels.retain(|level| !level.values.is_empty());
        (!levels.is_empty()).then(|| Box::new(Instance(levels)) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        for level in &self.0 {
            for value in &level.values {
                value.set(stream.request, stream.info);
            }
            *stream.clear_route |= level.clear_route;
        }
        Flow::Continue
    }
}
