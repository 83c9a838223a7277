//! From options to a running server and out again: the control thread's main function.
//!
//! Called by `main.rs`. It owns the control thread's runtime; everything that is not the data path is a task
//! of it.

use std::process::ExitCode;
use std::sync::Arc;

use crate::admin::server::{self, AdminAddress, AdminError, AdminListener};
use crate::admin::{Admin, source::Unconfigured};
use crate::cli::Options;
use crate::logging::{Logging, target};
use crate::process::signals::Signals;
use crate::process::{Lifecycle, Stage, shutdown};
use crate::telemetry::stats::{Stats, StatsConfig, StatsConfigError};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Neither `-c` nor `--config-yaml` was given.
    #[error("At least one of --config-path or --config-yaml or Options::configProto() should be non-empty")]
    NoConfig,
    /// The control thread's runtime or its signal handlers cannot be made.
    #[error("cannot start the control thread: {0}")]
    Runtime(#[from] std::io::Error),
    /// The admin server cannot be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The `stats_config` is not valid.
    #[error("stats_config: {0}")]
    Stats(#[from] StatsConfigError),
}

/// Runs until the process should end.
pub fn run(options: Options, log: &Logging) -> ExitCode {
    match serve(options, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: target::MAIN, critical = true, "error initializing config: {error}");
            log.flush();
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// `sampan demo`.
pub fn demo(_arguments: &[String]) -> ExitCode {
    eprintln!("error: this build has no demo");
    ExitCode::FAILURE
}

fn serve(options: Options, log: &Logging) -> Result<(), RunError> {
    if options.config_path.is_none() && options.config_yaml.is_none() {
        return Err(RunError::NoConfig);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let lifecycle = Lifecycle::new();
        let signals = Signals::install()?;
        tokio::spawn(signals.serve(lifecycle.clone(), log.clone()));
        let options = Arc::new(options);
        if let Some(path) = &options.admin_address_path {
            let address = (options.local_address_ip_version.loopback(), 0).into();
            let listener = AdminListener::bind(&AdminAddress::Tcp(address))?;
            listener.write_address(path)?;
            let stats = Arc::new(Stats::new(&StatsConfig::default())?);
            let admin = Admin {
                options: Arc::clone(&options),
                lifecycle: lifecycle.clone(),
                log: log.clone(),
                config: Arc::new(Unconfigured),
                stats,
            };
            tokio::spawn(server::serve(listener, admin));
        }
        lifecycle.advance(Stage::Live);
        shutdown::when_requested(&lifecycle, &options, log).await;
        Ok(())
    });
    // What still runs (a name lookup, a slow admin client) must not hold the exit up.
    runtime.shutdown_background();
    served
}
