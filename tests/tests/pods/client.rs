//! What applications do: requests and conversations from a pod to an address, told in a few words.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use bytes::Bytes;
use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::wire::{End, Message, Wire};

use crate::application::{GRPC, HTTP, MAIL, REDIS, SECRET};
use crate::network::Pod;
use crate::outbound::HOST;

/// A connection of an HTTP client.
pub fn wire(pod: &Pod, destination: SocketAddr) -> std::io::Result<Wire> {
    Ok(Wire::new(pod.connect(destination)?, PATIENCE))
}

/// One request on a connection.
pub fn post(wire: &mut Wire, host: &str, body: &str) -> Result<Message, End> {
    let request = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    wire.stream.write_all(request.as_bytes()).map_err(|_| End::Reset)?;
    let mut response = wire.head()?;
    wire.body(&mut response, true, false);
    match response.cut {
        None => Ok(response),
        Some(end) => Err(end),
    }
}

/// One request on a connection of its own, to an address by the name of the service.
pub fn request(pod: &Pod, ip: IpAddr, port: u16) -> Result<Message, End> {
    let mut wire = wire(pod, SocketAddr::new(ip, port)).map_err(|_| End::Reset)?;
    post(&mut wire, &format!("{HOST}:{port}"), SECRET)
}

/// Speaks HTTP/1.1: several requests on one connection. The last response.
pub fn http1(pod: &Pod, ip: IpAddr) -> Message {
    let mut wire = wire(pod, SocketAddr::new(ip, HTTP)).unwrap();
    let mut last = Message::default();
    for _ in 0..3 {
        last = post(&mut wire, &format!("{HOST}:{HTTP}"), &format!("{SECRET}-request")).unwrap();
        let body = String::from_utf8_lossy(&last.body).into_owned();
        assert_eq!((last.status(), body), (200, format!("{SECRET} {SECRET}-request")), "{last:?}");
    }
    last
}

/// Switches to WebSocket and has a masked frame echoed.
pub fn websocket(pod: &Pod, ip: IpAddr) {
    let mut wire = wire(pod, SocketAddr::new(ip, HTTP)).unwrap();
    let head = format!(
        "GET /chat HTTP/1.1\r\nhost: {HOST}:{HTTP}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    wire.stream.write_all(head.as_bytes()).unwrap();
    let response = wire.head().unwrap();
    assert_eq!(response.status(), 101, "{response:?}");
    for _ in 0..3 {
        // A text frame whose mask is zero, so that the text would be seen on the bridge.
        let mut frame = vec![0x81, 0x80 | u8::try_from(SECRET.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(SECRET.as_bytes());
        wire.stream.write_all(&frame).unwrap();
        let mut echo = Vec::new();
        wire.exactly(frame.len(), &mut echo).unwrap();
        assert_eq!(echo, frame);
    }
}

/// Speaks gRPC over HTTP/2: messages one by one, each answered before the next is sent. What the server says of the caller.
pub fn grpc(pod: &Pod, ip: IpAddr) -> String {
    let stream = pod.connect(SocketAddr::new(ip, GRPC)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conversation = async move {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut certificate = String::new();
        for _ in 0..2 {
            let request = http::Request::post(format!("http://{HOST}:{GRPC}/demo.Echo/Stream"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .unwrap();
            let (response, mut send) = requests.send_request(request, false).unwrap();
            let message = [&[0, 0, 0, 0, u8::try_from(SECRET.len()).unwrap()], SECRET.as_bytes()].concat();
            send.send_data(Bytes::from(message.clone()), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200, "{response:?}");
            let told =
                response.headers().get("x-certificate").map(|value| value.to_str().unwrap().to_owned());
            certificate = told.unwrap_or_default();
            let mut body = response.into_body();
            for round in 0..5 {
                let mut echo = Vec::new();
                while echo.len() < message.len() {
                    let data = body.data().await.expect("an echo").unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    echo.extend_from_slice(&data);
                }
                assert_eq!(echo, message);
                let last = round == 4;
                send.send_data(if last { Bytes::new() } else { message.clone().into() }, last).unwrap();
            }
            let trailers = body.trailers().await.unwrap().expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
        }
        certificate
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, conversation).await.expect("gRPC within its time") })
}

/// Speaks Redis.
pub fn redis(pod: &Pod, ip: IpAddr) {
    let mut talk = Talk::new(pod, SocketAddr::new(ip, REDIS));
    let set = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n{SECRET}\r\n", SECRET.len());
    assert_eq!(talk.say("*1\r\n$4\r\nPING\r\n"), "+PONG");
    assert_eq!(talk.say(&set), "+OK");
    assert_eq!(talk.say("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"), format!("${}", SECRET.len()));
    assert_eq!(talk.line(), SECRET);
}

/// Waits for the greeting, then speaks. What the server saw as its peer.
pub fn mail(pod: &Pod, ip: IpAddr) -> IpAddr {
    let mut talk = Talk::new(pod, SocketAddr::new(ip, MAIL));
    let greeting = talk.line();
    let peer = greeting.strip_prefix(&format!("220 {SECRET} to ")).unwrap_or_else(|| panic!("{greeting:?}"));
    assert_eq!(talk.say("HELO\r\n"), format!("250 {SECRET} HELO"));
    peer.parse().unwrap()
}

/// Lines back and forth.
struct Talk {
    out: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Talk {
    fn new(pod: &Pod, destination: SocketAddr) -> Self {
        let stream = pod.connect(destination).unwrap();
        Self { out: stream.try_clone().unwrap(), lines: BufReader::new(stream) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap_or_else(|error| panic!("{error}"));
        line.trim_end().to_owned()
    }

    fn say(&mut self, words: &str) -> String {
        self.out.write_all(words.as_bytes()).unwrap();
        self.line()
    }
}
