//! What HTTP connection managers, the router and the codecs count.

use crate::telemetry::stats::schema::stat_kind;

stat_kind! {
    /// An HTTP connection manager: `http.<stat_prefix>.`
    Http("http.", None);
    HttpCounter {
        DownstreamCxDelayedCloseTimeout = "downstream_cx_delayed_close_timeout",
        DownstreamCxDestroy = "downstream_cx_destroy",
        DownstreamCxDestroyActiveRq = "downstream_cx_destroy_active_rq",
        DownstreamCxDestroyLocal = "downstream_cx_destroy_local",
        DownstreamCxDestroyLocalActiveRq = "downstream_cx_destroy_local_active_rq",
        DownstreamCxDestroyRemote = "downstream_cx_destroy_remote",
        DownstreamCxDestroyRemoteActiveRq = "downstream_cx_destroy_remote_active_rq",
        DownstreamCxDrainClose = "downstream_cx_drain_close",
        DownstreamCxHttp1Total = "downstream_cx_http1_total",
        DownstreamCxHttp2Total = "downstream_cx_http2_total",
        DownstreamCxHttp3Total = "downstream_cx_http3_total",
        DownstreamCxIdleTimeout = "downstream_cx_idle_timeout",
        DownstreamCxMaxDurationReached = "downstream_cx_max_duration_reached",
        DownstreamCxMaxRequestsReached = "downstream_cx_max_requests_reached",
        DownstreamCxOverloadDisableKeepalive = "downstream_cx_overload_disable_keepalive",
        DownstreamCxProtocolError = "downstream_cx_protocol_error",
        DownstreamCxRxBytesTotal = "downstream_cx_rx_bytes_total",
        DownstreamCxSslTotal = "downstream_cx_ssl_total",
        DownstreamCxTotal = "downstream_cx_total",
        DownstreamCxTxBytesTotal = "downstream_cx_tx_bytes_total",
        DownstreamCxUpgradesTotal = "downstream_cx_upgrades_total",
        DownstreamFlowControlPausedReadingTotal = "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal = "downstream_flow_control_resumed_reading_total",
        DownstreamRq1xx = "downstream_rq_1xx",
        DownstreamRq2xx = "downstream_rq_2xx",
        DownstreamRq3xx = "downstream_rq_3xx",
        DownstreamRq4xx = "downstream_rq_4xx",
        DownstreamRq5xx = "downstream_rq_5xx",
        DownstreamRqCompleted = "downstream_rq_completed",
        DownstreamRqFailedPathNormalization = "downstream_rq_failed_path_normalization",
        DownstreamRqHeaderTimeout = "downstream_rq_header_timeout",
        DownstreamRqHttp1Total = "downstream_rq_http1_total",
        DownstreamRqHttp2Total = "downstream_rq_http2_total",
        DownstreamRqHttp3Total = "downstream_rq_http3_total",
        DownstreamRqIdleTimeout = "downstream_rq_idle_timeout",
        DownstreamRqMaxDurationReached = "downstream_rq_max_duration_reached",
        DownstreamRqNonRelativePath = "downstream_rq_non_relative_path",
        DownstreamRqOverloadClose = "downstream_rq_overload_close",
        DownstreamRqRedirectedWithNormalizedPath = "downstream_rq_redirected_with_normalized_path",
        DownstreamRqRejectedViaIpDetection = "downstream_rq_rejected_via_ip_detection",
        DownstreamRqResponseBeforeRqComplete = "downstream_rq_response_before_rq_complete",
        DownstreamRqRxReset = "downstream_rq_rx_reset",
        DownstreamRqTimeout = "downstream_rq_timeout",
        DownstreamRqTooLarge = "downstream_rq_too_large",
        DownstreamRqTooManyPrematureResets = "downstream_rq_too_many_premature_resets",
        DownstreamRqTotal = "downstream_rq_total",
        DownstreamRqTxReset = "downstream_rq_tx_reset",
        DownstreamRqWsOnNonWsRoute = "downstream_rq_ws_on_non_ws_route",
        RsTooLarge = "rs_too_large",
    }
    HttpGauge {
        DownstreamCxActive = "downstream_cx_active",
        DownstreamCxHttp1Active = "downstream_cx_http1_active",
        DownstreamCxHttp1SoftDrain = "downstream_cx_http1_soft_drain",
        DownstreamCxHttp2Active = "downstream_cx_http2_active",
        DownstreamCxHttp3Active = "downstream_cx_http3_active",
        DownstreamCxRxBytesBuffered = "downstream_cx_rx_bytes_buffered",
        DownstreamCxSslActive = "downstream_cx_ssl_active",
        DownstreamCxTxBytesBuffered = "downstream_cx_tx_bytes_buffered",
        DownstreamCxUpgradesActive = "downstream_cx_upgrades_active",
        DownstreamRqActive = "downstream_rq_active",
    }
    HttpHistogram {
        DownstreamCxLengthMs = "downstream_cx_length_ms",
        DownstreamRqTime = "downstream_rq_time",
    }
}

