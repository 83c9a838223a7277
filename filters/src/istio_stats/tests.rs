//! Names, labels and values: istio_stats.cc of Istio's data plane. The nodes and clusters are those that istiod makes of an `echo` service.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Stream};
use sampan_filters_api::info::{
    ByteCounts, CertificateInfo, ClusterFacts, FilterState, HostFacts, MetadataValue, RouteFacts, TlsInfo,
};
use sampan_filters_api::network::NetworkFilterFactory;
use sampan_filters_api::series::{Labels, Wanted};
use sampan_filters_api::{
    ConnectionInfo, Direction, Flag, Headers, RequestHead, ResponseHead, Series, StreamInfo,
};

use super::*;
use crate::config::FilterContext;
use crate::peer::{self, Peer};
use crate::state::Text;
use crate::testing::{bytes, connection, context, info, request, start};
use crate::{http, network};

type Proto = sampan_api::istio::PluginConfig;

/// Keeps series up to a number.
struct Store {
    most: usize,
    series: Mutex<BTreeMap<String, Arc<Cell>>>,
    asked: Mutex<usize>,
}

#[derive(Default)]
struct Cell(Mutex<(u64, bool)>);

impl Series for Cell {
    fn add(&self, amount: u64) {
        self.0.lock().unwrap().0 += amount;
    }

    fn set(&self, value: u64) {
        self.0.lock().unwrap().0 = value;
    }

    fn record(&self, value: u64) {
        self.add(value);
    }

    fn is_gone(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

impl Store {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, series: Mutex::default(), asked: Mutex::default() })
    }

    fn cell(&self, name: &str, labels: &Labels, most: usize) -> Option<Arc<Cell>> {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = format!("{name}{{{}}}", labels.join(","));
        *self.asked.lock().unwrap() += 1;
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = series.get(&key).filter(|known| !known.is_gone()) {
            return Some(Arc::clone(known));
        }
        if series.len() >= most {
            return None;
        }
        let cell = Arc::new(Cell::default());
        series.insert(key, Arc::clone(&cell));
        Some(cell)
    }

    fn shown(&self) -> Vec<String> {
        let series = self.series.lock().unwrap();
        series.iter().map(|(name, cell)| format!("{name} {}", cell.0.lock().unwrap().0)).collect()
    }

    /// The series of a metric.
    fn of(&self, metric: &str) -> Vec<String> {
        let prefix = format!("istiocustom.istio_{metric}{{");
        let found = self.shown().into_iter();
        found.filter_map(|line| line.strip_prefix(&prefix).map(|rest| rest.replace('}', ""))).collect()
    }
}

impl SeriesStore for Store {
    fn series(&self, wanted: &Wanted<'_>) -> Option<Arc<dyn Series>> {
        let cell = self.cell(wanted.name, &wanted.labels, self.most)?;
        Some(cell)
    }

    fn folded(&self, wanted: &Wanted<'_>) -> Arc<dyn Series> {
        self.cell(wanted.name, &wanted.labels, usize::MAX).unwrap()
    }

    fn constant(&self, name: &str, labels: Labels, value: u64) {
        self.cell(name, &labels, usize::MAX).unwrap().set(value);
    }
}

fn text(text: &str) -> MetadataValue {
    MetadataValue::String(text.into())
}

