//! STRICT_DNS and LOGICAL_DNS: names to hosts, again and again, on the control thread.
//!
//! ```text
//! one task per name:  lookup --answer--> hosts of the cluster built anew, if they changed --> one cluster entry published
//!                       ^                                                                      |
//!                       '------- TTL or refresh rate, jitter; after a failure the back-off <---'
//! ```
//!
//! A failure keeps the last good answer. An answer without addresses is an answer: it empties a STRICT_DNS cluster, and
//! leaves a LOGICAL_DNS one as it is, as in Envoy. Hosts whose address stays are taken over, with their pools.

mod resolver;
#[cfg(test)]
mod tests;

pub use resolver::{Answer, LookupError, Resolve, Resolvers};

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use sampan_model::cluster::{Discovery, DnsSettings, Health, HostAddress, HostSet, HostSpec};
use sampan_model::route::Slot;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::compile::cluster::Compiled;
use super::compile::endpoints::Target;
use super::publish::{self, Publisher};
use crate::logging::target;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::kinds::{ClusterHosts, ClusterHostsCounter, ClusterHostsGauge};
use crate::telemetry::stats::{Block, Stats, Writer};

/// A cluster whose names are being resolved. Dropping it ends that.
pub struct Resolving(JoinSet<()>);

impl Resolving {
    /// Runs a task that ends with the others.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

/// One cluster, shared by the tasks of its names.
struct DnsCluster {
    compiled: Compiled,
    settings: DnsSettings,
    /// LOGICAL_DNS: one host, the first address.
    logical: bool,
    slot: Slot,
    publisher: Arc<Publisher>,
    stats: Arc<Block<ClusterHosts>>,
    state: Mutex<State>,
}

struct State {
    /// Whether the hosts are published. A version that is to be warm first is not, until every name was asked for.
    live: bool,
    /// The addresses of each target, by its position.
    answers: Vec<Vec<IpAddr>>,
    parts: ClusterParts,
    /// Names not asked for yet, and whom to tell when there are none.
    waiting: usize,
    first: Option<oneshot::Sender<()>>,
}

/// Starts to resolve the names of a cluster. It is published when each was asked for once, or at once where nothing is to wait for
/// that (`wait_for_warm_on_init`); the receiver comes then. Hosts are taken over from the version before.
pub fn resolve<R: Resolve>(
    compiled: Compiled,
    resolver: Arc<R>,
    publisher: Arc<Publisher>,
    stats: &Stats,
) -> (Resolving, oneshot::Receiver<()>) {
    let (settings, logical) = match &compiled.config.discovery {
        Discovery::LogicalDns(settings) => (settings.clone(), true),
        Discovery::StrictDns(settings) => (settings.clone(), false),
        _ => (DnsSettings::default(), false),
    };
    let names: Vec<usize> = compiled
        .targets
        .iter()
        .enumerate()
        .filter(|(_, t)| matches!(t, Target::Name(_)))
        .map(|(at, _)| at)
        .collect();
    let (told, first) = oneshot::channel();
    let slot = publisher.slot(&compiled.config.name);
    let before = publisher.published().load();
    let before = before.clusters.entry(slot).filter(|entry| entry.is_built()).map(|entry| entry.parts());
    let hosts = compiled.fixed_hosts(before.map(|parts| &*parts.hosts));
    let cluster = Arc::new(DnsCluster {
        state: Mutex::new(State {
            answers: vec![Vec::new(); compiled.targets.len()],
            live: !compiled.wait_for_warm || names.is_empty(),
            parts: publish::parts(&compiled, hosts, before.map(|parts| &**parts)),
            waiting: names.len(),
            first: Some(told),
        }),
        stats: stats.block::<ClusterHosts>(compiled.config.observability_name(), Writer::CONTROL),
        compiled,
        settings,
        logical,
        slot,
        publisher,
    });
    cluster.publish_first();
    let mut tasks = JoinSet::new();
    for at in names {
        tasks.spawn(cluster.clone().follow(at, resolver.clone()));
    }
    (Resolving(tasks), first)
}

impl State {
    /// Tells that every name was asked for.
    fn tell(&mut self) {
        if let Some(first) = self.first.take() {
            // Whoever no longer waits need not be told.
            let _ = first.send(());
        }
    }
}

impl DnsCluster {
    /// The life of one name.
    async fn follow<R: Resolve>(self: Arc<Self>, at: usize, resolver: Arc<R>) {
        let Some(Target::Name(named)) = self.compiled.targets.get(at) else { return };
        let mut failures = 0;
        let mut first = true;
        loop {
            self.stats.inc(ClusterHostsCounter::UpdateAttempt);
            let random = fastrand::u64(..);
            let wait = match resolver.resolve(&named.name, &self.settings).await {
                Ok(answer) => {
                    failures = 0;
                    self.stats.inc(ClusterHostsCounter::UpdateSuccess);
                    let ttl = answer.ttl.filter(|_| !answer.addresses.is_empty());
                    self.apply(at, answer.addresses);
                    self.settings.next_lookup(ttl, random)
                }
                Err(error) => {
                    failures += 1;
                    self.stats.inc(ClusterHostsCounter::UpdateFailure);
                    tracing::debug!(target: target::DNS, "dns resolution for {} failed: {error}", named.name);
                    self.settings.next_retry(failures, random)
                }
            };
            if std::mem::take(&mut first) {
                self.asked_once();
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn publish_first(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(&state.parts.hosts);
        if state.live {
            self.publisher.cluster(self.slot, state.parts.clone());
        }
        if state.waiting == 0 {
            state.tell();
        }
    }

    /// Takes an answer over, if it says anything new.
    fn apply(&self, at: usize, mut addresses: Vec<IpAddr>) {
        let mut seen = Vec::with_capacity(addresses.len());
        addresses.retain(|ip| {
            !seen.contains(ip) && {
                seen.push(*ip);
                true
            }
        });
        if self.logical {
            if addresses.is_empty() {
                return;
            }
            addresses.truncate(1);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = state.answers.get_mut(at) else { return };
        if same(known, &addresses) {
            self.stats.inc(ClusterHostsCounter::UpdateNoRebuild);
            return;
        }
        *known = addresses;
        let hosts =
            HostSet::new(self.specs(&state.answers), Some(&state.parts.hosts), self.compiled.options.clone());
        self.stats.inc(ClusterHostsCounter::MembershipChange);
        self.count(&hosts);
        state.parts.hosts = Arc::new(hosts);
        if state.live {
            self.publisher.cluster(self.slot, state.parts.clone());
        }
    }

    /// The hosts, in the order of the configuration.
    fn specs(&self, answers: &[Vec<IpAddr>]) -> Vec<HostSpec> {
        let mut specs = Vec::new();
        for (target, addresses) in self.compiled.targets.iter().zip(answers) {
            match target {
                Target::Fixed(host) => specs.push(host.clone()),
                Target::Name(named) => specs.extend(addresses.iter().map(|ip| HostSpec {
                    address: HostAddress::Socket(SocketAddr::new(*ip, named.port)),
                    ..named.host.clone()
                })),
            }
        }
        specs
    }

    /// Counts a name that was asked for the first time.
    fn asked_once(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 {
            if !std::mem::replace(&mut state.live, true) {
                self.publisher.cluster(self.slot, state.parts.clone());
            }
            state.tell();
        }
    }

    fn count(&self, hosts: &HostSet) {
        let (mut healthy, mut degraded, mut excluded) = (0, 0, 0);
        for member in hosts.members() {
            match member.host.health() {
                Health::Healthy => healthy += 1,
                Health::Degraded => degraded += 1,
                Health::Unhealthy => {}
            }
            excluded += i64::from(member.host.is_excluded());
        }
        self.stats.set(ClusterHostsGauge::MembershipTotal, hosts.members().len() as i64);
        self.stats.set(ClusterHostsGauge::MembershipHealthy, healthy);
        self.stats.set(ClusterHostsGauge::MembershipDegraded, degraded);
        self.stats.set(ClusterHostsGauge::MembershipExcluded, excluded);
    }
}

/// The same addresses in any order: servers rotate their answers.
fn same(known: &[IpAddr], next: &[IpAddr]) -> bool {
    known.len() == next.len() && next.iter().all(|ip| known.contains(ip))
}
