use std::time::Duration;

use futures_util::future::BoxFuture;
use sampan_api::envoy::config::core::v3::Node;
use sampan_api::google::rpc::Status;
use tokio::net::TcpStream;

use super::*;
use crate::{
    Connector, Content, Event, GrpcTarget, IoStream, Names, Source, SourceId, StreamSettings, TypeUrl,
    Variant,
};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const ROUTE: &str = "envoy.config.route.v3.RouteConfiguration";

fn url(full_name: &str) -> String {
    sampan_api::type_url::of(full_name)
}

fn cluster(name: &str, stat: &str) -> Item {
    let text = format!("{{\"@type\": {}, name: {name}, alt_stat_name: \"{stat}\"}}", url(CLUSTER));
    Item::parse(name, &text).unwrap()
}

fn route(name: &str) -> Item {
    Item::parse(name, &format!("{{\"@type\": {}, name: {name}}}", url(ROUTE))).unwrap()
}

fn ask(full_name: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url(full_name),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|text| Status { code: 13, message: text.to_owned(), details: Vec::new() }),
        ..DeltaDiscoveryRequest::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn next(session: &mut Session, catalog: &Catalog) -> Option<DeltaDiscoveryResponse> {
    catalog.read(|contents| session.response(contents))
}

#[test]
fn a_wildcard_gets_everything_then_changes_then_removals() {
    let (catalog, mut session) = (Catalog::default(), Session::default());
    assert!(session.request(ask(CLUSTER, &[])).is_none());
    let empty = next(&mut session, &catalog).unwrap();
    assert!(empty.resources.is_empty(), "an empty catalog is an answer too");
    assert_eq!(next(&mut session, &catalog), None, "one response at a time");
    catalog.change(vec![cluster("a", "x"), cluster("b", "x")], &[]);
    assert_eq!(next(&mut session, &catalog), None, "the first is not answered");
    assert!(session.request(answer(&empty, None)).unwrap().error.is_none());
    let both = next(&mut session, &catalog).unwrap();
    assert_eq!((names(&both), both.system_version_info.as_str()), (vec!["a", "b"], "1"));
    session.request(answer(&both, None));
    catalog.change(vec![cluster("a", "x"), cluster("b", "y")], &[]);
    let changed = next(&mut session, &catalog).unwrap();
    assert_eq!(names(&changed), ["b"], "what says the same is not sent");
    session.request(answer(&changed, None));
    catalog.change(Vec::new(), &[(CLUSTER, "a")]);
    let removed = next(&mut session, &catalog).unwrap();
    assert_eq!((removed.resources.len(), removed.removed_resources), (0, vec!["a".to_owned()]));
}

#[test]
fn a_refusal_is_told_once_and_a_foreign_nonce_is_none() {
    let (catalog, mut session) = (Catalog::default(), Session::default());
    catalog.change(vec![cluster("a", "x")], &[]);
    session.request(DeltaDiscoveryRequest {
        node: Some(Node { id: "me".to_owned(), ..Node::default() }),
        ..ask(CLUSTER, &["*"])
    });
    let sent = next(&mut session, &catalog).unwrap();
    let foreign = DeltaDiscoveryRequest { response_nonce: "77".to_owned(), ..answer(&sent, None) };
    assert_eq!(session.request(foreign), None);
    let refused =
        Answered { node: "me".to_owned(), type_url: url(CLUSTER), version: 1, error: Some("bad".to_owned()) };
    assert_eq!(session.request(answer(&sent, Some("bad"))), Some(refused));
    assert_eq!(session.request(answer(&sent, Some("bad"))), None);
    assert_eq!(next(&mut session, &catalog), None, "what was refused is not sent again");
    catalog.change(vec![cluster("a", "y")], &[]);
    assert_eq!(names(&next(&mut session, &catalog).unwrap()), ["a"]);
}

