//! Side calls of filters ([`sampan_filters_api::call`]): a request of our own to a cluster, over the worker's pools.
//!
//! ```text
//! name -> cluster -> host, breaker -> connection (HTTP/1.1 or 2) -> head and body out, head and body in --> Answer
//! ```
//! What is counted is what is counted of any request to the cluster, as an internal one. A connection of the pool that turns out to
//! have been closed before a byte of the answer came is replaced once. A call that is dropped gives everything back.
//!
//! A call that may be made again ([`again`]) chooses its host anew each time; all attempts share the time of the call.

mod again;
mod clock;

use std::borrow::Borrow;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sampan_filters_api::call::{Answer, Call, CallError, CallFuture, Calls, Membership};
use sampan_filters_api::{Known, Protocol, ResponseHead};
use tokio::time::timeout_at;

use self::again::Again;
use self::clock::Clock;
use super::body::{BodyError, BodyReader, BodyWriter, Frame, H1Writer};
use super::h1::encode::{self, Connection};
use super::h1::response::RequestKind;
use super::h1::{Framing, HeadLimits};
use super::h2;
use super::target::Target;
use super::upstream::{self, H1Receiver, H2Receiver, Receiver};
use crate::failure::{Failure, Kind};
use crate::net::own;
use crate::telemetry::stats::Origin;
use crate::upstream::cluster::WorkerCluster;
use crate::upstream::pool;
use crate::worker::Worker;

/// Makes calls from a worker; borrows it where a stream only begins.
pub struct WorkerCalls<W>(pub W);

impl<W: Borrow<Rc<Worker>>> Calls for WorkerCalls<W> {
    fn call(&self, call: Call) -> CallFuture {
        Box::pin(make(Rc::clone(self.0.borrow()), call))
    }

    fn share(&self) -> Rc<dyn Calls> {
        Rc::new(WorkerCalls(Rc::clone(self.0.borrow())))
    }

    fn charge(&self, cluster: &str, status: u16) {
        if let Some(cluster) = named(self.0.borrow(), cluster) {
            // As in Envoy, whoever asked.
            cluster.stats().response(status, Origin::Internal);
        }
    }

    fn membership(&self, cluster: &str) -> Option<Membership> {
        Some(named(self.0.borrow(), cluster)?.membership())
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()>>>) {
        tokio::task::spawn_local(task);
    }
}

/// The cluster of this name, if there is one.
fn named(worker: &Worker, cluster: &str) -> Option<Rc<WorkerCluster>> {
    let (_, slot) = worker.shared.clusters.slot(cluster.as_bytes())?;
    worker.cluster(slot)
}

/// Why a call came to nothing.
enum Fault {
    Failure(Failure),
    TooLong,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Fault::Failure(failure)
    }
}

/// What an attempt brought.
enum Heard {
    Answer(Answer),
    /// One that is thrown away for another attempt, after this time.
    Again(Duration),
}

async fn make(worker: Rc<Worker>, mut call: Call) -> Result<Answer, CallError> {
    let unknown = || CallError::UnknownCluster(call.cluster.clone());
    let cluster = named(&worker, &call.cluster).ok_or_else(unknown)?;
    call.timeout = call.timeout.filter(|limit| !limit.is_zero());
    complete(&mut call);
    let clock = Clock::new(&call);
    let again = call.retry.as_deref().and_then(|retry| Again::new(&worker, retry));
    loop {
        clock.tell(&mut call);
        match attempt(&worker, &cluster, &call, &clock, again.as_ref()).await? {
            Heard::Answer(answer) => return Ok(answer),
            // By now, nothing is held for the attempt that is over.
            Heard::Again(wait) => clock.pause(wait).await?,
        }
    }
}

