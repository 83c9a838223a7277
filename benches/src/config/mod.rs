//! The configuration of each proxy for the same job.
//!
//! One [`Setup`] says what is asked for; each proxy's file turns it into that proxy's language. Sampan and Envoy
//! read the very same file. In all of them: one worker, access log off, statistics on, keep-alive to the
//! upstream, limits high enough never to matter.

mod envoy;
mod haproxy;
mod nginx;

use crate::binaries::ProxyKind;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::Path;

/// What the proxy does between its two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Job {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/2 without TLS downstream, HTTP/1.1 upstream.
    Http2ToHttp1,
    /// HTTP/2 without TLS on both sides.
    Http2,
    /// Bytes in, bytes out.
    Tcp,
    /// HTTP/1.1, with this many clusters and a virtual host for each: `cN.example` goes to cluster `cN`.
    ManyClusters(usize),
}

/// What the HTTP configuration holds besides a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The router alone.
    #[default]
    Plain,
    /// What a mesh sidecar has: RBAC, CORS and fault filters, header edits, a JSON access log.
    Sidecar,
}

/// A request for a configuration.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// What to do.
    pub job: Job,
    /// How much stands around it.
    pub profile: Profile,
    /// The port to listen on, on 127.0.0.1.
    pub listen: u16,
    /// The backend's port, on 127.0.0.1, of the protocol that the job needs upstream.
    pub upstream: u16,
    /// A directory of this proxy's own, for its pid file, logs and sockets.
    pub dir: &'a Path,
}

/// Writes the configuration text, or says why this proxy cannot do the job.
pub fn render(kind: ProxyKind, setup: &Setup) -> Result<String, String> {
    let mut text = String::new();
    let written = match kind {
        ProxyKind::Sampan | ProxyKind::Envoy => envoy::write(&mut text, setup),
        ProxyKind::Haproxy | ProxyKind::Nginx if setup.profile == Profile::Sidecar => {
            return Err("has no sidecar profile".into());
        }
        ProxyKind::Haproxy => haproxy::write(&mut text, setup),
        ProxyKind::Nginx if setup.job == Job::Http2 => return Err("has no HTTP/2 upstream".into()),
        ProxyKind::Nginx => nginx::write(&mut text, setup, nginx::stream_module().as_deref())?,
    };
    written.map(|()| text).map_err(|error: fmt::Error| error.to_string())
}

/// Appends one indented block of YAML (or any text) and a line end.
fn block(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "{}", text.trim_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(job: Job) -> Setup<'static> {
        Setup { job, profile: Profile::Plain, listen: 1001, upstream: 1002, dir: Path::new("/d") }
    }

    #[test]
    fn a_pair_a_proxy_cannot_serve_is_refused_with_a_reason() {
        assert_eq!(render(ProxyKind::Nginx, &setup(Job::Http2)), Err("has no HTTP/2 upstream".into()));
        let sidecar = Setup { profile: Profile::Sidecar, ..setup(Job::Http1) };
        assert!(render(ProxyKind::Haproxy, &sidecar).is_err());
    }

    #[test]
    fn sampan_and_envoy_read_the_same_file() {
        for job in [Job::Http1, Job::Http2ToHttp1, Job::Http2, Job::Tcp, Job::ManyClusters(3)] {
            assert_eq!(render(ProxyKind::Sampan, &setup(job)), render(ProxyKind::Envoy, &setup(job)));
        }
    }

    #[test]
    fn every_cluster_gets_its_virtual_host() {
        for kind in ProxyKind::ALL {
            let text = render(kind, &setup(Job::ManyClusters(3))).unwrap();
            for name in ["c0.example", "c1.example", "c2.example"] {
                assert!(text.contains(name), "{kind}: {name}");
            }
        }
    }
}
