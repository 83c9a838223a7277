//! Serves a downstream HTTP/2 connection: one task for the connection, one for each stream.
//!
//! `h2` counts what it sees of a flood (CONTINUATION, empty frames, resets it causes itself); what it cannot judge is counted
//! here: streams that the client resets before they are answered (rapid reset). Draining is the two-step GOAWAY.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use ::h2::server::{Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::{Buf, Bytes, BytesMut};
use sampan_filters_api::{Known, Protocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Reader;
use crate::failure::Failure;
use crate::http::body::BodyReader;
use crate::http::connection::HttpContext;
use crate::http::exchange::{Exchange, Responder};
use crate::http::h1::{Framing, syntax};
use crate::http::stream;
use crate::net::alarm::Alarm;
use crate::net::io::Io;
use crate::telemetry::stats::kinds::HttpCounter;
use crate::worker::idle::IdleSlot;

/// Streams that a client may reset early before it is judged, and the share of all streams from which it is cut off
/// (Envoy's `overload.premature_reset_total_stream_count` and its half).
const PREMATURE_RESETS: u64 = 500;

/// Serves a connection to its end; `read` was read from it already.
pub async fn serve(context: Rc<HttpContext>, io: Io, read: BytesMut) {
    let Ok(mut connection) = handshake(&context, Prefixed { io, read }).await else { return };
    let mut guard = Guard {
        alarm: Alarm::default(),
        idle: IdleSlot::new(&context.worker),
        last: Instant::now(),
        leaving: None,
        resets: Rc::default(),
        context,
    };
    loop {
        match poll_fn(|cx| guard.poll(cx, &mut connection)).await {
            Event::Stream(request, respond) => guard.spawn(*request, respond),
            Event::Leave => {
                connection.graceful_shutdown();
                guard.leaving = Some(Instant::now());
            }
            Event::Abort => {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
                return;
            }
            Event::Closed => return,
        }
    }
}

async fn handshake(context: &HttpContext, io: Prefixed) -> Result<Connection<Prefixed, Bytes>, ::h2::Error> {
    let options = &context.config.http2;
    let mut builder = ::h2::server::Builder::new();
    builder
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
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
    Abort,
    Closed,
}

/// Watches over a connection.
struct Guard {
    context: Rc<HttpContext>,
    alarm: Alarm,
    idle: IdleSlot,
    /// When the last stream began or ended.
    last: Instant,
    /// When GOAWAY was sent.
    leaving: Option<Instant>,
    resets: Rc<Cell<u64>>,
}

impl Guard {
    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Connection<Prefixed, Bytes>) -> Poll<Event> {
        let context = &self.context;
        let resets = self.resets.get();
        if resets > PREMATURE_RESETS && resets * 2 > context.requests.get() {
            context.stats.http.inc(HttpCounter::DownstreamRqTooManyPrematureResets);
            return Poll::Ready(Event::Abort);
        }
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                return Poll::Ready(Event::Stream(Box::new(request), respond));
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(target: "http2", connection = context.info.id, %error, "connection failed");
                if !error.is_io() {
                    context.stats.http.inc(HttpCounter::DownstreamCxProtocolError);
                }
                return Poll::Ready(Event::Closed);
            }
            Poll::Ready(None) => return Poll::Ready(Event::Closed),
            Poll::Pending => {}
        }
        self.idle.register(cx);
        if self.leaving.is_some() {
            return Poll::Pending;
        }
        if context.active.get() > 0 {
            self.last = Instant::now();
        }
        let drain = context.worker.drain().drain.is_some() || context.worker.drain().health_failed;
        if drain && context.should_close(Instant::now()) {
            return Poll::Ready(Event::Leave);
        }
        let timeouts = &context.config.timeouts;
        let idle =
            timeouts.connection_idle.filter(|_| context.active.get() == 0).map(|limit| self.last + limit);
        let age = timeouts.max_connection.map(|limit| context.info.start + limit);
        let deadline = crate::net::alarm::earlier(idle, age);
        if self.alarm.poll(cx, deadline).is_ready() {
            context.stats.http.inc(HttpCounter::DownstreamCxIdleTimeout);
            return Poll::Ready(Event::Leave);
        }
        Poll::Pending
    }

    fn spawn(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.last = Instant::now();
        self.context.requests.set(self.context.requests.get() + 1);
        let (context, resets) = (self.context.clone(), self.resets.clone());
        tokio::task::spawn_local(async move {
            if !one(&context, request, respond).await {
                resets.set(resets.get() + 1);
            }
        });
    }
}

/// Serves one stream; false if the client reset it before it was answered.
async fn one(
    context: &HttpContext,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> bool {
    let started = Instant::now();
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
        expects_continue: if context.config.proxy_100_continue {
            scratch.request.headers.has(Known::Expect)
        } else {
            scratch.request.headers.remove_known(Known::Expect)
        },
        wire: None,
    };
    let kept = stream::serve(context, &mut scratch, exchange, started, refusal.map(Failure::from)).await;
    context.worker.give_scratch(scratch);
    kept
}

/// A transport of which some bytes were read already.
struct Prefixed {
    io: Io,
    read: BytesMut,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..n]);
        self.read.advance(n);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.io), cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(&mut self.io), cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
