//! How many workers to run. Called by the run loop before it starts them.

use super::cgroup::Cgroups;
use crate::cli::Options;

/// A sidecar lives beside an application whose processors it must not take.
const SIDECAR_LIMIT: u32 = 2;

/// The number of workers: `--concurrency` if given; otherwise the processors that the cgroup's quota and the
/// cpuset leave us, and at most two for a sidecar. With `--cpuset-threads` the cpuset alone counts.
pub fn workers(options: &Options, sidecar: bool) -> u32 {
    decide(options.concurrency, options.cpuset_threads, sidecar, cpuset(), Cgroups::default().cpu_quota())
}

fn decide(wanted: Option<u32>, cpuset_only: bool, sidecar: bool, cpuset: u32, quota: Option<f64>) -> u32 {
    if let Some(wanted) = wanted {
        return wanted.max(1);
    }
    if cpuset_only {
        return cpuset.max(1);
    }
    // Half a processor of quota still runs one worker; one and a half keeps two busy in bursts.
    let allowed = quota.map_or(cpuset, |quota| cpuset.min(quota.ceil() as u32)).max(1);
    if sidecar { allowed.min(SIDECAR_LIMIT) } else { allowed }
}

/// How many processors this process may be scheduled on.
fn cpuset() -> u32 {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => set.count(),
        Err(_) => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides() {
        assert_eq!(decide(Some(7), true, true, 2, Some(1.0)), 7);
        assert_eq!(decide(None, true, false, 8, Some(1.0)), 8);
        assert_eq!(decide(None, false, false, 8, Some(1.5)), 2);
        assert_eq!(decide(None, false, false, 8, Some(0.1)), 1);
        assert_eq!(decide(None, false, false, 4, None), 4);
        assert_eq!(decide(None, false, true, 16, Some(8.0)), 2);
        assert!(cpuset() >= 1);
    }
}
