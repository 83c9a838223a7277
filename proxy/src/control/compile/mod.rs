//! Proto -> domain. The only place (with the filters' `config.rs`) that knows proto types.
//!
//! A compile function takes a proto value, a [`Scope`] and, where it needs more than the value, the [`Context`], and
//! returns the domain value, or `None` after it has told the scope what is wrong. It goes on after an error where it can,
//! so that one run reports all of them. Each module says in its `SUPPORT` rows which fields it reads.

pub mod access_log;
pub mod bootstrap;
pub mod cluster;
pub mod endpoints;
pub mod extension;
pub mod format;
pub mod headers;
pub mod http;
pub mod listener;
pub mod local_reply;
pub mod matcher;
pub mod network;
pub mod route;
pub mod runtime;
pub mod scope;
pub mod stats_config;
pub mod value;

#[cfg(test)]
mod testing;

pub use scope::{Reject, Scope};

use std::collections::HashSet;
use std::sync::Arc;

use crate::runtime::Runtime;
use crate::snapshot::SlotNames;
use crate::telemetry::access_log::LogFiles;

/// What compiling needs to know besides the resource itself.
#[derive(Clone)]
pub struct Context {
    /// Where cluster names become slots.
    pub slots: Arc<SlotNames>,
    /// The runtime layers.
    pub runtime: Arc<Runtime>,
    /// Names of the clusters that exist, by which `validate_clusters` judges.
    pub clusters: Arc<HashSet<Box<str>>>,
    /// `node.cluster`, or `--service-cluster`.
    pub service_cluster: Arc<str>,
    /// `node.id`, or `--service-node`.
    pub service_node: Arc<str>,
    /// The files of access logs.
    pub log_files: Arc<LogFiles>,
}
