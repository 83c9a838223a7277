//! What clusters count. The kinds share the prefix `cluster.<name>.`, each written from one place, so that a cluster pays only for what it uses.

use crate::telemetry::stats::schema::stat_kind;

stat_kind! {
    /// The traffic of a cluster, written by the workers.
    Cluster("cluster.", Completed);
    ClusterCounter {
        BindErrors = "bind_errors",
        LbHealthyPanic = "lb_healthy_panic",
        LbLocalClusterNotOk = "lb_local_cluster_not_ok",
        LbRecalculateZoneStructures = "lb_recalculate_zone_structures",
        LbSubsetsCreated = "lb_subsets_created",
        LbSubsetsFallback = "lb_subsets_fallback",
        LbSubsetsFallbackPanic = "lb_subsets_fallback_panic",
        LbSubsetsRemoved = "lb_subsets_removed",
        LbSubsetsSelected = "lb_subsets_selected",
        LbZoneClusterTooSmall = "lb_zone_cluster_too_small",
        LbZoneNoCapacityLeft = "lb_zone_no_capacity_left",
        LbZoneRoutingAllDirectly = "lb_zone_routing_all_directly",
        LbZoneRoutingCrossZone = "lb_zone_routing_cross_zone",
        LbZoneRoutingSampled = "lb_zone_routing_sampled",
        OriginalDstHostInvalid = "original_dst_host_invalid",
        OriginalDstSelfConnect = "original_dst_self_connect",
        RetryOrShadowAbandoned = "retry_or_shadow_abandoned",
        UpstreamCxCloseNotify = "upstream_cx_close_notify",
        UpstreamCxConnectAttemptsExceeded = "upstream_cx_connect_attempts_exceeded",
        UpstreamCxConnectFail = "upstream_cx_connect_fail",
        UpstreamCxConnectTimeout = "upstream_cx_connect_timeout",
        UpstreamCxConnectWith0Rtt = "upstream_cx_connect_with_0_rtt",
        UpstreamCxDestroy = "upstream_cx_destroy",
        UpstreamCxDestroyLocal = "upstream_cx_destroy_local",
        UpstreamCxDestroyLocalWithActiveRq = "upstream_cx_destroy_local_with_active_rq",
        UpstreamCxDestroyRemote = "upstream_cx_destroy_remote",
        UpstreamCxDestroyRemoteWithActiveRq = "upstream_cx_destroy_remote_with_active_rq",
        UpstreamCxDestroyWithActiveRq = "upstream_cx_destroy_with_active_rq",
        UpstreamCxHttp1Total = "upstream_cx_http1_total",
        UpstreamCxHttp2Total = "upstream_cx_http2_total",
        UpstreamCxHttp3Total = "upstream_cx_http3_total",
        UpstreamCxIdleTimeout = "upstream_cx_idle_timeout",
        UpstreamCxMaxDurationReached = "upstream_cx_max_duration_reached",
        UpstreamCxMaxRequests = "upstream_cx_max_requests",
        UpstreamCxNoneHealthy = "upstream_cx_none_healthy",
        UpstreamCxOverflow = "upstream_cx_overflow",
        UpstreamCxPoolOverflow = "upstream_cx_pool_overflow",
        UpstreamCxPreconnectSkipped = "upstream_cx_preconnect_skipped",
        UpstreamCxProtocolError = "upstream_cx_protocol_error",
        UpstreamCxRxBytesTotal = "upstream_cx_rx_bytes_total",
        UpstreamCxTotal = "upstream_cx_total",
        UpstreamCxTxBytesTotal = "upstream_cx_tx_bytes_total",
        UpstreamFlowControlBackedUpTotal = "upstream_flow_control_backed_up_total",
        UpstreamFlowControlDrainedTotal = "upstream_flow_control_drained_total",
        UpstreamFlowControlPausedReadingTotal = "upstream_flow_control_paused_reading_total",
        UpstreamFlowControlResumedReadingTotal = "upstream_flow_control_resumed_reading_total",
        UpstreamHttp3Broken = "upstream_http3_broken",
        UpstreamInternalRedirectFailedTotal = "upstream_internal_redirect_failed_total",
        UpstreamInternalRedirectSucceededTotal = "upstream_internal_redirect_succeeded_total",
        UpstreamRq0rtt = "upstream_rq_0rtt",
        UpstreamRqActiveOverflow = "upstream_rq_active_overflow",
        UpstreamRqCancelled = "upstream_rq_cancelled",
        UpstreamRqKeepaliveReplay = "upstream_rq_keepalive_replay",
        UpstreamRqMaintenanceMode = "upstream_rq_maintenance_mode",
        UpstreamRqMaxDurationReached = "upstream_rq_max_duration_reached",
        UpstreamRqPendingFailureEject = "upstream_rq_pending_failure_eject",
        UpstreamRqPendingOverflow = "upstream_rq_pending_overflow",
        UpstreamRqPendingTotal = "upstream_rq_pending_total",
        UpstreamRqPerTryIdleTimeout = "upstream_rq_per_try_idle_timeout",
        UpstreamRqPerTryTimeout = "upstream_rq_per_try_timeout",
        UpstreamRqRetry = "upstream_rq_retry",
        UpstreamRqRetryBackoffExponential = "upstream_rq_retry_backoff_exponential",
        UpstreamRqRetryBackoffRatelimited = "upstream_rq_retry_backoff_ratelimited",
        UpstreamRqRetryLimitExceeded = "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow = "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess = "upstream_rq_retry_success",
        UpstreamRqRxReset = "upstream_rq_rx_reset",
        UpstreamRqRxResetNoError = "upstream_rq_rx_reset_no_error",
        UpstreamRqTimeout = "upstream_rq_timeout",
        UpstreamRqTotal = "upstream_rq_total",
        UpstreamRqTxReset = "upstream_rq_tx_reset",
    }
    ClusterGauge {
        LbSubsetsActive = "lb_subsets_active",
        UpstreamCxActive = "upstream_cx_active",
        UpstreamCxRxBytesBuffered = "upstream_cx_rx_bytes_buffered",
        UpstreamCxTxBytesBuffered = "upstream_cx_tx_bytes_buffered",
        UpstreamQueueOverloaded = "upstream_queue_overloaded",
        UpstreamRqActive = "upstream_rq_active",
        UpstreamRqPendingActive = "upstream_rq_pending_active",
    }
    ClusterHistogram {
        UpstreamCxConnectMs = "upstream_cx_connect_ms",
        UpstreamCxLengthMs = "upstream_cx_length_ms",
        UpstreamRqPerCx = "upstream_rq_per_cx",
        UpstreamRqTime = "upstream_rq_time",
        ExternalUpstreamRqTime = "external.upstream_rq_time",
        InternalUpstreamRqTime = "internal.upstream_rq_time",
        CanaryUpstreamRqTime = "canary.upstream_rq_time",
    }
}

