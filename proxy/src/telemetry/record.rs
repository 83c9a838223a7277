//! Writes access log lines for streams and connections that ended. Called by the data path, on the worker.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::format::{AccessLogType, FormatContext};
use sampan_filters_api::{Headers, RequestHead, ResponseHead, StreamInfo};

use super::access_log::{AccessLog, LogEvent};
use crate::runtime::Runtime;
use crate::worker::Worker;

/// Logs an HTTP stream.
pub fn log_stream(
    worker: &Worker,
    logs: &[Arc<AccessLog>],
    request: &RequestHead,
    response: Option<&ResponseHead>,
    trailers: Option<&Headers>,
    info: &StreamInfo,
    now: Instant,
) {
    let base = FormatContext::new(info, now, SystemTime::now());
    let log_type = AccessLogType::DownstreamEnd;
    record(worker, logs, FormatContext { request: Some(request), response, trailers, log_type, ..base });
}

/// Logs a TCP connection.
pub fn log_connection(worker: &Worker, logs: &[Arc<AccessLog>], info: &StreamInfo) {
    if logs.is_empty() {
        return;
    }
    let base = FormatContext::new(info, Instant::now(), SystemTime::now());
    record(worker, logs, FormatContext { log_type: AccessLogType::TcpConnectionEnd, ..base });
}

fn record(worker: &Worker, logs: &[Arc<AccessLog>], context: FormatContext<'_>) {
    let snapshot = worker.snapshot_ref();
    let runtime: &Runtime = &snapshot.runtime;
    let random = worker.with_rng(|rng| rng.u64(..));
    let event = LogEvent { context, runtime, random };
    for log in logs {
        log.record(&event, &worker.logs);
    }
}
