//! The backend behind every proxy: HTTP/1.1, HTTP/2 and bulk bytes, each on a port of its own.
//!
//! It is a child process of the runner (`compare backend`), one thread, built to cost as little as a server
//! can: responses are prepared once. It prints its ports as one JSON line and serves until its standard input
//! ends, so it cannot outlive the runner.

mod bulk;
mod h1;
mod h2c;

use crate::cli::Command as CliCommand;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tokio::net::{TcpListener, TcpStream};

/// The path of the small response.
pub const SMALL_PATH: &str = "/small";
/// The path of the large response.
pub const LARGE_PATH: &str = "/large";
/// Bytes in the small response's body.
pub const SMALL_BODY: usize = 128;
/// Bytes in the large response's body.
pub const LARGE_BODY: usize = 64 * 1024;

/// The ports the backend listens on, on 127.0.0.1.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ports {
    /// HTTP/1.1.
    pub h1: u16,
    /// HTTP/2 with prior knowledge.
    pub h2: u16,
    /// Bulk bytes: eight bytes in (a big-endian count), that many bytes out.
    pub bulk: u16,
}

/// The backend as the runner sees it; dropping it ends the process.
#[derive(Debug)]
pub struct Backend {
    child: Child,
    /// Where it listens.
    pub ports: Ports,
}

impl Backend {
    /// Starts the backend on the cores of the calling thread.
    pub fn start() -> Result<Self> {
        let exe = std::env::current_exe().context("finding the runner's own path")?;
        let mut child = Command::new(exe)
            .arg(CliCommand::BACKEND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the backend")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("reading the backend's ports")?;
        }
        match serde_json::from_str(&line) {
            Ok(ports) => Ok(Self { child, ports }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the backend did not start: {error}")
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the backend in this process until standard input ends.
pub fn serve() -> Result<()> {
    crate::affinity::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let h1 = TcpListener::bind("127.0.0.1:0").await?;
        let h2 = TcpListener::bind("127.0.0.1:0").await?;
        let bulk = TcpListener::bind("127.0.0.1:0").await?;
        let ports = Ports {
            h1: h1.local_addr()?.port(),
            h2: h2.local_addr()?.port(),
            bulk: bulk.local_addr()?.port(),
        };
        println!("{}", serde_json::to_string(&ports)?);
        let responses = h1::Responses::prepare();
        tokio::spawn(accept(h1, move |stream| h1::serve(stream, responses.clone())));
        tokio::spawn(accept(h2, h2c::serve));
        tokio::spawn(accept(bulk, bulk::serve));
        let ended =
            tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        ended.await.context("waiting for the end of standard input")??;
        Ok(())
    })
}

/// Accepts for ever; a connection that fails ends alone.
async fn accept<S, F>(listener: TcpListener, serve: S)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let connection = serve(stream);
                // A broken connection is the load tool's to count; here it only ends.
                tokio::spawn(async move { drop(connection.await) });
            }
            // Out of descriptors, or the peer is gone already: let others run, then go on.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
