//! What filters share to read their configuration: how problems are told, and small values that many messages use.
//!
//! Paths are relative to the filter's own message; the compile step puts the path of the filter in front of them.

pub mod cel;
pub mod compression;
pub mod fraction;
pub mod istio_stats;
pub mod matcher;
pub mod peer;
pub mod rate_limit;
pub mod rbac;
pub mod remote;
pub mod route_match;
mod source;
pub mod state;
#[cfg(test)]
pub mod testing;
pub mod tree;
pub mod value;

pub use source::data_source;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prost::Message;
use sampan_api::google::protobuf;
use sampan_filters_api::{CounterStore, Direction, NodeFacts, SeriesStore};

/// One field of a filter's configuration that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ConfigError {
    /// The field's path within the filter's message, in proto names; empty for the message itself.
    pub path: String,
    /// The value; empty if there is none to show.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What to do; empty if the reason says it.
    pub hint: String,
}

impl ConfigError {
    /// A problem with the field at `path`.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), value: String::new(), reason: reason.into(), hint: String::new() }
    }

    /// With the value at fault.
    pub fn value(mut self, value: impl std::fmt::Display) -> Self {
        self.value = value.to_string();
        self
    }

    /// With advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// What reading a configuration ends with: a value, or everything that is wrong with it.
pub type Compiled<T> = Result<T, Vec<ConfigError>>;

/// What a filter may know beside its own message.
#[derive(Clone, Copy)]
pub struct FilterContext<'a> {
    /// Where its counters are kept.
    pub counters: &'a Arc<CounterStore>,
    /// Its configured name; empty for what is no filter of a listener.
    pub name: &'a str,
    /// What the names of its counters begin with: `http.<stat_prefix>.` within a connection manager, nothing elsewhere.
    pub prefix: &'a str,
    /// `node.cluster`
    pub service_cluster: &'a str,
    /// Whether the proxy is to fail its health checks.
    pub failing: &'a Arc<AtomicBool>,
    /// Where its metrics with labels are kept.
    pub series: &'a Arc<dyn SeriesStore>,
    /// The proxy's own node.
    pub node: &'a NodeFacts,
    /// `traffic_direction` of the listener.
    pub direction: Direction,
}

/// Decodes the payload of an `Any` whose type is known to be `M`.
pub fn payload<M: Message + Default>(bytes: &[u8]) -> Compiled<M> {
    M::decode(bytes).map_err(|error| vec![ConfigError::new("", format!("the payload is malformed: {error}"))])
}

/// A duration that is not negative.
pub fn duration(proto: &protobuf::Duration, path: &str) -> Result<Duration, ConfigError> {
    let parts = (u64::try_from(proto.seconds), u32::try_from(proto.nanos));
    match parts {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => {
            Err(ConfigError::new(path, "a duration cannot be negative").value(format!("{}s", proto.seconds)))
        }
    }
}
