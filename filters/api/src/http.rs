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
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{Calls, NoCalls};
use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::info::{ClusterFacts, StreamInfo};
use crate::reply::LocalReply;
use crate::runtime::{NoRuntime, Runtime};

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
    /// Hold the message here until its body has come, then ask [`HttpFilter::on_held`], or [`HttpFilter::on_response_held`]. For
    /// [`HttpFilter::on_request_head`] and [`HttpFilter::on_response_head`]; elsewhere it is [`Flow::Continue`].
    Hold(Hold),
    /// Serve another request in place of the response, as if the client had sent it. For [`HttpFilter::on_response_head`], where it is
    /// what the hook returns; elsewhere it is [`Flow::Continue`].
    Anew(Box<Anew>),
}

/// What learns whether something has come true.
pub type Told = Box<dyn FnOnce(&mut Stream<'_>, bool)>;

/// A request that takes the place of the one whose response has come, unless that is still on its way. It has no body.
pub struct Anew {
    /// Its head.
    pub request: RequestHead,
    /// Told whether there is a route for it, unless the response goes on for the first request is not over. If there is none, the
    /// response goes on, too.
    pub then: Told,
}

/// The rest of a response that was held, as the filters before made it. What is left here is sent in its place.
#[derive(Debug)]
pub struct HeldResponse<'h> {
    /// The body.
    pub body: &'h mut Bytes,
    /// The trailers; empty if there are none.
    pub trailers: &'h mut Headers,
}

/// How much of a body is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// So many bytes at most.
    pub most: usize,
    /// What becomes of a longer body: held in part, the rest follows as it comes; or else the request is answered with 413. A
    /// response is always held whole, and a longer one is answered with 500.
    pub partial: bool,
}

/// The body of a request that is held.
///
/// The data hooks see it once the request goes on. How it is framed then: with a length if the head has a `content-length` (and the
/// whole body is here), in chunks else.
#[derive(Clone, Debug, Default)]
pub struct HeldBody {
    pieces: Vec<Bytes>,
    whole: bool,
}

impl HeldBody {
    /// Pieces of a body in their order, and whether they are all of it.
    pub fn new(pieces: Vec<Bytes>, whole: bool) -> Self {
        Self { pieces, whole }
    }

