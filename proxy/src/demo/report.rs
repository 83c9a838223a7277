//! What the demo prints: an introduction, a line per second, and a summary.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::load::{Load, Seen};
use super::upstream::Served;

/// How long the proxy may take to listen.
const START: Duration = Duration::from_secs(10);
/// How often the end of something is looked for.
const POLL: Duration = Duration::from_millis(20);
/// The most latencies that the summary is made of.
const KEPT: usize = 1_000_000;

/// Prints; a reader who has gone away is no reason to stop.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The report and what it has added up.
pub(super) struct Report {
    port: u16,
    admin_port: u16,
    counters: Served,
    /// What the counters were at the last line.
    last: [u64; 2],
    latencies: Vec<Duration>,
    failed: u64,
    lasted: Duration,
}

impl Report {
    /// A report on the proxy at `port`, whose upstreams count in `counters`.
    pub(super) fn new(port: u16, admin_port: u16, counters: Served) -> Self {
        let (last, latencies) = ([0; 2], Vec::new());
        Self { port, admin_port, counters, last, latencies, failed: 0, lasted: Duration::ZERO }
    }

    /// Waits for the proxy, sets the load on it, prints a line per second, and after `limit` asks the process to end.
    pub(super) fn run(mut self, load: Load, limit: Option<Duration>, stop: &AtomicBool) -> Self {
        if !self.await_proxy(stop) {
            return self;
        }
        self.introduce(load.rate());
        let begun = Instant::now();
        let sender = load.clone();
        // Without the load the demo still shows what comes in by hand.
        let thread = std::thread::Builder::new().name("demo_load".to_owned()).spawn(move || sender.run());
        let mut lines = 0;
        while !stop.load(Relaxed) {
            std::thread::sleep(POLL);
            self.lasted = begun.elapsed();
            if self.lasted >= Duration::from_secs(lines + 1) {
                lines += 1;
                self.line(lines, load.take());
            }
            if limit.is_some_and(|limit| self.lasted >= limit) {
                break;
            }
        }
        // The load ends first, so that its last request is not in the way of the drain.
        stop.store(true, Relaxed);
        if let Ok(thread) = thread {
            // A load that panicked has measured nothing more; the numbers so far stand.
            let _ = thread.join();
        }
        self.add(load.take());
        if limit.is_some() {
            end_process();
        }
        self
    }

    /// Requests that reached an upstream.
    pub(super) fn served(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// Prints the sums.
    pub(super) fn summary(&self) {
        let [v1, v2] = self.counts();
        let mut latencies = self.latencies.clone();
        let (p50, p99) = percentiles(&mut latencies);
        say(&format!(
            "\n{} requests in {:.1} s: {v1} to v1, {v2} to v2 ({}), {} failed; p50 {p50} ms, p99 {p99} ms\n",
            v1 + v2,
            self.lasted.as_secs_f64(),
            split([v1, v2]),
            self.failed,
        ));
    }

    fn await_proxy(&self, stop: &AtomicBool) -> bool {
        let deadline = Instant::now() + START;
        while !stop.load(Relaxed) && Instant::now() < deadline {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(POLL);
        }
        if !stop.load(Relaxed) {
            say("the proxy does not listen; giving up\n");
            end_process();
        }
        false
    }

    fn introduce(&self, rate: u32) {
        let (port, admin) = (self.port, self.admin_port);
        say(&format!(
            "\
Two upstreams, v1 and v2, and the proxy in front of them with a 90/10 split. Try:

  curl http://127.0.0.1:{port}/                      9 of 10 are answered by v1
  curl -H 'x-version: v2' http://127.0.0.1:{port}/   a header route: always v2
  curl http://127.0.0.1:{port}/proxy                 answered by the proxy itself
  curl http://127.0.0.1:{admin}/clusters              admin page: http://127.0.0.1:{admin}/

A load of {rate} requests/s runs meanwhile. Ctrl-C drains and ends.

   second  requests     v1     v2   split   p50 ms   p99 ms  failed
"
        ));
    }

    fn line(&mut self, second: u64, seen: Seen) {
        let now = self.counts();
        let [v1, v2] = [now[0] - self.last[0], now[1] - self.last[1]];
        self.last = now;
        let mut latencies = seen.latencies.clone();
        let (p50, p99) = percentiles(&mut latencies);
        say(&format!(
            "{second:>9}{:>10}{v1:>7}{v2:>7}{:>8}{p50:>9}{p99:>9}{:>8}\n",
            v1 + v2,
            split([v1, v2]),
            seen.failed,
        ));
        self.add(seen);
    }

    fn add(&mut self, seen: Seen) {
        let room = KEPT.saturating_sub(self.latencies.len());
        self.latencies.extend(seen.latencies.into_iter().take(room));
        self.failed += seen.failed;
    }

    fn counts(&self) -> [u64; 2] {
        [self.counters[0].load(Relaxed), self.counters[1].load(Relaxed)]
    }
}

/// Ends the process the way Ctrl-C does: the proxy drains.
fn end_process() {
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        eprintln!("error: the demo cannot end itself: {error}");
    }
}

/// Shares in percent, such as `90/10`.
fn split([v1, v2]: [u64; 2]) -> String {
    match v1 + v2 {
        0 => "-".to_owned(),
        sum => {
            let first = (v1 * 100 + sum / 2) / sum;
            format!("{first}/{}", 100 - first)
        }
    }
}

/// The 50th and 99th percentile in milliseconds, `-` without values.
fn percentiles(latencies: &mut [Duration]) -> (String, String) {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let rank = (latencies.len() * percent).div_ceil(100).max(1);
        latencies
            .get(rank - 1)
            .map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", latency.as_secs_f64() * 1000.0))
    };
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(split([0, 0]), "-");
        assert_eq!(split([899, 101]), "90/10");
        assert_eq!(split([5, 0]), "100/0");
        assert_eq!(percentiles(&mut []), ("-".to_owned(), "-".to_owned()));
        let mut latencies: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(&mut latencies), ("100.00".to_owned(), "198.00".to_owned()));
        assert_eq!(percentiles(&mut [Duration::from_millis(7)]), ("7.00".to_owned(), "7.00".to_owned()));
    }

    #[test]
    fn a_proxy_that_never_comes_is_not_waited_for_after_the_end() {
        let report = Report::new(1, 2, Served::default());
        let load = Load::new(1, 1, std::sync::Arc::default());
        let report = report.run(load, None, &AtomicBool::new(true));
        assert_eq!(report.served(), 0);
    }
}
