//! How a DNS cluster resolves its names: settings only, the resolver is the control thread's.

use std::net::SocketAddr;
use std::time::Duration;

/// `DnsLookupFamily`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LookupFamily {
    /// IPv6 if there is any such address, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4 if there is any such address, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// Waiting times after a failed lookup: from `base`, doubling up to `max`, fully jittered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshBackoff {
    /// The first.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
}

/// DNS settings of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSettings {
    /// `dns_refresh_rate`: how long after a lookup the next one follows.
    pub refresh_rate: Duration,
    /// `dns_failure_refresh_rate`; without it a failure is followed like a success.
    pub failure_refresh: Option<RefreshBackoff>,
    /// `dns_jitter`: a random time up to this is added to each wait.
    pub jitter: Duration,
    /// `respect_dns_ttl`: the answer's TTL instead of `refresh_rate`.
    pub respect_ttl: bool,
    /// `dns_min_refresh_rate`: the shortest wait that a TTL can ask for.
    pub min_refresh_rate: Duration,
    /// Which addresses are wanted.
    pub family: LookupFamily,
    /// Name servers; empty for the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Ask by TCP only.
    pub use_tcp: bool,
    /// Do not append the system's search domains.
    pub no_default_search_domain: bool,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            refresh_rate: Duration::from_secs(5),
            failure_refresh: None,
            jitter: Duration::ZERO,
            respect_ttl: false,
            min_refresh_rate: Duration::from_secs(1),
            family: LookupFamily::Auto,
            resolvers: Vec::new(),
            use_tcp: false,
            no_default_search_domain: false,
        }
    }
}

impl DnsSettings {
    /// How long to wait after a successful lookup; `ttl` is the answer's smallest, `random` uniform over `u64`.
    pub fn next_lookup(&self, ttl: Option<Duration>, random: u64) -> Duration {
        let wait = match ttl {
            Some(ttl) if self.respect_ttl => ttl.max(self.min_refresh_rate),
            _ => self.refresh_rate,
        };
        wait + part(self.jitter, random)
    }

    /// How long to wait after `failures` (at least one) failed lookups in a row.
    pub fn next_retry(&self, failures: u32, random: u64) -> Duration {
        let Some(backoff) = self.failure_refresh else { return self.next_lookup(None, random) };
        let doubled =
            backoff.base.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        // Never at once: a resolver that fails fast would be asked in a loop.
        part(doubled.min(backoff.max), random).max(Duration::from_millis(1))
    }
}

/// A random part of `whole`.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ttl_counts_only_if_respected() {
        let mut dns = DnsSettings::default();
        assert_eq!(dns.next_lookup(Some(60 * SECOND), 0), 5 * SECOND);
        dns.respect_ttl = true;
        assert_eq!(dns.next_lookup(Some(60 * SECOND), 0), 60 * SECOND);
        assert_eq!(dns.next_lookup(Some(Duration::ZERO), 0), SECOND);
    }

    #[test]
    fn jitter_adds_up_to_its_bound() {
        let dns = DnsSettings { jitter: 10 * SECOND, ..DnsSettings::default() };
        assert_eq!(dns.next_lookup(None, 0), 5 * SECOND);
        let most = dns.next_lookup(None, u64::MAX);
        assert!(most > 14 * SECOND && most <= 15 * SECOND);
    }

    #[test]
    fn failures_back_off() {
        let backoff = RefreshBackoff { base: SECOND, max: 10 * SECOND };
        let dns = DnsSettings { failure_refresh: Some(backoff), ..DnsSettings::default() };
        let longest = |failures| dns.next_retry(failures, u64::MAX).as_secs_f64().round() as u64;
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [1, 2, 4, 8, 10, 10]);
        assert_eq!(dns.next_retry(1, 0), Duration::from_millis(1));
    }
}
