//! The table for the terminal.

use super::{MemoryReport, MemoryRow, Report, Row, ScenarioReport, Status, Verdict};
use crate::binaries::ProxyKind;
use std::fmt::{self, Write};

/// The whole report as text.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let (machine, settings) = (&report.machine, &report.settings);
    writeln!(
        out,
        "{}, kernel {}, congestion control {}, proxy on core {}, load on {:?}, load average {}; {} rounds of {} s, profile {:?}",
        machine.cpu,
        machine.kernel,
        machine.congestion_control,
        machine.proxy_core,
        machine.load_cores,
        machine.load_average,
        settings.rounds,
        settings.seconds,
        settings.profile
    )?;
    for (proxy, version) in &settings.versions {
        writeln!(out, "  {proxy}: {version}")?;
    }
    report.scenarios.iter().try_for_each(|scenario| write_scenario(out, scenario))?;
    report.memory.iter().try_for_each(|memory| write_memory(out, memory))?;
    write_verdicts(out, &report.verdicts)
}

fn write_scenario(out: &mut String, report: &ScenarioReport) -> fmt::Result {
    let unit = report.unit;
    writeln!(out, "\n{}: {}", report.name, report.title)?;
    writeln!(
        out,
        "  {:8} {:>10} {:>11} {:>8} {:>9} {:>9} {:>9} {:>6} {:>8} {:>8}",
        "proxy",
        format!("{unit}/s"),
        format!("CPU us/{unit}"),
        "/ Envoy",
        "p50 us",
        "p90 us",
        "p99 us",
        "busy",
        "RSS MiB",
        "PSS MiB"
    )?;
    let envoy = report.median(ProxyKind::Envoy).map(|median| median.cpu_us);
    report.rows.iter().try_for_each(|row| write_row(out, row, envoy))
}

fn write_row(out: &mut String, row: &Row, envoy: Option<f64>) -> fmt::Result {
    let Some(median) = &row.median else { return write_absent(out, row.proxy, &row.status) };
    write!(
        out,
        "  {:8} {:>10.0} {:>11.2} {:>8}",
        row.proxy.name(),
        median.rate,
        median.cpu_us,
        ratio(median.cpu_us, envoy)
    )?;
    match median.latency {
        Some(latency) => write!(out, " {:>9.0} {:>9.0} {:>9.0}", latency.p50, latency.p90, latency.p99)?,
        None => write!(out, " {:>9} {:>9} {:>9}", "-", "-", "-")?,
    }
    let (rss, pss) = (mib(median.memory.rss_kib), mib(median.memory.pss_kib));
    writeln!(out, " {:>5.0}% {rss:>8.1} {pss:>8.1}", median.busy * 100.0)
}

fn write_memory(out: &mut String, report: &MemoryReport) -> fmt::Result {
    writeln!(out, "\n{}: {}", report.name, report.title)?;
    writeln!(
        out,
        "  {:8} {:>10} {:>11} {:>8} {:>9} {:>11}",
        "proxy", "RSS MiB", "PSS MiB", "/ Envoy", "start s", "growth MiB"
    )?;
    let median = |row: &MemoryRow| row.median.map(|median| median.memory.rss_kib as f64);
    let envoy = report.rows.iter().find(|row| row.proxy == ProxyKind::Envoy).and_then(median);
    report.rows.iter().try_for_each(|row| write_memory_row(out, row, envoy))
}

fn write_memory_row(out: &mut String, row: &MemoryRow, envoy: Option<f64>) -> fmt::Result {
    let Some(median) = &row.median else { return write_absent(out, row.proxy, &row.status) };
    let memory = median.memory;
    let grown = median.before.map_or_else(
        || "-".to_owned(),
        |before| format!("{:.1}", mib(memory.rss_kib.saturating_sub(before.rss_kib))),
    );
    writeln!(
        out,
        "  {:8} {:>10.1} {:>11.1} {:>8} {:>9.3} {grown:>11}",
        row.proxy.name(),
        mib(memory.rss_kib),
        mib(memory.pss_kib),
        ratio(memory.rss_kib as f64, envoy),
        median.start_seconds,
    )
}

fn write_absent(out: &mut String, proxy: ProxyKind, status: &Status) -> fmt::Result {
    let (word, reason) = match status {
        Status::Measured => ("not measured", "no sample"),
        Status::Unsupported(reason) => ("unsupported", reason.as_str()),
        Status::Unavailable(reason) => ("not available", reason.as_str()),
        Status::Invalid(reason) => ("INVALID", reason.as_str()),
    };
    writeln!(out, "  {:8} {word}: {reason}", proxy.name())
}

fn write_verdicts(out: &mut String, verdicts: &[Verdict]) -> fmt::Result {
    if verdicts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\ntargets for sampan")?;
    for verdict in verdicts {
        let word = match verdict.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let found = verdict.found.map_or_else(|| "-".to_owned(), |found| format!("{found:.2}"));
        writeln!(
            out,
            "  {:20} {:14} {found:>8}  at most {:<6} {word}",
            verdict.scenario, verdict.what, verdict.limit
        )?;
    }
    let met = verdicts.iter().filter(|verdict| verdict.met == Some(true)).count();
    writeln!(out, "  {met} of {} met", verdicts.len())
}

fn ratio(of: f64, to: Option<f64>) -> String {
    to.filter(|to| *to > 0.0).map_or_else(|| "-".to_owned(), |to| format!("{:.2}", of / to))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
