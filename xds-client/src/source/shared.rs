//! What a driver's task and the handles share: the state machine behind a lock that is never held across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use crate::event::{Answers, Event, Names, Reply, SourceId, TypeUrl, Update};
use crate::protocol::{Answer, Delivery, Machine, Notice, Ticket};
use crate::status::StreamStatus;

pub(super) struct Shared<M> {
    machine: Mutex<M>,
    status: Mutex<StreamStatus>,
    /// Something may be due for the server.
    pub(super) requests: Notify,
    /// Deadlines have changed.
    timers: Notify,
}

/// Nobody reads events any more.
pub(super) struct Ended;

impl<M: Machine> Shared<M> {
    pub(super) fn new(machine: M) -> Arc<Self> {
        Arc::new(Self {
            machine: Mutex::new(machine),
            status: Mutex::default(),
            requests: Notify::new(),
            timers: Notify::new(),
        })
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, M> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status_mut(&self) -> MutexGuard<'_, StreamStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether an attempt succeeded.
    pub(super) fn note(&self, failure: Option<&String>) {
        let mut status = self.status_mut();
        status.is_connected = failure.is_none();
        if let Some(failure) = failure {
            status.last_failure = Some(failure.clone());
        }
    }

    pub(super) fn subscribe(&self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration) {
        self.machine().subscribe(type_url, names, fetch_timeout, now());
        self.wake();
    }

    pub(super) fn unsubscribe(&self, type_url: &TypeUrl, names: &[String]) {
        self.machine().unsubscribe(type_url, names);
        self.wake();
    }

    pub(super) fn status(&self) -> StreamStatus {
        let machine = self.machine();
        let (pending_requests, rate_limit_enforced) = machine.pressure();
        let types = machine.status();
        drop(machine);
        StreamStatus { pending_requests, rate_limit_enforced, types, ..self.status_mut().clone() }
    }

    pub(super) fn wake(&self) {
        self.requests.notify_one();
        self.timers.notify_one();
    }

    /// Tells when time brings something, for as long as the source exists.
    pub(super) async fn keep_time(&self, source: &SourceId, events: &mpsc::Sender<Event>) -> Ended {
        loop {
            let deadline = self.machine().deadline();
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.timers.notified() => continue,
            }
            let notices = self.machine().expire(now());
            for notice in notices {
                let source = source.clone();
                let event = match notice {
                    Notice::FetchTimeout(type_url, names) => Event::FetchTimeout { source, type_url, names },
                    Notice::Expired(type_url, names) => Event::Expired { source, type_url, names },
                };
                if events.send(event).await.is_err() {
                    return Ended;
                }
            }
        }
    }

    /// A delivery as an event.
    pub(super) fn update(
        self: &Arc<Self>,
        source: &SourceId,
        delivery: Delivery,
        control_plane: Option<Arc<str>>,
    ) -> Event {
        let Delivery { ticket, type_url, version, content, unchanged } = delivery;
        let answers: Arc<dyn Answers> = Arc::<Self>::clone(self);
        let reply = Reply::new(answers, ticket);
        Event::Update(Update {
            source: source.clone(),
            type_url,
            version,
            control_plane,
            content,
            unchanged,
            reply,
        })
    }
}

impl<M: Machine> Answers for Shared<M> {
    fn answer(&self, ticket: Ticket, answer: Answer) {
        self.machine().answer(ticket, answer, now());
        self.wake();
    }
}

/// The time as tokio has it, so that tests can stop the clock.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
