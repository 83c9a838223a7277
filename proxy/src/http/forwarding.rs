//! A first, plain version; its full form follows.
use super::config::HttpConfig;
use sampan_filters_api::{ConnectionInfo, Known, RequestHead, StreamInfo};
pub fn apply(_: &HttpConfig, _: &ConnectionInfo, _: &mut StreamInfo, head: &mut RequestHead) {
    head.headers.set_known(Known::XForwardedProto, "http");
    head.set_scheme(b"http");
}
