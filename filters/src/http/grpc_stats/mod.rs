//! `envoy.filters.http.grpc_stats`: counts gRPC calls by status and their messages, by cluster and, where wanted, by method; measures
//! how long upstreams take.

pub mod config;
#[cfg(test)]
mod tests;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::head::is_grpc_content_type;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::{MetadataValue, StateObject, UpstreamInfo};
use sampan_filters_api::series::{Series, SeriesKind, Wanted};
use sampan_filters_api::{CounterStore, Counters, Headers, Known, SeriesStore};
use sampan_model::route::path_without_query;

use crate::http::grpc::{self, PREFIX};

/// Whose calls are counted by method.
#[derive(Debug)]
pub enum Methods {
    /// `stats_for_all_methods`
    All,
    /// `individual_method_stats_allowlist`: service and method. The rest is counted without them.
    Listed(HashSet<(Box<str>, Box<str>)>),
}

/// The factory.
pub struct GrpcStats {
    /// Tells configurations apart.
    pub id: u64,
    /// Whose calls are counted by method.
    pub methods: Methods,
    /// `emit_filter_state`
    pub emit: bool,
    /// `replace_dots_in_grpc_service_name`
    pub replace_dots: bool,
    /// Where counters are kept.
    pub store: Arc<CounterStore>,
    /// Where the times are kept that upstreams take (`enable_upstream_stats`).
    pub times: Option<Arc<dyn SeriesStore>>,
}

/// What is written for a method, or for all that have nothing of their own.
struct Stats {
    counters: Arc<Counters>,
    /// What the names begin with.
    prefix: Box<str>,
    /// [`UPSTREAM_TIME`], from its first value on.
    time: OnceCell<Option<Arc<dyn Series>>>,
}

/// How long the upstream took from the end of the request to that of the response, in milliseconds: a histogram.
const UPSTREAM_TIME: &str = "upstream_rq_time";

/// The names behind `cluster.<name>.grpc.` and, where it is counted by method, `<service>.<method>.`; the first are those of
/// [`grpc::CALLS`].
#[rustfmt::skip]
const COUNTERS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "success", "failure", "total", "request_message_count", "response_message_count",
];
const REQUESTS: usize = 20;
const RESPONSES: usize = 21;

/// The key of what it leaves in the filter state.
pub const STATE: &str = "envoy.filters.http.grpc_stats";

/// Messages of a call, as the filter state tells them.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    requests: Cell<u64>,
    responses: Cell<u64>,
}

impl Messages {
    /// So many of the request and of the response.
    #[cfg(test)]
    pub fn of(requests: u64, responses: u64) -> Self {
        Self { requests: Cell::new(requests), responses: Cell::new(responses) }
    }

    /// Of the request and of the response, so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.requests.get(), self.responses.get())
    }
}

/// One call.
struct Instance {
    stats: Option<Rc<Stats>>,
    times: Option<Arc<dyn SeriesStore>>,
    emit: bool,
    messages: Option<Rc<Messages>>,
    request: Frames,
    response: Frames,
    /// The response is gRPC too.
    answered: bool,
}

/// Counts the length-prefixed messages of a gRPC stream, however it is cut into pieces.
#[derive(Default)]
struct Frames {
    count: u64,
    /// Bytes of the current prefix that were seen, at most five.
    prefix: usize,
    /// The length that the prefix tells, and then what is left of the message.
    left: u64,
}

impl Frames {
    /// The number of messages that begin in a piece.
    fn inspect(&mut self, data: &[u8]) -> u64 {
        let before = self.count;
        let mut data = data;
        while let Some((&byte, rest)) = data.split_first() {
            if self.prefix == PREFIX {
                let skipped = self.left.min(data.len() as u64) as usize;
                data = &data[skipped..];
                self.left -= skipped as u64;
            } else {
                if self.prefix == 0 {
                    self.count += 1;
                } else {
                    self.left = self.left << 8 | u64::from(byte);
                }
                self.prefix += 1;
                data = rest;
            }
            if self.prefix == PREFIX && self.left == 0 {
                self.prefix = 0;
            }
        }
        self.count - before
    }
}

impl StateObject for Messages {
    fn plain(&self) -> String {
        format!("{},{}", self.requests.get(), self.responses.get())
    }

    fn typed(&self) -> MetadataValue {
        let counts = [("requestMessageCount", &self.requests), ("responseMessageCount", &self.responses)];
        let fields = counts.into_iter().filter(|(_, count)| count.get() > 0);
        let text = |count: &Cell<u64>| MetadataValue::String(count.get().to_string().into());
        MetadataValue::Struct(fields.map(|(name, count)| (name.into(), text(count))).collect())
    }
}

