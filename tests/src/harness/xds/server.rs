//! The control plane as a test drives it: tables to change, behaviour to order, answers to wait for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};

use super::Resource;
use super::conversation::{Happened, Record, Seen};
use super::stream::{self, Order};
use super::subscription::Due;
use super::tables::Table;
use super::types::{Method, short};
use crate::harness::{PATIENCE, poll};

/// How long a test waits for a proxy's answer: longer than the longest back-off that is to be expected of it.
pub const ANSWER: Duration = Duration::from_secs(15);

/// How the server answers requests and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Prompt,
    /// After a pause, each time.
    Slow(Duration),
    /// Not at all; requests are read and recorded.
    Silent,
}

/// A scripted control plane on a loopback port and, if wanted, on unix sockets.
pub struct ControlPlane {
    /// The TCP port, the same after a restart.
    pub port: u16,
    sockets: Vec<PathBuf>,
    pub(super) shared: Arc<Shared>,
    runtime: Option<Runtime>,
    serving: Vec<JoinHandle<()>>,
}

pub(super) struct Shared(Mutex<State>);

pub(super) struct State {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) record: Record,
    pub(super) manner: Manner,
    streams: BTreeMap<usize, (Method, UnboundedSender<Order>)>,
    opened: usize,
    nonces: u64,
}

impl ControlPlane {
    /// Starts one that serves nothing yet.
    pub fn start() -> Self {
        Self::start_with_sockets(&[])
    }

    /// The same, reachable by unix sockets as well.
    pub fn start_with_sockets(sockets: &[&Path]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let state = State {
            tables: BTreeMap::new(),
            record: Record::default(),
            manner: Manner::Prompt,
            streams: BTreeMap::new(),
            opened: 0,
            nonces: 0,
        };
        let mut plane = Self {
            port: 0,
            sockets: sockets.iter().map(|path| path.to_path_buf()).collect(),
            shared: Arc::new(Shared(Mutex::new(state))),
            runtime: Some(runtime.expect("a runtime")),
            serving: Vec::new(),
        };
        plane.restart();
        plane
    }

    /// Replaces all resources of a type. Gives the version.
    pub fn set(&self, type_url: &str, resources: impl IntoIterator<Item = Resource>) -> String {
        self.change(type_url, |table| table.set(resources))
    }

    /// Adds or replaces resources of a type. Gives the version.
    pub fn put(&self, type_url: &str, resources: impl IntoIterator<Item = Resource>) -> String {
        self.change(type_url, |table| table.put(resources))
    }

    /// Sends resources again that have not changed, under a new version: what a control plane does with the endpoints of a cluster that
    /// has changed, for Envoy waits for them. Gives the version.
    pub fn renew(&self, type_url: &str, names: &[&str]) -> String {
        self.change(type_url, |table| table.renew(names))
    }

    /// Removes resources of a type. Gives the version.
    pub fn remove(&self, type_url: &str, names: &[&str]) -> String {
        self.change(type_url, |table| table.remove(names))
    }

    /// Sends this list as it is, duplicates and all, to every stream that has subscribed to the type; the tables do not change.
    pub fn send_listed(&self, type_url: &str, version: &str, resources: Vec<Resource>, removed: &[&str]) {
        let resources = resources.into_iter().map(|resource| (resource, version.to_owned())).collect();
        let removed = removed.iter().map(|name| (*name).to_owned()).collect();
        let due = Arc::new(Due { version: version.to_owned(), resources, removed });
        self.shared.lock().order(|_| true, &Order::Listed(type_url.to_owned(), due));
    }

    /// Sends bytes in place of a response to every stream that carries the type.
    pub fn send_bytes(&self, type_url: &str, bytes: impl Into<Bytes>) {
        let order = Order::Bytes(bytes.into());
        let carries = |method: Method| method.only.is_none_or(|only| only == type_url);
        self.shared.lock().order(carries, &order);
    }

    /// Changes how the server answers, from now on.
    pub fn behave(&self, manner: Manner) {
        let mut state = self.shared.lock();
        state.manner = manner;
        state.order(|_| true, &Order::Look);
    }

    /// Ends all streams with a gRPC status.
    pub fn end_streams(&self, status: u8) {
        self.shared.lock().order(|_| true, &Order::End(status));
    }

    /// Resets all streams.
    pub fn reset_streams(&self) {
        self.shared.lock().order(|_| true, &Order::Reset);
    }

    /// Stops listening and drops all connections, as if the server had been killed.
    pub fn stop(&mut self) {
        for task in self.serving.drain(..) {
            task.abort();
            // Waited for, so that the port is free when this returns; the error says that it was aborted.
            self.runtime.as_ref().expect("a runtime until the drop").block_on(task).ok();
        }
    }

