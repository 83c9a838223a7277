//! Endpoints that steer the process: health, drain, exit, log files.

use std::time::{Duration, Instant};

use super::{Admin, Reply, Request};
use crate::process::{AfterDrain, Drain, DrainScope};

pub(super) fn fail_health(admin: &Admin, _: &Request) -> Reply {
    admin.lifecycle.fail_health(true);
    Reply::ok()
}

pub(super) fn pass_health(admin: &Admin, _: &Request) -> Reply {
    admin.lifecycle.fail_health(false);
    Reply::ok()
}

pub(super) fn quit(admin: &Admin, _: &Request) -> Reply {
    admin.lifecycle.request_exit();
    Reply::ok()
}

pub(super) fn reopen_logs(admin: &Admin, _: &Request) -> Reply {
    admin.log.reopen();
    admin.lifecycle.reopen_logs();
    Reply::ok()
}

pub(super) fn drain_listeners(admin: &Admin, request: &Request) -> Reply {
    let then = if request.has("skip_exit") { AfterDrain::KeepListening } else { AfterDrain::StopListening };
    let graceful = request.has("graceful") || then == AfterDrain::KeepListening;
    admin.lifecycle.begin_drain(Drain {
        since: Instant::now(),
        time: if graceful { admin.options.drain_time } else { Duration::ZERO },
        strategy: admin.options.drain_strategy,
        scope: if request.has("inboundonly") { DrainScope::Inbound } else { DrainScope::All },
        then,
    });
    Reply::ok()
}
