//! The compiled form of the HTTP connection manager's configuration.
//!
//! Made by `control/compile`, read by every request; nothing here is mutable. Route tables are in [`super::route`].

use std::sync::Arc;
use std::time::Duration;

use sampan_filters_api::format::Template;
use sampan_filters_api::http::{HttpFilterFactory, Phases};
use sampan_model::cluster::Http2Keepalive;
use sampan_model::route::ScopeKeyBuilder;

use super::h1::HeadLimits;
use super::h1::encode::NameCase;
use super::local_reply::LocalReplyConfig;
use super::route::{RouteConfig, Scopes};
use crate::net::cidr::Cidr;
use crate::reference::{Reference, Source};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::trace::Tracing;

/// An HTTP connection manager.
pub struct HttpConfig {
    /// `stat_prefix`
    pub stat_prefix: Arc<str>,
    /// `codec_type`
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// The filters before the router.
    pub filters: Vec<ConfiguredFilter>,
    /// The `on_demand` filter is there: a request waits for its virtual host to be fetched.
    pub on_demand: bool,
    /// `router.suppress_envoy_headers`
    pub suppress_envoy_headers: bool,
    /// `http_protocol_options`
    pub http1: Http1Options,
    /// `http2_protocol_options`
    pub http2: Http2Options,
    /// Timeouts of connections and streams.
    pub timeouts: HttpTimeouts,
    /// Limits of request heads: `max_request_headers_kb`, `max_headers_count`.
    pub head_limits: HeadLimits,
    /// `common_http_protocol_options.max_requests_per_connection`
    pub max_requests_per_connection: Option<u64>,
    /// `common_http_protocol_options.headers_with_underscores_action`
    pub underscores: Underscores,
    /// `server_name`
    pub server_name: Arc<str>,
    /// `server_header_transformation`
    pub server_header: ServerHeader,
    /// `via`; empty is none.
    pub via: Arc<str>,
    /// How the client's address and `x-forwarded-*` are treated.
    pub forwarding: Forwarding,
    /// `x-request-id` rules.
    pub request_id: RequestIdRules,
    /// Path and host normalisation.
    pub normalize: Normalize,
    /// `upgrade_configs`: type (lower case) and whether enabled.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// `proxy_100_continue`
    pub proxy_100_continue: bool,
    /// `add_user_agent`: `--service-cluster` and `--service-node` go into headers.
    pub add_user_agent: Option<UserAgent>,
    /// `local_reply_config`
    pub local_reply: LocalReplyConfig,
    /// `forward_client_cert_details`
    pub client_cert: ClientCertForwarding,
    /// `set_current_client_cert_details`
    pub client_cert_details: ClientCertDetails,
    /// `stream_error_on_invalid_http_message`: reset one stream instead of closing the connection.
    pub stream_error_on_invalid: bool,
    /// `scheme_header_transformation.scheme_to_overwrite`
    pub overwrite_scheme: Option<Box<str>>,
    /// `access_log`
    pub access_logs: Vec<Arc<AccessLog>>,
    /// `tracing`
    pub tracing: Option<Box<Tracing>>,
    /// Whether anything reads a stream's facts (access logs, filters, header formatters); see [`HttpConfig::needs_facts`].
    pub needs_facts: bool,
}

/// `codec_type`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Codec {
    /// By ALPN, else by the HTTP/2 preface.
    #[default]
    Auto,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// `route_specifier`
pub enum RouteSource {
    /// `route_config`
    Inline(Arc<RouteConfig>),
    /// `rds`
    Discovered(Reference),
    /// `scoped_routes`
    Scoped(ScopedRoutes),
}

/// `scoped_routes`: several route configurations, chosen by a key of the request.
pub struct ScopedRoutes {
    /// `name`, for stats.
    pub name: Arc<str>,
    /// `scope_key_builder`
    pub builder: ScopeKeyBuilder,
    /// The scopes.
    pub scopes: ScopeSource,
    /// `rds_config_source`: where the route configurations are to be had that scopes name.
    pub routes: Source,
    /// The route configurations that inline scopes name.
    pub named: Vec<Reference>,
}

/// Where scopes come from.
pub enum ScopeSource {
    /// `scoped_route_configurations_list`
    Inline(Arc<Scopes>),
    /// `scoped_rds`
    Discovered(Reference),
}

/// What makes the instances of a filter.
pub enum FilterSource<F: ?Sized> {
    /// `typed_config`
    Fixed(Arc<F>),
    /// `config_discovery`; in a box, so that the others lie close together.
    Discovered(Box<DiscoveredFilter<F>>),
}

