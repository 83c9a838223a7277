//! What a source is told when it is made: `ApiConfigSource` and `PathConfigSource`, without what belongs to the proxy's upstreams.

use std::path::PathBuf;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::Node;

use crate::protocol::RateLimit;
use crate::transport::GrpcTarget;
use crate::transport::rest::RestTarget;

/// Which variant of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `GRPC`, `AGGREGATED_GRPC`
    StateOfTheWorld,
    /// `DELTA_GRPC`, `AGGREGATED_DELTA_GRPC`
    Delta,
}

/// A source over gRPC.
#[derive(Clone)]
pub struct StreamSettings {
    /// Who we are: the node of the bootstrap.
    pub node: Node,
    /// `set_node_on_first_message_only`
    pub set_node_on_first_message_only: bool,
    /// `rate_limit_settings`; none: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Which variant.
    pub variant: Variant,
    /// The largest response that is taken, in bytes. A larger one ends the stream.
    pub message_cap: usize,
    /// `grpc_services`, the preferred one first.
    pub targets: Vec<GrpcTarget>,
    /// The first delay after a failure is at most this (`retry_policy.retry_back_off.base_interval`).
    pub backoff_base: Duration,
    /// No delay is longer (`max_interval`).
    pub backoff_max: Duration,
    /// Seed of the jitter; none: by chance.
    pub seed: Option<u64>,
}

impl StreamSettings {
    /// The defaults: state of the world, no rate limit, 64 MiB, back-off from 500 ms to 30 s.
    pub fn new(node: Node, targets: Vec<GrpcTarget>) -> Self {
        Self {
            node,
            set_node_on_first_message_only: false,
            rate_limit: None,
            variant: Variant::StateOfTheWorld,
            message_cap: 64 << 20,
            targets,
            backoff_base: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            seed: None,
        }
    }
}

/// A source that is polled over REST.
#[derive(Clone)]
pub struct RestSettings {
    /// Who we are.
    pub node: Node,
    /// `cluster_names`, the preferred one first.
    pub targets: Vec<RestTarget>,
    /// `refresh_delay`: polls are this far apart, and up to once more, by chance.
    pub refresh_delay: Duration,
    /// `request_timeout`
    pub request_timeout: Duration,
    /// The largest response that is taken, in bytes.
    pub message_cap: usize,
    /// Seed of the jitter; none: by chance.
    pub seed: Option<u64>,
}

impl RestSettings {
    /// The defaults: a request may take one second, a response 64 MiB.
    pub fn new(node: Node, targets: Vec<RestTarget>, refresh_delay: Duration) -> Self {
        let request_timeout = Duration::from_secs(1);
        Self { node, targets, refresh_delay, request_timeout, message_cap: 64 << 20, seed: None }
    }
}

/// A source that is a file: `path_config_source`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The file: a `DiscoveryResponse`. Its extension tells the language: `.yaml`, `.yml`, `.json`, `.pb` (binary), else JSON.
    pub path: PathBuf,
    /// `watched_directory`: the file is read again when anything is moved into this directory, and only then. Otherwise when the file
    /// itself is replaced by a move.
    pub watched_directory: Option<PathBuf>,
    /// The largest file that is read, in bytes.
    pub size_cap: usize,
}

impl FileSettings {
    /// A file, watched by itself, of at most 64 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), watched_directory: None, size_cap: 64 << 20 }
    }
}
