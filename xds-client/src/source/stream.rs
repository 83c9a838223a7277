//! Drives a state machine over gRPC: connects, sends what is due, hands over what comes, and starts again.
//!
//! ```text
//!           +--> connect target 0, 1, ... --> stream open --> ended, with a response on it --> back-off from its base
//!           |        | all failed                    |                                             |
//!           |        v                               v without one: the next target                |
//!           +---- back-off, doubled <----------------+                                             |
//!           +--------------------------------------------------------------------------------------+
//! ```
//! Reading stops while the proxy has not taken the events that there are; what is due for the server goes out all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::Node;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::per_type::{PerType, Running};
use super::settings::StreamSettings;
use super::shared::{Ended, Shared, now};
use super::wire::Wire;
use crate::event::{Event, SourceId, TypeUrl};
use crate::kinds::Kind;
use crate::protocol::{Backoff, Due, Received, Response};
use crate::transport::{CallError, Channel, Limits, Responses};

/// All types on one stream, opened now.
pub(super) fn aggregated<M: Wire>(
    id: SourceId,
    settings: StreamSettings,
    path: &str,
    events: mpsc::Sender<Event>,
) -> Running<M> {
    let common = Arc::new(Common::new(id, settings, events));
    Driver::start(&common, path.to_owned(), None, &Handle::current())
}

/// Each type on a stream of its own; connections are shared.
pub(super) fn separate<M: Wire>(
    id: SourceId,
    settings: StreamSettings,
    events: mpsc::Sender<Event>,
) -> PerType<M> {
    let common = Arc::new(Common::new(id, settings, events));
    PerType::new(move |type_url, runtime| {
        if let Some(path) = Kind::of(type_url).and_then(|kind| kind.path(M::IS_DELTA)) {
            return Some(Driver::start(&common, path, Some(Arc::clone(type_url)), runtime));
        }
        let reason = "the type has no gRPC service of its own in this variant; get it over ads".to_owned();
        let (source, type_url) = (common.source.clone(), Arc::clone(type_url));
        let (events, event) = (common.events.clone(), Event::Failed { source, type_url, reason });
        runtime.spawn(async move { events.send(event).await });
        None
    })
}

/// What the streams of one source have in common.
struct Common {
    source: SourceId,
    node: Node,
    channels: Vec<Channel>,
    events: mpsc::Sender<Event>,
    settings: StreamSettings,
}

impl Common {
    fn new(source: SourceId, mut settings: StreamSettings, events: mpsc::Sender<Event>) -> Self {
        let limits = Limits { message_cap: settings.message_cap };
        let channels = settings.targets.drain(..).map(|target| Channel::new(target, limits)).collect();
        Self { source, node: std::mem::take(&mut settings.node), channels, events, settings }
    }

    fn backoff(&self) -> Backoff {
        let rng = self.settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Backoff::new(self.settings.backoff_base, self.settings.backoff_max, rng)
    }
}

/// The task of one stream.
struct Driver<M> {
    common: Arc<Common>,
    shared: Arc<Shared<M>>,
    path: String,
    /// The type of the stream's service, for responses that do not say.
    type_url: Option<TypeUrl>,
    /// The target whose versions the machine holds.
    server: Option<usize>,
}

/// Requests that may wait to be written. What waits goes out together: servers that count small frames would take the answers
/// to a burst of updates for a flood.
const QUEUED: usize = 16;

/// How a stream ended.
struct End {
    /// Whether a response came on it.
    was_answered: bool,
    reason: String,
}

impl<M: Wire> Driver<M> {
    fn start(common: &Arc<Common>, path: String, type_url: Option<TypeUrl>, runtime: &Handle) -> Running<M> {
        let settings = &common.settings;
        let shared = Shared::new(M::new(settings.rate_limit, settings.set_node_on_first_message_only));
        let driver =
            Self { common: Arc::clone(common), shared: Arc::clone(&shared), path, type_url, server: None };
        Running { shared, task: runtime.spawn(driver.run()) }
    }

    async fn run(mut self) {
        let (shared, common) = (Arc::clone(&self.shared), Arc::clone(&self.common));
        tokio::select! {
            Ended = Box::pin(self.keep_connected()) => {}
            Ended = shared.keep_time(&common.source, &common.events) => {}
        }
    }

    async fn keep_connected(&mut self) -> Ended {
        let mut backoff = self.common.backoff();
        loop {
            let mut failure = "no gRPC service is configured".to_owned();
            for target in 0..self.common.channels.len() {
                let end = match self.attempt(target).await {
                    Ok(end) => end,
                    Err(Ended) => return Ended,
                };
                self.shared.machine().close();
                self.shared.note(Some(&end.reason));
                failure = end.reason;
                if end.was_answered {
                    backoff.reset();
                    break;
                }
                tracing::debug!(source = %self.common.source, target, failure, "no stream to the control plane");
            }
            let next_try = backoff.delay();
            let source = self.common.source.clone();
            let event = Event::Disconnected { source, reason: failure, next_try };
            if self.common.events.send(event).await.is_err() {
                return Ended;
            }
            tokio::time::sleep(next_try).await;
        }
    }

