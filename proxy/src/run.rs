//! From options to a running server and out again: the control thread's main function.
//!
//! ```text
//! load and check -> publish clusters -> admin server -> first DNS answers -> workers and listeners -> LIVE
//!   -> a request to exit -> drain -> out
//! ```
//!
//! Called by `main.rs`. It owns the control thread's runtime; everything that is not the data path is a task
//! of it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::Admin;
use crate::admin::server::{self, AdminAddress, AdminError, AdminListener};
use crate::admin::source::UnreadyTargets;
use crate::bootstrap::{self, Bootstrap};
use crate::cli::{Mode, Options};
use crate::control::compile::Reject;
use crate::control::dns::{self, Resolvers, Resolving};
use crate::control::gauges::ClusterGauges;
use crate::control::publish::Publisher;
use crate::control::store::{Store, View};
use crate::listener::bind::{self, ActiveListener, BindError};
use crate::listener::config::Listener;
use crate::listener::limits::GlobalConnections;
use crate::logging::{Logging, target};
use crate::process::signals::Signals;
use crate::process::{Exit, Lifecycle, Stage, concurrency, shutdown};
use crate::telemetry::access_log::LogFiles;
use crate::telemetry::stats::{Stats, StatsConfigError, Writer, kinds};
use crate::worker::balance::Handoffs;
use crate::worker::{self, Shared};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Neither `-c` nor `--config-yaml` was given.
    #[error("At least one of --config-path or --config-yaml or Options::configProto() should be non-empty")]
    NoConfig,
    /// The configuration is refused.
    #[error("error initializing configuration '{file}': {}", .rejects.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused {
        /// The file, or the flag.
        file: String,
        /// Everything that is wrong.
        rejects: Vec<Reject>,
    },
    /// The control thread's runtime or its signal handlers cannot be made.
    #[error("cannot start the control thread: {0}")]
    Runtime(#[from] std::io::Error),
    /// The admin server cannot be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A listener cannot be bound.
    #[error("error adding listener: {0}")]
    Bind(#[from] BindError),
    /// The `stats_config` is not valid.
    #[error("stats_config: {0}")]
    Stats(#[from] StatsConfigError),
}

/// How many lines of a kind are logged about one configuration.
const MOST_WARNINGS: usize = 200;

/// Runs until the process should end.
pub fn run(options: Options, log: &Logging) -> ExitCode {
    match start(options, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            for line in text.lines() {
                tracing::error!(target: target::MAIN, critical = true, "{line}");
            }
            log.flush();
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options, log: &Logging) -> Result<(), RunError> {
    if options.config_path.is_none() && options.config_yaml.is_none() {
        return Err(RunError::NoConfig);
    }
    let file = bootstrap::name_of(&options).to_owned();
    let loaded = bootstrap::load(&options);
    let bootstrap = loaded.map_err(|rejects| RunError::Refused { file: file.clone(), rejects })?;
    bootstrap.settings.apply_log_format(log, &options);
    warn(&bootstrap);
    match options.mode {
        Mode::Serve => serve(options, bootstrap, log),
        Mode::Validate => {
            // Whoever closed standard output does not want the text.
            let _ = writeln!(std::io::stdout(), "configuration '{file}' OK");
            Ok(())
        }
        Mode::InitOnly => Ok(()),
    }
}

/// One line for everything that was accepted and does not do what it says.
fn warn(bootstrap: &Bootstrap) {
    for line in bootstrap.warnings.iter().take(MOST_WARNINGS) {
        tracing::warn!(target: target::CONFIG, "{line}");
    }
    let unsupported = &bootstrap.unsupported;
    for field in unsupported.iter().take(MOST_WARNINGS) {
        tracing::warn!(target: target::CONFIG, "{}: {}: {}", field.resource, field.field, field.reason);
    }
    if let Some(more) = unsupported.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
        tracing::warn!(target: target::CONFIG, "{more} more fields are not supported: see GET /support");
    }
}

fn serve(options: Options, bootstrap: Bootstrap, log: &Logging) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(control(options, bootstrap, log));
    // What still runs (a name lookup, a slow admin client) must not hold the exit up.
    runtime.shutdown_background();
    served
}

/// The control thread.
async fn control(options: Options, bootstrap: Bootstrap, log: &Logging) -> Result<(), RunError> {
    let lifecycle = Lifecycle::new();
    let signals = Signals::install()?;
    tokio::spawn(signals.serve(lifecycle.clone(), log.clone()));
    let options = Arc::new(options);
    let settings = &bootstrap.settings;
    let stats = Arc::new(Stats::new(&settings.stats)?);
    let publisher =
        Arc::new(Publisher::new(&bootstrap.clusters, bootstrap.slots.clone(), settings.runtime.clone()));
    stats.provide(Arc::new(ClusterGauges(publisher.published().clone())));
    let store = Store::new(&bootstrap);
    let view = Arc::new(View::new(store, publisher.clone(), bootstrap.unsupported.clone()));
    let admin = Admin {
        options: options.clone(),
        lifecycle: lifecycle.clone(),
        log: log.clone(),
        config: view.clone(),
        stats: stats.clone(),
    };
    start_admin(settings.admin.as_ref(), admin)?;
    lifecycle.advance(Stage::Initializing);
    let resolving = warm(&bootstrap, &publisher, &stats, &view, &lifecycle).await;
    let workers = concurrency::workers(&options, settings.node.sidecar);
    publisher.listeners(bind(&bootstrap.compiled, workers as usize, &view)?);
    let connections = GlobalConnections::default();
    connections.set_limit(
        settings
            .runtime
            .number("overload.global_downstream_max_connections")
            .or(settings.max_downstream_connections),
    );
    let (handoffs, receivers) = Handoffs::new(workers as usize);
    let shared = Arc::new(Shared {
        published: publisher.published().clone(),
        stats: stats.clone(),
        logs: bootstrap.log_files.clone(),
        lifecycle: lifecycle.clone(),
        connections,
        handoffs,
        workers: workers as usize,
    });
    drop(bootstrap);
    for (index, receiver) in receivers.into_iter().enumerate() {
        worker::spawn(index, shared.clone(), receiver)?;
    }
    count_tables(&stats, &publisher);
    tokio::spawn(reopen_logs(shared.logs.clone(), lifecycle.clone()));
    view.workers_started(workers);
    lifecycle.advance(Stage::Live);
    tracing::info!(target: target::MAIN, "starting main dispatch loop");
    shutdown::when_requested(&lifecycle, &options, log).await;
    drop(resolving);
    // The workers have handed their last lines over; the writers get a moment for them.
    shared.logs.drain(Duration::from_secs(2));
    Ok(())
}

/// Opens access log files anew whenever that is asked for (SIGHUP, `/reopen_logs`).
async fn reopen_logs(files: Arc<LogFiles>, lifecycle: Lifecycle) {
    let mut reopens = lifecycle.reopens();
    while reopens.changed().await.is_ok() {
        files.reopen();
    }
}

/// The counters and gauges of what the bootstrap brought.
fn count_tables(stats: &Stats, publisher: &Publisher) {
    let snapshot = publisher.published().load();
    let listeners = stats.block::<kinds::ListenerManager>("", Writer::CONTROL);
    listeners.add(kinds::ListenerManagerCounter::ListenerAdded, snapshot.listeners.len() as u64);
    listeners.set(kinds::ListenerManagerGauge::TotalListenersActive, snapshot.listeners.len() as i64);
    listeners.set(kinds::ListenerManagerGauge::WorkersStarted, 1);
    let clusters = stats.block::<kinds::ClusterManager>("", Writer::CONTROL);
    clusters.add(kinds::ClusterManagerCounter::ClusterAdded, snapshot.clusters.len() as u64);
    clusters.set(kinds::ClusterManagerGauge::ActiveClusters, snapshot.clusters.len() as i64);
}

/// Opens the sockets of all listeners; one that cannot be opened ends the start.
fn bind(
    listeners: &[Arc<Listener>],
    workers: usize,
    view: &View,
) -> Result<Vec<Arc<ActiveListener>>, RunError> {
    let mut active = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let bound = bind::bind(listener.clone(), workers, None)?;
        let addresses: Vec<_> = if bound.bound.is_empty() {
            listener.addresses.iter().map(|wanted| wanted.address.clone()).collect()
        } else {
            bound.bound.iter().map(|bound| bound.address.clone()).collect()
        };
        view.bound(&listener.name, &addresses);
        active.push(Arc::new(bound));
    }
    Ok(active)
}