#[test]
fn names_are_sent_when_asked_for_and_missing_ones_are_told() {
    let (catalog, mut session) = (Catalog::default(), Session::default());
    catalog.change(vec![route("here"), route("other")], &[]);
    session.request(ask(ROUTE, &["here", "missing"]));
    let first = next(&mut session, &catalog).unwrap();
    assert_eq!((names(&first), &first.removed_resources[..]), (vec!["here"], &["missing".to_owned()][..]));
    session.request(answer(&first, None));
    assert_eq!(next(&mut session, &catalog), None);
    session.request(ask(ROUTE, &["here"]));
    let again = next(&mut session, &catalog).unwrap();
    assert_eq!(names(&again), ["here"], "who asks again has nothing");
    session.request(answer(&again, None));
    catalog.change(vec![route("missing")], &[]);
    let come = next(&mut session, &catalog).unwrap();
    assert_eq!(names(&come), ["missing"]);
    session.request(answer(&come, None));
    session.request(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["missing".to_owned()],
        ..ask(ROUTE, &[])
    });
    catalog.change(Vec::new(), &[(ROUTE, "missing")]);
    assert_eq!(next(&mut session, &catalog), None, "nobody asks for it any more");
}

#[test]
fn a_new_stream_says_what_it_has() {
    let (catalog, mut session) = (Catalog::default(), Session::default());
    catalog.change(vec![cluster("same", "x")], &[]);
    catalog.change(vec![cluster("newer", "x")], &[]);
    let known = [("same", "1"), ("newer", "1"), ("gone", "1")];
    session.request(DeltaDiscoveryRequest {
        initial_resource_versions: known.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..ask(CLUSTER, &[])
    });
    let response = next(&mut session, &catalog).unwrap();
    assert_eq!(
        (names(&response), &response.removed_resources[..]),
        (vec!["newer"], &["gone".to_owned()][..])
    );
}

#[test]
fn clusters_come_before_routes() {
    let (catalog, mut session) = (Catalog::default(), Session::default());
    catalog.change(vec![route("r"), cluster("c", "x")], &[]);
    session.request(ask(ROUTE, &["r"]));
    session.request(ask(CLUSTER, &[]));
    let first = next(&mut session, &catalog).unwrap();
    assert_eq!(names(&first), ["c"]);
    assert_eq!(next(&mut session, &catalog), None, "the route waits for the answer");
    session.request(answer(&first, None));
    assert_eq!(names(&next(&mut session, &catalog).unwrap()), ["r"]);
}

#[test]
fn a_text_that_is_no_resource_says_where() {
    let error = Item::parse("c", &format!("{{\"@type\": {}, nome: x}}", url(CLUSTER))).unwrap_err();
    assert!(error.to_string().contains("nome"), "{error}");
    assert!(Item::parse("c", "{name: x}").is_err());
}

struct Loopback(SocketAddr);

impl Connector for Loopback {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn IoStream>>> {
        let address = self.0;
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn IoStream>) })
    }

    fn authority(&self) -> String {
        self.0.to_string()
    }
}

async fn update(events: &mut mpsc::Receiver<Event>) -> crate::Update {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await;
        match event.unwrap().unwrap() {
            Event::Update(update) => return update,
            Event::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn our_own_client_is_served_over_a_real_connection() {
    let catalog = Arc::new(Catalog::default());
    catalog.change(vec![cluster("a", "x")], &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sender, mut answers) = mpsc::channel(4);
    let server = AdsServer::start(listener, catalog.clone(), sender).unwrap();
    let target = GrpcTarget::new(Arc::new(Loopback(server.address())));
    let mut settings = StreamSettings::new(Node { id: "me".to_owned(), ..Node::default() }, vec![target]);
    settings.variant = Variant::Delta;
    let (sender, mut events) = mpsc::channel(4);
    let source = Source::ads(SourceId::new("ads"), settings, sender);
    let clusters: TypeUrl = url(CLUSTER).into();
    source.subscribe(&clusters, Names::Wildcard, None);
    let first = update(&mut events).await;
    let Content::Delta { resources, .. } = &first.content else { panic!("{first:?}") };
    assert_eq!((resources[0].name.as_str(), &*first.version), ("a", "1"));
    first.reply.accept();
    assert_eq!(answers.recv().await.unwrap().error, None);
    catalog.change(vec![cluster("a", "y")], &[]);
    update(&mut events).await.reply.reject("not good".to_owned(), vec!["a".to_owned()]);
    let refused = answers.recv().await.unwrap();
    assert_eq!((refused.version, refused.error.as_deref()), (2, Some("not good")));
    let endpoints: TypeUrl = url(ENDPOINTS).into();
    source.subscribe(&endpoints, Names::These(vec!["none".to_owned()]), None);
    let Content::Delta { removed, .. } = update(&mut events).await.content else { panic!("delta") };
    assert_eq!(removed, ["none"]);
    drop(server);
    let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Disconnected { .. })), "{event:?}");
}