    /// Listens again where it did before; what it serves is what it served.
    pub fn restart(&mut self) {
        self.stop();
        let runtime = self.runtime.as_ref().expect("a runtime until the drop");
        // Somebody else's connection may have got the port meanwhile, for a while.
        let bind = || runtime.block_on(TcpListener::bind(("127.0.0.1", self.port))).ok();
        let listener = poll(PATIENCE, bind).expect("the port it had");
        self.port = listener.local_addr().expect("a bound listener has an address").port();
        self.serving.push(runtime.spawn(accept_tcp(listener, Arc::clone(&self.shared))));
        for path in &self.sockets {
            std::fs::remove_file(path).ok();
            let listener = {
                let _context = runtime.enter();
                UnixListener::bind(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            };
            self.serving.push(runtime.spawn(accept_unix(listener, Arc::clone(&self.shared))));
        }
    }

    /// The proxy's answer to a version of a type, or none in time.
    pub fn answer(&self, type_url: &str, version: &str, limit: Duration) -> Option<Seen> {
        poll(limit, || self.shared.lock().record.answer(type_url, version).cloned())
    }

    /// Waits until the proxy has accepted a version of a type.
    ///
    /// # Panics
    /// It refuses it, or says nothing.
    pub fn await_ack(&self, type_url: &str, version: &str) -> Seen {
        let seen = self.await_answer(type_url, version);
        assert!(seen.error.is_none(), "{} {version} was refused: {:?}", short(type_url), seen.error);
        seen
    }

    /// Waits until the proxy has refused a version of a type; what it said.
    ///
    /// # Panics
    /// It accepts it, or says nothing.
    pub fn await_nack(&self, type_url: &str, version: &str) -> String {
        let seen = self.await_answer(type_url, version);
        seen.error
            .unwrap_or_else(|| panic!("{} {version} was accepted:\n{}", short(type_url), self.transcript()))
    }

    /// Waits until something in the record satisfies the test's question, which must not ask the control plane for anything: the
    /// record is locked meanwhile.
    ///
    /// # Panics
    /// It does not come in time; `what` is said.
    pub fn await_event<T>(&self, what: &str, mut found: impl FnMut(&[Happened]) -> Option<T>) -> T {
        poll(ANSWER, || found(&self.shared.lock().record.events))
            .unwrap_or_else(|| panic!("{what} did not happen:\n{}", self.transcript()))
    }

    /// Everything that happened so far.
    pub fn conversation(&self) -> Vec<Happened> {
        self.shared.lock().record.events.clone()
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.shared.lock().streams.len()
    }

    /// How many streams were ever opened.
    pub fn opened_streams(&self) -> usize {
        self.shared.lock().opened
    }

    /// The end of the record, for a failing test's message.
    pub fn transcript(&self) -> String {
        let events = self.conversation();
        let last = events.iter().skip(events.len().saturating_sub(60));
        last.map(|event| format!("  {event}")).collect::<Vec<_>>().join("\n")
    }

    fn await_answer(&self, type_url: &str, version: &str) -> Seen {
        self.answer(type_url, version, ANSWER)
            .unwrap_or_else(|| panic!("no answer to {} {version}:\n{}", short(type_url), self.transcript()))
    }

    fn change(&self, type_url: &str, change: impl FnOnce(&mut Table) -> String) -> String {
        let mut state = self.shared.lock();
        let version = change(state.tables.entry(type_url.to_owned()).or_default());
        state.order(|_| true, &Order::Look);
        version
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes a new stream; its number and where its orders come from.
    pub(super) fn open(&self, method: Method, path: String) -> (usize, UnboundedReceiver<Order>) {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.lock();
        let number = state.next_stream();
        state.streams.insert(number, (method, sender));
        state.record.add(Happened::Opened(number, path));
        (number, receiver)
    }

    pub(super) fn close(&self, number: usize) {
        let mut state = self.lock();
        state.streams.remove(&number);
        state.record.add(Happened::Closed(number));
    }
}

impl State {
    pub(super) fn next_nonce(&mut self) -> String {
        self.nonces += 1;
        format!("n{}", self.nonces)
    }

    pub(super) fn next_stream(&mut self) -> usize {
        self.opened += 1;
        self.opened
    }

    fn order(&self, whom: impl Fn(Method) -> bool, order: &Order) {
        for (method, orders) in self.streams.values() {
            if whom(*method) {
                orders.send(order.clone()).ok();
            }
        }
    }
}

/// Aborting this drops the set, and with it every connection.
async fn accept_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).ok();
        connections.spawn(serve(socket, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn accept_unix(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(stream::serve(Arc::clone(&shared), request, respond));
        while streams.try_join_next().is_some() {}
    }
}
