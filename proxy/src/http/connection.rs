//! A downstream HTTP connection: its codec is chosen, then served until the connection ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sampan_filters_api::{ConnectionInfo, Protocol};

use super::config::{Codec, HttpConfig};
use super::h1::server as h1;
use super::h2::server as h2;
use crate::listener::bind::ActiveListener;
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
    /// Facts of the connection.
    pub info: Rc<ConnectionInfo>,
    /// Its counters.
    pub stats: Rc<HttpStats>,
    /// `per_connection_buffer_limit_bytes`
    pub buffer_limit: usize,
    /// The listener's `traffic_direction` is INBOUND.
    pub inbound: bool,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Streams under way.
    pub active: Cell<u32>,
}

impl HttpContext {
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
        let drain = self.worker.drain();
        if drain == DrainState::default() {
            return false;
        }
        let close = drain.should_close(now, self.inbound, self.worker.with_rng(|rng| rng.u64(..)));
        if close {
            self.stats.http.inc(HttpCounter::DownstreamCxDrainClose);
        }
        close
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
}

impl HttpStats {
    /// Finds or makes the blocks.
    pub fn new(config: Arc<HttpConfig>, listener: &str, registry: &Stats, writer: Writer) -> Self {
        let prefix = &config.stat_prefix;
        Self {
            http: registry.block(prefix, writer),
            router: registry.block(prefix, writer),
            listener: registry.block(&format!("{listener}.http.{prefix}"), writer),
            config,
        }
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
    config: Arc<HttpConfig>,
    io: Io,
    info: Rc<ConnectionInfo>,
) {
    let stats = worker.http_stats(&config, &listener.config.stat_prefix);
    let context = HttpContext {
        worker: worker.clone(),
        config,
        info,
        stats,
        buffer_limit: listener.config.buffer_limit,
        inbound: listener.config.inbound,
        requests: Cell::new(0),
        active: Cell::new(0),
    };
    let mut counted = Counted { context: &context, protocol: None };
    let mut read = BytesMut::new();
    match choose(&context, &io, &mut read).await {
        None => {}
        Some(Protocol::Http2) => {
            counted.begin(Protocol::Http2);
            drop(counted);
            let context = Rc::new(context);
            let _counted = CountedHttp2(context.clone());
            Box::pin(h2::serve(context, io, read)).await;
        }
        Some(_) => {
            counted.begin(Protocol::Http11);
            h1::serve(&context, io, read).await;
        }
    }
}

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
    let patience = context.config.timeouts.request_headers.or(context.config.timeouts.connection_idle);
    let deadline = patience.map(|t| Instant::now() + t);
    loop {
        if !PREFACE.starts_with(&read[..read.len().min(PREFACE.len())]) {
            return Some(Protocol::Http11);
        }
        if read.len() >= PREFACE.len() {
            return Some(Protocol::Http2);
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
    let of_codec = if protocol == Protocol::Http2 {
        HttpGauge::DownstreamCxHttp2Active
    } else {
        HttpGauge::DownstreamCxHttp1Active
    };
    http.lower(of_codec);
    http.record(HttpHistogram::DownstreamCxLengthMs, context.info.start.elapsed().as_millis() as u64);
}
