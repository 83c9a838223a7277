//! Magic, layout and counters: metadata_exchange.cc of Istio's data plane.

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use sampan_filters_api::{CounterStore, NodeFacts};

use super::*;
use crate::config::FilterContext;
use crate::testing::{bytes, connection, counted, with_counters};

fn node(workload: &str) -> NodeFacts {
    let text = |text: &str| MetadataValue::String(text.into());
    let fields = vec![("NAMESPACE".into(), text("demo")), ("WORKLOAD_NAME".into(), text(workload))];
    NodeFacts { id: "sidecar~1".into(), metadata: MetadataValue::Struct(fields), ..NodeFacts::default() }
}

struct Pair {
    counters: Arc<CounterStore>,
    server: Arc<dyn NetworkFilterFactory>,
    client: Arc<dyn UpstreamFilterFactory>,
}

fn pair() -> Pair {
    let counters = Arc::new(CounterStore::default());
    let wire = bytes::<sampan_api::istio::MetadataExchange>("{protocol: istio-peer-exchange}");
    let (server, client) = {
        let base = with_counters(&counters);
        let (here, there) = (node("server"), node("client"));
        let server = config::compile(&wire, &FilterContext { node: &here, ..base }).unwrap();
        let client = config::compile_upstream(&wire, &FilterContext { node: &there, ..base }).unwrap();
        (server, client)
    };
    Pair { counters, server, client }
}

fn tls(alpn: &str) -> TlsInfo {
    TlsInfo { alpn: Some(alpn.as_bytes().into()), ..TlsInfo::default() }
}

fn downstream(alpn: &str) -> StreamInfo {
    let connection = ConnectionInfo { tls: Some(Arc::new(tls(alpn))), ..connection() };
    StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
}

fn of(state: &FilterState, key: &str) -> Option<String> {
    state.object(key).and_then(|object| object.field("workload"))
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let Pair { counters, server, client } = pair();
    let mut info = downstream("istio-peer-exchange");
    let mut filter = server.create(&info);
    let server = filter.preamble(&mut info).unwrap();
    let state: UpstreamState = Rc::new(RefCell::default());
    let client = client.connected(Some(&tls("istio-peer-exchange")), &state).unwrap();
    assert_eq!(server.write[..4], [0x3d, 0x23, 0x04, 0x67]);

    // To the server in pieces of one byte, with the application's first byte right behind.
    let mut reader = server.read.unwrap();
    let mut data = BytesMut::new();
    let sent = [&client.write[..], b"x"].concat();
    for (at, byte) in sent.iter().enumerate() {
        data.extend_from_slice(&[*byte]);
        let last = at + 2 == sent.len();
        if at + 1 == sent.len() {
            break;
        }
        let expected = if last { PreambleRead::Done } else { PreambleRead::More };
        assert_eq!(reader.read(&mut data, false), expected, "byte {at}");
    }
    assert_eq!(data, "x");
    assert_eq!(of(&info.connection.state.borrow(), peer::DOWNSTREAM).as_deref(), Some("client"));

    let mut data = BytesMut::from(&server.write[..]);
    assert_eq!(client.read.unwrap().read(&mut data, false), PreambleRead::Done);
    assert!(data.is_empty());
    assert_eq!(of(&state.borrow(), peer::UPSTREAM).as_deref(), Some("server"));
    drop(filter);
    assert_eq!(
        counted(&counters),
        ["metadata_exchange.alpn_protocol_found: 2", "metadata_exchange.metadata_added: 2"]
    );
}

#[test]
fn without_the_protocol_nothing_is_exchanged() {
    let Pair { counters, server, client } = pair();
    let mut info = downstream("h2");
    let mut filter = server.create(&info);
    assert!(filter.preamble(&mut info).is_none() && !filter.reads());
    assert!(info.state(peer::NOT_FOUND).is_some());
    let state: UpstreamState = Rc::new(RefCell::default());
    assert!(client.connected(None, &state).is_none());
    assert!(state.borrow().object(peer::NOT_FOUND).is_some());
    assert_eq!(counted(&counters), ["metadata_exchange.alpn_protocol_not_found: 2"]);
}

#[test]
fn other_bytes_pass_and_what_is_not_understood_ends_the_connection() {
    let Pair { counters, client, .. } = pair();
    let read = |sent: &[u8], end: bool| {
        let state: UpstreamState = Rc::new(RefCell::default());
        let preamble = client.connected(Some(&tls("istio-peer-exchange")), &state).unwrap();
        let mut data = BytesMut::from(sent);
        let read = preamble.read.unwrap().read(&mut data, end);
        (read, data.len(), state.borrow().object(peer::NOT_FOUND).is_some())
    };
    let header = |length: u32| [&MAGIC.to_be_bytes()[..], &length.to_be_bytes()].concat();
    assert_eq!(read(b"GET / HTTP/1.1", false), (PreambleRead::Done, 14, true));
    assert_eq!(read(b"x", false), (PreambleRead::Done, 1, true));
    assert_eq!(read(&header(9)[..5], false), (PreambleRead::More, 5, false));
    assert_eq!(read(&header(9)[..5], true), (PreambleRead::Done, 5, true));
    assert_eq!(read(&header(u32::MAX), false), (PreambleRead::Broken, 8, true));
    assert_eq!(read(&header(9), true), (PreambleRead::Broken, 8, true));
    let broken = [&header(3)[..], b"\xff\xff\xff"].concat();
    assert_eq!(read(&broken, false), (PreambleRead::Broken, 11, true));
    let counted = counted(&counters);
    assert!(counted.contains(&"metadata_exchange.initial_header_not_found: 3".to_owned()), "{counted:?}");
    assert!(counted.contains(&"metadata_exchange.header_not_found: 3".to_owned()), "{counted:?}");
}

#[test]
fn a_protocol_is_required() {
    let error = config::compile(&[], &crate::testing::context()).err().unwrap();
    assert_eq!((&*error[0].path, &*error[0].reason), ("protocol", "is required"));
}
