//! A first, plain version; its full form follows.
use super::config::HttpConfig;
use sampan_filters_api::{Known, RequestHead, StreamInfo};
pub fn apply(_: &HttpConfig, rng: &mut fastrand::Rng, _: &mut StreamInfo, head: &mut RequestHead) {
    let id = uuid::Builder::from_random_bytes(rng.u128(..).to_le_bytes()).into_uuid();
    let mut buf = [0; 36];
    head.headers.set_known(Known::XRequestId, id.hyphenated().encode_lower(&mut buf));
}
