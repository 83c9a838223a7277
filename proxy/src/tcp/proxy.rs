//! The TCP proxy: the last filter of a chain that forwards a connection to a cluster.
//!
//! `listener/connection.rs` hands an accepted connection over. It is connected upstream ([`route`]) while a client that
//! goes away is noticed ([`Early`]), relayed until it ends ([`Relay`]), and logged.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use sampan_filters_api::network::NetworkFilter;
use sampan_filters_api::{Flag, StreamInfo};

use super::config::TcpConfig;
use super::direction::{Common, Setup, Side};
use super::early::Early;
use super::relay::{End, Limits, Relay, Tap};
use super::route::{self, Unrouted, Upstream};
use super::splice::Pipes;
use crate::listener::bind::ActiveListener;
use crate::net::io::Io;
use crate::telemetry::stats::kinds::{ClusterCounter, Tcp, TcpCounter};
use crate::telemetry::stats::{Block, Stats, Writer};
use crate::worker::Worker;

/// The bounds of what one direction of a connection may hold, whatever is configured.
const LEAST_HELD: usize = 4 * 1024;
const MOST_HELD: usize = 1024 * 1024;

/// What a worker keeps for its TCP connections.
#[derive(Default)]
pub struct WorkerTcp {
    pipes: Pipes,
    blocks: RefCell<HashMap<Arc<str>, Arc<Block<Tcp>>, ahash::RandomState>>,
}

impl WorkerTcp {
    /// The counters of `prefix`.
    fn block(&self, prefix: &Arc<str>, registry: &Stats, writer: Writer) -> Arc<Block<Tcp>> {
        if let Some(block) = self.blocks.borrow().get(prefix) {
            return block.clone();
        }
        let block = registry.block::<Tcp>(prefix, writer);
        let mut blocks = self.blocks.borrow_mut();
        // A name that nothing else holds belongs to a configuration that is gone.
        blocks.retain(|name, _| Arc::strong_count(name) > 1);
        blocks.insert(prefix.clone(), block.clone());
        block
    }
}

/// Forwards a connection until it ends.
pub async fn serve(
    worker: &Rc<Worker>,
    listener: &Arc<ActiveListener>,
    config: &TcpConfig,
    io: Io,
    mut stream: StreamInfo,
    mut filters: Vec<Box<dyn NetworkFilter>>,
) {
    let counters = worker.tcp.block(&config.stat_prefix, &worker.shared.stats, worker.writer);
    counters.inc(TcpCounter::DownstreamCxTotal);
    if !config.access_logs.is_empty() {
        // As in Envoy, a connection has an id of its own for the logs.
        stream.stream_id = Some(uuid::Uuid::new_v4().to_string().into_bytes().into());
    }
    let mut early = Early::default();
    let connected = tokio::select! {
        biased;
        connected = route::connect(worker, config, &mut stream) => Some(connected),
        _ = early.until_gone(&io, &worker.buffers) => None,
    };
    match connected {
        Some(Ok(upstream)) => {
            let limit = listener.config.buffer_limit;
            let connection = Connection { worker, config, counters: &counters, limit };
            connection.relay(&io, &upstream, early, &mut stream, &mut filters).await;
            stream.end = Some(Instant::now());
        }
        Some(Err(unrouted)) => {
            if unrouted == Unrouted::NoCluster {
                counters.inc(TcpCounter::DownstreamCxNoRoute);
            }
            // What was read and will never be answered must not look like a success.
            if !early.bytes.is_empty() {
                io.reset_on_close();
            }
        }
        None => stream.flags.set(Flag::DownstreamConnectionTermination),
    }
    stream.end.get_or_insert_with(Instant::now);
    for filter in &mut filters {
        filter.on_close(&mut stream);
    }
    crate::telemetry::log_connection(worker, &config.access_logs, &stream);
}

