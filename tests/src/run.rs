//! Plays a group of cases against Envoy and against Sampan, and compares what was seen.
//!
//! `SAMPAN_TESTS_ONLY=envoy` plays Envoy alone, to work on the cases themselves; `SAMPAN_TESTS_CASE=text` plays only the cases
//! whose full name contains the text; `SAMPAN_TESTS_PRINT=1` prints every fact.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::case::{Case, Client, Group, Want};
use crate::differences::{self, Difference};
use crate::harness::access_log::AccessLog;
use crate::harness::client::raw::{RawClient, Talk};
use crate::harness::client::{Reply, frames, h2};
use crate::harness::dns::DnsServer;
use crate::harness::observe::{self, Facts, Masks};
use crate::harness::process::{Process, Program};
use crate::harness::upstream::Recorder;
use crate::harness::upstream::h1::{Manner, RawUpstream};
use crate::harness::upstream::h2::H2Upstream;
use crate::harness::upstream::refused::{BlackHole, Refused};
use crate::harness::{PATIENCE, poll};

/// A case that takes longer is reported, for the suite as a whole must stay quick.
const SLOW: Duration = Duration::from_secs(1);

/// How often Envoy plays a group, where it does not do each time the same.
const PLAYS: usize = 3;

/// Plays the group and panics with every unexpected fact.
///
/// Sampan plays once. Envoy plays again where a case does not show what it demands of Envoy or what Sampan did: some of its answers
/// depend on which of two events it sees first, and what it does in one of its plays is what it does.
pub fn check(group: Group) {
    let only = std::env::var("SAMPAN_TESTS_ONLY").unwrap_or_default();
    let filter = std::env::var("SAMPAN_TESTS_CASE").unwrap_or_default();
    let group = &group;
    let mut open: Vec<&Case> =
        group.cases.iter().filter(|case| full_name(group, case).contains(filter.as_str())).collect();
    if open.is_empty() {
        return;
    }
    let chosen = open.clone();
    let (mut envoy, sampan) = std::thread::scope(|scope| {
        let envoy = scope.spawn(|| play_all(Program::Envoy, group, &chosen));
        let sampan = scope.spawn(|| (only != "envoy").then(|| play_all(Program::Sampan, group, &chosen)));
        (envoy.join().expect("Envoy's run"), sampan.join().expect("Sampan's run"))
    });
    for play in 1.. {
        let report = judge(group, &mut open, &envoy, sampan.as_ref());
        if open.is_empty() {
            return;
        }
        assert!(play < PLAYS, "{report}");
        println!("play {play} of {PLAYS} by Envoy:{report}");
        envoy = play_all(Program::Envoy, group, &chosen);
    }
}

/// What was not as expected, leaving `open` with the cases concerned.
fn judge(group: &Group, open: &mut Vec<&Case>, envoy: &Played, sampan: Option<&Played>) -> String {
    let mut report = String::new();
    open.retain(|case| {
        let name = full_name(group, case);
        let theirs = &envoy[case.name];
        if std::env::var_os("SAMPAN_TESTS_PRINT").is_some() {
            print_facts(&name, theirs);
        }
        let mut faults = unmet(case, theirs);
        if let Some(sampan) = sampan {
            faults.extend(compare(case, theirs, &sampan[case.name], differences::of(&name)));
        }
        if !faults.is_empty() {
            writeln!(report, "\n{name}").ok();
        }
        for fault in &faults {
            writeln!(report, "    {fault}").ok();
        }
        !faults.is_empty()
    });
    report
}

fn full_name(group: &Group, case: &Case) -> String {
    format!("{}/{}", group.name, case.name)
}

fn print_facts(name: &str, facts: &Facts) {
    println!("=== {name}");
    for (fact, value) in facts {
        println!("    {fact} = {value}");
    }
}

