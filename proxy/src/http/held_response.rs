//! A response that a filter holds until its whole body has come ([`Flow::Hold`](sampan_filters_api::http::Flow)).
//!
//! ```text
//! head -> filter says Hold -> the body is read through the filters before it -> the filter is asked -> next filter ...
//! ```
//! What has been read then passes the filters behind, in one piece. Called by [`super::sides`] for the upstream's responses and by
//! [`super::reply`] for our own; a chain in which nobody holds costs one comparison.

use std::cell::RefCell;
use std::future::poll_fn;

use bytes::BytesMut;
use sampan_filters_api::http::Hold;
use sampan_filters_api::{Headers, LocalReply, Protocol};

use super::attempt::Attempt;
use super::body::{BodyReader, Frame};
use super::chain::{self, Direction, Interrupt, Shared};
use super::connection::HttpContext;
use super::relay::End;
use super::tail::{self, Ending};
use super::upstream;
use crate::telemetry::stats::kinds::HttpCounter;

/// Reads the rest of a response for the filter that holds it, and goes on to the end of the chain.
pub(super) async fn held(
    attempt: &Attempt<'_, '_, '_, '_>,
    body: &mut BodyReader<'_>,
    protocol: Protocol,
    (place, hold): (usize, Hold),
) -> Result<Ending, End> {
    let relay = attempt.relay;
    let mut read = BytesMut::new();
    let trailers = loop {
        let frame = poll_fn(|cx| body.poll_next(cx)).await;
        // The head came, so the answer is begun, for retries and for the client.
        let frame = frame.map_err(|error| upstream::failure(error, protocol, true).after_head())?;
        relay.progress.touch();
        attempt.tried.hear();
        match frame {
            Frame::Data(mut data, false) => {
                let before = 0..place;
                let passed = chain::data(relay.shared, Direction::Response, before, &mut data, false).await;
                passed.map_err(End::Reply)?;
                read.extend_from_slice(&data);
            }
            Frame::Data(data, true) => {
                break pass_before(relay.shared, place, Ending { data, trailers: Headers::new() }, &mut read)
                    .await;
            }
            Frame::Trailers(trailers) => {
                let ending = Ending { trailers, ..Ending::default() };
                break pass_before(relay.shared, place, ending, &mut read).await;
            }
            Frame::End => break pass_before(relay.shared, place, Ending::default(), &mut read).await,
        }
        if read.len() > hold.most {
            return Err(End::Reply(Box::new(too_large(relay.context))));
        }
    };
    let ending = Ending { data: read.freeze(), trailers: trailers.map_err(End::Reply)? };
    Ok(go_on(relay.context, relay.shared, (place, hold), ending).await?)
}

/// The end of the message passes the filters before the one that holds it.
async fn pass_before(
    shared: &RefCell<Shared<'_>>,
    place: usize,
    mut ending: Ending,
    read: &mut BytesMut,
) -> Result<Headers, Box<LocalReply>> {
    tail::pass(shared, Direction::Response, 0..place, &mut ending).await?;
    read.extend_from_slice(&ending.data);
    Ok(ending.trailers)
}

/// Goes on with a whole message, from the filter that holds it to the end of the chain.
pub async fn go_on(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    (mut place, mut hold): (usize, Hold),
    mut ending: Ending,
) -> Result<Ending, Interrupt> {
    let count = shared.borrow().filters();
    loop {
        if ending.data.len() > hold.most {
            return Err(Box::new(too_large(context)).into());
        }
        chain::response_held(shared, place, &mut ending.data, &mut ending.trailers).await?;
        let from = place + 1;
        let next = chain::response_head(context, shared, from, ending.is_empty()).await?;
        let upto = next.map_or(count, |(place, _)| place);
        tail::pass(shared, Direction::Response, from..upto, &mut ending).await?;
        match next {
            Some(next) => (place, hold) = next,
            None => return Ok(ending),
        }
    }
}

fn too_large(context: &HttpContext) -> LocalReply {
    context.stats.http.inc(HttpCounter::RsTooLarge);
    LocalReply::new(500, "response_payload_too_large").body("Internal Server Error")
}
