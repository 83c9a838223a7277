//! The life of the server, shared by the control thread, the workers and the admin server.
//!
//! ```text
//! PRE_INITIALIZING --config read--> INITIALIZING --warmed--> LIVE <--healthcheck/ok|fail--> DRAINING
//!                                                             \--exit requested--> DRAINING --drained--> exit
//! ```
//!
//! Everything here is told by `tokio::sync::watch`, which works across runtimes, so a worker waits for a
//! change without polling. Cloning is cheap and shares the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::drain::{Drain, DrainState};

/// How far the start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The configuration is being read.
    PreInitializing,
    /// Clusters, then listeners, are warming.
    Initializing,
    /// Serving.
    Live,
}

/// The state that `/ready`, `/server_info` and the gauge `server.state` report (`admin.v3.ServerInfo.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Serving.
    Live = 0,
    /// Health checks are failed, or the process is about to exit.
    Draining = 1,
    /// See [`Stage::PreInitializing`].
    PreInitializing = 2,
    /// See [`Stage::Initializing`].
    Initializing = 3,
}

impl ServerState {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// Whether the process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It is not.
    No,
    /// Drain, then exit.
    AfterDrain,
    /// Asked again: exit without waiting.
    Now,
}

/// The life of the server. Clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    stage: watch::Sender<Stage>,
    drain: watch::Sender<DrainState>,
    exit: watch::Sender<Exit>,
    workers: watch::Sender<usize>,
    reopens: watch::Sender<u64>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A server that has just started.
    pub fn new() -> Self {
        let inner = Inner {
            started: Instant::now(),
            stage: watch::Sender::new(Stage::PreInitializing),
            drain: watch::Sender::new(DrainState::default()),
            exit: watch::Sender::new(Exit::No),
            workers: watch::Sender::new(0),
            reopens: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// When the process started.
    pub fn started(&self) -> Instant {
        self.inner.started
    }

    /// Goes on to a later stage; an earlier one is ignored.
    pub fn advance(&self, stage: Stage) {
        self.inner.stage.send_if_modified(|now| {
            let later = stage > *now;
            if later {
                *now = stage;
            }
            later
        });
    }

    /// The stage, as it changes.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.inner.stage.subscribe()
    }

    /// The state to report.
    pub fn state(&self) -> ServerState {
        let stage = *self.inner.stage.borrow();
        match stage {
            Stage::PreInitializing => ServerState::PreInitializing,
            Stage::Initializing => ServerState::Initializing,
            Stage::Live if self.drain_state().health_failed => ServerState::Draining,
            Stage::Live => ServerState::Live,
        }
    }

    /// `/healthcheck/fail` and `/healthcheck/ok`. Once the process is about to exit, it stays failed.
    pub fn fail_health(&self, failed: bool) {
        let failed = failed || self.exit_state() > Exit::No;
        self.inner.drain.send_modify(|state| state.health_failed = failed);
    }

    /// Keeps a flag at whether health checks are to fail; for as long as the process lives.
    pub async fn mirror_health(self, failing: Arc<AtomicBool>) {
        let mut drain = self.inner.drain.subscribe();
        loop {
            let failed = drain.borrow_and_update().health_failed;
            failing.store(failed, Ordering::Relaxed);
            if drain.changed().await.is_err() {
                return;
            }
        }
    }

    /// Begins a drain, or widens the one that has begun.
    pub fn begin_drain(&self, drain: Drain) {
        self.inner.drain.send_modify(|state| {
            state.drain = Some(state.drain.map_or(drain, |begun| begun.joined(drain)));
        });
    }

    /// The drain state now.
    pub fn drain_state(&self) -> DrainState {
        *self.inner.drain.borrow()
    }

    /// The drain state, as it changes.
    pub fn drain(&self) -> watch::Receiver<DrainState> {
        self.inner.drain.subscribe()
    }

    /// Asks the process to drain and exit; asked again, to exit at once.
    pub fn request_exit(&self) {
        self.inner.exit.send_modify(|exit| {
            *exit = if *exit == Exit::No { Exit::AfterDrain } else { Exit::Now };
        });
        self.fail_health(true);
    }

    /// Whether an exit was asked for.
    pub fn exit_state(&self) -> Exit {
        *self.inner.exit.borrow()
    }

    /// Whether an exit was asked for, as it changes.
    pub fn exit(&self) -> watch::Receiver<Exit> {
        self.inner.exit.subscribe()
    }

    /// Counts a worker in. It holds the token until its last connection is gone, and the exit waits for it.
    pub fn worker(&self) -> WorkerToken {
        self.inner.workers.send_modify(|n| *n += 1);
        WorkerToken { lifecycle: self.clone() }
    }

    /// How many workers still have work, as it changes.
    pub fn workers(&self) -> watch::Receiver<usize> {
        self.inner.workers.subscribe()
    }

    /// Tells every log file to be opened anew.
    pub fn reopen_logs(&self) {
        self.inner.reopens.send_modify(|n| *n += 1);
    }

    /// Changes each time log files should be opened anew.
    pub fn reopens(&self) -> watch::Receiver<u64> {
        self.inner.reopens.subscribe()
    }
}

/// Held by a worker for as long as it has connections.
#[derive(Debug)]
pub struct WorkerToken {
    lifecycle: Lifecycle,
}

impl Drop for WorkerToken {
    fn drop(&mut self) {
        self.lifecycle.inner.workers.send_modify(|n| *n = n.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reported_state_follows_the_start_and_the_health() {
        let life = Lifecycle::new();
        assert_eq!(life.state().name(), "PRE_INITIALIZING");
        life.advance(Stage::Initializing);
        assert_eq!(life.state().name(), "INITIALIZING");
        life.advance(Stage::Live);
        life.advance(Stage::Initializing);
        assert_eq!(life.state(), ServerState::Live);
        life.fail_health(true);
        assert_eq!(life.state(), ServerState::Draining);
        life.fail_health(false);
        assert_eq!(life.state(), ServerState::Live);
    }

    #[test]
    fn an_exit_turns_readiness_off_for_good_and_the_second_is_at_once() {
        let life = Lifecycle::new();
        life.advance(Stage::Live);
        let watcher = life.exit();
        life.request_exit();
        assert_eq!(*watcher.borrow(), Exit::AfterDrain);
        life.fail_health(false);
        assert_eq!(life.state(), ServerState::Draining);
        life.request_exit();
        assert_eq!(*watcher.borrow(), Exit::Now);
    }

    #[test]
    fn workers_are_counted_until_they_let_go() {
        let life = Lifecycle::new();
        let (one, two) = (life.worker(), life.clone().worker());
        assert_eq!(*life.workers().borrow(), 2);
        drop(one);
        drop(two);
        assert_eq!(*life.workers().borrow(), 0);
    }
}
