//! What listeners count. Scopes are Envoy's form of the address: `0.0.0.0_10000`, or the listener's `stat_prefix`.

use crate::telemetry::stats::schema::stat_kind;

stat_kind! {
    /// A listener, over all workers: `listener.<address>.`
    Listener("listener.", None);
    ListenerCounter {
        DownstreamCxDestroy = "downstream_cx_destroy",
        DownstreamCxOverflow = "downstream_cx_overflow",
        DownstreamCxOverloadReject = "downstream_cx_overload_reject",
        DownstreamCxTotal = "downstream_cx_total",
        DownstreamCxTransportSocketConnectTimeout = "downstream_cx_transport_socket_connect_timeout",
        DownstreamGlobalCxOverflow = "downstream_global_cx_overflow",
        DownstreamListenerFilterError = "downstream_listener_filter_error",
        DownstreamListenerFilterRemoteClose = "downstream_listener_filter_remote_close",
        DownstreamPreCxTimeout = "downstream_pre_cx_timeout",
        ExtensionConfigMissing = "extension_config_missing",
        NetworkExtensionConfigMissing = "network_extension_config_missing",
        NoFilterChainMatch = "no_filter_chain_match",
    }
    ListenerGauge {
        DownstreamCxActive = "downstream_cx_active",
        DownstreamPreCxActive = "downstream_pre_cx_active",
    }
    ListenerHistogram {
        ConnectionsAcceptedPerSocketEvent = "connections_accepted_per_socket_event",
        DownstreamCxLengthMs = "downstream_cx_length_ms",
    }
}

stat_kind! {
    /// A listener as one worker sees it; the scope is `<address>.worker_<n>`.
    ListenerWorker("listener.", None);
    ListenerWorkerCounter {
        DownstreamCxTotal = "downstream_cx_total",
    }
    ListenerWorkerGauge {
        DownstreamCxActive = "downstream_cx_active",
    }
    ListenerWorkerHistogram {}
}

stat_kind! {
    /// Responses of an HTTP connection manager by listener; the scope is `<address>.http.<stat_prefix>`.
    ListenerHttp("listener.", None);
    ListenerHttpCounter {
        DownstreamRq1xx = "downstream_rq_1xx",
        DownstreamRq2xx = "downstream_rq_2xx",
        DownstreamRq3xx = "downstream_rq_3xx",
        DownstreamRq4xx = "downstream_rq_4xx",
        DownstreamRq5xx = "downstream_rq_5xx",
        DownstreamRqCompleted = "downstream_rq_completed",
    }
    ListenerHttpGauge {}
    ListenerHttpHistogram {}
}

stat_kind! {
    /// TLS of a listener (scope `listener.<address>.ssl`) or of a cluster (scope `cluster.<name>.ssl`).
    Tls("", None);
    TlsCounter {
        ConnectionError = "connection_error",
        FailVerifyCertHash = "fail_verify_cert_hash",
        FailVerifyError = "fail_verify_error",
        FailVerifyNoCert = "fail_verify_no_cert",
        FailVerifySan = "fail_verify_san",
        Handshake = "handshake",
        NoCertificate = "no_certificate",
        OcspStapleFailed = "ocsp_staple_failed",
        OcspStapleOmitted = "ocsp_staple_omitted",
        OcspStapleRequests = "ocsp_staple_requests",
        OcspStapleResponses = "ocsp_staple_responses",
        SessionReused = "session_reused",
        WasKeyUsageInvalid = "was_key_usage_invalid",
    }
    TlsGauge {}
    TlsHistogram {}
}

stat_kind! {
    /// The listener filter `tls_inspector`, of all listeners.
    TlsInspector("tls_inspector.", None);
    TlsInspectorCounter {
        AlpnFound = "alpn_found",
        AlpnNotFound = "alpn_not_found",
        ClientHelloTooLarge = "client_hello_too_large",
        SniFound = "sni_found",
        SniNotFound = "sni_not_found",
        TlsFound = "tls_found",
        TlsNotFound = "tls_not_found",
    }
    TlsInspectorGauge {}
    TlsInspectorHistogram {
        BytesProcessed = "bytes_processed",
    }
}

stat_kind! {
    /// The listener filter `http_inspector`, of all listeners.
    HttpInspector("http_inspector.", None);
    HttpInspectorCounter {
        Http10Found = "http10_found",
        Http11Found = "http11_found",
        Http2Found = "http2_found",
        HttpNotFound = "http_not_found",
        ReadError = "read_error",
    }
    HttpInspectorGauge {}
    HttpInspectorHistogram {}
}

stat_kind! {
    /// The listener filter `proxy_protocol`; the scope is its `stat_prefix`.
    ProxyProtocol("proxy_proto.", None);
    ProxyProtocolCounter {
        NotFoundAllowed = "not_found_allowed",
        NotFoundDisallowed = "not_found_disallowed",
    }
    ProxyProtocolGauge {}
    ProxyProtocolHistogram {}
}

stat_kind! {
    /// A version of the PROXY protocol; the scope is `[<stat_prefix>.]versions.v<n>`.
    ProxyVersion("proxy_proto.", None);
    ProxyVersionCounter {
        Disallowed = "disallowed",
        Error = "error",
        Found = "found",
    }
    ProxyVersionGauge {}
    ProxyVersionHistogram {}
}

stat_kind! {
    /// What the listener filter `proxy_protocol` counts for all listeners under an older name.
    ProxyErrors("", None);
    ProxyErrorsCounter {
        DownstreamCxProxyProtoError = "downstream_cx_proxy_proto_error",
    }
    ProxyErrorsGauge {}
    ProxyErrorsHistogram {}
}
