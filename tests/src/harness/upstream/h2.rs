//! A scripted HTTP/2 upstream on the `h2` crate: answers with headers, data, trailers, informational responses, resets, GOAWAY.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Play, Received, Recorder};
use crate::harness::client::h2::{field_lines, header_map};
use crate::harness::wire::{End, Message};

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Informational statuses sent first.
    pub informational: Vec<u16>,
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Data; when it and `trailers` are absent, the headers end the stream.
    pub body: &'static [u8],
    /// Trailer fields, if there are to be any.
    pub trailers: Vec<(&'static str, &'static str)>,
    /// Answer when the head has come, without waiting for the body.
    pub at_head: bool,
    /// What becomes of the stream or the connection.
    pub end: Ending,
}

/// How an [`Answer`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// END_STREAM.
    Clean,
    /// RST_STREAM instead of any answer.
    ResetInstead(Reason),
    /// RST_STREAM after the body.
    ResetAfter(Reason),
    /// GOAWAY, then the answer.
    GoAwayFirst,
    /// The connection is dropped instead of any answer.
    Drop,
    /// No answer.
    Hang,
    /// Echo the request's data until it ends (tunnels).
    Echo,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            informational: Vec::new(),
            status: 200,
            headers: Vec::new(),
            body: b"",
            trailers: Vec::new(),
            at_head: false,
            end: Ending::Clean,
        }
    }
}

/// A scripted upstream on a loopback port.
pub struct H2Upstream {
    /// The port it listens on.
    pub port: u16,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    name: &'static str,
    script: Mutex<VecDeque<Answer>>,
    connections: AtomicUsize,
    recorder: Recorder,
}

enum Order {
    GoAway,
    Drop,
}

impl H2Upstream {
    /// Starts an upstream that records to `recorder` under `name`.
    pub fn start(name: &'static str, recorder: Recorder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a loopback port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let shared =
            Arc::new(Shared { name, script: Mutex::default(), connections: AtomicUsize::new(0), recorder });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = serving.connections.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::spawn(connection_loop(Arc::clone(&serving), stream, connection));
            }
        });
        Self { port, shared, runtime: Some(runtime) }
    }

    /// Replaces the script.
    pub fn script(&self, plays: impl IntoIterator<Item = Play>) {
        let answers = plays.into_iter().filter_map(|play| match play {
            Play::H2(answer) => Some(answer),
            _ => None,
        });
        *self.shared.lock() = answers.collect();
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn next(&self) -> Answer {
        let polite = Answer { body: self.name.as_bytes(), ..Answer::default() };
        self.lock().pop_front().unwrap_or(polite)
    }
}

async fn connection_loop(shared: Arc<Shared>, stream: TcpStream, connection: usize) {
    stream.set_nodelay(true).ok();
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut h2) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (orders, mut ordered) = unbounded_channel();
    loop {
        tokio::select! {
            request = h2.accept() => {
                let Some(Ok((request, respond))) = request else { return };
                tokio::spawn(serve(Arc::clone(&shared), request, respond, orders.clone(), connection));
            }
            order = ordered.recv() => match order {
                Some(Order::GoAway) => h2.graceful_shutdown(),
                Some(Order::Drop) | None => return,
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    orders: UnboundedSender<Order>,
    connection: usize,
) {
    let answer = shared.next();
    let (head, mut body) = request.into_parts();
    let message = describe(&head);
    let recorder = &shared.recorder;
    let entry = recorder.add(Received { upstream: shared.name, connection, message, ..Received::default() });
    if answer.end == Ending::Echo {
        echo(&mut body, respond, &answer, |bytes| recorder.update(entry, |r| r.raw.extend(bytes))).await;
        recorder.update(entry, |r| r.finished = true);
        return;
    }
    if !answer.at_head {
        let (bytes, trailers, cut) = read_all(&mut body).await;
        recorder.update(entry, |r| {
            r.message.body = bytes;
            r.message.trailers = trailers;
            r.message.cut = cut;
        });
    }
    play(&mut respond, &answer, &orders).await;
    recorder.update(entry, |r| r.finished = true);
}

fn describe(head: &http::request::Parts) -> Message {
    let protocol =
        head.extensions.get::<h2::ext::Protocol>().map(|p| (":protocol".to_owned(), p.as_str().to_owned()));
    let scheme = head.uri.scheme_str().map(|s| (":scheme".to_owned(), s.to_owned()));
    let authority = head.uri.authority().map(|a| (":authority".to_owned(), a.to_string()));
    let path = head.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
    let mut headers: Vec<_> = [protocol, scheme, authority].into_iter().flatten().collect();
    headers.extend(field_lines(&head.headers));
    Message { line: format!("{} {path} HTTP/2", head.method), headers, framing: "h2", ..Message::default() }
}

/// Reads a whole body: its bytes, its trailers and how it was cut, if it was.
async fn read_all(body: &mut RecvStream) -> (Vec<u8>, Vec<(String, String)>, Option<End>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let Ok(chunk) = chunk else { return (bytes, Vec::new(), Some(End::Reset)) };
        body.flow_control().release_capacity(chunk.len()).ok();
        bytes.extend_from_slice(&chunk);
    }
    match body.trailers().await {
        Ok(trailers) => (bytes, trailers.map(|map| field_lines(&map)).unwrap_or_default(), None),
        Err(_) => (bytes, Vec::new(), Some(End::Reset)),
    }
}

async fn play(respond: &mut SendResponse<Bytes>, answer: &Answer, orders: &UnboundedSender<Order>) {
    match answer.end {
        Ending::ResetInstead(reason) => return respond.send_reset(reason),
        Ending::Drop => {
            orders.send(Order::Drop).ok();
            // Giving up the stream here would reset it before the connection is gone.
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok();
            return;
        }
        Ending::Hang => {
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok();
            return;
        }
        Ending::GoAwayFirst => {
            orders.send(Order::GoAway).ok();
        }
        Ending::Clean | Ending::ResetAfter(_) | Ending::Echo => {}
    }
    for &status in &answer.informational {
        let mut head = Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(status).expect("a script has valid statuses");
        respond.send_informational(head).ok();
    }
    let headers_only = answer.body.is_empty() && answer.trailers.is_empty() && answer.end == Ending::Clean;
    let Ok(mut stream) = respond.send_response(response_head(answer), headers_only) else { return };
    if headers_only {
        return;
    }
    let has_trailers = !answer.trailers.is_empty();
    let ends = answer.end == Ending::Clean || answer.end == Ending::GoAwayFirst;
    stream.send_data(Bytes::from_static(answer.body), ends && !has_trailers).ok();
    if has_trailers {
        stream.send_trailers(header_map(answer.trailers.iter().copied())).ok();
    }
    if let Ending::ResetAfter(reason) = answer.end {
        // h2 drops frames still queued when a stream is reset: let the connection's task write them first.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        stream.send_reset(reason);
    }
}

fn response_head(answer: &Answer) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(answer.status).expect("a script has valid statuses");
    *head.headers_mut() = header_map(answer.headers.iter().copied());
    head
}

async fn echo(
    body: &mut RecvStream,
    mut respond: SendResponse<Bytes>,
    answer: &Answer,
    mut record: impl FnMut(Vec<u8>),
) {
    let Ok(mut stream) = respond.send_response(response_head(answer), false) else { return };
    while let Some(Ok(chunk)) = body.data().await {
        body.flow_control().release_capacity(chunk.len()).ok();
        record(chunk.to_vec());
        if stream.send_data(chunk, false).is_err() {
            return;
        }
    }
    stream.send_data(Bytes::new(), true).ok();
}
