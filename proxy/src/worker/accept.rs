//! Accepting connections: which sockets a worker listens on, and which worker gets a connection. [`serve`] goes on from there.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sampan_filters_api::{Address, Direction};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::AbortHandle;

use super::balance::Handoff;
use super::destinations::Destinations;
use super::{Worker, serve};
use crate::http::call::WorkerCalls;
use crate::http::config::FilterSource;
use crate::listener::bind::{ActiveListener, BoundAddress, ListenSocket};
use crate::listener::config::Terminal;
use crate::logging::target;
use crate::net::congestion::Congestion;
use crate::net::io::pipe_address;
use crate::process::drain::DrainScope;
use crate::telemetry::stats::kinds::{self, ListenerHistogram};
use crate::telemetry::stats::{Block, Stats, Writer};
use crate::tls::stats::TlsStats;

/// A worker's listening sockets, kept in step with the snapshot.
pub(super) struct Acceptor {
    worker: Rc<Worker>,
    listeners: HashMap<Arc<str>, Rc<Listening>>,
    /// The listeners whose filters have begun.
    begun: Option<Arc<[Arc<ActiveListener>]>>,
    tasks: Vec<(Arc<BoundAddress>, AbortHandle)>,
}

/// A listener as one worker serves it.
pub(crate) struct Listening {
    /// The version in force for new connections.
    pub active: std::cell::RefCell<Arc<ActiveListener>>,
    pub stats: Arc<Block<kinds::Listener>>,
    pub worker_stats: Arc<Block<kinds::ListenerWorker>>,
    /// Counters of TLS, made by the first handshake.
    pub tls: OnceCell<TlsStats>,
    registry: Arc<Stats>,
    writer: Writer,
}

impl Listening {
    /// The counters of TLS, for [`Listening::tls`].
    pub fn tls_stats(&self, scope: &str) -> TlsStats {
        TlsStats::new(scope, &self.registry, self.writer)
    }
}

impl Acceptor {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Self { worker, listeners: HashMap::new(), begun: None, tasks: Vec::new() }
    }

    /// Opens what the snapshot has and this worker has not, closes what is gone or drained.
    pub(super) fn reconcile(&mut self) {
        let snapshot = self.worker.snapshot();
        if self.worker.index == 0
            && self.begun.as_ref().is_none_or(|begun| !Arc::ptr_eq(begun, &snapshot.listeners))
        {
            begin(&self.worker, &snapshot.listeners);
            self.begun = Some(snapshot.listeners.clone());
        }
        self.listeners.retain(|name, _| snapshot.listeners.iter().any(|l| l.config.name == *name));
        let open = |listener: &ActiveListener| !self.worker.stops(listener);
        let wanted: Vec<_> = snapshot.listeners.iter().filter(|l| open(l)).cloned().collect();
        self.tasks.retain(|(bound, task)| {
            let keep = wanted.iter().any(|l| l.bound.iter().any(|b| Arc::ptr_eq(b, bound)));
            if !keep {
                task.abort();
            }
            keep
        });
        let mut destinations = Destinations::default();
        for active in wanted {
            let listening = self.listening(&active);
            destinations.add(&listening, &active);
            for bound in &active.bound {
                if !self.tasks.iter().any(|(b, _)| Arc::ptr_eq(b, bound))
                    && let Some(socket) = bound.take(self.worker.index)
                {
                    self.open(bound, socket, &listening);
                }
            }
        }
        self.worker.destinations.replace(destinations);
    }

    /// When the next listener stops accepting because of a drain.
    pub(super) fn next_stop(&self) -> Option<Instant> {
        self.worker.drain().drain?.stops_at().filter(|at| *at > Instant::now())
    }

    /// Takes a socket that another worker accepted.
    pub(super) fn take(&self, handoff: Handoff) {
        let Some(listening) = self.listeners.get(&handoff.listener) else { return };
        match TcpStream::from_std(handoff.stream) {
            Ok(stream) => serve_tcp(&self.worker, listening, stream),
            Err(error) => {
                tracing::warn!(target: target::CONN_HANDLER, %error, "a handed over socket is unusable");
            }
        }
    }

    fn listening(&mut self, active: &Arc<ActiveListener>) -> Rc<Listening> {
        if let Some(listening) = self.listeners.get(&active.config.name) {
            *listening.active.borrow_mut() = active.clone();
            return listening.clone();
        }
        let (stats, writer) = (&self.worker.shared.stats, self.worker.writer);
        let scope = &active.config.stat_prefix;
        let listening = Rc::new(Listening {
            active: std::cell::RefCell::new(active.clone()),
            stats: stats.block(scope, writer),
            worker_stats: stats.block(&format!("{scope}.worker_{}", self.worker.index), writer),
            tls: OnceCell::new(),
            registry: stats.clone(),
            writer,
        });
        self.listeners.insert(active.config.name.clone(), listening.clone());
        listening
    }

    fn open(&mut self, bound: &Arc<BoundAddress>, socket: ListenSocket, listening: &Rc<Listening>) {
        let (worker, listening) = (self.worker.clone(), listening.clone());
        let task = match socket {
            ListenSocket::Tcp(socket) => match TcpListener::from_std(socket) {
                Ok(socket) => tokio::task::spawn_local(accept_tcp(worker, listening, socket)),
                Err(error) => return refused(&error),
            },
            ListenSocket::Unix(socket) => match UnixListener::from_std(socket) {
                Ok(socket) => tokio::task::spawn_local(accept_unix(worker, listening, socket)),
                Err(error) => return refused(&error),
            },
        };
        self.tasks.push((bound.clone(), task.abort_handle()));
    }
}

