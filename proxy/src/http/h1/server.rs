//! Serves the requests of a downstream HTTP/1.1 connection, one after another.
//!
//! ```text
//!  wait for a head --complete--> stream::serve --kept--> wait ...
//!    |  |  \--bad--> local reply, close        \--not kept--> flush, half-close, drain, close
//!    |  \--request_headers_timeout--> 408
//!    \--idle_timeout, drain, client gone--> close
//! ```
//!
//! A connection is busy or at rest. Busy, it has the memory for a stream, from one request to the next; at rest, which it is
//! before its first request and after [`REST`] without one, it has nothing but its socket.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sampan_filters_api::{Known, Protocol, RequestHead};

use super::request::{self, RequestMeta, RequestOptions};
use super::scan::{Scanner, leading_blank};
use super::{CodecError, Framing};
use crate::failure::{Failure, Kind};
use crate::http::body::{BodyReader, H1Reader};
use crate::http::connection::HttpContext;
use crate::http::exchange::{Exchange, H1Responder, Responder, Wire};
use crate::http::stream::{self, Scratch};
use crate::net::alarm::{Alarm, earlier};
use crate::net::io::Io;
use crate::telemetry::stats::kinds::HttpCounter;

/// Bytes read at once while a head is awaited.
const HEAD_READ: usize = 16 * 1024;

/// How long a connection waits for its next request before it gives back what serving one takes.
const REST: Duration = Duration::from_secs(1);

/// How a turn at serving ended.
enum Turn {
    /// Served; the connection goes on.
    Next,
    /// Nothing came for a while.
    Rest,
    /// The connection ends.
    End,
}

/// How waiting for a request ended.
enum Next {
    /// A good head: when its first byte came, and when it was complete if that was later.
    Request(RequestMeta, Instant, Option<Instant>),
    /// A head that gets an error.
    Refused(Failure, Instant),
    /// Nothing came for a while.
    Rest,
    /// Nothing more to do.
    Close,
}

/// Serves a connection to its end.
pub async fn serve(context: &HttpContext, io: Io, read: BytesMut) {
    let mut connection = Connection {
        context,
        io: &io,
        read,
        write: Vec::new(),
        scratch: None,
        alarm: Alarm::default(),
        last: Instant::now(),
    };
    // Boxed, for this future lives through idle times, and that part of it is the largest.
    while connection.begins().await && Box::pin(connection.busy()).await {}
    context.count_wire(&io);
    let read = std::mem::take(&mut connection.read);
    delayed_close(context, &io, read).await;
}

struct Connection<'c> {
    context: &'c HttpContext,
    io: &'c Io,
    read: BytesMut,
    write: Vec<u8>,
    /// Memory for a request; an idle connection has none.
    scratch: Option<Box<Scratch>>,
    alarm: Alarm,
    /// When the last request ended.
    last: Instant,
}