/// What a connection is relayed with.
struct Connection<'a> {
    worker: &'a Worker,
    config: &'a TcpConfig,
    counters: &'a Block<Tcp>,
    /// `per_connection_buffer_limit_bytes` of the listener.
    limit: usize,
}

impl Connection<'_> {
    async fn relay(
        &self,
        downstream: &Io,
        upstream: &Upstream,
        early: Early,
        stream: &mut StreamInfo,
        filters: &mut [Box<dyn NetworkFilter>],
    ) {
        let io = &upstream.connection.io;
        let common = Common {
            buffers: &self.worker.buffers,
            pipes: &self.worker.tcp.pipes,
            tcp: self.counters,
            cluster: upstream.cluster.stats(),
            no_pipe: Cell::new(false),
        };
        let active = filters.iter().any(|filter| filter.reads());
        let plain = self.plain(downstream, io, active);
        let from_client = Setup {
            source: Side::Downstream,
            may_splice: plain && !active,
            limit: bounded(self.limit),
            early: early.bytes,
            ended: early.ended,
        };
        let limit = bounded(upstream.cluster.config().per_connection_buffer_limit as usize);
        let from_host =
            Setup { source: Side::Upstream, may_splice: plain, limit, early: BytesMut::new(), ended: false };
        let limits = Limits {
            idle: self.config.idle_timeout,
            ends_at: self.config.max_duration.and_then(|most| stream.start.checked_add(most)),
            tick: filters.iter().filter_map(|filter| filter.tick()).min(),
        };
        let tap = Tap { filters, stream: &mut *stream, active };
        let mut relay = Relay::new((downstream, io), &common, (from_client, from_host), tap, limits);
        let end = relay.run().await;
        relay.count_bytes();
        drop(relay);
        self.conclude(end, downstream, upstream, stream);
    }

    /// Whether bytes may pass from socket to socket unseen; counts what is in the way.
    fn plain(&self, downstream: &Io, upstream: &Io, filtered: bool) -> bool {
        if filtered {
            self.counters.inc(TcpCounter::CopiedCxFilterReads);
        }
        if !downstream.is_plain() {
            self.counters.inc(TcpCounter::CopiedCxDownstreamTls);
        }
        if !upstream.is_plain() {
            self.counters.inc(TcpCounter::CopiedCxUpstreamTls);
        }
        downstream.is_plain() && upstream.is_plain()
    }

    /// Flags, details and counters of the end, and how each side learns of it.
    fn conclude(&self, end: End, downstream: &Io, upstream: &Upstream, stream: &mut StreamInfo) {
        match end {
            End::Finished(_) => {}
            End::Reset(Side::Upstream) => {
                stream.flags.set(Flag::UpstreamRemoteReset);
                downstream.reset_on_close();
            }
            End::Reset(Side::Downstream) => upstream.connection.io.reset_on_close(),
            End::Idle => self.counters.inc(TcpCounter::IdleTimeout),
            End::MaxDuration => {
                self.counters.inc(TcpCounter::MaxDownstreamConnectionDuration);
                stream.flags.set(Flag::DurationTimeout);
            }
            End::Filter(ref details) => stream.termination_details.clone_from(details),
        }
        let (closed, with_request) = match end {
            End::Finished(Side::Upstream) | End::Reset(Side::Upstream) => {
                (ClusterCounter::UpstreamCxDestroyRemote, ClusterCounter::UpstreamCxDestroyRemoteWithActiveRq)
            }
            _ => (ClusterCounter::UpstreamCxDestroyLocal, ClusterCounter::UpstreamCxDestroyLocalWithActiveRq),
        };
        let stats = upstream.cluster.stats();
        stats.inc(closed);
        stats.inc(with_request);
        stats.inc(ClusterCounter::UpstreamCxDestroyWithActiveRq);
    }
}

/// The most to hold for one direction. A configured limit of 0 is none.
fn bounded(limit: usize) -> usize {
    if limit == 0 { MOST_HELD } else { limit.clamp(LEAST_HELD, MOST_HELD) }
}
