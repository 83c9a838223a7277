//! HAProxy: one thread, `http-reuse` at its default, splicing allowed for TCP.

use super::{Job, Setup, block};
use std::fmt::{self, Write};

pub(super) fn write(out: &mut String, setup: &Setup) -> fmt::Result {
    let mode = if setup.job == Job::Tcp { "tcp" } else { "http" };
    // HAProxy counts two descriptors per connection and refuses a limit below that; few are used at once here.
    writeln!(out, "global\n  nbthread 1\n  maxconn 15000\n  no strict-limits")?;
    writeln!(out, "  stats socket {}/stats.sock mode 600 level admin", setup.dir.display())?;
    writeln!(out, "defaults\n  mode {mode}\n  maxconn 15000")?;
    block(out, "  timeout connect 5s\n  timeout client 300s\n  timeout server 300s")?;
    block(
        out,
        if setup.job == Job::Tcp { "  option splice-auto" } else { "  timeout http-keep-alive 300s" },
    )?;
    let downstream = if matches!(setup.job, Job::Http2 | Job::Http2ToHttp1) { " proto h2" } else { "" };
    writeln!(out, "frontend bench\n  bind 127.0.0.1:{}{downstream}", setup.listen)?;
    if let Job::ManyClusters(count) = setup.job {
        block(out, "  use_backend %[req.hdr(host),lower]")?;
        return (0..count).try_for_each(|n| write_backend(out, &format!("c{n}.example"), setup));
    }
    block(out, "  default_backend backend")?;
    write_backend(out, "backend", setup)
}

fn write_backend(out: &mut String, name: &str, setup: &Setup) -> fmt::Result {
    let upstream = if setup.job == Job::Http2 { " proto h2" } else { "" };
    writeln!(out, "backend {name}\n  server s 127.0.0.1:{}{upstream}", setup.upstream)
}
