//! A new connection with its filter chain: its network filters are asked, its last filter takes it.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow, NetworkStart};
use sampan_filters_api::{ConnectionInfo, Flag, StreamInfo};

use super::bind::ActiveListener;
use super::config::{FilterChain, Terminal};
use super::retire;
use crate::http::call::WorkerCalls;
use crate::http::config::FilterSource;
use crate::http::connection::serve as serve_http;
use crate::logging::target;
use crate::net::io::Io;
use crate::snapshot::Extension;
use crate::tcp::proxy;
use crate::telemetry::stats::kinds::ListenerCounter;
use crate::tls::context::ServerContext;
use crate::tls::handshake::{self, Fault};
use crate::tls::report::Report;
use crate::worker::{Listening, Worker};

/// Serves a connection to its end.
///
/// A connection may be idle for long, so its future is kept small: what choosing takes is boxed and given back, and so is
/// the last filter's part, whose size differs by kind.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    listener: Arc<ActiveListener>,
    listening: &Rc<Listening>,
    chain: Arc<FilterChain>,
    io: Io,
    info: Rc<ConnectionInfo>,
) {
    let Some(last) = Box::pin(admit(worker, &listener, listening, &chain, io, info)).await else { return };
    // A chain that a newer configuration drops keeps its connections for the drain time.
    retire::until_over(worker, &chain, last).await;
}

/// A part of a connection's life.
type Life<'l> = Pin<Box<dyn Future<Output = ()> + 'l>>;

/// Makes the connection secure and asks the chain's filters; what the last one does then, unless it has come to an end.
async fn admit<'l>(
    worker: &'l Rc<Worker>,
    listener: &'l Arc<ActiveListener>,
    listening: &'l Rc<Listening>,
    chain: &Arc<FilterChain>,
    io: Io,
    mut info: Rc<ConnectionInfo>,
) -> Option<Life<'l>> {
    // Nobody else has it yet, so to change it is not to copy it.
    let known = Rc::make_mut(&mut info);
    known.chain = Some(chain.facts.clone());
    let secured = match &chain.tls {
        None => Some(io),
        Some(tls) => handshake(tls, chain, listening, io, known).await,
    };
    let Some(io) = secured else {
        failed(worker, listener, info);
        return None;
    };
    let mut stream = StreamInfo::new(info.clone(), info.start, SystemTime::now());
    if let Some(facts) = &info.facts {
        stream.metadata = facts.metadata.clone();
    }
    let Some(mut filters) = filters(worker, chain, &stream) else {
        tracing::debug!(target: target::CONN_HANDLER, "connection {}: a filter's configuration has not come", info.id);
        io.reset_on_close();
        return None;
    };
    for filter in &mut filters {
        if !open(filter.as_mut(), &io, &mut stream).await {
            return None;
        }
    }
    for filter in &mut filters {
        let Some(preamble) = filter.preamble(&mut stream) else { continue };
        // A client that takes nothing at all does not hold the connection up for ever.
        if !matches!(tokio::time::timeout(HANDSHAKE_TIMEOUT, io.begin(preamble)).await, Ok(Ok(()))) {
            return None;
        }
    }
    Some(last(worker, listener, chain.clone(), io, info, stream, filters))
}

/// The instances of a chain's filters; `None` if the configuration of one is missing.
fn filters(
    worker: &Rc<Worker>,
    chain: &FilterChain,
    stream: &StreamInfo,
) -> Option<Vec<Box<dyn NetworkFilter>>> {
    if chain.filters.is_empty() {
        return Some(Vec::new());
    }
    let snapshot = worker.snapshot();
    let start = NetworkStart { info: stream, runtime: &*snapshot.runtime, calls: &WorkerCalls(worker) };
    let one = |filter: &FilterSource<dyn NetworkFilterFactory>| {
        let factory = match filter {
            FilterSource::Fixed(factory) => factory,
            FilterSource::Discovered(filter) => {
                let found = snapshot.extensions.entry(filter.reference.slot).map(|found| &**found);
                match (found, &filter.default) {
                    (Some(Extension::Network(factory)), _) | (_, Some(factory)) => factory,
                    _ => return None,
                }
            }
        };
        Some(factory.create_with(&start))
    };
    chain.filters.iter().map(one).collect()
}

/// The last filter of the chain has the connection.
fn last<'l>(
    worker: &'l Rc<Worker>,
    listener: &'l Arc<ActiveListener>,
    chain: Arc<FilterChain>,
    io: Io,
    info: Rc<ConnectionInfo>,
    mut stream: StreamInfo,
    filters: Vec<Box<dyn NetworkFilter>>,
) -> Life<'l> {
    match &chain.terminal {
        Terminal::Http(config) => {
            let (chain, config) = (chain.clone(), config.clone());
            if filters.is_empty() {
                return Box::pin(serve_http(worker, listener, chain, config, io, info));
            }
            let mut filters = filters;
            Box::pin(async move {
                if first_bytes(&mut filters, &io, &mut stream).await {
                    serve_http(worker, listener, chain, config, io, info).await;
                }
                // They may count connections, and did so until now.
                drop(filters);
            })
        }
        Terminal::Tcp(config) => {
            let config = config.clone();
            Box::pin(async move { proxy::serve(worker, listener, &config, io, stream, filters).await })
        }
        Terminal::Filter(factory) => {
            let factory = factory.clone();
            Box::pin(async move {
                terminal(worker, factory.as_ref(), &io, &mut stream).await;
                drop(filters);
            })
        }
        Terminal::None => Box::pin(std::future::ready(())),
    }
}

