//! What the TCP proxy counts.

use crate::telemetry::stats::schema::stat_kind;

stat_kind! {
    /// A TCP proxy: `tcp.<stat_prefix>.` The `spliced` and `copied` counters are ours: how many bytes took which way, and how
    /// many connections could not be spliced, by cause.
    Tcp("tcp.", None);
    TcpCounter {
        DownstreamCxDrainClose = "downstream_cx_drain_close",
        DownstreamCxNoRoute = "downstream_cx_no_route",
        DownstreamCxOverloadClose = "downstream_cx_overload_close",
        DownstreamCxRxBytesTotal = "downstream_cx_rx_bytes_total",
        DownstreamCxTotal = "downstream_cx_total",
        DownstreamCxTxBytesTotal = "downstream_cx_tx_bytes_total",
        DownstreamFlowControlPausedReadingTotal = "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal = "downstream_flow_control_resumed_reading_total",
        EarlyDataReceivedCountTotal = "early_data_received_count_total",
        IdleTimeout = "idle_timeout",
        MaxDownstreamConnectionDuration = "max_downstream_connection_duration",
        RouteDelayedTotal = "route_delayed_total",
        UpstreamFlushTotal = "upstream_flush_total",
        SplicedBytesTotal = "spliced_bytes_total",
        CopiedBytesTotal = "copied_bytes_total",
        CopiedCxDownstreamTls = "copied_cx_downstream_tls",
        CopiedCxUpstreamTls = "copied_cx_upstream_tls",
        CopiedCxFilterReads = "copied_cx_filter_reads",
        CopiedCxNoPipe = "copied_cx_no_pipe",
    }
    TcpGauge {
        DownstreamCxRxBytesBuffered = "downstream_cx_rx_bytes_buffered",
        DownstreamCxTxBytesBuffered = "downstream_cx_tx_bytes_buffered",
        UpstreamFlushActive = "upstream_flush_active",
    }
    TcpHistogram {}
}
