//! Memory and start-up: idle, many clusters, many idle connections.

use crate::binaries::ProxyKind;
use crate::config::Job;
use crate::process::{Proxy, exchange};
use crate::procfs::{self, Memory};
use crate::report::{MemoryReport, MemoryRow, MemorySample};
use crate::run::Bench;
use crate::scenario::{CLUSTERS, CONNECTIONS, MemoryScenario};
use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Starts per proxy; the median counts.
const STARTS: u32 = 3;
/// Connections per source address: well below the number of local ports, so that none runs short.
const PER_SOURCE: usize = 2_500;
/// How long memory must stay the same to count as settled: allocators give back what start-up needed a second or so after it.
const STILL: Duration = Duration::from_millis(1_500);
/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(6);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Measures one memory scenario over all proxies, in rounds.
pub fn measure(bench: &Bench, scenario: MemoryScenario) -> Result<MemoryReport> {
    eprintln!("{}: {}", scenario.name(), scenario.title());
    let mut rows: Vec<MemoryRow> = bench.cli.proxies.iter().map(|kind| MemoryRow::new(*kind)).collect();
    for _ in 0..STARTS.min(bench.cli.run_rounds()) {
        for row in rows.iter_mut().filter(|row| row.is_measured()) {
            match start(bench, scenario, row.proxy) {
                Ok(proxy) => row.take(sample(bench, scenario, &proxy)),
                Err(absent) => {
                    eprintln!("  {}: {absent:?}", row.proxy);
                    row.absent(absent);
                }
            }
        }
    }
    Ok(MemoryReport::new(scenario, rows))
}

fn start(bench: &Bench, scenario: MemoryScenario, kind: ProxyKind) -> Result<Proxy, crate::process::Absent> {
    let job = if scenario == MemoryScenario::Clusters { Job::ManyClusters(CLUSTERS) } else { Job::Http1 };
    bench.start(kind, scenario.name(), job, bench.backend.ports.h1)
}

fn sample(bench: &Bench, scenario: MemoryScenario, proxy: &Proxy) -> Result<MemorySample> {
    let before = settled(proxy.pid());
    let mut sample =
        MemorySample { start_seconds: proxy.started_in.as_secs_f64(), memory: before, before: None };
    if scenario == MemoryScenario::Connections {
        ensure!(bench.files > CONNECTIONS as u64 + 500, "the limit of open files is {}", bench.files);
        let _held = connect_all(proxy.address)?;
        sample.memory = settled(proxy.pid());
        sample.before = Some(before);
    }
    Ok(sample)
}

/// Opens the connections, from several source addresses, and has one request served on each: only then it is
/// certain that the proxy has accepted it.
fn connect_all(address: SocketAddr) -> Result<Vec<TcpStream>> {
    (0..CONNECTIONS)
        .map(|n| {
            let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n / PER_SOURCE)?);
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((source, 0)).into())?;
            socket.connect(&address.into())?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            exchange(&mut stream, "bench.example").map(|()| stream)
        })
        .enumerate()
        .map(|(n, stream)| stream.with_context(|| format!("connection {n}")))
        .collect()
}

/// The tree's memory once it has stopped changing, or after [`SETTLE`].
fn settled(pid: u32) -> Memory {
    let deadline = Instant::now() + SETTLE;
    let (mut last, mut since) = (procfs::memory(pid), Instant::now());
    while since.elapsed() < STILL && Instant::now() < deadline {
        std::thread::sleep(LOOK);
        let now = procfs::memory(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}