async fn attempt(
    worker: &Worker,
    cluster: &Rc<WorkerCluster>,
    call: &Call,
    clock: &Clock,
    again: Option<&Again<'_>>,
) -> Result<Heard, CallError> {
    let target =
        Target::for_call(worker, Rc::clone(cluster), &call.head).map_err(|failure| told(&failure))?;
    let mut watch = Watch { target: &target, concluded: false };
    let exchange = Exchange { target: &target, call, again };
    let ended = match clock.attempt() {
        None => exchange.run().await,
        Some((end, kind)) => {
            timeout_at(end, exchange.run()).await.unwrap_or_else(|_| Err(Failure::from(kind).into()))
        }
    };
    watch.concluded = true;
    match ended {
        Ok(heard) => Ok(heard),
        Err(Fault::TooLong) => Err(CallError::TooLong(call.longest)),
        Err(Fault::Failure(failure)) => {
            let wait = again.and_then(|again| again.after_failure(&target, &failure));
            let status = if wait.is_some() { 0 } else { failure.verdict().status };
            target.failed(&failure, status);
            wait.map(Heard::Again).ok_or_else(|| told(&failure))
        }
    }
}

/// Counts a call that was given up.
struct Watch<'t> {
    target: &'t Target<'t>,
    concluded: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.concluded {
            self.target.failed(&Kind::DownstreamClosed.into(), 0);
        }
    }
}

/// What Envoy adds to a request of its own.
fn complete(call: &mut Call) {
    let head = &mut call.head;
    if head.scheme().is_empty() {
        head.set_scheme(b"http");
    }
    if call.internal && !head.headers.has(Known::XEnvoyInternal) {
        head.headers.append_known(Known::XEnvoyInternal, "true");
    }
    if call.forwarded_for {
        let own = own::address().to_string();
        let chain = match head.headers.known(Known::XForwardedFor) {
            Some(others) => [others, b",", own.as_bytes()].concat(),
            None => own.into_bytes(),
        };
        head.headers.set_known(Known::XForwardedFor, chain);
    }
}

/// What a filter learns of a failure.
fn told(failure: &Failure) -> CallError {
    match &failure.kind {
        Kind::NoHost | Kind::SelfConnect => CallError::NoHost,
        Kind::Overflow => CallError::Overflow,
        Kind::ResponseTimeout | Kind::PerTryTimeout => CallError::Timeout,
        Kind::Codec(error) => CallError::Unsendable(error.reason),
        _ => CallError::Failed(failure.verdict().body),
    }
}

/// One attempt.
#[derive(Clone, Copy)]
struct Exchange<'e> {
    target: &'e Target<'e>,
    call: &'e Call,
    again: Option<&'e Again<'e>>,
}

