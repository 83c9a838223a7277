//! CPU time and memory of a process and its descendants, from `/proc`.
//!
//! A proxy may be one process (Envoy, HAProxy, Sampan) or a master and a worker (nginx); the tree is summed so
//! that all are counted alike. CPU time is the scheduler's, in nanoseconds (`schedstat`); where the kernel does
//! not keep it, user and system ticks of `stat` stand in.

use serde::Serialize;
use std::fs;
use std::time::Duration;

/// Ticks per second of `utime` and `stime`: `USER_HZ`, 100 on every Linux architecture we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process tree, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident pages, shared ones included.
    pub rss_kib: u64,
    /// Resident pages, each shared page divided among those who share it.
    pub pss_kib: u64,
}

/// The process and all its descendants.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    pids
}

/// CPU time that all threads of the tree have used so far.
pub fn cpu_time(pid: u32) -> Duration {
    tree(pid).into_iter().flat_map(tasks).map(|task| task_cpu_time(&task)).sum()
}

/// Memory of the tree now.
pub fn memory(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in tree(pid) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss_kib += kib_field(&rollup, "Rss:");
        sum.pss_kib += kib_field(&rollup, "Pss:");
    }
    sum
}

fn tasks(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

fn task_cpu_time(task: &str) -> Duration {
    let schedstat = fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
    match schedstat.split_whitespace().next().and_then(|word| word.parse().ok()) {
        Some(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds),
        _ => stat_cpu_time(&fs::read_to_string(format!("{task}/stat")).unwrap_or_default()),
    }
}

/// Fields 14 and 15 (`utime`, `stime`) of a `stat` line. The command name may hold spaces and brackets, so
/// counting starts behind its last closing one.
fn stat_cpu_time(stat: &str) -> Duration {
    let Some((_, fields)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

fn kib_field(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_brackets_in_the_name_is_read_from_the_right_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 1 0 100";
        assert_eq!(stat_cpu_time(stat), Duration::from_secs(2));
    }

    #[test]
    fn memory_fields_are_found_by_their_whole_name() {
        let rollup = "55-7f ---p 0 [rollup]\nRss:   1764 kB\nPss:    358 kB\nPss_Dirty: 9 kB\n";
        assert_eq!((kib_field(rollup, "Rss:"), kib_field(rollup, "Pss:")), (1764, 358));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid) > Duration::ZERO && memory(pid).rss_kib > 0);
    }
}
