//! Spans on their way from the workers to the control thread, which sends them to a collector.
//!
//! Tracers that export alike share a sink, so a listener that changes goes on with the queue and connection of the one before it. As
//! with access log services, only weak references are kept here: a sink ends when no configuration refers to it any more.
//! `control/compile/trace` opens sinks in [`SpanSinks`], which the compile context carries; `control/trace` empties them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::span::Span;
use crate::reference::GrpcTarget;

/// Where spans go, and in which form.
#[derive(Clone, Debug, PartialEq)]
pub enum Export {
    /// `envoy.tracers.opentelemetry`
    Otlp(Otlp),
    /// `envoy.tracers.zipkin`
    Zipkin(ZipkinExport),
}

/// The export of `OpenTelemetryConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// How the collector is reached.
    pub way: OtlpWay,
    /// The resource's attributes.
    pub resource: Vec<(String, String)>,
    /// `set_instrumentation_scope`
    pub scope: bool,
    /// `max_cache_size`: spans that may wait.
    pub most: usize,
}

/// `grpc_service` or `http_service`
#[derive(Clone, Debug, PartialEq)]
pub enum OtlpWay {
    /// OTLP by gRPC.
    Grpc(GrpcTarget),
    /// OTLP by HTTP, in protobuf.
    Http(HttpCollector),
}

/// The export of `ZipkinConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct ZipkinExport {
    /// Where spans are posted.
    pub collector: HttpCollector,
    /// `shared_span_context`: server spans say that they share their ids with the client's.
    pub shared: bool,
    /// `node.cluster`, the name of the service.
    pub service: Arc<str>,
}

/// `HttpService`
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCollector {
    /// `cluster`
    pub cluster: Arc<str>,
    /// What `Host` says.
    pub host: Arc<str>,
    /// Path and query.
    pub path: Arc<str>,
    /// `request_headers_to_add`: names and values.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// `timeout`; none if the runtime decides.
    pub timeout: Option<Duration>,
}

impl Export {
    /// How many spans may wait.
    fn most(&self) -> usize {
        match self {
            Export::Otlp(otlp) => otlp.most.max(1),
            Export::Zipkin(_) => MOST,
        }
    }
}

/// `max_cache_size` where nothing is configured.
pub const MOST: usize = 1024;

/// All sinks of the process.
#[derive(Debug)]
pub struct SpanSinks {
    /// Validation sends nothing.
    dry: bool,
    sinks: Mutex<Vec<Weak<Shared>>>,
    /// New sinks, for the control thread; as many as the configuration has.
    opened: mpsc::UnboundedSender<SpanOutlet>,
    outlets: Mutex<Option<mpsc::UnboundedReceiver<SpanOutlet>>>,
    closing: watch::Sender<bool>,
}

/// An open sink. Clones share it.
#[derive(Clone, Debug)]
pub struct SpanSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    export: Arc<Export>,
    sender: Option<mpsc::Sender<Box<Span>>>,
    dropped: Arc<AtomicU64>,
}

/// The control thread's end of a sink.
#[derive(Debug)]
pub struct SpanOutlet {
    /// Where the spans go.
    pub export: Arc<Export>,
    spans: mpsc::Receiver<Box<Span>>,
    dropped: Arc<AtomicU64>,
    closing: watch::Receiver<bool>,
}

impl Default for SpanSinks {
    fn default() -> Self {
        let (opened, outlets) = mpsc::unbounded_channel();
        Self {
            dry: false,
            sinks: Mutex::default(),
            opened,
            outlets: Mutex::new(Some(outlets)),
            closing: watch::Sender::new(false),
        }
    }
}

impl SpanSinks {
    /// Sends nothing: for `--mode validate`.
    pub fn for_validation() -> Self {
        Self { dry: true, ..Self::default() }
    }

    /// The sink of an export, a new one if need be.
    pub fn open(&self, export: Export) -> SpanSink {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        if let Some(shared) = sinks.iter().filter_map(Weak::upgrade).find(|known| *known.export == export) {
            return SpanSink(shared);
        }
        let (sender, spans) = mpsc::channel(export.most());
        let (export, dropped) = (Arc::new(export), Arc::default());
        let outlet = SpanOutlet {
            export: Arc::clone(&export),
            spans,
            dropped: Arc::clone(&dropped),
            closing: self.closing.subscribe(),
        };
        let open = !self.dry && self.opened.send(outlet).is_ok();
        let shared = Arc::new(Shared { export, sender: open.then_some(sender), dropped });
        sinks.push(Arc::downgrade(&shared));
        SpanSink(shared)
    }