impl Exchange<'_> {
    async fn run(self) -> Result<Heard, Fault> {
        let target = self.target;
        let protocol = match target.protocol(Protocol::Http11) {
            Some(protocol) => protocol,
            None => pool::settle(&target.cluster, &target.pool, target.priority).await?,
        };
        let mut anew = true;
        loop {
            let reused = Cell::new(false);
            let outcome = if protocol == Protocol::Http2 {
                Box::pin(self.over_h2(&reused)).await
            } else {
                Box::pin(self.over_h1(&reused)).await
            };
            match outcome {
                Err(Fault::Failure(Failure { kind: Kind::UpstreamClosed, after_head: false, .. }))
                    if reused.get() && anew =>
                {
                    anew = false;
                }
                outcome => return outcome,
            }
        }
    }

    async fn over_h1(self, reused: &Cell<bool>) -> Result<Heard, Fault> {
        let Self { target, call, .. } = self;
        let mut connection = pool::h1::take(&target.cluster, &target.pool, target.priority).await?;
        reused.set(connection.requests() > 1);
        target.attach();
        let http = target.cluster.config().http.clone();
        let limits = HeadLimits {
            bytes: http.common.max_response_headers_kb as usize * 1024,
            fields: http.common.max_headers_count as usize,
        };
        let case = encode::NameCase::Lower;
        let framing =
            if call.body.is_empty() { Framing::None } else { Framing::Length(call.body.len() as u64) };
        encode::request(&call.head, framing, Connection::Keep, case, &mut connection.write);
        let kind = RequestKind { head: call.head.is_head(), connect: false, upgrade: false };
        let (heard, reusable) = {
            let io = &connection.connection.io;
            let writer = BodyWriter::H1(H1Writer::new(io, &mut connection.write, framing, case, false));
            let buffer = call.longest;
            let read = &mut connection.read;
            let receiver = Receiver::H1(H1Receiver { io, read, limits, kind, buffer, trailers: true });
            self.both(writer, receiver, Protocol::Http11).await?
        };
        if reusable {
            pool::h1::give_back(&target.cluster, connection);
        }
        Ok(heard)
    }

    async fn over_h2(self, reused: &Cell<bool>) -> Result<Heard, Fault> {
        let Self { target, call, .. } = self;
        let (lease, mut sender) = loop {
            let lease = pool::h2::take(&target.cluster, &target.pool, target.priority).await?;
            reused.set(lease.connection.has_served());
            match lease.sender().ready().await {
                Ok(sender) => break (lease, sender),
                // Its peer has left since it was used last.
                Err(error) => {
                    lease.drain();
                    if !reused.get() {
                        return Err(upstream::failure(error.into(), Protocol::Http2, false).into());
                    }
                }
            }
        };
        target.attach();
        let end = call.body.is_empty();
        let request = h2::request_into(&call.head).map_err(|error| Failure::from(Kind::Codec(error)))?;
        let (response, stream) = sender.send_request(request, end).map_err(|error| {
            lease.drain();
            upstream::failure(error.into(), Protocol::Http2, false)
        })?;
        let writer = if end { BodyWriter::Empty } else { BodyWriter::H2(h2::Writer::new(stream)) };
        let receiver = Receiver::H2(H2Receiver::new(response));
        Ok(self.both(writer, receiver, Protocol::Http2).await?.0)
    }

    /// Sends and receives at the same time: a service may answer before it has read everything. Tells whether an HTTP/1.1 connection
    /// can be used again.
    async fn both(
        self,
        mut writer: BodyWriter<'_>,
        receiver: Receiver<'_>,
        protocol: Protocol,
    ) -> Result<(Heard, bool), Fault> {
        let sent = Cell::new(false);
        let send = async {
            if !self.call.body.is_empty() {
                writer.start(Frame::Data(self.call.body.clone(), true))?;
                poll_fn(|cx| writer.poll_ready(cx)).await?;
            }
            poll_fn(|cx| writer.poll_flush(cx)).await?;
            sent.set(true);
            Ok::<(), BodyError>(())
        };
        let mut send = pin!(send);
        let mut receive = pin!(self.receive(receiver, protocol));
        let mut sending = true;
        let received = poll_fn(|cx| {
            if sending {
                match send.as_mut().poll(cx) {
                    Poll::Pending => {}
                    // What was answered all the same is read; if nothing was, that is the failure.
                    Poll::Ready(_) => sending = false,
                }
            }
            receive.as_mut().poll(cx)
        })
        .await;
        let (heard, persistent) = received?;
        Ok((heard, persistent && sent.get()))
    }

    async fn receive(self, mut receiver: Receiver<'_>, protocol: Protocol) -> Result<(Heard, bool), Fault> {
        let mut head = ResponseHead::default();
        let about = receiver
            .final_head(&mut head)
            .await
            .map_err(|error| upstream::failure(error, protocol, false))?;
        let mut body = receiver.body(about.framing);
        let ended = |body: &BodyReader<'_>| matches!(body, BodyReader::Empty) || body.is_done();
        let persistent = about.persistent && !about.switched;
        if let Some(wait) = self.again.and_then(|again| again.after_response(self.target, &head)) {
            self.target.retried(head.status, None);
            return Ok((Heard::Again(wait), persistent && ended(&body)));
        }
        self.target.responded(head.status, || None);
        let mut answer = Answer { head, ..Answer::default() };
        let mut gathered = Gathered::default();
        loop {
            let frame = poll_fn(|cx| body.poll_next(cx)).await;
            match frame.map_err(|error| upstream::failure(error, protocol, true))? {
                Frame::Data(data, end) => {
                    if gathered.add(data) > self.call.longest {
                        return Err(Fault::TooLong);
                    }
                    if end {
                        break;
                    }
                }
                Frame::Trailers(trailers) => {
                    answer.trailers = trailers;
                    break;
                }
                Frame::End => break,
            }
        }
        answer.body = gathered.whole();
        Ok((Heard::Answer(answer), persistent && ended(&body)))
    }
}

/// The pieces of a body. Most bodies are one piece, which is not copied.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    rest: BytesMut,
}

impl Gathered {
    /// Adds a piece; how long the body is now.
    fn add(&mut self, piece: Bytes) -> usize {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
        self.first.len() + self.rest.len()
    }

    fn whole(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { [&self.first[..], &self.rest].concat().into() }
    }
}