impl HttpFilterFactory for GrpcStats {
    fn phases(&self) -> Phases {
        Phases::REQUEST_DATA
            .and(Phases::RESPONSE_HEAD)
            .and(Phases::RESPONSE_DATA)
            .and(Phases::RESPONSE_TRAILERS)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        if !start.request.is_grpc() {
            return None;
        }
        let stats = start.cluster.and_then(|cluster| self.stats(cluster, start.request.path()));
        Some(Box::new(Instance {
            stats,
            times: self.times.clone(),
            emit: self.emit,
            messages: None,
            request: Frames::default(),
            response: Frames::default(),
            answered: false,
        }))
    }
}

/// Configuration, cluster and path of a call.
type Call = (u64, Box<str>, Box<[u8]>);

thread_local! {
    /// What this thread has written, by configuration, cluster and path, so that it need not ask the store.
    static KNOWN: RefCell<HashMap<Call, Rc<Stats>>> = RefCell::default();
}

/// Entries of [`KNOWN`] at most; then it begins anew.
const MOST_KNOWN: usize = 1024;

impl GrpcStats {
    /// What is written of a call; none if its path is no method's.
    fn stats(&self, cluster: &str, path: &[u8]) -> Option<Rc<Stats>> {
        let path = path_without_query(path);
        KNOWN.with_borrow_mut(|known| {
            let key = (self.id, Box::from(cluster), Box::from(path));
            if let Some(stats) = known.get(&key) {
                return Some(Rc::clone(stats));
            }
            let (service, method) = grpc::names(path)?;
            let stats = Rc::new(self.of_method(cluster, service, method)?);
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(key, Rc::clone(&stats));
            Some(stats)
        })
    }

    fn of_method(&self, cluster: &str, service: &str, method: &str) -> Option<Stats> {
        let listed = match &self.methods {
            Methods::All => true,
            Methods::Listed(listed) => listed.contains(&(service.into(), method.into())),
        };
        let whole = format!("cluster.{cluster}.grpc.");
        if listed {
            let service = if self.replace_dots { service.replace('.', "_") } else { service.to_owned() };
            if let Some(own) = self.of_prefix(format!("{whole}{service}.{method}.")) {
                return Some(own);
            }
        }
        self.of_prefix(whole)
    }

    fn of_prefix(&self, prefix: String) -> Option<Stats> {
        let counters = self.store.kept(&prefix, COUNTERS)?;
        Some(Stats { counters, prefix: prefix.into(), time: OnceCell::new() })
    }
}

impl HttpFilter for Instance {
    fn on_request_data(&mut self, stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        let seen = self.request.inspect(data);
        self.note(stream, seen, REQUESTS);
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let Some(response) = stream.response.as_deref() else { return Flow::Continue };
        let is_grpc = is_grpc_content_type(response.headers.known(Known::ContentType));
        self.answered = response.status == 200 && is_grpc;
        if end {
            self.answered = response.headers.has(Known::GrpcStatus);
        }
        self.charge(&response.headers);
        if end {
            self.measure(&stream.info.upstream);
        }
        Flow::Continue
    }

    fn on_response_data(&mut self, stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        if self.answered {
            let seen = self.response.inspect(data);
            self.note(stream, seen, RESPONSES);
        }
        Flow::Continue
    }

    fn on_response_trailers(&mut self, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        self.charge(trailers);
        self.measure(&stream.info.upstream);
        Flow::Continue
    }
}

impl Instance {
    /// Counts the call by the status that a head or trailers bring, if they do.
    fn charge(&self, fields: &Headers) {
        if let Some(stats) = &self.stats {
            grpc::charge(&stats.counters, fields);
        }
    }

    /// Records how long the upstream took, if it has taken the whole request and has answered.
    fn measure(&self, upstream: &UpstreamInfo) {
        let (Some(stats), Some(times)) = (&self.stats, &self.times) else { return };
        // A response that is over with its head has only the first of the two.
        let (first, last) = upstream.response_received;
        let (Some(sent), Some(received)) = (upstream.request_sent.1, last.or(first)) else { return };
        let time = stats.time.get_or_init(|| {
            let name = format!("{}{UPSTREAM_TIME}", stats.prefix);
            times.series(&Wanted {
                kind: SeriesKind::Histogram,
                name: &name,
                labels: Arc::new([]),
                idle: None,
            })
        });
        if let Some(time) = time {
            let took = received.saturating_duration_since(sent).as_millis();
            time.record(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }

    fn note(&mut self, stream: &mut Stream<'_>, seen: u64, counter: usize) {
        if seen == 0 {
            return;
        }
        if let Some(stats) = &self.stats {
            stats.counters.add(counter, seen);
        }
        if self.emit {
            let messages = self.messages.get_or_insert_with(|| {
                let messages = Rc::new(Messages::default());
                stream.info.filter_state.set(STATE, messages.clone());
                messages
            });
            messages.requests.set(self.request.count);
            messages.responses.set(self.response.count);
        }
    }
}
