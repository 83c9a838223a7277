//! The admin server: what operators, agents and scrapers ask a running proxy, in Envoy's shapes.
//!
//! It runs on the control thread's runtime, over TCP or a unix socket, with bounded connections and time.
//! Every endpoint is a row of [`table::ENDPOINTS`] and a plain function `fn(&Admin, &Request) -> Reply` in
//! the file of its group. What the endpoints show of configuration comes through the trait of [`source`], so
//! this module does not know the control plane's store.
//!
//! The control thread builds an [`Admin`], binds a [`server::AdminListener`] and spawns [`server::serve`].

pub mod client;
mod clusters;
mod config;
mod control;
mod exchange;
mod generations;
mod help;
mod listeners;
mod loggers;
mod profiling;
mod runtime;
pub mod server;
mod server_info;
pub mod source;
mod statistics;
pub mod status;
mod support;
pub mod table;
#[cfg(test)]
mod tests;
pub mod view;
mod vitals;

pub use exchange::{Reply, Request};

use std::sync::Arc;

use crate::cli::Options;
use crate::logging::Logging;
use crate::process::Lifecycle;
use crate::telemetry::stats::Stats;
use source::ConfigSource;

/// Everything an endpoint may look at or change.
#[derive(Clone)]
pub struct Admin {
    /// The command line.
    pub options: Arc<Options>,
    /// The life of the server.
    pub lifecycle: Lifecycle,
    /// The process log.
    pub log: Logging,
    /// What is configured and what became of it.
    pub config: Arc<dyn ConfigSource>,
    /// The statistics.
    pub stats: Arc<Stats>,
}
