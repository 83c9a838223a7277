//! `istio.stats` for connections: counts each one when it is settled who the peer is, its bytes every now and then, and its end.

pub mod config;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory};

use crate::istio_stats::labels::{Subject, is_settled};
use crate::istio_stats::series::{Group, Known, View};
use crate::istio_stats::{Metric, Settings};

/// The factory.
pub struct ConnectionStats(pub Arc<Settings>);

/// One connection.
struct Connection {
    series: Rc<Known>,
    /// Where it is counted, once that is settled.
    group: Option<Rc<Group>>,
    /// Bytes that were counted: sent to the client, received from it.
    reported: (u64, u64),
}

impl NetworkFilterFactory for ConnectionStats {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(Connection { series: Known::of(&self.0), group: None, reported: (0, 0) })
    }
}

impl NetworkFilter for Connection {
    fn reads(&self) -> bool {
        false
    }

    fn tick(&self) -> Option<Duration> {
        Some(self.series.settings.period).filter(|period| !period.is_zero())
    }

    fn on_tick(&mut self, info: &mut StreamInfo) {
        self.report(info, false);
    }

    fn on_close(&mut self, info: &mut StreamInfo) {
        self.report(info, true);
        if let Some(group) = &self.group {
            let settings = &*self.series.settings;
            group.add(settings, Metric::Closed, 1);
            group.record_custom(settings);
        }
    }
}

impl Connection {
    /// Counts what is new, once it is settled who the peer is; at the end anyway.
    fn report(&mut self, info: &StreamInfo, end: bool) {
        let settings = &*self.series.settings;
        if self.group.is_none() && (end || is_settled(settings.reporter, info)) {
            let view = View { info, request: None, response: None, trailers: None };
            let group = self.series.group(&view, Subject::Connection);
            group.add(settings, Metric::Opened, 1);
            self.group = Some(group);
        }
        let Some(group) = &self.group else { return };
        let now = (info.bytes.downstream_wire_sent, info.bytes.downstream_wire_received);
        group.add(settings, Metric::Sent, now.0.saturating_sub(self.reported.0));
        group.add(settings, Metric::Received, now.1.saturating_sub(self.reported.1));
        self.reported = now;
    }
}