/// The facts a case demands and Envoy did not show: the case is wrong, or Envoy is not the version it was written for.
fn unmet(case: &Case, facts: &Facts) -> Vec<String> {
    let check = |(fact, want): &(String, Want)| {
        let got = facts.get(fact);
        let met = match want {
            Want::Is(value) => got == Some(value),
            Want::Contains(part) => got.is_some_and(|got| got.contains(part.as_str())),
            Want::Absent => got.is_none(),
        };
        (!met).then(|| format!("Envoy: {fact} should be {want:?}, is {got:?}"))
    };
    case.wants.iter().filter_map(check).collect()
}

/// What differs between the two and is not in the reviewed list, and what the list claims and is not so.
fn compare(case: &Case, envoy: &Facts, sampan: &Facts, expected: Option<&Difference>) -> Vec<String> {
    let value = |facts: &Facts, fact: &str| facts.get(fact).cloned().unwrap_or_else(|| "-".to_owned());
    let mut faults = Vec::new();
    let listed = expected.map(|difference| difference.facts).unwrap_or_default();
    for (fact, theirs, ours) in listed {
        let got = (value(envoy, fact), value(sampan, fact));
        if got != ((*theirs).to_owned(), (*ours).to_owned()) {
            faults.push(format!(
                "{fact}: listed as Envoy {theirs:?}, Sampan {ours:?}; is Envoy {:?}, Sampan {:?}",
                got.0, got.1
            ));
        }
    }
    let consequences = expected.map(|difference| difference.consequences).unwrap_or_default();
    let skipped = |fact: &str| {
        listed.iter().any(|(listed, ..)| *listed == fact)
            || case.only.as_ref().is_some_and(|only| !only.iter().any(|prefix| fact.starts_with(prefix)))
            || consequences.iter().chain(&case.ignored).any(|prefix| fact.starts_with(prefix))
    };
    let names: std::collections::BTreeSet<&String> = envoy.keys().chain(sampan.keys()).collect();
    for fact in names.into_iter().filter(|fact| !skipped(fact)) {
        let (theirs, ours) = (value(envoy, fact), value(sampan, fact));
        if theirs != ours {
            faults.push(format!("{fact}: Envoy {theirs:?}, Sampan {ours:?}"));
        }
    }
    faults
}