fn start_admin(address: Option<&AdminAddress>, admin: Admin) -> Result<(), RunError> {
    let Some(address) = address else {
        tracing::info!(target: target::ADMIN, "No admin address given, so no admin HTTP server started.");
        return Ok(());
    };
    let listener = AdminListener::bind(address)?;
    if let Some(path) = &admin.options.admin_address_path {
        listener.write_address(path)?;
    }
    tokio::spawn(server::serve(listener, admin));
    Ok(())
}

/// Starts to resolve names, and waits until every cluster has its first answers or an exit is asked for. A lookup has a
/// time limit of its own, so this ends.
async fn warm(
    bootstrap: &Bootstrap,
    publisher: &Arc<Publisher>,
    stats: &Stats,
    view: &View,
    lifecycle: &Lifecycle,
) -> Vec<Resolving> {
    let resolvers = Arc::new(Resolvers::default());
    let mut resolving = Vec::with_capacity(bootstrap.resolving.len());
    let mut unready = Vec::new();
    for cluster in &bootstrap.resolving {
        unready.push(UnreadyTargets {
            name: format!("cluster {}", cluster.config.name),
            targets: vec![format!("Cluster {}", cluster.config.name)],
        });
        resolving.push(dns::resolve(cluster.clone(), resolvers.clone(), publisher.clone(), stats));
    }
    view.waits_for(unready);
    let mut exit = lifecycle.exit();
    let all = async {
        for (cluster, compiled) in resolving.iter_mut().zip(&bootstrap.resolving) {
            if compiled.wait_for_warm {
                // The sender goes only with the cluster itself.
                let _ = (&mut cluster.first).await;
            }
        }
    };
    tokio::select! {
        () = all => {}
        _ = exit.wait_for(|exit| *exit > Exit::No) => {}
    }
    view.waits_for(Vec::new());
    resolving
}
