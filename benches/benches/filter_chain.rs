//! The filters of `http1_filters` without the proxy around them: what each of them costs a stream that it lets pass, and what all
//! of them do. Configuration is what `compare` gives Sampan and Envoy.
//!
//! Run with `cargo bench -p sampan-benches --bench filter_chain`.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use divan::{Bencher, black_box};
use sampan_benches::binaries::ProxyKind;
use sampan_benches::config::{Job, Profile, Setup, render};
use sampan_filters_api::http::{Phases, Start, Stream};
use sampan_filters_api::{Address, ConnectionInfo, RequestHead, ResponseHead, StreamInfo};
use sampan_proxy::bootstrap;
use sampan_proxy::cli::{self, Invocation};
use sampan_proxy::http::config::{ConfiguredFilter, FilterSource, HttpConfig};
use sampan_proxy::http::instance::Instance;
use sampan_proxy::listener::config::Terminal;

/// Every filter of the chain by the end of its name, in the chain's order.
const FILTERS: [&str; 5] = ["cors", "fault", "rbac", "local_ratelimit", "header_mutation"];

fn main() {
    divan::main();
}

/// The connection manager as `compare` configures it.
fn configured() -> Arc<HttpConfig> {
    let nowhere = Path::new("/nonexistent");
    let setup = Setup {
        job: Job::FilterChain,
        profile: Profile::Plain,
        listen: 1,
        upstream: 2,
        dir: nowhere,
        certificates: nowhere,
    };
    let text = render(ProxyKind::Sampan, &setup).unwrap_or_else(|error| panic!("no configuration: {error}"));
    let words = ["sampan", "--config-yaml", &text].map(str::to_owned);
    let Ok(Invocation::Run(options)) = cli::parse(words) else { panic!("not a run") };
    let loaded = bootstrap::load(&options).unwrap_or_else(|rejects| panic!("{rejects:?}"));
    let chain = loaded.compiled[0].chains.chains[0].clone();
    match &chain.terminal {
        Terminal::Http(config) => Arc::clone(config),
        _ => panic!("the first listener speaks HTTP"),
    }
}

/// What a load tool's request is when filters see it.
fn request() -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_path(b"/small");
    head.set_authority(b"127.0.0.1:8080");
    head.set_scheme(b"http");
    head.headers.append("x-forwarded-proto", "http");
    head.headers.append("x-request-id", "0b5c3c0e-3f64-9a8d-b4b9-4f2f7c3d8f10");
    head
}

fn connection() -> Rc<ConnectionInfo> {
    let [local, remote] = [80, 50_000].map(|port| Address::Socket(([127, 0, 0, 1], port).into()));
    Rc::new(ConnectionInfo::new(1, local, remote, Arc::default()))
}

/// One stream passes: its beginning, the request head, the response head.
fn pass(filters: &[&ConfiguredFilter], connection: &Rc<ConnectionInfo>, request: &mut RequestHead) -> usize {
    let mut info = StreamInfo::new(Rc::clone(connection), Instant::now(), SystemTime::UNIX_EPOCH);
    let start = Start::bare(request, &info);
    let mut instances: Vec<Instance<'_>> = Vec::with_capacity(filters.len());
    instances.extend(filters.iter().filter_map(|filter| match (&filter.factory, filter.passing) {
        (FilterSource::Fixed(factory), Some(phases)) => Some(Instance::passing(&**factory, phases)),
        (FilterSource::Fixed(factory), None) => Instance::create(&**factory, &start),
        (FilterSource::Discovered(_), _) => None,
    }));
    let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
    let mut clear_route = false;
    let mut stopped = 0;
    for instance in &mut instances {
        let mut stream =
            Stream { request: &mut *request, response: None, info: &mut info, clear_route: &mut clear_route };
        let flow = instance.call(Phases::REQUEST_HEAD, &mut stream, |f, s| f.on_request_head(s, true));
        stopped += usize::from(flow.is_some());
    }
    for instance in instances.iter_mut().rev() {
        let mut stream = Stream {
            request: &mut *request,
            response: Some(&mut response),
            info: &mut info,
            clear_route: &mut clear_route,
        };
        let flow = instance.call(Phases::RESPONSE_HEAD, &mut stream, |f, s| f.on_response_head(s, false));
        stopped += usize::from(flow.is_some());
    }
    stopped
}

fn run(bencher: Bencher<'_, '_>, wanted: &[&str]) {
    let config = configured();
    let is_wanted = |filter: &&ConfiguredFilter| wanted.iter().any(|name| filter.name.ends_with(name));
    let filters: Vec<&ConfiguredFilter> = config.filters.iter().filter(is_wanted).collect();
    assert_eq!(filters.len(), wanted.len(), "each of {wanted:?} is configured");
    let connection = connection();
    let stopped = pass(&filters, &connection, &mut request());
    assert_eq!(stopped, 0, "every filter lets the request pass");
    bencher.with_inputs(request).bench_local_values(|mut request| {
        black_box(pass(&filters, &connection, &mut request));
        request
    });
}

#[divan::bench]
fn none(bencher: Bencher<'_, '_>) {
    run(bencher, &[]);
}

#[divan::bench(args = FILTERS)]
fn one(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, &[name]);
}

#[divan::bench]
fn all(bencher: Bencher<'_, '_>) {
    run(bencher, &FILTERS);
}
