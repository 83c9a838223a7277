//! What an HTTP filter is.
//!
//! Typed config -> [`HttpFilterFactory`] (one per configured filter, shared by all workers) ->
//! [`HttpFilter`] (one per stream, if the factory wants one). Hooks are synchronous and return a
//! [`Flow`]. To wait (for a remote call, a timer) a hook returns [`Flow::Await`] with an owned future; its
//! output is a function that runs when the future is done and returns the next `Flow`. So there is no
//! "continue" call that could be forgotten: the stream goes on exactly when the future completes.
//!
//! ```text
//!  request head -> data* -> trailers?        each: Continue -> next filter -> ... -> router
//!  complete <- trailers? <- data* <- head    each in reverse order   Reply -> local reply, chain ends
//! ```

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::info::StreamInfo;
use crate::reply::LocalReply;

/// What runs when an awaited future is done.
pub type Resume = Box<dyn FnOnce(&mut Stream<'_>) -> Flow>;

/// What a hook wants to happen next.
pub enum Flow {
    /// Go on with the next filter.
    Continue,
    /// End the chain with this reply. After the response head went down, the stream is reset instead.
    Reply(Box<LocalReply>),
    /// Hold this phase until the future is done, then do what its output says.
    Await(Pin<Box<dyn Future<Output = Resume>>>),
}

/// What a hook may see and change beside its own argument.
pub struct Stream<'a> {
    /// The request head. Changes after the request went upstream have no effect on it.
    pub request: &'a mut RequestHead,
    /// The response head, once there is one.
    pub response: Option<&'a mut ResponseHead>,
    /// Facts, metadata, filter state.
    pub info: &'a mut StreamInfo,
    /// Set to have the route chosen again before the request goes on.
    pub clear_route: &'a mut bool,
}

/// The phases in which a filter takes part; others pass it by without a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Phases(u8);

impl Phases {
    /// None
    pub const NONE: Phases = Phases(0);
    /// [`HttpFilter::on_request_head`]
    pub const REQUEST_HEAD: Phases = Phases(1);
    /// [`HttpFilter::on_request_data`]
    pub const REQUEST_DATA: Phases = Phases(2);
    /// [`HttpFilter::on_request_trailers`]
    pub const REQUEST_TRAILERS: Phases = Phases(4);
    /// [`HttpFilter::on_response_head`]
    pub const RESPONSE_HEAD: Phases = Phases(8);
    /// [`HttpFilter::on_response_data`]
    pub const RESPONSE_DATA: Phases = Phases(16);
    /// [`HttpFilter::on_response_trailers`]
    pub const RESPONSE_TRAILERS: Phases = Phases(32);
    /// [`HttpFilter::on_complete`]
    pub const COMPLETE: Phases = Phases(64);

    /// Both sets.
    pub const fn and(self, other: Phases) -> Phases {
        Phases(self.0 | other.0)
    }

    /// Whether the sets share a phase.
    pub const fn intersects(self, other: Phases) -> bool {
        self.0 & other.0 != 0
    }
}

/// A filter's part in one stream.
pub trait HttpFilter {
    /// The request head came; `end` when there is neither body nor trailers.
    fn on_request_head(&mut self, _stream: &mut Stream<'_>, _end: bool) -> Flow {
        Flow::Continue
    }

    /// A piece of the request body came; it may be changed or emptied.
    fn on_request_data(&mut self, _stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        Flow::Continue
    }

    /// The request trailers came.
    fn on_request_trailers(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Flow {
        Flow::Continue
    }

    /// The response head came (`stream.response`).
    fn on_response_head(&mut self, _stream: &mut Stream<'_>, _end: bool) -> Flow {
        Flow::Continue
    }

    /// A piece of the response body came; it may be changed or emptied.
    fn on_response_data(&mut self, _stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        Flow::Continue
    }

    /// The response trailers came.
    fn on_response_trailers(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Flow {
        Flow::Continue
    }

    /// The stream is over, whatever way; before the access log is written.
    fn on_complete(&mut self, _stream: &mut Stream<'_>) {}
}

/// A route's own configuration of one filter, compiled to the filter's own type.
pub type RouteConfig = Arc<dyn Any + Send + Sync>;

/// A configured filter.
pub trait HttpFilterFactory: Send + Sync {
    /// The phases its instances take part in.
    fn phases(&self) -> Phases;

    /// An instance for one stream, or none where it has nothing to do. `route` is the most specific
    /// `typed_per_filter_config` entry of the matched route.
    fn create(
        &self,
        request: &RequestHead,
        info: &StreamInfo,
        route: Option<&RouteConfig>,
    ) -> Option<Box<dyn HttpFilter>>;
}
