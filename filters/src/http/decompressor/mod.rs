//! `envoy.filters.http.decompressor`: decompresses the bodies of requests and responses that are coded as its library has it.
//!
//! Trailers tell how many bytes there were before and after. Data that is malformed, or that would grow beyond the ratio that the
//! library allows, ends the stream: a request is answered with 400, a response is cut. (Envoy passes on what it has, as if that
//! were all.)

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, Headers, Known, LocalReply, RuntimeSwitch};

use crate::compression::{CodingError, Decoder, Decoding};
use crate::http::transform;

/// The factory.
#[derive(Debug)]
pub struct Decompressor {
    /// `decompressor_library`
    pub decoding: Decoding,
    /// `request_direction_config`
    pub request: Direction,
    /// `response_direction_config`
    pub response: Direction,
    /// `advertise_accept_encoding`
    pub advertises: bool,
    /// The names of the trailers that tell compressed and decompressed bytes.
    pub trailers: [Arc<str>; 2],
    /// See [`library_counters`].
    pub library: Arc<Counters>,
}

/// What is decompressed in one direction.
#[derive(Clone, Debug)]
pub struct Direction {
    /// `enabled`
    pub enabled: RuntimeSwitch,
    /// `ignore_no_transform_header`
    pub ignores_no_transform: bool,
    /// [`DIRECTION`]
    pub counters: Arc<Counters>,
}

/// The counters of a direction.
pub const DIRECTION: &[&str] =
    &["decompressed", "not_decompressed", "total_uncompressed_bytes", "total_compressed_bytes"];
const DECOMPRESSED: usize = 0;
const NOT_DECOMPRESSED: usize = 1;
const UNCOMPRESSED_BYTES: usize = 2;
const COMPRESSED_BYTES: usize = 3;

/// The names of the counters of a library's errors: malformed data, dictionary, checksum, memory, where it tells them apart.
pub fn library_counters(decoding: &Decoding) -> &'static [&'static str] {
    match decoding {
        Decoding::Gzip(_) => &["zlib_data_error", "zlib_mem_error"],
        Decoding::Brotli => &["brotli_error"],
        Decoding::Zstd(_) => {
            &["zstd_generic_error", "zstd_memory_error", "zstd_dictionary_error", "zstd_checksum_wrong_error"]
        }
    }
}

/// A body under way.
struct Work {
    decoder: Box<dyn Decoder>,
    /// Bytes so far, compressed and not.
    bytes: [u64; 2],
}

/// One stream.
struct Instance {
    decoding: Decoding,
    request: Direction,
    response: Direction,
    /// Whether requests are decompressed.
    requests: bool,
    /// Whether responses are.
    responses: bool,
    advertises: bool,
    trailers: [Arc<str>; 2],
    library: Arc<Counters>,
    up: Option<Work>,
    down: Option<Work>,
}

impl HttpFilterFactory for Decompressor {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
            .and(Phases::REQUEST_DATA)
            .and(Phases::RESPONSE_HEAD)
            .and(Phases::RESPONSE_DATA)
            .and(Phases::TAIL)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Instance {
            decoding: self.decoding.clone(),
            requests: self.request.enabled.is_on(start.runtime),
            responses: self.response.enabled.is_on(start.runtime),
            request: self.request.clone(),
            response: self.response.clone(),
            advertises: self.advertises,
            trailers: self.trailers.clone(),
            library: Arc::clone(&self.library),
            up: None,
            down: None,
        }))
    }
}

impl Instance {
    /// Begins to decompress a message with these fields, if it is coded so.
    fn begin(&self, direction: &Direction, enabled: bool, headers: &mut Headers) -> Option<Work> {
        let fits = enabled
            && (direction.ignores_no_transform || !transform::forbids_transform(headers))
            && outermost(headers)
                .is_some_and(|(coding, _)| coding.eq_ignore_ascii_case(self.decoding.name().as_bytes()));
        if !fits {
            direction.counters.inc(NOT_DECOMPRESSED);
            return None;
        }
        direction.counters.inc(DECOMPRESSED);
        headers.remove_known(Known::ContentLength);
        match outermost(headers) {
            Some((_, Some(rest))) => headers.set("content-encoding", rest),
            _ => {
                headers.remove("content-encoding");
            }
        }
        Some(Work { decoder: self.decoding.decoder(), bytes: [0, 0] })
    }

