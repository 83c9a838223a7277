//! A downstream HTTP connection: its codec is chosen, then served until the connection ends.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sampan_filters_api::{ConnectionInfo, Direction, Flag, Protocol, RequestHead};
use sampan_model::route::Slot;

use super::config::{Codec, HttpConfig, RouteSource, ScopeSource, ScopedRoutes};
use super::h1::server as h1;
use super::h2::{PREFACE, server};
use super::route::{RouteConfig, ScopedConfig, View};
use crate::listener::bind::ActiveListener;
use crate::listener::config::FilterChain;
use crate::net::alarm::Alarm;
use crate::net::io::Io;
use crate::process::drain::{AfterDrain, DrainState};
use crate::telemetry::stats::kinds::{self, HttpCounter, HttpGauge, HttpHistogram, ListenerHttpCounter};
use crate::telemetry::stats::{Block, Stats, Writer};
use crate::worker::Worker;

/// What every stream of a connection needs.
pub struct HttpContext {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The connection manager.
    pub config: Arc<HttpConfig>,
    /// The filter chain that the connection manager ends.
    pub chain: Arc<FilterChain>,
    /// Facts of the connection.
    pub info: Rc<ConnectionInfo>,
    /// Its counters.
    pub stats: Rc<HttpStats>,
    /// `per_connection_buffer_limit_bytes`
    pub buffer_limit: usize,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Streams under way.
    pub active: Cell<u32>,
    /// Bytes of an HTTP/1.1 connection that are in its counters already.
    pub counted: Cell<(u64, u64)>,
}

impl HttpContext {
    /// Whether the listener's `traffic_direction` is OUTBOUND, by which traces tell the caller's side.
    pub fn is_outbound(&self) -> bool {
        self.info.listener.direction == Direction::Outbound
    }

    /// The routes in force for a request.
    #[inline]
    pub fn routes(&self, head: &RequestHead) -> CurrentRoutes<'_> {
        match &self.config.routes {
            RouteSource::Inline(routes) => CurrentRoutes::Inline(routes),
            RouteSource::Discovered(reference) => {
                CurrentRoutes::Discovered(self.worker.routes(reference.slot))
            }
            RouteSource::Scoped(scoped) => self.scoped(scoped, head),
        }
    }

    /// The routes of the scope that a request belongs to; none if it belongs to none.
    fn scoped(&self, scoped: &ScopedRoutes, head: &RequestHead) -> CurrentRoutes<'_> {
        let key = scoped.builder.key(&View { request: head, tls: self.info.tls.as_deref() });
        let config = key.and_then(|key| match &scoped.scopes {
            ScopeSource::Inline(scopes) => scopes.0.get(&key).cloned(),
            ScopeSource::Discovered(reference) => {
                let snapshot = self.worker.snapshot_ref();
                snapshot.scopes.entry(reference.slot)?.0.get(&key).cloned()
            }
        });
        CurrentRoutes::Discovered(match config {
            Some(ScopedConfig::Discovered(slot)) => self.worker.routes(slot),
            Some(ScopedConfig::Inline(routes)) => Rc::new(routes),
            None => self.worker.routes(Slot::UNLINKED),
        })
    }

    /// Adds what went through an HTTP/1.1 connection since the last call to the counters.
    pub fn count_wire(&self, io: &Io) {
        let now = (io.received(), io.sent());
        let before = self.counted.replace(now);
        if now != before {
            self.stats.http.add(HttpCounter::DownstreamCxRxBytesTotal, now.0 - before.0);
            self.stats.http.add(HttpCounter::DownstreamCxTxBytesTotal, now.1 - before.1);
        }
    }

    /// Whether a connection without a request should go: the process is about to exit, and the client has had time to
    /// send what was on its way.
    pub fn leaves_while_idle(&self, last: Instant) -> bool {
        const GRACE: Duration = Duration::from_millis(500);
        let Some(drain) = self.worker.drain().drain else { return false };
        drain.then == AfterDrain::Exit && last.max(drain.since).elapsed() >= GRACE
    }

    /// Whether the connection should end after what is under way: drain, age, or number of requests.
    pub fn should_close(&self, now: Instant) -> bool {
        let config = &self.config;
        if config.max_requests_per_connection.is_some_and(|max| self.requests.get() >= max) {
            self.stats.http.inc(HttpCounter::DownstreamCxMaxRequestsReached);
            return true;
        }
        if config.timeouts.max_connection.is_some_and(|max| now.duration_since(self.info.start) >= max) {
            self.stats.http.inc(HttpCounter::DownstreamCxMaxDurationReached);
            return true;
        }
        let random = || self.worker.with_rng(|rng| rng.u64(..));
        let drain = self.worker.drain();
        let inbound = self.info.listener.direction == Direction::Inbound;
        let close = (drain != DrainState::default() && drain.should_close(now, inbound, random()))
            || self.chain.retirement.should_close(now, random);
        if close {
            self.stats.http.inc(HttpCounter::DownstreamCxDrainClose);
        }
        close
    }
}

