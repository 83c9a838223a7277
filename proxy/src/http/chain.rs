//! Runs the HTTP filters of one stream.
//!
//! Hooks run in the configured order for the request and in reverse for the response. The chain and what filters may see
//! are borrowed only while a hook runs; a hook that waits ([`Flow::Await`]) is waited for with nothing borrowed, so the other
//! direction of the stream goes on. A stream whose configuration has no filter never comes here.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sampan_filters_api::http::{
    Flow, HeldBody, HeldResponse, Hold, HttpFilter, HttpFilterFactory, Phases, RouteConfig as FilterConfig,
    Start, Stream,
};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Flag, Headers, LocalReply, RequestHead, ResponseHead, StreamInfo};
use smallvec::SmallVec;

use super::anew;
use super::call::WorkerCalls;
use super::config::{ConfiguredFilter, FilterSource};
use super::connection::HttpContext;
use super::instance::{Instance, guarded};
use super::internal_redirect::Followed;
use super::route::{Action, FilterOverride, FilterOverrides};
use super::stream::{self, Hit};
use super::trace::Trace;
use crate::snapshot::{Extension, Snapshot};
use crate::worker::Worker;

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
    /// The trace that it is part of.
    pub trace: Option<Box<Trace>>,
    /// Redirects that were followed on the way to this request.
    pub redirects: Option<Box<Followed>>,
    /// A filter waited for something.
    pub waited: bool,
    /// Whether the client speaks gRPC, as its request said before filters saw it; none where there are no filters.
    pub grpc: Option<bool>,
    /// What a reply leaves for logs.
    pub late: Option<(&'static str, Arc<MetadataValue>)>,
    filters: SmallVec<[Instance<'s>; 4]>,
    discovered: &'s Discovered,
    phases: Phases,
}

/// Stands for a filter whose configuration is to be discovered and has not come: as in Envoy, no request passes.
struct Missing;

impl HttpFilterFactory for Missing {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create<'f>(&'f self, _: &Start<'_>) -> Option<Box<dyn HttpFilter + 'f>> {
        Some(Box::new(Missing))
    }
}

impl HttpFilter for Missing {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _: bool) -> Flow {
        stream.info.flags.set(Flag::NoFilterConfigFound);
        Flow::Reply(Box::new(LocalReply::new(500, "filter_config_not_found")))
    }
}

/// What makes those filters of a stream whose configuration is discovered, held for as long as the stream is: in the order of the
/// configured filters; not set where there are none such.
pub type Discovered = OnceCell<Vec<Option<Arc<Extension>>>>;

impl<'s> Shared<'s> {
    /// A stream without filters.
    pub fn new(
        request: &'s mut RequestHead,
        response: &'s mut ResponseHead,
        info: &'s mut StreamInfo,
        discovered: &'s Discovered,
    ) -> Self {
        Self {
            request,
            response,
            has_response: false,
            info,
            trailers: None,
            clear_route: false,
            trace: None,
            redirects: None,
            waited: false,
            grpc: None,
            late: None,
            filters: SmallVec::new(),
            discovered,
            phases: Phases::NONE,
        }
    }

    /// The same stream, for the request that a redirect has made of the first one: with filters and facts of its own.
    pub fn begin_anew(&mut self) {
        self.filters.clear();
        self.phases = Phases::NONE;
        self.has_response = false;
        self.trailers = None;
        self.clear_route = false;
        self.response.clear();
        let fresh = StreamInfo::new(self.info.connection.clone(), Instant::now(), SystemTime::now());
        let before = std::mem::replace(self.info, fresh);
        self.info.remote = before.remote;
        self.info.protocol = before.protocol;
        self.info.filter_state = before.filter_state;
        self.info.stream_id = before.stream_id;
        self.info.bytes.received = before.bytes.received;
    }

