//! Serves a downstream HTTP/2 connection: one task for the connection, one for each stream.
//!
//! `h2` bounds what it keeps; what a client costs beyond that is judged by [`super::meter`] (floods, resets that we are made
//! to send) and here: streams that the client resets before they are answered (rapid reset). Draining is the two-step
//! GOAWAY of `h2`: the second one follows when the client has answered a PING behind the first.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::h2::server::{Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::{Bytes, BytesMut};
use sampan_filters_api::{Flag, Known, Protocol};

use super::Reader;
use super::keepalive::KeepAlive;
use super::meter::{ERROR_RESETS, Meter, Refused};
use super::transport::{Transport, Watch};
use crate::failure::Failure;
use crate::http::body::BodyReader;
use crate::http::connection::HttpContext;
use crate::http::exchange::{Exchange, Responder};
use crate::http::h1::{Framing, syntax};
use crate::http::stream;
use crate::net::alarm::{Alarm, earlier};
use crate::net::io::Io;
use crate::telemetry::stats::kinds::{Http2Counter, HttpCounter};

/// What `h2` may hold of a response that the client does not take, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Reads along: for the meter, and for the counters of bytes.
struct Watcher {
    context: Rc<HttpContext>,
    meter: Rc<RefCell<Meter>>,
}

impl Watch for Watcher {
    fn received(&mut self, bytes: &[u8]) -> bool {
        self.context.stats.http.add(HttpCounter::DownstreamCxRxBytesTotal, bytes.len() as u64);
        let mut meter = self.meter.borrow_mut();
        meter.received(bytes);
        meter.flood().is_none()
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.context.stats.http.add(HttpCounter::DownstreamCxTxBytesTotal, bytes.len() as u64);
        self.meter.borrow_mut().sent(bytes);
    }

    fn blocked(&mut self, blocked: bool) {
        self.meter.borrow_mut().blocked(blocked);
    }
}

type Http2 = Connection<Transport<Watcher>, Bytes>;

/// Serves a connection to its end; `read` was read from it already.
pub async fn serve(context: Rc<HttpContext>, io: Io, read: BytesMut) {
    let meter = Rc::new(RefCell::new(Meter::new(&context.config.http2)));
    let watcher = Watcher { context: context.clone(), meter: meter.clone() };
    let io = Rc::new(io);
    let transport = Transport::new(io.clone(), read, watcher);
    let Ok(mut connection) = handshake(&context, transport).await else { return };
    let mut guard = Guard::new(context, meter, &mut connection);
    loop {
        match poll_fn(|cx| guard.poll_corked(cx, &io, &mut connection)).await {
            Event::Stream(request, respond) => guard.spawn(*request, respond),
            Event::Leave => {
                guard.context.stats.http2().inc(Http2Counter::GoawaySent);
                connection.graceful_shutdown();
                guard.leaving = Some(Instant::now());
            }
            Event::Abort(reason) => return guard.abort(connection, reason).await,
            Event::Closed => return guard.report_lost(),
        }
    }
}

async fn handshake(context: &HttpContext, io: Transport<Watcher>) -> Result<Http2, ::h2::Error> {
    let options = &context.config.http2;
    let mut builder = ::h2::server::Builder::new();
    builder
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .header_table_size(options.hpack_table_size)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(ERROR_RESETS))
        .max_header_list_size(u32::try_from(context.config.head_limits.bytes).unwrap_or(u32::MAX));
    if options.allow_connect {
        builder.enable_connect_protocol();
    }
    let patience = context.config.timeouts.request_headers.or(context.config.timeouts.connection_idle);
    let handshake = builder.handshake(io);
    match patience {
        None => handshake.await,
        Some(limit) => {
            tokio::time::timeout(limit, handshake).await.unwrap_or(Err(Reason::SETTINGS_TIMEOUT.into()))
        }
    }
}

enum Event {
    Stream(Box<http::Request<RecvStream>>, SendResponse<Bytes>),
    Leave,
    Abort(Reason),
    Closed,
}

/// Watches over a connection.
struct Guard {
    context: Rc<HttpContext>,
    meter: Rc<RefCell<Meter>>,
    keepalive: Option<KeepAlive>,
    alarm: Alarm,
    /// When the last stream began or ended.
    last: Instant,
    /// When GOAWAY was sent.
    leaving: Option<Instant>,
    resets: Rc<PrematureResets>,
}

impl Guard {
    fn new(context: Rc<HttpContext>, meter: Rc<RefCell<Meter>>, connection: &mut Http2) -> Self {
        let settings = context.config.http2.keepalive;
        let pings = settings.and_then(|_| connection.ping_pong());
        let random = context.worker.with_rng(|rng| rng.u64(..));
        Self {
            meter,
            keepalive: settings.zip(pings).map(|(settings, pings)| KeepAlive::new(pings, settings, random)),
            alarm: Alarm::default(),
            last: Instant::now(),
            leaving: None,
            resets: Rc::new(PrematureResets::new(&context)),
            context,
        }
    }

