//! What the demo prints: an introduction, a line per second, what the proxy says to each step, and a summary.

use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::load::{Load, Seen};
use super::script::{Outcome, Script, Step};
use super::upstream::{NAMES, Served};
use crate::diff::{self, Admin};

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

/// Where the proxy is.
pub(super) struct Place {
    /// The listener's port.
    pub(super) port: u16,
    /// The admin API's port.
    pub(super) admin_port: u16,
}

/// The report and what it has added up.
pub(super) struct Report {
    place: Place,
    counters: Served,
    /// What the counters were at the last line.
    last: [u64; 3],
    latencies: Vec<Duration>,
    sent: u64,
    lost: u64,
    why: Option<String>,
    accepted: u32,
    refused: u32,
    /// Steps that the proxy did not answer as it should.
    wrong: u32,
    lasted: Duration,
    /// The proxy listens.
    has_begun: bool,
    /// The generations, as they were last seen.
    generations: Option<String>,
}

impl Report {
    /// A report on a proxy whose upstreams count in `counters`.
    pub(super) fn new(place: Place, counters: Served) -> Self {
        Self {
            place,
            counters,
            last: [0; 3],
            latencies: Vec::new(),
            sent: 0,
            lost: 0,
            why: None,
            accepted: 0,
            refused: 0,
            wrong: 0,
            lasted: Duration::ZERO,
            has_begun: false,
            generations: None,
        }
    }

    /// Waits for the proxy, sets the load on it, plays the script with this time for each step while it prints a line per second,
    /// and asks the process to end.
    pub(super) fn run(
        mut self,
        load: &Load,
        mut script: Script,
        pace: Duration,
        forever: bool,
        stop: &AtomicBool,
    ) -> Self {
        if !self.await_proxy(stop) {
            return self;
        }
        self.has_begun = true;
        self.introduce(load.rate());
        let begun = Instant::now();
        // Without the load the demo still shows what comes in by hand.
        let threads = load.start().unwrap_or_default();
        let (mut lines, mut steps) = (0, 1);
        loop {
            std::thread::sleep(POLL);
            self.lasted = begun.elapsed();
            // The load ends by itself when the proxy listens no more: Ctrl-C.
            let is_gone = !threads.is_empty() && threads.iter().all(std::thread::JoinHandle::is_finished);
            if stop.load(Relaxed) || is_gone {
                break;
            }
            if self.lasted >= Duration::from_secs(lines + 1) {
                lines += 1;
                self.line(lines, load.take());
            }
            if self.lasted < pace * steps {
                continue;
            }
            if script.is_over() {
                if !forever {
                    break;
                }
                script.rewind();
            }
            steps += 1;
            if let Some((step, outcome)) = script.play() {
                self.step(step, &outcome);
                self.look();
            }
        }
        // The load ends first, so that its last request is not in the way of the drain.
        stop.store(true, Relaxed);
        for thread in threads {
            // A load that panicked has measured nothing more; the numbers so far stand.
            let _ = thread.join();
        }
        self.add(load.take());
        self.look();
        end_process();
        self
    }

    /// Whether the proxy came up, no request was lost, and each step was answered as it should.
    pub(super) fn is_good(&self) -> bool {
        self.has_begun && self.lost == 0 && self.wrong == 0
    }

    /// Prints the sums and the generations.
    pub(super) fn summary(&self) {
        let counts = self.counts();
        let mut latencies = self.latencies.clone();
        let (p50, p99) = percentiles(&mut latencies);
        let shares: Vec<String> =
            NAMES.iter().zip(counts).map(|(name, count)| format!("{count} to {name}")).collect();
        say(&format!(
            "\n{} requests sent in {:.1} s, {} lost; {}; p50 {p50} ms, p99 {p99} ms\n\
             {} updates accepted, {} refused\n",
            self.sent,
            self.lasted.as_secs_f64(),
            self.lost,
            shares.join(", "),
            self.accepted,
            self.refused,
        ));
        if let Some(why) = &self.why {
            say(&format!("the first loss: {why}\n"));
        }
        if let Some(generations) = &self.generations {
            say(&format!("\n{generations}"));
        }
    }

