//! The server's side of gRPC: one method of many requests and many answers, on a listener.
//!
//! Beside `channel.rs` the only file that names tonic. Called by [`crate::server`], the small control plane.

use std::convert::Infallible;
use std::future::{Ready, ready};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::server::{Grpc, StreamingService};
use tonic_prost::ProstCodec;

use super::CallError;

/// Connections at a time; more wait in the backlog.
const MOST_CONNECTIONS: usize = 64;
/// Calls at a time on one connection.
const MOST_CALLS: u32 = 16;
/// The largest request that is taken, in bytes: a NACK quotes what is wrong, and a reconnect lists what is known.
const LARGEST_REQUEST: usize = 16 << 20;

/// A method of many requests and many answers.
pub(crate) trait Method: Clone + Send + Sync + 'static {
    /// The message that comes.
    type Request: Message + Default + Send + 'static;
    /// The message that goes.
    type Response: Message + Default + Send + 'static;
    /// `/package.Service/Method`
    const PATH: &'static str;

    /// Begins a call: takes its requests, gives its answers. The call ends when the answers do.
    fn call(&self, requests: Requests<Self::Request>) -> mpsc::Receiver<Self::Response>;
}

/// The requests of a call.
pub(crate) struct Requests<Q>(tonic::Streaming<Q>);

impl<Q> Requests<Q> {
    /// The next request; `None` when the client sends no more.
    ///
    /// # Errors
    /// The connection broke, or what came is no such message.
    pub(crate) async fn message(&mut self) -> Result<Option<Q>, CallError> {
        self.0.message().await.map_err(|status| CallError::of(&status))
    }
}

/// Serves the method for as long as it is polled. Dropping the future closes all connections.
pub(crate) async fn serve<M: Method>(listener: TcpListener, method: M) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, method.clone()))),
                // Out of descriptors, most likely: those that are open may end meanwhile.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<M: Method>(stream: TcpStream, method: M) {
    // Only a matter of latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let method = method.clone();
        async move { Ok::<_, Infallible>(answer(method, request).await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_CALLS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP/2 connection of a gRPC client ended");
    }
}

async fn answer<M: Method>(method: M, request: Request<Incoming>) -> Response<tonic::body::Body> {
    if request.uri().path() != M::PATH {
        return tonic::Status::unimplemented(format!("only {} is served here", M::PATH)).into_http();
    }
    let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(LARGEST_REQUEST);
    grpc.streaming(Streamed(method), request).await
}

/// A method in the form in which tonic wants to have it.
struct Streamed<M>(M);

impl<M: Method> StreamingService<M::Request> for Streamed<M> {
    type Response = M::Response;
    type ResponseStream = BoxStream<'static, Result<M::Response, tonic::Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<M::Request>>) -> Self::Future {
        let answers = self.0.call(Requests(request.into_inner()));
        let answers = futures_util::stream::unfold(answers, async |mut answers| {
            answers.recv().await.map(|answer| (Ok(answer), answers))
        });
        ready(Ok(tonic::Response::new(answers.boxed())))
    }
}