impl Connection<'_> {
    /// Waits at rest for the first bytes of a request; false if the connection should end.
    async fn begins(&mut self) -> bool {
        !self.read.is_empty() || matches!(self.more(None, None).await, Ok(More::Bytes))
    }

    /// Serves requests until none has come for a while; false if the connection should end.
    async fn busy(&mut self) -> bool {
        loop {
            match self.one().await {
                Turn::Next => {}
                Turn::Rest => return true,
                Turn::End => return false,
            }
        }
    }

    /// Serves one request.
    async fn one(&mut self) -> Turn {
        // What is buffered already belongs to the request to come.
        let (received, sent) = (self.io.received() - self.read.len() as u64, self.io.sent());
        let (meta, started, head_complete, refusal) = match self.next().await {
            Next::Close => return Turn::End,
            Next::Rest => return Turn::Rest,
            Next::Request(meta, started, complete) => (meta, started, complete, None),
            Next::Refused(failure, started) => (REFUSED, started, None, Some(failure)),
        };
        self.context.requests.set(self.context.requests.get() + 1);
        let mut scratch = self.take_scratch();
        if self.write.capacity() == 0 {
            self.write = self.context.worker.take_write();
        }
        let config = &self.context.config;
        let limits = config.head_limits;
        let body = H1Reader::new(self.io, &mut self.read, meta.framing, limits, self.context.buffer_limit)
            .with_trailers(config.http1.enable_trailers);
        let responder = H1Responder {
            io: self.io,
            out: &mut self.write,
            version: meta.version,
            head_request: scratch.request.is_head(),
            case: config.http1.name_case,
            trailers: config.http1.enable_trailers,
            persistent: meta.persistent && refusal.is_none(),
        };
        let exchange = Exchange {
            version: meta.version,
            body: BodyReader::H1(body),
            framing: meta.framing,
            responder: Responder::H1(responder),
            head_complete,
            expects_continue: meta.expects_continue,
            wire: Some(Wire { io: self.io, received, sent }),
        };

        let served = stream::serve(self.context, &mut scratch, exchange, started, refusal).await;
        self.scratch = Some(scratch);
        self.last = served.end;
        if self.read.is_empty() {
            // An idle connection holds no buffer.
            self.context.worker.buffers.give(std::mem::take(&mut self.read));
        }
        if served.keep { Turn::Next } else { Turn::End }
    }

    /// Gives back what only a request needs.
    fn rest(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.context.worker.give_scratch(scratch);
        }
        if self.write.is_empty() {
            self.context.worker.give_write(std::mem::take(&mut self.write));
        }
    }

    /// The memory for a request's head, taken when its first bytes are there.
    fn take_scratch(&mut self) -> Box<Scratch> {
        self.scratch.take().unwrap_or_else(|| {
            let mut scratch = self.context.worker.take_scratch();
            scratch.request.clear();
            scratch
        })
    }

    /// The head of the request under way.
    fn request(&mut self) -> &mut RequestHead {
        let scratch = self.take_scratch();
        &mut self.scratch.insert(scratch).request
    }

    /// Waits for the next request head.
    async fn next(&mut self) -> Next {
        let mut scanner = Scanner::default();
        let mut started = None;
        if let Some(scratch) = &mut self.scratch {
            scratch.request.clear();
        }
        let limits = self.context.config.head_limits;
        loop {
            let blank = leading_blank(&self.read);
            if blank > 0 && started.is_none() {
                let _ = self.read.split_to(blank);
            }
            if !self.read.is_empty() {
                let in_pieces = started.is_some();
                let since = *started.get_or_insert_with(Instant::now);
                match scanner.scan(&self.read, limits) {
                    Ok(Some(len)) => return self.parse(len, since, in_pieces.then(Instant::now)),
                    Ok(None) => {}
                    Err(error) => return self.refuse(error, since),
                }
            }
            match self.more(started, Some(REST)).await {
                Ok(More::Bytes) => {}
                Ok(More::Nothing) => return Next::Rest,
                Ok(More::End) => return Next::Close,
                Err(failure) => return Next::Refused(failure, started.unwrap_or_else(Instant::now)),
            }
        }
    }

    fn parse(&mut self, len: usize, since: Instant, complete: Option<Instant>) -> Next {
        let http1 = &self.context.config.http1;
        let options = RequestOptions {
            limits: self.context.config.head_limits,
            allow_absolute_url: http1.allow_absolute_url,
        };
        let mut scratch = self.take_scratch();
        let parsed = request::parse(&self.read[..len], options, &mut scratch.request);
        self.scratch = Some(scratch);
        let _ = self.read.split_to(len);
        match parsed {
            Ok(meta) if meta.version == Protocol::Http10 && !http1.accept_http_10 => {
                self.refuse(LOW_VERSION, since)
            }
            Ok(meta) if meta.unknown_expectation => self.refuse(UNKNOWN_EXPECTATION, since),
            Ok(meta) => {
                if meta.expects_continue && self.context.config.proxy_100_continue {
                    self.request().headers.append_known(Known::Expect, "100-continue");
                }
                if !meta.has_host && meta.version == Protocol::Http10 {
                    let default = http1.default_host_for_http_10.clone();
                    self.request().set_authority(default.as_bytes());
                }
                Next::Request(meta, since, complete)
            }
            Err(error) => self.refuse(error, since),
        }
    }

    fn refuse(&mut self, error: CodecError, since: Instant) -> Next {
        tracing::debug!(target: "http", connection = self.context.info.id, %error, "bad request");
        self.context.stats.http.inc(HttpCounter::DownstreamCxProtocolError);
        // What was understood of it before the fault is not to be trusted, and not logged.
        self.request().clear();
        // What follows a bad head cannot be told apart from its body.
        self.read.clear();
        Next::Refused(error.into(), since)
    }

    /// Reads more of a head. Where it has not begun, gives up waiting `rest` after the last request.
    async fn more(&mut self, started: Option<Instant>, rest: Option<Duration>) -> Result<More, Failure> {
        let context = self.context;
        let timeouts = &context.config.timeouts;
        let head = started.zip(timeouts.request_headers).map(|(at, limit)| at + limit);
        let idle =
            started.is_none().then_some(timeouts.connection_idle).flatten().map(|limit| self.last + limit);
        let age = started
            .is_none()
            .then_some(timeouts.max_connection)
            .flatten()
            .map(|limit| context.info.start + limit);
        let rest = rest.filter(|_| started.is_none()).map(|rest| self.last + rest);
        let deadline = earlier(earlier(head, rest), earlier(idle, age));
        let waited = poll_fn(|cx| {
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(if read { More::Bytes } else { More::End });
            }
            if self.alarm.poll(cx, deadline).is_ready() {
                return Poll::Ready(More::Nothing);
            }
            if started.is_none() && context.leaves_while_idle(self.last) {
                return Poll::Ready(More::End);
            }
            Poll::Pending
        })
        .await;
        match waited {
            More::Nothing if head.is_some() => {
                context.stats.http.inc(HttpCounter::DownstreamRqHeaderTimeout);
                Err(Kind::HeadTimeout.into())
            }
            // At rest there is nothing more to give up. If it is that late already, the wait at rest will find out at once.
            More::Nothing if rest.is_none() => {
                context.stats.http.inc(HttpCounter::DownstreamCxIdleTimeout);
                Ok(More::End)
            }
            waited => Ok(waited),
        }
    }

    /// Reads once; false at the end. An idle connection gets a buffer only when there is something to read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.read.capacity() == 0 {
            let readable = self.io.poll_readable(cx);
            if readable.is_pending() {
                self.rest();
            }
            if ready!(readable).is_err() {
                return Poll::Ready(false);
            }
            self.read = self.context.worker.buffers.take();
        }
        let read = self.io.poll_read(cx, &mut self.read, HEAD_READ);
        if read.is_pending() && self.read.is_empty() {
            self.context.worker.buffers.give(std::mem::take(&mut self.read));
            self.rest();
        }
        read.map(|read| read.is_ok_and(|n| n > 0))
    }
}

