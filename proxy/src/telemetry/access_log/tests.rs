//! Lines from events to files, and every filter.

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use sampan_filters_api::format::{AccessLogType, StructTemplate, Template};
use sampan_filters_api::info::{MetadataValue, RouteFacts};
use sampan_filters_api::{Address, ConnectionInfo, Flag, Flags, RequestHead, ResponseHead, StreamInfo};
use sampan_model::fraction::{Denominator, FractionalPercent, NoRuntime};
use sampan_model::route::{HeaderMatch, HeaderRule, StringMatch};

use super::*;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{Filesystem, FilesystemCounter, FilesystemGauge, GrpcAccessLog};

fn counts() -> std::sync::Arc<Block<GrpcAccessLog>> {
    std::sync::Arc::new(Block::detached())
}

const LIMIT: Duration = Duration::from_secs(20);

struct Stream {
    request: RequestHead,
    response: ResponseHead,
    info: StreamInfo,
    log_type: AccessLogType,
}

fn address(text: &str) -> Address {
    Address::Socket(text.parse::<SocketAddr>().unwrap())
}

impl Stream {
    fn new() -> Self {
        let mut request = RequestHead::default();
        request.set_method(b"GET");
        request.set_path(b"/a?b=c");
        request.set_authority(b"h.example");
        request.headers.append("user-agent", "curl/8");
        request.headers.append("x-request-id", "id-1");
        let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
        response.headers.append("x-envoy-upstream-service-time", "2");
        let start = Instant::now();
        let connection = ConnectionInfo {
            id: 1,
            local: address("10.0.0.1:80"),
            local_restored: false,
            remote: address("10.0.0.9:5000"),
            direct_remote: address("10.0.0.9:5000"),
            start,
            listener: Arc::default(),
            chain: None,
            requested_server_name: None,
            tls: None,
            transport_failure: std::borrow::Cow::Borrowed(""),
            facts: None,
            state: std::cell::RefCell::default(),
        };
        let wall = UNIX_EPOCH + Duration::new(1_795_450_520, 240_000_000);
        let mut info = StreamInfo::new(Rc::new(connection), start, wall);
        info.protocol = Some(sampan_filters_api::Protocol::Http11);
        info.response_code = 200;
        info.details = "via_upstream".into();
        info.bytes.sent = 5;
        info.end = Some(start + Duration::from_millis(7));
        info.upstream.address = Some(address("10.0.1.1:8080"));
        info.upstream.local = Some(address("10.0.0.1:40000"));
        info.upstream.cluster = Some("up".into());
        info.route = Some(Arc::new(RouteFacts { name: Some("rt".into()), ..RouteFacts::default() }));
        Self { request, response, info, log_type: AccessLogType::DownstreamEnd }
    }

    fn event(&self) -> LogEvent<'_> {
        let context = FormatContext {
            request: Some(&self.request),
            response: Some(&self.response),
            log_type: self.log_type,
            ..FormatContext::new(&self.info, self.info.start, UNIX_EPOCH)
        };
        LogEvent { context, runtime: &NoRuntime, random: 42 }
    }

    fn wants(&self, filter: &Filter) -> bool {
        filter.wants(&self.event())
    }
}

fn text(format: &str) -> LineFormat {
    LineFormat::Text(Template::parse(format).unwrap())
}

#[test]
fn default_formats_print_envoys_lines() {
    let stream = Stream::new();
    let mut line = Vec::new();
    LineFormat::envoy_default().unwrap().render(&stream.event().context, &mut line);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "[2026-11-23T16:15:20.240Z] \"GET /a?b=c HTTP/1.1\" 200 - 0 5 7 2 \"-\" \"curl/8\" \"id-1\" \"h.example\" \
         \"10.0.1.1:8080\"\n"
    );
    let mut line = Vec::new();
    text(ISTIO_DEFAULT).render(&stream.event().context, &mut line);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "[2026-11-23T16:15:20.240Z] \"GET /a?b=c HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 7 2 \"-\" \"curl/8\" \
         \"id-1\" \"h.example\" \"10.0.1.1:8080\" up 10.0.0.1:40000 10.0.0.1:80 10.0.0.9:5000 - rt\n"
    );
}

