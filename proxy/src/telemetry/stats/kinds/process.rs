//! What the process as a whole counts: the server, the managers of listeners and clusters, subscriptions. The scope is empty
//! unless said otherwise.

use crate::telemetry::stats::schema::stat_kind;

stat_kind! {
    /// `server.`
    Server("server.", None);
    ServerCounter {
        DebugAssertionFailures = "debug_assertion_failures",
        DroppedStatFlushes = "dropped_stat_flushes",
        DynamicUnknownFields = "dynamic_unknown_fields",
        EnvoyBugFailures = "envoy_bug_failures",
        EnvoyNotifications = "envoy_notifications",
        StaticUnknownFields = "static_unknown_fields",
        WipProtos = "wip_protos",
    }
    ServerGauge {
        CompilationSettingsFipsMode = "compilation_settings.fips_mode",
        Concurrency = "concurrency",
        DaysUntilFirstCertExpiring = "days_until_first_cert_expiring",
        HotRestartEpoch = "hot_restart_epoch",
        HotRestartGeneration = "hot_restart_generation",
        Live = "live",
        MemoryAllocated = "memory_allocated",
        MemoryHeapSize = "memory_heap_size",
        MemoryPhysicalSize = "memory_physical_size",
        ParentConnections = "parent_connections",
        SecondsUntilFirstOcspResponseExpiring = "seconds_until_first_ocsp_response_expiring",
        State = "state",
        StatsRecentLookups = "stats_recent_lookups",
        TotalConnections = "total_connections",
        Uptime = "uptime",
        Version = "version",
    }
    ServerHistogram {
        InitializationTimeMs = "initialization_time_ms",
    }
}

stat_kind! {
    /// `listener_manager.`
    ListenerManager("listener_manager.", None);
    ListenerManagerCounter {
        ListenerAdded = "listener_added",
        ListenerCreateFailure = "listener_create_failure",
        ListenerCreateSuccess = "listener_create_success",
        ListenerInPlaceUpdated = "listener_in_place_updated",
        ListenerModified = "listener_modified",
        ListenerRemoved = "listener_removed",
        ListenerStopped = "listener_stopped",
    }
    ListenerManagerGauge {
        TotalFilterChainsDraining = "total_filter_chains_draining",
        TotalListenersActive = "total_listeners_active",
        TotalListenersDraining = "total_listeners_draining",
        TotalListenersWarming = "total_listeners_warming",
        WorkersPinned = "workers_pinned",
        WorkersStarted = "workers_started",
    }
    ListenerManagerHistogram {}
}

stat_kind! {
    /// `cluster_manager.`
    ClusterManager("cluster_manager.", None);
    ClusterManagerCounter {
        ClusterAdded = "cluster_added",
        ClusterModified = "cluster_modified",
        ClusterRemoved = "cluster_removed",
        ClusterUpdated = "cluster_updated",
        ClusterUpdatedViaMerge = "cluster_updated_via_merge",
        UpdateMergeCancelled = "update_merge_cancelled",
        UpdateOutOfMergeWindow = "update_out_of_merge_window",
    }
    ClusterManagerGauge {
        ActiveClusters = "active_clusters",
        WarmingClusters = "warming_clusters",
    }
    ClusterManagerHistogram {}
}

stat_kind! {
    /// `runtime.`
    Runtime("runtime.", None);
    RuntimeCounter {
        DeprecatedFeatureUse = "deprecated_feature_use",
        LoadError = "load_error",
        LoadSuccess = "load_success",
        OverrideDirExists = "override_dir_exists",
        OverrideDirNotExists = "override_dir_not_exists",
    }
    RuntimeGauge {
        AdminOverridesActive = "admin_overrides_active",
        DeprecatedFeatureSeenSinceProcessStart = "deprecated_feature_seen_since_process_start",
        NumKeys = "num_keys",
        NumLayers = "num_layers",
    }
    RuntimeHistogram {}
}

stat_kind! {
    /// `filesystem.`: the writers of log files.
    Filesystem("filesystem.", None);
    FilesystemCounter {
        FlushedByTimer = "flushed_by_timer",
        ReopenFailed = "reopen_failed",
        WriteBuffered = "write_buffered",
        WriteCompleted = "write_completed",
        WriteFailed = "write_failed",
    }
    FilesystemGauge {
        WriteTotalBuffered = "write_total_buffered",
    }
    FilesystemHistogram {}
}

stat_kind! {
    /// `access_logs.grpc_access_log.`: entries for access log services. The workers count what they write and drop, the
    /// control thread what it sends.
    GrpcAccessLog("access_logs.grpc_access_log.", None);
    GrpcAccessLogCounter {
        GrpcEntriesFlushFailed = "grpc_entries_flush_failed",
        GrpcEntriesFlushed = "grpc_entries_flushed",
        LogsDropped = "logs_dropped",
        LogsWritten = "logs_written",
    }
    GrpcAccessLogGauge {}
    GrpcAccessLogHistogram {}
}

stat_kind! {
    /// An xDS subscription; the scope is `cluster_manager.cds`, `listener_manager.lds`, `http.<prefix>.rds.<name>` and the like.
    Subscription("", None);
    SubscriptionCounter {
        ConfigReload = "config_reload",
        InitFetchTimeout = "init_fetch_timeout",
        UpdateAttempt = "update_attempt",
        UpdateFailure = "update_failure",
        UpdateRejected = "update_rejected",
        UpdateSuccess = "update_success",
    }
    SubscriptionGauge {
        UpdateTime = "update_time",
        Version = "version",
    }
    SubscriptionHistogram {
        UpdateDuration = "update_duration",
    }
}

stat_kind! {
    /// `tracing.opentelemetry.`: spans on their way to OTLP collectors.
    OpenTelemetry("tracing.opentelemetry.", None);
    OpenTelemetryCounter {
        SpansDropped = "spans_dropped",
        SpansSent = "spans_sent",
        TimerFlushed = "timer_flushed",
    }
    OpenTelemetryGauge {}
    OpenTelemetryHistogram {}
}

stat_kind! {
    /// `tracing.zipkin.`: spans on their way to Zipkin collectors. `spans_dropped` is ours: Envoy does not count them.
    ZipkinTracing("tracing.zipkin.", None);
    ZipkinTracingCounter {
        ReportsDropped = "reports_dropped",
        ReportsFailed = "reports_failed",
        ReportsSent = "reports_sent",
        ReportsSkippedNoCluster = "reports_skipped_no_cluster",
        SpansDropped = "spans_dropped",
        SpansSent = "spans_sent",
        TimerFlushed = "timer_flushed",
    }
    ZipkinTracingGauge {}
    ZipkinTracingHistogram {}
}
