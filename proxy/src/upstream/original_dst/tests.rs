use std::sync::Arc;

use sampan_filters_api::Address;
use sampan_filters_api::info::StateObject;
use sampan_model::cluster::Discovery;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(local: &str, restored: bool) -> ConnectionInfo {
    let (local, client) = (Address::Socket(address(local)), Address::Socket(address("10.0.0.1:1")));
    let mut info = ConnectionInfo::new(1, local, client, Arc::default());
    info.local_restored = restored;
    info
}

#[test]
fn what_is_said_first_counts_and_only_a_restored_address_does() {
    let settings = OriginalDst {
        header: Some("x-dst".into()),
        metadata: Some(("ns".into(), vec!["to".into()])),
        port_override: None,
    };
    let (restored, own) = (connection("10.0.0.2:80", true), connection("10.0.0.2:80", false));
    let mut request = RequestHead::default();
    let (none, mut metadata) = (DynamicMetadata::default(), DynamicMetadata::default());
    let named = |connection: &ConnectionInfo,
                 request: &RequestHead,
                 metadata: &DynamicMetadata,
                 settings: &OriginalDst| {
        let state = &FilterState::default();
        let named = Destination { connection, request: Some(request), metadata, state }.named(settings);
        (named.address.map(|address| address.to_string()).unwrap_or_default(), named.invalid)
    };
    assert_eq!(named(&restored, &request, &none, &settings), ("10.0.0.2:80".to_owned(), 0));
    assert_eq!(named(&own, &request, &none, &settings), (String::new(), 0));
    request.headers.append(b"x-dst", b"[fd00::1]:81");
    assert_eq!(named(&own, &request, &none, &settings), ("[fd00::1]:81".to_owned(), 0));
    assert_eq!(
        named(&own, &request, &none, &OriginalDst::default()),
        (String::new(), 0),
        "it must be asked for"
    );
    metadata.set("ns", "to", MetadataValue::String("10.0.0.3:82".into()));
    assert_eq!(named(&own, &request, &metadata, &settings), ("10.0.0.3:82".to_owned(), 0));
    metadata.set("ns", "to", MetadataValue::String("nonsense".into()));
    assert_eq!(named(&own, &request, &metadata, &settings), ("[fd00::1]:81".to_owned(), 1));
    struct Text;
    impl StateObject for Text {
        fn plain(&self) -> String {
            "10.0.0.4:83".into()
        }
    }
    own.state.borrow_mut().set(ORIGINAL_DESTINATION, std::rc::Rc::new(Text));
    assert_eq!(named(&own, &request, &metadata, &settings), ("10.0.0.4:83".to_owned(), 0));
    let port = OriginalDst { port_override: Some(15008), ..OriginalDst::default() };
    assert_eq!(named(&restored, &request, &none, &port), ("10.0.0.2:15008".to_owned(), 0));
}

#[test]
fn a_header_that_is_no_address_is_counted_and_passed_over() {
    let settings = OriginalDst { header: Some("x-dst".into()), ..OriginalDst::default() };
    let metadata = DynamicMetadata::default();
    for value in ["", "10.0.0.1", "localhost:80", "10.0.0.1:80,10.0.0.2:80", "10.0.0.1:70000", "\u{fffd}"] {
        let mut request = RequestHead::default();
        request.headers.append(b"x-dst", value.as_bytes());
        for (restored, expected) in [(true, Some(address("10.0.0.2:80"))), (false, None)] {
            let connection = connection("10.0.0.2:80", restored);
            let (connection, request, metadata) = (&connection, Some(&request), &metadata);
            let from = Destination { connection, request, metadata, state: &FilterState::default() };
            let named = from.named(&settings);
            assert_eq!((named.address, named.invalid), (expected, 1), "{value:?}");
        }
    }
}

fn parts() -> (ClusterParts, Arc<OriginalHosts>) {
    let mut config = Cluster::new("passthrough");
    config.discovery = Discovery::OriginalDst(OriginalDst::default());
    let originals = Arc::<OriginalHosts>::default();
    (ClusterParts { originals: Some(originals.clone()), ..ClusterParts::empty(config) }, originals)
}

#[test]
fn hosts_are_shared_by_workers_and_gone_when_the_last_one_cleans_up() {
    let (parts, hosts) = parts();
    let (one, two) = (OriginalPools::default(), OriginalPools::default());
    let first = one.pool(&parts, &hosts, address("10.0.0.2:80")).unwrap();
    let second = two.pool(&parts, &hosts, address("10.0.0.2:80")).unwrap();
    assert!(Arc::ptr_eq(first.host(), second.host()));
    assert_eq!(&*first.host().hostname, "passthrough10.0.0.2:80");
    assert_eq!((hosts.members().len(), hosts.changes()), (1, 1));
    drop((first, second));
    for round in 0..3 {
        one.clean(&hosts, Duration::ZERO);
        two.clean(&hosts, Duration::ZERO);
        // The first call starts the clock, the second one clears the mark of use.
        assert_eq!(hosts.members().len(), usize::from(round < 2), "round {round}");
    }
    assert_eq!(hosts.changes(), 2);
}

#[test]
fn a_host_that_is_in_use_stays() {
    let (parts, hosts) = parts();
    let pools = OriginalPools::default();
    let held = pools.pool(&parts, &hosts, address("10.0.0.2:80")).unwrap();
    let connected = pools.pool(&parts, &hosts, address("10.0.0.3:80")).unwrap();
    let host = connected.host().clone();
    host.counters.cx_active.fetch_add(1, Relaxed);
    drop(connected);
    (0..4).for_each(|_| pools.clean(&hosts, Duration::ZERO));
    assert_eq!(hosts.members().len(), 2);
    drop(held);
    host.counters.cx_active.fetch_sub(1, Relaxed);
    drop(host);
    (0..2).for_each(|_| pools.clean(&hosts, Duration::ZERO));
    assert!(hosts.members().is_empty() && pools.is_idle());
}

#[test]
fn there_is_a_most_of_them_and_room_again_when_some_are_gone() {
    let (parts, hosts) = parts();
    let at =
        |number: usize| SocketAddr::from(([10, (number >> 16) as u8, (number >> 8) as u8, number as u8], 80));
    let mut held: Vec<_> = (0..MOST).map(|number| hosts.host(&parts.config, at(number)).unwrap()).collect();
    assert!(hosts.host(&parts.config, at(MOST)).is_none());
    assert!(hosts.host(&parts.config, at(0)).is_some(), "a known one is no more");
    held.truncate(MOST / 2);
    assert!(hosts.host(&parts.config, at(MOST)).is_none(), "not looked at again so soon");
    hosts.known.lock().unwrap().full = None;
    assert!(hosts.host(&parts.config, at(MOST)).is_some());
}
