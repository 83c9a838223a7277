//! Relays between real sockets on loopback.

mod stalled;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use sampan_filters_api::network::{
    NetworkFilter, NetworkFlow, NetworkResume, Preamble, PreambleRead, PreambleReader,
};
use sampan_filters_api::{Address, ConnectionInfo, StreamInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, LocalSet};

use super::direction::{Common, Setup, Side};
use super::relay::{End, Limits, Relay, Tap};
use super::splice::Pipes;
use crate::net::io::Io;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::TcpCounter;
use crate::worker::Buffers;

const MIB: usize = 1024 * 1024;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

fn stream_info() -> StreamInfo {
    let nobody = Address::Pipe("".into());
    let connection = ConnectionInfo {
        id: 0,
        local: nobody.clone(),
        local_restored: false,
        remote: nobody.clone(),
        direct_remote: nobody,
        start: Instant::now(),
        listener: Arc::default(),
        chain: None,
        requested_server_name: None,
        tls: None,
        transport_failure: std::borrow::Cow::Borrowed(""),
        facts: None,
        state: std::cell::RefCell::default(),
    };
    StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
}

struct Options {
    may_splice: bool,
    limit: usize,
    early: &'static [u8],
    idle: Option<Duration>,
    lifetime: Option<Duration>,
    filters: Vec<Box<dyn NetworkFilter>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { may_splice: true, limit: MIB, early: b"", idle: None, lifetime: None, filters: Vec::new() }
    }
}

#[derive(Debug)]
struct Outcome {
    end: End,
    downstream: (u64, u64),
    upstream: (u64, u64),
    spliced: u64,
    copied: u64,
    no_pipe: u64,
}

/// Relays on a task of its own until the end; a reset is passed on as the proxy does.
fn relay(down: impl Into<Io>, up: impl Into<Io>, pipes: &Rc<Pipes>, options: Options) -> JoinHandle<Outcome> {
    let (down, up, pipes, mut options) = (down.into(), up.into(), pipes.clone(), options);
    tokio::task::spawn_local(async move {
        let (buffers, tcp, cluster) = (Buffers::default(), Block::detached(), Block::detached());
        let common = Common {
            buffers: &buffers,
            pipes: &pipes,
            tcp: &tcp,
            cluster: &cluster,
            no_pipe: Cell::new(false),
        };
        let active = options.filters.iter().any(|filter| filter.reads());
        let setup = |source, early: &[u8]| Setup {
            source,
            may_splice: options.may_splice && !(active && source == Side::Downstream),
            limit: options.limit,
            early: BytesMut::from(early),
            ended: false,
        };
        let setups = (setup(Side::Downstream, options.early), setup(Side::Upstream, b""));
        let limits = Limits {
            idle: options.idle,
            ends_at: options.lifetime.map(|time| Instant::now() + time),
            tick: options.filters.iter().find_map(|filter| filter.tick()),
        };
        let mut stream = stream_info();
        let tap = Tap { filters: &mut options.filters, stream: &mut stream, active };
        let mut relay = Relay::new((&down, &up), &common, setups, tap, limits);
        let end = relay.run().await;
        match end {
            End::Reset(Side::Upstream) => down.reset_on_close(),
            End::Reset(Side::Downstream) => up.reset_on_close(),
            _ => {}
        }
        Outcome {
            end,
            downstream: relay.downstream_bytes(),
            upstream: relay.upstream_bytes(),
            spliced: tcp.counter(TcpCounter::SplicedBytesTotal),
            copied: tcp.counter(TcpCounter::CopiedBytesTotal),
            no_pipe: tcp.counter(TcpCounter::CopiedCxNoPipe),
        }
    })
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        tokio::time::timeout(Duration::from_mins(5), test).await.expect("in time");
    }));
}

/// A block of bytes in which each place has its own value.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len.div_ceil(8)).flat_map(|_| rng.u64(..).to_le_bytes()).take(len).collect()
}

async fn check_pattern(mut from: impl AsyncReadExt + Unpin, expected: &[u8]) {
    let mut chunk = vec![0; 100_000];
    let mut at = 0;
    loop {
        let n = from.read(&mut chunk).await.unwrap();
        if n == 0 {
            break;
        }
        assert!(expected[at..].starts_with(&chunk[..n]), "bytes differ behind {at}");
        at += n;
    }
    assert_eq!(at, expected.len());
}

