//! Active health checks by gRPC, of a server that speaks `grpc.health.v1.Health` over HTTP/2.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use prost::Message as _;
use sampan_tests::harness::invoke::programs;

use super::backend::{Proxy, locality};

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// A server with a status for each service; one that it does not know is `NOT_FOUND`.
struct Server {
    port: u16,
    services: Arc<Mutex<HashMap<String, i32>>>,
    /// What was asked last: path, authority, user agent, and a field of the metadata.
    asked: Arc<Mutex<String>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(services: &[(&str, i32)]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let services: HashMap<String, i32> =
            services.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect();
        let (services, asked) = (Arc::new(Mutex::new(services)), Arc::<Mutex<String>>::default());
        let shared = (services.clone(), asked.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (services, asked) = shared.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(answer(request, respond, services.clone(), asked.clone()));
                    }
                });
            }
        });
        Self { port, services, asked, _runtime: runtime }
    }

    fn set(&self, service: &str, status: i32) {
        self.services.lock().unwrap().insert(service.to_owned(), status);
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    services: Arc<Mutex<HashMap<String, i32>>>,
    asked: Arc<Mutex<String>>,
) {
    let (head, mut body) = request.into_parts();
    let mut received = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        received.extend_from_slice(&data);
    }
    let field =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let authority = head.uri.authority().map_or("-", |authority| authority.as_str());
    *asked.lock().unwrap() =
        format!("{} {authority} {} {}", head.uri.path(), field("content-type"), field("x-meta"));
    let service =
        received.get(5..).and_then(|message| Request::decode(message).ok()).unwrap_or_default().service;
    let status = services.lock().unwrap().get(&service).copied();
    let head = Response::builder().status(200).header("content-type", "application/grpc");
    let mut trailers = HeaderMap::new();
    let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else { return };
    if let Some(status) = status {
        let message = Answer { status }.encode_to_vec();
        let mut framed = vec![0, 0, 0, 0, message.len() as u8];
        framed.extend(message);
        let _ = stream.send_data(framed.into(), false);
        trailers.insert("grpc-status", "0".parse().unwrap());
    } else {
        trailers.insert("grpc-status", "5".parse().unwrap());
    }
    let _ = stream.send_trailers(trailers);
}

#[test]
fn services_tell_whether_they_serve() {
    let play = |program| {
        let server = Server::start(&[("", SERVING), ("app", SERVING)]);
        let cluster = |fields: &str| {
            format!(
                "typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": \
                 type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
                 {{http2_protocol_options: {{}}}}}}}}\n  health_checks: [{{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, \
                 unhealthy_threshold: 1, healthy_threshold: 1, grpc_health_check: {{{fields}}}}}]"
            )
        };
        let hosts = locality(0, &[server.port]);
        let named = "service_name: app, authority: health.test, initial_metadata: [{header: {key: x-meta, value: m}}]";
        let proxy = Proxy::start(program, &cluster(named), &hosts);
        proxy.await_flags(server.port, "healthy");
        let mut facts = vec![server.asked.lock().unwrap().clone()];
        server.set("app", NOT_SERVING);
        proxy.await_flags(server.port, "/failed_active_hc");
        server.set("app", SERVING);
        proxy.await_flags(server.port, "healthy");
        drop(proxy);
        let proxy = Proxy::start(program, &cluster(""), &hosts);
        proxy.await_flags(server.port, "healthy");
        facts.push(server.asked.lock().unwrap().clone());
        drop(proxy);
        // It does not know this one.
        let proxy = Proxy::start(program, &cluster("service_name: other"), &hosts);
        proxy.await_flags(server.port, "/failed_active_hc");
        let failures =
            |name: &str| proxy.process.stat(&format!("cluster.c.health_check.{name}")).unwrap_or(0) > 0;
        facts.push(format!("failures {} {}", failures("failure"), failures("network_failure")));
        facts
    };
    let shown: Vec<Vec<String>> = programs().into_iter().map(play).collect();
    assert_eq!(shown[0][0], "/grpc.health.v1.Health/Check health.test application/grpc m");
    if let [envoy, sampan] = shown.as_slice() {
        assert_eq!(envoy, sampan);
    }
}