stat_kind! {
    /// The router, and the redirects it follows: `http.<stat_prefix>.`
    HttpRouter("http.", None);
    HttpRouterCounter {
        NoCluster = "no_cluster",
        NoRoute = "no_route",
        PassthroughInternalRedirectBadLocation = "passthrough_internal_redirect_bad_location",
        PassthroughInternalRedirectNoRoute = "passthrough_internal_redirect_no_route",
        PassthroughInternalRedirectPredicate = "passthrough_internal_redirect_predicate",
        PassthroughInternalRedirectTooManyRedirects = "passthrough_internal_redirect_too_many_redirects",
        PassthroughInternalRedirectUnsafeScheme = "passthrough_internal_redirect_unsafe_scheme",
        RqDirectResponse = "rq_direct_response",
        RqOverloadLocalReply = "rq_overload_local_reply",
        RqRedirect = "rq_redirect",
        RqResetAfterDownstreamResponseStarted = "rq_reset_after_downstream_response_started",
        RqTotal = "rq_total",
    }
    HttpRouterGauge {}
    HttpRouterHistogram {}
}

stat_kind! {
    /// Sampling decisions; the scope is `<stat_prefix>.tracing`.
    HttpTracing("http.", None);
    HttpTracingCounter {
        ClientEnabled = "client_enabled",
        HealthCheck = "health_check",
        NotTraceable = "not_traceable",
        RandomSampling = "random_sampling",
        ServiceForced = "service_forced",
    }
    HttpTracingGauge {}
    HttpTracingHistogram {}
}

stat_kind! {
    /// The HTTP/1 codec: scope `http1` downstream, `cluster.<name>.http1` upstream.
    Http1("", None);
    Http1Counter {
        DroppedHeadersWithUnderscores = "dropped_headers_with_underscores",
        RequestsRejectedWithUnderscoresInHeaders = "requests_rejected_with_underscores_in_headers",
        MetadataNotSupportedError = "metadata_not_supported_error",
        ResponseFlood = "response_flood",
    }
    Http1Gauge {}
    Http1Histogram {}
}

stat_kind! {
    /// The HTTP/2 codec: scope `http2` downstream, `cluster.<name>.http2` upstream.
    Http2("", None);
    Http2Counter {
        DroppedHeadersWithUnderscores = "dropped_headers_with_underscores",
        RequestsRejectedWithUnderscoresInHeaders = "requests_rejected_with_underscores_in_headers",
        CookiesTotalBytesTooLarge = "cookies_total_bytes_too_large",
        GoawaySent = "goaway_sent",
        HeaderListSizeTooLarge = "header_list_size_too_large",
        HeaderOverflow = "header_overflow",
        HeadersCbNoStream = "headers_cb_no_stream",
        InboundEmptyFramesFlood = "inbound_empty_frames_flood",
        InboundPriorityFramesFlood = "inbound_priority_frames_flood",
        InboundWindowUpdateFramesFlood = "inbound_window_update_frames_flood",
        KeepaliveTimeout = "keepalive_timeout",
        MetadataEmptyFrames = "metadata_empty_frames",
        OutboundControlFlood = "outbound_control_flood",
        OutboundFlood = "outbound_flood",
        RxMessagingError = "rx_messaging_error",
        RxReset = "rx_reset",
        StreamRefusedErrors = "stream_refused_errors",
        Trailers = "trailers",
        TxFlushTimeout = "tx_flush_timeout",
        TxReset = "tx_reset",
    }
    Http2Gauge {
        DeferredStreamClose = "deferred_stream_close",
        OutboundControlFramesActive = "outbound_control_frames_active",
        OutboundFramesActive = "outbound_frames_active",
        PendingSendBytes = "pending_send_bytes",
        StreamsActive = "streams_active",
    }
    Http2Histogram {
        CookieCount = "cookie_count",
        CookieSize = "cookie_size",
        HeaderCount = "header_count",
        HeaderListSize = "header_list_size",
    }
}

stat_kind! {
    /// A route with a `stat_prefix` (scope `<virtual host>.route.<stat_prefix>`)
    /// or a virtual cluster (scope `<virtual host>.vcluster.<name>`).
    VirtualHost("vhost.", OnWrite);
    VirtualHostCounter {
        UpstreamRqRetry = "upstream_rq_retry",
        UpstreamRqRetryLimitExceeded = "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow = "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess = "upstream_rq_retry_success",
        UpstreamRqTimeout = "upstream_rq_timeout",
        UpstreamRqTotal = "upstream_rq_total",
    }
    VirtualHostGauge {}
    VirtualHostHistogram {
        UpstreamRqTime = "upstream_rq_time",
    }
}
