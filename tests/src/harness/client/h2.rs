//! A well-behaved HTTP/2 client on the `h2` crate: requests one after the other on one connection.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;

use super::Reply;
use crate::harness::PATIENCE;
use crate::harness::wire::Message;

/// One HTTP/2 request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Scheme, authority and path together; a CONNECT has the authority alone.
    pub uri: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Data frames.
    pub data: Vec<Vec<u8>>,
    /// Trailer fields, if there are to be any.
    pub trailers: Vec<(&'static str, &'static str)>,
    /// The `:protocol` of an extended CONNECT.
    pub protocol: Option<&'static str>,
    /// Tunnel: after the response's head, send the data one by one, reading the echo of each.
    pub tunnel: bool,
}

impl Call {
    /// A request for `http://test<path>`.
    pub fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            uri: format!("http://test{path}"),
            headers: Vec::new(),
            data: Vec::new(),
            trailers: Vec::new(),
            protocol: None,
            tunnel: false,
        }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A unary gRPC request with one message.
    pub fn grpc(path: &str) -> Self {
        let call =
            Self::new("POST", path).header("content-type", "application/grpc").header("te", "trailers");
        call.data(b"\0\0\0\0\x02hi")
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a data frame.
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.data.push(bytes.to_vec());
        self
    }

    /// Ends the request with a trailer field.
    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    /// Makes it an extended CONNECT and a tunnel.
    pub fn websocket(path: &str) -> Self {
        Self { protocol: Some("websocket"), tunnel: true, ..Self::new("CONNECT", path) }
    }
}

/// Makes the calls on one connection to `port`. Gives our port and a reply for each call.
pub fn converse(port: u16, calls: &[Call]) -> (u16, Vec<Reply>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the proxy accepts connections");
        stream.set_nodelay(true).ok();
        let local = stream.local_addr().map_or(0, |address| address.port());
        let mut replies = Vec::new();
        let Ok((mut requests, connection)) = h2::client::handshake(stream).await else {
            return (local, replies);
        };
        let driver = tokio::spawn(connection);
        for call in calls {
            let reply = tokio::time::timeout(PATIENCE, exchange(&mut requests, call)).await;
            replies.push(reply.unwrap_or_else(|_| ended("silence")));
        }
        drop(requests);
        tokio::time::timeout(PATIENCE, driver).await.ok();
        (local, replies)
    })
}

fn ended(how: impl Into<String>) -> Reply {
    Reply { end: Some(how.into()), ..Reply::default() }
}

async fn exchange(requests: &mut SendRequest<Bytes>, call: &Call) -> Reply {
    let ready = std::future::poll_fn(|cx| requests.poll_ready(cx)).await;
    if let Err(error) = ready {
        return ended(end_of(&error));
    }
    if call.protocol.is_some() {
        // The peer's SETTINGS must have come before an extended CONNECT may be sent.
        while !requests.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    }
    let bodiless = call.data.is_empty() && call.trailers.is_empty() && !call.tunnel;
    let (mut response, mut stream) = match requests.send_request(request(call), bodiless) {
        Ok(sent) => sent,
        Err(error) => return ended(end_of(&error)),
    };
    if !bodiless && !call.tunnel {
        send_body(&mut stream, call);
    }
    let mut informational = Vec::new();
    while let Some(Ok(head)) = std::future::poll_fn(|cx| response.poll_informational(cx)).await {
        informational.push(head.status().as_u16());
    }
    let mut reply = receive(response, stream, call).await;
    reply.informational = informational;
    reply
}

fn request(call: &Call) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = call.method.parse().expect("a case has a valid method");
    *request.uri_mut() = call.uri.parse().expect("a case has a valid URI");
    *request.headers_mut() = header_map(call.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    if let Some(protocol) = call.protocol {
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    }
    request
}

fn send_body(stream: &mut SendStream<Bytes>, call: &Call) {
    let has_trailers = !call.trailers.is_empty();
    let last = call.data.len().saturating_sub(1);
    for (index, data) in call.data.iter().enumerate() {
        stream.send_data(Bytes::from(data.clone()), index == last && !has_trailers).ok();
    }
    if has_trailers {
        stream.send_trailers(header_map(call.trailers.iter().copied())).ok();
    }
}

async fn receive(response: ResponseFuture, mut stream: SendStream<Bytes>, call: &Call) -> Reply {
    let (head, mut body) = match response.await {
        Ok(response) => response.into_parts(),
        Err(error) => return ended(end_of(&error)),
    };
    let headers = field_lines(&head.headers);
    let line = format!("HTTP/2 {}", head.status.as_u16());
    let mut reply =
        Reply { message: Message { line, headers, framing: "h2", ..Message::default() }, ..Reply::default() };
    if call.tunnel && head.status == 200 {
        reply.raw = Some(tunnel(&mut stream, &mut body, call).await);
        return reply;
    }
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => {
                body.flow_control().release_capacity(chunk.len()).ok();
                reply.message.body.extend_from_slice(&chunk);
            }
            Err(error) => {
                reply.end = Some(end_of(&error));
                return reply;
            }
        }
    }
    match body.trailers().await {
        Ok(trailers) => reply.message.trailers = trailers.map(|map| field_lines(&map)).unwrap_or_default(),
        Err(error) => reply.end = Some(end_of(&error)),
    }
    reply
}

/// Sends the data one by one, reading the echo of each, then cancels the stream: not every upstream can be told of a half-close.
async fn tunnel(stream: &mut SendStream<Bytes>, body: &mut RecvStream, call: &Call) -> Vec<u8> {
    let mut echoed = Vec::new();
    let mut sent = 0;
    for data in &call.data {
        stream.send_data(Bytes::from(data.clone()), false).ok();
        sent += data.len();
        while echoed.len() < sent {
            let Some(Ok(chunk)) = body.data().await else { return echoed };
            body.flow_control().release_capacity(chunk.len()).ok();
            echoed.extend_from_slice(&chunk);
        }
    }
    stream.send_reset(h2::Reason::CANCEL);
    echoed
}

fn end_of(error: &h2::Error) -> String {
    let kind = if error.is_go_away() { "goaway" } else { "reset" };
    match error.reason() {
        Some(reason) => format!("{kind} {reason:?}"),
        None => "eof".to_owned(),
    }
}

/// Header fields as text pairs, in order.
pub fn field_lines(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| crate::harness::wire::printable(value.as_bytes());
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// A header map of text pairs.
pub fn header_map<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a case has valid names");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a case has valid values"));
    }
    map
}
