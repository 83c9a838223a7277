//! What comes after the listener filters reads every byte that they looked at, and knows what they found out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::upstream::Recorder;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::{PATIENCE, poll};

use crate::player::filter;

/// Sends parts, with pauses that make the first ones packets of their own, and returns what an echoing upstream sends back.
fn echoed(port: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        reading.read_to_end(&mut all).map(|_| all)
    });
    for part in parts {
        stream.write_all(part).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    reader.join().unwrap().unwrap()
}

#[test]
fn no_byte_is_lost_or_seen_twice() {
    let filters = [
        filter("proxy_protocol.v3.ProxyProtocol", ", allow_requests_without_proxy_protocol: true"),
        filter("tls_inspector.v3.TlsInspector", ""),
        filter("http_inspector.v3.HttpInspector", ""),
    ];
    let fields = format!(
        "listener_filters: [{}]\nlistener_filters_timeout: 0.2s\ncontinue_on_listener_filters_timeout: true\nfilter_chains: [{{filters: [{{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: tcp}}}}]}}]",
        filters.join(", ")
    );
    let bootstrap = Bootstrap::default().cluster("tcp", "tcp", "").listener_of("relay", &fields);
    let upstream = RawUpstream::start("tcp", Manner::Tcp, Recorder::default());
    let config = bootstrap.render(&[("tcp", upstream.port)], "/dev/null");
    let bulk: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let header = "PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n";
    for program in [Program::Sampan, Program::Envoy] {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(program, &config, dir.path(), &[]);
        let port = process.port("relay");
        for first in ["GET / HTTP/1.1\r\n", "hello", ""] {
            let plain = [first.as_bytes(), &bulk].concat();
            assert!(echoed(port, &[&plain]) == plain, "{program:?}: {first:?} at once");
            let bytes: Vec<&[u8]> = first.as_bytes().chunks(1).chain([&bulk[..]]).collect();
            assert!(echoed(port, &bytes) == plain, "{program:?}: {first:?} in parts");
            let proxied: Vec<&[u8]> = header.as_bytes().chunks(1).chain([&plain[..]]).collect();
            assert!(echoed(port, &proxied) == plain, "{program:?}: {first:?} behind a header");
        }
    }
}

/// Fields of the header, as the access log of `tcp_proxy` has them: as text, in base64, without a rule's name.
#[test]
fn fields_become_dynamic_metadata() {
    const LOG: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    const LINE: &str = "k=%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:k)% b=%DYNAMIC_METADATA(ns:b)% all=%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)% remote=%DOWNSTREAM_REMOTE_ADDRESS% local=%DOWNSTREAM_LOCAL_ADDRESS% own=%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT%";
    let rules = ", rules: [{tlv_type: 234, on_tlv_present: {key: k}}, {tlv_type: 235, on_tlv_present: {metadata_namespace: ns, key: b, value_string_encoding: BASE64}}, {tlv_type: 236}, {tlv_type: 237, on_tlv_present: {key: absent}}]";
    let fields = format!(
        "listener_filters: [{}]\nfilter_chains: [{{filters: [{{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: tcp, access_log: [{{name: f, typed_config: {{\"@type\": {LOG}, path: \"$LOG\", log_format: {{text_format_source: {{inline_string: \"{LINE}\\n\"}}}}}}}}]}}}}]}}]",
        filter("proxy_protocol.v3.ProxyProtocol", rules)
    );
    let bootstrap = Bootstrap::default().cluster("tcp", "tcp", "").listener_of("relay", &fields);
    let upstream = RawUpstream::start("tcp", Manner::Tcp, Recorder::default());
    let fields = b"\xea\0\x07a\xffb\xe2\x82c\x80\xeb\0\x03\x01\x02\x03\xec\0\x01x\xea\0\x01z";
    let length = 12 + u8::try_from(fields.len()).unwrap();
    let header =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"[..], &[length, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2], fields]
            .concat();
    for program in [Program::Sampan, Program::Envoy] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let config = bootstrap.render(&[("tcp", upstream.port)], &log.to_string_lossy());
        let process = Process::start(program, &config, dir.path(), &[]);
        assert_eq!(echoed(process.port("relay"), &[&header, b"hello"]), b"hello", "{program:?}");
        let line = poll(PATIENCE, || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
        assert_eq!(
            line.as_deref(),
            Some(
                "k=a!b!!c! b=AQID all={\"\":\"x\",\"k\":\"a!b!!c!\"} remote=1.2.3.4:1 local=5.6.7.8:2 own=127.0.0.1\n"
            ),
            "{program:?}"
        );
    }
}

/// A line that is not whole when the time is over: what was looked at already must still be read, although nothing new comes.
#[test]
fn bytes_that_came_before_the_timeout_are_read_after_it() {
    let fields = format!(
        "listener_filters: [{}]\nlistener_filters_timeout: 0.2s\ncontinue_on_listener_filters_timeout: true\nfilter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}}}]}}]",
        filter("http_inspector.v3.HttpInspector", "")
    );
    let config = Bootstrap::default().listener_of("echo", &fields).render(&[], "/dev/null");
    for program in [Program::Sampan, Program::Envoy] {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(program, &config, dir.path(), &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", process.port("echo"))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HT").unwrap();
        let mut said = [0; 8];
        stream.read_exact(&mut said).unwrap_or_else(|error| panic!("{program:?}: {error}"));
        assert_eq!(&said, b"GET / HT", "{program:?}");
    }
}
