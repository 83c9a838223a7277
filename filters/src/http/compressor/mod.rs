//! `envoy.filters.http.compressor`: compresses responses for clients that take them so, and requests where that is wanted.
//!
//! ```text
//! request head:  remember accept-encoding, tell the others of the chain; compress the request's body?
//! response head: is the response one to compress? is this the compressor that the client would have? -> content-encoding, vary
//! data: compressed and flushed, so that streams stream; tail: the end of the format
//! ```
//! Several compressors of one chain choose among themselves ([`negotiation`]).

mod change;
pub mod config;
mod negotiation;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, Headers, Known, ResponseHead, Runtime, RuntimeSwitch};
use sampan_model::route::StringMatch;

use self::change::{coded, soften_etag, tail, tell, vary};
use self::negotiation::{Chosen, Offer, Offers};
use crate::compression::{Coding, Encoder};
use crate::http::transform;

/// The factory.
#[derive(Debug)]
pub struct Compressor {
    /// `compressor_library`
    pub coding: Coding,
    /// `choose_first`
    pub choose_first: bool,
    /// `request_direction_config`
    pub request: Direction,
    /// `response_direction_config`
    pub response: Response,
}

/// What is compressed in one direction.
#[derive(Clone, Debug)]
pub struct Direction {
    /// `enabled`; none if the direction is not configured.
    pub enabled: Option<RuntimeSwitch>,
    /// `min_content_length`
    pub shortest: u64,
    /// `content_type`, `content_type_matcher`
    pub types: Arc<ContentTypes>,
    /// [`DIRECTION`]
    pub counters: Arc<Counters>,
}

/// What is special to responses.
#[derive(Clone, Debug)]
pub struct Response {
    /// `common_config`
    pub direction: Direction,
    /// `disable_on_etag_header`
    pub disable_on_etag: bool,
    /// `weaken_etag_on_compress`
    pub weaken_etag: bool,
    /// `remove_accept_encoding_header`
    pub remove_accept_encoding: bool,
    /// `uncompressible_response_codes`
    pub uncompressible: Vec<u16>,
    /// `status_header_enabled`
    pub status_header: bool,
    /// [`NEGOTIATION`]
    pub negotiation: Arc<Counters>,
}

/// What a route changes.
#[derive(Clone, Debug, Default)]
pub struct PerRoute {
    /// Whether responses are compressed, where the route says.
    pub enabled: Option<bool>,
    /// `remove_accept_encoding_header`
    pub remove_accept_encoding: Option<bool>,
    /// `compressor_library`
    pub coding: Option<Coding>,
}

/// The content types to compress.
#[derive(Debug)]
pub enum ContentTypes {
    /// [`USUAL`]
    Usual,
    /// These, whatever their case.
    Listed(Vec<Box<str>>),
    /// Those that one of these matches.
    Matched(Vec<StringMatch>),
}

/// The content types that are compressed where none are configured.
const USUAL: &[&str] = &[
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
];

/// The counters of a direction.
#[rustfmt::skip]
pub const DIRECTION: &[&str] = &["compressed", "not_compressed", "total_uncompressed_bytes", "total_compressed_bytes", "content_length_too_small"];
const COMPRESSED: usize = 0;
const NOT_COMPRESSED: usize = 1;
const UNCOMPRESSED_BYTES: usize = 2;
const COMPRESSED_BYTES: usize = 3;
const TOO_SMALL: usize = 4;

/// The counters of what clients accept.
#[rustfmt::skip]
pub const NEGOTIATION: &[&str] = &["no_accept_header", "header_identity", "header_compressor_used", "header_compressor_overshadowed", "header_wildcard", "header_not_valid", "not_compressed_etag"];
const NO_ACCEPT: usize = 0;
const IDENTITY: usize = 1;
const USED: usize = 2;
const OVERSHADOWED: usize = 3;
const WILDCARD: usize = 4;
const NOT_VALID: usize = 5;
const NOT_FOR_ETAG: usize = 6;