stat_kind! {
    /// The hosts and the configuration of a cluster, written by the control thread.
    ClusterHosts("cluster.", None);
    ClusterHostsCounter {
        AssignmentStale = "assignment_stale",
        AssignmentTimeoutReceived = "assignment_timeout_received",
        AssignmentUseCached = "assignment_use_cached",
        DefaultTotalMatchCount = "default.total_match_count",
        MembershipChange = "membership_change",
        UpdateAttempt = "update_attempt",
        UpdateEmpty = "update_empty",
        UpdateFailure = "update_failure",
        UpdateNoRebuild = "update_no_rebuild",
        UpdateSuccess = "update_success",
    }
    ClusterHostsGauge {
        MaxHostWeight = "max_host_weight",
        MembershipDegraded = "membership_degraded",
        MembershipExcluded = "membership_excluded",
        MembershipHealthy = "membership_healthy",
        MembershipTotal = "membership_total",
        Version = "version",
        WarmingState = "warming_state",
    }
    ClusterHostsHistogram {}
}

stat_kind! {
    /// Circuit breakers of one priority; the scope is `<name>.circuit_breakers.default` or `….high`.
    CircuitBreakers("cluster.", None);
    CircuitBreakersCounter {}
    CircuitBreakersGauge {
        CxOpen = "cx_open",
        CxPoolOpen = "cx_pool_open",
        RqOpen = "rq_open",
        RqPendingOpen = "rq_pending_open",
        RqRetryOpen = "rq_retry_open",
    }
    CircuitBreakersHistogram {}
}

