//! `envoy.filters.http.lua`: scripts that see and change requests and responses, by Envoy's handle.
//!
//! Scripts are run once when they are configured, to find what is wrong with them. Each worker then has one state for each script
//! ([`vm`]), and each message a coroutine in it ([`run`]). An error of a script is logged and counted, and the message goes on. What
//! scripts may call is in `prelude.lua`, over the object in [`job`].

pub mod config;
mod fields;
mod job;
mod run;
mod signature;
#[cfg(test)]
mod tests;
mod values;
mod vm;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::http::{
    Flow, HeldBody, HeldResponse, HttpFilter, HttpFilterFactory, Phases, Start, Stream,
};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, Headers};

use self::run::{Means, Run};
pub use self::vm::Script;

/// The factory.
#[derive(Debug)]
pub struct Lua {
    /// `default_source_code`, `inline_code`
    pub script: Option<Arc<Script>>,
    /// `source_codes`
    pub named: HashMap<Box<str>, Arc<Script>>,
    /// `clear_route_cache`
    pub clears_route: bool,
    /// `filter_context`
    pub context: Option<Arc<MetadataValue>>,
    /// [`COUNTERS`]
    pub counters: Arc<Counters>,
}

/// What a route says.
#[derive(Debug)]
pub struct PerRoute {
    /// Which script.
    pub choice: Choice,
    /// `filter_context`
    pub context: Option<Arc<MetadataValue>>,
}

/// Which script runs for a route.
#[derive(Debug)]
pub enum Choice {
    /// The filter's.
    Default,
    /// None.
    Disabled,
    /// One of the filter's, by name.
    Named(Box<str>),
    /// The route's own.
    Own(Arc<Script>),
}

/// The counters.
pub const COUNTERS: &[&str] = &["errors", "executions"];
const ERRORS: usize = 0;
const EXECUTIONS: usize = 1;

/// One stream.
struct Instance {
    means: Means,
    request: Option<Rc<RefCell<Run>>>,
    response: Option<Rc<RefCell<Run>>>,
}

impl HttpFilterFactory for Lua {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
            .and(Phases::REQUEST_DATA)
            .and(Phases::REQUEST_TRAILERS)
            .and(Phases::RESPONSE_HEAD)
            .and(Phases::RESPONSE_DATA)
            .and(Phases::RESPONSE_TRAILERS)
            .and(Phases::TAIL)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let route = start.route::<PerRoute>();
        let script = match route.as_ref().map(|route| &route.choice) {
            None | Some(Choice::Default) => self.script.as_ref(),
            Some(Choice::Disabled) => None,
            Some(Choice::Named(name)) => self.named.get(name),
            Some(Choice::Own(script)) => Some(script),
        };
        let vm = script?.state()?;
        if vm.on_request.is_none() && vm.on_response.is_none() {
            return None;
        }
        let context = route.and_then(|route| route.context.clone()).or_else(|| self.context.clone());
        let means = Means {
            vm,
            calls: start.calls.share(),
            counters: Arc::clone(&self.counters),
            clears_route: self.clears_route,
            context,
        };
        Some(Box::new(Instance { means, request: None, response: None }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let flow;
        (self.request, flow) = run::start(&self.means, stream, false, end);
        flow
    }

    fn on_held(&mut self, stream: &mut Stream<'_>, body: &mut HeldBody) -> Flow {
        match &self.request {
            Some(run) => run::held(run, stream, body.bytes(usize::MAX)),
            None => Flow::Continue,
        }
    }

    fn on_request_data(&mut self, stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
        match &self.request {
            Some(run) => {
                run::continues(run);
                run::data(run, stream, data, end)
            }
            None => Flow::Continue,
        }
    }

    fn on_request_tail(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Bytes {
        self.request.as_ref().map(run::rest).unwrap_or_default()
    }

    fn on_request_trailers(&mut self, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        match &self.request {
            Some(run) => {
                run::continues(run);
                run::trailers(run, stream, trailers)
            }
            None => Flow::Continue,
        }
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let flow;
        (self.response, flow) = run::start(&self.means, stream, true, end);
        flow
    }

    fn on_response_held(&mut self, stream: &mut Stream<'_>, held: HeldResponse<'_>) -> Flow {
        let Some(run) = &self.response else { return Flow::Continue };
        let flow = run::held(run, stream, held.body.clone());
        if let Some(other) = run::replaced(run) {
            *held.body = other;
        }
        flow
    }

    fn on_response_data(&mut self, stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
        match &self.response {
            Some(run) => {
                run::continues(run);
                run::data(run, stream, data, end)
            }
            None => Flow::Continue,
        }
    }

    fn on_response_trailers(&mut self, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        match &self.response {
            Some(run) => {
                run::continues(run);
                run::trailers(run, stream, trailers)
            }
            None => Flow::Continue,
        }
    }
}
