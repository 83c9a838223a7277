//! Binds a listener's addresses once for all workers, before any of them serves it.
//!
//! With SO_REUSEPORT each worker has a socket of its own and the kernel spreads connections; without, and for unix
//! sockets, all workers hold the same one. Sockets outlive the listener's configuration: a new version with the same
//! addresses and options takes them over, so no connection in their queues is lost.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use sampan_filters_api::Address;

use super::config::{ListenAddress, Listener};
use crate::net::socket;
use crate::worker::balance::Loads;

/// A listener with its sockets.
pub struct ActiveListener {
    /// The compiled configuration.
    pub config: Arc<Listener>,
    /// Its sockets; empty if it does not bind.
    pub bound: Vec<Arc<BoundAddress>>,
    /// Counts shared by all workers and versions.
    pub counts: Arc<ListenerCounts>,
}

/// Counts of a listener over all workers.
#[derive(Debug)]
pub struct ListenerCounts {
    /// Open connections.
    pub active: AtomicU64,
    /// Open connections by worker, for exact balance.
    pub loads: Loads,
}

/// One address with a socket for each worker.
pub struct BoundAddress {
    /// As configured.
    pub wanted: ListenAddress,
    /// As bound: the port is never 0.
    pub address: Address,
    sockets: Mutex<Vec<Option<ListenSocket>>>,
}

/// A listening socket of either kind.
pub enum ListenSocket {
    /// TCP
    Tcp(std::net::TcpListener),
    /// A unix socket
    Unix(UnixListener),
}

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind '{address}': {source}")]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// Why.
    pub source: io::Error,
}

/// Binds `config` for `workers` workers, taking over what versions before it have bound already. Nothing is accepted, nor queued,
/// before [`ActiveListener::open`].
pub fn bind(
    config: Arc<Listener>,
    workers: usize,
    previous: &[&ActiveListener],
) -> Result<ActiveListener, BindError> {
    let mut bound = Vec::new();
    let wanted: &[ListenAddress] = if config.bind_to_port { &config.addresses } else { &[] };
    for address in wanted {
        let same = previous.iter().find_map(|p| p.bound.iter().find(|b| b.wanted == *address));
        bound.push(match same {
            Some(same) => same.clone(),
            None => Arc::new(BoundAddress::new(address, workers)?),
        });
    }
    let counts = previous.first().map_or_else(
        || Arc::new(ListenerCounts { active: AtomicU64::new(0), loads: Loads::new(workers) }),
        |p| p.counts.clone(),
    );
    Ok(ActiveListener { config, bound, counts })
}

impl ActiveListener {
    /// Counts a connection out of those that a worker has, where they are balanced.
    pub fn unbalance(&self, worker: usize) {
        if self.config.exact_balance {
            self.counts.loads.remove(worker);
        }
    }

    /// Whether an address is one of its own.
    pub fn has(&self, address: &Address) -> bool {
        self.bound.iter().any(|bound| bound.address == *address)
            || (self.bound.is_empty() && self.config.addresses.iter().any(|a| a.address == *address))
    }

    /// Lets the kernel queue connections.
    ///
    /// # Errors
    /// Another process took the port since it was bound.
    pub fn open(&self) -> io::Result<()> {
        self.bound.iter().try_for_each(|bound| bound.listen())
    }
}

impl BoundAddress {
    fn listen(&self) -> io::Result<()> {
        let backlog = i32::try_from(self.wanted.options.backlog).unwrap_or(i32::MAX);
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.iter().flatten() {
            if let ListenSocket::Tcp(socket) = socket {
                rustix::net::listen(socket, backlog)?;
            }
        }
        Ok(())
    }

    fn new(wanted: &ListenAddress, workers: usize) -> Result<Self, BindError> {
        let failed = |source| BindError { address: wanted.address.clone(), source };
        let (address, sockets) = match &wanted.address {
            Address::Socket(address) => listen_tcp(*address, wanted, workers).map_err(failed)?,
            Address::Pipe(path) => {
                let sockets = listen_pipe(path, wanted.pipe_mode, workers).map_err(failed)?;
                (wanted.address.clone(), sockets)
            }
        };
        Ok(Self {
            wanted: wanted.clone(),
            address,
            sockets: Mutex::new(sockets.into_iter().map(Some).collect()),
        })
    }

    /// A worker's socket; it takes it once.
    pub fn take(&self, worker: usize) -> Option<ListenSocket> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.get_mut(worker)?.take()
    }
}

fn listen_tcp(
    mut address: std::net::SocketAddr,
    wanted: &ListenAddress,
    workers: usize,
) -> io::Result<(Address, Vec<ListenSocket>)> {
    let first = socket::bind_tcp(address, &wanted.options)?;
    address.set_port(first.local_addr()?.port());
    let mut sockets = vec![ListenSocket::Tcp(first)];
    while sockets.len() < workers {
        let next = match &sockets[0] {
            ListenSocket::Tcp(first) if !wanted.options.reuse_port => first.try_clone()?,
            _ => socket::bind_tcp(address, &wanted.options)?,
        };
        sockets.push(ListenSocket::Tcp(next));
    }
    Ok((Address::Socket(address), sockets))
}

fn listen_pipe(path: &str, mode: Option<u32>, workers: usize) -> io::Result<Vec<ListenSocket>> {
    // A socket that an earlier process left behind is in the way; anything else is somebody's file.
    if let Ok(metadata) = std::fs::symlink_metadata(path)
        && std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
    {
        std::fs::remove_file(path)?;
    }
    let first = UnixListener::bind(path)?;
    first.set_nonblocking(true)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let mut sockets = Vec::new();
    for _ in 1..workers {
        sockets.push(ListenSocket::Unix(first.try_clone()?));
    }
    sockets.push(ListenSocket::Unix(first));
    Ok(sockets)
}

impl Drop for BoundAddress {
    fn drop(&mut self) {
        if let Address::Pipe(path) = &self.address {
            // The file is ours; that somebody removed it already does not matter.
            let _ = std::fs::remove_file(&**path);
        }
    }
}