impl ContentTypes {
    /// Whether a message with these fields is of a type to compress; one without a type is.
    fn allow(&self, headers: &Headers) -> bool {
        let Some(value) = headers.known(Known::ContentType) else { return true };
        let value = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(value);
        match self {
            ContentTypes::Usual => USUAL.iter().any(|known| is(known)),
            ContentTypes::Listed(list) => list.iter().any(|known| is(known)),
            ContentTypes::Matched(rules) => rules.iter().any(|rule| rule.is_match(value)),
        }
    }
}

impl Direction {
    fn is_on(&self, runtime: &dyn Runtime) -> bool {
        self.enabled.as_ref().is_some_and(|switch| switch.is_on(runtime))
    }

    /// Whether a message is long enough, as far as it tells its length.
    fn long_enough(&self, headers: &Headers) -> bool {
        let Some(length) = headers.known(Known::ContentLength) else { return true };
        let long = transform::number(length).is_some_and(|length| length >= self.shortest);
        if !long {
            self.counters.inc(TOO_SMALL);
        }
        long
    }
}

/// One stream.
struct Instance {
    coding: Coding,
    choose_first: bool,
    request: Direction,
    response: Response,
    /// Whether requests are compressed.
    requests: bool,
    /// Whether responses are.
    responses: bool,
    removes_accept_encoding: bool,
    /// What the client accepts, as this filter saw it.
    accepts: Option<Vec<u8>>,
    offers: Option<Rc<Offers>>,
    up: Option<Box<dyn Encoder>>,
    down: Option<Box<dyn Encoder>>,
}

impl HttpFilterFactory for Compressor {
    fn phases(&self) -> Phases {
        let responses =
            Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD).and(Phases::RESPONSE_DATA).and(Phases::TAIL);
        if self.request.enabled.is_some() { responses.and(Phases::REQUEST_DATA) } else { responses }
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let route = start.route::<PerRoute>();
        let route = route.as_deref();
        let enabled = route.and_then(|route| route.enabled);
        Some(Box::new(Instance {
            coding: route.and_then(|route| route.coding.as_ref()).unwrap_or(&self.coding).clone(),
            choose_first: self.choose_first,
            request: self.request.clone(),
            requests: self.request.is_on(start.runtime),
            responses: enabled.unwrap_or_else(|| self.response.direction.is_on(start.runtime)),
            removes_accept_encoding: route
                .and_then(|route| route.remove_accept_encoding)
                .unwrap_or(self.response.remove_accept_encoding),
            response: self.response.clone(),
            accepts: None,
            offers: None,
            up: None,
            down: None,
        }))
    }
}

/// Why a response is not compressed, for the header that tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    TooSmall,
    Type,
    Etag,
    Code,
    /// One that is not told.
    Other,
}

impl Instance {
    fn compress_request(&mut self, headers: &mut Headers, end: bool) {
        let fits = !end
            && self.requests
            && self.request.long_enough(headers)
            && self.request.types.allow(headers)
            && headers.value("content-encoding").is_none();
        if !fits {
            return self.request.counters.inc(NOT_COMPRESSED);
        }
        headers.remove_known(Known::ContentLength);
        headers.set("content-encoding", self.coding.name());
        self.request.counters.inc(COMPRESSED);
        self.up = Some(self.coding.encoder());
    }

    /// What keeps a response from being compressed, whatever the client accepts.
    fn obstacle(&self, response: &ResponseHead, tunnel: bool) -> Option<Obstacle> {
        let headers = &response.headers;
        let other = !self.responses
            || tunnel
            || transform::forbids_transform(headers)
            || headers.value("content-encoding").is_some();
        let etag =
            self.response.disable_on_etag && !self.response.weaken_etag && headers.value("etag").is_some();
        let direction = &self.response.direction;
        if self.responses
            && !other_hides_length(other, self.response.status_header)
            && !direction.long_enough(headers)
        {
            Some(Obstacle::TooSmall)
        } else if other {
            Some(Obstacle::Other)
        } else if !direction.types.allow(headers) {
            Some(Obstacle::Type)
        } else if etag {
            self.response.negotiation.inc(NOT_FOR_ETAG);
            Some(Obstacle::Etag)
        } else if self.response.uncompressible.contains(&response.status) {
            Some(Obstacle::Code)
        } else {
            None
        }
    }

