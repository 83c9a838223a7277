//! Signals: the first SIGTERM or SIGINT drains, the second exits at once, SIGHUP and SIGUSR1 reopen logs.
//!
//! Differs from Envoy on purpose: it exits at once on SIGTERM, and ignores SIGHUP. Run as one task of the
//! control thread.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::lifecycle::Lifecycle;
use crate::logging::{Logging, target};

/// The handlers, installed. Create it before anything can want to exit.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    /// Installs the handlers. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Acts on signals for as long as it is polled.
    pub async fn serve(mut self, lifecycle: Lifecycle, log: Logging) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => exit(&lifecycle, "SIGTERM"),
                _ = self.interrupt.recv() => exit(&lifecycle, "SIGINT"),
                _ = self.hangup.recv() => reopen(&lifecycle, &log, "SIGHUP"),
                _ = self.user1.recv() => reopen(&lifecycle, &log, "SIGUSR1"),
            }
        }
    }
}

fn exit(lifecycle: &Lifecycle, name: &str) {
    tracing::warn!(target: target::MAIN, "caught {name}");
    lifecycle.request_exit();
}

fn reopen(lifecycle: &Lifecycle, log: &Logging, name: &str) {
    tracing::info!(target: target::MAIN, "caught {name}. Reopening logs.");
    log.reopen();
    lifecycle.reopen_logs();
}