/// What came of a wait for more of a head.
enum More {
    /// More.
    Bytes,
    /// Nothing before the deadline.
    Nothing,
    /// The connection should end without a word.
    End,
}

/// What is assumed of a request that was refused before its head was understood.
const REFUSED: RequestMeta = RequestMeta {
    version: Protocol::Http11,
    framing: Framing::None,
    persistent: false,
    expects_continue: false,
    unknown_expectation: false,
    absolute: false,
    has_host: true,
};

const LOW_VERSION: CodecError =
    CodecError { status: 426, details: "low_version", reason: "HTTP/1.0 is off (accept_http_10)" };

const UNKNOWN_EXPECTATION: CodecError = CodecError {
    status: 417,
    details: "http1.unknown_expectation",
    reason: "an Expect other than 100-continue",
};

/// Half-closes and waits a little for the client to read what was sent: a close with unread bytes resets the connection,
/// and a reset may destroy the response on its way.
async fn delayed_close(context: &HttpContext, io: &Io, mut read: BytesMut) {
    if io.shutdown().await.is_err() {
        return;
    }
    let Some(patience) = context.config.timeouts.delayed_close.filter(|t| *t > Duration::ZERO) else {
        return;
    };
    let drained = tokio::time::timeout(patience, async {
        loop {
            read.clear();
            match io.read(&mut read, 4096).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    });
    if drained.await.is_err() {
        context.stats.http.inc(HttpCounter::DownstreamCxDelayedCloseTimeout);
    }
}
