//! The process: start-up time, signals, draining under load, reopening of logs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::client::h2::{Call, converse};
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::{Solo, connect, get};
use sampan_tests::harness::upstream::Play::AfterRequest;
use sampan_tests::harness::upstream::{Gate, Step};

/// From starting the program to the end of the first response, the best of a few: the machine may be busy with other tests.
#[test]
fn the_first_request_is_served_within_100_ms() {
    let time = |_| {
        let begun = Instant::now();
        let solo = Solo::start(Program::Sampan, &[]);
        let mut wire = solo.connect().expect("the listener is open");
        assert_eq!(get(&mut wire, "/").map(|reply| reply.status()), Some(200));
        begun.elapsed()
    };
    let best = (0..5).map(time).min().unwrap();
    assert!(best < Duration::from_millis(100), "took {best:?}");
}

/// Clients that follow the rules (close when told to, connect anew) lose nothing while the proxy goes away.
#[test]
fn sigterm_under_load_loses_no_request() {
    let mut solo = Solo::start(Program::Sampan, &["--drain-strategy", "immediate"]);
    let port = solo.process.port("http");
    let (served, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lost: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| client(port, &served, &stop))).collect();
        poll(PATIENCE, || (served.load(Ordering::Relaxed) > 500).then_some(())).expect("the proxy serves");
        solo.process.signal(Signal::TERM);
        let status = solo.process.await_exit(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", solo.process.stderr());
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(lost, 0, "of {} requests", served.load(Ordering::Relaxed));
}

/// Sends requests until connections are refused; the number of requests that got no complete response.
fn client(port: u16, served: &AtomicUsize, stop: &AtomicBool) -> usize {
    let mut lost = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(mut wire) = connect(port) else { return lost };
        let mut on_this_connection = 0;
        loop {
            match get(&mut wire, "/") {
                Some(reply) if reply.status() == 200 => {
                    on_this_connection += 1;
                    served.fetch_add(1, Ordering::Relaxed);
                    if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                        break;
                    }
                }
                // A connection that was never served was still in the accept queue when the listener closed.
                None if on_this_connection == 0 => break,
                _ => {
                    lost += 1;
                    break;
                }
            }
        }
    }
    lost
}

#[test]
fn a_request_in_flight_is_finished_before_the_exit() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut solo = Solo::start(Program::Sampan, &["--drain-time-s", "5"]);
        let gate = Gate::default();
        let answer = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone".to_vec());
        solo.upstream.script([AfterRequest(vec![Step::Wait(gate.clone()), answer])]);
        let mut wire = solo.connect().expect("the listener is open");
        let port = solo.process.port("http");
        let waiting = std::thread::spawn(move || get(&mut wire, "/"));
        assert!(solo.recorder.await_seen(1, PATIENCE));
        solo.process.signal(signal);
        // Draining shows in that no new connection is taken, or in what the admin says.
        let draining =
            || (connect(port).is_none() || solo.process.admin("GET", "/ready").0 == 503).then_some(());
        assert!(poll(PATIENCE, draining).is_some(), "{signal:?}: nothing shows that the proxy drains");
        assert!(
            solo.process.await_exit(Duration::from_millis(50)).is_none(),
            "{signal:?}: left a request behind"
        );
        gate.open();
        let reply = waiting.join().unwrap().expect("a whole response");
        assert_eq!((reply.status(), reply.body.as_slice()), (200, &b"done"[..]));
        assert_eq!(reply.header("connection"), Some("close"), "{signal:?}: the client is not told");
        let status = solo.process.await_exit(Duration::from_secs(2));
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "{signal:?}: should end when nothing is left"
        );
    }
}

#[test]
fn an_http2_stream_in_flight_is_finished_before_the_exit() {
    let mut solo = Solo::start(Program::Sampan, &["--drain-time-s", "5"]);
    let gate = Gate::default();
    let answer = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone".to_vec());
    solo.upstream.script([AfterRequest(vec![Step::Wait(gate.clone()), answer])]);
    let port = solo.process.port("http");
    let waiting = std::thread::spawn(move || converse(port, &[Call::get("/")]).1);
    assert!(solo.recorder.await_seen(1, PATIENCE));
    solo.process.signal(Signal::TERM);
    assert!(solo.process.await_exit(Duration::from_millis(100)).is_none(), "left a stream behind");
    gate.open();
    let replies = waiting.join().unwrap();
    assert_eq!((replies[0].message.status(), replies[0].message.body.as_slice()), (200, &b"done"[..]));
    let status = solo.process.await_exit(Duration::from_secs(2));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "should end when nothing is left");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut solo = Solo::start(Program::Sampan, &["--drain-time-s", "60"]);
    solo.upstream.script([AfterRequest(vec![Step::Hang])]);
    let mut wire = solo.connect().expect("the listener is open");
    let waiting = std::thread::spawn(move || get(&mut wire, "/"));
    assert!(solo.recorder.await_seen(1, PATIENCE));
    solo.process.signal(Signal::TERM);
    assert!(
        solo.process.await_exit(Duration::from_millis(200)).is_none(),
        "did not wait for the request in flight"
    );
    solo.process.signal(Signal::TERM);
    assert!(solo.process.await_exit(Duration::from_secs(1)).is_some(), "the second signal was ignored");
    drop(waiting.join());
}

/// `logrotate` moves the file away and sends a signal; a line logged after that is in a new file.
#[test]
fn logs_are_reopened() {
    type Reopen = fn(&Solo);
    let ways: [(&str, Reopen); 3] = [
        ("SIGHUP", |solo| solo.process.signal(Signal::HUP)),
        ("SIGUSR1", |solo| solo.process.signal(Signal::USR1)),
        ("POST /reopen_logs", |solo| assert_eq!(solo.process.admin("POST", "/reopen_logs").0, 200)),
    ];
    let solo = Solo::start(Program::Sampan, &[]);
    let mut wire = solo.connect().expect("the listener is open");
    for (number, (way, reopen)) in ways.into_iter().enumerate() {
        assert!(get(&mut wire, "/").is_some());
        let written = || std::fs::metadata(solo.access_log()).is_ok_and(|file| file.len() > 0).then_some(());
        assert!(poll(PATIENCE, written).is_some(), "{way}: nothing was logged before");
        std::fs::rename(solo.access_log(), solo.dir().join(format!("rotated.{number}"))).unwrap();
        reopen(&solo);
        let renewed = || {
            assert!(get(&mut wire, "/").is_some());
            written()
        };
        assert!(poll(PATIENCE, renewed).is_some(), "{way}: the log was not reopened");
    }
}

#[test]
fn quitquitquit_ends_the_process() {
    for program in [Program::Envoy, Program::Sampan] {
        let mut solo = Solo::start(program, &[]);
        assert_eq!(solo.process.admin("POST", "/quitquitquit"), (200, "OK\n".to_owned()), "{program:?}");
        assert!(solo.process.await_exit(PATIENCE).is_some(), "{program:?} does not end");
    }
}
