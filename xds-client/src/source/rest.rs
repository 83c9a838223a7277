//! Polls a REST control plane: one task for each type.
//!
//! A poll asks for all names of the type with the version accepted last, and the answer is a state-of-the-world response or 304. The next
//! one follows after `refresh_delay` and up to as much again, by chance; at once when names were added. Several targets are tried in
//! order within one poll.

use std::sync::Arc;

use bytes::Bytes;
use sampan_api::Message;
use sampan_api::envoy::service::discovery::v3::DiscoveryRequest;
use tokio::sync::mpsc;

use super::per_type::{PerType, Running};
use super::settings::RestSettings;
use super::shared::{Ended, Shared, now};
use super::text::{self, Language};
use super::wire::Wire;
use crate::event::{Event, SourceId, TypeUrl};
use crate::kinds::Kind;
use crate::protocol::{Machine, Received, Sotw};
use crate::transport::rest::post;

/// A source that is polled.
pub(super) fn source(id: SourceId, settings: RestSettings, events: mpsc::Sender<Event>) -> PerType<Sotw> {
    let settings = Arc::new(settings);
    PerType::new(move |type_url, runtime| {
        let (source, events, type_url) = (id.clone(), events.clone(), Arc::clone(type_url));
        let Some(path) = Kind::of(&type_url).and_then(Kind::rest_path) else {
            let reason = "the type has no REST service".to_owned();
            runtime.spawn(async move { events.send(Event::Failed { source, type_url, reason }).await });
            return None;
        };
        let shared = Shared::new(Sotw::new(None, false));
        let poller = Poller {
            source,
            type_url,
            path,
            settings: Arc::clone(&settings),
            shared: Arc::clone(&shared),
            events,
        };
        Some(Running { shared, task: runtime.spawn(poller.run()) })
    })
}

struct Poller {
    source: SourceId,
    type_url: TypeUrl,
    path: String,
    settings: Arc<RestSettings>,
    shared: Arc<Shared<Sotw>>,
    events: mpsc::Sender<Event>,
}

impl Poller {
    async fn run(self) {
        let (shared, source, events) = (Arc::clone(&self.shared), self.source.clone(), self.events.clone());
        tokio::select! {
            Ended = self.poll() => {}
            Ended = shared.keep_time(&source, &events) => {}
        }
    }

    async fn poll(&self) -> Ended {
        let mut rng = self.settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut asked = None;
        loop {
            let request = self.shared.machine().poll(&self.type_url);
            if let Some(mut request) = request {
                // A server that has this version would say that nothing has changed, and not send what is asked for anew.
                if asked.as_ref() != Some(&request.names) {
                    request.version = Arc::default();
                }
                asked = Some(request.names.clone());
                let answer = Box::pin(self.ask(Sotw::encode(request, &self.settings.node))).await;
                self.shared.note(answer.as_ref().err());
                if let Some(event) = self.event(answer)
                    && self.events.send(event).await.is_err()
                {
                    return Ended;
                }
            }
            let delay = self.settings.refresh_delay.mul_f64(1.0 + rng.f64());
            let next = tokio::time::Instant::now() + delay;
            while !self.shared.machine().is_poll_due(&self.type_url) {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = self.shared.requests.notified() => {}
                }
            }
        }
    }

    /// Asks the targets in turn; `None`: nothing has changed.
    async fn ask(&self, request: DiscoveryRequest) -> Result<Option<Bytes>, String> {
        let tree = Message::from_prost(&request).map_err(|error| error.to_string())?.message;
        let body = sampan_api::message_to_json(&tree, false).to_string();
        let RestSettings { request_timeout, message_cap, ref targets, .. } = *self.settings;
        let mut reason = "no server is configured".to_owned();
        for (place, target) in targets.iter().enumerate() {
            self.shared.status_mut().target = place;
            match post(target, &self.path, body.clone(), request_timeout, message_cap).await {
                Ok(answer) => return Ok(answer),
                Err(error) => reason = format!("{}: {error}", target.connector.authority()),
            }
        }
        Err(reason)
    }

    fn event(&self, answer: Result<Option<Bytes>, String>) -> Option<Event> {
        let response = match answer {
            Ok(None) => return None,
            Ok(Some(body)) => text::read(&body, Language::Json),
            Err(reason) => Err(reason),
        };
        match response {
            Ok(message) => {
                let (mut response, control_plane) = Sotw::decode(message);
                if response.type_url.is_empty() {
                    response.type_url = self.type_url.to_string();
                }
                let control_plane: Option<Arc<str>> = control_plane.map(Into::into);
                self.shared.status_mut().identifier.clone_from(&control_plane);
                let type_url = response.type_url.clone();
                let received = self.shared.machine().receive(response, now());
                self.shared.wake();
                match received {
                    Received::Deliver(delivery) => {
                        Some(self.shared.update(&self.source, delivery, control_plane))
                    }
                    Received::Handled => None,
                    Received::Unwanted => Some(self.failed(format!("the response is for {type_url}"))),
                }
            }
            Err(reason) => Some(self.failed(reason)),
        }
    }

    fn failed(&self, reason: String) -> Event {
        Event::Failed { source: self.source.clone(), type_url: Arc::clone(&self.type_url), reason }
    }
}
