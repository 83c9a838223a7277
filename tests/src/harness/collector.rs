//! An OTLP collector that speaks gRPC and records what proxies send it. Used by `tests/tests/tracing`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::xds::grpc::{Messages, head, refusal, trailers};

/// A recording server on a loopback port.
pub struct Collector {
    /// The port it listens on.
    pub port: u16,
    record: Arc<Mutex<Record>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Record {
    /// `ExportTraceServiceRequest`s, as bytes.
    requests: Vec<Bytes>,
    /// The methods that were called.
    methods: Vec<String>,
    /// How many calls are to be refused.
    refuse: usize,
}

impl Collector {
    /// Starts on a port of the kernel's choice, and answers the first `refuse` calls with UNAVAILABLE.
    pub fn start(refuse: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a loopback port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let record = Arc::new(Mutex::new(Record { refuse, ..Record::default() }));
        let serving = record.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { port, record, _runtime: runtime }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Bytes> {
        locked(&self.record).requests.clone()
    }

    /// The methods called so far.
    pub fn methods(&self) -> Vec<String> {
        locked(&self.record).methods.clone()
    }
}

async fn serve(stream: TcpStream, record: Arc<Mutex<Record>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let record = record.clone();
        tokio::spawn(async move {
            let refused = {
                let mut record = locked(&record);
                record.methods.push(request.uri().path().to_owned());
                let refused = record.refuse > 0;
                record.refuse = record.refuse.saturating_sub(1);
                refused
            };
            if refused {
                respond.send_response(refusal(14, "refused by the test"), true).ok();
                return;
            }
            let mut messages = Messages::new(request.into_body());
            while let Some(bytes) = messages.next().await {
                locked(&record).requests.push(bytes);
            }
            if let Ok(mut sending) = respond.send_response(head(), false) {
                sending.send_data(Bytes::from_static(&[0; 5]), false).ok();
                sending.send_trailers(trailers(0, "")).ok();
            }
        });
    }
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
