//! Runs the HTTP filters of one stream.
//!
//! Hooks run in the configured order for the request and in reverse for the response. The chain and what filters may see
//! are borrowed only while a hook runs; a hook that waits ([`Flow::Await`]) is waited for with nothing borrowed, so the other
//! direction of the stream goes on. A stream whose configuration has no filter never comes here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use sampan_filters_api::http::{Flow, HttpFilter, Phases, Stream};
use sampan_filters_api::{Headers, LocalReply, RequestHead, ResponseHead, StreamInfo};
use smallvec::SmallVec;

use super::config::ConfiguredFilter;
use super::route::FilterOverride;
use super::stream::Hit;

/// What filters see and change; shared by the two directions of a stream.
pub struct Shared<'s> {
    /// The request head.
    pub request: &'s mut RequestHead,
    /// The response head; filled once `has_response`.
    pub response: &'s mut ResponseHead,
    /// Whether there is a response head.
    pub has_response: bool,
    /// Facts of the stream.
    pub info: &'s mut StreamInfo,
    /// The response trailers, where somebody may ask for them later.
    pub trailers: Option<Headers>,
    /// A filter asked for the route to be chosen again.
    pub clear_route: bool,
    filters: SmallVec<[Instance; 4]>,
    phases: Phases,
}

struct Instance {
    phases: Phases,
    filter: Box<dyn HttpFilter>,
}

impl<'s> Shared<'s> {
    /// A stream without filters.
    pub fn new(
        request: &'s mut RequestHead,
        response: &'s mut ResponseHead,
        info: &'s mut StreamInfo,
    ) -> Self {
        Self {
            request,
            response,
            has_response: false,
            info,
            trailers: None,
            clear_route: false,
            filters: SmallVec::new(),
            phases: Phases::NONE,
        }
    }

    /// Makes the filters' instances, with what the matched route says about them.
    pub fn create_filters(&mut self, configured: &[ConfiguredFilter], hit: Option<&Hit<'_>>) {
        for filter in configured {
            let entry = hit.and_then(|hit| {
                let route = hit.route.payload.filters.of(&filter.name);
                route.or_else(|| hit.host.payload().filters.of(&filter.name))
            });
            let (on, route) = match entry {
                None => (!filter.disabled, None),
                Some(FilterOverride::Disabled) => (false, None),
                Some(FilterOverride::Enabled(route)) => (true, route.as_ref()),
            };
            if !on {
                continue;
            }
            if let Some(instance) = filter.factory.create(self.request, self.info, route) {
                self.phases = self.phases.and(filter.factory.phases());
                self.filters.push(Instance { phases: filter.factory.phases(), filter: instance });
            }
        }
    }

    /// Whether a filter takes part in any of these phases.
    pub fn wants(&self, phases: Phases) -> bool {
        self.phases.intersects(phases)
    }

    /// Tells every filter that the stream is over.
    pub fn complete(&mut self) {
        if !self.wants(Phases::COMPLETE) {
            return;
        }
        for index in (0..self.filters.len()).rev() {
            self.call(index, Phases::COMPLETE, |filter, stream| {
                filter.on_complete(stream);
                Flow::Continue
            });
        }
    }

    fn call(
        &mut self,
        index: usize,
        phase: Phases,
        hook: impl FnOnce(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
    ) -> Flow {
        let instance = &mut self.filters[index];
        if !instance.phases.intersects(phase) {
            return Flow::Continue;
        }
        let mut stream = Stream {
            request: self.request,
            response: if self.has_response { Some(self.response) } else { None },
            info: self.info,
            clear_route: &mut self.clear_route,
        };
        // A panic in a filter fails its request only.
        catch_unwind(AssertUnwindSafe(|| hook(&mut *instance.filter, &mut stream)))
            .unwrap_or_else(|_| failed())
    }

    fn resume(&mut self, resume: sampan_filters_api::http::Resume) -> Flow {
        let mut stream = Stream {
            request: self.request,
            response: if self.has_response { Some(self.response) } else { None },
            info: self.info,
            clear_route: &mut self.clear_route,
        };
        catch_unwind(AssertUnwindSafe(|| resume(&mut stream))).unwrap_or_else(|_| failed())
    }
}

fn failed() -> Flow {
    tracing::error!(target: "filter", "a filter panicked; its request is answered with 500");
    Flow::Reply(Box::new(LocalReply::new(500, "filter_failure")))
}

/// The phases of the request, or of the response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

/// Runs one phase over all filters.
async fn run(
    shared: &RefCell<Shared<'_>>,
    phase: Phases,
    direction: Direction,
    mut hook: impl FnMut(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
) -> Result<(), Box<LocalReply>> {
    let count = {
        let shared = shared.borrow();
        if !shared.wants(phase) {
            return Ok(());
        }
        shared.filters.len()
    };
    for at in 0..count {
        let index = if direction == Direction::Request { at } else { count - 1 - at };
        let mut flow = shared.borrow_mut().call(index, phase, &mut hook);
        loop {
            match flow {
                Flow::Continue => break,
                Flow::Reply(reply) => return Err(reply),
                Flow::Await(future) => {
                    let resume = future.await;
                    flow = shared.borrow_mut().resume(resume);
                }
            }
        }
    }
    Ok(())
}

/// The request head passes the chain.
pub async fn request_head(shared: &RefCell<Shared<'_>>, end: bool) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::REQUEST_HEAD, Direction::Request, |f, s| f.on_request_head(s, end)).await
}

/// A piece of the request body passes the chain.
pub async fn request_data(
    shared: &RefCell<Shared<'_>>,
    data: &mut Bytes,
    end: bool,
) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::REQUEST_DATA, Direction::Request, |f, s| f.on_request_data(s, data, end)).await
}

/// The request trailers pass the chain.
pub async fn request_trailers(
    shared: &RefCell<Shared<'_>>,
    trailers: &mut Headers,
) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::REQUEST_TRAILERS, Direction::Request, |f, s| f.on_request_trailers(s, trailers)).await
}

/// The response head passes the chain.
pub async fn response_head(shared: &RefCell<Shared<'_>>, end: bool) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::RESPONSE_HEAD, Direction::Response, |f, s| f.on_response_head(s, end)).await
}

/// A piece of the response body passes the chain.
pub async fn response_data(
    shared: &RefCell<Shared<'_>>,
    data: &mut Bytes,
    end: bool,
) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::RESPONSE_DATA, Direction::Response, |f, s| f.on_response_data(s, data, end)).await
}

/// The response trailers pass the chain.
pub async fn response_trailers(
    shared: &RefCell<Shared<'_>>,
    trailers: &mut Headers,
) -> Result<(), Box<LocalReply>> {
    run(shared, Phases::RESPONSE_TRAILERS, Direction::Response, |f, s| f.on_response_trailers(s, trailers))
        .await
}
