//! `envoy.filters.network.ext_authz`: asks a service whether a connection may pass.
//!
//! It is asked when the client's first bytes come, as in Envoy; they wait for the answer, and nothing more is read meanwhile.

pub mod config;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sampan_filters_api::call::Calls;
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::network::{
    NetworkFilter, NetworkFilterFactory, NetworkFlow, NetworkResume, NetworkStart,
};
use sampan_filters_api::{Counters, Flag, StreamInfo};

use crate::grpc::GrpcService;
use crate::http::ext_authz::{Outcome, Told, wire};
use crate::matcher::MetadataMatch;

/// What is asked of whom.
#[derive(Debug)]
pub struct Settings {
    /// `grpc_service`
    pub service: GrpcService,
    /// `failure_mode_allow`
    pub allow_failure: bool,
    /// What is told.
    pub told: Told,
    /// `filter_enabled_metadata`
    pub enabled: Option<MetadataMatch>,
    /// `ext_authz.<stat_prefix>.…`
    pub counters: Arc<Counters>,
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] =
    &["total", "ok", "denied", "error", "disabled", "failure_mode_allowed", "cx_closed"];
const TOTAL: usize = 0;
const OK: usize = 1;
const DENIED: usize = 2;
const ERROR: usize = 3;
const DISABLED: usize = 4;
const FAILURE_ALLOWED: usize = 5;
const CLOSED: usize = 6;

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.network.ext_authz";

/// The factory.
#[derive(Debug)]
pub struct ExtAuthz(pub Arc<Settings>);

/// One connection.
struct Connection {
    settings: Arc<Settings>,
    calls: Rc<dyn Calls>,
    asked: bool,
}

impl NetworkFilterFactory for ExtAuthz {
    fn create(&self, info: &StreamInfo) -> Box<dyn NetworkFilter> {
        self.create_with(&NetworkStart::bare(info))
    }

    fn create_with(&self, start: &NetworkStart<'_>) -> Box<dyn NetworkFilter> {
        let settings = Arc::clone(&self.0);
        Box::new(Connection { settings, calls: start.calls.share(), asked: false })
    }
}

impl NetworkFilter for Connection {
    fn on_data(&mut self, info: &mut StreamInfo, _data: &mut BytesMut, _end: bool) -> NetworkFlow {
        if std::mem::replace(&mut self.asked, true) {
            return NetworkFlow::Continue;
        }
        let settings = &*self.settings;
        if !settings.enabled.as_ref().is_none_or(|rule| rule.is_match(&info.metadata)) {
            settings.counters.inc(DISABLED);
            return NetworkFlow::Continue;
        }
        settings.counters.inc(TOTAL);
        let message = wire::connection_request(&settings.told, info);
        let answer = settings.service.unary(&*self.calls, wire::METHOD, &message, None, info);
        let settings = Arc::clone(&self.settings);
        let since = Instant::now();
        NetworkFlow::Await(Box::pin(async move {
            let (outcome, mut metadata) = match answer.await {
                Ok(message) => wire::connection_verdict(&message),
                Err(_) => (Outcome::Error, Vec::new()),
            };
            if outcome == Outcome::Ok && !metadata.is_empty() {
                let took = since.elapsed().as_millis() as f64;
                metadata.push(("ext_authz_duration".into(), MetadataValue::Number(took)));
            }
            Box::new(move |info: &mut StreamInfo| {
                for (key, value) in metadata {
                    info.metadata.set(NAMESPACE, &key, value);
                }
                settings.follow(outcome, info)
            }) as NetworkResume
        }))
    }
}

impl Settings {
    fn follow(&self, outcome: Outcome, info: &mut StreamInfo) -> NetworkFlow {
        let details = match outcome {
            Outcome::Ok => {
                self.counters.inc(OK);
                return NetworkFlow::Continue;
            }
            Outcome::Error if self.allow_failure => {
                self.counters.inc(ERROR);
                self.counters.inc(FAILURE_ALLOWED);
                return NetworkFlow::Continue;
            }
            Outcome::Error => {
                self.counters.inc(ERROR);
                "ext_authz_error"
            }
            Outcome::Denied => {
                self.counters.inc(DENIED);
                "ext_authz_denied"
            }
        };
        self.counters.inc(CLOSED);
        info.flags.set(Flag::UnauthorizedExternalService);
        info.details = details.into();
        NetworkFlow::Close { farewell: Bytes::new(), details: "".into() }
    }
}
