//! The pure domain: routes, clusters, hosts, load balancing. No I/O, no clock, no proto.
//!
//! The compile step of the control thread builds these types out of configuration; workers read them on the request
//! path. What needs time or randomness gets it as an argument, so that every decision here can be replayed in a test.
//!
//! - [`route`]: which virtual host and route a request takes, and what the action makes of its path and host.
//! - [`cluster`]: what is known about an upstream: its settings, its hosts, its circuit breakers.
//! - [`lb`]: which host of a cluster serves a request.
//! - [`health_check`]: what active checks make of a host.
//! - [`outlier`]: which hosts are left alone for a while, for what they answered.
//! - [`retry`]: whether a request is tried again.
//! - [`trace`]: which requests are traced, and how a trace goes on.
//! - [`fraction`], [`pattern`]: runtime fractions and regular expressions, shared by the others.

pub mod cluster;
pub mod fraction;
pub mod health_check;
pub mod lb;
pub mod outlier;
pub mod pattern;
pub mod retry;
pub mod route;
pub mod trace;