    /// Makes the filters' instances, with what the matched route says about them. `share` is the number of its
    /// weighted cluster.
    pub fn create_filters(
        &mut self,
        worker: &Rc<Worker>,
        configured: &'s [ConfiguredFilter],
        hit: Option<&Hit<'_>>,
        share: usize,
    ) {
        self.grpc = Some(self.request.is_grpc());
        let snapshot = worker.snapshot_ref();
        let runtime: &crate::runtime::Runtime = &snapshot.runtime;
        let levels = hit.map(|hit| levels(hit, share)).unwrap_or_default();
        let forwards = hit.is_some_and(|hit| matches!(hit.route.payload.action, Action::Forward(_)));
        let target = hit.and_then(|hit| stream::named_cluster(hit, share));
        let cluster = target.map(|cluster| &cluster.name);
        let upstream = || Some(worker.known_cluster(target?.slot)?.facts());
        let rate_limits = hit.map_or([None, None], |hit| {
            [hit.route.payload.rate_limits.as_ref(), hit.host.payload().rate_limits.as_ref()]
        });
        let base = Start {
            request: self.request,
            info: self.info,
            routes: &[],
            forwards,
            cluster,
            rate_limits,
            runtime,
            upstream: &upstream,
            calls: &WorkerCalls(worker),
        };
        let named = named_filters(&levels, configured);
        let making = Making { configured, discovered: self.discovered, levels: &levels, snapshot: &snapshot };
        for (place, filter) in configured.iter().enumerate() {
            let is_named = named & bit(place) != 0;
            let instance = match (filter.passing, &filter.factory) {
                (Some(phases), FilterSource::Fixed(factory)) if !is_named && !filter.disabled => {
                    Some(Instance::passing(&**factory, phases))
                }
                _ => making.instance(place, is_named, &base),
            };
            if let Some(instance) = instance {
                self.phases = self.phases.and(instance.phases());
                self.filters.push(instance);
            }
        }
    }

    /// How many filters there are.
    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    /// Whether a filter takes part in any of these phases.
    pub fn wants(&self, phases: Phases) -> bool {
        self.phases.intersects(phases)
    }

    /// Tells every filter that the stream is over.
    pub fn complete(&mut self) {
        if let Some((namespace, fields)) = self.late.take() {
            self.info.metadata.set_all(namespace, &fields);
        }
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

    /// What a filter wants that does not just let its phase pass.
    fn call(
        &mut self,
        index: usize,
        phase: Phases,
        hook: impl FnOnce(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
    ) -> Option<Flow> {
        let instance = self.filters.get_mut(index)?;
        let mut stream = Stream {
            request: self.request,
            response: if self.has_response { Some(self.response) } else { None },
            info: self.info,
            clear_route: &mut self.clear_route,
        };
        instance.call(phase, &mut stream, hook)
    }

    fn resume(&mut self, resume: sampan_filters_api::http::Resume) -> Flow {
        let mut stream = Stream {
            request: self.request,
            response: if self.has_response { Some(self.response) } else { None },
            info: self.info,
            clear_route: &mut self.clear_route,
        };
        guarded(|| resume(&mut stream))
    }
}

/// What a filter's instance is made of where that depends on the stream.
struct Making<'m, 's, 'h> {
    configured: &'s [ConfiguredFilter],
    discovered: &'s Discovered,
    levels: &'m Levels<'h>,
    snapshot: &'m Snapshot,
}

impl<'s> Making<'_, 's, '_> {
    /// The instance of the filter at a place; `is_named` if some level may say something of it. Apart from the loop that most filters
    /// only pass.
    #[inline(never)]
    fn instance(&self, place: usize, is_named: bool, start: &Start<'_>) -> Option<Instance<'s>> {
        let filter = &self.configured[place];
        let factory: &'s dyn HttpFilterFactory = match &filter.factory {
            FilterSource::Fixed(factory) => &**factory,
            FilterSource::Discovered(filter) => self.discovered(place, filter.default.as_deref()),
        };
        if !is_named {
            return if filter.disabled { None } else { Instance::create(factory, start) };
        }
        let mut routes: SmallVec<[&FilterConfig; 3]> = SmallVec::new();
        let on = overridden(self.levels, &filter.name, &mut routes);
        let on = on.unwrap_or(!filter.disabled);
        if on { Instance::create(factory, &Start { routes: &routes, ..*start }) } else { None }
    }

    /// What makes the instances of a filter that is discovered.
    #[inline(never)]
    fn discovered(
        &self,
        place: usize,
        default: Option<&'s dyn HttpFilterFactory>,
    ) -> &'s dyn HttpFilterFactory {
        let found = |filter: &ConfiguredFilter| match &filter.factory {
            FilterSource::Fixed(_) => None,
            FilterSource::Discovered(filter) => {
                self.snapshot.extensions.entry(filter.reference.slot).cloned()
            }
        };
        let all = self.discovered.get_or_init(|| self.configured.iter().map(found).collect());
        match (all.get(place).and_then(Option::as_deref), default) {
            (Some(Extension::Http(factory)), _) => &**factory,
            (_, Some(factory)) => factory,
            _ => &Missing,
        }
    }
}

/// `typed_per_filter_config` of every level that holds for a request, the most specific one first.
type Levels<'h> = [Option<&'h FilterOverrides>; 3];