/// One proxy with upstreams of its own.
struct Stage {
    process: Process,
    recorder: Recorder,
    raw: Vec<(&'static str, RawUpstream)>,
    h2: H2Upstream,
    dns: DnsServer,
    log: AccessLog,
    ports: Vec<(&'static str, u16)>,
    /// Held for as long as the proxy may connect to them.
    _silent: (Refused, BlackHole),
    _dir: tempfile::TempDir,
}

/// What was seen in each case of a group.
type Played = HashMap<&'static str, Facts>;

fn play_all(program: Program, group: &Group, cases: &[&Case]) -> Played {
    let stage = Stage::set(program, group);
    let mut facts = HashMap::new();
    for case in cases {
        let begun = Instant::now();
        facts.insert(case.name, stage.play(case));
        if begun.elapsed() > SLOW {
            println!("{program:?} took {:?} for {}", begun.elapsed(), full_name(group, case));
        }
    }
    facts
}

impl Stage {
    fn set(program: Program, group: &Group) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let recorder = Recorder::default();
        let start = |name, manner| (name, RawUpstream::start(name, manner, recorder.clone()));
        let raw = vec![start("a", Manner::Http), start("b", Manner::Http), start("tcp", Manner::Tcp)];
        let h2 = H2Upstream::start("h2", recorder.clone());
        let dns = DnsServer::start();
        let silent = (Refused::new(), BlackHole::new());
        let mut ports: Vec<(&'static str, u16)> =
            raw.iter().map(|(name, upstream)| (*name, upstream.port)).collect();
        ports.extend([
            ("h2", h2.port),
            ("dns", dns.port),
            ("refused", silent.0.port),
            ("blackhole", silent.1.port),
        ]);
        let log_path = dir.path().join("access.log");
        let config = group.bootstrap.render(&ports, &log_path.to_string_lossy());
        let process = Process::start(program, &config, dir.path(), &[]);
        let log = AccessLog::new(log_path);
        Self { process, recorder, raw, h2, dns, log, ports, _silent: silent, _dir: dir }
    }

    fn play(&self, case: &Case) -> Facts {
        self.script(case);
        let port = self.process.port(case.listener);
        let mut facts = Facts::new();
        let masks = |clients: &[u16]| {
            let clients = clients.iter().map(|&port| ("client", port));
            let listeners = self.process.ports.iter().map(|(_, &port)| ("listener", port));
            Masks::new(self.ports.iter().copied().chain(listeners).chain(clients))
        };
        let (clients, replies) = match &case.client {
            Client::Raw(script) => self.converse(port, script),
            Client::H2(calls) => {
                let (client, replies) = h2::converse(port, calls);
                (vec![client], replies)
            }
            Client::Frames(bytes, streams) => {
                let seen = frames::converse(port, bytes, streams);
                observe::frames(&mut facts, &seen);
                (vec![seen.port], vec![Reply::default()])
            }
        };
        let masks = masks(&clients);
        let expected_lines = case.log_lines.unwrap_or(case.client.exchanges());
        for (index, reply) in replies.iter().enumerate() {
            observe::reply(&mut facts, &masks, index, reply);
        }
        for (index, line) in self.log.lines(&clients, expected_lines, PATIENCE).iter().enumerate() {
            observe::log_line(&mut facts, &masks, index, line);
        }
        if let Some(expression) = case.stats {
            let stats = self.process.stats(expression).into_iter().filter(|(_, value)| *value > 0);
            facts.extend(stats.map(|(name, value)| (format!("stat:{name}"), value.to_string())));
            let histograms = self.process.histograms(expression).into_iter();
            facts.extend(histograms.map(|name| (format!("stat:{name}"), "histogram".to_owned())));
        }
        self.recorder.settle(PATIENCE);
        let mut connections: Vec<(&str, usize)> = Vec::new();
        let mut all = self.recorder.snapshot();
        if case.by_upstream {
            all.sort_by_key(|received| received.upstream);
        }
        for (index, mut received) in all.into_iter().enumerate() {
            // Connections are told apart by the order in which the case first used them.
            let connection = (received.upstream, received.connection);
            let known = connections.iter().position(|other| *other == connection);
            received.connection = known.unwrap_or(connections.len()) + 1;
            if known.is_none() {
                connections.push(connection);
            }
            observe::received(&mut facts, &masks, index, &received);
        }
        facts
    }

    fn script(&self, case: &Case) {
        self.recorder.clear();
        self.log.mark();
        let plays = |name: &str| {
            let mine: Vec<_> = case.plays.iter().filter(|(upstream, _)| *upstream == name).collect();
            mine.into_iter().map(|(_, play)| play.clone())
        };
        for (name, upstream) in &self.raw {
            upstream.script(plays(name));
        }
        self.h2.script(plays("h2"));
    }

    fn converse(&self, port: u16, script: &[(usize, Talk)]) -> (Vec<u16>, Vec<Reply>) {
        let mut connections: BTreeMap<usize, RawClient> = BTreeMap::new();
        let mut replies = Vec::new();
        for (number, talk) in script {
            let client = connections.entry(*number).or_insert_with(|| RawClient::connect(port));
            match talk {
                Talk::AwaitUpstream(count) => {
                    self.recorder.await_seen(*count, PATIENCE);
                }
                Talk::AwaitLookups(name, count) => {
                    self.dns.await_asked(name, *count, PATIENCE);
                }
                Talk::AwaitStat(name, value) => {
                    poll(PATIENCE, || (self.process.stat(name)? == *value).then_some(()));
                }
                _ => {}
            }
            replies.extend(client.talk(talk));
        }
        // The ports are read before the connections close; lines logged at the close still carry them.
        (connections.values().map(|client| client.port).collect(), replies)
    }
}
