//! Side calls: what a filter asks of a service in a cluster while a stream waits, or in between streams.
//!
//! The data plane makes them over the pools of the worker that the filter runs on, with the cluster's circuit breakers, health, TLS
//! and counters, as it makes requests of clients. A filter takes what it needs at the beginning of its stream
//! ([`Start::calls`](crate::http::Start)): [`Calls::call`] gives a future, which [`Flow::Await`](crate::http::Flow::Await) waits
//! for. Dropping the future gives the call up, so a call ends with the stream that waits for it.
//!
//! ```text
//! on_request_head: let call = self.calls.call(Call::new(cluster, head));
//!                  Flow::Await(Box::pin(async move { let answer = call.await; Box::new(move |stream| …) }))
//! ```

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;

/// What an answer may be long where a filter has no reason to say otherwise.
pub const MOST_OF_AN_ANSWER: usize = 1024 * 1024;

/// A request to a cluster.
#[derive(Clone, Debug)]
pub struct Call {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// Method, authority, path and fields. `x-envoy-expected-rq-timeout-ms` is added, where there is a timeout.
    pub head: RequestHead,
    /// The body.
    pub body: Bytes,
    /// How long the whole call may take; for as long as the stream lives, where there is none or it is zero.
    pub timeout: Option<Duration>,
    /// The longest body of an answer, in bytes.
    pub longest: usize,
    /// Further attempts, all within the timeout; none where there is nothing here.
    pub retry: Option<Arc<Retry>>,
    /// Whether `x-envoy-internal` is added.
    pub internal: bool,
    /// Whether the own address is added to `x-forwarded-for`.
    pub forwarded_for: bool,
}

impl Call {
    /// A call without a body, for as long as it may take.
    pub fn new(cluster: Arc<str>, head: RequestHead) -> Self {
        Self {
            cluster,
            head,
            body: Bytes::new(),
            timeout: None,
            longest: MOST_OF_AN_ANSWER,
            retry: None,
            internal: true,
            forwarded_for: true,
        }
    }
}

/// `config.core.v3.RetryPolicy`: when a call is made again, to a host that is chosen anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// `retry_on`: conditions, with commas.
    pub on: Box<str>,
    /// `num_retries`
    pub retries: u32,
    /// `retry_back_off.base_interval`: the longest wait before the second attempt, doubled for each that follows.
    pub base_interval: Duration,
    /// `retry_back_off.max_interval`: the longest wait at all and, as in Envoy, the time that one attempt has.
    pub max_interval: Duration,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status and fields.
    pub head: ResponseHead,
    /// The whole body.
    pub body: Bytes,
    /// Trailers; empty if there were none.
    pub trailers: Headers,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no cluster of this name.
    #[error("there is no cluster {0:?}")]
    UnknownCluster(Arc<str>),
    /// The cluster has no host to choose.
    #[error("no host to choose")]
    NoHost,
    /// A circuit breaker of the cluster is open.
    #[error("a circuit breaker is open")]
    Overflow,
    /// The time is over.
    #[error("timeout")]
    Timeout,
    /// The body of the answer is longer than the call allows.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The request has a field or path that cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Unsendable(&'static str),
    /// The connection could not be opened, or broke.
    #[error("{0}")]
    Failed(Cow<'static, str>),
}

/// A call under way; dropping it gives it up.
pub type CallFuture = Pin<Box<dyn Future<Output = Result<Answer, CallError>>>>;

/// The hosts of a cluster, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// All of them.
    pub total: u64,
    /// Those that are healthy or degraded.
    pub available: u64,
}

/// Makes calls, on the worker that it belongs to.
pub trait Calls {
    /// Begins a call. Nothing happens before the future is polled.
    fn call(&self, call: Call) -> CallFuture;

    /// The same, to be kept for as long as it takes.
    fn share(&self) -> Rc<dyn Calls>;

    /// Counts a response that a filter gives in a cluster's place, among those of the cluster.
    fn charge(&self, cluster: &str, status: u16);

    /// Counts the hosts of a cluster; `None` if there is no cluster of this name. Looks at each host: for what is rare.
    fn membership(&self, cluster: &str) -> Option<Membership>;

    /// Runs something on the worker, beside all streams: a refresh that no single stream waits for. It ends with the worker.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()>>>);
}

/// Where there are no clusters: every call fails, and nothing runs. For tests, and where a filter is only looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCalls;

impl Calls for NoCalls {
    fn call(&self, call: Call) -> CallFuture {
        Box::pin(std::future::ready(Err(CallError::UnknownCluster(call.cluster))))
    }

    fn share(&self) -> Rc<dyn Calls> {
        Rc::new(Self)
    }

    fn charge(&self, _cluster: &str, _status: u16) {}

    fn membership(&self, _cluster: &str) -> Option<Membership> {
        None
    }

    fn spawn(&self, _task: Pin<Box<dyn Future<Output = ()>>>) {}
}