/// Sends `len` bytes both ways at once and checks every byte.
async fn bulk(
    down: impl Into<Io>,
    up: impl Into<Io>,
    client: impl Ends,
    host: impl Ends,
    len: usize,
    options: Options,
) -> Outcome {
    let pipes = Rc::new(Pipes::default());
    let relay = relay(down, up, &pipes, options);
    let (to_host, to_client) = (pattern(1, len), pattern(2, len));
    let ((mut client_read, mut client_write), (mut host_read, mut host_write)) = (client.ends(), host.ends());
    let send_up = async {
        client_write.write_all(&to_host).await.unwrap();
        client_write.shutdown().await.unwrap();
    };
    let send_down = async {
        host_write.write_all(&to_client).await.unwrap();
        host_write.shutdown().await.unwrap();
    };
    tokio::join!(
        send_up,
        send_down,
        check_pattern(&mut host_read, &to_host),
        check_pattern(&mut client_read, &to_client)
    );
    let outcome = relay.await.unwrap();
    assert!(matches!(outcome.end, End::Finished(_)), "{outcome:?}");
    assert_eq!(outcome.downstream, (len as u64, len as u64));
    assert_eq!(outcome.upstream, (len as u64, len as u64));
    assert_eq!(outcome.spliced + outcome.copied, 2 * len as u64);
    assert_eq!(pipes.counts().0, 0, "every pipe came back");
    outcome
}

trait Ends {
    fn ends(self) -> (impl AsyncReadExt + Unpin, impl AsyncWriteExt + Unpin);
}

impl Ends for TcpStream {
    fn ends(self) -> (impl AsyncReadExt + Unpin, impl AsyncWriteExt + Unpin) {
        self.into_split()
    }
}

impl Ends for UnixStream {
    fn ends(self) -> (impl AsyncReadExt + Unpin, impl AsyncWriteExt + Unpin) {
        self.into_split()
    }
}

#[test]
fn bulk_both_ways_is_spliced() {
    run(async {
        let ((client, down), (up, host)) = (pair().await, pair().await);
        let outcome = bulk(down, up, client, host, 64 * MIB, Options::default()).await;
        assert!(outcome.spliced > 120 * MIB as u64, "{outcome:?}");
        assert_eq!(outcome.no_pipe, 0);
    });
}

#[test]
fn bulk_both_ways_is_copied_where_it_may_not_be_spliced() {
    run(async {
        let ((client, down), (up, host)) = (pair().await, pair().await);
        let options = Options { may_splice: false, ..Options::default() };
        let outcome = bulk(down, up, client, host, 64 * MIB, options).await;
        assert_eq!(outcome.spliced, 0);
    });
}

#[test]
fn a_small_buffer_limit_holds_for_both_ways_of_moving() {
    run(async {
        for may_splice in [true, false] {
            let ((client, down), (up, host)) = (pair().await, pair().await);
            bulk(down, up, client, host, 4 * MIB, Options { may_splice, limit: 4096, ..Options::default() })
                .await;
        }
    });
}

#[test]
fn unix_sockets_are_spliced_too() {
    run(async {
        let ((client, down), (up, host)) = (UnixStream::pair().unwrap(), pair().await);
        let outcome = bulk(down, up, client, host, 16 * MIB, Options::default()).await;
        assert!(outcome.spliced > 0, "{outcome:?}");
    });
}