    /// The bytes that are here.
    pub fn length(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether this is the whole body.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The bytes in one piece, at most so many.
    pub fn bytes(&self, most: usize) -> Bytes {
        if let [only] = &*self.pieces {
            return only.slice(..only.len().min(most));
        }
        let mut all = Vec::with_capacity(self.length().min(most));
        for piece in &self.pieces {
            all.extend_from_slice(&piece[..piece.len().min(most - all.len())]);
        }
        all.into()
    }

    /// Puts other bytes in their place.
    pub fn replace(&mut self, bytes: Bytes) {
        self.pieces = vec![bytes];
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.pieces.push(piece);
    }

    /// Says that there is no more of it.
    pub fn complete(&mut self) {
        self.whole = true;
    }

    /// The pieces, to be passed on.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }
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
    /// [`HttpFilter::on_request_tail`] and [`HttpFilter::on_response_tail`]
    pub const TAIL: Phases = Phases(128);

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
    /// The phases that it takes part in, where these are others than those of its factory.
    fn phases(&self) -> Option<Phases> {
        None
    }

    /// The request head came; `end` when there is neither body nor trailers.
    fn on_request_head(&mut self, _stream: &mut Stream<'_>, _end: bool) -> Flow {
        Flow::Continue
    }

    /// The body of a request came that [`Flow::Hold`] holds. It follows by way of the data hooks, too.
    fn on_held(&mut self, _stream: &mut Stream<'_>, _body: &mut HeldBody) -> Flow {
        Flow::Continue
    }

    /// A piece of the request body came; it may be changed or emptied.
    fn on_request_data(&mut self, _stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        Flow::Continue
    }

    /// The request's body has ended. What this returns goes behind it, through the rest of the chain. `trailers` are those that
    /// came, or empty; what is put there follows.
    fn on_request_tail(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Bytes {
        Bytes::new()
    }

    /// The request trailers came.
    fn on_request_trailers(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Flow {
        Flow::Continue
    }

    /// The response head came (`stream.response`).
    fn on_response_head(&mut self, _stream: &mut Stream<'_>, _end: bool) -> Flow {
        Flow::Continue
    }

    /// The whole response came that [`Flow::Hold`] holds. This filter sees no more of it; the next ones do.
    fn on_response_held(&mut self, _stream: &mut Stream<'_>, _held: HeldResponse<'_>) -> Flow {
        Flow::Continue
    }

    /// A piece of the response body came; it may be changed or emptied.
    fn on_response_data(&mut self, _stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        Flow::Continue
    }

    /// As [`HttpFilter::on_request_tail`], for the response.
    fn on_response_tail(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Bytes {
        Bytes::new()
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

/// A filter's own configuration, or in its place a route's; none where that is of another type.
pub fn of_level<'c, T: Any>(own: &'c T, route: Option<&'c RouteConfig>) -> Option<&'c T> {
    route.map_or(Some(own), |route| route.downcast_ref())
}

/// What a factory may look at when a stream begins.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The request head, before any filter saw it.
    pub request: &'a RequestHead,
    /// What is known so far.
    pub info: &'a StreamInfo,
    /// The filter's `typed_per_filter_config` of the matched route, the most specific level first.
    pub routes: &'a [&'a RouteConfig],
    /// Whether the matched route forwards to a cluster.
    pub forwards: bool,
    /// The cluster that the matched route names.
    pub cluster: Option<&'a Arc<str>>,
    /// The rate limits of the matched route and of its virtual host, in the form in which the filters compile them.
    pub rate_limits: [Option<&'a RouteConfig>; 2],
    /// The runtime of the moment.
    pub runtime: &'a dyn Runtime,
    /// Looks up what is known of the cluster that the matched route names.
    pub upstream: &'a dyn Fn() -> Option<Rc<ClusterFacts>>,
    /// The means to ask other services.
    pub calls: &'a dyn Calls,
}

impl<'a> Start<'a> {
    /// A stream to a route that says nothing of its own, where there is neither a runtime nor anybody to ask.
    pub fn bare(request: &'a RequestHead, info: &'a StreamInfo) -> Self {
        Self {
            request,
            info,
            routes: &[],
            forwards: true,
            cluster: None,
            rate_limits: [None, None],
            runtime: &NoRuntime,
            upstream: &|| None,
            calls: &NoCalls,
        }
    }

    /// The configuration of the most specific level, if there is one.
    pub fn route<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.levels().next()
    }

    /// The configurations of all levels, the most specific one first.
    pub fn levels<T: Any + Send + Sync>(&self) -> impl Iterator<Item = Arc<T>> {
        self.routes.iter().filter_map(|config| Arc::clone(config).downcast().ok())
    }
}

/// A configured filter.
pub trait HttpFilterFactory: Send + Sync {
    /// The phases its instances take part in.
    fn phases(&self) -> Phases;

    /// Whether its instances read what the data plane gathers of a stream for those who ask: its route, cluster and host, its id, sizes of
    /// heads, times. What [`StreamInfo`] has of the connection, its metadata, filter state, flags and status are always there. `route`
    /// is the configuration that a route has for the filter; none is given for the filter's own.
    fn reads_facts(&self, _route: Option<&RouteConfig>) -> bool {
        true
    }

    /// The filter is in force on a worker: told by one worker, at each publication that changes listeners.
    fn begin(&self, _calls: &dyn Calls) {}

    /// Its phases, where its instances have nothing to ask a stream's start and nothing to remember from one hook to the next, unless a
    /// route has its own configuration. None is kept then: [`HttpFilterFactory::at_hook`] makes one for each hook, which costs no
    /// memory. Elsewhere [`HttpFilterFactory::create`] is asked.
    fn passing(&self) -> Option<Phases> {
        None
    }

    /// Shows the hook an instance that is made for it alone. To be given with [`HttpFilterFactory::passing`], and asked only then.
    fn at_hook(&self, _hook: &mut dyn FnMut(&mut dyn HttpFilter) -> Flow) -> Flow {
        Flow::Continue
    }

    /// An instance for one stream, or none where it has nothing to do. It may borrow from the factory, which outlives the stream.
    fn create<'f>(&'f self, start: &Start<'_>) -> Option<Box<dyn HttpFilter + 'f>>;
}
