//! One gRPC stream: reads requests, sends what is due, does what the test orders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use prost::Message as _;
use sampan_api::envoy::config::core::v3::ControlPlane as Identity;
use sampan_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as Wrapped,
};
use sampan_api::google::protobuf::{Any, Duration as ProtoDuration};
use tokio::sync::mpsc::UnboundedReceiver;

use super::conversation::{Happened, Seen, Transport};
use super::grpc::{self, Messages};
use super::server::{Manner, Shared};
use super::subscription::{Due, Subscription};
use super::types::{self, Method};

/// What a test orders of a stream.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Something may have changed: send what is due.
    Look,
    /// Send a response with exactly this, due or not, under a nonce of its own.
    Listed(String, Arc<Due>),
    /// Send these bytes as a message.
    Bytes(Bytes),
    /// End the stream with a gRPC status.
    End(u8),
    /// Reset it.
    Reset,
}

/// Why a stream is over.
struct Over;

struct Stream {
    shared: Arc<Shared>,
    number: usize,
    method: Method,
    subscriptions: BTreeMap<String, Subscription>,
    sending: SendStream<Bytes>,
}

/// Serves one call until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let path = request.uri().path().to_owned();
    let Some(method) = types::method(&path) else {
        respond.send_response(grpc::refusal(12, "no such method"), true).ok();
        return;
    };
    let Ok(sending) = respond.send_response(grpc::head(), false) else { return };
    let (number, orders) = shared.open(method, path);
    let stream =
        Stream { shared: Arc::clone(&shared), number, method, subscriptions: BTreeMap::new(), sending };
    let _open = Open(shared, number);
    stream.run(Messages::new(request.into_body()), orders).await;
}

/// Notes the end of a stream, also when its task is aborted.
struct Open(Arc<Shared>, usize);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl Stream {
    async fn run(mut self, mut messages: Messages, mut orders: UnboundedReceiver<Order>) {
        loop {
            let outcome = tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.read(message).await,
                    None => Err(Over),
                },
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => Err(Over),
                },
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    async fn read(&mut self, message: Bytes) -> Result<(), Over> {
        let seen = if self.method.delta {
            DeltaDiscoveryRequest::decode(message).map(|request| Seen::delta(self.number, request))
        } else {
            DiscoveryRequest::decode(message).map(|request| Seen::sotw(self.number, Transport::Sotw, request))
        };
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.shared.lock().record.add(Happened::Garbled(self.number, error.to_string()));
                return Err(Over);
            }
        };
        // A stream for one type may leave the type out.
        let type_url = match self.method.only {
            Some(only) if seen.type_url.is_empty() => only.to_owned(),
            _ => seen.type_url.clone(),
        };
        self.subscriptions.entry(type_url.clone()).or_default().ask(&seen);
        self.shared.lock().record.add(Happened::Asked(Seen { type_url: type_url.clone(), ..seen }));
        self.answer(&type_url).await
    }

    async fn obey(&mut self, order: Order) -> Result<(), Over> {
        match order {
            Order::Look => {
                for type_url in types::all() {
                    self.answer(type_url).await?;
                }
                Ok(())
            }
            Order::Listed(type_url, due) => {
                let Some(subscription) = self.subscriptions.get_mut(&type_url) else { return Ok(()) };
                let message = {
                    let mut state = self.shared.lock();
                    let nonce = state.next_nonce();
                    subscription.sent(nonce.clone());
                    state.record.add(answered(self.number, &type_url, &nonce, &due));
                    encode(self.method.delta, &type_url, nonce, &due)
                };
                self.send(&message)
            }
            Order::Bytes(bytes) => self.send(&bytes),
            Order::End(status) => {
                self.sending.send_trailers(grpc::trailers(status, "ended by the test")).ok();
                Err(Over)
            }
            Order::Reset => {
                self.sending.send_reset(Reason::INTERNAL_ERROR);
                Err(Over)
            }
        }
    }

    /// Sends what is due of a type, if anything is.
    async fn answer(&mut self, type_url: &str) -> Result<(), Over> {
        let manner = self.shared.lock().manner;
        match manner {
            Manner::Prompt => {}
            Manner::Slow(pause) => tokio::time::sleep(pause).await,
            Manner::Silent => return Ok(()),
        }
        let Some(subscription) = self.subscriptions.get_mut(type_url) else { return Ok(()) };
        let message = {
            let mut state = self.shared.lock();
            let Some(table) = state.tables.get(type_url) else { return Ok(()) };
            let Some(due) = subscription.due(table, self.method.delta) else { return Ok(()) };
            let nonce = state.next_nonce();
            subscription.sent(nonce.clone());
            state.record.add(answered(self.number, type_url, &nonce, &due));
            encode(self.method.delta, type_url, nonce, &due)
        };
        self.send(&message)
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Over> {
        grpc::send(&mut self.sending, message).map_err(|_| Over)
    }
}

fn answered(stream: usize, type_url: &str, nonce: &str, due: &Due) -> Happened {
    Happened::Answered {
        at: Instant::now(),
        stream,
        type_url: type_url.to_owned(),
        version: due.version.clone(),
        nonce: nonce.to_owned(),
        names: due.resources.iter().map(|(resource, _)| resource.name.clone()).collect(),
        removed: due.removed.clone(),
    }
}

/// The response as bytes.
fn encode(delta: bool, type_url: &str, nonce: String, due: &Due) -> Vec<u8> {
    let type_url = type_url.to_owned();
    let control_plane = Some(Identity { identifier: "sampan-tests".to_owned() });
    let wrapped = due.resources.iter().map(|(resource, version)| Wrapped {
        name: resource.name.clone(),
        version: if delta { version.clone() } else { String::new() },
        resource: Some(resource.body.clone()),
        ttl: resource
            .ttl
            .map(|ttl| ProtoDuration { seconds: ttl.as_secs() as i64, nanos: ttl.subsec_nanos() as i32 }),
        ..Wrapped::default()
    });
    if delta {
        let response = DeltaDiscoveryResponse {
            system_version_info: due.version.clone(),
            resources: wrapped.collect(),
            type_url,
            removed_resources: due.removed.clone(),
            nonce,
            control_plane,
            ..DeltaDiscoveryResponse::default()
        };
        return response.encode_to_vec();
    }
    let bare = |wrapped: Wrapped| match wrapped.ttl {
        Some(_) => Any {
            type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
            value: wrapped.encode_to_vec(),
        },
        None => wrapped.resource.unwrap_or_default(),
    };
    let response = DiscoveryResponse {
        version_info: due.version.clone(),
        resources: wrapped.map(bare).collect(),
        type_url,
        nonce,
        control_plane,
        ..DiscoveryResponse::default()
    };
    response.encode_to_vec()
}