stat_kind! {
    /// What is left of the limits with `track_remaining`; the scope is that of [`CircuitBreakers`].
    CircuitBreakersLeft("cluster.", None);
    CircuitBreakersLeftCounter {}
    CircuitBreakersLeftGauge {
        RemainingCx = "remaining_cx",
        RemainingCxPools = "remaining_cx_pools",
        RemainingPending = "remaining_pending",
        RemainingRetries = "remaining_retries",
        RemainingRq = "remaining_rq",
    }
    CircuitBreakersLeftHistogram {}
}

stat_kind! {
    /// Active health checks; the scope is `<name>.health_check`.
    HealthCheck("cluster.", None);
    HealthCheckCounter {
        Attempt = "attempt",
        Failure = "failure",
        NetworkFailure = "network_failure",
        PassiveFailure = "passive_failure",
        Success = "success",
        VerifyCluster = "verify_cluster",
    }
    HealthCheckGauge {
        Degraded = "degraded",
        Healthy = "healthy",
    }
    HealthCheckHistogram {}
}

stat_kind! {
    /// Outlier detection; the scope is `<name>.outlier_detection`.
    OutlierDetection("cluster.", None);
    OutlierDetectionCounter {
        EjectionsConsecutive5xx = "ejections_consecutive_5xx",
        EjectionsDetectedConsecutive5xx = "ejections_detected_consecutive_5xx",
        EjectionsDetectedConsecutiveGatewayFailure = "ejections_detected_consecutive_gateway_failure",
        EjectionsDetectedConsecutiveLocalOriginFailure = "ejections_detected_consecutive_local_origin_failure",
        EjectionsDetectedDegradation = "ejections_detected_degradation",
        EjectionsDetectedFailurePercentage = "ejections_detected_failure_percentage",
        EjectionsDetectedLocalOriginFailurePercentage = "ejections_detected_local_origin_failure_percentage",
        EjectionsDetectedLocalOriginSuccessRate = "ejections_detected_local_origin_success_rate",
        EjectionsDetectedSuccessRate = "ejections_detected_success_rate",
        EjectionsEnforcedConsecutive5xx = "ejections_enforced_consecutive_5xx",
        EjectionsEnforcedConsecutiveGatewayFailure = "ejections_enforced_consecutive_gateway_failure",
        EjectionsEnforcedConsecutiveLocalOriginFailure = "ejections_enforced_consecutive_local_origin_failure",
        EjectionsEnforcedFailurePercentage = "ejections_enforced_failure_percentage",
        EjectionsEnforcedLocalOriginFailurePercentage = "ejections_enforced_local_origin_failure_percentage",
        EjectionsEnforcedLocalOriginSuccessRate = "ejections_enforced_local_origin_success_rate",
        EjectionsEnforcedSuccessRate = "ejections_enforced_success_rate",
        EjectionsEnforcedTotal = "ejections_enforced_total",
        EjectionsOverflow = "ejections_overflow",
        EjectionsSuccessRate = "ejections_success_rate",
        EjectionsTotal = "ejections_total",
    }
    OutlierDetectionGauge {
        EjectionsActive = "ejections_active",
    }
    OutlierDetectionHistogram {}
}