fn levels<'h>(hit: &Hit<'h>, share: usize) -> Levels<'h> {
    let weighted = stream::weighted(hit, share).map(|weighted| &weighted.filters);
    [weighted, Some(&hit.route.payload.filters), Some(&hit.host.payload().filters)]
}

/// A filter's place in [`named_filters`]; far ones share the last.
fn bit(place: usize) -> u64 {
    1 << place.min(63)
}

/// The places of the filters of which some level may say something: of most it says nothing.
fn named_filters(levels: &Levels<'_>, configured: &[ConfiguredFilter]) -> u64 {
    let mut named = 0;
    for (name, _) in levels.iter().flatten().flat_map(|level| &level.0) {
        for (place, _) in configured.iter().enumerate().filter(|(_, filter)| filter.name == *name) {
            named |= bit(place);
        }
    }
    named
}

/// What the levels have for a filter, and whether the most specific one that says something lets it take part.
fn overridden<'h>(
    levels: &Levels<'h>,
    filter: &str,
    routes: &mut SmallVec<[&'h FilterConfig; 3]>,
) -> Option<bool> {
    let mut on = None;
    for entry in levels.iter().flatten().filter_map(|level| level.of(filter)) {
        on.get_or_insert(matches!(entry, FilterOverride::Enabled(_)));
        if let FilterOverride::Enabled(Some(config)) = entry {
            routes.push(config);
        }
    }
    on
}

/// The phases of the request, or of the response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Filters in the configured order.
    Request,
    /// Filters in reverse.
    Response,
}

impl Direction {
    /// The filter at a place of the order in which this direction passes `count` of them.
    pub fn index(self, place: usize, count: usize) -> usize {
        if self == Direction::Request { place } else { count - 1 - place }
    }
}

