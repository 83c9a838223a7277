//! A new connection on its worker: limits, listener filters, the listener that its destination belongs to, its life.
//!
//! Called for each socket that this worker accepted or was handed. Where a listener has no filters, its connections go straight
//! to their life.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::{Address, ConnectionInfo};

use super::accept::Listening;
use super::{Worker, next_connection_id};
use crate::listener::accepted::Accepted;
use crate::listener::bind::ActiveListener;
use crate::listener::connection;
use crate::listener::filters::Refusal;
use crate::listener::limits;
use crate::logging::target;
use crate::net::io::Io;
use crate::telemetry::stats::kinds::{self, ListenerCounter, ListenerGauge, ListenerHistogram};

/// What a connection's task may take while it is idle, its last filter's part apart.
const MOST_IDLE: usize = 2048;

/// Serves an accepted socket in a task of its own.
pub(super) fn accepted<S: Into<Io> + Into<Accepted>>(
    worker: &Rc<Worker>,
    listening: &Rc<Listening>,
    socket: S,
    local: Address,
    remote: Address,
) {
    let active = listening.active.borrow().clone();
    let filtered = active.config.filters.is_some();
    let info = Rc::new(ConnectionInfo::new(next_connection_id(), local, remote, active.config.facts.clone()));
    let Some(admission) = Admission::enter(worker, listening, active) else {
        let io: Io = socket.into();
        return io.reset_on_close();
    };
    if filtered {
        let filtering = Box::pin(filter(admission, socket.into(), info));
        tokio::task::spawn_local(async move {
            if let Some((admission, io, info)) = filtering.await
                && let Some(serving) = serve(admission, io, info)
            {
                serving.await;
            }
        });
    } else if let Some(serving) = serve(admission, socket.into(), info) {
        let size = size_of_val(&serving);
        debug_assert!(size <= MOST_IDLE, "an idle connection costs {size} bytes");
        tokio::task::spawn_local(serving);
    }
}

/// The life of a connection, once it is known whose it is; none where no filter chain takes it.
fn serve(admission: Admission, io: Io, info: Rc<ConnectionInfo>) -> Option<impl Future<Output = ()>> {
    let Some(chain) = admission.active.config.chains.find(&info).cloned() else {
        admission.listening.stats.inc(ListenerCounter::NoFilterChainMatch);
        connection::unmatched(&admission.worker, &admission.active, io, info);
        return None;
    };
    let counted = Counted::new(admission);
    Some(async move {
        let Admission { worker, listening, active, .. } = &counted.admission;
        connection::serve(worker, active.clone(), listening, chain, io, info).await;
    })
}

/// Asks the listener's filters, and those of the listener that it hands the connection to.
async fn filter(
    mut admission: Admission,
    mut socket: Accepted,
    mut info: Rc<ConnectionInfo>,
) -> Option<(Admission, Io, Rc<ConnectionInfo>)> {
    // Nobody else has it yet, so to change it is not to copy it.
    let known = Rc::make_mut(&mut info);
    let mut handed = false;
    loop {
        let next = match admission.ask(&mut socket, known).await {
            Ok(Some(next)) if !handed => next,
            Ok(_) => break,
            Err(_) => {
                connection::failed(&admission.worker, &admission.active, info);
                return None;
            }
        };
        let active = next.active.borrow().clone();
        known.listener = active.config.facts.clone();
        let worker = admission.worker.clone();
        // The new listener counts it before the old one lets go, so that the process never seems idle in between.
        let Some(entered) = Admission::enter_chosen(&worker, &next, active) else {
            socket.reset_on_close();
            return None;
        };
        admission = entered;
        handed = true;
    }
    match socket.into_io() {
        Ok(io) => Some((admission, io, info)),
        Err(error) => {
            tracing::warn!(target: target::CONN_HANDLER, %error, "an accepted socket is unusable");
            None
        }
    }
}

/// A connection's place among those of its listener and of the process.
struct Admission {
    worker: Rc<Worker>,
    listening: Rc<Listening>,
    active: Arc<ActiveListener>,
    /// The count of its generation of the configuration.
    generation: Arc<AtomicU64>,
}

