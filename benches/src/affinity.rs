//! Cores and file limits: who runs where.
//!
//! A child inherits the affinity of the thread that starts it, before its first instruction and for all its
//! threads. So the runner narrows itself, starts the child, and widens again; no pre-exec hook is needed.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The split of the cores this process may use.
#[derive(Debug, Clone)]
pub struct Cores {
    /// The core of the proxy under test, and of nothing else of ours.
    pub proxy: usize,
    /// The cores of the load tools, the backend and the runner.
    pub load: Vec<usize>,
}

impl Cores {
    /// Splits the cores this process may use; `proxy` defaults to the last of them.
    pub fn split(proxy: Option<usize>) -> Result<Self> {
        let allowed = sched_getaffinity(None).context("reading the CPU affinity")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        ensure!(cores.len() >= 2, "two cores are needed: one for the proxy, one for load and backend");
        let proxy = proxy.or(cores.last().copied()).unwrap_or(0);
        ensure!(cores.contains(&proxy), "core {proxy} is not among the allowed cores {cores:?}");
        let load = cores.into_iter().filter(|core| *core != proxy).collect();
        Ok(Self { proxy, load })
    }
}

/// Pins the calling thread, and what it starts from now on, to `cores`.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("pinning to cores {cores:?}"))
}

/// Raises the soft limit of open files to the hard one, for this process and its children; returns it.
pub fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum })
        .context("raising RLIMIT_NOFILE")?;
    Ok(hard)
}