    /// Decompresses a piece.
    fn decode(&self, work: &mut Work, counters: &Counters, data: &mut Bytes) -> Result<(), CodingError> {
        let mut out = Vec::with_capacity(data.len() * 3);
        let decoded = work.decoder.decode(data, self.decoding.most(data.len()), &mut out);
        if let Err(error) = decoded {
            self.library.inc(self.place(error));
            return Err(error);
        }
        counters.add(COMPRESSED_BYTES, data.len() as u64);
        counters.add(UNCOMPRESSED_BYTES, out.len() as u64);
        work.bytes[0] += data.len() as u64;
        work.bytes[1] += out.len() as u64;
        *data = out.into();
        Ok(())
    }

    /// The counter of an error.
    fn place(&self, error: CodingError) -> usize {
        match (&self.decoding, error) {
            (Decoding::Zstd(_) | Decoding::Gzip(_), CodingError::Memory) => 1,
            (Decoding::Zstd(_), CodingError::Dictionary) => 2,
            (Decoding::Zstd(_), CodingError::Checksum) => 3,
            _ => 0,
        }
    }

    /// Tells the bytes of a body that has ended.
    fn tell(&self, work: &Work, trailers: &mut Headers) {
        for (name, bytes) in self.trailers.iter().zip(work.bytes) {
            trailers.append(&**name, bytes.to_string());
        }
    }
}

/// The first coding of `content-encoding`, and what is left without it.
fn outermost(headers: &Headers) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let all = transform::joined(headers, b"content-encoding")?;
    let mut parts = all.splitn(2, |byte| *byte == b',');
    let first = parts.next().unwrap_or_default().trim_ascii().to_vec();
    let rest = parts.next().map(|rest| rest.trim_ascii().to_vec());
    Some((first, rest))
}

/// Adds a coding to those that are accepted, once and without a quality.
fn accepting(headers: &mut Headers, coding: &str) {
    let known = transform::joined(headers, b"accept-encoding").unwrap_or_default();
    let mut all: Vec<&[u8]> = known
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|one| {
            let name = one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            !name.is_empty() && !name.eq_ignore_ascii_case(coding.as_bytes())
        })
        .collect();
    all.push(coding.as_bytes());
    let all = all.join(&b","[..]);
    headers.set("accept-encoding", all);
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let headers = &mut stream.request.headers;
        if self.responses && self.advertises {
            accepting(headers, self.decoding.name());
        }
        if !end {
            self.up = self.begin(&self.request, self.requests, headers);
        }
        Flow::Continue
    }

    fn on_request_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        let Some(mut work) = self.up.take() else { return Flow::Continue };
        if let Err(error) = self.decode(&mut work, &self.request.counters, data) {
            let reply = LocalReply::new(400, "request_decompression_failed").body(error.to_string());
            return Flow::Reply(Box::new(reply));
        }
        self.up = Some(work);
        Flow::Continue
    }

    fn on_request_tail(&mut self, _stream: &mut Stream<'_>, trailers: &mut Headers) -> Bytes {
        if let Some(work) = self.up.take() {
            self.tell(&work, trailers);
        }
        Bytes::new()
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        if let Some(response) = stream.response.as_deref_mut()
            && !end
        {
            self.down = self.begin(&self.response, self.responses, &mut response.headers);
        }
        Flow::Continue
    }

    fn on_response_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        let Some(mut work) = self.down.take() else { return Flow::Continue };
        if self.decode(&mut work, &self.response.counters, data).is_err() {
            return Flow::Reply(Box::new(LocalReply::new(502, "response_decompression_failed")));
        }
        self.down = Some(work);
        Flow::Continue
    }

    fn on_response_tail(&mut self, _stream: &mut Stream<'_>, trailers: &mut Headers) -> Bytes {
        if let Some(work) = self.down.take() {
            self.tell(&work, trailers);
        }
        Bytes::new()
    }
}
