//! The end of a message on its way through the filters: the last piece of its body, what filters add behind it, trailers.
//!
//! ```text
//! filter:  last data -> tail (more data, new trailers) -> trailers   then the next filter, with all that this one left
//! ```
//! Called by the two directions of a stream ([`super::sides`]) where a filter declares [`Phases::TAIL`], for responses that a
//! filter has held ([`super::held_response`]), and for local replies.

use std::cell::RefCell;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use sampan_filters_api::http::Phases;
use sampan_filters_api::{Headers, LocalReply};

use super::body::Frame;
use super::chain::{self, Direction, Shared};

/// The end of a message.
#[derive(Debug, Default)]
pub struct Ending {
    /// The last piece of the body, or all of it.
    pub data: Bytes,
    /// The trailers; empty if there are none.
    pub trailers: Headers,
}

impl Ending {
    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_empty()
    }

    /// What goes down: bytes, and the frame that ends the message.
    pub fn into_frames(self) -> (Bytes, Frame) {
        if self.trailers.is_empty() {
            (Bytes::new(), Frame::Data(self.data, true))
        } else {
            (self.data, Frame::Trailers(self.trailers))
        }
    }
}

/// The last frame of a message passes all filters. Returns what goes before it.
pub async fn last_frame(
    shared: &RefCell<Shared<'_>>,
    direction: Direction,
    frame: &mut Frame,
) -> Result<Bytes, Box<LocalReply>> {
    let mut ending = match std::mem::replace(frame, Frame::End) {
        Frame::Data(data, _) => Ending { data, trailers: Headers::new() },
        Frame::Trailers(trailers) => Ending { data: Bytes::new(), trailers },
        Frame::End => Ending::default(),
    };
    let count = shared.borrow().filters();
    pass(shared, direction, 0..count, &mut ending).await?;
    let first;
    (first, *frame) = ending.into_frames();
    Ok(first)
}

/// The end of a message passes the filters at some places.
pub async fn pass(
    shared: &RefCell<Shared<'_>>,
    direction: Direction,
    places: Range<usize>,
    ending: &mut Ending,
) -> Result<(), Box<LocalReply>> {
    for place in places {
        let end = ending.trailers.is_empty();
        if end || !ending.data.is_empty() {
            chain::data(shared, direction, place..place + 1, &mut ending.data, end).await?;
        }
        if shared.borrow().wants(Phases::TAIL) {
            let more = chain::tail(shared, direction, place, &mut ending.trailers)?;
            ending.data = joined(std::mem::take(&mut ending.data), more);
        }
        if !end && !ending.trailers.is_empty() {
            chain::trailers(shared, direction, place, &mut ending.trailers).await?;
        }
    }
    Ok(())
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() || second.is_empty() {
        return if first.is_empty() { second } else { first };
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(&first);
    both.extend_from_slice(&second);
    both.freeze()
}
