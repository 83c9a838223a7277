//! Counters, gauges and histograms under Envoy's names.
//!
//! ```text
//!  worker 0 ── Arc<Block<Cluster>> ──┐
//!  worker 1 ── Arc<Block<Cluster>> ──┼── Stats (scope "cluster.c1.") ── collect ── samples ── text | JSON | Prometheus
//!  control  ── Arc<Block<Cluster>> ──┘        ▲                                      ▲
//!                                     retire, declare                     names, tags, matcher
//! ```
//!
//! A [`Kind`] is a group of stats that share a name prefix and that one place in the code writes: a listener, an HTTP
//! connection manager, a cluster. A *scope* is one instance of a kind (`cluster.c1.`). Each writing thread has a
//! [`Block`] of its own per scope, so a write is a relaxed load and store on memory that no other thread writes: no lock,
//! no read-modify-write, no name, no hash. The control thread sums the blocks when somebody asks. Two threads that
//! write one block lose counts (nothing worse), which is why [`Stats::block`] is asked per [`Writer`].
//!
//! The registry's lock is taken when a block is made and, for as long as it takes to clone a list of `Arc`s, when stats
//! are read. A scope appears when its first block is made, so what carries no traffic costs nothing;
//! what must print zeros from the start (listeners, connection managers, the server) is made when it is configured.

mod block;
mod codes;
mod collect;
mod config;
mod histogram;
pub mod kinds;
mod metric;
mod query;
mod registry;
mod render;
mod schema;
mod series;
mod tags;

pub use block::Block;
pub use codes::Origin;
pub use collect::{Provided, Provider};
pub use config::{
    BucketRule, StatsConfig, StatsConfigError, StatsMatcher, StringMatch, StringPattern, TagRule, TagValue,
};
pub use metric::{Metric, MetricType};
pub use query::{Buckets, Format, QueryError, StatsQuery};
pub use registry::{Stats, Writer};
pub use render::{Rendered, render};
pub use schema::{Kind, Schema, Slot};
pub use series::FilterSeries;
