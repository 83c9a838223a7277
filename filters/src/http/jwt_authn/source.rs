//! Where the keys of an issuer come from: the configuration, or an HTTP service whose answer is kept for a while.
//!
//! ```text
//! wanted -> kept and fresh? -yes-> keys
//!                           -no--> fetched by the request that wants them (and by others meanwhile, as in Envoy)
//! async_fetch: a task of its own fetches before what is kept is too old
//! ```

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sampan_filters_api::call::{Call, Calls, Retry};
use sampan_filters_api::{Counters, Known, RequestHead};

use super::keys::Keys;
use super::{FETCH_FAILED, FETCHED};
use crate::config::remote::HttpService;

/// Where keys come from.
#[derive(Debug)]
pub enum Source {
    /// `local_jwks`
    Local(Arc<Keys>),
    /// `remote_jwks`
    Remote(Arc<Remote>),
}

/// `remote_jwks`
#[derive(Debug)]
pub struct Remote {
    /// `http_uri`
    pub server: HttpService,
    /// `cache_duration`
    pub keep: Duration,
    /// `retry_policy`
    pub retry: Option<Arc<Retry>>,
    /// `async_fetch`: the time before another attempt after one that failed.
    pub ahead: Option<Duration>,
    /// What was fetched last.
    pub kept: ArcSwapOption<Kept>,
    /// The task that fetches ahead has been started.
    pub started: AtomicBool,
    /// The filter's counters.
    pub counters: Arc<Counters>,
}

/// Keys, and until when.
#[derive(Debug)]
pub struct Kept {
    keys: Arc<Keys>,
    until: Instant,
}

/// The longest set of keys.
const LONGEST: usize = 1024 * 1024;
/// How long before they are too old keys are fetched anew.
const EARLY: Duration = Duration::from_secs(5);

impl Remote {
    /// The keys, if they are there and fresh.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|kept| self.ahead.is_some() || kept.until > Instant::now())?;
        Some(Arc::clone(&kept.keys))
    }

    /// Fetches the keys.
    pub async fn fetch(&self, calls: &dyn Calls) -> Option<Arc<Keys>> {
        let text = self.ask(calls).await;
        let Some(keys) = text.and_then(|text| Keys::parse(&text)).map(Arc::new) else {
            self.counters.inc(FETCH_FAILED);
            return None;
        };
        let until = Instant::now() + self.keep;
        self.kept.store(Some(Arc::new(Kept { keys: Arc::clone(&keys), until })));
        self.counters.inc(FETCHED);
        Some(keys)
    }

    async fn ask(&self, calls: &dyn Calls) -> Option<bytes::Bytes> {
        let mut head = RequestHead::default();
        head.set_method(b"GET");
        head.set_authority(self.server.authority.as_bytes());
        head.set_path(self.server.path.as_bytes());
        // Envoy's, for there are servers that turn down who does not say a name.
        head.headers.append_known(Known::UserAgent, "Go-browser");
        let call = Call {
            timeout: Some(self.server.timeout),
            retry: self.retry.clone(),
            longest: LONGEST,
            ..Call::new(Arc::clone(&self.server.cluster), head)
        };
        let answer = calls.call(call).await.ok()?;
        (answer.head.status == 200).then_some(answer.body)
    }

    /// Has the keys fetched ahead, by one task for all workers. It ends with the configuration.
    pub fn start(self: &Arc<Self>, calls: &dyn Calls) {
        let Some(pause) = self.ahead else { return };
        if self.started.load(Relaxed) || self.started.swap(true, Relaxed) {
            return;
        }
        let (remote, shared) = (Arc::downgrade(self), calls.share());
        calls.spawn(Box::pin(async move {
            while let Some(wait) = turn(&remote, &*shared, pause).await {
                tokio::time::sleep(wait).await;
            }
        }));
    }
}

/// One turn of fetching ahead: how long until the next, while anybody wants the keys.
async fn turn(remote: &Weak<Remote>, calls: &dyn Calls, pause: Duration) -> Option<Duration> {
    let remote = remote.upgrade()?;
    let fetched = remote.fetch(calls).await.is_some();
    let fresh = remote.keep.saturating_sub(EARLY).max(Duration::from_millis(100));
    Some(if fetched { fresh } else { pause })
}
