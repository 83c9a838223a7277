//! One comparison from start to end: rounds over proxies, then memory, then the report.
//!
//! Within a scenario all proxies are up at once, but only one is driven at a time, in rounds: A B C D, A B C D, …
//! So a disturbance of the machine falls on all of them alike, and medians drop it.

use crate::affinity::{Cores, pin, raise_file_limit};
use crate::backend::Backend;
use crate::binaries::ProxyKind;
use crate::cli::Cli;
use crate::config::{self, Job, PLAIN_HOST, Setup};
use crate::interrupt;
use crate::load::{self, Amount};
use crate::memory;
use crate::process::{Absent, Proxy, free_port};
use crate::report::{self, Machine, Report, Row, Sample, ScenarioReport, Settings, Status};
use crate::scenario::{self, MemoryScenario, SCENARIOS, Scenario};
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

/// What every scenario needs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The command line.
    pub cli: &'a Cli,
    /// Who runs where.
    pub cores: Cores,
    /// The backend of all proxies.
    pub backend: Backend,
    /// A directory for configurations and logs; gone at the end.
    pub scratch: &'a Path,
    /// The limit of open files, for this process and the proxies.
    pub files: u64,
}

/// Runs what the command line asks for. Status 1 means, with `--check`, that a target was missed.
pub fn compare(cli: &Cli) -> Result<ExitCode> {
    if cli.list {
        print_scenarios();
        return Ok(ExitCode::SUCCESS);
    }
    let (scenarios, memory_scenarios) = scenario::select(&cli.only)?;
    for scenario in &scenarios {
        load::tool(scenario.driver)?;
    }
    let cores = Cores::split(cli.proxy_core)?;
    pin(&cores.load)?;
    let files = raise_file_limit()?;
    let scratch = tempfile::Builder::new().prefix("sampan-compare-").tempdir()?;
    interrupt::watch(scratch.path().to_owned())?;
    let bench = Bench { cli, cores, backend: Backend::start()?, scratch: scratch.path(), files };

    let driven = scenarios.into_iter().map(|scenario| bench.scenario(scenario)).collect();
    let memory = memory_scenarios
        .into_iter()
        .map(|scenario| memory::measure(&bench, scenario))
        .collect::<Result<Vec<_>>>()?;
    let mut report = Report::new(Machine::read(&bench.cores), settings(cli), driven, memory);
    report.judge(cli.proxies.contains(&ProxyKind::Sampan));
    report::publish(&report, &cli.out_dir())?;
    Ok(if cli.check && !report.met() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Bench<'_> {
    /// Starts `kind` for a job, in a directory of its own. Of a pair, the server's side is started first, and is
    /// part of what is returned.
    pub fn start(&self, kind: ProxyKind, name: &str, job: Job, upstream: u16) -> Result<Proxy, Absent> {
        let unavailable = |error: anyhow::Error| Absent::Unavailable(format!("{error:#}"));
        let dir = self.scratch.join(format!("{name}-{kind}"));
        let certificates = dir.join("certificates");
        let start = |job, upstream, dir: &Path| {
            let listen = free_port().map_err(unavailable)?;
            let profile = self.cli.profile;
            let setup = Setup { job, profile, listen, upstream, dir, certificates: &certificates };
            Proxy::start(kind, &setup, &self.cores)
        };
        if job != Job::MutualTlsPair {
            return start(job, upstream, &dir);
        }
        config::write_certificates(&certificates).map_err(unavailable)?;
        let server = start(Job::MutualTlsServer, upstream, &dir.join("server"))?;
        start(job, server.address.port(), &dir).map(|client| client.in_front_of(server))
    }

    fn scenario(&self, scenario: &'static Scenario) -> ScenarioReport {
        eprintln!("{}: {}", scenario.name, scenario.title);
        let upstream = scenario.upstream(self.backend.ports);
        let mut rows = Vec::new();
        for kind in &self.cli.proxies {
            let started = self.start(*kind, scenario.name, scenario.job, upstream);
            let proxy = started.and_then(|proxy| self.warm_up(scenario, &proxy).map(|()| proxy));
            match proxy {
                Ok(proxy) => rows.push((Row::new(*kind), Some(proxy))),
                Err(absent) => {
                    eprintln!("  {kind}: {absent:?}");
                    rows.push((Row::absent(*kind, absent), None));
                }
            }
        }
        for _ in 0..self.cli.run_rounds() {
            for (row, proxy) in &mut rows {
                // A row that has failed is not measured further: its figures would not be comparable.
                if let (Some(proxy), Status::Measured) = (proxy, &row.status) {
                    row.take(self.sample(scenario, proxy));
                }
            }
        }
        let rows = rows.into_iter().map(|(row, _)| row).collect();
        ScenarioReport::new(scenario, rows)
    }

    /// One short run that is not measured: pools fill, allocators settle.
    fn warm_up(&self, scenario: &Scenario, proxy: &Proxy) -> Result<(), Absent> {
        let amount = Amount { seconds: 1, bytes: 256 << 20, qps: self.cli.qps };
        let outcome = load::drive(scenario.driver, proxy.address, amount, self.scratch);
        outcome
            .map(drop)
            .map_err(|error| Absent::Unavailable(format!("started, but does not serve: {error:#}")))
    }

    /// One measured run: the proxy's CPU time before and after, the tool's figures, the memory at the end.
    fn sample(&self, scenario: &Scenario, proxy: &Proxy) -> Result<Sample> {
        let mut sample = self.run(scenario, proxy, proxy.address)?;
        if scenario.is_difference() {
            // Right after it and by the same process, so that what the machine does meanwhile weighs little.
            let plain = self.run(scenario, proxy, (PLAIN_HOST, proxy.address.port()).into())?;
            sample.cpu_us -= plain.cpu_us;
        }
        Ok(sample)
    }

    fn run(&self, scenario: &Scenario, proxy: &Proxy, address: SocketAddr) -> Result<Sample> {
        let cli = self.cli;
        let amount = Amount { seconds: cli.run_seconds(), bytes: cli.bulk_bytes(), qps: cli.qps };
        let before = proxy.cpu_time();
        let outcome = load::drive(scenario.driver, address, amount, self.scratch)?;
        let cpu = proxy.cpu_time().saturating_sub(before).as_secs_f64();
        ensure!(outcome.errors == 0, "{} errors in {} requests", outcome.errors, outcome.units);
        ensure!(outcome.units > 0.0 && outcome.seconds > 0.0, "no request was served");
        Ok(Sample {
            rate: outcome.units / outcome.seconds,
            cpu_us: cpu * 1e6 / outcome.units,
            busy: cpu / outcome.seconds,
            latency: outcome.latency,
            memory: proxy.memory(),
        })
    }
}

fn settings(cli: &Cli) -> Settings {
    Settings {
        seconds: cli.run_seconds(),
        rounds: cli.run_rounds(),
        bulk_bytes: cli.bulk_bytes(),
        qps: cli.qps,
        profile: cli.profile,
        versions: cli
            .proxies
            .iter()
            .map(|kind| {
                (kind.name(), kind.locate().map_or_else(|e| format!("{e:#}"), |binary| kind.version(&binary)))
            })
            .collect(),
    }
}

fn print_scenarios() {
    for scenario in &SCENARIOS {
        println!("{:20} {}", scenario.name, scenario.title);
    }
    for scenario in MemoryScenario::ALL {
        println!("{:20} {}", scenario.name(), scenario.title());
    }
}
