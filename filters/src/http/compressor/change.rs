//! What compressing a message changes of it: the bytes, and the fields that speak of them.

use bytes::Bytes;
use sampan_filters_api::http::Flow;
use sampan_filters_api::{Counters, Headers, LocalReply};

use super::{COMPRESSED_BYTES, UNCOMPRESSED_BYTES};
use crate::compression::Encoder;
use crate::http::transform;

/// Compresses a piece; with `end` there is no more of the body.
pub(super) fn coded(
    encoder: &mut Option<Box<dyn Encoder>>,
    counters: &Counters,
    data: &mut Bytes,
    end: bool,
) -> Flow {
    let Some(working) = encoder else { return Flow::Continue };
    let mut out = Vec::with_capacity(data.len() / 2 + 64);
    counters.add(UNCOMPRESSED_BYTES, data.len() as u64);
    if working.encode(data, end, &mut out).is_err() {
        return Flow::Reply(Box::new(LocalReply::new(500, "compression_failed")));
    }
    counters.add(COMPRESSED_BYTES, out.len() as u64);
    *data = out.into();
    if end {
        *encoder = None;
    }
    Flow::Continue
}

/// The end of the format, where trailers follow the body.
pub(super) fn tail(encoder: &mut Option<Box<dyn Encoder>>, counters: &Counters) -> Bytes {
    let mut out = Vec::new();
    if let Some(mut encoder) = encoder.take()
        && encoder.encode(&[], true, &mut out).is_ok()
    {
        counters.add(COMPRESSED_BYTES, out.len() as u64);
    }
    out.into()
}

/// What is compressed is no longer the same byte by byte: a strong validator goes, or is made a weak one.
pub(super) fn soften_etag(headers: &mut Headers, weaken: bool) {
    let Some(value) = headers.value("etag") else { return };
    if value.len() >= 2 && value[..2].eq_ignore_ascii_case(b"W/") {
        return;
    }
    if weaken {
        let weak = [b"W/", value].concat();
        headers.set("etag", weak);
    } else {
        headers.remove("etag");
    }
}

pub(super) fn vary(headers: &mut Headers) {
    const ACCEPT_ENCODING: &[u8] = b"Accept-Encoding";
    let value = match transform::joined(headers, b"vary") {
        None => ACCEPT_ENCODING.to_vec(),
        Some(known) if known.split(|byte| *byte == b',').any(|one| one.trim_ascii() == ACCEPT_ENCODING) => {
            return;
        }
        Some(known) => [&known, &b", "[..], ACCEPT_ENCODING].concat(),
    };
    headers.set("vary", value);
}

/// `x-envoy-compression-status`
pub(super) fn tell(headers: &mut Headers, coding: &str, what: &str) {
    headers.append("x-envoy-compression-status", format!("{coding};{what}"));
}