#[test]
fn small_exchanges_are_copied_and_large_ones_switch_back_and_forth() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let pipes = Rc::new(Pipes::default());
        let relay = relay(down, up, &pipes, Options::default());
        let large = pattern(3, 3 * MIB);
        for round in 0..3 {
            for _ in 0..20 {
                client.write_all(b"ping").await.unwrap();
                let mut buf = [0; 4];
                host.read_exact(&mut buf).await.unwrap();
                host.write_all(b"pong").await.unwrap();
                client.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"pong");
            }
            assert_eq!(pipes.counts().0, 0, "a connection that waits holds no pipe");
            if round < 2 {
                let mut got = vec![0; large.len()];
                let (sent, received) = tokio::join!(client.write_all(&large), host.read_exact(&mut got));
                sent.unwrap();
                received.unwrap();
                assert!(got == large);
            }
        }
        drop(client);
        assert_eq!(host.read(&mut [0; 8]).await.unwrap(), 0);
        drop(host);
        let outcome = relay.await.unwrap();
        assert_eq!(outcome.end, End::Finished(Side::Upstream));
        assert!(outcome.spliced > 4 * MIB as u64 && outcome.copied > 480, "{outcome:?}");
    });
}

#[test]
fn each_way_closes_by_itself() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let relay = relay(down, up, &Rc::default(), Options { early: b"early ", ..Options::default() });
        client.write_all(b"and late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = String::new();
        host.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "early and late");
        host.write_all(b"still here").await.unwrap();
        drop(host);
        got.clear();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "still here");
        let outcome = relay.await.unwrap();
        assert_eq!((outcome.end, outcome.downstream), (End::Finished(Side::Upstream), (14, 10)));
    });
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_reset_goes_through_from_either_side() {
    run(async {
        for side in [Side::Upstream, Side::Downstream] {
            let ((client, down), (up, host)) = (pair().await, pair().await);
            let relay = relay(down, up, &Rc::default(), Options::default());
            let (near, mut far) = if side == Side::Upstream { (host, client) } else { (client, host) };
            reset(near);
            let error = far.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            assert_eq!(relay.await.unwrap().end, End::Reset(side));
        }
    });
}

#[test]
fn what_a_host_sent_before_it_was_gone_is_delivered() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        host.write_all(b"goodbye").await.unwrap();
        reset(host);
        let relay =
            relay(down, up, &Rc::default(), Options { early: b"nobody reads this", ..Options::default() });
        let mut got = [0; 7];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"goodbye");
        assert_eq!(relay.await.unwrap().end, End::Reset(Side::Upstream));
    });
}

#[test]
fn idle_and_old_connections_end() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let started = Instant::now();
        let idle = Duration::from_millis(200);
        let connection = relay(down, up, &Rc::default(), Options { idle: Some(idle), ..Options::default() });
        // Traffic either way puts the end off.
        for _ in 0..2 {
            tokio::time::sleep(idle / 2).await;
            host.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
        assert_eq!(connection.await.unwrap().end, End::Idle);
        assert!(started.elapsed() >= idle * 2, "{:?}", started.elapsed());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);

        let ((_client, down), (up, _host)) = (pair().await, pair().await);
        let options = Options { idle: Some(idle * 9), lifetime: Some(idle / 2), ..Options::default() };
        assert_eq!(relay(down, up, &Rc::default(), options).await.unwrap().end, End::MaxDuration);
    });
}

/// Answers `?`, closes at `!`, upper-cases the rest.
struct Oracle;

impl NetworkFilter for Oracle {
    fn on_data(&mut self, _: &mut StreamInfo, data: &mut BytesMut, _: bool) -> NetworkFlow {
        match &data[..] {
            b"?" => NetworkFlow::Answer(Bytes::from_static(b"42")),
            b"!" => NetworkFlow::Close { farewell: Bytes::from_static(b"bye"), details: "told_to".into() },
            _ => {
                data.make_ascii_uppercase();
                NetworkFlow::Continue
            }
        }
    }
}

#[test]
fn filters_see_change_answer_and_close() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let options = Options { early: b"early", filters: vec![Box::new(Oracle)], ..Options::default() };
        let relay = relay(down, up, &Rc::default(), options);
        let mut got = [0; 5];
        host.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"EARLY");
        client.write_all(b"?").await.unwrap();
        client.read_exact(&mut got[..2]).await.unwrap();
        assert_eq!(&got[..2], b"42");
        client.write_all(b"!").await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "bye");
        assert_eq!(relay.await.unwrap().end, End::Filter("told_to".into()));
    });
}

/// Waits for a moment before it lets anything pass, and closes what says so.
struct Slow;

