//! `envoy.filters.http.buffer`: sends a request upstream only once its whole body has come.

pub mod config;
#[cfg(test)]
mod tests;

use sampan_filters_api::Known;
use sampan_filters_api::http::{Flow, HeldBody, Hold, HttpFilter, HttpFilterFactory, Phases, Start, Stream};

/// The configuration of the filter or of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// `max_request_bytes`; none where a route has it off.
    pub most: Option<usize>,
}

/// One stream.
struct Instance(usize);

impl HttpFilterFactory for Buffer {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let own = start.route::<Buffer>().map_or(*self, |route| *route);
        own.most.map(|most| Box::new(Instance(most)) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, _stream: &mut Stream<'_>, end: bool) -> Flow {
        if end { Flow::Continue } else { Flow::Hold(Hold { most: self.0, partial: false }) }
    }

    fn on_held(&mut self, stream: &mut Stream<'_>, body: &mut HeldBody) -> Flow {
        let headers = &mut stream.request.headers;
        if !headers.has(Known::ContentLength) {
            headers.append_known(Known::ContentLength, body.length().to_string());
        }
        headers.remove_known(Known::TransferEncoding);
        Flow::Continue
    }
}
