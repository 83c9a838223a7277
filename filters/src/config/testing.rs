//! What the tests of filters share: YAML in, a stream to work on.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_filters_api::http::{HttpFilter, RouteConfig, Start, Stream};
use sampan_filters_api::series::NoSeries;
use sampan_filters_api::{
    Address, ConnectionInfo, CounterStore, Direction, Headers, NodeFacts, RequestHead, SeriesStore,
    StreamInfo,
};

use super::FilterContext;

/// The wire form of the message that a YAML text stands for.
pub fn bytes<M: prost::Message + prost::Name + Default>(yaml: &str) -> Vec<u8> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    decode::<M>(Descriptors::load(), &document, Policy::default()).unwrap().value.encode_to_vec()
}

/// A context whose counters live for as long as the tests.
pub fn context() -> FilterContext<'static> {
    with_counters(Box::leak(Box::default()))
}

/// A context within the connection manager `h`, with these counters.
pub fn with_counters(counters: &Arc<CounterStore>) -> FilterContext<'_> {
    FilterContext {
        counters,
        name: "own",
        prefix: "http.h.",
        service_cluster: "cluster",
        failing: NEVER.get_or_init(Arc::default),
        series: NO_SERIES.get_or_init(|| Arc::new(NoSeries)),
        node: NO_NODE.get_or_init(NodeFacts::default),
        direction: Direction::Unspecified,
    }
}

static NO_SERIES: OnceLock<Arc<dyn SeriesStore>> = OnceLock::new();
static NO_NODE: OnceLock<NodeFacts> = OnceLock::new();

/// A proxy that does not fail its health checks.
static NEVER: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Every counter that was written to and is not zero.
pub fn counted(counters: &Arc<CounterStore>) -> Vec<String> {
    let mut found = Vec::new();
    counters.read(&mut |name, value| {
        if value > 0 {
            found.push(format!("{name}: {value}"));
        }
    });
    found.sort();
    found
}

/// A connection between `10.0.0.1:1000` and `10.0.0.2:80`.
pub fn connection() -> ConnectionInfo {
    let (local, remote) = (([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 1000).into());
    ConnectionInfo::new(1, Address::Socket(local), Address::Socket(remote), Arc::default())
}

/// A stream of [`connection`].
pub fn info() -> StreamInfo {
    StreamInfo::new(Rc::new(connection()), Instant::now(), SystemTime::now())
}

/// A request with these fields; the path is `/` unless one of them says otherwise.
pub fn request(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_path(b"/");
    head.set_authority(b"test");
    head.set_scheme(b"http");
    for (name, value) in fields {
        match *name {
            ":path" => head.set_path(value.as_bytes()),
            ":method" => head.set_method(value.as_bytes()),
            ":authority" => head.set_authority(value.as_bytes()),
            name => head.headers.append(name, value),
        }
    }
    head
}

/// What a factory is asked with, without runtime layers.
pub fn start<'a>(request: &'a RequestHead, info: &'a StreamInfo, routes: &'a [&'a RouteConfig]) -> Start<'a> {
    Start { routes, ..Start::bare(request, info) }
}

/// The first application protocol that a request offers upstream after a filter has seen its head.
pub fn offered_by(
    filter: &mut dyn HttpFilter,
    request: &mut RequestHead,
    info: &mut StreamInfo,
) -> Option<String> {
    filter.on_request_head(&mut Stream { request, response: None, info, clear_route: &mut false }, true);
    let set = info.upstream.protocols?;
    set.names().first().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// `name: value` of each field.
pub fn shown(headers: &Headers) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
}
