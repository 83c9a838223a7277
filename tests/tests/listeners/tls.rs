//! Handshakes behind `tls_inspector`: the chain of the server name answers with its own certificate, however the ClientHello is cut; a
//! name of no chain sees no certificate.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::tls::{Authority, TlsClient, Wanted};

use crate::player::filter;

/// A socket that writes a few bytes at a time, each time in a packet of its own.
struct Slow {
    stream: TcpStream,
    step: usize,
    received: usize,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.received += n;
        Ok(n)
    }
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.step < bytes.len() {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.stream.write(&bytes[..self.step.min(bytes.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the server echoes after a handshake for a name; or how many bytes came before it was over. That the handshake comes about
/// shows that the certificate is one for the name.
fn says(client: &TlsClient, port: u16, name: &'static str, step: usize) -> Result<String, usize> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut socket = Slow { stream, step, received: 0 };
    let mut connection = ClientConnection::new(client.config(), ServerName::try_from(name).unwrap()).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut socket).is_err() {
            return Err(socket.received);
        }
    }
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let mut echo = [0; 5];
    stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut echo)).map_err(|_| 0_usize)?;
    Ok(String::from_utf8_lossy(&echo).into_owned())
}

#[test]
fn the_server_name_chooses_chain_and_certificate() {
    const CONTEXT: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let dir = tempfile::tempdir().unwrap();
    let root = Authority::new("root");
    root.issue(dir.path(), "one", Wanted { dns: &["one.test"], ..Wanted::default() });
    root.issue(dir.path(), "wild", Wanted { dns: &["*.wild.test"], ..Wanted::default() });
    let secured = |name: &str, matching: &str| {
        let place = dir.path().display();
        let files = format!(
            "certificate_chain: {{filename: {place}/{name}.pem}}, private_key: {{filename: {place}/{name}.key}}"
        );
        format!(
            "{{name: {name}, filter_chain_match: {{{matching}}}, transport_socket: {{name: tls, typed_config: {{\"@type\": {CONTEXT}, common_tls_context: {{tls_certificates: [{{{files}}}]}}}}}}, filters: [{{name: e, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}}}]}}"
        )
    };
    let fields = format!(
        "listener_filters: [{}]\nfilter_chains: [{}, {}]",
        filter("tls_inspector.v3.TlsInspector", ""),
        secured("one", "server_names: [one.test]"),
        secured("wild", "server_names: [\"*.wild.test\"]"),
    );
    let config = Bootstrap::default().listener_of("tls", &fields).render(&[], "/dev/null");
    let client = TlsClient::new(dir.path(), &root);
    for program in [Program::Sampan, Program::Envoy] {
        let place = tempfile::tempdir().unwrap();
        let process = Process::start(program, &config, place.path(), &[]);
        let port = process.port("tls");
        for step in [usize::MAX, 50, 1] {
            assert_eq!(says(&client, port, "one.test", step).as_deref(), Ok("hello"), "{program:?} {step}");
            assert_eq!(
                says(&client, port, "a.wild.test", step).as_deref(),
                Ok("hello"),
                "{program:?} {step}"
            );
        }
        // Nothing is said to those who ask for another name, or for none: not even an alert, and no certificate.
        assert_eq!(says(&client, port, "other.test", usize::MAX), Err(0), "{program:?}");
        assert_eq!(says(&client, port, "127.0.0.1", usize::MAX), Err(0), "{program:?}");
    }
}
