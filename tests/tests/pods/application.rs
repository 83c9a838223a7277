//! Applications that know nothing of a mesh: HTTP/1.1 with WebSocket, HTTP/2 with gRPC, Redis, a protocol in which the server
//! speaks first, and bulk data. Each runs on a fixed port of its pod, on both families.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use bytes::Bytes;
use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::wire::Wire;
use socket2::{Domain, Socket, Type};

use crate::network::{APPLICATION, Pod};

/// Ports of the applications.
pub const HTTP: u16 = 8080;
pub const GRPC: u16 = 8081;
pub const REDIS: u16 = 6379;
pub const MAIL: u16 = 2525;
pub const BULK: u16 = 9000;

/// Every payload of an application holds this.
pub const SECRET: &str = "for-the-application-only";

/// A block of bulk data; the first eight bytes are its number.
pub const BLOCK: usize = 1 << 18;

/// The applications of a pod; they listen as long as the process lives, or their namespace.
pub fn start(pod: &Pod) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for ip in ["0.0.0.0", "::"] {
        let ip: IpAddr = ip.parse().unwrap();
        serve(listen(pod, ip, HTTP), http);
        serve(listen(pod, ip, REDIS), redis);
        serve(listen(pod, ip, MAIL), mail);
        serve(listen(pod, ip, BULK), bulk);
        let grpc = listen(pod, ip, GRPC);
        grpc.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(grpc).unwrap();
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(http2(stream, peer));
            }
        });
    }
    // It is in use until the process ends.
    std::mem::forget(runtime);
}

/// A listener in a pod, of an application's own.
pub fn listen(pod: &Pod, ip: IpAddr, port: u16) -> TcpListener {
    let address = SocketAddr::new(ip, port);
    pod.namespace.inside_as(APPLICATION, || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(256).unwrap();
        socket.into()
    })
}

/// Serves each connection on a thread of its own.
pub fn serve(listener: TcpListener, talk: impl Fn(TcpStream) -> Option<()> + Copy + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || talk(stream));
        }
    });
}

/// Answers with what it knows of the caller, and with the request's body. Upgrades become an echo.
pub fn http(stream: TcpStream) -> Option<()> {
    let (peer, local) = (stream.peer_addr().ok()?.ip(), stream.local_addr().ok()?.ip());
    let mut wire = Wire::new(stream, PATIENCE * 4);
    loop {
        let mut request = wire.head().ok()?;
        wire.body(&mut request, false, false);
        let certificate = request.header("x-forwarded-client-cert").unwrap_or("none").to_owned();
        if request.header("upgrade").is_some() {
            write!(
                wire.stream,
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
            )
            .ok()?;
            loop {
                let mut byte = Vec::new();
                wire.exactly(1, &mut byte).ok()?;
                wire.stream.write_all(&byte).ok()?;
            }
        }
        let body = format!("{SECRET} {}", String::from_utf8_lossy(&request.body));
        write!(
            wire.stream,
            "HTTP/1.1 200 OK\r\nx-peer: {peer}\r\nx-local: {local}\r\nx-certificate: {certificate}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
    }
}

/// Gives the data of each request back as it comes, and a gRPC status at the end.
async fn http2(stream: tokio::net::TcpStream, peer: SocketAddr) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let certificate = request.headers().get("x-forwarded-client-cert").cloned();
            let mut response =
                http::Response::builder().status(200).header("content-type", "application/grpc");
            response = response.header("x-peer", peer.ip().to_string()).header("x-greeting", SECRET);
            if let Some(certificate) = certificate {
                response = response.header("x-certificate", certificate);
            }
            let mut out = respond.send_response(response.body(()).unwrap(), false).ok()?;
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                let data: Bytes = data.ok()?;
                body.flow_control().release_capacity(data.len()).ok()?;
                out.send_data(data, false).ok()?;
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            out.send_trailers(trailers).ok()
        });
    }
    Some(())
}

/// As much of Redis as there is to `PING`, `SET` and `GET` one key.
fn redis(stream: TcpStream) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    let mut value = None;
    loop {
        let count: usize = lines.next()?.ok()?.strip_prefix('*')?.parse().ok()?;
        let mut words = Vec::new();
        for _ in 0..count {
            lines.next()?.ok()?;
            words.push(lines.next()?.ok()?);
        }
        let answer = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["PING"] => "+PONG\r\n".to_owned(),
            ["SET", _, new] => {
                value = Some((*new).to_owned());
                "+OK\r\n".to_owned()
            }
            ["GET", _] => value
                .as_ref()
                .map_or("$-1\r\n".to_owned(), |value| format!("${}\r\n{value}\r\n", value.len())),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        out.write_all(answer.as_bytes()).ok()?;
    }
}

/// Greets before it is spoken to.
fn mail(stream: TcpStream) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    write!(out, "220 {SECRET} to {}\r\n", stream.peer_addr().ok()?.ip()).ok()?;
    for line in BufReader::new(stream).lines() {
        write!(out, "250 {SECRET} {}\r\n", line.ok()?).ok()?;
    }
    Some(())
}

/// Takes blocks until the end and tells how many came, or which was not what it should be; then gives as many back.
fn bulk(mut stream: TcpStream) -> Option<()> {
    let mut expected = block();
    let mut read = vec![0; BLOCK];
    let mut count = 0_u64;
    while stream.read_exact(&mut read).is_ok() {
        expected[..8].copy_from_slice(&count.to_be_bytes());
        if read != expected {
            return writeln!(stream, "block {count} differs").ok();
        }
        count += 1;
    }
    writeln!(stream, "{count}").ok()?;
    for number in 0..count {
        expected[..8].copy_from_slice(&number.to_be_bytes());
        stream.write_all(&expected).ok()?;
    }
    stream.shutdown(std::net::Shutdown::Write).ok()
}

/// Bytes without a pattern.
pub fn block() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}
