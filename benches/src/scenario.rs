//! What is measured: the scenarios, what drives each, and the targets Sampan is held to.

use crate::backend::{LARGE_PATH, Ports, SMALL_PATH};
use crate::config::Job;
use anyhow::{Result, bail};

/// A scenario that is driven and measured in rounds.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line and in the JSON.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What the proxy does.
    pub job: Job,
    /// What asks for it.
    pub driver: Driver,
    /// What Sampan must reach.
    pub target: Target,
}

/// The tool that makes the load.
#[derive(Debug, Clone, Copy)]
pub enum Driver {
    /// `wrk`, 64 connections, as fast as they go, for this path.
    Wrk(&'static str),
    /// `h2load`, 8 connections with 8 streams each, for this path.
    H2load(&'static str),
    /// `fortio` at a fixed rate, 16 connections, for this path.
    Fortio(&'static str),
    /// One download through the proxy by the runner itself. Its unit is the MiB.
    Bulk,
}

/// Upper limits for the medians of one run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target {
    /// CPU per unit, as a multiple of Envoy's.
    pub cpu_to_envoy: Option<f64>,
    /// CPU per unit, as a multiple of HAProxy's.
    pub cpu_to_haproxy: Option<f64>,
    /// CPU per unit, in microseconds.
    pub cpu_us: Option<f64>,
}

/// A scenario about memory and start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryScenario {
    /// Started, one request served, nothing else.
    Idle,
    /// [`CLUSTERS`] static clusters with a virtual host each.
    Clusters,
    /// [`CONNECTIONS`] downstream connections that have had one request each and keep quiet.
    Connections,
}

/// Clusters of [`MemoryScenario::Clusters`].
pub const CLUSTERS: usize = 5_000;
/// Connections of [`MemoryScenario::Connections`].
pub const CONNECTIONS: usize = 10_000;

/// Limits of a memory scenario.
#[derive(Debug, Clone, Copy)]
pub struct MemoryTarget {
    /// Resident memory, in MiB.
    pub rss_mib: f64,
    /// Start of the process to first response, in seconds.
    pub start_seconds: Option<f64>,
}

const fn target(cpu_to_envoy: f64) -> Target {
    Target { cpu_to_envoy: Some(cpu_to_envoy), cpu_to_haproxy: None, cpu_us: None }
}

/// All measured scenarios, in the order they run.
pub static SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "http1_small",
        title: "HTTP/1.1 keep-alive, 128 B body, 64 connections (wrk)",
        job: Job::Http1,
        driver: Driver::Wrk(SMALL_PATH),
        target: Target { cpu_to_haproxy: Some(1.15), ..target(0.55) },
    },
    Scenario {
        name: "http1_64k",
        title: "HTTP/1.1 keep-alive, 64 KiB body, 64 connections (wrk)",
        job: Job::Http1,
        driver: Driver::Wrk(LARGE_PATH),
        target: target(0.75),
    },
    Scenario {
        name: "h2_h1",
        title: "HTTP/2 to HTTP/1.1, 128 B body, 8 connections x 8 streams (h2load)",
        job: Job::Http2ToHttp1,
        driver: Driver::H2load(SMALL_PATH),
        target: target(0.6),
    },
    Scenario {
        name: "h2_h2",
        title: "HTTP/2 to HTTP/2, 128 B body, 8 connections x 8 streams (h2load)",
        job: Job::Http2,
        driver: Driver::H2load(SMALL_PATH),
        target: target(0.95),
    },
    Scenario {
        name: "tcp_small",
        title: "TCP relay, 128 B responses, 64 connections (wrk)",
        job: Job::Tcp,
        driver: Driver::Wrk(SMALL_PATH),
        target: target(0.85),
    },
    Scenario {
        name: "tcp_bulk",
        title: "TCP relay, one bulk download; the unit is the MiB",
        job: Job::Tcp,
        driver: Driver::Bulk,
        target: target(0.6),
    },
    Scenario {
        name: "http1_rate",
        title: "HTTP/1.1 at a fixed rate, 128 B body, 16 connections (fortio)",
        job: Job::Http1,
        driver: Driver::Fortio(SMALL_PATH),
        target: Target { cpu_to_envoy: None, cpu_to_haproxy: None, cpu_us: None },
    },
    Scenario {
        name: "http1_filters",
        title: "what cors, fault, rbac, local_ratelimit and header_mutation add to a request of http1_small",
        job: Job::FilterChain,
        driver: Driver::Wrk(SMALL_PATH),
        target: Target { cpu_us: Some(1.5), ..target(0.4) },
    },
    Scenario {
        name: "mtls_pair",
        title: "two sidecars, mutual TLS and HTTP/2 between them, 128 B body, 64 connections (wrk)",
        job: Job::MutualTlsPair,
        driver: Driver::Wrk(SMALL_PATH),
        target: target(0.7),
    },
    Scenario {
        name: "mtls_pair_64k",
        title: "the same, 64 KiB body",
        job: Job::MutualTlsPair,
        driver: Driver::Wrk(LARGE_PATH),
        target: target(0.7),
    },
];

impl Scenario {
    /// The backend port this scenario's proxy connects to.
    pub fn upstream(&self, ports: Ports) -> u16 {
        match (self.job, self.driver) {
            (_, Driver::Bulk) => ports.bulk,
            (Job::Http2, _) => ports.h2,
            _ => ports.h1,
        }
    }

    /// Whether its CPU time is what this job costs more than the plain one beside it.
    pub fn is_difference(&self) -> bool {
        self.job == Job::FilterChain
    }

    /// What one unit of work is called.
    pub fn unit(&self) -> &'static str {
        if matches!(self.driver, Driver::Bulk) { "MiB" } else { "req" }
    }
}

impl MemoryScenario {
    /// All of them, in the order they run.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Clusters, Self::Connections];

    /// The name on the command line and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "memory_idle",
            Self::Clusters => "memory_clusters",
            Self::Connections => "memory_connections",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Idle => "Memory when idle",
            Self::Clusters => "5,000 static clusters with a virtual host each",
            Self::Connections => "10,000 idle downstream connections, one request each before",
        }
    }

    /// What Sampan must reach.
    pub fn target(self) -> MemoryTarget {
        match self {
            Self::Idle => MemoryTarget { rss_mib: 12.0, start_seconds: None },
            Self::Clusters => MemoryTarget { rss_mib: 60.0, start_seconds: Some(0.6) },
            Self::Connections => MemoryTarget { rss_mib: 80.0, start_seconds: None },
        }
    }
}

/// Which scenarios a list of names asks for; an empty list asks for all. An unknown name is an error.
pub fn select(only: &[String]) -> Result<(Vec<&'static Scenario>, Vec<MemoryScenario>)> {
    for name in only {
        let known = SCENARIOS.iter().any(|scenario| scenario.name == name)
            || MemoryScenario::ALL.iter().any(|scenario| scenario.name() == name);
        if !known {
            bail!("no scenario is called '{name}'; --list prints them");
        }
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|other| other == name);
    Ok((
        SCENARIOS.iter().filter(|scenario| wanted(scenario.name)).collect(),
        MemoryScenario::ALL.into_iter().filter(|scenario| wanted(scenario.name())).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_selects_those_and_no_others() {
        let (driven, memory) = select(&["h2_h1".into(), "memory_idle".into()]).unwrap();
        assert_eq!(driven.iter().map(|s| s.name).collect::<Vec<_>>(), ["h2_h1"]);
        assert_eq!(memory, [MemoryScenario::Idle]);
        assert!(select(&["h3".into()]).is_err());
    }
}
