//! The gauges under `server.` that say how the process is, brought up to date before stats are printed.
//!
//! `server.state` is what pilot-agent takes for readiness, so it must be right at the moment of reading.

use super::Admin;
use crate::cli::version;
use crate::process::{Stage, memory};
use crate::telemetry::stats::Writer;
use crate::telemetry::stats::kinds::{Server, ServerGauge};

pub(super) fn refresh(admin: &Admin) {
    let block = admin.stats.block::<Server>("", Writer::CONTROL);
    let state = admin.lifecycle.state();
    let memory = memory::read();
    let live = *admin.lifecycle.stage().borrow() == Stage::Live;
    let set = |gauge, value: u64| block.set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
    set(ServerGauge::State, state as u64);
    set(ServerGauge::Live, u64::from(live && !admin.lifecycle.drain_state().health_failed));
    set(ServerGauge::Uptime, admin.lifecycle.started().elapsed().as_secs());
    set(ServerGauge::MemoryAllocated, memory.anonymous);
    set(ServerGauge::MemoryHeapSize, memory.data);
    set(ServerGauge::MemoryPhysicalSize, memory.resident);
    set(ServerGauge::Concurrency, admin.config.workers().unwrap_or(0).into());
    set(ServerGauge::HotRestartEpoch, admin.options.inert.restart_epoch.into());
    set(ServerGauge::HotRestartGeneration, 1);
    set(ServerGauge::Version, revision());
}

/// The first 24 bits of the commit, as in Envoy.
fn revision() -> u64 {
    version::REVISION.get(..6).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
