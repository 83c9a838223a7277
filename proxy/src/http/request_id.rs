//! `x-request-id`: made where there is none, or where the client's is not to be believed.
//!
//! Called by [`super::stream`] after [`super::forwarding`], which tells internal from external requests.
//!
//! Ids are random UUIDs (version 4). With `pack_trace_reason` the version digit tells why a request is traced: [`super::trace`] sets
//! it. What a client from outside says there is not believed.

use fastrand::Rng;
use sampan_filters_api::info::StreamId;
use sampan_filters_api::{Known, RequestHead, StreamInfo};
use sampan_model::trace::Reason;
use smallvec::SmallVec;

use super::config::HttpConfig;

/// Sets the request's id. The stream's facts get a copy where something reads them.
pub fn apply(config: &HttpConfig, rng: &mut Rng, info: &mut StreamInfo, head: &mut RequestHead) {
    let rules = &config.request_id;
    if rules.generate {
        let edge = config.forwarding.use_remote_address && !head.headers.has(Known::XEnvoyInternal);
        let given = head.headers.known(Known::XRequestId).is_some_and(|id| !id.is_empty());
        if !given || (edge && !rules.preserve_external) {
            let id = uuid::Builder::from_random_bytes(random(rng)).into_uuid();
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            head.headers.set_known(Known::XRequestId, id.hyphenated().encode_lower(&mut text).as_bytes());
        } else if edge && rules.pack_trace_reason {
            forget_reason(head);
        }
    }
    if config.needs_facts {
        let id = head.headers.known(Known::XRequestId).filter(|id| !id.is_empty());
        info.stream_id = id.map(StreamId::from_slice);
    }
}

/// The id stays, but nobody has decided about the request yet.
fn forget_reason(head: &mut RequestHead) {
    let Some(id) = head.headers.known(Known::XRequestId) else { return };
    let mut plain: SmallVec<[u8; 40]> = SmallVec::from_slice(id);
    if Reason::NotTraceable.pack(&mut plain) && &*plain != id {
        head.headers.set_known(Known::XRequestId, &plain);
    }
}

fn random(rng: &mut Rng) -> [u8; 16] {
    rng.u128(..).to_ne_bytes()
}