/// Lets HTTP filters begin what they do beside streams; one worker does it for all.
fn begin(worker: &Rc<Worker>, listeners: &[Arc<ActiveListener>]) {
    for chain in listeners.iter().flat_map(|listener| listener.config.chains.iter()) {
        let Terminal::Http(config) = &chain.terminal else { continue };
        for filter in &config.filters {
            if let FilterSource::Fixed(factory) = &filter.factory {
                factory.begin(&WorkerCalls(worker));
            }
        }
    }
}

fn refused(error: &io::Error) {
    tracing::error!(target: target::CONN_HANDLER, %error, "a listening socket is unusable");
}

impl Worker {
    /// Whether a listener no longer accepts because of a drain.
    fn stops(&self, listener: &ActiveListener) -> bool {
        let Some(drain) = self.drain().drain else { return false };
        let in_scope =
            drain.scope == DrainScope::All || listener.config.facts.direction == Direction::Inbound;
        in_scope && drain.stops_at().is_some_and(|at| at <= Instant::now())
    }
}

async fn accept_tcp(worker: Rc<Worker>, listening: Rc<Listening>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                listening.stats.record(ListenerHistogram::ConnectionsAcceptedPerSocketEvent, 1);
                balance(&worker, &listening, stream);
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn accept_unix(worker: Rc<Worker>, listening: Rc<Listening>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let local = listening.active.borrow().config.addresses.first().map(|a| a.address.clone());
                let local = local.unwrap_or_else(|| pipe_address(None));
                serve::accepted(&worker, &listening, stream, local, pipe_address(peer.as_pathname()));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// After a failed accept. Out of descriptors, trying again at once would only burn the processor.
async fn pause(error: &io::Error) {
    let transient = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted);
    if !transient {
        tracing::warn!(target: target::CONN_HANDLER, %error, "cannot accept; trying again in 100 ms");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Serves a connection here, or hands it to the worker with the fewest.
fn balance(worker: &Rc<Worker>, listening: &Rc<Listening>, stream: TcpStream) {
    let active = listening.active.borrow().clone();
    if !active.config.exact_balance {
        return serve_tcp(worker, listening, stream);
    }
    let chosen = active.counts.loads.pick();
    if chosen == worker.index {
        return serve_tcp(worker, listening, stream);
    }
    let Ok(stream) = stream.into_std() else { return active.counts.loads.remove(chosen) };
    let handoff = Handoff { stream, listener: active.config.name.clone() };
    if let Err(handoff) = worker.shared.handoffs.send(chosen, handoff) {
        active.counts.loads.remove(chosen);
        active.counts.loads.add(worker.index);
        if let Ok(stream) = TcpStream::from_std(handoff.stream) {
            serve_tcp(worker, listening, stream);
        }
    }
}

fn serve_tcp(worker: &Rc<Worker>, listening: &Rc<Listening>, stream: TcpStream) {
    let addresses = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    // A client that is gone already has no address.
    let Ok((local, remote)) = addresses else { return };
    let _ = stream.set_nodelay(true);
    Congestion::of_system().relieve(&stream, [local, remote]);
    let canonical =
        |addr: SocketAddr| Address::Socket(SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    serve::accepted(worker, listening, stream, canonical(local), canonical(remote));
}
