//! The REST face of a control plane: `POST /v3/discovery:<type>` with JSON both ways, 304 when there is nothing new.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sampan_api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use sampan_api::{Descriptors, Document, Format, Message, UnknownFields};

use super::conversation::{Happened, Seen, Transport};
use super::server::{ControlPlane, Manner, Shared};
use super::subscription::Subscription;
use super::types;
use crate::harness::wire::Wire;

/// Serves the tables of a [`ControlPlane`] by REST until it is dropped.
pub struct RestPlane {
    /// The TCP port.
    pub port: u16,
    stopped: Arc<AtomicBool>,
}

impl RestPlane {
    /// Starts one.
    pub fn start(plane: &ControlPlane) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let rest = Self { port, stopped: Arc::default() };
        let (shared, stopped) = (Arc::clone(&plane.shared), Arc::clone(&rest.stopped));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, stopped) = (Arc::clone(&shared), Arc::clone(&stopped));
                std::thread::spawn(move || converse(&shared, socket, &stopped));
            }
        });
        rest
    }
}

impl Drop for RestPlane {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn converse(shared: &Shared, socket: TcpStream, stopped: &AtomicBool) {
    let mut wire = Wire::new(socket, Duration::from_mins(1));
    let number = shared.lock().next_stream();
    while let Ok(mut request) = wire.head() {
        wire.body(&mut request, false, false);
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let answer = match shared.lock().manner {
            Manner::Silent => continue,
            Manner::Slow(pause) => Some(pause),
            Manner::Prompt => None,
        };
        if let Some(pause) = answer {
            std::thread::sleep(pause);
        }
        let path = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = match respond(shared, number, &path, &request.body) {
            Ok(Some(body)) => {
                let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
                format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")
            }
            Ok(None) => "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
            Err(why) => {
                shared.lock().record.add(Happened::Garbled(number, why));
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        if wire.stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of a response; none when the proxy has what there is.
fn respond(shared: &Shared, number: usize, path: &str, body: &[u8]) -> Result<Option<String>, String> {
    let type_url = types::of_rest_path(path).ok_or_else(|| format!("no such path: {path}"))?;
    let text = String::from_utf8_lossy(body);
    let document = Document::parse(&text, Format::Json).map_err(|error| error.to_string())?;
    let request =
        sampan_api::decode::<DiscoveryRequest>(Descriptors::load(), &document, UnknownFields::Reject)
            .map_err(|errors| format!("{errors:?}"))?
            .value;
    let mut seen = Seen::sotw(number, Transport::Rest, request);
    type_url.clone_into(&mut seen.type_url);
    let mut state = shared.lock();
    state.record.add(Happened::Asked(seen.clone()));
    let Some(table) = state.tables.get(type_url) else { return Ok(None) };
    if table.version() == seen.version {
        return Ok(None);
    }
    let mut subscription = Subscription::default();
    subscription.ask(&seen);
    let Some(due) = subscription.due(table, false) else { return Ok(None) };
    let names = due.resources.iter().map(|(resource, _)| resource.name.clone()).collect();
    let response = DiscoveryResponse {
        version_info: due.version.clone(),
        type_url: type_url.to_owned(),
        resources: due.resources.into_iter().map(|(resource, _)| resource.body).collect(),
        ..DiscoveryResponse::default()
    };
    state.record.add(Happened::Answered {
        at: Instant::now(),
        stream: number,
        type_url: type_url.to_owned(),
        version: due.version,
        nonce: String::new(),
        names,
        removed: Vec::new(),
    });
    let message = Message::from_prost(&response).map_err(|error| error.to_string())?.message;
    Ok(Some(sampan_api::message_to_json(&message, false).to_string()))
}
