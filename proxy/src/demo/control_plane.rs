//! The demo's control plane: real delta ADS over gRPC on a loopback port, on a thread of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sampan_xds::server::{AdsServer, Answered, Catalog, Item};
use tokio::sync::mpsc;

/// Answers of the proxy that may wait to be looked at.
const ANSWERS: usize = 64;
/// How often an answer is looked for.
const POLL: Duration = Duration::from_millis(1);

/// The control plane. It ends with the process.
pub(super) struct ControlPlane {
    /// Its port.
    pub(super) port: u16,
    catalog: Arc<Catalog>,
    answers: mpsc::Receiver<Answered>,
}

impl ControlPlane {
    /// Starts one that serves these resources.
    pub(super) fn start(items: Vec<Item>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let catalog = Arc::new(Catalog::default());
        catalog.change(items, &[]);
        let (sender, answers) = mpsc::channel(ANSWERS);
        let server = {
            let _context = runtime.enter();
            AdsServer::start(tokio::net::TcpListener::from_std(listener)?, catalog.clone(), sender)?
        };
        std::thread::Builder::new().name("demo_xds".to_owned()).spawn(move || {
            runtime.block_on(std::future::pending::<()>());
            drop(server);
        })?;
        Ok(Self { port, catalog, answers })
    }

    /// Serves new or changed resources; the version.
    pub(super) fn change(&self, items: Vec<Item>) -> u64 {
        self.catalog.change(items, &[])
    }

    /// What the proxy says to a version, within the limit.
    pub(super) fn answer(&mut self, version: u64, limit: Duration) -> Option<Answered> {
        let deadline = Instant::now() + limit;
        loop {
            match self.answers.try_recv() {
                Ok(answered) if answered.version >= version => return Some(answered),
                Ok(_) => {}
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}
