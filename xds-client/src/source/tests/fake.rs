//! A gRPC server that does what the test says: calls come through a channel, answers are whatever the test sends.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PATIENCE;
use crate::{Connector, GrpcTarget, IoStream};

/// Connects to an address.
pub(super) struct Dial(pub(super) SocketAddr);

impl Connector for Dial {
    fn connect(&self) -> BoxFuture<'static, std::io::Result<Box<dyn IoStream>>> {
        let address = self.0;
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn IoStream>) })
    }

    fn authority(&self) -> String {
        "xds-grpc".to_owned()
    }
}

/// The server.
pub(super) struct ControlPlane {
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    task: JoinHandle<()>,
}

/// One call.
pub(super) struct Call {
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) headers: HeaderMap,
    requests: mpsc::Receiver<Bytes>,
    answers: Option<mpsc::Sender<Frame<Bytes>>>,
    connection: tokio::task::AbortHandle,
}

impl ControlPlane {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(32);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let sender = sender.clone();
                let (handle_in, handle) = tokio::sync::oneshot::channel::<tokio::task::AbortHandle>();
                let connection = tokio::spawn(async move {
                    let own = handle.await.unwrap();
                    let service = hyper::service::service_fn(move |request| {
                        serve(request, sender.clone(), own.clone())
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                });
                let _ = handle_in.send(connection.abort_handle());
            }
        });
        Self { address, calls, task }
    }

    pub(super) fn target(&self) -> GrpcTarget {
        GrpcTarget::new(Arc::new(Dial(self.address)))
    }

    /// The next call.
    pub(super) async fn call(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv()).await.expect("a call").expect("the server lives")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Call {
    /// The next request on the stream; `None` when the client has ended it.
    pub(super) async fn request<M: prost::Message + Default>(&mut self) -> Option<M> {
        let message = tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a request");
        message.map(|bytes| M::decode(bytes).expect("a message"))
    }

    pub(super) async fn send(&self, message: &impl prost::Message) {
        let body = message.encode_to_vec();
        let mut frame = BytesMut::with_capacity(body.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(body.len()).unwrap());
        frame.put_slice(&body);
        self.send_raw(frame.freeze()).await;
    }

    pub(super) async fn send_raw(&self, bytes: Bytes) {
        let answers = self.answers.as_ref().expect("the call is open");
        let sent = tokio::time::timeout(PATIENCE, answers.send(Frame::data(bytes))).await;
        assert!(sent.is_ok_and(|sent| sent.is_ok()), "the client takes nothing");
    }

    /// Ends the call with a status.
    pub(super) async fn end(&mut self, status: &'static str, message: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        if let Some(answers) = self.answers.take() {
            let _ = answers.send(Frame::trailers(trailers)).await;
        }
    }

    /// Breaks the connection.
    pub(super) fn cut(self) {
        self.connection.abort();
    }
}

type Body =
    StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>;

/// Hands a call over. Like many servers, the head of the answer goes out with the first message.
async fn serve(
    request: Request<Incoming>,
    calls: mpsc::Sender<Call>,
    connection: tokio::task::AbortHandle,
) -> Result<Response<Body>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let (request_in, requests) = mpsc::channel(64);
    let (answers, mut frames) = mpsc::channel(1);
    tokio::spawn(read(body, request_in));
    let call = Call {
        path: head.uri.path().to_owned(),
        authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        requests,
        answers: Some(answers),
        connection,
    };
    let _ = calls.send(call).await;
    let first = frames.recv().await;
    let rest = futures_util::stream::unfold((first, frames), async |(first, mut frames)| {
        let frame = match first {
            Some(frame) => Some(frame),
            None => frames.recv().await,
        };
        frame.map(|frame| (Ok(frame), (None, frames)))
    });
    let body: Body = StreamBody::new(Box::pin(rest));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// Takes the messages out of a body.
async fn read(mut body: Incoming, messages: mpsc::Sender<Bytes>) {
    let mut buffer = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { return };
        buffer.extend_from_slice(&data);
        while let Some(length) = buffer.get(1..5).map(|mut bytes| bytes.get_u32() as usize) {
            if buffer.len() < length + 5 {
                break;
            }
            let message = buffer.split_to(length + 5).freeze().slice(5..);
            if messages.send(message).await.is_err() {
                return;
            }
        }
    }
}