/// The routes that hold for one stream: it keeps them to its end.
pub enum CurrentRoutes<'c> {
    /// Of the configuration itself.
    Inline(&'c RouteConfig),
    /// As the control plane sent them last.
    Discovered(Rc<Arc<RouteConfig>>),
}

impl std::ops::Deref for CurrentRoutes<'_> {
    type Target = RouteConfig;

    #[inline]
    fn deref(&self) -> &RouteConfig {
        match self {
            CurrentRoutes::Inline(routes) => routes,
            CurrentRoutes::Discovered(routes) => routes,
        }
    }
}

/// The counters of a connection manager, as one worker writes them.
pub struct HttpStats {
    config: Arc<HttpConfig>,
    /// `http.<prefix>.`
    pub http: Arc<Block<kinds::Http>>,
    /// The router's.
    pub router: Arc<Block<kinds::HttpRouter>>,
    /// `listener.<address>.http.<prefix>.`
    pub listener: Arc<Block<kinds::ListenerHttp>>,
    http2: OnceCell<Arc<Block<kinds::Http2>>>,
    tracing: OnceCell<Arc<Block<kinds::HttpTracing>>>,
    own: OnceCell<Arc<Block<kinds::HttpRouter>>>,
    registry: Arc<Stats>,
    writer: Writer,
}

impl HttpStats {
    /// Finds or makes the blocks.
    pub fn new(config: Arc<HttpConfig>, listener: &str, registry: &Arc<Stats>, writer: Writer) -> Self {
        let prefix = &config.stat_prefix;
        Self {
            http: registry.block(prefix, writer),
            router: registry.block(prefix, writer),
            listener: registry.block(&format!("{listener}.http.{prefix}"), writer),
            http2: OnceCell::new(),
            tracing: OnceCell::new(),
            own: OnceCell::new(),
            registry: registry.clone(),
            writer,
            config,
        }
    }

    /// `http2.`, the codec's; the same for all connection managers.
    pub fn http2(&self) -> &Block<kinds::Http2> {
        self.http2.get_or_init(|| self.registry.block("http2", self.writer))
    }

    /// `http.<prefix>.tracing.`
    pub fn tracing(&self) -> &Block<kinds::HttpTracing> {
        let scope = || format!("{}.tracing", self.config.stat_prefix);
        self.tracing.get_or_init(|| self.registry.block(&scope(), self.writer))
    }

    /// `http.async-client.`: the router's, for requests of the proxy's own; the same for all connection managers.
    pub fn own_requests(&self) -> &Block<kinds::HttpRouter> {
        self.own.get_or_init(|| self.registry.block("async-client", self.writer))
    }

    /// Whether anybody else still uses the configuration.
    pub fn is_current(&self) -> bool {
        Arc::strong_count(&self.config) > 1
    }

    /// Counts a complete response.
    pub fn response(&self, status: u16) {
        let (http, listener) = match status / 100 {
            1 => (HttpCounter::DownstreamRq1xx, ListenerHttpCounter::DownstreamRq1xx),
            2 => (HttpCounter::DownstreamRq2xx, ListenerHttpCounter::DownstreamRq2xx),
            3 => (HttpCounter::DownstreamRq3xx, ListenerHttpCounter::DownstreamRq3xx),
            4 => (HttpCounter::DownstreamRq4xx, ListenerHttpCounter::DownstreamRq4xx),
            _ => (HttpCounter::DownstreamRq5xx, ListenerHttpCounter::DownstreamRq5xx),
        };
        self.http.inc(HttpCounter::DownstreamRqCompleted);
        self.http.inc(http);
        self.listener.inc(ListenerHttpCounter::DownstreamRqCompleted);
        self.listener.inc(listener);
    }
}

