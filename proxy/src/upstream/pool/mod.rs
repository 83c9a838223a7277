//! The connections of one worker to one host.
//!
//! HTTP/1.1 connections are lent to one request at a time; HTTP/2 connections are shared. When the connection
//! breaker is open, requests wait in line ([`Waiters`]) for a connection that another request gives back; the line is
//! bounded by the pending breaker.
//!
//! ```text
//!  take: idle connection that is still open --> lend
//!        else breaker allows one more        --> connect, lend
//!        else pending breaker allows         --> wait in line --> lend / the connection's place
//!        else overflow
//! ```

pub mod h1;
pub mod h2;
mod waiters;

use std::sync::Arc;

use sampan_model::cluster::{Cluster, Host};

use crate::telemetry::stats::{Block, kinds};

/// One worker's connections to one host.
pub struct HostPool {
    host: Arc<Host>,
    /// HTTP/1.1 connections.
    pub h1: h1::Pool,
    /// HTTP/2 connections.
    pub h2: h2::Pool,
}

impl HostPool {
    /// No connection yet.
    pub fn new(host: Arc<Host>) -> Self {
        Self { host, h1: h1::Pool::default(), h2: h2::Pool::default() }
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Stops lending what is idle; tells whether the pool is still needed because requests are under way.
    pub fn retire(&self) -> bool {
        self.h1.retire();
        self.h2.retire();
        !self.is_idle()
    }

    /// Whether no connection is open.
    pub fn is_idle(&self) -> bool {
        self.h1.is_idle() && self.h2.is_idle()
    }

    /// Closes connections that are dead, too old, or idle for too long.
    pub fn sweep(&self, config: &Cluster, stats: &Block<kinds::Cluster>) {
        self.h1.sweep(config, stats);
        self.h2.sweep(config, stats);
    }
}
