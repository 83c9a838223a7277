//! Starts a worker's thread and keeps it going until its last connection is gone.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

use super::Worker;
use super::accept::Acceptor;
use super::balance::{Handoff, Handoffs};
use crate::http::demand::Demand;
use crate::http::route::ClusterNames;
use crate::listener::limits::GlobalConnections;
use crate::logging::target;
use crate::process::Lifecycle;
use crate::process::lifecycle::{Exit, WorkerToken};
use crate::snapshot::Published;
use crate::telemetry::access_log::LogFiles;
use crate::telemetry::stats::{Stats, Writer};

/// What all workers share.
pub struct Shared {
    /// The current snapshot.
    pub published: Arc<Published>,
    /// Where the clusters are that filters call by name.
    pub clusters: Arc<dyn ClusterNames>,
    /// Where blocks of counters come from.
    pub stats: Arc<Stats>,
    /// Access log files.
    pub logs: Arc<LogFiles>,
    /// The life of the server.
    pub lifecycle: Lifecycle,
    /// The limit of downstream connections of the whole process.
    pub connections: GlobalConnections,
    /// Ways to the other workers.
    pub handoffs: Handoffs,
    /// Virtual hosts that requests ask for.
    pub demands: mpsc::Sender<Demand>,
    /// The number of workers.
    pub workers: usize,
}

/// How often pools are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Starts worker `index`. It takes its share of the snapshot's sockets and ends when an exit was asked for and nothing is
/// in flight.
pub fn spawn(
    index: usize,
    shared: Arc<Shared>,
    handoffs: mpsc::Receiver<Handoff>,
) -> io::Result<JoinHandle<()>> {
    let token = shared.lifecycle.worker();
    std::thread::Builder::new().name(format!("wrk:worker_{index}")).spawn(move || {
        Writer::worker(index).is_here();
        match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => run(&runtime, Worker::new(index, shared), handoffs, token),
            Err(error) => {
                tracing::error!(target: target::MAIN, critical = true, %error, "a worker cannot start; exiting");
                shared.lifecycle.request_exit();
            }
        }
    })
}

fn run(runtime: &LocalRuntime, worker: Worker, handoffs: mpsc::Receiver<Handoff>, token: WorkerToken) {
    runtime.block_on(async move {
        let worker = Rc::new(worker);
        tracing::debug!(target: target::MAIN, worker = worker.index, "worker started");
        serve(&worker, handoffs).await;
        // The token says that nothing is to come any more, and the task that flushes holds the buffers longer than that.
        worker.logs.flush();
        tracing::debug!(target: target::MAIN, worker = worker.index, "worker ended");
    });
    drop(token);
}

async fn serve(worker: &Rc<Worker>, mut handoffs: mpsc::Receiver<Handoff>) {
    let lifecycle = &worker.shared.lifecycle;
    let (mut snapshots, mut drains, mut exit) =
        (worker.shared.published.subscribe(), lifecycle.drain(), lifecycle.exit());
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::task::spawn_local(worker.logs.clone().flush_when_due());
    let mut acceptor = Acceptor::new(worker.clone());
    acceptor.reconcile();
    loop {
        let stop = acceptor.next_stop();
        tokio::select! {
            _ = snapshots.changed() => acceptor.reconcile(),
            _ = drains.changed() => {
                worker.drain.set(*drains.borrow_and_update());
                worker.idle.wake_all();
                acceptor.reconcile();
            }
            _ = exit.changed() => {}
            () = sleep_until(stop) => acceptor.reconcile(),
            Some(handoff) = handoffs.recv() => acceptor.take(handoff),
            _ = sweep.tick() => worker.sweep(),
        }
        let asked = *exit.borrow_and_update();
        if asked == Exit::Now || (asked == Exit::AfterDrain && worker.connections() == 0) {
            return;
        }
        if asked == Exit::AfterDrain {
            // The last connection may go at any moment; the sweep's tick is the longest it goes unnoticed.
            sweep.reset_after(Duration::from_millis(20));
            worker.idle.wake_all();
        }
    }
}

async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
