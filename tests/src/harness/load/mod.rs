//! Steady load through a proxy, every answer checked: HTTP/1.1 on connections that stay open, HTTP/2 with several streams on each.
//!
//! The rate is paced, so that on a small machine the proxy under test has a core of its own. Requests are counted by phase ([`Load::phase`]),
//! so that a quiet time and a busy one can be compared. Nothing is retried: an answer that is missing, cut or wrong is lost. Only one
//! case is told apart, because no client can avoid it: a connection that was closed while idle, noticed by the next request on it
//! ([`Figures::raced`]).
//!
//! Used by `tests/tests/xds_churn` and `xds_memory`.

mod h1;
mod h2;
mod upstream;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

pub use upstream::LoadUpstream;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// HTTP/1.1 connections.
    pub h1_connections: usize,
    /// Requests per second on all of them together.
    pub h1_rate: usize,
    /// HTTP/2 connections.
    pub h2_connections: usize,
    /// Streams that each of them has open at most.
    pub h2_streams: usize,
    /// Requests per second on all of them together.
    pub h2_rate: usize,
}

/// What happened in one phase.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests that were answered, completely and rightly.
    pub answered: usize,
    /// Requests that were not.
    pub lost: usize,
    /// What became of the first lost ones.
    pub losses: Vec<String>,
    /// Requests that met a connection closed while it was idle, and were sent again.
    pub raced: usize,
    /// Client connections that the proxy ended or asked to end.
    pub drained: usize,
    /// Microseconds from the request to the end of its answer.
    latencies: Vec<u32>,
}

impl Figures {
    /// The latency in microseconds that a share of the requests (0 to 1) does not exceed.
    pub fn latency(&self, share: f64) -> u32 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(rank).copied().unwrap_or(0)
    }
}

/// Load that is running.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: AtomicBool,
    phase: AtomicUsize,
    phases: Mutex<Vec<Figures>>,
}

impl Load {
    /// Starts load on a port. Requests go to `/<path>/<number>` for the paths in turn; the right answer is what a [`LoadUpstream`] says.
    pub fn start(port: u16, shape: Shape, paths: &'static [&'static str]) -> Self {
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            phase: AtomicUsize::new(0),
            phases: Mutex::new(vec![Figures::default()]),
        });
        let running = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(running, port, shape, paths));
        });
        Self { shared, thread: Some(thread) }
    }

    /// Begins a new phase; the figures of the one that ends.
    pub fn phase(&self) -> Figures {
        let mut phases = self.shared.lock();
        phases.push(Figures::default());
        let ended = phases.len() - 2;
        self.shared.phase.store(phases.len() - 1, Ordering::Relaxed);
        std::mem::take(&mut phases[ended])
    }

    /// How many requests the current phase has had answered.
    pub fn answered(&self) -> usize {
        self.shared.lock().last().map_or(0, |figures| figures.answered)
    }

    /// Ends the load; the figures of the last phase.
    pub fn stop(mut self) -> Figures {
        self.end();
        self.shared.lock().pop().unwrap_or_default()
    }

    fn end(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Figures>> {
        self.phases.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn current(&self) -> usize {
        self.phase.load(Ordering::Relaxed)
    }

    /// Counts an answer in the phase in which its request was sent.
    fn answered(&self, phase: usize, took: Duration) {
        let mut phases = self.lock();
        // A phase that is over has been handed out; its stragglers count in the present one.
        let last = phases.len() - 1;
        let figures = &mut phases[if phase < last { last } else { phase }];
        figures.answered += 1;
        figures.latencies.push(took.as_micros().min(u128::from(u32::MAX)) as u32);
    }

    fn lost(&self, why: String) {
        if self.stopped() {
            return;
        }
        let mut phases = self.lock();
        if let Some(figures) = phases.last_mut() {
            figures.lost += 1;
            if figures.losses.len() < 10 {
                figures.losses.push(why);
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut Figures)) {
        if self.stopped() {
            return;
        }
        if let Some(figures) = self.lock().last_mut() {
            change(figures);
        }
    }
}

/// How long one request may take before it counts as lost.
const LIMIT: Duration = Duration::from_secs(5);

async fn run(shared: Arc<Shared>, port: u16, shape: Shape, paths: &'static [&'static str]) {
    let mut clients = tokio::task::JoinSet::new();
    let pace =
        |workers: usize, rate: usize| Duration::from_secs_f64(workers.max(1) as f64 / rate.max(1) as f64);
    for number in 0..shape.h1_connections {
        let pace = pace(shape.h1_connections, shape.h1_rate);
        clients.spawn(h1::client(Arc::clone(&shared), port, pace, number, paths));
    }
    let workers = shape.h2_connections * shape.h2_streams;
    for number in 0..shape.h2_connections {
        let pace = pace(workers, shape.h2_rate);
        clients.spawn(h2::client(Arc::clone(&shared), port, pace, shape.h2_streams, number, paths));
    }
    while clients.join_next().await.is_some() {}
}

/// A pause before the first request, so that clients do not all send at the same moments.
fn stagger(pace: Duration, number: usize) -> Duration {
    pace.mul_f64((number as f64 * 0.618).fract())
}