fn tree(fields: &[(&str, MetadataValue)]) -> MetadataValue {
    MetadataValue::Struct(fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

fn node(workload: &str, version: Option<&str>) -> NodeFacts {
    let mut labels = vec![
        ("app", text(workload)),
        ("service.istio.io/canonical-name", text(workload)),
        ("service.istio.io/canonical-revision", text(version.unwrap_or("latest"))),
    ];
    labels.extend(version.map(|version| ("version", text(version))));
    let metadata = tree(&[
        ("CLUSTER_ID", text("Kubernetes")),
        ("ISTIO_VERSION", text("1.31.0")),
        ("LABELS", tree(&labels)),
        ("NAMESPACE", text("demo")),
        ("WORKLOAD_NAME", text(workload)),
    ]);
    NodeFacts { metadata, ..NodeFacts::default() }
}

struct Case {
    store: Arc<Store>,
    node: NodeFacts,
    direction: Direction,
    yaml: &'static str,
}

impl Case {
    fn client(yaml: &'static str) -> Self {
        Self { store: Store::new(1000), node: node("client", None), direction: Direction::Outbound, yaml }
    }

    fn server(yaml: &'static str) -> Self {
        Self { store: Store::new(1000), node: node("echo", Some("v1")), direction: Direction::Inbound, yaml }
    }

    fn with<T>(&self, read: impl FnOnce(&[u8], &FilterContext<'_>) -> T) -> T {
        let series: Arc<dyn SeriesStore> = self.store.clone();
        let context =
            FilterContext { series: &series, node: &self.node, direction: self.direction, ..context() };
        read(&bytes::<Proto>(self.yaml), &context)
    }

    fn http(&self) -> Arc<dyn HttpFilterFactory> {
        self.with(|wire, context| http::istio_stats::config::compile(wire, context).unwrap())
    }

    fn tcp(&self) -> Arc<dyn NetworkFilterFactory> {
        self.with(|wire, context| network::istio_stats::config::compile(wire, context).unwrap())
    }

    fn refused(&self) -> Vec<String> {
        let refused = self.with(|wire, context| http::istio_stats::config::compile(wire, context).err());
        refused.unwrap_or_default().iter().map(|error| error.path.clone()).collect()
    }
}

fn certificate(workload: &str) -> Arc<CertificateInfo> {
    Arc::new(CertificateInfo {
        der: Box::default(),
        subject: String::new(),
        issuer: String::new(),
        serial: String::new(),
        sha1: String::new(),
        sha256: String::new(),
        not_before: std::time::SystemTime::UNIX_EPOCH,
        not_after: std::time::SystemTime::UNIX_EPOCH,
        uri_sans: vec![format!("spiffe://cluster.local/ns/demo/sa/{workload}")],
        dns_sans: Vec::new(),
        ip_sans: Vec::new(),
        email_sans: Vec::new(),
        other_sans: Vec::new(),
    })
}

fn tls(local: &str, peer: &str) -> Arc<TlsInfo> {
    let (local, peer) = (Some(certificate(local)), vec![certificate(peer)]);
    Arc::new(TlsInfo { local, peer, ..TlsInfo::default() })
}

fn peer_of(node: &NodeFacts) -> Rc<Peer> {
    Rc::new(Peer::of_metadata(&node.metadata, &[]))
}

fn cluster(name: &str, service: bool) -> Rc<ClusterFacts> {
    let one = tree(&[
        ("host", text("echo.demo.svc.cluster.local")),
        ("name", text("echo")),
        ("namespace", text("demo")),
    ]);
    let istio = tree(&[("services", MetadataValue::List(vec![one]))]);
    let metadata = service.then(|| Arc::new(tree(&[("istio", istio)])));
    Rc::new(ClusterFacts { name: name.into(), metadata, ..ClusterFacts::default() })
}

/// A request that ended, as the client's sidecar sees it.
fn outbound() -> StreamInfo {
    let mut stream = info();
    stream.response_code = 200;
    stream.end = Some(stream.start + Duration::from_millis(7));
    stream.bytes =
        ByteCounts { downstream_wire_received: 100, downstream_wire_sent: 200, ..ByteCounts::default() };
    stream.upstream.facts = Some(cluster("outbound|8080||echo.demo.svc.cluster.local", true));
    stream.upstream.tls = Some(tls("client", "echo"));
    stream.filter_state.add(peer::UPSTREAM, peer_of(&node("echo", Some("v1"))));
    stream
}

fn inbound() -> StreamInfo {
    let connection = ConnectionInfo { tls: Some(tls("echo", "client")), ..connection() };
    let mut stream = outbound();
    stream.connection = Rc::new(connection);
    stream.upstream = sampan_filters_api::info::UpstreamInfo::default();
    stream.upstream.facts = Some(cluster("inbound|8080||", true));
    stream.filter_state = FilterState::default();
    stream.filter_state.add(peer::DOWNSTREAM, peer_of(&node("client", None)));
    stream
}

/// Plays a request to its end.
fn play(
    factory: &dyn HttpFilterFactory,
    request: &mut RequestHead,
    stream: &mut StreamInfo,
    trailers: &[(&str, &str)],
) {
    let mut filter: Box<dyn HttpFilter> = factory.create(&start(request, stream, &[])).unwrap();
    let mut response = ResponseHead { status: stream.response_code, ..ResponseHead::default() };
    let mut held = Headers::new();
    for (name, value) in trailers {
        held.append(name, value);
    }
    let mut view = Stream { request, response: Some(&mut response), info: stream, clear_route: &mut false };
    if !trailers.is_empty() {
        assert!(matches!(filter.on_response_trailers(&mut view, &mut held), Flow::Continue));
    }
    filter.on_complete(&mut view);
}

const CLIENT: &str = "reporter=source,source_workload=client,source_canonical_service=client,\
    source_canonical_revision=latest,source_workload_namespace=demo,\
    source_principal=spiffe://cluster.local/ns/demo/sa/client,source_app=client,source_version=,\
    source_cluster=Kubernetes,destination_workload=echo,destination_workload_namespace=demo,\
    destination_principal=spiffe://cluster.local/ns/demo/sa/echo,destination_app=echo,\
    destination_version=v1,destination_service=echo.demo.svc.cluster.local,\
    destination_canonical_service=echo,destination_canonical_revision=v1,destination_service_name=echo,\
    destination_service_namespace=demo,destination_cluster=Kubernetes";

const SERVER: &str = "reporter=destination,source_workload=client,source_canonical_service=client,\
    source_canonical_revision=latest,source_workload_namespace=demo,\
    source_principal=spiffe://cluster.local/ns/demo/sa/client,source_app=client,source_version=unknown,\
    source_cluster=Kubernetes,destination_workload=echo,destination_workload_namespace=demo,\
    destination_principal=spiffe://cluster.local/ns/demo/sa/echo,destination_app=echo,\
    destination_version=v1,destination_service=echo.demo.svc.cluster.local,\
    destination_canonical_service=echo,destination_canonical_revision=v1,destination_service_name=echo,\
    destination_service_namespace=demo,destination_cluster=Kubernetes";

const HTTP_200: &str = "request_protocol=http,response_code=200,grpc_response_status=,response_flags=-";

#[test]
fn a_request_has_these_labels_on_the_clients_side() {
    let case = Case::client("{}");
    let factory = case.http();
    for _ in 0..2 {
        play(&*factory, &mut request(&[]), &mut outbound(), &[]);
    }
    let labels = format!("{CLIENT},{HTTP_200},connection_security_policy=unknown");
    assert_eq!(case.store.of("requests_total"), [format!("{labels} 2")]);
    assert_eq!(case.store.of("request_duration_milliseconds"), [format!("{labels} 14")]);
    assert_eq!(case.store.of("request_bytes"), [format!("{labels} 200")]);
    assert_eq!(case.store.of("response_bytes"), [format!("{labels} 400")]);
    assert_eq!(case.store.of("build"), ["component=proxy,tag=1.31.0 1"]);
    assert_eq!(*case.store.asked.lock().unwrap(), 5, "the second request asks for nothing");
}

#[test]
fn a_request_has_these_labels_on_the_servers_side() {
    let case = Case::server("{}");
    let mut stream = inbound();
    play(&*case.http(), &mut request(&[]), &mut stream, &[]);
    let labels = format!("{SERVER},{HTTP_200},connection_security_policy=mutual_tls");
    assert_eq!(case.store.of("requests_total"), [format!("{labels} 1")]);
    // Without TLS and without a peer that tells.
    let case = Case::server("{disable_host_header_fallback: true}");
    let mut stream = outbound();
    stream.filter_state = FilterState::default();
    stream.upstream.facts = Some(cluster("inbound|8080||", false));
    stream.response_code = 503;
    stream.flags.set(Flag::UpstreamConnectionFailure);
    play(&*case.http(), &mut request(&[]), &mut stream, &[]);
    assert_eq!(
        case.store.of("requests_total"),
        ["reporter=destination,source_workload=unknown,source_canonical_service=unknown,\
          source_canonical_revision=latest,source_workload_namespace=unknown,source_principal=unknown,\
          source_app=unknown,source_version=unknown,source_cluster=unknown,destination_workload=echo,\
          destination_workload_namespace=demo,destination_principal=unknown,destination_app=echo,\
          destination_version=v1,destination_service=echo,destination_canonical_service=echo,\
          destination_canonical_revision=v1,destination_service_name=echo,\
          destination_service_namespace=demo,destination_cluster=Kubernetes,request_protocol=http,\
          response_code=503,grpc_response_status=,response_flags=UF,connection_security_policy=none 1"]
    );
}

/// The values of some labels of a series.
fn some(line: &str, names: &[&str]) -> Vec<String> {
    let (labels, _) = line.rsplit_once(' ').unwrap();
    let of = |name: &&str| {
        labels
            .split(',')
            .find_map(|label| label.strip_prefix(&format!("{name}=")))
            .unwrap_or("(none)")
            .to_owned()
    };
    names.iter().map(of).collect()
}

#[test]
fn the_service_is_what_the_cluster_says_or_the_request_names() {
    let names = ["destination_service", "destination_service_name", "destination_service_namespace"];
    for (yaml, cluster, route, expected) in [
        ("{}", Some(cluster("c", true)), None, ["echo.demo.svc.cluster.local", "echo", "demo"]),
        ("{}", Some(cluster("c", false)), None, ["test:80", "test:80", "demo"]),
        ("{}", Some(cluster("PassthroughCluster", false)), None, ["test:80", "PassthroughCluster", "demo"]),
        ("{}", None, Some("block_all"), ["test:80", "BlackHoleCluster", "demo"]),
        ("{}", None, Some("allow_any"), ["test:80", "PassthroughCluster", "demo"]),
        ("{disable_host_header_fallback: true}", None, None, ["unknown", "unknown", "demo"]),
    ] {
        let case = Case::client(yaml);
        let mut stream = outbound();
        let facts = route.map(|name| RouteFacts { name: Some(name.into()), ..RouteFacts::default() });
        (stream.upstream.facts, stream.route) = (cluster, facts.map(Arc::new));
        play(&*case.http(), &mut request(&[(":authority", "test:80")]), &mut stream, &[]);
        assert_eq!(some(&case.store.of("requests_total")[0], &names), expected, "{yaml} {route:?}");
    }
}

#[test]
fn a_host_that_does_not_tell_is_known_by_its_endpoint() {
    let case = Case::client("{}");
    let mut stream = outbound();
    stream.filter_state = FilterState::default();
    stream.upstream.tls = None;
    let istio = tree(&[("workload", text("echo-v1;demo;echo;v1;Kubernetes"))]);
    let metadata = Some(Arc::new(tree(&[("istio", istio)])));
    stream.upstream.host = Some(Rc::new(HostFacts { metadata, ..HostFacts::default() }));
    play(&*case.http(), &mut request(&[]), &mut stream, &[]);
    let names = [
        "destination_workload",
        "destination_workload_namespace",
        "destination_app",
        "destination_principal",
    ];
    assert_eq!(some(&case.store.of("requests_total")[0], &names), ["echo-v1", "demo", "unknown", "unknown"]);
}

#[test]
fn grpc_calls_have_a_status_and_their_messages_are_counted() {
    let case = Case::client("{}");
    let factory = case.http();
    let messages = http::grpc_stats::Messages::of(3, 4);
    for status in ["0", "14"] {
        let mut stream = outbound();
        stream.filter_state.set(http::grpc_stats::STATE, Rc::new(messages.clone()));
        let mut head = request(&[("content-type", "application/grpc")]);
        play(&*factory, &mut head, &mut stream, &[("grpc-status", status)]);
    }
    let names = ["request_protocol", "response_code", "grpc_response_status"];
    let lines = case.store.of("requests_total");
    assert_eq!(some(&lines[0], &names), ["grpc", "200", "0"]);
    assert_eq!(some(&lines[1], &names), ["grpc", "200", "14"]);
    // Messages are counted while a call goes on, so nothing of its end is known.
    assert_eq!(case.store.of("request_messages_total"), [format!("{CLIENT} 6")]);
    assert_eq!(case.store.of("response_messages_total"), [format!("{CLIENT} 8")]);
}

#[test]
fn a_connection_is_counted_when_it_is_settled_who_the_peer_is_and_when_it_ends() {
    let case = Case::client("{}");
    let factory = case.tcp();
    let mut stream = outbound();
    let told = std::mem::take(&mut stream.filter_state);
    stream.upstream.state = Some(Rc::new(RefCell::new(FilterState::default())));
    let mut filter = factory.create(&stream);
    assert_eq!((filter.tick(), filter.reads()), (Some(Duration::from_secs(5)), false));
    filter.on_tick(&mut stream);
    assert_eq!(case.store.of("tcp_connections_opened_total"), [""; 0]);
    *stream.upstream.state.as_ref().unwrap().borrow_mut() = told;
    filter.on_tick(&mut stream);
    stream.bytes.downstream_wire_sent = 1000;
    filter.on_close(&mut stream);
    let labels = format!("{CLIENT},request_protocol=tcp,response_flags=-,connection_security_policy=unknown");
    assert_eq!(case.store.of("tcp_connections_opened_total"), [format!("{labels} 1")]);
    assert_eq!(case.store.of("tcp_connections_closed_total"), [format!("{labels} 1")]);
    assert_eq!(case.store.of("tcp_sent_bytes_total"), [format!("{labels} 1000")]);
    assert_eq!(case.store.of("tcp_received_bytes_total"), [format!("{labels} 100")]);
}

#[test]
fn a_connection_whose_peer_will_not_tell_is_counted_at_once() {
    let case = Case::server("{tcp_reporting_duration: 1s}");
    let mut stream = inbound();
    stream.filter_state = FilterState::default();
    stream.connection.state.borrow_mut().add(peer::NOT_FOUND, Rc::new(Text::of("true")));
    let mut filter = case.tcp().create(&stream);
    assert_eq!(filter.tick(), Some(Duration::from_secs(1)));
    filter.on_tick(&mut stream);
    let names = ["reporter", "source_workload", "source_workload_namespace", "connection_security_policy"];
    let lines = case.store.of("tcp_connections_opened_total");
    assert_eq!(some(&lines[0], &names), ["destination", "unknown", "demo", "mutual_tls"]);
}

#[test]
fn labels_are_removed_replaced_and_added() {
    let case = Case::client(
        "{metrics: [
           {tags_to_remove: [source_principal, no_label], dimensions: {request_host: request.host}},
           {name: requests_total, dimensions: {destination_service: \"'fixed'\", destination_port: '8080'}},
           {name: response_bytes, drop: true}],
         definitions: [{name: mine, value: '2'}]}",
    );
    play(&*case.http(), &mut request(&[(":authority", "h")]), &mut outbound(), &[]);
    let names = ["source_principal", "request_host", "destination_service", "destination_port"];
    assert_eq!(some(&case.store.of("requests_total")[0], &names), ["(none)", "h", "fixed", "8080"]);
    let expected = ["(none)", "h", "echo.demo.svc.cluster.local", "(none)"];
    assert_eq!(some(&case.store.of("request_bytes")[0], &names), expected);
    assert_eq!(case.store.of("response_bytes"), [""; 0]);
    assert_eq!(case.store.of("mine"), ["request_host=h 2"]);
}

#[test]
fn what_cannot_be_worked_out_is_refused_by_its_path() {
    let case = Case::client(
        "{metrics: [{dimensions: {a: 'x ? 1 : 2'}}],
          definitions: [{name: requests_total, value: '1'}, {name: b, value: has(x)}],
          rotation_interval: -1s}",
    );
    assert_eq!(case.refused(), ["definitions[0].name", "definitions[1].value", "rotation_interval"]);
}

#[test]
fn a_label_that_cannot_be_worked_out_is_unknown() {
    let case = Case::client(
        "{metrics: [{dimensions: {a: istio_operationId, b: 'x ? 1 : 2', c: '[1].map(x, x)', d: 'a =='}}]}",
    );
    play(&*case.http(), &mut request(&[]), &mut outbound(), &[]);
    assert_eq!(some(&case.store.of("requests_total")[0], &["a", "b", "c", "d"]), ["unknown"; 4]);
}

#[test]
fn what_there_is_no_room_for_is_folded() {
    let case = Case { store: Store::new(6), ..Case::client("{}") };
    let factory = case.http();
    for host in ["a", "b", "c", "d"] {
        let mut stream = outbound();
        stream.upstream.facts = Some(cluster("c", false));
        play(&*factory, &mut request(&[(":authority", host)]), &mut stream, &[]);
    }
    let lines = case.store.of("requests_total");
    let folded: Vec<_> = lines.iter().filter(|line| line.contains("destination_service=folded")).collect();
    assert_eq!(lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>(), 4);
    assert!(
        folded.len() == 1 && folded[0].starts_with("reporter=source,source_workload=folded"),
        "{lines:#?}"
    );
}

#[test]
fn a_series_that_was_given_up_is_asked_for_again() {
    let case = Case::client("{rotation_interval: 3600s, graceful_deletion_interval: 60s}");
    assert_eq!(
        case.with(crate::config::istio_stats::settings).ok().unwrap().idle,
        Some(Duration::from_mins(61))
    );
    let factory = case.http();
    play(&*factory, &mut request(&[]), &mut outbound(), &[]);
    for cell in case.store.series.lock().unwrap().values() {
        *cell.0.lock().unwrap() = (0, true);
    }
    play(&*factory, &mut request(&[]), &mut outbound(), &[]);
    assert!(case.store.of("requests_total")[0].ends_with(" 1"));
}

#[test]
fn a_gateway_in_front_of_workloads_tells_of_both_sides() {
    let case = Case::server("{reporter: SERVER_GATEWAY}");
    let mut stream = inbound();
    stream.filter_state.add(peer::UPSTREAM, peer_of(&node("echo", Some("v1"))));
    play(&*case.http(), &mut request(&[]), &mut stream, &[]);
    let names = ["reporter", "source_workload", "destination_workload", "destination_principal"];
    assert_eq!(some(&case.store.of("requests_total")[0], &names), ["waypoint", "client", "echo", "unknown"]);
}
