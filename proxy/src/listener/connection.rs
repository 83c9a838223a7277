//! A new connection: its filter chain is chosen, its network filters are asked, its last filter takes it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};
use sampan_filters_api::{ConnectionInfo, Flag, StreamInfo};

use super::bind::ActiveListener;
use super::config::{FilterChain, Terminal};
use super::filter_chain::ChainInput;
use crate::http::connection::serve as serve_http;
use crate::net::io::Io;
use crate::tcp::proxy;
use crate::telemetry::stats::kinds::ListenerCounter;
use crate::worker::{Listening, Worker};

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    listener: Arc<ActiveListener>,
    listening: &Rc<Listening>,
    io: Io,
    mut info: ConnectionInfo,
) {
    let input = ChainInput { local: &info.local, remote: &info.direct_remote };
    let Some(chain) = listener.config.chains.find(&input).cloned() else {
        listening.stats.inc(ListenerCounter::NoFilterChainMatch);
        return unmatched(worker, &listener, io, info);
    };
    info.filter_chain_name = chain.name.clone();
    let info = Rc::new(info);
    let mut stream = StreamInfo::new(info.clone(), info.start, SystemTime::now());
    let mut filters: Vec<Box<dyn NetworkFilter>> = chain.filters.iter().map(|f| f.create(&stream)).collect();
    for filter in &mut filters {
        if !open(filter.as_mut(), &io, &mut stream).await {
            return;
        }
    }
    match &chain.terminal {
        Terminal::Http(config) => {
            let config = config.clone();
            drop(stream);
            serve_http(worker, &listener, config, io, info).await;
        }
        Terminal::Tcp(config) => {
            let config = config.clone();
            proxy::serve(worker, &listener, &config, io, stream, filters).await;
        }
        Terminal::Filter(factory) => terminal(worker, &chain, factory.as_ref(), &io, &mut stream).await,
        Terminal::None => {}
    }
}

/// No filter chain wants it: it is reset, and the listener's own access logs tell.
fn unmatched(worker: &Rc<Worker>, listener: &ActiveListener, io: Io, info: ConnectionInfo) {
    let start = info.start;
    let mut stream = StreamInfo::new(Rc::new(info), start, SystemTime::now());
    stream.flags.set(Flag::NoRouteFound);
    stream.details = "filter_chain_not_found".into();
    stream.end = Some(std::time::Instant::now());
    crate::telemetry::log_connection(worker, &listener.config.access_logs, &stream);
    io.reset_on_close();
}

/// Asks a filter about the new connection; false if it was closed.
async fn open(filter: &mut dyn NetworkFilter, io: &Io, stream: &mut StreamInfo) -> bool {
    match filter.on_open(stream) {
        NetworkFlow::Continue => true,
        NetworkFlow::Answer(bytes) => io.write_all(&bytes).await.is_ok(),
        NetworkFlow::Close { farewell, details } => {
            close(io, stream, &farewell, details).await;
            false
        }
    }
}

async fn close(io: &Io, stream: &mut StreamInfo, farewell: &Bytes, details: &'static str) {
    stream.termination_details = details.into();
    if io.write_all(farewell).await.is_ok() {
        // The peer may be gone; there is nobody to tell.
        let _ = io.shutdown().await;
    }
}

/// Lets a filter that answers itself have the connection.
async fn terminal(
    worker: &Rc<Worker>,
    chain: &FilterChain,
    factory: &dyn NetworkFilterFactory,
    io: &Io,
    stream: &mut StreamInfo,
) {
    let _ = chain;
    let mut filter = factory.create(stream);
    if !open(filter.as_mut(), io, stream).await {
        return;
    }
    let mut buf: BytesMut = worker.buffers.take();
    loop {
        let Ok(n) = io.read(&mut buf, 16 * 1024).await else { return };
        let end = n == 0;
        match filter.on_data(stream, &mut buf, end) {
            NetworkFlow::Continue => {}
            NetworkFlow::Answer(bytes) => {
                if io.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            NetworkFlow::Close { farewell, details } => return close(io, stream, &farewell, details).await,
        }
        // What a filter leaves has nowhere to go.
        buf.clear();
        if end {
            let _ = io.shutdown().await;
            return;
        }
    }
}
