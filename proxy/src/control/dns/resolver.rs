//! Asking for a name: the hosts file, then name servers, by hickory.
//!
//! Nothing is cached between lookups: a cluster's refresh rate or the TTL says when to ask again, and Envoy asks then.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use sampan_model::cluster::{DnsSettings, LookupFamily};

/// The longest a lookup may take, over all servers and attempts.
const LIMIT: Duration = Duration::from_secs(10);

/// What a name resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The addresses; none is an answer, too.
    pub addresses: Vec<IpAddr>,
    /// How long it may be used; `None` if nothing says so.
    pub ttl: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No server answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// The name, the servers or the network are at fault.
    #[error("{0}")]
    Failed(String),
}

/// Resolves names.
pub trait Resolve: Send + Sync + 'static {
    /// Asks once.
    fn resolve(
        &self,
        name: &str,
        settings: &DnsSettings,
    ) -> impl Future<Output = Result<Answer, LookupError>> + Send;
}

/// One resolver for each way of asking, made when first needed.
#[derive(Default)]
pub struct Resolvers {
    made: Mutex<HashMap<Way, Arc<TokioResolver>>>,
}

/// What sets one resolver apart from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    servers: Vec<SocketAddr>,
    use_tcp: bool,
    family: u8,
}

impl Resolve for Resolvers {
    async fn resolve(&self, name: &str, settings: &DnsSettings) -> Result<Answer, LookupError> {
        let resolver = self.resolver(settings)?;
        // A name that ends in a dot is taken as it is, without the search domains.
        let absolute = settings.no_default_search_domain && !name.ends_with('.');
        let name = if absolute { format!("{name}.") } else { name.to_owned() };
        match tokio::time::timeout(LIMIT, resolver.lookup_ip(name)).await {
            Ok(Ok(found)) => Ok(Answer {
                addresses: found.iter().collect(),
                ttl: Some(found.valid_until().saturating_duration_since(Instant::now())),
            }),
            // NXDOMAIN and an empty answer are answers.
            Ok(Err(error)) if error.is_no_records_found() => Ok(Answer::default()),
            Ok(Err(NetError::Timeout)) | Err(_) => Err(LookupError::TimedOut),
            Ok(Err(error)) => Err(LookupError::Failed(error.to_string())),
        }
    }
}

impl Resolvers {
    fn resolver(&self, settings: &DnsSettings) -> Result<Arc<TokioResolver>, LookupError> {
        let way = Way {
            servers: settings.resolvers.clone(),
            use_tcp: settings.use_tcp,
            family: settings.family as u8,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = made.get(&way) {
            return Ok(resolver.clone());
        }
        let resolver = make(settings).map_err(|error| LookupError::Failed(error.to_string()))?;
        let resolver = Arc::new(resolver);
        made.insert(way, resolver.clone());
        Ok(resolver)
    }
}

fn make(settings: &DnsSettings) -> Result<TokioResolver, NetError> {
    let (system, options) = hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|_| {
        // Without resolv.conf the local server is asked, as the C library does.
        let local = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
        (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
    });
    let (domain, search, mut servers) = system.into_parts();
    if !settings.resolvers.is_empty() {
        servers = settings.resolvers.iter().map(|address| server(*address)).collect();
    }
    if settings.use_tcp {
        let on_port = |server: &NameServerConfig| {
            let port = server.connections.first().map_or(53, |connection| connection.port);
            let mut tcp = NameServerConfig::tcp(server.ip);
            tcp.connections.iter_mut().for_each(|connection| connection.port = port);
            tcp
        };
        servers = servers.iter().map(on_port).collect();
    }
    let config = ResolverConfig::from_parts(domain, search, servers);
    let mut builder =
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = strategy(settings.family);
    builder.build()
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    server
}

fn strategy(family: LookupFamily) -> LookupIpStrategy {
    match family {
        LookupFamily::V4Only => LookupIpStrategy::Ipv4Only,
        LookupFamily::V6Only => LookupIpStrategy::Ipv6Only,
        LookupFamily::Auto => LookupIpStrategy::Ipv6thenIpv4,
        LookupFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        LookupFamily::All => LookupIpStrategy::Ipv4AndIpv6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_comes_from_the_hosts_file() {
        let settings = DnsSettings { family: LookupFamily::V4Only, ..DnsSettings::default() };
        let answer = Resolvers::default().resolve("localhost", &settings).await;
        assert_eq!(answer.map(|a| a.addresses), Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    }

    #[tokio::test]
    async fn a_server_of_its_own_is_asked() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let settings = DnsSettings {
            family: LookupFamily::V4Only,
            resolvers: vec![socket.local_addr().unwrap()],
            no_default_search_domain: true,
            ..DnsSettings::default()
        };
        let serve = async {
            let mut query = [0; 512];
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            // The question ends 4 bytes after the name's last byte; what follows is EDNS, which the answer leaves out.
            let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut reply = query[..end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 42, 0, 4, 10, 1, 2, 3]);
            socket.send_to(&reply, from).await.unwrap();
        };
        let resolvers = Resolvers::default();
        let (answer, ()) = tokio::join!(resolvers.resolve("example.test", &settings), serve);
        let answer = answer.unwrap();
        assert_eq!(answer.addresses, [IpAddr::from([10, 1, 2, 3])]);
        let ttl = answer.ttl.unwrap().as_secs_f64();
        assert!(ttl > 40.0 && ttl <= 42.0, "{ttl}");
    }
}