/// A filter whose configuration is discovered.
pub struct DiscoveredFilter<F: ?Sized> {
    /// Where the configuration is to be had.
    pub reference: Reference,
    /// `default_config`
    pub default: Option<Arc<F>>,
    /// `apply_default_config_without_warming`
    pub without_warming: bool,
    /// `type_urls`, as full names.
    pub types: Arc<[Box<str>]>,
}

/// One of `http_filters`.
pub struct ConfiguredFilter {
    /// `name`, the key of per-route configuration.
    pub name: Arc<str>,
    /// What makes its instances.
    pub factory: FilterSource<dyn HttpFilterFactory>,
    /// `disabled`: only where a route enables it.
    pub disabled: bool,
    /// [`HttpFilterFactory::passing`]; none of one that is discovered.
    pub passing: Option<Phases>,
}

impl ConfiguredFilter {
    /// A filter of this name.
    pub fn new(name: &str, factory: FilterSource<dyn HttpFilterFactory>, disabled: bool) -> Self {
        let passing = match &factory {
            FilterSource::Fixed(factory) => factory.passing(),
            FilterSource::Discovered(_) => None,
        };
        Self { name: name.into(), factory, disabled, passing }
    }
}

/// `Http1ProtocolOptions` of a downstream.
#[derive(Clone, Debug)]
pub struct Http1Options {
    /// `allow_absolute_url`, default true
    pub allow_absolute_url: bool,
    /// `accept_http_10`
    pub accept_http_10: bool,
    /// `default_host_for_http_10`
    pub default_host_for_http_10: Box<str>,
    /// `header_key_format`
    pub name_case: NameCase,
    /// `enable_trailers`
    pub enable_trailers: bool,
}

impl Default for Http1Options {
    fn default() -> Self {
        Self {
            allow_absolute_url: true,
            accept_http_10: false,
            default_host_for_http_10: "".into(),
            name_case: NameCase::Lower,
            enable_trailers: false,
        }
    }
}

/// `Http2ProtocolOptions` of a downstream.
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// `max_concurrent_streams`
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`
    pub stream_window: u32,
    /// `initial_connection_window_size`
    pub connection_window: u32,
    /// `allow_connect`: RFC 8441
    pub allow_connect: bool,
    /// `hpack_table_size`
    pub hpack_table_size: u32,
    /// `connection_keepalive`
    pub keepalive: Option<Http2Keepalive>,
    /// `max_outbound_control_frames`
    pub max_outbound_control_frames: u32,
    /// `max_consecutive_inbound_frames_with_empty_payload`
    pub max_consecutive_empty_frames: u32,
    /// `max_inbound_priority_frames_per_stream`
    pub max_priority_frames_per_stream: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`
    pub max_window_updates_per_data_frame: u32,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            stream_window: 16 * 1024 * 1024,
            connection_window: 24 * 1024 * 1024,
            allow_connect: false,
            hpack_table_size: 4096,
            keepalive: None,
            max_outbound_control_frames: 1_000,
            max_consecutive_empty_frames: 1,
            max_priority_frames_per_stream: 100,
            max_window_updates_per_data_frame: 10,
        }
    }
}

/// Timeouts of a connection manager; `None` is off.
#[derive(Clone, Debug)]
pub struct HttpTimeouts {
    /// `request_headers_timeout`, default 10 s of ours
    pub request_headers: Option<Duration>,
    /// `request_timeout`
    pub request: Option<Duration>,
    /// `stream_idle_timeout`, default 5 min
    pub stream_idle: Option<Duration>,
    /// Between bytes of a request's body, until the response begins. Ours: 60 s, unless `stream_idle_timeout` is configured.
    pub body_idle: Option<Duration>,
    /// For a client that takes nothing of a response: `stream_flush_timeout`, else `stream_idle_timeout` where configured, else
    /// 60 s of ours.
    pub stream_flush: Option<Duration>,
    /// `stream_flush_timeout` is configured, so a route's idle timeout does not stand in for it.
    pub stream_flush_configured: bool,
    /// `common_http_protocol_options.idle_timeout`, default 1 h
    pub connection_idle: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration`
    pub max_connection: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`
    pub max_stream: Option<Duration>,
    /// `drain_timeout`, default 5 s
    pub drain: Duration,
    /// `delayed_close_timeout`, default 1 s
    pub delayed_close: Option<Duration>,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            request_headers: Some(Duration::from_secs(10)),
            request: None,
            stream_idle: Some(Duration::from_mins(5)),
            body_idle: Some(Duration::from_mins(1)),
            stream_flush: Some(Duration::from_mins(1)),
            stream_flush_configured: false,
            connection_idle: Some(Duration::from_hours(1)),
            max_connection: None,
            max_stream: None,
            drain: Duration::from_secs(5),
            delayed_close: Some(Duration::from_secs(1)),
        }
    }
}