    fn await_proxy(&self, stop: &AtomicBool) -> bool {
        let deadline = Instant::now() + START;
        while !stop.load(Relaxed) && Instant::now() < deadline {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.place.port)).is_ok() {
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
        let Place { port, admin_port: admin } = self.place;
        let [v1, a, b] = NAMES;
        let curl = |rest: &str| format!("curl http://127.0.0.1:{rest}");
        let tried = [
            (curl(&format!("{port}/")), "v1 or v2, as the control plane has it"),
            (curl(&format!("{port}/ -H 'x-version: v2'")), "a header route: always v2"),
            (curl(&format!("{port}/proxy")), "answered by the proxy itself"),
            (format!("sampan diff --admin 127.0.0.1:{admin}"), "what the last update changed"),
            (curl(&format!("{admin}/clusters")), "the admin API"),
        ];
        let tried = tried.map(|(call, what)| format!("  {call:<50} {what}\n")).concat();
        say(&format!(
            "\
A control plane, upstreams v1 and v2, and the proxy, which has all of its configuration over gRPC (delta ADS). Try:

{tried}
A load of {rate} requests/s runs meanwhile. Ctrl-C drains and ends.

   second  requests     {v1}   {a}   {b}   split   p50 ms   p99 ms    lost
"
        ));
    }

    fn line(&mut self, second: u64, seen: Seen) {
        let now = self.counts();
        let [v1, a, b] = std::array::from_fn(|index| now[index] - self.last[index]);
        self.last = now;
        let mut latencies = seen.latencies.clone();
        let (p50, p99) = percentiles(&mut latencies);
        say(&format!(
            "{second:>9}{:>10}{v1:>7}{a:>7}{b:>7}{:>8}{p50:>9}{p99:>9}{:>8}\n",
            v1 + a + b,
            split([v1, a + b]),
            seen.lost,
        ));
        self.add(seen);
    }

    fn step(&mut self, step: &Step, outcome: &Outcome) {
        self.wrong += u32::from(!step.is_as_expected(outcome));
        let title = &step.title;
        say(&match outcome {
            Outcome::Accepted(version, took) => {
                self.accepted += 1;
                format!(" -- {title}: version {version} accepted after {} ms\n", took.as_millis())
            }
            Outcome::Refused(version, why) => {
                self.refused += 1;
                let why = why.replace('\n', "\n      ");
                format!(" -- {title}: version {version} refused; what was in force stays\n      {why}\n")
            }
            Outcome::Silent => format!(" -- {title}: the proxy does not answer\n"),
        });
    }

    fn add(&mut self, seen: Seen) {
        let room = KEPT.saturating_sub(self.latencies.len());
        self.latencies.extend(seen.latencies.into_iter().take(room));
        self.sent += seen.sent;
        self.lost += seen.lost;
        self.why = self.why.take().or(seen.why);
    }

    /// Looks at the generations; while the process ends, those seen before stand.
    fn look(&mut self) {
        let admin = Admin::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.place.admin_port)));
        if let Ok(text) = diff::list(&admin, std::io::stdout().is_terminal()) {
            self.generations = Some(text);
        }
    }

    fn counts(&self) -> [u64; 3] {
        std::array::from_fn(|index| self.counters[index].load(Relaxed))
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
    fn one_lost_request_spoils_the_demo() {
        let report = |has_begun, lost| {
            let report = Report::new(Place { port: 1, admin_port: 2 }, Served::default());
            let mut report = Report { has_begun, ..report };
            report.add(Seen { sent: 5, lost, ..Seen::default() });
            report.is_good()
        };
        assert!(report(true, 0) && !report(true, 1) && !report(false, 0));
    }
}
