//! Access log services: entries on their way from the workers to the control thread, which sends them by gRPC.
//!
//! ```text
//! WorkerLogs, a buffer per service and worker --Batch, try_send--> bounded channel --> Outlet --> control/access_log.rs
//! ```
//!
//! Logs with equal settings share a service and so a stream. What may wait is bounded in batches and in bytes; beyond that
//! the workers keep one buffer each, and then drop entries and count them (`access_logs.grpc_access_log.logs_dropped`).
//!
//! `control/compile/access_log/service.rs` opens services in [`LogServices`], which the compile context carries. As with
//! files, only weak references are kept here: a service ends when no configuration and no worker refers to it any more.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::entry::EntryKind;
use crate::reference::GrpcTarget;

/// What tells services apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSettings {
    /// Which kind of entries it takes: a message on the wire holds one kind.
    pub kind: EntryKind,
    /// `log_name`
    pub log_name: Arc<str>,
    /// `grpc_service`
    pub target: GrpcTarget,
    /// `buffer_flush_interval`
    pub interval: Duration,
    /// `buffer_size_bytes`: a worker hands its entries over when they reach it.
    pub full: usize,
    /// `grpc_stream_retry_policy.retry_back_off`: the first and the longest delay between attempts to open a stream.
    pub back_off: (Duration, Duration),
}

impl ServiceSettings {
    /// `buffer_flush_interval` where nothing is configured.
    pub const INTERVAL: Duration = Duration::from_secs(1);
    /// `buffer_size_bytes` where nothing is configured.
    pub const FULL: usize = 16 << 10;
    /// The largest `buffer_size_bytes` that has effect: gRPC servers take messages of 4 MiB.
    pub const FULLEST: usize = MAX_QUEUED / 4;
    /// The delays where nothing is configured.
    pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
}

/// All services of the process.
#[derive(Debug)]
pub struct LogServices {
    /// Validation sends nothing.
    dry: bool,
    services: Mutex<Vec<Weak<Shared>>>,
    /// New services, for the control thread; as many as the configuration has.
    opened: mpsc::UnboundedSender<Outlet>,
    outlets: Mutex<Option<mpsc::UnboundedReceiver<Outlet>>>,
    closing: watch::Sender<bool>,
}

/// An open service. Clones share it.
#[derive(Clone, Debug)]
pub struct LogService(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Arc<ServiceSettings>,
    sender: Option<mpsc::Sender<Batch>>,
    /// Bytes that wait.
    queued: Arc<AtomicUsize>,
}

/// Encoded entries, one behind the other.
#[derive(Debug)]
pub struct Batch {
    /// `HTTPAccessLogEntries` or `TCPAccessLogEntries`, as bytes.
    pub entries: Vec<u8>,
    /// How many there are.
    pub count: u64,
    /// Their share of what may wait; given back when the batch is gone.
    _room: Room,
}

#[derive(Debug)]
struct Room {
    queued: Arc<AtomicUsize>,
    size: usize,
}

/// The control thread's end of a service.
#[derive(Debug)]
pub struct Outlet {
    /// The settings.
    pub settings: Arc<ServiceSettings>,
    batches: mpsc::Receiver<Batch>,
    closing: watch::Receiver<bool>,
}

/// How many batches, and how many bytes, may wait for one service.
const MAX_BATCHES: usize = 4096;
const MAX_QUEUED: usize = 16 << 20;

impl Default for LogServices {
    fn default() -> Self {
        let (opened, outlets) = mpsc::unbounded_channel();
        Self {
            dry: false,
            services: Mutex::default(),
            opened,
            outlets: Mutex::new(Some(outlets)),
            closing: watch::Sender::new(false),
        }
    }
}

impl LogServices {
    /// Sends nothing: for `--mode validate`.
    pub fn for_validation() -> Self {
        Self { dry: true, ..Self::default() }
    }

    /// The service with these settings, a new one if need be.
    pub fn open(&self, settings: ServiceSettings) -> LogService {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|service| service.strong_count() > 0);
        let known = services.iter().filter_map(Weak::upgrade).find(|known| *known.settings == settings);
        if let Some(shared) = known {
            return LogService(shared);
        }
        let settings = Arc::new(settings);
        let (sender, batches) = mpsc::channel(MAX_BATCHES);
        let outlet = Outlet { settings: settings.clone(), batches, closing: self.closing.subscribe() };
        let open = !self.dry && self.opened.send(outlet).is_ok();
        let queued = Arc::default();
        let shared = Arc::new(Shared { settings, sender: open.then_some(sender), queued });
        services.push(Arc::downgrade(&shared));
        LogService(shared)
    }

    /// Where the control thread hears of new services; only the first call has it.
    pub fn outlets(&self) -> Option<mpsc::UnboundedReceiver<Outlet>> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks every service to send what it has and to end; false if `limit` ends first.
    pub async fn close(&self, limit: Duration) -> bool {
        self.closing.send_replace(true);
        tokio::time::timeout(limit, self.closing.closed()).await.is_ok()
    }
}

impl LogService {
    /// Whether both are the same service.
    pub(super) fn is_same(&self, other: &LogService) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The settings.
    pub(super) fn settings(&self) -> &ServiceSettings {
        &self.0.settings
    }

    /// Gives entries to the control thread. Never waits.
    ///
    /// # Errors
    /// Too much waits already; the entries come back.
    pub(super) fn submit(&self, entries: Vec<u8>, count: u64) -> Result<(), Vec<u8>> {
        let Some(sender) = &self.0.sender else { return Ok(()) };
        // The channel first: its place is what an entry of its own needs when entries are not buffered.
        let Ok(place) = sender.try_reserve() else { return Err(entries) };
        let Some(room) = Room::take(&self.0.queued, entries.len()) else { return Err(entries) };
        place.send(Batch { entries, count, _room: room });
        Ok(())
    }
}

impl Room {
    fn take(queued: &Arc<AtomicUsize>, size: usize) -> Option<Self> {
        let before = queued.fetch_add(size, Relaxed);
        let room = Self { queued: queued.clone(), size };
        // A batch that is larger than the limit by itself may go alone. Dropped, the room is given back.
        (before == 0 || before + size <= MAX_QUEUED).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.size, Relaxed);
    }
}

impl Outlet {
    /// The next entries to send; `None` when there will be none, because nobody refers to the service or the process ends.
    pub async fn next(&mut self) -> Option<Batch> {
        let closing = async { self.closing.wait_for(|closing| *closing).await.is_ok() };
        tokio::select! {
            biased;
            batch = self.batches.recv() => return batch,
            _ = closing => {}
        }
        self.batches.try_recv().ok()
    }

    /// Whether the process ends.
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the process ends.
    pub async fn closing(&mut self) {
        // An error means that the sender is gone, which comes to the same.
        let _ = self.closing.wait_for(|closing| *closing).await.is_ok();
    }
}

#[cfg(test)]
mod tests;
