//! Services, and the workers' buffers in front of them.

use super::*;
use crate::reference::GrpcPeer;
use crate::telemetry::access_log::{LogFiles, WorkerLogs};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{GrpcAccessLog, GrpcAccessLogCounter};

fn settings(name: &str) -> ServiceSettings {
    let target = GrpcTarget {
        peer: GrpcPeer::Cluster("als".into()),
        authority: "".into(),
        metadata: Vec::new(),
        timeout: None,
        message_cap: None,
    };
    ServiceSettings {
        kind: EntryKind::Http,
        log_name: name.into(),
        target,
        interval: ServiceSettings::INTERVAL,
        full: ServiceSettings::FULL,
        back_off: ServiceSettings::BACK_OFF,
    }
}

#[tokio::test]
async fn equal_settings_share_a_service_that_ends_with_its_last_user() {
    let services = LogServices::default();
    let mut outlets = services.outlets().unwrap();
    assert!(services.outlets().is_none());
    let (a, same, b) =
        (services.open(settings("a")), services.open(settings("a")), services.open(settings("b")));
    assert!(a.is_same(&same) && !a.is_same(&b));
    a.submit(vec![1], 1).unwrap();
    let mut outlet = outlets.try_recv().unwrap();
    assert_eq!(&*outlets.try_recv().unwrap().settings.log_name, "b");
    assert!(outlets.try_recv().is_err());
    drop((a, same));
    assert_eq!(outlet.next().await.map(|batch| batch.entries), Some(vec![1]));
    assert!(outlet.next().await.is_none());
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_and_batches() {
    let services = LogServices::default();
    let mut outlets = services.outlets().unwrap();
    let service = services.open(settings("a"));
    let mut outlet = outlets.recv().await.unwrap();
    let quarter = || vec![0; ServiceSettings::FULLEST];
    for _ in 0..4 {
        service.submit(quarter(), 1).unwrap();
    }
    assert_eq!(service.submit(vec![7], 1), Err(vec![7]));
    drop(outlet.next().await);
    let small = (0..MAX_BATCHES).take_while(|_| service.submit(vec![7], 1).is_ok()).count();
    assert_eq!(small, MAX_BATCHES - 3);
    // At the end, what waits is still handed out.
    assert!(!services.close(Duration::ZERO).await, "the outlet is still there");
    let mut left = 0;
    while outlet.next().await.is_some() {
        left += 1;
    }
    assert_eq!(left, MAX_BATCHES);
    drop(outlet);
    assert!(services.close(Duration::from_secs(5)).await);
}

fn counts() -> Arc<Block<GrpcAccessLog>> {
    Arc::new(Block::detached())
}

fn service(services: &LogServices, full: usize) -> LogService {
    services.open(ServiceSettings { interval: Duration::from_millis(1), full, ..settings("a") })
}

#[tokio::test]
async fn entries_leave_a_worker_when_the_buffer_is_full_or_the_interval_over() {
    let services = LogServices::default();
    let (at_once, buffered) = (service(&services, 0), service(&services, 1000));
    let mut outlets = services.outlets().unwrap();
    let (mut first, mut second) = (outlets.try_recv().unwrap(), outlets.try_recv().unwrap());
    let counts = counts();
    let worker = WorkerLogs::new(&LogFiles::for_validation(), counts.clone());
    for _ in 0..2 {
        worker.append_entry(&at_once, |out| out.push(1));
        let batch = first.next().await.unwrap();
        assert_eq!((batch.entries, batch.count), (vec![1], 1));
    }
    worker.append_entry(&buffered, |out| out.extend([2; 999]));
    worker.append_entry(&buffered, |out| out.push(3));
    assert_eq!(second.next().await.unwrap().count, 2);
    worker.append_entry(&buffered, |out| out.push(4));
    tokio::task::LocalSet::new()
        .run_until(async {
            let flushing = tokio::task::spawn_local(worker.clone().flush_when_due());
            assert_eq!(second.next().await.unwrap().entries, [4]);
            flushing.abort();
        })
        .await;
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsWritten), 5);
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsDropped), 0);
}

#[tokio::test]
async fn a_worker_keeps_one_buffer_for_a_service_that_takes_no_more_and_drops_the_rest() {
    let services = LogServices::default();
    let service = service(&services, ServiceSettings::FULLEST);
    let counts = counts();
    let worker = WorkerLogs::new(&LogFiles::for_validation(), counts.clone());
    let add = || worker.append_entry(&service, |out| out.resize(out.len() + ServiceSettings::FULLEST, 0));
    (0..7).for_each(|_| add());
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsWritten), 5, "four wait and one is kept");
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsDropped), 2);
    let mut outlet = services.outlets().unwrap().try_recv().unwrap();
    drop(outlet.next().await);
    add();
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsWritten), 6, "the kept one makes room");
    drop(worker);
    assert_eq!(counts.counter(GrpcAccessLogCounter::LogsDropped), 3, "what is left at the end is counted");
}
