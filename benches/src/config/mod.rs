//! The configuration of each proxy for the same job.
//!
//! One [`Setup`] says what is asked for; each proxy's file turns it into that proxy's language. Sampan and Envoy
//! read the very same file. In all of them: one worker, access log off, statistics on, keep-alive to the
//! upstream, limits high enough never to matter.

mod envoy;
mod haproxy;
mod mtls;
mod nginx;

pub use mtls::write_certificates;

use crate::binaries::ProxyKind;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// What the proxy does between its two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Job {
    /// HTTP/1.1 on both sides.
    Http1,
    /// [`Job::Http1`] with a chain of filters; beside it, on [`PLAIN_HOST`] and the same port, the same without them.
    FilterChain,
    /// HTTP/2 without TLS downstream, HTTP/1.1 upstream.
    Http2ToHttp1,
    /// HTTP/2 without TLS on both sides.
    Http2,
    /// Bytes in, bytes out.
    Tcp,
    /// HTTP/1.1 in the clear downstream, HTTP/2 over mutual TLS upstream: a client's sidecar. Its upstream is a
    /// second proxy of the same kind with the job [`Job::MutualTlsServer`]; the two are measured together.
    MutualTlsPair,
    /// HTTP/2 over mutual TLS downstream, HTTP/1.1 in the clear upstream: a server's sidecar.
    MutualTlsServer,
    /// HTTP/1.1, with this many clusters and a virtual host for each: `cN.example` goes to cluster `cN`.
    ManyClusters(usize),
}

/// Where the plain listener of [`Job::FilterChain`] listens.
pub const PLAIN_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

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
    /// Where the certificates lie, for the jobs that take them.
    pub certificates: &'a Path,
}

impl Job {
    /// Whether it takes certificates; see [`write_certificates`].
    pub fn is_mutual_tls(self) -> bool {
        matches!(self, Self::MutualTlsPair | Self::MutualTlsServer)
    }
}

/// Writes the configuration text, or says why this proxy cannot do the job.
pub fn render(kind: ProxyKind, setup: &Setup) -> Result<String, String> {
    let mut text = String::new();
    let written = match kind {
        ProxyKind::Sampan | ProxyKind::Envoy => envoy::write(&mut text, setup),
        ProxyKind::Haproxy | ProxyKind::Nginx if setup.job.is_mutual_tls() => {
            return Err("is no mesh sidecar".into());
        }
        ProxyKind::Haproxy | ProxyKind::Nginx if setup.profile == Profile::Sidecar => {
            return Err("has no sidecar profile".into());
        }
        ProxyKind::Haproxy | ProxyKind::Nginx if setup.job == Job::FilterChain => {
            return Err("has other filters".into());
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
        let (dir, certificates) = (Path::new("/d"), Path::new("/c"));
        Setup { job, profile: Profile::Plain, listen: 1001, upstream: 1002, dir, certificates }
    }

    #[test]
    fn a_pair_a_proxy_cannot_serve_is_refused_with_a_reason() {
        assert_eq!(render(ProxyKind::Nginx, &setup(Job::Http2)), Err("has no HTTP/2 upstream".into()));
        let sidecar = Setup { profile: Profile::Sidecar, ..setup(Job::Http1) };
        assert!(render(ProxyKind::Haproxy, &sidecar).is_err());
    }

    #[test]
    fn both_sides_of_a_pair_encrypt_and_ask_for_certificates() {
        let render = |job| render(ProxyKind::Sampan, &setup(job)).unwrap();
        let (client, server) = (render(Job::MutualTlsPair), render(Job::MutualTlsServer));
        assert!(client.contains("UpstreamTlsContext") && !client.contains("DownstreamTlsContext"));
        assert!(
            server.contains("require_client_certificate: true") && !server.contains("UpstreamTlsContext")
        );
        assert!(super::render(ProxyKind::Haproxy, &setup(Job::MutualTlsPair)).is_err());
    }

    #[test]
    fn sampan_and_envoy_read_the_same_file() {
        for job in [
            Job::Http1,
            Job::FilterChain,
            Job::Http2ToHttp1,
            Job::Http2,
            Job::Tcp,
            Job::ManyClusters(3),
            Job::MutualTlsPair,
        ] {
            assert_eq!(render(ProxyKind::Sampan, &setup(job)), render(ProxyKind::Envoy, &setup(job)));
        }
    }

    #[test]
    fn the_filters_stand_in_one_of_two_listeners_only() {
        let text = render(ProxyKind::Sampan, &setup(Job::FilterChain)).unwrap();
        let (chain, plain) = text.split_once("name: plain").unwrap();
        for filter in ["cors", "fault", "rbac", "local_ratelimit", "header_mutation"] {
            let name = format!("envoy.filters.http.{filter}");
            assert!(chain.contains(&name) && !plain.contains(&name), "{filter}");
        }
        assert!(chain.contains("127.0.0.1") && plain.contains("127.0.0.2"));
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
