//! Polling, against a small HTTP server.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::*;
use crate::{RestSettings, RestTarget};

type Answer = (StatusCode, String);

struct Polled {
    path: String,
    body: serde_json::Value,
    answer: tokio::sync::oneshot::Sender<Answer>,
}

/// A server that asks the test what to answer.
async fn server() -> (Dial, mpsc::Receiver<Polled>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = Dial(listener.local_addr().unwrap());
    let (sender, polls) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    assert_eq!(request.method(), "POST");
                    assert_eq!(request.headers()["content-type"], "application/json");
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (answer, given) = tokio::sync::oneshot::channel();
                    let body = serde_json::from_slice(&body).unwrap();
                    sender.send(Polled { path, body, answer }).await.unwrap();
                    let Ok((status, body)) = given.await else { return std::future::pending().await };
                    let response =
                        Response::builder().status(status).body(Full::new(bytes::Bytes::from(body)));
                    Ok::<_, std::convert::Infallible>(response.unwrap())
                }
            });
            tokio::spawn(async move {
                let mut first = [0; 1];
                socket.peek(&mut first).await.unwrap();
                // HTTP/2 begins with "PRI", HTTP/1.1 here with "POST": the second letter tells, the first does not.
                let mut start = [0; 2];
                while socket.peek(&mut start).await.unwrap() < 2 {}
                let io = TokioIo::new(socket);
                if &start == b"PR" {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(io, service).await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    (dial, polls)
}

async fn poll(polls: &mut mpsc::Receiver<Polled>) -> Polled {
    tokio::time::timeout(PATIENCE, polls.recv()).await.expect("a poll").expect("the server lives")
}

fn source(dial: Dial, is_http2: bool) -> (Source, mpsc::Receiver<Event>) {
    let target = RestTarget { connector: Arc::new(dial), is_http2 };
    let mut settings = RestSettings::new(node(), vec![target], Duration::from_millis(20));
    settings.request_timeout = Duration::from_millis(500);
    settings.message_cap = 10_000;
    let (sender, events) = mpsc::channel(8);
    (Source::rest(SourceId::new("rest"), settings, sender), events)
}

async fn failure(events: &mut mpsc::Receiver<Event>) -> String {
    match next(events).await {
        Event::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn response(version: &str, name: &str) -> Answer {
    let body =
        format!(r#"{{"versionInfo": "{version}", "resources": [{{"@type": "{CDS}", "name": "{name}"}}]}}"#);
    (StatusCode::OK, body)
}

#[tokio::test]
async fn polls_name_the_version_in_force_and_go_on_after_every_failure() {
    for is_http2 in [false, true] {
        let (dial, mut polls) = server().await;
        let (source, mut events) = source(dial, is_http2);
        source.subscribe(&type_url(CDS), Names::Wildcard, None);
        let first = poll(&mut polls).await;
        assert_eq!(first.path, "/v3/discovery:clusters");
        assert_eq!(first.body["node"]["id"], node().id);
        assert_eq!(
            (&first.body["version_info"], &first.body["type_url"]),
            (&serde_json::Value::Null, &CDS.into())
        );
        first.answer.send(response("v1", "a")).unwrap();
        let one = update(&mut events).await;
        assert_eq!((&*one.version, names(&one.content)), ("v1", vec!["a"]));
        one.reply.accept();

        let unchanged = poll(&mut polls).await;
        assert_eq!(unchanged.body["version_info"], "v1");
        unchanged.answer.send((StatusCode::NOT_MODIFIED, String::new())).unwrap();

        poll(&mut polls).await.answer.send((StatusCode::SERVICE_UNAVAILABLE, String::new())).unwrap();
        assert!(failure(&mut events).await.contains("503"));
        let bad = r#"{"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": 5, "nme": 1}]}"#;
        poll(&mut polls).await.answer.send((StatusCode::OK, bad.into())).unwrap();
        let reason = failure(&mut events).await;
        assert!(reason.contains("resources[0]"), "{reason}");
        poll(&mut polls).await.answer.send((StatusCode::OK, "x".repeat(20_000))).unwrap();
        assert!(failure(&mut events).await.contains("longer than 10000"));
        drop(poll(&mut polls).await.answer);
        assert!(failure(&mut events).await.contains("request_timeout"));
        assert!(!source.status().is_connected());

        poll(&mut polls).await.answer.send(response("v2", "b")).unwrap();
        update(&mut events).await.reply.reject("no".into(), Vec::new());
        assert_eq!(poll(&mut polls).await.body["version_info"], "v1", "a refused version is not named");
    }
}

#[tokio::test]
async fn names_are_asked_for_at_once_and_the_next_server_is_tried() {
    let (dial, mut polls) = server().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target =
        |dial| RestTarget { connector: Arc::new(dial) as Arc<dyn crate::Connector>, is_http2: false };
    let settings =
        RestSettings::new(node(), vec![target(Dial(nobody)), target(dial)], Duration::from_mins(10));
    let (sender, mut events) = mpsc::channel(8);
    let source = Source::rest(SourceId::new("rest"), settings, sender);
    source.subscribe(&type_url(EDS), these(&["a"]), None);
    let first = poll(&mut polls).await;
    assert_eq!(
        (first.path.as_str(), &first.body["resource_names"]),
        ("/v3/discovery:endpoints", &vec!["a"].into())
    );
    first.answer.send((StatusCode::NOT_MODIFIED, String::new())).unwrap();
    source.subscribe(&type_url(EDS), these(&["b"]), None);
    assert_eq!(poll(&mut polls).await.body["resource_names"], serde_json::Value::from(vec!["a", "b"]));
    source.subscribe(&type_url("type.googleapis.com/example.Thing"), Names::Wildcard, None);
    assert!(failure(&mut events).await.contains("REST"));
}
