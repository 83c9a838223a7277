//! From options to a running server and out again: the control thread's main function.
//!
//! ```text
//! load and check -> publish clusters -> admin server -> bind -> discovery: DNS, CDS, LDS -> workers and listeners -> LIVE
//!   -> a request to exit -> drain -> out
//! ```
//!
//! Called by `main.rs`. It owns the control thread's runtime; everything that is not the data path is a task
//! of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::admin::Admin;
use crate::admin::server::{self, AdminAddress, AdminError, AdminListener};
use crate::bootstrap::{self, Bootstrap, Listeners};
use crate::cli::{Mode, Options};
use crate::control::access_log;
use crate::control::compile::Reject;
use crate::control::discovery;
use crate::control::gauges::{ClusterGauges, FilterCounters, FilterStats};
use crate::control::generations::SharedGenerations;
use crate::control::health;
use crate::control::publish::Publisher;
use crate::control::store::{SharedStore, Store, View};
use crate::control::trace;
use crate::http::demand;
use crate::listener::bind::{self, ActiveListener, BindError};
use crate::listener::limits::GlobalConnections;
use crate::logging::{Logging, target};
use crate::process::signals::Signals;
use crate::process::{Exit, Lifecycle, Stage, concurrency, limits, shutdown};
use crate::telemetry::access_log::LogFiles;
use crate::telemetry::stats::{Stats, StatsConfigError, Writer, kinds};
use crate::tls::files::look_after;
use crate::tls::stats::ContextStats;
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
    let (context, runtime) = (bootstrap.context.clone(), settings.runtime.clone());
    tokio::spawn(lifecycle.clone().mirror_health(context.failing.clone()));
    let publisher =
        Arc::new(Publisher::new(&bootstrap.clusters, context.slots.clone(), runtime, &context.tls));
    stats.provide(Arc::new(ClusterGauges(publisher.published().clone())));
    stats.provide(Arc::new(FilterStats(publisher.published().clone())));
    stats.provide(Arc::new(FilterCounters(context.counters.clone())));
    stats.provide(Arc::new(ContextStats(context.tls.secrets.clone())));
    bootstrap.series.attach(stats.clone());
    tokio::spawn(give_up_idle_series(stats.clone()));
    let watching = Arc::new(health::Outside {
        stats: stats.clone(),
        logs: bootstrap.log_files.clone(),
        outlier_log: settings.outlier_log.clone(),
    });
    tokio::spawn(health::watch(publisher.clone(), watching.clone()));
    tokio::spawn(look_after(Arc::downgrade(&context.tls.secrets)));
    let store = SharedStore::new(Store::new(&bootstrap));
    let generations = SharedGenerations::default();
    let unsupported = bootstrap.unsupported.clone();
    let view = Arc::new(View::new(
        store.clone(),
        publisher.clone(),
        generations.clone(),
        unsupported,
        context.tls.secrets.clone(),
    ));
    let admin = Admin {
        options: options.clone(),
        lifecycle: lifecycle.clone(),
        log: log.clone(),
        config: view.clone(),
        stats: stats.clone(),
    };
    if let Some(address) = start_admin(settings.admin.as_ref(), admin)? {
        publisher.admin_at(address);
    }
    lifecycle.advance(Stage::Initializing);
    let workers = concurrency::workers(&options, settings.node.sidecar);
    let connections = GlobalConnections::default();
    let configured = settings.runtime.number("overload.global_downstream_max_connections");
    let limit = configured.or(settings.max_downstream_connections);
    connections.set_limit(limit.or_else(|| {
        let limit = limits::safe_connections();
        tracing::info!(target: target::MAIN, "no limit of downstream connections is configured; using {limit:?}");
        limit
    }));
    let (services, span_sinks) = (context.log_services.clone(), context.span_sinks.clone());
    let collectors = trace::Collectors { publisher: publisher.clone(), stats: stats.clone() };
    let clusters = context.slots.clone();
    let exporter = access_log::Exporter {
        publisher: publisher.clone(),
        node: bootstrap.identity.clone(),
        counts: stats.block("", Writer::CONTROL),
    };
    let parts = discovery::Parts {
        options: options.clone(),
        node: bootstrap.identity,
        dynamic: bootstrap.dynamic,
        context,
        publisher: publisher.clone(),
        store,
        generations,
        view: view.clone(),
        stats: stats.clone(),
        watching,
        workers: workers as usize,
    };
    let fixed = discovery::Fixed {
        clusters: bootstrap.clusters,
        discovering: bootstrap.discovering,
        listeners: bind(bootstrap.compiled, workers as usize)?,
    };
    let (logs, checked) = (bootstrap.log_files, bootstrap.checked);
    for name in &checked {
        publisher.check(publisher.slot(name));
    }
    let (demands, demanded) = mpsc::channel(demand::QUEUE);
    access_log::start(&services, exporter);
    trace::start(&span_sinks, collectors);
    let live = discovery::start(parts, fixed, demanded);
    let mut exit = lifecycle.exit();
    tokio::select! {
        // Discovery ends with the process.
        _ = live => {}
        _ = exit.wait_for(|exit| *exit > Exit::No) => {}
    }
    health::first_round(&publisher, &checked).await;
    let (handoffs, receivers) = Handoffs::new(workers as usize);
    let shared = Arc::new(Shared {
        published: publisher.published().clone(),
        clusters,
        stats: stats.clone(),
        logs,
        lifecycle: lifecycle.clone(),
        connections,
        demands,
        handoffs,
        workers: workers as usize,
    });
    for (index, receiver) in receivers.into_iter().enumerate() {
        worker::spawn(index, shared.clone(), receiver)?;
    }
    let listeners = stats.block::<kinds::ListenerManager>("", Writer::CONTROL);
    listeners.set(kinds::ListenerManagerGauge::WorkersStarted, 1);
    tokio::spawn(reopen_logs(shared.logs.clone(), lifecycle.clone()));
    view.workers_started(workers);
    lifecycle.advance(Stage::Live);
    tracing::info!(target: target::MAIN, "starting main dispatch loop");
    shutdown::when_requested(&lifecycle, &options, log).await;
    // The workers have handed their last lines over; the writers get a moment for them.
    shared.logs.drain(Duration::from_secs(2));
    let limit = Duration::from_secs(2);
    tokio::join!(services.close(limit), span_sinks.close(limit));
    Ok(())
}

