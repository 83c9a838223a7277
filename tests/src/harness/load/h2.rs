//! One HTTP/2 client of a load: a connection with several workers, each of which has one stream open at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::upstream::GREETING;
use super::{LIMIT, Shared, stagger};

/// The connection that new streams go to, and how many there have been.
#[derive(Default)]
struct Current {
    sender: Option<SendRequest<Bytes>>,
    generation: usize,
}

type Connection = Arc<Mutex<Current>>;

pub(super) async fn client(
    shared: Arc<Shared>,
    port: u16,
    pace: Duration,
    streams: usize,
    number: usize,
    paths: &'static [&'static str],
) {
    let connection = Connection::default();
    let mut workers = JoinSet::new();
    for worker in 0..streams {
        let (shared, connection) = (Arc::clone(&shared), Arc::clone(&connection));
        let number = number * streams + worker;
        workers.spawn(async move {
            sleep(stagger(pace, number)).await;
            let mut ticks = interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut count = 0_usize;
            while !shared.stopped() {
                ticks.tick().await;
                let path = format!("/{}/h2-{number}-{count}", paths[(number + count) % paths.len()]);
                count += 1;
                exchange(&shared, &connection, port, &path).await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

/// One request. On a connection that takes no new streams it is sent again on a new one, as the protocol foresees.
async fn exchange(shared: &Arc<Shared>, connection: &Connection, port: u16, path: &str) {
    let (phase, began) = (shared.current(), Instant::now());
    for _ in 0..3 {
        let (sender, generation) = match ready(shared, connection, port).await {
            Ok(ready) => ready,
            Err(why) => return shared.lost(format!("HTTP/2 {path}: {why}")),
        };
        match timeout(LIMIT, request(sender, path)).await {
            Ok(Ok(())) => return shared.answered(phase, began.elapsed()),
            Ok(Err(Failure::NotProcessed)) => retire(connection, generation).await,
            Ok(Err(Failure::Other(why))) => {
                retire(connection, generation).await;
                return shared.lost(format!("HTTP/2 {path}: {why}"));
            }
            Err(_) => {
                retire(connection, generation).await;
                return shared.lost(format!("HTTP/2 {path}: no answer within {LIMIT:?}"));
            }
        }
    }
    shared.lost(format!("HTTP/2 {path}: three connections in a row took no stream"));
}

/// How a request went wrong.
enum Failure {
    /// The peer did not process it: it said so with GOAWAY, or refused the stream.
    NotProcessed,
    Other(String),
}

async fn request(mut sender: SendRequest<Bytes>, path: &str) -> Result<(), Failure> {
    let failure = |error: h2::Error| {
        let gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        if gone || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Failure::NotProcessed
        } else {
            Failure::Other(error.to_string())
        }
    };
    let request = Request::get(format!("http://load{path}")).body(()).expect("a path that is a URI");
    let (response, _) = sender.send_request(request, true).map_err(|_| Failure::NotProcessed)?;
    let response = response.await.map_err(failure)?;
    let status = response.status();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data =
            data.map_err(|error| Failure::Other(format!("cut after {} bytes: {error}", bytes.len())))?;
        body.flow_control().release_capacity(data.len()).ok();
        bytes.extend_from_slice(&data);
    }
    if status != 200 || bytes != format!("{GREETING}{path}").as_bytes() {
        return Err(Failure::Other(format!(
            "the wrong answer: {status} {}",
            String::from_utf8_lossy(&bytes)
        )));
    }
    Ok(())
}

/// A sender that takes streams, connecting if there is none.
async fn ready(
    shared: &Arc<Shared>,
    connection: &Connection,
    port: u16,
) -> Result<(SendRequest<Bytes>, usize), String> {
    let mut current = connection.lock().await;
    if let Some(sender) = current.sender.clone()
        && let Ok(sender) = sender.ready().await
    {
        return Ok((sender, current.generation));
    }
    let socket = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| format!("cannot connect: {e}"))?;
    socket.set_nodelay(true).ok();
    let (sender, driver) = h2::client::handshake(socket).await.map_err(|e| format!("no handshake: {e}"))?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        driver.await.ok();
        // The proxy ended it: nobody here does while the load runs.
        shared.note(|figures| figures.drained += 1);
    });
    let sender = sender.ready().await.map_err(|e| format!("not ready: {e}"))?;
    current.sender = Some(sender.clone());
    current.generation += 1;
    Ok((sender, current.generation))
}

/// Forgets a connection, unless another worker has replaced it already.
async fn retire(connection: &Connection, generation: usize) {
    let mut current = connection.lock().await;
    if current.generation == generation {
        current.sender = None;
    }
}