/// No filter chain wants it: it is reset, and the listener's own access logs tell.
pub(crate) fn unmatched(worker: &Rc<Worker>, listener: &ActiveListener, io: Io, info: Rc<ConnectionInfo>) {
    let start = info.start;
    let mut stream = StreamInfo::new(info, start, SystemTime::now());
    stream.flags.set(Flag::NoRouteFound);
    stream.details = "filter_chain_not_found".into();
    stream.end = Some(std::time::Instant::now());
    crate::telemetry::log_connection(worker, &listener.config.access_logs, &stream);
    io.reset_on_close();
}

/// How long a handshake may take where the chain does not say. Envoy would wait for ever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the connection one that encrypts, and learns who the client is.
async fn handshake(
    tls: &ServerContext,
    chain: &FilterChain,
    listening: &Listening,
    io: Io,
    info: &mut ConnectionInfo,
) -> Option<Io> {
    let stats = listening.tls.get_or_init(|| listening.tls_stats(tls.scope()));
    let limit = chain.transport_connect_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
    let accepting = handshake::accept(tls, io, &info.direct_remote, stats, &mut info.requested_server_name);
    match tokio::time::timeout(limit, accepting).await {
        Ok(Ok(established)) => {
            info.tls = Some(Arc::new(established.tls));
            Some(established.io)
        }
        Ok(Err(failed)) => {
            info.transport_failure = format!("TLS_error: {}", failed.fault).into();
            info.tls = Some(Arc::new(failed.tls));
            None
        }
        Err(_) => {
            listening.stats.inc(ListenerCounter::DownstreamCxTransportSocketConnectTimeout);
            let sni = info.requested_server_name.as_deref();
            handshake::tell("downstream", &info.direct_remote, sni, &Fault::Timeout, &Report::default());
            info.transport_failure = "transport socket timeout was reached".into();
            None
        }
    }
}

/// The listener filters or the handshake failed: nothing reached a filter of the chain, and the listener's own access logs tell.
pub(crate) fn failed(worker: &Rc<Worker>, listener: &ActiveListener, info: Rc<ConnectionInfo>) {
    let start = info.start;
    let mut stream = StreamInfo::new(info, start, SystemTime::now());
    stream.end = Some(std::time::Instant::now());
    crate::telemetry::log_connection(worker, &listener.config.access_logs, &stream);
}

/// Asks a filter about the new connection; false if it was closed.
async fn open(filter: &mut dyn NetworkFilter, io: &Io, stream: &mut StreamInfo) -> bool {
    let flow = filter.on_open(stream);
    follow(flow, io, stream).await
}

/// Does what a filter wants; false if the connection was closed.
async fn follow(flow: NetworkFlow, io: &Io, stream: &mut StreamInfo) -> bool {
    match settled(flow, stream).await {
        // What is settled is not to be waited for.
        NetworkFlow::Continue | NetworkFlow::Await(_) => true,
        NetworkFlow::Answer(bytes) => io.write_all(&bytes).await.is_ok(),
        NetworkFlow::Close { farewell, details } => {
            close(io, stream, &farewell, details).await;
            false
        }
        NetworkFlow::CloseLater { after, details } => {
            tokio::time::sleep(after).await;
            close(io, stream, &Bytes::new(), details).await;
            false
        }
    }
}

/// Waits for what a filter waits for.
async fn settled(mut flow: NetworkFlow, stream: &mut StreamInfo) -> NetworkFlow {
    while let NetworkFlow::Await(future) = flow {
        flow = future.await(stream);
    }
    flow
}

/// How long a connection may stay silent before a filter has seen its first bytes: as long as an idle one with Envoy's defaults.
const SILENCE: Duration = Duration::from_hours(1);

/// Asks the filters before a connection manager, once the client has sent something; false if the connection was closed. They
/// decide about the connection: the bytes are left to the codec.
async fn first_bytes(filters: &mut [Box<dyn NetworkFilter>], io: &Io, stream: &mut StreamInfo) -> bool {
    if !filters.iter().any(|filter| filter.reads()) {
        return true;
    }
    let readable = poll_fn(|cx| io.poll_readable(cx));
    if !matches!(tokio::time::timeout(SILENCE, readable).await, Ok(Ok(()))) {
        return false;
    }
    for filter in filters.iter_mut().filter(|filter| filter.reads()) {
        let flow = filter.on_data(stream, &mut BytesMut::new(), false);
        if !follow(flow, io, stream).await {
            return false;
        }
    }
    true
}

async fn close(io: &Io, stream: &mut StreamInfo, farewell: &Bytes, details: Cow<'static, str>) {
    stream.termination_details = details;
    if io.write_all(farewell).await.is_ok() {
        // The peer may be gone; there is nobody to tell.
        let _ = io.shutdown().await;
    }
}

/// Lets a filter that answers itself have the connection.
async fn terminal(worker: &Rc<Worker>, factory: &dyn NetworkFilterFactory, io: &Io, stream: &mut StreamInfo) {
    let mut filter = factory.create(stream);
    if !open(filter.as_mut(), io, stream).await {
        return;
    }
    let mut buf: BytesMut = worker.buffers.take();
    loop {
        let Ok(n) = io.read(&mut buf, 16 * 1024).await else { return };
        let end = n == 0;
        let flow = filter.on_data(stream, &mut buf, end);
        match settled(flow, stream).await {
            NetworkFlow::Continue | NetworkFlow::Await(_) => {}
            NetworkFlow::Answer(bytes) => {
                if io.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            NetworkFlow::Close { farewell, details } => return close(io, stream, &farewell, details).await,
            NetworkFlow::CloseLater { after, details } => {
                tokio::time::sleep(after).await;
                return close(io, stream, &Bytes::new(), details).await;
            }
        }
        // What a filter leaves has nowhere to go.
        buf.clear();
        if end {
            let _ = io.shutdown().await;
            return;
        }
    }
}
