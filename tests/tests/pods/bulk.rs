//! A gigabyte through both proxies, half of it each way: every byte is compared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::Sampan;
use sampan_tests::harness::tls::Authority;

use crate::application::{self, BLOCK, BULK};
use crate::inbound::Mode;
use crate::network::Network;
use crate::outbound::SERVICE_V4;
use crate::setting;
use crate::sidecar::START;

const BLOCKS: u64 = (1 << 29) / BLOCK as u64;

#[test]
fn a_gigabyte_arrives_as_it_was_sent() {
    if !can_make_namespaces() {
        return;
    }
    let network = Network::new();
    let (here, there) = (network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let authority = Authority::new("mesh");
    let server = setting::server(Sampan, &there, Mode::Strict, &authority).start();
    let client = setting::client(Sampan, &here, &[there.v4], &authority).start();
    let service: IpAddr = SERVICE_V4.parse().unwrap();
    let stream = poll(START, || here.connect(SocketAddr::new(service, BULK)).ok());
    let stream = stream.unwrap_or_else(|| panic!("{}\n{}", client.story(), server.story()));
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut block = application::block();
    let mut out = &stream;
    for number in 0..BLOCKS {
        block[..8].copy_from_slice(&number.to_be_bytes());
        out.write_all(&block).unwrap_or_else(|error| panic!("block {number}: {error}\n{}", client.story()));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut lines = BufReader::new(&stream);
    let mut told = String::new();
    lines.read_line(&mut told).unwrap();
    assert_eq!(told.trim_end(), BLOCKS.to_string(), "{}", server.story());
    let mut read = vec![0; BLOCK];
    for number in 0..BLOCKS {
        lines
            .read_exact(&mut read)
            .unwrap_or_else(|error| panic!("block {number}: {error}\n{}", client.story()));
        block[..8].copy_from_slice(&number.to_be_bytes());
        assert!(read == block, "block {number} differs");
    }
    assert_eq!(lines.read(&mut read).unwrap(), 0, "nothing follows");
}