    /// The control thread hears of new sinks; only the first call has it.
    pub fn outlets(&self) -> Option<mpsc::UnboundedReceiver<SpanOutlet>> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks every sink to send what it has and to end; false if `limit` ends first.
    pub async fn close(&self, limit: Duration) -> bool {
        self.closing.send_replace(true);
        tokio::time::timeout(limit, self.closing.closed()).await.is_ok()
    }
}

impl SpanSink {
    /// Gives a span to the control thread. Never waits: a span for which there is no room is dropped and counted.
    pub fn submit(&self, span: Box<Span>) {
        if let Some(sender) = &self.0.sender
            && sender.try_send(span).is_err()
        {
            self.0.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl SpanOutlet {
    /// The next span; `None` when there will be none, because nobody refers to the sink or the process ends.
    pub async fn next(&mut self) -> Option<Box<Span>> {
        let closing = async { self.closing.wait_for(|closing| *closing).await.is_ok() };
        tokio::select! {
            biased;
            span = self.spans.recv() => return span,
            _ = closing => {}
        }
        self.spans.try_recv().ok()
    }

    /// How many spans were dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Relaxed)
    }

    /// Whether the process ends.
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the process ends.
    pub async fn closing(&mut self) {
        // An error means that the sender is gone, which comes to the same.
        let _ = self.closing.wait_for(|closing| *closing).await.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use sampan_model::trace::Context;

    use super::super::span::SpanKind;
    use super::*;

    fn export(most: usize) -> Export {
        let collector = HttpCollector {
            cluster: "c".into(),
            host: "c".into(),
            path: "/".into(),
            headers: Vec::new(),
            timeout: None,
        };
        Export::Otlp(Otlp { way: OtlpWay::Http(collector), resource: Vec::new(), scope: true, most })
    }

    fn span() -> Box<Span> {
        Box::new(Span {
            context: Context::default(),
            remote_parent: false,
            state: None,
            name: "n".to_owned(),
            kind: SpanKind::Client,
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            tags: Vec::new(),
            events: Vec::new(),
        })
    }

    #[tokio::test]
    async fn what_has_no_room_is_counted() {
        let sinks = SpanSinks::default();
        let sink = sinks.open(export(2));
        let mut outlets = sinks.outlets().unwrap();
        assert!(sinks.outlets().is_none());
        let mut outlet = outlets.recv().await.unwrap();
        for _ in 0..5 {
            sink.submit(span());
        }
        assert_eq!((outlet.take_dropped(), outlet.take_dropped()), (3, 0));
        assert_eq!(outlet.next().await.unwrap().name, "n");
        sink.submit(span());
        assert_eq!(outlet.take_dropped(), 0);
    }

    #[tokio::test]
    async fn equal_exports_share_a_sink_that_ends_with_them() {
        let sinks = SpanSinks::default();
        let (first, second) = (sinks.open(export(2)), sinks.open(export(2)));
        let mut outlets = sinks.outlets().unwrap();
        let mut outlet = outlets.recv().await.unwrap();
        assert!(outlets.try_recv().is_err(), "one outlet for both");
        drop(first);
        second.submit(span());
        drop(second);
        assert!(outlet.next().await.is_some());
        assert!(outlet.next().await.is_none());
    }

    #[tokio::test]
    async fn a_process_that_ends_empties_its_sinks() {
        let sinks = SpanSinks::default();
        let sink = sinks.open(export(2));
        let mut outlet = sinks.outlets().unwrap().recv().await.unwrap();
        sink.submit(span());
        let closing = sinks.close(Duration::from_secs(5));
        let ended = async {
            assert!(outlet.next().await.is_some());
            assert!(outlet.next().await.is_none() && outlet.is_closing());
            drop(outlet);
        };
        assert!(tokio::join!(closing, ended).0);
    }

    #[tokio::test]
    async fn validation_sends_nothing() {
        let sinks = SpanSinks::for_validation();
        sinks.open(export(1)).submit(span());
        assert!(sinks.outlets().unwrap().try_recv().is_err());
    }
}