impl NetworkFilter for Slow {
    fn on_data(&mut self, _: &mut StreamInfo, data: &mut BytesMut, _: bool) -> NetworkFlow {
        let refused = data.starts_with(b"!");
        NetworkFlow::Await(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Box::new(move |_: &mut StreamInfo| {
                if refused {
                    NetworkFlow::Close { farewell: Bytes::new(), details: "waited".into() }
                } else {
                    NetworkFlow::Continue
                }
            }) as NetworkResume
        }))
    }
}

#[test]
fn bytes_wait_for_a_filter_that_waits() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let filters: Vec<Box<dyn NetworkFilter>> = vec![Box::new(Slow), Box::new(Oracle)];
        let relay =
            relay(down, up, &Rc::default(), Options { early: b"early", filters, ..Options::default() });
        let mut got = [0; 5];
        host.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"EARLY");
        client.write_all(b"later").await.unwrap();
        host.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"LATER");
        client.write_all(b"!no").await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
        assert_eq!(relay.await.unwrap().end, End::Filter("waited".into()));
    });
}

#[test]
fn a_relay_is_small() {
    assert!(size_of::<Relay<'_>>() <= 768, "{}", size_of::<Relay<'_>>());
}

/// Is told every few milliseconds.
struct Ticked(Rc<Cell<(u32, u64)>>);

impl NetworkFilter for Ticked {
    fn reads(&self) -> bool {
        false
    }

    fn tick(&self) -> Option<Duration> {
        Some(Duration::from_millis(5))
    }

    fn on_tick(&mut self, info: &mut StreamInfo) {
        let (ticks, _) = self.0.get();
        self.0.set((ticks + 1, info.bytes.downstream_wire_received));
    }
}

#[test]
fn filters_are_told_how_it_goes_while_bytes_are_spliced() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let told = Rc::new(Cell::new((0, 0)));
        let filters: Vec<Box<dyn NetworkFilter>> = vec![Box::new(Ticked(told.clone()))];
        let task = relay(down, up, &Rc::default(), Options { filters, ..Options::default() });
        let sent = vec![7; 4 * MIB];
        let mut read = vec![0; sent.len()];
        let (written, got) = tokio::join!(client.write_all(&sent), host.read_exact(&mut read));
        written.and(got.map(drop)).unwrap();
        // The connection stays open and idle until a tick has seen all of it.
        while told.get().1 < sent.len() as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop((client, host));
        let outcome = task.await.unwrap();
        assert!(outcome.spliced > 0, "{outcome:?}");
        assert!(told.get().0 > 0);
    });
}

/// Takes three bytes, which must be `pre`.
struct Three;

impl PreambleReader for Three {
    fn read(&mut self, data: &mut BytesMut, end: bool) -> PreambleRead {
        match data.len() {
            0..3 if end => PreambleRead::Done,
            0..3 => PreambleRead::More,
            _ if data.split_to(3) == "pre" => PreambleRead::Done,
            _ => PreambleRead::Broken,
        }
    }
}

#[test]
fn a_preamble_comes_before_the_bytes_of_the_application() {
    run(async {
        let begun = async |io: &Io| {
            let preamble = Preamble { write: Bytes::from_static(b"pre"), read: Some(Box::new(Three)) };
            io.begin(preamble).await.unwrap();
        };
        let (mut client, server) = pair().await;
        let io = Io::from(server);
        begun(&io).await;
        let mut written = [0; 3];
        client.read_exact(&mut written).await.unwrap();
        assert_eq!(&written, b"pre");
        for byte in b"prexyz" {
            client.write_all(&[*byte]).await.unwrap();
        }
        drop(client);
        let mut read = BytesMut::new();
        while io.read(&mut read, 2).await.unwrap() > 0 {}
        assert_eq!(read, "xyz");

        let (mut client, server) = pair().await;
        let io = Io::from(server);
        begun(&io).await;
        client.write_all(b"other").await.unwrap();
        let error = io.read(&mut BytesMut::new(), 8).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);

        let (client, server) = pair().await;
        let io = Io::from(server);
        begun(&io).await;
        drop(client);
        // What was written to a client that is gone may come back as a reset.
        assert!(io.read(&mut BytesMut::new(), 8).await.map_or(true, |n| n == 0));
    });
}
