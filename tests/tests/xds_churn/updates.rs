//! Routes, clusters, endpoints and listeners that change 40 times a second.

use std::time::{Duration, Instant};

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::load::Figures;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::xds::{sample, types};

use crate::setting::{CLUSTERS, PACE, Setting, cluster, count, listener, routes, turn};

/// How long a quiet time is measured before and after each kind of churn.
const QUIET: Duration = Duration::from_secs(2);
/// What the clock of a machine that others use adds to a p99, in microseconds: below this, two figures do not differ.
const NOISE: u32 = 1_500;

/// One kind of churn and what was seen.
struct Seen {
    kind: &'static str,
    updates: usize,
    quiet: Figures,
    busy: Figures,
    new_connections: usize,
}

impl Seen {
    fn print(&self, program: Program) {
        let (quiet, busy) = (&self.quiet, &self.busy);
        println!(
            "{:<9} {program:?}: {} updates, {} requests, lost {}, p99 {} us quiet {} us busy, new upstream connections {}, \
             clients drained {} (raced {})",
            self.kind,
            self.updates,
            busy.answered,
            busy.lost + quiet.lost,
            quiet.latency(0.99),
            busy.latency(0.99),
            self.new_connections,
            busy.drained,
            busy.raced,
        );
    }

    /// The bounds for Sampan.
    fn check(&self) {
        let (kind, quiet, busy) = (self.kind, &self.quiet, &self.busy);
        assert_eq!(quiet.lost + busy.lost, 0, "{kind}: lost: {:?} {:?}", quiet.losses, busy.losses);
        assert_eq!(busy.drained, 0, "{kind}: client connections were drained");
        assert!(self.new_connections <= 64, "{kind}: {} new upstream connections", self.new_connections);
    }

    /// Says so if the p99 under churn is more than 1.2 times the quiet one.
    fn slower(&self) -> Option<String> {
        let (quiet, busy) = (self.quiet.latency(0.99), self.busy.latency(0.99));
        let bound = (quiet + quiet / 5).max(quiet + NOISE);
        (busy > bound).then(|| format!("{}: p99 is {busy} us under churn and {quiet} us without", self.kind))
    }
}

/// Plays updates of one kind under load, paced, and waits until the last has been accepted. The quiet time is measured before and
/// after, and the worse one counts: on a machine that others use, either may be disturbed.
fn churn(
    setting: &Setting,
    kind: &'static str,
    updates: usize,
    update: impl Fn(usize) -> (&'static str, String),
) -> Seen {
    let before = quiet(setting);
    let connections = setting.upstream_connections();
    let began = Instant::now();
    let mut last = None;
    for number in 1..=updates {
        last = Some(update(number));
        let next = began + PACE * u32::try_from(number).unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let (type_url, version) = last.expect("at least one update");
    setting.plane.await_ack(type_url, &version);
    // What was drained shows when the drain time (2 s) is over.
    std::thread::sleep(Duration::from_millis(2_200));
    let busy = setting.load.phase();
    let new_connections = setting.upstream_connections() - connections;
    let after = quiet(setting);
    let lost = before.lost + after.lost;
    let mut quiet = if before.latency(0.99) > after.latency(0.99) { before } else { after };
    quiet.lost = lost;
    Seen { kind, updates, quiet, busy, new_connections }
}

/// The figures of a time without updates.
fn quiet(setting: &Setting) -> Figures {
    setting.load.phase();
    std::thread::sleep(QUIET);
    setting.load.phase()
}

fn play(program: Program) -> Vec<Seen> {
    let setting = Setting::start(program);
    let plane = &setting.plane;
    let updates = count(1_000, 120);
    let by_route = churn(&setting, "routes", updates, |number| {
        let version = plane.put(types::ROUTE, [routes(number)]);
        // Now and then: how long until it is served.
        if number % 40 == 0 {
            plane.await_ack(types::ROUTE, &version);
            let took = setting.await_generation(number);
            assert!(took < Duration::from_millis(200), "{program:?}: route update {number} took {took:?}");
        }
        (types::ROUTE, version)
    });
    setting.await_generation(updates);
    let by_cluster = churn(&setting, "clusters", updates, |number| {
        let at = number / 2 % CLUSTERS.len();
        if number % 2 == 0 {
            let version = plane.put(types::CLUSTER, [cluster(CLUSTERS[at], number)]);
            plane.renew(types::ENDPOINT, &[CLUSTERS[at]]);
            return (types::CLUSTER, version);
        }
        let mut ports = vec![setting.upstreams[at].port];
        if (number / 2 / CLUSTERS.len()).is_multiple_of(2) {
            ports.push(setting.spare.port);
        }
        (types::ENDPOINT, plane.put(types::ENDPOINT, [sample::endpoints(CLUSTERS[at], &ports)]))
    });
    let by_listener = churn(&setting, "listeners", count(200, 40), |number| {
        let resource = listener(number / 2, 5 + number.div_ceil(2) % 2);
        (types::LISTENER, plane.put(types::LISTENER, [resource]))
    });
    vec![by_route, by_cluster, by_listener]
}

#[test]
fn nothing_is_lost_while_everything_changes() {
    let _turn = turn();
    let seen: Vec<(Program, Vec<Seen>)> =
        programs().into_iter().map(|program| (program, play(program))).collect();
    for kind in 0..3 {
        for (program, seen) in &seen {
            seen[kind].print(*program);
        }
    }
    let mut slow = Vec::new();
    for (program, seen) in &seen {
        for seen in seen {
            // The load itself must be what it should: a third of the paced rate at least, for both.
            let least = seen.updates * 1_500 / 40 / 3;
            assert!(
                seen.busy.answered >= least,
                "{program:?}: only {} answers, of {least}",
                seen.busy.answered
            );
            if *program == Program::Sampan {
                seen.check();
                slow.extend(seen.slower());
            }
        }
    }
    // What else runs on the machine can make any p99 worse and none better, so a bound that was missed is measured again.
    for _ in 0..2 {
        if slow.is_empty() {
            return;
        }
        println!("measured again: {slow:?}");
        slow = play(Program::Sampan).iter().inspect(|seen| seen.check()).filter_map(Seen::slower).collect();
    }
    assert!(slow.is_empty(), "{slow:?}");
}