/// `headers_with_underscores_action`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Underscores {
    /// Forward them.
    #[default]
    Allow,
    /// 400
    Reject,
    /// Remove them.
    Drop,
}

/// `server_header_transformation`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServerHeader {
    /// Always ours.
    #[default]
    Overwrite,
    /// Ours where the upstream sent none.
    AppendIfAbsent,
    /// As it came.
    PassThrough,
}

/// Which client and proxies are believed.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// `use_remote_address`
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`
    pub trusted_hops: u32,
    /// `skip_xff_append`
    pub skip_append: bool,
    /// `append_x_forwarded_port`
    pub append_port: bool,
    /// `internal_address_config.cidr_ranges`
    pub internal_ranges: Vec<Cidr>,
    /// `internal_address_config.unix_sockets`
    pub internal_unix: bool,
    /// `represent_ipv4_remote_address_as_ipv4_mapped_ipv6`
    pub ipv4_mapped: bool,
}

/// `x-request-id` rules.
#[derive(Clone, Copy, Debug)]
pub struct RequestIdRules {
    /// `generate_request_id`, default true
    pub generate: bool,
    /// `preserve_external_request_id`
    pub preserve_external: bool,
    /// `always_set_request_id_in_response`
    pub in_response: bool,
    /// `UuidRequestIdConfig.pack_trace_reason`, default true
    pub pack_trace_reason: bool,
    /// `UuidRequestIdConfig.use_request_id_for_trace_sampling`, default true
    pub for_sampling: bool,
}

/// `path_with_escaped_slashes_action`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EscapedSlashes {
    /// As they came.
    #[default]
    Keep,
    /// 400
    Reject,
    /// Unescape and redirect (307).
    Redirect,
    /// Unescape and go on.
    Forward,
}

/// Port stripping of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StripPort {
    /// As it came.
    #[default]
    Keep,
    /// `strip_matching_host_port`: where it is the listener's
    Matching,
    /// `strip_any_host_port`
    Any,
}

/// Normalisation of path and host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Normalize {
    /// `normalize_path`
    pub path: bool,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`
    pub escaped_slashes: EscapedSlashes,
    /// `strip_*_host_port`
    pub port: StripPort,
    /// `strip_trailing_host_dot`
    pub trailing_dot: bool,
}

/// `add_user_agent`
#[derive(Clone, Debug)]
pub struct UserAgent {
    /// `--service-cluster`
    pub cluster: Arc<str>,
    /// `--service-node`
    pub node: Arc<str>,
}

/// `forward_client_cert_details`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientCertForwarding {
    /// Remove `x-forwarded-client-cert`.
    #[default]
    Sanitize,
    /// Pass it on where the connection is mTLS.
    ForwardOnly,
    /// Append where the connection is mTLS.
    AppendForward,
    /// Replace where the connection is mTLS.
    SanitizeSet,
    /// Pass it on always.
    AlwaysForwardOnly,
}

/// `set_current_client_cert_details`: what is said of the client's certificate beside its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientCertDetails {
    /// Its subject.
    pub subject: bool,
    /// The certificate itself.
    pub cert: bool,
    /// It and those that the client sent with it.
    pub chain: bool,
    /// Its DNS names.
    pub dns: bool,
    /// Its URIs.
    pub uri: bool,
}

/// `AppendAction` of a header operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AppendAction {
    /// Beside what is there.
    #[default]
    AppendIfExistsOrAdd,
    /// Only where nothing is there.
    AddIfAbsent,
    /// In place of what is there.
    OverwriteIfExistsOrAdd,
    /// Only in place of what is there.
    OverwriteIfExists,
}

/// One header to add.
#[derive(Clone, Debug)]
pub struct HeaderAdd {
    /// The name.
    pub name: Box<str>,
    /// The value.
    pub value: Template,
    /// What to do with values that are there.
    pub action: AppendAction,
    /// `keep_empty_value`
    pub keep_empty: bool,
}

/// Header changes of one configuration level.
#[derive(Clone, Debug, Default)]
pub struct HeaderOps {
    /// `request_headers_to_add`
    pub request_add: Vec<HeaderAdd>,
    /// `request_headers_to_remove`
    pub request_remove: Vec<Box<str>>,
    /// `response_headers_to_add`
    pub response_add: Vec<HeaderAdd>,
    /// `response_headers_to_remove`
    pub response_remove: Vec<Box<str>>,
}