impl Admission {
    /// Enters one for which [`super::balance`] has chosen this worker already.
    fn enter(worker: &Rc<Worker>, listening: &Rc<Listening>, active: Arc<ActiveListener>) -> Option<Self> {
        let refuse = |worker: &Rc<Worker>, active: &ActiveListener| {
            active.unbalance(worker.index);
            None
        };
        let limit = active.config.connection_limit.unwrap_or(u64::MAX);
        if !limits::enter(&active.counts.active, limit) {
            listening.stats.inc(ListenerCounter::DownstreamCxOverflow);
            return refuse(worker, &active);
        }
        if !worker.shared.connections.enter(active.config.ignore_global_limit) {
            active.counts.active.fetch_sub(1, Relaxed);
            listening.stats.inc(ListenerCounter::DownstreamGlobalCxOverflow);
            return refuse(worker, &active);
        }
        worker.connections.set(worker.connections.get() + 1);
        let generation = worker.snapshot_ref().connections.clone();
        generation.fetch_add(1, Relaxed);
        Some(Self { worker: worker.clone(), listening: listening.clone(), active, generation })
    }

    /// Enters one that another listener hands over; it stays on this worker, which an exactly balancing listener has to know.
    fn enter_chosen(
        worker: &Rc<Worker>,
        listening: &Rc<Listening>,
        active: Arc<ActiveListener>,
    ) -> Option<Self> {
        if active.config.exact_balance {
            active.counts.loads.add(worker.index);
        }
        Self::enter(worker, listening, active)
    }

    /// Asks the listener's filters; the listener that the connection is to be handed to, if any.
    ///
    /// # Errors
    /// It is to be closed.
    async fn ask(
        &self,
        socket: &mut Accepted,
        info: &mut ConnectionInfo,
    ) -> Result<Option<Rc<Listening>>, Refusal> {
        let Some(filters) = &self.active.config.filters else { return Ok(None) };
        let stats = &self.listening.stats;
        stats.raise(ListenerGauge::DownstreamPreCxActive);
        let outcome = filters.run(&self.worker, socket, info).await;
        stats.lower(ListenerGauge::DownstreamPreCxActive);
        match outcome {
            Ok(()) => {}
            Err(Refusal::Timeout) => {
                stats.inc(ListenerCounter::DownstreamPreCxTimeout);
                if !filters.continue_on_timeout {
                    return Err(Refusal::Timeout);
                }
            }
            Err(refusal) => {
                match refusal {
                    Refusal::RemoteClose => stats.inc(ListenerCounter::DownstreamListenerFilterRemoteClose),
                    Refusal::Error => stats.inc(ListenerCounter::DownstreamListenerFilterError),
                    Refusal::Timeout | Refusal::Filter => {}
                }
                return Err(refusal);
            }
        }
        if !filters.hand_off || !info.local_restored {
            return Ok(None);
        }
        let found = self.worker.destinations.borrow().find(&info.local);
        Ok(found.filter(|found| !Rc::ptr_eq(found, &self.listening)))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.active.counts.active.fetch_sub(1, Relaxed);
        self.generation.fetch_sub(1, Relaxed);
        self.active.unbalance(self.worker.index);
        self.worker.shared.connections.leave();
        self.worker.connections.set(self.worker.connections.get() - 1);
    }
}

/// A connection that its listener counts.
struct Counted {
    admission: Admission,
    since: Instant,
}

impl Counted {
    fn new(admission: Admission) -> Self {
        let Listening { stats, worker_stats, .. } = &*admission.listening;
        stats.inc(ListenerCounter::DownstreamCxTotal);
        stats.raise(ListenerGauge::DownstreamCxActive);
        worker_stats.inc(kinds::ListenerWorkerCounter::DownstreamCxTotal);
        worker_stats.raise(kinds::ListenerWorkerGauge::DownstreamCxActive);
        Self { admission, since: Instant::now() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Listening { stats, worker_stats, .. } = &*self.admission.listening;
        stats.inc(ListenerCounter::DownstreamCxDestroy);
        stats.lower(ListenerGauge::DownstreamCxActive);
        stats.record(ListenerHistogram::DownstreamCxLengthMs, self.since.elapsed().as_millis() as u64);
        worker_stats.lower(kinds::ListenerWorkerGauge::DownstreamCxActive);
    }
}