#[test]
fn lines_of_all_logs_and_workers_meet_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let files = LogFiles::new(FlushSettings::default());
    let target = LogTarget::path(path.to_str().unwrap());
    let tree = MetadataValue::Struct(vec![("ms".into(), MetadataValue::String("%DURATION%".into()))]);
    let json = LineFormat::Json(StructTemplate::parse(&tree, false).unwrap());
    let logs = [
        AccessLog::new(None, text("a %RESPONSE_CODE%\n"), files.open(&target).unwrap()),
        AccessLog::new(None, json, files.open(&target).unwrap()),
        AccessLog::new(Some(Filter::Flags(Flags::NONE)), text("never"), files.open(&target).unwrap()),
    ];
    let stream = Stream::new();
    for _ in 0..2 {
        let worker = WorkerLogs::new(&files, counts());
        for log in &logs {
            log.record(&stream.event(), &worker);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len() % 15, 0, "lines leave the worker together");
    }
    assert!(files.drain(LIMIT));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a 200\n{\"ms\":7}\n".repeat(2));
    let block = Block::<Filesystem>::detached();
    files.publish(&block);
    files.publish(&block);
    assert_eq!(block.counter(FilesystemCounter::WriteBuffered), 4);
    assert_eq!(block.counter(FilesystemCounter::WriteCompleted), 2);
    assert_eq!(block.gauge(FilesystemGauge::WriteTotalBuffered), 0);
}

#[test]
fn a_full_buffer_is_handed_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let files = LogFiles::new(FlushSettings::new(LIMIT, 1));
    let log = AccessLog::new(
        None,
        text(&format!("{}\n", "x".repeat(99))),
        files.open(&LogTarget::path(path.to_str().unwrap())).unwrap(),
    );
    let (worker, stream) = (WorkerLogs::new(&files, counts()), Stream::new());
    for _ in 0..15 {
        log.record(&stream.event(), &worker);
    }
    assert!(files.drain(LIMIT));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1100);
    worker.flush();
    assert!(files.drain(LIMIT));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1500);
}

#[test]
fn the_timer_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let files = LogFiles::new(FlushSettings::new(Duration::from_millis(1), 0));
    let log =
        AccessLog::new(None, text("x\n"), files.open(&LogTarget::path(path.to_str().unwrap())).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let worker = WorkerLogs::new(&files, counts());
        let task = tokio::task::spawn_local(Rc::clone(&worker).flush_when_due());
        for lines in 1..=3 {
            log.record(&Stream::new().event(), &worker);
            let deadline = Instant::now() + LIMIT;
            while std::fs::metadata(&path).unwrap().len() < lines * 2 {
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        task.abort();
    });
    let block = Block::<Filesystem>::detached();
    files.publish(&block);
    assert_eq!(block.counter(FilesystemCounter::FlushedByTimer), 3);
}

#[test]
fn reopening_follows_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let files = LogFiles::new(FlushSettings::default());
    let log =
        AccessLog::new(None, text("x\n"), files.open(&LogTarget::path(path.to_str().unwrap())).unwrap());
    let (worker, stream) = (WorkerLogs::new(&files, counts()), Stream::new());
    let write = || {
        log.record(&stream.event(), &worker);
        worker.flush();
        assert!(files.drain(LIMIT));
    };
    write();
    std::fs::rename(&path, &old).unwrap();
    write();
    files.reopen();
    write();
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "x\nx\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n");
}

#[test]
fn a_stalled_target_loses_whole_lines_and_no_more() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let files = LogFiles::new(FlushSettings::default());
    let line = format!("{}\n", "x".repeat((1 << 20) - 1));
    let target = LogTarget::path(&format!("/proc/self/fd/{}", writer.as_raw_fd()));
    let log = AccessLog::new(None, text(&line), files.open(&target).unwrap());
    drop(writer);
    let (worker, stream) = (WorkerLogs::new(&files, counts()), Stream::new());
    for _ in 0..40 {
        log.record(&stream.event(), &worker);
    }
    let block = Block::<Filesystem>::detached();
    files.publish(&block);
    let lost = block.counter(FilesystemCounter::WriteFailed);
    assert_eq!(block.counter(FilesystemCounter::WriteBuffered), 40);
    assert_eq!(lost, 24, "16 MiB may be under way");
    drop((log, worker));
    let mut written = Vec::new();
    reader.read_to_end(&mut written).unwrap();
    assert_eq!(written.len(), 16 << 20);
    assert!(written.chunks(1 << 20).all(|chunk| chunk == line.as_bytes()));
}

#[test]
fn files_close_when_nothing_refers_to_them_and_bad_paths_are_told() {
    let files = LogFiles::new(FlushSettings::default());
    let error = files.open(&LogTarget::path("/no/such/dir/log")).unwrap_err();
    assert!(error.to_string().starts_with("cannot open '/no/such/dir/log': No such file"));
    let one = files.open(&LogTarget::path("/dev/stdout")).unwrap();
    assert!(one.is_same(&files.open(&LogTarget::Stdout).unwrap()));
    let dry = LogFiles::for_validation();
    let file = dry.open(&LogTarget::path("/no/such/dir/log")).unwrap();
    let worker = WorkerLogs::new(&dry, counts());
    worker.append(&file, |line| line.push(b'x'));
    worker.flush();
    assert!(dry.drain(LIMIT));
}

fn comparison(operation: Operation, value: u32) -> Comparison {
    Comparison { operation, value, runtime_key: "".into() }
}

