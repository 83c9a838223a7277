//! What TLS counts: `listener.<address>.ssl.*` and `cluster.<name>.ssl.*` by the workers, certificates and contexts at each
//! reading.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sampan_filters_api::info::TlsInfo;

use super::context::Inventory;
use super::handshake::Fault;
use super::params;
use super::report::{Cause, Refusal, Report};
use super::secrets::Secrets;
use crate::telemetry::stats::kinds::{self, TlsCounter};
use crate::telemetry::stats::{Block, Metric, MetricType, Provided, Provider, Stats, Writer};

/// The counters of one scope, as one worker writes them.
pub struct TlsStats {
    block: Arc<Block<kinds::Tls>>,
    /// `ciphers.X` and the like: names that only handshakes tell. There are as many as rustls has.
    named: RefCell<HashMap<(&'static str, &'static str), Arc<Metric>>>,
    scope: Box<str>,
    registry: Arc<Stats>,
    writer: Writer,
}

impl TlsStats {
    /// The counters below `<scope>.ssl.`; `scope` is `listener.<address>` or `cluster.<name>`.
    pub fn new(scope: &str, registry: &Arc<Stats>, writer: Writer) -> Self {
        let scope = format!("{scope}.ssl");
        Self {
            block: registry.block(&scope, writer),
            named: RefCell::default(),
            scope: scope.into(),
            registry: registry.clone(),
            writer,
        }
    }

    /// Counts a handshake that came about.
    pub fn succeeded(&self, tls: &TlsInfo, report: &Report) {
        self.block.inc(TlsCounter::Handshake);
        // ACCEPT_UNTRUSTED
        if let Some(refusal) = &report.refusal {
            self.block.inc(refused(refusal));
        }
        if tls.resumed {
            self.block.inc(TlsCounter::SessionReused);
        }
        if tls.peer.is_empty() {
            self.block.inc(TlsCounter::NoCertificate);
        }
        self.named("ciphers", tls.cipher);
        self.named("versions", tls.version);
        self.named("curves", tls.group);
        if let Some(scheme) = report.scheme {
            self.named("sigalgs", params::signature_name(scheme));
        }
    }

    /// Counts one that did not.
    pub fn failed(&self, fault: &Fault) {
        self.block.inc(match fault {
            Fault::Refused(refusal) => refused(refusal),
            Fault::NoCertificate => TlsCounter::FailVerifyNoCert,
            Fault::Protocol(_) | Fault::Alert(_) => TlsCounter::ConnectionError,
            // The connection failed, not TLS.
            Fault::Closed(_) | Fault::Timeout | Fault::NotReady(_) | Fault::Name(_) => return,
        });
    }

    fn named(&self, group: &'static str, name: &'static str) {
        if name.is_empty() {
            return;
        }
        let mut named = self.named.borrow_mut();
        let metric = named.entry((group, name)).or_insert_with(|| {
            let full = format!("{}.{group}.{name}", self.scope);
            self.registry.named(MetricType::Counter, &full, self.writer)
        });
        metric.inc();
    }
}

fn refused(refusal: &Refusal) -> TlsCounter {
    match refusal.cause {
        Cause::Chain => TlsCounter::FailVerifyError,
        Cause::Name => TlsCounter::FailVerifySan,
        Cause::Pin => TlsCounter::FailVerifyCertHash,
    }
}

/// Counters and gauges of contexts and their certificates.
pub struct ContextStats(pub Arc<Secrets>);

impl Provider for ContextStats {
    fn provide(&self, out: &mut Provided<'_>) {
        let mut contexts = self.0.inventory();
        // Several contexts of one listener share its stats.
        contexts.sort_by(|a, b| a.scope.cmp(&b.scope));
        for same in contexts.chunk_by(|a, b| a.scope == b.scope) {
            let (scope, side) = match &same[0] {
                context if context.is_server => (&context.scope, "server"),
                context => (&context.scope, "client"),
            };
            let stream = if side == "server" { "downstream" } else { "upstream" };
            let factory = format!("{scope}.{side}_ssl_socket_factory");
            let sum = |of: fn(&Inventory) -> u64| same.iter().map(of).sum();
            out.counter(format!("{factory}.ssl_context_update_by_sds"), sum(|context| context.updates));
            out.counter(
                format!("{factory}.{stream}_context_secrets_not_ready"),
                sum(|context| context.not_ready),
            );
            let trusting: u64 = sum(|context| u64::from(context.trusts_anybody));
            if trusting > 0 {
                out.gauge(format!("{scope}.ssl.no_trusted_ca"), trusting);
            }
            for (name, end) in ends(same) {
                out.gauge(format!("{scope}.ssl.certificate.{name}.expiration_unix_time_seconds"), end);
            }
        }
        if let Some(days) = self.days_until_first_expiry() {
            out.gauge("server.days_until_first_cert_expiring".to_owned(), days);
        }
    }
}

/// When the certificates of a scope expire, by their names; the first of those that share one.
fn ends(contexts: &[Inventory]) -> BTreeMap<&str, u64> {
    // What a certificate without a name is called: Envoy adds the beginning of the name's SHA-256.
    const OWN: &str = "unnamed_cert_e3b0c442";
    const TRUSTED: &str = "unnamed_ca_cert_e3b0c442";
    fn named<'n>(name: &'n str, otherwise: &'n str) -> &'n str {
        if name.is_empty() { otherwise } else { name }
    }
    let own = contexts
        .iter()
        .flat_map(|context| &context.identities)
        .filter_map(|identity| Some((named(&identity.name, OWN), identity.leaf()?.not_after)));
    let trusted = contexts.iter().flat_map(|context| &context.authorities).filter_map(|authorities| {
        let first = authorities.certificates.iter().map(|certificate| certificate.not_after).min()?;
        Some((named(&authorities.name, TRUSTED), first))
    });
    let mut ends = BTreeMap::new();
    for (name, end) in own.chain(trusted) {
        let end = seconds(end);
        ends.entry(name).and_modify(|known: &mut u64| *known = end.min(*known)).or_insert(end);
    }
    ends
}

impl ContextStats {
    fn days_until_first_expiry(&self) -> Option<u64> {
        let contexts = self.0.inventory();
        let own =
            contexts.iter().flat_map(|context| &context.identities).filter_map(|identity| identity.leaf());
        let trusted = contexts.iter().flat_map(|context| &context.authorities);
        let trusted = trusted.flat_map(|authorities| &authorities.certificates);
        let first = own.chain(trusted).map(|certificate| certificate.not_after).min()?;
        Some(first.duration_since(SystemTime::now()).unwrap_or_default().as_secs() / 86_400)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