/// Runs one phase over all filters.
async fn run(
    shared: &RefCell<Shared<'_>>,
    phase: Phases,
    direction: Direction,
    hook: impl FnMut(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
) -> Result<(), Box<LocalReply>> {
    let count = {
        let shared = shared.borrow();
        if !shared.wants(phase) {
            return Ok(());
        }
        shared.filters.len()
    };
    run_places(shared, phase, direction, 0..count, hook).await
}

/// Runs one phase over the filters at some places.
async fn run_places(
    shared: &RefCell<Shared<'_>>,
    phase: Phases,
    direction: Direction,
    places: Range<usize>,
    mut hook: impl FnMut(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
) -> Result<(), Box<LocalReply>> {
    for place in places {
        let flow = {
            let mut shared = shared.borrow_mut();
            let index = direction.index(place, shared.filters.len());
            shared.call(index, phase, &mut hook)
        };
        if let Some(flow) = flow {
            // Only heads can be held.
            settled(shared, flow).await?;
        }
    }
    Ok(())
}

/// The request head passes the chain, from a filter on, up to one that does not just let it pass: which, and what it wants.
pub fn request_head(shared: &RefCell<Shared<'_>>, from: usize, end: bool) -> Option<(usize, Flow)> {
    let mut shared = shared.borrow_mut();
    (from..shared.filters.len()).find_map(|index| {
        let flow = shared.call(index, Phases::REQUEST_HEAD, |f, s| f.on_request_head(s, end))?;
        Some((index, flow))
    })
}

/// The request head goes on from such a filter, unless one of them holds it: which, and how much of its body.
pub async fn request_head_from(
    shared: &RefCell<Shared<'_>>,
    (mut index, mut flow): (usize, Flow),
    end: bool,
) -> Result<Option<(usize, Hold)>, Box<LocalReply>> {
    loop {
        if let Some(hold) = settled(shared, flow).await? {
            return Ok(Some((index, hold)));
        }
        match request_head(shared, index + 1, end) {
            Some(next) => (index, flow) = next,
            None => return Ok(None),
        }
    }
}

/// A filter learns of the body that it waited for.
pub async fn held(
    shared: &RefCell<Shared<'_>>,
    index: usize,
    body: &mut HeldBody,
) -> Result<(), Box<LocalReply>> {
    let flow = shared.borrow_mut().call(index, Phases::REQUEST_HEAD, |f, s| f.on_held(s, body));
    settled(shared, flow.unwrap_or(Flow::Continue)).await.map(|_| ())
}

/// Waits for what a filter waits for; how much it wants to hold, if it does.
async fn settled(shared: &RefCell<Shared<'_>>, mut flow: Flow) -> Result<Option<Hold>, Box<LocalReply>> {
    loop {
        match flow {
            Flow::Continue | Flow::Anew(_) => return Ok(None),
            Flow::Hold(hold) => return Ok(Some(hold)),
            Flow::Reply(reply) => return Err(reply),
            Flow::Await(future) => {
                let resume = future.await;
                let mut shared = shared.borrow_mut();
                shared.waited = true;
                flow = shared.resume(resume);
            }
        }
    }
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

/// Why a response does not go on.
pub enum Interrupt {
    /// A filter replied.
    Reply(Box<LocalReply>),
    /// The request has become another one, which is to be served.
    Anew,
}

impl From<Box<LocalReply>> for Interrupt {
    fn from(reply: Box<LocalReply>) -> Self {
        Interrupt::Reply(reply)
    }
}

/// The response head passes the chain, from a place on, unless a filter holds it: at which place, and how much. With `end` there is
/// nothing to hold.
pub async fn response_head(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    from: usize,
    end: bool,
) -> Result<Option<(usize, Hold)>, Interrupt> {
    let count = shared.borrow().filters.len();
    for place in from..count {
        let index = Direction::Response.index(place, count);
        let flow = shared.borrow_mut().call(index, Phases::RESPONSE_HEAD, |f, s| f.on_response_head(s, end));
        let Some(flow) = flow else { continue };
        if let Flow::Anew(anew) = flow {
            if anew::take_place(context, &mut shared.borrow_mut(), *anew) {
                return Err(Interrupt::Anew);
            }
        } else if let Some(hold) = settled(shared, flow).await?
            && !end
        {
            return Ok(Some((place, hold)));
        }
    }
    Ok(None)
}

/// A filter sees the response that it holds.
pub async fn response_held(
    shared: &RefCell<Shared<'_>>,
    place: usize,
    body: &mut Bytes,
    trailers: &mut Headers,
) -> Result<(), Box<LocalReply>> {
    let flow = {
        let mut shared = shared.borrow_mut();
        let index = Direction::Response.index(place, shared.filters.len());
        shared
            .call(index, Phases::RESPONSE_HEAD, |f, s| f.on_response_held(s, HeldResponse { body, trailers }))
    };
    settled(shared, flow.unwrap_or(Flow::Continue)).await.map(|_| ())
}

/// A piece of a body that does not end with it passes the filters at some places.
pub async fn data(
    shared: &RefCell<Shared<'_>>,
    direction: Direction,
    places: Range<usize>,
    data: &mut Bytes,
    end: bool,
) -> Result<(), Box<LocalReply>> {
    match direction {
        Direction::Request => {
            let hook = |f: &mut dyn HttpFilter, s: &mut Stream<'_>| f.on_request_data(s, data, end);
            run_places(shared, Phases::REQUEST_DATA, direction, places, hook).await
        }
        Direction::Response => {
            let hook = |f: &mut dyn HttpFilter, s: &mut Stream<'_>| f.on_response_data(s, data, end);
            run_places(shared, Phases::RESPONSE_DATA, direction, places, hook).await
        }
    }
}

/// Trailers pass the filter at a place.
pub async fn trailers(
    shared: &RefCell<Shared<'_>>,
    direction: Direction,
    place: usize,
    trailers: &mut Headers,
) -> Result<(), Box<LocalReply>> {
    match direction {
        Direction::Request => {
            let hook = |f: &mut dyn HttpFilter, s: &mut Stream<'_>| f.on_request_trailers(s, trailers);
            run_places(shared, Phases::REQUEST_TRAILERS, direction, place..place + 1, hook).await
        }
        Direction::Response => {
            let hook = |f: &mut dyn HttpFilter, s: &mut Stream<'_>| f.on_response_trailers(s, trailers);
            run_places(shared, Phases::RESPONSE_TRAILERS, direction, place..place + 1, hook).await
        }
    }
}

/// What the filter at a place adds behind a body. Nobody waits here.
pub fn tail(
    shared: &RefCell<Shared<'_>>,
    direction: Direction,
    place: usize,
    trailers: &mut Headers,
) -> Result<Bytes, Box<LocalReply>> {
    let mut shared = shared.borrow_mut();
    let index = direction.index(place, shared.filters.len());
    let mut more = Bytes::new();
    let flow = shared.call(index, Phases::TAIL, |filter, stream| {
        more = match direction {
            Direction::Request => filter.on_request_tail(stream, trailers),
            Direction::Response => filter.on_response_tail(stream, trailers),
        };
        Flow::Continue
    });
    match flow {
        Some(Flow::Reply(reply)) => Err(reply),
        None | Some(Flow::Continue | Flow::Hold(_) | Flow::Await(_) | Flow::Anew(_)) => Ok(more),
    }
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
