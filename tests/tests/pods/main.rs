//! Pods for real: network namespaces on a bridge, `sampan-init`'s rules in each, a proxy as user 1337 that has its configuration from
//! a control plane and its identity by SDS over unix sockets, in the shape that Istio gives them, and applications that know of
//! none of it. Each pair of pods is also made with a real Envoy on one side, and with Envoy on both, which shows that the tests ask for
//! no more than is asked of Envoy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod application;
mod bulk;
mod capture;
mod client;
mod identity;
mod inbound;
mod modes;
mod network;
mod outbound;
mod passthrough;
mod ports;
mod resources;
mod rotation;
mod setting;
mod sidecar;
mod start;
mod tproxy;
mod traffic;