    /// Whether the client would have the response from this compressor.
    fn is_chosen(&self, response: &ResponseHead) -> bool {
        let counters = &self.response.negotiation;
        let (Some(accepts), Some(offers)) = (&self.accepts, &self.offers) else {
            counters.inc(NO_ACCEPT);
            return false;
        };
        let chosen = offers.choose(accepts, &response.headers);
        let own = chosen.is(self.coding.name());
        counters.inc(match chosen {
            Chosen::Named(_) if own => USED,
            Chosen::Named(_) => OVERSHADOWED,
            Chosen::Any(_) => WILDCARD,
            Chosen::Identity => IDENTITY,
            Chosen::Nothing => NOT_VALID,
        });
        own
    }

    fn begin_response(&mut self, response: &mut ResponseHead) {
        let headers = &mut response.headers;
        let length = headers.known(Known::ContentLength).map(<[u8]>::to_vec).unwrap_or_default();
        soften_etag(headers, self.response.weaken_etag);
        headers.remove_known(Known::ContentLength);
        headers.set("content-encoding", self.coding.name());
        self.response.direction.counters.inc(COMPRESSED);
        if self.response.status_header {
            let length = String::from_utf8_lossy(&length);
            tell(headers, self.coding.name(), &format!("Compressed;OriginalLength={length}"));
        }
        self.down = Some(self.coding.encoder());
    }

    /// As [`Instance::obstacle`] finds it, with the answer of the client's wishes.
    fn head(&mut self, response: &mut ResponseHead, tunnel: bool, end: bool) {
        let told = self.response.status_header && !end;
        let obstacle = self.obstacle(response, tunnel);
        if told && obstacle == Some(Obstacle::TooSmall) {
            // Envoy looks twice where it tells why.
            self.response.direction.counters.inc(TOO_SMALL);
        }
        // What is long enough asks for the client's wishes even if something else keeps it; where the reason is told, only
        // what nothing keeps.
        let asks = !end
            && match obstacle {
                None => true,
                Some(Obstacle::TooSmall) => false,
                Some(_) => self.responses && !told,
            };
        if asks && self.is_chosen(response) && obstacle.is_none() {
            self.begin_response(response);
        } else {
            self.response.direction.counters.inc(NOT_COMPRESSED);
            let reason = match obstacle.filter(|_| told) {
                Some(Obstacle::TooSmall) => Some("ContentLengthTooSmall"),
                Some(Obstacle::Type) => Some("ContentTypeNotAllowed"),
                Some(Obstacle::Etag) => Some("EtagNotAllowed"),
                Some(Obstacle::Code) => Some("StatusCodeNotAllowed"),
                Some(Obstacle::Other) | None => None,
            };
            if let Some(reason) = reason {
                tell(&mut response.headers, self.coding.name(), reason);
            }
        }
        if obstacle.is_none() {
            // Another client might get it compressed, whatever this one accepts.
            vary(&mut response.headers);
        }
    }
}

/// Whether the length is not looked at where something that is not told keeps the response as it is.
fn other_hides_length(other: bool, told: bool) -> bool {
    other && told
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        self.accepts = transform::joined(&stream.request.headers, b"accept-encoding");
        let offers = Offers::of(stream.info);
        offers.add(Offer {
            name: self.coding.name(),
            choose_first: self.choose_first,
            types: Arc::clone(&self.response.direction.types),
        });
        self.offers = Some(offers);
        let headers = &mut stream.request.headers;
        if self.responses && self.removes_accept_encoding {
            headers.remove("accept-encoding");
        }
        self.compress_request(headers, end);
        Flow::Continue
    }

    fn on_request_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
        coded(&mut self.up, &self.request.counters, data, end)
    }

    fn on_request_tail(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Bytes {
        tail(&mut self.up, &self.request.counters)
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let connect = stream.request.is_connect();
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        let tunnel = response.status == 101 || (connect && response.status < 300);
        self.head(response, tunnel, end);
        Flow::Continue
    }

    fn on_response_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
        coded(&mut self.down, &self.response.direction.counters, data, end)
    }

    fn on_response_tail(&mut self, _stream: &mut Stream<'_>, _trailers: &mut Headers) -> Bytes {
        tail(&mut self.down, &self.response.direction.counters)
    }
}
