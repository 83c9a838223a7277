//! Clusters over scripted answers, on a paused clock.

use std::collections::VecDeque;
use std::time::Duration;

use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster as Proto;
use sampan_api::{Descriptors, Document, Format, Policy, decode};

use super::*;
use crate::bootstrap::Resource;
use crate::control::compile::cluster::compile;
use crate::control::compile::scope::{Rejects, Scope};
use crate::control::compile::tls::Inputs;
use crate::telemetry::stats::StatsConfig;

/// Gives its answers in order, the last one for ever.
struct Script(Mutex<VecDeque<Result<Answer, LookupError>>>);

impl Resolve for Script {
    async fn resolve(&self, _: &str, _: &DnsSettings) -> Result<Answer, LookupError> {
        let mut script = self.0.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
    }
}

#[allow(clippy::unnecessary_wraps)] // one step of a script
fn ips(list: &[[u8; 4]]) -> Result<Answer, LookupError> {
    let addresses = list.iter().map(|ip| IpAddr::from(*ip)).collect();
    Ok(Answer { addresses, ttl: Some(Duration::from_mins(1)) })
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

struct Running {
    publisher: Arc<Publisher>,
    stats: Stats,
    first: oneshot::Receiver<()>,
    _resolving: Resolving,
}

fn start(kind: &str, script: Vec<Result<Answer, LookupError>>) -> Running {
    let yaml = format!(
        "{{name: c, type: {kind}, dns_refresh_rate: 5s, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: \
         [{{endpoint: {{address: {{socket_address: {{address: name.test, port_value: 80}}}}}}}}]}}]}}}}"
    );
    let document = Document::parse(&yaml, Format::Yaml).unwrap();
    let proto = decode::<Proto>(Descriptors::load(), &document, Policy::default()).unwrap().value;
    let rejects = Rejects::default();
    let compiled = compile(&proto, &Inputs::default(), &Scope::root("cluster c", &rejects)).unwrap();
    let resource = Resource { name: "c".into(), wire: proto.encode_to_vec().into() };
    let publisher = Arc::new(Publisher::new(&[resource], Arc::default(), Arc::default(), &Inputs::default()));
    let stats = Stats::new(&StatsConfig::default()).unwrap();
    let resolver = Arc::new(Script(Mutex::new(script.into())));
    let (resolving, first) = resolve(compiled, resolver, publisher.clone(), &stats);
    Running { publisher, stats, first, _resolving: resolving }
}

impl Running {
    fn hosts(&self) -> Vec<String> {
        let snapshot = self.publisher.published().load();
        let parts = snapshot.clusters.entry(self.publisher.slot("c")).unwrap().parts().clone();
        parts.hosts.members().iter().map(|m| m.host.address.to_string()).collect()
    }

    fn counter(&self, counter: ClusterHostsCounter) -> u64 {
        self.stats.block::<ClusterHosts>("c", Writer::CONTROL).counter(counter)
    }
}

#[tokio::test(start_paused = true)]
async fn answers_become_hosts_and_hosts_survive() {
    let mut running = start("STRICT_DNS", vec![ips(&[A]), ips(&[B, A])]);
    (&mut running.first).await.unwrap();
    assert_eq!(running.hosts(), ["10.0.0.1:80"]);
    let slot = running.publisher.slot("c");
    let host = |running: &Running, at: usize| {
        let snapshot = running.publisher.published().load();
        snapshot.clusters.entry(slot).unwrap().parts().hosts.members()[at].host.clone()
    };
    let before = host(&running, 0);
    assert_eq!(&*before.hostname, "name.test");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(running.hosts(), ["10.0.0.2:80", "10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&before, &host(&running, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_answer_and_an_empty_one_empties() {
    let failed = Err(LookupError::TimedOut);
    let mut running = start("STRICT_DNS", vec![ips(&[A]), failed, ips(&[])]);
    (&mut running.first).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((running.hosts().len(), running.counter(ClusterHostsCounter::UpdateFailure)), (1, 1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(running.hosts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn logical_dns_has_one_host_and_keeps_it() {
    let mut running = start("LOGICAL_DNS", vec![ips(&[A, B]), ips(&[])]);
    (&mut running.first).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(running.hosts(), ["10.0.0.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_answer_changes_nothing() {
    let mut running = start("STRICT_DNS", vec![ips(&[A, B]), ips(&[B, A])]);
    (&mut running.first).await.unwrap();
    let generation = running.publisher.published().generation();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(running.publisher.published().generation(), generation);
    assert_eq!(running.counter(ClusterHostsCounter::UpdateNoRebuild), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_wait() {
    let mut running = start("STRICT_DNS", vec![Err(LookupError::TimedOut)]);
    (&mut running.first).await.unwrap();
    assert_eq!(running.hosts(), Vec::<String>::new());
}