/// Serves a connection to its end.
pub async fn serve(
    worker: &Rc<Worker>,
    listener: &Arc<ActiveListener>,
    chain: Arc<FilterChain>,
    config: Arc<HttpConfig>,
    io: Io,
    info: Rc<ConnectionInfo>,
) {
    let stats = worker.http_stats(&config, &listener.config.stat_prefix);
    let context = HttpContext {
        worker: worker.clone(),
        config,
        chain,
        info,
        stats,
        buffer_limit: listener.config.buffer_limit,
        requests: Cell::new(0),
        active: Cell::new(0),
        counted: Cell::default(),
    };
    let mut counted = Counted { context: &context, protocol: None };
    let mut read = BytesMut::new();
    match choose(&context, &io, &mut read).await {
        None if read.is_empty() => {}
        None => {
            // It had begun to say something, which counts as HTTP/1.1.
            counted.begin(Protocol::Http11);
            let details = "downstream_remote_disconnect";
            let flag = Flag::DownstreamConnectionTermination;
            super::stream::unseen(&context, Protocol::Http11, flag, details, 0);
        }
        Some(Protocol::Http2) => {
            counted.begin(Protocol::Http2);
            drop(counted);
            let context = Rc::new(context);
            let _counted = CountedHttp2(context.clone());
            Box::pin(server::serve(context, io, read)).await;
        }
        Some(_) => {
            counted.begin(Protocol::Http11);
            h1::serve(&context, io, read).await;
        }
    }
}

/// The codec, by configuration, ALPN, or the first bytes.
async fn choose(context: &HttpContext, io: &Io, read: &mut BytesMut) -> Option<Protocol> {
    match context.config.codec {
        Codec::Http1 => return Some(Protocol::Http11),
        Codec::Http2 => return Some(Protocol::Http2),
        Codec::Auto => {}
    }
    if let Some(alpn) = context.info.tls.as_ref().and_then(|tls| tls.alpn.as_deref()) {
        return Some(if alpn == b"h2" { Protocol::Http2 } else { Protocol::Http11 });
    }
    let mut alarm = Alarm::default();
    let mut begun = None;
    let timeouts = &context.config.timeouts;
    // A client that has said nothing is idle; one that has begun is expected to go on.
    let mut deadline = timeouts.connection_idle.map(|t| Instant::now() + t);
    loop {
        if !PREFACE.starts_with(&read[..read.len().min(PREFACE.len())]) {
            return Some(Protocol::Http11);
        }
        if read.len() >= PREFACE.len() {
            return Some(Protocol::Http2);
        }
        if !read.is_empty() {
            deadline =
                timeouts.request_headers.map(|t| *begun.get_or_insert_with(Instant::now) + t).or(deadline);
        }
        let n = tokio::select! {
            biased;
            n = read_preface(io, read) => n.ok()?,
            () = alarm.wait(deadline) => return None,
        };
        if n == 0 {
            return None;
        }
    }
}

/// Reads the first bytes; a client that is silent costs no buffer.
async fn read_preface(io: &Io, read: &mut BytesMut) -> std::io::Result<usize> {
    if read.capacity() == 0 {
        std::future::poll_fn(|cx| io.poll_readable(cx)).await?;
    }
    io.read(read, 16 * 1024).await
}

/// A connection that its connection manager counts.
struct Counted<'c> {
    context: &'c HttpContext,
    protocol: Option<Protocol>,
}

impl Counted<'_> {
    fn begin(&mut self, protocol: Protocol) {
        begin(self.context, protocol);
        if protocol != Protocol::Http2 {
            self.protocol = Some(protocol);
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(protocol) = self.protocol {
            end(self.context, protocol);
        }
    }
}

struct CountedHttp2(Rc<HttpContext>);

impl Drop for CountedHttp2 {
    fn drop(&mut self) {
        end(&self.0, Protocol::Http2);
    }
}

fn begin(context: &HttpContext, protocol: Protocol) {
    let http = &context.stats.http;
    http.inc(HttpCounter::DownstreamCxTotal);
    http.raise(HttpGauge::DownstreamCxActive);
    if context.info.tls.is_some() {
        http.inc(HttpCounter::DownstreamCxSslTotal);
        http.raise(HttpGauge::DownstreamCxSslActive);
    }
    if protocol == Protocol::Http2 {
        http.inc(HttpCounter::DownstreamCxHttp2Total);
        http.raise(HttpGauge::DownstreamCxHttp2Active);
    } else {
        http.inc(HttpCounter::DownstreamCxHttp1Total);
        http.raise(HttpGauge::DownstreamCxHttp1Active);
    }
}

fn end(context: &HttpContext, protocol: Protocol) {
    let http = &context.stats.http;
    http.inc(HttpCounter::DownstreamCxDestroy);
    http.lower(HttpGauge::DownstreamCxActive);
    if context.info.tls.is_some() {
        http.lower(HttpGauge::DownstreamCxSslActive);
    }
    let of_codec = if protocol == Protocol::Http2 {
        HttpGauge::DownstreamCxHttp2Active
    } else {
        HttpGauge::DownstreamCxHttp1Active
    };
    http.lower(of_codec);
    http.record(HttpHistogram::DownstreamCxLengthMs, context.info.start.elapsed().as_millis() as u64);
}
