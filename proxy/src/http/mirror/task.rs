//! Sends one copy of a request and drops the answer. A task of its own, that outlives the request.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use sampan_filters_api::{Protocol, RequestHead, ResponseHead};

use super::super::body::{BodyWriter, Frame, H1Writer};
use super::super::h1::Framing;
use super::super::h1::encode::{self, Connection};
use super::super::h1::response::RequestKind;
use super::super::h2;
use super::super::target::Target;
use super::super::upstream::{self, H1Receiver, H1Settings, H2Receiver, Receiver};
use super::feed::{Cut, Reader};
use crate::failure::{Failure, Kind};
use crate::net::alarm::Alarm;
use crate::upstream::pool;

/// How long an answer may take where the route sets no limit: nobody else would end it.
const LONGEST: Duration = Duration::from_mins(5);

/// A copy that is to be sent.
pub(super) struct Copy {
    pub target: Target<'static>,
    pub head: Box<RequestHead>,
    /// Of the request.
    pub framing: Framing,
    pub feed: Reader,
    /// From the end of the request to the end of the answer.
    pub limit: Option<Duration>,
}

/// Why a copy came to nothing.
enum Gone {
    Cut,
    Failure(Failure),
}

impl From<Cut> for Gone {
    fn from(_: Cut) -> Self {
        Gone::Cut
    }
}

impl From<Failure> for Gone {
    fn from(failure: Failure) -> Self {
        Gone::Failure(failure)
    }
}

/// Whether the answer was complete and the connection may be used again.
type Reusable = bool;

impl Copy {
    /// Sends it, within the time, unless the request is given up.
    pub(super) async fn run(self) {
        let mut alarm = Alarm::default();
        let limit = self.limit.unwrap_or(LONGEST);
        let mut sending = Box::pin(self.send());
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = sending.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let Ok(complete) = self.feed.poll_state(cx) else { return Poll::Ready(Err(Gone::Cut)) };
            let deadline: Option<Instant> = complete.map(|at| at + limit);
            alarm.poll(cx, deadline).map(|()| Err(Failure::from(Kind::ResponseTimeout).into()))
        })
        .await;
        // The connection is closed before it is counted.
        drop(sending);
        if let Err(Gone::Failure(failure)) = outcome {
            self.target.failed(&failure, failure.verdict().status);
        }
    }

    async fn send(&self) -> Result<(), Gone> {
        let target = &self.target;
        let protocol = match target.protocol(Protocol::Http11) {
            Some(protocol) => protocol,
            None => pool::settle(&target.cluster, &target.pool, target.priority).await?,
        };
        if protocol == Protocol::Http2 { self.over_h2().await } else { self.over_h1().await }
    }

    async fn over_h1(&self) -> Result<(), Gone> {
        let target = &self.target;
        let mut connection = pool::h1::take(&target.cluster, &target.pool, target.priority).await?;
        target.attach();
        let settings = H1Settings::of(&target.cluster.config());
        let trailers = settings.trailers || self.head.is_grpc();
        let kind = RequestKind { head: self.head.is_head(), connect: false, upgrade: false };
        let framing = super::framing(self.framing);
        encode::request(&self.head, framing, Connection::Keep, settings.case, &mut connection.write);
        let reusable = {
            let io = &connection.connection.io;
            let write = &mut connection.write;
            let mut writer = BodyWriter::H1(H1Writer::new(io, write, framing, settings.case, trailers));
            let receiver = Receiver::H1(H1Receiver {
                io,
                read: &mut connection.read,
                limits: settings.limits,
                kind,
                buffer: settings.buffer,
                trailers,
            });
            let persistent = self.exchange(&mut writer, receiver, Protocol::Http11).await?;
            persistent && writer.is_done()
        };
        if reusable {
            pool::h1::give_back(&target.cluster, connection);
        }
        Ok(())
    }

    async fn over_h2(&self) -> Result<(), Gone> {
        let target = &self.target;
        let (lease, mut sender) =
            upstream::open_stream(&target.cluster, &target.pool, target.priority).await?;
        target.attach();
        let end = self.framing.is_empty();
        let request = h2::request_into(&self.head).map_err(|error| Failure::from(Kind::Codec(error)))?;
        let (response, stream) = sender.send_request(request, end).map_err(|error| {
            if error.is_go_away() {
                lease.drain();
            }
            upstream::failure(upstream::stream_error(error), Protocol::Http2, false)
        })?;
        let mut writer = if end { BodyWriter::Empty } else { BodyWriter::H2(h2::Writer::new(stream)) };
        let receiver = Receiver::H2(H2Receiver::new(response));
        self.exchange(&mut writer, receiver, Protocol::Http2).await?;
        Ok(())
    }

    /// Both directions, until the answer is complete.
    async fn exchange(
        &self,
        writer: &mut BodyWriter<'_>,
        receiver: Receiver<'_>,
        protocol: Protocol,
    ) -> Result<Reusable, Gone> {
        let mut up = pin!(self.request_side(writer));
        let mut down = pin!(self.response_side(receiver, protocol));
        let mut sent = false;
        poll_fn(|cx| {
            if !sent && let Poll::Ready(result) = up.as_mut().poll(cx) {
                result?;
                sent = true;
            }
            down.as_mut().poll(cx).map(|result| result.map(|persistent| persistent && sent))
        })
        .await
    }

    async fn request_side(&self, writer: &mut BodyWriter<'_>) -> Result<(), Gone> {
        let mut last = self.framing.is_empty();
        while !last {
            let frame = poll_fn(|cx| self.feed.poll_next(cx)).await?;
            last = !matches!(frame, Frame::Data(_, false));
            // The answer may have come before the connection closed; the other side will tell.
            if writer.start(frame).is_err() || poll_fn(|cx| writer.poll_ready(cx)).await.is_err() {
                return Ok(());
            }
            if !last && poll_fn(|cx| writer.poll_flush(cx)).await.is_err() {
                return Ok(());
            }
        }
        let _ = poll_fn(|cx| writer.poll_flush(cx)).await;
        Ok(())
    }

    async fn response_side(&self, mut receiver: Receiver<'_>, protocol: Protocol) -> Result<Reusable, Gone> {
        let mut head = ResponseHead::default();
        let answer = receiver
            .final_head(&mut head)
            .await
            .map_err(|error| upstream::failure(error, protocol, false))?;
        self.target.responded(head.status, || None);
        if answer.switched {
            return Ok(false);
        }
        let mut body = receiver.body(answer.framing);
        while !answer.framing.is_empty() {
            let frame = poll_fn(|cx| body.poll_next(cx))
                .await
                .map_err(|error| upstream::failure(error, protocol, true))?;
            if !matches!(frame, Frame::Data(_, false)) {
                break;
            }
        }
        Ok(answer.persistent)
    }
}