    /// One stream to one target, from connecting to its end.
    async fn attempt(&mut self, target: usize) -> Result<End, Ended> {
        let Some(channel) = self.common.channels.get(target).cloned() else { return Err(Ended) };
        self.shared.status_mut().target = target;
        if let Err(error) = channel.ready().await {
            return Ok(End { was_answered: false, reason: error.reason });
        }
        self.shared.machine().open(self.server.is_none_or(|server| server == target));
        self.shared.note(None);
        self.shared.status_mut().connects += 1;
        let (requests, queue) = mpsc::channel(QUEUED);
        let queue = futures_util::stream::unfold(queue, async |mut queue: mpsc::Receiver<_>| {
            queue.recv().await.map(|request| (request, queue))
        });
        let path = self.path.clone();
        let opening = channel.streaming::<M::RequestMessage, M::ResponseMessage, _>(&path, queue);
        self.converse(target, requests, opening).await
    }

    /// Sends and receives until the stream ends.
    async fn converse(
        &mut self,
        target: usize,
        requests: mpsc::Sender<M::RequestMessage>,
        opening: impl Future<Output = Result<Responses<M::ResponseMessage>, CallError>>,
    ) -> Result<End, Ended> {
        let mut opening = std::pin::pin!(opening);
        let mut responses = None;
        let mut events = VecDeque::from([Event::Connected { source: self.common.source.clone() }]);
        let mut was_answered = false;
        let end = |was_answered, reason| Ok(End { was_answered, reason });
        loop {
            let is_opening = responses.is_none();
            let due = self.shared.machine().due(now());
            let wait = async {
                match due {
                    Due::At(at) => tokio::time::sleep_until(at.into()).await,
                    Due::Now | Due::No => std::future::pending().await,
                }
            };
            let next = async {
                match responses.as_mut() {
                    Some(stream) => Responses::message(stream).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                permit = requests.reserve(), if due == Due::Now => match permit {
                    Ok(permit) => {
                        let request = self.shared.machine().next_request(now());
                        if let Some(request) = request {
                            permit.send(M::encode(request, &self.common.node));
                        }
                    }
                    // The call is over; why, it says itself.
                    Err(_) if is_opening => {
                        let reason = opening.as_mut().await.err().map_or_else(closed, |error| error.reason);
                        return end(was_answered, reason);
                    }
                    Err(_) => {
                        let reason = last_words(responses).await;
                        return end(was_answered, reason);
                    }
                },
                permit = self.common.events.reserve(), if !events.is_empty() => match (permit, events.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => return Err(Ended),
                },
                () = self.shared.requests.notified() => {}
                () = wait => {}
                opened = &mut opening, if is_opening => match opened {
                    Ok(stream) => responses = Some(stream),
                    Err(error) => return end(was_answered, error.reason),
                },
                message = next, if events.is_empty() => match message {
                    Ok(Some(message)) => {
                        was_answered = true;
                        self.server = Some(target);
                        events.extend(self.take(message));
                    }
                    Ok(None) => return end(was_answered, closed()),
                    Err(error) => return end(was_answered, error.reason),
                },
            }
        }
    }

    /// Hands a response to the machine.
    fn take(&self, message: M::ResponseMessage) -> Option<Event> {
        let (mut response, control_plane): (Response, _) = M::decode(message);
        if let (true, Some(type_url)) = (response.type_url.is_empty(), &self.type_url) {
            response.type_url = type_url.to_string();
        }
        let control_plane: Option<Arc<str>> = control_plane.map(Into::into);
        self.shared.status_mut().identifier.clone_from(&control_plane);
        let type_url = response.type_url.clone();
        let received = self.shared.machine().receive(response, now());
        self.shared.wake();
        match received {
            Received::Deliver(delivery) => {
                Some(self.shared.update(&self.common.source, delivery, control_plane))
            }
            Received::Handled => None,
            Received::Unwanted => {
                tracing::warn!(source = %self.common.source, type_url, "a response for a type that was not asked for");
                None
            }
        }
    }
}

fn closed() -> String {
    "the server ended the stream".to_owned()
}

/// Why a call that takes no more requests has ended.
async fn last_words<R>(responses: Option<Responses<R>>) -> String {
    /// A server may stop reading and go on sending, but not for long.
    const PATIENCE: Duration = Duration::from_secs(1);
    let Some(mut responses) = responses else { return closed() };
    let end = async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return closed(),
                Err(error) => return error.reason,
            }
        }
    };
    tokio::time::timeout(PATIENCE, end)
        .await
        .unwrap_or_else(|_| "the server reads no more requests".to_owned())
}