    /// Lets the codec work, and sends at once what it wrote.
    fn poll_corked(&mut self, cx: &mut Context<'_>, io: &Io, connection: &mut Http2) -> Poll<Event> {
        io.cork();
        let event = self.poll(cx, connection);
        if !matches!(event, Poll::Ready(Event::Stream(..))) {
            // A failure shows again with the next read or write.
            let sent = io.uncork(cx);
            if !io.is_plain() {
                self.meter.borrow_mut().blocked(sent.is_pending());
            }
        }
        event
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Http2) -> Poll<Event> {
        let context = &self.context;
        if self.resets.too_many() {
            context.stats.http.inc(HttpCounter::DownstreamRqTooManyPrematureResets);
            return Poll::Ready(Event::Abort(Reason::ENHANCE_YOUR_CALM));
        }
        let accepted = connection.poll_accept(cx);
        self.read_meter(accepted.is_pending());
        if let Some(flood) = self.meter.borrow().flood() {
            tracing::debug!(target: "http2", connection = self.context.info.id, ?flood, "flood");
            self.context.stats.http.inc(HttpCounter::DownstreamCxProtocolError);
            if let Some(counter) = flood.counter() {
                self.context.stats.http2().inc(counter);
            }
            // With an error, nothing can be said any more.
            let failed = matches!(accepted, Poll::Ready(Some(Err(_)) | None));
            return Poll::Ready(if failed { Event::Closed } else { Event::Abort(Reason::ENHANCE_YOUR_CALM) });
        }
        match accepted {
            Poll::Ready(Some(Ok((request, respond)))) => {
                return Poll::Ready(Event::Stream(Box::new(request), respond));
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(target: "http2", connection = self.context.info.id, %error, "connection failed");
                if !error.is_io() {
                    self.context.stats.http.inc(HttpCounter::DownstreamCxProtocolError);
                }
                return Poll::Ready(Event::Closed);
            }
            Poll::Ready(None) => return Poll::Ready(Event::Closed),
            Poll::Pending => {}
        }
        self.poll_deadlines(cx)
    }

    /// What the meter has noticed: counters, and, once no stream is to be handed over, requests that the codec refused.
    fn read_meter(&self, settled: bool) {
        let mut meter = self.meter.borrow_mut();
        let resets = meter.take_resets();
        if resets.received > 0 || resets.sent > 0 {
            self.context.stats.http2().add(Http2Counter::RxReset, resets.received);
            self.context.stats.http2().add(Http2Counter::TxReset, resets.sent);
        }
        while settled && let Some(refused) = meter.next_refused() {
            report(&self.context, refused);
        }
    }

    /// Requests that ended with the connection before anyone saw them.
    fn report_lost(&self) {
        const MOST: usize = 100;
        let lost = self.meter.borrow_mut().lost();
        for _ in 0..lost.min(MOST) {
            report(&self.context, Refused::Malformed);
        }
    }

    /// Idle and age, a head that does not end, keep-alive, drain.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let context = &self.context;
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_dead(cx, || context.worker.with_rng(|rng| rng.u64(..))).is_ready()
        {
            context.stats.http2().inc(Http2Counter::KeepaliveTimeout);
            return Poll::Ready(Event::Closed);
        }
        if context.active.get() > 0 {
            self.last = Instant::now();
        }
        let drain = context.worker.drain();
        let drain = drain.drain.is_some() || drain.health_failed || context.chain.retirement.has_begun();
        if self.leaving.is_none() && drain && context.should_close(Instant::now()) {
            return Poll::Ready(Event::Leave);
        }
        let timeouts = &context.config.timeouts;
        let head =
            self.meter.borrow().head_since().zip(timeouts.request_headers).map(|(at, limit)| at + limit);
        let idle =
            timeouts.connection_idle.filter(|_| context.active.get() == 0).map(|limit| self.last + limit);
        let age = timeouts.max_connection.map(|limit| context.info.start + limit);
        let leave = earlier(idle, age).filter(|_| self.leaving.is_none());
        let unread =
            self.meter.borrow().blocked_since().zip(timeouts.stream_flush).map(|(at, limit)| at + limit);
        if self.alarm.poll(cx, earlier(leave, earlier(head, unread))).is_pending() {
            return Poll::Pending;
        }
        if unread.is_some_and(|at| at <= Instant::now()) {
            context.stats.http2().inc(Http2Counter::TxFlushTimeout);
            return Poll::Ready(Event::Closed);
        }
        if head.is_some_and(|at| at <= Instant::now()) {
            context.stats.http.inc(HttpCounter::DownstreamRqHeaderTimeout);
            return Poll::Ready(Event::Abort(Reason::ENHANCE_YOUR_CALM));
        }
        if age.is_some_and(|at| at <= Instant::now()) {
            context.stats.http.inc(HttpCounter::DownstreamCxMaxDurationReached);
        } else {
            context.stats.http.inc(HttpCounter::DownstreamCxIdleTimeout);
        }
        Poll::Ready(Event::Leave)
    }

    /// Says why, and closes; a client that does not read is not waited for.
    async fn abort(self, mut connection: Http2, reason: Reason) {
        const PATIENCE: Duration = Duration::from_secs(1);
        connection.abrupt_shutdown(reason);
        let patience = self.context.config.timeouts.delayed_close.unwrap_or(PATIENCE);
        let _ = tokio::time::timeout(patience, poll_fn(|cx| connection.poll_closed(cx))).await;
        self.report_lost();
    }

    fn spawn(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.last = Instant::now();
        self.meter.borrow_mut().accepted(respond.stream_id().as_u32());
        self.context.requests.set(self.context.requests.get() + 1);
        let (context, resets) = (self.context.clone(), self.resets.clone());
        tokio::task::spawn_local(async move {
            let started = Instant::now();
            let responded = one(&context, request, respond, started).await;
            resets.closed(started.elapsed(), responded);
        });
    }
}