/// Opens access log files anew whenever that is asked for (SIGHUP, `/reopen_logs`).
async fn reopen_logs(files: Arc<LogFiles>, lifecycle: Lifecycle) {
    let mut reopens = lifecycle.reopens();
    while reopens.changed().await.is_ok() {
        files.reopen();
    }
}

/// Gives metrics of filters up that nobody writes any more, where a filter wants that.
async fn give_up_idle_series(stats: Arc<Stats>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        stats.give_up_idle(Instant::now());
    }
}

/// Binds all listeners of the bootstrap; one that cannot be bound ends the start.
fn bind(listeners: Listeners, workers: usize) -> Result<Vec<ActiveListener>, RunError> {
    listeners.into_iter().map(|listener| Ok(bind::bind(listener, workers, &[])?)).collect()
}

/// Starts the admin server; where it listens, if by IP.
fn start_admin(address: Option<&AdminAddress>, admin: Admin) -> Result<Option<SocketAddr>, RunError> {
    let Some(address) = address else {
        tracing::info!(target: target::ADMIN, "No admin address given, so no admin HTTP server started.");
        return Ok(None);
    };
    let listener = AdminListener::bind(address)?;
    if let Some(path) = &admin.options.admin_address_path {
        listener.write_address(path)?;
    }
    let bound = listener.ip_address();
    tokio::spawn(server::serve(listener, admin));
    Ok(bound)
}
