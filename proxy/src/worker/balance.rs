//! Which worker gets a connection of an exactly balancing listener, and how it gets there.
//!
//! The kernel spreads connections over SO_REUSEPORT sockets by hash, which is uneven for few long ones. Such a listener
//! accepts on whichever worker is woken and hands the socket to the worker that has the fewest of its connections.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

/// A socket on its way to another worker.
pub struct Handoff {
    /// The accepted socket.
    pub stream: TcpStream,
    /// Name of its listener.
    pub listener: std::sync::Arc<str>,
}

/// Sockets that may wait for a worker; when it is that far behind, the accepting worker keeps the socket.
const QUEUE: usize = 1024;

/// The ways to all workers.
pub struct Handoffs {
    senders: Vec<mpsc::Sender<Handoff>>,
}

impl Handoffs {
    /// Ways to `workers` workers, with their receiving ends.
    pub fn new(workers: usize) -> (Self, Vec<mpsc::Receiver<Handoff>>) {
        let (senders, receivers) = (0..workers).map(|_| mpsc::channel(QUEUE)).unzip();
        (Self { senders }, receivers)
    }

    /// Sends a socket to a worker; gives it back if that worker cannot take it.
    pub fn send(&self, worker: usize, handoff: Handoff) -> Result<(), Handoff> {
        let Some(sender) = self.senders.get(worker) else { return Err(handoff) };
        sender.try_send(handoff).map_err(|error| match error {
            mpsc::error::TrySendError::Full(handoff) | mpsc::error::TrySendError::Closed(handoff) => handoff,
        })
    }
}

/// Connections of one listener on each worker.
#[derive(Debug, Default)]
pub struct Loads(Vec<AtomicUsize>);

impl Loads {
    /// No connection on any of `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// Counts a connection in on the least loaded worker.
    pub fn pick(&self) -> usize {
        let least = (0..self.0.len()).min_by_key(|i| self.0[*i].load(Relaxed)).unwrap_or(0);
        self.add(least);
        least
    }

    /// Counts a connection in.
    pub fn add(&self, worker: usize) {
        if let Some(load) = self.0.get(worker) {
            load.fetch_add(1, Relaxed);
        }
    }

    /// Counts a connection out.
    pub fn remove(&self, worker: usize) {
        if let Some(load) = self.0.get(worker) {
            load.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_is_picked() {
        let loads = Loads::new(3);
        assert_eq!([loads.pick(), loads.pick(), loads.pick()], [0, 1, 2]);
        loads.remove(1);
        assert_eq!(loads.pick(), 1);
    }
}