fn report(context: &HttpContext, refused: Refused) {
    let (details, status) = match refused {
        Refused::Malformed => {
            context.stats.http2().inc(Http2Counter::RxMessagingError);
            ("http2.invalid.header.field", 0)
        }
        Refused::TooLarge => {
            context.stats.http2().inc(Http2Counter::HeaderListSizeTooLarge);
            ("http2.header_list_size_too_large", 431)
        }
    };
    stream::unseen(context, Protocol::Http2, Flag::DownstreamProtocolError, details, status);
}

/// Streams that the client reset soon and unanswered, among all that have ended: Envoy's rule against rapid resets.
struct PrematureResets {
    /// `overload.premature_reset_total_stream_count`
    judged_from: u64,
    /// `overload.premature_reset_min_stream_lifetime_seconds`
    lifetime: Duration,
    ended: Cell<u64>,
    premature: Cell<u64>,
}

impl PrematureResets {
    fn new(context: &HttpContext) -> Self {
        let snapshot = context.worker.snapshot_ref();
        let number = |key: &str| snapshot.runtime.number(key);
        Self {
            judged_from: number("overload.premature_reset_total_stream_count").unwrap_or(500),
            // Whole seconds count, as in Envoy.
            lifetime: Duration::from_secs(
                number("overload.premature_reset_min_stream_lifetime_seconds").unwrap_or(1).saturating_add(1),
            ),
            ended: Cell::new(0),
            premature: Cell::new(0),
        }
    }

    fn closed(&self, after: Duration, responded: bool) {
        self.ended.set(self.ended.get() + 1);
        if !responded && after < self.lifetime {
            self.premature.set(self.premature.get() + 1);
        }
    }

    /// Whether half of the streams were reset; before there are many, whether half of the many certainly will be.
    fn too_many(&self) -> bool {
        let (ended, premature) = (self.ended.get(), self.premature.get());
        premature > 0 && premature.saturating_mul(2) >= ended.max(self.judged_from)
    }
}

/// Serves one stream; whether it was answered.
async fn one(
    context: &HttpContext,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    started: Instant,
) -> bool {
    let (parts, body) = request.into_parts();
    let mut scratch = context.worker.take_scratch();
    scratch.request.clear();
    let refusal = super::request_from(&parts, &mut scratch.request)
        .and_then(|()| {
            let most = context.config.head_limits.fields;
            if scratch.request.headers.len() > most { Err(super::head::TOO_MANY) } else { Ok(()) }
        })
        .err();
    if let Some(error) = refusal
        && context.config.stream_error_on_invalid
    {
        Responder::H2(respond).refuse(&error);
        return true;
    }
    let end = body.is_end_stream();
    let framing = if end {
        Framing::None
    } else {
        let length = scratch.request.headers.known(Known::ContentLength);
        length.and_then(syntax::content_length).map_or(Framing::Chunked, Framing::Length)
    };
    let exchange = Exchange {
        version: Protocol::Http2,
        body: BodyReader::H2(Reader::new(body)),
        framing,
        responder: Responder::H2(respond),
        head_complete: None,
        expects_continue: if context.config.proxy_100_continue {
            scratch.request.headers.has(Known::Expect)
        } else {
            scratch.request.headers.remove_known(Known::Expect)
        },
        wire: None,
    };
    let served = stream::serve(context, &mut scratch, exchange, started, refusal.map(Failure::from)).await;
    context.worker.give_scratch(scratch);
    served.responded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resets(judged_from: u64) -> PrematureResets {
        PrematureResets {
            judged_from,
            lifetime: Duration::from_secs(2),
            ended: Cell::new(0),
            premature: Cell::new(0),
        }
    }

    #[test]
    fn rapid_resets_are_judged_as_envoy_does() {
        let soon = Duration::from_millis(5);
        let all = resets(500);
        let cut_off = (1..1000).find(|_| {
            all.closed(soon, false);
            all.too_many()
        });
        assert_eq!(cut_off, Some(250));
        // A third of many is tolerated, and so are late resets.
        let some = resets(500);
        for n in 0..3000 {
            some.closed(soon, n % 3 > 0);
            some.closed(Duration::from_secs(2), false);
        }
        assert!(!some.too_many());
        assert!(!resets(0).too_many());
    }
}
