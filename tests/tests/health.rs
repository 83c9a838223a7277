//! Which hosts are in use, for what they answer: outlier detection and active checks, beside Envoy with the same configuration and upstreams.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "health/active.rs"]
mod active;
#[path = "health/backend.rs"]
#[allow(dead_code)] // what `distribution` alone needs of it
mod backend;
#[path = "health/events.rs"]
mod events;
#[path = "health/grpc.rs"]
mod grpc;
#[path = "health/outlier.rs"]
mod outlier;
