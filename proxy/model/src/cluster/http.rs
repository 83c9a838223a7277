//! HTTP towards an upstream: the domain side of `HttpProtocolOptions`.

use std::time::Duration;

/// Which HTTP is spoken upstream (`HttpProtocolOptions.upstream_protocol_options`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
    /// What ALPN settles on.
    Auto,
    /// What the client speaks.
    UseDownstream,
}

/// HTTP settings of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamHttpOptions {
    /// Which protocol.
    pub protocol: UpstreamProtocol,
    /// Settings for every protocol.
    pub common: CommonHttpOptions,
    /// HTTP/1.1 settings.
    pub http1: Http1Options,
    /// HTTP/2 settings.
    pub http2: Http2Options,
    /// `upstream_http_protocol_options.auto_sni`: SNI is the request's host.
    pub auto_sni: bool,
    /// `upstream_http_protocol_options.auto_san_validation`: and so is the name in the certificate.
    pub auto_san_validation: bool,
}

/// `HttpProtocolOptions`, towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonHttpOptions {
    /// How long a connection without requests is kept; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used at all.
    pub max_connection_duration: Option<Duration>,
    /// How long a stream may take.
    pub max_stream_duration: Option<Duration>,
    /// How many requests a connection serves.
    pub max_requests_per_connection: Option<u32>,
    /// How many headers a response may have.
    pub max_headers_count: u32,
    /// How large a response's head may be, in KiB.
    pub max_response_headers_kb: u32,
}

/// `Http1ProtocolOptions`, towards an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// `header_key_format: preserve_case`, for requests that came with their case.
    pub preserve_case: bool,
    /// `header_key_format: proper_case_words`.
    pub proper_case: bool,
    /// Trailers are forwarded.
    pub enable_trailers: bool,
    /// A response with both `content-length` and chunked encoding is let through, chunked.
    pub allow_chunked_length: bool,
    /// A malformed message ends its stream, not the connection.
    pub override_stream_error_on_invalid_http_message: bool,
}

/// `Http2ProtocolOptions`, towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Size of the HPACK table.
    pub hpack_table_size: u32,
    /// Streams on one connection, unless the peer allows fewer.
    pub max_concurrent_streams: u32,
    /// Window of a stream, in bytes.
    pub initial_stream_window: u32,
    /// Window of a connection, in bytes.
    pub initial_connection_window: u32,
    /// Extended CONNECT (RFC 8441).
    pub allow_connect: bool,
    /// PINGs.
    pub keepalive: Option<Http2Keepalive>,
}

/// `KeepaliveSettings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// Time between PINGs; `None` sends none by the clock.
    pub interval: Option<Duration>,
    /// How long an answer may take before the connection is closed.
    pub timeout: Duration,
    /// Jitter of the interval, in percent.
    pub interval_jitter_percent: u32,
    /// A PING goes before a request on a connection that has been silent for so long.
    pub connection_idle_interval: Option<Duration>,
}

impl Default for CommonHttpOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_hours(1)),
            max_connection_duration: None,
            max_stream_duration: None,
            max_requests_per_connection: None,
            max_headers_count: 100,
            max_response_headers_kb: 60,
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            hpack_table_size: 4096,
            max_concurrent_streams: 1024,
            initial_stream_window: 16 << 20,
            initial_connection_window: 24 << 20,
            allow_connect: false,
            keepalive: None,
        }
    }
}
