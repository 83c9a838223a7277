//! Sends access log entries to their services (`envoy.service.accesslog.v3.AccessLogService`).
//!
//! ```text
//! a batch comes -> connect, again and again with back-off -> stream: identifier and batch, batch, batch, ...
//!                     ^                                        |
//!                     +------ it ended: wait, next batch <-----+
//! ```
//!
//! One task and at most one stream for each service of the configuration, started by [`start`] for the
//! [`Outlet`]s that compiling opened. Nothing is connected before there is something to send. A batch stays with its task until
//! there is a stream that takes it: while the server is down, batches wait in the channel, within its bounds, and then the
//! workers drop. What was on a stream that broke is lost, as with Envoy, for the service acknowledges nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use prost::Message as _;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use sampan_api::envoy::config::core::v3::Node;
use sampan_api::envoy::service::accesslog::v3::stream_access_logs_message::Identifier;
use sampan_api::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use sampan_xds::{Backoff, CallError, Channel, Limits};
use tokio::sync::mpsc;

use super::discovery::connector;
use super::publish::Publisher;
use crate::logging::target;
use crate::telemetry::access_log::EntryKind;
use crate::telemetry::access_log::service::{Batch, LogServices, Outlet};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{GrpcAccessLog, GrpcAccessLogCounter};

/// What sending needs.
#[derive(Clone)]
pub struct Exporter {
    /// By which clusters are found.
    pub publisher: Arc<Publisher>,
    /// Who this proxy is.
    pub node: Node,
    /// The control thread's counters.
    pub counts: Arc<Block<GrpcAccessLog>>,
}

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// How long a server may take to end a stream after the last entry.
const FAREWELL: Duration = Duration::from_secs(2);

/// A stream that lived as long as this was not refused.
const ESTABLISHED: Duration = Duration::from_secs(10);

/// Starts the task that starts a task for each service.
pub fn start(services: &LogServices, exporter: Exporter) {
    let Some(mut outlets) = services.outlets() else { return };
    tokio::spawn(async move {
        while let Some(outlet) = outlets.recv().await {
            let sender = Sender::new(outlet, &exporter);
            tokio::spawn(sender.run());
        }
    });
}

/// Sends the entries of one service.
struct Sender {
    outlet: Outlet,
    channel: Channel,
    node: Node,
    counts: Arc<Block<GrpcAccessLog>>,
    back_off: Backoff,
}

/// Why no batch was taken.
enum Stop {
    /// The process ends.
    Closing,
}

impl Sender {
    fn new(outlet: Outlet, exporter: &Exporter) -> Self {
        let target = connector::target(&exporter.publisher, &outlet.settings.target);
        let mut limits = Limits::default();
        if let Some(cap) = outlet.settings.target.message_cap {
            limits.message_cap = cap;
        }
        let (base, longest) = outlet.settings.back_off;
        Self {
            channel: Channel::new(target, limits),
            node: exporter.node.clone(),
            counts: exporter.counts.clone(),
            back_off: Backoff::new(base, longest, fastrand::Rng::new()),
            outlet,
        }
    }

    async fn run(mut self) {
        while let Some(batch) = self.outlet.next().await {
            let count = batch.count;
            if let Err(Stop::Closing) = self.connect().await {
                self.counts.add(GrpcAccessLogCounter::GrpcEntriesFlushFailed, count);
                continue;
            }
            let started = Instant::now();
            let ended = self.stream(batch).await;
            if started.elapsed() >= ESTABLISHED {
                self.back_off.reset();
            }
            if let Err(error) = ended {
                tracing::warn!(target: target::FILE, "access log {}: the stream ended: {error}", self.name());
                self.pause().await;
            }
        }
    }

    /// Returns when there is a connection. A process that ends makes one more attempt, and no pause.
    async fn connect(&mut self) -> Result<(), Stop> {
        let mut told = false;
        loop {
            let Err(error) = self.channel.ready().await else { return Ok(()) };
            if self.outlet.is_closing() {
                return Err(Stop::Closing);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(target: target::FILE, "access log {}: {error}; entries wait", self.name());
            }
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        let delay = self.back_off.delay();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.outlet.closing() => {}
        }
    }

    /// Sends from a first batch on, until the stream or the service ends.
    async fn stream(&mut self, first: Batch) -> Result<(), CallError> {
        let (sender, receiver) = mpsc::channel(1);
        let messages = stream::unfold(receiver, |mut receiver| async move {
            let message: Message = receiver.recv().await?;
            Some((message, receiver))
        });
        let channel = self.channel.clone();
        let call = channel.client_streaming::<_, StreamAccessLogsResponse, _>(METHOD, messages);
        let mut call = std::pin::pin!(call);
        let mut next = Some(self.first(first));
        loop {
            tokio::select! {
                ended = &mut call => {
                    let left = next.map_or(0, |message| message.batch_count());
                    self.counts.add(GrpcAccessLogCounter::GrpcEntriesFlushFailed, left);
                    return ended.map(drop);
                }
                place = sender.reserve(), if next.is_some() => {
                    if let (Ok(place), Some(message)) = (place, next.take()) {
                        self.counts.add(GrpcAccessLogCounter::GrpcEntriesFlushed, message.batch_count());
                        place.send(message);
                    }
                }
                batch = self.outlet.next(), if next.is_none() => match batch {
                    Some(batch) => next = Some(self.message(Vec::new(), batch)),
                    None => break,
                },
            }
        }
        drop(sender);
        // How the server ends the stream makes no difference any more, nor whether it does.
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, call).await {
            tracing::debug!(target: target::FILE, "access log {}: the last stream: {error}", self.name());
        }
        Ok(())
    }

    /// A message that says whose log this is.
    fn first(&self, batch: Batch) -> Message {
        let log_name = self.outlet.settings.log_name.to_string();
        let identifier = Some(Identifier { node: Some(self.node.clone()), log_name });
        let head = StreamAccessLogsMessage { identifier, log_entries: None };
        self.message(head.encode_to_vec(), batch)
    }

    fn message(&self, head: Vec<u8>, batch: Batch) -> Message {
        let field = match self.outlet.settings.kind {
            EntryKind::Http => 2,
            EntryKind::Tcp => 3,
        };
        Message { head, field, batch: Some(batch) }
    }

    fn name(&self) -> &str {
        &self.outlet.settings.log_name
    }
}

/// A `StreamAccessLogsMessage` whose entries are encoded already.
#[derive(Default)]
struct Message {
    /// The identifier, as bytes.
    head: Vec<u8>,
    /// `http_logs` or `tcp_logs`
    field: u32,
    /// None in a default value, which prost wants to exist.
    batch: Option<Batch>,
}

impl Message {
    fn batch_count(&self) -> u64 {
        self.batch.as_ref().map_or(0, |batch| batch.count)
    }

    fn entries(&self) -> &[u8] {
        self.batch.as_ref().map_or(&[], |batch| &batch.entries)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} access log entries", self.batch_count())
    }
}

impl prost::Message for Message {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.head);
        let entries = self.entries();
        if !entries.is_empty() {
            encode_key(self.field, WireType::LengthDelimited, buf);
            encode_varint(entries.len() as u64, buf);
            buf.put_slice(entries);
        }
    }

    fn encoded_len(&self) -> usize {
        let entries = self.entries().len();
        let body =
            if entries == 0 { 0 } else { key_len(self.field) + encoded_len_varint(entries as u64) + entries };
        self.head.len() + body
    }

    /// Such messages are only sent.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