#[test]
fn filters_on_the_outcome() {
    let mut stream = Stream::new();
    for (operation, at_200, at_404) in [
        (Operation::Equal, true, false),
        (Operation::AtLeast, true, true),
        (Operation::AtMost, true, false),
        (Operation::NotEqual, false, true),
    ] {
        let filter = Filter::StatusCode(comparison(operation, 200));
        stream.info.response_code = 200;
        assert_eq!(stream.wants(&filter), at_200);
        stream.info.response_code = 404;
        assert_eq!(stream.wants(&filter), at_404);
    }
    assert!(stream.wants(&Filter::Duration(comparison(Operation::Equal, 7))));
    assert!(!stream.wants(&Filter::Duration(comparison(Operation::AtLeast, 8))));

    assert!(stream.wants(&Filter::NotHealthCheck));
    stream.info.health_check = true;
    assert!(!stream.wants(&Filter::NotHealthCheck));

    let some = Filter::Flags(Flags::of(Flag::NoRouteFound));
    assert!(!stream.wants(&some) && !stream.wants(&Filter::Flags(Flags::NONE)));
    stream.info.flags.set(Flag::UpstreamOverflow);
    assert!(!stream.wants(&some) && stream.wants(&Filter::Flags(Flags::NONE)));
    stream.info.flags.set(Flag::NoRouteFound);
    assert!(stream.wants(&some));

    // 404 stands for UNIMPLEMENTED (12) where no status was sent.
    assert!(stream.wants(&Filter::grpc_statuses([12], false)));
    assert!(!stream.wants(&Filter::grpc_statuses([12], true)));
    stream.response.headers.append("grpc-status", "0");
    assert!(stream.wants(&Filter::grpc_statuses([0, 1], false)));
    assert!(!stream.wants(&Filter::grpc_statuses([12], false)));

    let ends = |exclude| Filter::log_types([AccessLogType::DownstreamEnd], exclude);
    assert!(stream.wants(&ends(false)) && !stream.wants(&ends(true)));
    stream.log_type = AccessLogType::DownstreamStart;
    assert!(!stream.wants(&ends(false)) && stream.wants(&ends(true)));
}

#[test]
fn filters_on_the_request_and_metadata() {
    let mut stream = Stream::new();
    let header = |name: &str, value: &str| {
        Filter::Header(HeaderMatch::new(name, HeaderRule::String(StringMatch::exact(value, false))))
    };
    assert!(stream.wants(&header(":method", "GET")) && stream.wants(&header("User-Agent", "curl/8")));
    assert!(!stream.wants(&header("user-agent", "x")));
    assert!(stream.wants(&Filter::Any(vec![header("a", "b"), header(":path", "/a?b=c")])));
    assert!(!stream.wants(&Filter::All(vec![header("a", "b"), header(":path", "/a?b=c")])));
    let mut event = stream.event();
    event.context.request = None;
    assert!(!header(":method", "GET").wants(&event));

    let metadata = |value, missing| {
        Filter::Metadata(MetadataMatch {
            namespace: "ns".into(),
            path: vec!["k".into()],
            value,
            missing,
            invert: false,
        })
    };
    let wanted = || ValueMatch::Or(vec![ValueMatch::Null, ValueMatch::Range(1.0, 2.0)]);
    assert!(stream.wants(&metadata(wanted(), true)) && !stream.wants(&metadata(wanted(), false)));
    stream.info.metadata.set("ns", "k", MetadataValue::Number(1.5));
    assert!(stream.wants(&metadata(wanted(), false)) && !stream.wants(&metadata(ValueMatch::Null, true)));
    assert!(stream.wants(&metadata(ValueMatch::Present(true), false)));
    stream.info.metadata.set("ns", "k", MetadataValue::List(vec![MetadataValue::Bool(true)]));
    let one_true = ValueMatch::OneOf(Box::new(ValueMatch::Bool(true)));
    assert!(stream.wants(&metadata(one_true, false)));
    assert!(!stream.wants(&metadata(ValueMatch::Exactly(1.5), false)));
}

#[test]
fn sampling_follows_the_request_id() {
    let mut stream = Stream::new();
    let sampled = |numerator, independent| {
        Filter::Sampled(Sampled {
            runtime_key: "k".into(),
            percent: FractionalPercent { numerator, denominator: Denominator::Hundred },
            independent,
        })
    };
    // Without an id the event's own number, 42, decides.
    assert!(stream.wants(&sampled(43, false)) && !stream.wants(&sampled(42, false)));
    stream.info.stream_id = Some("0000000a-0000-4000-8000-000000000000".as_bytes().into());
    assert!(stream.wants(&sampled(11, false)) && !stream.wants(&sampled(10, false)));
    assert!(stream.wants(&sampled(43, true)) && !stream.wants(&sampled(42, true)));
}
