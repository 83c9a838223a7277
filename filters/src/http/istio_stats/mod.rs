//! `istio.stats` for requests: counts each one when it is over, and the messages of gRPC calls while they go on.

pub mod config;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sampan_filters_api::format::response_grpc_status;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Headers, Known, StreamInfo};

use crate::http::grpc_stats;
use crate::istio_stats::labels::{Subject, is_settled};
use crate::istio_stats::series::{Group, Known as Series, View};
use crate::istio_stats::{Metric, Settings};

/// The factory.
pub struct RequestStats(pub Arc<Settings>);

/// One request.
struct Instance {
    series: Rc<Series>,
    grpc: Option<Box<Call>>,
}

/// A gRPC call.
struct Call {
    /// The status of the trailers.
    status: Option<Headers>,
    /// Where its messages are counted, once that is settled.
    group: Option<Rc<Group>>,
    /// What was counted of them.
    reported: (u64, u64),
    /// When it was.
    at: Instant,
}

impl HttpFilterFactory for RequestStats {
    fn phases(&self) -> Phases {
        Phases::COMPLETE
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let call = || Call { status: None, group: None, reported: (0, 0), at: Instant::now() };
        let grpc = start.request.is_grpc().then(|| Box::new(call()));
        Some(Box::new(Instance { series: Series::of(&self.0), grpc }))
    }
}

impl HttpFilter for Instance {
    fn phases(&self) -> Option<Phases> {
        let messages = Phases::REQUEST_DATA.and(Phases::RESPONSE_DATA).and(Phases::RESPONSE_TRAILERS);
        self.grpc.as_ref().map(|_| messages.and(Phases::COMPLETE))
    }

    fn on_request_data(&mut self, stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        self.on_data(stream);
        Flow::Continue
    }

    fn on_response_data(&mut self, stream: &mut Stream<'_>, _data: &mut Bytes, _end: bool) -> Flow {
        self.on_data(stream);
        Flow::Continue
    }

    fn on_response_trailers(&mut self, _stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        if let (Some(call), Some(status)) = (&mut self.grpc, trailers.known(Known::GrpcStatus)) {
            call.status.get_or_insert_default().set_known(Known::GrpcStatus, status);
        }
        Flow::Continue
    }

    fn on_complete(&mut self, stream: &mut Stream<'_>) {
        self.report_messages(stream, true);
        let settings = &*self.series.settings;
        let info = &*stream.info;
        let mut view = View {
            info,
            request: Some(stream.request),
            response: stream.response.as_deref(),
            trailers: None,
        };
        view.trailers = self.grpc.as_ref().and_then(|call| call.status.as_ref());
        let grpc = self.grpc.is_some();
        let status = if grpc { response_grpc_status(&view.context()) } else { None };
        let group = self.series.group(&view, Subject::Request { grpc, status });
        group.add(settings, Metric::Requests, 1);
        let duration = info.duration(info.end.unwrap_or(info.start));
        group.record(settings, Metric::Duration, duration.as_millis() as u64);
        let (received, sent) = sizes(info);
        group.record(settings, Metric::RequestBytes, received);
        group.record(settings, Metric::ResponseBytes, sent);
        group.record_custom(settings);
    }
}

impl Instance {
    /// Counts messages now and then.
    fn on_data(&mut self, stream: &Stream<'_>) {
        let period = self.series.settings.period;
        if self.grpc.as_ref().is_some_and(|call| !period.is_zero() && call.at.elapsed() >= period) {
            self.report_messages(stream, false);
        }
    }

    /// Counts the messages that came since the last time, once it is settled whose they are.
    fn report_messages(&mut self, stream: &Stream<'_>, end: bool) {
        let Some(call) = &mut self.grpc else { return };
        call.at = Instant::now();
        let settings = &*self.series.settings;
        if !end && !is_settled(settings.reporter, stream.info) {
            return;
        }
        let Some(counted) = messages(stream.info) else { return };
        let group = call.group.get_or_insert_with(|| {
            let request = Some(&*stream.request);
            let view = View { info: stream.info, request, response: None, trailers: None };
            self.series.group(&view, Subject::Messages)
        });
        group.add(settings, Metric::RequestMessages, counted.0.saturating_sub(call.reported.0));
        group.add(settings, Metric::ResponseMessages, counted.1.saturating_sub(call.reported.1));
        call.reported = counted;
    }
}

/// What `grpc_stats` has counted, if it is in the chain and tells.
fn messages(info: &StreamInfo) -> Option<(u64, u64)> {
    let object = info.filter_state.object(grpc_stats::STATE)?;
    let object: &dyn Any = &**object;
    object.downcast_ref::<grpc_stats::Messages>().map(grpc_stats::Messages::counts)
}

/// Bytes of a request and of its response with their heads. An HTTP/2 stream's are those before compression and framing.
fn sizes(info: &StreamInfo) -> (u64, u64) {
    let bytes = &info.bytes;
    let wire = (bytes.downstream_wire_received, bytes.downstream_wire_sent);
    if wire != (0, 0) {
        return wire;
    }
    (bytes.request_headers + bytes.received, bytes.response_headers + bytes.sent + bytes.response_trailers)
}
