//! A gRPC access log service that records what proxies send it. Used by `tests/tests/access_log_service.rs`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use sampan_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::poll;
use super::xds::grpc::{Messages, head, refusal, trailers};

/// A message, and the stream that it came by.
#[derive(Clone, Debug)]
pub struct Told {
    /// Counts up over all connections.
    pub stream: usize,
    /// The method's path.
    pub method: String,
    /// What was said.
    pub message: StreamAccessLogsMessage,
}

/// A recording server on a loopback port.
pub struct AccessLogService {
    /// The port it listens on.
    pub port: u16,
    record: Arc<Mutex<Record>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Record {
    streams: usize,
    told: Vec<Told>,
    /// How many streams are to be refused.
    refuse: usize,
}

impl AccessLogService {
    /// Starts on a port of the kernel's choice.
    pub fn start() -> Self {
        Self::start_at(0, 0)
    }

    /// Starts on a port that a proxy knows already, and refuses the first `refuse` streams.
    pub fn start_at(port: u16, refuse: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(async { listen(port) });
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

    /// Everything so far.
    pub fn told(&self) -> Vec<Told> {
        locked(&self.record).told.clone()
    }

    /// Waits until `enough` says so.
    pub fn await_told(&self, limit: Duration, enough: impl Fn(&[Told]) -> bool) -> Option<Vec<Told>> {
        poll(limit, || Some(self.told()).filter(|told| enough(told)))
    }
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("a loopback port");
    socket.listen(64).expect("a bound socket")
}

async fn serve(stream: TcpStream, record: Arc<Mutex<Record>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let record = record.clone();
        tokio::spawn(async move {
            let (refused, number) = {
                let mut record = locked(&record);
                record.streams += 1;
                let refused = record.refuse > 0;
                record.refuse = record.refuse.saturating_sub(1);
                (refused, record.streams)
            };
            if refused {
                respond.send_response(refusal(14, "refused by the test"), true).ok();
                return;
            }
            let method = request.uri().path().to_owned();
            let mut messages = Messages::new(request.into_body());
            while let Some(bytes) = messages.next().await {
                let message = StreamAccessLogsMessage::decode(bytes).expect("a message of the service");
                locked(&record).told.push(Told { stream: number, method: method.clone(), message });
            }
            if let Ok(mut sending) = respond.send_response(head(), false) {
                sending.send_data(bytes::Bytes::from_static(&[0; 5]), false).ok();
                sending.send_trailers(trailers(0, "")).ok();
            }
        });
    }
}

fn locked(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
