//! The one way out: a signal, `/quitquitquit` and a fatal fault of the control thread all end here.

use std::time::{Duration, Instant};

use super::drain::{AfterDrain, Drain, DrainScope};
use super::lifecycle::{Exit, Lifecycle};
use crate::cli::Options;
use crate::logging::{Logging, target};

/// How the drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every worker let its last connection go.
    Completely,
    /// The drain time was over first.
    TimeUp,
    /// A second request to exit came first.
    Interrupted,
}

/// Waits for a request to exit, drains, and returns when the process may end.
///
/// Readiness is off from the request on; workers see a drain that ends in [`AfterDrain::Exit`], stop their
/// listeners, and drop their tokens when nothing is in flight.
pub async fn when_requested(lifecycle: &Lifecycle, options: &Options, log: &Logging) -> Drained {
    let mut exit = lifecycle.exit();
    // The sender lives in `lifecycle`, so the only way on is a request.
    let _ = exit.wait_for(|exit| *exit > Exit::No).await;
    let drained = drain(lifecycle, options).await;
    let how = match drained {
        Drained::Completely => "all connections are drained",
        Drained::TimeUp => "the drain time is over: closing what is left",
        Drained::Interrupted => "asked to exit again: closing what is left",
    };
    tracing::info!(target: target::MAIN, "{how}");
    tracing::info!(target: target::MAIN, "exiting");
    log.flush();
    drained
}

async fn drain(lifecycle: &Lifecycle, options: &Options) -> Drained {
    tracing::info!(target: target::MAIN, "shutting down server instance");
    lifecycle.fail_health(true);
    lifecycle.begin_drain(Drain {
        since: Instant::now(),
        time: options.drain_time,
        strategy: options.drain_strategy,
        scope: DrainScope::All,
        then: AfterDrain::Exit,
    });
    wait(lifecycle, options.drain_time).await
}

async fn wait(lifecycle: &Lifecycle, limit: Duration) -> Drained {
    let (mut workers, mut exit) = (lifecycle.workers(), lifecycle.exit());
    tokio::select! {
        _ = workers.wait_for(|n| *n == 0) => Drained::Completely,
        _ = exit.wait_for(|exit| *exit == Exit::Now) => Drained::Interrupted,
        () = tokio::time::sleep(limit) => Drained::TimeUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(future)
    }

    #[test]
    fn it_ends_when_the_last_worker_lets_go() {
        let life = Lifecycle::new();
        let token = life.worker();
        let drained = block_on(async {
            let (drained, ()) = tokio::join!(wait(&life, Duration::from_mins(1)), async { drop(token) });
            drained
        });
        assert_eq!(drained, Drained::Completely);
    }

    #[test]
    fn a_worker_that_stays_is_left_behind() {
        let life = Lifecycle::new();
        let _token = life.worker();
        assert_eq!(block_on(wait(&life, Duration::from_millis(1))), Drained::TimeUp);
        life.request_exit();
        life.request_exit();
        assert_eq!(block_on(wait(&life, Duration::from_mins(1))), Drained::Interrupted);
    }
}
