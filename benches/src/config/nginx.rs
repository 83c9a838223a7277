//! nginx: one worker, keep-alive upstream, no limit on requests per connection, no temporary files.

use super::{Job, Setup, block};
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Where Debian puts the `stream` module; it is a package of its own.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The `stream` module (TCP proxying), from `NGINX_STREAM_MODULE` or its usual place.
pub(super) fn stream_module() -> Option<PathBuf> {
    let path = std::env::var_os("NGINX_STREAM_MODULE").map_or_else(|| STREAM_MODULE.into(), PathBuf::from);
    path.is_file().then_some(path)
}

pub(super) fn write(out: &mut String, setup: &Setup, stream: Option<&Path>) -> Result<fmt::Result, String> {
    if setup.job != Job::Tcp {
        return Ok(write_head(out, setup).and_then(|()| write_http(out, setup)));
    }
    let module = stream.ok_or("has no stream module: apt-get install libnginx-mod-stream")?;
    let written = writeln!(out, "load_module {};", module.display());
    Ok(written.and_then(|()| write_head(out, setup)).and_then(|()| write_stream(out, setup)))
}

fn write_head(out: &mut String, setup: &Setup) -> fmt::Result {
    writeln!(out, "daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile 20000;")?;
    writeln!(out, "pid {0}/nginx.pid;\nerror_log stderr error;", setup.dir.display())?;
    block(out, "events { worker_connections 15000; }")
}

fn write_stream(out: &mut String, setup: &Setup) -> fmt::Result {
    writeln!(
        out,
        "stream {{ server {{ listen 127.0.0.1:{} backlog=4096; proxy_pass 127.0.0.1:{}; }} }}",
        setup.listen, setup.upstream
    )
}

fn write_http(out: &mut String, setup: &Setup) -> fmt::Result {
    block(out, "http {\n  access_log off;\n  tcp_nodelay on;\n  keepalive_timeout 300s;")?;
    block(out, "  keepalive_requests 1000000000;\n  server_names_hash_max_size 65536;")?;
    block(
        out,
        "  proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_set_header Host $host;",
    )?;
    block(out, "  proxy_buffer_size 16k;\n  proxy_buffers 16 16k;\n  proxy_max_temp_file_size 0;")?;
    for path in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(out, "  {path}_temp_path {}/{path};", setup.dir.display())?;
    }
    match setup.job {
        Job::ManyClusters(count) => (0..count)
            .try_for_each(|n| write_server(out, &format!("c{n}"), &format!("c{n}.example"), setup))?,
        _ => write_server(out, "backend", "_", setup)?,
    }
    block(out, "}")
}

fn write_server(out: &mut String, upstream: &str, name: &str, setup: &Setup) -> fmt::Result {
    let http2 = if setup.job == Job::Http2ToHttp1 { " http2" } else { "" };
    writeln!(
        out,
        "  upstream {upstream} {{ server 127.0.0.1:{}; keepalive 128; keepalive_requests 1000000000; }}",
        setup.upstream
    )?;
    // Socket options may be given once per address; nginx takes the repeated plain `listen` as the same socket.
    let backlog = if matches!(upstream, "backend" | "c0") { " backlog=4096" } else { "" };
    writeln!(
        out,
        "  server {{ listen 127.0.0.1:{}{http2}{backlog}; server_name {name}; \
         location = /nginx_status {{ stub_status; }} location / {{ proxy_pass http://{upstream}; }} }}",
        setup.listen
    )
}
